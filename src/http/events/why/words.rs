//! The chain of causes as a sentence.

use tenantry_journal::event::Event;
use tenantry_journal::event::deployment::{DeploymentOutcome, StepOutcome};
use tenantry_journal::event::instance::{
    ExitStatus, InstanceHealth, ProcessSpec, RestartReason, SleepReason,
};
use tenantry_journal::recorded::{Actor, Recorded};
use tenantry_journal::sealed::Sealed;
use tenantry_journal::time::Timestamp;
use tenantry_projections::world::World;
use tenantry_projections::world::tenants::TenantStatus;

/// Document 1's word for a tenant's status.
pub(super) fn status(status: TenantStatus) -> &'static str {
    match status {
        TenantStatus::Pending => "pending",
        TenantStatus::Deploying => "deploying",
        TenantStatus::Running => "running",
        TenantStatus::Stopped => "stopped",
        TenantStatus::Error => "in error",
    }
}

/// The whole: `running since ... because restarted by policy because exit code 3 ...`.
pub(super) fn sentence<'a>(
    state: &str,
    since: Timestamp,
    earlier_ends: usize,
    clauses: impl Iterator<Item = &'a str>,
) -> String {
    let mut text = format!("{state} since {}", clock(since));
    for clause in clauses {
        text.push_str(" because ");
        text.push_str(clause);
    }
    if earlier_ends > 0 {
        let times = if earlier_ends == 1 { "once".to_owned() } else { format!("{earlier_ends} times") };
        text.push_str(&format!(" (it had ended {times} before that)"));
    }
    text
}

/// A time to the second, UTC.
fn clock(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(..19).map_or(text.clone(), |seconds| seconds.replace('T', " "))
}

/// An event's part of the sentence; `None` when it adds nothing to `effect`, which it led to.
pub(super) fn clause(recorded: &Recorded, effect: Option<&Recorded>, names: &World) -> Option<String> {
    let is_limit = effect.is_some_and(|effect| {
        matches!(&effect.event, Event::InstanceExited(exited) if exited.status == ExitStatus::MemoryLimit)
    });
    let limit = limit(&recorded.event).filter(|_| is_limit);
    let what = match limit {
        Some(limit) => Some(format!("the memory limit of {limit} MiB")),
        None => what(&recorded.event),
    };
    let who = match recorded.actor {
        Actor::System => return what,
        Actor::User(_) => "the user",
        Actor::Token(_) => "the token",
    };
    let what = what.unwrap_or_else(|| recorded.event.kind().replace(['.', '_'], " "));
    let verb = if limit.is_some() { ", set by" } else { " by" };
    let name = names
        .access
        .actor_name(recorded.actor)
        .map_or_else(|| recorded.actor.id().map(|id| id.to_string()).unwrap_or_default(), str::to_owned);
    Some(format!("{what}{verb} {who} {name} at {}", clock(recorded.at)))
}

/// The memory limit in an event that says what an instance runs.
fn limit(event: &Event) -> Option<u64> {
    let spec: &Sealed<ProcessSpec> = match event {
        Event::InstanceSpawned(event) => &event.spec,
        Event::InstanceRespecified(event) => &event.spec,
        Event::InstanceSuccessorStarting(event) => &event.spec,
        _ => return None,
    };
    spec.open()?.limits.memory_limit_mb
}

fn what(event: &Event) -> Option<String> {
    Some(match event {
        Event::InstanceExited(event) => event.status.to_string(),
        Event::InstanceRestartScheduled(_) => "restarted by policy".to_owned(),
        Event::InstanceStartFailed(_) => "no process could be made".to_owned(),
        Event::InstanceEnded(event) if event.failed => "its policy does not start it again".to_owned(),
        Event::InstanceEnded(_) => "it came to its end".to_owned(),
        Event::InstanceHealthChanged(event) if event.health == InstanceHealth::Unhealthy => {
            format!("unhealthy ({})", event.detail)
        }
        Event::InstanceRestartRequested(event) => match event.reason {
            RestartReason::Unhealthy => "restarted for being unhealthy",
            RestartReason::Deployed => "replaced by another release",
            RestartReason::Requested => "restarted",
        }
        .to_owned(),
        Event::InstanceFellAsleep(event) if event.reason == SleepReason::WakeFailed => {
            "it could not be woken".to_owned()
        }
        Event::InstanceFellAsleep(_) => "nobody asked for it".to_owned(),
        Event::InstanceWoken(_) => "woken by a request".to_owned(),
        Event::InstanceAdopted(_) => "taken over by a new keeper".to_owned(),
        Event::InstanceStartRequested(_) => "started".to_owned(),
        Event::InstanceStopRequested(_) => "stopped".to_owned(),
        Event::DeploymentRequested(event) if event.rollback => {
            format!("release {} was brought back", event.release)
        }
        Event::DeploymentRequested(event) => format!("release {} was deployed", event.release),
        Event::DeploymentRetried(_) => "the deployment was retried".to_owned(),
        Event::DeploymentFinished(event) => match event.outcome {
            DeploymentOutcome::Success => return None,
            DeploymentOutcome::Failed => "the deployment failed".to_owned(),
            DeploymentOutcome::Cancelled => "the deployment was cancelled".to_owned(),
        },
        Event::StepFinished(event) if event.outcome == StepOutcome::Failed => {
            format!("the step '{}' failed", event.step.name())
        }
        Event::TenantCreated(_) => "created".to_owned(),
        Event::TenantDeletionRequested(_) => "deleted".to_owned(),
        Event::TenantRestored(event) => format!("restored to event {}", event.as_of),
        Event::TenantUpdated(event) => format!("{} updated", event.changed.join(", ")),
        Event::TenantConfigUpdated(event) => format!("{} configured", event.changed.join(", ")),
        Event::ConfigChanged(_) => "the configuration changed".to_owned(),
        Event::SystemStarted(_) => "the control plane started".to_owned(),
        Event::KeeperLost(_) => "the keeper was lost".to_owned(),
        _ => return None,
    })
}
