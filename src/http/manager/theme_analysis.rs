//! Analyses of websites: request, what they suggest, and taking one of the suggestions.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tenantry_journal::event::Event;
use tenantry_journal::event::theme::{AnalysisResult, LogoFormat, Suggestion, SuggestionSource, Swatch};
use tenantry_journal::id::{AnalysisId, SuggestionId, TenantId};
use tenantry_journal::sealed::ERASED;
use tenantry_projections::world::themes::{Analysis, AnalysisState};

use super::theme::{Second, ThemeView, applied, file, tenant_of};
use crate::domain::command::Command;
use crate::domain::theme::look::palette_json;
use crate::drivers::fetch::{FetchError, Guard, Pins};
use crate::http::error::ApiError;
use crate::http::etag::etag;
use crate::http::extract::{Id, Json, NoQuery, Query, Scope};
use crate::http::state::AppState;
use crate::http::write::{Answer, Write, answer, located};

/// How long a name may take to be resolved before the answer: what takes longer is found out
/// by the analysis itself.
const RESOLVE: Duration = Duration::from_secs(3);

#[derive(Deserialize, schemars::JsonSchema)]
#[schemars(rename = "AnalysisWanted")]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    website_url: String,
    #[serde(default = "yes")]
    capture_screenshot: bool,
}

fn yes() -> bool {
    true
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "RequestedAnalysis")]
pub(super) struct Requested {
    analysis_id: AnalysisId,
    #[schemars(extend("enum" = ["processing"]))]
    status: &'static str,
    message: String,
}

/// `POST /api/tenants/{id}/theme/analyze`
pub(super) async fn analyze(
    State(app): State<AppState>,
    scope: Scope,
    write: Write,
    Id(id): Id<TenantId>,
    _: NoQuery,
    Json(wanted): Json<Wanted>,
) -> Answer {
    scope.tenant(id)?;
    let guard = Guard::new(&app.config.current().analyze.allow_hosts);
    let forbidden = |why: &dyn std::fmt::Display| {
        ApiError::bad_request(format!("website_url cannot be analyzed: {why}."))
            .coded("forbidden_address")
            .detailed(
                "Only public web pages are fetched; [analyze] allow_hosts in the configuration names exceptions.",
            )
    };
    let url = guard.check(&wanted.website_url).map_err(|why| forbidden(&why))?;
    if !write.is_repetition() {
        let pinned = tokio::time::timeout(RESOLVE, Pins::new(guard).pin(&url)).await;
        if let Ok(Err(FetchError::Forbidden(why))) = pinned {
            return Err(forbidden(&why).into());
        }
    }
    let command = Command::RequestAnalysis {
        tenant_id: id,
        website: url.into(),
        capture_screenshot: wanted.capture_screenshot,
    };
    let outcome = write.submit(command).await?;
    let requested = outcome.events.iter().find_map(|event| match &event.event {
        Event::AnalysisRequested(requested) => Some(requested.analysis_id),
        _ => None,
    });
    let analysis_id = requested.ok_or_else(ApiError::internal)?;
    let message = format!("Analysis started. Check /api/tenants/{id}/theme/suggestions for results");
    let body = Requested { analysis_id, status: "processing", message };
    let location = format!("/api/tenants/{id}/theme/suggestions?analysis_id={analysis_id}");
    Ok(located(answer(StatusCode::ACCEPTED, &body), &location))
}

#[derive(Deserialize, schemars::JsonSchema)]
#[schemars(rename = "AnalysisQuery")]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    analysis_id: Option<String>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "ThemeSuggestion")]
struct SuggestionView<'a> {
    id: SuggestionId,
    suggestion_number: usize,
    name: &'a str,
    description: &'a str,
    primary_color: &'a str,
    secondary_color: &'a str,
    accent_color: &'a str,
    text_color: &'a str,
    #[schemars(with = "std::collections::BTreeMap<String, String>")]
    palette_json: serde_json::Value,
    reasoning: &'a str,
}

impl<'a> SuggestionView<'a> {
    fn new(index: usize, suggestion: &'a Suggestion) -> SuggestionView<'a> {
        SuggestionView {
            id: suggestion.id,
            suggestion_number: index + 1,
            name: &suggestion.name,
            description: &suggestion.description,
            primary_color: &suggestion.primary_color,
            secondary_color: &suggestion.secondary_color,
            accent_color: &suggestion.accent_color,
            text_color: &suggestion.text_color,
            palette_json: suggestion.primary_color.parse().map(palette_json).unwrap_or_default(),
            reasoning: &suggestion.reasoning,
        }
    }
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "ThemeAnalysis")]
pub(super) struct AnalysisView<'a> {
    analysis_id: AnalysisId,
    #[schemars(extend("enum" = ["processing", "complete", "failed"]))]
    status: &'static str,
    website_url: &'a str,
    screenshot: Option<String>,
    suggestions: Vec<SuggestionView<'a>>,
    source: Option<SuggestionSource>,
    model: Option<&'a str>,
    colors: &'a [Swatch],
    notes: &'a [String],
    error: Option<&'a str>,
}

impl<'a> AnalysisView<'a> {
    fn new(analysis: &'a Analysis) -> AnalysisView<'a> {
        let result: Option<&AnalysisResult> = analysis.result();
        let suggestions = result.map(|result| &*result.suggestions).unwrap_or_default();
        let screenshot = result.and_then(|result| result.screenshot.as_ref());
        AnalysisView {
            analysis_id: analysis.id,
            status: match analysis.state {
                AnalysisState::Processing => "processing",
                AnalysisState::Complete(_) => "complete",
                AnalysisState::Failed(_) => "failed",
            },
            website_url: analysis.website.open().map_or(ERASED, String::as_str),
            screenshot: screenshot.map(|_| {
                format!("/api/tenants/{}/theme/screenshots/{}.png", analysis.tenant_id, analysis.id)
            }),
            suggestions: suggestions
                .iter()
                .enumerate()
                .map(|(index, one)| SuggestionView::new(index, one))
                .collect(),
            source: result.map(|result| result.source),
            model: result.and_then(|result| result.model.as_deref()),
            colors: result.map(|result| &*result.palette).unwrap_or_default(),
            notes: result.map(|result| &*result.notes).unwrap_or_default(),
            error: match &analysis.state {
                AnalysisState::Failed(reason) => Some(reason.open().map_or(ERASED, String::as_str)),
                AnalysisState::Processing | AnalysisState::Complete(_) => None,
            },
        }
    }
}

fn none(id: &str) -> ApiError {
    let shown: String = id.chars().take(60).flat_map(char::escape_default).collect();
    ApiError::not_found("analysis_not_found", format!("Analysis '{shown}' does not exist."))
}

fn find<'a>(scope: &'a Scope, tenant: TenantId, id: &str) -> Result<&'a Analysis, ApiError> {
    let found = id.parse().ok().and_then(|id: AnalysisId| scope.world.analyses.get(id));
    found.filter(|analysis| analysis.tenant_id == tenant).map(|analysis| &**analysis).ok_or_else(|| none(id))
}

/// `GET /api/tenants/{id}/theme/suggestions`
pub(super) async fn suggestions(
    scope: Scope,
    Id(id): Id<TenantId>,
    Query(which): Query<Which>,
) -> Result<Response, ApiError> {
    scope.tenant(id)?;
    let analysis = match &which.analysis_id {
        Some(wanted) => find(&scope, id, wanted)?,
        None => scope.world.analyses.of(id).next_back().ok_or_else(|| {
            ApiError::not_found("no_analysis", "No website was analyzed for this tenant yet.")
                .detailed("Ask for an analysis with POST /api/tenants/{id}/theme/analyze.")
        })?,
    };
    let mut response = answer(StatusCode::OK, &AnalysisView::new(analysis));
    response.headers_mut().insert(header::ETAG, etag(analysis.changed));
    Ok(response)
}

/// `GET /api/tenants/{id}/theme/screenshots/{file}`
pub(super) async fn screenshot(
    State(app): State<AppState>,
    scope: Scope,
    Id(id): Id<TenantId>,
    Second(name): Second,
    _: NoQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    scope.tenant(id)?;
    let analysis = find(&scope, id, name.strip_suffix(".png").unwrap_or(&name))?;
    let none = || ApiError::not_found("no_screenshot", "This analysis has no screenshot.");
    let digest = analysis.result().and_then(|result| result.screenshot.as_ref()).ok_or_else(none)?;
    file(&app, id, digest, LogoFormat::Png, "page.png", &headers).await?.ok_or_else(none)
}

#[derive(Deserialize, schemars::JsonSchema)]
#[schemars(rename = "ChosenSuggestion")]
#[serde(deny_unknown_fields)]
pub(super) struct Chosen {
    suggestion_id: SuggestionId,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "AppliedSuggestion")]
pub(super) struct Applied {
    message: &'static str,
    theme: ThemeView,
}

/// `POST /api/tenants/{id}/theme/apply-suggestion`
pub(super) async fn apply(
    State(app): State<AppState>,
    scope: Scope,
    write: Write,
    Id(id): Id<TenantId>,
    _: NoQuery,
    Json(chosen): Json<Chosen>,
) -> Answer {
    scope.tenant(id)?;
    let command = Command::ApplySuggestion { tenant_id: id, suggestion_id: chosen.suggestion_id };
    let outcome = write.submit(command).await?;
    let tenant = tenant_of(&outcome, id)?;
    let message = if applied(&app, tenant).await {
        "Theme suggestion applied successfully"
    } else {
        "Theme suggestion taken; it is not in the tenant's directory yet"
    };
    let mut response = answer(StatusCode::OK, &Applied { message, theme: ThemeView::new(tenant) });
    response.headers_mut().insert(header::ETAG, etag(tenant.theme.changed));
    Ok(response)
}
