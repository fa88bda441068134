//! A thousand tenants on one control plane, each with two processes that run and answer.
//!
//! In this order: all are created and deployed at once, their sites by a real nginx; all of
//! their domains are changed at once; they are listed under load; one of them gets requests
//! through the proxy while the API is under load and while it is not; the control plane is left
//! alone while its processor time is read; it is killed and started anew, and how evenly it
//! then spreads its checks is seen from when each was looked at last.
//!
//! The processes are this program in another role, a server that answers every request. The
//! baseline of the lists is a bare axum handler with the same bytes, in rounds that take turns.
//!
//! `cargo bench --bench fleet [-- TENANTS SECONDS]`

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark that fails may stop")]

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::client::{Connection, request};
use support::front::Front;
use support::load::{self, Run};
use support::machine;
use support::server::Server;
use support::tiny;

mod support {
    pub(crate) mod client;
    pub(crate) mod front;
    pub(crate) mod load;
    pub(crate) mod machine;
    pub(crate) mod server;
    pub(crate) mod tiny;
}

const TENANTS: u64 = 1_000;
/// For how long the control plane is left alone.
const SECONDS: u64 = 60;
/// Connections over which everything is asked at once.
const AT_ONCE: usize = 32;
/// Clients that list at once, all the time: as many as two cores answer without a queue, and so
/// many that a queue is always there.
const FEW_LISTING: usize = 4;
const LISTING: usize = 16;
const LIST_TIME: Duration = Duration::from_secs(4);
const LIST_ROUNDS: u64 = 2;
/// Connections to one tenant's processes.
const PASSING: usize = 8;
/// Where every site of ours answers who it is.
const PROOF: &str = "/.well-known/tenantry-site";
/// How often it is asked whether all is done.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// The interval of tenants' checks while it is seen how evenly they are spread: the default of
/// five minutes would take as long.
const INTERVAL: Duration = Duration::from_secs(20);
/// The interval of instances' checks, which is the default.
const INSTANCE_INTERVAL: Duration = Duration::from_secs(10);
/// An interval is looked at in so many parts.
const PARTS: usize = 20;

const LIST_GOAL: f64 = 0.010;
const CPU_GOAL: f64 = 0.10;

fn main() {
    if tiny::is_instance() {
        return;
    }
    if machine::argument(0).as_deref() == Some("bare") {
        return load::bare(&machine::argument(1).unwrap());
    }
    let (tenants, seconds) = (machine::number(0, TENANTS), machine::number(1, SECONDS));
    machine::raise_file_limit();
    println!("{}", machine::about());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure(tenants as usize, Duration::from_secs(seconds)));
}

async fn measure(tenants: usize, alone: Duration) {
    let front = Front::start();
    if front.is_none() {
        println!("SKIPPED: nginx is needed for what is said of sites (apt-get install nginx-light)");
    }
    let application = tempfile::tempdir().unwrap();
    std::fs::write(application.path().join("README"), "A trivial application.\n").unwrap();
    let mut server = Server::start(&config(tenants, front.as_ref())).await;
    let fleet = Fleet { ids: create(&server, tenants, application.path()).await };
    bursts(&server, &fleet, front.as_ref()).await;
    list(&server, tenants).await;
    pass(&server).await;
    idle(&server, &fleet, alone).await;
    spread(&mut server, &fleet).await;
}

fn config(tenants: usize, front: Option<&Front>) -> String {
    let pairs = 2 * tenants as u16;
    // Processes listen on ports of their own, behind their tenant's.
    let own = pairs + 100;
    let (first, command) = (tiny::free_ports(pairs + own), tiny::command());
    format!(
        "[ports]\nfirst = {first}\nlast = {last}\nstep = 2\ninstances_first = {next}\ninstances_last = {end}\n\
         [deploy]\nnginx = \"{nginx}\"\nssl = \"off\"\n\
         [deploy.template.frontend]\ncommand = \"{command}\"\nhealth = \"/health\"\nstop_timeout = 2\n\
         [deploy.template.backend]\ncommand = \"{command}\"\nhealth = \"/health\"\nstop_timeout = 2\n{more}",
        last = first + pairs - 1,
        next = first + pairs,
        end = first + pairs + own - 1,
        nginx = if front.is_some() { "on" } else { "off" },
        more = front.map(Front::config).unwrap_or_default(),
    )
}

/// The tenants that there are.
struct Fleet {
    ids: Vec<String>,
}

/// Sends a request for each number, over connections that are kept; gives the answers' bodies.
async fn each(server: &Server, count: usize, what: impl Fn(usize) -> Request) -> Vec<Value> {
    let written: Vec<(Vec<u8>, u16)> = (0..count)
        .map(|n| {
            let Request { method, path, body, status } = what(n);
            let body = body.map_or_else(String::new, |body| body.to_string());
            (request(method, &path, &server.manager, &server.token, &body), status)
        })
        .collect();
    let (written, next) = (Arc::new(written), Arc::new(AtomicUsize::new(0)));
    let asking: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (written, next, address) = (Arc::clone(&written), Arc::clone(&next), server.manager.clone());
            tokio::spawn(async move {
                let (mut connection, mut answers) = (Connection::open(&address).await, Vec::new());
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let Some((request, wanted)) = written.get(n) else { return answers };
                    let status = connection.ask(request).await;
                    let answer = String::from_utf8_lossy(connection.answer()).into_owned();
                    assert_eq!(status, *wanted, "{answer}");
                    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
                    answers.push((n, serde_json::from_str(body).unwrap()));
                }
            })
        })
        .collect();
    let mut all: Vec<(usize, Value)> = Vec::new();
    for asking in asking {
        all.extend(asking.await.unwrap());
    }
    all.sort_by_key(|(n, _)| *n);
    all.into_iter().map(|(_, body)| body).collect()
}

struct Request {
    method: &'static str,
    path: String,
    body: Option<Value>,
    status: u16,
}

fn get(path: String) -> Request {
    Request { method: "GET", path, body: None, status: 200 }
}

async fn create(server: &Server, count: usize, application: &std::path::Path) -> Vec<String> {
    let created = each(server, count, |n| {
        let body = json!({
            "name": format!("Campaign of candidate {n}"), "slug": format!("t{n}"),
            "domain": format!("t{n}.example.com"), "api_domain": format!("api.t{n}.example.com"),
            "github_repo": format!("file://{}", application.display()), "notes": "Measured.",
        });
        Request { method: "POST", path: "/api/tenants".to_owned(), body: Some(body), status: 201 }
    });
    created.await.iter().map(|tenant| tenant["id"].as_str().unwrap().to_owned()).collect()
}

/// All are deployed at once, then all get other domains at once.
async fn bursts(server: &Server, fleet: &Fleet, front: Option<&Front>) {
    let count = fleet.ids.len();
    let reloads = || front.map_or(0, Front::reloads);
    println!("\n| {count} tenants at once | until done | each | nginx reloads |");
    println!("| --- | ---: | ---: | ---: |");
    let row = |name: &str, began: Instant, before: usize| {
        let took = began.elapsed();
        let reloads = front.map_or("no nginx".to_owned(), |front| (front.reloads() - before).to_string());
        let each = took.as_secs_f64() * 1e3 / count as f64;
        println!("| {name} | {:.1} s | {each:.1} ms | {reloads} |", took.as_secs_f64());
    };
    let (before, began) = (reloads(), Instant::now());
    each(server, count, |n| Request {
        method: "POST",
        path: format!("/api/tenants/{}/deploy", fleet.ids[n]),
        body: Some(json!({})),
        status: 202,
    })
    .await;
    let total = async |status: &str| {
        let page = server.get(&format!("/api/tenants?limit=1&status={status}")).await;
        page["total"].as_u64().unwrap()
    };
    while total("running").await < count as u64 {
        assert_eq!(total("error").await, 0, "{}", server.log());
        tokio::time::sleep(ASK_AGAIN).await;
    }
    row("deployed, all steps, until all run", began, before);
    let Some(front) = front else { return };
    let (before, began) = (reloads(), Instant::now());
    each(server, count, |n| Request {
        method: "PUT",
        path: format!("/api/tenants/{}", fleet.ids[n]),
        body: Some(json!({"domain": format!("t{n}.example.org")})),
        status: 200,
    })
    .await;
    while sites(front, count).await.len() < count {
        tokio::time::sleep(ASK_AGAIN).await;
    }
    row("another domain each, until nginx has a site for every one", began, before);
}

/// What nginx answers by itself for each new name. A site's answer is its own; all names without
/// a site get the same one.
async fn sites(front: &Front, count: usize) -> HashSet<Vec<u8>> {
    let mut connection = Connection::open(&front.address).await;
    let mut answers = HashSet::new();
    for n in 0..count {
        let asked = request("GET", PROOF, &format!("t{n}.example.org"), "", "");
        match connection.try_ask(&asked).await {
            Some(200) => {
                let head = connection.answer().windows(4).position(|window| window == b"\r\n\r\n");
                answers.insert(connection.answer()[head.unwrap()..].to_vec());
            }
            Some(_) => {}
            // nginx ends connections from time to time.
            None => connection = Connection::open(&front.address).await,
        }
    }
    answers
}

async fn list(server: &Server, tenants: usize) {
    let pages = [
        ("the default page", "/api/tenants", FEW_LISTING),
        ("the default page", "/api/tenants", LISTING),
        ("limit=1000", "/api/tenants?limit=1000", LISTING),
    ];
    for (name, path, clients) in pages {
        let (bare, bytes) = load::baseline(server, path).await;
        let (mut same, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..LIST_ROUNDS {
            same.push(load::load(&bare.address, "/same", &server.token, clients, LIST_TIME).await);
            ours.push(load::load(&server.manager, path, &server.token, clients, LIST_TIME).await);
        }
        let goal = if path.contains("limit") {
            String::new()
        } else {
            let p99 = load::middle(&ours, |run| run.p99);
            format!("p99 < {:.0} ms {}", LIST_GOAL * 1e3, machine::verdict(p99 < LIST_GOAL))
        };
        let title = format!(
            "`GET /api/tenants` of {tenants}, {name}, {clients} connections, {bytes} bytes, {}",
            load::generator()
        );
        let rows = [("bare axum, the same bytes", same, String::new()), ("tenantry serve", ours, goal)];
        load::table(&title, "bare", &rows);
    }
}

/// Requests to a tenant's frontend, while nothing else is asked and while the lists are.
async fn pass(server: &Server) {
    println!(
        "\n| requests through the proxy, {PASSING} connections | requests/s | p50 | p99 | p99 x alone | max |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    let mut alone = None;
    for (name, path) in [
        ("alone", None),
        ("while 16 clients list the default page", Some("/api/tenants")),
        ("while 16 clients list 1000 at a time", Some("/api/tenants?limit=1000")),
    ] {
        let load = async {
            match path {
                Some(path) => {
                    Some(load::load(&server.manager, path, &server.token, LISTING, LIST_TIME).await)
                }
                None => None,
            }
        };
        let (run, _) = tokio::join!(traffic(&server.manager, "api.t0.example.com"), load);
        let beside = run.p99 / *alone.get_or_insert(run.p99);
        println!(
            "| {name} | {:.0} | {:.2} ms | {:.2} ms | {beside:.1} | {:.1} ms |",
            run.rate,
            run.p50 * 1e3,
            run.p99 * 1e3,
            run.max * 1e3,
        );
    }
}

async fn traffic(address: &str, host: &str) -> Run {
    let asked: Arc<[u8]> = request("GET", "/", host, "", "").into();
    let began = Instant::now();
    let asking: Vec<_> = (0..PASSING)
        .map(|_| {
            let (asked, address) = (Arc::clone(&asked), address.to_owned());
            tokio::spawn(async move {
                let (mut connection, mut waits) = (Connection::open(&address).await, Vec::new());
                while began.elapsed() < LIST_TIME {
                    let began = Instant::now();
                    assert_eq!(connection.ask(&asked).await, 200);
                    waits.push(began.elapsed().as_secs_f64());
                }
                waits
            })
        })
        .collect();
    let mut waits = Vec::new();
    for asking in asking {
        waits.extend(asking.await.unwrap());
    }
    Run::of(waits, began.elapsed())
}

/// Processor time of control plane and keeper while nobody asks for anything.
async fn idle(server: &Server, fleet: &Fleet, alone: Duration) {
    let processes = [("control plane", server.pid()), ("keeper", server.keeper().unwrap())];
    let checks = async || {
        let page = server.client.get(format!("http://{}/metrics", server.manager)).send().await.unwrap();
        let page = page.text().await.unwrap();
        let lines = page.lines().filter_map(|line| line.strip_prefix("tenement_health_checks_total{"));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum::<u64>()
    };
    let (checked, from, began) = (checks().await, now_ms(), Instant::now());
    let before = processes.map(|(_, pid)| machine::cpu_of(pid));
    tokio::time::sleep(alone).await;
    let after = processes.map(|(_, pid)| machine::cpu_of(pid));
    let took = began.elapsed().as_secs_f64();
    let instances = checks().await - checked;
    let tenants = last_checks(server, fleet).await.into_iter().filter(|at| *at >= from).count();
    println!(
        "\n| left alone for {took:.0} s with {} tenants that run: {instances} checks of instances, {tenants} of tenants | % of a core | goal |",
        fleet.ids.len()
    );
    println!("| --- | ---: | --- |");
    for (n, (name, _)) in processes.into_iter().enumerate() {
        let share = (after[n] - before[n]).as_secs_f64() / took;
        let verdict = format!("{:.0} % {}", CPU_GOAL * 1e2, machine::verdict(share < CPU_GOAL));
        println!("| {name} | {:.1} | {} |", share * 1e2, if n == 0 { verdict } else { String::new() });
    }
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn ms(time: &Value) -> Option<i64> {
    Some(time.as_str()?.parse::<jiff::Timestamp>().ok()?.as_millisecond())
}

/// When each tenant was looked at last, in milliseconds.
async fn last_checks(server: &Server, fleet: &Fleet) -> Vec<i64> {
    let shown = each(server, fleet.ids.len(), |n| get(format!("/api/tenants/{}", fleet.ids[n]))).await;
    shown.iter().filter_map(|tenant| ms(&tenant["health_details"]["last_check"])).collect()
}

async fn last_instance_checks(server: &Server, fleet: &Fleet) -> Vec<i64> {
    let path = |n| format!("/api/instances/{}/t{}", ["frontend", "backend"][n % 2], n / 2);
    let shown = each(server, 2 * fleet.ids.len(), |n| get(path(n))).await;
    shown.iter().filter_map(|instance| ms(&instance["last_health_check"])).collect()
}

/// Starts it anew after a kill and looks at one interval of checks.
async fn spread(server: &mut Server, fleet: &Fleet) {
    let body = json!({"value": INTERVAL.as_secs().to_string()});
    server.put("/api/settings/health_check_interval", &body).await;
    server.replace();
    let (began, before) = (Instant::now(), machine::cpu_of(server.pid()));
    // The first interval is the one in which each finds its turn.
    tokio::time::sleep(INTERVAL + INTERVAL / 2).await;
    let share = (machine::cpu_of(server.pid()) - before).as_secs_f64() / began.elapsed().as_secs_f64();
    let of_tenants = Spread::of(last_checks(server, fleet).await, INTERVAL, 1.0);
    // Their intervals vary by a tenth, so the oldest tenth is not whole.
    let of_instances = Spread::of(last_instance_checks(server, fleet).await, INSTANCE_INTERVAL, 0.9);
    println!(
        "\n| checks after a `kill -9`, in twentieths of an interval | checks | mean | most | most / mean | none in |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for (name, spread) in [
        (format!("of tenants, every {} s", INTERVAL.as_secs()), of_tenants),
        (format!("of instances, every {} s", INSTANCE_INTERVAL.as_secs()), of_instances),
    ] {
        let Spread { checks, mean, most, none } = spread;
        println!("| {name} | {checks} | {mean:.1} | {most} | {:.2} | {none} |", most as f64 / mean);
    }
    println!("\nThe control plane took {:.1} % of a core from its start on.", share * 1e2);
}

/// How many checks fell into each part of an interval.
struct Spread {
    checks: usize,
    mean: f64,
    most: usize,
    /// Parts without any.
    none: usize,
}

impl Spread {
    /// Of the last checks of all, those in the newest share of the interval.
    fn of(last: Vec<i64>, interval: Duration, share: f64) -> Spread {
        let (end, part) =
            (last.iter().max().copied().unwrap_or(0), interval.as_millis() as i64 / PARTS as i64);
        let mut parts = vec![0; (PARTS as f64 * share) as usize];
        for at in last {
            if let Some(count) = parts.get_mut(((end - at) / part) as usize) {
                *count += 1;
            }
        }
        let checks = parts.iter().sum::<usize>();
        Spread {
            checks,
            mean: checks as f64 / parts.len() as f64,
            most: parts.iter().copied().max().unwrap_or(0),
            none: parts.iter().filter(|count| **count == 0).count(),
        }
    }
}
