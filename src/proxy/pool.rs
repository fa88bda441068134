//! Connections to processes that wait for their next request.
//!
//! They belong to one run: a connection to a process that was replaced is never used again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use tenantry_journal::id::RunId;
use tokio::time::Instant;

use super::upstream::Link;

/// Connections that are kept for one run: more than answer at once on one machine.
const KEPT: usize = 256;
/// How long one is kept: less than what servers commonly keep an idle connection for.
const KEPT_FOR: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(super) struct Pool(Mutex<HashMap<RunId, Vec<(Link, Instant)>>>);

impl Pool {
    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, Vec<(Link, Instant)>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that was used last.
    pub(super) fn take(&self, run: RunId) -> Option<Link> {
        self.lock().get_mut(&run)?.pop().map(|(link, _)| link)
    }

    pub(super) fn keep(&self, run: RunId, link: Link) {
        if link.is_over() {
            return;
        }
        let mut all = self.lock();
        let of_run = all.entry(run).or_default();
        if of_run.len() < KEPT {
            of_run.push((link, Instant::now()));
        }
    }

    /// Closes what was not used for long, what the other side has closed, and what belongs to
    /// runs that are over.
    pub(super) fn tidy(&self, is_present: impl Fn(RunId) -> bool) {
        let now = Instant::now();
        let mut cx = Context::from_waker(Waker::noop());
        self.lock().retain(|run, links| {
            links.retain_mut(|(link, since)| now.duration_since(*since) < KEPT_FOR && link.is_ready(&mut cx));
            !links.is_empty() && is_present(*run)
        });
    }
}
