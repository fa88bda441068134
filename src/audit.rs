//! What the journal proves: its tree, signed checkpoints, proofs, receipts, verifying.
//!
//! Its files in the data directory: `signing.key` and `signing.pub` (see the journal's
//! `checkpoint`), `tree` (kept nodes, disposable), `checkpoint` (the last that was signed). At
//! the start and when the journal is verified, it has to agree with that checkpoint: a journal
//! that was written anew, with every hash in it right, does not.
//!
//! Everything here reads the store: call it where blocking is allowed.

mod counts;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tenantry_journal::checkpoint::{Checkpoint, KeyError, SigningKey};
use tenantry_journal::codec;
use tenantry_journal::hex;
use tenantry_journal::id::{Seq, TenantId};
use tenantry_journal::merkle::proof::{Consistency, Inclusion};
use tenantry_journal::merkle::{Frontier, Hash};
use tenantry_journal::receipt::{self, ReceiptError};
use tenantry_journal::scan::{self, ScanError, Verified};
use tenantry_journal::store::{Journal, StoreError};
use tenantry_journal::time::Timestamp;
use tenantry_journal::tree::{TileRoots, Tree, TreeError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::engine::Handle;
use crate::error::chain;

pub use counts::Counts;

/// How often a checkpoint is signed and put into its file, when something happened.
const KEEP_EVERY: Duration = Duration::from_secs(10);
/// The file of the last checkpoint that was signed.
const CHECKPOINT: &str = "checkpoint";
/// The file of the tree's nodes.
const NODES: &str = "tree";

/// A signed checkpoint, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(rename = "Checkpoint")]
pub struct Signed {
    /// Whose journal; the key's name.
    pub origin: String,
    /// Events in the tree.
    pub tree_size: u64,
    /// The tree's root.
    #[serde(with = "hex::one")]
    #[schemars(with = "hex::Digits")]
    pub root_hash: Hash,
    /// The whole note, for other tools.
    pub note: String,
    /// The key that it is checked with.
    pub public_key: String,
}

/// When a journal began and when its last event came.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Time of the first event.
    pub first_at: Timestamp,
    /// Time of the last event.
    pub last_at: Timestamp,
}

/// What verifying found, as the API shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(rename = "JournalReport")]
pub struct Report {
    /// Whether everything is as it was written.
    pub valid: bool,
    /// Events that are as they were written, from the first on.
    pub checked: u64,
    /// The first event that is not; null when all are.
    pub first_bad_seq: Option<u64>,
}

/// The audit of one journal.
pub struct Audit {
    store: Arc<dyn Journal>,
    tree: Mutex<Tree>,
    /// Tiles that the writer completed, so that their events need not be read again.
    tiles: OnceLock<Arc<TileRoots>>,
    key: SigningKey,
    /// Where the files are; none in tests.
    dir: Option<PathBuf>,
    signed: Mutex<Option<Signed>>,
    /// The last run of [`Audit::verify_once`].
    verified: Arc<tokio::sync::Mutex<Option<(Instant, Report)>>>,
    counts: Counts,
}

impl Audit {
    /// The audit of a data directory; `known` is the tree over the events so far.
    ///
    /// # Errors
    /// When the key that signs cannot be read or made.
    pub fn open(dir: &Path, store: Arc<dyn Journal>, known: &Frontier) -> Result<Audit, KeyError> {
        let key = SigningKey::load_or_create(dir)?;
        let tree = Tree::open(&dir.join(NODES), known);
        Ok(Audit { dir: Some(dir.to_owned()), ..Audit::new(store, tree, key) })
    }

    /// An audit that leaves nothing behind, with a key of its own.
    #[must_use]
    pub fn in_memory(store: Arc<dyn Journal>) -> Audit {
        Audit::new(store, Tree::in_memory(), SigningKey::from_seed(&rand::random()))
    }

    /// An audit with this key that leaves nothing behind.
    #[must_use]
    pub fn signing(store: Arc<dyn Journal>, key: SigningKey) -> Audit {
        Audit::new(store, Tree::in_memory(), key)
    }

    fn new(store: Arc<dyn Journal>, tree: Tree, key: SigningKey) -> Audit {
        Audit {
            store,
            tree: Mutex::new(tree),
            tiles: OnceLock::new(),
            key,
            dir: None,
            signed: Mutex::default(),
            verified: Arc::default(),
            counts: Counts::default(),
        }
    }

    /// Counts in these.
    #[must_use]
    pub fn counted(self, counts: Counts) -> Audit {
        Audit { counts, ..self }
    }

    /// The tree, with all that the writer handed over.
    fn tree(&self) -> Result<MutexGuard<'_, Tree>, ScanError> {
        let mut tree = self.tree.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tiles) = self.tiles.get() {
            tree.take(&*self.store, tiles)?;
        }
        Ok(tree)
    }

    /// The root over the first events.
    ///
    /// # Errors
    /// When there are not so many, or the journal cannot be read.
    pub fn root(&self, size: u64) -> Result<Hash, TreeError> {
        let mut tree = self.tree()?;
        let root = tree.root(&*self.store, size);
        self.counts.tree_rebuilt(tree.rebuilt());
        root
    }

    /// Proves that an event is in the tree over the first `size` events.
    ///
    /// # Errors
    /// When it is not, or the journal cannot be read.
    pub fn inclusion(&self, seq: Seq, size: u64) -> Result<Inclusion, TreeError> {
        self.tree()?.inclusion(&*self.store, seq, size)
    }

    /// Proves that one tree begins with another.
    ///
    /// # Errors
    /// When there are no such trees, or the journal cannot be read.
    pub fn consistency(&self, earlier: u64, later: u64) -> Result<Consistency, TreeError> {
        self.tree()?.consistency(&*self.store, earlier, later)
    }

    /// Signs the tree over the first events.
    ///
    /// # Errors
    /// As [`Audit::root`].
    pub fn checkpoint(&self, size: u64) -> Result<Signed, TreeError> {
        let last = || self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = last().as_ref().filter(|known| known.tree_size == size) {
            return Ok(known.clone());
        }
        let root_hash = self.root(size)?;
        let public = self.key.public();
        let origin = public.name().to_owned();
        let checkpoint =
            Checkpoint { origin: origin.clone(), tree_size: size, root_hash, extensions: Vec::new() };
        let note = checkpoint.sign(&self.key);
        let signed = Signed { origin, tree_size: size, root_hash, note, public_key: public.to_string() };
        self.counts.signed(size);
        *last() = Some(signed.clone());
        Ok(signed)
    }

    /// Times of the first and of the last of the first `size` events, which are at least one.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn span(&self, size: u64) -> Result<Span, ScanError> {
        let at = |seq| {
            let about = codec::about(&scan::raw(&*self.store, seq)?);
            let about = about.map_err(|source| codec::CodecError::Record { seq, source })?;
            Ok::<_, ScanError>(about.at)
        };
        Ok(Span { first_at: at(Seq(1))?, last_at: at(Seq(size))? })
    }

    /// The exact bytes that an event's leaf is the hash of.
    ///
    /// # Errors
    /// When there is no such event, or it cannot be read.
    pub fn record(&self, seq: Seq) -> Result<Vec<u8>, ScanError> {
        scan::raw(&*self.store, seq)
    }

    /// Bytes that the journal takes on disk.
    ///
    /// # Errors
    /// When they cannot be counted.
    pub fn bytes(&self) -> Result<u64, StoreError> {
        self.store.size_on_disk()
    }

    /// Writes a tenant's receipt over the first events.
    ///
    /// # Errors
    /// When the journal cannot be read, or `out` takes no more.
    pub fn receipt(&self, tenant: TenantId, size: u64, out: impl Write) -> Result<(), ReceiptError> {
        receipt::write(&*self.store, tenant, size, &self.key, out)?;
        self.counts.receipts.inc();
        Ok(())
    }

    /// Reads everything up to `to` again, and compares it with the last checkpoint that lies in
    /// the data directory.
    ///
    /// # Errors
    /// When the store itself fails.
    pub fn verify(&self, to: Seq) -> Result<Verified, StoreError> {
        let kept = self.last_signed().filter(|kept| kept.tree_size <= to.0);
        let kept: Vec<(u64, Hash)> = kept.into_iter().map(|kept| (kept.tree_size, kept.root_hash)).collect();
        let verified = scan::verify_against(&*self.store, to, &kept, |_| {})?;
        self.counts.verified(verified.bad.is_none());
        if let Some((seq, error)) = &verified.bad {
            tracing::error!(event.seq = seq.0, error = chain(error), "the journal is not as it was written");
        }
        Ok(verified)
    }

    /// Verifies up to the head, one run at a time: who asks while one runs gets the result of
    /// the next, together with everybody else who waits.
    ///
    /// # Errors
    /// When the store fails; it is told in the log.
    pub async fn verify_once(self: Arc<Self>) -> Result<Report, VerifyFailed> {
        let asked = Instant::now();
        let turn = Arc::clone(&self.verified);
        // A task of its own: who asked may go away, and the turn ends when the work does.
        let work = tokio::spawn(async move {
            let mut last = turn.lock_owned().await;
            if let Some((_, report)) = last.as_ref().filter(|(began, _)| *began >= asked) {
                return Ok(*report);
            }
            let began = Instant::now();
            let verified = tokio::task::spawn_blocking(move || self.verify(self.store.head()));
            let verified = verified.await.map_err(|_| VerifyFailed)?.map_err(|error| {
                tracing::error!(error = chain(&error), "the journal cannot be verified");
                VerifyFailed
            })?;
            let report = Report {
                valid: verified.bad.is_none(),
                checked: verified.checked,
                first_bad_seq: verified.bad.map(|(seq, _)| seq.0),
            };
            tracing::info!(
                valid = report.valid,
                events = report.checked,
                duration_ms = began.elapsed().as_millis() as u64,
                "journal verified"
            );
            *last = Some((began, report));
            Ok(report)
        });
        work.await.map_err(|_| VerifyFailed)?
    }

    /// What lies in the data directory as the last checkpoint, if this key has signed it.
    fn last_signed(&self) -> Option<Checkpoint> {
        let path = self.dir.as_ref()?.join(CHECKPOINT);
        let note = match fs::read_to_string(&path) {
            Ok(note) => note,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "the last checkpoint cannot be read");
                return None;
            }
        };
        let opened = Checkpoint::open(&note, self.key.public());
        opened.inspect_err(|error| tracing::warn!(%error, "the last checkpoint is none of this key's")).ok()
    }

    /// Follows the journal and keeps a checkpoint of it in its file, until `shutdown`.
    pub async fn keep(self: Arc<Self>, handle: Handle, shutdown: CancellationToken) {
        // Only the first caller counts, and there is one.
        let _ = self.tiles.set(Arc::clone(handle.tiles()));
        let audit = Arc::clone(&self);
        let checked = tokio::task::spawn_blocking(move || audit.check_last_signed());
        let is_whole = checked.await.unwrap_or(true);
        loop {
            let is_over = tokio::select! {
                () = shutdown.cancelled() => true,
                () = tokio::time::sleep(KEEP_EVERY) => false,
            };
            let (audit, head) = (Arc::clone(&self), handle.world().seq);
            // What contradicts an earlier signature stays beside it, for whoever looks into it.
            let kept = tokio::task::spawn_blocking(move || audit.keep_up(head, is_whole));
            if let Ok(Err(error)) = kept.await {
                tracing::error!(
                    error = chain(&error),
                    "the journal's tree cannot be followed; no checkpoint"
                );
            }
            if is_over {
                return;
            }
        }
    }

    fn keep_up(&self, head: Seq, is_written: bool) -> Result<(), TreeError> {
        let before = self.signed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if before.is_some_and(|before| before.tree_size == head.0) || head == Seq::ZERO {
            return Ok(());
        }
        let signed = self.checkpoint(head.0)?;
        if let Some(dir) = self.dir.as_ref().filter(|_| is_written)
            && let Err(error) = write_aside(&dir.join(CHECKPOINT), &signed.note)
        {
            tracing::warn!(%error, "the checkpoint cannot be written");
        }
        Ok(())
    }

    /// Whether the journal goes on from what was signed last.
    fn check_last_signed(&self) -> bool {
        let Some(last) = self.last_signed() else { return true };
        let head = self.store.head().0;
        if last.tree_size > head {
            tracing::error!(
                event.seq = head,
                checkpoint.size = last.tree_size,
                "the journal ends before the last checkpoint that was signed over it; events are missing, or an \
                 older copy was put back"
            );
            self.counts.contradiction();
            return false;
        }
        match self.root(last.tree_size) {
            Ok(root) if root == last.root_hash => true,
            Ok(_) => {
                tracing::error!(
                    checkpoint.size = last.tree_size,
                    "the journal is not the one over which the last checkpoint was signed"
                );
                self.counts.contradiction();
                false
            }
            Err(error) => {
                tracing::error!(
                    error = chain(&error),
                    "the journal cannot be compared with the last checkpoint"
                );
                true
            }
        }
    }
}

/// The journal could not be verified; the log says why.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the journal could not be verified")]
pub struct VerifyFailed;

/// Not synced: a checkpoint that a power cut takes is signed again.
fn write_aside(path: &Path, text: &str) -> io::Result<()> {
    let aside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&aside)?;
    file.write_all(text.as_bytes())?;
    fs::rename(aside, path)
}

#[cfg(test)]
mod tests {
    use tenantry_journal::codec::{CommitBuilder, encode_record};
    use tenantry_journal::event::system::KeeperLost;
    use tenantry_journal::id::EventId;
    use tenantry_journal::merkle;
    use tenantry_journal::recorded::{Draft, Recorded};
    use tenantry_journal::store::memory::MemoryJournal;
    use uuid::Uuid;

    use super::*;
    use crate::telemetry::labels::{Passed, ResultLabel};

    /// A journal of so many events, in commits of ten; `other` makes another one of the same length.
    fn journal(events: u64, other: u32) -> (Arc<dyn Journal>, Frontier) {
        let store = MemoryJournal::new();
        let mut frontier = Frontier::default();
        for first in (1..=events).step_by(10) {
            let mut commit = CommitBuilder::new(Seq(first), frontier.root());
            for seq in first..=events.min(first + 9) {
                let id = EventId(Uuid::from_u128(seq.into()));
                let pid = if seq == 40 { other } else { 0 };
                let draft = Draft::of_system(id, Timestamp(seq), KeeperLost { pid });
                let mut record = vec![0; 4];
                encode_record(&Recorded { seq: Seq(seq), draft }, &mut Vec::new(), &mut record).unwrap();
                frontier.push(merkle::leaf(&record[4..]));
                let length = (record.len() as u32 - 4).to_be_bytes();
                record[..4].copy_from_slice(&length);
                commit.push_framed(&record, 1, Timestamp(seq));
            }
            store.append(&commit.finish()).unwrap();
        }
        (Arc::new(store), frontier)
    }

    #[tokio::test]
    async fn whoever_asks_before_a_run_begins_shares_it() {
        let dir = tempfile::tempdir().unwrap();
        let (store, known) = journal(100, 0);
        let audit = Arc::new(Audit::open(dir.path(), store, &known).unwrap());
        let runs = || audit.counts.verifications.get_or_create(&ResultLabel { result: Passed::passed }).get();
        for round in 1..=2 {
            // On one thread all have asked before the first run begins.
            let asked = (0..20).map(|_| Arc::clone(&audit).verify_once());
            for report in futures_util::future::join_all(asked).await {
                assert_eq!(report.unwrap().checked, 100);
            }
            assert_eq!(runs(), round, "and who asks later does not");
        }
    }

    #[test]
    fn a_journal_that_was_written_anew_with_every_hash_right_is_told_by_the_last_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let (store, known) = journal(100, 0);
        let audit = Audit::open(dir.path(), store, &known).unwrap();
        audit.keep_up(Seq(60), true).unwrap();
        assert!(audit.check_last_signed());
        assert!(audit.verify(Seq(100)).unwrap().bad.is_none());
        drop(audit);

        // The journal goes on: that is as it should be.
        let (store, known) = journal(300, 0);
        let audit = Audit::open(dir.path(), store, &known).unwrap();
        assert!(audit.check_last_signed() && audit.verify(Seq(300)).unwrap().bad.is_none());
        drop(audit);

        let (store, known) = journal(300, 7);
        let audit = Audit::open(dir.path(), Arc::clone(&store), &known).unwrap();
        assert!(scan::verify(&*store, Seq(300)).unwrap().bad.is_none(), "in itself it is right");
        assert!(!audit.check_last_signed());
        let found = audit.verify(Seq(300)).unwrap();
        assert!(matches!(found.bad, Some((Seq(1), ScanError::Kept { last: Seq(60), .. }))), "{found:?}");

        // An older copy was put back.
        let (store, known) = journal(50, 0);
        let audit = Audit::open(dir.path(), store, &known).unwrap();
        assert!(!audit.check_last_signed());
    }

    #[test]
    fn a_checkpoint_that_contradicts_an_earlier_one_does_not_take_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let (store, known) = journal(100, 0);
        Audit::open(dir.path(), store, &known).unwrap().keep_up(Seq(100), true).unwrap();
        let signed = fs::read(dir.path().join(CHECKPOINT)).unwrap();
        let (store, known) = journal(100, 7);
        let audit = Audit::open(dir.path(), store, &known).unwrap();
        let is_whole = audit.check_last_signed();
        audit.keep_up(Seq(100), is_whole).unwrap();
        assert_eq!(fs::read(dir.path().join(CHECKPOINT)).unwrap(), signed);
        fs::write(dir.path().join(CHECKPOINT), "nonsense").unwrap();
        assert!(audit.check_last_signed(), "what nobody signed says nothing");
    }
}
