//! Releases: which there are, and back to one of them.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tenantry_journal::id::{DeploymentId, TenantId};
use tenantry_journal::time::Timestamp;
use tenantry_projections::world::releases::ReleaseStatus;

use super::deployments::requested;
use crate::domain::command::Command;
use crate::http::error::ApiError;
use crate::http::extract::{Id, MaybeJson, NoQuery, Query, Scope};
use crate::http::listing::Page;
use crate::http::state::AppState;
use crate::http::write::{Answer, Write, answer};

/// Releases in one answer when the query does not say.
const DEFAULT_LIMIT: u64 = 50;

#[derive(Default, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "RollbackWanted")]
#[serde(deny_unknown_fields, default)]
pub(super) struct Rollback {
    release: Option<u32>,
}

/// `POST /api/tenants/{id}/rollback`: without a release, to the one that served before.
pub(super) async fn rollback(
    State(app): State<AppState>,
    scope: Scope,
    write: Write,
    Id(id): Id<TenantId>,
    _: NoQuery,
    MaybeJson(Rollback { release }): MaybeJson<Rollback>,
) -> Answer {
    scope.tenant(id)?;
    let outcome = write.submit(Command::RollBackTenant { tenant_id: id, release }).await?;
    requested(&app, &outcome, id).await
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "Release")]
struct ReleaseView<'a> {
    release: u32,
    deployment_id: DeploymentId,
    created_at: Timestamp,
    commit: Option<&'a str>,
    current: bool,
    status: ReleaseStatus,
}

#[derive(Serialize, schemars::JsonSchema)]
pub(super) struct ReleaseList<'a> {
    releases: Vec<ReleaseView<'a>>,
    total: usize,
    limit: usize,
    offset: usize,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[schemars(rename = "ReleaseQuery")]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    limit: Option<i64>,
    offset: Option<i64>,
}

/// `GET /api/tenants/{id}/releases`: those whose files are there, the newest first.
pub(super) async fn list(
    scope: Scope,
    Id(id): Id<TenantId>,
    Query(query): Query<ListQuery>,
) -> Result<Response, ApiError> {
    let tenant = scope.tenant(id)?;
    let page = Page::new(query.limit, query.offset, DEFAULT_LIMIT)?;
    let (releases, total) = page.of(tenant.kept.iter().rev());
    let releases = releases
        .into_iter()
        .map(|release| ReleaseView {
            release: release.number,
            deployment_id: release.deployment,
            created_at: release.made_at,
            commit: release.commit.as_deref(),
            current: tenant.release == Some(release.number),
            status: release.status,
        })
        .collect();
    Ok(answer(StatusCode::OK, &ReleaseList { releases, total, limit: page.limit, offset: page.offset }))
}
