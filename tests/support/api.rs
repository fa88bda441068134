//! The API without a network: the real router over a real engine with a journal in memory, and
//! a puppet in place of reactor and keeper that does at once whatever is lacking.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, header};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use serde_json::Value;
use tenantry::audit::Audit;
use tenantry::auth::denied::Denials;
use tenantry::auth::jwt::JwtKeys;
use tenantry::auth::last_used::LastUsed;
use tenantry::auth::login_limit::LoginLimit;
use tenantry::auth::password::{self, Passwords};
use tenantry::auth::rate_limit::RateLimit;
use tenantry::auth::token_key::TokenKey;
use tenantry::clock::SystemClock;
use tenantry::config::{Config, Overrides, Source};
use tenantry::configured::Configured;
use tenantry::domain::command::{Command, StepReport, Submission};
use tenantry::domain::effect::Effect;
use tenantry::domain::policy::{
    Backoff, DeployTemplate, Deploying, Edges, Policy, PortRange, Retention, ServiceTemplate,
};
use tenantry::domain::react::react;
use tenantry::drivers::blob::Blobs;
use tenantry::engine::{Engine, Handle, JournalSource, Setup, boot};
use tenantry::http;
use tenantry::http::events::rendered::Rendered;
use tenantry::http::events::rows::Rows;
use tenantry::http::kept::Kept;
use tenantry::http::observed::{Backwards, Checks, Line, Measures, OutputError, Outputs, UnitLogs};
use tenantry::http::repeat::Repeats;
use tenantry::http::router::Listener;
use tenantry::http::state::{
    AppState, DatabaseProbe, DeploymentLogs, HealthReport, HttpSettings, Live, Parts, Probe,
};
use tenantry::past::Past;
use tenantry::sites::Sites;
use tenantry::telemetry::Metrics;
use tenantry_journal::event::access::{Role, Scope};
use tenantry_journal::event::deployment::StepKind;
use tenantry_journal::event::health::TenantHealth;
use tenantry_journal::event::instance::{ExitStatus, InstanceHealth, Limits, RestartPolicy};
use tenantry_journal::id::{DeploymentId, InstanceId, Seq, TenantId};
use tenantry_journal::keyring::{Keyring, MasterKey};
use tenantry_journal::sealed::{Secret, Vault};
use tenantry_journal::store::Journal;
use tenantry_journal::store::memory::MemoryJournal;
use tenantry_journal::time::Timestamp;
use tenantry_projections::as_of::TimeTravel;
use tenantry_projections::search::{self, Found};
use tenantry_projections::snapshot::Snapshots;
use tenantry_projections::world::instances::Phase;
use tokio::sync::broadcast;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Everybody's password.
pub(crate) const PASSWORD: &str = "correct horse";
/// Longer than anything takes; reached only when a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// The body of an answer that must have this status.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(crate) fn seq(&self) -> u64 {
        self.header("x-event-seq").expect("X-Event-Seq").parse().expect("a number")
    }
}

/// What the puppet does.
#[derive(Default)]
pub(crate) struct Puppet {
    /// Processes exit with 3 instead of becoming healthy.
    pub(crate) failing: AtomicBool,
    /// Nothing is done.
    pub(crate) idle: AtomicBool,
}

/// Deployment logs and checks in memory.
pub(crate) struct Pretend {
    pub(crate) lines: Mutex<BTreeMap<DeploymentId, Vec<String>>>,
    /// What instances printed.
    pub(crate) printed: Mutex<BTreeMap<InstanceId, Vec<Line>>>,
    pub(crate) checks: AtomicU64,
    last: Mutex<BTreeMap<TenantId, HealthReport>>,
    reports: broadcast::Sender<(TenantId, HealthReport)>,
}

impl DeploymentLogs for Pretend {
    fn text(&self, deployment: DeploymentId) -> String {
        self.lines.lock().unwrap().get(&deployment).cloned().unwrap_or_default().join("\n")
    }

    fn follow(&self, deployment: DeploymentId) -> BoxStream<'static, String> {
        let lines = self.lines.lock().unwrap().get(&deployment).cloned().unwrap_or_default();
        futures_util::stream::iter(lines).chain(futures_util::stream::pending()).boxed()
    }
}

impl Live for Pretend {
    fn health_check(&self, tenant: TenantId) -> BoxFuture<'static, HealthReport> {
        self.checks.fetch_add(1, Ordering::Relaxed);
        let up = Probe { up: true, response_time_ms: Some(4), status_code: Some(200) };
        let report = HealthReport {
            overall: TenantHealth::Healthy,
            frontend: up.clone(),
            backend: up,
            database: DatabaseProbe { status: "healthy".into(), size_mb: 2.5, connections: 2 },
            checked_at: Timestamp(1_763_726_400_000),
        };
        self.last.lock().unwrap().insert(tenant, report.clone());
        let _ = self.reports.send((tenant, report.clone()));
        Box::pin(async move { report })
    }

    fn last_health(&self, tenant: TenantId) -> Option<HealthReport> {
        self.last.lock().unwrap().get(&tenant).cloned()
    }

    fn follow_health(&self, tenant: TenantId) -> BoxStream<'static, HealthReport> {
        let reports = self.reports.subscribe();
        futures_util::stream::unfold(reports, move |mut reports| async move {
            loop {
                let (id, report) = reports.recv().await.ok()?;
                if id == tenant {
                    return Some((report, reports));
                }
            }
        })
        .boxed()
    }
}

impl Pretend {
    fn of(&self, instance: InstanceId) -> Vec<Line> {
        self.printed.lock().unwrap().get(&instance).cloned().unwrap_or_default()
    }
}

impl Outputs for Pretend {
    fn kept(&self) -> Result<Vec<InstanceId>, OutputError> {
        Ok(self.printed.lock().unwrap().keys().copied().collect())
    }

    fn range(&self, instance: InstanceId) -> Result<(u64, u64), OutputError> {
        Ok((1, self.of(instance).len() as u64 + 1))
    }

    fn backwards(&self, instance: InstanceId, before: Option<u64>) -> Result<Backwards, OutputError> {
        let mut lines = self.of(instance);
        lines.retain(|line| before.is_none_or(|before| line.position < before));
        Ok(Box::new(std::iter::once(Ok(lines))))
    }

    fn at(&self, instance: InstanceId, positions: &[u64]) -> Result<Vec<Line>, OutputError> {
        let mut lines = self.of(instance);
        lines.retain(|line| positions.contains(&line.position));
        Ok(lines)
    }

    fn search(&self, _: &search::Request<'_>) -> Result<Found, OutputError> {
        Err(OutputError("no index".into()))
    }

    fn follow(&self, instance: InstanceId, _: Option<u64>) -> BoxStream<'static, Line> {
        futures_util::stream::iter(self.of(instance)).chain(futures_util::stream::pending()).boxed()
    }
}

impl Measures for Pretend {}

impl UnitLogs for Pretend {}

impl Checks for Pretend {
    fn last_check(&self, _: InstanceId) -> Option<Timestamp> {
        None
    }
}

fn service() -> ServiceTemplate {
    ServiceTemplate {
        command: "app".into(),
        args: Vec::new(),
        env: BTreeMap::new(),
        socket: None,
        health: Some("/health".into()),
        workdir: None,
        restart: RestartPolicy::Always,
        startup_timeout_ms: 5_000,
        stop_timeout_ms: 5_000,
        health_interval_ms: 1_000,
        limits: Limits::default(),
        idle_timeout_ms: None,
        restart_mode: tenantry_journal::event::instance::RestartMode::Replace,
    }
}

fn policy() -> Policy {
    Policy {
        data_dir: PathBuf::from("/data"),
        deploy_root: PathBuf::from("/data/tenants"),
        // Below the ports of outgoing connections; three pairs.
        ports: PortRange { first: 23300, last: 23329, step: 10 },
        instance_ports: (28000, 28999),
        services: [("api".parse().unwrap(), service())].into(),
        template: DeployTemplate {
            frontend: Some(service()),
            backend: Some(service()),
            init: None,
            migrate: None,
            database: "data/app.db".into(),
        },
        deploying: Deploying::default(),
        edges: Edges { nginx_off: Some("nginx is off".into()), ssl_off: Some("ssl is off".into()) },
        backoff: Backoff { initial_ms: 500, cap_ms: 60_000, stable_ms: 60_000 },
        retention: Retention::default(),
    }
}

/// The API.
pub(crate) struct Api {
    pub(crate) router: Router,
    pub(crate) instances: Router,
    pub(crate) handle: Handle,
    pub(crate) puppet: Arc<Puppet>,
    pub(crate) pretend: Arc<Pretend>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) settings: Arc<ArcSwap<HttpSettings>>,
    /// What was refused; nobody records it unless a test does.
    pub(crate) denials: Arc<Denials>,
    pub(crate) repeats: Repeats,
    /// The administrator's login.
    pub(crate) admin: String,
    _dir: tempfile::TempDir,
}

impl Api {
    /// With an administrator `admin`, an operator `olga` and a viewer `victor`.
    pub(crate) async fn start() -> Api {
        tenantry::tls::install();
        let dir = tempfile::tempdir().unwrap();
        let keyring = Arc::new(Keyring::open(dir.path(), MasterKey::new([7; 32])).unwrap());
        let vault = Arc::clone(&keyring) as Arc<dyn Vault>;
        let store: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
        let snapshots = Arc::new(Snapshots::open(dir.path().join("snapshots"), Arc::clone(&vault)).unwrap());
        let booted = boot(&*store, &vault, &snapshots).unwrap();
        let policy = Arc::new(ArcSwap::from_pointee(policy()));
        let engine = Engine::start(Setup {
            store: Arc::clone(&store),
            keyring,
            booted,
            policy: Arc::clone(&policy),
            clock: Arc::new(SystemClock),
            metrics: Arc::new(Metrics::new("test", Timestamp(0))),
        })
        .unwrap();
        let handle = engine.handle();
        // Stopping it joins its threads, and the test's own tasks may still want an answer.
        std::mem::forget(engine);
        let blobs = Arc::new(Blobs::new(dir.path().join("blobs"), Arc::clone(&vault)));
        let audit = Arc::new(Audit::in_memory(Arc::clone(&store)));
        let denials = Arc::new(Denials::default());
        let source = Arc::new(JournalSource::new(store, vault));
        let pretend = Arc::new(Pretend {
            lines: Mutex::default(),
            printed: Mutex::default(),
            checks: AtomicU64::new(0),
            last: Mutex::default(),
            reports: broadcast::channel(16).0,
        });
        let shutdown = CancellationToken::new();
        let metrics = Arc::new(Metrics::new("test", Timestamp(0)));
        let settings = Arc::new(ArcSwap::from_pointee(HttpSettings {
            hosts: vec!["manager.nominate.ai".into()],
            rate_limit_per_minute: 1000,
            rate_limit_per_hour: 10_000,
        }));
        let edge = Secret::new("edge".to_owned());
        let config = Config::parse("", &overrides()).unwrap();
        let sites = Sites::new(&config, handle.clone(), edge, metrics.nginx_reloads());
        let repeats = Repeats::new([6; 32]);
        let state = AppState::new(Parts {
            engine: handle.clone(),
            time: Arc::new(Past::new(TimeTravel::new(source, snapshots), handle.clone())),
            logs: Arc::clone(&pretend) as Arc<dyn DeploymentLogs>,
            live: Arc::clone(&pretend) as Arc<dyn Live>,
            policy,
            settings: Arc::clone(&settings),
            jwt: JwtKeys::new(&[9; 32]),
            passwords: Passwords::counted(metrics.password_hashes.clone()),
            denials: Arc::clone(&denials),
            audit,
            login_limit: LoginLimit::default(),
            clock: Arc::new(SystemClock),
            repeats: repeats.clone(),
            shutdown: shutdown.clone(),
            outputs: Arc::clone(&pretend) as Arc<dyn Outputs>,
            unit_logs: Arc::clone(&pretend) as Arc<dyn UnitLogs>,
            checks: Arc::clone(&pretend) as Arc<dyn Checks>,
            measures: Arc::clone(&pretend) as Arc<dyn Measures>,
            control_log: tenantry::control_log::ControlLog::default(),
            last_used: Arc::new(LastUsed::default()),
            rate_limit: RateLimit::default(),
            config: Arc::new(Configured::new(config, Source::new(None, overrides()), [3; 32], |_| {})),
            token_key: TokenKey::new([5; 32]),
            blobs,
            rendered: Rendered::new(metrics.feed_rendered.clone()),
            rows: Rows::default(),
            kept: Kept::default(),
            sites,
            metrics,
        });
        let hash = tokio::task::spawn_blocking(|| password::hash(PASSWORD).unwrap()).await.unwrap();
        for (name, role) in [("admin", Role::Admin), ("olga", Role::Operator), ("victor", Role::Viewer)] {
            let command = Command::CreateUser {
                username: name.into(),
                email: format!("{name}@example.com"),
                role,
                scope: Scope::All,
                password_hash: hash.clone(),
            };
            handle.submit(Submission::system(command, None)).await.unwrap();
        }
        let puppet = Arc::new(Puppet::default());
        tokio::spawn(play(handle.clone(), Arc::clone(&puppet), shutdown.clone()));
        let mut api = Api {
            router: http::api::Api::new(state.clone(), Listener::Manager).into_router(),
            instances: http::api::Api::new(state, Listener::Instances).into_router(),
            handle,
            puppet,
            pretend,
            shutdown,
            settings,
            denials,
            repeats,
            admin: String::new(),
            _dir: dir,
        };
        api.admin = api.login("admin").await;
        api
    }

    pub(crate) async fn login(&self, name: &str) -> String {
        let body = serde_json::json!({"username": name, "password": PASSWORD});
        let answer = self.send(request("POST", "/api/auth/login").json(&body)).await;
        answer.expect(200)["access_token"].as_str().unwrap().to_owned()
    }

    /// An API token; gives its text.
    pub(crate) async fn token(&self, role: Role, scope: Scope) -> String {
        let text = tenantry::auth::token::generate();
        let command = Command::CreateToken {
            name: "test".into(),
            hash: tenantry::auth::token::hash(text.reveal()),
            role,
            scope,
            expires_at: None,
        };
        self.handle.submit(Submission::system(command, None)).await.unwrap();
        text.reveal().to_owned()
    }

    /// Lets each token and user make so many requests from now on.
    pub(crate) fn limit(&self, per_minute: u32, per_hour: u32) {
        let before = self.settings.load();
        self.settings.store(Arc::new(HttpSettings {
            rate_limit_per_minute: per_minute,
            rate_limit_per_hour: per_hour,
            ..HttpSettings::clone(&before)
        }));
    }

    /// Sends a request to the manager's listener.
    pub(crate) async fn send(&self, request: Req) -> Answer {
        send(&self.router, request).await
    }

    /// Sends a request to the instances' listener.
    pub(crate) async fn send_instances(&self, request: Req) -> Answer {
        send(&self.instances, request).await
    }

    /// Sends a request to the manager's listener and leaves the answer's body to be read.
    pub(crate) async fn open(&self, request: Req) -> axum::response::Response {
        open(&self.router, request).await
    }

    /// The same of the instances' listener.
    pub(crate) async fn open_instances(&self, request: Req) -> axum::response::Response {
        open(&self.instances, request).await
    }

    /// With the administrator's login.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(request("GET", path).bearer(&self.admin)).await
    }

    /// With the administrator's login.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(request("POST", path).bearer(&self.admin).json(&body)).await
    }

    /// With the administrator's login.
    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(request("PUT", path).bearer(&self.admin).json(&body)).await
    }

    /// With the administrator's login.
    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(request("DELETE", path).bearer(&self.admin)).await
    }

    /// Creates a tenant; gives its id.
    pub(crate) async fn tenant(&self, slug: &str) -> String {
        let created = self.post("/api/tenants", tenant_body(slug)).await;
        created.expect(201)["id"].as_str().unwrap().to_owned()
    }

    /// Deploys a tenant, waits for its end; gives the deployment's id.
    pub(crate) async fn deployed(&self, tenant: &str) -> String {
        let requested = self.post(&format!("/api/tenants/{tenant}/deploy"), serde_json::json!({})).await;
        let id = requested.expect(202)["deployment_id"].as_str().unwrap().to_owned();
        self.ended(&id).await;
        id
    }

    /// Waits for the end of a deployment.
    pub(crate) async fn ended(&self, deployment: &str) {
        let id: DeploymentId = deployment.parse().unwrap();
        let deadline = Instant::now() + PATIENCE;
        let ended = self.handle.until(deadline, |world| {
            world.deployments.get(id).filter(|deployment| deployment.is_over()).map(|_| ())
        });
        ended.await.expect("the deployment ends");
    }

    /// Serves the manager's routes on a real port; gives its address.
    pub(crate) async fn listen(&self) -> std::net::SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = self.router.clone().into_make_service_with_connect_info::<std::net::SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        address
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn overrides() -> Overrides {
    Overrides { working_dir: "/nowhere".into(), ..Overrides::default() }
}

/// A tenant of the documents.
pub(crate) fn tenant_body(slug: &str) -> Value {
    serde_json::json!({
        "name": format!("{slug} for Senate"),
        "slug": slug,
        "domain": format!("{slug}.nominate.ai"),
        "api_domain": format!("{slug}api.nominate.ai"),
        "github_repo": "git@github.com:org/smith.git",
        "notes": "Second campaign deployment",
    })
}

/// A request to be sent.
pub(crate) struct Req {
    builder: axum::http::request::Builder,
    body: Body,
}

/// A request with a Host of ours.
pub(crate) fn request(method: &str, path: &str) -> Req {
    let builder = Request::builder().method(method).uri(path).header(header::HOST, "127.0.0.1:32201");
    Req { builder, body: Body::empty() }
}

impl Req {
    pub(crate) fn bearer(self, token: &str) -> Req {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Req {
        if name == "host" {
            self.builder.headers_mut().unwrap().remove(name);
        }
        self.builder = self.builder.header(name, value);
        self
    }

    pub(crate) fn json(self, body: &Value) -> Req {
        self.header("content-type", "application/json").text(&body.to_string())
    }

    pub(crate) fn text(mut self, body: &str) -> Req {
        self.body = Body::from(body.to_owned());
        self
    }
}

async fn open(router: &Router, request: Req) -> axum::response::Response {
    let request = request.builder.body(request.body).unwrap();
    router.clone().oneshot(request).await.unwrap()
}

async fn send(router: &Router, request: Req) -> Answer {
    let response = open(router, request).await;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = to_bytes(response.into_body(), 16 << 20).await.unwrap();
    Answer { status, headers, text: String::from_utf8_lossy(&bytes).into_owned() }
}

/// Does whatever is lacking, until the end.
async fn play(handle: Handle, puppet: Arc<Puppet>, shutdown: CancellationToken) {
    let mut changes = handle.changes();
    loop {
        changes.mark_unchanged();
        if !puppet.idle.load(Ordering::Relaxed) {
            for due in react(&handle.world()) {
                if due.not_before.is_none() {
                    perform(&handle, &puppet, due.effect, due.cause).await;
                }
            }
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = shutdown.cancelled() => return,
        }
    }
}

async fn perform(handle: &Handle, puppet: &Puppet, effect: Effect, cause: Seq) {
    let submit = async |command| {
        let _ = handle.submit(Submission::system(command, Some(cause))).await;
    };
    match effect {
        Effect::BeginRun(instance_id) => submit(Command::BeginRun { instance_id, listening: None }).await,
        Effect::BeginSuccessor(instance_id) => {
            submit(Command::BeginSuccessor { instance_id, listening: Arc::default() }).await;
        }
        Effect::EnsureRun(instance_id, run_id) => {
            submit(Command::RunStarted { instance_id, run_id, pid: 100, start_ticks: 1 }).await;
            submit(if puppet.failing.load(Ordering::Relaxed) {
                let at = handle.world().at;
                Command::RunExited { instance_id, run_id, status: ExitStatus::Code(3), at }
            } else {
                let health = InstanceHealth::Healthy;
                Command::HealthObserved { instance_id, run_id, health, detail: "HTTP 200".into() }
            })
            .await;
        }
        Effect::EndRun(instance_id, run_id) => {
            submit(Command::BeginStop { instance_id, run_id }).await;
            let (status, at) = (ExitStatus::Signal(15), handle.world().at);
            submit(Command::RunExited { instance_id, run_id, status, at }).await;
        }
        Effect::ForgetInstance(instance_id) => submit(Command::InstanceGone { instance_id }).await,
        Effect::RunStep(deployment_id, step) => {
            submit(Command::BeginStep { deployment_id, step }).await;
            if step == StepKind::StartServices {
                submit(Command::SwitchServices { deployment_id }).await;
                let world = handle.world();
                let tenant =
                    world.deployments.get(deployment_id).and_then(|d| world.tenants.get(d.tenant_id));
                let up = |role: Option<_>| {
                    role.and_then(|id| world.instances.get(id)).is_some_and(|i| i.phase == Phase::Running)
                };
                if !tenant.is_some_and(|tenant| up(tenant.frontend) && up(tenant.backend)) {
                    return;
                }
            }
            let report = StepReport::Done { detail: format!("{} done", step.name()), commit: None };
            submit(Command::FinishStep { deployment_id, step, report }).await;
        }
        Effect::RollBack(deployment_id) => {
            submit(Command::RolledBack { deployment_id, detail: "taken back".into() }).await;
        }
        Effect::ApplyTheme(tenant_id) => {
            let theme = handle.world().tenants.get(tenant_id).map(|tenant| tenant.theme.changed);
            if let Some(theme) = theme {
                submit(Command::ThemeApplied { tenant_id, theme }).await;
            }
        }
        Effect::EraseTenant(tenant_id) => submit(Command::TenantErased { tenant_id }).await,
        Effect::Analyze(_) => {}
        Effect::WriteEnv(tenant_id) => {
            let answers = handle.world().configurations.get(tenant_id).and_then(|one| one.env_wanted);
            let path = "/data/tenants/smith/.env".to_owned();
            if let Some(answers) = answers {
                submit(Command::EnvWritten { tenant_id, answers, path, backup: None }).await;
            }
        }
        Effect::RemoveTenant(tenant_id) => {
            let removed = handle.world().tenants.get(tenant_id).and_then(|tenant| tenant.deletion);
            if let Some(removed) = removed {
                submit(Command::TenantRemoved { tenant_id, removed }).await;
            }
        }
    }
}
