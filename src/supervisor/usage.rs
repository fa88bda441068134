//! What an instance's processes use, looked at every few seconds.
//!
//! A run that has a control group is asked there; one pass over `/proc` serves all others.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tenantry_journal::id::{InstanceId, RunId};
use tenantry_projections::world::World;
use tokio::time::Instant;

use super::Supervisor;
use super::history::RequestCounts;
use super::processes::{Processes, Sum};
use crate::keeper::cgroup::Group;
use crate::telemetry::metrics::UsageTotals;

/// Often enough for a person who watches, seldom enough to cost nothing to speak of.
const EVERY: Duration = Duration::from_secs(5);
/// A run that just began is looked at this soon, so that nobody sees zeros for long.
const SOON: Duration = Duration::from_millis(500);

/// Where the numbers come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Meter {
    /// The processes themselves; shared pages are counted in each.
    #[default]
    Processes,
    /// The run's control group.
    Group,
}

/// What an instance's processes use together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Memory in use, in bytes.
    pub memory_bytes: u64,
    /// Processor time since the last sample, in percent of one processor.
    pub cpu_percent: f64,
    /// How many processes.
    pub processes: u32,
    /// Where this comes from.
    pub meter: Meter,
}

/// Counts an instance's requests.
pub type CountRequests = Arc<dyn Fn(InstanceId) -> RequestCounts + Send + Sync>;

/// A run to be looked at.
#[derive(Clone, Copy)]
struct Subject {
    instance: InstanceId,
    run: RunId,
    pid: u32,
}

/// What was found of a run.
struct Found {
    memory_bytes: u64,
    /// Processor time since its beginning, in seconds.
    cpu_seconds: f64,
    processes: u32,
    meter: Meter,
}

/// What is kept from one look to the next.
#[derive(Default)]
struct Eye {
    processes: Processes,
    /// Groups of runs, looked for once each.
    groups: HashMap<RunId, Option<Group>>,
}

impl Eye {
    fn look(&mut self, subjects: &[Subject], keeper: u32) -> HashMap<RunId, Found> {
        let page = rustix::param::page_size() as u64;
        let ticks_per_second = rustix::param::clock_ticks_per_second().max(1) as f64;
        let present: HashSet<RunId> = subjects.iter().map(|subject| subject.run).collect();
        self.groups.retain(|run, _| present.contains(run));
        let mut found = HashMap::new();
        for subject in subjects {
            let group = self.groups.entry(subject.run).or_insert_with(|| Group::of(subject.pid, subject.run));
            if let Some(seen) = group.as_ref().and_then(in_group) {
                found.insert(subject.run, seen);
            }
        }
        let leaders: HashMap<u32, RunId> = subjects.iter().map(|s| (s.pid, s.run)).collect();
        if found.len() == subjects.len() {
            return found;
        }
        for (run, Sum { ticks, pages, processes }) in self.processes.look(&leaders, keeper) {
            found.entry(run).or_insert_with(|| Found {
                memory_bytes: pages.saturating_mul(page),
                cpu_seconds: ticks as f64 / ticks_per_second,
                processes,
                meter: Meter::Processes,
            });
        }
        found
    }
}

/// `None` when the group does not count both.
fn in_group(group: &Group) -> Option<Found> {
    Some(Found {
        memory_bytes: group.memory_bytes()?,
        cpu_seconds: group.cpu_seconds()?,
        processes: group.size(),
        meter: Meter::Group,
    })
}

fn subjects(world: &World) -> Vec<Subject> {
    let running = |instance: &Arc<tenantry_projections::world::instances::Instance>| {
        let run = instance.run.as_ref()?;
        Some(Subject { instance: instance.id, run: run.id, pid: run.process?.pid })
    };
    world.instances.iter().filter_map(running).collect()
}

/// Samples for ever.
pub(super) async fn sample(supervisor: &Supervisor) {
    let Supervisor { handle, live, history, metrics, .. } = supervisor;
    let mut before: HashMap<InstanceId, (RunId, f64, Instant)> = HashMap::new();
    let mut eye = Eye::default();
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = every.tick() => {}
            () = has_new_run(supervisor, &before) => {}
        }
        let world = handle.world();
        let subjects = subjects(&world);
        let keeper = world.keeper.map_or(0, |keeper| keeper.pid);
        let begin = Instant::now();
        let looked = tokio::task::spawn_blocking(move || {
            let found = eye.look(&subjects, keeper);
            (eye, subjects, found)
        });
        let Ok((kept, subjects, found)) = looked.await else {
            eye = Eye::default();
            continue;
        };
        eye = kept;
        let now = Instant::now();
        metrics.usage_sample_seconds.observe(now.duration_since(begin).as_secs_f64());
        let mut totals = UsageTotals::default();
        let mut seen = HashMap::new();
        for Subject { instance, run, .. } in subjects {
            let Some(found) = found.get(&run) else { continue };
            let cpu_percent = match before.get(&instance) {
                Some((same, seconds, at)) if *same == run => {
                    let used = (found.cpu_seconds - seconds).max(0.0);
                    used / now.duration_since(*at).as_secs_f64().max(f64::EPSILON) * 100.0
                }
                _ => 0.0,
            };
            let usage = Usage {
                memory_bytes: found.memory_bytes,
                cpu_percent,
                processes: found.processes,
                meter: found.meter,
            };
            totals.add(&usage);
            live.note_usage(instance, Some(usage));
            seen.insert(instance, (run, found.cpu_seconds, now));
        }
        metrics.note_usage(&totals);
        let at = crate::clock::now();
        for instance in world.instances.iter() {
            let id = instance.id;
            let usage = seen.contains_key(&id).then(|| live.get(id)).flatten().and_then(|facts| facts.usage);
            if usage.is_none() {
                live.note_usage(id, None);
            }
            history.note(id, at, usage, (supervisor.requests)(id));
        }
        history.retain(|id| world.instances.get(id).is_some());
        before = seen;
    }
}

/// Ends a moment after a run began that was never looked at.
async fn has_new_run(supervisor: &Supervisor, before: &HashMap<InstanceId, (RunId, f64, Instant)>) {
    let mut changes = supervisor.handle.changes();
    loop {
        changes.mark_unchanged();
        let world = supervisor.handle.world();
        let is_new =
            |subject: &Subject| before.get(&subject.instance).is_none_or(|(run, ..)| *run != subject.run);
        let is_there = subjects(&world).iter().any(is_new);
        if !is_there && changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(SOON).await;
        if is_there {
            return;
        }
    }
}
