//! One sled store with a stretch of the journal in it.

use std::fs::{self, File, TryLockError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use sled::IVec;

use super::copy::{TempDir, copy_dir};
use super::log::{self, Log};
use super::{Tail, io, sync_dir};
use crate::codec::{HEADER_BYTES, packed};
use crate::id::Seq;
use crate::store::{StoreError, StoredCommit};

/// Segment of sled's log. A node of more than a quarter of it would go to a file that
/// sled does not sync.
pub const SEGMENT_BYTES: usize = 4 * 1024 * 1024;
/// Longest value. A node holds up to 17 values before it is split: 17 of these and their
/// keys stay below a quarter of [`SEGMENT_BYTES`].
pub const PART_BYTES: usize = 56 * 1024;
/// Parts of one commit that are put in before sled is synced: far less than a segment, for the
/// reason that [`super::BATCH_BYTES`] gives.
const UNSYNCED_PARTS: usize = 3;
/// What sled is told to keep of a volume in memory. It keeps more: each of its 256 shards
/// keeps the last node that was read. Who reads takes each node once, so nothing is won by more.
const CACHE_BYTES: u64 = 1024 * 1024;
/// Key of a commit, or of its first part; the others' keys are longer.
const KEY_BYTES: usize = 8;
/// Longest time that a store takes to be really closed; sled's threads look around once a
/// second.
const CLOSING: Duration = Duration::from_secs(5);

/// A volume, opened when it is needed.
pub(super) struct Volume {
    first: Seq,
    dir: PathBuf,
    /// Another follows it, so nothing is put into it any more.
    full: AtomicBool,
    slot: Mutex<Slot>,
}

/// The open store. sled opens one that is open nowhere else, so whoever still reads from one
/// that was closed lends it again.
#[derive(Default)]
struct Slot {
    held: Option<Arc<Open>>,
    lent: Weak<Open>,
}

struct Open {
    db: sled::Db,
    /// The same file that sled writes, for the `fdatasync` that it lacks.
    file: File,
    /// Where it lies when it is a copy of a damaged volume, which sled would write over.
    copy: Option<TempDir>,
}

impl Volume {
    pub(super) fn closed(dir: &Path, first: Seq) -> Self {
        let dir = dir.join(format!("{:020}", first.0));
        Volume { first, dir, full: AtomicBool::new(false), slot: Mutex::default() }
    }

    /// Another follows it.
    pub(super) fn set_full(&self) {
        self.full.store(true, Ordering::Relaxed);
    }

    /// Makes an empty volume, durably.
    pub(super) fn create(dir: &Path, first: Seq) -> Result<Arc<Self>, StoreError> {
        let volume = Volume::closed(dir, first);
        fs::create_dir_all(&volume.dir).map_err(io("create", &volume.dir))?;
        volume.sync()?;
        for entry in fs::read_dir(&volume.dir).map_err(io("list", &volume.dir))? {
            let path = entry.map_err(io("list", &volume.dir))?.path();
            File::open(&path).and_then(|file| file.sync_all()).map_err(io("sync", &path))?;
        }
        sync_dir(&volume.dir)?;
        sync_dir(dir)?;
        Ok(Arc::new(volume))
    }

    pub(super) fn first(&self) -> Seq {
        self.first
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn name(&self) -> String {
        format!("{:020}", self.first.0)
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> Result<Arc<Open>, StoreError> {
        let mut slot = self.slot();
        if let Some(open) = &slot.held {
            return Ok(Arc::clone(open));
        }
        let open = match slot.lent.upgrade() {
            Some(open) => open,
            None => Arc::new(self.open_now()?),
        };
        slot.lent = Arc::downgrade(&open);
        slot.held = Some(Arc::clone(&open));
        Ok(open)
    }

    /// Gives back what an open store takes, until it is needed again: every node of it that was
    /// read stays in memory, whatever [`CACHE_BYTES`] says.
    pub(super) fn close(&self) {
        let held = self.slot().held.take();
        self.let_go(held);
    }

    /// sled syncs its file when it is dropped, and panics where that fails. Nothing in it waits
    /// to be synced, or it failed before.
    fn let_go(&self, open: Option<Arc<Open>>) {
        if catch_unwind(AssertUnwindSafe(|| drop(open))).is_err() {
            tracing::warn!(path = %self.dir.display(), "the store engine did not close a volume well");
        }
    }

    fn open_now(&self) -> Result<Open, StoreError> {
        self.wait_until_closed();
        let copy = if self.full.load(Ordering::Relaxed) { self.copied_if_damaged()? } else { None };
        self.open_in(copy)
    }

    /// Opens the volume where it is, or its copy.
    fn open_in(&self, copy: Option<TempDir>) -> Result<Open, StoreError> {
        let dir = copy.as_ref().map_or(self.dir.clone(), |copy| copy.path().join(self.name()));
        let config = sled::Config::new()
            .path(&dir)
            .segment_size(SEGMENT_BYTES)
            .cache_capacity(CACHE_BYTES)
            .mode(sled::Mode::HighThroughput)
            .flush_every_ms(None);
        // sled panics on some kinds of damage.
        let db = catch_unwind(AssertUnwindSafe(|| config.open()))
            .map_err(|_| self.damaged(self.first, "the store engine gave up on it".into()))?
            .map_err(|error| self.failed("open", self.first, error))?;
        let path = dir.join("db");
        let file = File::options().read(true).write(true).open(&path).map_err(io("open", &path))?;
        Ok(Open { db, file, copy })
    }

    fn copied(&self) -> Result<TempDir, StoreError> {
        let copy = TempDir::create()?;
        copy_dir(&self.dir, &copy.path().join(self.name()))?;
        Ok(copy)
    }

    fn copied_if_damaged(&self) -> Result<Option<TempDir>, StoreError> {
        if log::check(&self.dir).map_err(io("read", &self.dir))? == Log::Whole {
            return Ok(None);
        }
        tracing::error!(event.seq = self.first.0, path = %self.dir.display(), "a volume is damaged; a copy of it is read");
        self.copied().map(Some)
    }

    /// After a failed write sled gives nothing more that it has to fetch from its file. What
    /// was durable is in the file, and is read from a copy of it from now on.
    fn fall_back(&self) -> Result<Arc<Open>, StoreError> {
        let mut slot = self.slot();
        if let Some(open) = slot.held.as_ref().filter(|open| open.copy.is_some()) {
            return Ok(Arc::clone(open));
        }
        tracing::error!(event.seq = self.first.0, path = %self.dir.display(), "a volume failed; a copy of it is read");
        let open = Arc::new(self.open_in(Some(self.copied()?))?);
        slot.lent = Arc::downgrade(&open);
        let failed = slot.held.replace(Arc::clone(&open));
        drop(slot);
        self.let_go(failed);
        Ok(open)
    }

    /// sled's own threads hold a closed store's file, and its lock, a moment longer than
    /// its owner did, and sled refuses a file that is locked. No other process is meant:
    /// the data directory is ours.
    pub(super) fn wait_until_closed(&self) {
        let Ok(file) = File::open(self.dir.join("db")) else {
            return;
        };
        let start = Instant::now();
        while matches!(file.try_lock(), Err(TryLockError::WouldBlock)) && start.elapsed() < CLOSING {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    fn damaged(&self, seq: Seq, what: String) -> StoreError {
        StoreError::Damaged { seq, what, path: self.dir.clone() }
    }

    fn failed(&self, action: &'static str, seq: Seq, error: sled::Error) -> StoreError {
        match error {
            sled::Error::Corruption { .. } => self.damaged(seq, error.to_string()),
            sled::Error::Io(source) => StoreError::Io { action, path: self.dir.clone(), source },
            other => StoreError::Engine { action, source: other.into() },
        }
    }

    /// Puts a commit in, in parts, and says how many bytes that took. Of a long one the first
    /// parts are synced before the last go in; without these it is removed at the next opening.
    pub(super) fn insert(&self, seq: Seq, bytes: &[u8]) -> Result<usize, StoreError> {
        let open = self.open()?;
        if open.copy.is_some() {
            return Err(self.damaged(seq, "the volume that it belongs in is".into()));
        }
        let packed = packed::pack(bytes);
        for (part, bytes) in packed.chunks(PART_BYTES).enumerate() {
            let seq_key = seq.0.to_be_bytes();
            let inserted = if part == 0 {
                open.db.insert(seq_key, bytes)
            } else {
                let part = u16::try_from(part).unwrap_or(u16::MAX).to_be_bytes();
                open.db.insert([seq_key.as_slice(), &part].concat(), bytes)
            };
            inserted.map_err(|error| self.failed("append", seq, error))?;
            if (part + 1) % UNSYNCED_PARTS == 0 {
                self.sync()?;
            }
        }
        Ok(packed.len())
    }

    /// Returns when what was put in survives a power cut.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        let open = self.open()?;
        open.db.flush().map_err(|error| self.failed("flush", self.first, error))?;
        open.file.sync_data().map_err(io("sync", &self.dir))
    }

    /// Commits from the one that contains `from` up to `head`, until `max_bytes`.
    pub(super) fn read(
        &self,
        from: Seq,
        head: Seq,
        max_bytes: usize,
    ) -> Result<Vec<StoredCommit>, StoreError> {
        let open = self.open()?;
        match self.read_in(&open, from, head, max_bytes) {
            Err(StoreError::Io { .. } | StoreError::Engine { .. }) if open.copy.is_none() => {
                let copy = self.fall_back()?;
                self.let_go(Some(open));
                self.read_in(&copy, from, head, max_bytes)
            }
            read => read,
        }
    }

    fn read_in(
        &self,
        open: &Open,
        from: Seq,
        head: Seq,
        max_bytes: usize,
    ) -> Result<Vec<StoredCommit>, StoreError> {
        // The last first part at or before `from`: parts of one commit share its seq.
        let below = from.0.saturating_add(1).to_be_bytes();
        let mut start = None;
        for entry in open.db.range(..below).rev() {
            let (key, _) = entry.map_err(|error| self.failed("read", from, error))?;
            if key.len() == KEY_BYTES {
                start = Some(key);
                break;
            }
        }
        let Some(start) = start else {
            return Err(self.damaged(from, "no commit holds it".into()));
        };
        let mut page = Vec::new();
        let mut bytes = 0;
        let mut whole = Assembly::default();
        let mut next = from;
        for entry in open.db.range(start..) {
            let (key, value) = entry.map_err(|error| self.failed("read", next, error))?;
            let seq = seq_of(&key).ok_or_else(|| self.damaged(next, "a key is none".into()))?;
            if seq > head {
                break;
            }
            next = seq;
            if let Some(commit) = whole.add(seq, key.len() == KEY_BYTES, value) {
                bytes += commit.len();
                page.push(commit);
                if bytes >= max_bytes {
                    return Ok(page);
                }
            }
        }
        if let Some(seq) = whole.unfinished() {
            return Err(self.damaged(seq, "a part of it is missing".into()));
        }
        Ok(page)
    }

    /// The last commit, checked; `None` when there is none. A commit at the very end that
    /// lacks its last parts was cut off by a crash before it was acknowledged: it is removed.
    pub(super) fn tail(&self) -> Result<Option<Tail>, StoreError> {
        let open = self.open()?;
        loop {
            let mut entries = open.db.iter().rev();
            let last = entries.find(|entry| !entry.as_ref().is_ok_and(|(key, _)| key.len() > KEY_BYTES));
            let Some(last) = last else {
                return Ok(None);
            };
            let (key, value) = last.map_err(|error| self.failed("read the end", self.first, error))?;
            let seq = seq_of(&key).ok_or_else(|| self.damaged(self.first, "a key is none".into()))?;
            let mut whole = Assembly::default();
            let mut commit = whole.add(seq, true, value);
            let mut keys = vec![key.clone()];
            for entry in open.db.range(key..).skip(1) {
                let (key, value) = entry.map_err(|error| self.failed("read the end", seq, error))?;
                keys.push(key);
                commit = commit.or(whole.add(seq, false, value));
            }
            if let Some(commit) = commit {
                let mut room = Vec::new();
                let commit = commit.parse(&mut room).map_err(|e| self.damaged(seq, e.to_string()))?;
                return Ok(Some(Tail { head: commit.last(), time: commit.time }));
            }
            tracing::warn!(event.seq = seq.0, "removing a commit that a crash cut off");
            for key in keys.into_iter().rev() {
                open.db.remove(key).map_err(|error| self.failed("cut", seq, error))?;
            }
            self.sync()?;
        }
    }

    pub(super) fn size_on_disk(&self) -> Result<u64, StoreError> {
        dir_bytes(&self.dir)
    }
}

fn dir_bytes(dir: &Path) -> Result<u64, StoreError> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir).map_err(io("list", dir))? {
        let entry = entry.map_err(io("list", dir))?;
        let Ok(metadata) = entry.metadata() else {
            // sled replaces its snapshot file meanwhile.
            continue;
        };
        bytes += if metadata.is_dir() { dir_bytes(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

fn seq_of(key: &IVec) -> Option<Seq> {
    key.first_chunk::<8>().map(|seq| Seq(u64::from_be_bytes(*seq)))
}

/// Puts parts together again.
#[derive(Default)]
struct Assembly {
    seq: Seq,
    parts: Vec<u8>,
}

impl Assembly {
    /// Takes the next part, and gives the commit when it is whole.
    fn add(&mut self, seq: Seq, first: bool, value: IVec) -> Option<StoredCommit> {
        // A value without a header announces nothing: it is handed out as it is, and
        // found to be damaged when it is parsed.
        if first {
            let announced = packed::stored_len(&value).filter(|_| value.len() >= HEADER_BYTES);
            if announced.is_none_or(|announced| announced <= value.len() || value.len() < PART_BYTES) {
                return Some(StoredCommit::from_sled(seq, value));
            }
            self.seq = seq;
            self.parts.clear();
        }
        self.parts.extend_from_slice(&value);
        let announced = packed::stored_len(&self.parts)?;
        if self.parts.len() < announced {
            return None;
        }
        Some(StoredCommit::new(seq, std::mem::take(&mut self.parts).into()))
    }

    fn unfinished(&self) -> Option<Seq> {
        (!self.parts.is_empty()).then_some(self.seq)
    }
}
