//! What the world outside still lacks, as data. Only the live reactor performs effects.

use tenantry_journal::event::deployment::StepKind;
use tenantry_journal::id::{AnalysisId, DeploymentId, InstanceId, RunId, Seq, TenantId};
use tenantry_journal::time::Timestamp;

/// Something to be done outside. Equal effects are the same work: while one is under way,
/// the same one is not begun again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Effect {
    /// Begin a new run of an instance, not before a moment.
    BeginRun(InstanceId),
    /// Begin a new run beside the present one.
    BeginSuccessor(InstanceId),
    /// See to it that a named run has a process and becomes healthy.
    EnsureRun(InstanceId, RunId),
    /// See to it that a run ends.
    EndRun(InstanceId, RunId),
    /// Remove what an instance left outside.
    ForgetInstance(InstanceId),
    /// Do a deployment's step.
    RunStep(DeploymentId, StepKind),
    /// Take back what a failed deployment did outside.
    RollBack(DeploymentId),
    /// Remove what a tenant has outside.
    RemoveTenant(TenantId),
    /// Forget a tenant that is gone, and destroy its key.
    EraseTenant(TenantId),
    /// Write a tenant's theme into its directory.
    ApplyTheme(TenantId),
    /// Look at a website and think of themes.
    Analyze(AnalysisId),
    /// Write a tenant's `.env` file.
    WriteEnv(TenantId),
}

/// An effect with when it is due and what it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// What to do.
    pub effect: Effect,
    /// Not before this; `None` is at once.
    pub not_before: Option<Timestamp>,
    /// The event that makes it necessary.
    pub cause: Seq,
}
