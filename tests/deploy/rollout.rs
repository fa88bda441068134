//! The switch from one release to the next.

use serde_json::json;

use crate::bench::{Repository, assert_status, deploy, load, nothing, page, pids, roll_back};
use crate::support::app::{TestApp, alive};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redeploy_a_rollback_and_a_restart_under_load_lose_no_request() {
    let app = TestApp::start().await;
    let tenant = app.tenant("smith").await;
    let repository = Repository::of(&app);
    repository.name("one");
    assert_status(&deploy(&app, &tenant).await, "success");
    let first = pids(&app).await;

    let load = load(&app, &tenant).await;
    load.more(50).await;
    repository.name("two");
    assert_status(&deploy(&app, &tenant).await, "success");
    assert_eq!(page(&app, "/static/release.css").await, "two");
    load.more(50).await;
    assert_status(&roll_back(&app, &tenant, nothing()).await, "success");
    assert_eq!(page(&app, "/static/release.css").await, "one");
    load.more(50).await;
    let restarted = app.post(&format!("/api/tenants/{tenant}/restart"), nothing()).await.expect(200);
    assert_eq!(restarted["services"], json!({"frontend": "active", "backend": "active"}));
    load.more(50).await;
    let (answered, lost) = load.end().await;
    println!("{answered} requests were answered");
    assert!(lost.is_empty(), "{} of {answered} were lost: {:#?}", lost.len(), &lost[..lost.len().min(20)]);

    // One of each runs, under the ports that the tenant was given.
    let now = pids(&app).await;
    assert!(first.iter().all(|pid| !alive(*pid) && !now.contains(pid)), "{first:?} {now:?}");
    let shown = app.get(&format!("/api/tenants/{tenant}")).await.expect(200);
    assert_eq!((&shown["status"], &shown["health_status"]), (&json!("running"), &json!("healthy")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_of_which_one_process_does_not_come_up_touches_neither_of_the_old() {
    let app = TestApp::start().await;
    let tenant = app.tenant("smith").await;
    let repository = Repository::of(&app);
    assert_status(&deploy(&app, &tenant).await, "success");
    let before = pids(&app).await;
    let load = load(&app, &tenant).await;
    load.more(20).await;

    repository.write("frontend.py", "print('no template'); raise SystemExit(3)\n");
    let failed = deploy(&app, &tenant).await;
    assert_status(&failed, "failed");
    let step = &failed["steps"][5];
    assert_eq!(step["status"], "failed");
    let detail = step["detail"].as_str().unwrap();
    assert!(detail.contains("exit status 3"), "{detail}");
    load.more(20).await;
    let (_, lost) = load.end().await;
    assert!(lost.is_empty(), "{lost:#?}");
    assert_eq!(pids(&app).await, before, "what served was replaced");
    let shown = app.get(&format!("/api/tenants/{tenant}")).await.expect(200);
    assert_eq!(shown["status"], "running");
    let current = std::path::Path::new(shown["directory"].as_str().unwrap()).join("current");
    assert!(std::fs::read_link(current).unwrap().ends_with("releases/1"));
    let releases = app.get(&format!("/api/tenants/{tenant}/releases")).await.expect(200);
    let told: Vec<_> = releases["releases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|release| {
            (release["release"].as_u64(), release["status"].as_str(), release["current"].as_bool())
        })
        .collect();
    assert_eq!(told, [(Some(2), Some("failed"), Some(false)), (Some(1), Some("healthy"), Some(true))]);
    // The successor that waited for it is gone, too: nothing of the new release runs.
    let spawned = app.get("/api/events?kind=instance.started").await.expect(200);
    let pids: Vec<u64> = spawned["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["data"]["pid"].as_u64().unwrap())
        .collect();
    let end = std::time::Instant::now() + crate::support::app::PATIENCE;
    while pids.iter().any(|pid| alive(*pid) && !before.contains(pid)) {
        assert!(std::time::Instant::now() < end, "a successor runs on");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenants_ports_are_served_while_the_control_plane_is_away() {
    let app = TestApp::start().await;
    let tenant = app.tenant("smith").await;
    assert_status(&deploy(&app, &tenant).await, "success");
    let shown = app.get(&format!("/api/tenants/{tenant}")).await.expect(200);
    let url = format!("http://127.0.0.1:{}/api/persons/count", shown["backend_port"]);
    let client = app.client.clone();
    let home = app.kill();
    assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
    let app = TestApp::in_home(home).await;
    assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
    app.post(&format!("/api/tenants/{tenant}/stop"), nothing()).await.expect(200);
    assert!(client.get(&url).send().await.is_err(), "a stopped tenant's port is served");
}
