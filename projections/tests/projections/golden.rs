//! The stored bytes of a World do not change unnoticed.

use tenantry_journal::event::Event;
use tenantry_journal::sealed::with_vault;
use tenantry_projections::snapshot::LAYOUT;

use crate::arbitrary::recorded;
use crate::support::{folded, instance, vault};

/// When this test goes red, a snapshot of the last release would be misread: raise
/// `LAYOUT`, then write it here together with the new hash.
#[test]
fn stored_fields_change_only_with_the_layout_number() {
    const KNOWN: (u32, &str) = (7, "4f981a856abb017741dbdab2c42c90b543b125f70b20c4ee8229f29023d4a8dc");
    let number = |name: &str| Event::KINDS.iter().position(|(kind, _)| *kind == name).unwrap();
    // What ends something would leave its fields empty.
    let skipped = [
        "system.keeper_lost",
        "tenant.deleted",
        "instance.removed",
        "token.revoked",
        "port.released",
        "config.changed",
        "access.denied",
        "access.login_failed",
        "access.unrecorded",
        "setting.cleared",
        "user.deleted",
        "tenant.env_written",
        "tenant.env_failed",
    ];
    let kinds = (0..Event::KINDS.len()).filter(|kind| !skipped.contains(&Event::KINDS[*kind].0));
    let more = [
        ("port.allocated", 2),
        ("port.released", 2),
        ("instance.spawned", 2),
        ("instance.removed", 2),
        ("instance.spawned", 3),
        ("instance.starting", 3),
        ("instance.started", 3),
        ("instance.restart_requested", 3),
    ];
    let seeds = kinds.map(|kind| (kind, 1, 1, 2)).chain(more.map(|(kind, n)| (number(kind), n, n, 2)));
    let mut events: Vec<_> = seeds.zip(1..).map(|(seed, seq)| recorded(seq, seed)).collect();
    // One request with a key only: of several the order is not the same each time.
    events.iter_mut().skip(1).for_each(|recorded| recorded.draft.idempotency = None);
    let world = folded(&events);
    let running = world.instances.get(instance(3)).unwrap();
    assert!(running.run.as_ref().is_some_and(|run| run.process.is_some()) && running.restart.is_some());
    let bytes =
        with_vault(&vault(), || bincode::serde::encode_to_vec(&world, bincode::config::standard()).unwrap());
    assert_eq!((LAYOUT, blake3::hash(&bytes).to_hex().as_str()), KNOWN);
}
