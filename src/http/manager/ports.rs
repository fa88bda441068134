//! Ports: which pairs are held, which are free, and which comes next.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use tenantry_journal::event::port::PortPair;
use tenantry_journal::id::TenantId;
use tenantry_journal::sealed::ERASED;
use tenantry_journal::time::Timestamp;

use crate::domain::command::Listening;
use crate::domain::ports::{grid, is_free, next_free};
use crate::drivers::listening;
use crate::drivers::strangers::Stranger;
use crate::http::error::ApiError;
use crate::http::extract::{NoQuery, Scope};
use crate::http::state::AppState;
use crate::http::write::answer;
use crate::supervisor::drift;

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "PortAllocation")]
struct Line<'a> {
    frontend_port: u16,
    backend_port: u16,
    tenant_id: Option<TenantId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allocated_at: Option<Timestamp>,
    #[schemars(extend("enum" = ["available", "unavailable", "in_use"]))]
    status: &'static str,
    /// Who listens on a port of the pair and is neither the keeper nor the tenant's process.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    drift: Vec<Stranger>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "PortAllocationList")]
pub(super) struct Allocations<'a> {
    allocations: Vec<Line<'a>>,
    available_count: usize,
    in_use_count: usize,
}

/// What listens now; nothing is known of the past.
async fn listening(scope: &Scope) -> Listening {
    if scope.is_past() { Listening::default() } else { listening::looked_at().await }
}

/// Who else listens on ports that tenants hold, by port; nothing is known of the past.
async fn drifted(scope: &Scope) -> BTreeMap<u16, Vec<Stranger>> {
    if scope.is_past() {
        return BTreeMap::new();
    }
    drift::look(&scope.world).await
}

/// `GET /api/ports`: every pair of the range, and the pairs outside of it that are held.
pub(super) async fn list(
    State(app): State<AppState>,
    scope: Scope,
    _: NoQuery,
) -> Result<Response, ApiError> {
    let listening = listening(&scope).await;
    let drifted = drifted(&scope).await;
    let policy = app.policy.load();
    let world = &scope.world;
    let mut lines: BTreeMap<PortPair, Line<'_>> = grid(policy.ports)
        .map(|pair| {
            let both = [pair.frontend, pair.backend];
            let free = both.into_iter().all(|port| is_free(world, &listening, port));
            // Held by no tenant and yet not free: by an instance, or by a stranger's process.
            let status = if free { "available" } else { "unavailable" };
            (pair, line(pair, status))
        })
        .collect();
    let held = world.ports.held().map(|allocation| {
        let tenant = world.tenants.get(allocation.tenant_id);
        let name = tenant.map_or(ERASED, |tenant| tenant.name());
        let line = Line {
            tenant_id: Some(allocation.tenant_id),
            tenant_name: Some(name),
            allocated_at: Some(allocation.allocated_at),
            drift: [allocation.ports.frontend, allocation.ports.backend]
                .iter()
                .filter_map(|port| drifted.get(port))
                .flatten()
                .cloned()
                .collect(),
            ..line(allocation.ports, "in_use")
        };
        (allocation.ports, line)
    });
    lines.extend(held);
    let allocations: Vec<Line<'_>> = lines.into_values().collect();
    let count = |status| allocations.iter().filter(|line| line.status == status).count();
    let (available_count, in_use_count) = (count("available"), count("in_use"));
    Ok(answer(StatusCode::OK, &Allocations { allocations, available_count, in_use_count }))
}

fn line(pair: PortPair, status: &'static str) -> Line<'static> {
    Line {
        frontend_port: pair.frontend,
        backend_port: pair.backend,
        tenant_id: None,
        tenant_name: None,
        allocated_at: None,
        status,
        drift: Vec::new(),
    }
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "PortPair")]
pub(super) struct Pair {
    frontend_port: u16,
    backend_port: u16,
}

/// `GET /api/ports/next-available`: what the next tenant would get.
pub(super) async fn next_available(
    State(app): State<AppState>,
    scope: Scope,
    _: NoQuery,
) -> Result<Response, ApiError> {
    let listening = listening(&scope).await;
    let policy = app.policy.load();
    let pair = next_free(&scope.world, &policy, &listening).ok_or_else(|| {
        ApiError::conflict("no_ports_left", "No pair of ports is free.")
            .detailed("Delete a tenant, or widen [ports] in the configuration.")
    })?;
    let pair = Pair { frontend_port: pair.frontend, backend_port: pair.backend };
    Ok(answer(StatusCode::OK, &pair))
}
