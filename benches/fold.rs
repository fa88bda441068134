//! How fast the World is folded, copied, kept and shown, at 10,000 tenants and 1,000,000
//! events in memory; decoding them is measured with the journal. The baseline is the least
//! that any read model does for an event: find its subject in a map and change it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark that fails may stop")]

use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use support::history::History;
use tenantry_journal::event::Event;
use tenantry_journal::id::KeyId;
use tenantry_journal::recorded::Recorded;
use tenantry_journal::sealed::Vault;
use tenantry_projections::event_view::EventView;
use tenantry_projections::snapshot::{Snapshots, TreeState};
use tenantry_projections::world::World;
use uuid::Uuid;

mod support {
    pub(crate) mod history;
}

const TENANTS: u64 = 10_000;
const EVENTS: usize = 1_000_000;
/// Each figure is the best of so many runs.
const RUNS: usize = 3;
/// Events of one commit: the World is published, and so copied, after each.
const COMMIT: usize = 64;

fn main() {
    let events = History::of(TENANTS).take(EVENTS).collect::<Vec<_>>();
    let sealed = events.iter().filter(|recorded| is_sealed(&recorded.event)).count();
    println!(
        "{} events about {TENANTS} tenants, {} % with sealed fields",
        events.len(),
        sealed * 100 / events.len()
    );

    let baseline = per_second(events.len(), || touch(&events));
    row("find and change in a BTreeMap (baseline)", baseline, baseline);
    row("find and change in a HashMap", per_second(events.len(), || touch_hashed(&events)), baseline);
    row("fold", per_second(events.len(), || fold(&events)), baseline);
    row(
        "fold, a copy kept for each commit of 64",
        per_second(events.len(), || fold_and_publish(&events)),
        baseline,
    );

    let world = fold(&events);
    row(
        "copies of the World",
        per_second(EVENTS, || (0..EVENTS).for_each(|_| drop(black_box(world.clone())))),
        baseline,
    );
    row("events shown as JSON", per_second(events.len(), || show(&events, &world)), baseline);
    keep(&world);
}

fn keep(world: &World) {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::open(dir.path(), Arc::new(PadVault)).unwrap();
    let tree = TreeState::default();
    let (bytes, write) = timed(|| snapshots.write(world, &tree).unwrap());
    let (loaded, load) = timed(|| snapshots.load(world.seq).unwrap());
    assert!(loaded.world == *world, "a snapshot gives back what was written");
    // What was read has its ciphertext at hand.
    let (_, again) = timed(|| snapshots.write(&loaded.world, &tree).unwrap());
    println!(
        "snapshot: {:.1} MB, {:.0} ms to write and sync ({:.0} ms when read from one), {:.0} ms to load",
        bytes as f64 / 1e6,
        write.as_secs_f64() * 1e3,
        again.as_secs_f64() * 1e3,
        load.as_secs_f64() * 1e3,
    );
}

fn row(what: &str, rate: f64, baseline: f64) {
    println!("{what:<44} {:>8.2} M/s {:>8.2} x", rate / 1e6, rate / baseline);
}

fn timed<R>(work: impl FnOnce() -> R) -> (R, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

fn per_second<R>(count: usize, mut work: impl FnMut() -> R) -> f64 {
    // What the work made is dropped after the clock stopped.
    let best = (0..RUNS).map(|_| timed(|| black_box(work())).1).min().unwrap();
    count as f64 / best.as_secs_f64()
}

fn fold(events: &[Recorded]) -> World {
    let mut world = World::default();
    for recorded in events {
        world.evolve(recorded);
    }
    world
}

fn fold_and_publish(events: &[Recorded]) -> World {
    let mut world = World::default();
    let mut published = world.clone();
    for commit in events.chunks(COMMIT) {
        for recorded in commit {
            world.evolve(recorded);
        }
        published = world.clone();
    }
    published
}

fn touch(events: &[Recorded]) -> BTreeMap<Uuid, Box<[u64; 16]>> {
    let mut map: BTreeMap<Uuid, Box<[u64; 16]>> = BTreeMap::new();
    for recorded in events {
        map.entry(subject(recorded)).or_default()[0] = recorded.seq.0;
    }
    map
}

fn touch_hashed(events: &[Recorded]) -> HashMap<Uuid, Box<[u64; 16]>> {
    let mut map: HashMap<Uuid, Box<[u64; 16]>> = HashMap::new();
    for recorded in events {
        map.entry(subject(recorded)).or_default()[0] = recorded.seq.0;
    }
    map
}

fn subject(recorded: &Recorded) -> Uuid {
    recorded.instance_id.map(|id| id.0).or(recorded.tenant_id.map(|id| id.0)).unwrap_or_default()
}

fn show(events: &[Recorded], world: &World) -> usize {
    let mut out = Vec::new();
    let mut bytes = 0;
    for recorded in events {
        out.clear();
        EventView::new(recorded, world).append_to(&mut out).unwrap();
        bytes += out.len();
    }
    bytes
}

fn is_sealed(event: &Event) -> bool {
    matches!(
        event,
        Event::TenantCreated(_)
            | Event::TenantUpdated(_)
            | Event::TenantConfigUpdated(_)
            | Event::InstanceSpawned(_)
            | Event::DeploymentRequested(_)
            | Event::StepFinished(_)
    )
}

/// Stands for the keyring at about the price of its cipher.
struct PadVault;

impl Vault for PadVault {
    fn seal(&self, key: KeyId, plain: &[u8]) -> Option<Vec<u8>> {
        let mut pad = vec![0; plain.len() + 16];
        blake3::Hasher::new().update(key.0.as_bytes()).finalize_xof().fill(&mut pad);
        pad.iter_mut().zip(plain).for_each(|(pad, byte)| *pad ^= byte);
        Some(pad)
    }

    fn open(&self, key: KeyId, sealed: &[u8]) -> Option<Vec<u8>> {
        let mut plain = self.seal(key, sealed)?;
        plain.truncate(sealed.len().checked_sub(16)?);
        Some(plain)
    }
}
