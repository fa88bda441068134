//! What the write-ahead files hold, read when a journal is opened.
//!
//! A damaged record does not hide those behind it: they are found by their first bytes. A
//! record that was torn by a power cut may be followed by whole ones of the same write, so
//! of what is found only that counts which goes on at the end of the journal without a gap.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::super::{Tail, io};
use super::record::{HEADER_BYTES, MAGIC, Record};
use super::{HALVES, half_path};
use crate::codec::Commit;
use crate::id::Seq;
use crate::store::{StoreError, StoredCommit};
use crate::time::Timestamp;

/// The whole records of both halves.
#[derive(Default)]
pub(in crate::store::sled) struct Found {
    halves: Vec<Vec<u8>>,
    /// By first seq; of one seq the newest round last.
    places: BTreeMap<(Seq, u64), Place>,
}

/// Where a record lies.
#[derive(Clone, Copy)]
struct Place {
    half: usize,
    at: usize,
    bytes: usize,
    durable: Seq,
    last: Seq,
    time: Timestamp,
}

/// Commits that go on where the store ends.
#[derive(Default)]
pub(in crate::store::sled) struct Continuation {
    /// Each with its last seq.
    pub(in crate::store::sled) commits: Vec<(StoredCommit, Seq)>,
    /// The end of the last one; `None` without any.
    pub(in crate::store::sled) tail: Option<Tail>,
}

impl Found {
    /// Reads both halves; one that is not there holds nothing.
    pub(in crate::store::sled) fn read(dir: &Path) -> Result<Found, StoreError> {
        let mut found = Found::default();
        for half in 0..HALVES {
            let path = half_path(dir, half);
            let bytes = match fs::read(&path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
                Err(error) => return Err(io("read", &path)(error)),
            };
            found.look_through(half, &bytes);
            found.halves.push(bytes);
        }
        Ok(found)
    }

    fn look_through(&mut self, half: usize, bytes: &[u8]) {
        let magic = memchr::memmem::Finder::new(&MAGIC);
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let record = Record::read(rest);
            let commit = record.and_then(|record| Commit::parse(record.first, record.commit).ok());
            let (Some(record), Some(commit)) = (record, commit) else {
                match rest.get(1..).and_then(|rest| magic.find(rest)) {
                    Some(next) => at += 1 + next,
                    None => return,
                }
                continue;
            };
            let place = Place {
                half,
                at,
                bytes: record.commit.len(),
                durable: record.durable,
                last: commit.last(),
                time: commit.time,
            };
            self.places.insert((record.first, record.round), place);
            at += HEADER_BYTES + record.commit.len();
        }
    }

    /// What goes on after `head`, gaplessly and never back to an earlier round.
    pub(in crate::store::sled) fn after(&self, head: Seq) -> Continuation {
        let mut found = Continuation::default();
        let (mut next, mut round) = (head.next(), 0);
        while let Some((&(first, newest), place)) =
            self.places.range((next, round)..=(next, u64::MAX)).next_back()
        {
            let start = place.at + HEADER_BYTES;
            let bytes = self.halves.get(place.half).and_then(|half| half.get(start..start + place.bytes));
            found.commits.push((StoredCommit::new(first, bytes.unwrap_or_default().into()), place.last));
            found.tail = Some(Tail { head: place.last, time: place.time });
            (next, round) = (place.last.next(), newest);
        }
        found
    }

    /// The last seq that some record says was durable before it.
    pub(in crate::store::sled) fn durable(&self) -> Seq {
        self.places.values().map(|place| place.durable).max().unwrap_or_default()
    }

    /// The newest round; 0 without any.
    pub(super) fn round(&self) -> u64 {
        self.places.keys().map(|(_, round)| *round).max().unwrap_or(0)
    }

    /// The half to begin with: the one whose records are older.
    pub(super) fn older_half(&self) -> usize {
        let newest = self.places.iter().max_by_key(|((_, round), _)| *round);
        newest.map_or(0, |(_, place)| (place.half + 1) % HALVES)
    }

    /// Makes records past the journal's end unreadable, durably. They were written in one
    /// go with one that a power cut tore, were never acknowledged, and must not go on from
    /// events that will stand before them.
    pub(super) fn wipe_after(&self, head: Seq, files: &[File], dir: &Path) -> Result<(), StoreError> {
        let mut wiped = false;
        for place in self.places.values().filter(|place| place.last > head) {
            let path = half_path(dir, place.half);
            if let Some(file) = files.get(place.half) {
                file.write_all_at(&[0; HEADER_BYTES], place.at as u64).map_err(io("wipe", &path))?;
                wiped = true;
            }
        }
        for (half, file) in files.iter().enumerate().filter(|_| wiped) {
            file.sync_data().map_err(io("sync", &half_path(dir, half)))?;
        }
        Ok(())
    }
}
