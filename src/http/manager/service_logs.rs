//! `GET /api/tenants/{id}/logs`: what a tenant's frontend or backend printed, as text; with
//! `follow=true` as server-sent events, the last lines first.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use tenantry_journal::event::instance::Role;
use tenantry_journal::id::{InstanceId, TenantId};

use super::deployment_feed::Message;
use crate::http::error::ApiError;
use crate::http::extract::{Id, Query, Scope};
use crate::http::observed::{Line, OutputError};
use crate::http::state::AppState;
use crate::http::write::answer;

/// Lines of an answer when the query does not say; document 1's.
const DEFAULT_LINES: usize = 100;
/// The most lines of one answer; they may be 16 KiB each.
const MOST_LINES: usize = 1000;
/// Time between comments on a quiet stream: below the idle timeouts of usual proxies.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Deserialize, schemars::JsonSchema)]
#[schemars(rename = "ServiceLogQuery")]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    service: Option<Role>,
    lines: Option<usize>,
    #[serde(default)]
    follow: bool,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "ServiceLogs")]
pub(super) struct Logs {
    tenant_id: TenantId,
    service: Role,
    logs: String,
}

/// `GET /api/tenants/{id}/logs`
pub(super) async fn get(
    State(app): State<AppState>,
    scope: Scope,
    Id(id): Id<TenantId>,
    Query(params): Query<Params>,
) -> Result<Response, ApiError> {
    let service = params.service.unwrap_or(Role::Frontend);
    let lines = params.lines.unwrap_or(DEFAULT_LINES);
    if lines > MOST_LINES {
        return Err(ApiError::bad_request(format!("lines must be 0 to {MOST_LINES}, not {lines}."))
            .coded("invalid_parameter"));
    }
    // Before its first deployment a tenant has printed nothing.
    let instance = scope.tenant(id)?.instance(service);
    if let Some(instance) = instance.filter(|instance| app.unit_logs.has(*instance)) {
        if !params.follow {
            let logs =
                app.unit_logs.last(instance, lines).await.map_err(|error| unreadable(&error))?.join("\n");
            return Ok(answer(StatusCode::OK, &Logs { tenant_id: id, service, logs }));
        }
        let subject = Subject { id, service, after: None, lines };
        return Ok(sse(follow(app, scope, subject, VecDeque::new())));
    }
    let last = match instance {
        Some(instance) => last(&app, instance, lines).await?,
        None => VecDeque::new(),
    };
    if !params.follow {
        let texts: Vec<&str> = last.iter().map(|line| line.text.as_str()).collect();
        return Ok(answer(StatusCode::OK, &Logs { tenant_id: id, service, logs: texts.join("\n") }));
    }
    // Asked for no earlier line: what comes from now on. Nothing printed yet: the first line on.
    let after = match last.back() {
        Some(line) => Some(line.position),
        None => (lines > 0 || instance.is_none()).then_some(0),
    };
    Ok(sse(follow(app, scope, Subject { id, service, after, lines }, last)))
}

fn sse(events: impl Stream<Item = Result<SseEvent, Infallible>> + Send + 'static) -> Response {
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

fn unreadable(error: &OutputError) -> ApiError {
    tracing::error!(%error, "output of a tenant's process cannot be read");
    ApiError::internal()
}

/// The last lines of an instance, oldest first.
async fn last(app: &AppState, instance: InstanceId, count: usize) -> Result<VecDeque<Line>, ApiError> {
    let outputs = std::sync::Arc::clone(&app.outputs);
    let read = tokio::task::spawn_blocking(move || -> Result<_, OutputError> {
        let mut last = VecDeque::with_capacity(count);
        for block in outputs.backwards(instance, None)? {
            for line in block?.into_iter().rev() {
                if last.len() == count {
                    return Ok(last);
                }
                last.push_front(line);
            }
        }
        Ok(last)
    });
    let read = read.await.map_err(|_| ApiError::internal())?;
    read.map_err(|error| unreadable(&error))
}

/// What is followed.
struct Subject {
    id: TenantId,
    service: Role,
    /// The position of the last line that is known; `None` for what comes from now on.
    after: Option<u64>,
    /// How many earlier lines were asked for.
    lines: usize,
}

/// The last lines, then each that is printed, until the credential lapses or the tenant is gone.
fn follow(
    app: AppState,
    scope: Scope,
    subject: Subject,
    last: VecDeque<Line>,
) -> impl Stream<Item = Result<SseEvent, Infallible>> {
    async_stream::stream! {
        let Subject { id, service, after, lines: count } = subject;
        let mut look = Scope::looks();
        for line in last {
            if let Some(event) = event(line.text) {
                yield Ok(event);
            }
        }
        let mut changes = app.engine.changes();
        // A tenant that was never deployed gets its process with its first deployment.
        let instance = loop {
            changes.mark_unchanged();
            let Some(tenant) = app.engine.world().tenants.get(id).cloned() else { return };
            if let Some(instance) = tenant.instance(service) {
                break instance;
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                _ = scope.ended(&app, &mut look) => return,
            }
        };
        let mut lines = if app.unit_logs.has(instance) {
            app.unit_logs.follow(instance, count)
        } else {
            app.outputs.follow(instance, after).map(|line| line.text).boxed()
        };
        loop {
            let line = tokio::select! {
                line = lines.next() => line,
                _ = scope.ended(&app, &mut look) => None,
                _ = gone(&app, id, &mut changes) => None,
            };
            let Some(line) = line else { return };
            if let Some(event) = event(line) {
                yield Ok(event);
            }
        }
    }
}

/// Resolves when the tenant is not there any more.
async fn gone(
    app: &AppState,
    id: TenantId,
    changes: &mut tokio::sync::watch::Receiver<tenantry_journal::id::Seq>,
) {
    while app.engine.world().tenants.get(id).is_some() && changes.changed().await.is_ok() {}
}

fn event(message: String) -> Option<SseEvent> {
    SseEvent::default().event("log").json_data(Message::Log { message }).ok()
}
