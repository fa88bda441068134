//! Reads a spool, forwards from any position while it grows, or its newest records.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::places::Places;
use super::segment::{HEAD, Opened, Seal, Segment, Spot, list, path_of};
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
    places: Option<Arc<Places>>,
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
            places: None,
            next: 1,
            place: None,
            ready: VecDeque::new(),
            damaged: 0,
        }
    }

    /// The same reader, which uses and adds to what others found out about where lines lie.
    #[must_use]
    pub fn sharing(self, places: &Arc<Places>) -> Reader {
        Reader { places: Some(Arc::clone(places)), ..self }
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
        let mut back = self.backwards(before)?;
        let mut newest_first = Vec::new();
        while newest_first.len() < max {
            let Some(records) = back.next_frame()? else { break };
            newest_first.extend(records.into_iter().rev().take(max - newest_first.len()));
        }
        newest_first.reverse();
        Ok(newest_first)
    }

    /// Reads backwards from the position `before` (or from the newest record).
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn backwards(&self, before: Option<u64>) -> Result<Backwards, SpoolError> {
        let before = before.unwrap_or(u64::MAX);
        let mut segments = list(&self.dir)?;
        segments.retain(|first| *first < before);
        let (dir, seal, places) = (self.dir.clone(), self.seal.clone(), self.places.clone());
        Ok(Backwards { dir, seal, places, segments, place: None, before })
    }

    /// The position of the oldest record that is kept and the one after the newest; both the
    /// same when there is none.
    ///
    /// # Errors
    /// When a file cannot be read or is foreign.
    pub fn range(&self) -> Result<(u64, u64), SpoolError> {
        let firsts = list(&self.dir)?;
        let (Some(oldest), Some(newest)) = (firsts.first(), firsts.last()) else { return Ok((1, 1)) };
        let segment = self.open_segment(*newest)?;
        let spots = segment.map(|segment| spots(self.places.as_deref(), &self.seal, *newest, &segment));
        let end = spots.transpose()?.and_then(|spots| spots.last().map(Spot::end));
        Ok((*oldest, end.unwrap_or(*newest)))
    }

    /// The position of the oldest record that is kept, or of the next one when none is;
    /// `None` before the first.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn oldest(&self) -> Result<Option<u64>, SpoolError> {
        Ok(list(&self.dir)?.first().copied())
    }

    /// The records at these positions, as far as they are kept; in ascending order.
    ///
    /// # Errors
    /// When a file cannot be read, is foreign, or is under another key.
    pub fn at(&self, positions: &[u64]) -> Result<Vec<Record>, SpoolError> {
        let mut wanted = positions.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        let firsts = list(&self.dir)?;
        let mut found = Vec::with_capacity(wanted.len());
        let mut rest = wanted.as_slice();
        for (index, first) in firsts.iter().enumerate() {
            let end = firsts.get(index + 1).copied().unwrap_or(u64::MAX);
            let (here, later) = rest.split_at(rest.partition_point(|position| *position < end));
            rest = later;
            if here.last().is_some_and(|last| last >= first)
                && let Some(segment) = self.open_segment(*first)?
            {
                let before = found.len();
                if !self.gather(*first, &segment, here, &mut found)?
                    && let Some(places) = &self.places
                {
                    found.truncate(before);
                    places.forget(self.seal.owner, *first);
                    self.gather(*first, &segment, here, &mut found)?;
                }
            }
        }
        Ok(found)
    }

    /// Adds the records of one segment that are at these positions. False when a frame does
    /// not lie, or not soundly, where it should.
    fn gather(
        &self,
        first: u64,
        segment: &Segment,
        wanted: &[u64],
        found: &mut Vec<Record>,
    ) -> Result<bool, SpoolError> {
        let (mut rest, mut sound) = (wanted, true);
        let spots = spots(self.places.as_deref(), &self.seal, first, segment)?;
        while let Some(next) = rest.first() {
            // The one frame that may hold it.
            let Some(spot) = spots.get(spots.partition_point(|spot| spot.end() <= *next)) else { break };
            rest = rest.get(rest.partition_point(|position| *position < spot.first)..).unwrap_or_default();
            let (here, later) = rest.split_at(rest.partition_point(|position| *position < spot.end()));
            rest = later;
            if here.is_empty() {
                continue;
            }
            let Some(frame) = segment.frame_at(spot)? else {
                sound = false;
                continue;
            };
            match self.seal.open_some(&frame, segment, Some(here)) {
                Opened::Records(records) => found.extend(records),
                Opened::WrongKey => return Err(SpoolError::Key { path: segment.path.clone() }),
                Opened::Damaged => {}
            }
        }
        Ok(sound)
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
        // What lies before the position is passed over by its head alone.
        if let Some((spot, len)) = place.segment.peek(place.offset)?
            && spot.end() <= self.next
            && place.segment.goes_past(place.offset + len - 1)
        {
            place.offset += len;
            return Ok(true);
        }
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
        match self.seal.open(&frame, &place.segment) {
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

    fn open_segment(&self, first: u64) -> Result<Option<Segment>, SpoolError> {
        open_segment(&self.dir, self.seal.owner, first)
    }
}

/// Where the frames of a segment lie.
fn spots(
    places: Option<&Places>,
    seal: &Seal,
    first: u64,
    segment: &Segment,
) -> Result<Arc<Vec<Spot>>, SpoolError> {
    match places {
        Some(places) => places.of(seal.owner, first, segment),
        None => segment.spots().map(Arc::new),
    }
}

/// `None` when the segment's head is not written yet or retention was faster.
fn open_segment(dir: &Path, owner: Uuid, first: u64) -> Result<Option<Segment>, SpoolError> {
    match Segment::open(&path_of(dir, first), owner) {
        Err(SpoolError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        other => other,
    }
}

/// Reads a spool from its newest records to its oldest.
pub struct Backwards {
    dir: PathBuf,
    seal: Seal,
    places: Option<Arc<Places>>,
    /// Segments not entered yet, ascending.
    segments: Vec<u64>,
    /// The segment that is being read, its frames, and how many of them are not read yet.
    place: Option<(Segment, Arc<Vec<Spot>>, usize)>,
    before: u64,
}

impl Backwards {
    /// The records of the next older frame, ascending; `None` when there are no more.
    ///
    /// # Errors
    /// When a file cannot be read, is foreign, or is under another key.
    pub fn next_frame(&mut self) -> Result<Option<Vec<Record>>, SpoolError> {
        loop {
            let Some((segment, spots, left)) = &mut self.place else {
                let Some(first) = self.segments.pop() else { return Ok(None) };
                if let Some(segment) = open_segment(&self.dir, self.seal.owner, first)? {
                    let spots = spots(self.places.as_deref(), &self.seal, first, &segment)?;
                    let left = spots.partition_point(|spot| spot.first < self.before);
                    self.place = Some((segment, spots, left));
                }
                continue;
            };
            let Some(spot) = left.checked_sub(1).and_then(|last| spots.get(last)) else {
                self.place = None;
                continue;
            };
            *left -= 1;
            let Some(frame) = segment.frame_at(spot)? else { continue };
            match self.seal.open(&frame, segment) {
                Opened::Records(mut records) => {
                    records.retain(|record| record.position < self.before);
                    if !records.is_empty() {
                        return Ok(Some(records));
                    }
                }
                Opened::WrongKey => return Err(SpoolError::Key { path: segment.path.clone() }),
                Opened::Damaged => {}
            }
        }
    }
}
