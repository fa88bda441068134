//! The customers, and what adds up to each one's status.

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use tenantry_journal::event::health::{HealthChanged, TenantHealth};
use tenantry_journal::event::instance::Role;
use tenantry_journal::event::port::PortPair;
use tenantry_journal::event::tenant::{
    Removal, TenantConfig, TenantConfigUpdated, TenantCreated, TenantDeleted, TenantDeletionRequested,
    TenantDetails, TenantRestored, TenantUpdated,
};
use tenantry_journal::id::{DeploymentId, InstanceId, Seq, TenantId};
use tenantry_journal::name::{Domain, Slug};
use tenantry_journal::recorded::Recorded;
use tenantry_journal::sealed::Sealed;
use tenantry_journal::time::Timestamp;

use super::certificates::Tls;
use super::deployments::DeploymentStatus;
use super::instances::{Desired, Phase};
use super::releases::{Release, ReleaseStatus, Releases};
use super::themes::Theme;
use super::{Attention, World};

/// Document 1's `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TenantStatus {
    /// Never deployed.
    Pending,
    /// A deployment is under way.
    Deploying,
    /// It should run, and its processes do.
    Running,
    /// It was stopped on purpose.
    Stopped,
    /// It should run, and does not; or its first deployment failed.
    Error,
}

/// The last change of a tenant's health.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthRecord {
    /// What the parts add up to.
    pub overall: TenantHealth,
    /// `up` or `down`.
    pub frontend: String,
    /// `up` or `down`.
    pub backend: String,
    /// `healthy`, `missing` or `damaged`.
    pub database: String,
    /// When it changed.
    pub since: Timestamp,
}

/// One customer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Names, domains, origin, notes.
    pub details: Sealed<TenantDetails>,
    /// When it was created.
    pub created_at: Timestamp,
    /// The last event that changed the tenant itself (for `ETag` and causes).
    pub changed: Seq,
    /// The pair that it holds.
    pub ports: Option<PortPair>,
    /// Set while it is being deleted: what to remove.
    pub deletion: Option<Removal>,
    /// Its frontend's instance, once created.
    pub frontend: Option<InstanceId>,
    /// Its backend's instance, once created.
    pub backend: Option<InstanceId>,
    /// Its latest deployment.
    pub deployment: Option<DeploymentId>,
    /// Number of releases begun so far; the next one gets the number after it.
    pub releases: u32,
    /// Those whose files are there.
    pub kept: Releases,
    /// The release that serves.
    pub release: Option<u32>,
    /// When that release was put in service.
    pub deployed_at: Option<Timestamp>,
    /// The last change of health.
    pub health: Option<HealthRecord>,
    /// The application's configuration, as far as somebody set it.
    pub config: Option<Sealed<TenantConfig>>,
    /// Its look, as far as somebody set it.
    pub theme: Theme,
    /// Its certificate, and what came of asking for one.
    pub tls: Tls,
}

impl Tenant {
    /// Its name, or what stands for it when it cannot be opened.
    #[must_use]
    pub fn name(&self) -> &str {
        self.details.open().map_or_else(|| self.details.stand_in(), |details| &details.name)
    }

    /// One that begins with this event.
    fn new(id: TenantId, details: Sealed<TenantDetails>, recorded: &Recorded) -> Tenant {
        Tenant {
            id,
            details,
            created_at: recorded.at,
            changed: recorded.seq,
            ports: None,
            deletion: None,
            frontend: None,
            backend: None,
            deployment: None,
            releases: 0,
            kept: Releases::default(),
            release: None,
            deployed_at: None,
            health: None,
            config: None,
            theme: Theme::default(),
            tls: Tls::default(),
        }
    }

    /// The instance of a role.
    #[must_use]
    pub fn instance(&self, role: Role) -> Option<InstanceId> {
        match role {
            Role::Frontend => self.frontend,
            Role::Backend => self.backend,
        }
    }
}

/// What is remembered of a tenant that was deleted, so that it can be brought back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gone {
    /// What it was called.
    pub details: Sealed<TenantDetails>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Number of releases that were begun.
    pub releases: u32,
    /// Those whose files were there.
    pub kept: Releases,
    /// What went with it.
    pub removed: Removal,
    /// The event that says that it is gone.
    pub deleted: Seq,
    /// Whether its directory became another tenant's since: what lies there is not its own.
    pub is_displaced: bool,
}

/// All customers, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tenants {
    by_id: OrdMap<TenantId, Arc<Tenant>>,
    gone: OrdMap<TenantId, Arc<Gone>>,
    /// Those that are gone and whose directory is still their own.
    #[serde(skip)]
    left: OrdMap<String, TenantId>,
    #[serde(skip)]
    by_slug: OrdMap<Slug, TenantId>,
    #[serde(skip)]
    by_domain: OrdMap<Domain, TenantId>,
}

impl Tenants {
    /// All of them, for who packs a World.
    pub(crate) fn map(&self) -> &OrdMap<TenantId, Arc<Tenant>> {
        &self.by_id
    }

    pub(crate) fn map_mut(&mut self) -> &mut OrdMap<TenantId, Arc<Tenant>> {
        &mut self.by_id
    }

    /// One tenant.
    #[must_use]
    pub fn get(&self, id: TenantId) -> Option<&Arc<Tenant>> {
        self.by_id.get(&id)
    }

    /// A tenant that was deleted and not brought back.
    #[must_use]
    pub fn gone(&self, id: TenantId) -> Option<&Arc<Gone>> {
        self.gone.get(&id)
    }

    /// Who lay last in a directory, of those who were deleted and left their files in it.
    #[must_use]
    pub fn left_in(&self, directory: &str) -> Option<TenantId> {
        let is_there = |gone: &Gone| {
            !gone.removed.files && gone.details.open().is_some_and(|details| details.directory == directory)
        };
        let left = self.gone.iter().filter(|(_, gone)| is_there(gone));
        left.max_by_key(|(_, gone)| gone.deleted).map(|(id, _)| *id)
    }

    /// Whether there is or was such a tenant.
    #[must_use]
    pub fn is_known(&self, id: TenantId) -> bool {
        self.by_id.contains_key(&id) || self.gone.contains_key(&id)
    }

    /// All tenants, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Tenant>> {
        self.by_id.values()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Who has this slug.
    #[must_use]
    pub fn by_slug(&self, slug: &Slug) -> Option<TenantId> {
        self.by_slug.get(slug).copied()
    }

    /// Who has this domain, as `domain` or as `api_domain`.
    #[must_use]
    pub fn by_domain(&self, domain: &Domain) -> Option<TenantId> {
        self.by_domain.get(domain).copied()
    }

    pub(super) fn change(&mut self, id: TenantId, seq: Seq, change: impl FnOnce(&mut Tenant)) {
        if let Some(tenant) = self.by_id.get_mut(&id) {
            let tenant = Arc::make_mut(tenant);
            tenant.changed = seq;
            change(tenant);
        }
    }

    /// Changes what is no part of the tenant as it is shown, so that no `ETag` moves.
    pub(super) fn change_quietly(&mut self, id: TenantId, change: impl FnOnce(&mut Tenant)) {
        if let Some(tenant) = self.by_id.get_mut(&id) {
            change(Arc::make_mut(tenant));
        }
    }

    fn index(&mut self, id: TenantId, details: &Sealed<TenantDetails>) {
        let Some(details) = details.open() else { return };
        self.by_slug.insert(details.slug.clone(), id);
        self.by_domain.insert(details.domain.clone(), id);
        if let Some(domain) = &details.api_domain {
            self.by_domain.insert(domain.clone(), id);
        }
    }

    /// Indexes other details of a tenant. What they say alike is left as it is: an index that
    /// did not change is shared with the Worlds before.
    fn reindex_one(&mut self, id: TenantId, before: &Sealed<TenantDetails>, now: &Sealed<TenantDetails>) {
        let is_alike = before.open().zip(now.open()).is_some_and(|(before, now)| {
            (&before.slug, &before.domain, &before.api_domain) == (&now.slug, &now.domain, &now.api_domain)
        });
        if !is_alike {
            self.unindex(before);
            self.index(id, now);
        }
    }

    fn unindex(&mut self, details: &Sealed<TenantDetails>) {
        let Some(details) = details.open() else { return };
        self.by_slug.remove(&details.slug);
        self.by_domain.remove(&details.domain);
        if let Some(domain) = &details.api_domain {
            self.by_domain.remove(domain);
        }
    }

    /// Notes that a tenant is gone, and what of it is left.
    fn note_gone(&mut self, tenant: &Tenant, removed: Removal, deleted: Seq) {
        let gone = Gone {
            details: tenant.details.clone(),
            created_at: tenant.created_at,
            releases: tenant.releases,
            kept: tenant.kept.clone(),
            removed,
            deleted,
            is_displaced: false,
        };
        self.index_left(tenant.id, &gone);
        self.gone.insert(tenant.id, Arc::new(gone));
    }

    /// Notes that a tenant is there, in its directory: whoever lay there before does no longer.
    fn note_there(&mut self, id: TenantId, details: &Sealed<TenantDetails>) {
        if let Some(gone) = self.gone.remove(&id) {
            self.unindex_left(id, &gone);
        }
        let Some(directory) = details.open().map(|details| &details.directory) else { return };
        if let Some(displaced) = self.left.remove(directory)
            && let Some(gone) = self.gone.get_mut(&displaced)
        {
            Arc::make_mut(gone).is_displaced = true;
        }
    }

    /// Tenants that are gone and whose directory became this one's.
    pub fn displaced_by(&self, id: TenantId) -> impl Iterator<Item = TenantId> {
        let details = self.get(id).map(|tenant| &tenant.details);
        let details = details.or_else(|| self.gone(id).map(|gone| &gone.details)).and_then(Sealed::open);
        let is_there = move |gone: &Gone| {
            let before = gone.details.open().map(|before| &before.directory);
            gone.is_displaced && before.is_some() && before == details.map(|details| &details.directory)
        };
        self.gone.iter().filter(move |(other, gone)| **other != id && is_there(gone)).map(|(other, _)| *other)
    }

    /// Notes that what lies in the directory of a tenant that is gone is not its own.
    pub(super) fn displace(&mut self, id: TenantId) {
        let Some(gone) = self.gone.get(&id).filter(|gone| !gone.is_displaced).cloned() else { return };
        self.unindex_left(id, &gone);
        self.gone.insert(id, Arc::new(Gone { is_displaced: true, ..Gone::clone(&gone) }));
    }

    /// Lets go of what a tenant that is gone was called.
    pub(super) fn erase(&mut self, id: TenantId) {
        let Some(gone) = self.gone.get(&id).cloned() else { return };
        self.unindex_left(id, &gone);
        self.gone.insert(id, Arc::new(Gone { details: Sealed::erased(id), ..Gone::clone(&gone) }));
    }

    fn index_left(&mut self, id: TenantId, gone: &Gone) {
        if let Some(details) = gone.details.open().filter(|_| !gone.is_displaced) {
            self.left.insert(details.directory.clone(), id);
        }
    }

    fn unindex_left(&mut self, id: TenantId, gone: &Gone) {
        let directory = gone.details.open().map(|details| &details.directory);
        if let Some(directory) = directory.filter(|directory| self.left.get(*directory) == Some(&id)) {
            self.left.remove(directory);
        }
    }

    pub(super) fn reindex(&mut self) {
        self.by_slug = OrdMap::new();
        self.by_domain = OrdMap::new();
        self.left = OrdMap::new();
        let gone: Vec<(TenantId, Arc<Gone>)> =
            self.gone.iter().map(|(id, gone)| (*id, Arc::clone(gone))).collect();
        for (id, gone) in gone {
            self.index_left(id, &gone);
        }
        let all: Vec<Arc<Tenant>> = self.by_id.values().cloned().collect();
        for tenant in all {
            self.index(tenant.id, &tenant.details);
        }
    }
}

impl World {
    pub(super) fn tenant_created(&mut self, recorded: &Recorded, event: &TenantCreated) {
        self.tenant_begins(Tenant::new(event.tenant_id, event.details.clone(), recorded));
    }

    fn tenant_begins(&mut self, tenant: Tenant) {
        let (id, details) = (tenant.id, tenant.details.clone());
        if let Some(before) = self.tenants.by_id.insert(id, Arc::new(tenant)) {
            self.tenants.unindex(&before.details);
            self.attention.remove(&Attention::Tenant(id));
            self.attention.remove(&Attention::Theme(id));
        }
        self.tenants.index(id, &details);
        self.tenants.note_there(id, &details);
    }

    pub(super) fn tenant_restored(&mut self, recorded: &Recorded, event: &TenantRestored) {
        let Some(revived) = &event.revived else {
            return self.tenants.change(event.tenant_id, recorded.seq, |_| {});
        };
        let mut tenant = Tenant::new(event.tenant_id, revived.details.clone(), recorded);
        tenant.created_at = revived.created_at;
        tenant.releases = revived.releases;
        for kept in &revived.kept {
            tenant.kept.note(Release {
                number: kept.number,
                deployment: kept.deployment_id,
                made_at: kept.made_at,
                commit: kept.commit.clone(),
                status: if kept.served { ReleaseStatus::Healthy } else { ReleaseStatus::Prepared },
            });
        }
        self.tenant_begins(tenant);
    }

    pub(super) fn tenant_updated(&mut self, recorded: &Recorded, event: &TenantUpdated) {
        let Some(before) = self.tenants.get(event.tenant_id).map(|tenant| tenant.details.clone()) else {
            return;
        };
        self.tenants.reindex_one(event.tenant_id, &before, &event.details);
        self.tenants.change(event.tenant_id, recorded.seq, |tenant| tenant.details = event.details.clone());
    }

    pub(super) fn tenant_config_updated(&mut self, recorded: &Recorded, event: &TenantConfigUpdated) {
        self.tenants
            .change(event.tenant_id, recorded.seq, |tenant| tenant.config = Some(event.config.clone()));
    }

    pub(super) fn tenant_deletion_requested(&mut self, recorded: &Recorded, event: &TenantDeletionRequested) {
        if self.tenants.get(event.tenant_id).is_none() {
            return;
        }
        self.tenants.change(event.tenant_id, recorded.seq, |tenant| tenant.deletion = Some(event.remove));
        self.attention.insert(Attention::Tenant(event.tenant_id));
    }

    pub(super) fn tenant_deleted(&mut self, recorded: &Recorded, event: &TenantDeleted) {
        let id = event.tenant_id;
        if let Some(tenant) = self.tenants.by_id.remove(&id) {
            self.tenants.unindex(&tenant.details);
            self.tenants.note_gone(&tenant, event.removed, recorded.seq);
        }
        for deployment in self.deployments.forget_tenant(id) {
            self.attention.remove(&Attention::Deployment(deployment));
        }
        for analysis in self.analyses.forget_tenant(id) {
            self.attention.remove(&Attention::Analysis(analysis));
        }
        self.attention.remove(&Attention::Theme(id));
        self.attention.remove(&Attention::Tenant(id));
    }

    pub(super) fn health_changed(&mut self, recorded: &Recorded, event: &HealthChanged) {
        self.tenants.change(event.tenant_id, recorded.seq, |tenant| {
            tenant.health = Some(HealthRecord {
                overall: event.overall,
                frontend: event.frontend.clone(),
                backend: event.backend.clone(),
                database: event.database.clone(),
                since: recorded.at,
            });
        });
    }

    /// What document 1 calls the tenant's status, derived from its deployment and instances.
    #[must_use]
    pub fn tenant_status(&self, tenant: &Tenant) -> TenantStatus {
        if self.deployments.under_way(tenant.id).is_some() {
            return TenantStatus::Deploying;
        }
        let latest = tenant.deployment.and_then(|id| self.deployments.get(id));
        if tenant.release.is_none() {
            return match latest.map(|deployment| deployment.status) {
                Some(DeploymentStatus::Failed) => TenantStatus::Error,
                // Deployed without its services: they are there to be started.
                Some(DeploymentStatus::Success) => TenantStatus::Stopped,
                _ => TenantStatus::Pending,
            };
        }
        let instances: Vec<_> = [tenant.frontend, tenant.backend]
            .into_iter()
            .flatten()
            .filter_map(|id| self.instances.get(id))
            .filter(|instance| instance.desired == Desired::Running || instance.phase == Phase::Failed)
            .collect();
        if instances.is_empty() {
            return TenantStatus::Stopped;
        }
        if instances.iter().any(|instance| matches!(instance.phase, Phase::Failed | Phase::Backoff)) {
            return TenantStatus::Error;
        }
        TenantStatus::Running
    }
}
