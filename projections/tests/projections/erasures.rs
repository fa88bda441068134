//! What a fold still knows when the names of an erased tenant cannot be opened any more.

use tenantry_journal::event::tenant::{
    ErasureRequested, Removal, TenantCreated, TenantDeleted, TenantDeletionRequested, TenantErased,
};
use tenantry_journal::id::{Seq, TenantId};
use tenantry_journal::sealed::Sealed;
use tenantry_projections::world::World;

use crate::support::{details, folded, record, tenant};

const KEPT: Removal = Removal { files: false, nginx: true, services: true };

/// The directory of the first tenant became that of the second, whose names are gone.
fn world(displaced: Vec<TenantId>) -> World {
    let (before, erased) = (tenant(1), tenant(2));
    let known = Sealed::new(before, details(1, 0));
    folded(&[
        record(1, TenantCreated { tenant_id: before, details: known }),
        record(2, TenantDeletionRequested { tenant_id: before, remove: KEPT }),
        record(3, TenantDeleted { tenant_id: before, removed: KEPT }),
        record(4, TenantCreated { tenant_id: erased, details: Sealed::erased(erased) }),
        record(5, TenantDeletionRequested { tenant_id: erased, remove: KEPT }),
        record(6, ErasureRequested { tenant_id: erased, displaced }),
        record(7, TenantDeleted { tenant_id: erased, removed: KEPT }),
        record(8, TenantErased { tenant_id: erased }),
    ])
}

#[test]
fn who_was_displaced_by_an_erased_tenant_is_known_without_its_names() {
    let is_displaced = |world: &World| world.tenants.gone(tenant(1)).unwrap().is_displaced;
    assert!(!is_displaced(&world(Vec::new())), "the names alone said so");
    let world = world(vec![tenant(1)]);
    assert!(is_displaced(&world));
    assert_eq!(world.tenants.gone(tenant(2)).unwrap().details.open(), None);
    assert_eq!(world.erasures.get(tenant(2)).unwrap().done, Some(Seq(8)));
    assert!(world.tenants.is_known(tenant(2)), "the audit still knows that there was one");
}
