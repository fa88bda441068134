//! Moves commits from the write-ahead file into sled, on a thread of its own.
//!
//! Nobody waits for it unless both halves of the write-ahead file are full. What it has
//! not moved when the process is killed is moved at the next opening. When it fails, the
//! next append and the next sync fail with its error, and the write-ahead file keeps what
//! it holds.

use std::sync::Arc;

use super::queue::{Pace, Queue};
use super::volume::Volume;
use super::volumes::Volumes;
use crate::id::Seq;
use crate::store::{StoreError, StoredCommit};

/// Puts commits into the volumes.
pub(super) struct Indexer {
    volumes: Arc<Volumes>,
    /// Bytes put into the last volume.
    filled: u64,
    volume_bytes: u64,
}

impl Indexer {
    pub(super) fn new(volumes: Arc<Volumes>, volume_bytes: u64) -> Result<Self, StoreError> {
        // An estimate is enough: sled writes about three bytes for each that it is given.
        let filled = volumes.last().map_or(Ok(0), |last| last.size_on_disk())? / 3;
        Ok(Indexer { volumes, filled, volume_bytes })
    }

    /// Puts commits in and returns when they survive a power cut. sled is synced before it
    /// was given more than `batch_bytes` and one commit.
    pub(super) fn put(
        &mut self,
        commits: &[(StoredCommit, Seq)],
        batch_bytes: usize,
    ) -> Result<(), StoreError> {
        let mut unsynced = 0;
        let mut before: Option<Arc<Volume>> = None;
        for (commit, _) in commits {
            let volume = self.volume_for(commit.seq)?;
            if let Some(before) = before.filter(|before| before.first() != volume.first()) {
                before.sync()?;
                unsynced = 0;
            }
            let put = volume.insert(commit.seq, commit)?;
            self.filled += put as u64;
            unsynced += put;
            if unsynced >= batch_bytes {
                volume.sync()?;
                unsynced = 0;
            }
            before = Some(volume);
        }
        before.filter(|_| unsynced > 0).map_or(Ok(()), |volume| volume.sync())
    }

    /// The volume for a commit, a new one when the last is full.
    fn volume_for(&mut self, first: Seq) -> Result<Arc<Volume>, StoreError> {
        if let Some(last) = self.volumes.last() {
            // Behind a damaged end, a commit may belong before a volume that lost all.
            if self.filled < self.volume_bytes || last.first() >= first {
                return Ok(self.volumes.of(first).unwrap_or(last));
            }
        }
        self.filled = 0;
        self.volumes.add(first)
    }

    /// Moves what comes into the queue until that is closed.
    pub(super) fn run(mut self, queue: &Queue, pace: Pace) {
        let _guard = FailOnPanic(queue);
        while let Some(batch) = queue.next_batch(pace) {
            let Some((_, last)) = batch.last() else {
                continue;
            };
            if let Err(error) = self.put(&batch, pace.batch_bytes) {
                queue.fail(error);
                return;
            }
            queue.indexed(*last);
        }
    }
}

/// A thread that panicked must not look like one that is slow.
struct FailOnPanic<'a>(&'a Queue);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let source = "the thread that moves commits into the store panicked".into();
            self.0.fail(StoreError::Engine { action: "take commits", source });
        }
    }
}
