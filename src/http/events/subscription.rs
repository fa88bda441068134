//! What one subscriber gets: the feed from a position on, filtered, with one mark of having
//! caught up.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::stream::{self, BoxStream};
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
    /// The first position that was not read yet.
    next: Seq,
    filter: Arc<EventFilter>,
    /// The position at which to tell that it has caught up, until that was told.
    pub(super) catching_up: Option<Seq>,
}

impl Subscription {
    /// From a position on, or (without one) what comes after `head`. It has caught up when it
    /// has passed `head`: whatever comes after that came after it asked.
    pub(super) fn new(app: &AppState, from: Option<Seq>, filter: EventFilter, head: Seq) -> Subscription {
        let first = from.unwrap_or(head.next());
        let slices = app.engine.feed().follow(first).boxed();
        let catching_up = from.map(|_| head);
        Subscription { slices, next: first.max(Seq(1)), filter: filter.into(), catching_up }
    }

    /// What is sent of it.
    pub(super) fn wants(&self) -> &Arc<EventFilter> {
        &self.filter
    }

    /// The first position that was not read yet, when there is nothing to read.
    pub(super) fn at_head(&self, app: &AppState) -> Option<Seq> {
        (self.catching_up.is_none() && self.next > app.engine.feed().head()).then_some(self.next)
    }

    /// Reads nothing more, and is not woken by the feed, until it goes on.
    pub(super) fn pause(&mut self) {
        self.slices = stream::pending().boxed();
    }

    /// Reads on from a position.
    pub(super) fn go_on(&mut self, app: &AppState, next: Seq) {
        self.slices = app.engine.feed().follow(next).boxed();
        self.next = next;
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
        let slice = ready!(self.slices.poll_next_unpin(cx));
        if let Some(Ok(read)) = &slice
            && let Some(last) = read.last()
        {
            self.next = last.seq.next();
        }
        Poll::Ready(slice)
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
