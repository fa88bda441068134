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
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use support::client::{Connection, request};
use support::load::{self, Run, middle, ratio, table};
use support::machine;
use support::server::{Helper, Server};

mod support {
    pub(crate) mod client;
    pub(crate) mod load;
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
        return load::bare(&machine::argument(1).unwrap());
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

async fn read(time: Duration, rounds: u64) {
    let server = Server::start(PORTS).await;
    let mut id = String::new();
    for n in 0..TENANTS {
        id = server.tenant(&format!("campaign-{n}")).await;
    }
    let path = format!("/api/tenants/{id}");
    let (bare, bytes) = load::baseline(&server, &path).await;
    let load = |address: &str, path: &str| {
        let (address, path, token) = (address.to_owned(), path.to_owned(), server.token.clone());
        async move { load::load(&address, &path, &token, GET_CONNECTIONS, time).await }
    };
    let (mut same, mut body, mut ours) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        same.push(load(&bare.address, "/same").await);
        ours.push(load(&server.manager, &path).await);
        body.push(load(&bare.address, "/body").await);
    }
    let reached = ratio(&ours, &same);
    let title = format!(
        "`GET /api/tenants/{{id}}`, {GET_CONNECTIONS} connections, {bytes} bytes, {}",
        load::generator()
    );
    let goal = format!("{GET_GOAL} {}", machine::verdict(reached >= GET_GOAL));
    let rows = [
        ("bare axum, the same bytes", same, String::new()),
        ("bare axum, the same body and its type alone", body, String::new()),
        ("tenantry serve", ours, goal),
    ];
    table(&title, "bare", &rows);
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
