//! What one subscriber gets: the feed from a position on, filtered, with one mark of having
//! caught up.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _};
use tenantry_journal::feed::Slice;
use tenantry_journal::id::Seq;
use tenantry_journal::recorded::Recorded;
use tenantry_journal::scan::ScanError;
use tenantry_projections::event_view::EventFilter;
use tenantry_projections::world::World;

use super::may_see;
use super::rendered::Json;
use crate::auth::principal::Principal;
use crate::http::state::AppState;

/// One subscriber's place in the feed.
pub(super) struct Subscription {
    slices: BoxStream<'static, Result<Slice, ScanError>>,
    filter: EventFilter,
    /// The position at which to tell that it has caught up, until that was told.
    pub(super) catching_up: Option<Seq>,
}

impl Subscription {
    /// From a position on, or (without one) what comes after `head`. It has caught up when it
    /// has passed `head`: whatever comes after that came after it asked.
    pub(super) fn new(app: &AppState, from: Option<Seq>, filter: EventFilter, head: Seq) -> Subscription {
        let first = from.unwrap_or(head.next());
        let slices = app.engine.feed().follow(first).boxed();
        Subscription { slices, filter, catching_up: from.map(|_| head) }
    }

    /// The event as JSON, if this subscriber wants it and may see it.
    pub(super) fn shows(
        &self,
        app: &AppState,
        principal: &Principal,
        recorded: &Recorded,
        world: &Arc<World>,
    ) -> Option<Json> {
        let wanted = self.filter.matches(recorded, world) && may_see(principal, recorded, world);
        wanted.then(|| {
            app.metrics.feed_sent.inc();
            app.rendered.of(recorded, world)
        })
    }

    /// Whether nothing after the event can match.
    pub(super) fn is_past(&self, recorded: &Recorded) -> bool {
        self.filter.is_past(recorded)
    }
}

impl Stream for Subscription {
    type Item = Result<Slice, ScanError>;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.slices.poll_next_unpin(cx)
    }
}

/// Counts a subscriber for as long as it is there.
pub(super) struct Counted(AppState);

impl Counted {
    pub(super) fn new(app: &AppState) -> Counted {
        app.metrics.feed_subscribers.inc();
        Counted(app.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.metrics.feed_subscribers.dec();
    }
}
