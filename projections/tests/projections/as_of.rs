//! Any moment's World equals the fold up to it, and the present costs nothing.

use std::sync::Arc;

use proptest::prelude::*;
use tenantry_journal::id::Seq;
use tenantry_journal::recorded::Recorded;
use tenantry_journal::time::Timestamp;
use tenantry_projections::as_of::{AsOfError, Point, TimeTravel, fold};
use tenantry_projections::snapshot::{Snapshots, TreeState};
use tenantry_projections::world::World;

use crate::arbitrary::{events, seeds};
use crate::support::*;

struct Past {
    source: Arc<Listed>,
    snapshots: Arc<Snapshots>,
    time: TimeTravel,
    head: World,
    _dir: tempfile::TempDir,
}

fn past(events: Vec<Recorded>) -> Past {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = Arc::new(Snapshots::open(dir.path(), vault()).unwrap());
    let head = folded(&events);
    let source = Listed::new(events);
    let time = TimeTravel::new(source.clone(), snapshots.clone());
    Past { source, snapshots, time, head, _dir: dir }
}

fn hundred() -> Past {
    past((1..=100).map(|seq| record(seq, created(seq))).collect())
}

#[test]
fn the_present_is_given_back_without_reading() {
    let past = hundred();
    assert_eq!(past.time.world_at(Seq(100), &past.head).unwrap(), past.head);
    assert_eq!(past.source.reads(), 0);
}

#[test]
fn a_moment_asked_for_again_is_not_folded_again() {
    let past = hundred();
    let world = past.time.world_at(Seq(60), &past.head).unwrap();
    assert_eq!((world.tenants.len(), past.source.reads()), (60, 60));
    assert_eq!(past.time.world_at(Seq(60), &past.head).unwrap(), world);
    assert_eq!(past.source.reads(), 60);
    past.time.world_at(Seq(65), &past.head).unwrap();
    assert_eq!(past.source.reads(), 65, "a later moment goes on from there");
    past.time.forget();
    past.time.world_at(Seq(60), &past.head).unwrap();
    assert_eq!(past.source.reads(), 125);
}

#[test]
fn only_the_moments_asked_for_last_are_kept() {
    let past = hundred();
    for seq in (10..=90).rev().step_by(10) {
        past.time.world_at(Seq(seq), &past.head).unwrap();
    }
    let reads = past.source.reads();
    past.time.world_at(Seq(80), &past.head).unwrap();
    assert_eq!(past.source.reads(), reads, "the eighth last is still there");
    past.time.world_at(Seq(90), &past.head).unwrap();
    assert_eq!(past.source.reads(), reads + 10, "the ninth last is not, the eighth helps");
}

#[test]
fn a_fold_begins_at_the_nearest_snapshot() {
    let past = hundred();
    let mut world = World::default();
    fold(past.source.as_ref(), &mut world, Seq(50)).unwrap();
    past.snapshots.write(&world, &TreeState::default()).unwrap();
    let before = past.source.reads();
    assert_eq!(past.time.world_at(Seq(55), &past.head).unwrap().tenants.len(), 55);
    assert_eq!(past.source.reads() - before, 5);
}

#[test]
fn a_time_means_the_last_event_at_or_before_it() {
    let past = hundred();
    let now = time(500);
    let resolve = |point| past.time.resolve(point, &past.head, now);
    assert_eq!(resolve(Point::At(time(7))).unwrap(), Seq(7));
    assert_eq!(resolve(Point::At(Timestamp(time(8).0 - 1))).unwrap(), Seq(7));
    assert_eq!(resolve(Point::Seq(Seq(42))).unwrap(), Seq(42));
    assert_eq!(resolve(Point::At(time(499))).unwrap(), Seq(100), "nothing happened since");
    assert_eq!(past.source.reads(), 0);
}

#[test]
fn a_point_outside_of_the_journal_is_refused() {
    let past = hundred();
    let resolve = |point| past.time.resolve(point, &past.head, time(500));
    for before in [Point::Seq(Seq(0)), Point::At(Timestamp(time(1).0 - 1)), Point::At(Timestamp(0))] {
        assert!(matches!(resolve(before), Err(AsOfError::BeforeFirst(_))), "{before}");
    }
    for after in [Point::Seq(Seq(101)), Point::At(time(501)), Point::At(Timestamp(u64::MAX))] {
        assert!(matches!(resolve(after), Err(AsOfError::AfterHead { .. })), "{after}");
    }
    assert!(matches!(past.time.world_at(Seq(101), &past.head), Err(AsOfError::AfterHead { .. })));
}

#[test]
fn a_journal_with_a_hole_is_not_folded_past_it() {
    let mut events: Vec<Recorded> = (1..=10).map(|seq| record(seq, created(seq))).collect();
    events.remove(4);
    let source = Listed::new(events);
    let mut world = World::default();
    let error = fold(source.as_ref(), &mut world, Seq(10)).unwrap_err();
    assert!(matches!(error, AsOfError::Gap { expected: Seq(5), found: Seq(6) }), "{error}");
    assert_eq!(world.seq, Seq(4));
    let mut world = World::default();
    let short = Listed::new(vec![record(1, created(1))]);
    assert!(
        matches!(fold(short.as_ref(), &mut world, Seq(3)), Err(AsOfError::Gap { .. })),
        "an end too soon"
    );
}

#[test]
fn many_threads_get_the_same_worlds() {
    let past = hundred();
    std::thread::scope(|scope| {
        for offset in 0..4 {
            let past = &past;
            scope.spawn(move || {
                for seq in (1..=100).map(|seq| (seq * 37 + offset * 11) % 100 + 1) {
                    let world = past.time.world_at(Seq(seq), &past.head).unwrap();
                    assert_eq!((world.seq, world.tenants.len() as u64), (Seq(seq), seq));
                }
            });
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_moment_is_the_fold_up_to_it(
        seeds in seeds(80),
        snapshots in prop::collection::vec(1..80u64, 0..3),
        wanted in prop::collection::vec(1..80u64, 1..12),
    ) {
        let past = past(events(&seeds));
        let length = past.head.seq.0;
        for seq in snapshots.into_iter().filter(|seq| *seq <= length) {
            let world = folded(past.source.events.iter().take(seq as usize));
            past.snapshots.write(&world, &TreeState::default()).unwrap();
        }
        for seq in wanted.into_iter().filter(|seq| *seq <= length) {
            let world = past.time.world_at(Seq(seq), &past.head).unwrap();
            prop_assert_eq!(world, folded(past.source.events.iter().take(seq as usize)));
        }
    }
}
