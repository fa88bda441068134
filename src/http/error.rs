//! One error type for every handler and layer, and the three shapes in which it is shown.
//!
//! An [`ApiError`] becomes a response without a body that carries the error itself; the
//! outermost layer ([`super::frame`]) knows the route's document and what the client accepts
//! and writes the body. So middleware, extractors and handlers answer in one shape.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tenantry_journal::time::Timestamp;

use super::state::AsOfError;
use crate::auth::password::HashError;
use crate::domain::rejection::{Reason, Rejection};
use crate::engine::SubmitError;

/// Which document a route stands in; decides the shape of its errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Document 1.
    Manager,
    /// Documents 2 and 3.
    Instances,
    /// None: the shape of the listener that the request came in by.
    Listener,
}

/// The shape of an error's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `{"error", "detail", "code", "timestamp"}`.
    Manager,
    /// `{"error", "message", "status"}`.
    Instances,
    /// RFC 9457.
    Problem,
}

/// Why a request is not answered with what it asked for.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The status code.
    pub status: StatusCode,
    /// A stable name, lower snake case.
    pub code: &'static str,
    /// A sentence: what is wrong, with the value.
    pub message: String,
    /// A sentence: what to do next, or more of what is wrong. May be empty.
    pub detail: String,
    /// Headers of the answer, such as `Retry-After`.
    pub headers: HeaderMap,
    /// Further members of the body, such as `conflicts`.
    pub more: serde_json::Map<String, serde_json::Value>,
}

impl ApiError {
    /// Any error.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError {
            status,
            code,
            message: message.into(),
            detail: String::new(),
            headers: HeaderMap::new(),
            more: serde_json::Map::new(),
        }
    }

    /// 400: the input is wrong.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// 401: no credential, or none that opens anything.
    #[must_use]
    pub fn unauthorized(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
            .detailed("Send 'Authorization: Bearer TOKEN' with a login's access_token or an API token.")
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// 403: the credential does not go that far.
    #[must_use]
    pub fn forbidden(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// 404: there is no such thing.
    #[must_use]
    pub fn not_found(code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, code, message)
    }

    /// 409: it contradicts what is there.
    #[must_use]
    pub fn conflict(code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::CONFLICT, code, message)
    }

    /// 413: the body is longer than what is read.
    #[must_use]
    pub fn too_large(limit: u64) -> ApiError {
        ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "payload_too_large",
            format!("The body is longer than the {limit} bytes that this route reads."),
        )
        .header(header::CONNECTION, HeaderValue::from_static("close"))
    }

    /// 500: something of ours went wrong; what exactly stands in the log.
    #[must_use]
    pub fn internal() -> ApiError {
        ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal_error",
            "The server could not answer this request.",
        )
        .detailed("The log names the cause under this answer's X-Request-Id.")
    }

    /// 503: not now.
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "service_unavailable", message)
    }

    /// 504: what was asked for was begun and has not ended in time.
    #[must_use]
    pub fn timed_out(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message)
    }

    /// Another name.
    #[must_use]
    pub fn coded(mut self, code: &'static str) -> ApiError {
        self.code = code;
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn detailed(mut self, detail: impl Into<String>) -> ApiError {
        self.detail = detail.into();
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> ApiError {
        self.headers.insert(name, value);
        self
    }

    /// Adds `Retry-After`.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> ApiError {
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Adds a member to the body.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> ApiError {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// The answer, in a shape.
    #[must_use]
    pub fn render(&self, shape: Shape, now: Timestamp) -> Response {
        let more = &self.more;
        let (body, content_type) = match shape {
            Shape::Manager => {
                let detail = if self.detail.is_empty() { &self.message } else { &self.detail };
                let code = self.code.to_ascii_uppercase();
                let body = Manager { error: &self.message, detail, code: &code, timestamp: now, more };
                (serde_json::to_vec(&body), "application/json")
            }
            Shape::Instances => {
                let message = if self.detail.is_empty() {
                    self.message.clone()
                } else {
                    format!("{} {}", self.message, self.detail)
                };
                let error = printed_name(self.status, self.code);
                let body = Instances { error, message, status: self.status.as_u16(), more };
                (serde_json::to_vec(&body), "application/json")
            }
            Shape::Problem => {
                let body = Problem {
                    r#type: format!("urn:tenantry:error:{}", self.code),
                    title: self.status.canonical_reason().unwrap_or("Error"),
                    status: self.status.as_u16(),
                    detail: &self.message,
                    hint: (!self.detail.is_empty()).then_some(self.detail.as_str()),
                    code: self.code,
                    timestamp: now,
                    more,
                };
                (serde_json::to_vec(&body), "application/problem+json")
            }
        };
        let headers = [(header::CONTENT_TYPE, HeaderValue::from_static(content_type))];
        let mut response = (self.status, headers, body.unwrap_or_default()).into_response();
        response.headers_mut().extend(self.headers.clone());
        response
    }
}

/// The name of an error in document 2: what its table prints for the status, except for the names
/// that documents 2 and 3 print themselves. A status that is not in the table keeps our name.
fn printed_name(status: StatusCode, code: &'static str) -> &'static str {
    if matches!(code, "instance_not_found" | "not_time_travelable" | "not_live") {
        return code;
    }
    match status {
        StatusCode::BAD_REQUEST => "bad_request",
        StatusCode::UNAUTHORIZED => "unauthorized",
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::CONFLICT => "conflict",
        StatusCode::UNPROCESSABLE_ENTITY => "unprocessable_entity",
        StatusCode::INTERNAL_SERVER_ERROR => "internal_error",
        StatusCode::SERVICE_UNAVAILABLE => "service_unavailable",
        _ => code,
    }
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "ManagerError")]
pub(super) struct Manager<'a> {
    error: &'a str,
    detail: &'a str,
    code: &'a str,
    timestamp: Timestamp,
    #[serde(flatten)]
    more: &'a serde_json::Map<String, serde_json::Value>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "ApiError")]
pub(super) struct Instances<'a> {
    error: &'a str,
    message: String,
    status: u16,
    #[serde(flatten)]
    more: &'a serde_json::Map<String, serde_json::Value>,
}

#[derive(Serialize, schemars::JsonSchema)]
pub(super) struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    code: &'a str,
    timestamp: Timestamp,
    #[serde(flatten)]
    more: &'a serde_json::Map<String, serde_json::Value>,
}

/// Carries the error to the layer that writes the body.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> ApiError {
        let status = match rejection.reason {
            Reason::NotFound => StatusCode::NOT_FOUND,
            Reason::Conflict => StatusCode::CONFLICT,
            Reason::Invalid => StatusCode::BAD_REQUEST,
            Reason::Unprocessable => StatusCode::UNPROCESSABLE_ENTITY,
            Reason::Stale => StatusCode::PRECONDITION_FAILED,
        };
        let message = match rejection.code {
            // Document 2 prints this one without a full stop.
            "instance_not_found" => rejection.message,
            _ => sentence(&rejection.message),
        };
        let hint = sentence(&rejection.hint);
        ApiError::new(status, rejection.code, message).detailed(hint)
    }
}

/// A rule's words with the full stop of a sentence. They may begin with the name of a field, so
/// the first letter stays as it is.
fn sentence(words: &str) -> String {
    let end = if words.is_empty() || words.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{words}{end}")
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> ApiError {
        match error {
            SubmitError::Rejected(rejection) => rejection.into(),
            SubmitError::Unavailable(_) => {
                tracing::warn!(error = %error, "a write was refused");
                ApiError::unavailable("Writes are not accepted at the moment; nothing was recorded.")
                    .retry_after(1)
            }
        }
    }
}

impl From<HashError> for ApiError {
    fn from(error: HashError) -> ApiError {
        match error {
            HashError::Busy => {
                ApiError::unavailable("Too many passwords are being checked at the moment.").retry_after(1)
            }
            HashError::Failed(_) => {
                tracing::error!(error = %error, "a password could not be hashed");
                ApiError::internal()
            }
        }
    }
}

impl From<AsOfError> for ApiError {
    fn from(error: AsOfError) -> ApiError {
        match &error {
            AsOfError::Malformed(_) | AsOfError::BeforeFirst | AsOfError::AfterHead(_) => {
                ApiError::bad_request(error.to_string()).coded("invalid_as_of")
            }
            AsOfError::Unavailable(reason) => {
                tracing::error!(error = %reason, "the past cannot be read");
                ApiError::unavailable("The journal cannot be read back to that moment.")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;
    use serde_json::{Value, json};

    async fn rendered(error: &ApiError, shape: Shape) -> (StatusCode, Value) {
        let response = error.render(shape, Timestamp(1_763_726_400_000));
        let status = response.status();
        let body = to_bytes(response.into_body(), 10_000).await.expect("reads");
        (status, serde_json::from_slice(&body).expect("JSON"))
    }

    #[tokio::test]
    async fn each_document_has_its_shape() {
        let error = ApiError::from(Rejection::conflict(
            "slug_taken",
            "slug 'smith' is taken".into(),
            "choose another slug",
        ));
        let manager = json!({"error": "slug 'smith' is taken.", "detail": "choose another slug.",
            "code": "SLUG_TAKEN", "timestamp": "2025-11-21T12:00:00.000Z"});
        assert_eq!(rendered(&error, Shape::Manager).await, (StatusCode::CONFLICT, manager));
        let instances = json!({"error": "conflict",
            "message": "slug 'smith' is taken. choose another slug.", "status": 409});
        assert_eq!(rendered(&error, Shape::Instances).await, (StatusCode::CONFLICT, instances));
        let (_, problem) = rendered(&error, Shape::Problem).await;
        assert_eq!(problem["status"], 409);
        assert_eq!(problem["detail"], "slug 'smith' is taken.");
        assert_eq!(problem["type"], "urn:tenantry:error:slug_taken");
    }

    #[test]
    fn document_2_names_an_error_as_it_prints_it() {
        let gone = Rejection::not_found("instance_not_found", "Instance 'api:user123' not found".into());
        let gone = ApiError::from(gone);
        assert_eq!(gone.message, "Instance 'api:user123' not found");
        assert_eq!(printed_name(gone.status, gone.code), "instance_not_found");
        assert_eq!(printed_name(StatusCode::BAD_REQUEST, "not_time_travelable"), "not_time_travelable");
        for (status, name) in [
            (400, "bad_request"),
            (401, "unauthorized"),
            (403, "forbidden"),
            (404, "not_found"),
            (409, "conflict"),
            (422, "unprocessable_entity"),
            (500, "internal_error"),
            (503, "service_unavailable"),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(printed_name(status, "something_of_ours"), name);
        }
        assert_eq!(printed_name(StatusCode::GATEWAY_TIMEOUT, "timeout"), "timeout");
    }

    #[test]
    fn a_refusal_is_the_callers_fault_and_a_closed_journal_ours() {
        let status = |reason| {
            let rejection = Rejection { reason, code: "x", message: String::new(), hint: String::new() };
            ApiError::from(SubmitError::Rejected(rejection)).status.as_u16()
        };
        assert_eq!(status(Reason::NotFound), 404);
        assert_eq!(status(Reason::Conflict), 409);
        assert_eq!(status(Reason::Invalid), 400);
        assert_eq!(status(Reason::Unprocessable), 422);
        assert_eq!(status(Reason::Stale), 412);
        let closed = ApiError::from(SubmitError::Unavailable("disk full".into()));
        assert_eq!(closed.status.as_u16(), 503);
        assert!(!closed.message.contains("disk"));
    }
}
