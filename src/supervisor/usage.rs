//! What an instance's processes use, read from /proc every few seconds.
//!
//! A run's processes are those of its session, which the keeper makes for it; one pass over
//! /proc serves all instances.

use std::collections::HashMap;
use std::time::Duration;

use tenantry_journal::id::InstanceId;
use tokio::time::Instant;

use super::live::Live;
use crate::engine::Handle;

/// Often enough for a person who watches, seldom enough to cost nothing to speak of.
const EVERY: Duration = Duration::from_secs(5);

/// What an instance's processes use together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Resident memory, in bytes; shared pages are counted in each process.
    pub memory_bytes: u64,
    /// Processor time since the last sample, in percent of one processor.
    pub cpu_percent: f64,
    /// How many processes.
    pub processes: u32,
}

#[derive(Clone, Copy, Default)]
struct Sum {
    ticks: u64,
    pages: u64,
    processes: u32,
}

/// Samples for ever.
pub(super) async fn sample(handle: &Handle, live: &Live) {
    let ticks_per_second = rustix::param::clock_ticks_per_second().max(1) as f64;
    let page = rustix::param::page_size() as u64;
    let mut before: HashMap<InstanceId, (u32, u64, Instant)> = HashMap::new();
    let mut every = tokio::time::interval(EVERY);
    loop {
        every.tick().await;
        let world = handle.world();
        let leaders: Vec<(InstanceId, u32)> = world
            .instances
            .iter()
            .filter_map(|instance| Some((instance.id, instance.run.as_ref()?.process?.pid)))
            .collect();
        if leaders.is_empty() {
            before.clear();
            continue;
        }
        let Ok(sums) = tokio::task::spawn_blocking(sessions).await else { continue };
        let now = Instant::now();
        let mut seen = HashMap::new();
        for (id, pid) in leaders {
            let Some(sum) = sums.get(&pid) else {
                live.note_usage(id, None);
                continue;
            };
            let cpu_percent = match before.get(&id) {
                Some((same, ticks, at)) if *same == pid => {
                    let used = sum.ticks.saturating_sub(*ticks) as f64 / ticks_per_second;
                    used / now.duration_since(*at).as_secs_f64().max(f64::EPSILON) * 100.0
                }
                _ => 0.0,
            };
            let memory_bytes = sum.pages.saturating_mul(page);
            live.note_usage(id, Some(Usage { memory_bytes, cpu_percent, processes: sum.processes }));
            seen.insert(id, (pid, sum.ticks, now));
        }
        before = seen;
    }
}

/// What each session uses, by its leader's pid.
fn sessions() -> HashMap<u32, Sum> {
    let mut sums: HashMap<u32, Sum> = HashMap::new();
    let Ok(processes) = std::fs::read_dir("/proc") else { return sums };
    for process in processes.filter_map(Result::ok) {
        let name = process.file_name();
        if !name.to_str().is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit())) {
            continue;
        }
        let Ok(stat) = std::fs::read_to_string(process.path().join("stat")) else { continue };
        if let Some((session, ticks, pages)) = parse(&stat) {
            let sum = sums.entry(session).or_default();
            sum.ticks += ticks;
            sum.pages += pages;
            sum.processes += 1;
        }
    }
    sums
}

/// Session, processor ticks and resident pages from a line of /proc/PID/stat (proc(5)).
fn parse(stat: &str) -> Option<(u32, u64, u64)> {
    // The name in brackets may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some((u32::try_from(number(3)?).ok()?, number(11)? + number(12)?, number(21)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_session_uses_memory() {
        let own = std::fs::read_to_string("/proc/self/stat").unwrap();
        let (session, _, pages) = parse(&own).unwrap();
        assert!(pages > 0);
        assert!(sessions().get(&session).unwrap().processes > 0);
    }

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let line = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23";
        assert_eq!(parse(line), Some((3, 11 + 12, 21)));
    }
}
