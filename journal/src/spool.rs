//! The spool: what processes (and deployments) printed, kept in bounded files.
//!
//! A spool belongs to one instance or deployment, has one writer and any number of
//! readers, in other processes too. A record is one line; its position is counted from 1,
//! without gaps, for the life of the spool, also across restarts and retention.
//! Output is observation, not fact: it is written to the page cache and not synced, so it
//! survives the death of every process but a power cut may take the last moments.
//!
//! # The bytes
//! A directory of segments named `<first position, 20 digits>.seg`. All numbers are
//! little-endian unless they are varints (LEB128). Their meaning may never change; another
//! layout gets another version.
//!
//! - Segment: the magic `TNSPOOL` + version byte 2 (or 1), the owner's UUID (16 bytes), one byte
//!   of flags (bit 0: frames are encrypted), 7 zero bytes; then frames.
//! - Frame header, 40 bytes: body length u32, CRC-32 of the rest of the header and the
//!   body u32, first position u64, time of the first record and of the last u64 (ms since
//!   the epoch), record count u32, length of the records when unpacked u32.
//! - Frame body: the records as a Zstandard frame (version 1: as an LZ4 block); when encrypted,
//!   a 24-byte nonce and XChaCha20-Poly1305 over that, with the owner's UUID and header bytes 8..40 as associated data.
//! - Record: one byte of flags (bit 0: stderr; bits 1 and 2: [`Shape`]; bit 3: a run id
//!   follows), the run's UUID when it differs from the record before (always in the first),
//!   zigzag varint of the time relative to the record before (first: to the frame's),
//!   varint count when the shape is `Cut` or `Lost`, varint length, the bytes.
//!
//! A closed segment may be replaced by one with the same records in fewer frames; it is
//! written aside as `<name>.new` and renamed, and who reads the old one reads it to its end.
//!
//! A torn last frame is cut off when a writer opens the spool. A reader takes an
//! unreadable frame at the end of the newest segment as not written yet; elsewhere it
//! skips to the next segment and counts it in [`Reader::damaged`].

mod batch;
mod lines;
mod pack;
mod places;
mod reader;
mod segment;
mod squeeze;
#[cfg(test)]
mod tests;
mod writer;

use std::path::PathBuf;

use uuid::Uuid;
use zeroize::Zeroizing;

pub use batch::Batch;
pub use lines::Lines;
pub use places::Places;
pub use reader::{Backwards, Reader};
pub use writer::{Options, Retain, Writer, expire, sweep};

use crate::time::Timestamp;

/// Longest line that is kept. Log lines of real applications, stack traces in JSON
/// included, stay under it; it also bounds the memory of a line that never ends.
pub const LINE_LIMIT: usize = 16 * 1024;

/// The key that a spool is encrypted under; wiped from memory when dropped.
pub type Key = Zeroizing<[u8; 32]>;

/// Which of a process's two outputs a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How much of a line a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// All of it.
    Line,
    /// A part: the line goes on in this stream's next record.
    Piece,
    /// Its beginning (or nothing, after an earlier part); so many bytes were not kept.
    Cut(u64),
    /// None: here so many bytes of output were lost, because the spool could not be written.
    Lost(u64),
}

/// A record to be written.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The run that printed it.
    pub run: Uuid,
    /// Where it came out.
    pub stream: Stream,
    /// When it was read from the process.
    pub at: Timestamp,
    /// The line without its newline, any bytes.
    pub bytes: &'a [u8],
    /// How much of the line it is.
    pub shape: Shape,
}

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its position in the spool, from 1.
    pub position: u64,
    /// The run that printed it.
    pub run: Uuid,
    /// Where it came out.
    pub stream: Stream,
    /// When it was read from the process.
    pub at: Timestamp,
    /// The line without its newline, any bytes.
    pub bytes: Vec<u8>,
    /// How much of the line it is.
    pub shape: Shape,
}

/// Why a spool could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The operating system refused.
    #[error("cannot {what} {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A segment is of another layout or belongs to another spool.
    #[error("{path} is not a segment of spool {owner} that this version can read")]
    Foreign {
        /// The segment.
        path: PathBuf,
        /// The owner that was expected.
        owner: Uuid,
    },
    /// An encrypted segment cannot be opened with the key that was given, or without one.
    #[error("{path} cannot be opened with the key given")]
    Key {
        /// The segment.
        path: PathBuf,
    },
}

impl SpoolError {
    fn io(what: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> SpoolError {
        move |source| SpoolError::Io { what, path: path.to_path_buf(), source }
    }
}
