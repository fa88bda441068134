//! One record of the write-ahead file: a commit with what tells it from what lies around it.
//!
//! | at | bytes | what |
//! | --- | --- | --- |
//! | 0 | 4 | `TNW` and the format version, 1 |
//! | 4 | 8 | the round: grows by one each time a half is begun anew |
//! | 12 | 8 | the last seq that was durable when this was written |
//! | 20 | 8 | the commit's first seq |
//! | 28 | 4 | the commit's length |
//! | 32 | 4 | CRC-32 (IEEE) over the 32 bytes before and the commit |
//! | 36 | | the commit, as `codec` has it |
//!
//! Numbers are big-endian. A later version may only have another fourth byte and must leave
//! nothing behind when it ends: what is not version 1 is passed over here. (A golden file
//! in `tests/golden` watches these bytes.)

use crate::id::Seq;

/// The first four bytes of every record: a mark and the format's version.
pub(super) const MAGIC: [u8; 4] = *b"TNW\x01";
/// Bytes before the commit.
pub(super) const HEADER_BYTES: usize = 36;
/// Bytes before the checksum.
const CHECKED_BYTES: usize = 32;

/// A record, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) round: u64,
    /// The last seq that was durable when this was written.
    pub(super) durable: Seq,
    pub(super) first: Seq,
    pub(super) commit: &'a [u8],
}

impl<'a> Record<'a> {
    /// Appends the record's bytes.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.round.to_be_bytes());
        out.extend_from_slice(&self.durable.0.to_be_bytes());
        out.extend_from_slice(&self.first.0.to_be_bytes());
        // A half is shorter than 4 GiB, and a commit shorter than a half.
        out.extend_from_slice(&(self.commit.len() as u32).to_be_bytes());
        let checksum = checksum(out.get(start..).unwrap_or_default(), self.commit);
        out.extend_from_slice(&checksum.to_be_bytes());
        out.extend_from_slice(self.commit);
    }

    /// Reads the record that begins with the first byte; `None` when none does, or a byte
    /// of it changed.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Record<'a>> {
        let (header, rest) = bytes.split_at_checked(HEADER_BYTES)?;
        let (checked, stored) = header.split_at_checked(CHECKED_BYTES)?;
        let mut fields = checked.strip_prefix(&MAGIC)?;
        let mut number = |width: usize| {
            let (field, rest) = fields.split_at_checked(width)?;
            fields = rest;
            Some(field.iter().fold(0u64, |number, byte| (number << 8) | u64::from(*byte)))
        };
        let (round, durable, first) = (number(8)?, Seq(number(8)?), Seq(number(8)?));
        let commit = rest.get(..usize::try_from(number(4)?).ok()?)?;
        let whole = checksum(checked, commit).to_be_bytes() == stored;
        whole.then_some(Record { round, durable, first, commit })
    }
}

fn checksum(header: &[u8], commit: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(commit);
    hasher.finalize()
}
