//! `GET /api/events/stream`: the feed as server-sent events.
//!
//! `Last-Event-ID` wins over `from_seq`, because a browser that reconnects repeats its
//! address and adds the header. The body is made as the client reads it; hyper buffers one
//! piece, so a client that stops reading holds one page of events and its position.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use tenantry_journal::id::Seq;

use super::filter::Params;
use super::subscription::{Counted, Subscription};
use crate::http::error::ApiError;
use crate::http::extract::{Query, Scope};
use crate::http::state::AppState;

/// The contract's.
const COMMENT_EVERY: Duration = Duration::from_secs(15);

pub(super) async fn stream(
    State(app): State<AppState>,
    scope: Scope,
    headers: HeaderMap,
    Query(params): Query<Params>,
) -> Result<Response, ApiError> {
    if params.order.is_some() || params.limit.is_some() {
        let message = "order and limit do not go with a stream.";
        return Err(ApiError::bad_request(message).coded("invalid_parameter"));
    }
    let filter = params.filter(app.now())?;
    let from = match last_event_id(&headers)? {
        Some(last) => Some(last.next()),
        None => params.from_seq,
    };
    let subscription = Subscription::new(&app, from, filter, app.engine.feed().head());
    let events = events(app, scope, subscription);
    let keep_alive = KeepAlive::new().interval(COMMENT_EVERY).text("still here");
    let mut response = Sse::new(events).keep_alive(keep_alive).into_response();
    // nginx would hold events back otherwise.
    response.headers_mut().insert("x-accel-buffering", axum::http::HeaderValue::from_static("no"));
    Ok(response)
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<Seq>, ApiError> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let seq = value.to_str().ok().and_then(|text| text.trim().parse().ok()).map(Seq);
    match seq {
        Some(seq) => Ok(Some(seq)),
        None => Err(ApiError::bad_request("Last-Event-ID must be a position, a whole number.")),
    }
}

fn events(
    app: AppState,
    scope: Scope,
    mut subscription: Subscription,
) -> impl Stream<Item = Result<Event, Infallible>> {
    async_stream::stream! {
        let _counted = Counted::new(&app);
        let ended = {
            let (app, scope) = (app.clone(), scope.clone());
            async move { scope.ended(&app, &mut Scope::looks()).await }
        };
        tokio::pin!(ended);
        loop {
            let slice = tokio::select! {
                biased;
                _ = &mut ended => return,
                slice = subscription.next() => slice,
            };
            let slice = match slice {
                Some(Ok(slice)) => slice,
                Some(Err(error)) => {
                    tracing::error!(error = %crate::error::chain(&error), "a stream of events ends");
                    return;
                }
                None => return,
            };
            let world = app.engine.world();
            for recorded in slice.iter() {
                // A slow reader may take long for one slice.
                if (&mut ended).now_or_never().is_some() {
                    return;
                }
                if let Some(json) = subscription.shows(&app, &scope.principal, recorded, &world) {
                    let event = Event::default()
                        .id(recorded.seq.to_string())
                        .event(recorded.event.kind())
                        .data(json.event());
                    yield Ok(event);
                }
                if subscription.is_past(recorded) {
                    return;
                }
            }
        }
    }
}
