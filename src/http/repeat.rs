//! Requests that come again with the same `Idempotency-Key`.
//!
//! The first answer of the recent ones is kept in memory and given again. What is older, or was
//! answered before a restart, is recognized by the journal: its handler then sees the World as
//! it was before the command, and [`super::write::Write::submit`] hands it the events that the
//! command recorded. Nothing is recorded again.
//!
//! The journal holds digests. That of a request is keyed with a secret of this server, for a
//! body may hold a password that can be guessed.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::Response;
use tenantry_journal::id::Seq;
use tenantry_journal::recorded::{Actor, Idempotency, Recorded};
use tenantry_projections::world::World;
use tenantry_projections::world::requests::Answered;

use super::error::ApiError;
use super::extract::read;
use super::state::{AppState, AsOfError};
use super::write::{Answers, is_dry};
use crate::auth::principal::Principal;
use crate::engine::Outcome;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The longest key; the IETF draft's examples are UUIDs.
const LONGEST_KEY: usize = 255;
/// Events of one command that a repetition reads; the largest command records some dozens.
const MOST_EVENTS: usize = 1000;
/// First answers that are kept: those of some minutes of the busiest client.
const MOST_KEPT: usize = 10_000;
/// Their bodies together, in bytes.
const MOST_KEPT_BYTES: usize = 32 << 20;
/// The longest body that is kept; the usual answer to a write has a KiB.
const LONGEST_KEPT: u64 = 256 * 1024;

/// What is known of a request that has a key.
#[derive(Default)]
pub(super) struct Repetition {
    /// Its digests.
    pub(super) idempotency: Option<Idempotency>,
    /// What it recorded when it came before.
    pub(super) replay: Option<Outcome>,
    /// What it was answered with when it came before.
    ready: Option<First>,
    is_dry: bool,
    /// Frees the key when the request is answered.
    _in_flight: Option<InFlight>,
}

impl Repetition {
    /// The first answer, if it is kept.
    pub(super) fn take_ready(&mut self) -> Option<(Response, Option<Seq>)> {
        self.ready.take().map(|first| (first.response(), first.seq))
    }
}

/// The answer that a request got first.
#[derive(Clone)]
struct First {
    request: [u8; 16],
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    seq: Option<Seq>,
}

impl First {
    fn response(&self) -> Response {
        let mut response = Response::new(Body::from(self.body.clone()));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        response
    }
}

/// Keys of requests: those that are being answered, and the recent first answers.
#[derive(Clone)]
pub struct Repeats(Arc<Shared>);

struct Shared {
    secret: [u8; 32],
    keys: Mutex<Keys>,
}

#[derive(Default)]
struct Keys {
    /// So that two requests at once do not both act.
    in_flight: HashSet<[u8; 16]>,
    first: HashMap<[u8; 16], First>,
    oldest_first: VecDeque<[u8; 16]>,
    bytes: usize,
}

struct InFlight {
    repeats: Repeats,
    key: [u8; 16],
}

impl Repeats {
    /// Digests requests under this secret, which must never be used for anything else.
    #[must_use]
    pub fn new(secret: [u8; 32]) -> Repeats {
        Repeats(Arc::new(Shared { secret, keys: Mutex::default() }))
    }

    /// Forgets the first answers. To be called when a key was erased: they hold opened values.
    pub fn forget(&self) {
        let mut keys = self.keys();
        let in_flight = std::mem::take(&mut keys.in_flight);
        *keys = Keys { in_flight, ..Keys::default() };
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.0.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, key: [u8; 16]) -> Option<InFlight> {
        let new = self.keys().in_flight.insert(key);
        new.then(|| InFlight { repeats: self.clone(), key })
    }

    fn first(&self, key: &[u8; 16]) -> Option<First> {
        self.keys().first.get(key).cloned()
    }

    fn keep(&self, key: [u8; 16], first: First) {
        let mut keys = self.keys();
        let len = first.body.len();
        if keys.first.contains_key(&key) {
            return;
        }
        keys.first.insert(key, first);
        keys.oldest_first.push_back(key);
        keys.bytes += len;
        while keys.oldest_first.len() > MOST_KEPT || keys.bytes > MOST_KEPT_BYTES {
            let Some(oldest) = keys.oldest_first.pop_front() else { break };
            keys.bytes -= keys.first.remove(&oldest).map_or(0, |first| first.body.len());
        }
    }

    /// The digest of a request, and the one that earlier versions wrote, which had no secret.
    fn digests(&self, parts: &[&[u8]]) -> ([u8; 16], [u8; 16]) {
        (digest(blake3::Hasher::new_keyed(&self.0.secret), parts), digest(blake3::Hasher::new(), parts))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.repeats.keys().in_flight.remove(&self.key);
    }
}

fn reused() -> ApiError {
    ApiError::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "idempotency_key_reused",
        "This Idempotency-Key came with another request before.",
    )
    .detailed("Use a new key for a new request.")
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
    let key = digest(blake3::Hasher::new(), &[&actor_bytes(principal.actor), key.as_bytes()]);
    let (keyed, unkeyed) =
        app.repeats.digests(&[request.method().as_str().as_bytes(), path.as_bytes(), &body]);
    *request.body_mut() = Body::from(body);
    let Some(in_flight) = app.repeats.begin(key) else {
        return Err(ApiError::conflict(
            "request_in_progress",
            "A request with this Idempotency-Key is being answered at the moment.",
        )
        .retry_after(1));
    };
    let mut repetition = Repetition {
        idempotency: Some(Idempotency { key, request: keyed }),
        is_dry: is_dry(request.uri().query())?,
        _in_flight: Some(in_flight),
        ..Repetition::default()
    };
    let mut before = None;
    if let Some(first) = app.repeats.first(&key) {
        if first.request != keyed {
            return Err(reused());
        }
        repetition.ready = Some(first);
    } else if let Some(answered) = app.engine.world().requests.get(&key).copied() {
        if answered.request != keyed && answered.request != unkeyed {
            return Err(reused());
        }
        repetition.idempotency = Some(Idempotency { key, request: answered.request });
        let (world, outcome) = first_outcome(app, answered).await?;
        before = Some(world);
        repetition.replay = Some(outcome);
    }
    *answers.repetition() = repetition;
    Ok(before)
}

/// Keeps the answer to a request that has a key, for when it comes again. A failure is not
/// kept: the next attempt may succeed.
pub(super) async fn keep(app: &AppState, answers: &Answers, response: Response) -> Response {
    let request = {
        let repetition = answers.repetition();
        repetition.idempotency.filter(|_| !repetition.is_dry)
    };
    let is_short = response.body().size_hint().exact().is_some_and(|bytes| bytes <= LONGEST_KEPT);
    let Some(Idempotency { key, request }) = request.filter(|_| is_short && response.status().is_success())
    else {
        return response;
    };
    let (parts, body) = response.into_parts();
    // It is in memory already.
    let body = read(body, LONGEST_KEPT).await.unwrap_or_default();
    let first =
        First { request, status: parts.status, headers: parts.headers.clone(), body, seq: answers.seq() };
    let response = Response::from_parts(parts, Body::from(first.body.clone()));
    app.repeats.keep(key, first);
    response
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

/// The digest of the parts, each after its length, cut to 16 bytes.
fn digest(mut hasher: blake3::Hasher, parts: &[&[u8]]) -> [u8; 16] {
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut cut = [0; 16];
    hasher.finalize_xof().fill(&mut cut);
    cut
}

/// What the first request recorded, with the World before and after it.
async fn first_outcome(app: &AppState, answered: Answered) -> Result<(Arc<World>, Outcome), ApiError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_tell_where_one_part_ends_and_the_next_begins_and_are_another_servers_no_more() {
        let digests = |secret: u8, parts: &[&[u8]]| Repeats::new([secret; 32]).digests(parts);
        assert_eq!(digests(1, &[b"ab", b"c"]), digests(1, &[b"ab", b"c"]));
        assert_ne!(digests(1, &[b"ab", b"c"]).0, digests(1, &[b"a", b"bc"]).0);
        assert_ne!(digests(1, &[b"POST", b"/a", b""]).0, digests(1, &[b"POST", b"/a", b"{}"]).0);
        let (keyed, unkeyed) = digests(1, &[b"password"]);
        assert_ne!(keyed, digests(2, &[b"password"]).0);
        assert_eq!(unkeyed, digests(2, &[b"password"]).1);
        assert_ne!(keyed, unkeyed);
    }

    #[test]
    fn of_two_requests_at_once_with_one_key_the_second_is_refused() {
        let keys = Repeats::new([0; 32]);
        let first = keys.begin([1; 16]);
        assert!(first.is_some());
        assert!(keys.begin([1; 16]).is_none());
        assert!(keys.begin([2; 16]).is_some());
        drop(first);
        assert!(keys.begin([1; 16]).is_some());
    }

    #[test]
    fn first_answers_are_bounded_in_number_and_bytes_and_the_oldest_go() {
        let keys = Repeats::new([0; 32]);
        let first = |len: usize| First {
            request: [0; 16],
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::from(vec![0; len]),
            seq: None,
        };
        let key = |n: usize| (n as u128).to_le_bytes();
        for n in 0..MOST_KEPT + 5 {
            keys.keep(key(n), first(1));
        }
        assert!(keys.first(&key(4)).is_none());
        assert!(keys.first(&key(5)).is_some());
        keys.keep(key(MOST_KEPT + 5), first(MOST_KEPT_BYTES - 1));
        assert_eq!(keys.keys().first.len(), 2);
        assert_eq!(keys.keys().bytes, MOST_KEPT_BYTES);
        keys.forget();
        assert!(keys.first(&key(MOST_KEPT + 5)).is_none());
        assert_eq!(keys.keys().bytes, 0);
    }
}
