//! Notices what becomes of runs that systemd has: ends, restarts by systemd itself, units that
//! nobody wants any more.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use tenantry_journal::id::{InstanceId, RunId};
use tenantry_projections::world::instances::{Phase, Side};
use tenantry_projections::world::{ProcessMark, World};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::{ended, mark, status};
use crate::domain::command::Command;
use crate::drivers::probe;
use crate::drivers::systemd::Known;
use crate::error::chain;
use crate::supervisor::{Supervisor, target};

/// How often the World is compared with what is there, at most.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often when nothing changes: for what could not be done before.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// How long a question that systemd did not answer waits.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What is done about a unit. Ends its task when dropped.
struct Task {
    what: What,
    handle: AbortHandle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Its process is waited for.
    Watched(ProcessMark),
    /// It is being removed: nobody wants it.
    Removed,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// Watches for ever.
pub(in crate::supervisor) async fn watch(supervisor: &Arc<Supervisor>) {
    let mut tasks: HashMap<String, Task> = HashMap::new();
    let mut changes = supervisor.handle.changes();
    loop {
        changes.mark_unchanged();
        look(supervisor, &mut tasks).await;
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn look(supervisor: &Arc<Supervisor>, tasks: &mut HashMap<String, Task>) {
    if !supervisor.units.systemd.is_used() {
        return;
    }
    // First what is there, then the World: a run is recorded before its unit is made.
    let at = Arc::clone(supervisor);
    let listed = tokio::task::spawn_blocking(move || at.units.systemd.list()).await;
    let known = match listed {
        Ok(Ok(known)) => known,
        Ok(Err(error)) => {
            tracing::warn!(error = chain(&error), "units cannot be listed");
            return;
        }
        Err(_) => return,
    };
    let world = supervisor.handle.world();
    // One whose unit is gone may still have to tell of it.
    tasks.retain(|_, task| !task.handle.is_finished());
    for known in known {
        let run = world.instances.get(known.instance).and_then(|instance| instance.find_run(known.run));
        let what = match run {
            // It was named and is being started.
            Some(run) => match run.process {
                Some(mark) => What::Watched(mark),
                None => continue,
            },
            None => What::Removed,
        };
        let begin = || {
            let (supervisor, known) = (Arc::clone(supervisor), known.clone());
            let handle = match what {
                What::Watched(mark) => tokio::spawn(attend(supervisor, known, mark)),
                What::Removed => tokio::spawn(async move { supervisor.units.remove(&known).await }),
            };
            Task { what, handle: handle.abort_handle() }
        };
        match tasks.entry(known.name.clone()) {
            Entry::Occupied(mut task) if task.get().what != what => drop(task.insert(begin())),
            Entry::Occupied(_) => {}
            Entry::Vacant(place) => drop(place.insert(begin())),
        }
    }
}

/// Waits for the end of a run's process, and reports what followed.
async fn attend(supervisor: Arc<Supervisor>, known: Known, gone: ProcessMark) {
    let Known { name, run, instance } = &known;
    let (instance_id, run_id) = (*instance, *run);
    ended(gone).await;
    if is_ending(&supervisor.handle.world(), instance_id, run_id) {
        // Whoever ends it says how it ended.
        return;
    }
    let units = &supervisor.units;
    let state = loop {
        match units.settled(name, Some(gone)).await {
            Ok(state) => break state,
            Err(error) => {
                tracing::warn!(unit = name, error = chain(&error), "systemd does not say how a run is");
                tokio::time::sleep(ASK_AGAIN).await;
            }
        }
    };
    if let Some(ProcessMark { pid, start_ticks }) = mark(&state).filter(|mark| *mark != gone) {
        tracing::info!(
            unit = name,
            pid,
            systemd.restarts = state.restarts,
            "systemd has started a run again"
        );
        let start_ticks = Some(start_ticks);
        // A task of its own: this one gives way to the one that waits for the new process.
        tokio::spawn(check_once_it_answers(Arc::clone(&supervisor), instance_id));
        supervisor.insist(Command::RunAdopted { instance_id, run_id, pid, start_ticks }).await;
        return;
    }
    // First nothing of it runs any more, nor will: then the next run may begin.
    while let Err(error) = units.systemd.ensure_stopped(name, Duration::ZERO).await {
        tracing::warn!(unit = name, error = chain(&error), "a unit does not stop");
        tokio::time::sleep(ASK_AGAIN).await;
    }
    let (status, at) = (status(&state), crate::clock::now());
    units.remove(&known).await;
    supervisor.insist(Command::RunExited { instance_id, run_id, status, at }).await;
}

/// Has the tenant checked as soon as a process that was just started accepts connections: a
/// check in between found it down, and the next would come minutes later.
async fn check_once_it_answers(supervisor: Arc<Supervisor>, instance: InstanceId) {
    let world = supervisor.handle.world();
    let Some(instance) = world.instances.get(instance) else { return };
    let (Some(spec), Some((tenant, _))) = (instance.spec.open(), instance.tenant) else { return };
    let end = Instant::now() + Duration::from_millis(spec.startup_timeout_ms);
    while !probe::connect(&target(spec)).await.up && Instant::now() < end {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    drop(supervisor.check_tenant(tenant).await);
}

/// Whether a run is being ended on purpose.
fn is_ending(world: &World, id: InstanceId, run: RunId) -> bool {
    world.instances.get(id).is_some_and(|instance| match instance.side_of(run) {
        Some(side) => side == Side::Stopping,
        None => instance.phase == Phase::Stopping,
    })
}
