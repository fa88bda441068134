//! Lines as they are printed, as server-sent events: each a log object.
//!
//! The body is made as the client reads it, so a client that stops reading holds one line and
//! its positions; what it missed is read from the spools when it goes on.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;

use super::logs::Wanted;
use super::merge::LineFilter;
use super::tail::Followed;
use crate::http::extract::Scope;
use crate::http::state::AppState;

/// As for the feed of events.
const COMMENT_EVERY: Duration = Duration::from_secs(15);

/// Whether a client asks for server-sent events.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|kind| {
        kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
    })
}

/// Sends what is wanted until the client leaves or its credential lapses.
pub(super) fn run(app: AppState, scope: Scope, wanted: Wanted, filter: LineFilter) -> Response {
    let keep_alive = KeepAlive::new().interval(COMMENT_EVERY).text("still here");
    let mut response = Sse::new(lines(app, scope, wanted, filter)).keep_alive(keep_alive).into_response();
    // nginx would hold lines back otherwise.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn lines(
    app: AppState,
    scope: Scope,
    wanted: Wanted,
    filter: LineFilter,
) -> impl Stream<Item = Result<Event, Infallible>> {
    async_stream::stream! {
        let mut followed = Followed::new(&app, &scope.principal, &wanted);
        let (mut look, mut looks) = (Followed::looks(), Scope::looks());
        loop {
            let shown = tokio::select! {
                biased;
                _ = scope.ended(&app, &mut looks) => return,
                _ = look.tick() => {
                    followed.look(&app, &scope.principal, &wanted);
                    continue;
                }
                shown = followed.next(&filter) => shown,
            };
            if let Some(shown) = shown
                && let Ok(event) = Event::default().json_data(&shown)
            {
                yield Ok(event);
            }
        }
    }
}
