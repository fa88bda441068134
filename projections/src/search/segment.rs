//! A segment of the index, opened for searching: its lists of words and its columns. They are
//! opened once, not for each line that is found.

use std::ops::Range;
use std::sync::Arc;

use tantivy::columnar::ColumnValues;
use tantivy::directory::{CompositeFile, FileSlice};
use tantivy::index::{SegmentComponent, SegmentId};
use tantivy::{InvertedIndexReader, Result, SegmentReader};

use super::docs::Docs;
use super::index::{Fields, POSITION_BITS, order};

/// One segment. Its documents are sorted newest first.
pub(super) struct Segment {
    id: (SegmentId, Option<u64>),
    pub(super) reader: SegmentReader,
    pub(super) max: u32,
    pub(super) text: Arc<InvertedIndexReader>,
    pub(super) instance: Arc<InvertedIndexReader>,
    pub(super) level: Arc<InvertedIndexReader>,
    /// Where the words stand in their lines.
    pub(super) positions: FileSlice,
    pub(super) orders: Arc<dyn ColumnValues<u64>>,
    pub(super) instances: Arc<dyn ColumnValues<u64>>,
    pub(super) places: Arc<dyn ColumnValues<u64>>,
}

impl Segment {
    /// Opens a segment, or takes it over when it was open already with the same documents.
    pub(super) fn open(
        reader: &SegmentReader,
        fields: &Fields,
        known: &[Arc<Segment>],
    ) -> Result<Arc<Segment>> {
        let id = (reader.segment_id(), reader.delete_opstamp());
        if let Some(known) = known.iter().find(|known| known.id == id) {
            return Ok(Arc::clone(known));
        }
        let column = |name| -> Result<Arc<dyn ColumnValues<u64>>> {
            Ok(reader.fast_fields().u64(name)?.first_or_default_col(0))
        };
        let positions = CompositeFile::open(&reader.open_read(SegmentComponent::Positions)?)?;
        Ok(Arc::new(Segment {
            id,
            reader: reader.clone(),
            max: reader.max_doc(),
            text: reader.inverted_index(fields.text)?,
            instance: reader.inverted_index(fields.instance)?,
            level: reader.inverted_index(fields.level)?,
            positions: positions.open_read(fields.text).unwrap_or_else(FileSlice::empty),
            orders: column("order")?,
            instances: column("instance")?,
            places: column("position")?,
        }))
    }

    /// Which documents were printed between two moments, both included.
    pub(super) fn between(&self, since: Option<u64>, until: Option<u64>) -> Range<u32> {
        let last = (1 << POSITION_BITS) - 1;
        let newer = |least: u64| self.count_while(|order| order >= least);
        let end = since.map_or(self.max, |ms| newer(order(ms, 0)));
        let start = until.map_or(0, |ms| self.count_while(|found| found > order(ms, last)));
        start..end.max(start)
    }

    /// How many of its first documents something holds for, when it holds for no later one.
    fn count_while(&self, holds: impl Fn(u64) -> bool) -> u32 {
        let (mut low, mut high) = (0, self.max);
        while low < high {
            let middle = low + (high - low) / 2;
            if holds(self.orders.get_val(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Whether nothing of it is deleted.
    pub(super) fn is_whole(&self) -> bool {
        !self.reader.has_deletes()
    }

    /// Those that are not deleted.
    pub(super) fn alive(&self, docs: Docs) -> Docs {
        match self.reader.alive_bitset() {
            None => docs,
            Some(alive) => docs.retain(|doc| alive.is_alive(doc)),
        }
    }
}
