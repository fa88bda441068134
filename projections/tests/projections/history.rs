//! A tenant's history: each event's share, and nothing of its secrets.

use std::sync::Arc;

use serde_json::{Value, json};
use tenantry_journal::event::Event;
use tenantry_journal::event::tenant::TenantCreated;
use tenantry_journal::id::Seq;
use tenantry_journal::recorded::Recorded;
use tenantry_journal::sealed::Sealed;
use tenantry_projections::as_of::TimeTravel;
use tenantry_projections::history::{Change, diff, history};
use tenantry_projections::snapshot::Snapshots;
use tenantry_projections::world::World;

use crate::arbitrary::recorded;
use crate::support::*;

fn of(seq: u64, kind: &str, tenant: u8, c: u8) -> Recorded {
    let number = Event::KINDS.iter().position(|(name, _)| *name == kind).unwrap();
    recorded(seq, (number, tenant, tenant, c))
}

fn story() -> Vec<Recorded> {
    vec![
        of(1, "tenant.created", 1, 0),
        of(2, "tenant.created", 2, 0),
        of(3, "port.allocated", 1, 0),
        of(4, "tenant.config_updated", 1, 1),
        of(5, "tenant.config_updated", 1, 2),
        of(6, "tenant.updated", 2, 1),
        of(7, "theme.updated", 1, 3),
        of(8, "tenant.updated", 1, 1),
        of(9, "system.started", 3, 0),
        of(10, "tenant.deleted", 1, 0),
    ]
}

fn time_travel(events: Vec<Recorded>) -> (tempfile::TempDir, TimeTravel, World) {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = Arc::new(Snapshots::open(dir.path(), vault()).unwrap());
    let head = folded(&events);
    (dir, TimeTravel::new(Listed::new(events), snapshots), head)
}

fn change(field: &str, from: Value, to: Value) -> Change {
    Change { field: field.to_owned(), from, to }
}

#[test]
fn each_event_of_the_tenant_has_its_share_and_no_other_event_does() {
    let (_dir, time, head) = time_travel(story());
    let found = history(&time, &head, tenant(1), (Seq::ZERO, Seq(10)), 100).unwrap();
    let seqs: Vec<u64> = found.entries.iter().map(|entry| entry.recorded.seq.0).collect();
    assert_eq!(seqs, [1, 3, 4, 5, 7, 8, 10]);
    assert_eq!(found.next_after, None);
    let changes = |n: usize| found.entries[n].changes.clone();
    assert!(changes(0).contains(&change("slug", Value::Null, json!("slug-1-0"))));
    assert_eq!(
        changes(1),
        [change("backend_port", Value::Null, json!(5011)), change("frontend_port", Value::Null, json!(5010)),]
    );
    assert_eq!(
        changes(5),
        [
            change("api_domain", json!("api.d1-0.example.com"), Value::Null),
            change("directory", json!("/srv/tenants/slug-1-0"), json!("/srv/tenants/slug-1-1")),
            change("domain", json!("d1-0.example.com"), json!("d1-1.example.com")),
            change("slug", json!("slug-1-0"), json!("slug-1-1")),
        ]
    );
    assert!(changes(6).contains(&change("slug", json!("slug-1-1"), Value::Null)), "deleted");
    let view = serde_json::to_value(found.entries[1].view(&head)).unwrap();
    assert_eq!((&view["seq"], &view["kind"]), (&json!(3), &json!("port.allocated")));
    assert_eq!(view["actor"]["type"], "system");
}

#[test]
fn a_changed_secret_is_seen_to_have_changed_and_nothing_more() {
    let events = story();
    let changes = diff(&folded(&events[..4]), &folded(&events[..5]), tenant(1));
    assert_eq!(
        changes,
        [
            change("config.custom_env.PASSWORD", json!("***hidden***"), json!("***hidden***")),
            change("config.site_title", json!("#000001"), json!("#000002")),
        ]
    );
    let spawned = [of(1, "tenant.created", 2, 2), of(2, "instance.spawned", 2, 2)];
    let text = format!("{:?}", diff(&World::default(), &folded(&spawned), tenant(2)));
    assert!(text.contains("frontend.env.API_KEY") && !text.contains("hunter2"), "{text}");
}

#[test]
fn the_pages_of_a_history_join_without_gap_or_repeat() {
    let (_dir, time, head) = time_travel(story());
    let whole = history(&time, &head, tenant(1), (Seq::ZERO, Seq(10)), 100).unwrap();
    for limit in 1..=8 {
        let mut after = Some(Seq::ZERO);
        let mut joined = Vec::new();
        while let Some(from) = after {
            let page = history(&time, &head, tenant(1), (from, Seq(10)), limit).unwrap();
            assert!(page.entries.len() <= limit);
            joined.extend(page.entries.into_iter().map(|entry| (entry.recorded, entry.changes)));
            after = page.next_after;
        }
        let expected: Vec<_> =
            whole.entries.iter().map(|entry| (entry.recorded.clone(), entry.changes.clone())).collect();
        assert_eq!(joined, expected, "limit {limit}");
    }
}

#[test]
fn a_world_does_not_differ_from_itself() {
    let world = folded(&story()[..8]);
    assert_eq!(diff(&world, &world, tenant(1)), []);
    assert_eq!(diff(&world, &world, tenant(9)), [], "nor about what it does not hold");
}

#[test]
fn a_deleted_tenant_is_remembered_until_it_is_there_again_and_its_directory_by_whoever_took_it() {
    let events = story();
    let world = folded(&events);
    assert!(world.tenants.get(tenant(1)).is_none() && world.tenants.is_known(tenant(1)));
    assert!(!world.tenants.is_known(tenant(9)));
    let gone = world.tenants.gone(tenant(1)).unwrap();
    assert_eq!((gone.deleted, gone.is_displaced), (Seq(10), false));
    let directory = gone.details.open().unwrap().directory.clone();

    let mut taken = details(3, 0);
    taken.directory.clone_from(&directory);
    let mut displaced = world.clone();
    displaced
        .evolve(&record(11, TenantCreated { tenant_id: tenant(3), details: Sealed::new(tenant(3), taken) }));
    assert!(displaced.tenants.gone(tenant(1)).unwrap().is_displaced);

    let mut again = world;
    again.evolve(&of(11, "tenant.created", 1, 0));
    assert!(again.tenants.gone(tenant(1)).is_none() && again.tenants.is_known(tenant(1)));
}
