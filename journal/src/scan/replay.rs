//! The whole journal once over: checked, hashed, decoded, folded.
//!
//! A start needs both the World and the tree. Each commit is fetched and checked once. Where
//! there is a second core, one thread fetches from the store, one checks, hashes and decodes,
//! and the caller's folds what is behind; on one core the same is done in turn, since handing
//! it over would only cost.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};

use super::{PAGE_BYTES, ScanError, commits_of, hash_commit, undamaged};
use crate::codec::{self, Commit};
use crate::id::Seq;
use crate::merkle::Frontier;
use crate::recorded::Recorded;
use crate::sealed::{Vault, take_damage, with_vault};
use crate::store::{Journal, StoreError, StoredCommit};

/// Pages that may wait to be checked: enough to go on with while the disk is slow or the
/// store opens its next file.
const PAGES_AHEAD: usize = 16;
/// A pass over so many events tells the store where it is, so that it reads ahead: twice what
/// is left behind a snapshot at most. Of fewer, most of what was read ahead would be for nothing.
const LONG_EVENTS: u64 = 100_000;
/// Events that are handed over at a time: waking the other thread costs as much as folding
/// some tens of them.
const BATCH_EVENTS: usize = 512;
/// Batches that may wait to be folded. Together some megabytes.
const BATCHES_AHEAD: usize = 32;

type Page = Result<Vec<StoredCommit>, StoreError>;
type Batch = Result<Vec<Recorded>, ScanError>;

/// Hashes the events after the frontier and hands the decoded ones after `after` to `each`,
/// both up to `to`, checking every checksum and every root on the way.
///
/// # Errors
/// At the first event that is missing, changed, or unknown to this program. The frontier is
/// of no use then.
pub fn replay(
    store: &dyn Journal,
    vault: &Arc<dyn Vault>,
    frontier: &mut Frontier,
    after: Seq,
    to: Seq,
    each: impl FnMut(&Recorded),
) -> Result<(), ScanError> {
    let pass = Pass { store, vault, after, to };
    let _of_others = take_damage();
    if std::thread::available_parallelism().map_or(1, usize::from) > 1 {
        pass.side_by_side(frontier, each)
    } else {
        pass.in_turn(frontier, each)
    }
}

/// What is read, and up to where.
#[derive(Clone, Copy)]
struct Pass<'a> {
    store: &'a dyn Journal,
    vault: &'a Arc<dyn Vault>,
    after: Seq,
    to: Seq,
}

impl Pass<'_> {
    fn in_turn(self, frontier: &mut Frontier, mut each: impl FnMut(&Recorded)) -> Result<(), ScanError> {
        let from = self.from(frontier);
        let pages = |next| Ok(self.page(from, next)?);
        self.read(from, frontier, pages, |recorded| {
            each(&recorded);
            ControlFlow::Continue(())
        })
    }

    fn side_by_side(self, frontier: &mut Frontier, mut each: impl FnMut(&Recorded)) -> Result<(), ScanError> {
        let from = self.from(frontier);
        let (fetched, pages) = mpsc::sync_channel::<Page>(PAGES_AHEAD);
        let (batches, waiting) = mpsc::sync_channel::<Batch>(BATCHES_AHEAD);
        let (folded, used) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(move || self.fetch(from, &fetched));
            scope.spawn(move || {
                let mut ahead = Ahead { batches, used, batch: Vec::with_capacity(BATCH_EVENTS) };
                // Without a page the store's end came too early: that is a gap.
                let next_page = |_| Ok(pages.recv().unwrap_or_else(|_| Ok(Vec::new()))?);
                let read = self.read(from, frontier, next_page, |recorded| ahead.add(recorded));
                ahead.end(read);
            });
            for batch in waiting {
                let batch = batch?;
                for recorded in &batch {
                    each(recorded);
                    undamaged(recorded.seq)?;
                }
                // At the end nobody wants it back.
                drop(folded.send(batch));
            }
            Ok(())
        })
    }

    /// The first event that the tree or the World lacks.
    fn from(self, frontier: &Frontier) -> Seq {
        Seq(frontier.size()).min(self.after).next()
    }

    /// One page of the pass that began at `from`.
    fn page(self, from: Seq, at: Seq) -> Page {
        if self.to.0.saturating_sub(from.0) >= LONG_EVENTS {
            self.store.passing(at);
        }
        self.store.read(at, PAGE_BYTES)
    }

    /// Fetches pages until the last event, an error, or nobody wants more. Where a page ends
    /// is taken from its last header, unchecked: who checks it finds out first.
    fn fetch(self, from: Seq, pages: &SyncSender<Page>) {
        let mut next = from;
        while next <= self.to {
            let page = self.page(from, next);
            let last = page.as_ref().ok().and_then(|page| Commit::announced_last(page.last()?));
            if pages.send(page).is_err() {
                return;
            }
            match last.filter(|last| *last >= next) {
                Some(last) => next = last.next(),
                None => return,
            }
        }
    }

    fn read(
        self,
        from: Seq,
        frontier: &mut Frontier,
        pages: impl FnMut(Seq) -> Result<Vec<StoredCommit>, ScanError>,
        mut each: impl FnMut(Recorded) -> ControlFlow<()>,
    ) -> Result<(), ScanError> {
        with_vault(self.vault, || {
            commits_of(pages, from, self.to, |commit| {
                hash_commit(commit, frontier, self.to)?;
                self.decode(commit, &mut each)
            })
        })
    }

    fn decode(
        self,
        commit: &Commit<'_>,
        each: &mut impl FnMut(Recorded) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, ScanError> {
        for record in commit.records() {
            let (seq, bytes) = record?;
            if seq <= self.after || seq > self.to {
                continue;
            }
            let flow = each(codec::decode_record(seq, bytes)?);
            undamaged(seq)?;
            if flow.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Collects events and hands them over. They come back when they are folded: memory is
/// given back cheapest by the thread that took it.
struct Ahead {
    batches: SyncSender<Batch>,
    used: Receiver<Vec<Recorded>>,
    batch: Vec<Recorded>,
}

impl Ahead {
    /// Breaks off when nobody waits any more.
    fn add(&mut self, recorded: Recorded) -> ControlFlow<()> {
        self.batch.push(recorded);
        if self.batch.len() < BATCH_EVENTS {
            return ControlFlow::Continue(());
        }
        let empty = self.empty();
        let batch = std::mem::replace(&mut self.batch, empty);
        match self.batches.send(Ok(batch)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }

    fn empty(&self) -> Vec<Recorded> {
        match self.used.try_recv() {
            Ok(mut batch) => {
                batch.clear();
                batch
            }
            Err(_) => Vec::with_capacity(BATCH_EVENTS),
        }
    }

    /// What was read before an error is folded before it is told.
    fn end(self, read: Result<(), ScanError>) {
        let last = self.batches.send(Ok(self.batch));
        // Without a receiver there is nobody to tell, either.
        if let (Ok(()), Err(error)) = (last, read) {
            drop(self.batches.send(Err(error)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{CommitBuilder, EncodedCommit};
    use crate::event::system::KeeperLost;
    use crate::id::{EventId, KeyId};
    use crate::merkle;
    use crate::recorded::Draft;
    use crate::store::memory::MemoryJournal;
    use crate::store::{StoreError, StoredCommit};
    use crate::time::Timestamp;
    use uuid::Uuid;

    struct NoVault;

    impl Vault for NoVault {
        fn seal(&self, _: KeyId, _: &[u8]) -> Option<Vec<u8>> {
            None
        }
        fn open(&self, _: KeyId, _: &[u8]) -> Option<Vec<u8>> {
            None
        }
    }

    /// A journal in commits of seven, and the tree over it.
    fn journal(events: u64) -> (MemoryJournal, Frontier) {
        let store = MemoryJournal::new();
        let mut frontier = Frontier::default();
        let mut next = 1;
        while next <= events {
            let mut commit = CommitBuilder::new(Seq(next), frontier.root());
            let last = events.min(next + 6);
            for seq in next..=last {
                let id = EventId(Uuid::from_u128(seq.into()));
                let draft = Draft::of_system(id, Timestamp(seq), KeeperLost { pid: seq as u32 });
                let (mut record, mut scratch) = (Vec::new(), Vec::new());
                codec::encode_record(&Recorded { seq: Seq(seq), draft }, &mut scratch, &mut record).unwrap();
                frontier.push(merkle::leaf(&record));
                let framed = [(record.len() as u32).to_be_bytes().as_slice(), &record].concat();
                commit.push_framed(&framed, 1, Timestamp(seq));
            }
            next = last + 1;
            store.append(&commit.finish()).unwrap();
        }
        (store, frontier)
    }

    type Way = fn(Pass<'_>, &mut Frontier, &mut dyn FnMut(&Recorded)) -> Result<(), ScanError>;
    const WAYS: [Way; 2] = [
        |pass, frontier, each| pass.in_turn(frontier, each),
        |pass, frontier, each| pass.side_by_side(frontier, each),
    ];

    fn run(
        way: Way,
        store: &dyn Journal,
        frontier: &mut Frontier,
        after: u64,
        to: u64,
    ) -> (Vec<u64>, Result<(), ScanError>) {
        let vault: Arc<dyn Vault> = Arc::new(NoVault);
        let mut seen = Vec::new();
        let pass = Pass { store, vault: &vault, after: Seq(after), to: Seq(to) };
        let result = way(pass, frontier, &mut |recorded| seen.push(recorded.seq.0));
        (seen, result)
    }

    #[test]
    fn both_ways_hand_over_every_event_in_order_and_hash_them_all() {
        const EVENTS: u64 = 20 * BATCH_EVENTS as u64 + 3;
        let (store, tree) = journal(EVENTS);
        for way in WAYS {
            let mut frontier = Frontier::default();
            let (seen, result) = run(way, &store, &mut frontier, 0, EVENTS);
            result.unwrap();
            assert_eq!(seen, (1..=EVENTS).collect::<Vec<_>>());
            assert_eq!(frontier, tree);

            // A World that is ahead of its tree, and an end within a commit.
            let mut frontier = Frontier::default();
            let (seen, result) = run(way, &store, &mut frontier, 5, EVENTS - 2);
            result.unwrap();
            assert_eq!(seen, (6..=EVENTS - 2).collect::<Vec<_>>());
            assert_eq!(frontier.size(), EVENTS - 2);

            // Nothing to do.
            let mut done = tree.clone();
            assert_eq!(run(way, &store, &mut done, EVENTS, EVENTS).0, Vec::<u64>::new());
            assert_eq!(done, tree);
        }
    }

    /// Flips one byte of the commit at `damaged`, and with it the checksum's word or not.
    struct Flipped {
        store: MemoryJournal,
        damaged: Seq,
    }

    impl Journal for Flipped {
        fn append(&self, commit: &EncodedCommit) -> Result<(), StoreError> {
            self.store.append(commit)
        }
        fn sync(&self) -> Result<(), StoreError> {
            Ok(())
        }
        fn read(&self, from: Seq, max_bytes: usize) -> Result<Vec<StoredCommit>, StoreError> {
            let page = self.store.read(from, max_bytes)?;
            Ok(page
                .into_iter()
                .map(|commit| {
                    let mut bytes = commit.to_vec();
                    if commit.seq == self.damaged {
                        bytes[100] ^= 1;
                    }
                    StoredCommit::new(commit.seq, bytes.into())
                })
                .collect())
        }
        fn head(&self) -> Seq {
            self.store.head()
        }
        fn size_on_disk(&self) -> Result<u64, StoreError> {
            Ok(0)
        }
    }

    #[test]
    fn both_ways_fold_what_is_before_the_damage_and_name_its_seq() {
        const EVENTS: u64 = 10 * BATCH_EVENTS as u64;
        for way in WAYS {
            let (store, _) = journal(EVENTS);
            let damaged = Seq(1 + 7 * 500);
            let (seen, result) = run(way, &Flipped { store, damaged }, &mut Frontier::default(), 0, EVENTS);
            assert_eq!(result.unwrap_err().seq(), Some(damaged));
            assert_eq!(seen, (1..damaged.0).collect::<Vec<_>>());
        }
    }

    #[test]
    fn both_ways_find_a_tree_that_is_not_the_one_in_the_headers() {
        let (store, _) = journal(70);
        for way in WAYS {
            let mut other = Frontier::default();
            (0..7).for_each(|n| other.push([n; 32]));
            let (seen, result) = run(way, &store, &mut other, 7, 70);
            assert!(matches!(result, Err(ScanError::Root { seq: Seq(8) })), "{result:?}");
            assert_eq!(seen, Vec::<u64>::new());
        }
    }
}
