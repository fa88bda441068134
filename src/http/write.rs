//! Every write: dry runs, `If-Match`, and repetitions of a request with an `Idempotency-Key`.
//!
//! A repeated request is answered as the first time: its handler sees the World as it was
//! before the command, and [`Write::submit`] hands it the events that the command recorded
//! then. Nothing is recorded again, and no answer has to be stored.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tenantry_journal::id::Seq;
use tenantry_journal::recorded::{Actor, Idempotency, Recorded};
use tenantry_projections::event_view::EventView;
use tenantry_projections::world::World;
use tenantry_projections::world::requests::Answered;

use super::error::ApiError;
use super::etag::if_match;
use super::extract::{Scope, query_value, read};
use super::state::{AppState, AsOfError};
use crate::auth::principal::Principal;
use crate::domain::command::{Command, Mode, Submission};
use crate::engine::Outcome;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The longest key; the IETF draft's examples are UUIDs.
const LONGEST_KEY: usize = 255;
/// Events of one command that a repetition reads; the largest command records some dozens.
const MOST_EVENTS: usize = 1000;

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
    let mut bytes = Vec::with_capacity(USUAL_ANSWER);
    match serde_json::to_writer(&mut bytes, body) {
        Ok(()) => written(status, bytes.into()),
        Err(error) => {
            tracing::error!(error = %error, "an answer does not encode");
            ApiError::internal().into_response()
        }
    }
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

#[derive(Default)]
struct Repetition {
    idempotency: Option<Idempotency>,
    replay: Option<Outcome>,
    /// Frees the key when the request is answered.
    _in_flight: Option<InFlight>,
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

    fn note_seq(&self, seq: Seq) {
        self.0.seq.fetch_max(seq.0, Ordering::Relaxed);
    }
}

/// Idempotency keys of requests that are being answered, so that two at once do not both act.
#[derive(Clone, Default)]
pub struct KeysInFlight(Arc<Mutex<HashSet<[u8; 16]>>>);

struct InFlight {
    keys: KeysInFlight,
    key: [u8; 16],
}

impl KeysInFlight {
    fn begin(&self, key: [u8; 16]) -> Option<InFlight> {
        let new = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
        new.then(|| InFlight { keys: self.clone(), key })
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.keys.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// Looks at a write's `Idempotency-Key`. For a repetition, remembers what the first request
/// recorded and returns the World as it was before.
pub(super) async fn recognize(
    app: &AppState,
    request: &mut Request,
    principal: &Principal,
    body_limit: u64,
    answers: &Answers,
) -> Result<Option<Arc<World>>, ApiError> {
    let Some(key) = idempotency_key(request.headers())? else { return Ok(None) };
    let body = std::mem::replace(request.body_mut(), Body::empty());
    let body = read(body, body_limit).await?;
    let path = request.uri().path_and_query().map_or("", |path| path.as_str());
    let idempotency = Idempotency {
        key: digest(&[&actor_bytes(principal.actor), key.as_bytes()]),
        request: digest(&[request.method().as_str().as_bytes(), path.as_bytes(), &body]),
    };
    *request.body_mut() = Body::from(body);
    let Some(in_flight) = app.in_flight.begin(idempotency.key) else {
        return Err(ApiError::conflict(
            "request_in_progress",
            "A request with this Idempotency-Key is being answered at the moment.",
        )
        .retry_after(1));
    };
    let mut repetition =
        Repetition { idempotency: Some(idempotency), replay: None, _in_flight: Some(in_flight) };
    let mut before = None;
    if let Some(answered) = app.engine.world().requests.get(&idempotency.key).copied() {
        if answered.request != idempotency.request {
            return Err(ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "This Idempotency-Key came with another request before.",
            )
            .detailed("Use a new key for a new request."));
        }
        let (world, outcome) = first_answer(app, answered).await?;
        before = Some(world);
        repetition.replay = Some(outcome);
    }
    *answers.0.repetition.lock().unwrap_or_else(PoisonError::into_inner) = repetition;
    Ok(before)
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| (1..=LONGEST_KEY).contains(&text.len()));
    match text {
        Some(text) if values.next().is_none() => Ok(Some(text.to_owned())),
        _ => Err(ApiError::bad_request(format!(
            "Idempotency-Key must stand there once and be 1 to {LONGEST_KEY} characters of ASCII."
        ))),
    }
}

fn actor_bytes(actor: Actor) -> Vec<u8> {
    let mut bytes = actor.type_name().as_bytes().to_vec();
    bytes.extend(actor.id().unwrap_or_default().as_bytes());
    bytes
}

/// BLAKE3 of the parts, each after its length, cut to 16 bytes.
fn digest(parts: &[&[u8]]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut cut = [0; 16];
    hasher.finalize_xof().fill(&mut cut);
    cut
}

/// What the first request recorded, with the World before and after it.
async fn first_answer(app: &AppState, answered: Answered) -> Result<(Arc<World>, Outcome), ApiError> {
    let app = app.clone();
    let read = tokio::task::spawn_blocking(move || -> Result<_, AsOfError> {
        let slices = app
            .engine
            .feed()
            .read(answered.first, MOST_EVENTS)
            .map_err(|error| AsOfError::Unavailable(crate::error::chain(&error)))?;
        let events: Arc<[Recorded]> = slices
            .iter()
            .flat_map(|slice| slice.iter())
            .take_while(|event| event.command_id == answered.command_id)
            .cloned()
            .collect();
        let seq = events.last().map_or(answered.first, |last| last.seq);
        let before = match answered.first.0 {
            0 | 1 => Arc::new(World::default()),
            first => app.time.world_at(Seq(first - 1))?,
        };
        let world = app.time.world_at(seq)?;
        Ok((before, Outcome { command_id: answered.command_id, events, world, seq }))
    });
    let read = read.await.map_err(|error| AsOfError::Unavailable(error.to_string()))?;
    Ok(read?)
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
        let mode = match query_value(parts.uri.query(), "dry_run")?.as_deref() {
            None | Some("false") => Mode::Record,
            Some("true") => Mode::DryRun,
            Some(_) => return Err(ApiError::bad_request("dry_run must be true or false.")),
        };
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
        look(&self.answers.0.repetition.lock().unwrap_or_else(PoisonError::into_inner))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_tell_where_one_part_ends_and_the_next_begins() {
        assert_eq!(digest(&[b"ab", b"c"]), digest(&[b"ab", b"c"]));
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
        assert_ne!(digest(&[b"POST", b"/a", b""]), digest(&[b"POST", b"/a", b"{}"]));
    }

    #[test]
    fn of_two_requests_at_once_with_one_key_the_second_is_refused() {
        let keys = KeysInFlight::default();
        let first = keys.begin([1; 16]);
        assert!(first.is_some());
        assert!(keys.begin([1; 16]).is_none());
        assert!(keys.begin([2; 16]).is_some());
        drop(first);
        assert!(keys.begin([1; 16]).is_some());
    }
}
