//! `GET /api/journal`, proofs over it, `POST /api/journal/verify`, and a tenant's receipt.

use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Seek as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tenantry_journal::hex;
use tenantry_journal::id::{Seq, TenantId};
use tenantry_journal::merkle::Hash;
use tenantry_journal::merkle::proof::{Consistency, Inclusion};
use tenantry_journal::receipt::ReceiptError;
use tenantry_journal::time::Timestamp;
use tenantry_journal::tree::TreeError;
use tokio::io::AsyncReadExt as _;
use tokio::sync::Semaphore;

use super::get::{event_missing, one};
use super::history::check_known;
use super::list::unreadable;
use super::may_see;
use crate::audit::{Audit, Signed};
use crate::http::error::ApiError;
use crate::http::extract::{Id, NoQuery, Query, Scope};
use crate::http::state::AppState;
use crate::http::write::answer;

/// Receipts that are written at once: each reads the whole journal.
static RECEIPTS: Semaphore = Semaphore::const_new(2);
/// What is sent of a receipt at a time.
const CHUNK: usize = 64 * 1024;

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "Journal")]
pub(super) struct Stats {
    /// The last event, now or at the moment that was asked for.
    head_seq: u64,
    /// The tree's root.
    #[serde(with = "hex::one")]
    #[schemars(with = "hex::Digits")]
    root: Hash,
    /// How many there are.
    events: u64,
    /// Null in the past: it is not known what a journal took then.
    bytes: Option<u64>,
    /// Time of the first event.
    first_at: Timestamp,
    /// Time of the last event.
    last_at: Timestamp,
    /// What vouches for the root.
    checkpoint: Signed,
}

/// `GET /api/journal`: how far it goes, its root, and a signed checkpoint.
pub(super) async fn stats(
    State(app): State<AppState>,
    scope: Scope,
    _: NoQuery,
) -> Result<Response, ApiError> {
    let size = size_of(&scope);
    blocking(&app, move |audit| {
        let checkpoint = audit.checkpoint(size)?;
        let span = audit.span(size)?;
        let bytes = scope.as_of.is_none().then(|| audit.bytes().map_err(scan_error)).transpose()?;
        Ok(answer(
            StatusCode::OK,
            &Stats {
                head_seq: size,
                root: checkpoint.root_hash,
                events: size,
                bytes,
                first_at: span.first_at,
                last_at: span.last_at,
                checkpoint,
            },
        ))
    })
    .await
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProofQuery {
    /// The event that is to be proved.
    seq: Option<u64>,
    /// Over how many events; over all without it.
    tree_size: Option<u64>,
    /// Size of the earlier tree.
    from: Option<u64>,
    /// Size of the later tree; that of now without it.
    to: Option<u64>,
}

/// A proof with the checkpoint that vouches for its root.
#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "{P}Proof")]
pub(super) struct Proof<P> {
    #[serde(flatten)]
    proof: P,
    /// What vouches for its root.
    checkpoint: Signed,
}

/// `GET /api/journal/proof?seq=` or `?from=&to=`
pub(super) async fn proof(
    State(app): State<AppState>,
    scope: Scope,
    Query(query): Query<ProofQuery>,
) -> Result<Response, ApiError> {
    let head = size_of(&scope);
    match (query.seq, query.from) {
        (Some(seq), None) if query.to.is_none() => {
            inclusion(&app, scope, seq, query.tree_size.unwrap_or(head), head).await
        }
        (None, Some(from)) if query.tree_size.is_none() => {
            consistency(&app, from, query.to.unwrap_or(head), head).await
        }
        _ => Err(ApiError::bad_request("Give either seq (and tree_size, if you like) or from and to.")
            .coded("invalid_parameter")),
    }
}

async fn inclusion(
    app: &AppState,
    scope: Scope,
    seq: u64,
    size: u64,
    head: u64,
) -> Result<Response, ApiError> {
    if seq == 0 || seq > head {
        return Err(event_missing(&seq.to_string()));
    }
    if size < seq || size > head {
        return Err(ApiError::bad_request(format!("tree_size must be from {seq} to {head}."))
            .coded("invalid_parameter"));
    }
    let (engine, names) = (app.engine.clone(), app.engine.world());
    blocking(app, move |audit| {
        let seen = one(&engine, Seq(seq))?.is_some_and(|event| may_see(&scope.principal, &event, &names));
        if !seen {
            return Ok(event_missing(&seq.to_string()).into_response());
        }
        let proof: Inclusion = audit.inclusion(Seq(seq), size)?;
        Ok(answer(StatusCode::OK, &Proof { proof, checkpoint: audit.checkpoint(size)? }))
    })
    .await
}

async fn consistency(app: &AppState, from: u64, to: u64, head: u64) -> Result<Response, ApiError> {
    if from == 0 || from > to || to > head {
        return Err(ApiError::bad_request(format!(
            "from and to are sizes of trees: from at least 1, to at least from and at most {head}."
        ))
        .coded("invalid_parameter"));
    }
    blocking(app, move |audit| {
        let proof: Consistency = audit.consistency(from, to)?;
        Ok(answer(StatusCode::OK, &Proof { proof, checkpoint: audit.checkpoint(to)? }))
    })
    .await
}

/// `POST /api/journal/verify`: everything is read again.
pub(super) async fn verify(State(app): State<AppState>, _: NoQuery) -> Result<Response, ApiError> {
    let report = Arc::clone(&app.audit).verify_once().await;
    let report = report.map_err(|_| ApiError::unavailable("The journal cannot be read."))?;
    Ok(answer(StatusCode::OK, &report))
}

/// `GET /api/tenants/{id}/receipt`: all of a tenant's events, and of others' nothing but hashes.
///
/// It is written into a file without a name first, so that a damaged journal is told by the
/// status, and a client that reads slowly holds nothing but that.
pub(super) async fn receipt(
    State(app): State<AppState>,
    scope: Scope,
    Id(id): Id<TenantId>,
    _: NoQuery,
) -> Result<Response, ApiError> {
    check_known(&scope, id)?;
    let size = size_of(&scope);
    // It is never closed.
    let place = RECEIPTS.acquire().await.ok();
    let audit = Arc::clone(&app.audit);
    let written = tokio::task::spawn_blocking(move || {
        let mut file = nameless()?;
        audit.receipt(id, size, BufWriter::new(&mut file))?;
        file.rewind()?;
        Ok::<_, ReceiptError>(file)
    });
    let file = written.await.map_err(|_| ApiError::internal())?.map_err(|error| match error {
        ReceiptError::Scan(error) => unreadable(&error),
        ReceiptError::Write(error) => {
            tracing::error!(%error, "a receipt cannot be written");
            ApiError::unavailable("There is no room to write the receipt.")
        }
    })?;
    drop(place);
    let mut file = tokio::fs::File::from_std(file);
    let body = async_stream::stream! {
        loop {
            let mut chunk = vec![0; CHUNK];
            match file.read(&mut chunk).await {
                Ok(0) => return,
                Ok(read) => {
                    chunk.truncate(read);
                    yield Ok(Bytes::from(chunk));
                }
                Err(error) => {
                    yield Err(error);
                    return;
                }
            }
        }
    };
    let name = format!("attachment; filename=\"receipt-{id}-{size}.json\"");
    let headers =
        [(header::CONTENT_TYPE, "application/json".to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, Body::from_stream(body)).into_response())
}

/// A file that is gone with its last reader.
fn nameless() -> io::Result<fs::File> {
    let path = std::env::temp_dir().join(format!("tenantry-receipt-{:032x}", rand::random::<u128>()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    fs::remove_file(path)?;
    Ok(file)
}

/// The events that the caller asks about: all up to now, or to the moment that was asked for.
fn size_of(scope: &Scope) -> u64 {
    scope.as_of.unwrap_or(scope.world.seq).0
}

fn scan_error(error: tenantry_journal::store::StoreError) -> tenantry_journal::scan::ScanError {
    error.into()
}

async fn blocking(
    app: &AppState,
    work: impl FnOnce(&Audit) -> Result<Response, TreeError> + Send + 'static,
) -> Result<Response, ApiError> {
    let audit = Arc::clone(&app.audit);
    let done = tokio::task::spawn_blocking(move || work(&audit));
    done.await.map_err(|_| ApiError::internal())?.map_err(|error| match error {
        TreeError::Scan(error) => unreadable(&error),
        TreeError::NotThere { .. } | TreeError::Nodes(_) | TreeError::Foreign => {
            tracing::error!(error = crate::error::chain(&error), "a proof cannot be made");
            ApiError::unavailable("The proof cannot be made.")
        }
    })
}
