//! Tenants' configurations: when each changed last, and how far its `.env` file is.
//!
//! What is configured stands with the tenant (`Tenant::config`); what is not set there follows
//! from the tenant's names and ports, so a change of those is a change of the configuration.

use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use tenantry_journal::id::{Seq, TenantId};

use super::{Attention, World};

/// What is noted of one tenant's configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// The last event that may have changed what it says (for `ETag`).
    pub changed: Seq,
    /// The last request for its file that was not answered yet.
    pub env_wanted: Option<Seq>,
    /// The last request for its file that was answered, well or badly.
    pub env_answered: Seq,
}

/// All tenants' configurations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Configurations {
    by_tenant: OrdMap<TenantId, Configuration>,
}

impl Configurations {
    /// All of them, for who packs a World.
    pub(crate) fn map(&self) -> &OrdMap<TenantId, Configuration> {
        &self.by_tenant
    }

    pub(crate) fn map_mut(&mut self) -> &mut OrdMap<TenantId, Configuration> {
        &mut self.by_tenant
    }

    /// One tenant's.
    #[must_use]
    pub fn get(&self, id: TenantId) -> Option<&Configuration> {
        self.by_tenant.get(&id)
    }

    /// Those whose file is to be written.
    pub(super) fn wanted(&self) -> impl Iterator<Item = TenantId> {
        self.by_tenant.iter().filter(|(_, one)| one.env_wanted.is_some()).map(|(id, _)| *id)
    }
}

impl World {
    /// Notes that what a tenant's configuration says may be another thing from here on.
    pub(super) fn configuration_changed(&mut self, seq: Seq, id: TenantId) {
        if self.tenants.get(id).is_some() {
            self.configurations.by_tenant.entry(id).or_default().changed = seq;
        }
    }

    /// A tenant of this id begins, or ends: whatever was noted is of another.
    pub(super) fn configuration_forgotten(&mut self, id: TenantId) {
        self.configurations.by_tenant.remove(&id);
        self.attention.remove(&Attention::EnvFile(id));
    }

    pub(super) fn env_requested(&mut self, seq: Seq, id: TenantId) {
        if let Some(one) = self.configurations.by_tenant.get_mut(&id) {
            one.env_wanted = Some(seq);
            self.attention.insert(Attention::EnvFile(id));
        }
    }

    /// A request that came while the file was being written is not answered by that.
    pub(super) fn env_answered(&mut self, id: TenantId, answers: Seq) {
        let Some(one) = self.configurations.by_tenant.get_mut(&id) else { return };
        one.env_answered = one.env_answered.max(answers);
        if one.env_wanted.is_some_and(|wanted| wanted <= answers) {
            one.env_wanted = None;
            self.attention.remove(&Attention::EnvFile(id));
        }
    }
}
