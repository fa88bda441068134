//! Reactor and supervisor with a real engine, a real keeper and real processes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

#[path = "supervision/bench.rs"]
mod bench;

use bench::{Bench, Life, gone, is_alive, patience};
use tenantry::domain::command::{Command, DeploySwitches};
use tenantry_journal::event::Event;
use tenantry_journal::event::instance::{ExitStatus, InstanceHealth, RestartPolicy};
use tenantry_journal::sealed::Sealed;
use tenantry_projections::world::deployments::{DeploymentStatus, StepStatus};
use tenantry_projections::world::instances::Phase;
use tenantry_projections::world::tenants::TenantStatus;

/// Answers every request with 200, or 500 once the file `ill` is there.
const SERVER: &str = r#"
import http.server, os, sys
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    def do_GET(self):
        code = 500 if os.path.exists("ill") else 200
        self.send_response(code); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *a): pass
class S(http.server.ThreadingHTTPServer):
    allow_reuse_address = True
S(("127.0.0.1", int(os.environ["PORT"])), H).serve_forever()
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_spawned_instance_becomes_healthy_with_a_clean_environment() {
    let bench = Bench::new();
    let program = format!("import os; open('env','w').write('\\n'.join(sorted(os.environ)))\n{SERVER}");
    bench.service("api", "python3", &["-c", &program], |service| service.health = Some("/".into()));
    let life = bench.start().await;
    life.spawn("api:a").await;
    let instance = life.wait("api:a", |instance| instance.phase == Phase::Running).await;
    assert_eq!((instance.health, instance.restart_count), (InstanceHealth::Healthy, 0));
    let names = std::fs::read_to_string(bench.workdir("api").join("env")).unwrap();
    let names: Vec<&str> = names.lines().filter(|name| *name != "LC_CTYPE").collect();
    assert_eq!(names, ["HOME", "LANG", "PATH", "PORT", "TENANTRY_RUN"]);
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_process_is_restarted_soon_and_counted() {
    let bench = Bench::new();
    bench.service("api", "python3", &["-c", SERVER], |service| service.health = Some("/".into()));
    let life = bench.start().await;
    life.spawn("api:a").await;
    let first = life.pid("api:a").await;
    bench::kill(first);
    let again = life
        .wait("api:a", |instance| {
            instance.phase == Phase::Running
                && instance.run.as_ref().unwrap().process.is_some_and(|process| process.pid != first)
        })
        .await;
    assert_eq!(again.restart_count, 1);
    assert_eq!(again.last_exit.as_ref().unwrap().status, Some(ExitStatus::Signal(9)));
    life.end().await;
}

/// Accepts connections and never answers one.
const HUNG: &str = "
import os, socket, time
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('127.0.0.1', int(os.environ['PORT']))); s.listen(64)
time.sleep(1000)
";

#[tokio::test(flavor = "multi_thread")]
async fn hung_neighbours_delay_no_recovery() {
    let bench = Bench::new();
    bench.service("api", "python3", &["-c", SERVER], |service| service.health = Some("/".into()));
    bench.service("hung", "python3", &["-c", HUNG], |service| {
        service.health = Some("/".into());
        service.startup_timeout_ms = 15_000;
    });
    let life = bench.start().await;
    life.spawn("api:a").await;
    let first = life.pid("api:a").await;
    let hung = ["hung:a", "hung:b", "hung:c"];
    for key in hung {
        life.spawn(key).await;
        life.started(key).await;
        // Its check waits for an answer from here on.
        let port = life.port(key);
        patience(|| std::net::TcpStream::connect(("127.0.0.1", port)).ok()).await;
    }
    bench::kill(first);
    life.wait("api:a", |instance| instance.restart_count == 1 && instance.phase == Phase::Running).await;
    for key in hung {
        let instance = life.instance(key);
        assert_eq!((instance.phase, instance.failures), (Phase::Starting, 0), "{key} was waited for");
    }
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_exits_at_once_is_never_running_and_waits_longer_each_time() {
    let bench = Bench::new();
    bench.service("api", "sh", &["-c", "echo no; exit 3"], |service| service.health = Some("/".into()));
    let life = bench.start().await;
    life.spawn("api:a").await;
    let instance = life.wait("api:a", |instance| instance.failures >= 4).await;
    assert_eq!(instance.last_exit.as_ref().unwrap().status, Some(ExitStatus::Code(3)));
    let events = life.events();
    let delays: Vec<u64> = events
        .iter()
        .filter_map(|event| match event {
            Event::InstanceRestartScheduled(event) => Some(event.delay_ms),
            _ => None,
        })
        .collect();
    assert_eq!(delays[..4], [50, 100, 200, 400]);
    assert!(!events.iter().any(|event| matches!(event, Event::InstanceHealthChanged(_))));
    let kinds: Vec<&str> =
        events.iter().map(Event::kind).filter(|kind| kind.starts_with("instance.")).collect();
    assert_eq!(kinds[2..5], ["instance.starting", "instance.started", "instance.exited"], "{kinds:?}");
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_command_is_told_in_words() {
    let bench = Bench::new();
    bench.service("api", "/no/such/program", &[], |_| {});
    let life = bench.start().await;
    life.spawn("api:a").await;
    let instance = life.wait("api:a", |instance| instance.failures >= 2).await;
    let reason =
        instance.last_exit.as_ref().unwrap().reason.clone().and_then(|reason| reason.open().cloned());
    assert!(reason.as_ref().is_some_and(|reason| reason.contains("/no/such/program")), "{reason:?}");
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_never_becomes_healthy_is_ended_and_tried_again() {
    let bench = Bench::new();
    bench.service("api", "sleep", &["1000"], |service| {
        service.health = Some("/".into());
        service.startup_timeout_ms = 300;
    });
    let life = bench.start().await;
    life.spawn("api:a").await;
    let first = life.started("api:a").await;
    life.wait("api:a", |instance| instance.failures >= 1).await;
    gone(first).await;
    let told = life.events().into_iter().find_map(|event| match event {
        Event::InstanceHealthChanged(event) => Some(event.detail),
        _ => None,
    });
    assert_eq!(told.as_deref(), Some("not healthy within 0.3 s of its start: connection refused"));
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_health_path_being_alive_is_enough() {
    let bench = Bench::new();
    bench.service("worker", "sleep", &["1000"], |_| {});
    let life = bench.start().await;
    life.spawn("worker:a").await;
    let instance = life.wait("worker:a", |instance| instance.phase == Phase::Running).await;
    assert_eq!(instance.restart_count, 0);
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_ignores_term_is_killed_with_its_children() {
    let bench = Bench::new();
    let script = "trap '' TERM; sleep 1000 & echo $! >child; while :; do sleep 0.05; done";
    bench.service("api", "sh", &["-c", script], |service| service.stop_timeout_ms = 300);
    let life = bench.start().await;
    life.spawn("api:a").await;
    let pid = life.pid("api:a").await;
    let child: u32 =
        std::fs::read_to_string(bench.workdir("api").join("child")).unwrap().trim().parse().unwrap();
    life.submit(Command::RemoveInstance { key: "api:a".parse().unwrap() }).await;
    life.world(|world| world.instances.is_empty().then_some(())).await;
    assert!(!is_alive(pid) && !is_alive(child));
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_listener_makes_nobody_healthy() {
    let bench = Bench::new();
    bench.service("api", "sleep", &["1000"], |service| {
        service.health = Some("/".into());
        service.startup_timeout_ms = 400;
    });
    let life = bench.start().await;
    life.spawn("api:a").await;
    let port = life.port("api:a");
    let stranger = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        while let Ok((mut stream, _)) = stranger.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        }
    });
    life.wait("api:a", |instance| instance.failures >= 2).await;
    let healthy = life.events().into_iter().any(
        |event| matches!(event, Event::InstanceHealthChanged(event) if event.health == InstanceHealth::Healthy),
    );
    assert!(!healthy);
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_checks_replace_the_process() {
    let bench = Bench::new();
    bench.service("api", "python3", &["-c", SERVER], |service| {
        service.health = Some("/".into());
        service.health_interval_ms = 100;
    });
    let life = bench.start().await;
    life.spawn("api:a").await;
    let first = life.pid("api:a").await;
    std::fs::write(bench.workdir("api").join("ill"), "").unwrap();
    life.wait("api:a", |instance| instance.restart_count >= 1).await;
    std::fs::remove_file(bench.workdir("api").join("ill")).unwrap();
    gone(first).await;
    let second = life.pid("api:a").await;
    assert_ne!(first, second);
    let id = life.instance("api:a").id;
    assert!(life.supervisor.live().get(id).unwrap().checks.failed >= 3);
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_never_restarted_is_called_ill_and_well_again() {
    let bench = Bench::new();
    bench.service("api", "python3", &["-c", SERVER], |service| {
        service.health = Some("/".into());
        service.health_interval_ms = 100;
        service.restart = RestartPolicy::Never;
    });
    let life = bench.start().await;
    life.spawn("api:a").await;
    let pid = life.pid("api:a").await;
    std::fs::write(bench.workdir("api").join("ill"), "").unwrap();
    life.wait("api:a", |instance| instance.health == InstanceHealth::Unhealthy).await;
    std::fs::remove_file(bench.workdir("api").join("ill")).unwrap();
    life.wait("api:a", |instance| instance.health == InstanceHealth::Healthy).await;
    assert_eq!(life.pid("api:a").await, pid);
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_live_through_the_death_of_the_control_plane_and_of_the_keeper() {
    let bench = Bench::new();
    bench.service("api", "python3", &["-c", SERVER], |service| service.health = Some("/".into()));
    let life = bench.start().await;
    life.spawn("api:a").await;
    life.spawn("api:b").await;
    let pids = [life.pid("api:a").await, life.pid("api:b").await];

    let keeper = life.handle.world().keeper.unwrap();
    bench::kill(keeper.pid);
    life.world(|world| world.keeper.filter(|now| *now != keeper)).await;
    life.world(|_| {
        life.events().iter().filter(|event| matches!(event, Event::InstanceAdopted(_))).nth(1).map(drop)
    })
    .await;
    assert_eq!([life.pid("api:a").await, life.pid("api:b").await], pids);

    // One ends while nobody looks.
    life.die().await;
    bench::kill(pids[1]);
    gone(pids[1]).await;
    let life = bench.start().await;
    let b =
        life.wait("api:b", |instance| instance.restart_count == 1 && instance.phase == Phase::Running).await;
    assert!(b.last_exit.is_some());
    assert_eq!(life.pid("api:a").await, pids[0]);
    assert_eq!(life.instance("api:a").restart_count, 0);
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_deployed_replaced_and_a_bad_one_taken_back() {
    let bench = Bench::new();
    bench.tenants("server.py");
    let source = bench.source(&[("server.py", SERVER), ("version", "1")]);
    let life = bench.start().await;
    let tenant = life.tenant("smith", &source).await;

    let first = life.deploy(tenant).await;
    assert_eq!(first.status, DeploymentStatus::Success, "{}", life.log(&first));
    assert!(life.log(&first).contains("==> Copy files"));
    let current = bench.tenant_dir("smith").join("current");
    assert_eq!(std::fs::read_to_string(current.join("version")).unwrap(), "1");
    assert!(bench.tenant_dir("smith").join("app.db").exists());
    let health = life.supervisor.check_tenant(tenant).await.unwrap();
    assert_eq!(health.overall, tenantry_journal::event::health::TenantHealth::Healthy, "{health:?}");

    std::fs::write(source.join("version"), "2").unwrap();
    std::fs::write(source.join("server.py"), "print('it is broken')\nraise SystemExit(4)\n").unwrap();
    let second = life.deploy(tenant).await;
    assert_eq!(second.status, DeploymentStatus::Failed);
    let detail = second.failed().and_then(|step| step.detail.as_ref()).and_then(Sealed::open).unwrap();
    assert!(detail.contains("exit status 4") && detail.contains("it is broken"), "{detail}");
    assert_eq!(std::fs::read_to_string(current.join("version")).unwrap(), "1");
    life.world(|world| {
        let tenant = world.tenants.get(tenant)?;
        let both = [tenant.frontend?, tenant.backend?].map(|id| world.instances.get(id));
        let up = both.into_iter().flatten().filter(|instance| instance.phase == Phase::Running).count();
        (up == 2 && world.tenant_status(tenant) == TenantStatus::Running).then_some(())
    })
    .await;

    std::fs::write(source.join("server.py"), SERVER).unwrap();
    let third = life.deploy(tenant).await;
    assert_eq!(third.status, DeploymentStatus::Success, "{}", life.log(&third));
    assert_eq!(std::fs::read_to_string(current.join("version")).unwrap(), "2");

    let remove = tenantry_journal::event::tenant::Removal { files: true, nginx: true, services: true };
    life.submit(Command::DeleteTenant { tenant_id: tenant, remove }).await;
    life.world(|world| (world.tenants.is_empty() && world.instances.is_empty()).then_some(())).await;
    assert!(!bench.tenant_dir("smith").exists());
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_or_hanging_init_leaves_what_serves_alone() {
    let bench = Bench::new();
    bench.tenants("server.py");
    bench.init(&["python3", "{release}/init.py"]);
    let source = bench.source(&[("server.py", SERVER), ("init.py", "print('ready')")]);
    let life = bench.start().await;
    let tenant = life.tenant("smith", &source).await;
    let first = life.deploy(tenant).await;
    assert_eq!(first.status, DeploymentStatus::Success, "{}", life.log(&first));
    assert!(life.log(&first).contains("ready"));
    let pid = life.pid("backend:smith").await;

    std::fs::write(source.join("init.py"), "print('no disk'); raise SystemExit(7)").unwrap();
    let second = life.deploy(tenant).await;
    let step = second.failed().unwrap();
    assert_eq!((second.status, step.status), (DeploymentStatus::Failed, StepStatus::Failed));
    assert!(step.detail.as_ref().unwrap().open().unwrap().contains("no disk"));
    assert_eq!(life.pid("backend:smith").await, pid);

    // One that hangs is broken off with the tenant's deletion... or by our own end, and is
    // done again at the next start.
    std::fs::write(
        source.join("init.py"),
        "import os, time\nif os.path.exists('go'): raise SystemExit(0)\nopen('hangs','w').write(str(os.getpid()))\ntime.sleep(1000)",
    )
    .unwrap();
    life.submit(Command::DeployTenant { tenant_id: tenant, switches: DeploySwitches::default() }).await;
    let hangs = bench.tenant_dir("smith").join("hangs");
    let hanging = patience(|| std::fs::read_to_string(&hangs).ok()?.parse::<u32>().ok()).await;
    life.die().await;
    std::fs::write(bench.tenant_dir("smith").join("go"), "").unwrap();
    let life: Life = bench.start().await;
    let third = life.deployment_over(tenant).await;
    assert_eq!((third.status, third.release), (DeploymentStatus::Success, 3), "{}", life.log(&third));
    gone(hanging).await;
    life.end().await;
}
