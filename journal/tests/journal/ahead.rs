//! The write-ahead file: what it brings back, what it refuses, and what it never takes.
//!
//! A kill is a copy of the directory made while the store is open: that is what the next
//! process would find. With [`lazy`] nothing is in sled by then.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tenantry_journal::codec::CommitBuilder;
use tenantry_journal::id::Seq;
use tenantry_journal::scan;
use tenantry_journal::store::sled::{Sizes, SledJournal};
use tenantry_journal::store::{Journal, StoreError};
use tenantry_journal::time::Timestamp;

use crate::support::*;

/// Bytes before a record's commit.
const HEADER: usize = 36;

/// Nothing gets into sled before the end.
fn lazy() -> Sizes {
    Sizes { batch: usize::MAX, idle: Duration::from_secs(3600), ..Sizes::default() }
}

/// Everything gets into sled at once, and rounds and volumes are short.
fn busy() -> Sizes {
    Sizes { volume: 40_000, half: 8192, batch: 2000, idle: Duration::from_millis(1), ..Sizes::default() }
}

fn open(dir: &Path, sizes: Sizes) -> Result<Rig, StoreError> {
    let store = SledJournal::open_with(&dir.join("journal"), sizes)?;
    Ok(Rig::start(Arc::new(store), keyring(dir)))
}

fn numbers(rig: &Rig) -> Vec<u16> {
    rig.events().iter().map(number_of).collect()
}

fn record(rig: &Rig, range: impl Iterator<Item = u16>) {
    range.for_each(|number| drop(rig.record(vec![numbered(number)]).unwrap()));
}

/// What a kill would leave.
fn killed(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for (path, bytes) in files(dir) {
        let target = copy.path().join(path.strip_prefix(dir).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::write(target, bytes).unwrap();
    }
    // sled wants it even when it is empty.
    for volume in volumes(copy.path()) {
        std::fs::create_dir_all(volume.join("blobs")).unwrap();
    }
    copy
}

fn volumes(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join("journal")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().len() == 20).collect()
}

/// A killed journal with the events 1 to 30, none of them in sled.
fn unmoved() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let rig = open(dir.path(), lazy()).unwrap();
    record(&rig, 1..=30);
    killed(dir.path())
}

fn half(dir: &Path) -> PathBuf {
    dir.join("journal/wal/0")
}

/// Where the records of the first half begin, and behind them where the last one ends.
fn records(dir: &Path) -> Vec<usize> {
    let bytes = std::fs::read(half(dir)).unwrap();
    let mut starts = vec![0];
    let mut at = 0;
    while bytes[at..].starts_with(b"TNW") {
        at += HEADER + u32::from_be_bytes(bytes[at + 28..at + 32].try_into().unwrap()) as usize;
        starts.push(at);
    }
    starts
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

fn set_mark(dir: &Path, seq: u64) {
    let seq = seq.to_be_bytes();
    let mark = [seq.as_slice(), &crc32fast::hash(&seq).to_be_bytes()].concat();
    std::fs::write(dir.join("journal/head"), mark).unwrap();
}

fn refusal(dir: &Path) -> StoreError {
    open(dir, lazy()).err().expect("a refusal")
}

#[test]
fn what_was_acknowledged_and_is_not_in_the_store_comes_back_after_a_kill() {
    let dir = unmoved();
    let [volume] = volumes(dir.path()).try_into().unwrap();
    let size: u64 = files(&volume).values().map(|bytes| bytes.len() as u64).sum();
    assert!(size < 30 * 100, "{size} bytes: the events are in sled already, and this proves nothing");
    let rig = open(dir.path(), lazy()).unwrap();
    assert_eq!(numbers(&rig), (1..=30).collect::<Vec<_>>());
    // It is in sled now, and what comes next is not.
    record(&rig, 31..=40);
    let again = killed(dir.path());
    drop(rig);
    let rig = open(again.path(), lazy()).unwrap();
    assert_eq!(numbers(&rig), (1..=40).collect::<Vec<_>>());
    record(&rig, 41..=41);
    assert_eq!(scan::verify(&*rig.store, Seq(41)).unwrap().checked, 41);
}

#[test]
fn a_clean_end_leaves_nothing_to_take_over_and_a_journal_without_the_file_opens() {
    let dir = tempfile::tempdir().unwrap();
    let rig = open(dir.path(), lazy()).unwrap();
    record(&rig, 1..=30);
    drop(rig);
    std::fs::remove_dir_all(dir.path().join("journal/wal")).unwrap();
    let rig = open(dir.path(), lazy()).unwrap();
    assert_eq!(numbers(&rig), (1..=30).collect::<Vec<_>>());
    assert!(half(dir.path()).exists());
    assert!(rig.store.size_on_disk().unwrap() >= 2 * lazy().half as u64, "its size is told");
}

#[test]
fn a_file_of_another_length_is_taken_over_and_made_anew() {
    let dir = unmoved();
    let rig = open(dir.path(), Sizes { half: 50_000, ..lazy() }).unwrap();
    assert_eq!(numbers(&rig), (1..=30).collect::<Vec<_>>());
    assert_eq!(std::fs::metadata(half(dir.path())).unwrap().len(), 50_000);
}

#[test]
fn a_torn_last_record_is_dropped_wherever_it_is_torn() {
    let whole = unmoved();
    let starts = records(whole.path());
    let (start, end) = (starts[29], starts[30]);
    for cut in (start..end).step_by(23) {
        let dir = killed(whole.path());
        change(&half(dir.path()), |bytes| bytes[cut..end].fill(0));
        // It was acknowledged: this is no torn write but a loss.
        let error = refusal(dir.path());
        assert!(matches!(error, StoreError::Lost { found: Seq(29), acknowledged: Seq(30), .. }), "{error}");
        set_mark(dir.path(), 29);
        let rig = open(dir.path(), lazy()).unwrap();
        assert_eq!(numbers(&rig), (1..=29).collect::<Vec<_>>(), "torn at {}", cut - start);
        record(&rig, 99..=99);
        let again = killed(dir.path());
        drop(rig);
        let rig = open(again.path(), lazy()).unwrap();
        assert_eq!(number_of(rig.events().last().unwrap()), 99);
    }
}

/// A power cut may keep the later blocks of one write and lose the earlier ones.
#[test]
fn whole_records_behind_a_torn_one_never_go_on_from_events_that_came_after_it() {
    let dir = unmoved();
    let starts = records(dir.path());
    change(&half(dir.path()), |bytes| {
        bytes[starts[27] + 5] ^= 1;
        // As of one write: nothing of it says that what stands before it was durable.
        for at in [starts[28], starts[29]] {
            let length = u32::from_be_bytes(bytes[at + 28..at + 32].try_into().unwrap()) as usize;
            bytes[at + 12..at + 20].copy_from_slice(&27u64.to_be_bytes());
            let commit = &bytes[at + HEADER..at + HEADER + length];
            let checksum = crc32fast::hash(&[&bytes[at..at + 32], commit].concat());
            bytes[at + 32..at + 36].copy_from_slice(&checksum.to_be_bytes());
        }
    });
    set_mark(dir.path(), 27);
    let rig = open(dir.path(), lazy()).unwrap();
    assert_eq!(numbers(&rig), (1..=27).collect::<Vec<_>>());
    record(&rig, 100..=100);
    assert_eq!(rig.store.head(), Seq(28), "event 29 of the torn write would go on here");
    let again = killed(dir.path());
    drop(rig);
    // After a kill, and after a clean end.
    for dir in [again.path(), dir.path()] {
        let rig = open(dir, lazy()).unwrap();
        assert_eq!(numbers(&rig), (1..=27).chain([100]).collect::<Vec<_>>());
        assert!(scan::verify(&*rig.store, Seq(28)).unwrap().bad.is_none());
    }
}

#[test]
fn a_flipped_byte_of_an_acknowledged_record_is_refused_by_seq() {
    let whole = unmoved();
    let at = records(whole.path())[9];
    // One in each field: mark, version, round, durable, first, length, checksum, commit.
    for offset in [0, 3, 4, 11, 12, 19, 20, 27, 28, 31, 32, 35, 36, 60, 100, 150] {
        let dir = killed(whole.path());
        change(&half(dir.path()), |bytes| bytes[at + offset] ^= 0x10);
        let before = files(&dir.path().join("journal"));
        let error = refusal(dir.path());
        let lost = matches!(error, StoreError::Lost { found: Seq(9), acknowledged: Seq(30), .. });
        assert!(lost, "byte {offset}: {error}");
        assert!(error.to_string().contains("10 and later are lost or damaged"), "{error}");
        assert!(files(&dir.path().join("journal")) == before, "byte {offset}: the refusal changed something");
        // The records behind it say so too when the mark is torn.
        std::fs::write(dir.path().join("journal/head"), "torn").unwrap();
        assert!(matches!(refusal(dir.path()), StoreError::Lost { found: Seq(9), acknowledged: Seq(29), .. }));
        // Whoever removes the mark accepts the loss; what lay behind it does not come back.
        std::fs::remove_file(dir.path().join("journal/head")).unwrap();
        let rig = open(dir.path(), lazy()).unwrap();
        record(&rig, 77..=77);
        let again = killed(dir.path());
        drop(rig);
        let rig = open(again.path(), lazy()).unwrap();
        assert_eq!(numbers(&rig), (1..=9).chain([77]).collect::<Vec<_>>(), "byte {offset}");
    }
}

#[test]
fn a_flipped_byte_of_a_record_that_the_store_has_harms_nothing() {
    let whole = tempfile::tempdir().unwrap();
    record(&open(whole.path(), lazy()).unwrap(), 1..=30);
    let starts = records(whole.path());
    for at in (0..starts[30]).step_by(211) {
        let dir = killed(whole.path());
        change(&half(dir.path()), |bytes| bytes[at] ^= 0x10);
        let rig = open(dir.path(), lazy()).unwrap();
        assert_eq!(numbers(&rig), (1..=30).collect::<Vec<_>>(), "byte {at}");
    }
}

/// sled cuts its log at a damaged byte; what the write-ahead file still holds comes back.
#[test]
fn what_sled_lost_to_a_damaged_byte_comes_back_from_the_file() {
    let whole = tempfile::tempdir().unwrap();
    record(&open(whole.path(), lazy()).unwrap(), 1..=30);
    let (mut healed, mut refused) = (0, 0);
    let used = std::fs::read(volumes(whole.path())[0].join("db")).unwrap();
    let used = used.iter().rposition(|byte| *byte != 0).unwrap();
    for part in 1..20 {
        let dir = killed(whole.path());
        change(&volumes(dir.path())[0].join("db"), |bytes| bytes[used * part / 20] ^= 0x10);
        match open(dir.path(), lazy()) {
            Ok(rig) => {
                assert_eq!(numbers(&rig), (1..=30).collect::<Vec<_>>(), "part {part}");
                record(&rig, 31..=31);
                drop(rig);
                let rig = open(dir.path(), lazy()).unwrap();
                assert_eq!(numbers(&rig), (1..=31).collect::<Vec<_>>(), "part {part}");
                healed += 1;
            }
            Err(error) => {
                assert!(error.seq().is_some(), "part {part}: {error}");
                refused += 1;
            }
        }
    }
    assert!(healed > 0, "nothing healed, {refused} refused");
}

#[test]
fn full_halves_wait_for_the_store_and_old_rounds_are_never_taken_for_new_ones() {
    let dir = tempfile::tempdir().unwrap();
    // No batch is ever large enough by itself: each round waits for the other half.
    let rig = open(dir.path(), Sizes { half: 8192, ..lazy() }).unwrap();
    let mut copies = Vec::new();
    for number in 1..=400u16 {
        record(&rig, number..=number);
        if number % 37 == 0 {
            copies.push((number, killed(dir.path())));
        }
    }
    assert_eq!(numbers(&rig), (1..=400).collect::<Vec<_>>());
    let used = std::fs::read(half(dir.path())).unwrap();
    assert_eq!(used.len(), 8192);
    assert!(u64::from_be_bytes(used[4..12].try_into().unwrap()) > 3, "the halves were begun anew");
    drop(rig);
    for (number, copy) in copies {
        let rig = open(copy.path(), lazy()).unwrap();
        assert_eq!(numbers(&rig), (1..=number).collect::<Vec<_>>());
    }
    let store = SledJournal::open_with(&dir.path().join("journal"), Sizes { half: 8192, ..lazy() }).unwrap();
    let mut long = CommitBuilder::new(Seq(401), [0; 32]);
    long.push_framed(&[0; 9000], 1, Timestamp(1));
    let error = store.append(&long.finish()).unwrap_err();
    assert!(error.to_string().contains("a commit of this length"), "{error}");
}

#[test]
fn readers_see_every_event_once_while_it_moves_into_the_store() {
    const EVENTS: u16 = 1500;
    let dir = tempfile::tempdir().unwrap();
    let rig = open(dir.path(), busy()).unwrap();
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2usize)
            .map(|reader| {
                let (rig, page) = (&rig, [1, 5000][reader]);
                scope.spawn(move || {
                    let mut rounds = 0;
                    let mut next = Seq(1);
                    while next <= Seq(u64::from(EVENTS)) {
                        let commits = rig.store.read(next, page).unwrap();
                        if commits.is_empty() {
                            assert!(rig.group.poisoned().is_none(), "{:?}", rig.group.poisoned());
                            std::thread::yield_now();
                        }
                        for commit in &commits {
                            assert_eq!(commit.seq, next, "a gap or a repeat");
                            next = commit.parse(&mut Vec::new()).unwrap().last().next();
                        }
                        rounds += 1;
                        if rounds % 50 == 0 {
                            let head = rig.feed.head();
                            let page = scan::page(&*rig.store, &rig.vault, Seq(1), head, 5000).unwrap();
                            assert!(page.iter().map(|event| event.seq.0).eq(1..=page.len() as u64));
                            assert!(page.len() as u64 == head.0 || !page.is_empty());
                        }
                    }
                })
            })
            .collect();
        record(&rig, 1..=EVENTS);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
    assert!(volumes(dir.path()).len() > 2, "nothing moved");
    drop(rig);
    assert_eq!(numbers(&open(dir.path(), busy()).unwrap()), (1..=EVENTS).collect::<Vec<_>>());
}

#[test]
fn a_store_that_fails_behind_the_file_ends_writing_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let rig = open(dir.path(), Sizes { volume: 1, ..busy() }).unwrap();
    // The place of the second volume is taken: it cannot be made.
    let taken = dir.path().join("journal").join(format!("{:020}", 2));
    std::fs::write(&taken, "").unwrap();
    let mut acknowledged = 0;
    let poisoned = loop {
        match rig.record(vec![numbered(acknowledged + 1)]) {
            Ok(_) => acknowledged += 1,
            Err(poisoned) => break poisoned,
        }
        assert!(acknowledged < 10_000, "the failure never comes back");
    };
    assert!(acknowledged >= 2, "the first volume and the file took {acknowledged}");
    assert!(poisoned.to_string().contains("files cannot be written: cannot create"), "{poisoned}");
    rig.record(vec![numbered(1)]).unwrap_err();
    assert_eq!(numbers(&rig), (1..=acknowledged).collect::<Vec<_>>(), "reads go on");
    drop(rig);
    std::fs::remove_file(&taken).unwrap();
    let rig = open(dir.path(), busy()).unwrap();
    assert_eq!(numbers(&rig), (1..=acknowledged).collect::<Vec<_>>());
    record(&rig, acknowledged + 1..=acknowledged + 1);
}

#[test]
fn a_reader_beside_sees_what_is_acknowledged_and_not_in_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let rig = open(dir.path(), lazy()).unwrap();
    record(&rig, 1..=30);
    let beside = SledJournal::open_read_only(&dir.path().join("journal")).unwrap();
    assert_eq!((beside.head(), beside.tail().head), (Seq(30), Seq(30)));
    assert_eq!(read_all(&beside, &rig.vault), rig.events());
    assert!(matches!(beside.sync(), Err(StoreError::ReadOnly)));
}

/// The bytes of one record. If this test fails, a journal that was killed under the version
/// before does not come back whole under this one.
#[test]
fn the_bytes_of_a_record_are_those_of_the_golden_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = SledJournal::open_with(dir.path(), lazy()).unwrap();
    for first in [1, 3] {
        let mut commit = CommitBuilder::new(Seq(first), [0x5a; 32]);
        commit.push_framed(b"\0\0\0\x03one\0\0\0\x03two", 2, Timestamp(1_763_726_400_000));
        store.append(&commit.finish()).unwrap();
        store.sync().unwrap();
    }
    let bytes = std::fs::read(dir.path().join("wal/0")).unwrap();
    let written = &bytes[..2 * (HEADER + 64 + 14)];
    assert!(bytes[written.len()..].iter().all(|byte| *byte == 0));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/wal-v1.bin");
    if !Path::new(path).exists() {
        std::fs::write(path, written).unwrap();
        panic!("{path} was missing; it was written anew: look at it and commit it");
    }
    assert!(std::fs::read(path).unwrap() == written, "the same commits are written differently");
}
