//! What is done for instances: begin a run, see to its process and health, end it, forget it.

use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tenantry_journal::event::deployment::StepKind;
use tenantry_journal::event::instance::{ExitStatus, InstanceHealth, Listen, ProcessSpec};
use tenantry_journal::id::{InstanceId, RunId, Seq};
use tenantry_journal::name::InstanceKey;
use tenantry_journal::spool::Key;
use tenantry_projections::world::World;
use tenantry_projections::world::deployments::StepStatus;
use tenantry_projections::world::instances::{Desired, Instance, Phase, Side};
use tokio::time::Instant;

use super::outside::{Outside, TaskError, blocking};
use super::{gate, services};
use crate::domain::command::Command;
use crate::domain::setting;
use crate::domain::successor;
use crate::drivers::{listening, tool};
use crate::keeper::client::{KeeperError, SpawnError};
use crate::keeper::protocol::{Refusal, SpawnRequest, SpoolKey};

/// How long the keeper may take from KILL to telling of the end: a process in an
/// uninterruptible call dies when that returns.
const AFTER_KILL: Duration = Duration::from_secs(10);

/// How long requests that are under way may take to end before their process is told to: as
/// long as a person waits for a restart without wondering.
const DRAIN: Duration = Duration::from_secs(5);

pub(super) async fn begin_run(
    outside: &Outside,
    instance_id: InstanceId,
    cause: Seq,
) -> Result<(), TaskError> {
    let is_tenants =
        outside.handle.world().instances.get(instance_id).is_some_and(|instance| instance.tenant.is_some());
    let listening = match is_tenants && outside.supervisor.forwards().await {
        true => Some(listening::looked_at().await),
        false => None,
    };
    outside.submit(Command::BeginRun { instance_id, listening }, cause).await.map(drop)
}

pub(super) async fn begin_successor(
    outside: &Outside,
    instance_id: InstanceId,
    cause: Seq,
) -> Result<(), TaskError> {
    let found = tokio::task::spawn_blocking(listening::ports).await;
    let found = found.map_err(|error| TaskError::Stuck(error.to_string()))?;
    let command = Command::BeginSuccessor { instance_id, listening: Arc::new(found) };
    outside.submit(command, cause).await.map(drop)
}

/// Whether this run is still to be brought up.
fn is_wanted(world: &World, id: InstanceId, run: RunId) -> bool {
    world.instances.get(id).is_some_and(|instance| {
        if let Some(side) = instance.side_of(run) {
            return side == Side::Rising && instance.desired == Desired::Running;
        }
        instance.run.as_ref().is_some_and(|present| present.id == run)
            && instance.phase == Phase::Starting
            && instance.desired == Desired::Running
            && instance.restart.is_none()
            && instance.health != InstanceHealth::Unhealthy
    })
}

pub(super) async fn ensure_run(
    outside: &Outside,
    id: InstanceId,
    run: RunId,
    cause: Seq,
) -> Result<(), TaskError> {
    tokio::select! {
        biased;
        // Its end, a stop or a replacement: all of them are seen here, at once.
        () = outside.until(|world| !is_wanted(world, id, run)) => Ok(()),
        ended = bring_up(outside, id, run, cause) => ended,
    }
}

async fn bring_up(outside: &Outside, id: InstanceId, run: RunId, cause: Seq) -> Result<(), TaskError> {
    let world = outside.handle.world();
    let Some(instance) = world.instances.get(id) else { return Ok(()) };
    let beside = instance.beside.as_ref().filter(|beside| beside.run.id == run);
    let sealed = beside.map_or(&instance.spec, |beside| &beside.spec);
    let Some(spec) = sealed.open() else {
        let reason = "what it runs was erased".to_owned();
        return outside
            .submit(Command::RunFailed { instance_id: id, run_id: run, reason }, cause)
            .await
            .map(drop);
    };
    let known = instance.find_run(run).and_then(|run| run.process);
    let pid = match known {
        Some(process) => process.pid,
        None => match spawn(outside, instance, spec, run, cause).await? {
            Some(pid) => pid,
            None => return Ok(()),
        },
    };
    if instance.tenant.is_some() {
        // So that whoever learns that it is healthy can reach it.
        outside.supervisor.forward().await;
    }
    gate::pass(outside, id, run, spec, pid, cause).await
}

/// Starts the run's process; `None` when there will be none.
async fn spawn(
    outside: &Outside,
    instance: &Instance,
    spec: &ProcessSpec,
    run_id: RunId,
    cause: Seq,
) -> Result<Option<u32>, TaskError> {
    let instance_id = instance.id;
    let key = outside.supervisor.spool_key(instance.name.key());
    let request = SpawnRequest {
        key: key.map(|key| SpoolKey(Key::new(key))),
        ..request(outside, instance_id, instance.name.open(), spec, run_id)
    };
    point_current(outside, instance).await;
    if outside.supervisor.units().takes(instance, run_id) {
        return services::start(outside, instance, spec, &request, cause).await;
    }
    let keeper = outside.supervisor.keeper().await;
    match keeper.spawn(request).await {
        Ok(spawned) => {
            let (pid, start_ticks) = (spawned.pid, spawned.start_ticks);
            outside.submit(Command::RunStarted { instance_id, run_id, pid, start_ticks }, cause).await?;
            Ok(Some(pid))
        }
        Err(SpawnError::Exec(reason)) => {
            let reason = format!("cannot run '{}': {reason}", spec.command);
            outside.submit(Command::RunFailed { instance_id, run_id, reason }, cause).await?;
            Ok(None)
        }
        Err(SpawnError::Keeper(error)) => Err(error.into()),
    }
}

/// The process that a specification asks for.
pub(super) fn request(
    outside: &Outside,
    instance_id: InstanceId,
    name: Option<&InstanceKey>,
    spec: &ProcessSpec,
    run_id: RunId,
) -> SpawnRequest {
    let policy = outside.policy.load();
    SpawnRequest {
        run_id,
        instance_id,
        command: spec.command.clone(),
        args: spec.args.clone(),
        env: environment(spec),
        workdir: PathBuf::from(&spec.workdir),
        socket: socket(spec).map(Path::to_path_buf),
        key: None,
        stop_timeout_ms: spec.stop_timeout_ms,
        limits: spec.limits.clone(),
        hostname: hostname(instance_id, name),
        hidden: vec![policy.deploy_root.clone()],
        retain: Some(setting::retention(&outside.handle.world(), &policy.retention).of(name)),
    }
}

/// A release whose deployment left its services out becomes `current` when it is started. For
/// all others their deployment has seen to it.
async fn point_current(outside: &Outside, instance: &Instance) {
    let world = outside.handle.world();
    let tenant = instance.tenant.and_then(|(tenant, _)| world.tenants.get(tenant));
    let Some(tenant) = tenant else { return };
    let is_settled = world.deployments.of(tenant.id).all(|deployment| deployment.is_over());
    let served = world.deployments.of(tenant.id).rfind(|deployment| {
        let start = deployment.step(StepKind::StartServices);
        Some(deployment.release) == tenant.release
            && start.is_some_and(|step| step.status == StepStatus::Skipped)
    });
    let Some(deployment) = served.filter(|_| is_settled) else { return };
    let Some(details) = tenant.details.open() else { return };
    let (files, directory, release) =
        (outside.files(), PathBuf::from(&details.directory), deployment.release);
    let pointed = blocking(move |_| files.point_current(&directory, Some(release))).await;
    if let Ok(Err(error)) = pointed {
        // The process is started by the release's own path, so it can run all the same.
        let error = crate::error::chain(&error);
        tracing::warn!(deployment.id = %deployment.id, error, "current is not the release that is started");
    }
}

/// Longest host name that Linux takes.
const HOST_NAME: usize = 64;

/// What a process in namespaces of its own sees as its host's name.
fn hostname(instance: InstanceId, name: Option<&InstanceKey>) -> String {
    let name = name.map_or_else(
        || instance.to_string(),
        |name| format!("{}-{}", name.service.as_str(), name.id.as_str()),
    );
    name.chars().take(HOST_NAME).collect()
}

/// The child's whole environment.
fn environment(spec: &ProcessSpec) -> BTreeMap<String, String> {
    let (listen, place) = match &spec.listen {
        Listen::Port(port) => ("PORT", port.to_string()),
        Listen::Socket(path) => ("SOCKET_PATH", path.clone()),
    };
    let base = [
        ("PATH", tool::PATH.to_owned()),
        ("HOME", spec.workdir.clone()),
        ("LANG", tool::LANG.to_owned()),
        (listen, place),
    ];
    let given = spec.env.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned()));
    base.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(given).collect()
}

fn socket(spec: &ProcessSpec) -> Option<&Path> {
    match &spec.listen {
        Listen::Socket(path) => Some(Path::new(path)),
        Listen::Port(_) => None,
    }
}

pub(super) async fn end_run(
    outside: &Outside,
    instance_id: InstanceId,
    run_id: RunId,
    cause: Seq,
) -> Result<(), TaskError> {
    let outcome = outside.submit(Command::BeginStop { instance_id, run_id }, cause).await?;
    let ending = outcome.world.instances.get(instance_id);
    let spec = ending.and_then(|instance| {
        let beside = instance.beside.as_ref().filter(|beside| beside.run.id == run_id);
        beside.map_or(&instance.spec, |beside| &beside.spec).open()
    });
    // Without its specification it is ended at once: nobody can say how long it may take.
    let timeout_ms = spec.map_or(0, |spec| spec.stop_timeout_ms);
    // The World has it stopping, so no request comes any more.
    let is_ill = ending.is_some_and(|instance| instance.health == InstanceHealth::Unhealthy);
    // One that is ill answers nobody who waits.
    let drain = if is_ill { Duration::ZERO } else { Duration::from_millis(timeout_ms / 2).min(DRAIN) };
    if !outside.runs.drained(run_id, drain).await {
        tracing::info!(run.id = %run_id, "a run is ended with requests under way");
    }
    if ending.is_some_and(|instance| instance.tenant.is_some()) {
        outside.supervisor.forward().await;
        if let Some(spec) = spec
            && !outside.supervisor.answered(&spec.listen, drain).await
        {
            tracing::info!(run.id = %run_id, "a run is ended with connections that wait for an answer");
        }
    }
    if let Some(instance) = ending
        && outside.supervisor.units().has(instance, run_id)
    {
        return services::end(outside, instance, run_id, timeout_ms, cause).await;
    }
    let keeper = outside.supervisor.keeper().await;
    match keeper.stop(run_id, timeout_ms).await {
        Ok(()) => {}
        // It never had a process, or its end is recorded already.
        Err(KeeperError::Refused(Refusal::UnknownRun(_))) => {
            let (status, at) = (ExitStatus::Unknown, crate::clock::now());
            let command = Command::RunExited { instance_id, run_id, status, at };
            return outside.submit(command, cause).await.map(drop);
        }
        Err(error) => return Err(error.into()),
    }
    let over = |world: &World| {
        let present = world.instances.get(instance_id).and_then(|instance| instance.find_run(run_id));
        present.is_none().then_some(())
    };
    let deadline = Instant::now() + Duration::from_millis(timeout_ms) + AFTER_KILL;
    match outside.handle.until(deadline, over).await {
        Some(()) => Ok(()),
        None => Err(TaskError::Stuck(format!("run {run_id} does not end"))),
    }
}

pub(super) async fn forget(outside: &Outside, instance_id: InstanceId, cause: Seq) -> Result<(), TaskError> {
    let world = outside.handle.world();
    let spec = world.instances.get(instance_id).and_then(|instance| instance.spec.open());
    if let Some(Listen::Socket(path)) = spec.map(|spec| &spec.listen) {
        for path in [path.clone(), successor::other_socket(path)] {
            if std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.file_type().is_socket())
                && let Err(error) = std::fs::remove_file(&path)
            {
                // A later instance of that name makes way for itself.
                tracing::warn!(path, %error, "a socket is left behind");
            }
        }
    }
    outside.supervisor.units().forget_instance(instance_id).await;
    outside.submit(Command::InstanceGone { instance_id }, cause).await?;
    outside.supervisor.live().forget(instance_id);
    Ok(())
}
