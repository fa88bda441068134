//! Where the frames of segments lie, kept for who reads lines by their positions: without it
//! the heads of all frames before a line are read each time.
//!
//! A file is known by its inode and grows only at its end. What turns out not to lie where it
//! was is looked for anew.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use super::SpoolError;
use super::segment::{Segment, Spot};

/// Frames that are remembered at most, at 24 bytes each: 40 million lines of usual length.
const MOST: usize = 1 << 18;

/// What is known of the segments of many spools; shared by their readers.
#[derive(Default)]
pub struct Places(Mutex<Known>);

#[derive(Default)]
struct Known {
    segments: HashMap<(Uuid, u64), Entry>,
    spots: usize,
    uses: u64,
}

struct Entry {
    inode: u64,
    len: u64,
    spots: Arc<Vec<Spot>>,
    used: u64,
}

impl Places {
    /// Where the frames of a segment lie, by what is known or by its file.
    pub(super) fn of(
        &self,
        owner: Uuid,
        first: u64,
        segment: &Segment,
    ) -> Result<Arc<Vec<Spot>>, SpoolError> {
        let meta = segment.file.metadata().map_err(SpoolError::io("inspect", &segment.path))?;
        let (inode, len, key) = (meta.ino(), meta.len(), (owner, first));
        let begun = self.with(|known| {
            known.uses += 1;
            let uses = known.uses;
            let entry =
                known.segments.get_mut(&key).filter(|entry| entry.inode == inode && entry.len <= len)?;
            entry.used = uses;
            Some((Arc::clone(&entry.spots), entry.len))
        });
        let spots = match begun {
            Some((spots, known)) if known == len => return Ok(spots),
            Some((spots, _)) => {
                let mut spots = spots.to_vec();
                segment.more_spots(&mut spots)?;
                spots
            }
            None => segment.spots()?,
        };
        let spots = Arc::new(spots);
        self.with(|known| known.keep(key, inode, len, Arc::clone(&spots)));
        Ok(spots)
    }

    /// Makes unknown what proved not to be so.
    pub(super) fn forget(&self, owner: Uuid, first: u64) {
        self.with(|known| known.remove((owner, first)));
    }

    fn with<T>(&self, work: impl FnOnce(&mut Known) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Known {
    fn keep(&mut self, key: (Uuid, u64), inode: u64, len: u64, spots: Arc<Vec<Spot>>) {
        self.remove(key);
        self.spots += spots.len();
        let used = self.uses;
        self.segments.insert(key, Entry { inode, len, spots, used });
        while self.spots > MOST {
            let oldest = self.segments.iter().filter(|(other, _)| **other != key);
            let Some(oldest) = oldest.min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key) else {
                return;
            };
            self.remove(oldest);
        }
    }

    fn remove(&mut self, key: (Uuid, u64)) {
        if let Some(entry) = self.segments.remove(&key) {
            self.spots -= entry.spots.len();
        }
    }
}
