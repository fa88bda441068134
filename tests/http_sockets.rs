//! The WebSockets of document 1: authentication, messages, close codes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

#[path = "support/api.rs"]
mod api;

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use api::{Api, PATIENCE, request};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tenantry::domain::command::{Command, Submission};
use tenantry_journal::event::access::{Role, Scope};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn open(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<Socket, u16> {
        let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
        for (name, value) in headers {
            let name: axum::http::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        match connect_async(request).await {
            Ok((socket, _)) => Ok(Socket(socket)),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    async fn say(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    /// The next message, or the close code.
    async fn hear(&mut self) -> Result<Value, u16> {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("an answer").unwrap().unwrap() {
                Message::Text(text) => return Ok(serde_json::from_str(&text).unwrap()),
                Message::Close(frame) => return Err(frame.map_or(1005, |frame| frame.code.into())),
                _ => {}
            }
        }
    }

    /// Everything up to the close code.
    async fn hear_all(&mut self) -> (Vec<Value>, u16) {
        let mut messages = Vec::new();
        loop {
            match self.hear().await {
                Ok(message) => messages.push(message),
                Err(code) => return (messages, code),
            }
        }
    }
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[tokio::test]
async fn a_deployment_is_followed_to_its_end_and_a_late_subscriber_gets_complete() {
    let api = Api::start().await;
    let address = api.listen().await;
    let id = api.tenant("smith").await;
    api.puppet.idle.store(true, Ordering::Relaxed);
    let requested = api.post(&format!("/api/tenants/{id}/deploy"), json!({})).await.expect(202);
    let deployment = requested["deployment_id"].as_str().unwrap();
    api.pretend.lines.lock().unwrap().insert(deployment.parse().unwrap(), vec!["one".into(), "two".into()]);
    let path = format!("/ws/deployments/{deployment}");

    let mut socket = Socket::open(address, &path, &[]).await.unwrap();
    socket.say(json!({"type": "auth", "token": api.admin})).await;
    let first = socket.hear().await.unwrap();
    assert_eq!(first["type"], "progress");
    assert_eq!((&first["deployment_id"], &first["progress_percent"]), (&json!(deployment), &json!(0)));
    api.puppet.idle.store(false, Ordering::Relaxed);
    api.put(&format!("/api/tenants/{id}"), json!({"notes": "go"})).await.expect(200);
    let (messages, code) = socket.hear_all().await;
    assert_eq!(code, 1000);
    check_messages(&messages, deployment);

    let authorization = bearer(&api.admin);
    let mut late = Socket::open(address, &path, &[("authorization", &authorization)]).await.unwrap();
    let (messages, code) = late.hear_all().await;
    assert_eq!(code, 1000);
    check_messages(&messages, deployment);
}

fn check_messages(messages: &[Value], deployment: &str) {
    let lines: Vec<&Value> =
        messages.iter().filter(|m| m["type"] == "log").map(|message| &message["message"]).collect();
    assert_eq!(lines, [&json!("one"), &json!("two")]);
    let percents: Vec<u64> = messages
        .iter()
        .filter(|message| message["type"] == "progress")
        .map(|message| message["progress_percent"].as_u64().unwrap())
        .collect();
    assert!(percents.is_sorted(), "{percents:?}");
    assert_eq!(percents.last(), Some(&100));
    let last = messages.last().unwrap();
    assert_eq!((&last["type"], &last["status"]), (&json!("complete"), &json!("success")));
    assert_eq!(last["deployment_id"], deployment);
    assert!(last["duration_seconds"].is_number());
}

#[tokio::test]
async fn health_updates_arrive_as_printed() {
    let api = Api::start().await;
    let address = api.listen().await;
    let id = api.tenant("smith").await;
    let authorization = bearer(&api.admin);
    let path = format!("/ws/tenants/{id}/health");
    let mut socket = Socket::open(address, &path, &[("authorization", &authorization)]).await.unwrap();
    assert_eq!(socket.hear().await.unwrap()["overall_status"], "unknown");
    api.post(&format!("/api/tenants/{id}/health-check"), json!({})).await.expect(200);
    let update = socket.hear().await.unwrap();
    assert_eq!((&update["type"], &update["tenant_id"]), (&json!("health_update"), &json!(id)));
    assert_eq!(update["checks"]["frontend"]["status"], "up");
    api.delete(&format!("/api/tenants/{id}")).await.expect(200);
    assert_eq!(socket.hear().await, Err(1000));
}

#[tokio::test]
async fn a_socket_without_a_valid_credential_is_closed_with_its_code() {
    let api = Api::start().await;
    let address = api.listen().await;
    let id = api.tenant("smith").await;
    let path = format!("/ws/tenants/{id}/health");

    for message in [json!({"type": "auth", "token": "tenement_no"}), json!({"type": "hello"}), json!(7)] {
        let mut socket = Socket::open(address, &path, &[]).await.unwrap();
        socket.say(message).await;
        assert_eq!(socket.hear().await, Err(4401));
    }
    let foreign = api.token(Role::Viewer, Scope::Tenant(uuid::Uuid::from_u128(1).into())).await;
    let mut socket = Socket::open(address, &path, &[]).await.unwrap();
    socket.say(json!({"type": "auth", "token": foreign})).await;
    assert_eq!(socket.hear().await, Err(1008));

    let status =
        async |headers: &[(&str, &str)], path: &str| Socket::open(address, path, headers).await.err();
    assert_eq!(status(&[("authorization", "Bearer no")], &path).await, Some(401));
    assert_eq!(status(&[("authorization", &bearer(&foreign))], &path).await, Some(404));
    assert_eq!(status(&[("origin", "http://evil.example")], &path).await, Some(403));
    assert_eq!(status(&[("origin", "null")], &path).await, Some(403));
    assert_eq!(status(&[("host", "evil.example")], &path).await, Some(421));
    // Not an upgrade.
    api.send(request("GET", &path)).await.expect(401);
    let plain = api.send(request("GET", &path).bearer(&api.admin)).await;
    assert_eq!(plain.expect(plain.status)["code"].as_str().map(str::is_empty), Some(false));
    assert!((400..500).contains(&plain.status));
}

#[tokio::test]
async fn a_silent_socket_is_closed_after_five_seconds() {
    let api = Api::start().await;
    let address = api.listen().await;
    let id = api.tenant("smith").await;
    let begun = Instant::now();
    let mut socket = Socket::open(address, &format!("/ws/tenants/{id}/health"), &[]).await.unwrap();
    assert_eq!(socket.hear().await, Err(4408));
    assert!(begun.elapsed() >= Duration::from_secs(5));
}

#[tokio::test]
async fn a_message_that_is_too_long_closes_with_1009() {
    let api = Api::start().await;
    let address = api.listen().await;
    let id = api.tenant("smith").await;
    let authorization = bearer(&api.admin);
    let path = format!("/ws/tenants/{id}/health");
    let mut socket = Socket::open(address, &path, &[("authorization", &authorization)]).await.unwrap();
    socket.hear().await.unwrap();
    socket.say(json!("x".repeat(70_000))).await;
    assert_eq!(socket.hear().await, Err(1009));
    let mut socket = Socket::open(address, &path, &[("authorization", &authorization)]).await.unwrap();
    socket.hear().await.unwrap();
    socket.0.send(Message::binary(vec![1, 2])).await.unwrap();
    assert_eq!(socket.hear().await, Err(1008));
}

#[tokio::test]
async fn a_revoked_token_ends_its_streams_within_a_second() {
    let api = Api::start().await;
    let address = api.listen().await;
    let id = api.tenant("smith").await;
    api.puppet.idle.store(true, Ordering::Relaxed);
    let requested = api.post(&format!("/api/tenants/{id}/deploy"), json!({})).await.expect(202);
    let deployment = requested["deployment_id"].as_str().unwrap().to_owned();
    let token = api.token(Role::Viewer, Scope::All).await;
    let authorization = bearer(&token);
    let path = format!("/ws/tenants/{id}/health");
    let mut socket = Socket::open(address, &path, &[("authorization", &authorization)]).await.unwrap();
    socket.hear().await.unwrap();
    let logs = request("GET", &format!("/api/deployments/{deployment}/logs?stream=true")).bearer(&token);
    let stream = api.send(logs);
    tokio::pin!(stream);
    // The stream is open: it does not end by itself.
    assert!(timeout(Duration::from_millis(200), &mut stream).await.is_err());

    let token_id = api.handle.world().access.tokens().next().unwrap().id;
    api.handle.submit(Submission::system(Command::RevokeToken { token_id }, None)).await.unwrap();
    let (code, ended) = timeout(Duration::from_secs(1), async { tokio::join!(socket.hear(), stream) })
        .await
        .expect("both end within a second");
    assert_eq!(code, Err(4401));
    ended.expect(200);
}

#[tokio::test]
async fn the_end_of_the_server_closes_sockets_with_1001() {
    let api = Api::start().await;
    let address = api.listen().await;
    let id = api.tenant("smith").await;
    let path = format!("/ws/tenants/{id}/health");
    let authorization = bearer(&api.admin);
    let mut open = Socket::open(address, &path, &[("authorization", &authorization)]).await.unwrap();
    open.hear().await.unwrap();
    let mut waiting = Socket::open(address, &path, &[]).await.unwrap();
    api.shutdown.cancel();
    assert_eq!(open.hear().await, Err(1001));
    assert_eq!(waiting.hear().await, Err(1001));
}
