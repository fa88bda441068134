//! Commits on their way from the write-ahead file into sled: in memory, in order, readable.
//!
//! The appender puts them in, [`super::indexer`] takes them out once sled holds them
//! durably. So a read finds everything up to the queue's first commit in sled, and the rest
//! here. There are never more than the write-ahead file holds.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::id::Seq;
use crate::store::{StoreError, StoredCommit};

/// How much of the queue becomes one batch, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// A batch is taken when it has this many bytes.
    pub(super) batch_bytes: usize,
    /// Or when nothing came for so long.
    pub(super) idle: Duration,
}

/// The queue.
pub(super) struct Queue {
    state: Mutex<State>,
    /// Tells the indexer that there is work.
    work: Condvar,
    /// Tells the appender that there is room.
    room: Condvar,
    failed: OnceLock<Arc<StoreError>>,
}

struct State {
    commits: VecDeque<(StoredCommit, Seq)>,
    /// Bytes of commits that are not durable yet.
    staged_bytes: usize,
    /// Bytes of commits that the indexer may take.
    ready_bytes: usize,
    /// The last seq that the write-ahead file holds durably.
    durable: Seq,
    /// The last seq that sled holds durably.
    indexed: Seq,
    /// The indexer sleeps until it is told.
    asleep: bool,
    /// Somebody waits for room, or for the end: no batch is too small.
    hurry: bool,
    closing: bool,
}

impl Queue {
    /// An empty queue behind a store that ends at `head`.
    pub(super) fn new(head: Seq) -> Self {
        Queue {
            state: Mutex::new(State {
                commits: VecDeque::new(),
                staged_bytes: 0,
                ready_bytes: 0,
                durable: head,
                indexed: head,
                asleep: false,
                hurry: false,
                closing: false,
            }),
            work: Condvar::new(),
            room: Condvar::new(),
            failed: OnceLock::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a commit in that follows the last one; it is not durable yet.
    pub(super) fn push(&self, commit: StoredCommit, last: Seq) {
        let mut state = self.state();
        state.staged_bytes += commit.len();
        state.commits.push_back((commit, last));
    }

    /// Everything put in so far is durable, and ends at `seq`.
    pub(super) fn set_durable(&self, seq: Seq, pace: Pace) {
        let mut state = self.state();
        let before = state.ready_bytes;
        state.ready_bytes += std::mem::take(&mut state.staged_bytes);
        state.durable = seq;
        // To be woken costs both sides more than all the rest: once for the first commit
        // and once when a batch is full, not for each.
        let worth = before == 0 || before < pace.batch_bytes && state.ready_bytes >= pace.batch_bytes;
        if worth && state.asleep {
            self.work.notify_one();
        }
    }

    /// Commits from the one that contains `from`, until `max_bytes`.
    ///
    /// # Errors
    /// The last seq that is not here but in sled, when `from` is at or before it.
    pub(super) fn read(&self, from: Seq, max_bytes: usize) -> Result<Vec<StoredCommit>, Seq> {
        let state = self.state();
        if from <= state.indexed {
            return Err(state.indexed);
        }
        let start = state.commits.partition_point(|(_, last)| *last < from);
        let mut bytes = 0;
        let page = state.commits.range(start..).take_while(|(commit, _)| {
            let wanted = bytes < max_bytes;
            bytes += commit.len();
            wanted
        });
        Ok(page.map(|(commit, _)| commit.clone()).collect())
    }

    /// Waits until sled holds everything up to `seq` durably.
    ///
    /// # Errors
    /// When that failed.
    pub(super) fn wait_until_indexed(&self, seq: Seq) -> Result<(), StoreError> {
        let mut state = self.state();
        while state.indexed < seq {
            self.check()?;
            state.hurry = true;
            self.work.notify_one();
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.hurry = false;
        Ok(())
    }

    /// The next durable commits, when there are enough or it is time; `None` when the queue
    /// is closed and all of them were taken.
    pub(super) fn next_batch(&self, pace: Pace) -> Option<Vec<(StoredCommit, Seq)>> {
        let mut state = self.state();
        loop {
            let hurry = state.hurry || state.closing;
            if state.ready_bytes >= pace.batch_bytes || hurry && state.ready_bytes > 0 {
                return Some(state.batch(pace));
            }
            if state.closing {
                return None;
            }
            let seen = state.durable;
            state.asleep = true;
            if state.ready_bytes == 0 {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            } else {
                let woken = self.work.wait_timeout(state, pace.idle);
                let (again, waited) = woken.unwrap_or_else(PoisonError::into_inner);
                state = again;
                if waited.timed_out() && state.durable == seen {
                    state.asleep = false;
                    return Some(state.batch(pace));
                }
            }
            state.asleep = false;
        }
    }

    /// Sled holds everything up to `last` durably.
    pub(super) fn indexed(&self, last: Seq) {
        let mut state = self.state();
        let count = state.commits.partition_point(|(_, end)| *end <= last);
        let gone: Vec<_> = state.commits.drain(..count).collect();
        state.ready_bytes -= gone.iter().map(|(commit, _)| commit.len()).sum::<usize>();
        state.indexed = last;
        drop(state);
        self.room.notify_all();
    }

    /// The indexer ends when it has taken what is durable.
    pub(super) fn close(&self) {
        self.state().closing = true;
        self.work.notify_one();
    }

    /// No commit gets into sled any more.
    pub(super) fn fail(&self, error: StoreError) {
        let _ = self.failed.set(Arc::new(error));
        // Whoever waits has either seen the failure or is waiting by now.
        drop(self.state());
        self.room.notify_all();
    }

    /// The failure, if there was one.
    ///
    /// # Errors
    /// Then.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.failed.get().map_or(Ok(()), |error| Err(StoreError::Failed(Arc::clone(error))))
    }
}

impl State {
    fn batch(&self, pace: Pace) -> Vec<(StoredCommit, Seq)> {
        let mut bytes = 0;
        let batch = self.commits.iter().take_while(|(commit, last)| {
            let wanted = bytes < pace.batch_bytes && *last <= self.durable;
            bytes += commit.len();
            wanted
        });
        batch.cloned().collect()
    }
}
