//! Routes of document 2: instances, their output, tokens.

mod config;
#[cfg(test)]
mod config_tests;
pub(super) mod described;
pub(crate) mod dump;
mod get;
mod list;
mod logs;
mod merge;
pub(super) mod metrics;
mod remove;
mod restart;
mod search;
mod spawn;
mod sse;
mod tail;
#[cfg(test)]
mod tests;
mod tokens;
pub(super) mod view;
mod weight;

use std::str::FromStr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use tenantry_journal::name::{InstanceKey, InstanceName, ServiceName};
use tenantry_projections::world::instances::Instance;

use super::dispatch::params;
use super::error::{ApiError, Family};
use super::extract::Scope;
use super::router::{Access, Routes};
use super::state::AppState;

/// The routes of document 2.
#[must_use]
pub fn routes() -> Routes {
    Routes::new(Family::Instances)
        .get("/api/instances", Access::VIEWER, list::list)
        .post("/api/instances", Access::OPERATOR, spawn::spawn)
        .get("/api/instances/{service}/{id}", Access::VIEWER, get::get)
        .delete("/api/instances/{service}/{id}", Access::OPERATOR, remove::remove)
        .post("/api/instances/{service}/{id}/restart", Access::OPERATOR, restart::restart)
        .put("/api/instances/{service}/{id}/weight", Access::OPERATOR, weight::weight)
        .get("/api/logs/{service}/{id}", Access::SOCKET, logs::one)
        .get("/api/logs/stream", Access::SOCKET, tail::stream)
        .get("/api/config", Access::VIEWER.unlimited().live(), config::get)
        .get("/api/config/validate", Access::VIEWER.unlimited().live(), config::check)
        .post("/api/config/validate", Access::VIEWER.unlimited().checks(), config::check)
        .post("/api/config/reload", Access::ADMIN.unlimited(), config::reload)
        .get("/api/metrics/{service}/{id}", Access::VIEWER.live(), metrics::now)
        .get("/api/metrics/{service}/{id}/history", Access::VIEWER.live(), metrics::history)
        .post("/api/logs/search", Access::VIEWER.checks(), search::search)
        .get("/api/tokens", Access::ADMIN.unlimited(), tokens::list)
        .post("/api/tokens", Access::ADMIN.unlimited(), tokens::create)
        .delete("/api/tokens/{id}", Access::ADMIN.unlimited(), tokens::revoke)
}

/// The route that stands in two documents: each listener answers as its own.
#[must_use]
pub fn shared_routes() -> Routes {
    Routes::new(Family::Listener).get("/api/logs", Access::SOCKET, logs::all)
}

/// The instance that a path names. What cannot be a name names nothing (404).
struct Key(InstanceKey);

impl FromRequestParts<AppState> for Key {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        let params = params(parts)?;
        let (service, id) = (params.at(0), params.at(1));
        match (ServiceName::from_str(service), InstanceName::from_str(id)) {
            (Ok(service), Ok(id)) => Ok(Key(InstanceKey { service, id })),
            _ => Err(missing(&format!("{service}:{id}"))),
        }
    }
}

/// How much of a wrong name is repeated.
const SHOWN_CHARS: usize = 130;

fn missing(name: &str) -> ApiError {
    let shown: String = name.chars().take(SHOWN_CHARS).flat_map(char::escape_default).collect();
    ApiError::not_found("instance_not_found", format!("Instance '{shown}' not found"))
}

/// An instance, or 404 when there is none that the caller may see.
fn find<'a>(scope: &'a Scope, key: &InstanceKey) -> Result<&'a Arc<Instance>, ApiError> {
    scope
        .world
        .instances
        .by_key(key)
        .filter(|instance| scope.principal.reaches_instance(&scope.world, instance.id))
        .ok_or_else(|| missing(&key.to_string()))
}
