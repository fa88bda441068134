//! `/api/config`: what holds, whether a text could hold, and reading the file again.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::json;
use tenantry_journal::event::Event;
use tenantry_journal::event::system::ConfigChanged;
use tenantry_journal::name::InstanceKey;

use crate::config::{ConfigErrors, Overrides, Problem, validate};
use crate::engine::Outcome;
use crate::http::error::ApiError;
use crate::http::extract::{NoQuery, Scope, read};
use crate::http::router::BODY_LIMIT;
use crate::http::state::AppState;
use crate::http::write::{Answer, Instead, Write, answer};

/// `GET /api/config`
pub(super) async fn get(State(app): State<AppState>, _: Scope, _: NoQuery) -> Answer {
    let mut response = answer(StatusCode::OK, &app.config.current().shown());
    if let Ok(tag) = HeaderValue::try_from(format!("\"{}\"", app.config.hash())) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "ValidConfig")]
pub(super) struct Valid {
    valid: bool,
    warnings: Vec<String>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "InvalidConfig")]
pub(super) struct Invalid {
    valid: bool,
    errors: Vec<String>,
    /// The same, each with its line apart.
    problems: Vec<ProblemView>,
    warnings: Vec<String>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "ConfigProblem")]
struct ProblemView {
    line: Option<usize>,
    message: String,
}

fn sentences(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(Problem::sentence).collect()
}

fn views(problems: Vec<Problem>) -> Vec<ProblemView> {
    problems.into_iter().map(|Problem { line, message }| ProblemView { line, message }).collect()
}

/// `GET` and `POST /api/config/validate`: TOML or JSON, whatever the content type says.
pub(super) async fn check(State(app): State<AppState>, _: Scope, _: NoQuery, request: Request) -> Answer {
    let body = read(request.into_body(), BODY_LIMIT).await?;
    let running = app.config.current();
    // What flags and environment of this server say is not about somebody's text.
    let working_dir = std::env::current_dir().unwrap_or_else(|_| running.data_dir.clone());
    let overrides = Overrides { working_dir, ..Overrides::default() };
    let own = [running.manager, running.instances];
    let judged = tokio::task::spawn_blocking(move || validate(&body, &overrides, &own)).await;
    let verdict = judged.map_err(|error| {
        tracing::error!(%error, "a configuration could not be judged");
        ApiError::internal()
    })?;
    if verdict.is_valid() {
        return Ok(answer(StatusCode::OK, &Valid { valid: true, warnings: verdict.warnings }));
    }
    let body = Invalid {
        valid: false,
        errors: sentences(&verdict.problems),
        problems: views(verdict.problems),
        warnings: verdict.warnings,
    };
    Ok(answer(StatusCode::BAD_REQUEST, &body))
}

/// `POST /api/config/reload`
pub(super) async fn reload(State(app): State<AppState>, _: Scope, _: NoQuery, write: Write) -> Answer {
    // In a task of its own: half of a change must not stay undone because a client left.
    let done = tokio::spawn(async move { perform(&app, &write).await }).await;
    done.unwrap_or_else(|error| {
        tracing::error!(%error, "reading the configuration again broke off");
        Err(ApiError::internal().into())
    })
}

async fn perform(app: &AppState, write: &Write) -> Answer {
    let _turn = app.config.turn().await;
    let configured = Arc::clone(&app.config);
    let planned = tokio::task::spawn_blocking(move || configured.plan()).await;
    let plan = planned.map_err(|_| ApiError::internal())?.map_err(invalid)?;
    let warnings = plan.config.warnings.clone();
    let submit = async |command| write.submit(command).await;
    let outcome = if write.is_dry() || write.is_repetition() {
        submit(crate::domain::command::Command::Reconfigure(Box::new(plan.change))).await?
    } else {
        app.config.carry_out::<Outcome, Instead>(plan, submit).await?
    };
    Ok(answer(StatusCode::OK, &Reloaded::new(&outcome, &app.config.hash(), warnings)))
}

/// 422, as document 2's table says, with everything that is wrong.
fn invalid(errors: ConfigErrors) -> ApiError {
    let sentences = sentences(&errors.problems);
    ApiError::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "invalid_config",
        format!("The configuration is not valid: {}.", sentences.join("; ")),
    )
    .detailed("The old one stays.")
    .with("errors", sentences)
    .with("problems", json!(views(errors.problems)))
}

/// What became of it.
#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "ReloadedConfig")]
pub(super) struct Reloaded<'a> {
    hash: &'a str,
    changed: &'a [String],
    needs_restart: &'a [String],
    respecified: Vec<&'a InstanceKey>,
    restarted: Vec<&'a InstanceKey>,
    warnings: Vec<String>,
}

impl<'a> Reloaded<'a> {
    fn new(outcome: &'a Outcome, hash: &'a str, warnings: Vec<String>) -> Reloaded<'a> {
        let mut told = Reloaded {
            hash,
            changed: &[],
            needs_restart: &[],
            respecified: vec![],
            restarted: vec![],
            warnings,
        };
        for recorded in outcome.events.iter() {
            let name = recorded.instance_id.and_then(|id| outcome.world.instances.name(id));
            match &recorded.event {
                Event::ConfigChanged(ConfigChanged { changed, needs_restart, .. }) => {
                    (told.changed, told.needs_restart) = (changed, needs_restart);
                }
                Event::InstanceRespecified(_) => told.respecified.extend(name),
                Event::InstanceRestartRequested(_) => told.restarted.extend(name),
                _ => {}
            }
        }
        told
    }
}
