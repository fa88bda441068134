//! The store on disk: reopening, volumes, parts, the lock, damage, the reader beside.

use std::path::Path;
use std::sync::Arc;

use tenantry_journal::id::{Seq, TenantId};
use tenantry_journal::lock::{DataLock, LockError};
use tenantry_journal::merkle::Frontier;
use tenantry_journal::scan::{self, ScanError};
use tenantry_journal::sealed::Vault;
use tenantry_journal::store::sled::{PART_BYTES, SEGMENT_BYTES, Sizes, SledJournal};
use tenantry_journal::store::{Journal, StoreError};
use tenantry_journal::time::Timestamp;

use crate::support::*;

fn rig_with(dir: &Path, volume_bytes: u64) -> Rig {
    let sizes = Sizes { volume: volume_bytes, ..Sizes::default() };
    let store = SledJournal::open_with(&dir.join("journal"), sizes).unwrap();
    Rig::start(Arc::new(store), keyring(dir))
}

fn rig(dir: &Path) -> Rig {
    let store = SledJournal::open(&dir.join("journal")).unwrap();
    Rig::start(Arc::new(store), keyring(dir))
}

fn numbers(rig: &Rig) -> Vec<u16> {
    rig.events().iter().map(number_of).collect()
}

/// A sled store of the journal's, opened as the journal opens it.
fn open_volume(dir: &Path) -> sled::Db {
    let volume = dir.join("journal").join(format!("{:020}", 1));
    let config = sled::Config::new().path(volume).segment_size(SEGMENT_BYTES).flush_every_ms(None);
    loop {
        match config.open() {
            Ok(db) => return db,
            // sled's threads hold the file of a closed store a moment longer.
            Err(error) if error.to_string().contains("lock") => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn everything_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    let mut frontier = Frontier::default();
    for round in 0..5 {
        let rig = rig(dir.path());
        let drafts: Vec<_> = (0..20).map(|i| numbered(round * 100 + i)).collect();
        expected.extend((0..20).map(|i| round * 100 + i));
        rig.record(drafts).unwrap();
        assert_eq!(numbers(&rig), expected);
        scan::hash(&*rig.store, &mut frontier, rig.store.head()).unwrap();
        let verified = scan::verify(&*rig.store, rig.store.head()).unwrap();
        assert_eq!(verified.frontier, frontier, "a resumed tree is the whole tree");
        assert_eq!((verified.checked, verified.bad.is_none()), (expected.len() as u64, true));
    }
}

#[test]
fn full_volumes_are_followed_by_new_ones_and_read_as_one() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3u16 {
        let rig = rig_with(dir.path(), 5000);
        for i in 0..30 {
            rig.record((0..10).map(|j| numbered(round * 300 + i * 10 + j)).collect()).unwrap();
        }
        assert_eq!(numbers(&rig), (0..(round + 1) * 300).collect::<Vec<_>>());
    }
    let volumes = std::fs::read_dir(dir.path().join("journal")).unwrap().count() - 2;
    assert!((6..=30).contains(&volumes), "{volumes} volumes");
    let rig = rig_with(dir.path(), 5000);
    let page = scan::page(&*rig.store, &rig.vault, Seq(895), rig.store.head(), 100).unwrap();
    assert_eq!(page.iter().map(number_of).collect::<Vec<_>>(), (894..900).collect::<Vec<_>>());
}

/// Waits until no more files are open: sled's threads hold that of a closed store a moment
/// longer.
fn few_files(open_files: &impl Fn() -> usize, most: usize) {
    let begun = std::time::Instant::now();
    while open_files() > most {
        assert!(begun.elapsed().as_secs() < 20, "{} are open, {most} at most", open_files());
        std::thread::yield_now();
    }
}

#[test]
fn volumes_that_were_closed_are_read_again_also_by_who_reads_meanwhile() {
    const EVENTS: u16 = 600;
    /// Full ones that stay open.
    const KEPT: usize = 4;
    /// The store engine's file and the journal's own of the last volume.
    const OF_ONE: usize = 2;
    let dir = tempfile::tempdir().unwrap();
    let written = rig_with(dir.path(), 2000);
    (0..EVENTS / 10)
        .for_each(|i| drop(written.record((0..10).map(|j| numbered(i * 10 + j)).collect()).unwrap()));
    drop(written);
    let rig = rig_with(dir.path(), 2000);
    let open_files = || {
        let files = std::fs::read_dir("/proc/self/fd").unwrap();
        let paths = files.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
        paths.filter(|path| path.starts_with(dir.path()) && path.ends_with("db")).count()
    };
    let volumes = std::fs::read_dir(dir.path().join("journal")).unwrap().count() - 2;
    assert!(volumes > 2 * KEPT, "{volumes} volumes");
    assert_eq!(numbers(&rig), (0..EVENTS).collect::<Vec<_>>());
    assert!(open_files() > OF_ONE, "reading opens volumes");
    few_files(&open_files, OF_ONE * (KEPT + 1));
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2).map(|_| scope.spawn(|| rig.events().len())).collect();
        rig.store.passing(rig.store.head());
        readers.into_iter().for_each(|reader| assert_eq!(reader.join().unwrap(), usize::from(EVENTS)));
    });
    rig.store.passing(rig.store.head());
    few_files(&open_files, OF_ONE);
    let mut seen = Vec::new();
    let mut tree = Frontier::default();
    scan::replay(&*rig.store, &rig.vault, &mut tree, Seq::ZERO, rig.store.head(), |event| {
        seen.push(number_of(event));
    })
    .unwrap();
    assert_eq!(seen, (0..EVENTS).collect::<Vec<_>>());
    assert_eq!(scan::verify(&*rig.store, rig.store.head()).unwrap().frontier, tree);
}

#[test]
fn a_command_larger_than_a_value_is_stored_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let tenant = TenantId(uuid(5));
    let large = |rig: &Rig| {
        let text = "n".repeat(3 * PART_BYTES);
        rig.record(vec![created(tenant, &text), updated(tenant, text)]).unwrap();
    };
    let first = rig(dir.path());
    first.record(vec![numbered(1)]).unwrap();
    large(&first);
    first.record(vec![numbered(4)]).unwrap();
    large(&first);
    let events = first.events();
    drop(first);
    let again = rig(dir.path());
    assert_eq!(again.events(), events);
    assert_eq!(again.store.head(), Seq(6));
    for seq in 1..=6 {
        let page = scan::page(&*again.store, &again.vault, Seq(seq), Seq(6), 1).unwrap();
        assert_eq!(page[0].seq, Seq(seq));
    }
    drop(again);
    let blobs = dir.path().join("journal").join(format!("{:020}", 1)).join("blobs");
    assert_eq!(std::fs::read_dir(blobs).unwrap().count(), 0, "sled does not sync these files");
    // A crash between two parts: the commit is taken away, and comes from the write-ahead
    // file again.
    let cut_off = || {
        let db = open_volume(dir.path());
        let (last, _) = db.last().unwrap().unwrap();
        assert_eq!(last.len(), 10, "a part's key");
        db.remove(last).unwrap();
    };
    cut_off();
    assert_eq!(rig(dir.path()).events(), events);
    // Without it, it was never acknowledged.
    cut_off();
    std::fs::remove_dir_all(dir.path().join("journal/wal")).unwrap();
    std::fs::remove_file(dir.path().join("journal/head")).unwrap();
    let cut = rig(dir.path());
    assert_eq!(cut.store.head(), Seq(4));
    assert_eq!(cut.events(), events[..4]);
    cut.record(vec![numbered(5)]).unwrap();
    assert_eq!(cut.events().len(), 5);
}

#[test]
fn every_flipped_byte_in_a_stored_value_is_found_and_its_seq_named() {
    let dir = tempfile::tempdir().unwrap();
    let journal = rig(dir.path());
    let vault: Arc<dyn Vault> = Arc::clone(&journal.vault);
    for number in 1..=5u16 {
        journal.record(vec![numbered(number * 2 - 1), numbered(number * 2)]).unwrap();
    }
    drop(journal);
    let db = open_volume(dir.path());
    let key = 5u64.to_be_bytes();
    let whole = db.get(key).unwrap().unwrap();
    drop(db);
    for position in (0..whole.len()).step_by(7) {
        let mut bytes = whole.to_vec();
        bytes[position] ^= 0x40;
        let db = open_volume(dir.path());
        db.insert(key, bytes).unwrap();
        drop(db);
        let store = SledJournal::open(&dir.path().join("journal")).unwrap();
        let mut seen = 0;
        let error = scan::fold(&store, &vault, Seq(1), Seq(10), None, |_| seen += 1).unwrap_err();
        assert_eq!((seen, error.seq()), (4, Some(Seq(5))), "byte {position}: {error}");
        let verified = scan::verify(&store, Seq(10)).unwrap();
        assert_eq!((verified.checked, verified.bad.unwrap().0), (4, Seq(5)), "byte {position}");
        assert!(scan::raw(&store, Seq(5)).is_err());
        assert!(scan::raw(&store, Seq(7)).is_ok(), "the others are read");
    }
}

#[test]
fn a_value_changed_with_its_checksum_is_found_by_the_root_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let journal = rig(dir.path());
    (1..=4).for_each(|number| drop(journal.record(vec![numbered(number)]).unwrap()));
    let mut bytes = journal.store.read(Seq(2), 1).unwrap()[0].to_vec();
    drop(journal);
    *bytes.last_mut().unwrap() ^= 1;
    let checksum = crc32fast::hash(&[&bytes[..60], &bytes[64..]].concat());
    bytes[60..64].copy_from_slice(&checksum.to_be_bytes());
    open_volume(dir.path()).insert(2u64.to_be_bytes(), bytes).unwrap();
    let store = SledJournal::open(&dir.path().join("journal")).unwrap();
    let (seq, error) = scan::verify(&store, Seq(4)).unwrap().bad.unwrap();
    assert!(matches!(error, ScanError::Root { seq: Seq(3) }), "{error}");
    assert_eq!(seq, Seq(3), "the first commit that stands on the change");
}

#[test]
fn a_damaged_last_commit_is_refused_with_its_seq_and_a_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let journal = rig(dir.path());
    (1..=3).for_each(|number| drop(journal.record(vec![numbered(number)]).unwrap()));
    drop(journal);
    let db = open_volume(dir.path());
    let mut bytes = db.get(3u64.to_be_bytes()).unwrap().unwrap().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    db.insert(3u64.to_be_bytes(), bytes).unwrap();
    drop(db);
    let error = SledJournal::open(&dir.path().join("journal")).err().unwrap().to_string();
    assert!(error.contains("damaged at event 3"), "{error}");
    assert!(error.contains("tenantry replay --until 2"), "{error}");
}

#[test]
fn a_missing_acknowledged_tail_is_refused_and_never_dropped_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    let journal = rig(dir.path());
    (1..=3).for_each(|number| drop(journal.record(vec![numbered(number)]).unwrap()));
    drop(journal);
    let db = open_volume(dir.path());
    db.remove(3u64.to_be_bytes()).unwrap();
    drop(db);
    std::fs::remove_dir_all(dir.path().join("journal/wal")).unwrap();
    let error = SledJournal::open(&dir.path().join("journal")).err().unwrap();
    let lost = matches!(error, StoreError::Lost { found: Seq(2), acknowledged: Seq(3), .. });
    assert!(lost, "{error}");
    assert!(error.to_string().contains("accept the loss by removing"), "{error}");
    std::fs::remove_file(dir.path().join("journal/head")).unwrap();
    let store = SledJournal::open(&dir.path().join("journal")).unwrap();
    assert_eq!(store.head(), Seq(2), "the loss was accepted");
}

/// sled cuts its log at the first byte that does not check. Whatever single byte of the
/// file changes, the journal is either whole or refused; it is never shorter in silence.
/// The write-ahead file, which would bring it back, holds only the newest events: here none.
#[test]
fn a_flipped_byte_anywhere_in_the_file_never_shortens_the_journal_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    let journal = rig(dir.path());
    let vault = Arc::clone(&journal.vault);
    (1..=40).for_each(|number| drop(journal.record(vec![numbered(number)]).unwrap()));
    drop(journal);
    let volume = dir.path().join("journal").join(format!("{:020}", 1));
    let whole = std::fs::read(volume.join("db")).unwrap();
    let (mut refused, mut served) = (0, 0);
    for position in (0..whole.len().min(30_000)).step_by(1009) {
        let copy = tempfile::tempdir().unwrap();
        let target = copy.path().join("journal").join(format!("{:020}", 1));
        std::fs::create_dir_all(target.join("blobs")).unwrap();
        std::fs::copy(volume.join("conf"), target.join("conf")).unwrap();
        std::fs::copy(dir.path().join("journal/head"), copy.path().join("journal/head")).unwrap();
        let mut bytes = whole.clone();
        bytes[position] ^= 0x10;
        std::fs::write(target.join("db"), bytes).unwrap();
        match SledJournal::open(&copy.path().join("journal")) {
            Err(error) => {
                assert!(
                    matches!(error, StoreError::Lost { .. } | StoreError::Damaged { .. }),
                    "byte {position}: {error}"
                );
                refused += 1;
            }
            Ok(store) => {
                let mut seen = 0;
                let read = scan::fold(&store, &vault, Seq(1), Seq(40), None, |_| seen += 1);
                assert!(seen == 40 || read.unwrap_err().seq().is_some(), "byte {position}");
                served += 1;
            }
        }
    }
    assert!(refused > 0, "no byte mattered: {served} served");
}

#[test]
fn a_second_process_is_refused_by_the_first_ones_id() {
    let dir = tempfile::tempdir().unwrap();
    let held = tenantry_journal::open(dir.path()).unwrap();
    let error = tenantry_journal::open(dir.path()).err().unwrap().to_string();
    assert_eq!(
        error,
        format!(
            "{} is in use by process {}; stop it first, or choose another --data-dir",
            dir.path().display(),
            std::process::id()
        )
    );
    drop(held);
    drop(tenantry_journal::open(dir.path()).unwrap());
    std::fs::write(dir.path().join("lock"), "who knows").unwrap();
    let _lock = DataLock::take(dir.path()).unwrap();
    assert!(matches!(DataLock::take(dir.path()), Err(LockError::Held { .. })));
}

#[test]
fn a_reader_beside_the_writer_sees_what_was_durable_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let opened = tenantry_journal::open(dir.path()).unwrap();
    let rig = Rig::start(opened.store, opened.keyring);
    let tenant = TenantId(uuid(9));
    rig.record(vec![created(tenant, "Smith")]).unwrap();
    (1..200).for_each(|number| drop(rig.record(vec![numbered(number)]).unwrap()));
    let beside = tenantry_journal::open_read_only(dir.path()).unwrap();
    rig.record(vec![numbered(999)]).unwrap();
    let vault: Arc<dyn Vault> = beside.keyring;
    assert_eq!(beside.tail.head, Seq(200));
    assert_eq!(read_all(&*beside.store, &vault), rig.events()[..200]);
    let commit = tenantry_journal::codec::CommitBuilder::new(Seq(201), [0; 32]).finish();
    assert!(matches!(beside.store.append(&commit), Err(StoreError::ReadOnly)));
}

#[test]
fn a_time_is_found_as_the_last_event_at_or_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(dir.path());
    let base = 1_763_726_400_000;
    // Times 10, 20, 20, 30 | 30, 40 | 50 | 5 (raised to 50), 60
    for command in [vec![10, 20, 20, 30], vec![30, 40], vec![50], vec![5, 60]] {
        let at = |ms: u64| {
            let mut draft = numbered(1);
            draft.at = Timestamp(base + ms);
            draft
        };
        rig.record(command.into_iter().map(at).collect()).unwrap();
    }
    for (ms, seq) in [
        (0, 0),
        (9, 0),
        (10, 1),
        (19, 1),
        (20, 3),
        (29, 3),
        (30, 5),
        (45, 6),
        (50, 8),
        (59, 8),
        (60, 9),
        (99, 9),
    ] {
        let found = scan::seq_at(&*rig.store, &rig.vault, Timestamp(base + ms)).unwrap();
        assert_eq!(found, Seq(seq), "at {ms}");
    }
}

#[test]
fn the_raw_record_is_what_the_leaf_is_the_hash_of() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(dir.path());
    rig.record((1..=7).map(numbered).collect()).unwrap();
    let mut frontier = Frontier::default();
    for seq in 1..=7 {
        let record = scan::raw(&*rig.store, Seq(seq)).unwrap();
        frontier.push(tenantry_journal::merkle::leaf(&record));
    }
    assert_eq!(frontier, scan::verify(&*rig.store, Seq(7)).unwrap().frontier);
    assert!(scan::raw(&*rig.store, Seq(8)).is_err());
}
