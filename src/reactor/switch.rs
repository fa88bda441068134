//! The step that changes what serves: point `current` to the new release, let both processes
//! run it, and wait until both are well. What it changes, it can take back.

use std::time::Duration;

use tenantry_journal::event::instance::{ExitStatus, InstanceHealth, Role};
use tenantry_journal::id::{DeploymentId, InstanceId, Seq};
use tenantry_journal::spool::{Key, Reader};
use tenantry_journal::time::Timestamp;
use tenantry_projections::world::World;
use tenantry_projections::world::instances::{Instance, Phase};
use tokio::time::Instant;

use super::deployment::{Done, Job, Worked};
use super::outside::{Outside, TaskError, blocking};
use super::steps::{self, with_tail};
use crate::domain::command::Command;
use crate::error::chain;

/// What the two processes may take beyond their own timeouts: the end of the runs before,
/// the keeper, a busy machine.
const MARGIN: Duration = Duration::from_secs(30);
/// How many last lines of a failed process stand in the step's detail.
const LINES: usize = 10;

pub(super) async fn start_services(outside: &Outside, job: &Job, cause: Seq) -> Result<Worked, TaskError> {
    let deployment_id = job.deployment.id;
    let (files, directory, release) = (outside.files(), job.directory.clone(), job.deployment.release);
    let pointed = blocking(move |_| files.point_current(&directory, Some(release))).await;
    match pointed {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Ok(Err(chain(&error))),
        Err(error) => return Ok(Err(error)),
    }
    job.log.line(&format!("current is release {release}"));
    let switched = outside.submit(Command::SwitchServices { deployment_id }, cause).await?;
    let began = switched.world.at;
    let deadline = Instant::now() + allowed(&switched.world, job);
    let verdict = outside.handle.until(deadline, |world| verdict(world, job)).await;
    Ok(match verdict {
        Some(Ok(count)) => {
            // So that whoever reads the tenant when its deployment has ended finds it healthy.
            drop(outside.supervisor.check_tenant(job.tenant.id).await);
            let stamp = steps::stamp(&outside.files(), &job.directory, release).await;
            let commit = stamp.ok().flatten().and_then(|stamp| stamp.commit);
            Ok(Done { detail: format!("release {release} serves, {count} processes are healthy"), commit })
        }
        Some(Err((id, why))) => Err(with_tail(&why, &last_lines(outside, id, began).await)),
        None => Err("the processes were neither healthy nor failed in time".to_owned()),
    })
}

fn instances<'a>(world: &'a World, job: &Job) -> impl Iterator<Item = &'a Instance> {
    let tenant = world.tenants.get(job.tenant.id);
    let ids = tenant
        .into_iter()
        .flat_map(|tenant| [tenant.instance(Role::Frontend), tenant.instance(Role::Backend)]);
    ids.flatten().filter_map(|id| world.instances.get(id)).map(|instance| &**instance)
}

/// How long the switch may take as a whole.
fn allowed(world: &World, job: &Job) -> Duration {
    let longest = instances(world, job)
        .filter_map(|instance| instance.spec.open())
        .map(|spec| spec.startup_timeout_ms.saturating_add(spec.stop_timeout_ms))
        .max();
    Duration::from_millis(longest.unwrap_or(0)) + MARGIN
}

/// How many are healthy once all are; why it failed once one has; `None` while neither is so.
fn verdict(world: &World, job: &Job) -> Option<Result<usize, (InstanceId, String)>> {
    let mut healthy = 0;
    let mut waiting = false;
    for instance in instances(world, job) {
        // Until its new run is named, what is seen is the release before.
        let is_new = instance.deployment == Some(job.deployment.id) && instance.restart.is_none();
        match instance.phase {
            Phase::Running if is_new && instance.health == InstanceHealth::Healthy => healthy += 1,
            Phase::Failed | Phase::Backoff if is_new => return Some(Err((instance.id, failure(instance)))),
            _ => waiting = true,
        }
    }
    if waiting {
        return None;
    }
    Some(Ok(healthy))
}

fn failure(instance: &Instance) -> String {
    let name = instance.name.open().map_or_else(|| instance.id.to_string(), ToString::to_string);
    let how = match &instance.last_exit {
        Some(exit) => match (&exit.status, &exit.reason) {
            (Some(ExitStatus::Code(code)), _) => format!("exit status {code}"),
            (Some(ExitStatus::Signal(signal)), _) => format!("signal {signal}"),
            (Some(ExitStatus::MemoryLimit), _) => "the kernel killing it at its memory limit".to_owned(),
            (None, Some(reason)) => reason.open().cloned().unwrap_or_else(|| "no process".into()),
            (Some(ExitStatus::Unknown) | None, _) => "an unknown exit status".to_owned(),
        },
        None => "no process".to_owned(),
    };
    format!("{name} does not run the release: it ended with {how}")
}

/// What an instance printed last since a moment.
async fn last_lines(outside: &Outside, id: InstanceId, since: Timestamp) -> Vec<String> {
    let world = outside.handle.world();
    let Some(instance) = world.instances.get(id) else { return Vec::new() };
    let key = outside.supervisor.spool_key(instance.name.key()).map(Key::new);
    let spool = outside.supervisor.spool(id);
    let read = blocking(move |_| Reader::open(&spool, id.0, key.as_ref()).last(LINES, None)).await;
    let Ok(Ok(records)) = read else { return Vec::new() };
    records
        .into_iter()
        .filter(|record| record.at >= since)
        .map(|record| String::from_utf8_lossy(&record.bytes).into_owned())
        .collect()
}

/// Points `current` back. Says what is so then.
pub(super) async fn take_back(outside: &Outside, job: &Job) -> String {
    let (files, directory, previous) =
        (outside.files(), job.directory.clone(), job.deployment.previous_release);
    let pointed = blocking(move |_| files.point_current(&directory, previous)).await;
    match (pointed, previous) {
        (Ok(Ok(())), Some(previous)) => format!("current is release {previous} again"),
        (Ok(Ok(())), None) => "nothing served before: current is removed".to_owned(),
        (Ok(Err(error)), _) => format!("current could not be pointed back: {}", chain(&error)),
        (Err(error), _) => format!("current could not be pointed back: {error}"),
    }
}

/// Removes releases that no rollback will want. Not worth failing a deployment for.
pub(super) async fn prune(outside: &Outside, world: &World, id: DeploymentId) {
    let Some(deployment) = world.deployments.get(id) else { return };
    let tenant = world.tenants.get(deployment.tenant_id);
    let Some(details) = tenant.and_then(|tenant| tenant.details.open()) else { return };
    let serving: Vec<u32> =
        [Some(deployment.release), deployment.previous_release].into_iter().flatten().collect();
    let (files, directory) = (outside.files(), details.directory.clone());
    let pruned = blocking(move |_| files.prune(directory.as_ref(), &serving)).await;
    if let Ok(Err(error)) = pruned {
        tracing::warn!(deployment.id = %id, error = %chain(&error), "old releases are left behind");
    }
}
