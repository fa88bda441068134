//! Records packed one after another, before positions are given to them: what travels
//! from whoever reads a process to whoever writes its spool, and then becomes a frame.

use uuid::Uuid;

use super::{Entry, LINE_LIMIT, Record, Shape, Stream};
use crate::time::Timestamp;

/// From this size on a batch should be written: large enough that compression and the
/// system call are paid over a thousand lines, small enough that a reader unpacks little
/// for one line.
pub(super) const BATCH_BYTES: usize = 128 * 1024;

/// No batch may be larger. Between noticing that a batch is full and writing it, two
/// streams may each add a 64 KiB chunk of lines, which grows fourfold when all are empty.
pub(super) const BATCH_LIMIT: usize = 1 << 20;

const STDERR: u8 = 1;
const SHAPE_SHIFT: u8 = 1;
const SHAPE_MASK: u8 = 0b11;
const NEW_RUN: u8 = 0b1000;

/// A run of records in the layout of a frame's body.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    count: u32,
    first_at: Timestamp,
    last_at: Timestamp,
    run: Option<Uuid>,
    output: u64,
}

impl Batch {
    /// Adds a record; what is longer than [`LINE_LIMIT`] is cut.
    pub fn push(&mut self, entry: &Entry<'_>) {
        let (kept, shape) = match entry.bytes.get(..LINE_LIMIT) {
            Some(kept) if entry.bytes.len() > LINE_LIMIT => {
                let more = (entry.bytes.len() - LINE_LIMIT) as u64;
                let before = if let Shape::Cut(count) = entry.shape { count } else { 0 };
                (kept, Shape::Cut(before + more))
            }
            _ => (entry.bytes, entry.shape),
        };
        if self.count == 0 {
            self.first_at = entry.at;
            self.last_at = entry.at;
        }
        let (code, number) = match shape {
            Shape::Line => (0, None),
            Shape::Piece => (1, None),
            Shape::Cut(count) => (2, Some(count)),
            Shape::Lost(count) => (3, Some(count)),
        };
        let mut flags = code << SHAPE_SHIFT;
        if entry.stream == Stream::Stderr {
            flags |= STDERR;
        }
        if self.run == Some(entry.run) {
            self.bytes.push(flags);
        } else {
            self.bytes.push(flags | NEW_RUN);
            self.bytes.extend_from_slice(entry.run.as_bytes());
            self.run = Some(entry.run);
        }
        let later = entry.at.0.wrapping_sub(self.last_at.0).cast_signed();
        put_varint(&mut self.bytes, ((later << 1) ^ (later >> 63)).cast_unsigned());
        if let Some(number) = number {
            put_varint(&mut self.bytes, number);
        }
        put_varint(&mut self.bytes, kept.len() as u64);
        self.bytes.extend_from_slice(kept);
        self.last_at = entry.at;
        self.count += 1;
        self.output += kept.len() as u64 + 1;
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether it is large enough to be written. One that grows past 1 MiB is refused.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= BATCH_BYTES
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of output that its records stand for, newlines included: what is lost with it.
    #[must_use]
    pub fn output(&self) -> u64 {
        self.output
    }

    /// How many records it holds.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        *self = Batch { bytes, ..Batch::default() };
    }

    pub(super) fn packed(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn times(&self) -> (Timestamp, Timestamp) {
        (self.first_at, self.last_at)
    }
}

/// Unpacks the records of a frame, or those at the positions in `wanted`, which ascend; `None`
/// when the bytes are not what a writer wrote.
pub(super) fn unpack(
    mut bytes: &[u8],
    first: u64,
    first_at: Timestamp,
    count: u32,
    wanted: Option<&[u64]>,
) -> Option<Vec<Record>> {
    // A record takes at least three bytes, so a false count cannot reserve much.
    let most = (count as usize).min(bytes.len() / 3 + 1);
    let mut records = Vec::with_capacity(wanted.map_or(most, |wanted| wanted.len().min(most)));
    let mut at = first_at.0;
    let mut run = None;
    for position in first..first.checked_add(u64::from(count))? {
        let (&flags, rest) = bytes.split_first()?;
        bytes = rest;
        if flags & NEW_RUN != 0 {
            let (id, rest) = bytes.split_first_chunk::<16>()?;
            bytes = rest;
            run = Some(Uuid::from_bytes(*id));
        }
        let later = take_varint(&mut bytes)?;
        let later = (later >> 1) ^ (later & 1).wrapping_neg();
        at = at.wrapping_add(later);
        let shape = match (flags >> SHAPE_SHIFT) & SHAPE_MASK {
            0 => Shape::Line,
            1 => Shape::Piece,
            2 => Shape::Cut(take_varint(&mut bytes)?),
            _ => Shape::Lost(take_varint(&mut bytes)?),
        };
        let len = usize::try_from(take_varint(&mut bytes)?).ok()?;
        let (kept, rest) = bytes.split_at_checked(len)?;
        bytes = rest;
        if wanted.is_some_and(|wanted| wanted.binary_search(&position).is_err()) {
            continue;
        }
        let stream = if flags & STDERR == 0 { Stream::Stdout } else { Stream::Stderr };
        records.push(Record { position, run: run?, stream, at: Timestamp(at), bytes: kept.to_vec(), shape });
    }
    bytes.is_empty().then_some(records)
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_every_shape_stream_run_and_time() {
        let runs = [Uuid::from_u128(1), Uuid::from_u128(2)];
        let shapes = [Shape::Line, Shape::Piece, Shape::Cut(7), Shape::Lost(1 << 40)];
        let mut batch = Batch::default();
        let mut expected = Vec::new();
        for n in 0..40usize {
            let stream = if n % 2 == 0 { Stream::Stdout } else { Stream::Stderr };
            // Time may step back when the clock is set.
            let at = Timestamp(if n % 5 == 0 { 1_000 } else { 5_000 + n as u64 });
            let bytes = vec![n as u8; n * 11];
            let entry = Entry { run: runs[n / 20], stream, at, bytes: &bytes, shape: shapes[n % 4] };
            batch.push(&entry);
            let (run, shape, position) = (entry.run, entry.shape, 100 + n as u64);
            expected.push(Record { position, run, stream, at, bytes, shape });
        }
        let (first_at, last_at) = batch.times();
        assert_eq!((first_at, last_at), (Timestamp(1_000), Timestamp(5_039)));
        assert_eq!(unpack(batch.packed(), 100, first_at, batch.count(), None), Some(expected));
    }

    #[test]
    fn refuses_records_that_are_cut_short() {
        let mut batch = Batch::default();
        batch.push(&Entry {
            run: Uuid::nil(),
            stream: Stream::Stdout,
            at: Timestamp(9),
            bytes: b"four",
            shape: Shape::Line,
        });
        let packed = batch.packed();
        for len in 0..packed.len() {
            assert_eq!(unpack(&packed[..len], 1, Timestamp(9), 1, None), None, "{len} bytes");
        }
    }
}
