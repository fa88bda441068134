//! What passes through nginx: who asked, changed protocols, and a redeploy under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::front::{Front, deploy, tenant};
use crate::support::app::{Home, TestApp, fixture};

const DOMAIN: &str = "smith.example.com";

/// A control plane whose tenants answer with what they were asked.
async fn echoing(front: &Front) -> TestApp {
    let home = Home::new();
    let command = format!("python3 {}", fixture("backend.py").display());
    let mut serve = front.serve(&home);
    serve
        .env("TENANTRY_DEPLOY_TEMPLATE_FRONTEND", &command)
        .env("TENANTRY_DEPLOY_TEMPLATE_BACKEND", &command)
        .env("TENANTRY_DEPLOY_SSL", "self-signed");
    TestApp::from_command(home, serve).await
}

#[tokio::test]
async fn the_application_is_told_who_asked_and_how_by_nginx_alone() {
    let Some(front) = Front::start() else { return };
    let app = echoing(&front).await;
    let id = tenant(&app, "smith", DOMAIN).await;
    let ended = deploy(&app, &id, json!({})).await;
    assert_eq!(ended["status"], "success", "{ended}");
    let client = front.client(DOMAIN).tls_danger_accept_invalid_certs(true).build().unwrap();
    let told: Value = client
        .get(format!("https://{DOMAIN}:{}/echo", front.https))
        .header("X-Forwarded-For", "6.6.6.6")
        .header("X-Forwarded-Proto", "gopher")
        .header("X-Tenantry-Edge", "guess")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let headers = &told["headers"];
    assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
    assert_eq!(headers["x-forwarded-proto"], "https");
    assert_eq!(headers["x-forwarded-host"], DOMAIN);
    assert_eq!(headers["host"], DOMAIN);
    assert_eq!(headers["x-tenantry-edge"], json!(null));
    // Straight to the proxy nobody is believed who does not know the key.
    let straight: Value = client
        .get(format!("{}/echo", app.manager))
        .header("Host", DOMAIN)
        .header("X-Forwarded-For", "6.6.6.6")
        .header("X-Tenantry-Edge", "guess")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(straight["headers"]["x-forwarded-for"], "127.0.0.1");
    assert_eq!(straight["headers"]["x-forwarded-proto"], "http");
}

#[tokio::test]
async fn a_changed_protocol_passes_and_so_does_a_long_body() {
    let Some(front) = Front::start() else { return };
    let app = echoing(&front).await;
    let id = tenant(&app, "smith", DOMAIN).await;
    assert_eq!(deploy(&app, &id, json!({"skip_ssl": true})).await["status"], "success");
    let mut stream = TcpStream::connect(("127.0.0.1", front.http)).await.unwrap();
    let head = format!("GET /ws HTTP/1.1\r\nHost: {DOMAIN}\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    stream.write_all(b"hello").await.unwrap();
    let mut echoed = [0; 5];
    stream.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"hello");

    let client = front.client(DOMAIN).build().unwrap();
    let url = format!("http://{DOMAIN}:{}/echo", front.http);
    let body = vec![b'x'; 8 << 20];
    let answer: Value = client.post(&url).body(body).send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["body"].as_str().unwrap().len(), 8 << 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redeploy_under_load_loses_no_request() {
    const CLIENTS: usize = 4;
    let Some(front) = Front::start() else { return };
    let app = echoing(&front).await;
    let id = tenant(&app, "smith", DOMAIN).await;
    assert_eq!(deploy(&app, &id, json!({"skip_ssl": true})).await["status"], "success");
    let is_over = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let client = front.client(DOMAIN).pool_max_idle_per_host(0).build().unwrap();
            let url = format!("http://{DOMAIN}:{}/", front.http);
            let (is_over, answered) = (Arc::clone(&is_over), Arc::clone(&answered));
            tokio::spawn(async move {
                let mut lost = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    match client.get(&url).send().await {
                        Ok(answer) if answer.status().as_u16() == 200 => {
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(answer) => lost.push(answer.status().to_string()),
                        Err(error) => lost.push(error.to_string()),
                    }
                }
                lost
            })
        })
        .collect();
    let ended = deploy(&app, &id, json!({"skip_ssl": true})).await;
    assert_eq!(ended["status"], "success", "{ended}");
    app.post("/api/nginx/reload", json!({})).await.expect(200);
    is_over.store(true, Ordering::Relaxed);
    let mut lost = Vec::new();
    for client in clients {
        lost.extend(client.await.unwrap());
    }
    eprintln!("{} requests answered, {} lost", answered.load(Ordering::Relaxed), lost.len());
    assert!(lost.is_empty(), "{} of {}: {lost:?}", lost.len(), answered.load(Ordering::Relaxed));
}
