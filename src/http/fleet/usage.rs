//! `GET /api/fleet/usage`: what instances use just now, page by page.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tenantry_journal::name::InstanceKey;
use tenantry_projections::world::instances::Instance;

use crate::http::extract::{Query, Scope};
use crate::http::instances::metrics::error_rate;
use crate::http::instances::view::{mebibytes, rounded};
use crate::http::listing::{LARGEST_PAGE, Page, Pagination};
use crate::http::observed::Measured;
use crate::http::state::AppState;
use crate::http::write::{Answer, answer};
use crate::supervisor::INTERVAL_MS;

#[derive(Deserialize, schemars::JsonSchema)]
#[schemars(rename = "FleetUsageQuery")]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    limit: Option<i64>,
    offset: Option<i64>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "FleetUsage")]
pub(super) struct Listed<'a> {
    /// One for each instance.
    usage: Vec<Usage<'a>>,
    interval_seconds: u64,
    pagination: Pagination,
}

/// What an instance uses; without a process it uses nothing, and its numbers are `null`.
#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "InstanceUsage")]
struct Usage<'a> {
    instance: &'a InstanceKey,
    memory_mb: Option<f64>,
    cpu_percent: Option<f64>,
    requests_per_second: f64,
    /// In percent.
    error_rate: f64,
}

impl<'a> Usage<'a> {
    fn new(instance: &'a InstanceKey, measured: &Measured) -> Usage<'a> {
        let usage = measured.usage.as_ref();
        Usage {
            instance,
            memory_mb: usage.map(|usage| mebibytes(usage.memory_bytes)),
            cpu_percent: usage.map(|usage| rounded(usage.cpu_percent)),
            requests_per_second: rounded(measured.requests_per_second),
            error_rate: error_rate(measured.requests),
        }
    }
}

pub(super) async fn list(State(app): State<AppState>, scope: Scope, Query(wanted): Query<Wanted>) -> Answer {
    let page = Page::new(wanted.limit, wanted.offset, LARGEST_PAGE)?;
    let reached = |instance: &&Instance| scope.principal.reaches_instance(&scope.world, instance.id);
    let (found, total) = page.of(scope.world.instances.iter().map(|one| &**one).filter(reached));
    let usage = found
        .into_iter()
        .filter_map(|instance| Some(Usage::new(instance.name.open()?, &app.measures.now(instance.id))));
    let usage = usage.collect();
    let listed = Listed { usage, interval_seconds: INTERVAL_MS / 1000, pagination: page.pagination(total) };
    Ok(answer(StatusCode::OK, &listed))
}
