//! Tenants: list, get, create, update, delete.

mod erase;

use std::ops::ControlFlow;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Deserializer, Serialize};
use tenantry_journal::event::Event;
use tenantry_journal::event::tenant::Removal;
use tenantry_journal::id::{Seq, TenantId};
use tenantry_journal::name::{Domain, Slug};
use tenantry_projections::world::World;
use tenantry_projections::world::tenants::{Tenant, TenantStatus};
use tokio::time::Instant;

use super::view::{TenantLine, TenantPage};
use crate::domain::command::{Command, CreateTenant, TenantChanges};
use crate::drivers::listening;
use crate::http::aftermath;
use crate::http::error::ApiError;
use crate::http::etag::etag;
use crate::http::extract::{Id, Json, NoQuery, Query, Scope, cleared_or_set, missing};
use crate::http::kept::Question;
use crate::http::listing::Page;
use crate::http::state::AppState;
use crate::http::write::{Answer, Write, answer, encode, located, written};

/// Tenants in one answer when the query does not say; document 1's.
const DEFAULT_LIMIT: u64 = 50;
/// The longest text that is searched for, in bytes; longer ones match no name.
const LONGEST_SEARCH: usize = 256;
/// How long a deletion may take before the answer says that it is not done yet: two stop
/// timeouts and a large directory.
const DELETE_WAIT: Duration = Duration::from_secs(30);

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TenantQuery {
    #[schemars(with = "Option<TenantStatus>")]
    status: Option<StatusName>,
    search: Option<String>,
    limit: Option<i64>,
    offset: Option<i64>,
}

/// [`TenantStatus`] as a parameter.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StatusName {
    Pending,
    Deploying,
    Running,
    Stopped,
    Error,
}

impl StatusName {
    fn is(self, status: TenantStatus) -> bool {
        matches!(
            (self, status),
            (StatusName::Pending, TenantStatus::Pending)
                | (StatusName::Deploying, TenantStatus::Deploying)
                | (StatusName::Running, TenantStatus::Running)
                | (StatusName::Stopped, TenantStatus::Stopped)
                | (StatusName::Error, TenantStatus::Error)
        )
    }
}

#[derive(Serialize, schemars::JsonSchema)]
pub(super) struct TenantList<'a> {
    tenants: Vec<TenantLine<'a>>,
    total: usize,
    limit: usize,
    offset: usize,
}

/// `GET /api/tenants`
pub(super) async fn list(
    State(app): State<AppState>,
    scope: Scope,
    Query(query): Query<TenantQuery>,
) -> Result<Response, ApiError> {
    let page = Page::new(query.limit, query.offset, DEFAULT_LIMIT)?;
    let search = query.search.filter(|text| !text.is_empty()).map(|text| text.to_lowercase());
    if search.as_ref().is_some_and(|text| text.len() > LONGEST_SEARCH) {
        return Err(ApiError::bad_request(format!("search is longer than {LONGEST_SEARCH} bytes.")));
    }
    let world = &scope.world;
    let is_kept = scope.principal.is_unlimited() && !scope.is_past();
    let question = is_kept.then(|| {
        let status = query.status.map(|status| format!("{status:?}")).unwrap_or_default();
        let text = search.as_deref().unwrap_or_default();
        // The text comes last, so that whatever it holds it is no other question.
        Question::Tenants(format!("{} {} {status} {text}", page.limit, page.offset))
    });
    if let Some(json) = question.as_ref().and_then(|question| app.kept.get(world.seq, question)) {
        return Ok(written(StatusCode::OK, json));
    }
    let wanted = scope.visible_tenants().filter(|tenant| {
        query.status.is_none_or(|status| status.is(world.tenant_status(tenant)))
            && search.as_ref().is_none_or(|text| mentions(tenant, text))
    });
    let (tenants, total) = page.of(wanted);
    let tenants = tenants.into_iter().map(|tenant| TenantLine::new(world, tenant)).collect();
    let list = TenantList { tenants, total, limit: page.limit, offset: page.offset };
    let Some(question) = question else { return Ok(answer(StatusCode::OK, &list)) };
    let json = encode(&list)?;
    app.kept.keep(world.seq, question, &json);
    Ok(written(StatusCode::OK, json))
}

/// Whether a name, slug or domain of the tenant contains a text, which is in lower case.
fn mentions(tenant: &Tenant, text: &str) -> bool {
    tenant.details.open().is_some_and(|details| {
        details.name.to_lowercase().contains(text)
            || details.slug.as_str().contains(text)
            || details.domain.as_str().contains(text)
            || details.api_domain.as_ref().is_some_and(|domain| domain.as_str().contains(text))
    })
}

/// The tenant by itself as it is now, which is kept until something happens.
fn page(app: &AppState, world: &World, tenant: &Tenant, status: StatusCode) -> Result<Response, ApiError> {
    let last_check = app.live.last_health(tenant.id).map(|report| report.checked_at);
    let question = Question::Tenant(tenant.id, last_check);
    let json = match app.kept.get(world.seq, &question) {
        Some(json) => json,
        None => {
            let json = encode(&TenantPage::new(world, tenant, last_check))?;
            app.kept.keep(world.seq, question, &json);
            json
        }
    };
    Ok(tagged(tenant, status, json))
}

/// What is said of a tenant by itself, with its `ETag`.
fn tagged(tenant: &Tenant, status: StatusCode, json: Bytes) -> Response {
    let mut response = written(status, json);
    response.headers_mut().insert(header::ETAG, etag(tenant.changed));
    response
}

/// `GET /api/tenants/{id}`
pub(super) async fn get(
    State(app): State<AppState>,
    scope: Scope,
    Id(id): Id<TenantId>,
    _: NoQuery,
) -> Result<Response, ApiError> {
    let tenant = scope.tenant(id)?;
    if scope.is_past() {
        let json = encode(&TenantPage::new(&scope.world, tenant, None))?;
        return Ok(tagged(tenant, StatusCode::OK, json));
    }
    page(&app, &scope.world, tenant, StatusCode::OK)
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTenant {
    name: String,
    slug: Slug,
    domain: Domain,
    api_domain: Option<Domain>,
    frontend_port: Option<u16>,
    backend_port: Option<u16>,
    github_repo: Option<String>,
    notes: Option<String>,
}

/// `POST /api/tenants`
pub(super) async fn create(
    State(app): State<AppState>,
    write: Write,
    _: NoQuery,
    Json(new): Json<NewTenant>,
) -> Answer {
    let command = Command::CreateTenant(CreateTenant {
        name: new.name,
        slug: new.slug,
        domain: new.domain,
        api_domain: new.api_domain,
        frontend_port: new.frontend_port,
        backend_port: new.backend_port,
        github_repo: new.github_repo,
        notes: new.notes,
        listening: listening::looked_at().await,
    });
    let outcome = write.submit(command).await?;
    let created = outcome.events.iter().find_map(|event| match &event.event {
        Event::TenantCreated(created) => outcome.world.tenants.get(created.tenant_id),
        _ => None,
    });
    let tenant = created.ok_or_else(ApiError::internal)?;
    Ok(located(
        page(&app, &outcome.world, tenant, StatusCode::CREATED)?,
        &format!("/api/tenants/{}", tenant.id),
    ))
}

#[derive(Deserialize, schemars::JsonSchema)]
#[schemars(rename = "TenantChanges")]
#[serde(deny_unknown_fields)]
pub(super) struct Changes {
    #[serde(default, deserialize_with = "set")]
    #[schemars(with = "String")]
    name: Option<String>,
    #[serde(default, deserialize_with = "set")]
    #[schemars(with = "Domain")]
    domain: Option<Domain>,
    #[serde(default, deserialize_with = "cleared_or_set")]
    api_domain: Option<Option<Domain>>,
    #[serde(default, deserialize_with = "cleared_or_set")]
    github_repo: Option<Option<String>>,
    #[serde(default, deserialize_with = "cleared_or_set")]
    notes: Option<Option<String>>,
}

/// A field that may be left out, but not be `null`.
fn set<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// `PUT /api/tenants/{id}`
pub(super) async fn update(
    State(app): State<AppState>,
    scope: Scope,
    write: Write,
    Id(id): Id<TenantId>,
    _: NoQuery,
    Json(new): Json<Changes>,
) -> Answer {
    scope.tenant(id)?;
    let changes = TenantChanges {
        name: new.name,
        domain: new.domain,
        api_domain: new.api_domain,
        github_repo: new.github_repo,
        notes: new.notes,
    };
    let outcome = write.submit(Command::UpdateTenant { tenant_id: id, changes }).await?;
    let tenant = outcome.world.tenants.get(id).ok_or_else(|| missing::<TenantId>(&id.to_string()))?;
    Ok(page(&app, &outcome.world, tenant, StatusCode::OK)?)
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteQuery {
    #[serde(default)]
    remove_files: bool,
    #[serde(default = "yes")]
    remove_nginx: bool,
    #[serde(default = "yes")]
    remove_services: bool,
    /// Also destroys the tenant's key, so that nobody can ever read again what is theirs.
    #[serde(default)]
    erase: bool,
}

fn yes() -> bool {
    true
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "DeletedTenant")]
pub(super) struct Deleted {
    message: &'static str,
    removed: Removed,
    /// Only there, and true, when it was forgotten for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    erased: Option<bool>,
}

#[derive(Default, Serialize, schemars::JsonSchema)]
#[schemars(rename = "RemovedOfTenant")]
struct Removed {
    files: bool,
    nginx: bool,
    services: bool,
    ports_released: Vec<u16>,
}

/// `DELETE /api/tenants/{id}`
pub(super) async fn delete(
    State(app): State<AppState>,
    scope: Scope,
    write: Write,
    Id(id): Id<TenantId>,
    Query(query): Query<DeleteQuery>,
) -> Answer {
    let remove =
        Removal { files: query.remove_files, nginx: query.remove_nginx, services: query.remove_services };
    if query.erase {
        return erase::erase(app, &scope, write, id, remove).await;
    }
    scope.tenant(id)?;
    let outcome = write.submit(Command::DeleteTenant { tenant_id: id, remove }).await?;
    let from = outcome.events.first().map_or(outcome.seq, |event| event.seq);
    let deadline = Instant::now() + DELETE_WAIT;
    let gone = app.engine.until(deadline, |world| world.tenants.get(id).is_none().then_some(())).await;
    if gone.is_none() {
        return Err(ApiError::timed_out(format!("Tenant '{id}' is being deleted, and not gone yet."))
            .coded("deletion_running")
            .detailed("It goes on by itself; ask for the tenant again until it is gone.")
            .into());
    }
    let (seq, removed) = find_removal(&app, id, from).await?;
    write.note_seq(seq);
    let body = Deleted { message: "Tenant deleted successfully", removed, erased: None };
    Ok(answer(StatusCode::OK, &body).into_response())
}

/// What the journal says, from a position on, of what went with the tenant.
async fn find_removal(app: &AppState, id: TenantId, from: Seq) -> Result<(Seq, Removed), ApiError> {
    let mut ports_released = Vec::new();
    aftermath::find(app, from, move |event| {
        match &event.event {
            Event::PortReleased(released) if released.tenant_id == id => {
                ports_released.extend([released.ports.frontend, released.ports.backend]);
            }
            Event::TenantDeleted(deleted) if deleted.tenant_id == id => {
                let Removal { files, nginx, services } = deleted.removed;
                let ports_released = std::mem::take(&mut ports_released);
                return ControlFlow::Break((event.seq, Removed { files, nginx, services, ports_released }));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    })
    .await
}
