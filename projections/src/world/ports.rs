//! Who holds which pair of ports, and which pairs were given back, in which order.

use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use tenantry_journal::event::port::{PortAllocated, PortPair, PortReleased};
use tenantry_journal::id::{Seq, TenantId};
use tenantry_journal::recorded::Recorded;
use tenantry_journal::time::Timestamp;

use super::World;

/// One pair in use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Allocation {
    /// The pair.
    pub ports: PortPair,
    /// Who holds it.
    pub tenant_id: TenantId,
    /// Since when.
    pub allocated_at: Timestamp,
}

/// All port pairs that were ever given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ports {
    held: OrdMap<PortPair, Allocation>,
    holder: OrdMap<u16, TenantId>,
    released: OrdMap<PortPair, Seq>,
}

impl Ports {
    /// Pairs in use, by number.
    pub fn held(&self) -> impl Iterator<Item = &Allocation> {
        self.held.values()
    }

    /// Who holds a port, as either half of a pair.
    #[must_use]
    pub fn holder(&self, port: u16) -> Option<TenantId> {
        self.holder.get(&port).copied()
    }

    /// When a pair was given back last; `None` when it never was in use or is again.
    #[must_use]
    pub fn released(&self, ports: PortPair) -> Option<Seq> {
        self.released.get(&ports).copied()
    }

    fn drop_holder(&mut self, port: u16, tenant: TenantId) {
        if self.holder(port) == Some(tenant) {
            self.holder.remove(&port);
        }
    }
}

impl World {
    pub(super) fn port_allocated(&mut self, recorded: &Recorded, event: &PortAllocated) {
        let PortAllocated { tenant_id, ports } = *event;
        self.ports.held.insert(ports, Allocation { ports, tenant_id, allocated_at: recorded.at });
        self.ports.holder.insert(ports.frontend, tenant_id);
        self.ports.holder.insert(ports.backend, tenant_id);
        self.ports.released.remove(&ports);
        self.tenants.change(tenant_id, recorded.seq, |tenant| tenant.ports = Some(ports));
    }

    pub(super) fn port_released(&mut self, recorded: &Recorded, event: &PortReleased) {
        let PortReleased { tenant_id, ports } = *event;
        self.ports.held.remove(&ports);
        self.ports.drop_holder(ports.frontend, tenant_id);
        self.ports.drop_holder(ports.backend, tenant_id);
        self.ports.released.insert(ports, recorded.seq);
        self.tenants.change(tenant_id, recorded.seq, |tenant| {
            if tenant.ports == Some(ports) {
                tenant.ports = None;
            }
        });
    }
}
