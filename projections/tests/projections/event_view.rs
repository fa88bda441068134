//! Events as they go out: document 3's shape, names looked up, secrets hidden.

use std::sync::Arc;

use serde_json::{Value, json};
use tenantry_journal::event::Event;
use tenantry_journal::event::access::TokenCreated;
use tenantry_journal::id::Seq;
use tenantry_journal::recorded::{Actor, Recorded};
use tenantry_journal::sealed::{HIDDEN, Vault, with_vault};
use tenantry_projections::event_view::{EventFilter, EventView};
use tenantry_projections::snapshot::{Snapshots, TreeState};

use crate::arbitrary::recorded;
use crate::support::*;

fn kind(name: &str) -> usize {
    Event::KINDS.iter().position(|(kind, _)| *kind == name).unwrap()
}

fn shown(recorded: &Recorded, world: &tenantry_projections::world::World) -> Value {
    let mut line = Vec::new();
    EventView::new(recorded, world).append_to(&mut line).unwrap();
    assert!(!line.contains(&b'\n'), "an event is one line");
    serde_json::from_slice(&line).unwrap()
}

/// A user, an instance, and an event by the user about the instance.
fn story() -> Vec<Recorded> {
    vec![
        recorded(1, (kind("user.created"), 1, 1, 2)),
        recorded(2, (kind("instance.spawned"), 1, 1, 2)),
        recorded(3, (kind("instance.start_requested"), 1, 1, 2)),
    ]
}

#[test]
fn an_event_has_document_3s_fields_and_todays_names() {
    let events = story();
    assert_eq!(
        shown(&events[2], &folded(&events)),
        json!({
            "seq": 3, "id": event(3), "at": "2025-11-21T12:00:03.000Z", "kind": "instance.start_requested",
            "actor": {"type": "user", "id": user(1), "name": "user-1-2"},
            "tenant_id": tenant(1), "instance": "api:i1-2", "command_id": command(3), "caused_by": 2,
            "data": {"instance_id": instance(1)},
        })
    );
    let mut system = record(1, created(1));
    system.draft.actor = Actor::System;
    let view = shown(&system, &folded([&system]));
    assert_eq!(view["actor"], json!({"type": "system", "id": null, "name": null}));
    assert_eq!((&view["instance"], &view["caused_by"]), (&Value::Null, &Value::Null));
    assert_eq!(view["data"]["details"]["slug"], "slug-1-0", "a sealed value shows itself");
}

#[test]
fn an_instance_that_is_gone_keeps_its_name_and_an_erased_one_does_not() {
    let mut events = story();
    events.push(recorded(4, (kind("instance.removed"), 1, 1, 2)));
    let world = folded(&events);
    assert_eq!(shown(&events[2], &world)["instance"], "api:i1-2");

    let dir = tempfile::tempdir().unwrap();
    let vault = Arc::new(TestVault::default());
    let snapshots = Snapshots::open(dir.path(), vault.clone()).unwrap();
    snapshots.write(&world, &TreeState::default()).unwrap();
    vault.erase(tenant(1));
    vault.erase(user(1));
    let erased = snapshots.load(world.seq).unwrap().world;
    let view = shown(&events[2], &erased);
    assert_eq!((&view["instance"], &view["actor"]["name"]), (&Value::Null, &Value::Null));
    assert_eq!(view["actor"]["id"], json!(user(1)));
}

#[test]
fn no_secret_and_no_hash_of_one_is_shown_by_any_kind() {
    for (number, (name, _)) in Event::KINDS.iter().enumerate() {
        for n in 0..4 {
            let recorded = recorded(1, (number, n, n, n));
            let line = shown(&recorded, &folded([&recorded])).to_string();
            for secret in ["secret-", "hunter2", "argon2"] {
                assert!(!line.contains(secret), "{name} shows {secret}: {line}");
            }
        }
    }
}

#[test]
fn the_hash_of_a_token_is_hidden_in_text_and_kept_in_storage() {
    let created = recorded(1, (kind("token.created"), 1, 1, 2));
    assert_eq!(shown(&created, &folded([&created]))["data"]["hash"], HIDDEN);
    let vault: Arc<dyn Vault> = vault();
    let again = with_vault(&vault, || {
        let mut bytes = Vec::new();
        created.event.encode_fields(&mut bytes).unwrap();
        Event::decode_fields("token.created", &bytes).unwrap()
    });
    assert!(matches!(again, Event::TokenCreated(TokenCreated { hash, .. }) if hash == [0x22; 32]));
}

#[test]
fn each_part_of_a_filter_lets_through_what_it_names_and_nothing_else() {
    let events = story();
    let world = folded(&events);
    let pass = |filter: EventFilter| -> Vec<u64> {
        events
            .iter()
            .filter(|recorded| filter.matches(recorded, &world))
            .map(|recorded| recorded.seq.0)
            .collect()
    };
    let all = EventFilter::default;
    assert_eq!(pass(all()), [1, 2, 3]);
    assert_eq!(pass(EventFilter { from_seq: Some(Seq(2)), ..all() }), [2, 3]);
    assert_eq!(pass(EventFilter { to_seq: Some(Seq(2)), ..all() }), [1, 2]);
    assert_eq!(pass(EventFilter { since: Some(time(2)), ..all() }), [2, 3]);
    assert_eq!(pass(EventFilter { until: Some(time(2)), ..all() }), [1, 2]);
    assert_eq!(pass(EventFilter { kind: Some("instance.s".into()), ..all() }), [2, 3]);
    assert_eq!(pass(EventFilter { kind: Some("instance.start_requested".into()), ..all() }), [3]);
    assert_eq!(pass(EventFilter { tenant_id: Some(tenant(2)), ..all() }), [0; 0]);
    assert_eq!(pass(EventFilter { command_id: Some(command(2)), ..all() }), [2]);
    assert_eq!(pass(EventFilter { actor: Some(user(1).0), ..all() }), [1, 2, 3]);
    assert_eq!(pass(EventFilter { actor: Some(user(2).0), ..all() }), [0; 0]);
    assert_eq!(pass(EventFilter { instance: Some("api:other".parse().unwrap()), ..all() }), [0; 0]);
    assert_eq!(pass(EventFilter { instance: Some("api:i1-2".parse().unwrap()), ..all() }), [1, 2, 3]);
}
