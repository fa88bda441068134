//! Wiring: from a configuration to a control plane that runs, and back to nothing.
//!
//! Order of starting: data directory (lock, keys, journal), World, writer, supervisor,
//! reactor, listeners. Order of ending: listeners, reactor, supervisor, writer, snapshot.
//! Instances are never touched by either.

mod api_runtime;
mod doors;
mod listeners;
mod offline;
mod program;
mod serve;
mod whole;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tenantry_journal::event::access::{Role, Scope};
use tenantry_journal::keyring::Keyring;
use tenantry_journal::lock::DataLock;
use tenantry_journal::sealed::{Secret, Vault};
use tenantry_journal::store::Journal;
use tenantry_projections::as_of::TimeTravel;
use tenantry_projections::snapshot::Snapshots;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::audit::Audit;
use crate::auth::denied::Denials;
use crate::auth::jwt::JwtKeys;
use crate::auth::last_used::LastUsed;
use crate::auth::login_limit::LoginLimit;
use crate::auth::password::{self, Passwords};
use crate::auth::rate_limit::RateLimit;
use crate::auth::token_key::TokenKey;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Source};
use crate::configured::Configured;
use crate::control_log::ControlLog;
use crate::domain::command::{Command, Submission};
use crate::drivers::blob::Blobs;
use crate::drivers::deploy_log::DeployLogs;
use crate::engine::{Engine, Handle, JournalSource, Setup, Snapshotter, boot};
use crate::http::api::Api;
use crate::http::events::rendered::Rendered;
use crate::http::events::rows::Rows;
use crate::http::kept::Kept;
use crate::http::observed::RequestCounts;
use crate::http::repeat::Repeats;
use crate::http::router::Listener;
use crate::http::state::{AppState, HttpSettings, Parts};
use crate::keeper::cgroup::Cgroups;
use crate::output::Output;
use crate::past::{Past, Preparing};
use crate::proxy::Proxy;
use crate::proxy::headers::EdgeKey;
use crate::proxy::runs::Runs;
use crate::proxy::serve::{Front, serve};
use crate::proxy::traffic::Traffic;
use crate::reactor::{Eraser, Outside, Reactor, Themes};
use crate::sites::Sites;
use crate::supervisor::{self, SpoolKeys, Supervisor};
use crate::telemetry::metrics::Metrics;

use api_runtime::ApiRuntime;
use listeners::Listeners;
pub use program::Tenantry;

/// Open requests and streams get this long to end when the program ends; the whole end must
/// take less than 8 s.
const DRAIN: Duration = Duration::from_secs(4);

/// The index gets this long to keep what it has read.
const INDEX_END: Duration = Duration::from_secs(2);

/// What the key of an instance's or deployment's spool is derived for.
const SPOOL_KEY: &str = "tenantry 2026-11 spool of a tenant";
/// What the secret of the digests of requests is derived for.
const REQUEST_KEY: &str = "tenantry 2026-11 digests of requests";
/// What the key of repeatable API tokens is derived for.
const TOKEN_KEY: &str = "tenantry 2026-11 tokens of repeated requests";
/// What the key of the configuration's hash is derived for.
const CONFIG_KEY: &str = "tenantry 2026-11 hash of the configuration";
/// What the key that nginx shows to the proxy is derived for.
const EDGE_KEY: &str = "tenantry 2026-11 nginx before the proxy";
/// What the key of logins is derived for.
const JWT_KEY: &str = "tenantry 2026-11 logins";

/// A control plane that runs.
pub struct App {
    /// Where document 1's listener is.
    pub manager: SocketAddr,
    /// Where document 2's listener is.
    pub instances: SocketAddr,
    /// Where the proxy's own listener is, if it has one.
    pub proxy: Option<SocketAddr>,
    /// The way to the writer.
    pub handle: Handle,
    configured: Arc<Configured>,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
    /// What is written and kept beside the present.
    beside: (crossbeam_channel::Sender<()>, [JoinHandle<()>; 2]),
    index: JoinHandle<()>,
    engine: Engine,
    _api: ApiRuntime,
    _lock: Option<DataLock>,
}

/// What is told once, when the first administrator is made.
pub struct FirstAdmin {
    /// The password that was made; `None` when the operator gave one.
    pub password: Option<Secret>,
}

fn http_settings(config: &Config) -> HttpSettings {
    HttpSettings {
        hosts: config.allowed_hosts.clone(),
        rate_limit_per_minute: config.rate_limit.per_minute,
        rate_limit_per_hour: config.rate_limit.per_hour,
    }
}

impl App {
    /// Ends everything but the instances. Returns when nothing is left.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        let drained = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            tracing::warn!("requests or streams were cut off, they did not end in time");
        }
        let (stop_beside, beside) = self.beside;
        let (engine, index) = (self.engine, self.index);
        let ended = tokio::task::spawn_blocking(move || {
            engine.stop();
            drop(stop_beside);
            beside.map(JoinHandle::join).into_iter().collect::<std::thread::Result<()>>()
        });
        if !matches!(ended.await, Ok(Ok(()))) {
            tracing::error!("a thread panicked at the end");
        }
        // It is at most in the middle of a commit; what is not in the index is put in next time.
        match tokio::time::timeout(INDEX_END, thread_end(index)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => tracing::error!("the search index's thread panicked"),
            Err(_) => tracing::warn!("the search index was left in the middle of its work"),
        }
    }
}

impl App {
    /// Starts everything. Returns once both listeners answer; instances are brought up after.
    ///
    /// # Errors
    /// When the data directory is in use or damaged, or an address is taken.
    pub async fn start(
        config: Config,
        source: Source,
        executable: PathBuf,
    ) -> anyhow::Result<(App, Option<FirstAdmin>)> {
        raise_file_limit();
        let opened = tenantry_journal::open(&config.data_dir)
            .with_context(|| format!("cannot use the data directory {}", config.data_dir.display()))?;
        let store: Arc<dyn Journal> = opened.store;
        let keyring = opened.keyring;
        let vault = Arc::clone(&keyring) as Arc<dyn Vault>;
        let snapshots = Arc::new(Snapshots::open(config.data_dir.join("snapshots"), Arc::clone(&vault))?);
        let mut booted = boot(&*store, &vault, &snapshots)?;
        let served_by = booted.world.version.as_str();
        if !served_by.is_empty() && served_by != env!("CARGO_PKG_VERSION") {
            let is_accepted = config.accept_differences;
            if whole::before_upgrade(&*store, &vault, &snapshots, is_accepted)? {
                booted = boot(&*store, &vault, &snapshots)?;
            }
        }
        crate::clock::not_before(booted.world.at);
        let frontier = booted.frontier.clone();
        let audit = Audit::open(&config.data_dir, Arc::clone(&store), &frontier)?;
        let policy = Arc::new(ArcSwap::from_pointee(config.policy()));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), clock.now()));
        let engine = Engine::start(Setup {
            store: Arc::clone(&store),
            keyring: Arc::clone(&keyring),
            booted,
            policy: Arc::clone(&policy),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
        })?;
        let handle = engine.handle();
        let (stop_beside, stopped) = crossbeam_channel::bounded(0);
        let events = JournalSource::new(Arc::clone(&store), vault);
        let travel = TimeTravel::new(Arc::new(events), Arc::clone(&snapshots));
        let travel = Arc::new(travel.indexed_in(snapshots.dir().join("tenants.seqs")));
        travel.let_take(config.past_memory());
        let snapshotter = Snapshotter::new(Arc::clone(&store), snapshots, handle.clone(), frontier)
            .indexing(Arc::clone(&travel));
        let snapshotter = snapshotter.start(stopped.clone())?;

        note_started(&handle).await?;
        let first = first_admin(&handle, config.admin_password.as_ref()).await?;

        let shutdown = CancellationToken::new();
        let settings = Arc::new(ArcSwap::from_pointee(http_settings(&config)));
        let keys: SpoolKeys = {
            let keyring = Arc::clone(&keyring);
            Arc::new(move |id| keyring.derive_under(id, SPOOL_KEY).map(|key| *key))
        };
        let counts = Traffic::default();
        let counted = counts.clone();
        let supervisor = Supervisor::new(supervisor::Setup {
            handle: handle.clone(),
            policy: Arc::clone(&policy),
            data_dir: config.data_dir.clone(),
            exe: executable,
            keys: Arc::clone(&keys),
            metrics: Arc::clone(&metrics),
            requests: Arc::new(move |instance| {
                let counts = counted.of(instance);
                RequestCounts { total: counts.requests, errors: counts.errors }
            }),
        });
        let spools = DeployLogs::new(config.data_dir.join("deployments"));
        let runs = Runs::default();
        let edge = Secret::new(URL_SAFE_NO_PAD.encode(*keyring.derive(EDGE_KEY)));
        let edge_key = EdgeKey::new(edge.reveal());
        let sites = Sites::new(&config, handle.clone(), edge, metrics.nginx_reloads());
        let blobs =
            Arc::new(Blobs::new(config.data_dir.join("blobs"), Arc::clone(&keyring) as Arc<dyn Vault>));
        let analyze = Arc::new(ArcSwap::from_pointee(config.analyze.clone()));
        let outside =
            Outside::new(handle.clone(), Arc::clone(&policy), Arc::clone(&supervisor), spools.clone())
                .draining(runs.clone())
                .with_sites(Arc::clone(&sites))
                .dressing(Themes::new(Arc::clone(&blobs), Arc::clone(&analyze)));
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&supervisor).run(shutdown.clone()));
        tasks.spawn(count_events(Arc::clone(&metrics), handle.clone(), shutdown.clone()));

        let (output, index) =
            Output::start(handle.clone(), Arc::clone(&supervisor), &config.data_dir, Arc::clone(&metrics))?;
        let output = Arc::new(output);
        tasks.spawn(Arc::clone(&output).keep_in_bounds(Arc::clone(&policy), shutdown.clone()));

        let preparing = Preparing {
            travel: Arc::clone(&travel),
            handle: handle.clone(),
            metrics: Arc::clone(&metrics),
            shutdown: shutdown.clone(),
        };
        let preparing = preparing.start(stopped)?;
        let past = Past::new(Arc::clone(&travel), handle.clone());
        let audit = Arc::new(audit.counted(metrics.audit.clone()));
        tasks.spawn(Arc::clone(&audit).keep(handle.clone(), shutdown.clone()));
        let denials = Arc::new(Denials::counted(metrics.denials()));
        tasks.spawn(Arc::clone(&denials).record(handle.clone(), shutdown.clone()));
        let last_used = Arc::new(LastUsed::open(&config.data_dir));
        let keep = Arc::clone(&last_used).keep(config.data_dir.clone(), handle.clone(), shutdown.clone());
        tasks.spawn(keep);
        let traffic = Proxy::new(handle.clone(), config.domain.clone(), counts, runs);
        tasks.spawn(Arc::clone(&traffic).run(shutdown.clone()));
        let configured = {
            let (policy, settings) = (Arc::clone(&policy), Arc::clone(&settings));
            let (traffic, sites) = (Arc::clone(&traffic), Arc::clone(&sites));
            let follow = move |config: &Config| {
                sites.follow(config);
                policy.store(Arc::new(config.policy()));
                settings.store(Arc::new(http_settings(config)));
                analyze.store(Arc::new(config.analyze.clone()));
                traffic.set_domain(config.domain.clone());
                travel.let_take(config.past_memory());
            };
            Arc::new(Configured::new(config.clone(), source, *keyring.derive(CONFIG_KEY), follow))
        };
        let state = AppState::new(Parts {
            engine: handle.clone(),
            time: Arc::new(past),
            logs: Arc::new(doors::Logs { spools, keys, handle: handle.clone() }),
            live: Arc::new(doors::Checks(Arc::clone(&supervisor))),
            policy: Arc::clone(&policy),
            settings: Arc::clone(&settings),
            jwt: JwtKeys::new(&keyring.derive(JWT_KEY)),
            passwords: Passwords::counted(metrics.password_hashes.clone()),
            denials: Arc::clone(&denials),
            audit,
            login_limit: LoginLimit::default(),
            clock,
            repeats: Repeats::new(*keyring.derive(REQUEST_KEY)),
            shutdown: shutdown.clone(),
            outputs: Arc::clone(&output) as _,
            unit_logs: Arc::new(doors::Journald(Arc::clone(&supervisor))),
            checks: Arc::new(doors::Seen(Arc::clone(&supervisor))),
            measures: Arc::new(doors::Measured {
                supervisor: Arc::clone(&supervisor),
                machine: Cgroups::find(String::new()),
            }),
            control_log: ControlLog::default(),
            last_used,
            rate_limit: RateLimit::default(),
            config: Arc::clone(&configured),
            token_key: TokenKey::new(*keyring.derive(TOKEN_KEY)),
            blobs,
            rendered: Rendered::new(metrics.feed_rendered.clone()),
            rows: Rows::default(),
            kept: Kept::default(),
            sites: Arc::clone(&sites),
            metrics,
        });
        let api_runtime = ApiRuntime::start()?;
        let mut listeners = Listeners::open(&config.data_dir).await;
        let mut listen = |name: &str, address, api: Option<Listener>| -> anyhow::Result<SocketAddr> {
            let socket = listeners.bind(name, address)?;
            let bound = socket.local_addr()?;
            let api = api.map(|listener| Api::new(state.clone(), listener));
            let (proxy, settings) = (Arc::clone(&traffic), Arc::clone(&settings));
            let api_runtime = api.as_ref().and_then(|_| api_runtime.handle());
            let front = Front { api, api_runtime, proxy, settings, edge: edge_key };
            tasks.spawn(serve(socket, front, shutdown.clone()));
            Ok(bound)
        };
        let manager = listen("manager", config.manager, Some(Listener::Manager))?;
        let instances = listen("instances", config.instances, Some(Listener::Instances))?;
        let proxy = config.proxy.map(|address| listen("proxy", address, None)).transpose()?;
        sites.listen_at(proxy.unwrap_or(manager));
        let outside = outside.erasing(eraser(&keyring, &state, output));
        // Not before: the first thing it does may be a step that a crash cut off, and a site needs
        // to know where the proxy listens.
        tasks.spawn(Reactor::run(outside, shutdown.clone()));
        tasks.spawn(sites.run(shutdown.clone()));
        tasks.spawn(listeners.keep(supervisor, shutdown.clone()));
        let beside = (stop_beside, [snapshotter, preparing]);
        let app = App {
            manager,
            instances,
            proxy,
            handle,
            configured,
            shutdown,
            tasks,
            beside,
            index,
            engine,
            _api: api_runtime,
            _lock: opened.lock,
        };
        Ok((app, first))
    }
}

/// What forgets tenants, caches included.
fn eraser(keyring: &Arc<Keyring>, state: &AppState, output: Arc<Output>) -> Eraser {
    let caches = state.clone();
    Eraser {
        keyring: Arc::clone(keyring),
        output,
        blobs: Arc::clone(&state.blobs),
        caches: Box::new(move || caches.forget_opened()),
        erased: state.metrics.tenants_erased.clone(),
    }
}

/// The end of a thread. A thread of our own waits for it, and not one of Tokio's, because the
/// program ends without whoever takes too long.
async fn thread_end(thread: JoinHandle<()>) -> std::thread::Result<()> {
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || tell.send(thread.join()));
    told.await.unwrap_or(Ok(()))
}

/// Counts what is recorded until `shutdown`.
async fn count_events(metrics: Arc<Metrics>, handle: Handle, shutdown: CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = metrics.follow(handle.feed()) => {}
    }
}

async fn note_started(handle: &Handle) -> anyhow::Result<()> {
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .context("cannot read the machine's boot id")?
        .trim()
        .to_owned();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    handle.submit(Submission::system(Command::NoteStarted { version, boot_id }, None)).await?;
    Ok(())
}

/// Makes the first administrator of a journal that has no user yet.
async fn first_admin(handle: &Handle, given: Option<&Secret>) -> anyhow::Result<Option<FirstAdmin>> {
    if handle.world().access.users().next().is_some() {
        return Ok(None);
    }
    let (password, made) = match given {
        Some(given) => (given.clone(), None),
        None => {
            let random: [u8; 18] = rand::random();
            let made = Secret::new(URL_SAFE_NO_PAD.encode(random));
            (made.clone(), Some(made))
        }
    };
    let password_hash = tokio::task::spawn_blocking(move || password::hash(password.reveal())).await??;
    let command = Command::CreateUser {
        username: "admin".into(),
        email: "admin@example.com".into(),
        role: Role::Admin,
        scope: Scope::All,
        password_hash,
    };
    handle.submit(Submission::system(command, None)).await?;
    Ok(Some(FirstAdmin { password: made }))
}

/// Each subscriber and each proxied connection takes a descriptor: as many as we may have.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, most) {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
}
