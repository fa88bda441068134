//! `GET /api/events`: a page of the journal.
//!
//! A filter may match little of a long journal, so the events that one request looks at are
//! bounded: a page may hold fewer than `limit` events and still have a `next_seq`.

use std::ops::ControlFlow;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tenantry_journal::id::Seq;
use tenantry_journal::recorded::Recorded;
use tenantry_journal::scan::ScanError;
use tenantry_projections::event_view::{EventFilter, EventView};
use tenantry_projections::world::World;

use super::filter::{Order, Params};
use super::may_see;
use crate::engine;
use crate::http::error::ApiError;
use crate::http::extract::{Query, Scope};
use crate::http::listing::Page;
use crate::http::state::AppState;

const DEFAULT_LIMIT: u64 = 100;
/// Events that one request looks at: a fold reads a million a second, so this is about 0.2 s.
pub(super) const MOST_LOOKED_AT: u64 = 200_000;
/// Events that are read at a time.
const STEP: u64 = 512;

/// From which to which position, both included; backwards when `from` is the later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    from: Seq,
    to: Seq,
    order: Order,
}

impl Range {
    /// `from_seq` is where reading begins and `to_seq` where it ends, in the order asked for.
    /// (Descending with both in ascending order is taken as the range that they enclose.)
    fn new(from: Option<Seq>, to: Option<Seq>, order: Order, head: Seq) -> Range {
        match order {
            Order::Asc => {
                Range { from: from.unwrap_or(Seq(1)).max(Seq(1)), to: to.unwrap_or(head).min(head), order }
            }
            Order::Desc => {
                let (from, to) = match (from, to) {
                    (Some(low), Some(high)) if low < high => (Some(high), Some(low)),
                    as_given => as_given,
                };
                Range { from: from.unwrap_or(head).min(head), to: to.unwrap_or(Seq(1)).max(Seq(1)), order }
            }
        }
    }
}

pub(super) async fn list(
    State(app): State<AppState>,
    scope: Scope,
    Query(params): Query<Params>,
) -> Result<Response, ApiError> {
    let limit = Page::new(params.limit, None, DEFAULT_LIMIT)?.limit;
    let mut filter = params.filter(app.now())?;
    let head = scope.as_of.unwrap_or(scope.world.seq);
    let range = Range::new(params.from_seq, filter.to_seq.take(), params.order.unwrap_or_default(), head);
    let search =
        Search { engine: app.engine.clone(), names: app.engine.world(), scope, filter, range, limit };
    let body = tokio::task::spawn_blocking(move || search.run(head))
        .await
        .map_err(|_| ApiError::internal())?
        .map_err(|error| unreadable(&error))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from(body)).into_response())
}

/// What to answer when the journal cannot be read.
pub(super) fn unreadable(error: &ScanError) -> ApiError {
    tracing::error!(error = %crate::error::chain(error), "the journal cannot be read");
    ApiError::unavailable("The journal cannot be read there.")
}

struct Search {
    engine: engine::Handle,
    /// The live World: it knows the names of what is gone, too.
    names: Arc<World>,
    scope: Scope,
    filter: EventFilter,
    range: Range,
    limit: usize,
}

impl Search {
    /// The answer's body. Reads the journal: blocks.
    fn run(&self, head: Seq) -> Result<Vec<u8>, ScanError> {
        let mut body = br#"{"events":["#.to_vec();
        let mut found = 0;
        let mut next = None;
        let stopped = read(&self.engine, self.range, |recorded| {
            if self.is_past(recorded) {
                return ControlFlow::Break(());
            }
            let wanted = self.filter.matches(recorded, &self.names)
                && may_see(&self.scope.principal, recorded, &self.names);
            if !wanted {
                return ControlFlow::Continue(());
            }
            if found == self.limit {
                next = Some(recorded.seq);
                return ControlFlow::Break(());
            }
            if found > 0 {
                body.push(b',');
            }
            found += 1;
            if let Err(error) = EventView::new(recorded, &self.names).append_to(&mut body) {
                tracing::error!(%error, event.seq = recorded.seq.0, "an event does not render");
            }
            ControlFlow::Continue(())
        })?;
        let next = next.or(stopped);
        body.extend_from_slice(br#"],"next_seq":"#);
        body.extend_from_slice(next.map_or_else(|| "null".to_owned(), |next| next.to_string()).as_bytes());
        body.extend_from_slice(format!(r#","head_seq":{head}}}"#).as_bytes());
        Ok(body)
    }

    /// Whether nothing that comes in this order can match any more.
    fn is_past(&self, recorded: &Recorded) -> bool {
        match self.range.order {
            Order::Asc => self.filter.is_past(recorded),
            Order::Desc => self.filter.since.is_some_and(|since| recorded.at < since),
        }
    }
}

/// Hands over the events of a range until the visitor breaks off. Returns where to go on
/// when there was more than one request may look at.
fn read(
    engine: &engine::Handle,
    range: Range,
    mut visit: impl FnMut(&Recorded) -> ControlFlow<()>,
) -> Result<Option<Seq>, ScanError> {
    let Range { from, to, order } = range;
    let mut looked_at = 0;
    match order {
        Order::Asc => {
            let mut next = from;
            while next <= to {
                if looked_at >= MOST_LOOKED_AT {
                    return Ok(Some(next));
                }
                let slices = engine.feed().read(next, usize::try_from(STEP).unwrap_or(usize::MAX))?;
                let before = next;
                for recorded in slices.iter().flat_map(|slice| slice.iter()) {
                    if recorded.seq > to || visit(recorded).is_break() {
                        return Ok(None);
                    }
                    looked_at += 1;
                    next = recorded.seq.next();
                }
                if next == before {
                    break;
                }
            }
        }
        Order::Desc => {
            let mut last = from;
            while last >= to && last > Seq::ZERO {
                if looked_at >= MOST_LOOKED_AT {
                    return Ok(Some(last));
                }
                let first = Seq(last.0.saturating_sub(STEP - 1)).max(to);
                let wanted = usize::try_from(last.0 - first.0 + 1).unwrap_or(usize::MAX);
                let slices = engine.feed().read(first, wanted)?;
                let events: Vec<&Recorded> = slices.iter().flat_map(|slice| slice.iter()).collect();
                for recorded in events.into_iter().rev().filter(|recorded| recorded.seq <= last) {
                    if visit(recorded).is_break() {
                        return Ok(None);
                    }
                    looked_at += 1;
                }
                last = Seq(first.0 - 1);
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_reads_in_its_order_from_where_it_says() {
        let range = |from: Option<u64>, to: Option<u64>, order| {
            let Range { from, to, .. } = Range::new(from.map(Seq), to.map(Seq), order, Seq(100));
            (from.0, to.0)
        };
        assert_eq!(range(None, None, Order::Asc), (1, 100));
        assert_eq!(range(Some(0), Some(500), Order::Asc), (1, 100));
        assert_eq!(range(None, None, Order::Desc), (100, 1));
        assert_eq!(range(Some(42), None, Order::Desc), (42, 1));
        assert_eq!(range(Some(42), Some(7), Order::Desc), (42, 7));
        assert_eq!(range(Some(7), Some(42), Order::Desc), (42, 7));
    }
}
