//! A tenant's own API: its figures, its backup. Each answer is the tenant's, as it gave it.
//!
//! Only the backend of the tenant that is named is asked, where the World says that it listens.
//! When the tenant's environment has an `API_TOKEN`, it is shown that as its bearer token.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value};
use tenantry_journal::event::Event;
use tenantry_journal::event::instance::Role;
use tenantry_journal::event::tenant::Backup;
use tenantry_journal::id::TenantId;
use tenantry_journal::recorded::Recorded;
use tenantry_projections::world::World;
use tenantry_projections::world::instances::Phase;
use tenantry_projections::world::tenants::Tenant;

use crate::domain::command::Command;
use crate::drivers::probe::Target;
use crate::drivers::remote::{Call, RemoteError, call};
use crate::http::error::ApiError;
use crate::http::extract::{Id, NoQuery, Scope};
use crate::http::write::{Answer, Write, answer};

/// The variable of a tenant's environment whose value its API asks for.
const CREDENTIAL: &str = "API_TOKEN";

const STATS: Call = Call::Read("/api/stats");
const PERSONS: Call = Call::Read("/api/persons/count");
const BACKUP: Call = Call::Backup("/api/backup");

/// `GET /api/tenants/{id}/remote/stats`
pub(super) async fn stats(scope: Scope, Id(id): Id<TenantId>, _: NoQuery) -> Result<Response, ApiError> {
    let stats = ask(&scope, id, STATS).await?;
    Ok(answer(StatusCode::OK, &stats))
}

/// `GET /api/tenants/{id}/remote/persons/count`
pub(super) async fn persons(scope: Scope, Id(id): Id<TenantId>, _: NoQuery) -> Result<Response, ApiError> {
    let count = ask(&scope, id, PERSONS).await?;
    if !count.get("total").is_some_and(Value::is_u64) {
        return Err(nonsense("its answer holds no total"));
    }
    Ok(answer(StatusCode::OK, &count))
}

#[derive(serde::Serialize, schemars::JsonSchema)]
#[schemars(rename = "RemoteBackup")]
pub(super) struct BackedUp<'a> {
    message: &'static str,
    backup_path: &'a str,
    size_mb: Option<f64>,
}

/// `POST /api/tenants/{id}/remote/backup`
pub(super) async fn backup(scope: Scope, write: Write, Id(id): Id<TenantId>, _: NoQuery) -> Answer {
    write.check_version(Some(scope.tenant(id)?.changed))?;
    if write.is_dry() {
        reachable(&scope.world, scope.tenant(id)?)?;
        return Err(write.dry(&[], &scope.world));
    }
    // A repeated request is told of the backup that the first one made.
    let outcome = match write.repeated() {
        Some(first) => first,
        None => {
            let backup = taken(&ask(&scope, id, BACKUP).await?)?;
            write.submit(Command::BackedUp { tenant_id: id, backup }).await?
        }
    };
    let backup = outcome.events.iter().find_map(recorded_backup).ok_or_else(ApiError::internal)?;
    let body = BackedUp { message: "Backup initiated", backup_path: &backup.path, size_mb: backup.size_mb };
    Ok(answer(StatusCode::OK, &body))
}

fn recorded_backup(recorded: &Recorded) -> Option<&Backup> {
    match &recorded.event {
        Event::TenantBackedUp(event) => event.backup.open(),
        _ => None,
    }
}

fn taken(told: &Map<String, Value>) -> Result<Backup, ApiError> {
    let path = told.get("backup_path").and_then(Value::as_str);
    let path = path.filter(|path| (1..=LONGEST_PATH).contains(&path.len()));
    let path = path.ok_or_else(|| nonsense("its answer holds no backup_path"))?;
    Ok(Backup { path: path.to_owned(), size_mb: told.get("size_mb").and_then(Value::as_f64) })
}

/// The longest path that Linux takes, in bytes (`PATH_MAX`).
const LONGEST_PATH: usize = 4096;

async fn ask(scope: &Scope, id: TenantId, what: Call) -> Result<Map<String, Value>, ApiError> {
    let tenant = scope.tenant(id)?;
    let target = reachable(&scope.world, tenant)?;
    let token = credential(&scope.world, tenant);
    call(&target, what, token.as_deref()).await.map_err(|error| {
        tracing::info!(tenant.id = %id, %error, "a tenant's own API gave no answer to pass on");
        refused(&error)
    })
}

/// Where a tenant's backend listens.
fn reachable(world: &World, tenant: &Tenant) -> Result<Target, ApiError> {
    let stopped = || {
        ApiError::unavailable("The tenant's backend does not run.")
            .coded("tenant_not_running")
            .detailed("Deploy or start the tenant first.")
    };
    let instance =
        tenant.instance(Role::Backend).and_then(|id| world.instances.get(id)).ok_or_else(stopped)?;
    if instance.phase != Phase::Running {
        return Err(stopped());
    }
    instance.spec.open().map(crate::supervisor::target).ok_or_else(stopped)
}

/// What the tenant's API wants to be shown: from its configuration, else from its backend's
/// environment.
fn credential(world: &World, tenant: &Tenant) -> Option<String> {
    let configured = tenant.config.as_ref().and_then(|config| config.open());
    let configured = configured.and_then(|config| config.custom_env.get(CREDENTIAL));
    let backend = || world.instances.get(tenant.instance(Role::Backend)?)?.spec.open()?.env.get(CREDENTIAL);
    configured.or_else(backend).map(|token| token.reveal().to_owned())
}

fn refused(error: &RemoteError) -> ApiError {
    let sentence = format!("The tenant's API gave no answer that can be passed on: {error}.");
    match error {
        RemoteError::Silent(_) | RemoteError::Late(_) => {
            ApiError::timed_out(sentence).coded("tenant_unreachable").retry_after(5)
        }
        RemoteError::Status(_) | RemoteError::TooLong | RemoteError::NotAnObject => bad_gateway(sentence),
    }
}

fn nonsense(what: &str) -> ApiError {
    bad_gateway(format!("The tenant's API gave no answer that can be passed on: {what}."))
}

fn bad_gateway(sentence: String) -> ApiError {
    ApiError::new(StatusCode::BAD_GATEWAY, "bad_gateway", sentence)
        .detailed("The backend's own log may say more.")
}
