//! A store in memory, for tests and dry runs. Nothing in it outlives it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::{Journal, StoreError, StoredCommit};
use crate::codec::EncodedCommit;
use crate::id::Seq;

/// Keeps commits in memory.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    commits: BTreeMap<Seq, Arc<[u8]>>,
    head: Seq,
}

impl MemoryJournal {
    /// A store that holds nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Journal for MemoryJournal {
    fn append(&self, commit: &EncodedCommit) -> Result<(), StoreError> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if commit.first() != inner.head.next() {
            return Err(StoreError::WrongHead { first: commit.first(), head: inner.head });
        }
        inner.head = commit.last();
        inner.commits.insert(commit.first(), commit.bytes().into());
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn read(&self, from: Seq, max_bytes: usize) -> Result<Vec<StoredCommit>, StoreError> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        if from > inner.head {
            return Ok(Vec::new());
        }
        let start = inner.commits.range(..=from).next_back().map_or(Seq::ZERO, |(seq, _)| *seq);
        let mut bytes = 0;
        let page = inner.commits.range(start..).take_while(|(_, commit)| {
            let wanted = bytes < max_bytes.max(1);
            bytes += commit.len();
            wanted
        });
        Ok(page.map(|(seq, commit)| StoredCommit::new(*seq, Arc::clone(commit))).collect())
    }

    fn head(&self) -> Seq {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).head
    }

    fn size_on_disk(&self) -> Result<u64, StoreError> {
        Ok(0)
    }
}
