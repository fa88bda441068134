//! The files of the index: their fields, how they are opened, committed and thrown away.
//!
//! A document is a line: its words, the instance's ordinal, its level, its position in the
//! spool, and `order`, by which the documents of a segment are sorted, newest first: the time
//! in milliseconds and, below it, the low bits of the position.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tantivy::index::SegmentComponent;
use tantivy::indexer::{IndexWriterOptions, LogMergePolicy};
use tantivy::schema::{Field, IndexRecordOption, NumericOptions, Schema, TextFieldIndexing, TextOptions};
use tantivy::store::Compressor;
use tantivy::tokenizer::TextAnalyzer;
use tantivy::{
    Index, IndexReader, IndexSettings, IndexSortByField, IndexWriter, Order, ReloadPolicy, TantivyDocument,
    TantivyError,
};
use tenantry_journal::id::InstanceId;
use tenantry_journal::spool::{Record, Shape};

use super::squeezed::Squeezed;
use super::tokens::Words;
use crate::output::level::Level;

/// Raised when fields or words change: an index of another version is built again.
const VERSION: u32 = 3;
/// Memory of the writer: what a segment may gather before it is written.
const HEAP: usize = 32 << 20;
/// A segment of which more is deleted is written anew, so that deleted words leave the disk.
const MOST_DELETED: f32 = 0.1;
/// Low bits of `order` that hold the position: lines of one millisecond stay in their order.
pub(super) const POSITION_BITS: u32 = 20;

#[derive(Clone, Copy)]
pub(super) struct Fields {
    pub(super) text: Field,
    pub(super) instance: Field,
    pub(super) level: Field,
    pub(super) order: Field,
    pub(super) position: Field,
}

/// How far a spool is in the index.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) ordinal: u64,
    /// The next position to be read.
    pub(super) next: u64,
    /// What lies before is deleted.
    pub(super) first: u64,
}

/// What a commit carries.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Progress {
    version: u32,
    ordinals: u64,
    pub(super) instances: BTreeMap<InstanceId, Known>,
}

impl Progress {
    /// How far a spool is; a new one gets its ordinal.
    pub(super) fn of(&mut self, instance: InstanceId) -> &mut Known {
        let ordinals = &mut self.ordinals;
        self.instances.entry(instance).or_insert_with(|| {
            *ordinals += 1;
            Known { ordinal: *ordinals, next: 1, first: 1 }
        })
    }
}

pub(super) struct Files {
    pub(super) index: Index,
    pub(super) writer: IndexWriter,
    pub(super) reader: IndexReader,
    pub(super) fields: Fields,
    pub(super) progress: Progress,
}

fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let words = TextFieldIndexing::default()
        .set_tokenizer("words")
        // Lines do not differ so much in length that it should weigh in their order.
        .set_fieldnorms(false)
        .set_index_option(IndexRecordOption::WithFreqsAndPositions);
    let text = schema.add_text_field("text", TextOptions::default().set_indexing_options(words));
    let instance = schema.add_u64_field("instance", NumericOptions::default().set_indexed().set_fast());
    let level = schema.add_u64_field("level", NumericOptions::default().set_indexed());
    let order = schema.add_u64_field("order", NumericOptions::default().set_fast());
    let position = schema.add_u64_field("position", NumericOptions::default().set_fast());
    (schema.build(), Fields { text, instance, level, order, position })
}

impl Files {
    /// Opens what lies there, if it is sound and of this version.
    pub(super) fn open(dir: &Path) -> Result<Files, TantivyError> {
        let directory = Squeezed::open(dir)?;
        let index = Index::open(directory.clone())?;
        let payload = index.load_metas()?.payload.unwrap_or_default();
        let progress: Progress = serde_json::from_str(&payload)
            .ok()
            .filter(|progress: &Progress| progress.version == VERSION)
            .ok_or_else(|| TantivyError::InvalidArgument("it is of another version".into()))?;
        let damaged = damaged(&index, &directory)?;
        if damaged > 0 {
            return Err(TantivyError::InvalidArgument(format!("{damaged} files are damaged")));
        }
        Files::around(index, progress)
    }

    /// Begins an empty one, whatever lay there before.
    pub(super) fn create(dir: &Path) -> Result<Files, TantivyError> {
        match std::fs::remove_dir_all(dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        std::fs::create_dir_all(dir)?;
        let by = IndexSortByField { field: "order".into(), order: Order::Desc };
        let settings = IndexSettings {
            sort_by_field: Some(by),
            // Nothing is stored but that there is nothing, and that is squeezed with the file.
            docstore_compression: Compressor::None,
            docstore_compress_dedicated_thread: false,
            ..IndexSettings::default()
        };
        let index = Index::create(Squeezed::open(dir)?, schema().0, settings)?;
        let mut files = Files::around(index, Progress { version: VERSION, ..Progress::default() })?;
        files.commit()?;
        Ok(files)
    }

    fn around(index: Index, progress: Progress) -> Result<Files, TantivyError> {
        index.tokenizers().register("words", TextAnalyzer::from(Words::default()));
        let (schema, fields) = schema();
        if index.schema() != schema {
            return Err(TantivyError::InvalidArgument("it has other fields".into()));
        }
        let writer = writer(&index)?;
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        Ok(Files { index, writer, reader, fields, progress })
    }

    /// Adds a line.
    pub(super) fn add(&self, ordinal: u64, record: &Record) -> Result<(), TantivyError> {
        if matches!(record.shape, Shape::Lost(_)) {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&record.bytes);
        let mut line = TantivyDocument::default();
        line.add_text(self.fields.text, &text);
        line.add_u64(self.fields.instance, ordinal);
        line.add_u64(self.fields.level, Level::of(&text, record.stream) as u64);
        line.add_u64(self.fields.order, order(record.at.0, record.position));
        line.add_u64(self.fields.position, record.position);
        self.writer.add_document(line).map(drop)
    }

    /// Makes everything so far findable and keeps it.
    pub(super) fn commit(&mut self) -> Result<(), TantivyError> {
        let payload = serde_json::to_string(&self.progress)
            .map_err(|error| TantivyError::InternalError(error.to_string()))?;
        let mut commit = self.writer.prepare_commit()?;
        commit.set_payload(&payload);
        commit.commit()?;
        self.reader.reload()
    }

    /// Writes every segment anew of which something is deleted, and removes the old files.
    pub(super) fn purge(mut self) -> Result<Files, TantivyError> {
        // No merge may be under way: it would bring back a segment with marks instead.
        self.writer.wait_merging_threads()?;
        self.writer = writer(&self.index)?;
        self.writer.set_merge_policy(Box::new(tantivy::merge_policy::NoMergePolicy));
        for segment in self.index.searchable_segment_metas()? {
            if segment.has_deletes() {
                self.writer.merge(&[segment.id()]).wait()?;
            }
        }
        self.reader.reload()?;
        self.writer.garbage_collect_files().wait()?;
        self.writer.set_merge_policy(Box::new(policy()));
        Ok(self)
    }
}

/// How many files are not as they were written. They are read without being unpacked, so that
/// it takes no memory, whatever their size.
fn damaged(index: &Index, directory: &Squeezed) -> Result<usize, TantivyError> {
    use SegmentComponent::{Delete, FastFields, FieldNorms, Positions, Postings, Store, Terms};
    let mut count = 0;
    for segment in index.searchable_segment_metas()? {
        let deletes = segment.has_deletes().then_some(Delete);
        let files = [Postings, Positions, FastFields, FieldNorms, Terms, Store];
        for path in files.into_iter().chain(deletes).map(|file| segment.relative_path(file)) {
            let is_sound = match directory.is_sound(&path) {
                Some(is_sound) => is_sound,
                None => index.directory().validate_checksum(&path)?,
            };
            count += usize::from(!is_sound);
        }
    }
    Ok(count)
}

fn writer(index: &Index) -> Result<IndexWriter, TantivyError> {
    let options = IndexWriterOptions::builder()
        .memory_budget_per_thread(HEAP)
        .num_worker_threads(1)
        .num_merge_threads(1)
        .build();
    let writer: IndexWriter = index.writer_with_options(options)?;
    writer.set_merge_policy(Box::new(policy()));
    Ok(writer)
}

fn policy() -> LogMergePolicy {
    let mut policy = LogMergePolicy::default();
    policy.set_del_docs_ratio_before_merge(MOST_DELETED);
    policy
}

/// The place of a line in the order of time.
pub(super) fn order(at_ms: u64, position: u64) -> u64 {
    let below = position & ((1 << POSITION_BITS) - 1);
    (at_ms.min(u64::MAX >> POSITION_BITS) << POSITION_BITS) | below
}
