//! Rules for forgetting a tenant: it is deleted first, and what was asked for is never taken back.

use tenantry_journal::event::Event;
use tenantry_journal::event::tenant::{ErasureRequested, Removal, TenantErased};
use tenantry_journal::id::TenantId;
use tenantry_projections::world::World;

use super::rejection::Rejection;
use super::tenant;

/// Deletes a tenant if it is there, and has it forgotten. Asking again changes nothing.
pub(super) fn request(world: &World, id: TenantId, remove: Removal) -> Result<Vec<Event>, Rejection> {
    if !world.tenants.is_known(id) {
        return Err(Rejection::not_found("tenant_not_found", format!("tenant '{id}' does not exist")));
    }
    let mut events = Vec::new();
    if world.tenants.get(id).is_some_and(|tenant| tenant.deletion.is_none()) {
        if !(remove.nginx && remove.services) {
            return Err(Rejection::invalid(
                "erasure_removes",
                "sites and services hold the tenant's names, so an erasure removes both".to_owned(),
            ));
        }
        events = tenant::delete(world, id, remove)?;
    }
    if world.erasures.get(id).is_none() {
        let displaced = world.tenants.displaced_by(id).collect();
        events.push(ErasureRequested { tenant_id: id, displaced }.into());
    }
    Ok(events)
}

/// Notes that it is done, once: of a tenant that is gone.
pub(super) fn done(world: &World, id: TenantId) -> Vec<Event> {
    let is_due = world.erasures.get(id).is_some_and(|erasure| erasure.done.is_none());
    let is_gone = world.tenants.get(id).is_none();
    if is_due && is_gone { vec![TenantErased { tenant_id: id }.into()] } else { Vec::new() }
}

/// Refuses what would need to know a tenant that is to be forgotten, or was.
pub(super) fn check(world: &World, id: TenantId) -> Result<(), Rejection> {
    match world.erasures.get(id) {
        None => Ok(()),
        Some(_) => Err(Rejection::conflict(
            "tenant_erased",
            format!("the data of tenant '{id}' was erased"),
            "its key is destroyed, nothing brings it back; create a new tenant",
        )),
    }
}
