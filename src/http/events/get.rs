//! `GET /api/events/{seq}`: one event, why it happened, and what it led to.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use tenantry_journal::id::Seq;
use tenantry_journal::recorded::Recorded;
use tenantry_journal::scan::ScanError;
use tenantry_projections::event_view::EventView;
use tenantry_projections::world::World;

use super::list::unreadable;
use super::may_see;
use crate::engine;
use crate::http::dispatch::Params;
use crate::http::error::ApiError;
use crate::http::etag::etag;
use crate::http::extract::{Query, Scope};
use crate::http::state::AppState;
use crate::http::write::answer;

/// Links of a chain of causes that are followed; the longest real one has some dozens.
const LONGEST_CHAIN: usize = 256;
/// Effects that are shown.
const MOST_EFFECTS: usize = 1000;
/// Events after this one that are looked at for effects: what answers an event follows soon.
const LOOK_AHEAD: u64 = 50_000;
/// Events that are read at a time.
const STEP: usize = 512;

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GetQuery {
    /// Only the bytes that are hashed.
    raw: Option<bool>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "ExplainedEvent")]
pub(super) struct Explained<'a> {
    #[serde(flatten)]
    event: EventView<'a>,
    causes: Vec<EventView<'a>>,
    effects: Vec<EventView<'a>>,
}

struct Found {
    event: Recorded,
    causes: Vec<Recorded>,
    effects: Vec<Recorded>,
}

pub(super) async fn get(
    State(app): State<AppState>,
    scope: Scope,
    params: Params,
    Query(query): Query<GetQuery>,
) -> Result<Response, ApiError> {
    let head = scope.as_of.unwrap_or(scope.world.seq);
    let seq = params.at(0);
    let missing = || event_missing(seq);
    let wanted = seq.parse().ok().map(Seq).filter(|seq| (Seq(1)..=head).contains(seq)).ok_or_else(missing)?;
    let names = app.engine.world();
    let (engine, world) = (app.engine.clone(), Arc::clone(&names));
    if query.raw.unwrap_or_default() {
        return raw(app, scope, wanted, seq).await;
    }
    let found = tokio::task::spawn_blocking(move || {
        explain(&engine, wanted, head, |recorded| may_see(&scope.principal, recorded, &world))
    });
    let found = found.await.map_err(|_| ApiError::internal())?.map_err(|error| unreadable(&error))?;
    let Found { event, causes, effects } = found.ok_or_else(missing)?;
    let mut response = answer(StatusCode::OK, &shown(&event, &causes, &effects, &names));
    // It never changes, but more may come to answer it.
    let last = effects.last().map_or(event.seq, |effect| effect.seq);
    response.headers_mut().insert(header::ETAG, etag(last));
    Ok(response)
}

/// The exact bytes of the event's record: `SHA-256(0x00 || bytes)` is its leaf in the tree.
async fn raw(app: AppState, scope: Scope, wanted: Seq, seq: &str) -> Result<Response, ApiError> {
    let world = app.engine.world();
    let read = tokio::task::spawn_blocking(move || {
        let seen = one(&app.engine, wanted)?.is_some_and(|event| may_see(&scope.principal, &event, &world));
        seen.then(|| app.audit.record(wanted)).transpose()
    });
    let record = read.await.map_err(|_| ApiError::internal())?.map_err(|error| unreadable(&error))?;
    let record = record.ok_or_else(|| event_missing(seq))?;
    Ok(([(header::CONTENT_TYPE, "application/vnd.msgpack")], record).into_response())
}

fn shown<'a>(
    event: &'a Recorded,
    causes: &'a [Recorded],
    effects: &'a [Recorded],
    names: &'a World,
) -> Explained<'a> {
    let view = |recorded: &'a Recorded| EventView::new(recorded, names);
    Explained {
        event: view(event),
        causes: causes.iter().map(view).collect(),
        effects: effects.iter().map(view).collect(),
    }
}

/// 404 for an event that is not there, or not for the caller.
pub(super) fn event_missing(seq: &str) -> ApiError {
    let shown: String = seq.chars().take(40).flat_map(char::escape_default).collect();
    ApiError::not_found("event_not_found", format!("Event {shown} does not exist."))
}

pub(super) fn one(engine: &engine::Handle, seq: Seq) -> Result<Option<Recorded>, ScanError> {
    let slices = engine.feed().read(seq, 1)?;
    Ok(slices.iter().flat_map(|slice| slice.iter()).find(|recorded| recorded.seq == seq).cloned())
}

/// Reads the journal: blocks. `None` when the event may not be seen.
fn explain(
    engine: &engine::Handle,
    seq: Seq,
    head: Seq,
    sees: impl Fn(&Recorded) -> bool,
) -> Result<Option<Found>, ScanError> {
    let Some(event) = one(engine, seq)?.filter(&sees) else { return Ok(None) };
    let mut causes = Vec::new();
    let mut cause = event.caused_by;
    while let Some(seq) = cause.filter(|_| causes.len() < LONGEST_CHAIN) {
        let Some(found) = one(engine, seq)? else { break };
        // A cause always comes before its effect, so this ends.
        cause = found.caused_by.filter(|earlier| *earlier < seq);
        if sees(&found) {
            causes.push(found);
        }
    }
    let mut effects = Vec::new();
    let last = Seq(seq.0.saturating_add(LOOK_AHEAD)).min(head);
    let mut next = seq.next();
    while next <= last && effects.len() < MOST_EFFECTS {
        let slices = engine.feed().read(next, STEP)?;
        let before = next;
        for recorded in slices.iter().flat_map(|slice| slice.iter()).filter(|recorded| recorded.seq <= last) {
            next = recorded.seq.next();
            if recorded.caused_by == Some(seq) && sees(recorded) && effects.len() < MOST_EFFECTS {
                effects.push(recorded.clone());
            }
        }
        if next == before {
            break;
        }
    }
    Ok(Some(Found { event, causes, effects }))
}
