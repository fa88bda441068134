//! The step that changes what serves: point `current` to the new release, have both processes
//! started beside those that serve, and wait until both are well and have taken over. What it
//! changes, it can take back.

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
use crate::domain::policy::Policy;
use crate::drivers::systemd::Printed;
use crate::error::chain;

/// What the two processes may take beyond their own timeouts: the end of the runs before,
/// the keeper, a busy machine.
const MARGIN: Duration = Duration::from_secs(30);
/// How many last lines of a failed process stand in the step's detail.
const LINES: usize = 10;
/// Among how many they are looked for: a busy process beside it may print hundreds meanwhile.
const LOOKED_AT: usize = 2_000;

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
    let policy = outside.policy.load_full();
    let deadline = Instant::now() + allowed(&switched.world, job, &policy);
    let verdict = outside.handle.until(deadline, |world| verdict(world, job, &policy)).await;
    Ok(match verdict {
        Some(Ok(count)) => {
            outside.supervisor.forward().await;
            // So that whoever reads the tenant when its deployment has ended finds it healthy.
            drop(outside.supervisor.recheck_tenant(job.tenant.id).await);
            let stamp = steps::stamp(&outside.files(), &job.directory, release).await;
            let commit = stamp.ok().flatten().and_then(|stamp| stamp.commit);
            Ok(Done { detail: format!("release {release} serves, {count} processes are healthy"), commit })
        }
        Some(Err((id, why))) => Err(with_tail(&why, &last_lines(outside, id, deployment_id, began).await)),
        None => Err("the processes were neither healthy nor failed in time".to_owned()),
    })
}

fn instances<'a>(world: &'a World, job: &Job, policy: &'a Policy) -> impl Iterator<Item = &'a Instance> {
    let tenant = world.tenants.get(job.tenant.id);
    let of = move |role| policy.template.of(role).and(tenant)?.instance(role);
    let ids = [Role::Frontend, Role::Backend].into_iter().filter_map(of);
    ids.filter_map(|id| world.instances.get(id)).map(|instance| &**instance)
}

/// How long the switch may take as a whole: the new processes start, then the old ones end.
fn allowed(world: &World, job: &Job, policy: &Policy) -> Duration {
    let present = instances(world, job, policy).filter_map(|instance| instance.spec.open());
    let present = present.map(|spec| (spec.startup_timeout_ms, spec.stop_timeout_ms));
    let template = [Role::Frontend, Role::Backend].into_iter().filter_map(|role| policy.template.of(role));
    let next = template.map(|next| (next.startup_timeout_ms, next.stop_timeout_ms));
    let (start, stop) = present
        .chain(next)
        .fold((0, 0), |longest, (start, stop)| (start.max(longest.0), stop.max(longest.1)));
    Duration::from_millis(start.saturating_add(stop)) + MARGIN
}

/// How many are healthy once all are; why it failed once one has; `None` while neither is so.
fn verdict(world: &World, job: &Job, policy: &Policy) -> Option<Result<usize, (InstanceId, String)>> {
    let mut healthy = 0;
    let mut waiting = false;
    for instance in instances(world, job, policy) {
        match state(instance, job.deployment.id) {
            State::Serves => healthy += 1,
            State::Coming => waiting = true,
            State::Failed(why) => return Some(Err((instance.id, why))),
        }
    }
    if waiting {
        return None;
    }
    Some(Ok(healthy))
}

/// How far an instance is on its way to a deployment's release.
enum State {
    Serves,
    Coming,
    Failed(String),
}

fn state(instance: &Instance, deployment: DeploymentId) -> State {
    if instance.deployment == Some(deployment) {
        return match instance.phase {
            Phase::Failed | Phase::Backoff => State::Failed(failure(instance)),
            // The run before it may still be ending.
            Phase::Running if instance.beside.is_none() && instance.restart.is_none() => {
                if instance.health == InstanceHealth::Healthy { State::Serves } else { State::Coming }
            }
            _ => State::Coming,
        };
    }
    let is_wanted = instance.wanted.is_some_and(|wanted| wanted.deployment == Some(deployment));
    match &instance.beside {
        Some(beside) if beside.deployment == Some(deployment) && beside.given_up => {
            let seconds = beside.spec.open().map_or(0, |spec| spec.startup_timeout_ms / 1000);
            let name = name(instance);
            State::Failed(format!("{name} was not healthy within {seconds} s of its start"))
        }
        _ if is_wanted => State::Coming,
        // What is there is the release before, and no successor comes any more.
        _ => State::Failed(failure(instance)),
    }
}

fn name(instance: &Instance) -> String {
    instance.name.open().map_or_else(|| instance.id.to_string(), ToString::to_string)
}

fn failure(instance: &Instance) -> String {
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
    format!("{} does not run the release: it ended with {how}", name(instance))
}

/// What an instance printed last since a moment, without what a run of an earlier release did
/// that serves beside it.
async fn last_lines(
    outside: &Outside,
    id: InstanceId,
    deployment: DeploymentId,
    since: Timestamp,
) -> Vec<String> {
    let world = outside.handle.world();
    let Some(instance) = world.instances.get(id) else { return Vec::new() };
    let present = instance.run.as_ref().filter(|_| instance.deployment != Some(deployment));
    let serving = present.map(|run| run.id.0);
    if outside.supervisor.prints_to_journal(id) {
        let printed = outside.supervisor.units().systemd().last_lines(id, LOOKED_AT, Some(since)).await;
        let serving = serving.map(|run| run.to_string());
        let is_own = |line: &Printed| serving.as_ref().is_none_or(|run| !line.unit.contains(run));
        let own: Vec<String> =
            printed.unwrap_or_default().into_iter().filter(is_own).map(|line| line.text).collect();
        return last_of(own);
    }
    let key = outside.supervisor.spool_key(instance.name.key()).map(Key::new);
    let spool = outside.supervisor.spool(id);
    let read = blocking(move |_| Reader::open(&spool, id.0, key.as_ref()).last(LOOKED_AT, None)).await;
    let Ok(Ok(records)) = read else { return Vec::new() };
    let own: Vec<String> = records
        .into_iter()
        .filter(|record| record.at >= since && Some(record.run) != serving)
        .map(|record| String::from_utf8_lossy(&record.bytes).into_owned())
        .collect();
    last_of(own)
}

fn last_of(lines: Vec<String>) -> Vec<String> {
    let first = lines.len().saturating_sub(LINES);
    lines.into_iter().skip(first).collect()
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

/// Removes the releases that were given up. Not worth failing a deployment for.
pub(super) async fn prune(outside: &Outside, world: &World, id: DeploymentId) {
    let Some(deployment) = world.deployments.get(id) else { return };
    let Some(tenant) = world.tenants.get(deployment.tenant_id) else { return };
    let Some(details) = tenant.details.open() else { return };
    let kept: Vec<u32> = tenant.kept.iter().map(|release| release.number).collect();
    // What is after the newest that is known may be in the making.
    let newest = kept.last().copied().unwrap_or(deployment.release);
    let (files, directory) = (outside.files(), details.directory.clone());
    let pruned = blocking(move |_| files.prune(directory.as_ref(), &kept, newest)).await;
    if let Ok(Err(error)) = pruned {
        tracing::warn!(deployment.id = %id, error = %chain(&error), "old releases are left behind");
    }
}
