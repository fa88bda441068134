//! The time of day: the one place that asks the system for it.
//!
//! What it shows never goes back and never stands still. When the system's clock is behind
//! what was shown (or recorded, see [`not_before`]), it goes on from there at half speed until
//! the system's clock has caught up: a wait that began before such a jump takes twice as
//! long, not as long as the jump.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tenantry_journal::time::Timestamp;

/// Tells the time of day.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The system's clock, without its jumps back.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        now()
    }
}

/// What was shown last while the system's clock was not behind, and when by the clock that
/// never jumps.
static SHOWN: Mutex<Option<Shown>> = Mutex::new(None);

#[derive(Clone, Copy)]
struct Shown {
    at: Instant,
    time: Timestamp,
}

impl Shown {
    /// What is to be shown at the earliest.
    fn least(self, at: Instant) -> Timestamp {
        let since = at.saturating_duration_since(self.at) / 2;
        self.time.plus_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// Shows the time when the system says `wall`.
    fn show(shown: &mut Option<Shown>, at: Instant, wall: Timestamp) -> Timestamp {
        match shown.map(|shown| shown.least(at)) {
            Some(least) if least > wall => least,
            Some(_) | None => {
                *shown = Some(Shown { at, time: wall });
                wall
            }
        }
    }
}

/// Now.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the clock adapter")]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let wall = Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
    Shown::show(&mut shown, Instant::now(), wall)
}

/// From here on nothing earlier is shown: this was recorded already.
pub fn not_before(time: Timestamp) {
    let at = Instant::now();
    let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if shown.is_none_or(|shown| shown.least(at) < time) {
        *shown = Some(Shown { at, time });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_back_is_shown_at_half_speed_until_it_has_caught_up() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut shown = None;
        let mut show = |seconds, wall| Shown::show(&mut shown, after(seconds), Timestamp(wall)).0;
        assert_eq!(show(0, 1_000_000), 1_000_000);
        assert_eq!(show(10, 1_010_000), 1_010_000);
        // Ten seconds back: it takes twenty to catch up.
        assert_eq!(show(10, 1_000_000), 1_010_000);
        assert_eq!(show(20, 1_010_000), 1_015_000);
        assert_eq!(show(28, 1_018_000), 1_019_000);
        assert_eq!(show(32, 1_022_000), 1_022_000);
        // Forward it jumps along.
        assert_eq!(show(33, 9_000_000), 9_000_000);
    }
}
