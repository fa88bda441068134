//! Who follows what, which of it an event made stale, and rendering it again.
//!
//! One task reads the feed while anybody follows anything, and marks what each event concerns.
//! One task for each question renders it when it is stale, at most ten times a second, and
//! less often when that is much work: all of them together use a part of one core.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use futures_util::{FutureExt as _, StreamExt as _};
use tenantry_journal::id::Seq;
use tenantry_journal::recorded::Actor;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tower::Service as _;

use super::question::{Concern, Question, Shown, concerns};
use crate::http::error::ApiError;
use crate::http::extract::Scope;
use crate::http::frame;
use crate::http::state::AppState;

/// Between two states of one query: the contract's ten a second.
const AT_LEAST: Duration = Duration::from_millis(100);
/// A question rests for so many times as long as it took, so that one that is much work takes
/// no more than a fifth of a core.
const REST: u32 = 4;
/// How long after a failure of ours a question is asked again.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Questions that are answered again at once.
const AT_ONCE: usize = 2;
/// How long an answer may take that is made again.
const PATIENCE: Duration = Duration::from_secs(5);
/// Live queries of one credential: more than a page of a browser or a dashboard ever opens.
const MOST_OF_ONE: usize = 1024;
/// Live queries of everybody; each holds a task and a connection.
const MOST: usize = 8192;

/// The live queries of one listener.
#[derive(Clone)]
pub(super) struct Hub(Arc<Shared>);

struct Shared {
    app: AppState,
    handlers: Router,
    turns: Semaphore,
    registry: Mutex<Registry>,
}

#[derive(Default)]
struct Registry {
    queries: HashMap<Arc<str>, Arc<Query>>,
    by_concern: HashMap<Concern, Vec<Arc<Query>>>,
    followers: HashMap<Actor, usize>,
    count: usize,
    /// Whether the task that reads the feed is there.
    is_watched: bool,
}

/// One question that somebody follows.
struct Query {
    question: Question,
    stale: AtomicBool,
    wake: Notify,
    shown: watch::Sender<Option<Shown>>,
}

impl Query {
    fn mark(&self, app: &AppState) {
        if self.stale.swap(true, Ordering::AcqRel) {
            app.metrics.live.coalesced.inc();
        } else {
            self.wake.notify_one();
        }
    }
}

/// One client's place. Dropping it leaves.
pub(super) struct Follower {
    hub: Hub,
    actor: Actor,
    query: Arc<Query>,
    shown: watch::Receiver<Option<Shown>>,
}

impl Follower {
    pub(super) fn question(&self) -> &Question {
        &self.query.question
    }

    /// The newest state once there is another one; `None` when there will be none. May be
    /// dropped and called again.
    pub(super) async fn next(&mut self) -> Option<Shown> {
        loop {
            self.shown.changed().await.ok()?;
            if let Some(shown) = self.shown.borrow_and_update().clone() {
                return Some(shown);
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.hub.0.app.metrics.live.open.dec();
        let mut registry = self.hub.registry();
        registry.count = registry.count.saturating_sub(1);
        if let Some(count) = registry.followers.get_mut(&self.actor) {
            *count -= 1;
            if *count == 0 {
                registry.followers.remove(&self.actor);
            }
        }
    }
}

impl Hub {
    pub(super) fn new(app: AppState, handlers: Router) -> Hub {
        let registry = Mutex::default();
        Hub(Arc::new(Shared { app, handlers, turns: Semaphore::new(AT_ONCE), registry }))
    }

    pub(super) fn app(&self) -> &AppState {
        &self.0.app
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.0.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to follow a question.
    pub(super) fn follow(&self, question: Question, scope: &Scope) -> Result<Follower, ApiError> {
        let actor = scope.principal.actor;
        let app = &self.0.app;
        let mut registry = self.registry();
        if registry.followers.get(&actor).is_some_and(|count| *count >= MOST_OF_ONE) {
            let message = format!("This credential follows {MOST_OF_ONE} live queries already.");
            return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_live_queries", message)
                .detailed("Close some of them.")
                .retry_after(5));
        }
        if registry.count >= MOST {
            return Err(ApiError::unavailable("Too many live queries are open.").retry_after(5));
        }
        let query = match registry.queries.get(&question.name) {
            Some(query) => Arc::clone(query),
            None => {
                let query = Arc::new(Query {
                    question,
                    stale: AtomicBool::new(false),
                    wake: Notify::new(),
                    shown: watch::Sender::new(None),
                });
                let Question { name, concern, .. } = &query.question;
                registry.queries.insert(Arc::clone(name), Arc::clone(&query));
                registry.by_concern.entry(concern.clone()).or_default().push(Arc::clone(&query));
                app.metrics.live.distinct.inc();
                tokio::spawn(self.clone().keep(Arc::clone(&query)));
                query
            }
        };
        *registry.followers.entry(actor).or_default() += 1;
        registry.count += 1;
        app.metrics.live.open.inc();
        if !std::mem::replace(&mut registry.is_watched, true) {
            tokio::spawn(self.clone().watch(app.engine.world().seq));
        }
        let shown = query.shown.subscribe();
        Ok(Follower { hub: self.clone(), actor, query, shown })
    }

    /// Marks what the events after a position concern, while anybody follows anything.
    async fn watch(self, mut after: Seq) {
        let app = self.0.app.clone();
        loop {
            let mut slices = app.engine.feed().follow(after.next()).boxed();
            loop {
                let slice = tokio::select! {
                    () = app.shutdown.cancelled() => return,
                    slice = slices.next() => slice,
                };
                let world = app.engine.world();
                let mut registry = self.registry();
                if registry.queries.is_empty() {
                    registry.is_watched = false;
                    return;
                }
                match slice {
                    Some(Ok(slice)) => {
                        for recorded in slice.iter() {
                            concerns(recorded, &world, |concern| registry.mark(concern.as_ref(), &app));
                        }
                        continue;
                    }
                    Some(Err(error)) => {
                        tracing::error!(error = %crate::error::chain(&error), "live queries cannot read the journal");
                    }
                    None => {}
                }
                // What was missed may concern everybody.
                registry.mark(None, &app);
                after = world.seq;
                break;
            }
            sleep(AFTER_FAILURE).await;
        }
    }

    /// Renders a question again when it is stale, until nobody follows it.
    async fn keep(self, query: Arc<Query>) {
        let app = &self.0.app;
        let mut digest = None;
        let mut not_before = Instant::now();
        loop {
            tokio::select! {
                () = query.shown.closed() => {
                    if self.forget(&query) {
                        return;
                    }
                    // Somebody has come meanwhile.
                    continue;
                }
                () = query.wake.notified() => {}
                () = app.shutdown.cancelled() => return,
            }
            sleep_until(not_before).await;
            // It is never closed.
            let _turn = self.0.turns.acquire().await.ok();
            let began = Instant::now();
            // Before the World is looked at: what comes later makes it stale again.
            query.stale.store(false, Ordering::Release);
            let shown = self.render(&query.question).await;
            app.metrics.live.rendered.inc();
            let took = began.elapsed();
            not_before = began + AT_LEAST.max(took * REST);
            match shown {
                Ok(shown) if digest == Some(shown.digest) => {}
                Ok(shown) => {
                    digest = Some(shown.digest);
                    app.metrics.live.changed.inc();
                    query.shown.send_replace(Some(shown));
                }
                Err(status) => {
                    tracing::warn!(http.status = status.as_u16(), "a live query is asked again later");
                    let (query, app) = (Arc::clone(&query), app.clone());
                    tokio::spawn(async move {
                        sleep(AFTER_FAILURE).await;
                        query.mark(&app);
                    });
                }
            }
        }
    }

    /// Asks once more; a failure of ours says nothing of the state.
    async fn render(&self, question: &Question) -> Result<Shown, StatusCode> {
        let world = self.0.app.engine.world();
        let seq = world.seq;
        let scope = question.scope(world);
        let asked = AssertUnwindSafe(self.ask(question, &scope)).catch_unwind();
        let Ok(answered) = timeout(PATIENCE, asked).await else { return Err(StatusCode::GATEWAY_TIMEOUT) };
        let response = answered.unwrap_or_else(|panic| {
            tracing::error!(panic = frame::panic_text(&*panic), "a live query panicked");
            ApiError::internal().into_response()
        });
        let status = response.status();
        if status.is_success() {
            return Shown::of(seq, response.into_body()).await.map_err(|error| error.status);
        }
        if status.is_server_error() {
            return Err(status);
        }
        let told = frame::finish(response, question.shape, self.0.app.now());
        Ok(Shown::end(seq, told.into_body()).await)
    }

    /// Has the handler answer.
    pub(super) async fn ask(&self, question: &Question, scope: &Scope) -> Response {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = question.uri.clone();
        request.extensions_mut().insert(scope.listener);
        request.extensions_mut().insert(scope.clone());
        match self.0.handlers.clone().call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    /// Forgets a question that nobody follows; whether nobody does.
    fn forget(&self, query: &Arc<Query>) -> bool {
        let mut registry = self.registry();
        if query.shown.receiver_count() > 0 {
            return false;
        }
        let Question { name, concern, .. } = &query.question;
        registry.queries.remove(name);
        if let Some(queries) = registry.by_concern.get_mut(concern) {
            queries.retain(|one| !Arc::ptr_eq(one, query));
            if queries.is_empty() {
                registry.by_concern.remove(concern);
            }
        }
        self.0.app.metrics.live.distinct.dec();
        true
    }
}

impl Registry {
    /// Marks what has this concern, or everything.
    fn mark(&self, concern: Option<&Concern>, app: &AppState) {
        match concern {
            Some(concern) => {
                self.by_concern.get(concern).into_iter().flatten().for_each(|query| query.mark(app));
            }
            None => self.queries.values().for_each(|query| query.mark(app)),
        }
    }
}
