//! Instances: what somebody wants to run, and what became of each run.
//!
//! Wishes (`*_requested`) come from people and deployments, observations (`started`,
//! `exited`, ...) from the supervisor. A run is named before it begins (`starting`), so
//! that whatever happens to it can be told apart from the run before.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::id::{DeploymentId, InstanceId, RunId, TenantId};
use crate::name::InstanceKey;
use crate::sealed::{Sealed, Secret};
use crate::time::Timestamp;

/// Where a process accepts connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Listen {
    /// TCP on 127.0.0.1; the process finds the number in `PORT`.
    Port(u16),
    /// A unix socket; the process finds the path in `SOCKET_PATH`.
    Socket(String),
}

/// What follows when a process ends by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Start it again whatever its exit status.
    #[default]
    Always,
    /// Start it again unless it exited with 0.
    OnFailure,
    /// Leave it.
    Never,
}

/// How far a process is kept from the rest of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// A session of its own, nothing more.
    #[default]
    Process,
    /// Also its own pid, mount, uts and ipc namespaces.
    Namespace,
}

/// What a process may use, and as whom it runs. What is missing is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Limits {
    /// Memory of the whole process tree, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit_mb: Option<u64>,
    /// Weight of its processor time, 1 to 10000; 100 is what others have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_shares: Option<u64>,
    /// Files that each of its processes may have open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_open_files: Option<u64>,
    /// Name or number of the user that it runs as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Name or number of its group; without one, the user's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// How far it is kept from the rest of the machine.
    pub isolation: Isolation,
    /// Disk space of its working directory, in MiB. Watched, not enforced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_quota_mb: Option<u64>,
}

impl Limits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Limits::default()
    }

    /// Whether something has to be done before the program is executed.
    #[must_use]
    pub fn prepares(&self) -> bool {
        !Limits { storage_quota_mb: None, ..self.clone() }.is_none()
    }
}

/// How a process is replaced by a new run of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartMode {
    /// It ends, then the new run begins.
    #[default]
    Replace,
    /// The new run begins beside it, and it ends when that is healthy.
    Rolling,
}

impl RestartMode {
    fn is_default(&self) -> bool {
        *self == RestartMode::Replace
    }
}

/// Everything needed to run a process, with every placeholder filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// Program: a path, or a name looked up in the child's `PATH`.
    pub command: String,
    /// Its arguments, each passed as it is; no shell sees them.
    pub args: Vec<String>,
    /// The whole environment of the child besides `PATH`, `HOME`, `LANG` and what `listen` adds.
    pub env: BTreeMap<String, Secret>,
    /// Absolute path that the process starts in; made when missing.
    pub workdir: String,
    /// Where it accepts connections.
    pub listen: Listen,
    /// HTTP path that answers 2xx or 3xx when it is well; without one, being alive is enough.
    pub health: Option<String>,
    /// What follows when it ends by itself.
    pub restart: RestartPolicy,
    /// How long after its start it may take to become healthy, in milliseconds.
    pub startup_timeout_ms: u64,
    /// How long after TERM it may take to end before KILL, in milliseconds.
    pub stop_timeout_ms: u64,
    /// Time between health checks, in milliseconds.
    pub health_interval_ms: u64,
    /// Names of the variables in `env` that came with the request and not from the
    /// configuration, so that another configuration leaves them. `None` where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<BTreeSet<String>>,
    /// What it may use, and as whom it runs. Missing in events of earlier programs.
    #[serde(default, skip_serializing_if = "Limits::is_none")]
    pub limits: Limits,
    /// After how many milliseconds without a request it is put to sleep; never without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout_ms: Option<u64>,
    /// How it is replaced by a new run.
    #[serde(default, skip_serializing_if = "RestartMode::is_default")]
    pub restart_mode: RestartMode,
}

/// Which of a tenant's two processes an instance is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[schemars(rename = "ServiceRole")]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Serves the tenant's `domain`.
    Frontend,
    /// Serves the tenant's `api_domain`.
    Backend,
}

impl Role {
    /// The service part of the instance's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Frontend => "frontend",
            Role::Backend => "backend",
        }
    }
}

/// An instance is registered; nothing runs until a start is requested.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceSpawned {
    /// The new instance.
    pub instance_id: InstanceId,
    /// Its name, `service:id`.
    pub name: Sealed<InstanceKey>,
    /// The tenant whose process it is, if any, and which one.
    pub tenant: Option<(TenantId, Role)>,
    /// What to run.
    pub spec: Sealed<ProcessSpec>,
}

/// From its next start on it runs something else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceRespecified {
    /// The instance.
    pub instance_id: InstanceId,
    /// What to run from here on.
    pub spec: Sealed<ProcessSpec>,
    /// The deployment that did it, if one did.
    pub deployment_id: Option<DeploymentId>,
}

/// It shall run. Clears the back-off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceStartRequested {
    /// The instance.
    pub instance_id: InstanceId,
}

/// It shall not run, and shall not be revived by anything but a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceStopRequested {
    /// The instance.
    pub instance_id: InstanceId,
}

/// Why a running process is to be replaced by a new run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartReason {
    /// A person asked; does not count as a crash.
    Requested,
    /// A deployment put another release in place; does not count as a crash.
    Deployed,
    /// Its health checks failed; counts.
    Unhealthy,
}

/// The present run is to end and a new one to begin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceRestartRequested {
    /// The instance.
    pub instance_id: InstanceId,
    /// Why.
    pub reason: RestartReason,
    /// The release that the new run is to be of; the present run serves until that is healthy.
    /// Missing when it runs what is specified, and in events of earlier programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u32>,
    /// The deployment that waits for it, together with the tenant's other processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment_id: Option<DeploymentId>,
}

/// The present run serves on: the wish to replace it is withdrawn, and a successor ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceReplacementCancelled {
    /// The instance.
    pub instance_id: InstanceId,
}

/// It shall end and be forgotten; its output stays until retention.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceRemovalRequested {
    /// The instance.
    pub instance_id: InstanceId,
}

/// A run is about to begin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceStarting {
    /// The instance.
    pub instance_id: InstanceId,
    /// The run's name, given before there is a process.
    pub run_id: RunId,
}

/// A run is about to begin beside the present one, which serves until this one is healthy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceSuccessorStarting {
    /// The instance.
    pub instance_id: InstanceId,
    /// The run's name, given before there is a process.
    pub run_id: RunId,
    /// What it runs, and where.
    pub spec: Sealed<ProcessSpec>,
}

/// A healthy successor that waited for the others of its release takes the present run's place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceSuccessorPromoted {
    /// The instance.
    pub instance_id: InstanceId,
    /// The run.
    pub run_id: RunId,
}

/// The run has a process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceStarted {
    /// The instance.
    pub instance_id: InstanceId,
    /// The run.
    pub run_id: RunId,
    /// Its process id, also the id of its process group.
    pub pid: u32,
    /// When the process started, in clock ticks since boot; with the pid it is unique.
    pub start_ticks: u64,
}

/// The run never had a process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceStartFailed {
    /// The instance.
    pub instance_id: InstanceId,
    /// The run.
    pub run_id: RunId,
    /// What the operating system said.
    pub reason: Sealed<String>,
}

/// What the checks say about a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InstanceHealth {
    /// Not checked yet.
    #[default]
    Unknown,
    /// The last checks passed.
    Healthy,
    /// The last checks failed.
    Unhealthy,
}

/// The checks came to another result than before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceHealthChanged {
    /// The instance.
    pub instance_id: InstanceId,
    /// The run that was checked.
    pub run_id: RunId,
    /// The result.
    pub health: InstanceHealth,
    /// What the check saw, such as `HTTP 500` or `connection refused`.
    pub detail: String,
}

/// The run was told to end: TERM, after the timeout KILL, to its whole group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceStopping {
    /// The instance.
    pub instance_id: InstanceId,
    /// The run.
    pub run_id: RunId,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It is gone and nobody was there to learn how.
    Unknown,
    /// The kernel killed it (SIGKILL, 137 to a shell) because it had used up its memory limit.
    MemoryLimit,
}

impl std::fmt::Display for ExitStatus {
    /// In words, such as `exit code 3`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ExitStatus::Code(code) => write!(f, "exit code {code}"),
            ExitStatus::Signal(signal) => write!(f, "signal {signal}"),
            ExitStatus::Unknown => f.write_str("an unknown exit status"),
            ExitStatus::MemoryLimit => f.write_str("memory limit: the kernel killed it (signal 9)"),
        }
    }
}

/// The run is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceExited {
    /// The instance.
    pub instance_id: InstanceId,
    /// The run.
    pub run_id: RunId,
    /// How it ended.
    pub status: ExitStatus,
    /// When it ended, as the keeper saw it.
    pub exited_at: Timestamp,
}

/// The policy wants a new run, not before a moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceRestartScheduled {
    /// The instance.
    pub instance_id: InstanceId,
    /// Not before this.
    pub not_before: Timestamp,
    /// The back-off before it, in milliseconds.
    pub delay_ms: u64,
    /// Ends without a stable run in between, this one included.
    pub failures: u32,
}

/// It ended, and the policy leaves it so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceEnded {
    /// The instance.
    pub instance_id: InstanceId,
    /// Whether that is a failure (an exit status other than 0, or no process at all).
    pub failed: bool,
}

/// The run's process was found alive after its keeper had died, or systemd has started another
/// in its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceAdopted {
    /// The instance.
    pub instance_id: InstanceId,
    /// The run.
    pub run_id: RunId,
    /// Its process id.
    pub pid: u32,
    /// When that process started, in clock ticks since boot, when it is another one. Missing in events
    /// of earlier programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_ticks: Option<u64>,
}

/// Its share of its service's traffic is another one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceWeightChanged {
    /// The instance.
    pub instance_id: InstanceId,
    /// From 0 (none) to 100, in relation to the service's other instances.
    pub weight: u8,
}

/// Why an instance was put to sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SleepReason {
    /// Nobody asked for it for its idle timeout.
    Idle,
    /// It was woken and did not come up; the next request tries again.
    WakeFailed,
}

/// It shall not run until a request wakes it. Nobody stopped it on purpose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceFellAsleep {
    /// The instance.
    pub instance_id: InstanceId,
    /// Why.
    pub reason: SleepReason,
}

/// A request came for it while it slept: it shall run. Clears the back-off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceWoken {
    /// The instance.
    pub instance_id: InstanceId,
}

/// It is gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceRemoved {
    /// The instance.
    pub instance_id: InstanceId,
}
