//! A thousand live queries under a thousand events a second: how far behind the head they show.
//!
//! A live query is a GET with `Accept: text/event-stream`; here six of ten follow one tenant
//! each, three a page of the tenants' list, one the newest events. Writers change the tenants'
//! names at an even pace. A change is behind from just before its request is sent until the
//! query shows a state that is not older than it; every change that concerns a query counts,
//! also those that one state shows together.
//!
//! Beside it stands a bare axum server with as many streams, which sends bodies of the same
//! length, each at most ten times a second, when what it follows was changed; it renders and
//! records nothing.
//!
//! `cargo bench --bench live [-- QUERIES EVENTS_A_SECOND SECONDS TENANTS]`

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark that fails may stop")]

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, put};
use memchr::memmem;
use serde_json::json;
use support::client::{Connection, request};
use support::machine;
use support::server::{Helper, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

mod support {
    pub(crate) mod client;
    pub(crate) mod machine;
    pub(crate) mod server;
}

const QUERIES: u64 = 1_000;
const RATE: u64 = 1_000;
const SECONDS: u64 = 10;
const TENANTS: u64 = 500;
/// Tenants in a page of a list.
const PAGE: usize = 20;
/// Requests of the writers that are under way at once, at most.
const WRITERS: u64 = 32;
/// Credentials that the queries are shared among: one page in a browser follows some dozens.
const CREDENTIALS: u64 = 20;
/// What a query may show later than the head.
const BOUND: f64 = 1.0;
/// Longer than anything takes; reached only when something is lost.
const PATIENCE: Duration = Duration::from_secs(60);

const PORTS: &str =
    "[ports]\nfirst = 2000\nlast = 9999\nstep = 2\n[deploy]\nnginx = \"off\"\nssl = \"off\"\n";

fn main() {
    if machine::argument(0).as_deref() == Some("bare") {
        return bare();
    }
    let (queries, rate) = (machine::number(0, QUERIES), machine::number(1, RATE));
    let (seconds, tenants) = (machine::number(2, SECONDS), machine::number(3, TENANTS));
    machine::raise_file_limit();
    println!("{}", machine::about());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(compare(queries, rate, seconds, tenants));
}

/// What one live query asks, and which tenants' changes it has to show.
#[derive(Clone)]
struct Query {
    path: String,
    token: String,
    tenants: Vec<usize>,
    /// Bytes of its state.
    length: usize,
}

/// Where changes are made and followed.
#[derive(Clone)]
struct Target {
    address: String,
    token: String,
    /// The path of each tenant.
    tenants: Vec<String>,
}

/// A change that was recorded.
#[derive(Clone, Copy)]
struct Change {
    seq: u64,
    tenant: usize,
    sent: Instant,
}

async fn compare(queries: u64, rate: u64, seconds: u64, tenants: u64) {
    let server = Server::start(PORTS).await;
    let mut ids = Vec::new();
    for n in 0..tenants {
        ids.push(server.tenant(&format!("tenant-{n}")).await);
    }
    let asked = questions(&server, &ids, queries).await;

    let helper = Helper::start(&["bare"]);
    let bare = Target {
        address: helper.address.clone(),
        token: "none".into(),
        tenants: (0..tenants).map(|n| format!("/tenants/{n}")).collect(),
    };
    let plain = asked.iter().map(|query| Query { path: plain_path(query, ids.len()), ..query.clone() });
    let baseline = measure(&bare, plain.collect(), rate, seconds).await;
    drop(helper);

    let ours = Target {
        address: server.manager.clone(),
        token: server.token.clone(),
        tenants: ids.iter().map(|id| format!("/api/tenants/{id}")).collect(),
    };
    let before = machine::cpu_of(server.pid());
    let measured = measure(&ours, asked, rate, seconds).await;
    let cpu = machine::cpu_of(server.pid()).saturating_sub(before);

    println!(
        "\n| {queries} live queries, {rate} changes a second of {tenants} tenants | changes/s | states/s | p50 | p99 | max | p99 x bare | goal |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |");
    let goal = format!("1 s {}", machine::verdict(measured.max <= BOUND));
    for (name, lag, goal) in [
        ("bare axum, states of the same length, nothing rendered or kept", &baseline, ""),
        ("tenantry serve, durable first", &measured, &*goal),
    ] {
        println!(
            "| {name} | {:.0} | {:.0} | {:.0} ms | {:.0} ms | {:.0} ms | {:.2} | {goal} |",
            lag.rate,
            lag.states,
            lag.p50 * 1e3,
            lag.p99 * 1e3,
            lag.max * 1e3,
            lag.p99 / baseline.p99,
        );
    }
    for (kind, lags) in &measured.kinds {
        println!(
            "{kind}: p50 {:.0} ms, p99 {:.0} ms, max {:.0} ms",
            machine::at(lags, 0.5) * 1e3,
            machine::at(lags, 0.99) * 1e3,
            machine::at(lags, 1.0) * 1e3
        );
    }
    println!("processor time of the server: {:.1} s", cpu.as_secs_f64());
}

/// Six of ten follow a tenant, three a page of tenants, one the newest events.
async fn questions(server: &Server, ids: &[String], queries: u64) -> Vec<Query> {
    let mut tokens = Vec::new();
    for n in 0..CREDENTIALS {
        let made = server.post("/api/tokens", &json!({"name": format!("page {n}"), "role": "viewer"})).await;
        tokens.push(made["token"].as_str().unwrap().to_owned());
    }
    let pages = ids.len().div_ceil(PAGE).max(1);
    let mut all = Vec::new();
    let mut connection = Connection::open(&server.manager).await;
    for n in 0..queries as usize {
        let (of_ten, round) = (n % 10, n / 10);
        let path = match of_ten {
            0..6 => format!("/api/tenants/{}", ids[(round * 6 + of_ten) % ids.len()]),
            6..9 => format!("/api/tenants?limit={PAGE}&offset={}", (round * 3 + of_ten - 6) % pages * PAGE),
            _ => format!("/api/events?order=desc&limit={PAGE}"),
        };
        let token = tokens[round % tokens.len()].clone();
        let ask = request("GET", &path, &server.manager, &token, "");
        assert_eq!(connection.ask(&ask).await, 200, "{path}");
        let answer = std::str::from_utf8(connection.answer()).unwrap();
        let shows = |tenant: &usize| of_ten == 9 || answer.contains(&ids[*tenant]);
        let tenants = (0..ids.len()).filter(shows).collect();
        all.push(Query { path, token, tenants, length: answer.len() });
    }
    all
}

/// The same query of the bare server: which tenants, and how long a state is.
fn plain_path(query: &Query, all: usize) -> String {
    let first = if query.tenants.len() == all { 0 } else { query.tenants.iter().min().copied().unwrap_or(0) };
    format!("/live/{first}/{}/{}", query.tenants.len(), query.length)
}

/// How far behind the head the queries were, in seconds.
struct Lag {
    rate: f64,
    states: f64,
    p50: f64,
    p99: f64,
    max: f64,
    /// The same by kind of query, sorted.
    kinds: Vec<(&'static str, Vec<f64>)>,
}

/// A live query that is read.
struct Reader {
    query: Query,
    seen: Arc<Seen>,
}

/// What came on it.
#[derive(Default)]
struct Seen {
    last: AtomicU64,
    /// When a state came, and its position.
    states: Mutex<Vec<(Instant, u64)>>,
}

async fn measure(target: &Target, queries: Vec<Query>, rate: u64, seconds: u64) -> Lag {
    let mut tasks = JoinSet::new();
    let mut readers = Vec::new();
    for query in queries {
        let seen = Arc::new(Seen::default());
        let mut stream = follow(target, &query).await;
        let mut frames = Frames::default();
        while frames.read(&mut stream, &seen).await == 0 {}
        seen.states.lock().unwrap().clear();
        let reading = Arc::clone(&seen);
        tasks.spawn(async move {
            loop {
                frames.read(&mut stream, &reading).await;
            }
        });
        readers.push(Reader { query, seen });
    }
    let began = Instant::now();
    let mut changes = write(target, rate, seconds).await;
    let took = began.elapsed().as_secs_f64();
    changes.sort_by_key(|change| change.seq);
    for reader in &readers {
        let wanted = changes.iter().rev().find(|change| reader.query.tenants.contains(&change.tenant));
        let wanted = wanted.map_or(0, |change| change.seq);
        while reader.seen.last.load(Ordering::Acquire) < wanted {
            assert!(began.elapsed() < PATIENCE, "{} does not get to {wanted}", reader.query.path);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    tasks.shutdown().await;
    lag(&readers, &changes, took)
}

/// Changes the tenants at an even pace.
async fn write(target: &Target, rate: u64, seconds: u64) -> Vec<Change> {
    let all = rate * seconds;
    let began = Instant::now();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let target = target.clone();
        writers.spawn(async move {
            let mut connection = Connection::open(&target.address).await;
            let mut changes = Vec::new();
            for n in (writer..all).step_by(WRITERS as usize) {
                let due = began + Duration::from_secs_f64(n as f64 / rate as f64);
                tokio::time::sleep_until(due.into()).await;
                let tenant = n as usize % target.tenants.len();
                let body = format!(r#"{{"name":"Name {n}"}}"#);
                let change = request("PUT", &target.tenants[tenant], &target.address, &target.token, &body);
                let sent = Instant::now();
                assert_eq!(connection.ask(&change).await, 200);
                changes.push(Change { seq: position(connection.answer()), tenant, sent });
            }
            changes
        });
    }
    let mut changes = Vec::new();
    while let Some(written) = writers.join_next().await {
        changes.extend(written.unwrap());
    }
    changes
}

/// The position that an answer to a write names.
fn position(answer: &[u8]) -> u64 {
    const NAME: &[u8] = b"x-event-seq: ";
    let at = memmem::find(answer, NAME).unwrap() + NAME.len();
    number(&answer[at..])
}

/// The number that a text begins with.
fn number(text: &[u8]) -> u64 {
    text.iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))
}

async fn follow(target: &Target, query: &Query) -> TcpStream {
    let mut stream = TcpStream::connect(&target.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let Query { path, token, .. } = query;
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nAccept: text/event-stream\r\n\r\n",
        target.address
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// Cuts a stream into its states; the rest of the last one waits for its end.
#[derive(Default)]
struct Frames {
    buffer: Vec<u8>,
    /// Up to here there is no end of a state.
    searched: usize,
}

impl Frames {
    /// Reads once; notes the states that end with that, and gives how many there were.
    async fn read(&mut self, stream: &mut TcpStream, seen: &Seen) -> usize {
        let read = stream.read_buf(&mut self.buffer).await.unwrap();
        assert_ne!(read, 0, "a stream ended: {}", String::from_utf8_lossy(&self.buffer));
        let (mut states, mut from) = (0, 0);
        while let Some(end) = memmem::find(&self.buffer[self.searched..], b"\n\n") {
            let end = self.searched + end + 2;
            // Behind the head of the answer, and behind the length of a chunk.
            if let Some(id) = memmem::find(&self.buffer[from..end], b"\nid: ") {
                let seq = number(&self.buffer[from + id + 5..end]);
                seen.states.lock().unwrap().push((Instant::now(), seq));
                seen.last.store(seq, Ordering::Release);
                states += 1;
            }
            (from, self.searched) = (end, end);
        }
        self.buffer.drain(..from);
        self.searched = self.buffer.len().saturating_sub(1);
        states
    }
}

/// The time from each change to the state that shows it, for each query that it concerns.
fn lag(readers: &[Reader], changes: &[Change], took: f64) -> Lag {
    let mut kinds: Vec<(&'static str, Vec<f64>)> = vec![
        ("one tenant", Vec::new()),
        ("a page of tenants", Vec::new()),
        ("the newest events", Vec::new()),
    ];
    let all_tenants = changes.iter().map(|change| change.tenant).max().map_or(0, |last| last + 1);
    let mut states = 0;
    for Reader { query, seen } in readers {
        let seen = seen.states.lock().unwrap();
        states += seen.len();
        let kind = match query.tenants.len() {
            1 => 0,
            some if some < all_tenants => 1,
            _ => 2,
        };
        let mut shown = seen.iter().peekable();
        let mut concerned =
            vec![false; all_tenants.max(query.tenants.iter().max().map_or(0, |last| last + 1))];
        query.tenants.iter().for_each(|tenant| concerned[*tenant] = true);
        for change in changes.iter().filter(|change| concerned[change.tenant]) {
            while shown.next_if(|(_, seq)| *seq < change.seq).is_some() {}
            let (at, _) = shown.peek().expect("waited for");
            kinds[kind].1.push(at.saturating_duration_since(change.sent).as_secs_f64());
        }
    }
    let mut every: Vec<f64> = kinds.iter().flat_map(|(_, lags)| lags.iter().copied()).collect();
    every.sort_by(f64::total_cmp);
    kinds.iter_mut().for_each(|(_, lags)| lags.sort_by(f64::total_cmp));
    let at = |share| machine::at(&every, share);
    Lag {
        rate: changes.len() as f64 / took,
        states: states as f64 / took,
        p50: at(0.5),
        p99: at(0.99),
        max: at(1.0),
        kinds,
    }
}

/// A follower of the bare server: which tenants, and how it is told.
type Follower = (std::ops::Range<usize>, watch::Sender<u64>);

#[derive(Default)]
struct Bare {
    seq: AtomicU64,
    followers: Mutex<Vec<Follower>>,
}

/// A server of states that are always the same bytes.
#[tokio::main]
async fn bare() {
    machine::raise_file_limit();
    let router = Router::new()
        .route("/tenants/{tenant}", put(bare_change))
        .route("/live/{first}/{count}/{length}", get(bare_follow))
        .with_state(Arc::new(Bare::default()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    axum::serve(listener, router).await.unwrap();
}

async fn bare_change(State(bare): State<Arc<Bare>>, Path(tenant): Path<usize>, _: Bytes) -> Response {
    let followers = bare.followers.lock().unwrap();
    let seq = bare.seq.fetch_add(1, Ordering::AcqRel) + 1;
    for (_, told) in followers.iter().filter(|(tenants, _)| tenants.contains(&tenant)) {
        told.send_replace(seq);
    }
    Response::builder().header("x-event-seq", seq).body(Body::from("{}")).unwrap()
}

async fn bare_follow(
    State(bare): State<Arc<Bare>>,
    Path((first, count, length)): Path<(usize, usize, usize)>,
) -> Response {
    let (told, mut changes) = watch::channel(0);
    bare.followers.lock().unwrap().push((first..first + count, told));
    let state = "x".repeat(length);
    let states = async_stream::stream! {
        loop {
            let seq = *changes.borrow_and_update();
            yield Ok::<_, Infallible>(Bytes::from(format!("id: {seq}\ndata: {state}\n\n")));
            tokio::time::sleep(Duration::from_millis(100)).await;
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    Response::builder().header("content-type", "text/event-stream").body(Body::from_stream(states)).unwrap()
}
