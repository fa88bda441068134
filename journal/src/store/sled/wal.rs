//! The write-ahead file: what makes a commit durable with one write and one sync.
//!
//! Without it a commit of one writer took two trips to the disk and some ten wake-ups of
//! threads, since sled's `flush` hands its write to a pool, waits for `sync_file_range`, and
//! the `fdatasync` that it lacks comes after: 588 µs of processor time and a p50 of 865 µs
//! where a bare loop of `pwrite` and `fdatasync` had 369 µs.
//!
//! **Files.** `DIR/wal/0` and `DIR/wal/1`, two halves of the same length, written whole with
//! zeros and synced before they get their names: a sync of a commit then writes data alone
//! and no metadata. Records (`record`) lie one behind the other from a half's first byte on.
//! When the next does not fit, the other half is begun anew, in the next round.
//!
//! **What may never change.** A half is begun anew only when sled holds every commit in it
//! durably. So whatever lies in the halves behind sled's end is whole and goes on there
//! without a gap, and what was left of earlier rounds lies before sled's end.

mod found;
mod record;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{io, sync_dir};
use crate::codec::{EncodedCommit, MAX_COMMIT_BYTES};
use crate::id::Seq;
use crate::store::StoreError;
pub(super) use found::{Continuation, Found};
use record::{HEADER_BYTES, Record};

const HALVES: usize = 2;
/// Length of a half. The largest commit must fit, and at full load the store gets about a
/// tenth of a second to keep up.
pub const HALF_BYTES: usize = 8 * 1024 * 1024;
const _: () = assert!(HALF_BYTES > MAX_COMMIT_BYTES + HEADER_BYTES);

pub(super) fn wal_dir(dir: &Path) -> PathBuf {
    dir.join("wal")
}

fn half_path(dir: &Path, half: usize) -> PathBuf {
    wal_dir(dir).join(half.to_string())
}

/// The files while commits are written to them.
pub(super) struct Wal {
    dir: PathBuf,
    files: Vec<File>,
    half_bytes: usize,
    /// The half that is written.
    half: usize,
    /// Where the next write goes in it.
    at: usize,
    round: u64,
    /// Records that are not written yet.
    staged: Vec<u8>,
    /// The last seq in them.
    staged_last: Seq,
    /// The last seq that was made durable.
    durable: Seq,
    /// The last seq in the half that is not written.
    other_last: Seq,
}

impl Wal {
    /// Opens the files, making them where they are missing, for a journal that ends at
    /// `head` and holds everything up to it durably in sled.
    pub(super) fn open(dir: &Path, half_bytes: usize, found: &Found, head: Seq) -> Result<Self, StoreError> {
        let files = open_files(dir, half_bytes)?;
        found.wipe_after(head, &files, dir)?;
        Ok(Wal {
            dir: dir.to_owned(),
            files,
            half_bytes,
            half: found.older_half(),
            at: 0,
            round: found.round() + 1,
            staged: Vec::new(),
            staged_last: head,
            durable: head,
            other_last: head,
        })
    }

    /// Whether one more commit fits behind what is staged.
    pub(super) fn has_room(&self, commit: &EncodedCommit) -> bool {
        self.at + self.staged.len() + HEADER_BYTES + commit.bytes().len() <= self.half_bytes
    }

    /// Takes a commit to write with the next sync. It must have room.
    pub(super) fn stage(&mut self, commit: &EncodedCommit) {
        let (first, bytes) = (commit.first(), commit.bytes());
        Record { round: self.round, durable: self.durable, first, commit: bytes }.put(&mut self.staged);
        self.staged_last = commit.last();
    }

    /// The last seq in the half that would be begun next: sled must hold it durably before.
    pub(super) fn other_last(&self) -> Seq {
        self.other_last
    }

    /// Goes on in the other half. Everything staged must be written.
    pub(super) fn switch(&mut self) {
        self.half = (self.half + 1) % HALVES;
        self.at = 0;
        self.round += 1;
        self.other_last = self.durable;
    }

    /// Writes what is staged and returns when it survives a power cut. Gives the last seq.
    pub(super) fn sync(&mut self) -> Result<Seq, StoreError> {
        if self.staged.is_empty() {
            return Ok(self.durable);
        }
        let path = || half_path(&self.dir, self.half);
        let Some(file) = self.files.get(self.half) else {
            return Err(StoreError::ReadOnly);
        };
        file.write_all_at(&self.staged, self.at as u64).map_err(|error| io("write", &path())(error))?;
        file.sync_data().map_err(|error| io("sync", &path())(error))?;
        self.at += self.staged.len();
        self.staged.clear();
        self.durable = self.staged_last;
        Ok(self.durable)
    }
}

fn open_files(dir: &Path, half_bytes: usize) -> Result<Vec<File>, StoreError> {
    let wal = wal_dir(dir);
    if !wal.exists() {
        fs::create_dir(&wal).map_err(io("create", &wal))?;
        sync_dir(dir)?;
    }
    let mut files = Vec::new();
    for half in 0..HALVES {
        let path = half_path(dir, half);
        if fs::metadata(&path).map_or(0, |found| found.len()) != half_bytes as u64 {
            make(&path, half_bytes)?;
            sync_dir(&wal)?;
        }
        files.push(File::options().write(true).open(&path).map_err(io("open", &path))?);
    }
    Ok(files)
}

/// Writes a half of zeros beside its place and puts it there.
fn make(path: &Path, half_bytes: usize) -> Result<(), StoreError> {
    let aside = path.with_extension("new");
    let file = File::create(&aside).map_err(io("create", &aside))?;
    file.write_all_at(&vec![0; half_bytes], 0).map_err(io("write", &aside))?;
    file.sync_all().map_err(io("sync", &aside))?;
    fs::rename(&aside, path).map_err(io("put in place", path))
}

/// Bytes that the files take.
pub(super) fn size_on_disk(dir: &Path) -> u64 {
    (0..HALVES).map(|half| fs::metadata(half_path(dir, half)).map_or(0, |found| found.len())).sum()
}
