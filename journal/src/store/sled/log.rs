//! Whether sled's log is whole, asked before sled may write to it.
//!
//! sled repairs while it opens: it takes the first damaged message at its log's end for the
//! end, leaves out what follows a damaged one elsewhere, and writes over both. So whoever
//! would refuse such a log has to know before. This reads what sled will read, from its last
//! snapshot on, and writes nothing.
//!
//! The layout is that of sled 0.34.7 (`pagecache/{logger,iobuf,iterator}.rs`), numbers
//! little-endian. The file `db` is cut into segments. **Segment:** CRC-32 of the next 16 bytes,
//! inverted · its log sequence number, the lower 63 bits inverted · how far the log was stable
//! before it, likewise; then messages until a `Cap` or until there is no room for a head.
//! **Message:** CRC-32 of the body and the rest of the head, inverted · kind · length of the
//! body · number of the segment · page, the three as varints; then the body. Kind 0 is no
//! message: unwritten bytes are zeros.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::SEGMENT_BYTES;

const SEGMENT: u64 = SEGMENT_BYTES as u64;
const SEGMENT_HEAD: usize = 20;
/// sled begins no message nearer to a segment's end.
const ROOM: usize = 32;
/// CRC-32 and kind.
const FIXED_HEAD: usize = 5;
/// The kind of the message that ends a full segment.
const CAP: u8 = 2;
/// The last kind that there is.
const LAST_KIND: u8 = 11;

/// What a log was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Log {
    /// Every message is what was written.
    Whole,
    /// Its end is not whole, and nothing follows: as a power cut leaves it, and as damage of the
    /// last message does.
    TornEnd,
    /// Whole messages lie behind what is none.
    Damaged,
}

/// Reads the log of the volume in a directory.
///
/// # Errors
/// When it cannot be read.
pub(super) fn check(volume: &Path) -> io::Result<Log> {
    let file = match File::open(volume.join("db")) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Log::Whole),
        Err(error) => return Err(error),
    };
    let Some(segments) = segments(&file, last_snapshot(volume)?)? else { return Ok(Log::Damaged) };
    let Some((&newest, _)) = segments.last_key_value() else { return Ok(Log::Whole) };
    let mut bytes = vec![0; SEGMENT_BYTES];
    for (lsn, offset) in segments {
        let len = read_some(&file, &mut bytes, offset)?;
        let bytes = bytes.get(..len).unwrap_or_default();
        let number = lsn / SEGMENT;
        let Some(end) = end_of_messages(bytes, number) else { continue };
        if lsn < newest || goes_on(bytes, end, number) {
            return Ok(Log::Damaged);
        }
        let rest = bytes.get(end..).unwrap_or_default();
        if rest.iter().take(ROOM).any(|byte| *byte != 0) {
            return Ok(Log::TornEnd);
        }
    }
    Ok(Log::Whole)
}

/// How far sled's newest snapshot goes, by its name; what lies before it sled does not read.
/// From the beginning when the names are not as expected.
fn last_snapshot(volume: &Path) -> io::Result<u64> {
    let mut snapshots = Vec::new();
    for entry in fs::read_dir(volume)? {
        let name = entry?.file_name();
        let lsn = name.to_str().and_then(|name| name.strip_prefix("snap."));
        snapshots.extend(lsn.map(|lsn| u64::from_str_radix(lsn, 16)));
    }
    match snapshots.as_slice() {
        [Ok(lsn)] => Ok(lsn / SEGMENT * SEGMENT),
        _ => Ok(0),
    }
}

/// The segments from a position on, each with its place in the file; `None` when one is missing
/// or has a damaged head.
fn segments(file: &File, from: u64) -> io::Result<Option<BTreeMap<u64, u64>>> {
    let mut segments = BTreeMap::new();
    let mut stable = from;
    for offset in (0..file.metadata()?.len()).step_by(SEGMENT_BYTES) {
        let mut head = [0; SEGMENT_HEAD];
        if read_some(file, &mut head, offset)? < SEGMENT_HEAD {
            continue;
        }
        match segment_head(&head) {
            Some((lsn, before)) if lsn >= from => {
                stable = stable.max(before);
                segments.insert(lsn, offset);
            }
            // Old, freed, or never written.
            Some(_) => {}
            None if head == [0; SEGMENT_HEAD] => {}
            None => return Ok(None),
        }
    }
    // From where the log is known to be stable on, sled asks for one after the other.
    let mut next = stable / SEGMENT * SEGMENT;
    let has_tail = segments.range(next..).next().is_some();
    for lsn in segments.range(next..).map(|(lsn, _)| *lsn) {
        if lsn != next {
            return Ok(None);
        }
        next += SEGMENT;
    }
    Ok((has_tail || stable == from).then_some(segments))
}

fn segment_head(head: &[u8; SEGMENT_HEAD]) -> Option<(u64, u64)> {
    let (crc, rest) = head.split_first_chunk::<4>()?;
    let (lsn, stable) = rest.split_first_chunk::<8>()?;
    let is_whole = crc32fast::hash(rest) == !u32::from_le_bytes(*crc);
    // A new log is stable up to -1.
    let number = |bytes: [u8; 8]| u64::try_from(i64::from_le_bytes(bytes) ^ i64::MAX).unwrap_or(0);
    is_whole.then_some((number(*lsn), number(stable.try_into().ok()?)))
}

/// Where the first byte lies that is no message; `None` when the segment is full.
fn end_of_messages(bytes: &[u8], number: u64) -> Option<usize> {
    let mut at = SEGMENT_HEAD;
    while at + ROOM <= SEGMENT_BYTES {
        let (kind, len) = match bytes.get(at..).and_then(|rest| message(rest, number)) {
            Some(found) => found,
            None => return Some(at),
        };
        if kind == CAP {
            return None;
        }
        at += len;
    }
    None
}

/// Whether a message of this segment begins behind a place. Most of what lies there was never
/// written, and zeros are passed over by the page.
fn goes_on(bytes: &[u8], end: usize, number: u64) -> bool {
    const PAGE: usize = 4096;
    let is_message = |at| bytes.get(at..).is_some_and(|rest| message(rest, number).is_some());
    let pages = (end + 1..bytes.len()).step_by(PAGE);
    pages.map(|page| page..bytes.len().min(page + PAGE)).any(|page| {
        let is_zeros = bytes.get(page.clone()).is_some_and(|page| [0; PAGE].starts_with(page));
        !is_zeros && page.into_iter().any(is_message)
    })
}

/// Kind and whole length of the message at the front, if it is one of this segment and as it
/// was written.
fn message(bytes: &[u8], number: u64) -> Option<(u8, usize)> {
    let kind = *bytes.get(FIXED_HEAD - 1)?;
    if kind == 0 || kind > LAST_KIND {
        return None;
    }
    let (crc, head) = bytes.split_first_chunk::<4>()?;
    let mut rest = head.get(1..)?;
    let len = usize::try_from(take_varint(&mut rest)?).ok()?;
    if take_varint(&mut rest)? != number {
        return None;
    }
    let _page = take_varint(&mut rest)?;
    let body = rest.get(..len)?;
    let mut found = crc32fast::Hasher::new();
    found.update(body);
    found.update(head.get(..head.len() - rest.len())?);
    let is_whole = found.finalize() == !u32::from_le_bytes(*crc);
    is_whole.then(|| (kind, bytes.len() - rest.len() + len))
}

/// sled's own form of variable length (`serialization.rs`, after SQLite 4).
fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let (&first, rest) = bytes.split_first()?;
    let (number, used) = match first {
        0..=240 => (u64::from(first), 0),
        241..=248 => (240 + 256 * (u64::from(first) - 241) + u64::from(*rest.first()?), 1),
        249 => (2288 + 256 * u64::from(*rest.first()?) + u64::from(*rest.get(1)?), 2),
        _ => {
            let used = usize::from(first) - 247;
            let number = rest.get(..used)?.iter().rev().fold(0, |n, byte| (n << 8) | u64::from(*byte));
            (number, used)
        }
    };
    *bytes = rest.get(used..)?;
    Some(number)
}

fn read_some(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(len) => filled += len,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path) -> sled::Db {
        let config = sled::Config::new().path(dir).segment_size(SEGMENT_BYTES).flush_every_ms(None);
        loop {
            match config.open() {
                Ok(db) => return db,
                // sled's threads hold the file of a closed store a moment longer.
                Err(error) if error.to_string().contains("lock") => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn value(n: u64) -> Vec<u8> {
        (0..40_000u64).map(|i| (i * n).to_le_bytes()[1]).collect()
    }

    /// A store of some segments, closed and opened again in between.
    fn written(dir: &Path) -> u64 {
        let mut next = 0;
        for round in 0..4 {
            let db = open(dir);
            for _ in 0..60 {
                db.insert(u64::to_be_bytes(next), value(next)).unwrap();
                if next % 5 == 0 {
                    db.flush().unwrap();
                    // As a kill would leave it.
                    assert_eq!(check(dir).unwrap(), Log::Whole, "round {round}, {next} values");
                }
                next += 1;
            }
            drop(db);
            assert_eq!(check(dir).unwrap(), Log::Whole, "round {round}, closed");
        }
        next
    }

    #[test]
    fn a_log_that_was_synced_is_whole_at_any_time() {
        let dir = tempfile::tempdir().unwrap();
        let values = written(dir.path());
        assert!(std::fs::metadata(dir.path().join("db")).unwrap().len() > 4 * SEGMENT);
        assert_eq!(open(dir.path()).len() as u64, values);
        assert_eq!(check(&dir.path().join("nowhere")).unwrap(), Log::Whole);
    }

    #[test]
    fn a_changed_byte_of_what_sled_will_read_is_found() {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path());
        let from = last_snapshot(dir.path()).unwrap();
        let file = File::options().read(true).write(true).open(dir.path().join("db")).unwrap();
        let segments = segments(&file, from).unwrap().unwrap();
        assert!(segments.len() > 1, "the last round wrote only {} segments", segments.len());
        let (newest, _) = segments.last_key_value().unwrap();
        let mut found = [0, 0];
        for (lsn, offset) in &segments {
            let mut bytes = vec![0; SEGMENT_BYTES];
            read_some(&file, &mut bytes, *offset).unwrap();
            let end = end_of_messages(&bytes, lsn / SEGMENT).unwrap_or(SEGMENT_BYTES - ROOM);
            for at in (0..16).map(|part| end * part / 16).chain([3, 11, 19, 20, 24, 25]) {
                file.write_all_at(&[bytes[at] ^ 0x10], offset + at as u64).unwrap();
                let log = check(dir.path()).unwrap();
                file.write_all_at(&bytes[at..=at], offset + at as u64).unwrap();
                assert_ne!(log, Log::Whole, "byte {at} of {end} in segment {lsn}, {newest} is the newest");
                found[usize::from(log == Log::Damaged)] += 1;
            }
        }
        assert!(found[1] > found[0], "{found:?}");
        assert_eq!(check(dir.path()).unwrap(), Log::Whole, "nothing was left changed");
        // A torn last message, and nothing behind it.
        let (lsn, offset) = segments.last_key_value().unwrap();
        let mut bytes = vec![0; SEGMENT_BYTES];
        read_some(&file, &mut bytes, *offset).unwrap();
        let end = end_of_messages(&bytes, lsn / SEGMENT).unwrap();
        file.write_all_at(&[1; 7], offset + end as u64).unwrap();
        assert_eq!(check(dir.path()).unwrap(), Log::TornEnd);
    }
}
