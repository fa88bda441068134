//! Turns: where in each interval somebody is looked at who is looked at once an interval.
//!
//! However many there are, and whenever they came, their turns lie evenly in the interval, so
//! that what began together is not looked at together: the n-th turn is the fractional part of
//! n times the golden ratio, and the gaps between the first N of these are of three lengths at
//! most (Knuth, The Art of Computer Programming 3, section 6.4, theorem S).

use std::time::Duration;

/// The golden ratio's fractional part, as a part of 2^64.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Where in an interval, as a part of 2^64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn(u64);

/// Gives turns out.
#[derive(Debug, Default)]
pub(super) struct Turns {
    last: u64,
}

impl Turns {
    /// The next one's turn.
    pub(super) fn give(&mut self) -> Turn {
        self.last = self.last.wrapping_add(GOLDEN);
        Turn(self.last)
    }
}

impl Turn {
    /// How long it is until the turn comes, for somebody who stands at a time since the
    /// beginning of the first interval. More than nothing, and not more than the interval.
    pub(super) fn wait(self, at: Duration, interval: Duration) -> Duration {
        self.wait_in_steps(at, interval, Duration::ZERO)
    }

    /// The same for turns that come together with others, one step after another.
    pub(super) fn wait_in_steps(self, at: Duration, interval: Duration, step: Duration) -> Duration {
        let interval = interval.as_nanos().max(1);
        let place = (interval.saturating_mul(u128::from(self.0))) >> 64;
        let place = place - place % step.as_nanos().max(1);
        let passed = at.as_nanos() % interval;
        let wait = if place > passed { place - passed } else { interval - passed + place };
        Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(300);

    fn turns(count: usize) -> Vec<Turn> {
        let mut turns = Turns::default();
        (0..count).map(|_| turns.give()).collect()
    }

    #[test]
    fn however_many_turns_there_are_they_lie_evenly_in_the_interval() {
        let at = Duration::from_millis(123_456);
        for count in [20, 100, 333, 1000, 2000] {
            let mut parts = [0_usize; 20];
            for turn in turns(count) {
                let wait = turn.wait(at, INTERVAL);
                parts[(wait.as_nanos() * 20 / (INTERVAL.as_nanos() + 1)) as usize] += 1;
            }
            let mean = count / 20;
            // A gap of the shortest length more or less on either side.
            assert!(parts.iter().all(|part| part.abs_diff(mean) <= 3), "{count}: {parts:?}");
        }
    }

    #[test]
    fn turns_in_steps_come_together_and_no_step_has_more_than_its_share() {
        let (interval, step) = (Duration::from_secs(10), Duration::from_millis(100));
        let mut steps = std::collections::BTreeMap::new();
        for turn in turns(2000) {
            let wait = turn.wait_in_steps(Duration::ZERO, interval, step);
            assert_eq!(wait.as_nanos() % step.as_nanos(), 0);
            assert_eq!(turn.wait_in_steps(wait, interval, step), interval);
            *steps.entry(wait).or_insert(0_usize) += 1;
        }
        assert_eq!(steps.len(), 100);
        assert!(steps.values().all(|count| count.abs_diff(20) <= 3), "{steps:?}");
    }

    #[test]
    fn a_turn_comes_once_in_each_interval() {
        for turn in turns(50) {
            let mut at = Duration::from_secs(7);
            let first = turn.wait(at, INTERVAL);
            assert!(first > Duration::ZERO && first <= INTERVAL);
            at += first;
            for _ in 0..3 {
                let next = turn.wait(at, INTERVAL);
                assert_eq!(next, INTERVAL);
                at += next;
            }
            // Another interval holds at once.
            assert!(turn.wait(at, Duration::from_secs(5)) <= Duration::from_secs(5));
        }
    }
}
