//! The configuration of a running program: read again by signal and by command.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod support;

use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::app::{Home, PATIENCE, TestApp, signal};

fn reload(app: &TestApp, more: &[&str]) -> Output {
    let mut command = app.home().program();
    command.args(["config", "reload", "--server", &app.manager, "--token", &app.token]).args(more);
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn rewrite(app: &TestApp, from: &str, to: &str) {
    let text = app.home().config();
    assert!(text.contains(from), "{text}");
    std::fs::write(app.home().config_file(), text.replace(from, to)).unwrap();
}

async fn pid_of(app: &TestApp, name: &str) -> u64 {
    let events = app.events(1).await;
    let started =
        events.iter().rev().find(|event| event["kind"] == "instance.started" && event["instance"] == name);
    started.unwrap()["data"]["pid"].as_u64().unwrap()
}

async fn limit(app: &TestApp) -> String {
    let answer = app.get("/api/tenants").await;
    answer.headers["x-ratelimit-limit"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_signal_and_a_command_have_the_file_read_again_and_restart_what_it_concerns() {
    let more = "[service.other]\ncommand = \"python3\"\nargs = [\"api.py\"]\nhealth = \"/health\"\n";
    let api = support::app::fixture("api.py");
    let app = TestApp::in_home(Home::with(&more.replace("api.py", &api.display().to_string()))).await;
    for service in ["api", "other"] {
        let body = json!({"service": service, "id": "a"});
        app.send(app.instances_request("POST", "/api/instances").json(&body)).await.expect(201);
    }
    let pids = (pid_of(&app, "api:a").await, pid_of(&app, "other:a").await);

    // By signal: limits count at once, and nothing is restarted for them.
    rewrite(&app, "rate_limit_per_minute = 1000000", "rate_limit_per_minute = 900000");
    signal(app.pid, "HUP");
    let end = Instant::now() + PATIENCE;
    while limit(&app).await != "900000" {
        assert!(Instant::now() < end, "{}", app.log());
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    app.log_says("configuration read again").await;
    let changed = app.get("/api/events?kind=config.&order=desc&limit=1").await.expect(200);
    assert_eq!(changed["events"][0]["data"]["changed"], json!(["settings.rate_limit_per_minute"]));
    assert_eq!((pid_of(&app, "api:a").await, pid_of(&app, "other:a").await), pids);

    // A bad file is refused, and the old one stays.
    rewrite(&app, "rate_limit_per_minute = 1000000", "rate_limit_per_minute = \"many\"");
    signal(app.pid, "HUP");
    app.log_says("the configuration is refused").await;
    let refused = reload(&app, &[]);
    assert_eq!(refused.status.code(), Some(3), "{}", said(&refused));
    assert!(said(&refused).contains("line 4: "), "{}", said(&refused));
    assert_eq!(limit(&app).await, "900000");

    // By command: first what it would do, then done.
    rewrite(&app, "stop_timeout = 2\n", "stop_timeout = 2\nenv = { GREETING = \"new\" }\n");
    let dry = reload(&app, &["--dry-run"]);
    assert!(said(&dry).contains("restarted: api:a\n"), "{}", said(&dry));
    assert_eq!(pid_of(&app, "api:a").await, pids.0);
    let done = reload(&app, &[]);
    assert_eq!((said(&done), done.status.code()), (said(&dry), Some(0)));
    let shown = |value: &Value| value["status"] == "running" && value["health"] == "healthy";
    let end = Instant::now() + PATIENCE;
    while pid_of(&app, "api:a").await == pids.0 {
        assert!(Instant::now() < end, "{}", app.log());
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    app.eventually("/api/instances/api/a", shown).await;
    assert_eq!(pid_of(&app, "other:a").await, pids.1);
    let environment = std::fs::read(format!("/proc/{}/environ", pid_of(&app, "api:a").await)).unwrap();
    assert!(environment.split(|byte| *byte == 0).any(|variable| variable == b"GREETING=new"));
    assert_eq!(app.get("/api/instances/api/a").await.expect(200)["restart_count"], 0);
    assert_eq!(said(&reload(&app, &[])), "nothing changed\n");
}

#[tokio::test]
async fn when_a_token_was_used_last_survives_a_restart() {
    let mut app = TestApp::start().await;
    let created = app.post("/api/tokens", json!({"name": "CI/CD"})).await.expect(201);
    let admin = std::mem::replace(&mut app.token, created["token"].as_str().unwrap().to_owned());
    app.get("/api/tenants").await.expect(200);
    app.token = admin;
    let last_used = async |app: &TestApp| {
        let list = app.get("/api/tokens").await.expect(200);
        list["tokens"][0]["last_used"].clone()
    };
    let used = last_used(&app).await;
    assert!(used.is_string(), "{used}");
    let home = std::sync::Arc::clone(app.home());
    assert_eq!(app.terminate().0, Some(0));
    let again = TestApp::in_home(home).await;
    assert_eq!(last_used(&again).await, used);
}
