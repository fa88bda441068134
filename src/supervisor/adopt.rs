//! What is recorded and what the keeper says are brought together, on every new connection.
//!
//! The World is read before the list and again after it, so that neither a run that began
//! nor one that ended meanwhile is mistaken: a recorded process that the keeper does not
//! know must be older than the list, and a listed run that is not recorded as its
//! instance's present one must be over or superseded.

use std::collections::HashMap;

use tenantry_journal::event::instance::ExitStatus;
use tenantry_journal::id::{InstanceId, RunId};
use tenantry_journal::spool::Key;
use tenantry_projections::world::World;
use tenantry_projections::world::instances::Instance;

use super::{Supervisor, runs};
use crate::domain::command::Command;
use crate::keeper::client::{Keeper, KeeperError};
use crate::keeper::protocol::{RunReport, RunState};

/// What is to be done about one run.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// It ended; record it and let the keeper forget it.
    Record(RunReport, ExitStatus, tenantry_journal::time::Timestamp),
    /// It lives, and a new keeper has it.
    Adopt(RunReport),
    /// Its output waits for the key.
    Resume(RunReport),
    /// Nobody wants it: there must never be two copies of one instance.
    Stop(RunId),
    /// It was recorded and is gone without a trace.
    Vanished(InstanceId, RunId),
}

/// Whether this keeper is the one that was recorded last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// It is another; what it took over is recorded as adopted.
    First,
    /// It is; what it took over was recorded then.
    Again,
}

pub(super) async fn reconcile(supervisor: &Supervisor, keeper: &Keeper, met: Met) -> Result<(), KeeperError> {
    let before = supervisor.handle.world();
    let reports = keeper.list().await?;
    let after = supervisor.handle.world();
    let is_elsewhere = |instance: &Instance, run| supervisor.units.has(instance, run);
    for step in steps(&before, &after, reports, met, is_elsewhere) {
        perform(supervisor, keeper, step).await;
    }
    Ok(())
}

async fn perform(supervisor: &Supervisor, keeper: &Keeper, step: Step) {
    match step {
        Step::Record(report, status, at) => {
            let (run_id, instance_id) = (report.run_id, report.instance_id);
            note_beginning(supervisor, &report).await;
            runs::record(
                supervisor.handle.clone(),
                keeper.clone(),
                runs::End { run_id, instance_id, status, at },
            )
            .await;
        }
        Step::Adopt(report) => {
            note_beginning(supervisor, &report).await;
            let RunReport { run_id, instance_id, pid, .. } = report;
            let start_ticks = None;
            supervisor.insist(Command::RunAdopted { instance_id, run_id, pid, start_ticks }).await;
        }
        Step::Resume(report) => {
            let world = supervisor.handle.world();
            let key = world.instances.get(report.instance_id).map(|instance| instance.name.key());
            let Some(key) = key.and_then(|key| supervisor.spool_key(key)) else { return };
            if let Err(error) = keeper.resume(report.run_id, Key::new(key)).await {
                tracing::warn!(run.id = %report.run_id, %error, "its output is not read");
            }
        }
        Step::Stop(run) => {
            tracing::warn!(run.id = %run, "a run that nobody wants is ended");
            if let Err(error) = keeper.kill(run).await {
                tracing::warn!(run.id = %run, %error, "a run that nobody wants goes on");
            }
        }
        Step::Vanished(instance_id, run_id) => {
            let at = crate::clock::now();
            supervisor
                .insist(Command::RunExited { instance_id, run_id, status: ExitStatus::Unknown, at })
                .await;
        }
    }
}

/// The beginning of a run that we were killed before recording.
async fn note_beginning(supervisor: &Supervisor, report: &RunReport) {
    let RunReport { run_id, instance_id, pid, start_ticks, .. } = *report;
    if pid != 0 {
        supervisor.insist(Command::RunStarted { instance_id, run_id, pid, start_ticks }).await;
    }
}

fn steps(
    before: &World,
    after: &World,
    reports: Vec<RunReport>,
    met: Met,
    is_elsewhere: impl Fn(&Instance, RunId) -> bool,
) -> Vec<Step> {
    let is_present = |report: &RunReport| {
        let instance = after.instances.get(report.instance_id);
        instance.is_some_and(|instance| instance.find_run(report.run_id).is_some())
    };
    let mut steps = Vec::new();
    let listed: HashMap<RunId, ()> = reports.iter().map(|report| (report.run_id, ())).collect();
    for report in reports {
        match report.state {
            RunState::Exited { status, at } => steps.push(Step::Record(report, status, at)),
            RunState::Running if !is_present(&report) => steps.push(Step::Stop(report.run_id)),
            RunState::Running => {
                if report.awaits_key {
                    steps.push(Step::Resume(report.clone()));
                }
                if report.adopted && met == Met::First {
                    steps.push(Step::Adopt(report));
                }
            }
        }
    }
    for instance in before.instances.iter() {
        // A run that was named and has no process yet is begun by the reactor, which the
        // keeper answers by its name.
        let both = instance.run.iter().chain(instance.beside.as_ref().map(|beside| &beside.run));
        let gone = both.filter(|run| run.process.is_some() && !listed.contains_key(&run.id));
        for run in gone.filter(|run| !is_elsewhere(instance, run.id)) {
            steps.push(Step::Vanished(instance.id, run.id));
        }
    }
    steps
}
