//! Reads a spool, forwards from any position while it grows, or its newest records.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::segment::{HEAD, Opened, Seal, Segment, list, path_of};
use super::{Key, Record, SpoolError};

struct Place {
    segment: Segment,
    first: u64,
    offset: u64,
}

/// A reading end of a spool.
pub struct Reader {
    dir: PathBuf,
    seal: Seal,
    /// The next position to give.
    next: u64,
    place: Option<Place>,
    /// Unpacked from the present frame and not given yet.
    ready: VecDeque<Record>,
    damaged: u64,
}

impl Reader {
    /// A reader that stands before the first record; the spool need not exist yet.
    #[must_use]
    pub fn open(dir: &Path, owner: Uuid, key: Option<&Key>) -> Reader {
        Reader {
            dir: dir.to_path_buf(),
            seal: Seal::new(owner, key),
            next: 1,
            place: None,
            ready: VecDeque::new(),
            damaged: 0,
        }
    }

    /// Makes `position` the next to be read. What retention has deleted is skipped.
    pub fn seek(&mut self, position: u64) {
        self.next = position;
        self.place = None;
        self.ready.clear();
    }

    /// The position that [`Reader::read`] looks for next.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.next
    }

    /// How many segments had an unreadable frame in them, from which on they were skipped.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// The next records, at most `max`; none when all were read that are written so far.
    ///
    /// # Errors
    /// When a file cannot be read, is foreign, or is under another key.
    pub fn read(&mut self, max: usize) -> Result<Vec<Record>, SpoolError> {
        let mut records = Vec::new();
        while records.len() < max {
            match self.ready.pop_front() {
                Some(record) => {
                    self.next = record.position + 1;
                    records.push(record);
                }
                None if self.advance()? => {}
                None => break,
            }
        }
        Ok(records)
    }

    /// The newest records before the position `before` (or of all), at most `max`, oldest first.
    ///
    /// # Errors
    /// When a file cannot be read, is foreign, or is under another key.
    pub fn last(&self, max: usize, before: Option<u64>) -> Result<Vec<Record>, SpoolError> {
        let before = before.unwrap_or(u64::MAX);
        let mut newest_first = Vec::new();
        for first in list(&self.dir)?.into_iter().rev().filter(|first| *first < before) {
            let Some(segment) = self.open_segment(first)? else { continue };
            let (offsets, _, _) = segment.index()?;
            for offset in offsets.into_iter().rev() {
                let Some(frame) = segment.frame(offset)? else { continue };
                if frame.first >= before {
                    continue;
                }
                match self.seal.open(&frame, segment.encrypted) {
                    Opened::Records(records) => {
                        let wanted = records.into_iter().rev().filter(|record| record.position < before);
                        newest_first.extend(wanted.take(max - newest_first.len()));
                    }
                    Opened::WrongKey => return Err(SpoolError::Key { path: segment.path }),
                    Opened::Damaged => {}
                }
                if newest_first.len() >= max {
                    newest_first.reverse();
                    return Ok(newest_first);
                }
            }
        }
        newest_first.reverse();
        Ok(newest_first)
    }

    /// Unpacks the next frame; false when there is none yet.
    fn advance(&mut self) -> Result<bool, SpoolError> {
        let Some(place) = &mut self.place else {
            // The last segment that begins at or before the position, else the first of all.
            let firsts = list(&self.dir)?;
            let at = firsts.partition_point(|first| *first <= self.next).saturating_sub(1);
            return match firsts.get(at) {
                Some(first) => self.enter(*first),
                None => Ok(false),
            };
        };
        let present = place.first;
        let frame = place.segment.frame(place.offset)?;
        let Some(frame) = frame else {
            // Looked for again once a later segment is known to exist: what is missing
            // then is missing for good.
            let later = list(&self.dir)?.into_iter().find(|first| *first > present);
            let Some(later) = later else { return Ok(false) };
            if place.segment.frame(place.offset)?.is_some() {
                return Ok(true);
            }
            if place.segment.goes_past(place.offset) {
                self.damaged += 1;
            }
            return self.enter(later);
        };
        place.offset += frame.len;
        if frame.end() <= self.next {
            return Ok(true);
        }
        match self.seal.open(&frame, place.segment.encrypted) {
            Opened::Records(records) => {
                let next = self.next;
                self.ready.extend(records.into_iter().filter(|record| record.position >= next));
            }
            Opened::WrongKey => return Err(SpoolError::Key { path: place.segment.path.clone() }),
            Opened::Damaged => self.damaged += 1,
        }
        Ok(true)
    }

    fn enter(&mut self, first: u64) -> Result<bool, SpoolError> {
        let Some(segment) = self.open_segment(first)? else { return Ok(false) };
        self.place = Some(Place { segment, first, offset: HEAD as u64 });
        Ok(true)
    }

    /// `None` when the segment's head is not written yet or retention was faster.
    fn open_segment(&self, first: u64) -> Result<Option<Segment>, SpoolError> {
        match Segment::open(&path_of(&self.dir, first), self.seal.owner) {
            Err(SpoolError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            other => other,
        }
    }
}
