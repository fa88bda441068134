//! Deployments and their steps; the last few of each tenant.

use std::sync::Arc;

use imbl::{OrdMap, Vector};
use serde::{Deserialize, Serialize};
use tenantry_journal::event::deployment::{
    DeploymentCancelRequested, DeploymentFinished, DeploymentOutcome, DeploymentRequested, DeploymentRetried,
    ReleaseActivated, ReleasesPruned, StepFinished, StepKind, StepOutcome, StepRolledBack, StepStarted,
};
use tenantry_journal::id::{DeploymentId, Seq, TenantId};
use tenantry_journal::recorded::Recorded;
use tenantry_journal::sealed::Sealed;
use tenantry_journal::time::Timestamp;

use super::releases::{Release, ReleaseStatus};
use super::{Attention, World};

/// How many deployments of a tenant stay in the World; older ones are found by as-of.
const KEPT_PER_TENANT: usize = 50;

/// Document 1's status of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentStatus {
    /// No step was begun.
    Pending,
    /// Under way.
    Running,
    /// The new release serves.
    Success,
    /// It does not.
    Failed,
    /// It was called off.
    Cancelled,
}

/// Document 1's status of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// Not begun.
    Pending,
    /// Begun.
    Running,
    /// Done.
    Success,
    /// Not done.
    Failed,
    /// Not wanted.
    Skipped,
    /// Never begun, because the deployment ended before.
    Cancelled,
    /// Done, then taken back.
    RolledBack,
}

/// One step of a deployment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Which.
    pub kind: StepKind,
    /// Why it is not to be done, when it is not.
    pub skip: Option<String>,
    /// How far it is.
    pub status: StepStatus,
    /// When it was begun first.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// What was done, or why not.
    pub detail: Option<Sealed<String>>,
}

impl Step {
    fn planned(kind: StepKind, skip: Option<String>) -> Step {
        Step { kind, skip, status: StepStatus::Pending, started_at: None, finished_at: None, detail: None }
    }
}

/// One attempt to bring a release into service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// Its id.
    pub id: DeploymentId,
    /// For whom.
    pub tenant_id: TenantId,
    /// The release that it makes.
    pub release: u32,
    /// The release that served when it began.
    pub previous_release: Option<u32>,
    /// Where its files come from.
    pub source: Sealed<String>,
    /// The branch, tag or commit that was asked for.
    pub git_ref: Option<Sealed<String>>,
    /// It brings an earlier release back.
    pub rollback: bool,
    /// Its steps, in order.
    pub steps: Vec<Step>,
    /// How far it is.
    pub status: DeploymentStatus,
    /// It was called off, and what it did is being taken back.
    pub cancelling: bool,
    /// When it was requested.
    pub requested_at: Timestamp,
    /// When its first step was begun; after a retry, the first of that.
    pub begun_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The last event about it: the cause of whatever is done next.
    pub cause: Seq,
}

impl Deployment {
    /// Whether it has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        !matches!(self.status, DeploymentStatus::Pending | DeploymentStatus::Running)
    }

    /// One of its steps.
    #[must_use]
    pub fn step(&self, kind: StepKind) -> Option<&Step> {
        self.steps.iter().find(|step| step.kind == kind)
    }

    /// The first step that has not ended.
    #[must_use]
    pub fn current(&self) -> Option<&Step> {
        self.steps.iter().find(|step| matches!(step.status, StepStatus::Pending | StepStatus::Running))
    }

    /// The step that failed, if one did.
    #[must_use]
    pub fn failed(&self) -> Option<&Step> {
        self.steps.iter().find(|step| step.status == StepStatus::Failed)
    }
}

/// The deployments that are kept, in the order in which they were requested.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Deployments {
    by_id: OrdMap<DeploymentId, Arc<Deployment>>,
    by_tenant: OrdMap<TenantId, Arc<[DeploymentId]>>,
    /// Those that have not ended, in the order in which they are done.
    open: OrdMap<TenantId, Vector<DeploymentId>>,
}

impl Deployments {
    /// All of them, for who packs a World.
    pub(crate) fn map(&self) -> &OrdMap<DeploymentId, Arc<Deployment>> {
        &self.by_id
    }

    pub(crate) fn map_mut(&mut self) -> &mut OrdMap<DeploymentId, Arc<Deployment>> {
        &mut self.by_id
    }

    pub(crate) fn of_tenants(&self) -> &OrdMap<TenantId, Arc<[DeploymentId]>> {
        &self.by_tenant
    }

    pub(crate) fn of_tenants_mut(&mut self) -> &mut OrdMap<TenantId, Arc<[DeploymentId]>> {
        &mut self.by_tenant
    }

    /// One deployment.
    #[must_use]
    pub fn get(&self, id: DeploymentId) -> Option<&Arc<Deployment>> {
        self.by_id.get(&id)
    }

    /// All deployments that are kept, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Deployment>> {
        self.by_id.values()
    }

    /// A tenant's deployments, oldest first.
    pub fn of(&self, tenant: TenantId) -> impl DoubleEndedIterator<Item = &Arc<Deployment>> {
        self.by_tenant.get(&tenant).into_iter().flat_map(|ids| ids.iter()).filter_map(|id| self.by_id.get(id))
    }

    /// A tenant's deployment that is under way: the oldest that has not ended. Those after it
    /// wait for its end.
    #[must_use]
    pub fn under_way(&self, tenant: TenantId) -> Option<&Arc<Deployment>> {
        self.open(tenant).next()
    }

    /// The one that is under way, and those that wait for it.
    pub fn open(&self, tenant: TenantId) -> impl Iterator<Item = &Arc<Deployment>> {
        self.open.get(&tenant).into_iter().flatten().filter_map(|id| self.by_id.get(id))
    }

    fn note_open(&mut self, tenant: TenantId, id: DeploymentId) {
        let mut open = self.open.get(&tenant).cloned().unwrap_or_default();
        open.push_back(id);
        self.open.insert(tenant, open);
    }

    fn note_closed(&mut self, tenant: TenantId, id: DeploymentId) {
        let Some(mut open) = self.open.get(&tenant).cloned() else { return };
        open.retain(|other| *other != id);
        if open.is_empty() {
            self.open.remove(&tenant)
        } else {
            self.open.insert(tenant, open)
        };
    }

    pub(super) fn forget_tenant(&mut self, tenant: TenantId) -> Vec<DeploymentId> {
        let ids = self.by_tenant.remove(&tenant).unwrap_or_default().to_vec();
        for id in &ids {
            self.by_id.remove(id);
        }
        self.open.remove(&tenant);
        ids
    }

    fn change(&mut self, id: DeploymentId, seq: Seq, change: impl FnOnce(&mut Deployment)) {
        self.change_if(id, seq, |_| true, change);
    }

    fn change_if(
        &mut self,
        id: DeploymentId,
        seq: Seq,
        applies: impl FnOnce(&Deployment) -> bool,
        change: impl FnOnce(&mut Deployment),
    ) {
        if let Some(deployment) = self.by_id.get_mut(&id).filter(|deployment| applies(deployment)) {
            let deployment = Arc::make_mut(deployment);
            deployment.cause = seq;
            change(deployment);
        }
    }

    fn change_step(&mut self, id: DeploymentId, kind: StepKind, seq: Seq, change: impl FnOnce(&mut Step)) {
        self.change(id, seq, |deployment| {
            if let Some(step) = deployment.steps.iter_mut().find(|step| step.kind == kind) {
                change(step);
            }
        });
    }
}

impl World {
    pub(super) fn deployment_requested(&mut self, recorded: &Recorded, event: &DeploymentRequested) {
        let Some(tenant) = self.tenants.get(event.tenant_id) else { return };
        if self.deployments.get(event.deployment_id).is_some() {
            return;
        }
        let deployment = Deployment {
            id: event.deployment_id,
            tenant_id: event.tenant_id,
            release: event.release,
            previous_release: tenant.release,
            source: event.source.clone(),
            git_ref: event.git_ref.clone(),
            rollback: event.rollback,
            steps: event.steps.iter().map(|step| Step::planned(step.kind, step.skip.clone())).collect(),
            status: DeploymentStatus::Pending,
            cancelling: false,
            requested_at: recorded.at,
            begun_at: None,
            finished_at: None,
            cause: recorded.seq,
        };
        let deployments = &mut self.deployments;
        deployments.by_id.insert(event.deployment_id, Arc::new(deployment));
        let mut ids = deployments.by_tenant.get(&event.tenant_id).map_or(Vec::new(), |ids| ids.to_vec());
        ids.push(event.deployment_id);
        let is_over = |id: &DeploymentId| deployments.get(*id).is_none_or(|deployment| deployment.is_over());
        if ids.len() > KEPT_PER_TENANT {
            // Of fifty none is under way that long; if one were, it would go too.
            let oldest = ids.remove(ids.iter().position(is_over).unwrap_or(0));
            deployments.by_id.remove(&oldest);
            deployments.note_closed(event.tenant_id, oldest);
            self.attention.remove(&Attention::Deployment(oldest));
        }
        deployments.by_tenant.insert(event.tenant_id, ids.into());
        deployments.note_open(event.tenant_id, event.deployment_id);
        self.attention.insert(Attention::Deployment(event.deployment_id));
        self.tenants.change(event.tenant_id, recorded.seq, |tenant| {
            tenant.deployment = Some(event.deployment_id);
            tenant.releases = tenant.releases.max(event.release);
        });
    }

    pub(super) fn step_started(&mut self, recorded: &Recorded, event: &StepStarted) {
        let Some(deployment) = self.deployments.get(event.deployment_id) else { return };
        if deployment.is_over() {
            return;
        }
        // One that waited for another finds what that has left.
        let serving = self.tenants.get(deployment.tenant_id).and_then(|tenant| tenant.release);
        self.deployments.change(event.deployment_id, recorded.seq, |deployment| {
            if deployment.status == DeploymentStatus::Pending {
                deployment.previous_release = serving;
            }
            deployment.status = DeploymentStatus::Running;
            deployment.begun_at.get_or_insert(recorded.at);
            if let Some(step) = deployment.steps.iter_mut().find(|step| step.kind == event.step) {
                step.status = StepStatus::Running;
                step.started_at.get_or_insert(recorded.at);
            }
        });
    }

    pub(super) fn step_finished(&mut self, recorded: &Recorded, event: &StepFinished) {
        self.deployments.change_step(event.deployment_id, event.step, recorded.seq, |step| {
            step.status = match event.outcome {
                StepOutcome::Success => StepStatus::Success,
                StepOutcome::Failed => StepStatus::Failed,
                StepOutcome::Skipped => StepStatus::Skipped,
            };
            step.finished_at = Some(recorded.at);
            step.detail = Some(event.detail.clone());
        });
        if (event.step, event.outcome) == (StepKind::CopyFiles, StepOutcome::Success) {
            self.release_made(recorded, event);
        }
    }

    fn release_made(&mut self, recorded: &Recorded, event: &StepFinished) {
        let made = self.deployments.get(event.deployment_id).filter(|deployment| !deployment.rollback);
        let Some((tenant, number)) = made.map(|made| (made.tenant_id, made.release)) else { return };
        let release = Release {
            number,
            deployment: event.deployment_id,
            made_at: recorded.at,
            commit: event.commit.clone(),
            status: ReleaseStatus::Prepared,
        };
        self.tenants.change(tenant, recorded.seq, |tenant| tenant.kept.note(release));
    }

    pub(super) fn step_rolled_back(&mut self, recorded: &Recorded, event: &StepRolledBack) {
        self.deployments.change_step(event.deployment_id, event.step, recorded.seq, |step| {
            step.status = StepStatus::RolledBack;
            step.detail = Some(event.detail.clone());
        });
    }

    pub(super) fn release_activated(&mut self, recorded: &Recorded, event: &ReleaseActivated) {
        self.deployments.change(event.deployment_id, recorded.seq, |_| {});
        self.tenants.change(event.tenant_id, recorded.seq, |tenant| {
            tenant.release = Some(event.release);
            tenant.deployed_at = Some(recorded.at);
            tenant.kept.change(event.release, |release| {
                release.status = ReleaseStatus::Healthy;
                if release.commit.is_none() {
                    release.commit.clone_from(&event.commit);
                }
            });
        });
    }

    pub(super) fn deployment_finished(&mut self, recorded: &Recorded, event: &DeploymentFinished) {
        self.deployments.change(event.deployment_id, recorded.seq, |deployment| {
            deployment.status = match event.outcome {
                DeploymentOutcome::Success => DeploymentStatus::Success,
                DeploymentOutcome::Failed => DeploymentStatus::Failed,
                DeploymentOutcome::Cancelled => DeploymentStatus::Cancelled,
            };
            deployment.finished_at = Some(recorded.at);
            for step in &mut deployment.steps {
                if matches!(step.status, StepStatus::Pending | StepStatus::Running) {
                    step.status = StepStatus::Cancelled;
                }
            }
        });
        self.attention.remove(&Attention::Deployment(event.deployment_id));
        self.deployments.note_closed(event.tenant_id, event.deployment_id);
        let failed = (event.outcome != DeploymentOutcome::Success)
            .then(|| self.deployments.get(event.deployment_id))
            .flatten()
            .filter(|deployment| !deployment.rollback)
            .map(|deployment| deployment.release);
        self.tenants.change(event.tenant_id, recorded.seq, |tenant| {
            let Some(failed) = failed else { return };
            tenant.kept.change(failed, |release| {
                if release.status == ReleaseStatus::Prepared {
                    release.status = ReleaseStatus::Failed;
                }
            });
        });
    }

    pub(super) fn deployment_cancel_requested(
        &mut self,
        recorded: &Recorded,
        event: &DeploymentCancelRequested,
    ) {
        self.deployments.change(event.deployment_id, recorded.seq, |deployment| {
            deployment.cancelling = !deployment.is_over();
        });
    }

    pub(super) fn deployment_retried(&mut self, recorded: &Recorded, event: &DeploymentRetried) {
        let Some(deployment) = self.deployments.get(event.deployment_id).cloned() else { return };
        if !deployment.is_over() || deployment.status == DeploymentStatus::Success {
            return;
        }
        self.deployments.change(event.deployment_id, recorded.seq, |deployment| {
            deployment.status = DeploymentStatus::Pending;
            deployment.cancelling = false;
            deployment.begun_at = None;
            deployment.finished_at = None;
            for step in &mut deployment.steps {
                if !matches!(step.status, StepStatus::Success | StepStatus::Skipped) {
                    *step = Step::planned(step.kind, step.skip.clone());
                }
            }
        });
        self.attention.insert(Attention::Deployment(event.deployment_id));
        self.deployments.note_open(event.tenant_id, event.deployment_id);
        self.tenants.change(event.tenant_id, recorded.seq, |tenant| {
            tenant.kept.change(deployment.release, |release| {
                if release.status == ReleaseStatus::Failed {
                    release.status = ReleaseStatus::Prepared;
                }
            });
        });
    }

    pub(super) fn releases_pruned(&mut self, recorded: &Recorded, event: &ReleasesPruned) {
        self.tenants.change(event.tenant_id, recorded.seq, |tenant| tenant.kept.forget(&event.releases));
    }
}
