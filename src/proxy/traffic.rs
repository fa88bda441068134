//! What is counted of each instance's proxied requests. In memory, lost with the process.
//!
//! The count of open requests is also the latch of scale to zero: [`Counter::shut`] succeeds
//! only while nothing is open, and who comes after it waits until it is opened again, so no
//! request is sent to a process that is about to be put to sleep.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tenantry_journal::id::InstanceId;
use tenantry_journal::time::Timestamp;
use tokio::sync::Notify;

/// The bit of [`Counter::open`] that says that nobody may come in.
const SHUT: u64 = 1 << 63;

/// What was counted of one instance since the control plane started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that were meant for it.
    pub requests: u64,
    /// Those that ended with a 5xx, of its own or of ours because it could not be reached,
    /// or whose answer broke off.
    pub errors: u64,
    /// Requests and streams that are open now.
    pub in_flight: u64,
    /// When the last request came or ended; `None` when there was none.
    pub last_request: Option<Timestamp>,
}

/// The counts of one instance, shared by everything that serves it.
#[derive(Debug, Default)]
pub struct Counter {
    requests: AtomicU64,
    errors: AtomicU64,
    open: AtomicU64,
    /// Milliseconds since the epoch; 0 is never.
    last: AtomicU64,
    opened: Notify,
}

impl Counter {
    fn counts(&self) -> Counts {
        let last = self.last.load(Ordering::Relaxed);
        Counts {
            requests: self.requests.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            in_flight: self.open.load(Ordering::Relaxed) & !SHUT,
            last_request: (last != 0).then_some(Timestamp(last)),
        }
    }

    /// Counts a request, and waits while its instance is being put to sleep.
    pub(super) async fn enter(self: &Arc<Self>) -> Open {
        self.requests.fetch_add(1, Ordering::Relaxed);
        loop {
            let opened = self.opened.notified();
            if self.open.fetch_add(1, Ordering::AcqRel) & SHUT == 0 {
                self.touch();
                return Open(Arc::clone(self));
            }
            self.open.fetch_sub(1, Ordering::AcqRel);
            opened.await;
        }
    }

    /// Keeps requests out, if none is open.
    pub(super) fn shut(self: &Arc<Self>) -> Option<Shut> {
        self.open.compare_exchange(0, SHUT, Ordering::AcqRel, Ordering::Relaxed).ok()?;
        Some(Shut(Arc::clone(self)))
    }

    pub(super) fn note_error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    fn touch(&self) {
        self.last.store(crate::clock::now().0, Ordering::Relaxed);
    }
}

/// A request or stream that is open; dropping it closes it.
#[derive(Debug)]
pub(super) struct Open(Arc<Counter>);

impl Open {
    /// The same request, held by something else too.
    pub(super) fn again(&self) -> Open {
        self.0.open.fetch_add(1, Ordering::AcqRel);
        Open(Arc::clone(&self.0))
    }

    pub(super) fn note_error(&self) {
        self.0.note_error();
    }

    /// Requests that are open to the same instance, this one included.
    pub(super) fn in_flight(&self) -> u64 {
        self.0.open.load(Ordering::Relaxed) & !SHUT
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.touch();
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Requests are kept out while this lives.
#[derive(Debug)]
pub(super) struct Shut(Arc<Counter>);

impl Drop for Shut {
    fn drop(&mut self) {
        self.0.open.fetch_and(!SHUT, Ordering::AcqRel);
        self.0.opened.notify_waiters();
    }
}

/// The counts of all instances. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Traffic(Arc<RwLock<HashMap<InstanceId, Arc<Counter>>>>);

impl Traffic {
    /// What was counted of an instance; zeros for one that had no request.
    #[must_use]
    pub fn of(&self, instance: InstanceId) -> Counts {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(&instance).map(|counter| counter.counts()).unwrap_or_default()
    }

    pub(super) fn counter(&self, instance: InstanceId) -> Arc<Counter> {
        if let Some(counter) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&instance) {
            return Arc::clone(counter);
        }
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(instance).or_default())
    }

    /// Forgets instances that are gone.
    pub(super) fn keep_only(&self, is_there: impl Fn(InstanceId) -> bool) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|instance, _| is_there(*instance));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn who_comes_while_it_is_shut_waits_and_an_open_request_keeps_it_open() {
        let traffic = Traffic::default();
        let instance = InstanceId(uuid::Uuid::now_v7());
        let counter = traffic.counter(instance);
        let open = counter.enter().await;
        assert!(counter.shut().is_none());
        drop(open);
        let shut = counter.shut().unwrap();
        let entering = Arc::clone(&counter);
        let mut waiting = tokio::spawn(async move { drop(entering.enter().await) });
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut waiting).await.is_err());
        assert_eq!(traffic.of(instance).in_flight, 0);
        drop(shut);
        waiting.await.unwrap();
        let counts = traffic.of(instance);
        assert_eq!((counts.requests, counts.in_flight, counts.errors), (2, 0, 0));
        assert!(counts.last_request.is_some());
    }
}
