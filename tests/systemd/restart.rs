//! Crashes: of the control plane in the middle of a deployment, of processes with and without it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::boxed::{Boxed, deploy};
use crate::support::app::{PATIENCE, TestApp};

async fn healthy(app: &TestApp, tenant: &str) {
    app.eventually(&format!("/api/tenants/{tenant}"), |tenant| {
        tenant["status"] == "running" && tenant["health_status"] == "healthy"
    })
    .await;
}

/// Waits until something of this kind was recorded after a position; gives it.
async fn event(app: &TestApp, from: u64, kind: &str, is: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let events = app.events(from).await;
        if let Some(found) = events.into_iter().find(|event| event["kind"] == kind && is(event)) {
            return found;
        }
        assert!(Instant::now() < end, "no {kind}\n{}", app.log());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_was_cut_off_goes_on_and_leaves_one_unit_for_each_process() {
    let Some(boxed) = Boxed::start("") else { return };
    let mut app = boxed.app().await;
    let tenant = app.tenant("smith").await;
    // The first is of the first release, the others of one that is switched to.
    let moments = [
        "deployment.step_started",
        "instance.successor_starting",
        "instance.started",
        "instance.successor_promoted",
        "instance.stopping",
        "instance.exited",
    ];
    for moment in moments {
        let head = app.get("/api/events?order=desc&limit=1").await.expect(200)["head_seq"].as_u64().unwrap();
        let deployment = app.deploy(&tenant).await;
        event(&app, head + 1, moment, |event| {
            moment != "deployment.step_started" || event["data"]["step"] == "create_services"
        })
        .await;
        app.kill();
        app = boxed.app().await;
        let ended = app.deployed(&deployment).await;
        assert_eq!(ended["status"], "success", "{moment}: {ended}\n{}", app.log());
        healthy(&app, &tenant).await;
        for label in ["frontend-smith", "backend-smith"] {
            boxed.until("one unit is left", |boxed| boxed.units(label).len() == 1).await;
            assert_eq!(boxed.show(&boxed.unit(label), "ActiveState"), "active", "{moment}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dies_is_started_again_with_and_without_the_control_plane() {
    let Some(boxed) = Boxed::start("") else { return };
    let app = boxed.app().await;
    let tenant = app.tenant("smith").await;
    let deployment = deploy(&app, &tenant).await;
    assert_eq!(deployment["status"], "success", "{deployment}");
    let (unit, frontend) = (boxed.unit("backend-smith"), boxed.unit("frontend-smith"));
    let untouched = boxed.show(&frontend, "MainPID");

    // With it: the domain's rules, a new run, told with how it ended.
    boxed.run(&["kill", "-9", &boxed.show(&unit, "MainPID")]);
    let exited = event(&app, 1, "instance.exited", |event| event.to_string().contains("\"signal\":9")).await;
    assert_eq!(exited["instance"], "backend:smith", "{exited}");
    boxed.until("another unit", |boxed| !boxed.units("backend-smith").contains(&unit)).await;
    healthy(&app, &tenant).await;
    let unit = boxed.unit("backend-smith");
    let instance = app.send(app.instances_request("GET", "/api/instances/backend/smith")).await.expect(200);
    assert_eq!(instance["restart_count"], 1, "{instance}");

    // Without it: systemd's. The same run goes on, as another process.
    app.kill();
    let dead = boxed.show(&unit, "MainPID");
    boxed.run(&["kill", "-9", &dead]);
    boxed
        .until("systemd starts it again", |boxed| {
            let pid = boxed.show(&unit, "MainPID");
            pid != "0" && pid != dead
        })
        .await;
    let app = boxed.app().await;
    let adopted = event(&app, 1, "instance.adopted", |event| event["instance"] == "backend:smith").await;
    assert_eq!(adopted["data"]["pid"].to_string(), boxed.show(&unit, "MainPID"), "{adopted}");
    healthy(&app, &tenant).await;
    assert_eq!(boxed.unit("backend-smith"), unit);
    assert_eq!(boxed.show(&frontend, "MainPID"), untouched, "the other process was touched");

    // As after a boot: what is enabled is started by itself, and taken over.
    app.kill();
    boxed.run(&["systemctl", "stop", &unit]);
    boxed.run(&["systemctl", "daemon-reload"]);
    boxed.run(&["systemctl", "start", "multi-user.target"]);
    boxed.until("it is started by itself", |boxed| boxed.show(&unit, "MainPID") != "0").await;
    let pid = boxed.show(&unit, "MainPID");
    let app = boxed.app().await;
    event(&app, 1, "instance.adopted", |event| event["data"]["pid"].as_u64() == pid.parse().ok()).await;
    healthy(&app, &tenant).await;
    assert_eq!((boxed.unit("backend-smith"), boxed.show(&unit, "MainPID")), (unit, pid));

    // And a stop that was asked for holds.
    app.post(&format!("/api/tenants/{tenant}/stop"), Value::Null).await.expect(200);
    assert_eq!(boxed.left(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redeploy_and_a_rollback_lose_no_request() {
    let Some(boxed) = Boxed::start("") else { return };
    let app = boxed.app().await;
    let tenant = app.tenant("smith").await;
    assert_eq!(deploy(&app, &tenant).await["status"], "success");
    let shown = app.get(&format!("/api/tenants/{tenant}")).await.expect(200);
    let (over, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let askers: Vec<_> = ["frontend_port", "backend_port"]
        .into_iter()
        .map(|which| {
            let url = format!("http://127.0.0.1:{}/health", shown[which]);
            let (over, asked) = (Arc::clone(&over), Arc::clone(&asked));
            let client = tenantry::tls::client().pool_max_idle_per_host(0).build().unwrap();
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let answer = client.get(&url).send().await.map(|answer| answer.status().as_u16());
                    assert_eq!(answer.ok(), Some(200), "{url}");
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let second = deploy(&app, &tenant).await;
    let answer = app.post(&format!("/api/tenants/{tenant}/rollback"), json!({})).await.expect(202);
    let back = app.deployed(answer["deployment_id"].as_str().unwrap()).await;
    over.store(true, Ordering::Relaxed);
    for asker in askers {
        asker.await.unwrap();
    }
    assert_eq!(
        (&second["status"], &back["status"]),
        (&json!("success"), &json!("success")),
        "{second} {back}"
    );
    assert!(asked.load(Ordering::Relaxed) > 20, "nobody asked");
    assert!(app.log().lines().all(|line| !line.contains("ERROR")), "{}", app.log());
}
