//! The mark: how far callers were told that their events are durable.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::io;
use crate::id::Seq;
use crate::store::StoreError;

/// A seq and its CRC-32.
const MARK_BYTES: usize = 12;

/// The open mark file.
pub(super) struct Mark {
    file: File,
}

impl Mark {
    pub(super) fn path(dir: &Path) -> PathBuf {
        dir.join("head")
    }

    /// What the mark says; `None` when there is none, or it is torn (a power cut may tear
    /// it, it is never synced).
    pub(super) fn read(dir: &Path) -> Result<Option<Seq>, StoreError> {
        let path = Self::path(dir);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io("read", &path)(error)),
        };
        let mark = <[u8; MARK_BYTES]>::try_from(bytes.as_slice()).ok().and_then(|bytes| {
            let (seq, checksum) = bytes.split_first_chunk::<8>()?;
            (crc32fast::hash(seq).to_be_bytes() == *checksum).then(|| Seq(u64::from_be_bytes(*seq)))
        });
        if mark.is_none() && !bytes.is_empty() {
            tracing::warn!(path = %path.display(), "the mark of acknowledged events is torn and was ignored");
        }
        Ok(mark)
    }

    /// Opens the mark of a journal that ends at `head`.
    pub(super) fn open(dir: &Path, head: Seq) -> Result<Self, StoreError> {
        let path = Self::path(dir);
        if let Some(acknowledged) = Self::read(dir)?.filter(|acknowledged| *acknowledged > head) {
            return Err(StoreError::Lost { found: head, acknowledged, dir: dir.to_owned(), mark: path });
        }
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io("open", &path))?;
        let mut mark = Mark { file };
        mark.set(head);
        Ok(mark)
    }

    /// Moves the mark. A failure is only told: the events are durable, and a mark that is
    /// behind claims less than it could, never something false.
    pub(super) fn set(&mut self, seq: Seq) {
        let seq = seq.0.to_be_bytes();
        let checksum = crc32fast::hash(&seq).to_be_bytes();
        let mut bytes = [0; MARK_BYTES];
        let (first, second) = bytes.split_at_mut(8);
        first.copy_from_slice(&seq);
        second.copy_from_slice(&checksum);
        if let Err(error) = self.file.write_all_at(&bytes, 0) {
            tracing::warn!(%error, "cannot write the mark of acknowledged events");
        }
    }
}
