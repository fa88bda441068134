//! `POST /api/events/{seq}/undo`: takes back the command that an event belongs to.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use tenantry_journal::event::Event;
use tenantry_journal::id::{CommandId, Seq, TenantId};
use tenantry_journal::recorded::Recorded;
use tenantry_journal::scan::ScanError;
use tenantry_projections::event_view::EventView;

use super::get::{event_missing, one};
use super::list::unreadable;
use super::{may_see, restore};
use crate::domain::command::Command;
use crate::domain::restore::Then;
use crate::domain::undo::{self, Before, Undo};
use crate::drivers::listening;
use crate::engine;
use crate::http::dispatch::Params;
use crate::http::error::ApiError;
use crate::http::extract::{NoQuery, Scope};
use crate::http::state::{AppState, AsOfError};
use crate::http::write::{Answer, Write, answer};

/// Events of one command that are looked at; the largest one records some dozens.
const MOST_EVENTS: u64 = 1000;

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "UndoneCommand")]
pub(super) struct Undone<'a> {
    undone_seq: Seq,
    undone_command_id: CommandId,
    command_id: CommandId,
    events: Vec<EventView<'a>>,
    seq: Seq,
}

/// `POST /api/events/{seq}/undo`
pub(super) async fn undo(
    State(app): State<AppState>,
    scope: Scope,
    write: Write,
    params: Params,
    _: NoQuery,
) -> Answer {
    let seq = params.at(0);
    let wanted = seq.parse().ok().map(Seq).filter(|seq| (Seq(1)..=scope.world.seq).contains(seq));
    let wanted = wanted.ok_or_else(|| event_missing(seq))?;
    let engine = app.engine.clone();
    let read = tokio::task::spawn_blocking(move || command_of(&engine, wanted));
    let events = read.await.map_err(|_| ApiError::internal())?.map_err(|error| unreadable(&error))?;
    let named = events.iter().find(|event| event.seq == wanted);
    let named = named.filter(|event| may_see(&scope.principal, event, &scope.world));
    let command = named.ok_or_else(|| event_missing(seq))?.command_id;
    let lead = undo::lead(&events, wanted)?.clone();
    let needs = undo::needs(lead.event.kind());
    if scope.principal.role < needs.role || (needs.unlimited && !scope.principal.is_unlimited()) {
        return Err(ApiError::forbidden("Taking this back takes more than this credential allows.").into());
    }
    let undo = gather(&app, &scope, events, wanted, &lead).await?;
    let outcome = write.submit_about(Command::Undo(Box::new(undo)), wanted).await?;
    tracing::info!(event.seq = outcome.seq.0, undone.seq = wanted.0, "a command was taken back");
    let events = outcome.events.iter().map(|event| EventView::new(event, &outcome.world)).collect();
    let undone = Undone {
        undone_seq: wanted,
        undone_command_id: command,
        command_id: outcome.command_id,
        events,
        seq: outcome.seq,
    };
    Ok(answer(StatusCode::OK, &undone))
}

/// Everything that the command recorded to which an event belongs.
pub(super) fn command_of(engine: &engine::Handle, seq: Seq) -> Result<Vec<Recorded>, ScanError> {
    let Some(named) = one(engine, seq)? else { return Ok(Vec::new()) };
    let mut first = seq;
    while first.0 > 1 && seq.0 - first.0 < MOST_EVENTS {
        let before = Seq(first.0 - 1);
        match one(engine, before)? {
            Some(event) if event.command_id == named.command_id => first = before,
            _ => break,
        }
    }
    let mut events = Vec::new();
    let slices = engine.feed().read(first, usize::try_from(MOST_EVENTS).unwrap_or(usize::MAX))?;
    for event in slices.iter().flat_map(|slice| slice.iter()) {
        if event.command_id != named.command_id {
            return Ok(events);
        }
        events.push(event.clone());
    }
    Ok(events)
}

/// The tenant that an undo restores, when it restores one.
fn restored(event: &Event) -> Option<TenantId> {
    match event {
        Event::TenantDeletionRequested(event) => Some(event.tenant_id),
        Event::TenantDeleted(event) => Some(event.tenant_id),
        Event::TenantRestored(event) => Some(event.tenant_id),
        _ => None,
    }
}

async fn gather(
    app: &AppState,
    scope: &Scope,
    events: Vec<Recorded>,
    seq: Seq,
    lead: &Recorded,
) -> Result<Undo, ApiError> {
    let listening = listening::looked_at().await;
    let first = events.first().map_or(seq, |event| event.seq);
    let tenant = restored(&lead.event);
    let (app, world) = (app.clone(), Arc::clone(&scope.world));
    let found = tokio::task::spawn_blocking(move || {
        let before = app.time.world_at(Seq(first.0.saturating_sub(1)))?;
        let then = tenant.and_then(|id| Then::of(&before, id));
        let (left, lost_logos) = then.map(|then| restore::look(&app, &world, &then)).unwrap_or_default();
        Ok::<Undo, AsOfError>(Undo { events, seq, before: Before(before), listening, left, lost_logos })
    });
    Ok(found.await.map_err(|_| ApiError::internal())??)
}
