//! A data directory with a control plane that can die and come back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use tenantry::clock::{Clock as _, SystemClock};
use tenantry::domain::command::{Command, CreateTenant, DeploySwitches, Submission};
use tenantry::domain::policy::{
    Backoff, DeployTemplate, Deploying, Edges, Policy, PortRange, Retention, ServiceTemplate,
};
use tenantry::drivers::deploy_log::DeployLogs;
use tenantry::engine::{Engine, Handle, Outcome, Setup, boot};
use tenantry::keeper::client::Keeper;
use tenantry::reactor::{Outside, Reactor};
use tenantry::supervisor::{self, Supervisor};
use tenantry::telemetry::metrics::Metrics;
use tenantry_journal::event::Event;
use tenantry_journal::event::instance::{Limits, Listen, RestartPolicy};
use tenantry_journal::id::{Seq, TenantId};
use tenantry_journal::lock::LockError;
use tenantry_journal::sealed::Vault;
use tenantry_journal::store::Journal;
use tenantry_journal::{OpenError, Opened};
use tenantry_projections::snapshot::Snapshots;
use tenantry_projections::world::World;
use tenantry_projections::world::deployments::Deployment;
use tenantry_projections::world::instances::{Instance, Phase};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Bench {
    dir: tempfile::TempDir,
    policy: Mutex<Policy>,
}

pub(crate) struct Life {
    pub(crate) handle: Handle,
    pub(crate) supervisor: Arc<Supervisor>,
    logs: DeployLogs,
    engine: Engine,
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    _lock: Box<dyn std::any::Any + Send>,
}

/// A range of ports of its own for each test, below the ephemeral ones, so that tests do not
/// take each other's; one that is taken by somebody else makes the test fail loudly.
fn ports() -> u16 {
    let base = 20_000 + u16::try_from(std::process::id() % 300).unwrap() * 30;
    (0..)
        .map(|step| base + step * 3000 % 9000)
        .find(|first| {
            (*first..first + 30).all(|port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok())
        })
        .unwrap()
}

impl Bench {
    pub(crate) fn new() -> Bench {
        static TAKEN: Mutex<u16> = Mutex::new(0);
        let mut taken = TAKEN.lock().unwrap();
        if *taken == 0 {
            *taken = ports();
        }
        let first = *taken;
        *taken += 30;
        let dir = tempfile::tempdir().unwrap();
        let _ = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_test_writer().try_init();
        let policy = Policy {
            data_dir: dir.path().join("data"),
            deploy_root: dir.path().join("tenants"),
            ports: PortRange { first, last: first + 19, step: 10 },
            instance_ports: (first + 20, first + 29),
            services: BTreeMap::new(),
            template: DeployTemplate {
                frontend: None,
                backend: None,
                init: None,
                migrate: None,
                database: "app.db".into(),
            },
            deploying: Deploying::default(),
            edges: Edges { nginx_off: Some("off".into()), ssl_off: Some("off".into()) },
            backoff: Backoff { initial_ms: 50, cap_ms: 5000, stable_ms: 60_000 },
            retention: Retention::default(),
        };
        Bench { dir, policy: Mutex::new(policy) }
    }

    fn template(&self, name: &str, command: &str, args: &[&str]) -> ServiceTemplate {
        ServiceTemplate {
            command: command.into(),
            args: args.iter().map(ToString::to_string).collect(),
            env: BTreeMap::new(),
            socket: None,
            health: None,
            workdir: Some(self.workdir(name).display().to_string()),
            restart: RestartPolicy::Always,
            startup_timeout_ms: 10_000,
            stop_timeout_ms: 2000,
            health_interval_ms: 10_000,
            limits: Limits::default(),
            idle_timeout_ms: None,
            restart_mode: tenantry_journal::event::instance::RestartMode::Replace,
        }
    }

    pub(crate) fn service(
        &self,
        name: &str,
        command: &str,
        args: &[&str],
        change: impl FnOnce(&mut ServiceTemplate),
    ) {
        let mut service = self.template(name, command, args);
        change(&mut service);
        self.policy.lock().unwrap().services.insert(name.parse().unwrap(), service);
    }

    /// Every tenant runs this program of its release, twice.
    pub(crate) fn tenants(&self, program: &str) {
        let mut service = self.template("", "python3", &[&format!("{{release}}/{program}")]);
        service.workdir = None;
        service.health = Some("/".into());
        let mut policy = self.policy.lock().unwrap();
        policy.template.frontend = Some(service.clone());
        policy.template.backend = Some(service);
    }

    pub(crate) fn init(&self, words: &[&str]) {
        self.policy.lock().unwrap().template.init = Some(words.iter().map(ToString::to_string).collect());
    }

    pub(crate) fn source(&self, files: &[(&str, &str)]) -> PathBuf {
        let source = self.dir.path().join("source");
        std::fs::create_dir_all(&source).unwrap();
        for (name, text) in files {
            std::fs::write(source.join(name), text).unwrap();
        }
        source
    }

    pub(crate) fn workdir(&self, service: &str) -> PathBuf {
        self.dir.path().join("work").join(service)
    }

    pub(crate) fn tenant_dir(&self, slug: &str) -> PathBuf {
        self.dir.path().join("tenants").join(slug)
    }

    pub(crate) async fn start(&self) -> Life {
        let policy = self.policy.lock().unwrap().clone();
        let data = policy.data_dir.clone();
        let opened = opened(&data).await;
        let store: Arc<dyn Journal> = opened.store;
        let keyring = opened.keyring;
        let vault = Arc::clone(&keyring) as Arc<dyn Vault>;
        let snapshots = Snapshots::open(data.join("snapshots"), Arc::clone(&vault)).unwrap();
        let booted = boot(&*store, &vault, &snapshots).unwrap();
        let policy = Arc::new(ArcSwap::from_pointee(policy));
        let clock = Arc::new(SystemClock);
        let metrics = Arc::new(Metrics::new("test", SystemClock.now()));
        let engine = Engine::start(Setup {
            store,
            keyring,
            booted,
            policy: Arc::clone(&policy),
            clock,
            metrics: Arc::clone(&metrics),
        })
        .unwrap();
        let handle = engine.handle();
        let supervisor = Supervisor::new(supervisor::Setup {
            handle: handle.clone(),
            policy: Arc::clone(&policy),
            data_dir: data.clone(),
            exe: env!("CARGO_BIN_EXE_tenantry").into(),
            keys: Arc::new(|_| Some([7; 32])),
            requests: Arc::new(|_| supervisor::RequestCounts::default()),
            metrics,
        });
        let logs = DeployLogs::new(data.join("deployments"));
        let shutdown = CancellationToken::new();
        let outside = Outside::new(handle.clone(), policy, Arc::clone(&supervisor), logs.clone());
        let tasks = vec![
            tokio::spawn(Arc::clone(&supervisor).run(shutdown.clone())),
            tokio::spawn(Reactor::run(outside, shutdown.clone())),
        ];
        Life { handle, supervisor, logs, engine, shutdown, tasks, _lock: Box::new(opened.lock) }
    }
}

/// Opens a data directory that this process let go of. A program that another test begins just now
/// holds copies of what is open here until it runs, and the lock file is among them.
async fn opened(data: &Path) -> Opened {
    let opened = async {
        loop {
            match tenantry_journal::open(data) {
                Err(OpenError::Lock(LockError::Held { pid, .. })) if pid == Some(std::process::id()) => {
                    tokio::task::yield_now().await;
                }
                other => return other.unwrap(),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), opened).await.expect("nobody else has it")
}

impl Drop for Bench {
    /// Whatever happened in the test, nothing that it started survives it.
    fn drop(&mut self) {
        let data = self.policy.lock().unwrap().data_dir.clone();
        let ended = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                if let Ok(connected) = Keeper::connect(&data).await {
                    let _ =
                        tokio::time::timeout(Duration::from_secs(10), connected.keeper.shutdown(true)).await;
                }
            });
        });
        ended.join().unwrap();
    }
}

impl Life {
    /// As a crash: nothing is drained.
    pub(crate) async fn die(self) {
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks {
            let _ = task.await;
        }
        // The engine waits for whoever may still submit.
        drop((self.handle, self.supervisor));
        self.engine.stop();
    }

    pub(crate) async fn end(self) {
        self.shutdown.cancel();
        for task in self.tasks {
            tokio::time::timeout(Duration::from_secs(5), task).await.unwrap().unwrap();
        }
        drop((self.handle, self.supervisor));
        self.engine.stop();
    }

    pub(crate) async fn submit(&self, command: Command) -> Outcome {
        self.handle.submit(Submission::system(command, None)).await.unwrap()
    }

    pub(crate) async fn spawn(&self, key: &str) {
        let (key, env, listening) = (key.parse().unwrap(), BTreeMap::new(), Arc::default());
        self.submit(Command::SpawnInstance { key, env, listening }).await;
    }

    pub(crate) async fn tenant(&self, slug: &str, source: &Path) -> TenantId {
        let create = CreateTenant {
            name: slug.into(),
            slug: slug.parse().unwrap(),
            domain: format!("{slug}.example.com").parse().unwrap(),
            api_domain: None,
            frontend_port: None,
            backend_port: None,
            github_repo: Some(format!("file://{}", source.display())),
            notes: None,
            listening: Arc::default(),
        };
        let outcome = self.submit(Command::CreateTenant(create)).await;
        outcome.world.tenants.by_slug(&slug.parse().unwrap()).unwrap()
    }

    pub(crate) async fn deploy(&self, tenant_id: TenantId) -> Arc<Deployment> {
        self.submit(Command::DeployTenant { tenant_id, switches: DeploySwitches::default() }).await;
        self.deployment_over(tenant_id).await
    }

    pub(crate) async fn deployment_over(&self, tenant: TenantId) -> Arc<Deployment> {
        self.world(|world| {
            let deployment = world.deployments.get(world.tenants.get(tenant)?.deployment?)?;
            deployment.is_over().then(|| Arc::clone(deployment))
        })
        .await
    }

    pub(crate) fn log(&self, deployment: &Deployment) -> String {
        let text = self.logs.text(deployment.id, Some([7; 32])).unwrap();
        format!("{deployment:?}\n{text}")
    }

    pub(crate) async fn world<T>(&self, found: impl FnMut(&World) -> Option<T>) -> T {
        match self.handle.until(Instant::now() + PATIENCE, found).await {
            Some(found) => found,
            None => {
                eprintln!("it never came; events: {:#?}", self.events());
                // The engine waits for whoever may still submit.
                self.tasks.iter().for_each(JoinHandle::abort);
                panic!("it never came");
            }
        }
    }

    pub(crate) async fn wait(&self, key: &str, so: impl Fn(&Instance) -> bool) -> Arc<Instance> {
        let key = key.parse().unwrap();
        self.world(|world| world.instances.by_key(&key).filter(|instance| so(instance)).cloned()).await
    }

    pub(crate) fn instance(&self, key: &str) -> Arc<Instance> {
        Arc::clone(self.handle.world().instances.by_key(&key.parse().unwrap()).unwrap())
    }

    /// Of a run that is healthy.
    pub(crate) async fn pid(&self, key: &str) -> u32 {
        let instance =
            self.wait(key, |instance| instance.phase == Phase::Running && instance.restart.is_none()).await;
        instance.run.as_ref().unwrap().process.unwrap().pid
    }

    /// Of a run that has a process.
    pub(crate) async fn started(&self, key: &str) -> u32 {
        let has = |instance: &Instance| instance.run.as_ref().is_some_and(|run| run.process.is_some());
        let instance = self.wait(key, has).await;
        instance.run.as_ref().unwrap().process.unwrap().pid
    }

    pub(crate) fn port(&self, key: &str) -> u16 {
        match self.instance(key).spec.open().unwrap().listen {
            Listen::Port(port) => port,
            Listen::Socket(_) => panic!("it has no port"),
        }
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        let feed = self.handle.feed();
        let slices = feed.read(Seq(1), 10_000).unwrap();
        slices.iter().flat_map(|slice| slice.iter()).map(|recorded| recorded.event.clone()).collect()
    }
}

pub(crate) fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

pub(crate) fn is_alive(pid: u32) -> bool {
    tenantry::drivers::tool::start_ticks(pid).is_some()
}

pub(crate) async fn gone(pid: u32) {
    patience(|| (!is_alive(pid)).then_some(())).await;
}

pub(crate) async fn patience<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(value) = found() {
                return value;
            }
            tick.tick().await;
        }
    });
    waited.await.expect("the condition never came")
}
