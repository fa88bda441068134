//! Live queries: a GET of state with `Accept: text/event-stream` answers with its present state,
//! and again whenever that has become another.
//!
//! This stands above the handlers. One answers its request; a live query is the same request,
//! asked again of a newer World. Who asks the same as the same credential shares what is
//! rendered ([`hub`]); what an event cannot have changed is not asked again
//! ([`question::Concern`]).
//! A client that reads slowly skips states and misses none that lasts.

mod hub;
mod question;

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::Stream;
use tenantry_journal::id::Seq;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::error::ApiError;
use super::extract::Scope;
use super::router::{Route, Shows};
use super::state::AppState;
use hub::{Follower, Hub};
use question::{Question, Shown};

/// The contract's.
const COMMENT_EVERY: Duration = Duration::from_secs(15);
/// How long a client waits that has seen more than there is here yet; as for `X-Min-Seq`.
const WAIT: Duration = Duration::from_secs(5);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const EVENT_STREAM: &str = "text/event-stream";

/// Whether a request asks for server-sent events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// It takes nothing else.
    Only,
    /// It takes other kinds of answers, too.
    Also,
}

fn wish(headers: &HeaderMap) -> Option<Wish> {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (mut events, mut others) = (false, false);
    for kind in accepted.flat_map(|value| value.split(',')) {
        let mut parts = kind.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let is_refused = parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
        match name.eq_ignore_ascii_case(EVENT_STREAM) {
            _ if is_refused || name.is_empty() => {}
            true => events = true,
            false => others = true,
        }
    }
    events.then_some(if others { Wish::Also } else { Wish::Only })
}

/// What of a request makes it a live query, and what it must not ask for.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    wish: Wish,
    shows: Shows,
}

/// Whether a request is (or cannot be) a live query. Costs a plain GET a look at one header.
pub(super) fn asked(route: &Route, request: &Request) -> Option<Asked> {
    if *request.method() != Method::GET || !request.headers().contains_key(header::ACCEPT) {
        return None;
    }
    let wish = wish(request.headers())?;
    let shows = route.find(request.method())?.access.shows;
    match (shows, wish) {
        (Shows::Lines, _) | (Shows::Now, Wish::Also) => None,
        (Shows::State, _) | (Shows::Now, Wish::Only) => Some(Asked { wish, shows }),
    }
}

fn not_live() -> ApiError {
    ApiError::new(StatusCode::NOT_ACCEPTABLE, "not_live", "What this route shows cannot be followed.")
        .detailed("Ask without 'Accept: text/event-stream'.")
}

/// The live queries of one listener.
pub(super) struct Live(Hub);

impl Live {
    /// Asks these handlers.
    pub(super) fn new(app: AppState, handlers: Router) -> Live {
        Live(Hub::new(app, handlers))
    }

    /// Answers a live query; the gate has let it in.
    pub(super) async fn answer(&self, asked: Asked, route: &Route, request: Request) -> Response {
        self.open(asked, route, request).await.unwrap_or_else(|error| error.into_response())
    }

    async fn open(&self, asked: Asked, route: &Route, request: Request) -> Result<Response, ApiError> {
        let Some(mut scope) = request.extensions().get::<Scope>().cloned() else { return Err(not_live()) };
        if asked.shows != Shows::State {
            return Err(not_live());
        }
        if scope.is_past() {
            return Err(ApiError::bad_request("The past does not change.")
                .coded("not_live")
                .detailed("Leave out as_of, or ask without 'Accept: text/event-stream'."));
        }
        let app = self.0.app().clone();
        let seen = last_event_id(request.headers())?;
        if let Some(seen) = seen {
            let there = |world: &_| at_least(world, seen);
            app.engine.until(Instant::now() + WAIT, there).await.ok_or_else(|| {
                ApiError::unavailable(format!("Position {seen} is not here yet.")).retry_after(1)
            })?;
        }
        let question = Question::new(route, &request, &scope);
        // First a follower, then the first answer: no change in between is missed.
        let follower = self.0.follow(question, &scope)?;
        scope.world = app.engine.world();
        let seq = scope.world.seq;
        let response = self.0.ask(follower.question(), &scope).await;
        let is_json = response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        if response.status() != StatusCode::OK {
            return Ok(response);
        }
        if !is_json {
            return if asked.wish == Wish::Also { Ok(response) } else { Err(not_live()) };
        }
        let shown = Shown::of(seq, response.into_body()).await?;
        // Its World was that of the beginning, and would be held for as long as the stream.
        scope.world = Default::default();
        tracing::debug!(event.seq = seq.0, http.route = route.path, "a live query begins");
        let states = states(app, scope, follower, shown, seen == Some(seq));
        let mut response = Response::new(Body::from_stream(states));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
        // nginx would hold states back otherwise.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        Ok(response)
    }
}

fn at_least(world: &tenantry_projections::world::World, seq: Seq) -> Option<()> {
    (world.seq >= seq).then_some(())
}

/// What a client saw last. Its next state is never an older one.
fn last_event_id(headers: &HeaderMap) -> Result<Option<Seq>, ApiError> {
    let Some(value) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    match value.to_str().ok().and_then(|text| text.trim().parse().ok()) {
        Some(seq) => Ok(Some(Seq(seq))),
        None => Err(ApiError::bad_request("Last-Event-ID must be a position, a whole number.")),
    }
}

/// The first state, unless the client has it, and each later one, until the client leaves, its
/// credential lapses, or there is nothing to show any more.
fn states(
    app: AppState,
    scope: Scope,
    mut follower: Follower,
    first: Shown,
    is_known: bool,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    async_stream::stream! {
        let Shown { mut seq, mut digest, frame, .. } = first;
        // The head of the answer goes out with its first bytes.
        yield Ok(if is_known { Bytes::from_static(b": nothing new\n\n") } else { frame });
        let mut comments = interval_at(Instant::now() + COMMENT_EVERY, COMMENT_EVERY);
        comments.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = Scope::looks();
        loop {
            let shown = tokio::select! {
                biased;
                _ = scope.ended(&app, &mut looks) => return,
                shown = follower.next() => shown,
                _ = comments.tick() => {
                    yield Ok(Bytes::from_static(b": still here\n\n"));
                    continue;
                }
            };
            let Some(shown) = shown else { return };
            if shown.seq <= seq {
                continue;
            }
            seq = shown.seq;
            if digest == shown.digest {
                continue;
            }
            digest = shown.digest;
            comments.reset();
            yield Ok(shown.frame);
            if shown.is_last {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_what_was_asked_for_by_name() {
        let wish = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            wish(&headers)
        };
        assert_eq!(wish("text/event-stream"), Some(Wish::Only));
        assert_eq!(wish("Text/Event-Stream; charset=utf-8"), Some(Wish::Only));
        assert_eq!(wish("application/json, text/event-stream"), Some(Wish::Also));
        assert_eq!(wish("text/event-stream;q=0, application/json"), None);
        assert_eq!(wish("*/*"), None);
        assert_eq!(wish(""), None);
    }
}
