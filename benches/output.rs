//! Ten processes that print as fast as they can: lines captured in a second, lines lost, and
//! bytes on disk for each byte printed.
//!
//! The processes are this program in another role. The baseline reads the same output from
//! plain pipes, one thread for each, and counts the lines: nothing is cut, compressed or kept.
//! The figure is from the first process started until the last line lies in its spool. Then
//! every line is read through the API and compared with what was printed.
//!
//! `cargo bench --bench output [-- LINES INSTANCES]`

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark that fails may stop")]

use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::machine;
use support::server::Server;

mod support {
    pub(crate) mod lines;
    pub(crate) mod machine;
    pub(crate) mod server;
}

const LINES: u64 = 1_000_000;
const INSTANCES: u64 = 10;
/// Lines that are asked for at once.
const PAGE: u64 = 1000;
/// How often it is looked whether all have come.
const LOOK: Duration = Duration::from_millis(20);

fn main() {
    if machine::argument(0).as_deref() == Some("print") {
        return print(machine::number(1, 1));
    }
    let (lines, instances) = (machine::number(0, LINES), machine::number(1, INSTANCES));
    println!("{}", machine::about());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure(lines / instances, instances));
}

/// Prints so many lines, waits to be told of its end.
fn print(count: u64) {
    let mut out = BufWriter::with_capacity(64 * 1024, std::io::stdout().lock());
    for n in 0..count {
        support::lines::line(n, &mut out);
    }
    out.flush().unwrap();
    drop(out);
    std::thread::park();
}

async fn measure(each: u64, instances: u64) {
    let (bare, raw) = bare(each, instances);
    let program = std::env::current_exe().unwrap();
    let config = format!(
        "[service.flood]\ncommand = '{}'\nargs = ['print', '{each}']\nrestart = 'never'\nstop_timeout = 1\n",
        program.display()
    );
    let server = Server::start(&config).await;
    let begun = Instant::now();
    let mut starting = tokio::task::JoinSet::new();
    for n in 0..instances {
        let url = format!("http://{}/api/instances", server.instances);
        let request = server.client.post(url).bearer_auth(&server.token);
        let request = request.json(&json!({"service": "flood", "id": format!("i{n}")}));
        starting.spawn(async move { assert_eq!(request.send().await.unwrap().status().as_u16(), 201) });
    }
    let spool = server.data_dir().join("spool");
    let wanted = each * instances;
    let took = loop {
        let count = count(&spool);
        if count >= wanted || begun.elapsed() > Duration::from_secs(300) {
            break begun.elapsed();
        }
        tokio::time::sleep(LOOK).await;
    };
    while starting.join_next().await.is_some() {}
    let kept = kept(&server, each, instances).await;
    let disk = size(&spool);
    let rate = wanted as f64 / took.as_secs_f64();
    let bare_rate = wanted as f64 / bare.as_secs_f64();
    println!(
        "\n| {wanted} lines from {instances} processes, {raw} bytes | lines/s | x pipes | lost | spool ÷ raw |"
    );
    println!("| --- | ---: | ---: | ---: | ---: |");
    println!("| plain pipes, lines only counted | {bare_rate:.0} | 1.00 | 0 | |");
    println!(
        "| keeper, cut, compressed, encrypted, in the spool | {rate:.0} | {:.2} | {} | {:.3} |",
        rate / bare_rate,
        wanted as i64 - kept as i64,
        disk as f64 / raw as f64,
    );
    println!(
        "500,000 lines/s: {}; nothing lost: {}; 0.5 of the raw bytes: {}",
        machine::verdict(rate >= 500_000.0),
        machine::verdict(kept == wanted),
        machine::verdict(disk as f64 <= raw as f64 * 0.5),
    );
    let indexed = indexed(&server, wanted, begun).await;
    let index = size(&server.data_dir().join("search")) as f64 / raw as f64;
    println!("all of it findable after {:.1} s; the index ÷ raw: {index:.3}", indexed.as_secs_f64());
}

/// The same lines over plain pipes: how long, and how many bytes.
fn bare(each: u64, instances: u64) -> (Duration, u64) {
    let begun = Instant::now();
    let program = std::env::current_exe().unwrap();
    let readers: Vec<_> = (0..instances)
        .map(|_| {
            let mut child = Command::new(&program)
                .args(["print", &each.to_string()])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut from = BufReader::with_capacity(64 * 1024, child.stdout.take().unwrap());
            std::thread::spawn(move || {
                let (mut bytes, mut line) = (0, Vec::new());
                for _ in 0..each {
                    line.clear();
                    bytes += from.read_until(b'\n', &mut line).unwrap() as u64;
                }
                child.kill().unwrap();
                child.wait().unwrap();
                bytes
            })
        })
        .collect();
    let bytes = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
    (begun.elapsed(), bytes)
}

/// Lines in all spools, by the heads of their frames.
fn count(spool: &Path) -> u64 {
    let dirs = std::fs::read_dir(spool).into_iter().flatten().flatten();
    dirs.map(|dir| {
        let owner: uuid::Uuid = dir.file_name().to_str().unwrap().parse().unwrap();
        let reader = tenantry_journal::spool::Reader::open(&dir.path(), owner, None);
        reader.range().map_or(0, |(oldest, next)| next - oldest)
    })
    .sum()
}

/// How many lines are there as they were printed, each in its place.
async fn kept(server: &Server, each: u64, instances: u64) -> u64 {
    let (mut kept, mut expected) = (0, Vec::new());
    for n in 0..instances {
        // Pages count from the newest line.
        for offset in (0..each).step_by(PAGE as usize) {
            let path = format!("/api/logs/flood/i{n}?limit={PAGE}&offset={offset}");
            let page = server.get(&path).await;
            let newest = each - offset;
            let lines = page["logs"].as_array().unwrap();
            for (number, line) in (newest.saturating_sub(lines.len() as u64)..newest).zip(lines) {
                expected.clear();
                support::lines::line(number, &mut expected);
                kept += u64::from(line["message"].as_str().unwrap().as_bytes() == expected.trim_ascii_end());
            }
        }
    }
    kept
}

async fn indexed(server: &Server, wanted: u64, begun: Instant) -> Duration {
    loop {
        let answer: Value = server.post("/api/logs/search", &json!({"query": "", "limit": 1})).await;
        if answer["total"] == wanted || begun.elapsed() > Duration::from_secs(300) {
            return begun.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn size(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => size(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}
