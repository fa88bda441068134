//! Subscribers on sockets that have everything so far, in rows: one task takes each new event to
//! a whole row of them.
//!
//! Were each woken to send it for itself, ten thousand tasks would be scheduled for every event.
//! Here the event is filtered, checked against the credential and offered to each socket in
//! turn, and nobody is waited for. Who does not take it at once gets up: their own task reads on
//! from the journal at their own pace, and sits down again when it has everything. A place in a
//! row and a place in the journal are the same position, so nothing is missed or sent twice.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use futures_util::StreamExt as _;
use tenantry_journal::id::Seq;
use tenantry_journal::recorded::Recorded;
use tenantry_projections::event_view::EventFilter;
use tenantry_projections::world::World;
use tokio::task::{unconstrained, yield_now};

use super::may_see;
use super::rendered::Json;
use crate::http::extract::{AccessLooks, Scope};
use crate::http::state::AppState;
use crate::http::ws::{Offered, Wire};

/// Rows: with ten thousand subscribers a row has 156, and holds its thread for about two
/// milliseconds; with a few, each of them has a row for itself.
const ROWS: usize = 64;

/// All rows.
pub struct Rows {
    rows: [Arc<Row>; ROWS],
    /// How many have sat down; the next one takes the row after theirs.
    taken: AtomicUsize,
}

impl Default for Rows {
    fn default() -> Rows {
        Rows { rows: std::array::from_fn(|_| Arc::default()), taken: AtomicUsize::new(0) }
    }
}

#[derive(Default)]
struct Row(Mutex<Seats>);

#[derive(Default)]
struct Seats {
    listeners: Vec<Listener>,
    /// The last event that was taken to this row.
    told: Seq,
    /// Whether the row's task is there.
    is_served: bool,
}

/// Who sits in a row: what one subscription of a socket wants.
pub(super) struct Listener {
    wire: Wire,
    /// The task that reads the socket.
    handler: Waker,
    scope: Scope,
    looks: AccessLooks,
    sub: Option<String>,
    filter: Arc<EventFilter>,
    /// The first event that it has not had.
    next: Seq,
    /// Where it got up; 0 while it sits.
    left_at: Arc<AtomicU64>,
}

/// A listener's seat. Dropping it gets them up.
pub(super) struct Seat {
    row: Arc<Row>,
    left_at: Arc<AtomicU64>,
}

impl Seat {
    /// Where to read on, when the listener does not sit here any more.
    pub(super) fn left_at(&self) -> Option<Seq> {
        match self.left_at.load(Ordering::Acquire) {
            0 => None,
            seq => Some(Seq(seq)),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.left_at().is_none() {
            self.row.seats().listeners.retain(|listener| !Arc::ptr_eq(&listener.left_at, &self.left_at));
        }
    }
}

impl Rows {
    /// Seats a listener, unless their row has passed them; they read on by themselves then.
    pub(super) fn sit(&self, app: &AppState, listener: Listener) -> Option<Seat> {
        let row = self.rows.get(self.taken.fetch_add(1, Ordering::Relaxed) % ROWS)?;
        let mut seats = row.seats();
        if !seats.is_served {
            seats.is_served = true;
            seats.told = Seq(listener.next.0.saturating_sub(1));
            let served = Arc::clone(row).serve(app.clone(), listener.next);
            // It gives way by itself. Bounded by Tokio, an offer would come back as if the
            // socket were full.
            tokio::spawn(unconstrained(served));
        }
        if listener.next <= seats.told {
            return None;
        }
        let left_at = Arc::clone(&listener.left_at);
        seats.listeners.push(listener);
        Some(Seat { row: Arc::clone(row), left_at })
    }

    /// How many sit.
    #[cfg(test)]
    pub(super) fn seated(&self) -> usize {
        self.rows.iter().map(|row| row.seats().listeners.len()).sum()
    }
}

impl Row {
    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes each event from a position on to the row, while anybody sits there.
    async fn serve(self: Arc<Row>, app: AppState, from: Seq) {
        let mut slices = app.engine.feed().follow(from).boxed();
        loop {
            let slice = tokio::select! {
                biased;
                () = app.shutdown.cancelled() => None,
                slice = slices.next() => slice,
            };
            // After an error everybody reads, and meets it, by themselves.
            let Some(Ok(slice)) = slice else { break };
            let world = app.engine.world();
            for recorded in slice.iter() {
                if !self.tell(&app, recorded, &world) {
                    return;
                }
                yield_now().await;
            }
        }
        let mut seats = self.seats();
        seats.is_served = false;
        seats.listeners.drain(..).for_each(Listener::get_up);
    }

    /// Takes one event to all who sit here; whether anybody is left.
    fn tell(&self, app: &AppState, recorded: &Recorded, world: &Arc<World>) -> bool {
        let mut seats = self.seats();
        let mut rendered = None;
        let mut json = || rendered.get_or_insert_with(|| app.rendered.of(recorded, world)).clone();
        let leaving =
            seats.listeners.extract_if(.., |listener| !listener.hear(app, recorded, world, &mut json));
        leaving.for_each(Listener::get_up);
        seats.told = recorded.seq;
        seats.is_served = !seats.listeners.is_empty();
        seats.is_served
    }
}

impl Listener {
    /// Of one subscription that has everything before `next`; `handler` is the task that reads
    /// its socket.
    pub(super) fn new(
        wire: Wire,
        handler: Waker,
        scope: Scope,
        sub: Option<String>,
        filter: Arc<EventFilter>,
        next: Seq,
    ) -> Listener {
        let (looks, left_at) = (AccessLooks::default(), Arc::default());
        Listener { wire, handler, scope, looks, sub, filter, next, left_at }
    }

    /// Takes an event if it is wanted; whether the listener stays.
    fn hear(
        &mut self,
        app: &AppState,
        recorded: &Recorded,
        world: &World,
        json: &mut impl FnMut() -> Json,
    ) -> bool {
        if recorded.seq < self.next {
            return true;
        }
        // The end of what it wants is told by its own task, and that it may not have it.
        if self.filter.is_past(recorded) {
            return false;
        }
        if !self.filter.matches(recorded, world) || !may_see(&self.scope.principal, recorded, world) {
            self.next = recorded.seq.next();
            return true;
        }
        if self.scope.is_revoked(app, &mut self.looks) {
            return false;
        }
        let offered = self.wire.offer(json().frame(self.sub.as_deref()), &self.handler);
        if offered != Offered::Refused {
            app.metrics.feed_sent.inc();
            self.next = recorded.seq.next();
        }
        offered == Offered::Sent
    }

    /// Leaves the rest to the task that reads the socket.
    fn get_up(self) {
        self.left_at.store(self.next.0, Ordering::Release);
        self.handler.wake();
    }
}
