//! Health checks of running instances, each on a schedule of its own.
//!
//! Each run that has a health path is checked once an interval, at a turn of its own, so that
//! what began together is not checked together. All checks live in one task, each by itself: a
//! slow or hanging instance delays no other, and what happens to many costs one wake-up.
//! [`FAILURES`] failed checks in a row are reported as unhealthy, one that passes after that
//! as healthy; what follows is decided elsewhere.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{AbortHandle, FutureExt as _, abortable};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tenantry_journal::event::instance::{InstanceHealth, Listen, ProcessSpec};
use tenantry_journal::id::{InstanceId, RunId};
use tenantry_projections::world::World;
use tenantry_projections::world::instances::{Instance, Phase};
use tokio::time::Instant;

use super::Supervisor;
use super::live::Live;
use super::turns::{Turn, Turns};
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
/// Turns come in steps of this: a program that wakes for some checks at once wakes less often.
const STEP: Duration = Duration::from_millis(100);
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
    let (mut turns, began) = (Turns::default(), Instant::now());
    let mut checks = FuturesUnordered::new();
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
                turn: turns.give(),
                began,
            };
            let (path, interval_ms) = (check.path.clone(), spec.health_interval_ms);
            let (run_checks, task) = abortable(AssertUnwindSafe(check.run()).catch_unwind());
            checks.push(run_checks);
            schedules.insert(instance.id, Schedule { run, path, interval_ms, task });
        }
        let look_again = async {
            let changed = changes.changed().await;
            tokio::time::sleep(LOOK_EVERY).await;
            changed.is_ok()
        };
        let mut look_again = std::pin::pin!(look_again);
        loop {
            tokio::select! {
                goes_on = &mut look_again => if goes_on { break } else { return },
                Some(ended) = checks.next() => if let Ok(Err(_)) = ended {
                    tracing::error!("a health check panicked; its instance is not checked any more");
                },
            }
        }
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
    turn: Turn,
    /// When the first intervals of all began.
    began: Instant,
}

impl Check {
    /// How long it is until the next check when all is well.
    fn until_turn(&self) -> Duration {
        self.turn.wait_in_steps(self.began.elapsed(), self.interval, STEP)
    }

    async fn run(mut self) {
        let mut wait = self.until_turn();
        loop {
            tokio::time::sleep(wait).await;
            let report = probe::http(&self.target, &self.path).await;
            self.metrics.note_check(report.up);
            let failed = self.live.note_check(self.instance, self.run, &report, crate::clock::now());
            wait = if report.up { self.until_turn() } else { (self.interval / SOONER).max(SHORTEST) };
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
