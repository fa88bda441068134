//! The disk fails under the running server: a sync error, no space, a power cut.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::app::{Home, PATIENCE, TestApp, alive};
use crate::tools::{
    Acknowledged, Disk, answers, assert_refused, has, instance, keeper_pid, kill, notes, pid_of, skip, spawn,
    tenant, until,
};

/// strace on a running process, with every next `fdatasync` of a thread failing once.
struct FailingSync(Child);

impl FailingSync {
    async fn attach(pid: u32) -> Option<FailingSync> {
        let child = Command::new("strace")
            .args(["-f", "-qq", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=1"])
            .args(["-o", "/dev/null", "-p", &pid.to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut strace = FailingSync(child);
        let tracer = format!("TracerPid:\t{}", strace.0.id());
        let traced = |task: std::fs::DirEntry| {
            std::fs::read_to_string(task.path().join("status"))
                .is_ok_and(|status| status.lines().any(|line| line == tracer))
        };
        let mut ended = false;
        until("strace has every thread", || {
            ended = strace.0.try_wait().unwrap().is_some();
            ended || std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten().all(traced)
        })
        .await;
        if ended {
            let mut said = String::new();
            let _ = std::io::Read::read_to_string(&mut strace.0.stderr.take().unwrap(), &mut said);
            skip(&format!("strace may not attach: {said}"));
            return None;
        }
        Some(strace)
    }
}

impl Drop for FailingSync {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn check_closed(app: &TestApp, tenant: &str) {
    // Later writes, on both listeners, are refused too.
    assert_refused(&app.send(notes(app, tenant, "too late")).await);
    let refused = spawn(app, "api", "late").await;
    assert_eq!(refused.status, 503, "{refused:?}");
    let error = refused.json();
    assert_eq!(error["status"], 503, "{error}");
    assert!(error["error"].is_string() && error["message"].is_string(), "{error}");
    // Reading goes on, and monitoring is told.
    app.get(&format!("/api/tenants/{tenant}")).await.expect(200);
    app.get("/api/tenants").await.expect(200);
    app.get("/api/events?limit=1000").await.expect(200);
    assert_eq!(instance(app, "api/a").await.expect(200)["status"], "running");
    assert_eq!(app.get("/health").await.expect(200)["status"], "ok");
    let ready = app.get("/ready").await.expect(503);
    assert_eq!(ready["reasons"], json!(["the journal does not accept writes"]));
    let metrics = app.get("/metrics").await;
    assert!(metrics.text.contains("\ntenantry_journal_poisoned 1\n"), "{}", metrics.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_error_closes_the_journal_to_writes_and_loses_nothing() {
    if !has("strace") {
        return;
    }
    let app = TestApp::start().await;
    let tenant = tenant(&app, "smith").await;
    spawn(&app, "api", "a").await.expect(201);
    let pid = pid_of(&app, "api:a").await;
    let mut done = Acknowledged::default();
    for n in 0..20 {
        let text = format!("note {n}");
        assert!(done.note(&tenant, &text, &app.send(notes(&app, &tenant, &text)).await));
    }
    let metrics = app.get("/metrics").await;
    assert!(metrics.text.contains("\ntenantry_journal_poisoned 0\n"), "{}", metrics.text);

    let Some(strace) = FailingSync::attach(app.pid).await else { return };
    assert_refused(&app.send(notes(&app, &tenant, "unlucky")).await);
    check_closed(&app, &tenant).await;
    drop(strace);
    // The disk is well again; who was told once that it failed believes nothing any more.
    check_closed(&app, &tenant).await;
    let shown = app.get(&format!("/api/tenants/{tenant}")).await.expect(200);
    assert_eq!(shown["notes"], "note 19", "what was refused is shown");

    let home = Arc::clone(app.home());
    let (code, took) = app.terminate();
    assert_eq!(code, Some(0));
    assert!(took < PATIENCE, "{took:?}");
    let app = TestApp::in_home(home).await;
    done.check(&app).await;
    assert!(done.note(&tenant, "again", &app.send(notes(&app, &tenant, "again")).await));
    done.check(&app).await;
    assert_eq!(answers(&app, pid).await, format!("ok {pid}"));
    assert_eq!(instance(&app, "api/a").await.expect(200)["restart_count"], 0);
}

/// The number of the newest line that the printing instance is known to have printed.
/// What the keeper logged.
fn keeper_log(home: &Home) -> String {
    std::fs::read_to_string(home.data_dir().join("keeper.log")).unwrap_or_default()
}

async fn newest_line(app: &TestApp) -> u64 {
    let page = app.send(app.instances_request("GET", "/api/logs/api/a?limit=10")).await.expect(200);
    let lines = page["logs"].as_array().unwrap().iter();
    let numbers = lines.filter_map(|line| line["message"].as_str()?.strip_prefix("line ")?.parse().ok());
    numbers.max().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_closes_the_journal_to_writes_and_stops_no_process() {
    let home = Home::new();
    let Some(disk) = Disk::new(&home, 48) else { return };
    let app = TestApp::in_home(Arc::clone(&home)).await;
    let tenant = tenant(&app, "smith").await;
    let body = json!({"service": "api", "id": "a", "env": {"LINES": "1"}});
    app.send(app.instances_request("POST", "/api/instances").json(&body)).await.expect(201);
    let pid = pid_of(&app, "api:a").await;
    let mut done = Acknowledged::default();
    assert!(done.note(&tenant, "room", &app.send(notes(&app, &tenant, "room")).await));

    let ballast = home.data_dir().join("ballast");
    let full = fill(&ballast);
    assert!(full.contains("No space left"), "{full}");
    let refused = loop {
        let text = format!("note {} {}", done.0.len(), "n".repeat(900));
        let answer = app.send(notes(&app, &tenant, &text)).await;
        if !done.note(&tenant, &text, &answer) {
            break answer;
        }
        assert!(done.0.len() < 20_000, "the disk does not get full");
    };
    assert_refused(&refused);
    check_closed(&app, &tenant).await;
    assert_eq!(answers(&app, pid).await, format!("ok {pid}"));

    // Without room a start says what is wrong, and the process is left alone.
    drop(app);
    let refused = home.serve().output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("No space left"), "{said}");
    assert!(alive(pid), "the process ended with a start that failed");
    std::fs::remove_file(&ballast).unwrap();

    let app = TestApp::in_home(Arc::clone(&home)).await;
    done.check(&app).await;
    assert!(done.note(&tenant, "again", &app.send(notes(&app, &tenant, "again")).await));
    assert_eq!(answers(&app, pid).await, format!("ok {pid}"));
    assert_eq!(instance(&app, "api/a").await.expect(200)["restart_count"], 0);
    // Its output is stored again.
    let before = newest_line(&app).await;
    let end = std::time::Instant::now() + PATIENCE;
    while newest_line(&app).await <= before {
        let late = std::time::Instant::now() > end;
        let page =
            if late { app.get("/api/logs/api/a?source=process&limit=10").await.text } else { String::new() };
        assert!(!late, "no line after {before}: {page}\n{}", keeper_log(&home));
    }
    drop(app);
    drop(disk);
}

/// Fills the disk to the last block; gives what the system said.
fn fill(ballast: &std::path::Path) -> String {
    let mut said = String::new();
    for block in ["bs=1M", "bs=4k", "bs=1k"] {
        let output = Command::new("dd")
            .args(["if=/dev/zero", block, "oflag=append", "conv=notrunc,fsync"])
            .arg(format!("of={}", ballast.display()))
            .output()
            .unwrap();
        said.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    said
}

/// Creates a tenant and changes it until the server answers no more.
async fn client(app: Arc<TestApp>, n: usize, enough: Arc<Semaphore>) -> Acknowledged {
    let mut done = Acknowledged::default();
    let slug = format!("t{n}");
    let body = json!({"name": slug, "slug": slug, "domain": format!("{slug}.example.com")});
    let Ok(created) = app.try_send(app.request("POST", "/api/tenants").json(&body)).await else {
        return done;
    };
    let id = created.expect(201)["id"].as_str().unwrap().to_owned();
    loop {
        let text = format!("note {} of {slug}", done.0.len());
        match app.try_send(notes(&app, &id, &text)).await {
            Ok(answer) if done.note(&id, &text, &answer) => {}
            _ => return done,
        }
        if done.0.len() == 40 {
            enough.add_permits(1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_under_concurrent_clients_loses_nothing_that_was_acknowledged() {
    const CLIENTS: usize = 8;
    let home = Home::new();
    let Some(disk) = Disk::new(&home, 96) else { return };
    // A stop writes a snapshot, which the next server and the cut find there.
    let app = TestApp::in_home(Arc::clone(&home)).await;
    let first = tenant(&app, "first").await;
    assert_eq!(app.terminate().0, Some(0));
    assert!(std::fs::read_dir(home.data_dir().join("snapshots")).unwrap().count() > 0);

    let app = Arc::new(TestApp::in_home(Arc::clone(&home)).await);
    let keeper = keeper_pid(&app).await;
    let enough = Arc::new(Semaphore::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for n in 0..CLIENTS {
        clients.spawn(client(Arc::clone(&app), n, Arc::clone(&enough)));
    }
    drop(enough.acquire_many(CLIENTS as u32).await.unwrap());
    if !disk.cut() {
        return;
    }
    // Whoever writes now is refused: nothing is acknowledged from a disk that is gone.
    let mut done = Acknowledged::default();
    for of_client in clients.join_all().await {
        assert!(of_client.0.len() >= 40, "a client was stopped early");
        done.0.extend(of_client.0);
    }
    let Ok(app) = Arc::try_unwrap(app) else { panic!("a client is left") };
    drop(app.kill());
    kill(keeper).await;
    disk.power_on().await;

    let app = TestApp::in_home(Arc::clone(&home)).await;
    done.check(&app).await;
    app.get(&format!("/api/tenants/{first}")).await.expect(200);
    assert_eq!(app.get("/api/tenants").await.expect(200)["total"], CLIENTS + 1);
    assert!(app.log().contains("journal folded"), "{}", app.log());
    app.send(notes(&app, &first, "after the cut")).await.expect(200);
    assert_eq!(app.terminate().0, Some(0));
    let app = TestApp::in_home(Arc::clone(&home)).await;
    assert!(!app.log().contains("snapshot skipped"), "{}", app.log());
    done.check(&app).await;
    drop(app);
    drop(disk);
}
