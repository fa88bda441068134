//! What became of something that was asked for: looked up in the journal, from the request on.

use std::ops::ControlFlow;

use tenantry_journal::id::Seq;
use tenantry_journal::recorded::Recorded;

use super::error::ApiError;
use super::state::AppState;

/// Events read at once.
const PAGE_EVENTS: usize = 1000;

/// Hands over each event from a position on until `found` breaks off, and gives what it broke
/// off with.
///
/// # Errors
/// 500 when the journal cannot be read, or ends before that.
pub(super) async fn find<T: Send + 'static>(
    app: &AppState,
    from: Seq,
    mut found: impl FnMut(&Recorded) -> ControlFlow<T> + Send + 'static,
) -> Result<T, ApiError> {
    let app = app.clone();
    let search = tokio::task::spawn_blocking(move || {
        let mut next = from;
        loop {
            let slices = app.engine.feed().read(next, PAGE_EVENTS).map_err(|error| {
                tracing::error!(error = %crate::error::chain(&error), "the journal cannot be read");
                ApiError::internal()
            })?;
            let mut events = slices.iter().flat_map(|slice| slice.iter()).peekable();
            if events.peek().is_none() {
                return Err(ApiError::internal());
            }
            for event in events {
                next = event.seq.next();
                if let ControlFlow::Break(end) = found(event) {
                    return Ok(end);
                }
            }
        }
    });
    search.await.unwrap_or_else(|_| Err(ApiError::internal()))
}
