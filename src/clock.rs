//! The time of day: the one place that asks the system for it.

use std::time::{SystemTime, UNIX_EPOCH};

use tenantry_journal::time::Timestamp;

/// Tells the time of day.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The system's clock. It may jump; the writer never lets events' times go back.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock adapter")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Now, by the system's clock.
#[must_use]
pub fn now() -> Timestamp {
    SystemClock.now()
}
