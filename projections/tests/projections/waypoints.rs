//! Worlds that are kept at even distances: any moment is the fold up to it and costs little, and
//! nothing that was forgotten comes back.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use proptest::prelude::*;
use tenantry_journal::codec;
use tenantry_journal::event::Event;
use tenantry_journal::event::health::{HealthChanged, TenantHealth};
use tenantry_journal::id::Seq;
use tenantry_journal::recorded::Recorded;
use tenantry_journal::sealed::{Vault, with_vault};
use tenantry_journal::time::Timestamp;
use tenantry_projections::as_of::{Source, SourceError, TimeTravel};
use tenantry_projections::snapshot::Snapshots;
use tenantry_projections::world::World;

use crate::arbitrary::{Seed, events, seeds};
use crate::support::*;

/// No budget that a test's Worlds reach.
const PLENTY: usize = usize::MAX;

fn travel(source: Arc<dyn Source>, spacing: u64, most: usize) -> (tempfile::TempDir, TimeTravel) {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = Arc::new(Snapshots::open(dir.path(), vault()).unwrap());
    (dir, TimeTravel::new(source, snapshots).with_waypoints(spacing, most))
}

fn prepare(time: &TimeTravel, head: Seq) {
    while time.prepare(head).unwrap() {}
}

fn hundred() -> Vec<Recorded> {
    (1..=100).map(|seq| record_about(seq, Some(tenant(seq)), None, created(seq))).collect()
}

#[test]
fn a_moment_is_folded_from_the_nearest_and_the_head_is_followed() {
    let source = Listed::new(hundred());
    let head = folded(&source.events);
    let (_dir, time) = travel(source.clone(), 10, PLENTY);
    prepare(&time, Seq(57));
    assert_eq!((time.at_hand().worlds, time.at_hand().upto, source.reads()), (5, Seq(50), 50));
    prepare(&time, head.seq);
    assert_eq!((time.at_hand().worlds, time.at_hand().upto, source.reads()), (10, Seq(100), 100));
    assert_eq!(time.world_at(Seq(47), &head).unwrap(), folded(&source.events[..47]));
    assert_eq!(source.reads(), 107);
    assert_eq!(time.world_at(Seq(80), &head).unwrap(), folded(&source.events[..80]));
    assert_eq!(source.reads(), 107, "one that is kept is not folded");
    assert!(!time.prepare(head.seq).unwrap());
}

#[test]
fn without_memory_to_take_none_are_kept_and_with_it_again_all() {
    let source = Listed::new((1..=20_000).map(|seq| record(seq, created(seq % 50))).collect());
    let (_dir, time) = travel(source.clone(), 10, 0);
    assert!(!time.prepare(Seq(20_000)).unwrap());
    assert_eq!((time.at_hand().worlds, source.reads()), (0, 0));
    time.let_take(PLENTY);
    prepare(&time, Seq(20_000));
    assert_eq!(time.at_hand().worlds, 2, "8192 events apart");
    time.let_take(PLENTY);
    assert_eq!(time.at_hand().worlds, 2, "nothing is another than it was");
    time.let_take(0);
    assert_eq!((time.at_hand().worlds, time.at_hand().bytes), (0, 0));
}

/// A journal as it is stored: what is sealed is opened with the keys that are there.
struct Stored {
    records: Vec<Vec<u8>>,
    vault: Arc<dyn Vault>,
    /// Forgets in the middle of a reading.
    forgets: OnceLock<Weak<TimeTravel>>,
    is_armed: AtomicBool,
}

impl Stored {
    fn new(events: &[Recorded], vault: Arc<dyn Vault>) -> Arc<Stored> {
        let encode = |recorded: &Recorded| {
            let (mut scratch, mut record) = (Vec::new(), Vec::new());
            codec::encode_record(recorded, &mut scratch, &mut record).unwrap();
            record
        };
        let records = with_vault(&vault, || events.iter().map(encode).collect());
        Arc::new(Stored { records, vault, forgets: OnceLock::new(), is_armed: false.into() })
    }
}

impl Source for Stored {
    fn head(&self) -> Seq {
        Seq(self.records.len() as u64)
    }

    fn read(
        &self,
        after: Seq,
        until: Seq,
        visit: &mut dyn FnMut(&Recorded) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        for seq in after.0 + 1..=until.0 {
            let record = &self.records[seq as usize - 1];
            let recorded = with_vault(&self.vault, || codec::decode_record(Seq(seq), record)).unwrap();
            if visit(&recorded).is_break() {
                break;
            }
            if self.is_armed.swap(false, Ordering::SeqCst) {
                self.forgets.get().unwrap().upgrade().unwrap().forget();
            }
        }
        Ok(())
    }

    fn seq_at(&self, _: Timestamp) -> Result<Seq, SourceError> {
        Ok(Seq::ZERO)
    }
}

fn name_of(world: &World, n: u64) -> Option<String> {
    Some(world.tenants.get(tenant(n)).unwrap().details.open()?.name.clone())
}

#[test]
fn an_erased_name_is_in_none_of_them_once_they_were_forgotten() {
    let keys = Arc::new(TestVault::default());
    let source = Stored::new(&hundred(), keys.clone());
    let (_dir, time) = travel(source, 10, PLENTY);
    let head = World { seq: Seq(100), ..World::default() };
    prepare(&time, Seq(45));
    assert_eq!(name_of(&time.world_at(Seq(43), &head).unwrap(), 7).as_deref(), Some("Personal Name 7"));
    keys.erase(tenant(7));
    time.forget();
    assert_eq!(time.at_hand().worlds, 0);
    for prepared in [0, 33, 100] {
        prepare(&time, Seq(prepared));
        for seq in [8, 43, 60, 99] {
            let world = time.world_at(Seq(seq), &head).unwrap();
            assert_eq!((name_of(&world, 7), name_of(&world, 8).as_deref()), (None, Some("Personal Name 8")));
        }
    }
}

#[test]
fn what_is_folded_while_everything_is_forgotten_is_not_kept() {
    let keys = Arc::new(TestVault::default());
    let source = Stored::new(&hundred(), keys.clone());
    let (_dir, time) = travel(source.clone(), 10, PLENTY);
    let time = Arc::new(time);
    source.forgets.set(Arc::downgrade(&time)).unwrap();
    let head = World { seq: Seq(100), ..World::default() };
    source.is_armed.store(true, Ordering::SeqCst);
    time.world_at(Seq(20), &head).unwrap();
    time.index(Seq(100)).unwrap();
    source.is_armed.store(true, Ordering::SeqCst);
    let seven = time.tenant_at(tenant(7), Seq(20), &head).unwrap();
    assert_eq!(name_of(&seven, 7).as_deref(), Some("Personal Name 7"));
    assert!(!source.is_armed.load(Ordering::SeqCst), "it was forgotten on the way");
    keys.erase(tenant(7));
    assert_eq!(name_of(&time.world_at(Seq(20), &head).unwrap(), 7), None);
    assert_eq!(name_of(&time.tenant_at(tenant(7), Seq(20), &head).unwrap(), 7), None);
}

#[test]
fn of_a_busy_tenant_another_moment_is_near_one_that_is_kept() {
    let busy = tenant(1);
    let changed = |seq| {
        let overall = if seq % 2 == 0 { TenantHealth::Healthy } else { TenantHealth::Degraded };
        let (frontend, backend) = ("up".to_owned(), "up".to_owned());
        let database = format!("state {seq}");
        record_about(
            seq,
            Some(busy),
            None,
            HealthChanged { tenant_id: busy, overall, frontend, backend, database },
        )
    };
    let first = record_about(1, Some(busy), None, created(1));
    let source = Listed::new(std::iter::once(first).chain((2..=3000).map(changed)).collect());
    let head = folded(&source.events);
    let (_dir, time) = travel(source.clone(), 10, PLENTY);
    time.index(head.seq).unwrap();
    time.tenant_at(busy, Seq(2900), &head).unwrap();
    for seq in [600, 1800, 2500] {
        let before = source.reads();
        let world = time.tenant_at(busy, Seq(seq), &head).unwrap();
        assert_eq!(world.tenants, folded(&source.events[..seq as usize]).tenants);
        assert!(source.reads() - before < 512, "{} events are folded", source.reads() - before);
    }
}

/// Three instances that run, fail and come up again, and now and then are given other things.
fn lives(count: usize) -> Vec<Recorded> {
    let number = |name| Event::KINDS.iter().position(|(kind, _)| *kind == name).unwrap();
    let begin = ["tenant.created", "instance.spawned", "deployment.requested"];
    let life = [
        "instance.starting",
        "instance.started",
        "instance.health_changed",
        "instance.exited",
        "instance.restart_scheduled",
    ];
    let seldom = ["instance.weight_changed", "instance.respecified", "tenant.updated", "instance.removed"];
    let mut seeds: Vec<Seed> = Vec::new();
    for n in 0..3 {
        seeds.extend(begin.map(|name| (number(name), n, n, 0)));
    }
    for round in 0.. {
        let (n, run) = (round as u8 % 3, (round / 3) as u8 % 4);
        seeds.extend(life.map(|name| (number(name), n, n, run)));
        if round % 7 == 6 {
            seeds.push((number(seldom[round / 7 % 4]), n, n, run));
            seeds.push((number("instance.spawned"), n, n, run));
        }
        if seeds.len() >= count {
            break;
        }
    }
    events(&seeds)
}

#[test]
fn packed_ones_give_the_same_worlds_and_take_less() {
    let source = Listed::new(lives(3000));
    let head = folded(&source.events);
    let (_dir, time) = travel(source.clone(), 1, PLENTY);
    prepare(&time, head.seq);
    let plenty = time.at_hand();
    assert_eq!((plenty.whole, plenty.spacing), (plenty.worlds, 1));
    for share in [2, 8] {
        let (_dir, time) = travel(source.clone(), 1, plenty.bytes / share);
        prepare(&time, head.seq);
        let at_hand = time.at_hand();
        assert!(at_hand.whole < at_hand.worlds && at_hand.bytes <= plenty.bytes / share, "{at_hand:?}");
        assert!(at_hand.whole > 0 || share > 2, "some are bases: {at_hand:?}");
        let reads = source.reads();
        let mut asked = 0;
        for seq in (1..=head.seq.0).rev().step_by(13) {
            let (found, expected) =
                (time.world_at(Seq(seq), &head).unwrap(), folded(&source.events[..seq as usize]));
            assert_eq!(found, expected, "{seq}");
            assert_eq!(stored(&found), expected, "{seq}");
            for instance in expected.instances.iter() {
                assert_eq!(found.instances.get(instance.id), Some(instance));
                let key = instance.name.open().unwrap();
                assert_eq!(found.instances.by_key(key), expected.instances.by_key(key));
            }
            asked += 1;
        }
        // None was folded from further away than the distance between two.
        assert!(source.reads() - reads <= asked * at_hand.spacing);
    }
}

#[test]
fn what_changes_with_every_event_of_an_instance_takes_some_fifty_bytes_of_it() {
    const INSTANCES: u8 = 200;
    let number = |name| Event::KINDS.iter().position(|(kind, _)| *kind == name).unwrap();
    let spawned = number("instance.spawned");
    let life = ["instance.starting", "instance.started", "instance.exited", "instance.restart_scheduled"]
        .map(number);
    // Between one World and the next, each of them begins a run.
    let seeds =
        (0..INSTANCES)
            .map(|n| (spawned, n, n, 0))
            .chain((0..20).flat_map(|round| {
                (0..INSTANCES).flat_map(move |n| life.map(|kind| (kind, n, n, round % 4)))
            }));
    let source = Listed::new(events(&seeds.collect::<Vec<_>>()));
    let between = 4 * u64::from(INSTANCES);
    let taken = |most| {
        let (_dir, time) = travel(source.clone(), between, most);
        prepare(&time, source.head());
        time.at_hand()
    };
    let whole = taken(PLENTY);
    let packed = taken(whole.bytes / 3);
    // As it is, an instance alone takes more than that.
    assert!(packed.spacing == between && packed.whole == 0, "{packed:?}");
}

/// The World as it comes back from what a snapshot of it would hold.
fn stored(world: &World) -> World {
    let config = bincode::config::standard();
    with_vault(&vault(), || {
        let bytes = bincode::serde::encode_to_vec(world, config).unwrap();
        let (mut world, _): (World, _) = bincode::serde::decode_from_slice(&bytes, config).unwrap();
        world.reindex();
        world
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_moment_is_the_fold_up_to_it_however_little_may_be_kept(
        seeds in seeds(120),
        spacing in 1..20u64,
        most in prop_oneof![Just(1), 10_000..200_000usize, Just(PLENTY)],
        wanted in prop::collection::vec((1..120u64, any::<bool>(), any::<bool>()), 1..16),
    ) {
        let source = Listed::new(events(&seeds));
        let head = folded(&source.events);
        let (_dir, time) = travel(source.clone(), spacing, most);
        for (seq, forgets, prepares) in wanted.into_iter().filter(|(seq, ..)| *seq <= head.seq.0) {
            if forgets {
                time.forget();
            }
            if prepares {
                prepare(&time, Seq(seq));
            }
            prop_assert!(time.at_hand().bytes <= most || time.at_hand().worlds == 1);
            prop_assert_eq!(time.world_at(Seq(seq), &head).unwrap(), folded(&source.events[..seq as usize]));
        }
        prepare(&time, head.seq);
        // Backwards, so that each comes from one that is kept at a distance and not from the last.
        for seq in (1..=head.seq.0).rev() {
            let world = time.world_at(Seq(seq), &head).unwrap();
            prop_assert_eq!(world, folded(&source.events[..seq as usize]));
        }
    }
}
