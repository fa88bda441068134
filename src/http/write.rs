//! Every write: dry runs, `If-Match`, and what a request recorded that came before with the same
//! `Idempotency-Key` (see [`super::repeat`]).

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tenantry_journal::id::Seq;
use tenantry_journal::recorded::{Idempotency, Recorded};
use tenantry_projections::event_view::EventView;
use tenantry_projections::world::World;

use super::error::ApiError;
use super::etag::if_match;
use super::extract::{Scope, query_value};
use super::repeat::Repetition;
use super::state::AppState;
use crate::auth::principal::Principal;
use crate::domain::command::{Command, Mode, Submission};
use crate::domain::decide::check_version;
use crate::engine::Outcome;

/// Room for the JSON of one resource, in bytes, so that it is not moved while it grows.
const USUAL_ANSWER: usize = 1024;
/// Room for the headers of an answer, those of the layers outside included.
const USUAL_HEADERS: usize = 16;

/// What a handler answers instead of its own answer: an error, or what a dry run found.
pub struct Instead(Response);

impl IntoResponse for Instead {
    fn into_response(self) -> Response {
        self.0
    }
}

impl<E: Into<ApiError>> From<E> for Instead {
    fn from(error: E) -> Instead {
        Instead(error.into().into_response())
    }
}

/// What a handler returns.
pub type Answer = Result<Response, Instead>;

/// A JSON answer.
#[must_use]
pub fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    encode(body).map_or_else(ApiError::into_response, |json| written(status, json))
}

/// The JSON of an answer.
///
/// # Errors
/// 500 when it does not encode, which is told in the log.
pub fn encode(body: &impl Serialize) -> Result<Bytes, ApiError> {
    let mut bytes = Vec::with_capacity(USUAL_ANSWER);
    serde_json::to_writer(&mut bytes, body).map_err(|error| {
        tracing::error!(error = %error, "an answer does not encode");
        ApiError::internal()
    })?;
    Ok(bytes.into())
}

/// An answer whose JSON is written already.
#[must_use]
pub fn written(status: StatusCode, json: Bytes) -> Response {
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.reserve(USUAL_HEADERS);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer that says where what it is about is found.
#[must_use]
pub fn located(mut response: Response, path: &str) -> Response {
    // Paths of ours are ASCII.
    if let Ok(location) = HeaderValue::try_from(path) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// What a write tells the gate about itself while it is carried out.
#[derive(Clone, Default)]
pub struct Answers(Arc<Noted>);

#[derive(Default)]
struct Noted {
    seq: AtomicU64,
    repetition: Mutex<Repetition>,
}

impl Answers {
    /// Position of the write's last event, if there was a write.
    #[must_use]
    pub fn seq(&self) -> Option<Seq> {
        match self.0.seq.load(Ordering::Relaxed) {
            0 => None,
            seq => Some(Seq(seq)),
        }
    }

    /// The first answer to the same request, if it is kept.
    pub(super) fn ready(&self) -> Option<Response> {
        let (response, seq) = self.repetition().take_ready()?;
        if let Some(seq) = seq {
            self.note_seq(seq);
        }
        Some(response)
    }

    pub(super) fn repetition(&self) -> MutexGuard<'_, Repetition> {
        self.0.repetition.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_seq(&self, seq: Seq) {
        self.0.seq.fetch_max(seq.0, Ordering::Relaxed);
    }
}

/// Whether a query asks for a dry run.
///
/// # Errors
/// 400 when it says neither yes nor no.
pub(super) fn is_dry(query: Option<&str>) -> Result<bool, ApiError> {
    match query_value(query, "dry_run")?.as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(ApiError::bad_request("dry_run must be true or false.")),
    }
}

/// The answer to a dry run of what records nothing.
pub(super) fn nothing_recorded() -> Response {
    answer(StatusCode::OK, &DryRun { events: Vec::new() })
}

/// The answer of a dry run.
#[derive(Serialize, schemars::JsonSchema)]
pub(super) struct DryRun<'a> {
    events: Vec<EventView<'a>>,
}

/// What a handler needs to change something.
pub struct Write {
    app: AppState,
    principal: Arc<Principal>,
    answers: Answers,
    mode: Mode,
    expected: Option<Seq>,
}

impl FromRequestParts<AppState> for Write {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        let scope = Scope::from_request_parts(parts, app).await?;
        let answers = parts.extensions.get::<Answers>().cloned().unwrap_or_default();
        let mode = if is_dry(parts.uri.query())? { Mode::DryRun } else { Mode::Record };
        let expected = if_match(&parts.headers)?;
        Ok(Write { app: app.clone(), principal: scope.principal, answers, mode, expected })
    }
}

impl Write {
    /// Whether nothing is to be recorded.
    #[must_use]
    pub fn is_dry(&self) -> bool {
        self.mode == Mode::DryRun
    }

    /// Whether this request was answered before, so that its effects are there already.
    #[must_use]
    pub fn is_repetition(&self) -> bool {
        self.repetition(|repetition| repetition.replay.is_some())
    }

    /// 16 bytes that are the same for each repetition of this request and for no other; for
    /// answers that cannot be read from what was recorded. `None` without a key.
    #[must_use]
    pub fn idempotency(&self) -> Option<Idempotency> {
        self.repetition(|repetition| repetition.idempotency)
    }

    fn repetition<T>(&self, look: impl FnOnce(&Repetition) -> T) -> T {
        look(&self.answers.repetition())
    }

    /// Gives the command, and returns what became of it; for a dry run, answers at once.
    ///
    /// # Errors
    /// The refusal, or (in a dry run) the answer with the events that would be recorded.
    pub async fn submit(&self, command: Command) -> Result<Outcome, Instead> {
        self.give(command, None).await
    }

    /// The same, for a command that answers an event.
    ///
    /// # Errors
    /// As [`Write::submit`].
    pub async fn submit_about(&self, command: Command, cause: Seq) -> Result<Outcome, Instead> {
        self.give(command, Some(cause)).await
    }

    async fn give(&self, command: Command, caused_by: Option<Seq>) -> Result<Outcome, Instead> {
        if let Some(first) = self.repeated() {
            return Ok(first);
        }
        let outcome = self
            .app
            .engine
            .submit(Submission {
                command,
                actor: self.principal.actor,
                caused_by,
                idempotency: self.idempotency(),
                expected: self.expected,
                mode: self.mode,
            })
            .await?;
        if self.is_dry() {
            return Err(self.dry(&outcome.events, &outcome.world));
        }
        self.note_seq(outcome.seq);
        Ok(outcome)
    }

    /// Refuses what `If-Match` does not name: for a write that acts before it records. `None`
    /// is the version of what has none.
    ///
    /// # Errors
    /// 412 when it moved on.
    pub fn check_version(&self, version: Option<Seq>) -> Result<(), ApiError> {
        match self.expected.filter(|_| !self.is_repetition()) {
            Some(expected) => Ok(check_version(&self.app.engine.world(), version, expected)?),
            None => Ok(()),
        }
    }

    /// What this request recorded when it came before, if it did. For a write that acts before
    /// it records; any other one only submits.
    #[must_use]
    pub fn repeated(&self) -> Option<Outcome> {
        let first = self.repetition(|repetition| repetition.replay.clone())?;
        self.note_seq(first.seq);
        Some(first)
    }

    /// What a dry run answers.
    #[must_use]
    pub fn dry(&self, events: &[Recorded], world: &World) -> Instead {
        let events: Vec<EventView<'_>> = events.iter().map(|event| EventView::new(event, world)).collect();
        Instead(answer(StatusCode::OK, &DryRun { events }))
    }

    /// Tells the position of an event that the write led to, for `X-Event-Seq`.
    pub fn note_seq(&self, seq: Seq) {
        self.answers.note_seq(seq);
    }
}

/// So that `?` takes what cannot fail.
impl From<Infallible> for ApiError {
    fn from(never: Infallible) -> ApiError {
        match never {}
    }
}
