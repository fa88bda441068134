//! `GET /api/journal/export`: the whole journal as a stream, without keys: what is sealed stays so.

use std::io::{self, Write};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::Response;
use bytes::Bytes;
use serde::Deserialize;
use tenantry_journal::keyring::Wrapped;
use tenantry_journal::merkle::Frontier;
use tenantry_journal::transfer::{self, Export, Form};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::history::wrong_point;
use crate::error::chain;
use crate::http::error::ApiError;
use crate::http::extract::{Query, Scope};
use crate::http::state::AppState;

/// Exports at once: each holds a thread for as long as its reader takes.
static EXPORTS: Semaphore = Semaphore::const_new(2);
/// Bytes that are handed over at a time.
const PIECE: usize = 64 * 1024;
/// Pieces that may wait for a slow reader.
const PIECES_AHEAD: usize = 4;

#[derive(Clone, Copy, Default, Deserialize, schemars::JsonSchema)]
#[schemars(inline)]
#[serde(rename_all = "snake_case")]
enum Format {
    #[default]
    Jsonl,
    Msgpack,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportQuery {
    /// JSON Lines or MessagePack.
    #[serde(default)]
    format: Format,
    /// Up to and with this position or time; all without it.
    until: Option<String>,
}

/// `GET /api/journal/export`
pub(super) async fn export(
    State(app): State<AppState>,
    scope: Scope,
    Query(query): Query<ExportQuery>,
) -> Result<Response, ApiError> {
    let Ok(turn) = EXPORTS.try_acquire() else {
        return Err(ApiError::unavailable("Two exports are under way already; wait for one of them to end."));
    };
    let until = match query.until {
        None => scope.world.seq,
        Some(text) => {
            let (app, now) = (app.clone(), app.now());
            let resolved = tokio::task::spawn_blocking(move || app.time.resolve(&text, now)).await;
            let resolved = resolved.map_err(|_| ApiError::internal())?;
            resolved.map_err(|error| wrong_point("until", &error))?
        }
    };
    let (form, kind) = match query.format {
        Format::Jsonl => (Form::Jsonl, "application/jsonl"),
        Format::Msgpack => (Form::Msgpack, "application/vnd.msgpack"),
    };
    let (pieces, stream) = mpsc::channel(PIECES_AHEAD);
    let store = Arc::clone(app.engine.feed().store());
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let mut out = io::BufWriter::with_capacity(PIECE, Pieces(&pieces));
        let export =
            Export { store: &*store, before: Frontier::default(), until, keys: Wrapped::default(), form };
        let done = transfer::write(export, &mut out, |_| {});
        if let Err(error) = done.map(drop).and_then(|()| out.flush().map_err(broken))
            && !pieces.is_closed()
        {
            tracing::error!(error = chain(&error), "an export ended too early");
            // Without this its reader would take it for whole until it looks for the end.
            drop(pieces.blocking_send(Err(io::Error::other("the journal cannot be read"))));
        }
    });
    tracing::info!(event.seq = until.0, actor = ?scope.principal.actor, "the journal is exported");
    let body = Body::from_stream(ReceiverStream::new(stream));
    let name = format!("attachment; filename=\"tenantry-journal-{}.{}\"", until.0, extension(form));
    Response::builder()
        .header(header::CONTENT_TYPE, kind)
        .header(header::CONTENT_DISPOSITION, name)
        .body(body)
        .map_err(|_| ApiError::internal())
}

fn broken(error: io::Error) -> transfer::TransferError {
    transfer::TransferError::Io("written", error)
}

fn extension(form: Form) -> &'static str {
    match form {
        Form::Jsonl => "jsonl",
        Form::Msgpack => "msgpack",
    }
}

/// Hands what is written over to the answer.
struct Pieces<'a>(&'a mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(bytes);
        self.0.blocking_send(Ok(piece)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
