//! Who holds which pair of ports, and which pairs were given back, in which order.

use std::sync::Arc;

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
    #[serde(skip)]
    touched: Touched,
}

/// A bit for each port: whether the pair that begins with it was ever in use as a pair, or
/// one of its two ports is in use now. Spares the search for a fresh pair, which every new
/// tenant makes, from asking for each pair before it.
#[derive(Clone, Debug, PartialEq)]
struct Touched(Arc<[u64; 1024]>);

impl Default for Touched {
    fn default() -> Touched {
        Touched(Arc::new([0; 1024]))
    }
}

impl Touched {
    fn set(&mut self, port: u16, is_touched: bool) {
        let bit = 1 << (port % 64);
        if let Some(word) = Arc::make_mut(&mut self.0).get_mut(usize::from(port / 64)) {
            *word = if is_touched { *word | bit } else { *word & !bit };
        }
    }

    /// The first port from `from` on without a mark.
    fn next_free(&self, from: u16) -> Option<u16> {
        let first = usize::from(from / 64);
        // What lies before `from` in its word counts as marked.
        let mut before = (1 << (from % 64)) - 1;
        for (index, word) in self.0.iter().enumerate().skip(first) {
            let bit = (word | std::mem::take(&mut before)).trailing_ones();
            if bit < 64 {
                return u16::try_from(index * 64 + bit as usize).ok();
            }
        }
        None
    }
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

    /// The pairs that were given back and are not in use again, with when.
    pub fn all_released(&self) -> impl Iterator<Item = (PortPair, Seq)> {
        self.released.iter().map(|(pair, seq)| (*pair, *seq))
    }

    /// The first port, from `from` on, that begins a pair (it and the next port) which never
    /// was in use, and of which neither port is.
    #[must_use]
    pub fn next_fresh(&self, from: u16) -> Option<u16> {
        self.touched.next_free(from)
    }

    /// Marks the pairs that a port stands in.
    fn mark(&mut self, port: u16) {
        for frontend in [port.saturating_sub(1), port] {
            let pair = PortPair { frontend, backend: frontend.saturating_add(1) };
            let is_touched = self.holder.contains_key(&pair.frontend)
                || self.holder.contains_key(&pair.backend)
                || self.released.contains_key(&pair);
            self.touched.set(frontend, is_touched);
        }
    }

    pub(super) fn reindex(&mut self) {
        self.touched = Touched::default();
        let released = self.released.keys().flat_map(|pair| [pair.frontend, pair.backend]);
        let ports: Vec<u16> = self.holder.keys().copied().chain(released).collect();
        ports.into_iter().for_each(|port| self.mark(port));
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
        self.ports.mark(ports.frontend);
        self.ports.mark(ports.backend);
        self.tenants.change(tenant_id, recorded.seq, |tenant| tenant.ports = Some(ports));
    }

    pub(super) fn port_released(&mut self, recorded: &Recorded, event: &PortReleased) {
        let PortReleased { tenant_id, ports } = *event;
        self.ports.held.remove(&ports);
        self.ports.drop_holder(ports.frontend, tenant_id);
        self.ports.drop_holder(ports.backend, tenant_id);
        self.ports.released.insert(ports, recorded.seq);
        self.ports.mark(ports.frontend);
        self.ports.mark(ports.backend);
        self.tenants.change(tenant_id, recorded.seq, |tenant| {
            if tenant.ports == Some(ports) {
                tenant.ports = None;
            }
        });
    }
}
