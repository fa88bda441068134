//! Sleep and waking, restarts and crashes, seen from outside.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::client::{Connection, Reply, ask};
use super::support::app::TestApp;
use super::{address, get, spawn, start};

async fn instance(app: &TestApp, name: &str) -> Value {
    app.send(app.instances_request("GET", &format!("/api/instances/{name}"))).await.expect(200)
}

async fn becomes(app: &TestApp, name: &str, status: &str) -> Value {
    let path = format!("{}/api/instances/{name}", app.instances);
    let end = tokio::time::Instant::now() + super::support::app::PATIENCE;
    loop {
        let answer = app.send(app.client.get(&path).bearer_auth(&app.token)).await.expect(200);
        if answer["status"] == status {
            return answer;
        }
        assert!(tokio::time::Instant::now() < end, "{answer}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn kinds(app: &TestApp, kind: &str) -> Vec<Value> {
    app.events(1).await.into_iter().filter(|event| event["kind"] == kind).collect()
}

/// So many requests at once.
async fn burst(app: &TestApp, host: &str, count: usize) -> Vec<Reply> {
    let mut asking = JoinSet::new();
    for _ in 0..count {
        let (address, host) = (address(&app.instances).to_owned(), host.to_owned());
        asking.spawn(async move { ask(&address, &format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await });
    }
    asking.join_all().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_instance_sleeps_and_a_burst_wakes_it_once() {
    let app = start().await;
    spawn(&app, "lazy", "a").await;
    becomes(&app, "lazy/a", "sleeping").await;
    let replies = burst(&app, "a.lazy.apps.test", 50).await;
    let pids: std::collections::BTreeSet<String> = replies.iter().map(Reply::ok).collect();
    assert_eq!(pids.len(), 1, "{pids:?}");
    assert_eq!(kinds(&app, "instance.woken").await.len(), 1);
    let slept = kinds(&app, "instance.fell_asleep").await;
    assert_eq!((slept.len(), slept[0]["data"]["reason"].as_str()), (1, Some("idle")));
    assert_eq!(instance(&app, "lazy/a").await["restart_count"], 0);
    // It sleeps again, and a service is woken by its own name as well.
    becomes(&app, "lazy/a", "sleeping").await;
    get(&app, "lazy.apps.test", "/").await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_wake_fails_who_waited_and_the_next_request_tries_again() {
    let app = start().await;
    spawn(&app, "lazy", "a").await;
    becomes(&app, "lazy/a", "sleeping").await;
    let fail = app.data_dir().join("instances/lazy/a/fail");
    std::fs::write(&fail, "").unwrap();
    for reply in burst(&app, "a.lazy.apps.test", 5).await {
        assert_eq!(reply.status, 503, "{reply:?}");
    }
    std::fs::remove_file(&fail).unwrap();
    get(&app, "a.lazy.apps.test", "/").await.ok();
    let reasons: Vec<Value> = kinds(&app, "instance.fell_asleep")
        .await
        .iter()
        .map(|event| event["data"]["reason"].clone())
        .collect();
    assert!(reasons.contains(&json!("wake_failed")), "{reasons:?}");
    assert_eq!(instance(&app, "lazy/a").await["restart_count"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_stopped_is_not_woken() {
    let app = start().await;
    spawn(&app, "lazy", "a").await;
    becomes(&app, "lazy/a", "sleeping").await;
    super::support::app::signal(app.pid, "USR1");
    let end = tokio::time::Instant::now() + super::support::app::PATIENCE;
    while kinds(&app, "instance.stop_requested").await.is_empty() {
        assert!(tokio::time::Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(get(&app, "a.lazy.apps.test", "/").await.status, 503);
    assert_eq!(instance(&app, "lazy/a").await["status"], "stopped");
    assert!(kinds(&app, "instance.woken").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_wait_for_the_new_run_while_an_instance_is_restarted_or_has_crashed() {
    let app = start().await;
    spawn(&app, "web", "a").await;
    let before = get(&app, "a.web.apps.test", "/").await.ok();
    let restart = app.instances_request("POST", "/api/instances/web/a/restart");
    app.send(restart).await.expect(200);
    for reply in burst(&app, "a.web.apps.test", 20).await {
        assert_ne!(reply.ok(), before);
    }
    let mut client = Connection::open(address(&app.instances)).await;
    client.send("GET /crash HTTP/1.1\r\nHost: a.web.apps.test\r\n\r\n").await;
    // Whether it may be repeated or not, a request that kills every run is answered.
    assert!(matches!(client.reply().await.unwrap().status, 502 | 503));
    // Those that come after it wait for the next run.
    let end = tokio::time::Instant::now() + super::support::app::PATIENCE;
    while get(&app, "a.web.apps.test", "/").await.status != 200 {
        assert!(tokio::time::Instant::now() < end);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_under_load_loses_no_request_and_never_lacks_a_run() {
    let app = start().await;
    for (service, id) in [("roll", "a"), ("rolltcp", "b")] {
        spawn(&app, service, id).await;
        let host = format!("{id}.{service}.apps.test");
        let before = get(&app, &host, "/").await.ok();
        let is_over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for _ in 0..8 {
            let (address, host, is_over) =
                (address(&app.instances).to_owned(), host.clone(), is_over.clone());
            clients.spawn(async move {
                let mut client = Connection::open(&address).await;
                let (mut pids, mut slowest) = (std::collections::BTreeSet::new(), Duration::ZERO);
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    let began = tokio::time::Instant::now();
                    // Not safe to repeat, so one that is lost stays lost.
                    client
                        .send(&format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"))
                        .await;
                    pids.insert(client.reply().await.unwrap().ok());
                    slowest = slowest.max(began.elapsed());
                }
                (pids, slowest)
            });
        }
        for _ in 0..2 {
            let restart = app.instances_request("POST", &format!("/api/instances/{service}/{id}/restart"));
            let present = get(&app, &host, "/").await.ok();
            app.send(restart).await.expect(200);
            let end = tokio::time::Instant::now() + super::support::app::PATIENCE;
            while get(&app, &host, "/").await.ok() == present {
                assert!(tokio::time::Instant::now() < end, "it is never replaced");
            }
            becomes(&app, &format!("{service}/{id}"), "running").await;
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        for (pids, _) in clients.join_all().await {
            assert!(pids.contains(&before) && pids.len() >= 2, "{pids:?}");
        }
        let shown = instance(&app, &format!("{service}/{id}")).await;
        assert_eq!((&shown["restart_count"], &shown["health"]), (&json!(0), &json!("healthy")), "{shown}");
    }
    assert_eq!(kinds(&app, "instance.successor_starting").await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_does_not_come_up_leaves_the_present_run_serving() {
    let app = start().await;
    spawn(&app, "roll", "a").await;
    let before = get(&app, "a.roll.apps.test", "/").await.ok();
    std::fs::write(app.data_dir().join("instances/roll/a/fail"), "").unwrap();
    app.send(app.instances_request("POST", "/api/instances/roll/a/restart")).await.expect(200);
    let end = tokio::time::Instant::now() + super::support::app::PATIENCE;
    while kinds(&app, "instance.exited").await.is_empty() {
        assert!(tokio::time::Instant::now() < end);
        assert_eq!(get(&app, "a.roll.apps.test", "/").await.ok(), before);
    }
    assert_eq!(get(&app, "a.roll.apps.test", "/").await.ok(), before);
    assert_eq!(instance(&app, "roll/a").await["status"], "running");
}

/// Ends the process of `web/a` with a request in it that takes so many seconds; gives the answer.
async fn killed_in(app: &TestApp, method: &str) -> Reply {
    let pid: u32 = get(app, "a.web.apps.test", "/").await.ok().parse().unwrap();
    let mut client = Connection::open(address(&app.instances)).await;
    let head = format!("{method} /wait/1 HTTP/1.1\r\nHost: a.web.apps.test\r\nContent-Length: 0\r\n\r\n");
    client.send(&head).await;
    let waiting = app.data_dir().join("instances/web/a/waiting");
    let end = tokio::time::Instant::now() + super::support::app::PATIENCE;
    while std::fs::remove_file(&waiting).is_err() {
        assert!(tokio::time::Instant::now() < end, "it never came");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    super::support::app::signal(pid, "KILL");
    let reply = client.reply().await.unwrap();
    becomes(app, "web/a", "running").await;
    let _ = std::fs::remove_file(&waiting);
    reply
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_process_died_is_asked_of_the_next_when_that_is_safe_and_else_told_and_counted() {
    let app = start().await;
    spawn(&app, "web", "a").await;
    assert_eq!(killed_in(&app, "GET").await.ok(), "waited");
    let errors = metrics(&app, "web/a").await["error_rate"].as_f64().unwrap();
    assert_eq!(errors, 0.0, "nobody was told of an error");
    // Whether it did what was asked for nobody knows: asked again it might do it twice.
    assert_eq!(killed_in(&app, "POST").await.status, 502);
    assert!(metrics(&app, "web/a").await["error_rate"].as_f64().unwrap() > 0.0);
}

async fn metrics(app: &TestApp, name: &str) -> Value {
    app.send(app.instances_request("GET", &format!("/api/metrics/{name}"))).await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_process_that_fails_again_is_told_then_and_not_at_the_end_of_their_patience() {
    let app = start().await;
    spawn(&app, "web", "a").await;
    get(&app, "a.web.apps.test", "/").await.ok();
    std::fs::write(app.data_dir().join("instances/web/a/fail"), "").unwrap();
    assert_ne!(get(&app, "a.web.apps.test", "/crash").await.status, 200);
    let began = tokio::time::Instant::now();
    assert_eq!(get(&app, "a.web.apps.test", "/").await.status, 503);
    // They would wait for as long as a start and a stop may take, which is more than 30 s.
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_without_weight_does_not_stand_in_for_one_that_is_gone() {
    let app = start().await;
    for id in ["a", "b"] {
        spawn(&app, "mortal", id).await;
    }
    super::weigh(&app, "mortal", "b", 0).await;
    get(&app, "mortal.apps.test", "/").await.ok();
    assert_ne!(get(&app, "a.mortal.apps.test", "/crash").await.status, 200);
    becomes(&app, "mortal/a", "failed").await;
    assert_eq!(get(&app, "mortal.apps.test", "/").await.status, 503);
    get(&app, "b.mortal.apps.test", "/").await.ok();
}
