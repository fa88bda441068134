//! Requests that go the short way are answered as those that go the long one.

use serde_json::Value;

use super::client::Connection;
use super::{address, spawn, start};

fn echoed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_requests_and_others_are_answered_alike_on_one_connection() {
    let app = start().await;
    spawn(&app, "web", "a").await;
    let request = |method: &str, path: &str, option: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: a.web.apps.test\r\nConnection: {option}\r\n\r\n")
    };
    for (method, path) in [("GET", "/hop"), ("GET", "/none"), ("GET", "/wait/0"), ("DELETE", "/hop")] {
        let mut client = Connection::open(address(&app.instances)).await;
        let mut seen = Vec::new();
        // An option that nobody knows makes it one for the library, with which the connection
        // goes on.
        for option in ["keep-alive", "x-nothing", "keep-alive"] {
            client.send(&request(method, path, option)).await;
            let mut reply = client.reply().await.unwrap();
            assert!(reply.headers.remove("date").is_some(), "{reply:?}");
            seen.push(reply);
        }
        assert!(
            seen.iter().all(|reply| Some(reply) == seen.first() && reply.is_whole),
            "{method} {path} {seen:?}"
        );
    }
    // Two at once, of which the second is the last; and one to a name that nothing has.
    let mut client = Connection::open(address(&app.instances)).await;
    let two = request("GET", "/echo", "keep-alive") + &request("GET", "/echo", "close");
    client.send(&two).await;
    assert_eq!(echoed(&client.reply().await.unwrap().ok())["method"], "GET");
    let last = client.reply().await.unwrap();
    assert_eq!(last.headers.get("connection").map(String::as_str), Some("close"));
    assert_eq!(echoed(&last.ok())["method"], "GET");
    assert!(client.is_closed().await);
    let mut client = Connection::open(address(&app.instances)).await;
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: none.web.apps.test\r\n\r\n").await;
        let refused = client.reply().await.unwrap();
        assert_eq!((refused.status, refused.is_whole), (404, true), "{refused:?}");
    }
    // A body that comes with its head is plain, one that is still to come is not.
    for pieces in [["hello", ""], ["he", "llo"]] {
        let [first, second] = pieces;
        let head = "POST /echo HTTP/1.1\r\nHost: a.web.apps.test\r\nContent-Length: 5\r\n\r\n";
        client.send(&format!("{head}{first}")).await;
        client.send(second).await;
        assert_eq!(echoed(&client.reply().await.unwrap().ok())["body"], "hello");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_answers_plain_requests_as_it_answers_others() {
    let app = start().await;
    let tenant = app.tenant("smith").await;
    let host = address(&app.manager).to_owned();
    let request = |method: &str, path: &str, more: &str| {
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\n{more}\r\n",
            app.token
        )
    };
    let mut client = Connection::open(&host).await;
    for (method, path) in [
        ("GET", format!("/api/tenants/{tenant}")),
        ("HEAD", format!("/api/tenants/{tenant}")),
        ("GET", "/api/tenants?limit=1".to_owned()),
        ("GET", "/api/tenants/none".to_owned()),
        ("GET", "/metrics".to_owned()),
        ("DELETE", "/api/tenants".to_owned()),
    ] {
        let mut seen = Vec::new();
        let mut other = Connection::open(&host).await;
        for (client, option) in [(&mut client, "keep-alive"), (&mut other, "x-nothing")] {
            client.send(&request(method, &path, &format!("Connection: {option}\r\n"))).await;
            let mut reply = client.head().await.unwrap();
            if method != "HEAD" {
                reply = client.body(reply).await;
            }
            for own in ["date", "x-request-id", "x-ratelimit-remaining"] {
                assert!(reply.headers.remove(own).is_some() || path == "/metrics", "{own} {reply:?}");
            }
            // Numbers of this moment, and the time of an error.
            if path == "/metrics" {
                reply.headers.remove("content-length");
                reply.body.clear();
            } else if reply.status >= 400 {
                let mut error = echoed(&reply.text());
                assert!(error.as_object_mut().unwrap().remove("timestamp").is_some(), "{error}");
                reply.body = error.to_string().into_bytes();
            }
            seen.push(reply);
        }
        assert_eq!(seen[0], seen[1], "{method} {path}");
    }
    // A body with its head, and one behind it; then a stream, which begins before it has anything to say.
    for pieces in [[r#"{"notes":"a"}"#, ""], [r#"{"notes":"#, r#""b"}"#]] {
        let [first, second] = pieces;
        let head = request(
            "PUT",
            &format!("/api/tenants/{tenant}"),
            "Content-Type: application/json\r\nContent-Length: 13\r\n",
        );
        client.send(&format!("{head}{first}")).await;
        client.send(second).await;
        assert_eq!(echoed(&client.reply().await.unwrap().ok())["id"], tenant);
    }
    let mut stream = Connection::open(&host).await;
    stream.send(&request("GET", "/api/events/stream?kind=tenant.updated", "")).await;
    let head = stream.head().await.unwrap();
    assert_eq!(head.headers.get("content-type").map(String::as_str), Some("text/event-stream"));
    client.send(&request("GET", &format!("/api/tenants/{tenant}"), "")).await;
    assert_eq!(echoed(&client.reply().await.unwrap().ok())["notes"], "b");
    let mut last = Connection::open(&host).await;
    last.send(&(request("GET", "/health", "") + &request("GET", "/ready", "Connection: close\r\n"))).await;
    last.reply().await.unwrap().ok();
    assert_eq!(last.reply().await.unwrap().headers.get("connection").map(String::as_str), Some("close"));
    assert!(last.is_closed().await);
}
