//! One event to a thousand sockets, with and without one among them that never reads.
//!
//! An event is a change of a tenant through the API; its delivery is the time from just
//! before the request is sent until a subscriber has the message. Beside it stands a bare
//! axum server that sends the same bytes through a broadcast channel and records nothing.
//! Between the two measurements 20,000 events go by, of which the sleeper takes none; it is
//! woken at the end and has to get every one.
//!
//! `cargo bench --bench subscribers [-- SUBSCRIBERS EVENTS FLOOD]`

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
use tenantry_journal::feed::RING_BYTES;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, broadcast};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

mod support {
    pub(crate) mod client;
    pub(crate) mod machine;
    pub(crate) mod server;
}

const SUBSCRIBERS: u64 = 1_000;
const EVENTS: u64 = 200;
const FLOOD: u64 = 20_000;
/// Readers while events come as fast as they can: what a thousand would read is another
/// measurement, of this machine's loopback.
const FLOOD_READERS: u64 = 10;
/// Writers at once in the flood.
const FLOOD_WRITERS: u64 = 16;
/// What the sleeper's side of its connection takes in before the server's side fills up.
const SLEEPER_BUFFER: u32 = 4096;
/// Longer than any part takes; reached only when something is lost.
const PATIENCE: Duration = Duration::from_secs(120);
/// How much slower the others may be beside the sleeper and still count as unaffected: two
/// runs without one differ by as much.
const UNAFFECTED: f64 = 1.25;
/// Memory that the flood beside the sleeper may add to what the one before it left, in MiB:
/// twice the ring of recent events. Whatever else events pass through (rendered ones, the
/// sleeper's page, its socket) is bounded and smaller, and was filled by the floods before.
const SLEEPER_MEMORY: u64 = ((2 * RING_BYTES) >> 20) as u64;

const PORTS: &str =
    "[ports]\nfirst = 2000\nlast = 9999\nstep = 2\n[deploy]\nnginx = \"off\"\nssl = \"off\"\n";

fn main() {
    if machine::argument(0).as_deref() == Some("bare") {
        return bare();
    }
    let (subscribers, events) = (machine::number(0, SUBSCRIBERS), machine::number(1, EVENTS));
    let flood = machine::number(2, FLOOD);
    machine::raise_file_limit();
    println!("{}", machine::about());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure(subscribers, events, flood));
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

async fn subscribe(target: &Target, buffer: Option<u32>) -> Socket {
    let socket = TcpSocket::new_v4().unwrap();
    if let Some(bytes) = buffer {
        socket.set_recv_buffer_size(bytes).unwrap();
    }
    let stream = socket.connect(target.address.parse().unwrap()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut request = format!("ws://{}/ws/events", target.address).into_client_request().unwrap();
    let bearer = format!("Bearer {}", target.token).parse().unwrap();
    request.headers_mut().insert("authorization", bearer);
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    let wanted = r#"{"type":"subscribe","filter":{"kind":"tenant.updated"}}"#;
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
            let mut socket = subscribe(target, None).await;
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

async fn measure(subscribers: u64, events: u64, flood: u64) {
    let helper = Helper::start(&["bare"]);
    let bare =
        Target { address: helper.address.clone(), token: "none".into(), path: "/api/tenants/x".into() };
    let server = Server::start(PORTS).await;
    let id = server.tenant("campaign").await;
    let path = format!("/api/tenants/{id}");
    let ours = Target { address: server.manager.clone(), token: server.token.clone(), path };
    let memory = || machine::memory(server.pid()).rss / 1024;

    let readers = Readers::start(&bare, subscribers).await;
    readers.one_by_one(&bare, events / 10, "warming up").await;
    let baseline = readers.one_by_one(&bare, events, "bare").await;
    readers.end().await;
    drop(helper);

    let readers = Readers::start(&ours, subscribers).await;
    readers.one_by_one(&ours, events / 10, "warming up").await;
    let without = readers.one_by_one(&ours, events, "without").await;
    let with_subscribers = memory();
    readers.end().await;

    let readers = Readers::start(&ours, FLOOD_READERS).await;
    // The ring of recent events and the allocator fill up in the first.
    readers.flood(&ours, flood, "warming up").await;
    let before = memory();
    let awake = readers.flood(&ours, flood, "awake").await;
    let after_awake = memory();
    let mut sleeper = subscribe(&ours, Some(SLEEPER_BUFFER)).await;
    let asleep = readers.flood(&ours, flood, "asleep").await;
    let after_asleep = memory();
    readers.end().await;

    let readers = Readers::start(&ours, subscribers).await;
    readers.one_by_one(&ours, events / 10, "warming up").await;
    let with = readers.one_by_one(&ours, events, "with").await;
    readers.end().await;

    println!(
        "\n| one event to {subscribers} sockets | p50 | p99 | max | last has it | p99 x without | goal |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | --- |");
    let unaffected = with.p50 < UNAFFECTED * without.p50 && with.p99 < UNAFFECTED * without.p99;
    let goal = format!("x {UNAFFECTED} {}", machine::verdict(unaffected));
    for (name, delivery, goal) in [
        ("bare axum, broadcast channel, nothing kept", baseline, ""),
        ("tenantry serve, durable first", without, ""),
        ("the same beside one that never reads", with, &*goal),
    ] {
        println!(
            "| {name} | {:.1} ms | {:.1} ms | {:.1} ms | {:.1} ms | {:.2} | {goal} |",
            delivery.p50 * 1e3,
            delivery.p99 * 1e3,
            delivery.max * 1e3,
            delivery.all * 1e3,
            delivery.p99 / without.p99
        );
    }
    println!(
        "\n| {flood} events, {FLOOD_READERS} readers | events/s to all | resident before | after | goal |"
    );
    println!("| --- | ---: | ---: | ---: | --- |");
    let rate = |took: Duration| flood as f64 / took.as_secs_f64();
    let grown = after_asleep.saturating_sub(after_awake);
    let goal = format!("+{SLEEPER_MEMORY} MiB {}", machine::verdict(grown <= SLEEPER_MEMORY));
    println!("| without a sleeper | {:.0} | {before} MiB | {after_awake} MiB | |", rate(awake));
    println!(
        "| beside one that never reads | {:.0} | {after_awake} MiB | {after_asleep} MiB | {goal} |",
        rate(asleep)
    );

    let missed = flood + events + events / 10;
    let mut last = 0;
    let woken = async {
        for _ in 0..missed {
            // The server's pings are among them when the flood takes long.
            let mut message = sleeper.next().await.unwrap().unwrap();
            while !message.is_text() {
                message = sleeper.next().await.unwrap().unwrap();
            }
            let seq = seq(message.to_text().unwrap());
            assert!(seq > last, "{seq} after {last}");
            last = seq;
        }
    };
    tokio::time::timeout(PATIENCE, woken).await.expect("the sleeper gets everything");
    println!(
        "\nWoken, the sleeper got all {missed} events it had missed, in order. With {subscribers} subscribers the \
         server had {with_subscribers} MiB resident."
    );
}

/// The position in a message.
fn seq(text: &str) -> u64 {
    let message: serde_json::Value = serde_json::from_str(text).unwrap();
    message.pointer("/event/seq").and_then(serde_json::Value::as_u64).unwrap_or_else(|| panic!("{text}"))
}
