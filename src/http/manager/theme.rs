//! A tenant's theme: get, change by a form with files, and its logos.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, FromRequest as _, FromRequestParts, Multipart, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use serde::Serialize;
use tenantry_journal::event::theme::{LogoFormat, SuggestionSource};
use tenantry_journal::id::TenantId;
use tenantry_journal::sealed::{ERASED, Sealed};
use tenantry_journal::time::Timestamp;
use tenantry_projections::world::World;
use tenantry_projections::world::tenants::Tenant;
use tenantry_projections::world::themes::Logo;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::command::Command;
use crate::domain::theme::look::Look;
use crate::domain::theme::{COLOR_FIELDS, LOGO_FIELDS, ThemeChanges, color};
use crate::drivers::blob::BlobError;
use crate::drivers::logo::{self, LOGO_BYTES, Picture};
use crate::engine::Outcome;
use crate::error::chain;
use crate::http::dispatch::params;
use crate::http::error::ApiError;
use crate::http::etag::etag;
use crate::http::extract::{Id, NoQuery, Scope, missing, read};
use crate::http::state::AppState;
use crate::http::write::{Answer, Write, answer};

/// Four logos, and room for the colours and the form's own lines.
pub(super) const FORM_BYTES: u64 = 4 * LOGO_BYTES as u64 + 64 * 1024;
/// The longest text of a colour, in bytes.
const COLOR_BYTES: usize = 64;
/// How long an answer waits until the theme lies in the tenant's directory, which takes
/// milliseconds; it gets there without anybody waiting, too.
const APPLY_WAIT: Duration = Duration::from_secs(10);
/// What a browser may do with a picture that is opened by itself: show it.
const LOGO_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'";

/// Pictures that are unpacked at once: each may take some hundred MB for a moment.
static LOOKS: Semaphore = Semaphore::const_new(2);

/// Document 1's theme.
#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "Theme")]
pub(super) struct ThemeView {
    id: Uuid,
    tenant_id: TenantId,
    primary_color: String,
    secondary_color: String,
    accent_color: String,
    text_color: String,
    sidebar_color: String,
    logo_full: Option<String>,
    logo_cropped: Option<String>,
    logo_icon: Option<String>,
    logo_name: Option<String>,
    ai_generated: bool,
    source_website: Option<String>,
    created_at: Timestamp,
    warnings: Vec<String>,
}

/// A theme's id: as constant as its tenant's, and another.
fn theme_id(tenant: TenantId) -> Uuid {
    let mut bytes = *tenant.0.as_bytes();
    let hash = blake3::keyed_hash(blake3::hash(b"tenantry theme").as_bytes(), &bytes);
    // The time and version of the tenant's UUIDv7 stay.
    for (to, from) in bytes.iter_mut().skip(9).zip(hash.as_bytes()) {
        *to = *from;
    }
    Uuid::from_bytes(bytes)
}

impl ThemeView {
    pub(super) fn new(tenant: &Tenant) -> ThemeView {
        let look = Look::of(&tenant.theme);
        let warnings = look.warnings();
        let Look { colors, logos } = look;
        let [primary_color, secondary_color, accent_color, text_color, sidebar_color] =
            colors.map(|color| color.to_string());
        let [logo_full, logo_cropped, logo_icon, logo_name] = logos;
        let origin = tenant.theme.origin.as_ref();
        let website = origin.map(|origin| origin.open().map_or(ERASED, |origin| &origin.website).to_owned());
        ThemeView {
            id: theme_id(tenant.id),
            tenant_id: tenant.id,
            primary_color,
            secondary_color,
            accent_color,
            text_color,
            sidebar_color,
            logo_full,
            logo_cropped,
            logo_icon,
            logo_name,
            ai_generated: origin
                .and_then(Sealed::open)
                .is_some_and(|origin| origin.source != SuggestionSource::Palette),
            source_website: website,
            created_at: tenant.theme.created_at.unwrap_or(tenant.created_at),
            warnings,
        }
    }
}

/// `GET /api/tenants/{id}/theme`
pub(super) async fn get(scope: Scope, Id(id): Id<TenantId>, _: NoQuery) -> Result<Response, ApiError> {
    let tenant = scope.tenant(id)?;
    let mut response = answer(StatusCode::OK, &ThemeView::new(tenant));
    response.headers_mut().insert(header::ETAG, etag(tenant.theme.changed));
    Ok(response)
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "UpdatedTheme")]
pub(super) struct Updated {
    #[serde(flatten)]
    theme: ThemeView,
    message: &'static str,
}

/// `PUT /api/tenants/{id}/theme`
pub(super) async fn update(
    State(app): State<AppState>,
    scope: Scope,
    write: Write,
    Id(id): Id<TenantId>,
    _: NoQuery,
    request: Request,
) -> Answer {
    write.check_version(Some(scope.tenant(id)?.theme.changed))?;
    let form = form(request).await?;
    let mut changes = ThemeChanges { colors: form.colors, logos: BTreeMap::new(), cleared: form.cleared };
    for (field, bytes) in form.files {
        let logo = keep(&app, id, field, bytes, &write).await?;
        changes.logos.insert(field.to_owned(), logo);
    }
    let outcome = write.submit(Command::UpdateTheme { tenant_id: id, changes }).await?;
    let tenant = tenant_of(&outcome, id)?;
    let message = if applied(&app, tenant).await {
        "Theme updated and applied to tenant"
    } else {
        "Theme updated; it is not in the tenant's directory yet"
    };
    let mut response = answer(StatusCode::OK, &Updated { theme: ThemeView::new(tenant), message });
    response.headers_mut().insert(header::ETAG, etag(tenant.theme.changed));
    Ok(response)
}

/// The tenant as a write left it.
pub(super) fn tenant_of(outcome: &Outcome, id: TenantId) -> Result<&Tenant, ApiError> {
    outcome.world.tenants.get(id).map(|tenant| &**tenant).ok_or_else(|| missing::<TenantId>(&id.to_string()))
}

/// Waits until a theme lies in its tenant's directory; whether it does.
pub(super) async fn applied(app: &AppState, tenant: &Tenant) -> bool {
    let (id, theme) = (tenant.id, tenant.theme.changed);
    let there = |world: &World| {
        world.tenants.get(id).is_none_or(|tenant| tenant.theme.applied >= theme).then_some(())
    };
    app.engine.until(Instant::now() + APPLY_WAIT, there).await.is_some()
}

/// What a form held.
#[derive(Default)]
struct Form {
    colors: BTreeMap<String, String>,
    files: Vec<(&'static str, Bytes)>,
    cleared: Vec<String>,
}

fn shown(name: &str) -> String {
    name.chars().take(60).flat_map(char::escape_default).collect()
}

fn wrong(message: String) -> ApiError {
    ApiError::bad_request(message).coded("invalid_field")
}

async fn form(request: Request) -> Result<Form, ApiError> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("multipart/form-data") {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "This route reads multipart/form-data.",
        )
        .detailed("Send a form, as `curl -F primary_color=#0e173e -F logo_full=@logo.png` does."));
    }
    let (parts, body) = request.into_parts();
    let body = read(body, FORM_BYTES).await?;
    let mut request = Request::from_parts(parts, Body::from(body));
    // What axum would allow by itself is less than one logo.
    DefaultBodyLimit::disable().apply(&mut request);
    let bad = |why: &dyn std::fmt::Display| ApiError::bad_request(format!("The form cannot be read: {why}."));
    let mut multipart =
        Multipart::from_request(request, &()).await.map_err(|error| bad(&error.body_text()))?;
    let mut form = Form::default();
    let mut seen = Vec::new();
    while let Some(field) = multipart.next_field().await.map_err(|error| bad(&error.body_text()))? {
        let name = field.name().unwrap_or_default().to_owned();
        let file_name = field.file_name().map(str::to_owned);
        let known = COLOR_FIELDS.into_iter().chain(LOGO_FIELDS).find(|known| *known == name);
        let Some(known) = known else {
            return Err(wrong(format!("The field '{}' is unknown.", shown(&name))));
        };
        if seen.contains(&known) {
            return Err(wrong(format!("The field '{known}' stands there twice.")));
        }
        seen.push(known);
        let bytes = field.bytes().await.map_err(|error| bad(&error.body_text()))?;
        if COLOR_FIELDS.contains(&known) {
            let text = std::str::from_utf8(&bytes).ok().filter(|text| text.len() <= COLOR_BYTES);
            let text =
                text.ok_or_else(|| wrong(format!("The field '{known}' is no color such as #0e173e.")))?;
            form.colors.insert(known.to_owned(), color(known, text.trim())?);
        } else if !bytes.is_empty() {
            form.files.push((known, bytes));
        } else if file_name.is_none() {
            // A field without a file takes the logo away.
            form.cleared.push(known.to_owned());
        } else if file_name.is_some_and(|name| !name.is_empty()) {
            return Err(wrong(format!("The file of '{known}' is empty.")));
        }
        // What is left is a form's file field in which no file was chosen.
    }
    if seen.is_empty() {
        return Err(wrong("The form has no field of a theme.".into()));
    }
    Ok(form)
}

/// Checks a logo and keeps it, unless nothing is to be recorded.
async fn keep(
    app: &AppState,
    tenant: TenantId,
    field: &'static str,
    bytes: Bytes,
    write: &Write,
) -> Result<Logo, ApiError> {
    // It is never closed.
    let _place = LOOKS.acquire().await;
    let (app, is_dry) = (app.clone(), write.is_dry() || write.is_repetition());
    let kept = tokio::task::spawn_blocking(move || {
        let Picture { format, bytes } = logo::check(bytes)
            .map_err(|why| wrong(format!("The file of '{field}' {}.", chain(&why))).coded("invalid_logo"))?;
        let digest = if is_dry {
            blake3::hash(&bytes).to_hex().to_string()
        } else {
            app.blobs.keep(tenant, &bytes).map_err(unkept)?
        };
        Ok(Logo { digest, format })
    });
    kept.await.unwrap_or_else(|_| Err(ApiError::internal()))
}

fn unkept(error: BlobError) -> ApiError {
    tracing::error!(error = chain(&error), "a file cannot be kept");
    match error {
        BlobError::NoKey(_) => ApiError::conflict("tenant_erased", "The data of this tenant was erased."),
        BlobError::Io { .. } | BlobError::Damaged(_) | BlobError::BadName => {
            ApiError::unavailable("The file cannot be kept at the moment; nothing was recorded.")
                .retry_after(5)
        }
    }
}

/// The second parameter of the path.
pub(super) struct Second(pub(super) String);

impl FromRequestParts<AppState> for Second {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        let params = params(parts)?;
        Ok(Second(params.at(1).to_owned()))
    }
}

/// `GET /api/tenants/{id}/theme/logos/{kind}`
pub(super) async fn logo(
    State(app): State<AppState>,
    scope: Scope,
    Id(id): Id<TenantId>,
    Second(kind): Second,
    _: NoQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let tenant = scope.tenant(id)?;
    let none = || ApiError::not_found("logo_not_found", format!("There is no logo '{}'.", shown(&kind)));
    let field = LOGO_FIELDS.into_iter().find(|field| field.strip_prefix("logo_") == Some(kind.as_str()));
    let logo = field.and_then(|field| tenant.theme.logos.get(field)).ok_or_else(none)?;
    let name = format!("logo-{kind}.{}", logo.format.extension());
    file(&app, id, &logo.digest, logo.format, &name, &headers).await?.ok_or_else(none)
}

/// A kept file as an answer, or that the asker has it; `None` when it is lost.
pub(super) async fn file(
    app: &AppState,
    tenant: TenantId,
    digest: &str,
    format: LogoFormat,
    name: &str,
    headers: &HeaderMap,
) -> Result<Option<Response>, ApiError> {
    let tag = format!("\"{digest}\"");
    let asked = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let known = asked
        .flat_map(|tags| tags.split(','))
        .map(str::trim)
        .any(|one| one == "*" || one.trim_start_matches("W/") == tag);
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let (app, digest) = (app.clone(), digest.to_owned());
        let bytes = tokio::task::spawn_blocking(move || app.blobs.read(tenant, &digest)).await;
        match bytes.map_err(|_| ApiError::internal())? {
            Ok(bytes) => Body::from(bytes).into_response(),
            Err(error) => {
                tracing::error!(tenant.id = %tenant, error = chain(&error), "a file cannot be read");
                return Ok(None);
            }
        }
    };
    // An SVG that is opened by itself is a page of its own: it is saved and not shown.
    let disposition = if format == LogoFormat::Svg { "attachment" } else { "inline" };
    let fields = response.headers_mut();
    for (field, value) in [
        (header::CONTENT_TYPE, format.media_type().to_owned()),
        (header::CONTENT_DISPOSITION, format!("{disposition}; filename=\"{name}\"")),
        (header::CONTENT_SECURITY_POLICY, LOGO_POLICY.to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::CACHE_CONTROL, "private, no-cache".to_owned()),
        (header::ETAG, tag),
    ] {
        if let Ok(value) = HeaderValue::try_from(value) {
            fields.insert(field, value);
        }
    }
    Ok(Some(response))
}
