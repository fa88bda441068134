//! Proofs over a journal, from kept nodes: right whatever became of these.

use std::path::Path;
use std::sync::{Arc, mpsc};

use tenantry_journal::group::{Committed, GroupCommit, Poisoned, Publisher, Start};
use tenantry_journal::id::Seq;
use tenantry_journal::merkle::{self, Frontier};
use tenantry_journal::scan;
use tenantry_journal::store::Journal;
use tenantry_journal::store::memory::MemoryJournal;
use tenantry_journal::time::Timestamp;
use tenantry_journal::tree::{TileRoots, Tree, TreeError};

use crate::support::*;

/// A journal of so many events, in commits of different lengths.
fn journal(dir: &Path, events: u16) -> Arc<dyn Journal> {
    let store: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
    let rig = Rig::start(Arc::clone(&store), keyring(dir));
    let mut next = 0;
    for length in [1, 300, 7, 64, 1, 1].into_iter().cycle() {
        let last = events.min(next + length);
        rig.record((next..last).map(numbered).collect()).unwrap();
        next = last;
        if next == events {
            return store;
        }
    }
    unreachable!("the lengths go on for ever")
}

fn root_at(store: &dyn Journal, size: u64) -> merkle::Hash {
    let mut frontier = Frontier::default();
    scan::hash(store, &mut frontier, Seq(size)).unwrap();
    frontier.root()
}

fn whole(store: &dyn Journal) -> Frontier {
    let mut frontier = Frontier::default();
    scan::hash(store, &mut frontier, store.head()).unwrap();
    frontier
}

/// Every kind of proof, at places around the ends of tiles and of the journal.
fn check_all(tree: &mut Tree, store: &dyn Journal) {
    let head = store.head().0;
    let places: Vec<u64> = [1, 2, 255, 256, 257, 511, 512, 513, 1023, 1024, 1025, head - 1, head]
        .into_iter()
        .filter(|n| *n <= head)
        .collect();
    for size in &places {
        let root = root_at(store, *size);
        assert_eq!(tree.root(store, *size).unwrap(), root);
        for other in places.iter().filter(|other| *other <= size) {
            let proof = tree.inclusion(store, Seq(*other), *size).unwrap();
            assert!(proof.holds() && proof.root_hash == root, "{other} of {size}");
            assert_eq!(proof.leaf_hash, merkle::leaf(&scan::raw(store, Seq(*other)).unwrap()));
            let proof = tree.consistency(store, *other, *size).unwrap();
            assert!(proof.holds() && proof.root_hash_2 == root, "{other} to {size}");
            assert_eq!(proof.root_hash_1, root_at(store, *other));
        }
    }
}

#[test]
fn proofs_are_the_same_from_memory_from_a_file_and_from_a_file_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = journal(dir.path(), 1500);
    let path = dir.path().join("nodes");
    check_all(&mut Tree::in_memory(), &*store);
    let mut tree = Tree::open(&path, &Frontier::default());
    check_all(&mut tree, &*store);
    drop(tree);
    let mut tree = Tree::open(&path, &whole(&*store));
    assert_eq!(tree.size(), 1280, "five whole tiles were found");
    check_all(&mut tree, &*store);
    assert_eq!((tree.size(), tree.rebuilt()), (1500, 0));
}

#[test]
fn a_tree_follows_a_journal_that_grows() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
    let rig = Rig::start(Arc::clone(&store), keyring(dir.path()));
    let mut tree = Tree::in_memory();
    for round in 1..=40u64 {
        rig.record((0..33).map(numbered).collect()).unwrap();
        tree.follow(&*store, store.head()).unwrap();
        assert_eq!(tree.size(), round * 33);
        assert_eq!(tree.root(&*store, round * 33).unwrap(), whole(&*store).root());
        assert!(tree.inclusion(&*store, Seq(round), round * 33).unwrap().holds());
    }
}

#[test]
fn what_is_not_there_has_no_proof() {
    let dir = tempfile::tempdir().unwrap();
    let store = journal(dir.path(), 10);
    let mut tree = Tree::in_memory();
    let missing =
        |made: Result<(), TreeError>| assert!(matches!(made, Err(TreeError::NotThere { .. })), "{made:?}");
    missing(tree.inclusion(&*store, Seq(11), 11).map(drop));
    missing(tree.inclusion(&*store, Seq(5), 4).map(drop));
    missing(tree.inclusion(&*store, Seq(0), 4).map(drop));
    missing(tree.consistency(&*store, 0, 4).map(drop));
    missing(tree.consistency(&*store, 5, 4).map(drop));
    missing(tree.consistency(&*store, 5, 11).map(drop));
    missing(tree.root(&*store, 11).map(drop));
}

#[test]
fn every_damaged_node_is_found_before_it_gets_into_a_proof() {
    let dir = tempfile::tempdir().unwrap();
    let store = journal(dir.path(), 1500);
    let known = whole(&*store);
    let path = dir.path().join("nodes");
    drop({
        let mut tree = Tree::open(&path, &known);
        tree.follow(&*store, store.head()).unwrap();
        tree
    });
    let whole = std::fs::read(&path).unwrap();
    let mut rebuilt = 0;
    // Five tiles: five roots, and of the larger subtrees two and one.
    assert_eq!(whole.len(), 8 + 8 * 32);
    for node in 0..8 {
        let mut damaged = whole.clone();
        damaged[8 + node * 32 + 5] ^= 4;
        std::fs::write(&path, &damaged).unwrap();
        let mut tree = Tree::open(&path, &known);
        check_all(&mut tree, &*store);
        rebuilt += tree.rebuilt();
        drop(tree);
        assert_eq!(std::fs::read(&path).unwrap(), whole, "node {node}: the file is as it should be again");
    }
    assert_eq!(rebuilt, 8);
}

#[test]
fn nodes_of_another_journal_or_of_a_later_one_are_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (store, other) = (journal(dir.path(), 1500), journal(dir.path(), 1400));
    let path = dir.path().join("nodes");
    drop({
        let mut tree = Tree::open(&path, &Frontier::default());
        tree.follow(&*store, store.head()).unwrap();
        tree
    });
    // The ids in its events are others.
    let mut tree = Tree::open(&path, &whole(&*other));
    check_all(&mut tree, &*other);
    assert_eq!(tree.rebuilt(), 1);
    drop(tree);
    let shorter = journal(dir.path(), 300);
    let mut tree = Tree::open(&path, &whole(&*shorter));
    assert_eq!(tree.size(), 0, "there are more nodes than such a journal has");
    check_all(&mut tree, &*shorter);
}

#[test]
fn a_file_that_cannot_be_used_only_costs_memory() {
    let dir = tempfile::tempdir().unwrap();
    let store = journal(dir.path(), 600);
    check_all(&mut Tree::open(dir.path(), &whole(&*store)), &*store);
}

#[test]
fn tiles_that_the_writer_hands_over_are_those_of_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let store = journal(dir.path(), 300);
    let roots = TileRoots::default();
    let mut frontier = Frontier::default();
    scan::hash(&*store, &mut frontier, Seq(300)).unwrap();
    let start = Start { seq: Seq(300), time: Timestamp(0), frontier };
    let roots = Arc::new(roots);
    let hand_over = HandOver(Arc::clone(&roots));
    let group =
        GroupCommit::start(Arc::clone(&store), keyring(dir.path()), start, Scribe, hand_over).unwrap();
    let mut tree = Tree::in_memory();
    for round in 0..9u16 {
        let (answer, told) = mpsc::channel();
        let drafts = (0..150 + round).map(numbered).collect();
        group.submit(Ask { drafts, answer }).unwrap();
        told.recv().unwrap().unwrap();
        // Not always: what waits is taken by the next.
        if round % 3 != 1 {
            tree.take(&*store, &roots).unwrap();
        }
        if round == 4 {
            check_all(&mut tree, &*store);
        }
    }
    tree.take(&*store, &roots).unwrap();
    let taken = tree.size();
    assert!(taken >= 1536 && taken <= store.head().0, "{taken}");
    check_all(&mut tree, &*store);
    assert_eq!(tree.rebuilt(), 0);
}

struct HandOver(Arc<TileRoots>);

impl Publisher<Scribe> for HandOver {
    fn publish(&mut self, (): (), commits: &[Committed]) {
        self.0.add(commits.iter().flat_map(|commit| &commit.tiles));
    }

    fn answer(&mut self, (caller, seqs): (mpsc::Sender<Answer>, Vec<Seq>), outcome: Result<(), Poisoned>) {
        let _ = caller.send(outcome.map(|()| seqs));
    }
}
