//! What the proxy costs over nginx before the same backend; how long a sleeping instance
//! takes to answer; and what a `kill -9` of the control plane under load breaks.
//!
//! The backend is this program in another role, on a unix socket, started as an instance.
//! nginx passes to the very same socket. Both have one worker; wrk asks over 64 connections
//! that are kept, in rounds that take turns.
//!
//! `cargo bench --bench proxy [-- SECONDS ROUNDS]`

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark that fails may stop")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use support::client::Connection;
use support::machine;
use support::server::Server;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixListener, UnixStream};

mod support {
    pub(crate) mod client;
    pub(crate) mod machine;
    pub(crate) mod server;
}

const SECONDS: u64 = 4;
const ROUNDS: u64 = 5;
const CONNECTIONS: usize = 64;
const WAKES: u64 = 7;
const RATE_GOAL: f64 = 0.8;
const TAIL_GOAL: f64 = 1.5;
const WAKE_GOAL: Duration = Duration::from_millis(25);
const HOST: &str = "a.fast.apps.test";
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world!";

fn main() {
    if machine::argument(0).as_deref() == Some("backend") {
        return backend();
    }
    let (seconds, rounds) = (machine::number(0, SECONDS), machine::number(1, ROUNDS));
    machine::raise_file_limit();
    println!("{}", machine::about());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure(seconds, rounds));
}

/// Answers every request on `SOCKET_PATH`, whatever it is.
#[tokio::main(flavor = "current_thread")]
#[allow(clippy::disallowed_methods, reason = "a process of its own, with nothing but its environment")]
async fn backend() {
    let listener = UnixListener::bind(std::env::var("SOCKET_PATH").unwrap()).unwrap();
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        tokio::spawn(async move {
            let mut request = Vec::with_capacity(4096);
            while stream.read_buf(&mut request).await.is_ok_and(|bytes| bytes > 0) {
                while let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") {
                    request.drain(..end + 4);
                    if stream.write_all(ANSWER).await.is_err() {
                        return;
                    }
                }
            }
        });
    }
}

fn config() -> String {
    let program = std::env::current_exe().unwrap();
    let service = |name: &str, more: &str| {
        format!(
            "[service.{name}]\ncommand = \"{}\"\nargs = [\"backend\"]\nsocket = \"{{data_dir}}/run/{{name}}-{{id}}.sock\"\n\
             health = \"/health\"\nstop_timeout = 2\n{more}",
            program.display()
        )
    };
    format!("domain = \"apps.test\"\n{}{}", service("fast", ""), service("lazy", "idle_timeout = 1\n"))
}

async fn spawn(server: &Server, service: &str) -> PathBuf {
    server.post("/api/instances", &json!({"service": service, "id": "a"})).await;
    server.data_dir().join(format!("run/{service}-a.sock"))
}

async fn measure(seconds: u64, rounds: u64) {
    let mut server = Server::start_with(&config(), &[("TOKIO_WORKER_THREADS", "1")]).await;
    let socket = spawn(&server, "fast").await;
    if Command::new("nginx").arg("-v").output().is_ok() && Command::new("wrk").arg("-v").output().is_ok() {
        throughput(&server, &socket, seconds, rounds);
    } else {
        println!("SKIPPED: nginx and wrk are needed for the comparison (apt-get install nginx-light wrk)");
    }
    wake(&server).await;
    killed(&mut server).await;
}

/// nginx with one worker before the same socket.
struct Nginx {
    address: String,
    child: Child,
    _dir: tempfile::TempDir,
}

impl Nginx {
    fn start(socket: &Path) -> Nginx {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().display().to_string();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let temps: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {root}/{name};\n"))
            .concat();
        let text = format!(
            "daemon off; worker_processes 1; user root; pid {root}/pid; error_log {root}/error.log;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; {temps} keepalive_requests 100000000;\n\
             upstream up {{ server unix:{}; keepalive 64; keepalive_requests 100000000; }}\n\
             server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://up; proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\"; proxy_set_header Host $host;\n\
             proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;\n\
             proxy_set_header X-Forwarded-Host $host; }} }} }}\n",
            socket.display()
        );
        fs::write(dir.path().join("nginx.conf"), text).unwrap();
        let child = Command::new("nginx")
            .args(["-p", &root, "-e", &format!("{root}/error.log"), "-c", &format!("{root}/nginx.conf")])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = format!("127.0.0.1:{port}");
        while std::net::TcpStream::connect(&address).is_err() {
            std::thread::yield_now();
        }
        Nginx { address, child, _dir: dir }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-QUIT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

/// Requests each second, and the slowest of a hundred in milliseconds.
fn wrk(address: &str, seconds: u64) -> (f64, f64) {
    let told = Command::new("wrk")
        .args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s"), "--latency"])
        .args(["-H", &format!("Host: {HOST}"), &format!("http://{address}/")])
        .output()
        .unwrap();
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "{text}");
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.trim().strip_prefix(name))
            .unwrap_or_else(|| panic!("{text}"))
            .trim()
            .to_owned()
    };
    let tail = field("99%");
    let split = tail.find(|c: char| c.is_alphabetic()).unwrap();
    let scale = match &tail[split..] {
        "us" => 1e-3,
        "ms" => 1.0,
        _ => 1e3,
    };
    (field("Requests/sec:").parse().unwrap(), tail[..split].parse::<f64>().unwrap() * scale)
}

fn throughput(server: &Server, socket: &Path, seconds: u64, rounds: u64) {
    let nginx = Nginx::start(socket);
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    // Whatever is made once is made before the clock runs.
    wrk(&nginx.address, 1);
    wrk(&server.instances, 1);
    for _ in 0..rounds {
        theirs.push(wrk(&nginx.address, seconds));
        ours.push(wrk(&server.instances, seconds));
    }
    let middle =
        |all: &[(f64, f64)], of: fn(&(f64, f64)) -> f64| machine::median(all.iter().map(of).collect());
    let (their_rate, our_rate) = (middle(&theirs, |one| one.0), middle(&ours, |one| one.0));
    let (their_tail, our_tail) = (middle(&theirs, |one| one.1), middle(&ours, |one| one.1));
    let (rate, tail) = (our_rate / their_rate, our_tail / their_tail);
    println!("\n| {CONNECTIONS} kept connections, one worker, unix socket | requests/s | p99 |");
    println!("| --- | ---: | ---: |");
    println!("| nginx | {their_rate:.0} | {their_tail:.2} ms |");
    println!("| tenantry | {our_rate:.0} | {our_tail:.2} ms |");
    println!(
        "| ratio | {rate:.2}, goal {RATE_GOAL}: {} | {tail:.2}, goal {TAIL_GOAL}: {} |",
        machine::verdict(rate >= RATE_GOAL),
        machine::verdict(tail <= TAIL_GOAL)
    );
}

/// The time until a process of its own answers.
async fn bare(dir: &Path) -> Duration {
    let socket = dir.join("bare.sock");
    let _ = fs::remove_file(&socket);
    let began = Instant::now();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("backend")
        .env_clear()
        .env("SOCKET_PATH", &socket)
        .spawn()
        .unwrap();
    loop {
        if let Ok(mut stream) = UnixStream::connect(&socket).await {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            let mut answer = [0; 256];
            assert!(stream.read(&mut answer).await.unwrap() > 0);
            break;
        }
        tokio::task::yield_now().await;
    }
    let took = began.elapsed();
    child.kill().unwrap();
    child.wait().unwrap();
    took
}

async fn wake(server: &Server) {
    spawn(server, "lazy").await;
    let (mut alone, mut woken) = (Vec::new(), Vec::new());
    let request = b"GET / HTTP/1.1\r\nHost: a.lazy.apps.test\r\n\r\n";
    for _ in 0..WAKES {
        alone.push(bare(&server.data_dir()).await.as_secs_f64());
        while server.get("/api/instances/lazy/a").await["status"] != "sleeping" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut client = Connection::open(&server.instances).await;
        let began = Instant::now();
        assert_eq!(client.ask(request).await, 200);
        woken.push(began.elapsed().as_secs_f64());
    }
    let (alone, woken) = (machine::median(alone), machine::median(woken));
    let over = Duration::from_secs_f64((woken - alone).max(0.0));
    println!("\n| wake from zero | until it answers |");
    println!("| --- | ---: |");
    println!("| the process alone | {:.2} ms |", alone * 1e3);
    println!("| a request to a sleeping instance | {:.2} ms |", woken * 1e3);
    println!(
        "| over it | {}, goal {} ms: {} |",
        machine::ms(over),
        WAKE_GOAL.as_millis(),
        machine::verdict(over <= WAKE_GOAL)
    );
}

#[derive(Default)]
struct Seen {
    answered: AtomicU64,
    broken: AtomicU64,
    refused: AtomicU64,
    /// Milliseconds since the beginning at which the last answer came.
    last: AtomicU64,
    /// The longest time without any answer, in milliseconds.
    gap: AtomicU64,
}

async fn client(address: String, seen: Arc<Seen>, began: Instant, is_over: Arc<AtomicBool>) {
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let mut answer = vec![0; 4096];
    while !is_over.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(&address).await else {
            seen.refused.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        while !is_over.load(Ordering::Relaxed) {
            let is_answered = stream.write_all(request.as_bytes()).await.is_ok()
                && stream
                    .read(&mut answer)
                    .await
                    .is_ok_and(|bytes| bytes > 0 && answer.starts_with(b"HTTP/1.1 200"));
            if !is_answered {
                seen.broken.fetch_add(1, Ordering::Relaxed);
                break;
            }
            seen.answered.fetch_add(1, Ordering::Relaxed);
            let now = began.elapsed().as_millis() as u64;
            let before = seen.last.fetch_max(now, Ordering::Relaxed);
            seen.gap.fetch_max(now.saturating_sub(before), Ordering::Relaxed);
        }
    }
}

async fn killed(server: &mut Server) {
    while !server.log().contains("the keeper holds the listening sockets") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (seen, is_over) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
    let began = Instant::now();
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            tokio::spawn(client(server.instances.clone(), Arc::clone(&seen), began, Arc::clone(&is_over)))
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    tokio::task::block_in_place(|| server.replace());
    tokio::time::sleep(Duration::from_secs(1)).await;
    is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let read = |of: &AtomicU64| of.load(Ordering::Relaxed);
    println!("\n| `kill -9` of the control plane, {CONNECTIONS} connections that ask all the time | |");
    println!("| --- | ---: |");
    println!("| answered | {} |", read(&seen.answered));
    println!(
        "| broken, in flight at that instant | {}, goal at most {CONNECTIONS}: {} |",
        read(&seen.broken),
        machine::verdict(read(&seen.broken) <= CONNECTIONS as u64)
    );
    println!(
        "| connections refused | {}, goal 0: {} |",
        read(&seen.refused),
        machine::verdict(read(&seen.refused) == 0)
    );
    println!("| longest time without an answer | {} ms |", read(&seen.gap));
}
