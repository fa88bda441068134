//! A deployment's own time: all steps, a trivial application from a repository on this machine,
//! from the request until it has ended as `success`. The first one starts two processes, each
//! further one starts two beside those that serve, switches, and ends the old ones.
//!
//! The application is this program in another role, a server that answers `/health` and nothing
//! else. The baseline clones the same repository with git, starts the two processes with
//! `std::process::Command` and asks each until it answers; for a redeploy it then ends two.
//!
//! `cargo bench --bench deploy [-- ROUNDS]`

#![allow(clippy::unwrap_used, reason = "a benchmark that fails may stop")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::machine;
use support::server::Server;
use support::tiny::{self, Children};

mod support {
    pub(crate) mod machine;
    pub(crate) mod server;
    pub(crate) mod tiny;
}

const ROUNDS: u64 = 10;
/// What a deployment may take of its own, in seconds.
const GOAL: f64 = 1.0;
/// How often it is asked whether it has ended.
const ASK_AGAIN: Duration = Duration::from_millis(2);

fn main() {
    if tiny::is_instance() {
        return;
    }
    tenantry::tls::install();
    let rounds = machine::number(0, ROUNDS);
    println!("{}", machine::about());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure(rounds));
}

fn git(dir: &Path, args: &[&str]) {
    let done = Command::new("git")
        .args(["-c", "user.name=b", "-c", "user.email=b@example.com"])
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn repository(scratch: &Path) -> PathBuf {
    let path = scratch.join("app");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("README"), "A trivial application.\n").unwrap();
    git(&path, &["init", "-q"]);
    git(&path, &["add", "."]);
    git(&path, &["commit", "-q", "-m", "all of it"]);
    path
}

async fn measure(rounds: u64) {
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let repository = repository(scratch.path());
    let first = tiny::free_ports(60);
    let (mut bare_first, mut bare_next) = (Vec::new(), Vec::new());
    let (mut ours_first, mut ours_next) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let into = scratch.path().join(format!("bare-{round}"));
        let mut old = Vec::new();
        bare_first.push(bare(&repository, &into.join("1"), first, &mut old));
        bare_next.push(bare(&repository, &into.join("2"), first + 2, &mut old));
    }
    let server = Server::start(&config(first)).await;
    for round in 0..rounds {
        let tenant = server
            .post(
                "/api/tenants",
                &json!({"name": "Bench", "slug": format!("b{round}"), "domain": format!("b{round}.example.com"),
                    "github_repo": format!("file://{}", repository.display())}),
            )
            .await;
        let tenant = tenant.get("id").and_then(Value::as_str).unwrap().to_owned();
        ours_first.push(deploy(&server, &tenant).await);
        ours_next.push(deploy(&server, &tenant).await);
        server.post(&format!("/api/tenants/{tenant}/stop"), &json!({})).await;
    }
    println!("\n| a deployment of a trivial application | time | x bare | own time | goal |");
    println!("| --- | ---: | ---: | ---: | --- |");
    for (name, bare, ours) in [("the first", bare_first, ours_first), ("a further one", bare_next, ours_next)]
    {
        let (bare, ours) = (machine::median(bare), machine::median(ours));
        println!("| {name}: bare git and processes | {:.0} ms | 1.0 | | |", bare * 1e3);
        println!(
            "| {name}: `POST /api/tenants/{{id}}/deploy` until success | {:.0} ms | {:.1} | {:.0} ms | {GOAL} s {} |",
            ours * 1e3,
            ours / bare,
            (ours - bare) * 1e3,
            machine::verdict(ours - bare <= GOAL),
        );
    }
}

fn config(first: u16) -> String {
    let command = tiny::command();
    format!(
        "[ports]\nfirst = {first}\nlast = {last}\nstep = 2\ninstances_first = {next}\ninstances_last = {end}\n\
         [deploy]\nnginx = \"off\"\nssl = \"off\"\n\
         [deploy.template.frontend]\ncommand = \"{command}\"\nhealth = \"/health\"\n\
         [deploy.template.backend]\ncommand = \"{command}\"\nhealth = \"/health\"\n",
        last = first + 29,
        next = first + 30,
        end = first + 59,
    )
}

async fn deploy(server: &Server, tenant: &str) -> f64 {
    let began = Instant::now();
    let asked = server.post(&format!("/api/tenants/{tenant}/deploy"), &json!({})).await;
    let path = format!("/api/deployments/{}", asked.get("deployment_id").and_then(Value::as_str).unwrap());
    loop {
        let shown = server.get(&path).await;
        match shown.get("status").and_then(Value::as_str) {
            Some("success") => return began.elapsed().as_secs_f64(),
            Some("pending" | "running") => tokio::time::sleep(ASK_AGAIN).await,
            _ => panic!("{shown:#}\n{}", server.log()),
        }
    }
}

/// Clones, starts two, and ends the two before them.
fn bare(repository: &Path, into: &Path, first: u16, old: &mut Vec<Children>) -> f64 {
    let program = std::env::current_exe().unwrap();
    let began = Instant::now();
    std::fs::create_dir_all(into).unwrap();
    let address = format!("file://{}", repository.display());
    git(into, &["clone", "-q", "--depth", "1", &address, "."]);
    let mut children = Children::default();
    for port in [first, first + 1] {
        let mut command = Command::new(&program);
        command.arg(tiny::ROLE).env_clear().env("PORT", port.to_string()).current_dir(into);
        children.0.push(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
    }
    for port in [first, first + 1] {
        while !is_healthy(port) {
            std::thread::yield_now();
        }
    }
    old.clear();
    let took = began.elapsed().as_secs_f64();
    old.push(children);
    took
}

fn is_healthy(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
    let mut answer = Vec::new();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").is_ok()
        && stream.read_to_end(&mut answer).is_ok()
        && answer.starts_with(b"HTTP/1.1 200")
}
