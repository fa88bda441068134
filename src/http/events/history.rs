//! `GET /api/tenants/{id}/history` and `diff`: what became of a tenant, also of one that is gone.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tenantry_journal::id::{Seq, TenantId};
use tenantry_projections::history::{self, Change, EntryView};

use crate::http::error::ApiError;
use crate::http::extract::{Id, Query, Scope, missing};
use crate::http::listing::Page;
use crate::http::state::{AppState, AsOfError};
use crate::http::write::answer;

/// Entries in one answer when the query does not say.
const DEFAULT_LIMIT: u64 = 100;

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryQuery {
    from_seq: Option<Seq>,
    to_seq: Option<Seq>,
    limit: Option<i64>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "TenantHistory")]
pub(super) struct HistoryPage<'a> {
    tenant_id: TenantId,
    history: Vec<EntryView<'a>>,
    next_seq: Option<Seq>,
    head_seq: Seq,
}

/// Refuses a tenant that never was, or that the caller does not reach.
pub(super) fn check_known(scope: &Scope, id: TenantId) -> Result<(), ApiError> {
    let is_known = scope.world.tenants.is_known(id) && scope.principal.reaches_tenant(id);
    if is_known { Ok(()) } else { Err(missing::<TenantId>(&id.to_string())) }
}

/// `GET /api/tenants/{id}/history`: one entry for each event of the tenant, oldest first.
pub(super) async fn history(
    State(app): State<AppState>,
    scope: Scope,
    Id(id): Id<TenantId>,
    Query(query): Query<HistoryQuery>,
) -> Result<Response, ApiError> {
    check_known(&scope, id)?;
    let limit = Page::new(query.limit, None, DEFAULT_LIMIT)?.limit;
    let head_seq = scope.as_of.unwrap_or(scope.world.seq);
    let until = query.to_seq.unwrap_or(head_seq).min(head_seq);
    let after = Seq(query.from_seq.unwrap_or(Seq(1)).0.saturating_sub(1)).min(head_seq);
    let names = app.engine.world();
    let reading = tokio::task::spawn_blocking(move || {
        let found = app.time.history(id, after, until, limit)?;
        let page = HistoryPage {
            tenant_id: id,
            history: found.entries.iter().map(|entry| entry.view(&names)).collect(),
            next_seq: found.next_after.map(Seq::next),
            head_seq,
        };
        Ok::<Response, AsOfError>(answer(StatusCode::OK, &page))
    });
    Ok(reading.await.map_err(|_| ApiError::internal())??)
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DiffQuery {
    /// The one moment: a position or an RFC 3339 time.
    from: String,
    /// The other moment; the present without it.
    to: Option<String>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "TenantDiff")]
pub(super) struct Difference {
    tenant_id: TenantId,
    from_seq: Seq,
    to_seq: Seq,
    changes: Vec<Change>,
}

/// Names the parameter that is wrong, where the error only knows of `as_of`.
pub(super) fn wrong_point(name: &str, error: &AsOfError) -> ApiError {
    let mut told = ApiError::from(error.clone());
    told.message = told.message.replacen("as_of", name, 1);
    told
}

/// `GET /api/tenants/{id}/diff`: the changes from one moment to another, which may be the earlier.
pub(super) async fn diff(
    State(app): State<AppState>,
    scope: Scope,
    Id(id): Id<TenantId>,
    Query(query): Query<DiffQuery>,
) -> Result<Response, ApiError> {
    check_known(&scope, id)?;
    let now = app.now();
    let reading = tokio::task::spawn_blocking(move || {
        let point =
            |name: &str, text: &str| app.time.resolve(text, now).map_err(|error| wrong_point(name, &error));
        let from_seq = point("from", &query.from)?;
        let to_seq = match &query.to {
            Some(to) => point("to", to)?,
            None => scope.world.seq,
        };
        let from = app.time.tenant_at(id, from_seq)?;
        let to = if to_seq == scope.world.seq { scope.world } else { app.time.tenant_at(id, to_seq)? };
        let changes = history::diff(&from, &to, id);
        Ok::<Response, ApiError>(answer(
            StatusCode::OK,
            &Difference { tenant_id: id, from_seq, to_seq, changes },
        ))
    });
    reading.await.map_err(|_| ApiError::internal())?
}
