//! `GET /api/logs` of document 1: what happened, as lines with a level and a category.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tenantry_journal::event::Event;
use tenantry_journal::event::access::Scope as Reach;
use tenantry_journal::id::{EventId, TenantId};
use tenantry_journal::recorded::Recorded;
use tenantry_journal::time::Timestamp;
use tenantry_projections::audit_log::{Category, Filter, Level, category, level, message};
use tenantry_projections::world::World;

use crate::control_log::{LogError, LogPage};
use crate::http::error::ApiError;
use crate::http::extract::{Scope, missing};
use crate::http::listing::Page;
use crate::http::state::AppState;
use crate::http::write::answer;

/// Document 1's.
const DEFAULT_LIMIT: u64 = 100;

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "ControlLogQuery")]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Params {
    tenant_id: Option<TenantId>,
    level: Option<Level>,
    category: Option<Category>,
    limit: Option<i64>,
    offset: Option<i64>,
    /// `control`; looked at by whoever chose this log.
    #[serde(rename = "source")]
    #[schemars(skip)]
    _source: Option<String>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "ControlLogLine")]
struct Line<'a> {
    id: EventId,
    tenant_id: Option<TenantId>,
    level: Level,
    category: Category,
    message: String,
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    details: &'a Event,
    created_at: Timestamp,
}

impl<'a> Line<'a> {
    fn new(recorded: &'a Recorded, names: &World) -> Line<'a> {
        Line {
            id: recorded.id,
            tenant_id: recorded.tenant_id,
            level: level(recorded),
            category: category(recorded),
            message: message(recorded, names),
            details: &recorded.event,
            created_at: recorded.at,
        }
    }
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "ControlLog")]
pub(in crate::http) struct Lines<'a> {
    logs: Vec<Line<'a>>,
    total: u64,
    limit: usize,
    offset: usize,
}

/// The newest line first.
pub(in crate::http) async fn list(
    app: AppState,
    scope: &Scope,
    params: Params,
) -> Result<Response, ApiError> {
    let Page { limit, offset } = Page::new(params.limit, params.offset, DEFAULT_LIMIT)?;
    let tenants = reach(scope, params.tenant_id)?;
    let filter = Filter { tenants, level: params.level, category: params.category };
    let reader = app.clone();
    let read = move || reader.control_log.page(&reader.engine, &filter, offset, limit);
    let page = tokio::task::spawn_blocking(read).await.map_err(|_| ApiError::internal())?;
    let LogPage { events, total } = page.map_err(|error| refused(&error))?;
    // The live World knows the names of what is gone, too.
    let names = app.engine.world();
    let logs = events.iter().map(|event| Line::new(event, &names)).collect();
    Ok(answer(StatusCode::OK, &Lines { logs, total, limit, offset }))
}

/// The tenants whose lines are shown: the one that is asked for, else all that are in reach.
fn reach(scope: &Scope, asked: Option<TenantId>) -> Result<Option<BTreeSet<TenantId>>, ApiError> {
    let all = match &scope.principal.scope {
        Reach::All => None,
        Reach::Tenant(own) => Some(BTreeSet::from([*own])),
        Reach::Tenants(own) => Some(own.clone()),
        Reach::Service(_) => {
            return Err(ApiError::forbidden("This credential is limited to the instances of one service.")
                .detailed("Add source=process for what they printed."));
        }
    };
    match asked {
        None => Ok(all),
        Some(asked) if all.as_ref().is_none_or(|own| own.contains(&asked)) => {
            Ok(Some(BTreeSet::from([asked])))
        }
        Some(asked) => Err(missing::<TenantId>(&asked.to_string())),
    }
}

fn refused(error: &LogError) -> ApiError {
    match error {
        LogError::Behind { .. } => {
            ApiError::unavailable(format!("The log is being read for the first time: {error}."))
                .coded("log_being_read")
                .retry_after(1)
        }
        LogError::Unreadable(cause) => {
            tracing::error!(error = %crate::error::chain(cause), "the journal cannot be read");
            ApiError::unavailable("The journal cannot be read there.")
        }
    }
}
