//! Two hundred instances asked for at once: the time until all are healthy. Then, on a server
//! of its own, five hundred that idle: what each costs in memory of control plane and keeper.
//!
//! The instances are this program in another role, a server that answers `/health` and
//! nothing else. The baseline starts as many of them with `std::process::Command`
//! (`posix_spawn`) and asks each until it answers: no journal, no output kept, no groups.
//!
//! `cargo bench --bench spawn [-- INSTANCES ROUNDS IDLE]`

#![allow(clippy::unwrap_used, reason = "a benchmark that fails may stop")]

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::machine::{self, Memory};
use support::server::Server;
use support::tiny::{self, Children};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

mod support {
    pub(crate) mod machine;
    pub(crate) mod server;
    pub(crate) mod tiny;
}

const INSTANCES: u64 = 200;
const ROUNDS: u64 = 3;
/// Instances that idle while memory is read.
const IDLING: u64 = 500;
/// How many of those are asked for at once.
const AT_ONCE: u64 = 100;
/// What one idle instance may cost in control plane and keeper together, in KiB.
const MEMORY_GOAL: f64 = 100.0;
/// How often the baseline asks a process that does not answer yet.
const ASK_AGAIN: Duration = Duration::from_millis(5);
/// How long everything is left alone before memory is read: checks of health have come, and
/// threads that wait for work in vain have ended.
const IDLE: Duration = Duration::from_secs(25);

fn main() {
    if tiny::is_instance() {
        return;
    }
    let (instances, rounds) = (machine::number(0, INSTANCES), machine::number(1, ROUNDS));
    machine::raise_file_limit();
    println!("{}", machine::about());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure(instances, rounds));
    runtime.block_on(idle(machine::number(2, IDLING)));
}

async fn measure(instances: u64, rounds: u64) {
    let (mut plain, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        plain.push(bare(instances).await);
        let first = tiny::free_ports(instances as u16 + 1);
        let server = Server::start(&config(first, instances)).await;
        // The first brings the keeper up.
        spawn(&server, 1, "first").await;
        ours.push(spawn(&server, instances, "i").await);
        let healthy = server.get("/api/instances?limit=1000").await;
        assert_eq!(running(&healthy), instances + 1, "{healthy}");
    }
    println!("\n| {instances} instances at once | until all answer | each | x bare |");
    println!("| --- | ---: | ---: | ---: |");
    let ratios: Vec<f64> = ours.iter().zip(&plain).map(|(ours, plain)| ours / plain).collect();
    for (name, times, ratio) in [
        ("`std::process::Command`, asked until each answers", plain, 1.0),
        ("`POST /api/instances`, until all are healthy", ours, machine::median(ratios)),
    ] {
        let took = machine::median(times);
        println!("| {name} | {:.0} ms | {:.2} ms | {ratio:.1} |", took * 1e3, took * 1e3 / instances as f64,);
    }
}

/// Memory of control plane and keeper with one instance, and with so many more.
async fn idle(instances: u64) {
    let first = tiny::free_ports(instances as u16 + 1);
    let server = Server::start(&config(first, instances)).await;
    spawn(&server, 1, "first").await;
    let both = || [server.pid(), server.keeper().unwrap()].map(machine::memory);
    tokio::time::sleep(IDLE).await;
    let before = both();
    for n in 0..instances.div_ceil(AT_ONCE) {
        let count = AT_ONCE.min(instances - n * AT_ONCE);
        spawn(&server, count, &format!("i{n}-")).await;
    }
    tokio::time::sleep(IDLE).await;
    let after = both();
    let healthy = server.get("/api/instances?limit=1000").await;
    assert_eq!(running(&healthy), instances + 1, "{healthy}");
    println!(
        "\n| memory, {instances} idle instances more than one | with one: RSS (PSS) | with all: RSS (PSS) | each: RSS (PSS) | goal |"
    );
    println!("| --- | ---: | ---: | ---: | --- |");
    let sum = |[one, other]: [Memory; 2]| Memory { rss: one.rss + other.rss, pss: one.pss + other.pss };
    let rows = ["control plane", "keeper"].into_iter().zip(before.into_iter().zip(after));
    for (name, (before, after)) in rows.chain([("both", (sum(before), sum(after)))]) {
        let each = |of: fn(&Memory) -> u64| of(&after).saturating_sub(of(&before)) as f64 / instances as f64;
        let goal = if name == "both" {
            format!("{MEMORY_GOAL} KiB {}", machine::verdict(each(|memory| memory.rss) <= MEMORY_GOAL))
        } else {
            String::new()
        };
        println!(
            "| {name} | {:.1} MiB ({:.1}) | {:.1} MiB ({:.1}) | {:.1} KiB ({:.1}) | {goal} |",
            before.rss as f64 / 1024.0,
            before.pss as f64 / 1024.0,
            after.rss as f64 / 1024.0,
            after.pss as f64 / 1024.0,
            each(|memory| memory.rss),
            each(|memory| memory.pss),
        );
    }
}

fn config(first: u16, instances: u64) -> String {
    let command = tiny::command();
    format!(
        "[ports]\nfirst = 2000\nlast = 2999\nstep = 10\ninstances_first = {first}\ninstances_last = {last}\n\
         [service.tiny]\ncommand = \"{command}\"\nhealth = \"/health\"\nstop_timeout = 2\n",
        last = first + instances as u16,
    )
}

fn running(list: &Value) -> u64 {
    let instances = list.get("instances").and_then(Value::as_array).cloned().unwrap_or_default();
    let is_healthy = |instance: &&Value| instance.get("status").is_some_and(|status| status == "running");
    instances.iter().filter(is_healthy).count() as u64
}

/// Spawns so many through the API, all at once. Their connections end with this.
async fn spawn(server: &Server, count: u64, name: &str) -> f64 {
    let client = tenantry::tls::client().build().unwrap();
    let mut requests = JoinSet::new();
    let began = Instant::now();
    for n in 0..count {
        let request = client
            .post(format!("http://{}/api/instances", server.instances))
            .bearer_auth(&server.token)
            .json(&json!({"service": "tiny", "id": format!("{name}{n}")}));
        requests.spawn(async move {
            let answer = request.send().await.unwrap();
            (answer.status(), answer.text().await.unwrap())
        });
    }
    while let Some(answer) = requests.join_next().await {
        let (status, text) = answer.unwrap();
        assert_eq!(status, 201, "{text}\n{}", server.log());
    }
    began.elapsed().as_secs_f64()
}

async fn bare(count: u64) -> f64 {
    let first = tiny::free_ports(count as u16);
    let program = std::env::current_exe().unwrap();
    let mut children = Children::default();
    let mut answers = JoinSet::new();
    let began = Instant::now();
    for port in (first..).take(count as usize) {
        let mut command = Command::new(&program);
        command.arg(tiny::ROLE).env_clear().env("PORT", port.to_string()).stdin(Stdio::null());
        children.0.push(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        answers.spawn(async move {
            while !is_healthy(port).await {
                tokio::time::sleep(ASK_AGAIN).await;
            }
        });
    }
    while let Some(answer) = answers.join_next().await {
        answer.unwrap();
    }
    began.elapsed().as_secs_f64()
}

async fn is_healthy(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return false };
    if stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await.is_err() {
        return false;
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.is_ok() && answer.starts_with(b"HTTP/1.1 200")
}
