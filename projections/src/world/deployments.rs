//! Deployments and their steps; the last few of each tenant.

use std::sync::Arc;

use imbl::{OrdMap, Vector};
use serde::{Deserialize, Serialize};
use tenantry_journal::event::deployment::{
    DeploymentFinished, DeploymentOutcome, DeploymentRequested, ReleaseActivated, StepFinished, StepKind,
    StepOutcome, StepRolledBack, StepStarted,
};
use tenantry_journal::id::{DeploymentId, Seq, TenantId};
use tenantry_journal::recorded::Recorded;
use tenantry_journal::sealed::Sealed;
use tenantry_journal::time::Timestamp;

use super::{Attention, World};

/// How many deployments of a tenant stay in the World; older ones are found by as-of.
const KEPT_PER_TENANT: usize = 50;

/// Document 1's status of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Its steps, in order.
    pub steps: Vec<Step>,
    /// How far it is.
    pub status: DeploymentStatus,
    /// When it was requested.
    pub requested_at: Timestamp,
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
    by_tenant: OrdMap<TenantId, Vector<DeploymentId>>,
}

impl Deployments {
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
        self.by_tenant.get(&tenant).into_iter().flatten().filter_map(|id| self.by_id.get(id))
    }

    pub(super) fn forget_tenant(&mut self, tenant: TenantId) -> Vec<DeploymentId> {
        let ids: Vec<DeploymentId> = self.by_tenant.remove(&tenant).into_iter().flatten().collect();
        for id in &ids {
            self.by_id.remove(id);
        }
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
            steps: event
                .steps
                .iter()
                .map(|step| Step {
                    kind: step.kind,
                    skip: step.skip.clone(),
                    status: StepStatus::Pending,
                    started_at: None,
                    finished_at: None,
                    detail: None,
                })
                .collect(),
            status: DeploymentStatus::Pending,
            requested_at: recorded.at,
            finished_at: None,
            cause: recorded.seq,
        };
        let deployments = &mut self.deployments;
        deployments.by_id.insert(event.deployment_id, Arc::new(deployment));
        let mut ids = deployments.by_tenant.get(&event.tenant_id).cloned().unwrap_or_default();
        ids.push_back(event.deployment_id);
        if ids.len() > KEPT_PER_TENANT
            && let Some(oldest) = ids.pop_front()
        {
            deployments.by_id.remove(&oldest);
            self.attention.remove(&Attention::Deployment(oldest));
        }
        deployments.by_tenant.insert(event.tenant_id, ids);
        self.attention.insert(Attention::Deployment(event.deployment_id));
        self.tenants.change(event.tenant_id, recorded.seq, |tenant| {
            tenant.deployment = Some(event.deployment_id);
            tenant.releases = tenant.releases.max(event.release);
        });
    }

    pub(super) fn step_started(&mut self, recorded: &Recorded, event: &StepStarted) {
        self.deployments.change_if(
            event.deployment_id,
            recorded.seq,
            |found| !found.is_over(),
            |deployment| {
                deployment.status = DeploymentStatus::Running;
                if let Some(step) = deployment.steps.iter_mut().find(|step| step.kind == event.step) {
                    step.status = StepStatus::Running;
                    step.started_at.get_or_insert(recorded.at);
                }
            },
        );
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
        self.tenants.change(event.tenant_id, recorded.seq, |_| {});
    }
}
