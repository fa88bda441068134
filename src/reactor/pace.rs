//! How soon an effect that is still due is begun again.
//!
//! An effect that was performed and is due all the same either failed or changed nothing;
//! without a wait it would spin. It is forgotten as soon as it is no longer due.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::effect::{Due, Effect};

/// The wait after the first failure, doubled with each further one.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait: what is broken for long is looked at twice a minute.
const LAST: Duration = Duration::from_secs(30);

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// It did what it could.
    Done,
    /// It could not.
    Failed,
}

struct Waits {
    times: u32,
    until: Instant,
}

/// The effects that were performed and may be due again.
#[derive(Default)]
pub(super) struct Pace(HashMap<Effect, Waits>);

impl Pace {
    /// Takes note of an end.
    pub(super) fn ended(&mut self, effect: Effect, how: How, now: Instant) {
        let waits = self.0.entry(effect).or_insert(Waits { times: 0, until: now });
        // The World may have moved while it ended, so the first time is free.
        if how == How::Failed || waits.times > 0 {
            let doublings = waits.times.min(16);
            waits.until = now + FIRST.saturating_mul(1 << doublings).min(LAST);
        }
        waits.times += 1;
    }

    /// Until when an effect waits, if it does.
    pub(super) fn waits_until(&self, effect: Effect, now: Instant) -> Option<Instant> {
        self.0.get(&effect).map(|waits| waits.until).filter(|until| *until > now)
    }

    /// Forgets what is no longer due.
    pub(super) fn keep_only(&mut self, due: &[Due]) {
        if self.0.is_empty() {
            return;
        }
        let due: HashSet<Effect> = due.iter().map(|due| due.effect).collect();
        self.0.retain(|effect, _| due.contains(effect));
    }
}

#[cfg(test)]
mod tests {
    use tenantry_journal::id::{InstanceId, Seq};

    use super::*;

    fn effect() -> Effect {
        Effect::BeginRun(InstanceId(uuid::Uuid::nil()))
    }

    #[test]
    fn what_fails_or_changes_nothing_waits_longer_each_time() {
        let now = Instant::now();
        let wait = |pace: &Pace| pace.waits_until(effect(), now).map(|until| (until - now).as_millis());
        let mut failing = Pace::default();
        let mut idle = Pace::default();
        let mut seen = Vec::new();
        for _ in 0..4 {
            failing.ended(effect(), How::Failed, now);
            idle.ended(effect(), How::Done, now);
            seen.push((wait(&failing), wait(&idle)));
        }
        assert_eq!(
            seen,
            [(Some(100), None), (Some(200), Some(200)), (Some(400), Some(400)), (Some(800), Some(800))]
        );
        for _ in 0..40 {
            failing.ended(effect(), How::Failed, now);
        }
        assert_eq!(wait(&failing), Some(30_000));
    }

    #[test]
    fn what_is_no_longer_due_is_forgotten() {
        let now = Instant::now();
        let mut pace = Pace::default();
        pace.ended(effect(), How::Failed, now);
        pace.keep_only(&[Due { effect: effect(), not_before: None, cause: Seq(1) }]);
        assert!(pace.waits_until(effect(), now).is_some());
        pace.keep_only(&[]);
        assert!(pace.waits_until(effect(), now).is_none());
    }
}
