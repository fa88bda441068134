//! Facts of instances that are no events: what the last checks saw, what a process uses.
//! In memory only, and lost without harm.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tenantry_journal::id::{InstanceId, RunId};
use tenantry_journal::time::Timestamp;

use super::storage::Storage;
use super::usage::Usage;
use crate::drivers::probe::ProbeReport;

/// How many health checks there were since the control plane began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// All of them.
    pub total: u64,
    /// Those that found it well.
    pub passed: u64,
    /// Those that did not.
    pub failed: u64,
}

/// What is known of an instance besides what is recorded.
#[derive(Clone, Debug, Default)]
pub struct LiveFacts {
    /// The run that the last check was of.
    pub run: Option<RunId>,
    /// When the last check ended.
    pub last_check: Option<Timestamp>,
    /// Counts over all runs.
    pub checks: Checks,
    /// What the last check saw.
    pub last: Option<ProbeReport>,
    /// Failed checks of the present run since one passed.
    pub failed_in_a_row: u32,
    /// What its processes use.
    pub usage: Option<Usage>,
    /// What its directory takes, when that has a quota.
    pub storage: Option<Storage>,
}

/// The facts of all instances. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Live(Arc<Mutex<HashMap<InstanceId, LiveFacts>>>);

impl Live {
    /// What is known of an instance.
    #[must_use]
    pub fn get(&self, id: InstanceId) -> Option<LiveFacts> {
        self.lock().get(&id).cloned()
    }

    /// Takes note of a check. Returns how many have failed in a row.
    pub fn note_check(&self, id: InstanceId, run: RunId, report: &ProbeReport, at: Timestamp) -> u32 {
        let mut all = self.lock();
        let facts = all.entry(id).or_default();
        if facts.run.replace(run) != Some(run) {
            facts.failed_in_a_row = 0;
        }
        facts.checks.total += 1;
        if report.up {
            facts.checks.passed += 1;
            facts.failed_in_a_row = 0;
        } else {
            facts.checks.failed += 1;
            facts.failed_in_a_row += 1;
        }
        facts.last = Some(report.clone());
        facts.last_check = Some(at);
        facts.failed_in_a_row
    }

    /// Takes note of what an instance's processes use; `None` when it has none.
    pub fn note_usage(&self, id: InstanceId, usage: Option<Usage>) {
        self.lock().entry(id).or_default().usage = usage;
    }

    /// Takes note of what an instance's directory takes. Returns what it took before.
    pub fn note_storage(&self, id: InstanceId, storage: Storage) -> Option<Storage> {
        self.lock().entry(id).or_default().storage.replace(storage)
    }

    /// Forgets an instance.
    pub fn forget(&self, id: InstanceId) {
        self.lock().remove(&id);
    }

    /// A panic elsewhere leaves counts that are at worst off by one.
    fn lock(&self) -> MutexGuard<'_, HashMap<InstanceId, LiveFacts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_are_of_one_run() {
        let live = Live::default();
        let id = InstanceId(uuid::Uuid::now_v7());
        let run = || RunId(uuid::Uuid::now_v7());
        let report = |up| ProbeReport { up, status_code: None, response_time_ms: 1, detail: String::new() };
        let (first, second) = (run(), run());
        let seen: Vec<u32> =
            [(first, false), (first, false), (second, false), (second, true), (second, false)]
                .into_iter()
                .map(|(run, up)| live.note_check(id, run, &report(up), Timestamp(1)))
                .collect();
        assert_eq!(seen, [1, 2, 1, 0, 1]);
        assert_eq!(live.get(id).unwrap().checks, Checks { total: 5, passed: 1, failed: 4 });
    }
}
