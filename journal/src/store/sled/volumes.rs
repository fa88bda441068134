//! All volumes of a journal, read as one.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use super::shelf::Shelf;
use super::volume::Volume;
use super::{Tail, io};
use crate::id::Seq;
use crate::store::{StoreError, StoredCommit};

/// Bytes of a file that are read ahead with one call.
const WARM_BYTES: usize = 256 * 1024;
/// Full volumes that stay open for who reads them page by page. What each takes in memory is
/// told at [`Volume::close`].
const OPEN_FULL: usize = 4;

/// The volumes, by their first seq; the last one is written.
pub(super) struct Volumes {
    dir: PathBuf,
    list: RwLock<Vec<Arc<Volume>>>,
    /// So many of them were read ahead, or are.
    warmed: AtomicUsize,
    /// The full ones that were read last, the latest at the end.
    recent: Mutex<Vec<Arc<Volume>>>,
    /// The plain files; not of a copy that is only read.
    shelf: OnceLock<Shelf>,
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
        list.iter().for_each(Volume::set_full);
        let list = list.into_iter().chain(last).map(Arc::new).collect();
        Ok(Volumes {
            dir: dir.to_owned(),
            list: RwLock::new(list),
            warmed: AtomicUsize::new(0),
            recent: Mutex::default(),
            shelf: OnceLock::new(),
        })
    }

    pub(super) fn all(&self) -> Vec<Arc<Volume>> {
        self.list.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn last(&self) -> Option<Arc<Volume>> {
        self.list.read().unwrap_or_else(PoisonError::into_inner).last().cloned()
    }

    /// Makes the volume that follows the last one, which is full.
    pub(super) fn add(&self, first: Seq) -> Result<Arc<Volume>, StoreError> {
        let volume = Volume::create(&self.dir, first)?;
        let full = self.last();
        self.list.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&volume));
        if let Some(full) = full {
            full.set_full();
            self.used(&full);
            if let Some(shelf) = self.shelf.get() {
                shelf.make(&full, Seq(first.0.saturating_sub(1)));
            }
        }
        Ok(volume)
    }

    /// A full volume is in use; of the others only the last few stay open.
    fn used(&self, volume: &Arc<Volume>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|other| !Arc::ptr_eq(other, volume));
        recent.push(Arc::clone(volume));
        let too_many = recent.len().saturating_sub(OPEN_FULL);
        let unused: Vec<_> = recent.drain(..too_many).collect();
        drop(recent);
        unused.iter().for_each(|volume| volume.close());
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
        for (offset, volume) in volumes.iter().enumerate().skip(index) {
            let read_from = if offset == index { from } else { volume.first() };
            if left == 0 || read_from > last {
                break;
            }
            if offset + 1 < volumes.len() {
                self.used(volume);
            }
            for commit in volume.read(read_from, last, left)? {
                left = left.saturating_sub(commit.len());
                page.push(commit);
            }
        }
        Ok(page)
    }

    /// Has full volumes written as plain files from now on. The last one is written: what may
    /// lie beside it is of another time.
    pub(super) fn make_plain(&self) {
        let shelf = self.shelf.get_or_init(Shelf::default);
        if let Some(last) = self.last() {
            shelf.remove(&last);
        }
    }

    /// Ends what writes plain files.
    pub(super) fn stop_making(&self) {
        if let Some(shelf) = self.shelf.get() {
            shelf.stop();
        }
    }

    /// As [`Volumes::read`], from plain files where there are some.
    pub(super) fn look(
        &self,
        from: Seq,
        last: Seq,
        max_bytes: usize,
    ) -> Result<Vec<StoredCommit>, StoreError> {
        let volumes = self.all();
        let index = volumes.partition_point(|volume| volume.first() <= from).saturating_sub(1);
        let full = volumes.get(index).zip(volumes.get(index + 1)).zip(self.shelf.get());
        let Some(((volume, next), shelf)) = full else { return self.read(from, last, max_bytes) };
        let ends = Seq(next.first().0.saturating_sub(1));
        match shelf.read(volume, ends, (from, last), max_bytes) {
            Some(mut page) => {
                let bytes: usize = page.iter().map(|commit| commit.len()).sum();
                if bytes < max_bytes && ends < last {
                    page.extend(self.look(ends.next(), last, max_bytes - bytes)?);
                }
                Ok(page)
            }
            None => self.read(from, last, max_bytes),
        }
    }

    /// Closes the volumes before the one that holds `seq`, and has that one and the next read
    /// from the disk by a thread of its own: sled waits for the disk with every node.
    pub(super) fn pass(&self, seq: Seq) {
        let volumes = self.all();
        let current = volumes.partition_point(|volume| volume.first() <= seq).saturating_sub(1);
        volumes.iter().take(current).for_each(|volume| volume.close());
        let wanted = current + 2;
        let warmed = self.warmed.fetch_max(wanted, Ordering::Relaxed).max(current);
        let ahead = volumes.iter().take(wanted).skip(warmed);
        let ahead: Vec<PathBuf> = ahead.map(|volume| volume.dir().join("db")).collect();
        if !ahead.is_empty() {
            // Without the thread, reading is only slower. It ends with the files.
            let read = move || ahead.iter().for_each(|file| warm(file));
            drop(std::thread::Builder::new().name("journal-ahead".into()).spawn(read));
        }
    }

    pub(super) fn size_on_disk(&self) -> Result<u64, StoreError> {
        let plain =
            self.shelf.get().map_or(0, |_| self.all().iter().map(|volume| Shelf::bytes(volume)).sum());
        let volumes: Result<u64, StoreError> = self.all().iter().map(|volume| volume.size_on_disk()).sum();
        Ok(volumes? + plain)
    }

    /// Returns when the engine has let go of every file. Nobody else may have a volume.
    pub(super) fn close(self) {
        let firsts: Vec<Seq> = self.all().iter().map(|volume| volume.first()).collect();
        let Volumes { dir, list, recent, .. } = self;
        drop((list, recent));
        firsts.into_iter().for_each(|first| Volume::closed(&dir, first).wait_until_closed());
    }
}

/// Brings a file into the page cache.
fn warm(file: &Path) {
    let mut buffer = vec![0; WARM_BYTES];
    let Ok(mut file) = File::open(file) else {
        return;
    };
    // Who needs the bytes is told what is wrong with them.
    while file.read(&mut buffer).is_ok_and(|read| read > 0) {}
}
