//! A restore on a real control plane: files, services and release are as they were.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::app::TestApp;

async fn seq(app: &TestApp) -> u64 {
    app.get("/api/events?order=desc&limit=1").await.expect(200)["head_seq"].as_u64().unwrap()
}

async fn put(app: &TestApp, path: &str, body: Value) {
    app.send(app.request("PUT", path).json(&body)).await.expect(200);
}

async fn dress(app: &TestApp, tenant: &str, color: &'static str) {
    let form = reqwest::multipart::Form::new().text("primary_color", color);
    app.send(app.request("PUT", &format!("/api/tenants/{tenant}/theme")).multipart(form)).await.expect(200);
}

async fn deployed(app: &TestApp, tenant: &str) {
    let deployment = app.deploy(tenant).await;
    assert_eq!(app.deployed(&deployment).await["status"], "success");
}

/// The environment of the backend that runs.
async fn environment(app: &TestApp, slug: &str) -> BTreeMap<String, String> {
    let started = format!("/api/events?instance=backend:{slug}&kind=instance.started&order=desc&limit=1");
    let pid = app.get(&started).await.expect(200)["events"][0]["data"]["pid"].as_u64().unwrap();
    let bytes = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let pairs = bytes.split(|byte| *byte == 0).filter_map(|pair| {
        let (name, value) = std::str::from_utf8(pair).ok()?.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    });
    pairs.collect()
}

fn directory(app: &TestApp, slug: &str) -> PathBuf {
    app.data_dir().join("tenants").join(slug)
}

fn color(directory: &Path) -> String {
    let css = std::fs::read_to_string(directory.join("assets/theme.css")).unwrap();
    css.lines().find(|line| line.contains("--primary-color:")).unwrap().trim().to_owned()
}

fn release(directory: &Path) -> String {
    let link = std::fs::read_link(directory.join("current")).unwrap();
    link.file_name().unwrap().to_str().unwrap().to_owned()
}

async fn answers(app: &TestApp, tenant: &str) {
    app.eventually(&format!("/api/tenants/{tenant}"), |shown| shown["status"] == "running").await;
    let health = app.post(&format!("/api/tenants/{tenant}/health-check"), json!({})).await.expect(200);
    assert_eq!(health["overall_status"], "healthy", "{health}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_is_brought_back_with_its_files_services_and_release() {
    let app = TestApp::start().await;
    let tenant = app.tenant("smith").await;
    let path = format!("/api/tenants/{tenant}");
    put(&app, &format!("{path}/config"), json!({"app_name": "Then", "custom_env": {"MODE": "then"}})).await;
    dress(&app, &tenant, "#111111").await;
    deployed(&app, &tenant).await;
    let then = seq(&app).await;
    let home = directory(&app, "smith");
    assert_eq!(environment(&app, "smith").await["MODE"], "then");

    put(&app, &path, json!({"notes": "later", "domain": "later.example.com"})).await;
    put(&app, &format!("{path}/config"), json!({"app_name": "Later", "custom_env": {"MODE": "later"}})).await;
    dress(&app, &tenant, "#222222").await;
    deployed(&app, &tenant).await;
    assert_eq!((release(&home).as_str(), color(&home).as_str()), ("2", "--primary-color: #222222;"));
    assert!(std::fs::read_to_string(home.join(".env")).unwrap().contains("MODE=later"));

    let restored = app.post(&format!("{path}/restore"), json!({"as_of": then})).await.expect(200);
    assert_eq!(restored["complete"], true, "{restored:#}\n{}", app.log());
    assert_eq!((release(&home).as_str(), color(&home).as_str()), ("1", "--primary-color: #111111;"));
    let env = std::fs::read_to_string(home.join(".env")).unwrap();
    assert!(env.contains("MODE=then") && env.contains("APP_NAME=Then"), "{env}");
    assert_eq!(environment(&app, "smith").await["MODE"], "then");
    let shown = app.get(&path).await.expect(200);
    assert_eq!((&shown["notes"], &shown["domain"]), (&Value::Null, &json!("smith.example.com")));
    answers(&app, &tenant).await;

    let ports = (shown["frontend_port"].clone(), shown["backend_port"].clone());

    // Deleted with its files kept, it comes back with its release; the names of others stay theirs.
    app.delete(&path).await.expect(200);
    assert!(home.join("releases/1").exists());
    let body = json!({"name": "Jones", "slug": "jones", "domain": "jones.example.com",
        "frontend_port": ports.0, "backend_port": ports.1});
    let other = app.post("/api/tenants", body).await.expect(201)["id"].as_str().unwrap().to_owned();
    let restored = app.post(&format!("{path}/restore"), json!({"as_of": then})).await.expect(409);
    let holders: Vec<&Value> =
        restored["conflicts"].as_array().unwrap().iter().map(|c| &c["held_by"]).collect();
    assert_eq!(holders, [&json!(other), &json!(other)], "its two ports: {restored:#}");
    let body = json!({"as_of": then, "on_conflict": "reassign"});
    let restored = app.post(&format!("{path}/restore"), body).await.expect(200);
    assert_eq!(restored["complete"], true, "{restored:#}\n{}", app.log());
    assert_eq!((release(&home).as_str(), color(&home).as_str()), ("1", "--primary-color: #111111;"));
    let shown = app.get(&path).await.expect(200);
    let port = shown["backend_port"].clone();
    assert_eq!(environment(&app, "smith").await["BACKEND_PORT"], port.to_string());
    answers(&app, &tenant).await;

    // The ports of then are free again: they come back, too.
    app.delete(&format!("/api/tenants/{other}")).await.expect(200);
    let restored = app.post(&format!("{path}/restore"), json!({"as_of": then})).await.expect(200);
    let fields: Vec<&Value> = restored["changes"].as_array().unwrap().iter().map(|c| &c["field"]).collect();
    assert_eq!(fields, ["backend_port", "frontend_port"]);
    assert_eq!(restored["complete"], true, "{restored:#}\n{}", app.log());
    let back = app.get(&path).await.expect(200)["backend_port"].clone();
    assert_ne!(back, port);
    assert_eq!(environment(&app, "smith").await["BACKEND_PORT"], back.to_string());
    let env = std::fs::read_to_string(home.join(".env")).unwrap();
    assert!(env.contains(&format!("BACKEND_PORT={back}")), "{env}");
    answers(&app, &tenant).await;

    // Without its files it comes back empty, and says so.
    app.delete(&format!("{path}?remove_files=true")).await.expect(200);
    assert!(!home.exists());
    let restored = app.post(&format!("{path}/restore"), json!({"as_of": then})).await.expect(200);
    let lacking: Vec<&Value> =
        restored["not_restored"].as_array().unwrap().iter().map(|l| &l["field"]).collect();
    assert_eq!(lacking, ["files", "release", "database"], "{restored:#}");
    assert_eq!(app.get(&path).await.expect(200)["status"], "pending");
    assert_eq!(color(&home), "--primary-color: #111111;");
    deployed(&app, &tenant).await;
    assert_eq!(release(&home), "3", "no number is used twice");
    answers(&app, &tenant).await;
    assert_eq!(environment(&app, "smith").await["MODE"], "then");
}
