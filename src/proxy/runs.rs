//! What is open to each run of an instance: requests under way, and connections that wait for
//! their next one.
//!
//! A connection to a process that was replaced is never used again. Before a run is ended its
//! requests may come to their end: see [`Runs::drained`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::{Context, Waker};
use std::time::Duration;

use tenantry_journal::id::RunId;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::plain;
use super::upstream::Link;

/// Connections that are kept for one run: more than answer at once on one machine.
const KEPT: usize = 256;
/// How long one is kept: less than what servers commonly keep an idle connection for.
const KEPT_FOR: Duration = Duration::from_secs(30);

#[derive(Default)]
struct OneRun {
    under_way: AtomicUsize,
    quiet: Notify,
    kept: Mutex<Vec<(Link, Instant)>>,
    kept_plain: Mutex<Vec<(plain::Link, Instant)>>,
}

impl OneRun {
    fn kept(&self) -> MutexGuard<'_, Vec<(Link, Instant)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept_plain(&self) -> MutexGuard<'_, Vec<(plain::Link, Instant)>> {
        self.kept_plain.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is open to each run. Clones share it.
#[derive(Clone, Default)]
pub struct Runs(Arc<RwLock<HashMap<RunId, Arc<OneRun>>>>);

/// A request is under way to a run, until this is dropped.
pub(super) struct UnderWay(Arc<OneRun>);

impl Runs {
    fn get(&self, run: RunId) -> Option<Arc<OneRun>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&run).cloned()
    }

    /// Counts a request to a run. Whether the run is still the present one has to be looked at
    /// after this, and not before: then whoever ends it either sees the request or is seen by it.
    pub(super) fn enter(&self, run: RunId) -> UnderWay {
        let found = self.get(run);
        let one = found.unwrap_or_else(|| {
            let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(run).or_default())
        });
        one.under_way.fetch_add(1, Ordering::SeqCst);
        UnderWay(one)
    }

    /// Waits until no request is under way to a run. False when that takes longer than `limit`.
    pub async fn drained(&self, run: RunId, limit: Duration) -> bool {
        let Some(one) = self.get(run) else { return true };
        let quiet = async {
            loop {
                let quiet = one.quiet.notified();
                if one.under_way.load(Ordering::SeqCst) == 0 {
                    return;
                }
                quiet.await;
            }
        };
        timeout(limit, quiet).await.is_ok()
    }

    /// Closes what was not used for long, what the other side has closed, and what belongs to
    /// runs that are over.
    pub(super) fn tidy(&self, is_present: impl Fn(RunId) -> bool) {
        let now = Instant::now();
        let mut cx = Context::from_waker(Waker::noop());
        self.0.write().unwrap_or_else(PoisonError::into_inner).retain(|run, one| {
            let is_young = |since: Instant| now.duration_since(since) < KEPT_FOR;
            one.kept().retain_mut(|(link, since)| is_young(*since) && link.is_ready(&mut cx));
            one.kept_plain().retain_mut(|(link, since)| is_young(*since) && link.is_alive(&mut cx));
            is_present(*run) || one.under_way.load(Ordering::SeqCst) > 0
        });
    }
}

impl UnderWay {
    /// The connection that was used last.
    pub(super) fn kept(&self) -> Option<Link> {
        self.0.kept().pop().map(|(link, _)| link)
    }

    pub(super) fn keep(&self, link: Link) {
        if link.is_over() {
            return;
        }
        let mut kept = self.0.kept();
        if kept.len() < KEPT {
            kept.push((link, Instant::now()));
        }
    }
}

impl UnderWay {
    /// The connection for plain requests that was used last, of those that still wait.
    pub(super) fn kept_plain(&self, cx: &mut Context<'_>) -> Option<plain::Link> {
        let mut kept = self.0.kept_plain();
        std::iter::from_fn(|| kept.pop())
            .map(|(link, _)| link)
            .find_map(|mut link| link.is_alive(cx).then_some(link))
    }

    pub(super) fn keep_plain(&self, link: plain::Link) {
        let mut kept = self.0.kept_plain();
        if kept.len() < KEPT {
            kept.push((link, Instant::now()));
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.0.under_way.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.quiet.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_run_is_drained_when_its_last_request_has_ended() {
        let runs = Runs::default();
        let run = RunId(uuid::Uuid::now_v7());
        assert!(runs.drained(run, Duration::from_secs(1)).await);
        let (first, second) = (runs.enter(run), runs.enter(run));
        drop(first);
        assert!(!runs.drained(run, Duration::from_millis(10)).await);
        let (waiting, limit) = (runs.clone(), Duration::from_secs(10));
        let drained = tokio::spawn(async move { waiting.drained(run, limit).await });
        tokio::task::yield_now().await;
        drop(second);
        assert!(drained.await.unwrap());
    }
}
