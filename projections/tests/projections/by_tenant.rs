//! One tenant's moments, by an index of whose event each is, which stands in a file, too.

use std::path::Path;
use std::sync::Arc;

use tenantry_journal::event::health::{HealthChanged, TenantHealth};
use tenantry_journal::id::Seq;
use tenantry_journal::recorded::Recorded;
use tenantry_projections::as_of::TimeTravel;
use tenantry_projections::snapshot::Snapshots;

use crate::support::*;

const EVENTS: u64 = 300;

/// Events of some tenants in turn: each is created, and then its health changes each time.
fn of_tenants(count: u64) -> Vec<Recorded> {
    let one = |seq: u64| {
        let n = seq % count;
        if seq <= count {
            return record_about(seq, Some(tenant(n)), None, created(n));
        }
        let overall =
            if (seq / count).is_multiple_of(2) { TenantHealth::Healthy } else { TenantHealth::Degraded };
        let state = || format!("state {seq}");
        let (frontend, backend, database) = (state(), state(), state());
        let changed = HealthChanged { tenant_id: tenant(n), overall, frontend, backend, database };
        record_about(seq, Some(tenant(n)), None, changed)
    };
    (1..=EVENTS).map(one).collect()
}

fn travel(source: &Arc<Listed>, dir: &Path) -> TimeTravel {
    let snapshots = Arc::new(Snapshots::open(dir, vault()).unwrap());
    TimeTravel::new(source.clone(), snapshots).indexed_in(dir.join("tenants.seqs"))
}

/// Every tenant at some moments, most of which are another tenant's events.
fn check(time: &TimeTravel, source: &Listed, count: u64) {
    let head = folded(&source.events);
    for seq in (count..=EVENTS).step_by(7) {
        let whole = folded(&source.events[..seq as usize]);
        for n in 0..count {
            let world = time.tenant_at(tenant(n), Seq(seq), &head).unwrap();
            assert_eq!(world.seq, Seq(seq), "tenant {n}");
            assert_eq!(world.tenants.get(tenant(n)), whole.tenants.get(tenant(n)), "tenant {n} at {seq}");
        }
    }
}

#[test]
fn a_moment_of_a_tenant_is_the_fold_up_to_it() {
    let source = Listed::new(of_tenants(5));
    let dir = tempfile::tempdir().unwrap();
    check(&travel(&source, dir.path()), &source, 5);
}

#[test]
fn whose_events_are_whose_is_read_from_the_file() {
    let source = Listed::new(of_tenants(5));
    let dir = tempfile::tempdir().unwrap();
    let time = travel(&source, dir.path());
    time.index(Seq(EVENTS)).unwrap();
    time.keep_index().unwrap();
    let later = travel(&source, dir.path());
    let before = source.reads();
    later.index(Seq(EVENTS)).unwrap();
    let looks = source.reads() - before;
    assert!((1..=20).contains(&looks), "some are looked at, not all: {looks}");
    check(&later, &source, 5);
}

#[test]
fn a_file_of_another_journal_as_long_is_not_believed() {
    let (other, source) = (Listed::new(of_tenants(4)), Listed::new(of_tenants(5)));
    let dir = tempfile::tempdir().unwrap();
    let time = travel(&other, dir.path());
    time.index(Seq(EVENTS)).unwrap();
    time.keep_index().unwrap();
    check(&travel(&source, dir.path()), &source, 5);
}
