//! Keeps what is recorded of processes true: the way to the keeper, the ends of runs, health.
//!
//! The keeper holds the processes; this holds the connection to it and reports what it tells
//! as commands. It decides nothing: what follows from an exit or a failed check is decided
//! by the domain and done by the reactor. Live facts that are no events (checks, usage) are
//! in [`Live`]. Everything runs in tasks of its own, so nothing here holds up the start.

mod adopt;
pub(crate) mod drift;
mod forwards;
mod health;
mod history;
mod live;
mod processes;
mod runs;
mod storage;
mod tenants;
mod turns;
mod units;
mod usage;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tenantry_journal::id::{InstanceId, KeyId, TenantId};
use tenantry_projections::world::ProcessMark;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::domain::command::{Command, Submission};
use crate::domain::policy::Policy;
use crate::drivers::open_files::OpenFiles;
use crate::drivers::systemd::Systemd;
use crate::engine::{Handle, SubmitError};
use crate::keeper::client::{Connected, Forward, Keeper, KeeperEvent, Outputs};

use crate::telemetry::metrics::Metrics;
use adopt::Met;
pub(crate) use health::target;
pub use history::{History, INTERVAL_MS, RequestCounts, Sample};
pub use live::{Checks, Live, LiveFacts};
pub use storage::Storage;
use tenants::Counted;
pub use tenants::{INTERVAL as TENANT_INTERVAL, PartHealth, ServiceState, TenantHealthReport};
pub use units::{Units, Wanted};
pub use usage::{CountRequests, Meter, Usage};

/// How soon the keeper is looked for again after it was lost: at once is best, since without
/// it nothing can be started, so only a keeper that fails again and again is waited for.
const RECONNECT_FIRST: Duration = Duration::from_millis(50);
/// Reports that a slow follower may lag behind; it then continues with the newest.
const REPORTS_BEHIND: usize = 64;
/// The longest wait between two attempts.
const RECONNECT_LAST: Duration = Duration::from_secs(5);

/// Finds the key that a spool is encrypted under; `None` when there is no such key.
pub type SpoolKeys = Arc<dyn Fn(KeyId) -> Option<[u8; 32]> + Send + Sync>;

/// Is told which instances printed something; `None` when any may have.
pub type OnGrowth = Box<dyn Fn(Option<Vec<InstanceId>>) + Send + Sync>;

/// What the supervisor needs to begin.
pub struct Setup {
    /// The way to the engine.
    pub handle: Handle,
    /// What the configuration says.
    pub policy: Arc<ArcSwap<Policy>>,
    /// The control plane's own directory.
    pub data_dir: PathBuf,
    /// Our own program, which is also the keeper.
    pub exe: PathBuf,
    /// Keys of spools.
    pub keys: SpoolKeys,
    /// Where checks and effects are counted.
    pub metrics: Arc<Metrics>,
    /// Counts of proxied requests.
    pub requests: CountRequests,
}

/// Keeps what is recorded of processes true.
pub struct Supervisor {
    handle: Handle,
    policy: Arc<ArcSwap<Policy>>,
    data_dir: PathBuf,
    exe: PathBuf,
    keys: SpoolKeys,
    pub(crate) metrics: Arc<Metrics>,
    live: Live,
    history: History,
    requests: CountRequests,
    keeper: watch::Sender<Option<Keeper>>,
    /// Moves whenever some process printed something.
    printed: watch::Sender<u64>,
    /// The newest position of each spool that grew since the keeper answers.
    heads: Mutex<HashMap<InstanceId, u64>>,
    /// What [`Supervisor::printed`] showed when the keeper answered last.
    met: std::sync::atomic::AtomicU64,
    on_growth: std::sync::OnceLock<OnGrowth>,
    /// What the last check of each tenant found.
    last_reports: Mutex<HashMap<TenantId, TenantHealthReport>>,
    /// What each check of a tenant finds.
    reports: broadcast::Sender<TenantHealthReport>,
    /// How often databases are open.
    open_files: Arc<OpenFiles>,
    /// Runs that systemd has.
    units: Units,
    /// What the keeper that answers was told to pass on.
    forwarded: tokio::sync::Mutex<Option<Vec<Forward>>>,
}

impl Supervisor {
    /// Does nothing until [`Supervisor::run`].
    #[must_use]
    pub fn new(setup: Setup) -> Arc<Supervisor> {
        let Setup { handle, policy, data_dir, exe, keys, metrics, requests } = setup;
        let (keeper, printed) = (watch::Sender::new(None), watch::Sender::new(0));
        let systemd = Systemd::new(&data_dir, metrics.systemd_calls());
        let units = Units::new(systemd, Arc::clone(&policy), data_dir.clone());
        Arc::new(Supervisor {
            handle,
            policy,
            data_dir,
            exe,
            keys,
            metrics,
            live: Live::default(),
            history: History::default(),
            requests,
            keeper,
            printed,
            heads: Mutex::default(),
            met: std::sync::atomic::AtomicU64::new(0),
            on_growth: std::sync::OnceLock::new(),
            last_reports: Mutex::default(),
            reports: broadcast::Sender::new(REPORTS_BEHIND),
            open_files: Arc::default(),
            units,
            forwarded: tokio::sync::Mutex::default(),
        })
    }

    /// Supervises until `shutdown`; processes live on after it.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let parts = async {
            tokio::join!(
                self.keep_connected(),
                health::monitor(&self),
                tenants::monitor(&self),
                usage::sample(&self),
                storage::watch(&self),
                drift::watch(&self),
                forwards::keep(&self),
                units::watch(&self),
            );
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = parts => {}
        }
    }

    /// The keeper, as soon as one answers.
    pub async fn keeper(&self) -> Keeper {
        let mut keeper = self.keeper.subscribe();
        loop {
            if let Some(keeper) = keeper.borrow_and_update().clone() {
                return keeper;
            }
            if keeper.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Whether a keeper answers at present.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.keeper.borrow().is_some()
    }

    /// Runs that systemd has.
    #[must_use]
    pub fn units(&self) -> &Units {
        &self.units
    }

    /// Whether what an instance prints goes to systemd's journal and not to its spool.
    #[must_use]
    pub fn prints_to_journal(&self, id: InstanceId) -> bool {
        let world = self.handle.world();
        let Some(instance) = world.instances.get(id) else { return false };
        match instance.run.as_ref().filter(|run| run.process.is_some()) {
            Some(run) => self.units.has(instance, run.id),
            None => instance.tenant.is_some() && self.units.is_chosen(),
        }
    }

    /// Facts of instances that are no events.
    #[must_use]
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// The last hour of instances.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// How many requests an instance got.
    #[must_use]
    pub fn requests(&self, instance: InstanceId) -> RequestCounts {
        (self.requests)(instance)
    }

    /// Moves whenever some process printed something: a hint to read spools again.
    #[must_use]
    pub fn printed(&self) -> watch::Receiver<u64> {
        self.printed.subscribe()
    }

    /// Has `tell` be called with the instances that printed something, or with `None` when
    /// any may have. Only the first caller is heard.
    pub fn on_growth(&self, tell: OnGrowth) {
        drop(self.on_growth.set(tell));
    }

    /// Whether a spool may hold something at a position, for a reader that looked last when
    /// [`Supervisor::printed`] showed `looked`.
    #[must_use]
    pub fn grew(&self, instance: InstanceId, position: u64, looked: Option<u64>) -> bool {
        let heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        let met = self.met.load(std::sync::atomic::Ordering::Acquire);
        match (heads.get(&instance), looked) {
            (Some(head), _) => *head >= position,
            (None, Some(looked)) => looked < met,
            (None, None) => true,
        }
    }

    /// The directory of an instance's spool.
    #[must_use]
    pub fn spool(&self, instance: InstanceId) -> PathBuf {
        self.data_dir.join("spool").join(instance.to_string())
    }

    /// The key of a spool.
    #[must_use]
    pub fn spool_key(&self, key: KeyId) -> Option<[u8; 32]> {
        (self.keys)(key)
    }

    /// Checks a tenant's parts now. `None` when there is no such tenant.
    pub async fn check_tenant(&self, tenant: TenantId) -> Option<TenantHealthReport> {
        tenants::check(self, tenant, Counted::Now).await
    }

    /// The same, content with a recent count of who has the database open.
    pub async fn recheck_tenant(&self, tenant: TenantId) -> Option<TenantHealthReport> {
        tenants::check(self, tenant, Counted::Lately).await
    }

    /// What the last check of a tenant found, since this program started.
    #[must_use]
    pub fn last_report(&self, tenant: TenantId) -> Option<TenantHealthReport> {
        self.last_reports.lock().unwrap_or_else(PoisonError::into_inner).get(&tenant).cloned()
    }

    /// What each check of any tenant finds from now on.
    #[must_use]
    pub fn reports(&self) -> broadcast::Receiver<TenantHealthReport> {
        self.reports.subscribe()
    }

    /// Forgets what was found of a tenant; call it when the tenant is gone from the World.
    pub fn forget_tenant(&self, tenant: TenantId) {
        self.last_reports.lock().unwrap_or_else(PoisonError::into_inner).remove(&tenant);
    }

    /// Keeps what a check found, and tells who follows.
    fn keep_report(&self, report: &TenantHealthReport) {
        {
            let mut last = self.last_reports.lock().unwrap_or_else(PoisonError::into_inner);
            // Looked at under the lock: a tenant that is still there is forgotten after this.
            if self.handle.world().tenants.get(report.tenant_id).is_some() {
                last.insert(report.tenant_id, report.clone());
            }
        }
        // Nobody need be listening.
        drop(self.reports.send(report.clone()));
    }

    async fn keep_connected(&self) {
        let mut wait = RECONNECT_FIRST;
        loop {
            match Keeper::connect_or_start(&self.data_dir, &self.exe).await {
                Ok(connected) => {
                    wait = RECONNECT_FIRST;
                    self.converse(connected).await;
                    self.keeper.send_replace(None);
                    tracing::warn!("the keeper is lost");
                    self.insist(Command::NoteKeeperLost).await;
                }
                Err(error) => {
                    tracing::error!(error = %crate::error::chain(&error), "no keeper");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(RECONNECT_LAST);
                }
            }
        }
    }

    /// One connection's life.
    async fn converse(&self, connected: Connected) {
        let Connected { keeper, info, mut events, outputs, fresh } = connected;
        tracing::info!(keeper.pid = info.pid, keeper.fresh = fresh, "the keeper answers");
        let mark = ProcessMark { pid: info.pid, start_ticks: info.start_ticks };
        let met = if self.handle.world().keeper == Some(mark) { Met::Again } else { Met::First };
        self.insist(Command::NoteKeeper { pid: info.pid, start_ticks: info.start_ticks }).await;
        // First the ends that nobody saw, then new beginnings: what was begun before the
        // keeper was lost must not be begun again beside it.
        if let Err(error) = adopt::reconcile(self, &keeper, met).await {
            tracing::warn!(error = %crate::error::chain(&error), "the keeper's runs are not known");
            return;
        }
        self.keeper.send_replace(Some(keeper.clone()));
        self.forward_anew().await;
        let mut ends = tokio::task::JoinSet::new();
        let mut watching = std::pin::pin!(self.watch_outputs(outputs));
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(KeeperEvent::Exited { run_id, instance_id, status, at }) => {
                        let end = runs::End { run_id, instance_id, status, at };
                        ends.spawn(runs::record(self.handle.clone(), keeper.clone(), end));
                    }
                    Some(KeeperEvent::Lost) | None => break,
                },
                // Only what has ended is taken off the set.
                Some(_) = ends.join_next() => {}
                () = &mut watching => break,
            }
        }
        // What was told is recorded all the same; forgetting fails and is done next time.
        ends.detach_all();
    }

    async fn watch_outputs(&self, mut outputs: Outputs) {
        // What grew while no keeper was heard is not told of.
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.printed.send_modify(|count| {
            *count += 1;
            self.met.store(*count, std::sync::atomic::Ordering::Release);
        });
        if let Some(tell) = self.on_growth.get() {
            tell(None);
        }
        while let Some(positions) = outputs.changed().await {
            if let Some(tell) = self.on_growth.get() {
                tell(Some(positions.keys().copied().collect()));
            }
            self.heads.lock().unwrap_or_else(PoisonError::into_inner).extend(positions);
            self.printed.send_modify(|count| *count += 1);
        }
    }

    /// Submits until it is recorded: what is reported here happened.
    async fn insist(&self, command: Command) {
        runs::insist(&self.handle, command).await;
    }

    async fn submit(&self, command: Command) -> Result<(), SubmitError> {
        self.handle.submit(Submission::system(command, None)).await.map(drop)
    }
}
