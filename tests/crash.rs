//! `kill -9` at any instant, again and again, with commands, a deployment and instances in flight.
//!
//! Each round kills after a random number of acknowledged commands (the seed is printed;
//! `TENANTRY_SEED` repeats it, `TENANTRY_ROUNDS` sets how many) and checks after the restart
//! that what was acknowledged is there, that no position is missing or double, that the
//! deployment goes on to its end, and that every instance kept its process and its output.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use support::app::{Home, TestApp};
use tokio::sync::{Mutex, Notify};

fn number(variable: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "the test's own switches")]
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}

/// What clients were told is done: the notes of each tenant, by the position of the change.
#[derive(Default)]
struct Acknowledged {
    notes: Mutex<BTreeMap<String, (u64, String)>>,
    count: AtomicUsize,
    enough: Notify,
}

/// Changes a tenant's notes until the server is gone.
async fn write(app: Arc<TestApp>, tenant: String, done: Arc<Acknowledged>, target: usize) {
    for n in 0.. {
        let notes = format!("note {n} of {}", uuid::Uuid::now_v7());
        let request = app.request("PUT", &format!("/api/tenants/{tenant}")).json(&json!({"notes": notes}));
        let Ok(answer) = app.try_send(request).await else { return };
        if answer.status != 200 {
            return;
        }
        let seq = answer.headers["x-event-seq"].to_str().unwrap().parse().unwrap();
        done.notes.lock().await.insert(tenant.clone(), (seq, notes));
        if done.count.fetch_add(1, Ordering::SeqCst) + 1 >= target {
            done.enough.notify_waiters();
        }
    }
}

/// Positions from 1 without gap or repeat.
fn check_order(events: &[Value]) {
    for (event, expected) in events.iter().zip(1..) {
        assert_eq!(event["seq"].as_u64(), Some(expected), "a gap or a repeat");
    }
}

/// Process and restarts of every instance of the first round.
async fn processes(app: &TestApp) -> BTreeMap<String, (u64, u64)> {
    let list = app.send(app.instances_request("GET", "/api/instances?limit=1000")).await.expect(200);
    let mut restarts: BTreeMap<String, u64> = BTreeMap::new();
    for instance in list["instances"].as_array().unwrap() {
        assert_eq!(instance["status"], "running", "{instance}");
        let name = instance["instance"].as_str().unwrap().to_owned();
        restarts.insert(name, instance["restart_count"].as_u64().unwrap());
    }
    let mut pids = BTreeMap::new();
    for started in app.events(1).await.iter().filter(|event| event["kind"] == "instance.started") {
        if let Some(name) = started["instance"].as_str().filter(|name| restarts.contains_key(*name)) {
            let pid = started["data"]["pid"].as_u64().unwrap();
            pids.insert(name.to_owned(), (pid, restarts[name]));
        }
    }
    for (name, (pid, _)) in &pids {
        assert!(support::app::alive(*pid), "{name} has no process {pid}");
    }
    pids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_and_nothing_running_is_touched() {
    let seed = number("TENANTRY_SEED").unwrap_or_else(rand::random);
    let rounds = number("TENANTRY_ROUNDS").unwrap_or(8);
    println!("TENANTRY_SEED={seed} TENANTRY_ROUNDS={rounds}");
    let mut random = StdRng::seed_from_u64(seed);

    let home = Home::new();
    let mut app = TestApp::in_home(Arc::clone(&home)).await;
    let served = app.tenant("served").await;
    let first = app.deploy(&served).await;
    assert_eq!(app.deployed(&first).await["status"], "success");
    let spawned = app
        .send(app.instances_request("POST", "/api/instances").json(&json!({
            "service": "api", "id": "printer", "env": {"LINES": "1"},
        })))
        .await
        .expect(201);
    assert_eq!(spawned["status"], "running");
    let before = processes(&app).await;
    assert_eq!(before.len(), 3);

    let mut tenants = Vec::new();
    for n in 0..4 {
        tenants.push(app.tenant(&format!("t{n}")).await);
    }
    let mut written: BTreeMap<String, (u64, String)> = BTreeMap::new();
    let mut deployments = Vec::new();
    for round in 0..rounds {
        let target = random.random_range(1..150);
        println!("round {round}: kill after {target} acknowledged commands");
        let fresh = app.tenant(&format!("round{round}")).await;
        deployments.push((fresh.clone(), app.deploy(&fresh).await));
        let done = Arc::new(Acknowledged::default());
        let running = Arc::new(app);
        let mut writers = tokio::task::JoinSet::new();
        let enough = done.enough.notified();
        tokio::pin!(enough);
        enough.as_mut().enable();
        for tenant in &tenants {
            writers.spawn(write(Arc::clone(&running), tenant.clone(), Arc::clone(&done), target));
        }
        enough.await;
        support::app::signal(running.pid, "KILL");
        writers.join_all().await;
        let Ok(dead) = Arc::try_unwrap(running) else { panic!("a writer is left") };
        let home = dead.kill();
        written.extend(std::mem::take(&mut *done.notes.lock().await));

        app = TestApp::in_home(home).await;
        let events = app.events(1).await;
        check_order(&events);
        for (tenant, (seq, notes)) in &written {
            let shown = app.get(&format!("/api/tenants/{tenant}?as_of={seq}")).await.expect(200);
            assert_eq!(shown["notes"], notes.as_str(), "event {seq} is not what was acknowledged");
        }
        let (tenant, deployment) = deployments.last().unwrap();
        let ended = app.deployed(deployment).await;
        assert_eq!(ended["status"], "success", "{ended}");
        // Its ports are needed by the next round.
        app.delete(&format!("/api/tenants/{tenant}?remove_files=true")).await.expect(200);
        assert_eq!(processes(&app).await, before, "an instance was touched");
    }

    let events = app.events(1).await;
    for (_, deployment) in &deployments {
        let finished = events.iter().filter(|e| {
            e["kind"] == "deployment.finished" && e["data"]["deployment_id"] == deployment.as_str()
        });
        assert_eq!(finished.count(), 1, "deployment {deployment} ended more or less than once");
    }
    check_lines(&app).await;
}

/// The printer numbers its lines: every number once, in order.
async fn check_lines(app: &TestApp) {
    let mut lines: Vec<u64> = Vec::new();
    let path = "/api/logs/api/printer?limit=1000";
    let mut offset = 0;
    loop {
        let page =
            app.send(app.instances_request("GET", &format!("{path}&offset={offset}"))).await.expect(200);
        let logs = page["logs"].as_array().unwrap();
        let numbers =
            logs.iter().filter_map(|line| line["message"].as_str()?.strip_prefix("line ")?.parse().ok());
        let mut numbers: Vec<u64> = numbers.collect();
        // Offsets count from the newest line, which moves while we read: overlap is cut here.
        numbers.retain(|number| lines.first().is_none_or(|oldest| number < oldest));
        offset += logs.len();
        numbers.extend(&lines);
        lines = numbers;
        if logs.is_empty() || lines.first() == Some(&1) {
            break;
        }
    }
    assert!(lines.len() > 100, "only {} lines", lines.len());
    for (line, expected) in lines.iter().zip(1..) {
        assert_eq!(*line, expected, "a line is missing or double");
    }
}
