//! What must not pass: requests that two programs could read differently, strangers' hosts,
//! and more than is reasonable.

use tokio::io::AsyncWriteExt as _;

use super::client::{Connection, ask};
use super::{address, get, spawn, start};

#[tokio::test(flavor = "multi_thread")]
async fn what_could_be_two_requests_is_refused_and_the_connection_closed() {
    let app = start().await;
    spawn(&app, "web", "a").await;
    let host = "Host: a.web.apps.test\r\n";
    let smuggled = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.web.apps.test\r\n\r\n";
    for head in [
        format!("{host}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        format!("{host}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
        format!("{host}Content-Length: 5\r\nContent-Length: 5\r\n"),
        format!("{host}Content-Length: 5\r\nContent-Length: 6\r\n"),
        format!("{host}Content-Length: 5, 5\r\n"),
        format!("{host}Content-Length: +5\r\n"),
        format!("{host}Transfer-Encoding: identity\r\n"),
        format!("{host}Transfer-Encoding: gzip, chunked\r\n"),
        format!("{host}Transfer-Encoding : chunked\r\n"),
        format!("{host}Transfer-Encoding:\x0bchunked\r\n"),
        format!("{host}X: a\r\n folded: 1\r\n"),
        format!("{host}X: a\nContent-Length: 5\r\n"),
        format!("{host}{host}"),
    ] {
        let mut client = Connection::open(address(&app.instances)).await;
        client.send(&format!("POST /echo HTTP/1.1\r\n{head}\r\n{smuggled}")).await;
        let reply = client.reply().await.expect("it is answered");
        assert_eq!(reply.status, 400, "{head:?} {reply:?}");
        assert!(client.is_closed().await, "{head:?}");
    }
    let refused = "GET http://b.web.apps.test/ HTTP/1.1\r\nHost: a.web.apps.test\r\n\r\n";
    assert!(matches!(ask(address(&app.instances), refused).await.status, 400 | 421));
    let same = "GET http://a.web.apps.test/echo HTTP/1.1\r\nHost: a.web.apps.test\r\n\r\n";
    assert_eq!(ask(address(&app.instances), same).await.status, 200);
    let connect = "CONNECT a.web.apps.test:80 HTTP/1.1\r\nHost: a.web.apps.test:80\r\n\r\n";
    assert_eq!(ask(address(&app.instances), connect).await.status, 400);
    // The same holds for the API.
    let api =
        "GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(ask(address(&app.manager), api).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_host_starts_nothing_and_reaches_nothing() {
    let app = start().await;
    spawn(&app, "web", "a").await;
    for (host, status) in [
        ("b.web.apps.test", 404),
        ("nothing.apps.test", 404),
        ("a.b.c.apps.test", 404),
        ("apps.test", 404),
        ("web.example.com", 421),
        ("a.web.apps.test.example.com", 421),
        ("xapps.test", 421),
        ("", 400),
    ] {
        assert_eq!(get(&app, host, "/").await.status, status, "{host}");
    }
    let listed = app.send(app.instances_request("GET", "/api/instances")).await.expect(200);
    assert_eq!(listed["pagination"]["total"], 1);
    // An instance's name is no way to the API, and the API's no way to an instance.
    let page = get(&app, "a.web.apps.test", "/api/instances").await;
    assert_eq!((page.status, page.text().parse::<u32>().is_ok()), (200, true));
    assert_eq!(get(&app, "localhost", "/api/instances").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_are_bounded_and_slow_clients_hold_up_nobody() {
    let app = start().await;
    spawn(&app, "web", "a").await;
    let many: String = (0..300).map(|n| format!("X-{n}: 1\r\n")).collect();
    let long = format!("X: {}\r\n", "a".repeat(200_000));
    for head in [many, long] {
        let mut client = Connection::open(address(&app.instances)).await;
        let text = format!("GET / HTTP/1.1\r\nHost: a.web.apps.test\r\n{head}\r\n");
        // It may be refused before all of it is sent.
        let _ = client.stream.write_all(text.as_bytes()).await;
        if let Some(reply) = client.reply().await {
            assert!(matches!(reply.status, 400 | 431), "{reply:?}");
        }
    }
    let mut waiting = Vec::new();
    for _ in 0..300 {
        let mut client = Connection::open(address(&app.instances)).await;
        client.send("GET / HTTP/1.1\r\nHost: a.web").await;
        waiting.push(client);
    }
    get(&app, "a.web.apps.test", "/").await.ok();
    let mut first = waiting.swap_remove(0);
    first.send(".apps.test\r\n\r\n").await;
    first.reply().await.unwrap().ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_are_held_beside_the_traffic() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, most).unwrap();
    if limit.maximum.is_some_and(|maximum| maximum < 12_000) {
        eprintln!("SKIPPED: this machine lets a process open only {:?} files", limit.maximum);
        return;
    }
    let app = start().await;
    spawn(&app, "web", "a").await;
    let mut idle = Vec::new();
    for _ in 0..10_000 {
        idle.push(tokio::net::TcpStream::connect(address(&app.instances)).await.unwrap());
    }
    get(&app, "a.web.apps.test", "/").await.ok();
    let mut last = Connection::open(address(&app.instances)).await;
    last.send("GET / HTTP/1.1\r\nHost: a.web.apps.test\r\n\r\n").await;
    last.reply().await.unwrap().ok();
    assert_eq!(idle.len(), 10_000);
}
