//! A tenant's directory, made sure to be its own before anything in it is read or written.
//!
//! What a deleted tenant left where this one comes is moved aside, and what is this one's own
//! is fetched from where it lies. Each is one rename, so a crash leaves it before or after.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use tenantry_journal::event::tenant::TenantDetails;
use tenantry_journal::id::TenantId;
use tenantry_projections::world::World;
use tenantry_projections::world::tenants::Tenant;

use super::outside::{Outside, blocking};
use crate::drivers::files::{Files, FilesError, Holder, Unmarked};
use crate::error::chain;

/// Sees to it that a tenant's directory is its own. Returns what was moved for that, as
/// sentences.
///
/// # Errors
/// A sentence when it is somebody else's.
pub(super) async fn own(
    outside: &Outside,
    tenant: &Tenant,
    details: &TenantDetails,
) -> Result<Vec<String>, String> {
    let (files, handle, turn) = (outside.files(), outside.handle.clone(), Arc::clone(&outside.moving));
    let (tenant, directory) = (tenant.clone(), PathBuf::from(&details.directory));
    blocking(move |_| {
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        settle(&files, &handle.world(), &tenant, &directory).map_err(|error| chain(&error))
    })
    .await?
}

fn settle(
    files: &Files,
    world: &World,
    tenant: &Tenant,
    directory: &Path,
) -> Result<Vec<String>, FilesError> {
    let id = tenant.id;
    let mut moved = Vec::new();
    let before = match files.holder(directory)? {
        Holder::Tenant(holder) if holder == id => return Ok(moved),
        Holder::Tenant(holder) if has_left(files, world, holder) => Some(holder),
        Holder::Tenant(_) | Holder::Nobody => None,
        Holder::Unmarked => left_by(world, tenant, directory),
    };
    if let Some(before) = before {
        let aside = files.set_aside(directory, before)?;
        tracing::info!(tenant.id = %id, left.by = %before, path = %aside.display(), "files of a deleted tenant were moved aside");
        moved.push(format!("what the tenant {before} left there lies in {}", aside.display()));
    }
    if let Some(from) = files.move_in(directory, id)? {
        tracing::info!(tenant.id = %id, from = %from.display(), to = %directory.display(), "a tenant's files were fetched");
        moved.push(format!("the tenant's files were fetched from {}", from.display()));
    }
    Ok(moved)
}

/// Whether somebody whose mark a directory bears is not to come back to it: a tenant that was deleted, or
/// that has another place by now and has not fetched its files yet. One that is at home has
/// lent its mark to a copy.
fn has_left(files: &Files, world: &World, holder: TenantId) -> bool {
    if world.tenants.gone(holder).is_some() {
        return true;
    }
    let place = world.tenants.get(holder).and_then(|tenant| tenant.details.open());
    place.is_some_and(|details| {
        files.holder(details.directory.as_ref()).is_ok_and(|found| found != Holder::Tenant(holder))
    })
}

/// Who left a directory that bears no mark, as those do that were made before there were marks:
/// nobody, once the tenant has a release in it.
fn left_by(world: &World, tenant: &Tenant, directory: &Path) -> Option<TenantId> {
    if tenant.kept.iter().next().is_some() {
        return None;
    }
    world.tenants.left_in(directory.to_str()?)
}

/// Removes what is a tenant's own.
pub(super) fn remove(
    files: &Files,
    world: &World,
    tenant: &Tenant,
    directory: &Path,
) -> Result<(), FilesError> {
    let unmarked = match left_by(world, tenant, directory) {
        Some(_) => Unmarked::IsAnothers,
        None => Unmarked::IsItsOwn,
    };
    files.remove_home(directory, tenant.id, unmarked)
}
