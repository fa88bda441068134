//! Commits on the local disk: a write-ahead file, volumes of sled 0.34, and a mark.
//!
//! **Write-ahead file** (`wal`). [`Journal::sync`] writes what was appended behind what the
//! file holds and calls `fdatasync` once; then it is durable. A thread of its own
//! (`indexer`) moves it into sled later, [`BATCH_BYTES`] at a time, or when nothing came for
//! [`IDLE`], or at the end. Until then it is read from memory (`queue`). At the next
//! opening, what goes on in the write-ahead file where sled ends is put into sled, after a
//! kill or when sled lost its end to a damaged byte.
//!
//! **Volumes.** `DIR/FIRST/` (20 digits: the first seq in it) is a sled store of its own;
//! the last one is written. sled reads its whole log since its last opening when it is
//! opened, so one store for everything would take seconds to come back after a crash.
//! A volume that is full is never written again, and is opened only when it is read; a few
//! stay open (`volumes`). Who reads everything once ([`Journal::passing`]) has it closed again
//! behind him. After a failed write, a copy of the volume is read (`volume`).
//!
//! **Plain files.** What a full volume holds is written once more as a file that opens in no
//! time (`plain`), on a thread of its own (`shelf`): when it gets full, and when somebody looks
//! into one that has none ([`Journal::look`]). They are disposable.
//!
//! **Keys and values.** Key: the commit's first seq, 8 bytes, big-endian; value: the
//! commit as `codec::packed` has it, cut into parts of at most [`PART_BYTES`], the later parts
//! under the seq and a part number (u16, big-endian, from 1). Parts go in in order, so a
//! commit that a crash cut off lacks its end; it is removed, and comes again from the
//! write-ahead file.
//!
//! **Durable in sled.** sled's `flush` ends in `sync_file_range`, which neither reaches past
//! the disk's cache nor writes metadata: after a power cut nothing is there. So the indexer
//! calls `fdatasync` on the volume's `db` file itself, through a descriptor of its own.
//! sled puts a node past a quarter of a segment into a file that it never syncs:
//! [`SEGMENT_BYTES`] and [`PART_BYTES`] are such that no node gets there. And it may write
//! over a segment that it freed once two later ones are begun, whether these are durable
//! or not: one sync is never asked to cover that much ([`BATCH_BYTES`]).
//!
//! **The mark.** `DIR/head` holds the last seq that was acknowledged (u64, big-endian, and
//! CRC-32), written after each sync without a sync of its own. It is never ahead of what
//! is durable. sled cuts its log at the first damaged byte without a word; a journal that
//! ends before its mark has lost acknowledged events and is refused. Each record of the
//! write-ahead file says too how far everything was durable before it.
//!
//! **Damage stays as it was found.** sled writes over what lies behind it. So a log that is
//! not whole (`log`) is opened only after a copy was put aside (`saved`), and a full volume's
//! is read from a copy.

mod copy;
mod indexer;
mod log;
mod mark;
mod plain;
mod queue;
mod saved;
mod shelf;
mod volume;
mod volumes;
mod wal;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Journal, StoreError, StoredCommit};
use crate::codec::EncodedCommit;
use crate::id::Seq;
use crate::time::Timestamp;
use copy::{TempDir, copy_dir};
use indexer::Indexer;
use mark::Mark;
use queue::{Pace, Queue};
use saved::Saved;
use volumes::Volumes;
use wal::{Continuation, Found, Wal};

pub use volume::{PART_BYTES, SEGMENT_BYTES};
pub use wal::HALF_BYTES;

/// A volume that has taken this much is full. sled's log is about three times what is put
/// into it, and is read at about 1 GB/s when it is opened after a crash.
pub const VOLUME_BYTES: u64 = 48 * 1024 * 1024;
/// sled is synced each time it was given this much. It must not begin a second segment in
/// between; and the larger the write, the longer a commit that comes meanwhile waits for the
/// disk: the p99 of 64 writers was 6 times their p50 with twice as much, with this it is 5.
pub const BATCH_BYTES: usize = 96 * 1024;
/// What is durable goes into sled when nothing came for so long. Shorter would sync sled
/// between the clicks of one person, longer would leave more to do at the end.
pub const IDLE: Duration = Duration::from_millis(200);

/// A volume up to this size is always copied before it is opened: copying is done at some
/// 400 MB/s, and a start must not take a second for it. A larger one only when its log is
/// seen not to be whole.
pub const COPIED_BYTES: u64 = 32 * 1024 * 1024;

/// How large the parts of a store grow. Only tests need others than the default.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Bytes that a volume takes before the next is begun.
    pub volume: u64,
    /// Bytes of each half of the write-ahead file.
    pub half: usize,
    /// Bytes that go into sled at once.
    pub batch: usize,
    /// What is less than that goes into sled when nothing came for so long.
    pub idle: Duration,
    /// A volume up to this size is copied before it is opened, whatever its state.
    pub copied: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Sizes { volume: VOLUME_BYTES, half: HALF_BYTES, batch: BATCH_BYTES, idle: IDLE, copied: COPIED_BYTES }
    }
}

/// The journal's last commit, as it was found on opening.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Seq of the last event; [`Seq::ZERO`] when there is none.
    pub head: Seq,
    /// Time of the last event.
    pub time: Timestamp,
}

/// A journal in a directory.
pub struct SledJournal {
    dir: PathBuf,
    volumes: Arc<Volumes>,
    queue: Arc<Queue>,
    /// Last seq appended.
    head: AtomicU64,
    tail: Tail,
    /// `None` when the journal was opened to read only.
    writer: Option<Mutex<Writer>>,
    indexing: Option<JoinHandle<()>>,
    pace: Pace,
    _copy: Option<TempDir>,
}

struct Writer {
    wal: Wal,
    mark: Mark,
}

/// What a journal was found to be.
struct Opening {
    tail: Tail,
    found: Found,
    continuation: Continuation,
}

impl SledJournal {
    /// Opens the journal in `dir`, making it when there is none, and checks its end.
    ///
    /// # Errors
    /// When the directory cannot be used, the last commit is damaged, or acknowledged
    /// events are missing.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::open_with(dir, Sizes::default())
    }

    /// As [`SledJournal::open`], with parts of other sizes.
    ///
    /// # Errors
    /// As [`SledJournal::open`].
    pub fn open_with(dir: &Path, sizes: Sizes) -> Result<Self, StoreError> {
        if !dir.exists() {
            fs::create_dir_all(dir).map_err(io("create", dir))?;
            sync_dir(dir.parent().unwrap_or(dir))?;
        }
        let volumes = Volumes::find(dir)?;
        let saved = volumes.last().map_or(Ok(None), |last| Saved::take(&last, sizes.copied))?;
        if volumes.last().is_none() {
            volumes.add(Seq(1))?;
        }
        let opening = match Self::look(dir, &volumes) {
            Ok(opening) => opening,
            Err(error) => {
                volumes.close();
                saved.map_or(Ok(()), Saved::put_back)?;
                return Err(error);
            }
        };
        drop(saved);
        Self::go_on(dir, volumes, opening, sizes)
    }

    /// Finds the journal's end in the volumes and the write-ahead file, and refuses one
    /// that lost something. Writes nothing but what sled does by itself.
    fn look(dir: &Path, volumes: &Volumes) -> Result<Opening, StoreError> {
        let stored = volumes.tail()?;
        let found = Found::read(dir)?;
        let continuation = found.after(stored.head);
        let tail = continuation.tail.unwrap_or(stored);
        Mark::read(dir)?.check(dir, tail.head, found.durable())?;
        Ok(Opening { tail, found, continuation })
    }

    /// Puts what only the write-ahead file holds into sled, and begins to write.
    fn go_on(dir: &Path, volumes: Volumes, opening: Opening, sizes: Sizes) -> Result<Self, StoreError> {
        let Opening { tail, found, continuation } = opening;
        volumes.make_plain();
        let volumes = Arc::new(volumes);
        let mut indexer = Indexer::new(Arc::clone(&volumes), sizes.volume)?;
        if !continuation.commits.is_empty() {
            tracing::info!(event.seq = tail.head.0, "taking over what the write-ahead file holds");
            indexer.put(&continuation.commits, sizes.batch)?;
        }
        let wal = Wal::open(dir, sizes.half, &found, tail.head)?;
        let mark = Mark::open(dir, tail.head)?;
        let queue = Arc::new(Queue::new(tail.head));
        let pace = Pace { batch_bytes: sizes.batch, idle: sizes.idle };
        let of_indexer = Arc::clone(&queue);
        let indexing = std::thread::Builder::new()
            .name("journal-index".into())
            .spawn(move || indexer.run(&of_indexer, pace))
            .map_err(io("start a thread for", dir))?;
        Ok(SledJournal {
            dir: dir.to_owned(),
            volumes,
            queue,
            head: AtomicU64::new(tail.head.0),
            tail,
            writer: Some(Mutex::new(Writer { wal, mark })),
            indexing: Some(indexing),
            pace,
            _copy: None,
        })
    }

    /// Opens a copy of the journal in `dir` to read only, also beside a running server.
    /// The copy lies in the system's directory for temporary files while this lives.
    ///
    /// # Errors
    /// When the copy cannot be made, or is damaged.
    pub fn open_read_only(dir: &Path) -> Result<Self, StoreError> {
        Self::open_read_only_from(dir, Seq(1))
    }

    /// As [`SledJournal::open_read_only`], for who reads only events from a position on: full
    /// volumes that end before it are not copied.
    ///
    /// # Errors
    /// As [`SledJournal::open_read_only`].
    pub fn open_read_only_from(dir: &Path, from: Seq) -> Result<Self, StoreError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match Self::copy_and_open(dir, from) {
                // A server that writes meanwhile may tear the copy. Not the journal.
                Err(StoreError::Damaged { .. } | StoreError::Lost { .. } | StoreError::Engine { .. })
                    if attempt < COPY_ATTEMPTS => {}
                result => return result,
            }
        }
    }

    fn copy_and_open(dir: &Path, from: Seq) -> Result<Self, StoreError> {
        let marked = Mark::read(dir)?;
        // Before the volumes: what a running server overwrites in it afterwards, or while it
        // is read, is durable in the volumes by then.
        let found = Found::read(dir)?;
        let copy = TempDir::create()?;
        let all = Volumes::find(dir)?.all();
        let needed = all.partition_point(|volume| volume.first() <= from).saturating_sub(1);
        for volume in all.iter().skip(needed) {
            copy_dir(volume.dir(), &copy.path().join(volume.name()))?;
        }
        let volumes = Volumes::find(copy.path())?;
        let stored = volumes.tail()?;
        let continuation = found.after(stored.head);
        let tail = continuation.tail.unwrap_or(stored);
        marked.check(dir, tail.head, found.durable())?;
        let queue = Queue::new(stored.head);
        continuation.commits.into_iter().for_each(|(commit, last)| queue.push(commit, last));
        Ok(SledJournal {
            dir: dir.to_owned(),
            volumes: Arc::new(volumes),
            queue: Arc::new(queue),
            head: AtomicU64::new(tail.head.0),
            tail,
            writer: None,
            indexing: None,
            pace: Pace { batch_bytes: BATCH_BYTES, idle: IDLE },
            _copy: Some(copy),
        })
    }

    /// The end of the journal as it was on opening.
    #[must_use]
    pub fn tail(&self) -> Tail {
        self.tail
    }

    fn writer(&self) -> Result<std::sync::MutexGuard<'_, Writer>, StoreError> {
        let writer = self.writer.as_ref().ok_or(StoreError::ReadOnly)?;
        self.queue.check()?;
        Ok(writer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes durable what was staged. A failure is for good: what the disk holds then,
    /// nobody knows.
    fn write(&self, writer: &mut Writer) -> Result<(), StoreError> {
        match writer.wal.sync() {
            Ok(durable) => {
                writer.mark.set(durable);
                self.queue.set_durable(durable, self.pace);
                Ok(())
            }
            Err(error) => {
                self.queue.fail(error);
                self.queue.check()
            }
        }
    }
}

impl Journal for SledJournal {
    fn append(&self, commit: &EncodedCommit) -> Result<(), StoreError> {
        let mut writer = self.writer()?;
        let head = self.head();
        if commit.first() != head.next() {
            return Err(StoreError::WrongHead { first: commit.first(), head });
        }
        if !writer.wal.has_room(commit) {
            self.write(&mut writer)?;
            self.queue.wait_until_indexed(writer.wal.other_last())?;
            writer.wal.switch();
            if !writer.wal.has_room(commit) {
                let source = format!("it takes {} bytes", commit.bytes().len()).into();
                return Err(StoreError::Engine { action: "take a commit of this length", source });
            }
        }
        writer.wal.stage(commit);
        self.queue.push(StoredCommit::new(commit.first(), commit.bytes().into()), commit.last());
        self.head.store(commit.last().0, Ordering::Release);
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        let mut writer = self.writer()?;
        self.write(&mut writer)
    }

    fn read(&self, from: Seq, max_bytes: usize) -> Result<Vec<StoredCommit>, StoreError> {
        self.gather(from, max_bytes, |next, stored, left| self.volumes.read(next, stored, left))
    }

    fn look(&self, from: Seq, max_bytes: usize) -> Result<Vec<StoredCommit>, StoreError> {
        self.gather(from, max_bytes, |next, stored, left| self.volumes.look(next, stored, left))
    }

    fn passing(&self, seq: Seq) {
        self.volumes.pass(seq);
    }

    fn head(&self) -> Seq {
        Seq(self.head.load(Ordering::Acquire))
    }

    fn size_on_disk(&self) -> Result<u64, StoreError> {
        Ok(self.volumes.size_on_disk()? + wal::size_on_disk(&self.dir))
    }
}

impl SledJournal {
    /// Commits from what is in sled, which `stored` reads, and then what is not yet.
    fn gather(
        &self,
        from: Seq,
        max_bytes: usize,
        stored: impl Fn(Seq, Seq, usize) -> Result<Vec<StoredCommit>, StoreError>,
    ) -> Result<Vec<StoredCommit>, StoreError> {
        if from > self.head() {
            return Ok(Vec::new());
        }
        let mut next = from.max(Seq(1));
        let mut left = max_bytes.max(1);
        let mut page = Vec::new();
        // What is in sled, then what is not yet; more may have got there meanwhile.
        while left > 0 {
            match self.queue.read(next, left) {
                Ok(queued) => {
                    page.extend(queued);
                    break;
                }
                Err(indexed) => {
                    let commits = stored(next, indexed, left)?;
                    let bytes: usize = commits.iter().map(|commit| commit.len()).sum();
                    page.extend(commits);
                    left = left.saturating_sub(bytes);
                    next = indexed.next();
                }
            }
        }
        Ok(page)
    }
}

impl Drop for SledJournal {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(indexing) = self.indexing.take() {
            // A panic was told by the queue, and what it did not move is in the write-ahead
            // file.
            let _ = indexing.join();
        }
        self.volumes.stop_making();
    }
}

/// How often a copy beside a running server is tried. Each try races with a few
/// milliseconds of writing; five in a row fail only when something else is wrong.
const COPY_ATTEMPTS: u32 = 5;

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { action, path, source }
}

fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io("sync", dir))
}
