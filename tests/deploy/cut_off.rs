//! Deployments that are cut off: the server is killed at each event, the disk is full.

use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::bench::{Repository, assert_status, deploy, load, page, pids};
use crate::support::app::{Home, PATIENCE, TestApp};

/// Waits until something of this kind (and step) is recorded after a position.
async fn recorded(app: &TestApp, from: u64, kind: &str, step: Option<&str>) {
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        let page = app.get(&format!("/api/events?from_seq={from}&limit=1000")).await.expect(200);
        let is_it =
            |event: &Value| event["kind"] == kind && step.is_none_or(|step| event["data"]["step"] == step);
        if page["events"].as_array().unwrap().iter().any(is_it) {
            return;
        }
        assert!(std::time::Instant::now() < end, "{kind} {step:?} never came: {page:#}");
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_is_killed_at_any_event_goes_on_and_loses_nobodys_request() {
    let mut app = TestApp::start().await;
    let tenant = app.tenant("smith").await;
    let repository = Repository::of(&app);
    assert_status(&deploy(&app, &tenant).await, "success");
    let cuts = [
        ("deployment.requested", None),
        ("deployment.step_started", Some("copy_files")),
        ("deployment.step_finished", Some("copy_files")),
        ("deployment.step_started", Some("initialize_database")),
        ("deployment.step_finished", Some("initialize_database")),
        ("deployment.step_finished", Some("create_services")),
        ("deployment.step_started", Some("start_services")),
        ("instance.restart_requested", None),
        ("instance.successor_starting", None),
        ("instance.started", None),
        ("instance.health_changed", None),
        ("instance.successor_promoted", None),
        ("instance.stopping", None),
        ("instance.exited", None),
        ("deployment.release_activated", None),
    ];
    for (number, (kind, step)) in cuts.into_iter().enumerate() {
        let name = format!("release after {number}");
        repository.name(&name);
        let head = app.get("/api/events?order=desc&limit=1").await.expect(200)["head_seq"].as_u64().unwrap();
        let deployment = app.deploy(&tenant).await;
        recorded(&app, head + 1, kind, step).await;
        let home = app.kill();
        app = TestApp::in_home(home).await;
        let ended = app.deployed(&deployment).await;
        assert_eq!(ended["status"], "success", "killed at {kind} {step:?}: {ended:#}");
        assert_eq!(page(&app, "/static/release.css").await, name, "killed at {kind} {step:?}");
    }
    // Nothing was left behind: one process of each, and the tenant is well.
    let load = load(&app, &tenant).await;
    load.more(20).await;
    let (_, lost) = load.end().await;
    assert!(lost.is_empty(), "{lost:#?}");
    let listening = pids(&app).await;
    assert_ne!(listening[0], listening[1]);
}

/// A small file system of its own.
struct Small(std::path::PathBuf);

impl Small {
    fn mount(at: std::path::PathBuf) -> Option<Small> {
        std::fs::create_dir_all(&at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
            .arg(&at)
            .status()
            .is_ok_and(|status| status.success());
        if !mounted {
            println!("SKIPPED: no file system can be mounted here");
        }
        mounted.then_some(Small(at))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_in_the_middle_of_a_copy_leaves_what_serves_and_no_half_release() {
    let home = Home::new();
    let root = home.path().join("small");
    let Some(_small) = Small::mount(root.clone()) else { return };
    let mut command = home.serve();
    command.env("TENANTRY_DEPLOY_ROOT", &root);
    let app = TestApp::from_command(Arc::clone(&home), command).await;
    let tenant = app.tenant("smith").await;
    let repository = Repository::of(&app);
    // A plain directory: nothing is packed.
    let source = home.path().join("plain");
    let copied = Command::new("cp").arg("-r").arg(repository.path()).arg(&source).status().unwrap();
    assert!(copied.success());
    std::fs::remove_dir_all(source.join(".git")).unwrap();
    let change = json!({"github_repo": format!("file://{}", source.display())});
    let path = format!("/api/tenants/{tenant}");
    app.send(app.request("PUT", &path).json(&change)).await.expect(200);
    assert_status(&deploy(&app, &tenant).await, "success");
    let before = pids(&app).await;

    std::fs::write(source.join("large"), vec![7_u8; 16 << 20]).unwrap();
    let failed = deploy(&app, &tenant).await;
    assert_status(&failed, "failed");
    let detail = failed["steps"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("No space left"), "{detail}");
    assert_eq!(pids(&app).await, before);
    assert!(!root.join("smith/releases/2").exists());

    std::fs::remove_file(source.join("large")).unwrap();
    let id = failed["id"].as_str().unwrap();
    app.post(&format!("/api/deployments/{id}/retry"), json!({})).await.expect(202);
    assert_status(&app.deployed(id).await, "success");
}
