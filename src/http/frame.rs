//! The outermost layer: a name for each request, its line in the log, the last word on errors.
//!
//! Whatever fails inside (a handler, an extractor, the gate, axum itself, a panic) leaves here
//! in the shape of the route's document.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use tenantry_journal::time::Timestamp;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::auth_layer::Gate;
use super::error::{ApiError, Family, Shape};
use super::router::{Listener, Route};

/// Names a request in answers and in the log.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest name that a client may give its request.
const LONGEST_REQUEST_ID: usize = 64;

/// Runs a request and finishes its answer.
pub async fn frame<F>(
    gate: &Gate,
    route: Option<&Route>,
    request: Request,
    answer: impl FnOnce(Request) -> F,
) -> Response
where
    F: Future<Output = Response>,
{
    // The clock is read only for who looks at it.
    let began = tracing::enabled!(tracing::Level::DEBUG).then(Instant::now);
    let id = request_id(request.headers());
    let shape = shape(gate.listener, route, request.method(), request.headers());

    let span = tracing::debug_span!(
        "request",
        http.method = %request.method(),
        http.route = route.map_or("", |route| route.path),
        request.id = id.to_str().unwrap_or_default(),
    );
    let answered = AssertUnwindSafe(answer(request)).catch_unwind().instrument(span.clone()).await;
    let response = answered.unwrap_or_else(|panic| {
        let _in = span.enter();
        tracing::error!(panic = panic_text(&*panic), "a request panicked");
        ApiError::internal().into_response()
    });

    let mut response = finish(response, shape, gate.state.now());
    protect(response.headers_mut());
    response.headers_mut().insert(REQUEST_ID, id);
    let _in = span.enter();
    tracing::debug!(
        http.status = response.status().as_u16(),
        duration_ms = began.map(|began| began.elapsed().as_secs_f64() * 1e3),
        "answered"
    );
    response
}

/// The client's name for the request when it is short and plain, else one of ours.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    static START: std::sync::LazyLock<[u8; 16]> = std::sync::LazyLock::new(|| digits(rand::random()));
    let plain = |value: &&HeaderValue| {
        (1..=LONGEST_REQUEST_ID).contains(&value.len())
            && value.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    headers.get(REQUEST_ID).filter(plain).cloned().unwrap_or_else(|| {
        // Written by hand: the machinery of `format!` is felt with every request.
        let mut id = [b'-'; 33];
        let parts = [*START, digits(COUNT.fetch_add(1, Ordering::Relaxed))];
        for (place, part) in id.chunks_mut(17).zip(parts) {
            place.iter_mut().zip(part).for_each(|(place, digit)| *place = digit);
        }
        HeaderValue::from_bytes(&id).unwrap_or(HeaderValue::from_static("-"))
    })
}

/// A number in sixteen hexadecimal digits.
fn digits(number: u64) -> [u8; 16] {
    let mut shift = 64;
    [(); 16].map(|()| {
        shift -= 4;
        match (number >> shift) as u8 & 0xf {
            digit @ 0..10 => b'0' + digit,
            digit => b'a' + digit - 10,
        }
    })
}

/// The shape of this request's errors.
pub(super) fn shape(
    listener: Listener,
    route: Option<&Route>,
    method: &Method,
    headers: &HeaderMap,
) -> Shape {
    let wants_problem = headers
        .get_all(header::ACCEPT)
        .iter()
        .any(|value| value.to_str().is_ok_and(|accept| accept.contains("application/problem+json")));
    if wants_problem {
        return Shape::Problem;
    }
    let declared = route.and_then(|route| route.find(method)).map(|declared| declared.family);
    let family = declared.or_else(|| route.and_then(Route::family));
    match (family.unwrap_or(Family::Listener), listener) {
        (Family::Manager, _) | (Family::Listener, Listener::Manager) => Shape::Manager,
        (Family::Instances, _) | (Family::Listener, Listener::Instances) => Shape::Instances,
    }
}

/// Writes the body of an error; answers of axum's own that are errors get one too.
pub(super) fn finish(mut response: Response, shape: Shape, now: Timestamp) -> Response {
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        let mut rendered = error.render(shape, now);
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
    ApiError::new(status, code_of(status), format!("{sentence}.")).render(shape, now)
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

pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_without_a_plain_name_gets_one_of_its_own() {
        let named = |name: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.extend(name.map(|name| (REQUEST_ID, HeaderValue::from_static(name))));
            request_id(&headers).to_str().expect("text").to_owned()
        };
        assert_eq!(named(Some("mine-1")), "mine-1");
        let (one, other) = (named(None), named(Some("not plain")));
        assert_ne!(one, other);
        let (start, count) = one.split_once('-').expect("two parts");
        assert_eq!((start.len(), count.len()), (16, 16));
        assert_eq!(other.split_once('-').map(|(start, _)| start), Some(start));
        let count = u64::from_str_radix(count, 16).expect("hexadecimal");
        assert_eq!(digits(count), *format!("{count:016x}").as_bytes());
        assert_eq!(&digits(0x0123_4567_89ab_cdef), b"0123456789abcdef");
    }
}
