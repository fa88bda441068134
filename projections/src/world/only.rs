//! One tenant taken out of a World: what a fold of its own events alone would have come to.
//!
//! Which pairs of ports it gave back, and which requests made it what it is, is not told of it:
//! that is everybody's business.

use imbl::OrdMap;
use tenantry_journal::id::TenantId;

use super::World;

impl World {
    /// A World that holds this tenant, its instances, deployments, analyses, ports and
    /// configuration, and nothing else.
    #[must_use]
    pub fn only(&self, tenant: TenantId) -> World {
        let mut only = World {
            seq: self.seq,
            at: self.at,
            tenants: self.tenants.only(tenant),
            ports: self.ports.only(tenant),
            instances: self.instances.only(tenant),
            deployments: self.deployments.only(tenant),
            analyses: self.analyses.only(tenant),
            configurations: self.configurations.only(tenant),
            erasures: self.erasures.only(tenant),
            ..World::default()
        };
        only.reindex();
        only
    }
}

/// Of a map these entries alone.
pub(super) fn these<K: Ord + Copy, V: Clone>(
    map: &OrdMap<K, V>,
    keys: impl IntoIterator<Item = K>,
) -> OrdMap<K, V> {
    keys.into_iter().filter_map(|key| Some((key, map.get(&key)?.clone()))).collect()
}
