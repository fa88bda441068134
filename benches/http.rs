//! What the API costs over a bare axum handler: reading one tenant, and creating tenants
//! durably at 256 connections.
//!
//! The program runs as it is delivered, the bare handler as a process of its own with the
//! same runtime, and both answer the same bytes to the same load generator, in rounds that
//! take turns. The generator runs on the same cores.
//!
//! `cargo bench --bench http [-- SECONDS ROUNDS [get|post]]`

#![allow(clippy::unwrap_used, reason = "a benchmark that fails may stop")]

use std::fmt::Write as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::routing::get;
use support::client::{Connection, request};
use support::machine;
use support::server::{Helper, Server};

mod support {
    pub(crate) mod client;
    pub(crate) mod machine;
    pub(crate) mod server;
}

const SECONDS: u64 = 4;
const ROUNDS: u64 = 3;
const GET_CONNECTIONS: usize = 64;
const POST_CONNECTIONS: usize = 256;
/// Tenants that are created in one round, besides those of the warming up.
const CREATED: u64 = 20_000;
/// Creations before the clock runs.
const WARM_UP: u64 = 2_000;
/// Tenants that are there while one of them is read.
const TENANTS: u64 = 1_000;

const GET_GOAL: f64 = 0.8;
const TAIL_GOAL: f64 = 5.0;

/// Room for some 31,000 tenants, each with its pair.
const PORTS: &str = "[ports]\nfirst = 2000\nlast = 65535\nstep = 2\ninstances_first = 1100\ninstances_last = 1999\n\
    [deploy]\nnginx = \"off\"\nssl = \"off\"\n";

fn main() {
    if machine::argument(0).as_deref() == Some("bare") {
        return bare(&machine::argument(1).unwrap());
    }
    let (seconds, rounds) = (machine::number(0, SECONDS), machine::number(1, ROUNDS));
    let only = machine::argument(2);
    machine::raise_file_limit();
    println!("{}", machine::about());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if only.as_deref() != Some("post") {
        runtime.block_on(read(Duration::from_secs(seconds), rounds));
    }
    if only.as_deref() != Some("get") {
        runtime.block_on(create(rounds));
    }
}

/// Serves one answer, which lies in a file as it came from the program.
#[tokio::main]
async fn bare(file: &str) {
    let bytes = std::fs::read(file).unwrap();
    let split = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let (head, body) = bytes.split_at(split);
    let body = Bytes::copy_from_slice(body.get(4..).unwrap());
    let mut lines = std::str::from_utf8(head).unwrap().lines();
    let status: StatusCode = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let mut all = HeaderMap::new();
    let mut few = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        let (name, value) = (HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
        // These two are axum's own to write.
        if name != "date" && name != "content-length" {
            if name == "content-type" {
                few.insert(name.clone(), value.clone());
            }
            all.insert(name, value);
        }
    }
    let few_body = body.clone();
    let answer_all = move || std::future::ready((status, all.clone(), body.clone()));
    let answer_few = move || std::future::ready((status, few.clone(), few_body.clone()));
    let router = Router::new()
        .route("/same", get(answer_all.clone()).post(move |_: Bytes| answer_all()))
        .route("/body", get(answer_few));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    axum::serve(listener, router).await.unwrap();
}

/// What a generator saw.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    rate: f64,
    p50: f64,
    p99: f64,
    max: f64,
}

impl Run {
    fn of(mut waits: Vec<f64>, took: Duration) -> Run {
        waits.sort_by(f64::total_cmp);
        let at = |share| machine::at(&waits, share);
        Run { rate: waits.len() as f64 / took.as_secs_f64(), p50: at(0.5), p99: at(0.99), max: at(1.0) }
    }
}

fn middle(runs: &[Run], of: impl Fn(&Run) -> f64) -> f64 {
    machine::median(runs.iter().map(of).collect())
}

fn table(title: &str, baseline: &str, rows: &[(&str, Vec<Run>, String)]) {
    println!("\n| {title} | requests/s | x {baseline} | p50 | p99 | p99/p50 | max | goal |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |");
    let base = rows.first().map(|(_, runs, _)| runs.clone()).unwrap_or_default();
    for (name, runs, goal) in rows {
        println!(
            "| {name} | {:.0} | {:.2} | {:.2} ms | {:.2} ms | {:.1} | {:.1} ms | {goal} |",
            middle(runs, |run| run.rate),
            ratio(runs, &base),
            middle(runs, |run| run.p50) * 1e3,
            middle(runs, |run| run.p99) * 1e3,
            middle(runs, |run| run.p99) / middle(runs, |run| run.p50),
            middle(runs, |run| run.max) * 1e3,
        );
    }
}

/// The median of each round's own ratio.
fn ratio(runs: &[Run], base: &[Run]) -> f64 {
    machine::median(runs.iter().zip(base).map(|(run, base)| run.rate / base.rate).collect())
}

async fn read(time: Duration, rounds: u64) {
    let server = Server::start(PORTS).await;
    let mut id = String::new();
    for n in 0..TENANTS {
        id = server.tenant(&format!("campaign-{n}")).await;
    }
    let path = format!("/api/tenants/{id}");
    let mut connection = Connection::open(&server.manager).await;
    let asked = connection.ask(&request("GET", &path, &server.manager, &server.token, "")).await;
    assert_eq!(asked, 200);
    let file = server.data_dir().with_file_name("answer");
    std::fs::write(&file, connection.answer()).unwrap();
    let bare = Helper::start(&["bare", file.to_str().unwrap()]);

    let generator = if has_wrk() { "wrk" } else { "a client of our own, for want of wrk" };
    let (mut same, mut body, mut ours) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        same.push(load(&bare.address, "/same", &server.token, time).await);
        ours.push(load(&server.manager, &path, &server.token, time).await);
        body.push(load(&bare.address, "/body", &server.token, time).await);
    }
    let reached = ratio(&ours, &same);
    let title = format!(
        "`GET /api/tenants/{{id}}`, {GET_CONNECTIONS} connections, {} bytes, {generator}",
        connection.answer().len()
    );
    let goal = format!("{GET_GOAL} {}", machine::verdict(reached >= GET_GOAL));
    let rows = [
        ("bare axum, the same bytes", same, String::new()),
        ("bare axum, the same body and its type alone", body, String::new()),
        ("tenantry serve", ours, goal),
    ];
    table(&title, "bare", &rows);
}

fn has_wrk() -> bool {
    Command::new("wrk").arg("-v").output().is_ok()
}

async fn load(address: &str, path: &str, token: &str, time: Duration) -> Run {
    if has_wrk() {
        let url = format!("http://{address}{path}");
        let header = format!("Authorization: Bearer {token}");
        let seconds = format!("{}s", time.as_secs());
        let connections = GET_CONNECTIONS.to_string();
        let run = move || {
            let arguments = ["-t", "1", "-c", &connections, "-d", &seconds, "--latency", "-H", &header, &url];
            let output = Command::new("wrk").args(arguments).output().unwrap();
            wrk(&String::from_utf8_lossy(&output.stdout))
        };
        return tokio::task::spawn_blocking(run).await.unwrap();
    }
    let request: Arc<[u8]> = request("GET", path, address, token, "").into();
    let began = Instant::now();
    let tasks: Vec<_> = (0..GET_CONNECTIONS)
        .map(|_| {
            let (address, request) = (address.to_owned(), Arc::clone(&request));
            tokio::spawn(async move {
                let mut connection = Connection::open(&address).await;
                let mut waits = Vec::new();
                while began.elapsed() < time {
                    let asked = Instant::now();
                    assert_eq!(connection.ask(&request).await, 200);
                    waits.push(asked.elapsed().as_secs_f64());
                }
                waits
            })
        })
        .collect();
    let mut waits = Vec::new();
    for task in tasks {
        waits.extend(task.await.unwrap());
    }
    Run::of(waits, began.elapsed())
}

/// Reads what wrk prints.
fn wrk(text: &str) -> Run {
    assert!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "{text}");
    let after = |name: &str| {
        text.lines()
            .find_map(|line| line.trim().strip_prefix(name))
            .map(str::trim)
            .unwrap_or_default()
            .to_owned()
    };
    let seconds = |text: &str| {
        let number = text.trim_end_matches(char::is_alphabetic);
        let unit = match text.get(number.len()..) {
            Some("us") => 1e-6,
            Some("ms") => 1e-3,
            _ => 1.0,
        };
        number.parse::<f64>().unwrap_or_default() * unit
    };
    let max = after("Latency ").split_whitespace().nth(2).map(seconds).unwrap_or_default();
    Run {
        rate: after("Requests/sec:").parse().unwrap_or_else(|_| panic!("wrk says: {text}")),
        p50: seconds(&after("50%")),
        p99: seconds(&after("99%")),
        max,
    }
}

/// The body that creates the tenant of this number.
fn tenant(n: u64) -> String {
    let mut body = String::new();
    write!(
        body,
        r#"{{"name":"Campaign of candidate {n}","slug":"campaign-{n}","domain":"campaign-{n}.example.com","api_domain":"api.campaign-{n}.example.com","github_repo":"https://git.example.com/campaign.git","notes":"Measured."}}"#
    )
    .unwrap();
    body
}

async fn create(rounds: u64) {
    let (mut same, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        // Each round begins with an empty journal.
        let server = Server::start(PORTS).await;
        let mut connection = Connection::open(&server.manager).await;
        let first = request("POST", "/api/tenants", &server.manager, &server.token, &tenant(0));
        assert_eq!(connection.ask(&first).await, 201, "{}", String::from_utf8_lossy(connection.answer()));
        let file = server.data_dir().with_file_name("answer");
        std::fs::write(&file, connection.answer()).unwrap();
        let bare = Helper::start(&["bare", file.to_str().unwrap()]);
        post(&bare.address, "/same", &server.token, 1, WARM_UP).await;
        same.push(post(&bare.address, "/same", &server.token, 1, CREATED).await);
        drop(bare);
        post(&server.manager, "/api/tenants", &server.token, 1, WARM_UP).await;
        ours.push(post(&server.manager, "/api/tenants", &server.token, 1 + WARM_UP, CREATED).await);
        let listed = server.get("/api/tenants?limit=1").await;
        assert_eq!(listed.get("total").and_then(serde_json::Value::as_u64), Some(1 + WARM_UP + CREATED));
    }
    let tail = middle(&ours, |run| run.p99) / middle(&ours, |run| run.p50);
    let goal = format!("p99 < {TAIL_GOAL:.0} p50 {}", machine::verdict(tail < TAIL_GOAL));
    let title = format!(
        "`POST /api/tenants`, {POST_CONNECTIONS} connections, {CREATED} tenants, a client of our own"
    );
    let rows = [
        ("bare axum, reads the body, answers the same bytes, keeps nothing", same, String::new()),
        ("tenantry serve, durable", ours, goal),
    ];
    table(&title, "bare", &rows);
}

/// Creates `count` tenants from number `from` on.
async fn post(address: &str, path: &str, token: &str, from: u64, count: u64) -> Run {
    let next = Arc::new(AtomicU64::new(from));
    let mut connections = Vec::new();
    for _ in 0..POST_CONNECTIONS {
        connections.push(Connection::open(address).await);
    }
    let began = Instant::now();
    let tasks: Vec<_> = connections
        .into_iter()
        .map(|mut connection| {
            let (address, path, token) = (address.to_owned(), path.to_owned(), token.to_owned());
            let next = Arc::clone(&next);
            tokio::spawn(async move {
                let mut waits = Vec::new();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= from + count {
                        return waits;
                    }
                    let request = request("POST", &path, &address, &token, &tenant(n));
                    let asked = Instant::now();
                    let status = connection.ask(&request).await;
                    waits.push(asked.elapsed().as_secs_f64());
                    assert_eq!(status, 201, "{}", String::from_utf8_lossy(connection.answer()));
                }
            })
        })
        .collect();
    let mut waits = Vec::new();
    for task in tasks {
        waits.extend(task.await.unwrap());
    }
    Run::of(waits, began.elapsed())
}
