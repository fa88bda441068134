//! Snapshot files: whole or skipped, and silent about what is sealed.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tenantry_journal::event::Event;
use tenantry_journal::event::tenant::{Removal, TenantDeleted};
use tenantry_journal::id::Seq;
use tenantry_journal::recorded::Recorded;
use tenantry_projections::snapshot::{Snapshots, TreeState, Unusable};
use tenantry_projections::world::World;

use crate::arbitrary::recorded;
use crate::support::*;

/// Every kind of event, each a few times, in the order of the table.
fn everything() -> Vec<Recorded> {
    let kinds = (0..Event::KINDS.len()).filter(|kind| {
        !matches!(Event::KINDS[*kind].0, "tenant.deleted" | "instance.removed" | "token.revoked")
    });
    let seeds = kinds.flat_map(|kind| (0..4).map(move |n| (kind, n, n, n)));
    seeds.zip(1..).map(|(seed, seq)| recorded(seq, seed)).collect()
}

fn open(dir: &Path) -> Snapshots {
    Snapshots::open(dir, vault()).unwrap()
}

fn write_at(snapshots: &Snapshots, seqs: impl IntoIterator<Item = u64>) {
    for seq in seqs {
        let world = folded([&record(seq, created(seq))]);
        snapshots.write(&world, &TreeState::default()).unwrap();
    }
}

fn change(dir: &Path, seq: u64, change: impl FnOnce(&mut Vec<u8>)) {
    let path = dir.join(format!("{seq}.snap"));
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_snapshot_gives_back_the_world_and_the_tree() {
    let dir = tempfile::tempdir().unwrap();
    let world = folded(&everything());
    let tree = TreeState { size: 99, peaks: vec![[1; 32], [2; 32], [3; 32]] };
    let bytes = open(dir.path()).write(&world, &tree).unwrap();
    let snapshot = open(dir.path()).latest_at_or_before(Seq(u64::MAX)).unwrap();
    assert_eq!(snapshot.world, world);
    assert_eq!(snapshot.tree, tree);
    assert_eq!(fs::metadata(dir.path().join(format!("{}.snap", world.seq))).unwrap().len(), bytes);
}

#[test]
fn a_snapshot_holds_nothing_that_is_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let world = folded(&everything());
    open(dir.path()).write(&world, &TreeState::default()).unwrap();
    let bytes = fs::read(dir.path().join(format!("{}.snap", world.seq))).unwrap();
    let sealed = [
        "Personal Name",
        "slug-1",
        "d1-1.example",
        "private remark",
        "/srv",
        "private-command",
        "hunter2",
        "API_KEY",
        "api:i1",
        "no such file",
        "file:///private",
        "done so",
        "taken back",
        "secret",
        "PASSWORD",
        "site_title",
        "user-1",
        "private@example.com",
        "argon2id",
        "token name",
    ];
    for text in sealed {
        assert!(!bytes.windows(text.len()).any(|window| window == text.as_bytes()), "{text} is readable");
    }
    assert!(bytes.windows(6).any(|window| window == b"boot-3"), "what is not sealed is there");
}

#[test]
fn what_lost_its_key_is_written_and_read_as_erased() {
    let dir = tempfile::tempdir().unwrap();
    let vault = Arc::new(TestVault::default());
    let snapshots = Snapshots::open(dir.path(), vault.clone()).unwrap();
    let world = folded([&record(1, created(1)), &record(2, created(2))]);
    snapshots.write(&world, &TreeState::default()).unwrap();
    vault.erase(tenant(1));

    let details = |world: &World, n| world.tenants.get(tenant(n)).unwrap().details.open().cloned();
    let read = snapshots.load(Seq(2)).unwrap().world;
    assert_eq!(details(&read, 1), None, "written before the erasure");
    assert_eq!(read.tenants.by_slug(&"slug-1-0".parse().unwrap()), None);

    snapshots.write(&world, &TreeState::default()).unwrap();
    let read = snapshots.load(Seq(2)).unwrap().world;
    assert_eq!(details(&read, 1), None, "written after the erasure");
    assert!(details(&read, 2).is_some(), "others keep theirs");

    snapshots.write(&read, &TreeState::default()).unwrap();
    assert_eq!(snapshots.load(Seq(2)).unwrap().world, read, "and once more from what was read");
}

#[test]
fn a_damaged_byte_anywhere_is_found_and_the_next_older_snapshot_serves() {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = open(dir.path());
    write_at(&snapshots, [1, 2]);
    let length = fs::read(dir.path().join("2.snap")).unwrap().len();
    for offset in 0..length {
        change(dir.path(), 2, |bytes| bytes[offset] ^= 0x10);
        assert!(snapshots.load(Seq(2)).is_err(), "byte {offset} was changed unnoticed");
        change(dir.path(), 2, |bytes| bytes[offset] ^= 0x10);
    }
    for short in 0..length {
        let whole = fs::read(dir.path().join("2.snap")).unwrap();
        change(dir.path(), 2, |bytes| bytes.truncate(short));
        assert!(snapshots.load(Seq(2)).is_err(), "{short} bytes were taken for a snapshot");
        fs::write(dir.path().join("2.snap"), whole).unwrap();
    }
    change(dir.path(), 2, |bytes| bytes.push(0));
    assert!(matches!(snapshots.load(Seq(2)), Err(Unusable::Damaged("body"))));
    assert_eq!(snapshots.latest_at_or_before(Seq(9)).unwrap().world.seq, Seq(1));
}

/// Changes a header as another program would have written it, hash and all.
fn rewrite_header(bytes: &mut [u8], change: impl FnOnce(&mut [u8])) {
    change(bytes);
    let hash = blake3::hash(&bytes[..92]);
    bytes[92..124].copy_from_slice(hash.as_bytes());
}

#[test]
fn a_foreign_snapshot_says_why_it_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = open(dir.path());
    write_at(&snapshots, 1..=6);
    fs::write(dir.path().join("1.snap"), "something else entirely").unwrap();
    change(dir.path(), 2, |bytes| rewrite_header(bytes, |bytes| bytes[8] = 9));
    change(dir.path(), 3, |bytes| rewrite_header(bytes, |bytes| bytes[15] = 9));
    change(dir.path(), 4, |bytes| rewrite_header(bytes, |bytes| bytes[16] ^= 1));
    fs::rename(dir.path().join("6.snap"), dir.path().join("5.snap")).unwrap();
    assert!(matches!(snapshots.load(Seq(1)), Err(Unusable::Foreign)));
    assert!(matches!(snapshots.load(Seq(2)), Err(Unusable::Format(9))));
    assert!(matches!(snapshots.load(Seq(3)), Err(Unusable::Layout(_))));
    assert!(matches!(snapshots.load(Seq(4)), Err(Unusable::Vocabulary)));
    assert!(matches!(snapshots.load(Seq(5)), Err(Unusable::WrongSeq(Seq(6)))));
    assert!(matches!(snapshots.load(Seq(6)), Err(Unusable::Io(_))));
    assert!(snapshots.latest_at_or_before(Seq(9)).is_none());

    write_at(&snapshots, [7]);
    assert_eq!(snapshots.prune().unwrap(), 5, "none of them keeps a usable one from its place");
    assert_eq!(snapshots.list(), [Seq(7)]);
}

#[test]
fn the_latest_at_or_before_is_never_after() {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = open(dir.path());
    write_at(&snapshots, [10, 20, 100]);
    let found = |seq| snapshots.latest_at_or_before(Seq(seq)).map(|snapshot| snapshot.world.seq.0);
    assert_eq!(
        [9, 10, 19, 20, 99, 100, 101].map(found),
        [None, Some(10), Some(10), Some(20), Some(20), Some(100), Some(100),]
    );
    assert!(snapshots.latest_between(Seq(20), Seq(99)).is_none());
}

#[test]
fn what_an_interrupted_write_left_is_removed_and_a_stranger_is_not() {
    let dir = tempfile::tempdir().unwrap();
    write_at(&open(dir.path()), [1]);
    for name in ["2.snap.tmp", "notes.txt", "x.snap"] {
        fs::write(dir.path().join(name), "half").unwrap();
    }
    let snapshots = open(dir.path());
    assert_eq!(snapshots.list(), [Seq(1)]);
    snapshots.prune().unwrap();
    let mut left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["1.snap", "notes.txt", "x.snap"]);
}

#[test]
fn a_refused_write_leaves_the_others_and_nothing_half_written() {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = open(dir.path());
    write_at(&snapshots, [1]);
    fs::create_dir(dir.path().join("2.snap")).unwrap();
    let world = folded([&record(2, created(2))]);
    assert!(snapshots.write(&world, &TreeState::default()).is_err());
    assert!(!dir.path().join("2.snap.tmp").exists());
    assert_eq!(snapshots.latest_at_or_before(Seq(9)).unwrap().world.seq, Seq(1));
}

#[test]
fn a_deleted_tenant_leaves_no_name_behind_once_its_key_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let vault = Arc::new(TestVault::default());
    let snapshots = Snapshots::open(dir.path(), vault.clone()).unwrap();
    let removed = Removal { files: true, nginx: true, services: true };
    let mut events = vec![record(1, created(1))];
    let spawned = (0..Event::KINDS.len()).find(|kind| Event::KINDS[*kind].0 == "instance.spawned").unwrap();
    let gone = (0..Event::KINDS.len()).find(|kind| Event::KINDS[*kind].0 == "instance.removed").unwrap();
    events.push(recorded(2, (spawned, 1, 1, 3)));
    events.push(recorded(3, (gone, 1, 1, 3)));
    events.push(record(4, TenantDeleted { tenant_id: tenant(1), removed }));
    let world = folded(&events);
    assert!(world.instances.name(instance(1)).is_some());
    vault.erase(tenant(1));
    snapshots.write(&world, &TreeState::default()).unwrap();
    assert_eq!(snapshots.load(Seq(4)).unwrap().world.instances.name(instance(1)), None);
}
