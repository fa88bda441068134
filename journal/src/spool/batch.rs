//! Records packed one after another, before positions are given to them: what travels
//! from whoever reads a process to whoever writes its spool, and then becomes a frame.

use uuid::Uuid;

use super::{Entry, LINE_LIMIT, Record, Shape, Stream};
use crate::time::Timestamp;

/// From this size on a batch should be written: large enough that the system call is paid
/// over a thousand lines.
pub(super) const BATCH_BYTES: usize = 128 * 1024;

/// From this size on the records of a batch go on in another frame: large enough to compress
/// well (half as much again is lost at a quarter of it, a tenth won at the eightfold), small
/// enough that a reader unpacks little for one line.
pub(super) const FRAME_BYTES: usize = 16 * 1024;

/// No batch may be larger. Between noticing that a batch is full and writing it, two
/// streams may each add a 64 KiB chunk of lines, which grows fourfold when all are empty.
pub(super) const BATCH_LIMIT: usize = 1 << 20;

const STDERR: u8 = 1;
const SHAPE_SHIFT: u8 = 1;
const SHAPE_MASK: u8 = 0b11;
const NEW_RUN: u8 = 0b1000;

/// A run of records in the layout of the bodies of frames.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// What becomes a frame each, in its order.
    parts: Vec<Bounds>,
    count: u32,
    run: Option<Uuid>,
    output: u64,
}

#[derive(Clone, Copy, Debug)]
struct Bounds {
    start: usize,
    count: u32,
    first_at: Timestamp,
    last_at: Timestamp,
}

/// The records of one frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    pub(super) packed: &'a [u8],
    pub(super) count: u32,
    pub(super) first_at: Timestamp,
    pub(super) last_at: Timestamp,
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
        let start = self.bytes.len();
        let mut part = match self.parts.pop() {
            Some(part) if start - part.start < FRAME_BYTES => part,
            full => {
                self.parts.extend(full);
                self.run = None;
                Bounds { start, count: 0, first_at: entry.at, last_at: entry.at }
            }
        };
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
        let later = entry.at.0.wrapping_sub(part.last_at.0).cast_signed();
        put_varint(&mut self.bytes, ((later << 1) ^ (later >> 63)).cast_unsigned());
        if let Some(number) = number {
            put_varint(&mut self.bytes, number);
        }
        put_varint(&mut self.bytes, kept.len() as u64);
        self.bytes.extend_from_slice(kept);
        part.last_at = entry.at;
        part.count += 1;
        self.parts.push(part);
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
        let (mut bytes, mut parts) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.parts));
        bytes.clear();
        parts.clear();
        *self = Batch { bytes, parts, ..Batch::default() };
    }

    /// What becomes a frame each.
    pub(super) fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let ends = self.parts.iter().skip(1).map(|next| next.start).chain([self.bytes.len()]);
        self.parts.iter().zip(ends).map(|(part, end)| Part {
            packed: self.bytes.get(part.start..end).unwrap_or_default(),
            count: part.count,
            first_at: part.first_at,
            last_at: part.last_at,
        })
    }

    /// The times of its first and its last record.
    pub(super) fn times(&self) -> (Timestamp, Timestamp) {
        let first = self.parts.first().map_or(Timestamp(0), |part| part.first_at);
        (first, self.parts.last().map_or(first, |part| part.last_at))
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
        match wanted {
            // What comes behind the last one need not be looked at: the checksum held.
            Some(wanted) if wanted.last().is_none_or(|last| *last < position) => return Some(records),
            Some(wanted) if wanted.binary_search(&position).is_err() => continue,
            _ => {}
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
        let parts: Vec<Part<'_>> = batch.parts().collect();
        assert_eq!(parts.len(), 1);
        assert_eq!(unpack(parts[0].packed, 100, first_at, batch.count(), None), Some(expected.clone()));
        let some = unpack(parts[0].packed, 100, first_at, batch.count(), Some(&[103, 120]));
        assert_eq!(some, Some(vec![expected[3].clone(), expected[20].clone()]));
    }

    #[test]
    fn each_part_stands_alone_and_none_is_much_larger_than_a_frame() {
        let run = Uuid::from_u128(5);
        let mut batch = Batch::default();
        let line = |n: u64| vec![b'a' + (n % 7) as u8; 300];
        for n in 0..300 {
            let (stream, at, bytes) = (Stream::Stdout, Timestamp(1_000 + n), line(n));
            batch.push(&Entry { run, stream, at, bytes: &bytes, shape: Shape::Line });
        }
        let (mut next, mut parts) = (0, 0);
        for part in batch.parts() {
            assert!(part.packed.len() <= FRAME_BYTES + LINE_LIMIT + 64);
            let records = unpack(part.packed, next, part.first_at, part.count, None).unwrap();
            assert_eq!(part.last_at, records.last().unwrap().at);
            for record in records {
                assert_eq!((record.position, record.run, record.at), (next, run, Timestamp(1_000 + next)));
                assert_eq!(record.bytes, line(next));
                next += 1;
            }
            parts += 1;
        }
        assert_eq!((next, parts), (300, 90_000_u64.div_ceil(FRAME_BYTES as u64)));
        batch.clear();
        assert_eq!((batch.parts().count(), batch.is_empty()), (0, true));
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
        let packed = batch.parts().next().unwrap().packed;
        for len in 0..packed.len() {
            assert_eq!(unpack(&packed[..len], 1, Timestamp(9), 1, None), None, "{len} bytes");
        }
    }
}
