//! Packs the many small frames of a closed segment into few large ones, which compress.
//!
//! The new file is written aside and renamed over the old one. Records, positions and times
//! stay as they were, and so does the time of the last write, which retention goes by.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::segment::{HEAD, Opened, Seal, Segment, path_of};
use super::{Batch, Entry, SpoolError};
use crate::time::Timestamp;

/// Packs a segment; returns its new length, or `None` when it is left as it is.
pub(super) fn pack(
    dir: &Path,
    first: u64,
    seal: &Seal,
    written: Timestamp,
) -> Result<Option<u64>, SpoolError> {
    let path = path_of(dir, first);
    let Some(segment) = Segment::open(&path, seal.owner)? else { return Ok(None) };
    if segment.encrypted != seal.is_encrypted() {
        return Ok(None);
    }
    let mut bytes = seal.head().to_vec();
    let mut batch = Batch::default();
    let mut next = first;
    let mut offset = HEAD as u64;
    while let Some(frame) = segment.frame(offset)? {
        offset += frame.len;
        // What cannot be packed as a whole is better left as it is.
        let Opened::Records(records) = seal.open(&frame, &segment) else { return Ok(None) };
        for record in &records {
            let (run, stream, at, shape) = (record.run, record.stream, record.at, record.shape);
            batch.push(&Entry { run, stream, at, bytes: &record.bytes, shape });
            if batch.is_full() {
                seal.frames(&batch, next, &mut bytes).map_err(SpoolError::io("pack", &path))?;
                next += u64::from(batch.count());
                batch.clear();
            }
        }
    }
    if !batch.is_empty() {
        seal.frames(&batch, next, &mut bytes).map_err(SpoolError::io("pack", &path))?;
    }
    if segment.goes_past(offset) || bytes.len() as u64 >= offset {
        return Ok(None);
    }
    replace(&path, &bytes, written)?;
    Ok(Some(bytes.len() as u64))
}

fn replace(path: &Path, bytes: &[u8], written: Timestamp) -> Result<(), SpoolError> {
    let aside = aside(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&aside)
        .map_err(SpoolError::io("create", &aside))?;
    let done = file
        .write_all(bytes)
        .and_then(|()| file.set_modified(UNIX_EPOCH + Duration::from_millis(written.0)))
        .and_then(|()| std::fs::rename(&aside, path));
    done.map_err(|error| {
        let _ = std::fs::remove_file(&aside);
        SpoolError::io("replace", path)(error)
    })
}

fn aside(path: &Path) -> PathBuf {
    path.with_extension("seg.new")
}

/// Removes what a packing that was cut off left behind.
pub(super) fn clean(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().ends_with(".seg.new") {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
