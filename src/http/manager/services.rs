//! Start, stop and restart of a tenant's processes: asked for, awaited, and told as it is.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::json;
use tenantry_journal::event::instance::{ExitStatus, Role};
use tenantry_journal::id::{InstanceId, RunId, TenantId};
use tenantry_projections::world::World;
use tenantry_projections::world::instances::{Desired, Instance, Phase};
use tenantry_projections::world::tenants::Tenant;
use tokio::time::Instant;

use super::view::service_state;
use crate::domain::command::Command;
use crate::engine::Outcome;
use crate::http::error::ApiError;
use crate::http::extract::{Id, NoQuery, Scope, missing};
use crate::http::state::AppState;
use crate::http::write::{Answer, Write, answer};

/// On top of an instance's own timeouts: for the keeper, the journal and the machine.
const MARGIN: Duration = Duration::from_secs(5);
/// A client waits no longer than this, whatever the timeouts say.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// How long the answer waits for the check after it: the processes have got there, and a probe
/// that hangs is found by the next check.
const CHECK_WAIT: Duration = Duration::from_secs(2);

/// What was asked of the processes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Start,
    Stop,
    Restart,
}

impl Wish {
    fn command(self, tenant_id: TenantId) -> Command {
        match self {
            Wish::Start => Command::StartTenant { tenant_id },
            Wish::Stop => Command::StopTenant { tenant_id },
            Wish::Restart => Command::RestartTenant { tenant_id },
        }
    }

    fn done(self) -> &'static str {
        match self {
            Wish::Start => "Services started successfully",
            Wish::Stop => "Services stopped successfully",
            Wish::Restart => "Services restarted successfully",
        }
    }
}

/// `POST /api/tenants/{id}/start`
pub(super) async fn start(
    State(app): State<AppState>,
    scope: Scope,
    write: Write,
    Id(id): Id<TenantId>,
    _: NoQuery,
) -> Answer {
    carry_out(&app, &scope, &write, id, Wish::Start).await
}

/// `POST /api/tenants/{id}/stop`
pub(super) async fn stop(
    State(app): State<AppState>,
    scope: Scope,
    write: Write,
    Id(id): Id<TenantId>,
    _: NoQuery,
) -> Answer {
    carry_out(&app, &scope, &write, id, Wish::Stop).await
}

/// `POST /api/tenants/{id}/restart`
pub(super) async fn restart(
    State(app): State<AppState>,
    scope: Scope,
    write: Write,
    Id(id): Id<TenantId>,
    _: NoQuery,
) -> Answer {
    carry_out(&app, &scope, &write, id, Wish::Restart).await
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "ServicesDone")]
pub(super) struct Done {
    message: &'static str,
    services: States,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "ServiceStates")]
struct States {
    #[schemars(extend("enum" = ["active", "activating", "deactivating", "failed", "inactive"]))]
    frontend: &'static str,
    #[schemars(extend("enum" = ["active", "activating", "deactivating", "failed", "inactive"]))]
    backend: &'static str,
}

fn states(world: &World, tenant: &Tenant) -> States {
    States {
        frontend: service_state(world, tenant, Role::Frontend),
        backend: service_state(world, tenant, Role::Backend),
    }
}

/// One process with the run that it had when the wish was recorded.
struct Awaited {
    id: InstanceId,
    role: Role,
    before: Option<RunId>,
}

/// How far a process is with a wish.
enum Progress {
    Waiting,
    Done,
    Failed(String),
    Overtaken,
}

async fn carry_out(app: &AppState, scope: &Scope, write: &Write, id: TenantId, wish: Wish) -> Answer {
    scope.tenant(id)?;
    let outcome = write.submit(wish.command(id)).await?;
    let awaited = awaited(&outcome, id)?;
    let deadline = Instant::now() + patience(&outcome.world, &awaited, wish);
    let ended = app.engine.until(deadline, |world| verdict(world, &awaited, wish)).await;
    if let Some(Ok(())) = ended {
        // So that whoever reads the tenant after this answer finds its health of now.
        drop(tokio::time::timeout(CHECK_WAIT, app.live.health_check(id)).await);
    }
    let world = app.engine.world();
    let tenant = world.tenants.get(id).ok_or_else(|| missing::<TenantId>(&id.to_string()))?;
    let services = states(&world, tenant);
    match ended {
        Some(Ok(())) => Ok(answer(StatusCode::OK, &Done { message: wish.done(), services })),
        Some(Err(error)) => Err(error.with("services", json!(services)).into()),
        None => Err(ApiError::timed_out("The services have not got there in time.")
            .coded("services_timeout")
            .detailed("What was asked for stands; ask for the tenant's health to see how it ends.")
            .with("services", json!(services))
            .into()),
    }
}

fn awaited(outcome: &Outcome, id: TenantId) -> Result<Vec<Awaited>, ApiError> {
    let tenant = outcome.world.tenants.get(id).ok_or_else(|| missing::<TenantId>(&id.to_string()))?;
    Ok([Role::Frontend, Role::Backend]
        .into_iter()
        .filter_map(|role| Some((role, outcome.world.instances.get(tenant.instance(role)?)?)))
        .map(|(role, instance)| Awaited {
            id: instance.id,
            role,
            before: instance.run.as_ref().map(|run| run.id),
        })
        .collect())
}

/// How long the slowest of the processes may take by its own timeouts.
fn patience(world: &World, awaited: &[Awaited], wish: Wish) -> Duration {
    let own = |awaited: &Awaited| {
        let instance = world.instances.get(awaited.id)?;
        let spec = instance.spec.open()?;
        let (start, stop) = (spec.startup_timeout_ms, spec.stop_timeout_ms);
        Some(match wish {
            // A run that is on its way out has to end before the next one begins.
            Wish::Start if instance.phase == Phase::Stopping => start.saturating_add(stop),
            Wish::Start => start,
            Wish::Stop => stop,
            Wish::Restart => start.saturating_add(stop),
        })
    };
    let longest = awaited.iter().filter_map(own).max().unwrap_or(0);
    (Duration::from_millis(longest) + MARGIN).min(LONGEST_WAIT)
}

/// `None` while something is to be waited for.
fn verdict(world: &World, awaited: &[Awaited], wish: Wish) -> Option<Result<(), ApiError>> {
    let mut all_done = true;
    for each in awaited {
        match world.instances.get(each.id).map_or(Progress::Overtaken, |i| progress(i, each, wish)) {
            Progress::Waiting => all_done = false,
            Progress::Done => {}
            Progress::Failed(reason) => {
                let role = each.role.as_str();
                let error = ApiError::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "service_failed",
                    format!("The {role} did not start: {reason}."),
                );
                return Some(Err(error.detailed("Its output says more.")));
            }
            Progress::Overtaken => {
                return Some(Err(ApiError::conflict(
                    "overtaken",
                    "Another request has asked for something else of these services meanwhile.",
                )));
            }
        }
    }
    all_done.then_some(Ok(()))
}

fn progress(instance: &Instance, awaited: &Awaited, wish: Wish) -> Progress {
    let wanted = if wish == Wish::Stop { Desired::Stopped } else { Desired::Running };
    let ended_well = instance.desired == Desired::Stopped && instance.phase == Phase::Idle;
    if instance.desired != wanted {
        // A process that ended by itself, and that its policy leaves so, is no longer wished for.
        return match (&instance.last_exit, ended_well) {
            (Some(_), true) => Progress::Failed(why(instance)),
            _ => Progress::Overtaken,
        };
    }
    match (wish, instance.phase) {
        (Wish::Stop, Phase::Idle | Phase::Failed) => Progress::Done,
        (Wish::Stop, _) => Progress::Waiting,
        (_, Phase::Backoff | Phase::Failed) => Progress::Failed(why(instance)),
        (Wish::Start, Phase::Running) => Progress::Done,
        (Wish::Restart, Phase::Running) => {
            let is_new = instance.run.as_ref().map(|run| run.id) != awaited.before;
            match (is_new, instance.restart.is_some()) {
                (_, true) => Progress::Waiting,
                (true, false) => Progress::Done,
                // The new run has given up, and the one before serves on.
                (false, false) => Progress::Failed(format!("{}; the run before it serves on", why(instance))),
            }
        }
        (_, _) => Progress::Waiting,
    }
}

/// How the last run ended, in words.
fn why(instance: &Instance) -> String {
    let Some(exit) = &instance.last_exit else { return "it did not become healthy".to_owned() };
    if let Some(reason) = exit.reason.as_ref().and_then(|reason| reason.open()) {
        return reason.clone();
    }
    match exit.status {
        Some(ExitStatus::Code(code)) => format!("it exited with {code}"),
        Some(ExitStatus::Signal(signal)) => format!("signal {signal} ended it"),
        Some(ExitStatus::MemoryLimit) => "it reached its memory limit".to_owned(),
        Some(ExitStatus::Unknown) | None => "it ended".to_owned(),
    }
}
