//! Runs of tenants' processes that systemd has, when the configuration says so.
//!
//! The rules are the same as for the keeper's: the domain decides what runs and when it is started
//! again, and each run has a process and an end. Only who is the process's parent differs. What
//! is there is read from unit files and systemd, never remembered, so it is the same after a
//! crash. While the control plane is away systemd starts again what ends, and after a boot what is
//! enabled; the process that it then has is taken over as the run's.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tenantry_journal::event::instance::{ExitStatus, RestartPolicy};
use tenantry_journal::id::{InstanceId, RunId};
use tenantry_journal::name::InstanceKey;
use tenantry_projections::world::ProcessMark;
use tenantry_projections::world::instances::Instance;
use tokio::time::{Instant, timeout};

use crate::domain::policy::{Policy, Services};
use crate::drivers::systemd::{self, End, Homes, Known, Restart, State, Systemd, SystemdError, Unit};
use crate::drivers::tool::start_ticks;
use crate::error::chain;
use crate::keeper::protocol::{SpawnRequest, Spawned};
use crate::keeper::{account, child, place, process};

mod watch;

pub(super) use watch::watch;

/// What every unit has to itself for scratch files, so nothing below is seen unless shown.
const SCRATCH: [&str; 2] = ["/tmp", "/var/tmp"];
/// Where people's own files are.
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
/// How long systemd may take to notice that a process has ended.
const NOTICE: Duration = Duration::from_secs(10);
/// How often it is asked meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// How long a process may take to be gone after KILL.
const DEATH: Duration = Duration::from_secs(5);

/// The way to runs that systemd has.
#[derive(Debug)]
pub struct Units {
    systemd: Systemd,
    policy: Arc<ArcSwap<Policy>>,
    data_dir: PathBuf,
}

/// What a unit is made of.
pub struct Wanted<'a> {
    /// The instance's name.
    pub name: Option<&'a InstanceKey>,
    /// Its restart policy.
    pub restart: RestartPolicy,
    /// The process.
    pub request: &'a SpawnRequest,
    /// The tenant's directory.
    pub directory: Option<&'a Path>,
}

fn unit_name(name: Option<&InstanceKey>, instance: InstanceId, run: RunId) -> String {
    let label = name.map_or_else(
        || instance.to_string(),
        |name| format!("{}-{}", name.service.as_str(), name.id.as_str()),
    );
    systemd::name(&label, run)
}

impl Units {
    pub(super) fn new(systemd: Systemd, policy: Arc<ArcSwap<Policy>>, data_dir: PathBuf) -> Units {
        Units { systemd, policy, data_dir }
    }

    /// Whether new runs of tenants' processes are units.
    #[must_use]
    pub fn is_chosen(&self) -> bool {
        self.policy.load().deploying.services == Services::Systemd
    }

    /// Whether systemd has this run.
    #[must_use]
    pub fn has(&self, instance: &Instance, run: RunId) -> bool {
        self.systemd.is_used() && self.systemd.has(&unit_name(instance.name.open(), instance.id, run))
    }

    /// Whether a run is systemd's to start.
    #[must_use]
    pub fn takes(&self, instance: &Instance, run: RunId) -> bool {
        (instance.tenant.is_some() && self.is_chosen()) || self.has(instance, run)
    }

    /// What units printed.
    #[must_use]
    pub fn systemd(&self) -> &Systemd {
        &self.systemd
    }

    /// Whether systemd would take a unit. Returns what it would be called before its run's name.
    ///
    /// # Errors
    /// With what is wrong, in words.
    pub async fn check(&self, wanted: &Wanted<'_>) -> Result<String, String> {
        self.systemd.available().await.map_err(|error| chain(&error))?;
        let account = account::resolve(&wanted.request.limits)?;
        let program = place::find(wanted.request)
            .map_err(|error| format!("command {}: {error}", wanted.request.command))?;
        let unit = self.unit(wanted, account.map(|account| (account.uid, account.gid)), &program);
        self.systemd.check(&unit).await.map_err(|error| chain(&error))?;
        Ok(unit.name.split('@').next().unwrap_or_default().to_owned())
    }

    /// Sees to it that a run has a unit and was started. When it cannot be there is nothing left
    /// of it, and the text says why.
    ///
    /// # Errors
    /// With what is wrong, in words.
    pub async fn start(&self, wanted: &Wanted<'_>) -> Result<Spawned, String> {
        let request = wanted.request;
        let account = account::resolve(&request.limits)?;
        let name = unit_name(wanted.name, request.instance_id, request.run_id);
        let known = Known { name, run: request.run_id, instance: request.instance_id };
        let began = match self.systemd.has(&known.name) {
            true => Some(self.systemd.state(&known.name).await.map_err(|error| chain(&error))?),
            false => None,
        };
        let state = match began.filter(|state| state.last_pid.is_some()) {
            Some(state) => state,
            None => {
                let program = place::prepare(request, account.as_ref())?;
                let unit = self.unit(wanted, account.map(|account| (account.uid, account.gid)), &program);
                match self.systemd.ensure_started(&unit).await {
                    Ok(state) => state,
                    Err(error) => {
                        // What cannot be removed now is found as nobody's later.
                        if !matches!(error, SystemdError::Absent) {
                            self.remove(&known).await;
                        }
                        return Err(chain(&error));
                    }
                }
            }
        };
        let pid = state.pid.or(state.last_pid).unwrap_or(0);
        Ok(Spawned { pid, start_ticks: start_ticks(pid).unwrap_or(0) })
    }

    /// Ends a run, TERM, and KILL when it has not ended in time, and leaves nothing of it. Returns
    /// how it ended.
    ///
    /// # Errors
    /// When systemd does not do it.
    pub async fn end(
        &self,
        instance: &Instance,
        run: RunId,
        timeout_ms: u64,
    ) -> Result<ExitStatus, SystemdError> {
        let name = unit_name(instance.name.open(), instance.id, run);
        let within = Duration::from_millis(timeout_ms);
        let state = self.systemd.state(&name).await?;
        if let Some(mark) = mark(&state) {
            let mut is_over = false;
            if !within.is_zero() {
                self.systemd.signal(&name, "TERM").await?;
                is_over = timeout(within, ended(mark)).await.is_ok();
            }
            if !is_over {
                self.systemd.signal(&name, "KILL").await?;
                let _ = timeout(DEATH, ended(mark)).await;
            }
        }
        let state = self.settled(&name, None).await?;
        // Before its end is recorded: what somebody stopped must not be started by the next boot.
        let known = Known { name, run, instance: instance.id };
        self.systemd.ensure_removed(&known, within).await?;
        Ok(status(&state))
    }

    /// Forgets what the units of an instance shared.
    pub async fn forget_instance(&self, instance: InstanceId) {
        if self.systemd.is_used()
            && let Err(error) = self.systemd.forget(instance).await
        {
            tracing::debug!(instance.id = %instance, error = chain(&error), "a slice is left behind");
        }
    }

    async fn remove(&self, known: &Known) {
        if let Err(error) = self.systemd.ensure_removed(known, Duration::ZERO).await {
            // It is seen as nobody's at the next look.
            tracing::warn!(unit = known.name, error = chain(&error), "a unit is not removed yet");
        }
    }

    /// What systemd says once it has noticed that a process ended, or has another than `gone`.
    async fn settled(&self, name: &str, gone: Option<ProcessMark>) -> Result<State, SystemdError> {
        let end = Instant::now() + NOTICE;
        loop {
            let state = self.systemd.state(name).await?;
            let is_another = gone.is_some() && mark(&state).is_some_and(|mark| Some(mark) != gone);
            if !state.is_up() || is_another || Instant::now() > end {
                return Ok(state);
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    fn unit(&self, wanted: &Wanted<'_>, account: Option<(u32, u32)>, program: &Path) -> Unit {
        let request = wanted.request;
        let limits = &request.limits;
        let program = request.workdir.join(program);
        let sight = self.sight(wanted, &program);
        // systemd would run it as root whoever asks.
        let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
        let own = (!user.is_root()).then(|| (user.as_raw(), group.as_raw()));
        let name = unit_name(wanted.name, request.instance_id, request.run_id);
        let whose = wanted
            .name
            .map_or_else(String::new, |name| format!("{} of {}", name.service.as_str(), name.id.as_str()));
        Unit {
            name,
            description: format!("tenantry: {whose}"),
            run: request.run_id,
            instance: request.instance_id,
            program,
            args: request.args.clone(),
            env: request.env.clone(),
            workdir: request.workdir.clone(),
            hidden: sight.hidden,
            own: sight.own,
            shown: sight.shown,
            homes: sight.homes,
            restart: match wanted.restart {
                RestartPolicy::Always => Restart::Always,
                RestartPolicy::OnFailure => Restart::OnFailure,
                RestartPolicy::Never => Restart::No,
            },
            stop_timeout_ms: request.stop_timeout_ms,
            account: account.or(own),
            memory_mb: limits.memory_limit_mb,
            cpu_weight: limits.cpu_shares,
            open_files: limits.max_open_files,
        }
    }

    /// What a process sees of directories that it shares with others: where it works, where its
    /// socket is, and what its command line names.
    fn sight(&self, wanted: &Wanted<'_>, program: &Path) -> Sight {
        let request = wanted.request;
        let real = |path: &Path| request.workdir.join(path).canonicalize().ok();
        let below = |path: &Path, all: &[&str]| all.iter().any(|dir| path.starts_with(dir));
        let given =
            std::iter::once(self.data_dir.as_path()).chain(request.hidden.iter().map(PathBuf::as_path));
        let mut hidden: Vec<PathBuf> = given.filter_map(real).filter(|dir| dir.is_dir()).collect();
        let own = [
            Some(request.workdir.as_path()),
            wanted.directory,
            request.socket.as_deref().and_then(Path::parent),
        ];
        let mut own: Vec<PathBuf> = own.into_iter().flatten().filter_map(real).collect();
        // Whoever works in what is hidden whole, or in everybody's scratch place, has none of it.
        let is_shared = |path: &Path| {
            let all = SCRATCH.iter().chain(&HOMES).map(Path::new);
            hidden.iter().map(PathBuf::as_path).chain(all).any(|dir| dir.starts_with(path))
        };
        own.retain(|path| !is_shared(path));
        let args = request.args.iter().map(Path::new).filter(|path| path.is_absolute());
        let mut shown: Vec<PathBuf> = args.chain([program]).filter_map(real).collect();
        shown.retain(|path| !own.iter().any(|own| path.starts_with(own)) && !is_shared(path));
        let at_home = below(program, &HOMES) || shown.iter().any(|path| below(path, &HOMES));
        let homes = if at_home { Homes::ReadOnly } else { Homes::Hidden };
        let is_covered =
            |path: &Path| below(path, &SCRATCH) || (homes == Homes::Hidden && below(path, &HOMES));
        shown.retain(|path| is_covered(path) || hidden.iter().any(|dir| path.starts_with(dir)));
        hidden.retain(|dir| !is_covered(dir));
        for paths in [&mut hidden, &mut own, &mut shown] {
            paths.sort();
            paths.dedup_by(|below, above| below.starts_with(above));
        }
        Sight { hidden, own, shown, homes }
    }
}

struct Sight {
    hidden: Vec<PathBuf>,
    own: Vec<PathBuf>,
    shown: Vec<PathBuf>,
    homes: Homes,
}

/// The process that a unit has.
fn mark(state: &State) -> Option<ProcessMark> {
    let pid = state.pid?;
    Some(ProcessMark { pid, start_ticks: start_ticks(pid)? })
}

/// How a run ended, as the journal says it.
fn status(state: &State) -> ExitStatus {
    match state.end {
        Some(End::Code(code)) => ExitStatus::Code(code),
        Some(End::Signal(signal)) => ExitStatus::Signal(signal),
        Some(End::OutOfMemory) => ExitStatus::MemoryLimit,
        None => ExitStatus::Unknown,
    }
}

/// Returns when a process has ended; at once when it is not there.
async fn ended(mark: ProcessMark) {
    let Some(handle) = process::open(mark.pid, mark.start_ticks) else { return };
    if let Ok(handle) = child::readable(handle) {
        let _ = handle.readable().await;
    }
}
