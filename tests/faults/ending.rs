//! SIGTERM in the middle of everything.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::support::app::{Home, TestApp, alive, fixture};
use crate::tools::{more_events, pid_of, spawn};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_ends_in_time_with_streams_and_slow_requests_open() {
    let home = Home::with(&format!(
        "[service.mute]\ncommand = \"python3\"\nargs = [\"{}\"]\nenv = {{ MODE = \"mute\" }}\n\
         health = \"/health\"\nstartup_timeout = 60\n",
        fixture("api.py").display()
    ));
    let app = TestApp::in_home(Arc::clone(&home)).await;
    spawn(&app, "api", "a").await.expect(201);
    let pid = pid_of(&app, "api:a").await;

    // Followers of the feed, both kinds, which have had their first event.
    let sse = app.request("GET", "/api/events/stream?from_seq=1").send().await.unwrap();
    let mut sse = Box::pin(sse.bytes_stream());
    assert!(sse.next().await.unwrap().is_ok());
    let address = app.manager.replace("http://", "ws://");
    let mut request = format!("{address}/ws/events").into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {}", app.token).parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    let subscribe = serde_json::json!({"type": "subscribe", "from_seq": 1}).to_string();
    socket.send(tokio_tungstenite::tungstenite::Message::text(subscribe)).await.unwrap();
    assert!(socket.next().await.unwrap().is_ok());
    // One that reads nothing, ever.
    let mut stuck = std::net::TcpStream::connect(app.manager.trim_start_matches("http://")).unwrap();
    write!(
        stuck,
        "GET /api/events/stream?from_seq=1 HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\r\n",
        app.token
    )
    .unwrap();
    // A request whose body never ends coming, and one that is answered in a minute.
    let mut half = std::net::TcpStream::connect(app.manager.trim_start_matches("http://")).unwrap();
    write!(
        half,
        "POST /api/tenants HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: 1000\r\n\r\n{{\"name\":",
        app.token
    )
    .unwrap();
    let body = serde_json::json!({"service": "mute", "id": "slow"});
    let slow = tokio::spawn(app.instances_request("POST", "/api/instances").json(&body).send());
    more_events(&app, "instance.started", 1).await;

    let (code, took) = app.terminate();
    assert_eq!(code, Some(0));
    // The answer in a minute is not waited for.
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert!(alive(pid), "the instance ended with the server");
    // Everybody is let go of.
    if let Ok(answer) = slow.await.unwrap() {
        assert_eq!(answer.status(), 503, "{answer:?}");
    }
    while let Some(Ok(_)) = sse.next().await {}
    while let Some(Ok(_)) = socket.next().await {}
    let _ = half.read_to_end(&mut Vec::new());
    let _ = stuck.read_to_end(&mut Vec::new());
}
