//! Deployments: request, state, logs.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use tenantry_journal::event::Event;
use tenantry_journal::event::deployment::StepKind;
use tenantry_journal::id::{DeploymentId, TenantId};
use tenantry_journal::sealed::Sealed;
use tenantry_journal::time::Timestamp;
use tenantry_projections::world::World;
use tenantry_projections::world::deployments::{Deployment, DeploymentStatus, Step, StepStatus};
use tokio::time::Instant;

use super::deployment_feed::{Message, messages};
use super::view::Seconds;
use crate::domain::command::{Command, DeploySwitches};
use crate::engine::Outcome;
use crate::http::error::ApiError;
use crate::http::etag::etag;
use crate::http::extract::{Id, MaybeJson, NoQuery, Query, Scope, missing};
use crate::http::listing::Page;
use crate::http::state::AppState;
use crate::http::write::{Answer, Write, answer, located};

/// What a tenant's first deployment is thought to take, in seconds.
const FIRST_ESTIMATE_S: u64 = 60;
/// Deployments in one answer when the query does not say.
const DEFAULT_LIMIT: u64 = 50;
/// How long the answer to a request waits for the deployment to begin, which takes milliseconds
/// unless the machine is very busy; it begins without anybody waiting, too.
const BEGIN_WAIT: Duration = Duration::from_secs(1);
/// Time between comments on a quiet event stream: below the idle timeouts of usual proxies.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A deployment that the caller may see.
///
/// # Errors
/// 404 when there is none.
pub(super) fn find(scope: &Scope, id: DeploymentId) -> Result<&Deployment, ApiError> {
    scope
        .world
        .deployments
        .get(id)
        .filter(|deployment| scope.principal.reaches_tenant(deployment.tenant_id))
        .map(|deployment| &**deployment)
        .ok_or_else(|| missing::<DeploymentId>(&id.to_string()))
}

#[derive(Default, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "DeploySwitches")]
#[serde(deny_unknown_fields, default)]
pub(super) struct Switches {
    skip_ssl: bool,
    skip_nginx: bool,
    skip_services: bool,
    git_ref: Option<String>,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeployQuery {
    #[serde(default)]
    queue: bool,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "RequestedDeployment")]
pub(super) struct Requested {
    deployment_id: DeploymentId,
    #[schemars(extend("enum" = ["running", "pending"]))]
    status: &'static str,
    started_at: Timestamp,
    estimated_duration: u64,
}

/// `POST /api/tenants/{id}/deploy`
pub(super) async fn deploy(
    State(app): State<AppState>,
    scope: Scope,
    write: Write,
    Id(id): Id<TenantId>,
    Query(query): Query<DeployQuery>,
    MaybeJson(switches): MaybeJson<Switches>,
) -> Answer {
    scope.tenant(id)?;
    let Switches { skip_ssl, skip_nginx, skip_services, git_ref } = switches;
    let switches = DeploySwitches { skip_ssl, skip_nginx, skip_services, git_ref, queue: query.queue };
    let outcome = write.submit(Command::DeployTenant { tenant_id: id, switches }).await?;
    requested(&app, &outcome, id).await
}

/// Answers that a deployment was requested.
pub(super) async fn requested(app: &AppState, outcome: &Outcome, tenant: TenantId) -> Answer {
    let requested = outcome.events.iter().find_map(|event| match &event.event {
        Event::DeploymentRequested(requested) => Some((event.at, requested.deployment_id)),
        _ => None,
    });
    let (started_at, deployment) = requested.ok_or_else(ApiError::internal)?;
    started(app, outcome, tenant, deployment, started_at).await
}

/// Answers that a deployment goes on from here, or waits for another.
pub(super) async fn started(
    app: &AppState,
    outcome: &Outcome,
    tenant: TenantId,
    deployment_id: DeploymentId,
    started_at: Timestamp,
) -> Answer {
    let is_first = outcome.world.deployments.under_way(tenant).is_none_or(|first| first.id == deployment_id);
    if is_first {
        // The document prints "running", and so says whoever reads the deployment after this answer.
        let begun = |world: &World| match world.deployments.get(deployment_id) {
            Some(deployment) => (deployment.status != DeploymentStatus::Pending).then_some(()),
            None => Some(()),
        };
        app.engine.until(Instant::now() + BEGIN_WAIT, begun).await;
    }
    let body = Requested {
        deployment_id,
        status: if is_first { "running" } else { "pending" },
        started_at,
        estimated_duration: estimate_s(&outcome.world, tenant, deployment_id),
    };
    Ok(located(answer(StatusCode::ACCEPTED, &body), &format!("/api/deployments/{deployment_id}")))
}

/// The median of what the tenant's successful deployments of this sort took, in seconds. What
/// came before in the queue is not counted.
fn estimate_s(world: &World, tenant: TenantId, id: DeploymentId) -> u64 {
    let is_rollback = world.deployments.get(id).is_some_and(|deployment| deployment.rollback);
    let mut took: Vec<u64> = world
        .deployments
        .of(tenant)
        .filter(|earlier| earlier.status == DeploymentStatus::Success && earlier.rollback == is_rollback)
        .filter_map(|earlier| Some(earlier.finished_at?.since_ms(earlier.begun_at?)))
        .collect();
    took.sort_unstable();
    let (low, high) = (took.len().saturating_sub(1) / 2, took.len() / 2);
    let middle = took.get(low).zip(took.get(high)).map(|(low, high)| u64::midpoint(*low, *high));
    middle.map_or(FIRST_ESTIMATE_S, |ms| ms.div_ceil(1000).max(1))
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "DeploymentStep")]
struct StepView<'a> {
    #[schemars(extend("enum" = StepKind::ALL.map(StepKind::name)))]
    name: &'static str,
    status: StepStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<Seconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

impl<'a> StepView<'a> {
    fn new(step: &'a Step) -> StepView<'a> {
        let ran = step.started_at.zip(step.finished_at);
        StepView {
            name: step.kind.name(),
            status: step.status,
            duration: ran.map(|(from, to)| Seconds::between(from, to)),
            started: step.started_at.filter(|_| step.status == StepStatus::Running),
            detail: step.detail.as_ref().and_then(Sealed::open).map(String::as_str),
        }
    }
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "Deployment")]
pub(super) struct DeploymentView<'a> {
    id: DeploymentId,
    tenant_id: TenantId,
    status: DeploymentStatus,
    current_step: Option<&'static str>,
    steps: Vec<StepView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logs: Option<String>,
    release: u32,
    rollback: bool,
    git_ref: Option<&'a str>,
    started_at: Timestamp,
    finished_at: Option<Timestamp>,
}

impl<'a> DeploymentView<'a> {
    pub(super) fn new(deployment: &'a Deployment, logs: Option<String>) -> DeploymentView<'a> {
        DeploymentView {
            id: deployment.id,
            tenant_id: deployment.tenant_id,
            status: deployment.status,
            current_step: current_step(deployment),
            steps: deployment.steps.iter().map(StepView::new).collect(),
            logs,
            release: deployment.release,
            rollback: deployment.rollback,
            git_ref: deployment.git_ref.as_ref().and_then(Sealed::open).map(String::as_str),
            started_at: deployment.requested_at,
            finished_at: deployment.finished_at,
        }
    }
}

/// What is being done: the running step, or the next one; nothing when it is over.
pub(super) fn current_step(deployment: &Deployment) -> Option<&'static str> {
    if deployment.is_over() {
        return None;
    }
    deployment.current().map(|step| step.kind.doing())
}

/// What the steps printed, read where blocking is allowed.
pub(super) async fn log_text(app: &AppState, id: DeploymentId) -> Result<String, ApiError> {
    let logs = std::sync::Arc::clone(&app.logs);
    tokio::task::spawn_blocking(move || logs.text(id)).await.map_err(|error| {
        tracing::error!(error = %error, "a deployment's log was not read");
        ApiError::internal()
    })
}

/// `GET /api/deployments/{id}`
pub(super) async fn get(
    State(app): State<AppState>,
    scope: Scope,
    Id(id): Id<DeploymentId>,
    _: NoQuery,
) -> Result<Response, ApiError> {
    let deployment = find(&scope, id)?;
    // The log is output and no state: it has no past.
    let logs = if scope.is_past() { None } else { Some(log_text(&app, id).await?) };
    let mut response = answer(StatusCode::OK, &DeploymentView::new(deployment, logs));
    response.headers_mut().insert(header::ETAG, etag(deployment.cause));
    Ok(response)
}

#[derive(Deserialize, schemars::JsonSchema)]
#[schemars(rename = "DeploymentQuery")]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    limit: Option<i64>,
    offset: Option<i64>,
}

#[derive(Serialize, schemars::JsonSchema)]
pub(super) struct DeploymentList<'a> {
    deployments: Vec<DeploymentView<'a>>,
    total: usize,
    limit: usize,
    offset: usize,
}

/// `GET /api/tenants/{id}/deployments`: the newest first, without their logs.
pub(super) async fn list(
    scope: Scope,
    Id(id): Id<TenantId>,
    Query(query): Query<ListQuery>,
) -> Result<Response, ApiError> {
    let tenant = scope.tenant(id)?;
    let page = Page::new(query.limit, query.offset, DEFAULT_LIMIT)?;
    let (deployments, total) = page.of(scope.world.deployments.of(tenant.id).rev());
    let deployments = deployments.into_iter().map(|d| DeploymentView::new(d, None)).collect();
    let list = DeploymentList { deployments, total, limit: page.limit, offset: page.offset };
    Ok(answer(StatusCode::OK, &list))
}

#[derive(Deserialize, schemars::JsonSchema)]
#[schemars(rename = "DeploymentLogQuery")]
#[serde(deny_unknown_fields)]
pub(super) struct LogQuery {
    #[serde(default)]
    stream: bool,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "DeploymentLogs")]
pub(super) struct Logs {
    deployment_id: DeploymentId,
    logs: String,
}

/// `GET /api/deployments/{id}/logs`
pub(super) async fn logs(
    State(app): State<AppState>,
    scope: Scope,
    Id(id): Id<DeploymentId>,
    Query(query): Query<LogQuery>,
) -> Result<Response, ApiError> {
    find(&scope, id)?;
    if !query.stream {
        let logs = log_text(&app, id).await?;
        return Ok(answer(StatusCode::OK, &Logs { deployment_id: id, logs }));
    }
    let stream = Sse::new(log_events(app, scope, id)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    Ok(stream.into_response())
}

/// Log lines and the end of a deployment, until the credential lapses.
fn log_events(
    app: AppState,
    scope: Scope,
    id: DeploymentId,
) -> impl Stream<Item = Result<SseEvent, Infallible>> {
    async_stream::stream! {
        let messages = messages(app.clone(), id);
        tokio::pin!(messages);
        let mut looks = Scope::looks();
        loop {
            let message = tokio::select! {
                message = messages.next() => message,
                _ = scope.ended(&app, &mut looks) => None,
            };
            let Some(message) = message else { return };
            let name = match &message {
                Message::Progress { .. } => continue,
                Message::Log { .. } => "log",
                Message::Complete { .. } => "complete",
            };
            if let Ok(event) = SseEvent::default().event(name).json_data(&message) {
                yield Ok(event);
            }
        }
    }
}
