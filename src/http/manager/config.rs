//! A tenant's configuration: get, update, and writing its `.env` file.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tenantry_journal::event::Event;
use tenantry_journal::id::{Seq, TenantId};
use tenantry_journal::sealed::{ERASED, Sealed, Secret};
use tenantry_projections::world::World;
use tenantry_projections::world::tenants::Tenant;
use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::command::Command;
use crate::domain::tenant_config::{self, ConfigChanges, EnvChanges};
use crate::http::aftermath;
use crate::http::error::ApiError;
use crate::http::etag::etag;
use crate::http::extract::{Id, Json, NoQuery, Scope, cleared_or_set, missing};
use crate::http::state::AppState;
use crate::http::write::{Answer, Write, answer};

/// How long writing the file may take before the answer says that it is not done yet: it is a
/// few KiB, so only a disk in trouble takes more.
const WRITE_WAIT: Duration = Duration::from_secs(30);

/// A configuration as document 1 prints it. Secrets are hidden from everybody.
#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "TenantConfig")]
pub(super) struct ConfigView {
    id: Uuid,
    tenant_id: TenantId,
    #[serde(flatten)]
    #[schemars(with = "super::described::ConfigFields")]
    fields: BTreeMap<&'static str, String>,
    custom_env: BTreeMap<String, String>,
    secret_env: Vec<String>,
}

impl ConfigView {
    pub(super) fn new(tenant: &Tenant) -> ConfigView {
        let fields = match tenant.details.open() {
            Some(details) => tenant_config::effective(tenant, details)
                .into_iter()
                .map(|(field, value)| (field.name, value))
                .collect(),
            None => tenant_config::FIELDS.iter().map(|field| (field.name, ERASED.to_owned())).collect(),
        };
        let config = tenant.config.as_ref().and_then(Sealed::open).cloned().unwrap_or_default();
        let shown = |(name, value): (&String, &Secret)| {
            let text = tenant_config::shown(&config, name, value).text().to_owned();
            (name.clone(), text)
        };
        ConfigView {
            id: tenant_config::id(tenant.id),
            tenant_id: tenant.id,
            fields,
            custom_env: config.custom_env.iter().map(shown).collect(),
            secret_env: tenant_config::secret_names(&config).into_iter().map(str::to_owned).collect(),
        }
    }
}

fn page(world: &World, tenant: &Tenant) -> Response {
    let mut response = answer(StatusCode::OK, &ConfigView::new(tenant));
    if let Some(noted) = world.configurations.get(tenant.id) {
        response.headers_mut().insert(header::ETAG, etag(noted.changed));
    }
    response
}

/// `GET /api/tenants/{id}/config`
pub(super) async fn get(scope: Scope, Id(id): Id<TenantId>, _: NoQuery) -> Result<Response, ApiError> {
    Ok(page(&scope.world, scope.tenant(id)?))
}

/// What can be set. A field that is `null` follows from the tenant again.
#[derive(Deserialize, schemars::JsonSchema)]
#[schemars(rename = "TenantConfigChanges")]
#[serde(deny_unknown_fields)]
pub(super) struct Changes {
    #[serde(default, deserialize_with = "cleared_or_set")]
    app_name: Option<Option<String>>,
    #[serde(default, deserialize_with = "cleared_or_set")]
    app_name_short: Option<Option<String>>,
    #[serde(default, deserialize_with = "cleared_or_set")]
    project_name: Option<Option<String>>,
    #[serde(default, deserialize_with = "cleared_or_set")]
    admin_email: Option<Option<String>>,
    #[serde(default, deserialize_with = "cleared_or_set")]
    frontend_url: Option<Option<String>>,
    #[serde(default, deserialize_with = "cleared_or_set")]
    backend_api_url: Option<Option<String>>,
    #[serde(default, deserialize_with = "cleared_or_set")]
    ws_base_url: Option<Option<String>>,
    #[serde(default, deserialize_with = "cleared_or_set")]
    ollama_embed_model: Option<Option<String>>,
    #[serde(default, deserialize_with = "cleared_or_set")]
    ollama_llm_model: Option<Option<String>>,
    #[serde(default, deserialize_with = "cleared_or_set")]
    ollama_base_url: Option<Option<String>>,
    #[serde(default, deserialize_with = "cleared_or_set")]
    custom_env: Option<Option<BTreeMap<String, String>>>,
    #[serde(default, deserialize_with = "cleared_or_set")]
    secret_env: Option<Option<BTreeSet<String>>>,
}

impl From<Changes> for ConfigChanges {
    fn from(new: Changes) -> ConfigChanges {
        let fields = [
            ("app_name", new.app_name),
            ("app_name_short", new.app_name_short),
            ("project_name", new.project_name),
            ("admin_email", new.admin_email),
            ("frontend_url", new.frontend_url),
            ("backend_api_url", new.backend_api_url),
            ("ws_base_url", new.ws_base_url),
            ("ollama_embed_model", new.ollama_embed_model),
            ("ollama_llm_model", new.ollama_llm_model),
            ("ollama_base_url", new.ollama_base_url),
        ];
        ConfigChanges {
            fields: fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
            env: EnvChanges {
                all: new.custom_env.map(Option::unwrap_or_default),
                secret: new.secret_env.map(Option::unwrap_or_default),
            },
        }
    }
}

/// `PUT /api/tenants/{id}/config`
pub(super) async fn update(
    scope: Scope,
    write: Write,
    Id(id): Id<TenantId>,
    _: NoQuery,
    Json(new): Json<Changes>,
) -> Answer {
    scope.tenant(id)?;
    let outcome = write.submit(Command::UpdateConfig { tenant_id: id, changes: new.into() }).await?;
    let tenant = outcome.world.tenants.get(id).ok_or_else(|| missing::<TenantId>(&id.to_string()))?;
    Ok(page(&outcome.world, tenant))
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "RegeneratedEnv")]
pub(super) struct Regenerated {
    message: &'static str,
    path: String,
    /// `null` when there was no file before.
    backup: Option<String>,
}

/// `POST /api/tenants/{id}/config/regenerate-env`
pub(super) async fn regenerate(
    State(app): State<AppState>,
    scope: Scope,
    write: Write,
    Id(id): Id<TenantId>,
    _: NoQuery,
) -> Answer {
    scope.tenant(id)?;
    let outcome = write.submit(Command::RegenerateEnv { tenant_id: id }).await?;
    let wanted = outcome.events.first().map_or(outcome.seq, |event| event.seq);
    let is_over = |world: &World| {
        let answered = world.configurations.get(id).is_none_or(|noted| noted.env_answered >= wanted);
        answered.then_some(())
    };
    if app.engine.until(Instant::now() + WRITE_WAIT, is_over).await.is_none() {
        return Err(ApiError::timed_out("The .env file is being written, and not done yet.")
            .detailed("It goes on by itself.")
            .into());
    }
    let (seq, end) = find_end(&app, id, wanted).await?;
    write.note_seq(seq);
    match end {
        Ok(body) => Ok(answer(StatusCode::OK, &body)),
        Err(reason) => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            let error = ApiError::new(status, "env_not_written", "The .env file could not be written.");
            Err(error.detailed(format!("{reason}.")).into())
        }
    }
}

/// What the journal says, from the request on, of how it ended.
async fn find_end(
    app: &AppState,
    id: TenantId,
    wanted: Seq,
) -> Result<(Seq, Result<Regenerated, String>), ApiError> {
    let found = aftermath::find(app, wanted, move |event| match &event.event {
        Event::EnvWritten(end) if end.tenant_id == id && end.answers >= wanted => {
            let text = |path: &Sealed<String>| path.open().map_or(ERASED, String::as_str).to_owned();
            let body = Regenerated {
                message: ".env file regenerated successfully",
                path: text(&end.path),
                backup: end.backup.as_ref().map(text),
            };
            ControlFlow::Break(Ok((event.seq, Ok(body))))
        }
        Event::EnvFailed(end) if end.tenant_id == id && end.answers >= wanted => {
            let reason = end.reason.open().map_or(ERASED, String::as_str);
            ControlFlow::Break(Ok((event.seq, Err(reason.to_owned()))))
        }
        Event::TenantDeleted(gone) if gone.tenant_id == id => {
            ControlFlow::Break(Err(missing::<TenantId>(&id.to_string())))
        }
        _ => ControlFlow::Continue(()),
    });
    found.await?
}
