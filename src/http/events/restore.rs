//! `POST /api/tenants/{id}/restore`: a tenant as it was, tried out first when the caller wants.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tenantry_journal::event::Event;
use tenantry_journal::event::tenant::{Conflict, NotRestored, Part};
use tenantry_journal::id::{DeploymentId, EventId, Seq, TenantId};
use tenantry_journal::recorded::{Draft, Recorded};
use tenantry_projections::history::{self, Change};
use tenantry_projections::world::World;
use tenantry_projections::world::deployments::DeploymentStatus;
use tokio::time::Instant;
use uuid::Uuid;

use super::history::{check_known, wrong_point};
use crate::auth::principal::Principal;
use crate::domain::command::Command;
use crate::domain::ctx::{Ctx, Ids};
use crate::domain::restore::{self, Left, OnConflict, Restore, Then, Whereabouts};
use crate::drivers::files::{Files, Holder};
use crate::drivers::listening;
use crate::http::error::ApiError;
use crate::http::extract::{Id, Json, NoQuery, Scope, missing};
use crate::http::state::AppState;
use crate::http::write::{Answer, Write, answer};

/// How long the answer waits until files, services and release are as recorded; they get there
/// without anybody waiting, too.
const MATCH_WAIT: Duration = Duration::from_secs(60);

/// A moment as JSON has it.
#[derive(Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
enum Moment {
    Seq(u64),
    Text(String),
}

#[derive(Clone, Copy, Default, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "OnConflict")]
#[serde(rename_all = "snake_case")]
enum Taken {
    #[default]
    Fail,
    Reassign,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[schemars(rename = "RestoreWanted")]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    as_of: Moment,
    include: Option<BTreeSet<Part>>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    on_conflict: Taken,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "RestoredTenant")]
pub(super) struct Restored<'a> {
    tenant_id: TenantId,
    restored_to_seq: Seq,
    changes: Vec<Change>,
    #[schemars(with = "Vec<super::described::RestoreConflict>")]
    conflicts: Vec<Value>,
    not_restored: &'a [NotRestored],
    deployment_id: Option<DeploymentId>,
    complete: bool,
    seq: Option<Seq>,
}

/// A port as a number, anything else as text.
fn value(field: &str, text: &str) -> Value {
    match text.parse::<u16>() {
        Ok(port) if field.ends_with("_port") => json!(port),
        _ => json!(text),
    }
}

/// The conflicts as the API tells them. Who may not see a tenant is not told its id.
fn told(conflicts: &[Conflict], principal: &Principal) -> Vec<Value> {
    let one = |conflict: &Conflict| {
        let field = conflict.field.as_str();
        json!({
            "field": field,
            "wanted": value(field, &conflict.wanted),
            "held_by": conflict.held_by.filter(|holder| principal.reaches_tenant(*holder)),
            "resolution": conflict.resolution.as_ref().map(|text| value(field, text)),
        })
    };
    conflicts.iter().map(one).collect()
}

/// What lies on the disk of what a tenant was: its files when it is gone, and its logos.
pub(super) fn look(app: &AppState, world: &World, then: &Then) -> (Left, BTreeSet<String>) {
    let id = then.tenant.id;
    let logos = then.tenant.theme.logos.values().map(|logo| logo.digest.clone());
    let lost = logos.filter(|digest| app.blobs.read(id, digest).is_err()).collect();
    // Of a command that deletes it, the releases are those that it has yet.
    let gone = world.tenants.gone(id).and_then(|gone| Some((gone, gone.details.open()?)));
    let left = gone.map(|(gone, details)| {
        let files = Files::new(app.policy.load().deploy_root.clone());
        left(&files, details.directory.as_ref(), id, gone.kept.iter().map(|release| release.number))
    });
    (left.unwrap_or_default(), lost)
}

fn left(files: &Files, directory: &Path, id: TenantId, kept: impl Iterator<Item = u32>) -> Left {
    let found = files.home(directory, id).ok().flatten();
    let (whereabouts, place) = match found {
        Some(place) => (Whereabouts::Found, place),
        None if matches!(files.holder(directory), Ok(Holder::Unmarked)) => {
            (Whereabouts::Unmarked, directory.to_path_buf())
        }
        None => return Left::default(),
    };
    let is_whole = |number: &u32| files.stamp(&place, *number).is_ok_and(|stamp| stamp.is_some());
    Left { whereabouts, releases: kept.filter(is_whole).collect() }
}

/// Finds out everything that the decision needs. Reads the journal and files.
async fn gather(app: &AppState, scope: &Scope, id: TenantId, wanted: &Wanted) -> Result<Restore, ApiError> {
    let include = match &wanted.include {
        Some(include) if include.is_empty() => {
            return Err(ApiError::bad_request("include names nothing to restore.").coded("invalid_field"));
        }
        Some(include) => include.clone(),
        None => Part::ALL.into(),
    };
    let text = match &wanted.as_of {
        Moment::Seq(seq) => seq.to_string(),
        Moment::Text(text) => text.clone(),
    };
    let listening = listening::looked_at().await;
    let on_conflict = match wanted.on_conflict {
        Taken::Fail => OnConflict::Fail,
        Taken::Reassign => OnConflict::Reassign,
    };
    let (app, world) = (app.clone(), Arc::clone(&scope.world));
    let found = tokio::task::spawn_blocking(move || {
        let seq = app.time.resolve(&text, app.now()).map_err(|error| wrong_point("as_of", &error))?;
        let then = Then::of(&*app.time.tenant_at(id, seq)?, id).ok_or_else(|| {
            missing::<TenantId>(&id.to_string()).detailed(format!("It was not there at event {seq}."))
        })?;
        let (left, lost_logos) = look(&app, &world, &then);
        Ok(Restore { tenant_id: id, then, include, on_conflict, listening, left, lost_logos })
    });
    found.await.map_err(|_| ApiError::internal())?
}

/// `POST /api/tenants/{id}/restore`
pub(super) async fn restore(
    State(app): State<AppState>,
    scope: Scope,
    write: Write,
    Id(id): Id<TenantId>,
    _: NoQuery,
    Json(wanted): Json<Wanted>,
) -> Answer {
    check_known(&scope, id)?;
    let restore = gather(&app, &scope, id, &wanted).await?;
    let restored_to_seq = restore.then.seq;
    let ctx = Ctx { now: app.now(), ids: Ids::new(app.now(), 0), policy: app.policy.load_full() };
    let plan = restore::plan(&scope.world, &restore, &ctx)?;
    let conflicts = told(&plan.conflicts, &scope.principal);
    let answered = |changes, deployment_id, complete, seq| Restored {
        tenant_id: id,
        restored_to_seq,
        changes,
        conflicts: conflicts.clone(),
        not_restored: &plan.not_restored,
        deployment_id,
        complete,
        seq,
    };
    if wanted.dry_run {
        let after = evolved(&scope.world, &plan.events, &app);
        let changes = changes(&scope.world, &after, id, &plan.events);
        return Ok(answer(StatusCode::OK, &answered(changes, None, false, None)));
    }
    if !conflicts.is_empty() && restore.on_conflict == OnConflict::Fail {
        return Err(ApiError::conflict("restore_conflict", "Somebody else holds what the tenant had then.")
            .detailed("Restore with \"on_conflict\": \"reassign\", or leave that part out by \"include\".")
            .with("conflicts", conflicts)
            .into());
    }
    let outcome = write.submit(Command::RestoreTenant(Box::new(restore))).await?;
    let events: Vec<Event> = outcome.events.iter().map(|recorded| recorded.event.clone()).collect();
    let deployment_id = events.iter().find_map(|event| match event {
        Event::DeploymentRequested(requested) => Some(requested.deployment_id),
        _ => None,
    });
    let deadline = Instant::now() + MATCH_WAIT;
    let matched = app.engine.until(deadline, |world| matches(world, id, deployment_id)).await;
    let is_complete = matched == Some(true) && app.sites.in_place(id, deadline).await;
    let changes = changes(&scope.world, &outcome.world, id, &events);
    let seq = Some(outcome.seq);
    tracing::info!(tenant.id = %id, event.seq = outcome.seq.0, restored.seq = restored_to_seq.0, "a tenant was restored");
    Ok(answer(StatusCode::OK, &answered(changes, deployment_id, is_complete, seq)))
}

/// The World that events lead to.
fn evolved(world: &World, events: &[Event], app: &AppState) -> World {
    let mut after = world.clone();
    for event in events {
        let draft = Draft::of_system(EventId(Uuid::nil()), app.now(), event.clone());
        after.evolve(&Recorded { seq: after.seq.next(), draft });
    }
    after
}

/// What of a tenant becomes another, as far as it can be restored.
fn changes(before: &World, after: &World, id: TenantId, events: &[Event]) -> Vec<Change> {
    const FIELDS: [&str; 11] = [
        "name",
        "slug",
        "domain",
        "api_domain",
        "github_repo",
        "notes",
        "directory",
        "frontend_port",
        "backend_port",
        "frontend.desired",
        "backend.desired",
    ];
    let is_restorable =
        |field: &str| FIELDS.contains(&field) || field.starts_with("config.") || field.starts_with("theme.");
    let mut changes = history::diff(before, after, id);
    changes.retain(|change| is_restorable(&change.field));
    let release = events.iter().find_map(|event| match event {
        Event::DeploymentRequested(requested) => Some(requested.release),
        _ => None,
    });
    if let Some(release) = release {
        let from = json!(before.tenants.get(id).and_then(|tenant| tenant.release));
        changes.push(Change { field: "release".to_owned(), from, to: json!(release) });
        changes.sort_by(|a, b| a.field.cmp(&b.field));
    }
    changes
}

/// Whether the world outside matches what was recorded of a tenant; `None` while it is being
/// made to.
fn matches(world: &World, id: TenantId, deployment: Option<DeploymentId>) -> Option<bool> {
    let Some(tenant) = world.tenants.get(id) else { return Some(false) };
    if let Some(deployment) = deployment {
        match world.deployments.get(deployment).map(|deployment| deployment.status) {
            Some(DeploymentStatus::Pending | DeploymentStatus::Running) => return None,
            Some(DeploymentStatus::Success) => {}
            Some(DeploymentStatus::Failed | DeploymentStatus::Cancelled) | None => return Some(false),
        }
    }
    let has_env = world.configurations.get(id).is_none_or(|one| one.env_wanted.is_none());
    let is_dressed = tenant.theme.applied >= tenant.theme.changed;
    let instances = [tenant.frontend, tenant.backend].into_iter().flatten();
    let mut instances = instances.filter_map(|id| world.instances.get(id));
    (has_env && is_dressed && instances.all(|instance| !instance.needs_attention())).then_some(true)
}
