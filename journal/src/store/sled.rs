//! Commits in sled 0.34 on the local disk: a directory of volumes and a mark.
//!
//! **Volumes.** `DIR/FIRST/` (20 digits: the first seq in it) is a sled store of its own;
//! the last one is written. sled reads its whole log since its last opening when it is
//! opened, so one store for everything would take seconds to come back after a crash.
//! A volume that is full is never written again, and is opened only when it is read.
//!
//! **Keys and values.** Key: the commit's first seq, 8 bytes, big-endian; value: the
//! commit as `codec` has it, cut into parts of at most [`PART_BYTES`], the later parts
//! under the seq and a part number (u16, big-endian, from 1). Parts go in in order, so a
//! commit that a crash cut off lacks its end, was never acknowledged, and is removed.
//!
//! **Durable.** sled's `flush` ends in `sync_file_range`, which neither reaches past the
//! disk's cache nor writes metadata: after a power cut nothing is there. So [`Journal::sync`]
//! calls `fdatasync` on the volume's `db` file itself, through a descriptor of its own.
//! sled puts a node past a quarter of a segment into a file that it never syncs:
//! [`SEGMENT_BYTES`] and [`PART_BYTES`] are such that no node gets there. And it may write
//! over a segment that it freed once two later ones are begun, whether these are durable
//! or not: one sync is never asked to cover that much (`group`).
//!
//! **The mark.** `DIR/head` holds the last seq that was acknowledged (u64, big-endian, and
//! CRC-32), written after each sync without a sync of its own. It is never ahead of what
//! is durable. sled cuts its log at the first damaged byte without a word; a journal that
//! ends before its mark has lost acknowledged events and is refused.

mod mark;
mod saved;
mod volume;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::{Journal, StoreError, StoredCommit};
use crate::codec::EncodedCommit;
use crate::id::Seq;
use crate::time::Timestamp;
use mark::Mark;
use saved::Saved;
use volume::Volume;

pub use volume::{PART_BYTES, SEGMENT_BYTES};

/// A volume that has taken this much is full. sled's log is about three times what is put
/// into it, and is read at about 1 GB/s when it is opened after a crash.
pub const VOLUME_BYTES: u64 = 96 * 1024 * 1024;

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
    /// By first seq; the last one is written.
    volumes: RwLock<Vec<Arc<Volume>>>,
    /// Last seq appended.
    head: AtomicU64,
    tail: Tail,
    /// `None` when the journal was opened to read only.
    writer: Option<Mutex<Writer>>,
    volume_bytes: u64,
    _copy: Option<TempDir>,
}

struct Writer {
    mark: Mark,
    /// Bytes put into the last volume.
    filled: u64,
}

impl SledJournal {
    /// Opens the journal in `dir`, making it when there is none, and checks its end.
    ///
    /// # Errors
    /// When the directory cannot be used, the last commit is damaged, or acknowledged
    /// events are missing.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::open_with(dir, VOLUME_BYTES)
    }

    /// As [`SledJournal::open`], with volumes of another size.
    ///
    /// # Errors
    /// As [`SledJournal::open`].
    pub fn open_with(dir: &Path, volume_bytes: u64) -> Result<Self, StoreError> {
        if !dir.exists() {
            fs::create_dir_all(dir).map_err(io("create", dir))?;
            sync_dir(dir.parent().unwrap_or(dir))?;
        }
        let mut volumes = Self::list(dir)?;
        let saved = volumes.last().and_then(|last| Saved::take(last));
        if volumes.is_empty() {
            volumes.push(Volume::create(dir, Seq(1))?);
        }
        let found = Self::find_tail(&volumes).and_then(|tail| Ok((tail, Mark::open(dir, tail.head)?)));
        let (tail, mark) = match found {
            Ok(found) => found,
            Err(error) => {
                if let Some(saved) = saved {
                    Self::close(dir, volumes);
                    saved.put_back()?;
                }
                return Err(error);
            }
        };
        let last = volumes.last().map_or(Ok(0), |last| last.size_on_disk())?;
        // An estimate is enough: sled writes about three bytes for each that it is given.
        let filled = last / 3;
        Ok(SledJournal {
            dir: dir.to_owned(),
            volumes: RwLock::new(volumes),
            head: AtomicU64::new(tail.head.0),
            tail,
            writer: Some(Mutex::new(Writer { mark, filled })),
            volume_bytes,
            _copy: None,
        })
    }

    /// Opens a copy of the journal in `dir` to read only, also beside a running server.
    /// The copy lies in the system's directory for temporary files while this lives.
    ///
    /// # Errors
    /// When the copy cannot be made, or is damaged.
    pub fn open_read_only(dir: &Path) -> Result<Self, StoreError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match Self::copy_and_open(dir) {
                // A server that writes meanwhile may tear the copy. Not the journal.
                Err(StoreError::Damaged { .. } | StoreError::Lost { .. } | StoreError::Engine { .. })
                    if attempt < COPY_ATTEMPTS => {}
                result => return result,
            }
        }
    }

    fn copy_and_open(dir: &Path) -> Result<Self, StoreError> {
        let acknowledged = Mark::read(dir)?;
        let copy = TempDir::create()?;
        for volume in Self::list(dir)? {
            copy_dir(volume.dir(), &copy.0.join(volume.name()))?;
        }
        let volumes = Self::list(&copy.0)?;
        let tail = Self::find_tail(&volumes)?;
        if acknowledged.is_some_and(|acknowledged| acknowledged > tail.head) {
            return Err(StoreError::Lost {
                found: tail.head,
                acknowledged: acknowledged.unwrap_or_default(),
                dir: dir.to_owned(),
                mark: Mark::path(dir),
            });
        }
        Ok(SledJournal {
            dir: dir.to_owned(),
            volumes: RwLock::new(volumes),
            head: AtomicU64::new(tail.head.0),
            tail,
            writer: None,
            volume_bytes: VOLUME_BYTES,
            _copy: Some(copy),
        })
    }

    /// The end of the journal as it was on opening.
    #[must_use]
    pub fn tail(&self) -> Tail {
        self.tail
    }

    fn list(dir: &Path) -> Result<Vec<Arc<Volume>>, StoreError> {
        let mut volumes = Vec::new();
        for entry in fs::read_dir(dir).map_err(io("list", dir))? {
            let entry = entry.map_err(io("list", dir))?;
            let name = entry.file_name();
            let Some(first) =
                name.to_str().filter(|name| name.len() == 20).and_then(|name| name.parse().ok())
            else {
                continue;
            };
            volumes.push(Arc::new(Volume::closed(dir, Seq(first))));
        }
        volumes.sort_by_key(|volume| volume.first());
        Ok(volumes)
    }

    /// Returns when the engine has let go of every file.
    fn close(dir: &Path, volumes: Vec<Arc<Volume>>) {
        let firsts: Vec<Seq> = volumes.iter().map(|volume| volume.first()).collect();
        drop(volumes);
        firsts.into_iter().for_each(|first| Volume::closed(dir, first).wait_until_closed());
    }

    /// Opens the last volume that holds something, and checks its last commit.
    fn find_tail(volumes: &[Arc<Volume>]) -> Result<Tail, StoreError> {
        for volume in volumes.iter().rev() {
            if let Some(tail) = volume.tail()? {
                return Ok(tail);
            }
        }
        Ok(Tail::default())
    }

    fn volumes(&self) -> Vec<Arc<Volume>> {
        self.volumes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn last_volume(&self) -> Option<Arc<Volume>> {
        self.volumes.read().unwrap_or_else(PoisonError::into_inner).last().cloned()
    }

    /// The volume to append to, a new one when the last is full.
    fn volume_for(&self, commit: &EncodedCommit, writer: &mut Writer) -> Result<Arc<Volume>, StoreError> {
        let last = self.last_volume();
        if let Some(last) = last {
            if writer.filled < self.volume_bytes || last.first() == commit.first() {
                return Ok(last);
            }
            last.sync()?;
        }
        let next = Volume::create(&self.dir, commit.first())?;
        self.volumes.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&next));
        writer.filled = 0;
        Ok(next)
    }

    fn writer(&self) -> Result<std::sync::MutexGuard<'_, Writer>, StoreError> {
        let writer = self.writer.as_ref().ok_or(StoreError::ReadOnly)?;
        Ok(writer.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Journal for SledJournal {
    fn append(&self, commit: &EncodedCommit) -> Result<(), StoreError> {
        let mut writer = self.writer()?;
        let head = self.head();
        if commit.first() != head.next() {
            return Err(StoreError::WrongHead { first: commit.first(), head });
        }
        let volume = self.volume_for(commit, &mut writer)?;
        volume.insert(commit.first(), commit.bytes())?;
        writer.filled += commit.bytes().len() as u64;
        self.head.store(commit.last().0, Ordering::Release);
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        let mut writer = self.writer()?;
        let head = self.head();
        if let Some(volume) = self.last_volume() {
            volume.sync()?;
        }
        writer.mark.set(head);
        Ok(())
    }

    fn read(&self, from: Seq, max_bytes: usize) -> Result<Vec<StoredCommit>, StoreError> {
        let head = self.head();
        if from > head {
            return Ok(Vec::new());
        }
        let from = from.max(Seq(1));
        let volumes = self.volumes();
        let index = volumes.partition_point(|volume| volume.first() <= from).saturating_sub(1);
        let mut page = Vec::new();
        let mut left = max_bytes.max(1);
        for (offset, volume) in volumes.iter().skip(index).enumerate() {
            let read_from = if offset == 0 { from } else { volume.first() };
            for commit in volume.read(read_from, head, left)? {
                left = left.saturating_sub(commit.len());
                page.push(commit);
            }
            if left == 0 {
                break;
            }
        }
        Ok(page)
    }

    fn head(&self) -> Seq {
        Seq(self.head.load(Ordering::Acquire))
    }

    fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.volumes().iter().map(|volume| volume.size_on_disk()).sum()
    }
}

/// How often a copy beside a running server is tried. Each try races with a few
/// milliseconds of writing; five in a row fail only when something else is wrong.
const COPY_ATTEMPTS: u32 = 5;

/// A directory that is removed with its owner.
struct TempDir(PathBuf);

impl TempDir {
    fn create() -> Result<Self, StoreError> {
        let name = format!("tenantry-journal-{}", uuid::Uuid::now_v7());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).map_err(io("create", &path))?;
        Ok(TempDir(path))
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "cannot remove a copy of the journal");
        }
    }
}

fn copy_dir(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::create_dir(to).map_err(io("create", to))?;
    for entry in fs::read_dir(from).map_err(io("list", from))? {
        let entry = entry.map_err(io("list", from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_dir(&source, &target)?;
        } else {
            fs::copy(&source, &target).map_err(io("copy", &source))?;
        }
    }
    Ok(())
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { action, path, source }
}

fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io("sync", dir))
}
