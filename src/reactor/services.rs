//! Tenants' processes as systemd units: tried before anything is touched, started, ended.

use std::path::PathBuf;

use tenantry_journal::event::instance::{ProcessSpec, Role};
use tenantry_journal::id::{InstanceId, RunId, Seq};
use tenantry_journal::name::InstanceKey;
use tenantry_projections::world::World;
use tenantry_projections::world::instances::Instance;

use super::deployment::{Done, Job, Worked};
use super::instance::request;
use super::outside::{Outside, TaskError};
use crate::domain::command::Command;
use crate::domain::deployment::spec_at;
use crate::error::chain;
use crate::keeper::protocol::SpawnRequest;
use crate::supervisor::Wanted;

/// The step of a deployment. What would be started by it is rendered and given to systemd to
/// read; nothing is in place yet, so that a release that systemd does not take changes nothing.
pub(super) async fn create(outside: &Outside, world: &World, job: &Job) -> Worked {
    let units = outside.supervisor.units();
    if !units.is_chosen() {
        return Ok(Done::without_commit("services are supervised instances"));
    }
    let policy = outside.policy.load_full();
    let mut names = Vec::new();
    for role in [Role::Frontend, Role::Backend] {
        let release = job.deployment.release;
        let instance = job.tenant.instance(role).and_then(|id| world.instances.get(id));
        let present = instance.and_then(|instance| instance.spec.open()).map(|spec| &spec.listen);
        let Some(spec) = spec_at(&policy, &job.tenant, &job.details, role, release, present) else {
            continue;
        };
        let name: InstanceKey = format!("{}:{}", role.as_str(), job.details.slug)
            .parse()
            .map_err(|bad| format!("the slug makes no name of a service: {bad}"))?;
        // It has no name yet, and this run never is.
        let (nobody, never) = (InstanceId(uuid::Uuid::nil()), RunId(uuid::Uuid::nil()));
        let request = request(outside, nobody, Some(&name), &spec, never);
        let wanted = Wanted {
            name: Some(&name),
            restart: spec.restart,
            request: &request,
            directory: Some(&job.directory),
        };
        names.push(format!("{}@", units.check(&wanted).await?));
    }
    Ok(Done::without_commit(format!("systemd takes the units {}", names.join(", "))))
}

/// Starts a run's unit; `None` when there will be no process.
pub(super) async fn start(
    outside: &Outside,
    instance: &Instance,
    spec: &ProcessSpec,
    request: &SpawnRequest,
    cause: Seq,
) -> Result<Option<u32>, TaskError> {
    let (instance_id, run_id) = (instance.id, request.run_id);
    let world = outside.handle.world();
    let tenant = instance.tenant.and_then(|(tenant, _)| world.tenants.get(tenant));
    let directory =
        tenant.and_then(|tenant| tenant.details.open()).map(|details| PathBuf::from(&details.directory));
    let wanted = Wanted {
        name: instance.name.open(),
        restart: spec.restart,
        request,
        directory: directory.as_deref(),
    };
    let command = match outside.supervisor.units().start(&wanted).await {
        Ok(spawned) => {
            let (pid, start_ticks) = (spawned.pid, spawned.start_ticks);
            outside.submit(Command::RunStarted { instance_id, run_id, pid, start_ticks }, cause).await?;
            return Ok(Some(pid));
        }
        Err(reason) => Command::RunFailed { instance_id, run_id, reason },
    };
    outside.submit(command, cause).await?;
    Ok(None)
}

/// Ends a run that systemd has, and leaves nothing of it.
pub(super) async fn end(
    outside: &Outside,
    instance: &Instance,
    run_id: RunId,
    timeout_ms: u64,
    cause: Seq,
) -> Result<(), TaskError> {
    let units = outside.supervisor.units();
    let ended = units.end(instance, run_id, timeout_ms).await;
    let status = ended.map_err(|error| TaskError::Stuck(chain(&error)))?;
    let (instance_id, at) = (instance.id, crate::clock::now());
    outside.submit(Command::RunExited { instance_id, run_id, status, at }, cause).await.map(drop)
}
