//! Words in a row: the lists of all of them are read side by side, a block at a time, with the
//! places where the words stand in their lines.

use std::ops::Range;

use tantivy::Result;
use tantivy::positions::PositionReader;
use tantivy::postings::{BlockSegmentPostings, TermInfo};
use tantivy::schema::IndexRecordOption;

use super::docs::{Docs, Gather};
use super::segment::Segment;

/// The documents in which these words follow each other. In the index each word is found.
pub(super) fn phrase(segment: &Segment, words: &[TermInfo]) -> Result<Docs> {
    let mut cursors = words.iter().map(|word| Cursor::open(segment, word)).collect::<Result<Vec<_>>>()?;
    // The rarest word leads: the others are looked up for its documents.
    let rarest = words.iter().enumerate().min_by_key(|(_, word)| word.doc_freq);
    let Some((leader, rarest)) = rarest else { return Ok(Docs::none()) };
    let mut leading = segment.text.read_block_postings_from_terminfo(rarest, IndexRecordOption::Basic)?;
    let mut found = Gather::new(segment.max);
    let mut matching = Vec::new();
    while !leading.docs().is_empty() {
        for doc in leading.docs() {
            // Where the others are not, the leader need not be looked at.
            let mut others = cursors.iter_mut().enumerate().filter(|(index, _)| *index != leader);
            if others.all(|(_, cursor)| cursor.is_at(*doc))
                && cursors.get_mut(leader).is_some_and(|cursor| cursor.is_at(*doc))
                && follow(&mut cursors)
            {
                matching.push(*doc);
            }
        }
        found.add(&matching);
        matching.clear();
        leading.advance();
    }
    Ok(found.done())
}

/// Whether the words stand in a row somewhere in the document that all cursors are at.
fn follow(cursors: &mut [Cursor]) -> bool {
    cursors.iter_mut().for_each(Cursor::begin);
    let Some((first, rest)) = cursors.split_first_mut() else { return false };
    while let Some(place) = first.next() {
        if (place + 1..).zip(rest.iter_mut()).all(|(wanted, cursor)| cursor.has(wanted)) {
            return true;
        }
    }
    false
}

/// A word's list at one of its documents.
struct Cursor {
    list: BlockSegmentPostings,
    positions: PositionReader,
    /// How many places come before the block.
    before: u64,
    /// Which document of the block, and how many places of the block come before its own.
    at: usize,
    inside: usize,
    /// The places of the block, when they were needed already.
    places: Vec<u32>,
    is_loaded: bool,
    /// Which of them are the document's and not looked at yet, and the one before them.
    left: Range<usize>,
    place: u32,
}

impl Cursor {
    fn open(segment: &Segment, word: &TermInfo) -> Result<Cursor> {
        let option = IndexRecordOption::WithFreqsAndPositions;
        let positions = segment.positions.slice(word.positions_range.clone()).read_bytes()?;
        Ok(Cursor {
            list: segment.text.read_block_postings_from_terminfo(word, option)?,
            positions: PositionReader::open(positions)?,
            before: 0,
            at: 0,
            inside: 0,
            places: Vec::new(),
            is_loaded: false,
            left: 0..0,
            place: 0,
        })
    }

    /// Goes on to a document; false when the word is not in it.
    fn is_at(&mut self, doc: u32) -> bool {
        while self.list.docs().last().is_some_and(|last| *last < doc) {
            self.before += u64::from(self.list.freqs().iter().sum::<u32>());
            self.list.advance();
            (self.at, self.inside, self.is_loaded) = (0, 0, false);
        }
        let (docs, counts) = (self.list.docs(), self.list.freqs());
        while let (Some(found), Some(count)) = (docs.get(self.at), counts.get(self.at)) {
            if *found >= doc {
                return *found == doc;
            }
            self.inside += *count as usize;
            self.at += 1;
        }
        false
    }

    /// Reads where the word stands in the document.
    fn begin(&mut self) {
        if !self.is_loaded {
            let count = self.list.freqs().iter().sum::<u32>() as usize;
            self.places.resize(count, 0);
            self.positions.read(self.before, &mut self.places);
            self.is_loaded = true;
        }
        let count = self.list.freqs().get(self.at).copied().unwrap_or_default() as usize;
        (self.place, self.left) = (0, self.inside..self.inside + count);
    }

    /// The next place in the document. Each is kept as its distance from the one before.
    fn next(&mut self) -> Option<u32> {
        let step = self.left.next().and_then(|at| self.places.get(at))?;
        self.place = self.place.wrapping_add(*step);
        Some(self.place)
    }

    /// Whether it stands at a place behind the first word. Asked for ascending places.
    fn has(&mut self, wanted: u32) -> bool {
        while self.place < wanted {
            if self.next().is_none() {
                return false;
            }
        }
        self.place == wanted
    }
}
