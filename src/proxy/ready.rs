//! Waiting until an instance can take a request, and waking it when it sleeps.
//!
//! A burst wakes it once, since only one of many wishes to wake it changes anything. Who
//! waits is told as soon as it is known that it will not come up.

use std::sync::Arc;
use std::time::Duration;

use tenantry_journal::event::instance::Listen;
use tenantry_journal::id::{InstanceId, RunId};
use tenantry_projections::world::World;
use tenantry_projections::world::instances::{Instance, Phase};
use tokio::time::Instant;

use super::page::Refusal;
use super::route::{State, state};
use crate::domain::command::{Command, Submission};
use crate::engine::{Handle, SubmitError};

/// On top of the start of the process: recording, and the end of the run before.
const MARGIN: Duration = Duration::from_secs(2);
/// No request waits longer than this, whatever the configuration allows a process.
const LONGEST: Duration = Duration::from_secs(120);

/// Where a run answers.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) run: RunId,
    pub(super) listen: Listen,
}

/// How long a request waits for an instance.
pub(super) fn patience(instance: &Instance) -> Duration {
    let Some(spec) = instance.spec.open() else { return MARGIN };
    // The run before may have to end first.
    let ending = if instance.run.is_some() { spec.stop_timeout_ms } else { 0 };
    (Duration::from_millis(spec.startup_timeout_ms.saturating_add(ending)) + MARGIN).min(LONGEST)
}

/// Waits until the instance is up.
///
/// # Errors
/// When it will not be, or not in time.
pub(super) async fn up(
    handle: &Handle,
    instance: &Arc<Instance>,
    deadline: Instant,
) -> Result<Target, Refusal> {
    let id = instance.id;
    match state(instance) {
        State::Up(run, listen) => return Ok(Target { run, listen }),
        State::Down => return Err(Refusal::Stopped),
        State::Asleep => wake(handle, id).await?,
        State::Coming => {}
    }
    let failures = handle.world().instances.get(id).map_or(0, |instance| instance.failures);
    handle.until(deadline, |world| settled(world, id, failures)).await.unwrap_or(Err(Refusal::NotUp))
}

/// What the wait has come to, if it has.
fn settled(world: &World, id: InstanceId, failures: u32) -> Option<Result<Target, Refusal>> {
    let Some(instance) = world.instances.get(id) else { return Some(Err(Refusal::Unknown)) };
    match state(instance) {
        State::Up(run, listen) => Some(Ok(Target { run, listen })),
        State::Down => Some(Err(Refusal::Stopped)),
        // It was woken and has failed.
        State::Asleep => Some(Err(Refusal::NotUp)),
        State::Coming if instance.failures > failures && instance.phase == Phase::Backoff => {
            Some(Err(Refusal::NotUp))
        }
        State::Coming => None,
    }
}

async fn wake(handle: &Handle, instance_id: InstanceId) -> Result<(), Refusal> {
    match handle.submit(Submission::system(Command::Wake { instance_id }, None)).await {
        Ok(_) => Ok(()),
        Err(SubmitError::Rejected(rejection)) => {
            tracing::warn!(%rejection, "an instance is not woken");
            Err(Refusal::Stopped)
        }
        Err(SubmitError::Unavailable(reason)) => {
            tracing::warn!(reason, instance.id = %instance_id, "an instance cannot be woken");
            Err(Refusal::NotUp)
        }
    }
}
