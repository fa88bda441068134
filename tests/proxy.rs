//! Traffic to instances through the program itself: routing, streaming, sleep, restarts, and
//! what must be refused.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod support;

#[path = "proxy/client.rs"]
mod client;
#[path = "proxy/life.rs"]
mod life;
#[path = "proxy/passing.rs"]
mod passing;
#[path = "proxy/plain.rs"]
mod plain;
#[path = "proxy/refused.rs"]
mod refused;
#[path = "proxy/sockets.rs"]
mod sockets;

use std::sync::Arc;

use serde_json::{Value, json};
use support::app::{Home, TestApp, fixture};

use client::{Reply, ask};

/// Every instance has a name below it.
const DOMAIN: &str = "apps.test";

/// A home with the services `web` (a unix socket), `tcp`, `lazy` (sleeps soon), and two that roll.
fn home() -> Arc<Home> {
    let backend = fixture("backend.py").display().to_string();
    Home::with(&format!(
        r#"
[service.web]
command = "python3"
args = ["{backend}"]
socket = "{{data_dir}}/run/{{name}}-{{id}}.sock"
health = "/health"
stop_timeout = 2

[service.tcp]
command = "python3"
args = ["{backend}"]
health = "/health"
stop_timeout = 2

[service.lazy]
command = "python3"
args = ["{backend}"]
socket = "{{data_dir}}/run/{{name}}-{{id}}.sock"
health = "/health"
idle_timeout = 1
stop_timeout = 2

[service.mortal]
command = "python3"
args = ["{backend}"]
socket = "{{data_dir}}/run/{{name}}-{{id}}.sock"
health = "/health"
restart = "never"

[service.roll]
command = "python3"
args = ["{backend}"]
socket = "{{data_dir}}/run/{{name}}-{{id}}.sock"
health = "/health"
restart_mode = "rolling"
stop_timeout = 2

[service.rolltcp]
command = "python3"
args = ["{backend}"]
health = "/health"
restart_mode = "rolling"
stop_timeout = 2
"#
    ))
}

async fn start() -> TestApp {
    start_in(home()).await
}

async fn start_in(home: Arc<Home>) -> TestApp {
    let mut command = home.serve();
    command.env("TENANTRY_DOMAIN", DOMAIN);
    TestApp::from_command(home, command).await
}

/// Where a listener is, without its scheme.
fn address(url: &str) -> &str {
    url.strip_prefix("http://").unwrap()
}

async fn spawn(app: &TestApp, service: &str, id: &str) {
    let body = json!({"service": service, "id": id});
    app.send(app.instances_request("POST", "/api/instances").json(&body)).await.expect(201);
}

async fn weigh(app: &TestApp, service: &str, id: &str, weight: u32) -> Value {
    let path = format!("/api/instances/{service}/{id}/weight");
    app.send(app.instances_request("PUT", &path).json(&json!({"weight": weight}))).await.expect(200)
}

async fn get(app: &TestApp, host: &str, path: &str) -> Reply {
    ask(address(&app.instances), &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await
}
