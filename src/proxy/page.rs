//! What the proxy itself answers: a plain page that tells what is wrong and no more.

use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};

/// Why the proxy answers in place of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// What was sent is no request that everybody reads alike.
    Malformed,
    /// Nothing of that name is registered.
    Unknown,
    /// The name is none of ours.
    Foreign,
    /// Somebody stopped it, or it gave up.
    Stopped,
    /// It takes no traffic, because every weight is zero.
    NoWeight,
    /// It did not come up in time.
    NotUp,
    /// Too many requests wait for it.
    Busy,
    /// It could not be reached, or broke off before it answered.
    Unreachable,
    /// It did not answer in time.
    Late,
    /// The client stopped sending.
    Slow,
}

impl Refusal {
    fn status(self) -> StatusCode {
        match self {
            Refusal::Malformed => StatusCode::BAD_REQUEST,
            Refusal::Unknown => StatusCode::NOT_FOUND,
            Refusal::Foreign => StatusCode::MISDIRECTED_REQUEST,
            Refusal::Stopped | Refusal::NoWeight | Refusal::NotUp | Refusal::Busy => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Refusal::Unreachable => StatusCode::BAD_GATEWAY,
            Refusal::Late => StatusCode::GATEWAY_TIMEOUT,
            Refusal::Slow => StatusCode::REQUEST_TIMEOUT,
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Refusal::Malformed => "The request is ambiguous or malformed.",
            Refusal::Unknown => "Nothing is registered under this name.",
            Refusal::Foreign => "This server does not answer for the host that the request names.",
            Refusal::Stopped => "This application is stopped.",
            Refusal::NoWeight => "This application takes no traffic at present.",
            Refusal::NotUp => "This application did not start in time. Try again.",
            Refusal::Busy => "This application has too many open requests. Try again.",
            Refusal::Unreachable => "This application could not be reached.",
            Refusal::Late => "This application did not answer in time.",
            Refusal::Slow => "The request did not arrive in time.",
        }
    }

    /// Whether it counts as a failure of the instance.
    pub(super) fn is_error(self) -> bool {
        self.status().is_server_error()
    }

    /// Whatever is left of such a request is not read.
    pub(super) fn closes(self) -> bool {
        matches!(self, Refusal::Malformed | Refusal::Slow)
    }

    /// What a reader sees.
    fn text(self) -> String {
        let status = self.status();
        format!(
            "<!doctype html>\n<meta charset=\"utf-8\">\n<title>{status}</title>\n<h1>{status}</h1>\n<p>{}</p>\n",
            self.sentence()
        )
    }

    pub(super) fn page(self) -> hyper::Response<String> {
        let status = self.status();
        let mut response = hyper::Response::new(self.text());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.closes() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
