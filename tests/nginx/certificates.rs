//! Certificates through the whole saga: asked for, proved, served, renewed, refused.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::authority::{Authority, Manner};
use crate::front::{Front, deploy, metric, step, tenant};
use crate::support::app::{Home, TestApp};
use crate::support::ports::free_port;

const SSL: &str = "Setup SSL";
const EXPIRY: &str = "tenantry_certificate_expiry_timestamp_seconds";

fn acme(front: &Front, home: &Home, authority: &Authority) -> Command {
    let mut serve = front.serve(home);
    serve
        .env("TENANTRY_DEPLOY_SSL", "acme")
        .env("TENANTRY_ACME_DIRECTORY", authority.directory())
        .env("TENANTRY_ACME_CONTACT", "ops@example.com")
        .env("TENANTRY_ACME_CA_FILE", authority.ca_file());
    serve
}

/// Every file below a directory.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(below(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

#[tokio::test]
async fn an_authority_signs_and_both_sites_are_served_by_tls() {
    let Some(front) = Front::start() else { return };
    let Some(authority) = Authority::start(&front).await else { return };
    let home = Home::new();
    let command = acme(&front, &home, &authority);
    let app = TestApp::from_command(home, command).await;
    let id = tenant(&app, "smith", "smith.example.com").await;
    let ended = deploy(&app, &id, json!({})).await;
    assert_eq!(ended["status"], "success", "{ended}");
    assert!(step(&ended, SSL)["detail"].as_str().unwrap().contains("Pebble"), "{ended}");

    let root = authority.root().await;
    for domain in ["smith.example.com", "api.smith.example.com"] {
        let client = front.client(domain).tls_certs_only([root.clone()]).build().unwrap();
        let answer = client.get(format!("https://{domain}:{}/health", front.https)).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        let plain = client.get(format!("http://{domain}:{}/a?b=c", front.http)).send().await.unwrap();
        assert_eq!(plain.status().as_u16(), 301);
        let there = format!("https://{domain}:{}/a?b=c", front.https);
        assert_eq!(plain.headers()["location"], there.as_str());
    }
    let shown = app.get(&format!("/api/tenants/{id}")).await.expect(200);
    assert_eq!(shown["certificate"]["domain"], "smith.example.com");
    assert!(shown["certificate"]["issuer"].as_str().unwrap().contains("Pebble"), "{shown}");
    assert!(shown["certificate"]["not_after"].is_string());
    let expiry = metric(&app, &format!("{EXPIRY}{{signer=\"acme\"}}")).await.unwrap();
    assert!(expiry > 1_700_000_000.0);
    let kept = [below(&app.data_dir().join("certs/smith")), below(&app.data_dir().join("acme"))].concat();
    assert_eq!(kept.len(), 3, "{kept:?}");
    for file in kept {
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600,
            "{}",
            file.display()
        );
    }
    // Again: the certificate is good, none is asked for.
    let ended = deploy(&app, &id, json!({"skip_services": true})).await;
    assert!(step(&ended, SSL)["detail"].as_str().unwrap().starts_with("the certificate is good until"));
    let orders = app.get("/api/events?kind=certificate.requested").await.expect(200);
    assert_eq!(orders["events"].as_array().unwrap().len(), 1);
    // The names stand nowhere in the open.
    assert!(!orders.to_string().contains("smith.example.com"));

    // Another domain gets a certificate of its own, by itself.
    let change = json!({"domain": "smith.example.org"});
    app.send(app.request("PUT", &format!("/api/tenants/{id}")).json(&change)).await.expect(200);
    app.eventually(&format!("/api/tenants/{id}"), |shown| {
        shown["certificate"]["domain"] == "smith.example.org"
    })
    .await;
    app.eventually("/api/nginx/configs", |_| {
        std::fs::read_to_string(front.path("sites-enabled/smith.example.org"))
            .is_ok_and(|text| text.contains("ssl_certificate"))
    })
    .await;
    app.delete(&format!("/api/tenants/{id}")).await.expect(200);
    assert!(!app.data_dir().join("certs/smith").exists(), "keys of who is gone are gone");
}

#[tokio::test]
async fn a_certificate_is_renewed_before_its_end_also_after_a_crash() {
    let Some(front) = Front::start() else { return };
    let manner = Manner { http: front.http, validity: 12 };
    let Some(authority) = Authority::with(manner).await else { return };
    let home = Home::new();
    let command = acme(&front, &home, &authority);
    let app = TestApp::from_command(home, command).await;
    let id = tenant(&app, "smith", "smith.example.com").await;
    let ended = deploy(&app, &id, json!({"skip_services": true})).await;
    assert_eq!(ended["status"], "success", "{ended}");
    let home = app.kill();
    let command = acme(&front, &home, &authority);
    let app = TestApp::from_command(home, command).await;
    let issued = "/api/events?kind=certificate.issued";
    let page = app.eventually(issued, |page| page["events"].as_array().unwrap().len() >= 2).await;
    let (first, second) = (&page["events"][0], &page["events"][1]);
    let end = |event: &serde_json::Value| event["data"]["not_after"].clone();
    assert_ne!(end(first), end(second));
    assert!(second["at"].as_str().unwrap() < end(first).as_str().unwrap(), "before its end: {page}");
    assert_eq!(second["actor"]["type"], "system");
}

#[tokio::test]
async fn an_authority_that_refuses_is_asked_a_bounded_number_of_times() {
    let Some(front) = Front::start() else { return };
    // It looks where nothing answers.
    let manner = Manner { http: free_port(), validity: 86_400 };
    let Some(authority) = Authority::with(manner).await else { return };
    let home = Home::new();
    let command = acme(&front, &home, &authority);
    let app = TestApp::from_command(home, command).await;
    let id = tenant(&app, "smith", "smith.example.com").await;
    for _ in 0..5 {
        let ended = deploy(&app, &id, json!({"skip_services": true})).await;
        assert_eq!(ended["status"], "failed");
        let detail = step(&ended, SSL)["detail"].as_str().unwrap();
        assert!(detail.contains("refused") && detail.contains("smith.example.com"), "{detail}");
    }
    let ended = deploy(&app, &id, json!({"skip_services": true})).await;
    let detail = step(&ended, SSL)["detail"].as_str().unwrap();
    assert!(detail.contains("5 certificates were asked for within an hour"), "{detail}");
    let failed = app.get("/api/events?kind=certificate.failed").await.expect(200);
    let failed = failed["events"].as_array().unwrap();
    assert_eq!(failed.len(), 5);
    let waits: Vec<&str> = failed.iter().map(|event| event["data"]["retry_at"].as_str().unwrap()).collect();
    assert!(waits.is_sorted(), "{waits:?}");
    // The site that was made before is served all the same.
    assert_eq!(front.get("smith.example.com", "/.well-known/acme-challenge/x").await.0, 200);
    assert_eq!(app.get(&format!("/api/tenants/{id}")).await.expect(200)["certificate"], json!(null));
}

#[tokio::test]
async fn an_authority_that_says_later_is_not_asked_before() {
    let Some(front) = Front::start() else { return };
    // It answers every request with 429 and how long to wait.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let busy = listener.local_addr().unwrap();
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let app = {
        let asked = std::sync::Arc::clone(&asked);
        let router = axum::Router::new()
            .route("/nonce", axum::routing::any(|| async { [("replay-nonce", "n")] }))
            .route(
                "/dir",
                axum::routing::get(move || async move {
                    let at = |what: &str| format!("http://{busy}/{what}");
                    axum::Json(json!({"newNonce": at("nonce"), "newAccount": at("account"), "newOrder": at("order"),
                        "revokeCert": at("revoke"), "keyChange": at("key")}))
                }),
            )
            .fallback(move || async move {
                asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let body = json!({"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many new accounts"});
                (axum::http::StatusCode::TOO_MANY_REQUESTS, [("retry-after", "7200"), ("replay-nonce", "n")], body.to_string())
            });
        tokio::spawn(async move { axum::serve(listener, router).await });
        let home = Home::new();
        let mut serve = front.serve(&home);
        serve.env("TENANTRY_DEPLOY_SSL", "acme").env("TENANTRY_ACME_DIRECTORY", format!("http://{busy}/dir"));
        TestApp::from_command(home, serve).await
    };
    let id = tenant(&app, "smith", "smith.example.com").await;
    let ended = deploy(&app, &id, json!({"skip_services": true})).await;
    let detail = step(&ended, SSL)["detail"].as_str().unwrap();
    assert!(detail.contains("too many new accounts"), "{detail}");
    let before = asked.load(std::sync::atomic::Ordering::Relaxed);
    let ended = deploy(&app, &id, json!({"skip_services": true})).await;
    let detail = step(&ended, SSL)["detail"].as_str().unwrap();
    assert!(detail.contains("wants not to be asked again before"), "{detail}");
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), before);
}

#[tokio::test]
async fn a_crash_while_an_authority_hangs_is_gone_over() {
    let Some(front) = Front::start() else { return };
    let Some(authority) = Authority::start(&front).await else { return };
    let hangs = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let home = Home::new();
    let mut serve = acme(&front, &home, &authority);
    serve.env("TENANTRY_ACME_DIRECTORY", format!("http://{}/dir", hangs.local_addr().unwrap()));
    let app = TestApp::from_command(home, serve).await;
    let id = tenant(&app, "smith", "smith.example.com").await;
    let deployment = app.deploy(&id).await;
    let (_asking, _) = hangs.accept().await.unwrap();
    let shown = app.get(&format!("/api/deployments/{deployment}")).await.expect(200);
    assert_eq!(step(&shown, SSL)["status"], "running");
    let home = app.kill();
    let serve = acme(&front, &home, &authority);
    let app = TestApp::from_command(home, serve).await;
    let ended = app.deployed(&deployment).await;
    assert_eq!(ended["status"], "success", "{ended}");
    let shown = app.get(&format!("/api/tenants/{id}")).await.expect(200);
    assert_eq!(shown["certificate"]["domain"], "smith.example.com");
}

#[tokio::test]
async fn local_names_are_served_by_a_certificate_that_signs_itself() {
    let Some(front) = Front::start() else { return };
    let home = Home::new();
    let mut serve = front.serve(&home);
    // Without a directory the authority is a public one, which knows no such names.
    serve.env("TENANTRY_DEPLOY_SSL", "acme");
    let app = TestApp::from_command(home, serve).await;
    let id = tenant(&app, "smith", "smith.localhost").await;
    let ended = deploy(&app, &id, json!({})).await;
    assert_eq!(ended["status"], "success", "{ended}");
    let chain = below(&app.data_dir().join("certs/smith"));
    let chain = chain.iter().find(|path| path.ends_with("fullchain.pem")).unwrap();
    let root = reqwest::Certificate::from_pem(&std::fs::read(chain).unwrap()).unwrap();
    let client = front.client("smith.localhost").tls_certs_only([root]).build().unwrap();
    let answer = client.get(format!("https://smith.localhost:{}/health", front.https)).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let shown = app.get(&format!("/api/tenants/{id}")).await.expect(200);
    assert_eq!(shown["certificate"]["issuer"], "Tenantry self-signed");
}
