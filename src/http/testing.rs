//! The API over a real engine in memory, for tests: no process is started, a stand-in tells
//! the engine what a supervisor would.

#[path = "../../tests/support/contract.rs"]
mod contract;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex};

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use serde_json::Value;
use tenantry_journal::event::access::{Role, Scope};
use tenantry_journal::event::instance::{ExitStatus, InstanceHealth};
use tenantry_journal::id::{DeploymentId, InstanceId, TenantId};
use tenantry_journal::keyring::{Keyring, MasterKey};
use tenantry_journal::sealed::Vault;
use tenantry_journal::store::Journal;
use tenantry_journal::store::memory::MemoryJournal;
use tenantry_journal::time::Timestamp;
use tenantry_projections::as_of::TimeTravel;
use tenantry_projections::search::{self, Found};
use tenantry_projections::snapshot::Snapshots;
use tenantry_projections::world::World;
use tenantry_projections::world::instances::{Desired, Instance, Phase};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use contract::{Contract, Given};

use super::api::Api;
use super::events::rendered::Rendered;
use super::events::rows::Rows;
use super::kept::Kept;
use super::observed::{Backwards, Checks, Line, Measures, OutputError, Outputs, Source, UnitLogs};
use super::repeat::Repeats;
use super::router::Listener;
use super::state::{AppState, DeploymentLogs, HealthReport, HttpSettings, Live, Parts};
use crate::audit::Audit;
use crate::auth::jwt::JwtKeys;
use crate::auth::last_used::LastUsed;
use crate::auth::login_limit::LoginLimit;
use crate::auth::password::Passwords;
use crate::auth::rate_limit::RateLimit;
use crate::auth::token;
use crate::auth::token_key::TokenKey;
use crate::clock::SystemClock;
use crate::config::{self, Config, Overrides};
use crate::configured::Configured;
use crate::control_log::ControlLog;
use crate::domain::command::{Command, Submission};
use crate::drivers::blob::Blobs;
use crate::engine::{Engine, JournalSource, Setup, boot};
use crate::past::Past;
use crate::sites::Sites;
use crate::telemetry::Metrics;

/// The configuration that every test begins with.
pub(super) const CONFIG: &str = "
[settings]
rate_limit_per_minute = 1000000
rate_limit_per_hour = 1000000
[service.api]
command = '/bin/api'
socket = '/tmp/{name}-{id}.sock'
health = '/health'
[service.worker]
command = '/bin/worker'
restart = 'never'
";

/// Every answer that a test gets is held against the API's description.
static CONTRACT: LazyLock<Contract> = LazyLock::new(|| Contract::new(super::openapi::build()));

/// An answer, read whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answer {
    #[track_caller]
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    #[track_caller]
    pub(super) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        if self.text.is_empty() { Value::Null } else { self.json() }
    }
}

/// The API with everything behind it.
pub(super) struct TestApi {
    pub(super) app: AppState,
    pub(super) token: String,
    pub(super) printed: Arc<Printed>,
    listener: Listener,
    /// Never dropped: that would wait for every handle, and the tasks of a test hold some.
    _engine: std::mem::ManuallyDrop<Engine>,
    dir: tempfile::TempDir,
}

impl TestApi {
    pub(super) async fn start() -> TestApi {
        TestApi::on(Listener::Instances).await
    }

    pub(super) async fn on(listener: Listener) -> TestApi {
        crate::tls::install();
        let dir = tempfile::tempdir().unwrap();
        let keyring = Arc::new(Keyring::open(dir.path(), MasterKey::new([7; 32])).unwrap());
        let vault = Arc::clone(&keyring) as Arc<dyn Vault>;
        let store: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
        let snapshots = Arc::new(Snapshots::open(dir.path().join("snapshots"), Arc::clone(&vault)).unwrap());
        let overrides = Overrides { working_dir: dir.path().into(), ..Overrides::default() };
        let file = dir.path().join("tenantry.toml");
        std::fs::write(&file, CONFIG).unwrap();
        let source = config::Source::new(Some(file), overrides);
        let config = source.read().unwrap();
        let policy = Arc::new(ArcSwap::from_pointee(config.policy()));
        let settings = Arc::new(ArcSwap::from_pointee(http_settings(&config)));
        let follow = {
            let (policy, settings) = (Arc::clone(&policy), Arc::clone(&settings));
            move |config: &Config| {
                policy.store(Arc::new(config.policy()));
                settings.store(Arc::new(http_settings(config)));
            }
        };
        let config = Arc::new(Configured::new(config, source, [3; 32], follow));
        let metrics = Arc::new(Metrics::new("test", Timestamp(0)));
        let engine = Engine::start(Setup {
            booted: boot(&*store, &vault, &snapshots).unwrap(),
            store: Arc::clone(&store),
            keyring,
            policy: Arc::clone(&policy),
            clock: Arc::new(SystemClock),
            metrics: Arc::clone(&metrics),
        })
        .unwrap();
        let handle = engine.handle();
        let blobs = Arc::new(Blobs::new(dir.path().join("blobs"), Arc::clone(&vault)));
        let audit = Arc::new(Audit::in_memory(Arc::clone(&store)));
        let source = JournalSource::new(store, vault);
        let printed = Arc::new(Printed::default());
        let edge = tenantry_journal::sealed::Secret::new("edge".to_owned());
        let sites = Sites::new(&config.current(), handle.clone(), edge, metrics.nginx_reloads());
        let app = AppState::new(Parts {
            time: Arc::new(Past::new(TimeTravel::new(Arc::new(source), snapshots), handle.clone())),
            engine: handle,
            logs: Arc::new(Nothing),
            live: Arc::new(Nothing),
            policy,
            settings,
            jwt: JwtKeys::new(&[1; 32]),
            passwords: Passwords::default(),
            denials: Arc::default(),
            audit,
            login_limit: LoginLimit::default(),
            clock: Arc::new(SystemClock),
            repeats: Repeats::new([4; 32]),
            shutdown: CancellationToken::new(),
            outputs: Arc::clone(&printed) as Arc<dyn Outputs>,
            unit_logs: Arc::new(Nothing),
            checks: Arc::new(Nothing),
            measures: Arc::new(Nothing),
            control_log: ControlLog::default(),
            last_used: Arc::new(LastUsed::default()),
            rate_limit: RateLimit::default(),
            config,
            token_key: TokenKey::new([2; 32]),
            blobs,
            rendered: Rendered::new(metrics.feed_rendered.clone()),
            rows: Rows::default(),
            kept: Kept::default(),
            sites,
            metrics,
        });
        let mut api = TestApi {
            app,
            token: String::new(),
            printed,
            listener,
            _engine: std::mem::ManuallyDrop::new(engine),
            dir,
        };
        api.token = api.token_for(Role::Admin, Scope::All).await;
        tokio::spawn(supervise(api.app.clone()));
        let app = api.app.clone();
        tokio::spawn(async move { app.metrics.follow(app.engine.feed()).await });
        api
    }

    /// A token's text.
    pub(super) async fn token_for(&self, role: Role, scope: Scope) -> String {
        let text = token::generate();
        let hash = token::hash(text.reveal());
        self.tell(Command::CreateToken { name: "test".into(), hash, role, scope, expires_at: None }).await;
        text.reveal().to_owned()
    }

    /// Has the control plane itself give a command.
    pub(super) async fn tell(&self, command: Command) {
        self.app.engine.submit(Submission::system(command, None)).await.unwrap();
    }

    /// Records so many events that mean nothing.
    pub(super) async fn fill(&self, count: u32) {
        for pid in 0..count {
            self.tell(Command::NoteKeeper { pid, start_ticks: u64::from(pid) }).await;
        }
    }

    /// Replaces the configuration file; nobody reads it yet.
    pub(super) fn write_config(&self, text: &str) {
        std::fs::write(self.dir.path().join("tenantry.toml"), text).unwrap();
    }

    pub(super) fn router(&self) -> Router {
        Api::new(self.app.clone(), self.listener).into_router()
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let (method, uri) = (request.method().to_string(), request.uri().to_string());
        let response = self.router().oneshot(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = axum::body::to_bytes(response.into_body(), 10_000_000).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        let media_type = headers.get("content-type").map_or("", |kind| kind.to_str().unwrap());
        CONTRACT.check(&Given {
            method: &method,
            path: &uri,
            status,
            media_type,
            headers: &headers,
            text: &text,
        });
        Answer { status, headers, text }
    }

    pub(super) fn request(&self, method: &str, path: &str) -> axum::http::request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", "127.0.0.1")
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
    }

    pub(super) async fn call(&self, method: &str, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        self.send(self.request(method, path).body(body).unwrap()).await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, Value::Null).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, body).await
    }

    /// Serves on a real port; for WebSockets and streams.
    pub(super) async fn listen(&self) -> SocketAddr {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let service = self.router().into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(socket, service).await });
        address
    }
}

fn http_settings(config: &Config) -> HttpSettings {
    HttpSettings {
        hosts: config.allowed_hosts.clone(),
        rate_limit_per_minute: config.rate_limit.per_minute,
        rate_limit_per_hour: config.rate_limit.per_hour,
    }
}

/// Tells the engine what a supervisor would: `missing` has no command, `exits` exits with 3,
/// `silent` never gets healthy, everything else does at once.
async fn supervise(app: AppState) {
    let mut changes = app.engine.changes();
    loop {
        changes.mark_unchanged();
        let world = app.engine.world();
        let mut acted = false;
        for instance in world.instances.iter().filter(|instance| instance.needs_attention()) {
            if let Some(command) = next(instance) {
                acted |= app.engine.submit(Submission::system(command, None)).await.is_ok();
            }
        }
        if !acted && changes.changed().await.is_err() {
            return;
        }
    }
}

fn next(instance: &Instance) -> Option<Command> {
    let (instance_id, name) = (instance.id, instance.name.open()?.id.as_str());
    let run = instance.run.as_ref();
    let exited = |status| {
        run.map(|run| Command::RunExited { instance_id, run_id: run.id, status, at: crate::clock::now() })
    };
    match (instance.desired, instance.phase) {
        (Desired::Running, Phase::Idle) => Some(Command::BeginRun { instance_id, listening: None }),
        (Desired::Running, Phase::Starting) if instance.restart.is_none() => {
            let run = run?;
            match (name, run.process) {
                ("missing", _) => {
                    let reason = "No such file or directory".into();
                    Some(Command::RunFailed { instance_id, run_id: run.id, reason })
                }
                (_, None) => {
                    Some(Command::RunStarted { instance_id, run_id: run.id, pid: 1, start_ticks: 1 })
                }
                ("exits", _) => exited(ExitStatus::Code(3)),
                ("silent", _) => None,
                (_, Some(_)) => Some(Command::HealthObserved {
                    instance_id,
                    run_id: run.id,
                    health: InstanceHealth::Healthy,
                    detail: String::new(),
                }),
            }
        }
        (_, Phase::Starting | Phase::Running | Phase::Stopping) => exited(ExitStatus::Signal(15)),
        (Desired::Removed, _) => Some(Command::InstanceGone { instance_id }),
        (_, Phase::Idle | Phase::Backoff | Phase::Failed) => None,
    }
}

struct Nothing;

impl DeploymentLogs for Nothing {
    fn text(&self, _: DeploymentId) -> String {
        String::new()
    }
    fn follow(&self, _: DeploymentId) -> BoxStream<'static, String> {
        futures_util::stream::pending().boxed()
    }
}

impl Live for Nothing {
    fn health_check(&self, _: TenantId) -> BoxFuture<'static, HealthReport> {
        Box::pin(std::future::pending())
    }
    fn last_health(&self, _: TenantId) -> Option<HealthReport> {
        None
    }
    fn follow_health(&self, _: TenantId) -> BoxStream<'static, HealthReport> {
        futures_util::stream::pending().boxed()
    }
}

impl Measures for Nothing {}

impl UnitLogs for Nothing {}

impl Checks for Nothing {
    fn last_check(&self, _: InstanceId) -> Option<Timestamp> {
        Some(Timestamp(1_763_726_400_000))
    }
}

/// What "processes" printed.
#[derive(Default)]
pub(super) struct Printed {
    lines: Mutex<BTreeMap<InstanceId, Vec<Line>>>,
    live: Mutex<HashMap<InstanceId, Vec<tokio::sync::mpsc::UnboundedSender<Line>>>>,
}

impl Printed {
    pub(super) fn print(&self, instance: InstanceId, source: Source, at: u64, text: &str) {
        let mut lines = self.lines.lock().unwrap();
        let lines = lines.entry(instance).or_default();
        let line =
            Line { position: lines.len() as u64 + 1, at: Timestamp(at), source, text: text.to_owned() };
        lines.push(line.clone());
        for follower in self.live.lock().unwrap().entry(instance).or_default() {
            let _ = follower.send(line.clone());
        }
    }

    pub(super) fn followers(&self, instance: InstanceId) -> usize {
        self.live.lock().unwrap().get(&instance).map_or(0, Vec::len)
    }
}

impl Outputs for Printed {
    fn kept(&self) -> Result<Vec<InstanceId>, OutputError> {
        Ok(self.lines.lock().unwrap().keys().copied().collect())
    }
    fn range(&self, instance: InstanceId) -> Result<(u64, u64), OutputError> {
        Ok((1, self.lines.lock().unwrap().get(&instance).map_or(0, Vec::len) as u64 + 1))
    }
    fn backwards(&self, instance: InstanceId, before: Option<u64>) -> Result<Backwards, OutputError> {
        let mut lines = self.lines.lock().unwrap().get(&instance).cloned().unwrap_or_default();
        lines.retain(|line| before.is_none_or(|before| line.position < before));
        Ok(Box::new(std::iter::once(Ok(lines))))
    }
    fn at(&self, instance: InstanceId, positions: &[u64]) -> Result<Vec<Line>, OutputError> {
        let mut lines = self.lines.lock().unwrap().get(&instance).cloned().unwrap_or_default();
        lines.retain(|line| positions.contains(&line.position));
        Ok(lines)
    }
    fn search(&self, _: &search::Request<'_>) -> Result<Found, OutputError> {
        Err(OutputError("no index".into()))
    }
    fn follow(&self, instance: InstanceId, after: Option<u64>) -> BoxStream<'static, Line> {
        let (send, receive) = tokio::sync::mpsc::unbounded_channel();
        let lines = self.lines.lock().unwrap();
        let kept = lines.get(&instance).map_or(&[][..], Vec::as_slice);
        for line in &kept[after.map_or(kept.len(), |after| after as usize)..] {
            let _ = send.send(line.clone());
        }
        self.live.lock().unwrap().entry(instance).or_default().push(send);
        tokio_stream::wrappers::UnboundedReceiverStream::new(receive).boxed()
    }
}

/// The id of an instance.
pub(super) fn id_of(world: &World, name: &str) -> InstanceId {
    world.instances.by_key(&name.parse().unwrap()).unwrap().id
}
