//! Health checks of running instances, each on a schedule of its own.
//!
//! One task for each run that has a health path: a slow or hanging instance delays no other.
//! [`FAILURES`] failed checks in a row are reported as unhealthy, one that passes after that
//! as healthy; what follows is decided elsewhere.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tenantry_journal::event::instance::{InstanceHealth, Listen, ProcessSpec};
use tenantry_journal::id::{InstanceId, RunId};
use tenantry_projections::world::World;
use tenantry_projections::world::instances::{Instance, Phase};
use tokio::task::AbortHandle;

use super::Supervisor;
use super::live::Live;
use crate::domain::command::{Command, Submission};
use crate::drivers::probe::{self, Target};
use crate::engine::Handle;
use crate::telemetry::metrics::Metrics;

/// How many checks must fail in a row: one may be lost to a busy moment, three are a state.
const FAILURES: u32 = 3;
/// After a failed check the next comes sooner, so that a dead one is replaced soon.
const SOONER: u32 = 4;
/// How often the World is compared with the schedules at most; a new run's first check comes
/// no later than its interval either way.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// No schedule is tighter than this, whatever the configuration says.
const SHORTEST: Duration = Duration::from_millis(100);

/// Where a process accepts connections.
pub(crate) fn target(spec: &ProcessSpec) -> Target {
    match &spec.listen {
        Listen::Port(port) => Target::Port(*port),
        Listen::Socket(path) => Target::Socket(path.into()),
    }
}

/// Keeps one schedule for each run that is to be checked.
pub(super) async fn monitor(supervisor: &Arc<Supervisor>) {
    let mut schedules: HashMap<InstanceId, Schedule> = HashMap::new();
    let mut changes = supervisor.handle.changes();
    loop {
        changes.mark_unchanged();
        let world = supervisor.handle.world();
        schedules.retain(|id, schedule| schedule.holds(&world, *id));
        for instance in world.instances.iter() {
            let Some(run) = checked_run(&world, instance.id) else { continue };
            if schedules.contains_key(&instance.id) {
                continue;
            }
            let Some(spec) = instance.spec.open() else { continue };
            let check = Check {
                handle: supervisor.handle.clone(),
                live: supervisor.live.clone(),
                metrics: Arc::clone(&supervisor.metrics),
                instance: instance.id,
                run,
                target: target(spec),
                path: spec.health.clone().unwrap_or_default(),
                interval: Duration::from_millis(spec.health_interval_ms).max(SHORTEST),
                unhealthy: instance.health == InstanceHealth::Unhealthy,
            };
            let (path, interval_ms) = (check.path.clone(), spec.health_interval_ms);
            let task = tokio::spawn(check.run()).abort_handle();
            schedules.insert(instance.id, Schedule { run, path, interval_ms, task });
        }
        if changes.changed().await.is_err() {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The run of an instance that is to be checked, if one is.
fn checked_run(world: &World, id: InstanceId) -> Option<RunId> {
    let instance: &Instance = world.instances.get(id)?;
    let checked = instance.phase == Phase::Running && instance.spec.open()?.health.is_some();
    instance.run.as_ref().filter(|_| checked).map(|run| run.id)
}

/// Checks of a run, as its specification says. Ends its task when dropped.
struct Schedule {
    run: RunId,
    path: String,
    interval_ms: u64,
    task: AbortHandle,
}

impl Schedule {
    /// Whether the run is still there and still to be checked so.
    fn holds(&self, world: &World, id: InstanceId) -> bool {
        let spec = world.instances.get(id).and_then(|instance| instance.spec.open());
        checked_run(world, id) == Some(self.run)
            && spec.is_some_and(|spec| {
                spec.health.as_deref() == Some(self.path.as_str())
                    && spec.health_interval_ms == self.interval_ms
            })
    }
}

impl Drop for Schedule {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Check {
    handle: Handle,
    live: Live,
    metrics: Arc<Metrics>,
    instance: InstanceId,
    run: RunId,
    target: Target,
    path: String,
    interval: Duration,
    unhealthy: bool,
}

impl Check {
    async fn run(mut self) {
        let mut wait = self.interval;
        loop {
            // A tenth either way, so that what began together is not checked together.
            let jitter = rand::rng().random_range(0.9..1.1);
            tokio::time::sleep(wait.mul_f64(jitter)).await;
            let report = probe::http(&self.target, &self.path).await;
            self.metrics.note_check(report.up);
            let failed = self.live.note_check(self.instance, self.run, &report, crate::clock::now());
            wait = if report.up { self.interval } else { (self.interval / SOONER).max(SHORTEST) };
            let health = match (self.unhealthy, failed) {
                (true, 0) => InstanceHealth::Healthy,
                (false, FAILURES..) => InstanceHealth::Unhealthy,
                _ => continue,
            };
            let (instance_id, run_id) = (self.instance, self.run);
            let command = Command::HealthObserved { instance_id, run_id, health, detail: report.detail };
            // What cannot be recorded now is seen again at the next check.
            if self.handle.submit(Submission::system(command, None)).await.is_ok() {
                self.unhealthy = health == InstanceHealth::Unhealthy;
            }
        }
    }
}
