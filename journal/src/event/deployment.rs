//! Deployments: a saga whose log is these events.

use serde::{Deserialize, Serialize};

use crate::id::{DeploymentId, TenantId};
use crate::sealed::Sealed;

/// The six steps, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// The release's files, into `releases/N`.
    CopyFiles,
    /// The template's init command, or an empty SQLite file.
    InitializeDatabase,
    /// What shall run, told to the supervisor (or systemd).
    CreateServices,
    /// The tenant's sites.
    ConfigureNginx,
    /// Its certificates.
    SetupSsl,
    /// The switch to the new release, gated by health.
    StartServices,
}

impl StepKind {
    /// All steps, in their order.
    pub const ALL: [StepKind; 6] = [
        StepKind::CopyFiles,
        StepKind::InitializeDatabase,
        StepKind::CreateServices,
        StepKind::ConfigureNginx,
        StepKind::SetupSsl,
        StepKind::StartServices,
    ];

    /// The step's name as document 1 prints it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            StepKind::CopyFiles => "Copy files",
            StepKind::InitializeDatabase => "Initialize database",
            StepKind::CreateServices => "Create systemd services",
            StepKind::ConfigureNginx => "Configure NGINX",
            StepKind::SetupSsl => "Setup SSL",
            StepKind::StartServices => "Start services",
        }
    }

    /// What `current_step` says while the step runs.
    #[must_use]
    pub fn doing(self) -> &'static str {
        match self {
            StepKind::CopyFiles => "Copying files",
            StepKind::InitializeDatabase => "Initializing database",
            StepKind::CreateServices => "Creating systemd services",
            StepKind::ConfigureNginx => "Configuring NGINX",
            StepKind::SetupSsl => "Setting up SSL",
            StepKind::StartServices => "Starting services",
        }
    }
}

/// A step as planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// Which.
    pub kind: StepKind,
    /// Why it is not done, when it is not.
    pub skip: Option<String>,
}

/// Somebody wants a release in service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeploymentRequested {
    /// The new deployment.
    pub deployment_id: DeploymentId,
    /// For whom.
    pub tenant_id: TenantId,
    /// Number of the release that it makes: 1 for a tenant's first, never used twice. A rollback
    /// names one that is there.
    pub release: u32,
    /// Where its files come from.
    pub source: Sealed<String>,
    /// What will be done.
    pub steps: Vec<PlannedStep>,
    /// The branch, tag or commit; without one the newest commit of the default branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_ref: Option<Sealed<String>>,
    /// It brings an earlier release back into service.
    #[serde(default, skip_serializing_if = "is_false")]
    pub rollback: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Somebody wants a deployment to end; what it did outside is taken back first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeploymentCancelRequested {
    /// The deployment.
    pub deployment_id: DeploymentId,
    /// The tenant.
    pub tenant_id: TenantId,
}

/// A deployment that had ended goes on from the step that did not succeed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeploymentRetried {
    /// The deployment.
    pub deployment_id: DeploymentId,
    /// The tenant.
    pub tenant_id: TenantId,
}

/// Earlier releases are given up: nobody can go back to them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReleasesPruned {
    /// The tenant.
    pub tenant_id: TenantId,
    /// Their numbers.
    pub releases: Vec<u32>,
}

/// A step is about to be done. Recorded again when it is resumed after a crash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepStarted {
    /// The deployment.
    pub deployment_id: DeploymentId,
    /// The step.
    pub step: StepKind,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// Done.
    Success,
    /// Not done; `detail` says why.
    Failed,
    /// Not wanted; `detail` says why.
    Skipped,
}

/// A step ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepFinished {
    /// The deployment.
    pub deployment_id: DeploymentId,
    /// The step.
    pub step: StepKind,
    /// How.
    pub outcome: StepOutcome,
    /// A sentence: what was done, or why not.
    pub detail: Sealed<String>,
    /// Commit of the release's files, when the step copied them from git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// A step's effect was taken back after a later one failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRolledBack {
    /// The deployment.
    pub deployment_id: DeploymentId,
    /// The step.
    pub step: StepKind,
    /// A sentence: what was taken back, or what could not be.
    pub detail: Sealed<String>,
}

/// This release is the one that serves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReleaseActivated {
    /// The deployment.
    pub deployment_id: DeploymentId,
    /// The tenant.
    pub tenant_id: TenantId,
    /// The release's number.
    pub release: u32,
    /// Commit of the release's files, when they came from git.
    pub commit: Option<String>,
}

/// How a deployment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentOutcome {
    /// The new release serves.
    Success,
    /// It does not; what served before serves on, if anything did.
    Failed,
    /// Somebody called it off.
    Cancelled,
}

/// A deployment ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeploymentFinished {
    /// The deployment.
    pub deployment_id: DeploymentId,
    /// The tenant.
    pub tenant_id: TenantId,
    /// How.
    pub outcome: DeploymentOutcome,
}
