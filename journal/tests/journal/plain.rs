//! Looks into full volumes, from plain files: that they say the same as the store, and what
//! becomes of damaged, missing and foreign ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tenantry_journal::event::Event;
use tenantry_journal::id::{Seq, TenantId};
use tenantry_journal::merkle::Frontier;
use tenantry_journal::scan;
use tenantry_journal::store::sled::{Sizes, SledJournal};

use crate::support::*;

const EVENTS: u16 = 600;
/// Of them the first commit's.
const LONG: u16 = 200;

fn rig(dir: &Path) -> Rig {
    let sizes = Sizes { volume: 3000, ..Sizes::default() };
    Rig::start(Arc::new(SledJournal::open_with(&dir.join("journal"), sizes).unwrap()), keyring(dir))
}

/// A journal of several full volumes, closed, without plain files. Its first commit is long.
fn written(dir: &Path) {
    let rig = rig(dir);
    drop(rig.record((0..LONG).map(numbered).collect()).unwrap());
    (LONG / 10..EVENTS / 10)
        .for_each(|i| drop(rig.record((0..10).map(|j| numbered(i * 10 + j)).collect()).unwrap()));
    drop(rig);
    let _ = fs::remove_dir_all(dir.join("journal/plain"));
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(dir).map_or(Vec::new(), |entries| entries.map(|entry| entry.unwrap().path()).collect());
    found.sort();
    found
}

fn volumes(dir: &Path) -> Vec<PathBuf> {
    entries(&dir.join("journal")).into_iter().filter(|path| path.file_name().unwrap().len() == 20).collect()
}

fn plain(dir: &Path) -> Vec<PathBuf> {
    entries(&dir.join("journal/plain")).into_iter().filter(|path| path.extension().is_none()).collect()
}

/// Looks at every event, alone and in pages, as it was written.
fn look(rig: &Rig) {
    let head = rig.store.head();
    for seq in 1..=head.0 {
        let page = scan::page(&*rig.store, &rig.vault, Seq(seq), head, 1).unwrap();
        assert_eq!(page.iter().map(number_of).collect::<Vec<_>>(), [seq as u16 - 1]);
    }
    let mut seen = Vec::new();
    scan::visit(&*rig.store, &rig.vault, Seq(1), head, |recorded| {
        seen.push(number_of(recorded));
        Ok(std::ops::ControlFlow::Continue(()))
    })
    .unwrap();
    assert_eq!(seen, (0..EVENTS).collect::<Vec<_>>());
}

/// Returns when every full volume has its file.
fn all_made(dir: &Path, rig: &Rig) {
    let begun = Instant::now();
    while plain(dir).len() + 1 < volumes(dir).len() {
        assert!(begun.elapsed() < PATIENCE, "{:?}", plain(dir));
        look(rig);
        std::thread::yield_now();
    }
}

#[test]
fn looks_come_from_plain_files_and_reads_from_the_store() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    let rig = rig(dir.path());
    look(&rig);
    all_made(dir.path(), &rig);
    look(&rig);
    let bytes: u64 = plain(dir.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(rig.store.size_on_disk().unwrap() > bytes && bytes > 0);
    // What the store of record lost is seen by who verifies, and looks go on.
    rig.store.passing(rig.store.head());
    let all = volumes(dir.path());
    let (_, full) = all.split_last().unwrap();
    assert!(full.len() > 4, "{all:?}");
    full.iter().for_each(|volume| fs::write(volume.join("db"), [7; 9000]).unwrap());
    look(&rig);
    let verified = scan::verify(&*rig.store, rig.store.head());
    assert!(verified.is_err() || verified.unwrap().bad.is_some());
}

#[test]
fn who_looks_at_one_event_of_a_long_commit_gets_a_piece_of_it() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    let rig = rig(dir.path());
    all_made(dir.path(), &rig);
    let mut times = Vec::new();
    for seq in (1..=LONG).map(|seq| Seq(u64::from(seq))) {
        let (piece, whole) = (rig.store.look(seq, 1).unwrap(), rig.store.read(seq, 1).unwrap());
        let (piece, whole) = (piece.first().unwrap(), whole.first().unwrap());
        assert!(piece.len() * 4 < whole.len(), "{} of {}", piece.len(), whole.len());
        assert!(whole.seq == Seq(1) && piece.seq <= seq);
        times.push(scan::page(&*rig.store, &rig.vault, seq, seq, 1).unwrap().remove(0).at);
    }
    for at in &times {
        let until = times.iter().rposition(|time| time <= at).unwrap() as u64 + 1;
        let found = scan::seq_at(&*rig.store, &rig.vault, *at).unwrap();
        assert!(found == Seq(until) || until == u64::from(LONG) && found > Seq(until), "{found} {until}");
    }
    let leaves = scan::leaves(&*rig.store, Seq(1), rig.store.head()).unwrap();
    let verified = scan::verify(&*rig.store, rig.store.head()).unwrap();
    let mut frontier = Frontier::default();
    leaves.into_iter().for_each(|leaf| frontier.push(leaf));
    assert_eq!(verified.frontier.root(), frontier.root());
}

#[test]
fn a_volume_that_gets_full_gets_its_file_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(dir.path());
    let begun = Instant::now();
    let mut number = 0;
    while plain(dir.path()).is_empty() {
        assert!(begun.elapsed() < PATIENCE);
        rig.record(vec![numbered(number % 1000)]).unwrap();
        number += 1;
    }
    assert!(volumes(dir.path()).len() > 1);
}

#[test]
fn a_damaged_file_is_made_again_and_looks_are_right_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    let rig = rig(dir.path());
    all_made(dir.path(), &rig);
    drop(rig);
    let files = plain(dir.path());
    let whole = fs::read(&files[1]).unwrap();
    let (first, middle, cut) = (&files[0], &files[1], &files[2]);
    let mut bent = whole.clone();
    bent[whole.len() / 3] ^= 1;
    fs::write(middle, &bent).unwrap();
    fs::write(cut, &fs::read(cut).unwrap()[..100]).unwrap();
    // Another volume's, in the place of this one's.
    fs::write(first, &whole).unwrap();
    let rig = self::rig(dir.path());
    // The second time in a program that has mended it before.
    for _ in 0..2 {
        let begun = Instant::now();
        look(&rig);
        while fs::read(middle).is_ok_and(|now| now == bent)
            || plain(dir.path()).len() + 1 < volumes(dir.path()).len()
        {
            assert!(begun.elapsed() < PATIENCE);
            look(&rig);
        }
        assert_eq!(fs::read(middle).unwrap(), whole);
        look(&rig);
        fs::write(middle, &bent).unwrap();
    }
}

#[test]
fn where_no_file_can_be_written_the_store_is_read() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    fs::write(dir.path().join("journal/plain"), "in the way").unwrap();
    let rig = rig(dir.path());
    look(&rig);
    look(&rig);
    assert_eq!(fs::read(dir.path().join("journal/plain")).unwrap(), b"in the way");
}

#[test]
fn what_lies_beside_the_volume_that_is_written_is_of_another_time_and_goes() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    let rig = rig(dir.path());
    all_made(dir.path(), &rig);
    drop(rig);
    let last =
        dir.path().join("journal/plain").join(volumes(dir.path()).last().unwrap().file_name().unwrap());
    fs::copy(plain(dir.path()).last().unwrap(), &last).unwrap();
    let rig = self::rig(dir.path());
    assert!(!last.exists());
    look(&rig);
}

#[test]
fn an_erased_tenant_is_erased_in_plain_files_too() {
    const NAME: &str = "Kentucky-Fried-Campaign-0451";
    let dir = tempfile::tempdir().unwrap();
    let tenant = TenantId(uuid(0xa1));
    let rig = rig(dir.path());
    rig.record(vec![created(tenant, NAME)]).unwrap();
    let begun = Instant::now();
    while plain(dir.path()).is_empty() {
        assert!(begun.elapsed() < PATIENCE);
        rig.record(vec![updated(tenant, NAME.repeat(10))]).unwrap();
    }
    let first = plain(dir.path()).remove(0);
    assert!(first.ends_with(format!("{:020}", 1)), "the one that the tenant was created in");
    let bytes = fs::read(first).unwrap();
    assert!(!bytes.windows(NAME.len()).any(|window| window == NAME.as_bytes()));
    let name = || match scan::page(&*rig.store, &rig.vault, Seq(1), Seq(1), 1).unwrap().remove(0).draft.event
    {
        Event::TenantCreated(created) => created.details.open().map(|details| details.name.clone()),
        other => panic!("{other:?}"),
    };
    assert_eq!(name().as_deref(), Some(NAME));
    rig.keyring.erase(tenant.into()).unwrap();
    assert_eq!(name(), None);
}
