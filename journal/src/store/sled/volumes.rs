//! All volumes of a journal, read as one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use super::volume::Volume;
use super::{Tail, io};
use crate::id::Seq;
use crate::store::{StoreError, StoredCommit};

/// The volumes, by their first seq; the last one is written.
pub(super) struct Volumes {
    dir: PathBuf,
    list: RwLock<Vec<Arc<Volume>>>,
}

impl Volumes {
    /// Finds the volumes in a directory; opens none.
    pub(super) fn find(dir: &Path) -> Result<Self, StoreError> {
        let mut list = Vec::new();
        for entry in fs::read_dir(dir).map_err(io("list", dir))? {
            let entry = entry.map_err(io("list", dir))?;
            let name = entry.file_name();
            let Some(first) =
                name.to_str().filter(|name| name.len() == 20).and_then(|name| name.parse().ok())
            else {
                continue;
            };
            list.push(Volume::closed(dir, Seq(first)));
        }
        list.sort_by_key(Volume::first);
        let last = list.pop();
        let list = list.into_iter().map(Volume::full).chain(last).map(Arc::new).collect();
        Ok(Volumes { dir: dir.to_owned(), list: RwLock::new(list) })
    }

    pub(super) fn all(&self) -> Vec<Arc<Volume>> {
        self.list.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn last(&self) -> Option<Arc<Volume>> {
        self.list.read().unwrap_or_else(PoisonError::into_inner).last().cloned()
    }

    /// Makes the volume that follows the last one.
    pub(super) fn add(&self, first: Seq) -> Result<Arc<Volume>, StoreError> {
        let volume = Volume::create(&self.dir, first)?;
        self.list.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&volume));
        Ok(volume)
    }

    /// The volume in which a commit belongs that begins at `first`.
    pub(super) fn of(&self, first: Seq) -> Option<Arc<Volume>> {
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        let index = list.partition_point(|volume| volume.first() <= first).saturating_sub(1);
        list.get(index).cloned()
    }

    /// Opens the last volume that holds something, and checks its last commit.
    pub(super) fn tail(&self) -> Result<Tail, StoreError> {
        for volume in self.all().iter().rev() {
            if let Some(tail) = volume.tail()? {
                return Ok(tail);
            }
        }
        Ok(Tail::default())
    }

    /// Commits from the one that contains `from` up to `last`, until `max_bytes`.
    pub(super) fn read(
        &self,
        from: Seq,
        last: Seq,
        max_bytes: usize,
    ) -> Result<Vec<StoredCommit>, StoreError> {
        let volumes = self.all();
        let index = volumes.partition_point(|volume| volume.first() <= from).saturating_sub(1);
        let mut page = Vec::new();
        let mut left = max_bytes;
        for (offset, volume) in volumes.iter().skip(index).enumerate() {
            let read_from = if offset == 0 { from } else { volume.first() };
            if left == 0 || read_from > last {
                break;
            }
            for commit in volume.read(read_from, last, left)? {
                left = left.saturating_sub(commit.len());
                page.push(commit);
            }
        }
        Ok(page)
    }

    pub(super) fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.all().iter().map(|volume| volume.size_on_disk()).sum()
    }

    /// Returns when the engine has let go of every file. Nobody else may have a volume.
    pub(super) fn close(self) {
        let firsts: Vec<Seq> = self.all().iter().map(|volume| volume.first()).collect();
        let Volumes { dir, list } = self;
        drop(list);
        firsts.into_iter().for_each(|first| Volume::closed(&dir, first).wait_until_closed());
    }
}
