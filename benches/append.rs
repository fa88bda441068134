//! How fast the journal takes events durably, and how fast it reads them back.
//!
//! Everything is measured in one run, in rounds that take turns, and each figure is the median
//! of its rounds, so that one hiccup of the disk decides nothing. It is told as a multiple of
//! the plainest durable log there is: `pwrite` of 256 bytes and `fdatasync`, one thread, a
//! growing file. The events are encoded, sealed and hashed as the engine does it; a writer
//! is a task that submits one event, waits until it is durable and visible, and goes on.
//!
//! The journal has no switch for its Merkle tree. What the tree costs is the difference between
//! two pipelines in short of the journal's public parts ([`support::pipeline`]), one with the
//! tree and one without, beside the journal's own.
//!
//! `cargo bench -p tenantry-journal --bench append [-- SECONDS ROUNDS [all|append|tree|read|writers=N [DIR]]]`

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use support::pipeline::{Pipeline, Tree};
use tenantry_journal::event::setting::SettingChanged;
use tenantry_journal::feed::Feed;
use tenantry_journal::group::{Author, Committed, GroupCommit, Poisoned, Publisher, Refused, Stage, Start};
use tenantry_journal::id::{CommandId, EventId, Seq, TenantId, UserId};
use tenantry_journal::merkle::Frontier;
use tenantry_journal::recorded::{Actor, Draft};
use tenantry_journal::scan;
use tenantry_journal::sealed::{Sealed, Secret, Vault};
use tenantry_journal::store::Journal;
use tenantry_journal::store::sled::{SEGMENT_BYTES, SledJournal};
use tenantry_journal::time::Timestamp;
use tokio::sync::oneshot;
use uuid::Uuid;

mod support {
    pub(crate) mod pipeline;
}

const EVENT_BYTES: usize = 256;
const SECONDS: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;
const WRITERS: [usize; 4] = [1, 64, 256, 1024];
/// Multiples of the bare loop that the journal must reach, for each number of writers.
const GOALS: [f64; 4] = [0.5, 11.0, 20.0, 30.0];
/// Writers with which the tree's share is measured.
const TREE_WRITERS: [usize; 2] = [64, 256];
/// What is left of the rate with the tree, at least.
const TREE_GOAL: f64 = 0.9;
/// How far the case without may be from itself, at the median, for that to be told.
const TREE_NOISE: f64 = 0.05;
/// Goal for the p99 of an acknowledgement, as a multiple of its p50.
const TAIL_GOAL: f64 = 5.0;
/// Events a second that a cold journal must be folded at.
const FOLD_GOAL: f64 = 1_000_000.0;

fn main() {
    // cargo puts `--bench` among the arguments.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let arg = |index: usize| args.get(index).map(String::as_str);
    let seconds = arg(0).and_then(|arg| arg.parse().ok()).map_or(SECONDS, Duration::from_secs_f64);
    let rounds = arg(1).and_then(|arg| arg.parse().ok()).unwrap_or(ROUNDS);
    let place = arg(3).unwrap_or(env!("CARGO_TARGET_TMPDIR"));
    let dir = tempfile::tempdir_in(place).expect("a directory on a disk");
    println!("an event takes {} bytes in memory", size_of::<Draft>());
    println!("{rounds} rounds of {seconds:?} each, in {}", dir.path().display());
    if let Some(writers) = arg(2).and_then(|what| what.strip_prefix("writers=")?.parse().ok()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let run = runtime.block_on(journal(&dir.path().join("journal"), writers, seconds));
        println!("{run:?}");
        return;
    }
    let asked = |what| arg(2).is_none_or(|only| only == what || only == "all");
    if asked("append") {
        append(dir.path(), seconds, rounds);
    }
    if asked("tree") {
        tree(dir.path(), seconds, rounds);
    }
    if asked("read") {
        read(dir.path());
    }
}

/// What one case reached in one round.
#[derive(Clone, Debug, Default)]
struct Run {
    rate: f64,
    /// Processor time of the whole process for one event, the writers' own included.
    cpu: Duration,
    p50: Duration,
    p99: Duration,
    max: Duration,
}

impl Run {
    fn of(events: usize, start: Stopwatch, mut waits: Vec<u32>) -> Run {
        let (took, cpu) = start.elapsed();
        waits.sort_unstable();
        let at = |share: f64| {
            let index = (waits.len() as f64 * share) as usize;
            Duration::from_nanos(
                u64::from(waits.get(index.min(waits.len().saturating_sub(1))).copied().unwrap_or(0)) * 100,
            )
        };
        let cpu = cpu / u32::try_from(events.max(1)).unwrap_or(u32::MAX);
        Run { rate: events as f64 / took.as_secs_f64(), cpu, p50: at(0.5), p99: at(0.99), max: at(1.0) }
    }

    /// The p99 of a wait as a multiple of its p50.
    fn tail(&self) -> f64 {
        self.p99.as_secs_f64() / self.p50.as_secs_f64()
    }
}

/// When a case began, by the clock and by the processor.
#[derive(Clone, Copy)]
struct Stopwatch(Instant, Duration);

impl Stopwatch {
    fn now() -> Self {
        Stopwatch(Instant::now(), cpu_time())
    }

    fn elapsed(self) -> (Duration, Duration) {
        (self.0.elapsed(), cpu_time().saturating_sub(self.1))
    }
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Waits are kept in units of 100 ns.
fn units(wait: Duration) -> u32 {
    u32::try_from(wait.as_nanos() / 100).unwrap_or(u32::MAX)
}

fn append(dir: &Path, seconds: Duration, rounds: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let mut cases: Vec<(String, Option<f64>, Vec<Run>)> = Vec::new();
    for round in 0..rounds {
        let mut index = 0;
        let mut add = |name: String, goal: Option<f64>, run: Run| {
            if round == 0 {
                cases.push((name, goal, Vec::new()));
            }
            if let Some((_, _, runs)) = cases.get_mut(index) {
                runs.push(run);
            }
            index += 1;
        };
        let fresh = |name: &str| {
            let path = dir.join(format!("{name}-{round}"));
            std::fs::create_dir(&path).expect("a fresh directory");
            path
        };
        add("bare pwrite + fdatasync".into(), None, bare(&fresh("bare"), seconds));
        add("SQLite, WAL, FULL, 1 writer".into(), None, sqlite(&fresh("sqlite"), seconds));
        for events in [1, 64, 256] {
            let name = format!("sled, flush + fdatasync, {events} in a value");
            add(name, None, raw_sled(&fresh(&format!("sled{events}")), events, seconds));
        }
        for (writers, goal) in WRITERS.into_iter().zip(GOALS) {
            let path = fresh(&format!("journal{writers}"));
            let run = runtime.block_on(journal(&path, writers, seconds));
            add(format!("journal, {writers} writers"), Some(goal), run);
        }
    }
    print_table(&cases);
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn print_table(cases: &[(String, Option<f64>, Vec<Run>)]) {
    let base: Vec<f64> =
        cases.first().map(|(_, _, runs)| runs.iter().map(|run| run.rate).collect()).unwrap_or_default();
    println!(
        "\n| durable appends of {EVENT_BYTES} bytes | events/s | x bare | goal | p50 | p99 | p99/p50 (rounds) | max | CPU |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (name, goal, runs) in cases {
        let middle = |of: &dyn Fn(&Run) -> f64| median(runs.iter().map(of).collect());
        let ratio = median(runs.iter().zip(&base).map(|(run, base)| run.rate / base).collect());
        let seconds =
            |of: &dyn Fn(&Run) -> Duration| Duration::from_secs_f64(middle(&|run| of(run).as_secs_f64()));
        let tail = middle(&Run::tail);
        let tails: Vec<String> = runs.iter().map(|run| format!("{:.1}", run.tail())).collect();
        // Told apart: on a busy disk the bare loop itself misses the second.
        let met = |met| if met { "met" } else { "MISSED" };
        let goal_met = goal.map_or(String::new(), |goal| {
            format!("{goal} {}, tail {}", met(ratio >= goal), met(tail < TAIL_GOAL))
        });
        println!(
            "| {name} | {:.0} | {ratio:.2} | {goal_met} | {:.0?} | {:.0?} | {tail:.1} ({}) | {:.0?} | {:.2?} |",
            middle(&|run| run.rate),
            seconds(&|run| run.p50),
            seconds(&|run| run.p99),
            tails.join(" "),
            seconds(&|run| run.max),
            seconds(&|run| run.cpu),
        );
    }
}

/// Calls `one` until the time is over; `one` makes `events` durable.
fn repeat(seconds: Duration, events: usize, mut one: impl FnMut(u64)) -> Run {
    let mut waits = Vec::with_capacity(1 << 20);
    let start = Stopwatch::now();
    let mut number = 0;
    while start.0.elapsed() < seconds {
        let before = Instant::now();
        one(number);
        waits.push(units(before.elapsed()));
        number += 1;
    }
    Run::of(number as usize * events, start, waits)
}

fn bare(dir: &Path, seconds: Duration) -> Run {
    let file = File::create(dir.join("log")).expect("a file");
    let event = [7u8; EVENT_BYTES];
    repeat(seconds, 1, |number| {
        file.write_all_at(&event, number * EVENT_BYTES as u64).expect("a write");
        file.sync_data().expect("a sync");
    })
}

fn sqlite(dir: &Path, seconds: Duration) -> Run {
    let connection = rusqlite::Connection::open(dir.join("db")).expect("a database");
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE events (seq INTEGER PRIMARY KEY, event BLOB NOT NULL);",
        )
        .expect("a table");
    let mut insert = connection.prepare("INSERT INTO events (event) VALUES (?1)").expect("a statement");
    let event = [7u8; EVENT_BYTES];
    repeat(seconds, 1, |_| {
        insert.execute([event.as_slice()]).expect("an insert");
    })
}

fn raw_sled(dir: &Path, events: usize, seconds: Duration) -> Run {
    let db = sled::Config::new()
        .path(dir)
        .segment_size(SEGMENT_BYTES)
        .flush_every_ms(None)
        .open()
        .expect("a store");
    let file = File::options().write(true).open(dir.join("db")).expect("its file");
    let value = vec![7u8; EVENT_BYTES * events];
    repeat(seconds, events, |number| {
        db.insert((number * events as u64).to_be_bytes(), value.as_slice()).expect("an insert");
        db.flush().expect("a flush");
        file.sync_data().expect("a sync");
    })
}

/// Records what it is handed.
struct Scribe;
type Caller = oneshot::Sender<Result<Seq, Poisoned>>;

impl Author for Scribe {
    type Request = (Draft, Caller);
    type Reply = (Caller, Seq);
    type State = ();

    fn decide(&mut self, (draft, caller): Self::Request, stage: &mut Stage) -> Self::Reply {
        let recorded = stage.record(vec![draft]).expect("the event is recordable");
        (caller, recorded.last().map_or(Seq::ZERO, |event| event.seq))
    }

    fn state(&mut self) {}
}

struct Teller(Arc<Feed>);

impl Publisher<Scribe> for Teller {
    fn publish(&mut self, (): (), commits: &[Committed]) {
        self.0.publish(commits);
    }

    fn answer(&mut self, (caller, seq): (Caller, Seq), outcome: Result<(), Poisoned>) {
        let _ = caller.send(outcome.map(|()| seq));
    }
}

fn tenant() -> TenantId {
    TenantId(Uuid::from_u128(0xa1))
}

/// An event whose record takes 256 bytes, with one sealed field in it.
fn event(number: u64) -> Draft {
    Draft {
        id: EventId(Uuid::from_u128(u128::from(number))),
        at: Timestamp(1_763_726_400_000),
        actor: Actor::User(UserId(Uuid::from_u128(0xb1))),
        tenant_id: Some(tenant()),
        instance_id: None,
        command_id: CommandId(Uuid::from_u128(u128::from(number))),
        caused_by: None,
        idempotency: None,
        event: SettingChanged {
            shown: None,
            key: "smtp.secret".into(),
            value: Sealed::new(tenant(), Secret::new("sealed!".into())),
        }
        .into(),
    }
}

fn pipeline(dir: &Path) -> (Arc<SledJournal>, Arc<dyn Vault>, GroupCommit<Scribe>) {
    let opened = tenantry_journal::open(dir).expect("a data directory");
    opened.keyring.create(tenant().into());
    let store: Arc<dyn Journal> = Arc::clone(&opened.store) as _;
    let vault: Arc<dyn Vault> = Arc::clone(&opened.keyring) as _;
    let feed = Arc::new(Feed::new(Arc::clone(&store), Arc::clone(&vault), store.head()));
    let group = GroupCommit::start(store, opened.keyring, Start::default(), Scribe, Teller(feed))
        .expect("two threads");
    (opened.store, vault, group)
}

async fn journal(dir: &Path, writers: usize, seconds: Duration) -> Run {
    let (store, _, group) = pipeline(dir);
    let run = submit_all(writers, seconds, || {
        let submitter = group.submitter();
        move |draft| {
            let (caller, answer) = oneshot::channel();
            match submitter.submit((draft, caller)) {
                Ok(()) => {}
                Err(Refused::Busy(_)) => panic!("the queue is longer than the writers are many"),
                Err(Refused::Stopped(_)) => panic!("stopped"),
            }
            async { answer.await.expect("an answer").expect("durable") }
        }
    })
    .await;
    let bytes: usize = scan::raw(&*store, store.head()).map(|record| record.len()).unwrap_or(0);
    assert!((EVENT_BYTES - 8..=EVENT_BYTES + 16).contains(&bytes), "a record takes {bytes} bytes");
    run
}

/// The same by a pipeline in short.
async fn in_short(dir: &Path, tree: Tree, writers: usize, seconds: Duration) -> Run {
    let opened = tenantry_journal::open(dir).expect("a data directory");
    opened.keyring.create(tenant().into());
    opened.keyring.sync().expect("a key");
    let pipeline = Pipeline::start(opened.store, opened.keyring, tree);
    submit_all(writers, seconds, || {
        let submitter = pipeline.submitter();
        move |draft| {
            let (caller, answer) = oneshot::channel();
            submitter.try_send((draft, caller)).expect("the queue is longer than the writers are many");
            async { answer.await.expect("an answer") }
        }
    })
    .await
}

/// Writers that each submit an event, wait until it is durable, and go on.
async fn submit_all<S, F>(writers: usize, seconds: Duration, submitter: impl Fn() -> S) -> Run
where
    S: Fn(Draft) -> F + Send + 'static,
    F: Future<Output = Seq> + Send,
{
    let start = Stopwatch::now();
    let tasks: Vec<_> = (0..writers as u64)
        .map(|writer| {
            let submit = submitter();
            tokio::spawn(async move {
                let mut waits = Vec::with_capacity(1 << 10);
                while start.0.elapsed() < seconds {
                    let before = Instant::now();
                    submit(event(writer << 32 | waits.len() as u64)).await;
                    waits.push(units(before.elapsed()));
                }
                waits
            })
        })
        .collect();
    let mut waits = Vec::new();
    for task in tasks {
        waits.extend(task.await.expect("a writer"));
    }
    Run::of(waits.len(), start, waits)
}

/// What the tree of hashes costs. Rounds take turns, and each has the case without it twice: when
/// that differs from itself, the disk is busy with something else and nothing is concluded.
fn tree(dir: &Path, seconds: Duration, rounds: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    println!("\n| appends with and without the tree | events/s | x without (quartiles) | CPU | goal |");
    println!("| --- | ---: | ---: | ---: | --- |");
    for writers in TREE_WRITERS {
        let mut runs = [const { Vec::new() }; 4];
        for round in 0..rounds {
            // Whoever comes first finds another disk than whoever comes last.
            for turn in 0..runs.len() {
                let case = (turn + round) % runs.len();
                let path = dir.join(format!("tree-{writers}-{round}-{case}"));
                let run = runtime.block_on(async {
                    match case {
                        0 | 1 => in_short(&path, Tree::LeftOut, writers, seconds).await,
                        2 => in_short(&path, Tree::Kept, writers, seconds).await,
                        _ => journal(&path, writers, seconds).await,
                    }
                });
                let _ = std::fs::remove_dir_all(&path);
                if let Some(runs) = runs.get_mut(case) {
                    runs.push(run);
                }
            }
        }
        let [without, again, with, journal] = &runs;
        let ratios = |runs: &[Run]| -> Vec<f64> {
            runs.iter().zip(without).map(|(run, base)| run.rate / base.rate).collect()
        };
        let is_quiet = (median(ratios(again)) - 1.0).abs() < TREE_NOISE;
        let verdict = match median(ratios(with)) {
            _ if !is_quiet => "UNDECIDED: without differs from itself",
            ratio if ratio >= TREE_GOAL => "met",
            _ => "MISSED",
        };
        for (name, runs, goal) in [
            ("in short, without the tree", without, String::new()),
            ("the same again", again, String::new()),
            ("in short, with the tree", with, format!("{TREE_GOAL} {verdict}")),
            ("the journal, which has more to do", journal, String::new()),
        ] {
            let mut ratios = ratios(runs);
            ratios.sort_by(f64::total_cmp);
            let quartile = |n: usize| ratios.get(ratios.len() * n / 4).copied().unwrap_or(0.0);
            println!(
                "| {name}, {writers} writers | {:.0} | {:.2} ({:.2} to {:.2}) | {:.2?} | {goal} |",
                median(runs.iter().map(|run| run.rate).collect()),
                quartile(2),
                quartile(1),
                quartile(3),
                Duration::from_secs_f64(median(runs.iter().map(|run| run.cpu.as_secs_f64()).collect())),
            );
        }
    }
}

/// Events that are written to be read.
const READ_EVENTS: u64 = 2_000_000;

fn read(dir: &Path) {
    let path: PathBuf = dir.join("read");
    let (store, _, group) = pipeline(&path);
    let start = Instant::now();
    let mut answers = std::collections::VecDeque::new();
    for number in 0..READ_EVENTS {
        let (caller, answer) = oneshot::channel();
        group.submit((event(number), caller)).expect("the queue has room");
        answers.push_back(answer);
        if answers.len() >= 2048 {
            answers.pop_front().map(|answer: oneshot::Receiver<_>| answer.blocking_recv());
        }
    }
    drop(answers);
    drop(group);
    let wrote = start.elapsed();
    println!(
        "\nwrote {READ_EVENTS} events from one thread in {wrote:.1?}: {:.0} MB on disk for {:.0} MB of events",
        store.size_on_disk().expect("a size") as f64 / 1e6,
        READ_EVENTS as f64 * EVENT_BYTES as f64 / 1e6,
    );
    drop(store);
    println!("\n| cold journal | events/s | took | CPU/event |\n| --- | ---: | ---: | ---: |");
    for attempt in ["first opening", "second opening"] {
        forget_cache();
        let start = Instant::now();
        let opened = tenantry_journal::open(&path).expect("a data directory");
        let took = start.elapsed();
        println!("| {attempt} | | {took:.1?} |");
        let vault: Arc<dyn Vault> = Arc::clone(&opened.keyring) as _;
        let head = opened.store.head();
        assert_eq!(head, Seq(READ_EVENTS));
        for (name, cold) in [("fold, cold", true), ("fold, in the page cache", false)] {
            if cold {
                forget_cache();
            }
            let start = Stopwatch::now();
            let mut secrets = 0;
            scan::fold(&*opened.store, &vault, Seq(1), head, None, |event| {
                secrets += usize::from(event.at > Timestamp(0));
            })
            .expect("a whole journal");
            let (took, cpu) = start.elapsed();
            let rate = secrets as f64 / took.as_secs_f64();
            let met = if rate >= FOLD_GOAL { "met" } else { "MISSED" };
            println!(
                "| {name} (goal {FOLD_GOAL:.0}: {met}) | {rate:.0} | {took:.1?} | {:.2?} |",
                cpu / secrets as u32
            );
        }
        let start = Instant::now();
        let mut frontier = Frontier::default();
        scan::hash(&*opened.store, &mut frontier, head).expect("a whole journal");
        let took = start.elapsed();
        println!("| verify every root | {:.0} | {took:.1?} |", head.0 as f64 / took.as_secs_f64());
    }
}

/// Asks the system to forget what it read; works for root alone.
fn forget_cache() {
    if std::fs::write("/proc/sys/vm/drop_caches", "3").is_err() {
        println!("(not root: the page cache is warm)");
    }
}
