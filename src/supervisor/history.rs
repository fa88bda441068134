//! The last hour of each instance, one sample every ten seconds. In memory only.
//!
//! A sample has 20 bytes, an hour of one instance 7 KiB; the room grows with the samples.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tenantry_journal::id::InstanceId;
use tenantry_journal::time::Timestamp;

use super::usage::Usage;

/// Time between two samples, in milliseconds.
pub const INTERVAL_MS: u64 = 10_000;
/// An hour of them.
const SAMPLES: usize = 360;
/// Room is made for so many at a time, so that a young instance takes little.
const GROWTH: usize = 36;
/// Requests a second are counted over this time, in milliseconds.
const MINUTE_MS: u64 = 60_000;
/// Counts of requests that are kept for that: one for each look at the processes.
const COUNTS: usize = 14;

/// How many requests the proxy has passed to an instance since the control plane began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestCounts {
    /// All.
    pub total: u64,
    /// Those that ended in an error: no answer, or a status of 500 and above.
    pub errors: u64,
}

/// One moment of an instance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When.
    pub at: Timestamp,
    /// What its processes used; `None` while it had none.
    pub usage: Option<Usage>,
    /// Requests since the sample before.
    pub requests: u32,
    /// Failed ones among them.
    pub errors: u32,
}

/// A sample as it is kept.
#[derive(Clone, Copy, Debug)]
struct Kept {
    /// Time in intervals since the epoch.
    slot: u32,
    /// [`NOTHING`] without a process.
    memory_kib: u32,
    /// Thousandths of a percent of one processor.
    cpu: u32,
    requests: u32,
    errors: u32,
}

const NOTHING: u32 = u32::MAX;

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(NOTHING - 1)
}

#[derive(Debug, Default)]
struct Past {
    samples: VecDeque<Kept>,
    /// What was counted at the last sample.
    counted: RequestCounts,
    /// Totals of the last minute, oldest first.
    totals: VecDeque<(u64, u64)>,
}

/// The last hour of all instances. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct History(Arc<Mutex<HashMap<InstanceId, Past>>>);

impl History {
    /// Takes note of an instance as it is now. Within one interval only the first is kept.
    pub fn note(&self, id: InstanceId, at: Timestamp, usage: Option<Usage>, counts: RequestCounts) {
        let mut all = self.lock();
        let past = all.entry(id).or_default();
        while past.totals.len() >= COUNTS
            || past.totals.get(1).is_some_and(|(then, _)| then + MINUTE_MS <= at.0)
        {
            past.totals.pop_front();
        }
        past.totals.push_back((at.0, counts.total));
        let slot = narrow(at.0 / INTERVAL_MS);
        if past.samples.back().is_some_and(|last| last.slot >= slot) {
            return;
        }
        if past.samples.len() >= SAMPLES {
            past.samples.pop_front();
        } else if past.samples.len() == past.samples.capacity() {
            past.samples.reserve_exact(GROWTH);
        }
        let before = std::mem::replace(&mut past.counted, counts);
        past.samples.push_back(Kept {
            slot,
            memory_kib: usage.map_or(NOTHING, |usage| narrow(usage.memory_bytes >> 10)),
            // Percents fit: a machine has fewer than forty thousand processors.
            cpu: usage.map_or(0, |usage| (usage.cpu_percent * 1000.0) as u32),
            requests: narrow(counts.total.saturating_sub(before.total)),
            errors: narrow(counts.errors.saturating_sub(before.errors)),
        });
    }

    /// The samples of the hour before `now`, oldest first.
    #[must_use]
    pub fn of(&self, id: InstanceId, now: Timestamp) -> Vec<Sample> {
        let first = narrow(now.0 / INTERVAL_MS).saturating_sub(SAMPLES as u32);
        let all = self.lock();
        let samples = all.get(&id).into_iter().flat_map(|past| &past.samples);
        let recent = samples.filter(|kept| kept.slot > first);
        recent
            .map(|kept| Sample {
                at: Timestamp(u64::from(kept.slot) * INTERVAL_MS),
                usage: (kept.memory_kib != NOTHING).then(|| Usage {
                    memory_bytes: u64::from(kept.memory_kib) << 10,
                    cpu_percent: f64::from(kept.cpu) / 1000.0,
                    ..Usage::default()
                }),
                requests: kept.requests,
                errors: kept.errors,
            })
            .collect()
    }

    /// Requests a second over the last minute, or since the first look at a younger instance.
    #[must_use]
    pub fn rate(&self, id: InstanceId, now: Timestamp, total: u64) -> f64 {
        let all = self.lock();
        let totals = all.get(&id).map(|past| &past.totals);
        let oldest =
            totals.and_then(|totals| totals.iter().find(|(at, _)| at + MINUTE_MS + MINUTE_MS / 4 >= now.0));
        let Some((at, then)) = oldest.filter(|(at, _)| *at < now.0) else { return 0.0 };
        total.saturating_sub(*then) as f64 * 1000.0 / (now.0 - at) as f64
    }

    /// Forgets those that are gone.
    pub fn retain(&self, is_there: impl Fn(InstanceId) -> bool) {
        self.lock().retain(|id, _| is_there(*id));
    }

    /// A panic elsewhere leaves at worst a sample too few.
    fn lock(&self) -> MutexGuard<'_, HashMap<InstanceId, Past>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> InstanceId {
        InstanceId(uuid::Uuid::from_u128(1))
    }

    fn counts(total: u64) -> RequestCounts {
        RequestCounts { total, errors: total / 10 }
    }

    #[test]
    fn an_hour_is_kept_and_no_more_in_a_few_kib() {
        let history = History::default();
        let usage = Usage { memory_bytes: 5 << 20, cpu_percent: 12.5, ..Usage::default() };
        for step in 0..1000 {
            let at = Timestamp(step * 5_000);
            history.note(id(), at, (step != 990).then_some(usage), counts(step * 10));
        }
        let now = Timestamp(1000 * 5_000);
        let samples = history.of(id(), now);
        assert_eq!(samples.len(), SAMPLES - 1, "the interval that has begun has no sample yet");
        assert!(samples.windows(2).all(|two| two[1].at.0 - two[0].at.0 == INTERVAL_MS));
        let last = samples.last().unwrap();
        assert_eq!(
            (last.at, last.usage, last.requests, last.errors),
            (Timestamp(4_990_000), Some(usage), 20, 2)
        );
        assert_eq!(samples[samples.len() - 5].usage, None);
        let room = history.lock()[&id()].samples.capacity() * size_of::<Kept>();
        assert!(room <= 8 * 1024, "{room} bytes");
        assert!(history.of(id(), Timestamp(now.0 + 2 * 3_600_000)).is_empty());
    }

    #[test]
    fn the_rate_is_that_of_the_last_minute() {
        let history = History::default();
        // A hundred a second for five minutes, then none.
        for second in (0..300).step_by(5) {
            history.note(id(), Timestamp(second * 1000), None, counts(second * 100));
        }
        assert!((history.rate(id(), Timestamp(300_000), 30_000) - 100.0).abs() < 1.0);
        for second in (300..400).step_by(5) {
            history.note(id(), Timestamp(second * 1000), None, counts(30_000));
        }
        assert!(history.rate(id(), Timestamp(400_000), 30_000) < 0.01);
        assert_eq!(History::default().rate(id(), Timestamp(1), 5), 0.0);
    }
}
