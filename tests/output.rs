//! What processes print, from the process to every way of reading it: pages, search, streams,
//! and its end by retention.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod support;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use support::app::{Home, PATIENCE, TestApp, fixture};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

fn config(more: &str) -> String {
    let talk = fixture("talk.py").display().to_string();
    let service = |name: &str| {
        format!(
            "[service.{name}]\ncommand = 'python3'\nargs = ['{talk}']\n\
             socket = '{{data_dir}}/{{name}}-{{id}}.sock'\nstop_timeout = 2\n{more}\n"
        )
    };
    service("talk") + &service("other")
}

async fn spawn(app: &TestApp, service: &str, id: &str) {
    let body = json!({"service": service, "id": id});
    app.send(app.instances_request("POST", "/api/instances").json(&body)).await.expect(201);
}

/// Has an instance print something; returns when it has.
fn say(app: &TestApp, instance: &str, stream: char, bytes: &[u8]) {
    let path = app.data_dir().join(format!("{}.sock", instance.replace(':', "-")));
    let mut socket = UnixStream::connect(path).unwrap();
    socket.write_all(&[stream as u8]).unwrap();
    socket.write_all(bytes).unwrap();
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    socket.read_to_end(&mut Vec::new()).unwrap();
}

async fn logs(app: &TestApp, query: &str) -> Value {
    app.send(app.instances_request("GET", &format!("/api/logs?{query}"))).await.expect(200)
}

async fn search(app: &TestApp, body: Value) -> Value {
    app.send(app.instances_request("POST", "/api/logs/search").json(&body)).await.expect(200)
}

/// Asks until the answer is as wanted.
async fn until<F: Future<Output = Value>>(
    mut ask: impl FnMut() -> F,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let answer = ask().await;
        if wanted(&answer) {
            return answer;
        }
        assert!(Instant::now() < end, "never as wanted: {answer}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn messages(answer: &Value, field: &str) -> Vec<String> {
    let lines = answer[field].as_array().unwrap();
    lines.iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect()
}

async fn token(app: &TestApp, body: Value) -> String {
    let made = app.send(app.instances_request("POST", "/api/tokens").json(&body)).await.expect(201);
    made["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn printed_lines_are_levelled_paged_and_found_by_those_who_may_see_them() {
    let mut app = TestApp::in_home(Home::with(&config(""))).await;
    spawn(&app, "talk", "a").await;
    spawn(&app, "other", "b").await;
    say(
        &app,
        "talk:a",
        'o',
        b"database error connecting to pg\n{\"level\":\"warn\",\"msg\":\"slow database\"}\n",
    );
    say(&app, "talk:a", 'e', b"Traceback\n\xff\xfe not UTF-8 \x1b[31mred\x1b[0m \x00\n");
    let long = vec![b'x'; 20_000];
    say(&app, "talk:a", 'o', &[&long[..], b"\nafter the long one\n"].concat());
    say(&app, "other:b", 'o', b"database of another service\n");
    let all = until(|| logs(&app, "limit=10"), |all| all["pagination"]["total"] == 7).await;
    let lines = all["logs"].as_array().unwrap();
    let level = |start: &str| {
        let line = lines.iter().find(|line| line["message"].as_str().unwrap().starts_with(start));
        line.unwrap_or_else(|| panic!("{start}: {all}"))["level"].clone()
    };
    assert_eq!(level("database error"), "info");
    assert_eq!(level("{"), "warn");
    assert_eq!(level("Traceback"), "error");
    let odd = messages(&all, "logs").into_iter().find(|line| line.contains("UTF-8")).unwrap();
    assert_eq!(odd, "\u{fffd}\u{fffd} not UTF-8 \u{1b}[31mred\u{1b}[0m \u{0}", "kept as printed");
    let cut = messages(&all, "logs").into_iter().find(|line| line.starts_with("xxx")).unwrap();
    assert!(cut.ends_with("[3616 bytes not kept]") && cut.len() < 17_000, "{}", cut.len());

    let found = until(|| search(&app, json!({"query": "database"})), |found| found["total"] == 3).await;
    let both = search(&app, json!({"query": "error database", "limit": 100, "since": "1h"})).await;
    assert_eq!(messages(&both, "results"), ["database error connecting to pg"]);
    assert_eq!((&both["total"], &both["results"][0]["instance"]), (&json!(1), &json!("talk:a")));
    let marked = &both["results"][0]["highlights"];
    assert_eq!(
        marked,
        &json!([{"start": 0, "end": 8, "text": "database"}, {"start": 9, "end": 14, "text": "error"}])
    );
    assert_eq!(found["pagination"], json!({"limit": 50, "offset": 0, "total": 3, "has_more": false}));
    let total = async |body: Value| search(&app, body).await["total"].clone();
    assert_eq!(total(json!({"query": "service:talk database NOT slow"})).await, 1);
    assert_eq!(total(json!({"query": "instance:other:b"})).await, 1);
    assert_eq!(total(json!({"query": "red", "level": "error"})).await, 1);
    assert_eq!(total(json!({"query": "data*", "service": "other"})).await, 1);
    assert_eq!(total(json!({"query": "database", "until": "1h"})).await, 0);
    assert_eq!(total(json!({"query": "database", "sort": "relevance", "limit": 1})).await, 3);
    for bad in [
        json!({"query": "(a"}),
        json!({"query": "a", "since": "soon"}),
        json!({}),
        json!({"query": "a", "x": 1}),
    ] {
        let refused =
            app.send(app.instances_request("POST", "/api/logs/search").json(&bad)).await.expect(400);
        assert!(refused["message"].as_str().unwrap().ends_with('.'), "{refused}");
    }

    let admin = app.token.clone();
    app.token = token(&app, json!({"name": "t", "role": "viewer", "service": "other"})).await;
    let own = search(&app, json!({"query": "database"})).await;
    assert_eq!(messages(&own, "results"), ["database of another service"]);
    assert_eq!(search(&app, json!({"query": "instance:talk:a"})).await["total"], 0);
    app.token = admin;

    // The index is lost while the program is down: it is built again from the spools.
    let home = app.kill();
    std::fs::remove_dir_all(home.data_dir().join("search")).unwrap();
    let app = TestApp::in_home(home).await;
    until(|| search(&app, json!({"query": "database"})), |found| found["total"] == 3).await;
}

#[tokio::test]
async fn a_line_is_found_though_nothing_is_printed_after_it() {
    let app = TestApp::in_home(Home::with(&config(""))).await;
    spawn(&app, "talk", "a").await;
    // Each is printed just after another was found, so it waits for a whole interval between two commits.
    for n in 0..3 {
        let word = format!("news{n}");
        say(&app, "talk:a", 'o', format!("{word}\n").as_bytes());
        until(|| search(&app, json!({"query": word})), |found| found["total"] == 1).await;
    }
}

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn open(app: &TestApp, path: &str, token: Option<&str>) -> Socket {
    let address = app.instances.replace("http://", "ws://");
    let mut request = format!("{address}{path}").into_client_request().unwrap();
    if let Some(token) = token {
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    tokio_tungstenite::connect_async(request).await.unwrap().0
}

async fn hear(socket: &mut Socket) -> Value {
    loop {
        let message = tokio::time::timeout(PATIENCE, socket.next()).await.expect("a line").unwrap().unwrap();
        if let Message::Text(text) = message {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

#[tokio::test]
async fn lines_are_streamed_live_by_socket_and_by_events_within_the_reach_of_the_token() {
    let app = TestApp::in_home(Home::with(&config(""))).await;
    spawn(&app, "talk", "a").await;
    spawn(&app, "other", "b").await;
    let scoped = token(&app, json!({"name": "t", "role": "viewer", "service": "other"})).await;

    let mut filtered = open(&app, "/api/logs/stream", None).await;
    filtered.send(Message::text(json!({"type": "auth", "token": app.token}).to_string())).await.unwrap();
    filtered
        .send(Message::text(json!({"type": "filter", "service": "talk", "level": "error"}).to_string()))
        .await
        .unwrap();
    let mut narrow = open(&app, "/api/logs/stream", Some(&scoped)).await;
    let mut follow = open(&app, "/api/logs?follow=true&grep=wanted", Some(&app.token)).await;
    let events = app
        .instances_request("GET", "/api/logs/talk/a?follow=true")
        .header("accept", "text/event-stream")
        .send()
        .await
        .unwrap();
    assert_eq!(events.status(), 200);
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    let mut events = events.bytes_stream();

    // Sockets follow from the moment they are authenticated, which nothing tells: so the
    // lines are said until each has heard one.
    let talking = async {
        loop {
            say(&app, "talk:a", 'o', b"info of talk\n");
            say(&app, "talk:a", 'e', b"ERROR of talk, wanted\n");
            say(&app, "other:b", 'o', b"line of other\n");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let hearing = async {
        let line = hear(&mut narrow).await;
        assert_eq!((&line["instance"], &line["message"]), (&json!("other:b"), &json!("line of other")));
        assert_eq!(line.as_object().unwrap().len(), 4, "a log object and nothing else: {line}");
        for _ in 0..3 {
            assert_eq!(hear(&mut narrow).await["instance"], "other:b");
            assert_eq!(hear(&mut follow).await["message"], "ERROR of talk, wanted");
        }
        // Lines from before the filter was read may come first, of every kind in turn.
        let mut in_a_row = 0;
        while in_a_row < 10 {
            let line = hear(&mut filtered).await;
            in_a_row = if line["message"] == "ERROR of talk, wanted" { in_a_row + 1 } else { 0 };
        }
        // The filter changes while it runs.
        let other = json!({"type": "filter", "instance": "other:b"}).to_string();
        filtered.send(Message::text(other)).await.unwrap();
        while hear(&mut filtered).await["instance"] != "other:b" {}
        for _ in 0..3 {
            assert_eq!(hear(&mut filtered).await["instance"], "other:b");
        }
        let mut text = String::new();
        while text.matches("data: ").count() < 3 || !text.ends_with("\n\n") {
            text.push_str(std::str::from_utf8(&events.next().await.unwrap().unwrap()).unwrap());
        }
        for data in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
            let line: Value = serde_json::from_str(data).unwrap();
            assert_eq!(line["instance"], "talk:a");
        }
    };
    tokio::select! {
        () = talking => unreachable!(),
        heard = tokio::time::timeout(PATIENCE, hearing) => heard.expect("every stream heard its lines"),
    }
    let bad = app.send(
        app.instances_request("GET", "/api/logs?follow=true&limit=3").header("accept", "text/event-stream"),
    );
    bad.await.expect(400);
}

/// Lines that no compressor makes small, numbered from 0.
fn noise(lines: u64) -> Vec<u8> {
    let mut random = 1_u64;
    let mut out = Vec::new();
    for n in 0..lines {
        write!(out, "n={n} ").unwrap();
        for _ in 0..1_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            out.push(b'0' + (random >> 58) as u8);
        }
        out.push(b'\n');
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_noisy_instance_costs_no_other_its_lines_and_a_stalled_tail_is_told_what_it_missed() {
    // More than the buffers of a connection take, so that the tail falls behind retention.
    const LINES: u64 = 30_000;
    let app = TestApp::in_home(Home::with(&config("log_max_mb = 1"))).await;
    spawn(&app, "talk", "a").await;
    spawn(&app, "other", "b").await;
    say(&app, "other:b", 'o', b"a quiet line\n");
    let tail =
        app.instances_request("GET", "/api/logs/talk/a?follow=true").header("accept", "text/event-stream");
    let mut tail = tail.send().await.unwrap().bytes_stream();
    let begun = async {
        loop {
            say(&app, "talk:a", 'o', b"begin\n");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let mut text = tokio::select! {
        () = begun => unreachable!(),
        first = tokio::time::timeout(PATIENCE, tail.next()) => first.expect("the tail begins").unwrap().unwrap().to_vec(),
    };
    let said = noise(LINES);
    let last = LINES - 1;
    tokio::task::block_in_place(|| say(&app, "talk:a", 'o', &said));
    let newest = format!("instance=talk:a&grep=n={last}%20");
    until(|| logs(&app, &newest), |all| all["pagination"]["total"] == 1).await;
    let kept = logs(&app, "instance=talk:a").await["pagination"]["total"].as_u64().unwrap();
    assert!(kept < LINES / 2, "retention deleted nothing: {kept}");
    assert_eq!(messages(&logs(&app, "instance=other:b").await, "logs"), ["a quiet line"]);

    // Only now the tail is read: every line, or how many are missing.
    let (mut next, mut deleted) = (0, 0);
    while next < LINES {
        let Some(end) = text.windows(2).position(|two| two == b"\n\n") else {
            let more = tokio::time::timeout(PATIENCE, tail.next()).await.expect("the tail goes on");
            text.extend_from_slice(&more.unwrap().unwrap());
            continue;
        };
        let event: Vec<u8> = text.drain(..end + 2).collect();
        let Some(data) = event.strip_prefix(b"data: ") else { continue };
        let line: Value = serde_json::from_slice(data).unwrap();
        let message = line["message"].as_str().unwrap();
        let number = |from: &str| {
            message.strip_prefix(from).and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok())
        };
        if let Some(number) = number("n=") {
            assert_eq!(number, next);
            next += 1;
        } else if let Some(missing) = number("WARN ") {
            assert!(message.contains("deleted here by retention"), "{message}");
            deleted += missing;
            next += missing;
        } else {
            assert_eq!(message, "begin");
        }
    }
    assert!(deleted > 0, "the tail never fell behind");
}

#[tokio::test]
async fn output_outlives_its_instance_until_retention_ends_it() {
    let home = Home::with(&config("log_retention_days = 0.00002\nlog_max_mb = 1"));
    let app = TestApp::in_home(home).await;
    spawn(&app, "talk", "a").await;
    say(&app, "talk:a", 'o', b"remembered for two seconds\n");
    until(|| search(&app, json!({"query": "remembered"})), |found| found["total"] == 1).await;
    app.send(app.instances_request("DELETE", "/api/instances/talk/a")).await.expect(200);
    let kept = app.send(app.instances_request("GET", "/api/logs/talk/a")).await.expect(200);
    assert_eq!(kept["pagination"]["total"], 1);
    let printed: jiff::Timestamp = kept["logs"][0]["timestamp"].as_str().unwrap().parse().unwrap();
    while jiff::Timestamp::now().duration_since(printed).as_secs() < 3 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // It is looked for at the start and every minute.
    let app = TestApp::in_home(app.kill()).await;
    let end = Instant::now() + PATIENCE;
    while app.send(app.instances_request("GET", "/api/logs/talk/a")).await.status != 404 {
        assert!(Instant::now() < end, "it was never forgotten");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    until(|| search(&app, json!({"query": "remembered"})), |found| found["total"] == 0).await;
}

#[tokio::test]
async fn a_tail_that_does_not_read_is_told_what_it_missed() {
    const LINE: usize = 16_000;
    let app = TestApp::in_home(Home::with(&config("log_max_mb = 1"))).await;
    spawn(&app, "talk", "a").await;
    let mut stalled = open(&app, "/api/logs/stream", Some(&app.token)).await;
    // Until it follows, which nothing tells.
    let first = loop {
        say(&app, "talk:a", 'o', b"info first\n");
        match tokio::time::timeout(Duration::from_millis(50), hear(&mut stalled)).await {
            Ok(line) => break line,
            Err(_) => continue,
        }
    };
    assert_eq!(first["message"], "info first");
    // More than the sockets hold, and far more than is kept; random, so that it stays large.
    let mut random = std::fs::File::open("/dev/urandom").unwrap();
    for _ in 0..24 {
        let mut bytes = vec![0; 64 * LINE];
        random.read_exact(&mut bytes).unwrap();
        let lines: Vec<u8> = bytes.iter().map(|byte| b'!' + byte % 90).collect();
        let lines: Vec<u8> = lines.chunks(LINE - 1).flat_map(|line| [line, b"\n"].concat()).collect();
        say(&app, "talk:a", 'o', &lines);
    }
    say(&app, "talk:a", 'o', b"info last\n");
    let missed = loop {
        let line = hear(&mut stalled).await;
        let text = line["message"].as_str().unwrap();
        assert_ne!(text, "info last", "it heard the last line and nothing of what it missed");
        if text.contains("were deleted here by retention") {
            break line;
        }
    };
    assert_eq!(missed["level"], "warn", "{missed}");
    while hear(&mut stalled).await["message"] != "info last" {}
}
