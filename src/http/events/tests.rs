//! Document 3 through the router: lists, streams and sockets.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tenantry_journal::event::access::{Role, Scope};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::http::testing::TestApi;

/// Longer than anything takes; reached only when a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

fn seqs(page: &Value) -> Vec<u64> {
    page["events"].as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn pages_cover_the_journal_once_in_either_direction() {
    let api = TestApi::start().await;
    api.fill(24).await;
    for (order, expected) in [("asc", (1..=25).collect::<Vec<u64>>()), ("desc", (1..=25).rev().collect())] {
        let (mut all, mut next) = (Vec::new(), Value::Null);
        loop {
            let from = next.as_u64().map_or(String::new(), |from| format!("&from_seq={from}"));
            let page = api.get(&format!("/api/events?order={order}&limit=5{from}")).await.expect(200);
            assert_eq!(page["head_seq"], 25);
            all.extend(seqs(&page));
            next = page["next_seq"].clone();
            if next.is_null() {
                break;
            }
        }
        assert_eq!(all, expected, "{order}");
    }
    let middle = api.get("/api/events?from_seq=7&to_seq=9").await.expect(200);
    assert_eq!((seqs(&middle), &middle["next_seq"]), (vec![7, 8, 9], &Value::Null));
    assert_eq!(seqs(&api.get("/api/events?as_of=3").await.expect(200)), [1, 2, 3]);
}

#[tokio::test]
async fn filters_choose_and_wrong_ones_are_refused() {
    let api = TestApi::start().await;
    api.post("/api/instances", json!({"service": "api", "id": "a"})).await.expect(201);
    let spawned = api.get("/api/events?kind=instance.spawned").await.expect(200);
    let event = &spawned["events"][0];
    assert_eq!(event["instance"], "api:a");
    assert_eq!(event["actor"]["type"], "token");
    let of = |query: String| {
        let api = &api;
        async move {
            api.get(&format!("/api/events?{query}")).await.expect(200)["events"].as_array().unwrap().len()
        }
    };
    assert!(of("kind=instance.".into()).await >= 4);
    assert!(of("instance=api:a".into()).await >= 4);
    assert_eq!(of("instance=api:b".into()).await, 0);
    assert_eq!(of(format!("command_id={}", event["command_id"].as_str().unwrap())).await, 2);
    assert_eq!(of(format!("actor={}", event["actor"]["id"].as_str().unwrap())).await, 2);
    assert!(of("since=1h".into()).await > 4);
    assert_eq!(of("until=1h".into()).await, 0);
    for query in [
        "limit=0",
        "limit=1001",
        "from_seq=x",
        "order=up",
        "kind=",
        "colour=red",
        "since=soon",
        "tenant_id=7",
    ] {
        assert_eq!(api.get(&format!("/api/events?{query}")).await.status, 400, "{query}");
    }
}

#[tokio::test]
async fn an_event_is_shown_with_its_causes_and_effects() {
    let api = TestApi::start().await;
    let spawned = api.post("/api/instances", json!({"service": "api", "id": "a"})).await;
    spawned.expect(201);
    let requested = api.get("/api/events?kind=instance.start_requested").await.expect(200);
    let seq = requested["events"][0]["seq"].as_u64().unwrap();
    let one = api.get(&format!("/api/events/{seq}")).await.expect(200);
    assert_eq!((&one["seq"], &one["kind"]), (&json!(seq), &json!("instance.start_requested")));
    assert!(one["causes"].is_array() && one["effects"].is_array());
    for bad in ["0", "999999", "x", "-1"] {
        assert_eq!(api.get(&format!("/api/events/{bad}")).await.expect(404)["error"], "not_found");
    }
}

#[tokio::test]
async fn somebody_limited_sees_only_what_is_theirs() {
    let mut api = TestApi::start().await;
    api.post("/api/instances", json!({"service": "api", "id": "a"})).await.expect(201);
    api.post("/api/instances", json!({"service": "worker", "id": "w"})).await.expect(201);
    api.token = api.token_for(Role::Viewer, Scope::Service("worker".parse().unwrap())).await;
    let page = api.get("/api/events").await.expect(200);
    let events = page["events"].as_array().unwrap();
    assert!(!events.is_empty());
    assert!(events.iter().all(|event| event["instance"] == "worker:w"), "{page}");
    api.get("/api/events/1").await.expect(404);
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(api: &TestApi, address: std::net::SocketAddr) -> Socket {
    let mut request = format!("ws://{address}/ws/events").into_client_request().unwrap();
    let bearer = format!("Bearer {}", api.token).parse().unwrap();
    request.headers_mut().insert("authorization", bearer);
    tokio_tungstenite::connect_async(request).await.unwrap().0
}

async fn say(socket: &mut Socket, message: Value) {
    socket.send(Message::text(message.to_string())).await.unwrap();
}

async fn hear(socket: &mut Socket) -> Value {
    loop {
        let message = tokio::time::timeout(PATIENCE, socket.next()).await.expect("in time");
        match message.unwrap().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn closed(socket: &mut Socket) -> u16 {
    loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.expect("in time") {
            Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
            Some(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// The code that it ends with; a message before that is a failure.
async fn closed_without_a_word(socket: &mut Socket) -> u16 {
    loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.expect("in time") {
            Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
            Some(Ok(Message::Ping(_))) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_subscription_gets_the_past_then_one_mark_then_the_present() {
    let api = TestApi::start().await;
    api.fill(9).await;
    let mut socket = connect(&api, api.listen().await).await;
    say(&mut socket, json!({"type": "subscribe", "from_seq": 4, "sub": "s"})).await;
    assert_eq!(hear(&mut socket).await, json!({"type": "subscribed", "head_seq": 10, "sub": "s"}));
    for seq in 4..=10 {
        let message = hear(&mut socket).await;
        assert_eq!((&message["type"], &message["sub"]), (&json!("event"), &json!("s")));
        assert_eq!(message["event"]["seq"], seq);
    }
    assert_eq!(hear(&mut socket).await, json!({"type": "caught_up", "seq": 10, "sub": "s"}));
    api.fill(3).await;
    for seq in 11..=13 {
        assert_eq!(hear(&mut socket).await["event"]["seq"], seq);
    }
    // A second one, unnamed, live only and filtered.
    say(&mut socket, json!({"type": "subscribe", "filter": {"kind": "token."}})).await;
    assert_eq!(hear(&mut socket).await, json!({"type": "subscribed", "head_seq": 13}));
    say(&mut socket, json!({"type": "unsubscribe", "sub": "s"})).await;
    assert_eq!(hear(&mut socket).await, json!({"type": "unsubscribed", "sub": "s"}));
    api.fill(2).await;
    api.token_for(Role::Viewer, Scope::All).await;
    let message = hear(&mut socket).await;
    assert_eq!((&message["event"]["kind"], message.get("sub")), (&json!("token.created"), None));
    for bad in
        [json!({"type": "subscribe"}), json!({"type": "unsubscribe", "sub": "x"}), json!({"type": "dance"})]
    {
        say(&mut socket, bad).await;
        assert_eq!(hear(&mut socket).await["type"], "error");
    }
}

#[tokio::test]
async fn a_subscriber_that_never_reads_delays_nobody_and_misses_nothing() {
    let api = TestApi::start().await;
    let address = api.listen().await;
    let mut stalled = connect(&api, address).await;
    say(&mut stalled, json!({"type": "subscribe", "from_seq": 1})).await;
    let mut reading = connect(&api, address).await;
    say(&mut reading, json!({"type": "subscribe", "from_seq": 1})).await;
    // Some megabytes: more than the sockets' buffers hold.
    let submit = |pid| api.tell(crate::domain::command::Command::NoteKeeper { pid, start_ticks: 0 });
    for chunk in 0..200 {
        futures_util::future::join_all((0..100).map(|n| submit(chunk * 100 + n))).await;
    }
    let head = api.app.engine.world().seq.0;
    for socket in [&mut reading, &mut stalled] {
        let mut next = 1;
        while next <= head {
            let message = hear(socket).await;
            if message["type"] == "event" {
                assert_eq!(message["event"]["seq"], next);
                next += 1;
            }
        }
    }
}

/// Waits until so many subscriptions sit in rows.
async fn seated(api: &TestApi, count: usize) {
    let waited = async {
        while api.app.rows.seated() != count {
            tokio::task::yield_now().await;
        }
    };
    let seated = || format!("{} sit, not {count}", api.app.rows.seated());
    tokio::time::timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("{}", seated()));
}

#[tokio::test]
async fn rows_take_each_event_to_all_who_want_it_and_may_see_it() {
    let mut api = TestApi::start().await;
    let address = api.listen().await;
    let admin = api.token.clone();
    let mut everything = Vec::new();
    for n in 0..70 {
        let mut socket = connect(&api, address).await;
        // Some sit down at once, the others when they have the past.
        let wanted = if n % 2 == 0 {
            json!({"type": "subscribe"})
        } else {
            json!({"type": "subscribe", "from_seq": 1})
        };
        say(&mut socket, wanted).await;
        everything.push(socket);
    }
    let mut named = connect(&api, address).await;
    say(&mut named, json!({"type": "subscribe", "sub": "t", "filter": {"kind": "token."}})).await;
    api.token = api.token_for(Role::Viewer, Scope::Service("worker".parse().unwrap())).await;
    let mut limited = connect(&api, address).await;
    say(&mut limited, json!({"type": "subscribe"})).await;
    api.token = admin;
    seated(&api, 72).await;

    let before = api.app.engine.world().seq.0;
    api.post("/api/instances", json!({"service": "worker", "id": "w"})).await.expect(201);
    api.post("/api/tokens", json!({"name": "x"})).await.expect(201);
    let head = api.app.engine.world().seq.0;
    for socket in &mut everything {
        let mut next = before + 1;
        while next <= head {
            let message = hear(socket).await;
            let seq = message["event"]["seq"].as_u64();
            if seq.is_some_and(|seq| seq > before) {
                assert_eq!(seq, Some(next), "no gap and no repeat");
                next += 1;
            }
        }
    }
    assert_eq!(hear(&mut named).await["type"], "subscribed");
    let message = loop {
        let message = hear(&mut named).await;
        if message["event"]["seq"].as_u64() > Some(before) {
            break message;
        }
    };
    assert_eq!((&message["sub"], &message["event"]["kind"]), (&json!("t"), &json!("token.created")));
    assert_eq!(hear(&mut limited).await["type"], "subscribed");
    assert_eq!(hear(&mut limited).await["event"]["instance"], "worker:w");
    // What is somebody else's comes between that and the next of its own, and not to it.
    api.post("/api/tokens", json!({"name": "y"})).await.expect(201);
    api.post("/api/instances", json!({"service": "api", "id": "a"})).await.expect(201);
    api.post("/api/instances", json!({"service": "worker", "id": "last"})).await.expect(201);
    let mut heard = String::new();
    while heard != "worker:last" {
        let message = hear(&mut limited).await;
        heard = message["event"]["instance"].as_str().unwrap_or_default().to_owned();
        assert!(heard.starts_with("worker:"), "{message}");
    }
    seated(&api, 72).await;
    drop((everything, named));
    seated(&api, 1).await;
}

#[tokio::test]
async fn who_does_not_read_gets_up_and_sits_down_again_without_a_gap() {
    let api = TestApi::start().await;
    let address = api.listen().await;
    let (mut stalled, mut reading) = (connect(&api, address).await, connect(&api, address).await);
    let mut next = 0;
    for socket in [&mut stalled, &mut reading] {
        say(socket, json!({"type": "subscribe"})).await;
        next = hear(socket).await["head_seq"].as_u64().unwrap() + 1;
    }
    seated(&api, 2).await;
    let first = next;
    let mut pid = 0;
    // Until the stalled one's connection takes no more; the other reads along.
    while api.app.rows.seated() == 2 {
        let submit = |pid| api.tell(crate::domain::command::Command::NoteKeeper { pid, start_ticks: 0 });
        futures_util::future::join_all((pid..pid + 100).map(submit)).await;
        pid += 100;
        while next <= api.app.engine.world().seq.0 {
            assert_eq!(hear(&mut reading).await["event"]["seq"], next);
            next += 1;
        }
    }
    for seq in first..next {
        assert_eq!(hear(&mut stalled).await["event"]["seq"], seq);
    }
    seated(&api, 2).await;
    api.fill(2).await;
    for socket in [&mut stalled, &mut reading] {
        for seq in [next, next + 1] {
            assert_eq!(hear(socket).await["event"]["seq"], seq);
        }
    }
}

#[tokio::test]
async fn a_revoked_token_ends_its_streams_and_so_does_the_end_of_the_program() {
    let mut api = TestApi::start().await;
    let address = api.listen().await;
    let admin = api.token.clone();
    let created = api.post("/api/tokens", json!({"name": "x"})).await.expect(201);
    let mut kept = connect(&api, address).await;
    say(&mut kept, json!({"type": "subscribe"})).await;
    hear(&mut kept).await;
    api.token = created["token"].as_str().unwrap().to_owned();
    let mut revoked = connect(&api, address).await;
    let mut stream = stream(&api, address, "").await;
    api.token = admin;
    let path = format!("/api/tokens/{}", created["id"].as_str().unwrap());
    // Both follow everything, and are known to be up to date.
    say(&mut revoked, json!({"type": "subscribe"})).await;
    let before = hear(&mut revoked).await["head_seq"].as_u64().unwrap();
    api.fill(2).await;
    for seq in [before + 1, before + 2] {
        assert_eq!(hear(&mut revoked).await["event"]["seq"], seq);
    }
    assert_eq!(ids(&mut stream, 2).await, [before + 1, before + 2]);
    api.call("DELETE", &path, Value::Null).await;
    // Nothing from the revocation on goes to them: they end by it and not by a clock.
    api.fill(20).await;
    assert_eq!(closed_without_a_word(&mut revoked).await, 4401);
    let rest = tokio::time::timeout(PATIENCE, stream.text()).await.expect("in time").unwrap();
    assert_eq!(rest, "", "the revoked stream went on");
    // Who was not revoked hears of it all.
    for seq in before + 1..=before + 23 {
        assert_eq!(hear(&mut kept).await["event"]["seq"], seq);
    }
    api.app.shutdown.cancel();
    assert_eq!(closed(&mut kept).await, 1001);
}

async fn stream(api: &TestApi, address: std::net::SocketAddr, query: &str) -> reqwest::Response {
    let request =
        crate::tls::client().build().unwrap().get(format!("http://{address}/api/events/stream?{query}"));
    request.bearer_auth(&api.token).send().await.unwrap()
}

/// Reads a stream until it holds so many events; gives their ids.
async fn ids(response: &mut reqwest::Response, count: usize) -> Vec<u64> {
    let mut text = String::new();
    loop {
        let ids: Vec<u64> =
            text.lines().filter_map(|line| line.strip_prefix("id: ")).map(|id| id.parse().unwrap()).collect();
        if ids.len() >= count && text.ends_with("\n\n") {
            return ids;
        }
        let piece = tokio::time::timeout(PATIENCE, response.chunk()).await.expect("in time").unwrap();
        text.push_str(std::str::from_utf8(&piece.expect("goes on")).unwrap());
    }
}

#[tokio::test]
async fn a_stream_resumes_after_the_last_event_without_gap_or_repeat() {
    let api = TestApi::start().await;
    api.fill(5).await;
    let address = api.listen().await;
    let mut first = stream(&api, address, "from_seq=2").await;
    assert_eq!(first.headers()["content-type"], "text/event-stream");
    assert_eq!(ids(&mut first, 5).await, [2, 3, 4, 5, 6]);
    drop(first);
    api.fill(3).await;
    let request = crate::tls::client()
        .build()
        .unwrap()
        .get(format!("http://{address}/api/events/stream?from_seq=2"))
        .header("last-event-id", "6");
    let mut again = request.bearer_auth(&api.token).send().await.unwrap();
    assert_eq!(ids(&mut again, 3).await, [7, 8, 9]);
    api.fill(1).await;
    assert_eq!(ids(&mut again, 1).await, [10]);
    let mut bounded = stream(&api, address, "from_seq=1&to_seq=2&kind=token.").await;
    let mut text = Vec::new();
    while let Some(piece) = bounded.chunk().await.unwrap() {
        text.extend_from_slice(&piece);
    }
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("id: 1\n") && text.contains("event: token.created\n"), "{text}");
    assert_eq!(text.matches("id: ").count(), 1, "it ends by itself");
    for query in ["limit=3", "order=desc", "as_of=1", "from_seq=x"] {
        assert_eq!(stream(&api, address, query).await.status(), 400, "{query}");
    }
}
