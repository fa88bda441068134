//! Deployments from git servers: https with a password and an authority of one's own, ssh with a
//! key. Both servers are real, on loopback, with git's own programs behind them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

#[path = "git/servers.rs"]
mod servers;
mod support;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use servers::{Https, PASSWORD, Ssh, USER};
use support::app::{Home, TestApp};

/// A control plane with these options of `[deploy]`, and a tenant whose source is an address.
async fn app(home: &Arc<Home>, options: &[(&str, PathBuf)], repository: &str) -> (TestApp, String) {
    let mut serve = home.serve();
    for (name, path) in options {
        serve.env(format!("TENANTRY_DEPLOY_{name}"), path);
    }
    let app = TestApp::from_command(Arc::clone(home), serve).await;
    let body = json!({
        "name": "Smith", "slug": "smith", "domain": "smith.example.com", "api_domain": "api.smith.example.com",
        "github_repo": repository,
    });
    let id = app.post("/api/tenants", body).await.expect(201)["id"].as_str().unwrap().to_owned();
    (app, id)
}

/// The first step of a deployment, once that is over.
async fn copied(app: &TestApp, tenant: &str) -> Value {
    let deployment = app.deploy(tenant).await;
    app.deployed(&deployment).await["steps"][0].clone()
}

#[track_caller]
fn assert_failed(step: &Value, why: &str) {
    assert_eq!(step["status"], "failed", "{step}");
    let detail = step["detail"].as_str().unwrap();
    assert!(detail.to_lowercase().contains(&why.to_lowercase()), "not '{why}': {detail}");
}

/// Nothing that is told or logged holds a secret.
async fn assert_nowhere(app: &TestApp, secret: &str) {
    for event in app.events(1).await {
        assert!(!event.to_string().contains(secret), "{event}");
    }
    let deployments = app.get("/api/tenants").await.text;
    assert!(!deployments.contains(secret) && !app.log().contains(secret), "{}", app.log());
}

async fn change(app: &TestApp, tenant: &str, repository: &str) {
    let body = json!({"github_repo": repository});
    app.send(app.request("PUT", &format!("/api/tenants/{tenant}")).json(&body)).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_repository_is_cloned_over_https() {
    let home = Home::new();
    home.campaign();
    let server = Https::start(&home);
    let credentials = home.path().join("credentials");
    let address = format!("https://{}/campaign/.git", server.host);
    std::fs::write(&credentials, format!("https://{USER}:{PASSWORD}@{}\n", server.host)).unwrap();
    let options = [("GIT_CREDENTIALS_FILE", credentials.clone()), ("GIT_CA_FILE", server.authority.clone())];
    let (app, tenant) = app(&home, &options, &address).await;
    let step = copied(&app, &tenant).await;
    assert_eq!(step["status"], "success", "{step}");
    let head = home.path().join("campaign/.git/refs/heads/main");
    let commit = std::fs::read_to_string(head).unwrap();
    assert!(step["detail"].as_str().unwrap().ends_with(&format!("at commit {}", commit.trim())), "{step}");
    // What was fetched is one commit: the server was asked for no history.
    assert!(!app.data_dir().join("tenants/smith/releases/1/.git").exists());

    // Another password than the server's: git says so and waits for nobody to type one.
    std::fs::write(&credentials, format!("https://{USER}:another-secret@{}\n", server.host)).unwrap();
    let wrong = std::fs::read_to_string(&credentials).unwrap();
    assert_failed(&copied(&app, &tenant).await, "authentication failed");
    assert_eq!(std::fs::read_to_string(&credentials).unwrap(), wrong, "the operator's file was changed");
    std::fs::remove_file(&credentials).unwrap();
    assert_failed(&copied(&app, &tenant).await, "could not read username");
    for secret in [PASSWORD, "another-secret"] {
        assert_nowhere(&app, secret).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_nobody_vouches_for_is_not_asked_for_anything() {
    let home = Home::new();
    home.campaign();
    let server = Https::start(&home);
    let credentials = home.path().join("credentials");
    std::fs::write(&credentials, format!("https://{USER}:{PASSWORD}@{}\n", server.host)).unwrap();
    let address = format!("https://{}/campaign/.git", server.host);
    let (app, tenant) = app(&home, &[("GIT_CREDENTIALS_FILE", credentials)], &address).await;
    assert_failed(&copied(&app, &tenant).await, "certificate");
    assert_eq!(server.requests(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_repository_is_cloned_over_ssh() {
    let home = Home::new();
    home.campaign();
    let Some(server) = Ssh::start(&home) else { return };
    let known = home.path().join("known_hosts");
    std::fs::write(&known, server.known_host()).unwrap();
    let key = home.path().join("key");
    std::fs::copy(&server.client_key, &key).unwrap();
    let path = home.path().join("campaign").display().to_string();
    let address = format!("ssh://{}@127.0.0.1:{}{path}", server.user, server.port);
    let options = [("GIT_SSH_KEY_FILE", key.clone()), ("GIT_KNOWN_HOSTS_FILE", known.clone())];
    let (app, tenant) = app(&home, &options, &address).await;
    let step = copied(&app, &tenant).await;
    assert_eq!(step["status"], "success", "{step}");
    assert!(step["detail"].as_str().unwrap().contains("at commit "), "{step}");

    // A key that the server does not know.
    std::fs::copy(&server.foreign_key, &key).unwrap();
    assert_failed(&copied(&app, &tenant).await, "permission denied");
    // The right key, and a server that is not the one that is known: it gets nothing.
    std::fs::copy(&server.client_key, &key).unwrap();
    std::fs::write(&known, server.another_host()).unwrap();
    assert_failed(&copied(&app, &tenant).await, "host key verification failed");
    std::fs::write(&known, "").unwrap();
    assert_failed(&copied(&app, &tenant).await, "host key verification failed");
    std::fs::write(&known, server.known_host()).unwrap();
    change(&app, &tenant, &format!("{address}-that-is-not-there")).await;
    assert_failed(&copied(&app, &tenant).await, "could not read from remote repository");
    change(&app, &tenant, &address).await;
    assert_eq!(copied(&app, &tenant).await["status"], "success");
}
