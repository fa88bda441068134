//! `GET /api/instances`

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tenantry_journal::event::instance::InstanceHealth;
use tenantry_journal::name::ServiceName;
use tenantry_projections::world::instances::Instance;

use super::view::{InstanceView, status_names};
use crate::http::error::ApiError;
use crate::http::extract::{Query, Scope};
use crate::http::listing::{LARGEST_PAGE, Page, Pagination};
use crate::http::state::AppState;
use crate::http::write::{Answer, answer};
use crate::telemetry::labels::Status;

/// Document 2 lists all of them, so as many as one answer may have.
const DEFAULT_LIMIT: u64 = LARGEST_PAGE;

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "InstanceQuery")]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    limit: Option<i64>,
    offset: Option<i64>,
    service: Option<ServiceName>,
    #[schemars(extend("enum" = status_names()))]
    status: Option<String>,
    health: Option<InstanceHealth>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "InstanceList")]
pub(super) struct Listed<'a> {
    instances: Vec<InstanceView<'a>>,
    pagination: Pagination,
}

pub(super) async fn list(State(app): State<AppState>, scope: Scope, Query(filter): Query<Filter>) -> Answer {
    let page = Page::new(filter.limit, filter.offset, DEFAULT_LIMIT)?;
    let status = filter.status.as_deref().map(parse_status).transpose()?;
    let wanted = |instance: &Instance| {
        scope.principal.reaches_instance(&scope.world, instance.id)
            && filter
                .service
                .as_ref()
                .is_none_or(|service| instance.name.open().is_some_and(|name| name.service == *service))
            && status.is_none_or(|status| Status::of(instance) == status)
            && filter.health.is_none_or(|health| instance.health == health)
    };
    let now = (!scope.is_past()).then(|| app.now());
    let all = scope
        .world
        .instances
        .iter()
        .filter(|instance| wanted(instance))
        .filter_map(|instance| InstanceView::new(instance, now));
    let (instances, total) = page.of(all);
    Ok(answer(StatusCode::OK, &Listed { instances, pagination: page.pagination(total) }))
}

fn parse_status(text: &str) -> Result<Status, ApiError> {
    Status::ALL.into_iter().find(|status| status.as_str() == text).ok_or_else(|| {
        let all: Vec<&str> = Status::ALL.iter().map(|status| status.as_str()).collect();
        ApiError::bad_request(format!("status must be one of {}.", all.join(", ")))
    })
}
