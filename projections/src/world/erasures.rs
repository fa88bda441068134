//! Tenants that are to be forgotten, or were: who, since when, and whether it is done.
//!
//! When it is done the World lets go of whatever it holds opened of the tenant. What it keeps is
//! that there was one, so that the audit can still say that something happened.

use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use tenantry_journal::id::{KeyId, Seq, TenantId};

use super::{Attention, World};

/// How far a tenant's erasure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    /// The event that asked for it.
    pub requested: Seq,
    /// The event that says that it is done.
    pub done: Option<Seq>,
}

/// All erasures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Erasures {
    by_tenant: OrdMap<TenantId, Erasure>,
}

impl Erasures {
    /// How far a tenant's is; `None` when nobody asked for it.
    #[must_use]
    pub fn get(&self, id: TenantId) -> Option<Erasure> {
        self.by_tenant.get(&id).copied()
    }

    /// Whether nobody was ever to be forgotten.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_tenant.is_empty()
    }

    /// Those that are not done.
    pub fn wanted(&self) -> impl Iterator<Item = TenantId> {
        self.by_tenant.iter().filter(|(_, erasure)| erasure.done.is_none()).map(|(id, _)| *id)
    }
}

impl World {
    pub(super) fn erasure_requested(&mut self, seq: Seq, id: TenantId) {
        if self.tenants.is_known(id) && self.erasures.get(id).is_none() {
            self.erasures.by_tenant.insert(id, Erasure { requested: seq, done: None });
            self.attention.insert(Attention::Erasure(id));
        }
    }

    pub(super) fn tenant_erased(&mut self, seq: Seq, id: TenantId) {
        if let Some(erasure) = self.erasures.by_tenant.get_mut(&id) {
            erasure.done = Some(seq);
        }
        self.attention.remove(&Attention::Erasure(id));
        self.tenants.erase(id);
        self.instances.erase(KeyId::from(id));
    }
}
