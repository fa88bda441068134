//! The ends of runs: recorded first, then forgotten by the keeper.

use std::time::Duration;

use tenantry_journal::event::instance::ExitStatus;
use tenantry_journal::id::{InstanceId, RunId};
use tenantry_journal::time::Timestamp;
use tenantry_projections::world::World;
use tenantry_projections::world::instances::Phase;
use tokio::time::Instant;

use crate::domain::command::{Command, Submission};
use crate::engine::{Handle, SubmitError};
use crate::keeper::client::Keeper;

/// How soon a report that could not be recorded is tried again, doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// The longest wait between two attempts.
const RETRY_LAST: Duration = Duration::from_secs(5);
/// How long the end of a run waits for the report of its beginning, which another task
/// submits: a process that exits at once would otherwise seem to have ended before it began.
const BEGINNING: Duration = Duration::from_millis(500);

/// How a run ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) run_id: RunId,
    pub(super) instance_id: InstanceId,
    pub(super) status: ExitStatus,
    pub(super) at: Timestamp,
}

/// Records an end, then lets the keeper forget it.
pub(super) async fn record(handle: Handle, keeper: Keeper, end: End) {
    let begun = |world: &World| (!is_beginning(world, end)).then_some(());
    // Late is better than never: the end counts with or without its beginning.
    let _ = handle.until(Instant::now() + BEGINNING, begun).await;
    let End { run_id, instance_id, status, at } = end;
    insist(&handle, Command::RunExited { instance_id, run_id, status, at }).await;
    if let Err(error) = keeper.forget(run_id).await {
        tracing::debug!(run.id = %run_id, %error, "the keeper forgets this run later");
    }
}

fn is_beginning(world: &World, end: End) -> bool {
    world.instances.get(end.instance_id).is_some_and(|instance| {
        let is_beginning = instance.phase == Phase::Starting || instance.side_of(end.run_id).is_some();
        is_beginning && instance.find_run(end.run_id).is_some_and(|run| run.process.is_none())
    })
}

/// Submits until it is recorded or refused for good.
pub(super) async fn insist(handle: &Handle, command: Command) {
    let mut wait = RETRY_FIRST;
    loop {
        match handle.submit(Submission::system(command.clone(), None)).await {
            Ok(_) => return,
            Err(SubmitError::Rejected(rejection)) => {
                tracing::warn!(%rejection, "a report was refused");
                return;
            }
            Err(SubmitError::Unavailable(_)) => tokio::time::sleep(wait).await,
        }
        wait = (wait * 2).min(RETRY_LAST);
    }
}
