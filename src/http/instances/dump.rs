//! Everything that document 2 shows of a World, for who reads a journal without a server.

use serde_json::Value;
use tenantry_journal::id::TenantId;
use tenantry_projections::world::World;

use super::view::InstanceView;

/// Instances as the API shows them; of one tenant, or all.
pub(crate) fn dump(world: &World, only: Option<TenantId>) -> Value {
    let wanted = |tenant: Option<TenantId>| only.is_none() || tenant == only;
    let instances = world.instances.iter().filter(|i| wanted(i.tenant.map(|(tenant, _)| tenant)));
    let views = instances.filter_map(|instance| {
        let view = InstanceView::new(instance, None)?;
        serde_json::to_value(view.detailed(instance, None, None)).ok()
    });
    views.collect()
}
