//! A tenant's health: what the last check found, and a new check.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use tenantry_journal::id::TenantId;

use super::view::HealthView;
use crate::http::error::ApiError;
use crate::http::extract::{Id, NoQuery, Scope, missing};
use crate::http::state::{AppState, HealthReport};
use crate::http::write::{Answer, Write, answer};

/// How long a check may take; each of its probes has a shorter limit of its own.
const CHECK_WAIT: Duration = Duration::from_secs(30);

/// `GET /api/tenants/{id}/health`
pub(super) async fn get(
    State(app): State<AppState>,
    scope: Scope,
    Id(id): Id<TenantId>,
    _: NoQuery,
) -> Result<Response, ApiError> {
    let tenant = scope.tenant(id)?;
    let report = if scope.is_past() {
        None
    } else {
        match app.live.last_health(id) {
            Some(report) => Some(report),
            // Just started: nobody has looked yet.
            None => Some(fresh(&app, id).await?),
        }
    };
    Ok(answer(StatusCode::OK, &HealthView::new(&scope.world, tenant, report.as_ref())))
}

async fn fresh(app: &AppState, id: TenantId) -> Result<HealthReport, ApiError> {
    tokio::time::timeout(CHECK_WAIT, app.live.health_check(id))
        .await
        .map_err(|_| ApiError::timed_out("The check has not ended in time.").retry_after(5))
}

/// `POST /api/tenants/{id}/health-check`
pub(super) async fn check(
    State(app): State<AppState>,
    scope: Scope,
    write: Write,
    Id(id): Id<TenantId>,
    _: NoQuery,
) -> Answer {
    scope.tenant(id)?;
    if write.is_dry() {
        return Err(write.dry(&[], &scope.world));
    }
    let report = fresh(&app, id).await?;
    let world = app.engine.world();
    let tenant = world.tenants.get(id).ok_or_else(|| missing::<TenantId>(&id.to_string()))?;
    Ok(answer(StatusCode::OK, &HealthView::new(&world, tenant, Some(&report))))
}
