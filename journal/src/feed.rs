//! The feed: every event from any position on, then live, in one loop under one watermark.
//!
//! The watermark is the last seq that is durable and visible. A reader asks for what is
//! between its own position and the watermark: from a ring of the latest commits when it
//! is near, from the store when it is not. Catching up and following are the same
//! question, so there is no moment between them in which an event could be lost or
//! doubled. Nothing is kept for a reader: a slow one holds its position and no memory.

use std::collections::VecDeque;
use std::ops::{Deref, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio_stream::Stream;

use crate::group::Committed;
use crate::id::Seq;
use crate::recorded::{Batch, Recorded};
use crate::scan::{self, ScanError};
use crate::sealed::Vault;
use crate::store::Journal;

/// Memory that the ring takes at most, as [`memory`] counts it. A reader that keeps up is a
/// few events behind; this is room for about 10,000, a twentieth of a second at full load.
/// Whoever falls further behind reads the store.
pub const RING_BYTES: usize = 8 * 1024 * 1024;
/// Events that one step of [`Feed::follow`] hands out at most, so that a reader far behind
/// holds one page and no more.
const PAGE_EVENTS: usize = 512;

/// Events in a row, shared with everybody who reads them.
#[derive(Clone, Debug)]
pub struct Slice {
    batch: Batch,
    range: Range<usize>,
}

impl Slice {
    fn whole(batch: Batch) -> Self {
        let range = 0..batch.len();
        Slice { batch, range }
    }

    /// The part of a commit that lies between two positions.
    fn cut(batch: &Batch, from: Seq, to: Seq) -> Self {
        let start = batch.partition_point(|event| event.seq < from);
        let end = batch.partition_point(|event| event.seq <= to);
        Slice { batch: Arc::clone(batch), range: start..end.max(start) }
    }
}

impl Deref for Slice {
    type Target = [Recorded];
    fn deref(&self) -> &[Recorded] {
        self.batch.get(self.range.clone()).unwrap_or(&[])
    }
}

/// Hands events to readers.
pub struct Feed {
    store: Arc<dyn Journal>,
    vault: Arc<dyn Vault>,
    head: watch::Sender<Seq>,
    ring: Mutex<Ring>,
}

#[derive(Default)]
struct Ring {
    commits: VecDeque<Committed>,
    bytes: usize,
}

/// About what a commit takes in memory: its events, and behind them their texts, which take
/// up to twice their encoded length as pieces of their own.
fn memory(commit: &Committed) -> usize {
    commit.events.len() * size_of::<Recorded>() + 2 * commit.bytes
}

impl Ring {
    fn push(&mut self, commit: Committed) {
        self.bytes += memory(&commit);
        self.commits.push_back(commit);
        while self.bytes > RING_BYTES {
            let Some(oldest) = self.commits.pop_front() else {
                return;
            };
            self.bytes -= memory(&oldest);
        }
    }

    /// What there is between two positions; `None` when it begins before the ring.
    fn read(&self, from: Seq, to: Seq, max_events: usize) -> Option<Vec<Slice>> {
        let index = self.commits.partition_point(|commit| commit.last() < from);
        let first = self.commits.get(index)?;
        if first.first() > from {
            return None;
        }
        let mut left = max_events;
        let mut slices = Vec::new();
        for commit in self.commits.range(index..) {
            let last = Seq(commit.first().max(from).0.saturating_add(left as u64).saturating_sub(1));
            let slice = Slice::cut(&commit.events, from, to.min(last));
            if left == 0 || slice.is_empty() {
                break;
            }
            left -= slice.len();
            slices.push(slice);
        }
        Some(slices)
    }
}

impl Feed {
    /// A feed over a journal whose events up to `head` are durable and visible.
    #[must_use]
    pub fn new(store: Arc<dyn Journal>, vault: Arc<dyn Vault>, head: Seq) -> Self {
        Feed { store, vault, head: watch::Sender::new(head), ring: Mutex::default() }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of commits that are durable and visible from now on, in order. Called by the
    /// committing side alone.
    pub fn publish(&self, commits: &[Committed]) {
        let Some(last) = commits.last() else {
            return;
        };
        {
            let mut ring = self.ring();
            for commit in commits {
                ring.push(commit.clone());
            }
        }
        // Last, so that whoever sees the new head finds the events in the ring.
        self.head.send_replace(last.last());
    }

    /// Gives back the memory of the latest commits. To be called when a key was erased: they hold
    /// opened values. Readers go on from the store.
    pub fn forget(&self) {
        *self.ring() = Ring::default();
    }

    /// The journal behind it.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Journal> {
        &self.store
    }

    /// The last event that is durable and visible.
    #[must_use]
    pub fn head(&self) -> Seq {
        *self.head.borrow()
    }

    /// Says when the head moves.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Seq> {
        self.head.subscribe()
    }

    /// Events from `from` to the head, at most `max_events` of them; none when `from` is
    /// past the head. May read the store, which blocks for about a millisecond.
    ///
    /// # Errors
    /// When the store cannot be read there.
    pub fn read(&self, from: Seq, max_events: usize) -> Result<Vec<Slice>, ScanError> {
        match self.read_ring(from, max_events) {
            Some(slices) => Ok(slices),
            None => self.read_store(from, max_events),
        }
    }

    fn read_ring(&self, from: Seq, max_events: usize) -> Option<Vec<Slice>> {
        let head = self.head();
        if from > head || max_events == 0 {
            return Some(Vec::new());
        }
        self.ring().read(from.max(Seq(1)), head, max_events)
    }

    fn read_store(&self, from: Seq, max_events: usize) -> Result<Vec<Slice>, ScanError> {
        let events = scan::page(&*self.store, &self.vault, from, self.head(), max_events)?;
        Ok(vec![Slice::whole(events.into())])
    }

    /// Every event from `from` on, for ever: no gap, no repeat, however slow the reader.
    /// Reading the store happens on Tokio's threads for blocking work. Ends after an error.
    pub fn follow(
        self: &Arc<Self>,
        from: Seq,
    ) -> impl Stream<Item = Result<Slice, ScanError>> + Send + use<> {
        let feed = Arc::clone(self);
        async_stream::stream! {
            let mut next = from.max(Seq(1));
            let mut head = feed.watch();
            loop {
                if next > *head.borrow_and_update() {
                    // The sender lives in `feed`, which lives in this stream.
                    if head.changed().await.is_err() {
                        return;
                    }
                    continue;
                }
                match feed.step(next).await {
                    Ok(slices) => {
                        for slice in slices {
                            if let Some(last) = slice.last() {
                                next = last.seq.next();
                                yield Ok(slice);
                            }
                        }
                    }
                    Err(error) => {
                        yield Err(error);
                        return;
                    }
                }
            }
        }
    }

    async fn step(self: &Arc<Self>, from: Seq) -> Result<Vec<Slice>, ScanError> {
        if let Some(slices) = self.read_ring(from, PAGE_EVENTS) {
            return Ok(slices);
        }
        let feed = Arc::clone(self);
        match tokio::task::spawn_blocking(move || feed.read_store(from, PAGE_EVENTS)).await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is being shut down: there is nobody left to hand events to.
                Err(_) => Ok(Vec::new()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::health::{HealthChanged, TenantHealth};
    use crate::id::{EventId, TenantId};
    use crate::recorded::Draft;
    use crate::time::Timestamp;
    use uuid::Uuid;

    fn commit(first: u64, events: u64, bytes: usize) -> Committed {
        let event = |seq| {
            let changed = HealthChanged {
                tenant_id: TenantId(Uuid::nil()),
                overall: TenantHealth::Healthy,
                frontend: "up".into(),
                backend: "up".into(),
                database: "healthy".into(),
            };
            let draft = Draft::of_system(EventId(Uuid::nil()), Timestamp(0), changed);
            Recorded { seq: Seq(seq), draft }
        };
        Committed { events: (first..first + events).map(event).collect(), bytes, tiles: Vec::new() }
    }

    #[test]
    fn the_ring_is_bounded_by_memory_and_keeps_the_newest() {
        let mut ring = Ring::default();
        let mut first = 1;
        for round in 0..2_000u64 {
            let events = 1 + round % 64;
            ring.push(commit(first, events, 300 * events as usize));
            first += events;
            let held: usize = ring.commits.iter().map(memory).sum();
            assert_eq!(ring.bytes, held);
            assert!(held <= RING_BYTES, "{held} bytes");
        }
        let head = Seq(first - 1);
        assert!(ring.bytes > RING_BYTES / 2, "it holds as much as it may");
        assert!(ring.read(Seq(1), head, 10).is_none(), "the oldest went");
        let newest = ring.read(head, head, 10).unwrap();
        assert_eq!(newest.iter().map(|slice| slice.len()).sum::<usize>(), 1);

        ring.push(commit(first, 1, RING_BYTES));
        assert_eq!((ring.commits.len(), ring.bytes), (0, 0), "what is larger than the ring is not kept");
    }
}
