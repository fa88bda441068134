//! Everything that can be asked of the engine.
//!
//! The first half comes from people, the second from the control plane's own parts, which
//! report what they are about to do and what they found.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tenantry_journal::event::access::{Role, Scope};
use tenantry_journal::event::deployment::StepKind;
use tenantry_journal::event::health::TenantHealth;
use tenantry_journal::event::instance::{ExitStatus, InstanceHealth};
use tenantry_journal::event::site::Signer;
use tenantry_journal::event::tenant::{Backup, Removal};
use tenantry_journal::id::{
    AnalysisId, DeploymentId, InstanceId, RunId, Seq, SuggestionId, TenantId, TokenId, UserId,
};
use tenantry_journal::name::{Domain, InstanceKey, Slug};
use tenantry_journal::sealed::Secret;
use tenantry_journal::time::Timestamp;

use super::certificate::{Asked, Obtained};
use super::denied::Denial;
use super::reconfigure::Reconfigure;
use super::restore::Restore;
use super::tenant_config::ConfigChanges;
use super::theme::{Found, ThemeChanges};
use super::undo::Undo;
use super::user::UserChanges;

/// TCP ports that something on this machine listens on, as found just before the command.
pub type Listening = Arc<BTreeSet<u16>>;

/// A tenant to be.
#[derive(Clone, Debug)]
pub struct CreateTenant {
    /// Display name.
    pub name: String,
    /// Short name.
    pub slug: Slug,
    /// Where its frontend is served.
    pub domain: Domain,
    /// Where its backend is served.
    pub api_domain: Option<Domain>,
    /// A port that it must have; without one it is allocated.
    pub frontend_port: Option<u16>,
    /// A port that it must have; without one it is allocated.
    pub backend_port: Option<u16>,
    /// What is deployed.
    pub github_repo: Option<String>,
    /// Remarks.
    pub notes: Option<String>,
    /// Ports that are not free whatever the World says.
    pub listening: Listening,
}

/// Fields of a tenant to be replaced; `None` leaves one as it is. The inner `None` clears it.
#[derive(Clone, Debug, Default)]
pub struct TenantChanges {
    /// Display name.
    pub name: Option<String>,
    /// Where its frontend is served.
    pub domain: Option<Domain>,
    /// Where its backend is served.
    pub api_domain: Option<Option<Domain>>,
    /// What is deployed.
    pub github_repo: Option<Option<String>>,
    /// Remarks.
    pub notes: Option<Option<String>>,
}

/// How a deployment is wanted, and which of its steps are not.
#[derive(Clone, Debug, Default)]
pub struct DeploySwitches {
    /// No certificates.
    pub skip_ssl: bool,
    /// No sites.
    pub skip_nginx: bool,
    /// Neither create nor start services.
    pub skip_services: bool,
    /// The branch, tag or commit; without one the newest commit of the default branch.
    pub git_ref: Option<String>,
    /// It may wait for the one that is under way.
    pub queue: bool,
}

/// How a driver's work for a step ended.
#[derive(Clone, Debug)]
pub enum StepReport {
    /// Done.
    Done {
        /// A sentence: what was done.
        detail: String,
        /// Commit of the release's files, when the step knows it.
        commit: Option<String>,
    },
    /// Not done.
    Failed {
        /// A sentence: why not.
        detail: String,
    },
}

/// Everything that can be asked of the engine.
#[derive(Clone, Debug)]
pub enum Command {
    /// Register a tenant and give it ports.
    CreateTenant(CreateTenant),
    /// Change what a tenant is called.
    UpdateTenant {
        /// Which.
        tenant_id: TenantId,
        /// What to replace.
        changes: TenantChanges,
    },
    /// Bring a tenant back to what it was, also one that is deleted.
    RestoreTenant(Box<Restore>),
    /// Take back what a command did.
    Undo(Box<Undo>),
    /// Delete a tenant; ends when its removal is reported.
    DeleteTenant {
        /// Which.
        tenant_id: TenantId,
        /// What else goes.
        remove: Removal,
    },
    /// Delete a tenant, if it is there yet, and have what is known of it forgotten for good.
    EraseTenant {
        /// Which.
        tenant_id: TenantId,
        /// What else goes, when it is deleted by this.
        remove: Removal,
    },
    /// Bring a new release of a tenant into service.
    DeployTenant {
        /// Which.
        tenant_id: TenantId,
        /// Steps that are not wanted.
        switches: DeploySwitches,
    },
    /// Bring an earlier release of a tenant back into service.
    RollBackTenant {
        /// Which.
        tenant_id: TenantId,
        /// To which release; without one to the one that served before.
        release: Option<u32>,
    },
    /// Call a deployment off.
    CancelDeployment {
        /// Which.
        deployment_id: DeploymentId,
    },
    /// Take a deployment up again that did not succeed.
    RetryDeployment {
        /// Which.
        deployment_id: DeploymentId,
    },
    /// Start both processes of a tenant.
    StartTenant {
        /// Which.
        tenant_id: TenantId,
    },
    /// Stop both processes of a tenant.
    StopTenant {
        /// Which.
        tenant_id: TenantId,
    },
    /// Replace both processes of a tenant by new runs.
    RestartTenant {
        /// Which.
        tenant_id: TenantId,
    },
    /// Change a tenant's look.
    UpdateTheme {
        /// Whose.
        tenant_id: TenantId,
        /// What to change.
        changes: ThemeChanges,
    },
    /// Give a tenant the look that an analysis suggested.
    ApplySuggestion {
        /// Whose.
        tenant_id: TenantId,
        /// Which suggestion.
        suggestion_id: SuggestionId,
    },
    /// Look at a customer's website and suggest themes.
    RequestAnalysis {
        /// For whom.
        tenant_id: TenantId,
        /// The page's address, checked.
        website: String,
        /// Whether a picture of the page is wanted.
        capture_screenshot: bool,
    },
    /// Register an instance of a configured service and start it; one that is not running
    /// is started again.
    SpawnInstance {
        /// Its name.
        key: InstanceKey,
        /// Environment on top of the service's.
        env: BTreeMap<String, Secret>,
        /// Ports that are not free whatever the World says.
        listening: Listening,
    },
    /// Replace an instance's process by a new run.
    RestartInstance {
        /// Which.
        key: InstanceKey,
    },
    /// Stop an instance and forget it.
    RemoveInstance {
        /// Which.
        key: InstanceKey,
    },
    /// Take note of another configuration, and have the instances that it concerns run by it.
    Reconfigure(Box<Reconfigure>),
    /// Give an instance another share of its service's traffic.
    ChangeWeight {
        /// Which.
        key: InstanceKey,
        /// From 0 to 100.
        weight: u8,
    },
    /// Stop every instance on purpose (`tenantry stop --all` on a running server).
    StopEverything,
    /// Let a person log in.
    CreateUser {
        /// Login name.
        username: String,
        /// Mail address.
        email: String,
        /// What they may do.
        role: Role,
        /// To what that is limited.
        scope: Scope,
        /// Argon2id in PHC form.
        password_hash: Secret,
    },
    /// Replace a user's password.
    ChangePassword {
        /// Whose.
        user_id: UserId,
        /// Argon2id in PHC form.
        password_hash: Secret,
    },
    /// Issue an API token.
    CreateToken {
        /// What its owner calls it.
        name: String,
        /// BLAKE3 of its text.
        hash: [u8; 32],
        /// What it may do.
        role: Role,
        /// To what that is limited.
        scope: Scope,
        /// When it ends, if it does.
        expires_at: Option<Timestamp>,
    },
    /// Revoke an API token.
    RevokeToken {
        /// Which.
        token_id: TokenId,
    },
    /// Change what is known of a user.
    UpdateUser {
        /// Whom.
        user_id: UserId,
        /// What to replace.
        changes: UserChanges,
    },
    /// Take a user away.
    DeleteUser {
        /// Whom.
        user_id: UserId,
    },
    /// Change a tenant's configuration.
    UpdateConfig {
        /// Whose.
        tenant_id: TenantId,
        /// What to replace.
        changes: ConfigChanges,
    },
    /// Have a tenant's `.env` file written anew.
    RegenerateEnv {
        /// Whose.
        tenant_id: TenantId,
    },
    /// Set a setting again to what the file says, or the default.
    ClearSetting {
        /// Which.
        key: String,
    },
    /// Set a setting.
    ChangeSetting {
        /// Which.
        key: String,
        /// To what.
        value: Secret,
    },
    /// Take note that somebody had nginx reload.
    NoteNginxReloaded,

    /// The control plane serves.
    NoteStarted {
        /// Its version.
        version: String,
        /// The machine's boot id.
        boot_id: String,
    },
    /// Attempts were refused.
    NoteDenial(Box<Denial>),
    /// A keeper answered.
    NoteKeeper {
        /// Its process id.
        pid: u32,
        /// Start of that process in clock ticks since boot.
        start_ticks: u64,
    },
    /// The keeper is gone.
    NoteKeeperLost,
    /// Nobody asks for an instance any more.
    PutToSleep {
        /// Which.
        instance_id: InstanceId,
        /// The run that was idle.
        run_id: RunId,
    },
    /// A request came for an instance that sleeps.
    Wake {
        /// Which.
        instance_id: InstanceId,
    },
    /// A run of an instance is about to begin.
    BeginRun {
        /// Which.
        instance_id: InstanceId,
        /// Ports that are not free whatever the World says; with these a process of a tenant
        /// may be given another port.
        listening: Option<Listening>,
    },
    /// A run of an instance is about to begin beside the present one.
    BeginSuccessor {
        /// Which.
        instance_id: InstanceId,
        /// Ports that are not free whatever the World says.
        listening: Listening,
    },
    /// The run has a process.
    RunStarted {
        /// Which instance.
        instance_id: InstanceId,
        /// Which run.
        run_id: RunId,
        /// Its process id.
        pid: u32,
        /// Start of that process in clock ticks since boot.
        start_ticks: u64,
    },
    /// No process could be made for the run.
    RunFailed {
        /// Which instance.
        instance_id: InstanceId,
        /// Which run.
        run_id: RunId,
        /// What the operating system said.
        reason: String,
    },
    /// Checks of a run came to a result.
    HealthObserved {
        /// Which instance.
        instance_id: InstanceId,
        /// Which run.
        run_id: RunId,
        /// The result.
        health: InstanceHealth,
        /// What the check saw.
        detail: String,
    },
    /// A run is about to be told to end.
    BeginStop {
        /// Which instance.
        instance_id: InstanceId,
        /// Which run.
        run_id: RunId,
    },
    /// A run ended.
    RunExited {
        /// Which instance.
        instance_id: InstanceId,
        /// Which run.
        run_id: RunId,
        /// How.
        status: ExitStatus,
        /// When, as the keeper saw it.
        at: Timestamp,
    },
    /// A run's process was found alive by a new keeper, or is another one that systemd has started.
    RunAdopted {
        /// Which instance.
        instance_id: InstanceId,
        /// Which run.
        run_id: RunId,
        /// Its process id.
        pid: u32,
        /// When that started, in clock ticks since boot, when it is another process than before.
        start_ticks: Option<u64>,
    },
    /// Nothing of a removed instance is left.
    InstanceGone {
        /// Which.
        instance_id: InstanceId,
    },
    /// A deployment's step is about to be done.
    BeginStep {
        /// Which deployment.
        deployment_id: DeploymentId,
        /// Which step.
        step: StepKind,
    },
    /// The `current` link points to the new release: run it.
    SwitchServices {
        /// Which deployment.
        deployment_id: DeploymentId,
    },
    /// A deployment's step ended.
    FinishStep {
        /// Which deployment.
        deployment_id: DeploymentId,
        /// Which step.
        step: StepKind,
        /// How.
        report: StepReport,
    },
    /// What a failed deployment had changed outside is as it was before.
    RolledBack {
        /// Which deployment.
        deployment_id: DeploymentId,
        /// A sentence: what was taken back, or what could not be.
        detail: String,
    },
    /// A theme lies in its tenant's directory.
    ThemeApplied {
        /// Whose.
        tenant_id: TenantId,
        /// The event that made the theme what it is there.
        theme: Seq,
    },
    /// A page is about to be fetched.
    BeginAnalysis {
        /// For which analysis.
        analysis_id: AnalysisId,
    },
    /// An analysis ended.
    FinishAnalysis {
        /// Which.
        analysis_id: AnalysisId,
        /// What it found, or a sentence that says why nothing.
        report: Box<Result<Found, String>>,
    },
    /// What deletion of a tenant removes outside is removed.
    TenantRemoved {
        /// Which.
        tenant_id: TenantId,
        /// What was really removed.
        removed: Removal,
    },
    /// What was known of a tenant is forgotten, and its key destroyed.
    TenantErased {
        /// Which.
        tenant_id: TenantId,
    },
    /// A tenant's own API made a backup.
    BackedUp {
        /// Which.
        tenant_id: TenantId,
        /// What it made.
        backup: Backup,
    },
    /// A tenant's sites were written anew by themselves.
    NoteSite {
        /// Whose.
        tenant_id: TenantId,
        /// Whether they are served by TLS.
        tls: bool,
    },
    /// A certificate is about to be asked for.
    RequestCertificate {
        /// For whom.
        tenant_id: TenantId,
        /// Whom.
        signer: Signer,
        /// On whose account.
        asked: Asked,
    },
    /// A certificate lies in the data directory.
    CertificateObtained {
        /// For whom.
        tenant_id: TenantId,
        /// What it says.
        certificate: Box<Obtained>,
    },
    /// No certificate came of it.
    CertificateRefused {
        /// For whom.
        tenant_id: TenantId,
        /// A sentence: why not.
        detail: String,
        /// How long the authority wants not to be asked again, in milliseconds.
        barred_ms: Option<u64>,
    },
    /// A tenant's `.env` file is written.
    EnvWritten {
        /// Whose.
        tenant_id: TenantId,
        /// The last request that this answers.
        answers: Seq,
        /// Where it is.
        path: String,
        /// Where the one before is kept.
        backup: Option<String>,
    },
    /// A tenant's `.env` file cannot be written.
    EnvFailed {
        /// Whose.
        tenant_id: TenantId,
        /// The last request that this answers.
        answers: Seq,
        /// A sentence: why.
        reason: String,
    },
    /// A tenant's checks came to a result.
    TenantHealthObserved {
        /// Which.
        tenant_id: TenantId,
        /// What the parts add up to.
        overall: TenantHealth,
        /// `up` or `down`.
        frontend: String,
        /// `up` or `down`.
        backend: String,
        /// `healthy`, `missing` or `damaged`.
        database: String,
    },
}

/// A command with who gave it and how.
#[derive(Clone, Debug)]
pub struct Submission {
    /// What is asked.
    pub command: Command,
    /// By whom.
    pub actor: tenantry_journal::recorded::Actor,
    /// The event that it answers, if it answers one.
    pub caused_by: Option<Seq>,
    /// What recognizes a repetition.
    pub idempotency: Option<tenantry_journal::recorded::Idempotency>,
    /// The position that the tenant or instance must still be at (`If-Match`).
    pub expected: Option<Seq>,
    /// What to do with the decision.
    pub mode: Mode,
}

/// What to do with a decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Record it.
    #[default]
    Record,
    /// Answer what would be recorded, and record nothing.
    DryRun,
}

impl Submission {
    /// A command of the control plane's own, in answer to an event.
    #[must_use]
    pub fn system(command: Command, caused_by: Option<Seq>) -> Submission {
        let actor = tenantry_journal::recorded::Actor::System;
        Submission { command, actor, caused_by, idempotency: None, expected: None, mode: Mode::Record }
    }
}
