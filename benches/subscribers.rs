//! One event to a thousand sockets, with and without one among them that never reads; and
//! what memory it takes that events go by.
//!
//! An event is a change of a tenant through the API; its delivery is the time from just
//! before the request is sent until a subscriber has the message. Beside it stands a bare
//! axum server that sends the same bytes through a broadcast channel and records nothing.
//! Rounds with and without the sleeper take turns on one server, with the same thousand
//! readers, and each ratio is one of two neighbours: this machine's own unrest, which makes
//! the p99s of two runs without a sleeper differ by half, is on both sides of it.
//!
//! Memory: three floods of events on a server of their own, twice: without a sleeper, and
//! beside one that is there from the start and takes none of them. It is woken at the end
//! and has to get every one.
//!
//! `cargo bench --bench subscribers [-- SUBSCRIBERS EVENTS FLOOD ROUNDS]`

#![allow(clippy::unwrap_used, reason = "a benchmark that fails may stop")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message as AxumMessage, Utf8Bytes, WebSocketUpgrade};
use axum::routing::{any, post};
use futures_util::{SinkExt as _, StreamExt as _};
use support::client::{Connection, request};
use support::machine;
use support::server::{Helper, Server};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, broadcast};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

mod support {
    pub(crate) mod client;
    pub(crate) mod machine;
    pub(crate) mod server;
}

const SUBSCRIBERS: u64 = 1_000;
/// Events of one round.
const EVENTS: u64 = 60;
const ROUNDS: u64 = 7;
const FLOOD: u64 = 20_000;
/// Floods of one server.
const FLOODS: usize = 3;
/// Readers while events come as fast as they can: what a thousand would read is another
/// measurement, of this machine's loopback.
const FLOOD_READERS: u64 = 10;
/// Writers at once in the flood.
const FLOOD_WRITERS: u64 = 16;
/// What a reader reads at once: the library clears as much before each try, and the readers
/// take the same processors as the server.
const READER_BUFFER: usize = 4096;
/// What the sleeper's side of its connection takes in before the server's side fills up.
const SLEEPER_BUFFER: u32 = 4096;
/// What it takes in once it is woken.
const AWAKE_BUFFER: usize = 1024 * 1024;
/// Longer than any part takes; reached only when something is lost.
const PATIENCE: Duration = Duration::from_secs(120);
/// How much slower the others may be beside the sleeper and still count as unaffected.
const UNAFFECTED: f64 = 1.25;
/// What a server may have more in memory after the last flood than after the one before, in
/// MiB. What is bounded is full by then (the ring of recent events, the rendered ones, the
/// store's cache); were anything kept for each event, or for the sleeper, a flood would add
/// all of it: about 14 MiB of JSON. The rest is the allocator's, which gives pages back late.
const GROWTH: u64 = 6;
/// What a server may have more beside the sleeper than without one, after the last flood, in
/// MiB: the sleeper itself holds a page of events and what was written ahead for it. Two
/// servers without a sleeper differ by some MiB.
const SLEEPER_SHARE: u64 = 6;

const PORTS: &str =
    "[ports]\nfirst = 2000\nlast = 9999\nstep = 2\n[deploy]\nnginx = \"off\"\nssl = \"off\"\n";

fn main() {
    if machine::argument(0).as_deref() == Some("bare") {
        return bare();
    }
    let (subscribers, events) = (machine::number(0, SUBSCRIBERS), machine::number(1, EVENTS));
    let (flood, rounds) = (machine::number(2, FLOOD), machine::number(3, ROUNDS));
    machine::raise_file_limit();
    println!("{}", machine::about());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        deliver(subscribers, events, rounds, flood).await;
        remember(flood).await;
    });
}

/// A WebSocket server that hands on what is posted.
#[tokio::main]
async fn bare() {
    machine::raise_file_limit();
    let channel = broadcast::Sender::<Utf8Bytes>::new(1024);
    let subscribe = |State(channel): State<broadcast::Sender<Utf8Bytes>>, upgrade: WebSocketUpgrade| async move {
        upgrade.write_buffer_size(0).on_upgrade(move |mut socket| async move {
            let mut messages = channel.subscribe();
            let _ = socket.send(AxumMessage::Text(r#"{"type":"subscribed"}"#.into())).await;
            while let Ok(message) = messages.recv().await {
                if socket.send(AxumMessage::Text(message)).await.is_err() {
                    return;
                }
            }
        })
    };
    let publish = |State(channel): State<broadcast::Sender<Utf8Bytes>>, body: String| async move {
        drop(channel.send(body.into()));
        "sent"
    };
    let router = Router::new()
        .route("/ws/events", any(subscribe))
        .route("/api/tenants/x", post(publish).put(publish))
        .with_state(channel);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    axum::serve(listener, router).await.unwrap();
}

/// Where events are made and followed.
#[derive(Clone)]
struct Target {
    address: String,
    token: String,
    path: String,
}

type Socket = WebSocketStream<TcpStream>;

async fn subscribe(target: &Target) -> Socket {
    subscribe_from(target, None, None).await
}

/// One whose side of the connection takes in next to nothing.
async fn sleeper(target: &Target, from: Option<u64>) -> Socket {
    subscribe_from(target, Some(SLEEPER_BUFFER), from).await
}

async fn subscribe_from(target: &Target, buffer: Option<u32>, from: Option<u64>) -> Socket {
    let socket = TcpSocket::new_v4().unwrap();
    if let Some(bytes) = buffer {
        socket.set_recv_buffer_size(bytes).unwrap();
    }
    let stream = socket.connect(target.address.parse().unwrap()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut request = format!("ws://{}/ws/events", target.address).into_client_request().unwrap();
    let bearer = format!("Bearer {}", target.token).parse().unwrap();
    request.headers_mut().insert("authorization", bearer);
    let settings = WebSocketConfig::default().read_buffer_size(READER_BUFFER);
    let (mut socket, _) =
        tokio_tungstenite::client_async_with_config(request, stream, Some(settings)).await.unwrap();
    let from = from.map(|from| format!(r#""from_seq":{from},"#)).unwrap_or_default();
    let wanted = format!(r#"{{"type":"subscribe",{from}"filter":{{"kind":"tenant.updated"}}}}"#);
    socket.send(Message::text(wanted)).await.unwrap();
    let answer = socket.next().await.unwrap().unwrap();
    assert!(answer.to_text().unwrap().contains("subscribed"), "{answer}");
    socket
}

/// Subscribers that read, and what they have read.
struct Readers {
    tasks: JoinSet<()>,
    seen: Arc<Seen>,
    count: u64,
}

struct Seen {
    began: Instant,
    /// When the present event was sent, in nanoseconds after `began`.
    sent: AtomicU64,
    messages: AtomicU64,
    /// Messages after which `all` is told.
    wanted: AtomicU64,
    all: Notify,
    waits: Mutex<Vec<f64>>,
}

impl Seen {
    fn note(&self) {
        let now = self.began.elapsed().as_nanos() as u64;
        let wait = now.saturating_sub(self.sent.load(Ordering::Acquire));
        // Before it is counted: whoever waits for the count takes all of them.
        self.waits.lock().unwrap().push(wait as f64 / 1e9);
        if self.messages.fetch_add(1, Ordering::AcqRel) + 1 == self.wanted.load(Ordering::Acquire) {
            self.all.notify_one();
        }
    }
}

impl Readers {
    async fn start(target: &Target, count: u64) -> Readers {
        let seen = Arc::new(Seen {
            began: Instant::now(),
            sent: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            wanted: AtomicU64::new(u64::MAX),
            all: Notify::new(),
            waits: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            let mut socket = subscribe(target).await;
            let seen = Arc::clone(&seen);
            tasks.spawn(async move {
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_text() {
                        seen.note();
                    }
                }
            });
        }
        Readers { tasks, seen, count }
    }

    /// Makes events one after the other, each when all readers have the one before.
    async fn one_by_one(&self, target: &Target, events: u64, mark: &str) -> Delivery {
        let mut connection = Connection::open(&target.address).await;
        self.seen.waits.lock().unwrap().clear();
        let mut last = Vec::new();
        for n in 0..events {
            let before = self.seen.messages.load(Ordering::Acquire);
            self.seen.wanted.store(before + self.count, Ordering::Release);
            let request = change(target, &format!("{mark} {n}"));
            self.seen.sent.store(self.seen.began.elapsed().as_nanos() as u64, Ordering::Release);
            assert_eq!(connection.ask(&request).await, 200);
            self.all().await;
            last.push(self.seen.waits.lock().unwrap().last().copied().unwrap_or_default());
        }
        let mut waits = std::mem::take(&mut *self.seen.waits.lock().unwrap());
        assert_eq!(waits.len() as u64, events * self.count, "each has each event once");
        waits.sort_by(f64::total_cmp);
        let at = |share| machine::at(&waits, share);
        Delivery { p50: at(0.5), p99: at(0.99), max: at(1.0), all: machine::median(last) }
    }

    async fn all(&self) {
        tokio::time::timeout(PATIENCE, self.seen.all.notified()).await.expect("every reader has every event");
    }

    /// Makes events as fast as they become durable; gives the time until all readers have them.
    async fn flood(&self, target: &Target, events: u64, mark: &'static str) -> Duration {
        let before = self.seen.messages.load(Ordering::Acquire);
        self.seen.wanted.store(before + self.count * events, Ordering::Release);
        let began = Instant::now();
        let mut writers = JoinSet::new();
        for writer in 0..FLOOD_WRITERS {
            let target = target.clone();
            writers.spawn(async move {
                let mut connection = Connection::open(&target.address).await;
                for n in (writer..events).step_by(FLOOD_WRITERS as usize) {
                    let request = change(&target, &format!("{mark} {n}"));
                    assert_eq!(connection.ask(&request).await, 200);
                }
            });
        }
        while let Some(done) = writers.join_next().await {
            done.unwrap();
        }
        self.all().await;
        began.elapsed()
    }

    async fn end(mut self) {
        self.tasks.shutdown().await;
    }
}

/// A change of the tenant that is one event.
fn change(target: &Target, notes: &str) -> Vec<u8> {
    let body = format!(r#"{{"notes":"{notes}"}}"#);
    request("PUT", &target.path, &target.address, &target.token, &body)
}

#[derive(Clone, Copy, Debug)]
struct Delivery {
    p50: f64,
    p99: f64,
    max: f64,
    /// Median over the events of the time until the last subscriber had it.
    all: f64,
}

impl Delivery {
    /// The median of each.
    fn middle(of: &[Delivery]) -> Delivery {
        let middle = |part: fn(&Delivery) -> f64| machine::median(of.iter().map(part).collect());
        Delivery {
            p50: middle(|delivery| delivery.p50),
            p99: middle(|delivery| delivery.p99),
            max: middle(|delivery| delivery.max),
            all: middle(|delivery| delivery.all),
        }
    }
}

/// A server with one tenant that is changed.
async fn server() -> (Server, Target) {
    let server = Server::start(PORTS).await;
    let id = server.tenant("campaign").await;
    let path = format!("/api/tenants/{id}");
    let target = Target { address: server.manager.clone(), token: server.token.clone(), path };
    (server, target)
}

/// Waits until the server has written all that its sleepers' sockets take.
async fn stuck(server: &Server) {
    let mut before = None;
    loop {
        let page = server.client.get(format!("http://{}/metrics", server.manager)).send().await.unwrap();
        let sent = page.text().await.unwrap();
        let sent =
            sent.lines().find(|line| line.starts_with("tenantry_feed_sent_events_total")).map(str::to_owned);
        assert!(sent.is_some(), "the metric is there");
        if sent == before {
            return;
        }
        before = sent;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn deliver(subscribers: u64, events: u64, rounds: u64, flood: u64) {
    let helper = Helper::start(&["bare"]);
    let bare =
        Target { address: helper.address.clone(), token: "none".into(), path: "/api/tenants/x".into() };
    let readers = Readers::start(&bare, subscribers).await;
    readers.one_by_one(&bare, events, "warming up").await;
    let baseline = readers.one_by_one(&bare, events, "bare").await;
    readers.end().await;
    drop(helper);

    let (server, ours) = server().await;
    let readers = Readers::start(&ours, 1).await;
    // More than a sleeper's socket takes, so that one that begins with it is stuck at once.
    readers.flood(&ours, flood, "warming up").await;
    readers.end().await;
    let readers = Readers::start(&ours, subscribers).await;
    readers.one_by_one(&ours, events, "warming up").await;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let alone = async || readers.one_by_one(&ours, events, "without").await;
        let beside = async || {
            let sleeper = sleeper(&ours, Some(1)).await;
            stuck(&server).await;
            let delivery = readers.one_by_one(&ours, events, "with").await;
            drop(sleeper);
            delivery
        };
        if round % 2 == 0 {
            without.push(alone().await);
            with.push(beside().await);
        } else {
            with.push(beside().await);
            without.push(alone().await);
        }
    }
    readers.end().await;

    println!(
        "\n| one event to {subscribers} sockets, medians of {rounds} rounds | p50 | p99 | max | last has it | \
         p99 x without | goal |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | --- |");
    let ratios = |of: fn(&Delivery) -> f64| {
        let mut ratios: Vec<f64> =
            with.iter().zip(&without).map(|(with, without)| of(with) / of(without)).collect();
        ratios.sort_by(f64::total_cmp);
        ratios
    };
    let (p50, p99) = (ratios(|delivery| delivery.p50), ratios(|delivery| delivery.p99));
    let (p50, middle) = (machine::at(&p50, 0.5), machine::at(&p99, 0.5));
    let goal = format!("x {UNAFFECTED} {}", machine::verdict(p50 < UNAFFECTED && middle < UNAFFECTED));
    let beside = format!("{middle:.2} ({:.2} to {:.2})", machine::at(&p99, 0.0), machine::at(&p99, 1.0));
    for (name, delivery, ratio, goal) in [
        ("bare axum, broadcast channel, nothing kept", baseline, String::new(), ""),
        ("tenantry serve, durable first", Delivery::middle(&without), "1".to_owned(), ""),
        ("the same beside one that never reads", Delivery::middle(&with), beside, &*goal),
    ] {
        println!(
            "| {name} | {:.1} ms | {:.1} ms | {:.1} ms | {:.1} ms | {ratio} | {goal} |",
            delivery.p50 * 1e3,
            delivery.p99 * 1e3,
            delivery.max * 1e3,
            delivery.all * 1e3,
        );
    }
}

/// Memory of a server, in MiB, before the first flood and after each.
struct Remembered {
    resident: Vec<u64>,
    rate: f64,
}

impl Remembered {
    async fn floods(server: &Server, target: &Target, flood: u64, mark: &'static str) -> Remembered {
        let memory = || machine::memory(server.pid()).rss / 1024;
        let readers = Readers::start(target, FLOOD_READERS).await;
        let mut resident = vec![memory()];
        let mut took = Duration::ZERO;
        for _ in 0..FLOODS {
            took += readers.flood(target, flood, mark).await;
            resident.push(memory());
        }
        readers.end().await;
        Remembered { resident, rate: (flood * FLOODS as u64) as f64 / took.as_secs_f64() }
    }

    fn last(&self) -> u64 {
        self.resident.last().copied().unwrap_or_default()
    }

    /// Over the last flood.
    fn growth(&self) -> u64 {
        let before = self.resident.iter().rev().nth(1).copied().unwrap_or_default();
        self.last().saturating_sub(before)
    }
}

async fn remember(flood: u64) {
    let awake = {
        let (server, target) = server().await;
        Remembered::floods(&server, &target, flood, "awake").await
    };
    let (server, target) = server().await;
    let mut sleeper = sleeper(&target, None).await;
    let asleep = Remembered::floods(&server, &target, flood, "asleep").await;

    let all = flood * FLOODS as u64;
    println!(
        "\n| {all} events, {FLOOD_READERS} readers | events/s to all | resident before, and after each {flood} | the last {flood} added | more than without | goal |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | --- |");
    let share = asleep.last().saturating_sub(awake.last());
    let bounded = machine::verdict(awake.growth() <= GROWTH);
    let both = machine::verdict(asleep.growth() <= GROWTH && share <= SLEEPER_SHARE);
    for (name, remembered, share, goal) in [
        ("without a sleeper", &awake, String::new(), format!("+{GROWTH} MiB {bounded}")),
        (
            "beside one that never reads",
            &asleep,
            format!("+{share} MiB"),
            format!("+{GROWTH} and +{SLEEPER_SHARE} MiB {both}"),
        ),
    ] {
        let resident: Vec<String> = remembered.resident.iter().map(u64::to_string).collect();
        println!(
            "| {name} | {:.0} | {} MiB | +{} MiB | {share} | {goal} |",
            remembered.rate,
            resident.join(", "),
            remembered.growth(),
        );
    }

    // Whoever wakes up has room again. With the two KiB that kept it stuck, the connection itself
    // would be measured: each of twenty thousand windows is closed and opened again, and where
    // the opening is not told at once the kernel asks after it at growing distances.
    rustix::net::sockopt::set_socket_recv_buffer_size(sleeper.get_ref(), AWAKE_BUFFER).unwrap();
    let began = Instant::now();
    let (mut got, mut last) = (0, 0);
    let woken = async {
        while got < all {
            // The server's pings are among them when the flood takes long.
            let message = sleeper.next().await.unwrap().unwrap();
            if !message.is_text() {
                continue;
            }
            let seq = seq(message.to_text().unwrap());
            assert!(seq > last, "{seq} after {last}");
            (got, last) = (got + 1, seq);
        }
    };
    let done = tokio::time::timeout(PATIENCE, woken).await;
    assert!(done.is_ok(), "the sleeper got {got} of {all} events, the last one is {last}");
    println!(
        "\nWoken, the sleeper got all {all} events it had missed, in order, in {:.1} s.",
        began.elapsed().as_secs_f64()
    );
}

/// The position in a message.
fn seq(text: &str) -> u64 {
    let message: serde_json::Value = serde_json::from_str(text).unwrap();
    message.pointer("/event/seq").and_then(serde_json::Value::as_u64).unwrap_or_else(|| panic!("{text}"))
}
