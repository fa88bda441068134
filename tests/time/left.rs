//! What a deleted tenant left, and a new one of its slug: neither gets what is the other's.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::app::TestApp;

fn place(app: &TestApp, name: &str) -> PathBuf {
    app.data_dir().join("tenants").join(name)
}

fn mark(directory: &Path) -> String {
    std::fs::read_to_string(directory.join(".tenantry-tenant")).unwrap().trim().to_owned()
}

async fn deployed(app: &TestApp, tenant: &str) -> Value {
    let deployment = app.deploy(tenant).await;
    let ended = app.deployed(&deployment).await;
    assert_eq!(ended["status"], "success", "{ended:#}\n{}", app.log());
    ended
}

async fn healthy(app: &TestApp, tenant: &str) {
    app.eventually(&format!("/api/tenants/{tenant}"), |shown| shown["status"] == "running").await;
    let health = app.post(&format!("/api/tenants/{tenant}/health-check"), json!({})).await.expect(200);
    assert_eq!(health["overall_status"], "healthy", "{health}");
}

/// A tenant that was deployed and deleted with its files kept; with it a moment at which it was
/// there.
async fn left(app: &TestApp) -> (String, u64) {
    let tenant = app.tenant("smith").await;
    deployed(app, &tenant).await;
    assert_eq!(mark(&place(app, "smith")), tenant);
    std::fs::write(place(app, "smith").join("data/of-the-first"), "1").unwrap();
    let then = app.get("/api/events?order=desc&limit=1").await.expect(200)["head_seq"].as_u64().unwrap();
    app.delete(&format!("/api/tenants/{tenant}")).await.expect(200);
    assert!(place(app, "smith").join("data/of-the-first").exists());
    (tenant, then)
}

async fn brought_back(app: &TestApp, tenant: &str, then: u64) -> Value {
    let body = json!({"as_of": then, "on_conflict": "reassign"});
    let restored = app.post(&format!("/api/tenants/{tenant}/restore"), body).await.expect(200);
    assert_eq!(restored["complete"], true, "{restored:#}\n{}", app.log());
    let lacking: Vec<&Value> =
        restored["not_restored"].as_array().unwrap().iter().map(|one| &one["field"]).collect();
    assert_eq!(lacking, ["database"], "{restored:#}");
    restored
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_tenant_gets_none_of_the_files_that_a_deleted_one_of_its_slug_left() {
    let app = TestApp::start().await;
    let (first, then) = left(&app).await;
    let second = app.tenant("smith").await;
    let deployment = deployed(&app, &second).await;
    let (home, aside) = (place(&app, "smith"), place(&app, &format!("smith.deleted-{first}")));
    let copied = deployment["steps"][0]["detail"].as_str().unwrap();
    assert!(copied.starts_with("release 1: "), "it was copied and not found: {copied}");
    assert_eq!((mark(&home), mark(&aside)), (second.clone(), first.clone()));
    assert!(!home.join("data/of-the-first").exists() && aside.join("data/of-the-first").exists());
    assert!(aside.join("releases/1").exists());
    healthy(&app, &second).await;

    // The first comes back beside it, with all that it left.
    brought_back(&app, &first, then).await;
    let shown = app.get(&format!("/api/tenants/{first}")).await.expect(200);
    assert_eq!(shown["slug"], "smith-2");
    let back = place(&app, "smith-2");
    assert!(back.join("data/of-the-first").exists() && !aside.exists());
    assert_eq!((mark(&back), mark(&home)), (first.clone(), second.clone()));
    healthy(&app, &first).await;
    healthy(&app, &second).await;

    // Whoever is deleted with its files takes none of the other's along.
    app.delete(&format!("/api/tenants/{second}?remove_files=true")).await.expect(200);
    assert!(!home.exists() && back.join("data/of-the-first").exists());
    healthy(&app, &first).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_tenant_that_was_never_deployed_neither_hides_nor_removes_what_another_left() {
    let app = TestApp::start().await;
    let (first, then) = left(&app).await;
    let second = app.tenant("smith").await;
    // Its place is taken by what the first left, which is fetched from there.
    brought_back(&app, &first, then).await;
    assert!(place(&app, "smith-2").join("data/of-the-first").exists() && !place(&app, "smith").exists());
    app.delete(&format!("/api/tenants/{first}")).await.expect(200);
    app.delete(&format!("/api/tenants/{second}?remove_files=true")).await.expect(200);

    let third = app.tenant("smith-2").await;
    app.delete(&format!("/api/tenants/{third}?remove_files=true")).await.expect(200);
    assert!(place(&app, "smith-2").join("data/of-the-first").exists(), "it was another's");
    brought_back(&app, &first, then).await;
    healthy(&app, &first).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_tenants_directory_is_not_used_and_the_step_says_what_to_do() {
    let app = TestApp::start().await;
    let smith = app.tenant("smith").await;
    deployed(&app, &smith).await;
    let copied = std::process::Command::new("cp")
        .args(["-a".into(), place(&app, "smith"), place(&app, "jones")])
        .status()
        .unwrap();
    assert!(copied.success());
    let jones = app.tenant("jones").await;
    let deployment = app.deploy(&jones).await;
    let ended = app.deployed(&deployment).await;
    assert_eq!((&ended["status"], &ended["steps"][0]["status"]), (&json!("failed"), &json!("failed")));
    let why = ended["steps"][0]["detail"].as_str().unwrap();
    assert!(why.contains(&format!("belongs to the tenant {smith}")), "{why}");
    std::fs::remove_file(place(&app, "jones").join(".tenantry-tenant")).unwrap();
    app.post(&format!("/api/deployments/{deployment}/retry"), json!({})).await.expect(202);
    assert_eq!(app.deployed(&deployment).await["status"], "success");
    assert_eq!(mark(&place(&app, "jones")), jones);
    healthy(&app, &smith).await;
}
