//! `POST /api/instances`: answers when the process is healthy, or says why it is not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tenantry_journal::event::instance::{ExitStatus, InstanceHealth};
use tenantry_journal::name::{InstanceKey, InstanceName, ServiceName};
use tenantry_journal::sealed::Secret;
use tenantry_projections::world::World;
use tenantry_projections::world::instances::{Desired, Instance, LastExit, Phase};
use tokio::time::Instant;

use super::view::{socket, uptime_ms};
use crate::domain::command::Command;
use crate::drivers::listening;
use crate::http::error::ApiError;
use crate::http::extract::{Json, NoQuery, Scope};
use crate::http::state::AppState;
use crate::http::write::{Answer, Write, answer, located};
use tenantry_journal::event::access::Scope as Reach;

/// Past the startup timeout: until the supervisor has noticed and the journal has recorded it.
const MARGIN: Duration = Duration::from_secs(10);

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "NewInstance")]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    service: ServiceName,
    id: InstanceName,
    #[serde(default)]
    env: BTreeMap<String, Secret>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "SpawnedInstance")]
pub(super) struct Spawned<'a> {
    instance: &'a InstanceKey,
    socket: Option<&'a str>,
    #[schemars(extend("enum" = ["running"]))]
    status: &'static str,
    uptime_ms: u64,
}

pub(super) async fn spawn(
    State(app): State<AppState>,
    scope: Scope,
    _: NoQuery,
    write: Write,
    Json(wanted): Json<Wanted>,
) -> Answer {
    let Wanted { service, id, env } = wanted;
    check_reach(&scope.principal.scope, &service)?;
    let key = InstanceKey { service, id };
    let listening = listening::looked_at().await;
    let command = Command::SpawnInstance { key: key.clone(), env, listening };
    let outcome = write.submit(command).await?;
    let Some(instance) = outcome.world.instances.by_key(&key) else { return Err(replaced(&key).into()) };
    let id = instance.id;
    let startup_ms = instance.spec.open().map_or(0, |spec| spec.startup_timeout_ms);
    let asked_at = outcome.world.at;

    let deadline = Instant::now() + Duration::from_millis(startup_ms) + MARGIN;
    // A process that never became healthy is ended by us: how it ended then says nothing.
    let mut was_given_up = false;
    let ended = |world: &World| match world.instances.get(id) {
        None => Some(Err(replaced(&key))),
        Some(instance) => {
            was_given_up |= instance.health == InstanceHealth::Unhealthy;
            let last = instance.last_exit.as_ref().filter(|exit| exit.at >= asked_at);
            let why = || failed(instance, &key, last.filter(|_| !was_given_up));
            became(instance, &key, last.is_some(), why).map(|ok| ok.map(|()| Arc::clone(instance)))
        }
    };
    let Some(ended) = app.engine.until(deadline, ended).await else {
        let message = format!("Instance '{key}' was spawned and is not healthy yet");
        return Err(ApiError::timed_out(message).into());
    };
    let instance = ended?;
    write.note_seq(instance.changed);
    let body = Spawned {
        instance: &key,
        socket: socket(&instance),
        status: "running",
        uptime_ms: uptime_ms(&instance, app.now()),
    };
    Ok(located(answer(StatusCode::CREATED, &body), &format!("/api/instances/{}/{}", key.service, key.id)))
}

/// Somebody limited to a service spawns that one alone, somebody limited to a tenant none.
fn check_reach(reach: &Reach, service: &ServiceName) -> Result<(), ApiError> {
    match reach {
        Reach::All => Ok(()),
        Reach::Service(own) if own == service => Ok(()),
        Reach::Service(_) | Reach::Tenant(_) | Reach::Tenants(_) => {
            Err(ApiError::forbidden(format!("The credential does not reach service '{service}'.")))
        }
    }
}

fn replaced(key: &InstanceKey) -> ApiError {
    ApiError::conflict("instance_stopping", format!("Instance '{key}' was stopped meanwhile"))
}

/// What became of the start that was asked for; `None` while that is open.
fn became(
    instance: &Instance,
    key: &InstanceKey,
    has_exited: bool,
    why: impl Fn() -> ApiError,
) -> Option<Result<(), ApiError>> {
    match (instance.desired, instance.phase) {
        (Desired::Running, Phase::Running) if instance.restart.is_none() => Some(Ok(())),
        (Desired::Removed, _) => Some(Err(replaced(key))),
        (Desired::Running, Phase::Failed | Phase::Backoff) => Some(Err(why())),
        (Desired::Running, _) if instance.failures > 0 => Some(Err(why())),
        (Desired::Stopped, Phase::Idle | Phase::Failed) if has_exited => Some(Err(why())),
        (Desired::Stopped, _) => Some(Err(replaced(key))),
        (Desired::Running, Phase::Idle | Phase::Starting | Phase::Running | Phase::Stopping) => None,
    }
}

/// 422 with what is known of why. The instance stays listed; its policy may start it again.
fn failed(instance: &Instance, key: &InstanceKey, last: Option<&LastExit>) -> ApiError {
    let why = match last {
        Some(LastExit { status: Some(ExitStatus::Code(code)), .. }) => {
            format!("its process exited with code {code} before it was healthy")
        }
        Some(LastExit { status: Some(ExitStatus::Signal(signal)), .. }) => {
            format!("its process was ended by signal {signal} before it was healthy")
        }
        Some(LastExit { status: Some(ExitStatus::MemoryLimit), .. }) => {
            "its process reached its memory limit before it was healthy, and the kernel killed it".to_owned()
        }
        Some(LastExit { status: Some(ExitStatus::Unknown), .. }) => {
            "its process ended before it was healthy".to_owned()
        }
        Some(LastExit { status: None, reason, .. }) => {
            let reason = reason.as_ref().and_then(|reason| reason.open());
            let reason = reason.map_or("the operating system refused", String::as_str);
            format!("its process could not be started: {reason}")
        }
        None => {
            let seconds = instance.spec.open().map_or(0, |spec| spec.startup_timeout_ms) as f64 / 1000.0;
            format!("it was not healthy within {seconds} s")
        }
    };
    ApiError::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "spawn_failed",
        format!("Instance '{key}' did not start: {why}."),
    )
    .detailed(format!("GET /api/logs/{}/{} shows what it printed.", key.service, key.id))
}
