//! nginx: its test, its reload, and every site that it could serve.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use tenantry_journal::id::TenantId;
use tenantry_journal::time::Timestamp;

use crate::domain::command::Command;
use crate::drivers::nginx::{NginxError, Tested};
use crate::error::chain;
use crate::http::error::ApiError;
use crate::http::extract::{NoQuery, Scope};
use crate::http::state::AppState;
use crate::http::write::{Answer, Write, answer};

/// What went wrong with nginx, for who asked.
fn told(error: &NginxError) -> ApiError {
    if error.is_missing() {
        return ApiError::unavailable("nginx cannot be run on this machine.")
            .coded("nginx_missing")
            .detailed(format!("{}. Install it, or set 'command' in [nginx].", chain(error)));
    }
    match error {
        NginxError::Broken { output } | NginxError::Refused { output } => invalid(output),
        NginxError::NotRunning { .. } => {
            ApiError::unavailable(format!("{error}.")).coded("nginx_not_running")
        }
        _ => ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "nginx_failed", format!("{}.", chain(error))),
    }
}

fn invalid(output: &str) -> ApiError {
    ApiError::conflict("nginx_invalid", "The nginx configuration is not valid; nginx keeps the one it has.")
        .detailed(output)
        .with("output", output)
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "ReloadedNginx")]
pub(super) struct Reloaded {
    message: &'static str,
    timestamp: Timestamp,
}

/// `POST /api/nginx/reload`: tested first, and awaited.
pub(super) async fn reload(State(app): State<AppState>, write: Write, _: NoQuery) -> Answer {
    write.check_version(None)?;
    if write.is_dry() {
        let tested = app.sites.nginx.test().await.map_err(|error| told(&error))?;
        if !tested.valid {
            return Err(invalid(&tested.output).into());
        }
    } else if !write.is_repetition() {
        let nginx = Arc::clone(&app.sites.nginx);
        // It goes on when the client does not wait for it.
        let reloaded = tokio::spawn(async move { nginx.reload().await }).await;
        reloaded.map_err(|_| ApiError::internal())?.map_err(|error| told(&error))?;
    }
    let outcome = write.submit(Command::NoteNginxReloaded).await?;
    let timestamp = outcome.events.last().map_or_else(|| app.now(), |event| event.at);
    Ok(answer(StatusCode::OK, &Reloaded { message: "NGINX reloaded successfully", timestamp }))
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "NginxTest")]
pub(super) struct TestedView {
    valid: bool,
    output: String,
}

/// `POST /api/nginx/test`: the whole configuration as it lies there.
pub(super) async fn test(State(app): State<AppState>, _: Scope, _: NoQuery) -> Result<Response, ApiError> {
    let Tested { valid, output } = app.sites.nginx.test().await.map_err(|error| told(&error))?;
    Ok(answer(StatusCode::OK, &TestedView { valid, output }))
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "NginxConfigList")]
pub(super) struct Configs {
    configs: Vec<ConfigView>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "NginxConfig")]
struct ConfigView {
    domain: String,
    path: String,
    #[schemars(extend("enum" = ["frontend", "api", "shared"]))]
    r#type: &'static str,
    tenant_id: Option<TenantId>,
    enabled: bool,
    managed: bool,
}

/// `GET /api/nginx/configs`: ours and those of others, which belong to no tenant.
pub(super) async fn configs(
    State(app): State<AppState>,
    scope: Scope,
    _: NoQuery,
) -> Result<Response, ApiError> {
    let nginx = Arc::clone(&app.sites.nginx);
    let found = tokio::task::spawn_blocking(move || nginx.configs()).await;
    let found = found.map_err(|_| ApiError::internal())?;
    let configs = found
        .into_iter()
        .map(|config| ConfigView {
            domain: config.domain,
            path: config.path.display().to_string(),
            r#type: config.kind,
            // A site that outlived its tenant is nobody's.
            tenant_id: config.tenant.filter(|id| scope.world.tenants.get(*id).is_some()),
            enabled: config.is_enabled,
            managed: config.is_ours,
        })
        .collect();
    Ok(answer(StatusCode::OK, &Configs { configs }))
}
