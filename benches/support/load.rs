//! A load of HTTP requests, what it saw, and a bare axum handler to compare with, which answers
//! the same bytes.

#![allow(dead_code, reason = "each benchmark uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a benchmark that fails may stop")]

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::routing::get;

use super::client::{Connection, request};
use super::machine;
use super::server::{Helper, Server};

/// Serves one answer, which lies in a file as it came from the program.
#[tokio::main]
pub(crate) async fn bare(file: &str) {
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

/// The baseline of a path: a handler in a process of its own that answers the same bytes, and how many.
pub(crate) async fn baseline(server: &Server, path: &str) -> (Helper, usize) {
    let mut connection = Connection::open(&server.manager).await;
    let asked = connection.ask(&request("GET", path, &server.manager, &server.token, "")).await;
    assert_eq!(asked, 200, "{}", String::from_utf8_lossy(connection.answer()));
    let file = server.data_dir().with_file_name("answer");
    std::fs::write(&file, connection.answer()).unwrap();
    (Helper::start(&["bare", file.to_str().unwrap()]), connection.answer().len())
}

/// What asks.
pub(crate) fn generator() -> &'static str {
    if has_wrk() { "wrk" } else { "a client of our own, for want of wrk" }
}

/// What a generator saw.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Run {
    pub(crate) rate: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Run {
    pub(crate) fn of(mut waits: Vec<f64>, took: Duration) -> Run {
        waits.sort_by(f64::total_cmp);
        let at = |share| machine::at(&waits, share);
        Run { rate: waits.len() as f64 / took.as_secs_f64(), p50: at(0.5), p99: at(0.99), max: at(1.0) }
    }
}

/// The middle one of a number of each run.
pub(crate) fn middle(runs: &[Run], of: impl Fn(&Run) -> f64) -> f64 {
    machine::median(runs.iter().map(of).collect())
}

/// Prints runs beside those of the first row.
pub(crate) fn table(title: &str, baseline: &str, rows: &[(&str, Vec<Run>, String)]) {
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
pub(crate) fn ratio(runs: &[Run], base: &[Run]) -> f64 {
    machine::median(runs.iter().zip(base).map(|(run, base)| run.rate / base.rate).collect())
}

/// Whether the generator is wrk.
fn has_wrk() -> bool {
    Command::new("wrk").arg("-v").output().is_ok()
}

/// Asks for a path all the time over so many connections that are kept.
pub(crate) async fn load(address: &str, path: &str, token: &str, connections: usize, time: Duration) -> Run {
    if has_wrk() {
        let url = format!("http://{address}{path}");
        let header = format!("Authorization: Bearer {token}");
        let seconds = format!("{}s", time.as_secs());
        let connections = connections.to_string();
        let run = move || {
            let arguments = ["-t", "1", "-c", &connections, "-d", &seconds, "--latency", "-H", &header, &url];
            let output = Command::new("wrk").args(arguments).output().unwrap();
            wrk(&String::from_utf8_lossy(&output.stdout))
        };
        return tokio::task::spawn_blocking(run).await.unwrap();
    }
    let request: Arc<[u8]> = request("GET", path, address, token, "").into();
    let began = Instant::now();
    let tasks: Vec<_> = (0..connections)
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
