//! The one writer of a spool: gives positions, appends frames, starts new segments and
//! deletes the oldest.
//!
//! A segment of many small frames is packed together when it is closed. After a failed write
//! the file is cut back to its last whole frame, so that a full disk costs what was printed
//! meanwhile and nothing that was kept before.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::batch::{BATCH_LIMIT, FRAME_BYTES};
use super::segment::{Checked, HEAD, Seal, Segment, list, path_of};
use super::squeeze::Packing;
use super::{Batch, Entry, Key, SpoolError, pack};
use crate::time::Timestamp;

/// How much a spool keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Past this size a segment is closed and the next begun.
    pub segment_bytes: u64,
    /// Past this size of all segments the oldest are deleted (never the one being written).
    pub retain_bytes: u64,
    /// Segments last written longer ago than this are deleted by [`Writer::expire`]. A segment
    /// is closed when it spans a sixteenth of it, so that a process that prints little is
    /// forgotten in time, too.
    pub retain_ms: Option<u64>,
}

/// How much of a process's output is kept, as it is said of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retain {
    /// Bytes on disk, about.
    pub bytes: u64,
    /// For how many milliseconds; `None` for as long as there is room.
    pub ms: Option<u64>,
}

impl Retain {
    /// The same for a spool.
    #[must_use]
    pub fn options(self) -> Options {
        let segment_bytes = (self.bytes / SPANS).clamp(LEAST_SEGMENT, LARGEST_SEGMENT);
        Options { segment_bytes, retain_bytes: self.bytes, retain_ms: self.ms }
    }
}

impl Default for Options {
    /// 64 MiB in sixteen segments: a day of a chatty service, and deleting one forgets a
    /// sixteenth; no limit of age.
    fn default() -> Self {
        Options { segment_bytes: 4 << 20, retain_bytes: 64 << 20, retain_ms: None }
    }
}

/// Into how many segments what is kept is divided: deleting one forgets a sixteenth.
const SPANS: u64 = 16;
/// Not smaller, whatever the limit: a batch in a segment of its own would be mostly head.
const LEAST_SEGMENT: u64 = 64 * 1024;
/// Not larger: what a reader looks through for one line.
const LARGEST_SEGMENT: u64 = 4 << 20;
/// Frames in a segment, at most. A process that prints a line now and then makes a frame of
/// each, which takes more bytes than the line; they are packed together at the end.
const MOST_FRAMES: u32 = 2048;
/// A closed segment whose frames hold less on average is packed together.
const SMALL_FRAME: u64 = FRAME_BYTES as u64 / 2;

struct Closed {
    first: u64,
    len: u64,
    written: Timestamp,
}

struct Active {
    file: File,
    first: u64,
    len: u64,
    written: Timestamp,
    /// When its first record was printed; `None` when it has none.
    begun: Option<Timestamp>,
    frames: u32,
    /// What its frames hold, unpacked.
    unpacked: u64,
}

/// The writing end of a spool. There must be only one for a directory at any time.
pub struct Writer {
    dir: PathBuf,
    seal: Seal,
    options: Options,
    closed: VecDeque<Closed>,
    /// `None` when the next write must begin a segment.
    active: Option<Active>,
    next: u64,
    batch: Batch,
    /// Held while the spool is written, so that [`sweep`] leaves it alone. Writers share it:
    /// there is only one by agreement, and a second must not wait for a first that hangs.
    _lock: Option<File>,
}

impl Writer {
    /// Opens a spool or makes it, and cuts off a torn end.
    ///
    /// # Errors
    /// When the directory cannot be made, read or written, or belongs to another owner.
    pub fn open(dir: &Path, owner: Uuid, key: Option<&Key>, options: Options) -> Result<Writer, SpoolError> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(SpoolError::io("create", dir))?;
        let lock = File::open(dir).ok().filter(|lock| lock.lock_shared().is_ok());
        Writer::resumed(dir, Seal::new(owner, key), options, lock)
    }

    fn resumed(dir: &Path, seal: Seal, options: Options, lock: Option<File>) -> Result<Writer, SpoolError> {
        let mut writer = Writer {
            dir: dir.to_path_buf(),
            seal,
            options,
            closed: VecDeque::new(),
            active: None,
            next: 1,
            batch: Batch::default(),
            _lock: lock,
        };
        pack::clean(dir);
        let mut firsts = list(dir)?;
        let last = firsts.pop();
        for first in firsts {
            let path = path_of(dir, first);
            let meta = path.metadata().map_err(SpoolError::io("inspect", &path))?;
            let written = written(&meta);
            writer.closed.push_back(Closed { first, len: meta.len(), written });
        }
        if let Some(first) = last {
            writer.next = first;
            writer.resume(first)?;
        }
        Ok(writer)
    }

    /// Goes on with the newest segment when it is under the same kind of seal and of the
    /// layout that is written.
    fn resume(&mut self, first: u64) -> Result<(), SpoolError> {
        let path = path_of(&self.dir, first);
        let Some(segment) = Segment::open(&path, self.seal.owner)? else { return Ok(()) };
        let Checked { len, end, begun, frames, unpacked } = segment.check()?;
        self.next = end.unwrap_or(first);
        let file = OpenOptions::new().append(true).open(&path).map_err(SpoolError::io("open", &path))?;
        let meta = file.metadata().map_err(SpoolError::io("inspect", &path))?;
        let written = written(&meta);
        // Only when need be: it changes the time of the last write, which retention goes by.
        if meta.len() > len {
            file.set_len(len).map_err(SpoolError::io("cut the torn end of", &path))?;
        }
        if segment.encrypted == self.seal.is_encrypted() && segment.packing == Packing::Zstd {
            self.active = Some(Active { file, first, len, written, begun, frames, unpacked });
        } else if end.is_some() {
            self.closed.push_back(Closed { first, len, written });
        }
        Ok(())
    }

    /// The position that the next record will get.
    #[must_use]
    pub fn next_position(&self) -> u64 {
        self.next + u64::from(self.batch.count())
    }

    /// Adds a record; it is written once enough have come together, or by [`Writer::flush`].
    ///
    /// # Errors
    /// When writing failed: what was added since the last write is dropped.
    pub fn append(&mut self, entry: &Entry<'_>) -> Result<(), SpoolError> {
        self.batch.push(entry);
        if self.batch.is_full() { self.flush() } else { Ok(()) }
    }

    /// Writes what was appended.
    ///
    /// # Errors
    /// When writing failed: what was added since the last write is dropped.
    pub fn flush(&mut self) -> Result<(), SpoolError> {
        let mut batch = std::mem::take(&mut self.batch);
        let result = self.write(&batch);
        batch.clear();
        self.batch = batch;
        result
    }

    /// Writes a batch at once, after whatever was appended before.
    ///
    /// # Errors
    /// When writing failed: nothing of the batch is kept, and no position used.
    pub fn write(&mut self, batch: &Batch) -> Result<(), SpoolError> {
        if batch.is_empty() {
            return Ok(());
        }
        if batch.size() > BATCH_LIMIT {
            let source = std::io::Error::from(std::io::ErrorKind::InvalidInput);
            return Err(SpoolError::io("write a batch of more than 1 MiB to", &self.dir)(source));
        }
        let mut frames = Vec::with_capacity(batch.size() / 2);
        let count = self.seal.frames(batch, self.next, &mut frames);
        let count = count.map_err(SpoolError::io("compress a batch for", &self.dir))?;
        if self.active.as_ref().is_some_and(|active| self.is_full(active, batch.times().0)) {
            self.close();
        }
        let mut active = match self.active.take() {
            Some(active) => active,
            None => self.begin()?,
        };
        match active.file.write_all(&frames) {
            Ok(()) => {
                active.len += frames.len() as u64;
                active.written = batch.times().1;
                active.begun = active.begun.or(Some(batch.times().0));
                active.frames += count;
                active.unpacked += batch.size() as u64;
                self.next += u64::from(batch.count());
                self.active = Some(active);
                Ok(())
            }
            Err(error) => {
                let path = path_of(&self.dir, active.first);
                // Left without an active segment when even this fails: the next write
                // then begins a new one, and readers skip the torn frame.
                if active.file.set_len(active.len).is_ok() {
                    self.active = Some(active);
                } else if active.first < self.next {
                    let Active { first, len, written, .. } = active;
                    self.closed.push_back(Closed { first, len, written });
                }
                Err(SpoolError::io("write", &path)(error))
            }
        }
    }

    /// Deletes segments that are past the age given in the options.
    ///
    /// # Errors
    /// When a file cannot be deleted.
    pub fn expire(&mut self, now: Timestamp) -> Result<(), SpoolError> {
        let Some(age) = self.options.retain_ms else { return Ok(()) };
        let stale = |written: Timestamp| now.since_ms(written) > age;
        if self.active.as_ref().is_some_and(|active| active.first < self.next && stale(active.written)) {
            self.close();
            // An empty segment keeps the count of positions.
            self.active = Some(self.begin()?);
        }
        while self.closed.front().is_some_and(|oldest| stale(oldest.written)) {
            self.drop_oldest()?;
        }
        Ok(())
    }

    fn is_full(&self, active: &Active, now: Timestamp) -> bool {
        let span = self.options.retain_ms.map_or(u64::MAX, |age| age / SPANS);
        active.len >= self.options.segment_bytes
            || active.frames >= MOST_FRAMES
            || active.begun.is_some_and(|begun| now.since_ms(begun) > span)
    }

    fn close(&mut self) {
        let Some(active) = self.active.take() else { return };
        let Active { first, mut len, written, frames, unpacked, .. } = active;
        if frames > 1 && unpacked / u64::from(frames) < SMALL_FRAME {
            match pack::pack(&self.dir, first, &self.seal, written) {
                Ok(packed) => len = packed.unwrap_or(len),
                // It stays as it is, only larger than need be.
                Err(error) => tracing::warn!(%error, "a segment is not packed together"),
            }
        }
        self.closed.push_back(Closed { first, len, written });
    }

    fn begin(&mut self) -> Result<Active, SpoolError> {
        let path = path_of(&self.dir, self.next);
        let mut open = OpenOptions::new();
        open.append(true).create(true).mode(0o600);
        let mut file = open.open(&path).map_err(SpoolError::io("create", &path))?;
        // Something may lie under this name only when it held no whole frame.
        file.set_len(0).map_err(SpoolError::io("empty", &path))?;
        if let Err(error) = file.write_all(&self.seal.head()) {
            let _ = file.set_len(0);
            return Err(SpoolError::io("write", &path)(error));
        }
        let mut kept = self.closed.iter().map(|closed| closed.len).sum::<u64>();
        let room = self.options.retain_bytes.saturating_sub(self.options.segment_bytes);
        while kept > room {
            let Some(oldest) = self.closed.front() else { break };
            kept -= oldest.len;
            self.drop_oldest()?;
        }
        let (first, written) = (self.next, Timestamp(0));
        Ok(Active { file, first, len: HEAD as u64, written, begun: None, frames: 0, unpacked: 0 })
    }

    fn drop_oldest(&mut self) -> Result<(), SpoolError> {
        let Some(oldest) = self.closed.pop_front() else { return Ok(()) };
        let path = path_of(&self.dir, oldest.first);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(SpoolError::io("delete", &path)(error))
            }
            _ => Ok(()),
        }
    }
}

/// Deletes what is past its age or above its size in a spool that nobody writes just now; a
/// writer does so by itself. Only the count of positions is left of a spool that is all past.
/// Returns whether it holds records still, or `None` when somebody writes it.
///
/// # Errors
/// When a file cannot be read, written or deleted.
pub fn sweep(dir: &Path, owner: Uuid, options: Options, now: Timestamp) -> Result<Option<bool>, SpoolError> {
    let lock = match File::open(dir) {
        Ok(lock) => lock,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Some(false)),
        Err(error) => return Err(SpoolError::io("open", dir)(error)),
    };
    if lock.try_lock().is_err() {
        return Ok(None);
    }
    let firsts = list(dir)?;
    let Some(newest) = firsts.last() else { return Ok(Some(false)) };
    let path = path_of(dir, *newest);
    let meta = path.metadata().map_err(SpoolError::io("inspect", &path))?;
    let is_stale = options.retain_ms.is_some_and(|age| now.since_ms(written(&meta)) > age);
    if is_stale && meta.len() > HEAD as u64 {
        let mut writer = Writer::resumed(dir, Seal::new(owner, None), options, Some(lock))?;
        writer.close();
        writer.active = Some(writer.begin()?);
        writer.expire(now)?;
        return Ok(Some(!writer.closed.is_empty()));
    }
    let oldest = options.retain_ms.map_or(Timestamp(0), |age| Timestamp(now.0.saturating_sub(age)));
    expire(dir, oldest)?;
    let mut kept = meta.len();
    let closed = list(dir)?.into_iter().rev().skip(1);
    let mut has_older = false;
    for path in closed.map(|first| path_of(dir, first)) {
        kept += path.metadata().map_or(0, |meta| meta.len());
        if kept > options.retain_bytes {
            std::fs::remove_file(&path).map_err(SpoolError::io("delete", &path))?;
        } else {
            has_older = true;
        }
    }
    Ok(Some(has_older || meta.len() > HEAD as u64))
}

/// Deletes the segments of a spool that were last written before `oldest`, but for the
/// newest, which keeps the count of positions. Safe beside a writer in another process.
/// Returns how many were deleted.
///
/// # Errors
/// When the directory cannot be listed or a segment not be deleted.
pub fn expire(dir: &Path, oldest: Timestamp) -> Result<usize, SpoolError> {
    let mut deleted = 0;
    let mut firsts = list(dir)?;
    firsts.pop();
    for path in firsts.into_iter().map(|first| path_of(dir, first)) {
        // Missing when the writer was faster.
        let Ok(meta) = path.metadata() else { continue };
        if written(&meta) >= oldest {
            break;
        }
        match std::fs::remove_file(&path) {
            Ok(()) => deleted += 1,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(SpoolError::io("delete", &path)(error)),
        }
    }
    Ok(deleted)
}

/// When a file was last written.
fn written(meta: &std::fs::Metadata) -> Timestamp {
    let since = meta.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    Timestamp(since.map_or(0, |since| since.as_millis() as u64))
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Whoever cares whether this works calls flush.
        let _ = self.flush();
    }
}
