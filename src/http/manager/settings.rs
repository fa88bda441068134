//! Settings of the control plane: what holds, and changing it while it runs.

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tenantry_journal::id::Seq;
use tenantry_journal::sealed::{HIDDEN, Secret};
use tenantry_journal::time::Timestamp;
use tenantry_projections::world::World;

use crate::config::Config;
use crate::domain::command::Command;
use crate::domain::setting::{self, KNOWN, Known};
use crate::http::dispatch::params;
use crate::http::error::ApiError;
use crate::http::etag::etag;
use crate::http::extract::{Json, NoQuery, Scope};
use crate::http::state::AppState;
use crate::http::write::{Answer, Write, answer};
use crate::supervisor;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What a setting is when nobody set it: what the file says, else the default.
fn unset(config: &Config, key: &str) -> Option<String> {
    let retain = config.retention.usual;
    Some(match key {
        setting::ACME_CONTACT => config.acme.contact.clone()?,
        setting::ANTHROPIC_BASE_URL => {
            let file = config.analyze.anthropic_base_url.clone();
            file.unwrap_or_else(|| setting::DEFAULT_ANTHROPIC_BASE_URL.to_owned())
        }
        setting::ANTHROPIC_MODEL => {
            let file = config.analyze.anthropic_model.clone();
            file.unwrap_or_else(|| setting::DEFAULT_ANTHROPIC_MODEL.to_owned())
        }
        setting::HEALTH_CHECK_INTERVAL => supervisor::TENANT_INTERVAL.as_secs().to_string(),
        setting::LOG_MAX_MB => (retain.bytes >> 20).to_string(),
        setting::LOG_RETENTION_DAYS => (retain.ms.unwrap_or(0) / DAY_MS).to_string(),
        setting::RATE_LIMIT_PER_HOUR => config.rate_limit.per_hour.to_string(),
        setting::RATE_LIMIT_PER_MINUTE => config.rate_limit.per_minute.to_string(),
        _ => return None,
    })
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "Setting")]
pub(super) struct SettingView {
    #[schemars(extend("enum" = KNOWN.map(|known| known.key)))]
    key: &'static str,
    value: Option<String>,
    #[schemars(extend("enum" = ["integer", "string"]))]
    value_type: &'static str,
    description: &'static str,
    is_secret: bool,
    /// When somebody set it; `null` when it follows the file.
    updated_at: Option<Timestamp>,
}

impl SettingView {
    fn new(config: &Config, world: &World, known: &'static Known) -> SettingView {
        let set = world.settings.get(known.key);
        let value = match set {
            Some(_) if known.is_secret => Some(HIDDEN.to_owned()),
            Some(_) => world.settings.value(known.key).map(str::to_owned),
            None => unset(config, known.key),
        };
        SettingView {
            key: known.key,
            value,
            value_type: known.kind.as_str(),
            description: known.description,
            is_secret: known.is_secret,
            updated_at: set.map(|set| set.updated_at),
        }
    }
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "SettingList")]
pub(super) struct Listed {
    settings: Vec<SettingView>,
}

/// `GET /api/settings`
pub(super) async fn list(
    State(app): State<AppState>,
    scope: Scope,
    _: NoQuery,
) -> Result<Response, ApiError> {
    let config = app.config.current();
    let settings = KNOWN.iter().map(|known| SettingView::new(&config, &scope.world, known)).collect();
    Ok(answer(StatusCode::OK, &Listed { settings }))
}

/// The setting that a path names.
pub(super) struct Named(&'static Known);

impl FromRequestParts<AppState> for Named {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        let params = params(parts)?;
        Ok(Named(setting::find(params.at(0))?))
    }
}

/// What nobody has set is at its first version.
fn version(world: &World, known: &Known) -> HeaderValue {
    etag(world.settings.get(known.key).map_or(Seq::ZERO, |set| set.changed))
}

/// `GET /api/settings/{key}`
pub(super) async fn get(
    State(app): State<AppState>,
    scope: Scope,
    Named(known): Named,
    _: NoQuery,
) -> Result<Response, ApiError> {
    let mut response = answer(StatusCode::OK, &SettingView::new(&app.config.current(), &scope.world, known));
    response.headers_mut().insert(header::ETAG, version(&scope.world, known));
    Ok(response)
}

#[derive(Deserialize, schemars::JsonSchema)]
#[schemars(rename = "NewSetting")]
#[serde(deny_unknown_fields)]
pub(super) struct NewValue {
    /// Text or a number; `null` is what the file says. It must be there.
    #[schemars(extend("type" = ["string", "number", "null"]))]
    value: Value,
}

/// `PUT /api/settings/{key}`
pub(super) async fn put(
    State(app): State<AppState>,
    write: Write,
    Named(known): Named,
    _: NoQuery,
    Json(new): Json<NewValue>,
) -> Answer {
    let key = known.key.to_owned();
    let command = match new.value {
        Value::Null => Command::ClearSetting { key },
        Value::String(value) => Command::ChangeSetting { key, value: Secret::new(value) },
        Value::Number(value) => Command::ChangeSetting { key, value: Secret::new(value.to_string()) },
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            let wrong = ApiError::bad_request(format!("{key} must be text, a number or null."));
            return Err(wrong.coded("invalid_field").into());
        }
    };
    let outcome = write.submit(command).await?;
    let mut body = SettingView::new(&app.config.current(), &outcome.world, known);
    // When it was taken back, nobody's setting says when.
    body.updated_at = body.updated_at.or_else(|| outcome.events.last().map(|event| event.at));
    let mut response = answer(StatusCode::OK, &body);
    response.headers_mut().insert(header::ETAG, version(&outcome.world, known));
    Ok(response)
}
