//! The way from started to healthy.
//!
//! The first looks come quickly, since most processes are up within a moment, and then in
//! proportion to the time that it has taken already. Whoever answers on the port must belong to the run: a stranger's listener makes
//! nobody healthy. The process's end is seen elsewhere and breaks this off.

use std::time::Duration;

use tenantry_journal::event::instance::{InstanceHealth, ProcessSpec};
use tenantry_journal::id::{InstanceId, RunId, Seq};
use tokio::time::Instant;

use super::outside::{Outside, TaskError};
use crate::domain::command::Command;
use crate::drivers::owner;
use crate::drivers::probe::{self, ProbeReport, Target};
use crate::supervisor::target;

/// The wait between the first looks: little beside the start of the quickest program.
const FIRST_WAIT: Duration = Duration::from_millis(5);
/// A later wait is this part of the time since the start, so it adds at most as much to it.
const PART: u32 = 4;
/// The longest wait: adds at most half a second to the start of a slow one.
const LAST_WAIT: Duration = Duration::from_millis(500);
/// Without a health path a process that has lived this long is taken to be up though it
/// accepts no connections: a worker need not listen.
const ALIVE: Duration = Duration::from_secs(1);
/// What a look gets though the time is up: after an absence of ours, one that has long been
/// well must be found so.
const LAST_LOOK: Duration = Duration::from_secs(1);

pub(super) async fn pass(
    outside: &Outside,
    instance_id: InstanceId,
    run_id: RunId,
    spec: &ProcessSpec,
    pid: u32,
    cause: Seq,
) -> Result<(), TaskError> {
    let target = target(spec);
    let age = age(outside, instance_id, run_id);
    let allowed = Duration::from_millis(spec.startup_timeout_ms);
    // Counted from the start of the process, also when we were away meanwhile.
    let came = Instant::now();
    let deadline = came + allowed.saturating_sub(age);
    let alive = came + ALIVE.saturating_sub(age);
    let (health, detail) = loop {
        let report = own(outside, look(&target, spec, deadline).await, &target, pid).await;
        if report.up {
            if spec.health.is_some() {
                outside.supervisor.live().note_check(instance_id, run_id, &report, crate::clock::now());
            }
            break (InstanceHealth::Healthy, report.detail);
        }
        let now = Instant::now();
        if spec.health.is_none() && now >= alive {
            break (InstanceHealth::Healthy, "alive".to_owned());
        }
        if now >= deadline {
            let seconds = allowed.as_secs_f64();
            break (
                InstanceHealth::Unhealthy,
                format!("not healthy within {seconds} s of its start: {}", report.detail),
            );
        }
        let end = if spec.health.is_none() { alive.min(deadline) } else { deadline };
        let wait = ((now - came + age) / PART).clamp(FIRST_WAIT, LAST_WAIT);
        tokio::time::sleep_until((now + wait).min(end)).await;
    };
    outside.submit(Command::HealthObserved { instance_id, run_id, health, detail }, cause).await.map(drop)
}

/// One look, which takes not much longer than the time that is left.
async fn look(target: &Target, spec: &ProcessSpec, deadline: Instant) -> ProbeReport {
    let probe = async {
        match &spec.health {
            Some(path) => probe::http(target, path).await,
            None => probe::connect(target).await,
        }
    };
    let until = deadline.max(Instant::now() + LAST_LOOK);
    tokio::time::timeout_at(until, probe).await.unwrap_or_else(|_| ProbeReport {
        up: false,
        status_code: None,
        response_time_ms: 0,
        detail: "no answer".to_owned(),
    })
}

/// How long ago the process was started.
fn age(outside: &Outside, id: InstanceId, run: RunId) -> Duration {
    let world = outside.handle.world();
    let run = world.instances.get(id).and_then(|instance| instance.find_run(run));
    let started = run.and_then(|run| run.started_at);
    started.map_or(Duration::ZERO, |at| Duration::from_millis(crate::clock::now().since_ms(at)))
}

/// The report, unless it is somebody else's.
async fn own(outside: &Outside, report: ProbeReport, target: &Target, pid: u32) -> ProbeReport {
    let Target::Port(port) = *target else { return report };
    if !report.up {
        return report;
    }
    let _place = outside.look().await;
    let owned = tokio::task::spawn_blocking(move || owner::is_listening(pid, port)).await;
    if owned.is_ok_and(|owned| owned == owner::Owned::ByAnother) {
        let detail = format!("port {port} is answered by another process");
        return ProbeReport { up: false, detail, ..report };
    }
    report
}
