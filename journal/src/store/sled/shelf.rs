//! The plain files of full volumes: which are open, and the thread that makes them.
//!
//! A file that is missing, torn or damaged is only told of and made again; until then sled is
//! read. One that cannot be made, on a full disk say, is not tried again before the next start.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::plain::{self, Maker, Plain, Unusable};
use super::volume::Volume;
use crate::id::Seq;
use crate::store::StoredCommit;

/// Files that stay open, with their index of some 100 kB each: enough for 25 million events, and
/// few beside the connections that a process may have.
const OPEN_FILES: usize = 64;
/// What has to stay free on the disk when a file is made: the last of it is for the journal itself,
/// which takes some MiB to open.
const ROOM_BYTES: u64 = 64 * 1024 * 1024;
/// What is read from sled at a time while a file is made.
const PAGE_BYTES: usize = 512 * 1024;

/// The files, and what makes them.
#[derive(Default)]
pub(super) struct Shelf {
    /// The ones that were read last, the latest at the end.
    open: Mutex<VecDeque<(Seq, Arc<Plain>)>>,
    work: Arc<Work>,
}

/// What is to be made.
#[derive(Default)]
struct Work {
    list: Mutex<List>,
    stopped: AtomicBool,
}

#[derive(Default)]
struct List {
    waiting: VecDeque<(Arc<Volume>, Seq)>,
    /// The first seqs of those that wait, are being made, or cannot be made.
    known: HashSet<Seq>,
    thread: Option<JoinHandle<()>>,
    /// Whether the thread looks at the list again.
    is_running: bool,
}

impl Work {
    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes what waits, one after the other, until nothing does.
    fn run(&self) {
        loop {
            let next = {
                let mut list = self.list();
                let next = list.waiting.pop_front().filter(|_| !self.stopped.load(Ordering::Relaxed));
                list.is_running = next.is_some();
                next
            };
            let Some((volume, ends)) = next else { return };
            match self.make(&volume, ends) {
                Ok(is_made) => {
                    if is_made {
                        self.list().known.remove(&volume.first());
                    }
                }
                Err(error) => {
                    let reason: &dyn std::error::Error = &*error;
                    tracing::warn!(
                        reason,
                        event.seq = volume.first().0,
                        "a full volume is not written as a plain file; looks into it take longer"
                    );
                }
            }
        }
    }

    /// Writes the file of a volume; `false` when that was called off.
    fn make(&self, volume: &Volume, ends: Seq) -> Result<bool, Box<dyn std::error::Error>> {
        if !has_room(volume)? {
            return Err("too little is free on the disk".into());
        }
        let mut maker = Maker::begin(&plain::path_of(volume.dir()))?;
        let mut next = volume.first();
        while next <= ends {
            if self.stopped.load(Ordering::Relaxed) {
                return Ok(false);
            }
            for commit in volume.read(next, ends, PAGE_BYTES)? {
                if !maker.add(&commit)? {
                    return Err(format!("the commit at {} does not follow", commit.seq).into());
                }
            }
            if maker.last() < next {
                return Err(format!("event {next} is missing").into());
            }
            next = maker.last().next();
        }
        maker.finish()?;
        volume.close();
        tracing::debug!(event.seq = volume.first().0, "a full volume is there as a plain file");
        Ok(true)
    }
}

impl Shelf {
    fn open(&self) -> MutexGuard<'_, VecDeque<(Seq, Arc<Plain>)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits of a full volume that ends at `ends`, from the one that contains the first of
    /// these positions up to the second, until `max_bytes`; `None` when its file is not there,
    /// which is made then.
    pub(super) fn read(
        &self,
        volume: &Arc<Volume>,
        ends: Seq,
        (from, last): (Seq, Seq),
        max_bytes: usize,
    ) -> Option<Vec<StoredCommit>> {
        let read = self
            .opened(volume, ends)
            .and_then(|plain| plain.map(|plain| plain.read(from, last, max_bytes)).transpose());
        match read {
            Ok(Some(page)) => return Some(page),
            Ok(None) => {}
            Err(error) => {
                let path = plain::path_of(volume.dir());
                let reason: &dyn std::error::Error = &error;
                if let Unusable::Io(_) = error {
                    // Too many open files, say: the store says so too, or reads it.
                    tracing::warn!(reason, path = %path.display(), "a plain file cannot be read; the volume is");
                    return None;
                }
                tracing::error!(reason, path = %path.display(), "a plain file is made again from its volume");
                self.remove(volume);
            }
        }
        self.make(volume, ends);
        None
    }

    fn opened(&self, volume: &Volume, ends: Seq) -> Result<Option<Arc<Plain>>, Unusable> {
        let first = volume.first();
        {
            let mut open = self.open();
            if let Some(found) = open.iter().position(|(seq, _)| *seq == first).and_then(|at| open.remove(at))
            {
                let plain = Arc::clone(&found.1);
                open.push_back(found);
                return Ok(Some(plain));
            }
        }
        let Some(plain) = Plain::open(&plain::path_of(volume.dir()), (first, ends))?.map(Arc::new) else {
            return Ok(None);
        };
        let mut open = self.open();
        open.push_back((first, Arc::clone(&plain)));
        if open.len() > OPEN_FILES {
            open.pop_front();
        }
        Ok(Some(plain))
    }

    /// Has the file of a full volume made that ends at `ends`.
    pub(super) fn make(&self, volume: &Arc<Volume>, ends: Seq) {
        let mut list = self.work.list();
        if self.work.stopped.load(Ordering::Relaxed) || !list.known.insert(volume.first()) {
            return;
        }
        list.waiting.push_back((Arc::clone(volume), ends));
        if list.is_running {
            return;
        }
        let work = Arc::clone(&self.work);
        // Without the thread, looks only take longer.
        let thread = std::thread::Builder::new().name("journal-plain".into()).spawn(move || work.run());
        list.is_running = thread.is_ok();
        list.thread = thread.ok();
    }

    /// Lets go of the file of a volume.
    pub(super) fn remove(&self, volume: &Volume) {
        self.open().retain(|(first, _)| *first != volume.first());
        // What cannot be removed is written over.
        let _ = fs::remove_file(plain::path_of(volume.dir()));
    }

    /// Ends the thread; what it was at is begun anew another time.
    pub(super) fn stop(&self) {
        self.work.stopped.store(true, Ordering::Relaxed);
        let thread = self.work.list().thread.take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::warn!("the thread that writes plain files panicked");
        }
    }

    /// Bytes that the file of a volume takes.
    pub(super) fn bytes(volume: &Volume) -> u64 {
        size(&plain::path_of(volume.dir()))
    }
}

fn has_room(volume: &Volume) -> Result<bool, Box<dyn std::error::Error>> {
    let disk = rustix::fs::statvfs(volume.dir())?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    // It takes less than the volume, but where that is nearly empty.
    Ok(free >= ROOM_BYTES.saturating_add(volume.size_on_disk()?))
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}
