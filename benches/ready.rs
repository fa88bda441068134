//! How long a control plane takes from a cold data directory to the World at its head.
//!
//! Without snapshots it folds everything: measured with as little beside it as can be, the
//! plain reading of the same files and the scan that checks and hashes every record but
//! decodes none. What runs where, with two cores or more: one thread fetches from the store,
//! one checks, hashes and decodes, the caller's folds; its own processor time is told beside
//! that of all together. On one core (`taskset -c 0`) a single thread does everything in
//! turn. With a snapshot near the head it must be ready in under a second, however
//! long the journal. The journals are written by the journal's own pipeline.
//!
//! `cargo bench --bench ready [-- EVENTS LONG_EVENTS TENANTS [DIR]]`

#![allow(clippy::unwrap_used, reason = "a benchmark that fails may stop")]

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use support::history::History;
use support::{journal, machine};
use tenantry::engine::boot;
use tenantry_journal::id::Seq;
use tenantry_journal::merkle::Frontier;
use tenantry_journal::scan;
use tenantry_journal::sealed::Vault;
use tenantry_projections::snapshot::{Snapshots, TreeState};
use tenantry_projections::world::World;

mod support {
    pub(crate) mod history;
    pub(crate) mod journal;
    pub(crate) mod machine;
}

/// The program's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EVENTS: u64 = 1_000_000;
const LONG_EVENTS: u64 = 10_000_000;
const TENANTS: u64 = 10_000;
/// Events after the newest snapshot: the control plane writes one at least every 50,000, so
/// this is a little less than what is left to fold on average.
const AFTER_SNAPSHOT: u64 = 20_000;
const ROUNDS: usize = 3;

const FOLD_GOAL: f64 = 1_000_000.0;
const READY_GOAL: Duration = Duration::from_secs(1);

fn main() {
    let (events, long) = (machine::number(0, EVENTS), machine::number(1, LONG_EVENTS));
    let tenants = machine::number(2, TENANTS);
    let place = machine::argument(3).unwrap_or(env!("CARGO_TARGET_TMPDIR").to_owned());
    println!("{}", machine::about());
    let dir = tempfile::tempdir_in(place).unwrap();
    if events > 0 {
        let path = dir.path().join("whole");
        write(&path, events, tenants, None);
        fold(&path, events, tenants);
        fs::remove_dir_all(&path).unwrap();
    }
    if long > 0 {
        let path = dir.path().join("long");
        write(&path, long, tenants, Some(long.saturating_sub(AFTER_SNAPSHOT)));
        ready(&path, long, tenants);
    }
}

/// Writes a journal, and beside it a snapshot of the World at `snapshot_at`.
fn write(path: &Path, events: u64, tenants: u64, snapshot_at: Option<u64>) {
    let mut world = World::default();
    let mut kept = None;
    let history = History::of(tenants).take(usize::try_from(events).unwrap());
    let opened = journal::write(path, history, |recorded| {
        if snapshot_at.is_some() {
            world.evolve(recorded);
        }
        if snapshot_at == Some(recorded.seq.0) {
            kept = Some(world.clone());
        }
    });
    if let Some(world) = kept {
        let mut frontier = Frontier::default();
        scan::hash(&*opened.store, &mut frontier, world.seq).unwrap();
        let snapshots = Snapshots::open(path.join("snapshots"), opened.keyring as Arc<dyn Vault>).unwrap();
        let tree = TreeState { size: frontier.size(), peaks: frontier.peaks().to_vec() };
        let bytes = snapshots.write(&world, &tree).unwrap();
        println!("snapshot at {}: {:.1} MB", world.seq.0, bytes as f64 / 1e6);
    }
}

/// Makes the kernel forget the journal, when it lets us; says whether it did.
fn go_cold() -> &'static str {
    if machine::forget_cache() { "cold" } else { "in the page cache (not root)" }
}

fn timed<R>(work: impl FnOnce() -> R) -> (R, Duration) {
    let (result, took, _) = timed_with_cpu(work);
    (result, took)
}

/// The result, the time by the clock, and the processor's.
fn timed_with_cpu<R>(work: impl FnOnce() -> R) -> (R, Duration, Duration) {
    let (began, cpu) = (Instant::now(), machine::cpu_time());
    let result = work();
    (result, began.elapsed(), machine::cpu_time().saturating_sub(cpu))
}

/// What was measured in each round, and what is to be reached.
struct Line {
    name: &'static str,
    rates: Vec<f64>,
    /// Processor time for one event in nanoseconds, all threads together.
    cpu: Vec<f64>,
    goal: Option<f64>,
}

fn fold(path: &Path, events: u64, tenants: u64) {
    let mut lines = [
        ("reading the files from first to last", None),
        ("scan: every checksum and Merkle root, nothing decoded", None),
        ("`open`", None),
        ("`boot`: the same, decoded, opened, folded into the World", None),
        ("`open` + `boot`", Some(FOLD_GOAL)),
    ]
    .map(|(name, goal)| Line { name, rates: Vec::new(), cpu: Vec::new(), goal });
    let mut temperature = "";
    let mut folding = Vec::new();
    for _ in 0..ROUNDS {
        temperature = go_cold();
        let (_, plain, plain_cpu) = timed_with_cpu(|| read_files(&path.join("journal")));
        go_cold();
        let (opened, _) = timed(|| tenantry_journal::open(path).unwrap());
        let (_, scanned, scanned_cpu) = timed_with_cpu(|| {
            scan::hash(&*opened.store, &mut Frontier::default(), Seq(events)).unwrap();
        });
        drop(opened);
        go_cold();
        let (opened, open, open_cpu) = timed_with_cpu(|| tenantry_journal::open(path).unwrap());
        let vault = Arc::clone(&opened.keyring) as Arc<dyn Vault>;
        let snapshots = Snapshots::open(path.join("none"), Arc::clone(&vault)).unwrap();
        let own = machine::own_cpu_time();
        let (booted, folded, folded_cpu) =
            timed_with_cpu(|| boot(&*opened.store, &vault, &snapshots).unwrap());
        folding.push((machine::own_cpu_time() - own).as_nanos() as f64 / events as f64);
        assert_eq!(booted.world.seq, Seq(events));
        assert_eq!(booted.world.tenants.len() as u64, tenants.min(events));
        let times = [
            (plain, plain_cpu),
            (scanned, scanned_cpu),
            (open, open_cpu),
            (folded, folded_cpu),
            (open + folded, open_cpu + folded_cpu),
        ];
        for (line, (took, cpu)) in lines.iter_mut().zip(times) {
            line.rates.push(events as f64 / took.as_secs_f64());
            line.cpu.push(cpu.as_nanos() as f64 / events as f64);
        }
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "\n| fold of {events} events, {temperature}, cores to use: {cores} | events/s | x scan | took | CPU/event | goal |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | --- |");
    let base = lines.get(1).map(|line| machine::median(line.rates.clone())).unwrap_or_default();
    for line in &lines {
        let rate = machine::median(line.rates.clone());
        let goal = line.goal.map_or(String::new(), |goal| {
            format!("{:.0} M/s {}", goal / 1e6, machine::verdict(rate >= goal))
        });
        println!(
            "| {} | {rate:.0} | {:.2} | {:.0} ms | {:.0} ns | {goal} |",
            line.name,
            rate / base,
            events as f64 / rate * 1e3,
            machine::median(line.cpu.clone()),
        );
    }
    println!("The thread that folds takes {:.0} ns of `boot`'s processor time.", machine::median(folding));
}

fn ready(path: &Path, events: u64, tenants: u64) {
    let mut lines = [
        "reading the newest volume and the snapshot",
        "`open`",
        "snapshot loaded",
        "the rest folded",
        "ready: `open` + `boot`",
    ]
    .map(|name| (name, Vec::new()));
    let mut temperature = "";
    for _ in 0..ROUNDS {
        temperature = go_cold();
        let (_, plain) = timed(|| {
            read_files(&newest_volume(&path.join("journal")));
            read_files(&path.join("snapshots"));
        });
        go_cold();
        let (opened, open) = timed(|| tenantry_journal::open(path).unwrap());
        let vault = Arc::clone(&opened.keyring) as Arc<dyn Vault>;
        let snapshots = Snapshots::open(path.join("snapshots"), Arc::clone(&vault)).unwrap();
        let (booted, whole) = timed(|| boot(&*opened.store, &vault, &snapshots).unwrap());
        assert_eq!(booted.world.seq, Seq(events));
        assert_eq!(booted.world.tenants.len() as u64, tenants);
        drop(booted);
        // Once more by itself: `boot` does both. The file is in the page cache by now.
        let (loaded, load) = timed(|| snapshots.latest_at_or_before(Seq(events)).unwrap());
        drop(loaded);
        for ((_, times), took) in
            lines.iter_mut().zip([plain, open, load, whole.saturating_sub(load), open + whole])
        {
            times.push(took.as_secs_f64());
        }
    }
    println!(
        "\n| ready with {events} events and a snapshot {AFTER_SNAPSHOT} before the head, {temperature} | took | x reading | goal |"
    );
    println!("| --- | ---: | ---: | --- |");
    let base = lines.first().map(|(_, times)| machine::median(times.clone())).unwrap_or_default();
    for (index, (name, times)) in lines.iter().enumerate() {
        let took = machine::median(times.clone());
        let goal = if index + 1 == lines.len() {
            format!("{READY_GOAL:?} {}", machine::verdict(took < READY_GOAL.as_secs_f64()))
        } else {
            String::new()
        };
        println!("| {name} | {:.0} ms | {:.1} | {goal} |", took * 1e3, took / base);
    }
}

fn newest_volume(journal: &Path) -> PathBuf {
    let volumes = fs::read_dir(journal).unwrap().map(|entry| entry.unwrap().path());
    volumes.filter(|path| path.is_dir()).max().unwrap()
}

/// Reads every file below a directory once; gives their bytes.
fn read_files(dir: &Path) -> u64 {
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bytes += read_files(&path);
            continue;
        }
        let mut file = File::open(path).unwrap();
        loop {
            let read = file.read(&mut buffer).unwrap();
            if read == 0 {
                break;
            }
            bytes += read as u64;
        }
    }
    bytes
}
