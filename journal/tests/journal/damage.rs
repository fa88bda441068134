//! Damage in the store's own files: found, told, and left as it was found.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tenantry_journal::id::{Seq, TenantId};
use tenantry_journal::scan;
use tenantry_journal::store::Journal;
use tenantry_journal::store::sled::{Sizes, SledJournal};

use crate::support::*;

/// No volume is small enough to be copied whatever its state.
fn sizes(volume: u64) -> Sizes {
    Sizes { copied: 0, volume, ..Sizes::default() }
}

/// A journal of about 5 MB, closed, without its write-ahead file, which would bring back what
/// is damaged.
fn written(volume: u64) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal");
    let store = SledJournal::open_with(&journal, sizes(volume)).unwrap();
    let rig = Rig::start(Arc::new(store), keyring(dir.path()));
    let tenant = TenantId(uuid(0xa1));
    rig.record(vec![created(tenant, "Smith")]).unwrap();
    for n in 0..120 {
        rig.record(vec![updated(tenant, format!("{n} ").repeat(10_000))]).unwrap();
    }
    drop(rig);
    std::fs::remove_dir_all(journal.join("wal")).unwrap();
    (dir, journal)
}

fn first_volume(journal: &Path) -> PathBuf {
    journal.join(format!("{:020}", 1))
}

fn flipped(whole: &[u8], part: usize) -> Vec<u8> {
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let mut bytes = whole.to_vec();
    bytes[used * part / 100] ^= 0x10;
    bytes
}

#[test]
fn a_damaged_volume_too_large_to_be_copied_each_time_is_refused_by_seq_and_left_as_it_was() {
    let (_dir, journal) = written(u64::MAX);
    let whole = files(&journal);
    let db = first_volume(&journal).join("db");
    let mut refused = 0;
    for part in [3, 20, 37, 50, 66, 80, 95, 99] {
        std::fs::write(&db, flipped(&whole[&db], part)).unwrap();
        let before = files(&journal);
        match SledJournal::open_with(&journal, sizes(u64::MAX)) {
            Err(error) => {
                assert!(error.seq().is_some(), "part {part}: {error}");
                assert!(files(&journal) == before, "part {part}: the refusal changed something");
                refused += 1;
            }
            Ok(store) => {
                let verified = scan::verify(&store, store.head()).unwrap();
                assert!(store.head() == Seq(121) && verified.bad.is_none(), "part {part}: {verified:?}");
                drop(store);
            }
        }
        std::fs::remove_dir_all(&journal).unwrap();
        for (path, bytes) in &whole {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        std::fs::create_dir_all(first_volume(&journal).join("blobs")).unwrap();
    }
    assert!(refused > 5, "only {refused} refused");
}

#[test]
fn a_damaged_full_volume_is_read_as_far_as_it_goes_and_left_as_it_was() {
    let (_dir, journal) = written(1_500_000);
    let db = first_volume(&journal).join("db");
    let whole = std::fs::read(&db).unwrap();
    for part in [20, 50, 80, 97] {
        let damaged = flipped(&whole, part);
        std::fs::write(&db, &damaged).unwrap();
        let store = SledJournal::open_with(&journal, sizes(1_500_000)).unwrap();
        assert_eq!(store.head(), Seq(121), "the end is in another volume");
        let bad = scan::verify(&store, Seq(121)).unwrap().bad;
        assert!(bad.is_some_and(|(seq, _)| seq < Seq(121)), "part {part}: nothing was found");
        drop(store);
        assert!(std::fs::read(&db).unwrap() == damaged, "part {part}: reading changed the file");
    }
    std::fs::write(&db, &whole).unwrap();
    let store = SledJournal::open_with(&journal, sizes(1_500_000)).unwrap();
    assert!(scan::verify(&store, Seq(121)).unwrap().bad.is_none());
}
