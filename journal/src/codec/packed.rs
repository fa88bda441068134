//! Commits made small for a store: what is written to disk twice and read back with every
//! start takes a third.
//!
//! **Packed commit**: the header of the commit, its first four bytes replaced by `TNZ` and the
//! version of this form, 1 · length of what follows (u32, big-endian) · the records as one
//! LZ4 block. Nothing else changes: the header's length and checksum are those of the commit,
//! and are checked when it is unpacked.

use std::borrow::Cow;

use super::{CodecError, Commit, HEADER_BYTES, MAGIC, MAX_COMMIT_BYTES};
use crate::id::Seq;

/// The first bytes of a packed commit.
const MARK: [u8; 4] = *b"TNZ\x01";
/// Bytes before the block.
const HEAD_BYTES: usize = HEADER_BYTES + 4;
/// Shorter commits hold one or two events, and win little.
const WORTH_BYTES: usize = 1024;

/// What is stored of a commit: packed where that makes it smaller.
#[must_use]
pub(crate) fn pack(commit: &[u8]) -> Cow<'_, [u8]> {
    let Some((header, records)) = commit.split_at_checked(HEADER_BYTES) else {
        return Cow::Borrowed(commit);
    };
    if commit.len() < WORTH_BYTES {
        return Cow::Borrowed(commit);
    }
    let block = lz4_flex::block::compress(records);
    if block.len() + HEAD_BYTES >= commit.len() {
        return Cow::Borrowed(commit);
    }
    let (_, rest) = header.split_at(MARK.len());
    Cow::Owned([&MARK, rest, &(block.len() as u32).to_be_bytes(), &block].concat())
}

/// The length that the first bytes of a stored commit announce; `None` when these are none.
#[must_use]
pub(crate) fn stored_len(stored: &[u8]) -> Option<usize> {
    if !stored.starts_with(&MARK) {
        return Commit::announced_len(stored);
    }
    let block = u32::from_be_bytes(stored.get(HEADER_BYTES..HEAD_BYTES)?.try_into().ok()?);
    usize::try_from(block).ok()?.checked_add(HEAD_BYTES)
}

/// Reads and checks a commit that was stored under `seq`, packed or as it is. A packed one
/// is unpacked into `room`.
///
/// # Errors
/// As [`Commit::parse`].
pub(crate) fn parse<'a>(seq: Seq, stored: &'a [u8], room: &'a mut Vec<u8>) -> Result<Commit<'a>, CodecError> {
    let packed = stored.starts_with(&MARK).then(|| stored.split_at_checked(HEAD_BYTES)).flatten();
    let Some((head, block)) = packed else {
        return Commit::parse(seq, stored);
    };
    let damaged = |what| CodecError::Commit { seq, what };
    let mut header = [0; HEADER_BYTES];
    header
        .iter_mut()
        .zip(MAGIC.iter().chain(head.iter().skip(MAGIC.len())))
        .for_each(|(to, from)| *to = *from);
    let len = Commit::announced_len(&header)
        .and_then(|len| len.checked_sub(HEADER_BYTES))
        .filter(|len| *len <= MAX_COMMIT_BYTES)
        .ok_or_else(|| damaged("it announces a length that no commit has"))?;
    if room.len() < len {
        room.resize(len, 0);
    }
    let records = room.get_mut(..len).unwrap_or_default();
    match lz4_flex::block::decompress_into(block, records) {
        Ok(unpacked) if unpacked == len => Commit::of_parts(seq, &header, records),
        _ => Err(damaged("it does not unpack")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::CommitBuilder;
    use super::*;
    use crate::time::Timestamp;

    /// A commit of 40 records that are alike.
    fn commit() -> Vec<u8> {
        let mut builder = CommitBuilder::new(Seq(7), [3; 32]);
        for n in 0..40u64 {
            let record = [b"one record and another ".repeat(4), n.to_be_bytes().to_vec()].concat();
            let framed = [(record.len() as u32).to_be_bytes().as_slice(), &record].concat();
            builder.push_framed(&framed, 1, Timestamp(n));
        }
        builder.finish().bytes().to_vec()
    }

    fn records(commit: &Commit<'_>) -> Vec<Vec<u8>> {
        commit.records().map(|record| record.unwrap().1.to_vec()).collect()
    }

    #[test]
    fn a_packed_commit_is_smaller_and_reads_as_it_was() {
        let commit = commit();
        let packed = pack(&commit);
        assert!(packed.len() < commit.len() / 4);
        assert_eq!(stored_len(&packed), Some(packed.len()));
        assert_eq!(stored_len(&commit), Some(commit.len()));
        assert_eq!(Commit::announced_last(&packed), Some(Seq(46)));
        let mut room = vec![9; 20];
        let read = parse(Seq(7), &packed, &mut room).unwrap();
        let plain = Commit::parse(Seq(7), &commit).unwrap();
        assert_eq!((read.last(), read.time, read.previous_root), (plain.last(), plain.time, [3; 32]));
        assert_eq!(records(&read), records(&plain));
        // The room may be larger than the next commit.
        let mut room = vec![9; 1 << 20];
        assert_eq!(records(&parse(Seq(7), &packed, &mut room).unwrap()), records(&plain));
        assert_eq!(records(&parse(Seq(7), &commit, &mut Vec::new()).unwrap()), records(&plain));
    }

    #[test]
    fn the_form_is_this_one() {
        let commit = commit();
        let packed = pack(&commit).into_owned();
        assert_eq!(packed[..4], *b"TNZ\x01");
        assert_eq!(packed[4..64], commit[4..64]);
        assert_eq!(packed[64..68], ((packed.len() - 68) as u32).to_be_bytes());
        assert_eq!(lz4_flex::block::decompress(&packed[68..], commit.len() - 64).unwrap(), commit[64..]);
    }

    #[test]
    fn what_wins_nothing_is_stored_as_it_is() {
        let short = [7; WORTH_BYTES - 1];
        assert_eq!(*pack(&short), short);
        let mut number = 1u64;
        let random: Vec<u8> = std::iter::repeat_with(|| {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (number >> 56) as u8
        })
        .take(4096)
        .collect();
        assert_eq!(*pack(&random), random);
    }

    #[test]
    fn every_changed_byte_is_found_and_a_false_length_takes_no_memory() {
        let packed = pack(&commit()).into_owned();
        for at in 0..packed.len() {
            let mut changed = packed.clone();
            changed[at] ^= 0x40;
            let mut room = Vec::new();
            // The length of the block is the store's business.
            let is_length = (HEADER_BYTES..HEAD_BYTES).contains(&at);
            assert_eq!(parse(Seq(7), &changed, &mut room).is_ok(), is_length, "byte {at}");
            assert!(room.len() <= MAX_COMMIT_BYTES, "byte {at}");
        }
        assert!(parse(Seq(7), &packed[..packed.len() - 1], &mut Vec::new()).is_err());
    }
}
