//! How fast a journal is verified, how long a proof of it takes, and what the Merkle tree costs
//! who appends.
//!
//! Baseline of verifying: SHA-256 over the same records, in memory, and nothing else; on one
//! thread both. What the tree costs is measured on the same events as they are recorded: the
//! time of hashing them is set against the time that recording them durably takes, as if all
//! of it came on top.
//!
//! `cargo bench -p tenantry-journal --bench verify [-- EVENTS [DIR]]`

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark that fails may stop")]

use std::collections::VecDeque;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tenantry_journal::checkpoint::SigningKey;
use tenantry_journal::event::setting::SettingChanged;
use tenantry_journal::group::{Author, Committed, GroupCommit, Poisoned, Publisher, Stage, Start};
use tenantry_journal::id::{CommandId, EventId, Seq, TenantId, UserId};
use tenantry_journal::merkle::{self, Frontier};
use tenantry_journal::recorded::{Actor, Draft};
use tenantry_journal::sealed::{Sealed, Secret};
use tenantry_journal::store::Journal;
use tenantry_journal::tree::Tree;
use tenantry_journal::{receipt, scan};
use tokio::sync::oneshot;
use uuid::Uuid;

const EVENTS: u64 = 2_000_000;
const RUNS: usize = 5;
/// Goals: verifying, in events or bytes a second on one core, one of the two; the share of
/// hashing in recording.
const EVENTS_GOAL: f64 = 1e6;
const BYTES_GOAL: f64 = 1e9;
const SHARE_GOAL: f64 = 0.1;
const TENANTS: u64 = 1000;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let events = args.first().and_then(|arg| arg.parse().ok()).unwrap_or(EVENTS);
    let place = args.get(1).map_or(env!("CARGO_TARGET_TMPDIR"), String::as_str);
    let dir = tempfile::tempdir_in(place).unwrap();
    let recording = fill(dir.path(), events);
    let opened = tenantry_journal::open(dir.path()).unwrap();
    let store: &dyn Journal = &*opened.store;
    assert_eq!(store.head(), Seq(events));
    let bytes = verify(store, events);
    hashing(store, events, recording);
    proofs(store, dir.path(), events);
    tenants_receipt(store, events);
    println!("({events} events, {:.0} bytes each)", bytes as f64 / events as f64);
}

fn tenant(number: u64) -> TenantId {
    TenantId(Uuid::from_u128(0xa000 + u128::from(number % TENANTS)))
}

/// An event whose record takes 256 bytes, with one sealed field in it.
fn event(number: u64) -> Draft {
    let id = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let value = Sealed::new(tenant(number), Secret::new("sealed!".into()));
    Draft {
        id: EventId(Uuid::from_u128(id)),
        at: tenantry_journal::time::Timestamp(1_763_726_400_000 + number),
        actor: Actor::User(UserId(Uuid::from_u128(0xb1))),
        tenant_id: Some(tenant(number)),
        instance_id: None,
        command_id: CommandId(Uuid::from_u128(!id)),
        caused_by: None,
        idempotency: None,
        event: SettingChanged { shown: None, key: "smtp.secret".into(), value }.into(),
    }
}

struct Scribe;

impl Author for Scribe {
    type Request = (Draft, oneshot::Sender<()>);
    type Reply = oneshot::Sender<()>;
    type State = ();

    fn decide(&mut self, (draft, caller): Self::Request, stage: &mut Stage) -> Self::Reply {
        stage.record(vec![draft]).expect("the event is recordable");
        caller
    }

    fn state(&mut self) {}
}

struct Nobody;

impl Publisher<Scribe> for Nobody {
    fn publish(&mut self, (): (), _: &[Committed]) {}

    fn answer(&mut self, caller: oneshot::Sender<()>, outcome: Result<(), Poisoned>) {
        outcome.expect("durable");
        let _ = caller.send(());
    }
}

/// Records the events durably, some thousand at once; how long one took.
fn fill(dir: &Path, events: u64) -> Duration {
    let opened = tenantry_journal::open(dir).unwrap();
    for number in 0..TENANTS {
        opened.keyring.create(tenant(number).into());
    }
    let group =
        GroupCommit::start(opened.store as _, opened.keyring, Start::default(), Scribe, Nobody).unwrap();
    let mut waiting = VecDeque::new();
    let start = Instant::now();
    for number in 0..events {
        let (caller, answer) = oneshot::channel();
        group.submit((event(number), caller)).expect("the queue has room");
        waiting.push_back(answer);
        if waiting.len() >= 2048 {
            waiting.pop_front().unwrap().blocking_recv().unwrap();
        }
    }
    waiting.into_iter().for_each(|answer| answer.blocking_recv().unwrap());
    let took = start.elapsed();
    println!("recorded {events} events durably at {:.0}/s", events as f64 / took.as_secs_f64());
    took / u32::try_from(events).unwrap()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let made = black_box(work());
    (made, start.elapsed().as_secs_f64())
}

fn verify(store: &dyn Journal, events: u64) -> usize {
    let mut records: Vec<u8> = Vec::new();
    let mut ends = Vec::new();
    scan::records(store, &mut Frontier::default(), Seq(events), |_, record, _| {
        records.extend_from_slice(record);
        ends.push(records.len());
        Ok::<(), scan::ScanError>(())
    })
    .unwrap();
    let bytes = records.len();
    let (mut bare, mut whole) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let ((), took) = timed(|| {
            let mut from = 0;
            for end in &ends {
                black_box(Sha256::digest(&records[from..*end]));
                from = *end;
            }
        });
        bare.push(took);
        let (verified, took) = timed(|| scan::verify(store, Seq(events)).unwrap());
        assert!(verified.bad.is_none() && verified.checked == events);
        whole.push(took);
    }
    let (bare, whole) = (median(bare), median(whole));
    let rates = |took: f64| (events as f64 / took, bytes as f64 / took);
    println!("\n| one thread | events/s | MB/s | x bare |\n| --- | ---: | ---: | ---: |");
    for (name, took) in [("bare SHA-256 of each record", bare), ("verify: read, unpack, check, hash", whole)]
    {
        let (events, bytes) = rates(took);
        println!("| {name} | {events:.0} | {:.0} | {:.2} |", bytes / 1e6, bare / took);
    }
    let (events_rate, bytes_rate) = rates(whole);
    println!(
        "verify, goal 1 M events/s or 1 GB/s: {}",
        met(events_rate >= EVENTS_GOAL || bytes_rate >= BYTES_GOAL)
    );
    bytes
}

fn met(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

/// What the writer does for the tree, in the commits in which it did it.
fn hashing(store: &dyn Journal, events: u64, recording: Duration) {
    let some = events.min(200_000);
    let mut commits: Vec<Vec<Vec<u8>>> = Vec::new();
    let mut room = Vec::new();
    let mut next = Seq(1);
    while next.0 <= some {
        for stored in store.read(next, 1 << 20).unwrap() {
            let commit = stored.parse(&mut room).unwrap();
            commits.push(commit.records().map(|record| record.unwrap().1.to_vec()).collect());
            next = commit.last().next();
        }
    }
    let count: usize = commits.iter().map(Vec::len).sum();
    let took = (0..RUNS).map(|_| {
        let mut frontier = Frontier::default();
        timed(|| {
            for commit in &commits {
                black_box(frontier.root());
                commit.iter().for_each(|record| frontier.push(merkle::leaf(record)));
            }
        })
        .1
    });
    let hashing = median(took.collect()) / count as f64;
    let whole = recording.as_secs_f64();
    let share = hashing / (whole - hashing);
    println!(
        "\nhashing takes {:.0} ns of the {:.0} ns that recording an event takes ({} in a commit): {:.1} % more at \
         most (goal {:.0} %: {})",
        hashing * 1e9,
        whole * 1e9,
        count / commits.len(),
        share * 100.0,
        SHARE_GOAL * 100.0,
        met(share <= SHARE_GOAL)
    );
}

fn proofs(store: &dyn Journal, dir: &Path, events: u64) {
    let path = dir.join("nodes");
    let mut known = Frontier::default();
    scan::hash(store, &mut known, Seq(events)).unwrap();
    let mut tree = Tree::open(&path, &known);
    let ((), took) = timed(|| tree.follow(store, Seq(events)).unwrap());
    drop(tree);
    let bytes = std::fs::metadata(&path).unwrap().len();
    println!("\nnodes of {events} events made in {took:.2} s, {:.1} KB on disk", bytes as f64 / 1e3);
    let mut tree = Tree::open(&path, &known);
    let ((), took) = timed(|| tree.follow(store, Seq(events)).unwrap());
    println!("nodes found again, believed after {:.1} ms", took * 1e3);
    println!("\n| proof | p50 | p99 | max |\n| --- | ---: | ---: | ---: |");
    let mut number = 7u64;
    let mut random = || {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        number % events + 1
    };
    let row = |name: &str, mut one: Box<dyn FnMut() + '_>| {
        let mut took: Vec<f64> = (0..300).map(|_| timed(&mut one).1 * 1e3).collect();
        took.sort_by(f64::total_cmp);
        println!("| {name} | {:.2} ms | {:.2} ms | {:.2} ms |", took[150], took[297], took[299]);
    };
    let (tree, random) = (&std::cell::RefCell::new(&mut tree), &std::cell::RefCell::new(&mut random));
    row(
        "inclusion in the present tree",
        Box::new(|| {
            let seq = Seq((random.borrow_mut())());
            assert!(tree.borrow_mut().inclusion(store, seq, events).unwrap().holds());
        }),
    );
    row(
        "inclusion in an earlier tree",
        Box::new(|| {
            let (one, other) = {
                let mut random = random.borrow_mut();
                (random(), random())
            };
            let (seq, size) = (Seq(one.min(other)), one.max(other));
            assert!(tree.borrow_mut().inclusion(store, seq, size).unwrap().holds());
        }),
    );
    row(
        "consistency",
        Box::new(|| {
            let earlier = (random.borrow_mut())();
            assert!(tree.borrow_mut().consistency(store, earlier, events).unwrap().holds());
        }),
    );
}

fn tenants_receipt(store: &dyn Journal, events: u64) {
    let key = SigningKey::from_seed(&[1; 32]);
    let mut out = Vec::new();
    let ((), took) = timed(|| receipt::write(store, tenant(5), events, &key, &mut out).unwrap());
    let read: receipt::Receipt = serde_json::from_slice(&out).unwrap();
    let (_, checking) = timed(|| read.check(key.public()).unwrap());
    println!(
        "\nreceipt of a tenant with {} events: {:.2} MB, written in {took:.2} s ({:.2} M events/s), checked in {:.0} ms",
        read.events,
        out.len() as f64 / 1e6,
        events as f64 / took / 1e6,
        checking * 1e3
    );
}
