//! What the files of an index hold, in the clear: for whoever has to prove what they no longer hold.

use std::collections::BTreeSet;
use std::path::Path;

use tantivy::{Index, TantivyError};

use super::SearchError;
use super::squeezed::Squeezed;

/// Every word in the files of an index that nobody writes meanwhile, those of lines that are only
/// marked as deleted too. Files that belong to no segment of it are named instead of read.
///
/// # Errors
/// When the index cannot be read.
pub fn words(dir: &Path) -> Result<(BTreeSet<String>, Vec<String>), SearchError> {
    let index = Index::open(Squeezed::open(dir)?)?;
    let text = index.schema().get_field("text")?;
    let mut words = BTreeSet::new();
    let mut known = BTreeSet::new();
    for segment in index.searchable_segments()? {
        known.insert(segment.id().uuid_string());
        let reader = tantivy::SegmentReader::open(&segment)?;
        let list = reader.inverted_index(text)?;
        let mut terms = list.terms().stream().map_err(TantivyError::from)?;
        while terms.advance() {
            words.insert(String::from_utf8_lossy(terms.key()).into_owned());
        }
    }
    let mut strangers = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(TantivyError::from)? {
        let name = entry.map_err(TantivyError::from)?.file_name().to_string_lossy().into_owned();
        let is_known = name.split('.').next().is_some_and(|begin| known.contains(begin));
        let is_of_index = name.ends_with(".json") || name.ends_with(".lock");
        if !is_known && !is_of_index {
            strangers.push(name);
        }
    }
    Ok((words, strangers))
}
