//! The gate before every handler: who asks, whether they may, and which World they see.
//!
//! In this order: Host and Origin, credential (401), rate limit (429), role and reach (403),
//! length of the body (413), `X-Min-Seq`, `as_of`, `Idempotency-Key`. So 401 and 403 come before 404, and a
//! handler starts with a [`Scope`] or not at all.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tenantry_journal::event::access::Role;
use tenantry_journal::id::{Seq, TenantId};
use tenantry_journal::recorded::Actor;
use tenantry_journal::time::Timestamp;
use tenantry_projections::world::World;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::error::ApiError;
use super::extract::{Scope, query_value};
use super::origin;
use super::rate;
use super::repeat;
use super::router::{Access, Listener, Route, Shows, Table, Who};
use super::state::{AppState, AsOfError};
use super::write::{self, Answers};
use crate::auth::principal::{Principal, Proof, authenticate};
use crate::auth::rate_limit::Standing;

/// The position that an answer is as of.
pub const AS_OF_SEQ: HeaderName = HeaderName::from_static("x-as-of-seq");
/// The position of a write's last event.
pub const EVENT_SEQ: HeaderName = HeaderName::from_static("x-event-seq");
/// The position that a read must include.
const MIN_SEQ: HeaderName = HeaderName::from_static("x-min-seq");
/// The route whose refusals are noted by itself.
const LOGIN: &str = "/api/auth/login";
/// How long a read waits to include a position; the contract's.
const MIN_SEQ_WAIT: Duration = Duration::from_secs(5);

/// Journeys into the past at once. A journey folds events while others wait on a thread each,
/// and those threads are few.
static JOURNEYS: Semaphore = Semaphore::const_new(8);

/// What the layers know besides the request.
#[derive(Clone)]
pub struct Gate {
    /// Everything that handlers reach.
    pub state: AppState,
    /// Who may call what.
    pub table: Table,
    /// The listener that these layers stand on.
    pub listener: Listener,
}

/// Lets a request through to its handler, or answers it here.
pub async fn gate<F>(
    gate: &Gate,
    route: Option<&Route>,
    mut request: Request,
    answer: impl FnOnce(Request) -> F,
) -> Response
where
    F: Future<Output = Response>,
{
    let (mut answers, mut standing, mut actor) = (None, None, None);
    let from = peer(request.extensions());
    let method = method_name(request.method());
    let refused = |response: &Response, actor| {
        let status = response.status();
        // A failed login is noted where the name is known.
        let path = route.map_or("unmatched", |route| route.path);
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) && path != LOGIN {
            gate.state.denials.request(from, actor, (status.as_u16(), method, path), gate.state.now());
        }
    };
    let as_of = match admit(gate, route, &mut request, &mut answers, &mut standing, &mut actor).await {
        Ok(as_of) => as_of,
        Err(error) => {
            let mut response = error.into_response();
            refused(&response, actor);
            rate::tell(standing, response.headers_mut());
            return response;
        }
    };
    let mut response = match (answers.as_ref().and_then(Answers::ready), dry_check(route, &request)) {
        (Some(first), _) => first,
        (None, Ok(false)) => answer(request).await,
        (None, Ok(true)) => write::nothing_recorded(),
        (None, Err(error)) => error.into_response(),
    };
    if let Some(answers) = &answers {
        response = repeat::keep(&gate.state, answers, response).await;
    }
    refused(&response, actor);
    rate::tell(standing, response.headers_mut());
    if let Some(seq) = as_of {
        response.headers_mut().insert(AS_OF_SEQ, HeaderValue::from(seq.0));
    }
    if let Some(seq) = answers.as_ref().and_then(Answers::seq) {
        response.headers_mut().insert(EVENT_SEQ, HeaderValue::from(seq.0));
    }
    response
}

/// The address that a request came from.
pub(super) fn peer(extensions: &Extensions) -> IpAddr {
    let from = extensions.get::<ConnectInfo<SocketAddr>>();
    from.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(address)| address.ip())
}

/// A method as it is recorded; there are as many as somebody cares to invent.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// Decides whether the request may go on; puts what the handler needs into its extensions.
async fn admit(
    gate: &Gate,
    route: Option<&Route>,
    request: &mut Request,
    answers: &mut Option<Answers>,
    standing: &mut Option<Standing>,
    actor: &mut Option<Actor>,
) -> Result<Option<Seq>, ApiError> {
    let app = &gate.state;
    origin::check(request, &app.settings.load().hosts)?;
    let path = route.map_or("", |route| route.path);
    let route = route.and_then(|route| route.find(request.method())).map(|declared| declared.access);
    let limit = route.map_or(super::router::BODY_LIMIT, |access| access.body_limit);
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let point = match route {
        Some(access) if is_read => point(access, request.uri().query()),
        _ => Ok(None),
    };
    if route.is_some_and(|access| access.who == Who::Anyone) {
        check_length(request.headers(), limit)?;
        point?;
        return Ok(None);
    }

    let mut world = app.engine.world();
    let now = app.now();
    let Some((principal, proof)) = principal(app, &world, request.headers(), now)? else {
        let by_message = route.is_some_and(|access| matches!(access.who, Who::Socket(_)));
        if by_message && is_upgrade(request.headers()) {
            point?;
            return Ok(None);
        }
        return Err(ApiError::unauthorized("A credential is needed for this."));
    };
    *actor = Some(principal.actor);
    app.last_used.note(principal.actor, now);
    rate::take(app, &world, principal.actor, now, standing)?;
    if let Some(access) = route {
        let is_own = access.who == Who::Own && names(path, request.uri().path(), principal.actor);
        if !is_own {
            check_access(&principal, access)?;
        }
    }
    check_length(request.headers(), limit)?;
    if wait_for_min_seq(app, request.headers()).await? {
        world = app.engine.world();
    }

    let mut as_of = None;
    if let Some(point) = point? {
        let (seq, past) = travel(app, point, tenant_of(path, request.uri().path(), &world)).await?;
        (world, as_of) = (past, Some(seq));
    }
    if route.is_some() && !is_read {
        let answers = answers.insert(Answers::default());
        let before = repeat::recognize(app, request, &principal, limit, answers).await?;
        world = before.unwrap_or(world);
        request.extensions_mut().insert(answers.clone());
    }
    request.extensions_mut().insert(Scope {
        principal: Arc::new(principal),
        world,
        as_of,
        listener: gate.listener,
        proof,
    });
    Ok(as_of)
}

/// The moment that a GET asks for, if it asks for one.
fn point(access: Access, query: Option<&str>) -> Result<Option<String>, ApiError> {
    let Some(point) = query_value(query, "as_of")? else { return Ok(None) };
    match access.shows {
        Shows::State => Ok(Some(point)),
        Shows::Now | Shows::Lines => Err(ApiError::bad_request("What this route shows has no past.")
            .coded("not_time_travelable")
            .detailed("Leave out as_of.")),
    }
}

/// Whether this is the dry run of something that records nothing anyway.
fn dry_check(route: Option<&Route>, request: &Request) -> Result<bool, ApiError> {
    let declared = || route.and_then(|route| route.find(request.method()));
    let only_checks = *request.method() != Method::GET && declared().is_some_and(|found| found.access.checks);
    if only_checks { write::is_dry(request.uri().query()) } else { Ok(false) }
}

/// Who sends the credential; `None` without one.
fn principal(
    app: &AppState,
    world: &World,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Option<(Principal, Proof)>, ApiError> {
    let mut sent = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = sent.next() else { return Ok(None) };
    let credential = value.to_str().ok().and_then(|text| {
        let (scheme, credential) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| credential.trim())
    });
    let known = credential
        .filter(|_| sent.next().is_none())
        .and_then(|credential| authenticate(world, &app.jwt, credential, now));
    match known {
        Some(known) => Ok(Some(known)),
        None => Err(ApiError::unauthorized("The credential is not valid, or not valid any more.")),
    }
}

/// Whether a principal may call a route.
///
/// # Errors
/// 403 with what is missing.
pub fn check_access(principal: &Principal, access: Access) -> Result<(), ApiError> {
    let (needed, unlimited) = match access.who {
        Who::Anyone => return Ok(()),
        Who::Role(needed) | Who::Socket(needed) => (needed, access.unlimited),
        Who::Own => (Role::Admin, true),
    };
    if principal.role < needed {
        return Err(ApiError::forbidden(format!(
            "This takes the role {}, the credential has {}.",
            format!("{needed:?}").to_lowercase(),
            format!("{:?}", principal.role).to_lowercase(),
        )));
    }
    if unlimited && !principal.is_unlimited() {
        return Err(ApiError::forbidden("The credential is limited to one tenant or service."));
    }
    Ok(())
}

/// Whether the `{id}` of a path is this user.
fn names(pattern: &str, path: &str, actor: Actor) -> bool {
    let Actor::User(user) = actor else { return false };
    let id = pattern.split('/').zip(path.split('/')).find(|(name, _)| *name == "{id}");
    id.is_some_and(|(_, id)| id.parse() == Ok(user))
}

fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Refuses a body that says itself that it is too long, before it is read.
fn check_length(headers: &HeaderMap, limit: u64) -> Result<(), ApiError> {
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<u64>().ok());
    match length {
        Some(length) if length > limit => Err(ApiError::too_large(limit)),
        Some(_) | None => Ok(()),
    }
}

/// Whether there was anything to wait for; then the World is a later one.
async fn wait_for_min_seq(app: &AppState, headers: &HeaderMap) -> Result<bool, ApiError> {
    let Some(value) = headers.get(MIN_SEQ) else { return Ok(false) };
    let wanted: u64 = value
        .to_str()
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| ApiError::bad_request("X-Min-Seq must be a position, a whole number."))?;
    let deadline = Instant::now() + MIN_SEQ_WAIT;
    app.engine
        .until(deadline, |world| (world.seq.0 >= wanted).then_some(true))
        .await
        .ok_or_else(|| ApiError::unavailable(format!("Position {wanted} is not here yet.")).retry_after(1))
}

/// The tenant that a path is about, and nothing else: of it alone the past is looked up.
fn tenant_of(pattern: &str, path: &str, world: &World) -> Option<TenantId> {
    let named = |below: &str| path.strip_prefix(below)?.split('/').next();
    if pattern.starts_with("/api/tenants/{id}") {
        return named("/api/tenants/")?.parse().ok();
    }
    if pattern.starts_with("/api/deployments/{id}") {
        let id = named("/api/deployments/")?.parse().ok()?;
        return world.deployments.get(id).map(|deployment| deployment.tenant_id);
    }
    None
}

/// The World at a point of the past; of one tenant, when the answer is about that alone.
///
/// # Errors
/// 400 for a point that names nothing, 503 when the journal cannot be read.
async fn travel(
    app: &AppState,
    point: String,
    tenant: Option<TenantId>,
) -> Result<(Seq, Arc<World>), ApiError> {
    let time = Arc::clone(&app.time);
    let now = app.now();
    // It is never closed.
    let _place = JOURNEYS.acquire().await.ok();
    let past = tokio::task::spawn_blocking(move || -> Result<_, AsOfError> {
        let seq = time.resolve(&point, now)?;
        let world = match tenant {
            Some(tenant) => time.tenant_at(tenant, seq)?,
            None => time.world_at(seq)?,
        };
        Ok((seq, world))
    });
    let found = past.await.map_err(|error| AsOfError::Unavailable(error.to_string()))?;
    Ok(found?)
}
