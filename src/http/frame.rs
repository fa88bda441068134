//! The outermost layer: a name for each request, its line in the log, the last word on errors.
//!
//! Whatever fails inside (a handler, an extractor, the gate, axum itself, a panic) leaves here
//! in the shape of the route's document.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::auth_layer::Gate;
use super::error::{ApiError, Family, Shape};
use super::router::Listener;

/// Names a request in answers and in the log.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest name that a client may give its request.
const LONGEST_REQUEST_ID: usize = 64;

/// Runs a request and finishes its answer.
pub async fn frame<F>(gate: &Gate, mut request: Request, answer: impl FnOnce(Request) -> F) -> Response
where
    F: Future<Output = Response>,
{
    let began = Instant::now();
    let id = request_id(request.headers());
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let method = request.method().clone();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or("", MatchedPath::as_str);
    let shape = shape(gate, route, &method, request.headers());

    let span = tracing::debug_span!(
        "request",
        http.method = %method,
        http.route = route,
        request.id = id.to_str().unwrap_or_default(),
    );
    let answered = AssertUnwindSafe(answer(request)).catch_unwind().instrument(span.clone()).await;
    let response = answered.unwrap_or_else(|panic| {
        let _in = span.enter();
        tracing::error!(panic = panic_text(&*panic), "a request panicked");
        ApiError::internal().into_response()
    });

    let mut response = finish(response, shape, gate);
    protect(response.headers_mut());
    response.headers_mut().insert(REQUEST_ID, id);
    let _in = span.enter();
    tracing::debug!(
        http.status = response.status().as_u16(),
        duration_ms = began.elapsed().as_secs_f64() * 1e3,
        "answered"
    );
    response
}

/// The client's name for the request when it is short and plain, else one of ours.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    static START: std::sync::LazyLock<u64> = std::sync::LazyLock::new(rand::random);
    let plain = |value: &&HeaderValue| {
        (1..=LONGEST_REQUEST_ID).contains(&value.len())
            && value.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    headers.get(REQUEST_ID).filter(plain).cloned().unwrap_or_else(|| {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        HeaderValue::try_from(format!("{:016x}-{count:x}", *START)).unwrap_or(HeaderValue::from_static("-"))
    })
}

/// The shape of this request's errors.
fn shape(gate: &Gate, route: &str, method: &Method, headers: &HeaderMap) -> Shape {
    let wants_problem = headers
        .get_all(header::ACCEPT)
        .iter()
        .any(|value| value.to_str().is_ok_and(|accept| accept.contains("application/problem+json")));
    if wants_problem {
        return Shape::Problem;
    }
    let family = gate.table.find(route, method).map(|declared| declared.family);
    match (family.or_else(|| gate.table.family(route)).unwrap_or(Family::Listener), gate.listener) {
        (Family::Manager, _) | (Family::Listener, Listener::Manager) => Shape::Manager,
        (Family::Instances, _) | (Family::Listener, Listener::Instances) => Shape::Instances,
    }
}

/// Writes the body of an error; answers of axum's own that are errors get one too.
fn finish(mut response: Response, shape: Shape, gate: &Gate) -> Response {
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        let mut rendered = error.render(shape, gate.state.now());
        // Headers that layers inside have added, such as Allow; the body's own stay.
        for (name, value) in response.headers() {
            if *name != header::CONTENT_TYPE && *name != header::CONTENT_LENGTH {
                rendered.headers_mut().insert(name.clone(), value.clone());
            }
        }
        return rendered;
    }
    let status = response.status();
    let is_ours = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes();
        kind.starts_with(b"application/") || kind.starts_with(b"text/html")
    });
    if !(status.is_client_error() || status.is_server_error()) || is_ours {
        return response;
    }
    let sentence = status.canonical_reason().unwrap_or("The request was refused");
    ApiError::new(status, code_of(status), format!("{sentence}.")).render(shape, gate.state.now())
}

fn code_of(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
        StatusCode::PAYLOAD_TOO_LARGE => "payload_too_large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
        StatusCode::UPGRADE_REQUIRED => "upgrade_required",
        status if status.is_server_error() => "internal_error",
        _ => "bad_request",
    }
}

/// Headers that keep a browser from doing more with an answer than it should.
fn protect(headers: &mut HeaderMap) {
    let plain: [(HeaderName, &'static str); 5] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ];
    for (name, value) in plain {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
