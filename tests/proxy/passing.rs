//! What passes, and how.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::client::{Connection, ask};
use super::{address, get, spawn, start, weigh};

fn echoed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_reaches_its_instance_and_says_truly_who_asks() {
    let app = start().await;
    spawn(&app, "web", "a").await;
    spawn(&app, "tcp", "b").await;
    for (host, address) in [
        ("a.web.apps.test", address(&app.instances)),
        ("A.Web.Apps.Test:8000", address(&app.manager)),
        ("b.tcp.apps.test", address(&app.manager)),
        ("web.apps.test", address(&app.instances)),
    ] {
        let request = format!(
            "POST /echo?x=%2F HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n\
             X-Real-IP: 6.6.6.6\r\nConnection: X-Mine\r\nX-Mine: 1\r\nX-Kept: 1\r\nContent-Length: 5\r\n\r\nhello"
        );
        let request = request.replace("/echo?x=%2F", "/echo");
        let told = echoed(&ask(address, &request).await.ok());
        let header = |name: &str| told["headers"][name].as_str().map(str::to_owned);
        assert_eq!((told["method"].as_str(), told["body"].as_str()), (Some("POST"), Some("hello")));
        assert_eq!(header("host").as_deref(), Some(host));
        assert_eq!(header("x-forwarded-for").as_deref(), Some("127.0.0.1"));
        assert_eq!(header("x-forwarded-host").as_deref(), Some(host));
        assert_eq!(header("x-forwarded-proto").as_deref(), Some("http"));
        assert_eq!(header("forwarded"), Some(format!("for=127.0.0.1;host=\"{host}\";proto=http")));
        assert_eq!(
            (header("x-kept").as_deref(), header("x-mine"), header("x-real-ip")),
            (Some("1"), None, None)
        );
    }
    // Python's own server speaks HTTP/1.0; nobody but us has to know.
    spawn(&app, "api", "old").await;
    let mut client = Connection::open(address(&app.instances)).await;
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: old.api.apps.test\r\n\r\n").await;
        assert!(client.reply().await.unwrap().ok().starts_with("ok "));
    }
    let hop = get(&app, "a.web.apps.test", "/hop").await;
    assert_eq!(hop.headers.get("x-public").map(String::as_str), Some("1"));
    assert!(!hop.headers.contains_key("x-private") && !hop.headers.contains_key("keep-alive"), "{hop:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_kept_and_one_that_was_closed_costs_no_request() {
    let app = start().await;
    spawn(&app, "web", "a").await;
    let mut client = Connection::open(address(&app.instances)).await;
    let mut used = BTreeSet::new();
    for _ in 0..20 {
        client.send("GET /echo HTTP/1.1\r\nHost: a.web.apps.test\r\n\r\n").await;
        used.insert(echoed(&client.reply().await.unwrap().ok())["connection"].as_u64().unwrap());
    }
    // The health checks use connections of their own, ours is one.
    assert_eq!(used.len(), 1, "{used:?}");
    for _ in 0..20 {
        client.send("GET /bye HTTP/1.1\r\nHost: a.web.apps.test\r\n\r\n").await;
        assert_eq!(client.reply().await.unwrap().ok(), "bye");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_stream_both_ways_and_one_that_breaks_off_never_looks_whole() {
    let app = start().await;
    spawn(&app, "web", "a").await;
    let mut client = Connection::open(address(&app.instances)).await;
    client
        .send(
            "POST /echo HTTP/1.1\r\nHost: a.web.apps.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        )
        .await;
    client.send("4\r\ndefg\r\n0\r\n\r\n").await;
    assert_eq!(echoed(&client.reply().await.unwrap().ok())["body"], "abcdefg");

    client.send("GET /events HTTP/1.1\r\nHost: a.web.apps.test\r\n\r\n").await;
    client.head().await.unwrap();
    let early = client.some().await;
    assert!(early.contains("data: first"), "{early}");
    // The last one is made when the first has come.
    std::fs::write(app.data_dir().join("instances/web/a/heard"), "").unwrap();
    let late = client.some().await;
    assert!(late.contains("data: last"), "{late}");

    for path in ["/cut", "/cut-chunks"] {
        let mut client = Connection::open(address(&app.instances)).await;
        client.send(&format!("GET {path} HTTP/1.1\r\nHost: a.web.apps.test\r\n\r\n")).await;
        // What came just before the end may be lost with it.
        if let Some(cut) = client.reply().await {
            assert_eq!((cut.status, cut.is_whole), (200, false), "{cut:?}");
        }
        assert!(client.is_closed().await);
    }
    // A client that has sent all it will send still gets its answer.
    let mut half = Connection::open(address(&app.instances)).await;
    half.send("GET /wait/0.3 HTTP/1.1\r\nHost: a.web.apps.test\r\n\r\n").await;
    half.stream.shutdown().await.unwrap();
    assert_eq!(half.reply().await.unwrap().ok(), "waited");
    assert!(half.is_closed().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_protocol_passes_and_outlives_the_idle_timeout() {
    let app = start().await;
    spawn(&app, "lazy", "a").await;
    let mut client = Connection::open(address(&app.instances)).await;
    client
        .send("GET /up HTTP/1.1\r\nHost: a.lazy.apps.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        .await;
    let head = client.head().await.unwrap();
    assert_eq!((head.status, head.headers.get("upgrade").map(String::as_str)), (101, Some("echo")));
    let mut back = [0; 5];
    for _ in 0..3 {
        client.stream.write_all(b"\n\r\n\0x").await.unwrap();
        client.stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"\n\r\n\0x");
        // Longer than its idle timeout: an open stream is no idleness.
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    client.stream.shutdown().await.unwrap();
    assert!(client.is_closed().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_shared_by_weight_and_all_zero_takes_nothing() {
    let app = start().await;
    for id in ["a", "b", "c"] {
        spawn(&app, "web", id).await;
    }
    weigh(&app, "web", "a", 75).await;
    weigh(&app, "web", "b", 25).await;
    weigh(&app, "web", "c", 0).await;
    let mut client = Connection::open(address(&app.instances)).await;
    let mut by_pid: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..400 {
        client.send("GET / HTTP/1.1\r\nHost: web.apps.test\r\n\r\n").await;
        *by_pid.entry(client.reply().await.unwrap().ok()).or_default() += 1;
    }
    let of = |id: &'static str| {
        let app = &app;
        async move { get(app, &format!("{id}.web.apps.test"), "/").await.ok() }
    };
    let (a, b, c) = (of("a").await, of("b").await, of("c").await);
    let share = |pid: &String| by_pid.get(pid).copied().unwrap_or(0);
    // Five standard deviations of 400 draws at 3 to 1 are 43.
    assert!((257..=343).contains(&share(&a)), "{by_pid:?}");
    assert_eq!((share(&a) + share(&b), share(&c)), (400, 0), "{by_pid:?}");
    for id in ["a", "b"] {
        weigh(&app, "web", id, 0).await;
    }
    assert_eq!(get(&app, "web.apps.test", "/").await.status, 503);
    assert_eq!(get(&app, "a.web.apps.test", "/").await.status, 200);
    let shown = app.send(app.instances_request("GET", "/api/instances/web/a")).await.expect(200);
    assert_eq!(shown["weight"], 0);
    let path = "/api/instances/web/a/weight";
    for bad in [101, 256] {
        let request = app.instances_request("PUT", path).json(&serde_json::json!({"weight": bad}));
        assert_eq!(app.send(request).await.status, 400, "{bad}");
    }
}
