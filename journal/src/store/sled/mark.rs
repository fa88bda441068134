//! The mark: how far callers were told that their events are durable.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{io, sync_dir};
use crate::id::Seq;
use crate::store::StoreError;

/// A seq and its CRC-32.
const MARK_BYTES: usize = 12;

/// What a mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marked {
    /// There is none: whoever removed it accepts that events are missing.
    Missing,
    /// A power cut tore it; it is not synced.
    Torn,
    /// Everything up to here was acknowledged.
    Until(Seq),
}

impl Marked {
    /// Refuses a journal that ends at `head` when events behind that were acknowledged:
    /// the mark says so, or the write-ahead file, which had them durably up to `durable`.
    pub(super) fn check(self, dir: &Path, head: Seq, durable: Seq) -> Result<(), StoreError> {
        let acknowledged = match self {
            Marked::Missing => return Ok(()),
            Marked::Torn => durable,
            Marked::Until(seq) => seq.max(durable),
        };
        if acknowledged > head {
            let (dir, mark) = (dir.to_owned(), Mark::path(dir));
            return Err(StoreError::Lost { found: head, acknowledged, dir, mark });
        }
        Ok(())
    }
}

/// The open mark file.
pub(super) struct Mark {
    file: File,
}

impl Mark {
    pub(super) fn path(dir: &Path) -> PathBuf {
        dir.join("head")
    }

    /// What the mark says.
    pub(super) fn read(dir: &Path) -> Result<Marked, StoreError> {
        let path = Self::path(dir);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Marked::Missing),
            Err(error) => return Err(io("read", &path)(error)),
        };
        let mark = <[u8; MARK_BYTES]>::try_from(bytes.as_slice()).ok().and_then(|bytes| {
            let (seq, checksum) = bytes.split_first_chunk::<8>()?;
            (crc32fast::hash(seq).to_be_bytes() == *checksum).then(|| Seq(u64::from_be_bytes(*seq)))
        });
        if mark.is_none() && !bytes.is_empty() {
            tracing::warn!(path = %path.display(), "the mark of acknowledged events is torn and was ignored");
        }
        Ok(mark.map_or(Marked::Torn, Marked::Until))
    }

    /// Opens the mark of a journal that ends at `head`, and makes it durably when it is
    /// missing: that it is missing means something.
    pub(super) fn open(dir: &Path, head: Seq) -> Result<Self, StoreError> {
        let path = Self::path(dir);
        let missing = !path.exists();
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io("open", &path))?;
        let mut mark = Mark { file };
        mark.set(head);
        if missing {
            mark.file.sync_all().map_err(io("sync", &path))?;
            sync_dir(dir)?;
        }
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
