//! `WS /ws/events`: any number of subscriptions on one socket.
//!
//! A subscription reads the journal by itself until it has everything, then it sits in one of
//! the [`rows`](super::rows). Each message is sent before the next event is looked at, so there
//! is no queue: a client that does not read holds one page for each subscription, and its place
//! in the journal.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::extract::State;
use axum::response::Response;
use futures_util::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use tenantry_journal::feed::Slice;
use tenantry_journal::id::Seq;
use tenantry_journal::scan::ScanError;
use tokio_stream::StreamMap;

use super::filter::Said;
use super::rows::{Listener, Seat};
use super::subscription::{Counted, Subscription};
use crate::http::extract::{NoQuery, Scope, parse_json};
use crate::http::router::Access;
use crate::http::state::AppState;
use crate::http::ws::{Close, Incoming, Session, Upgrade, Wire};

/// Subscriptions on one socket: more than a page shows at once.
const MOST_SUBSCRIPTIONS: usize = 32;
/// The longest name that a client may give a subscription, in bytes.
const LONGEST_SUB: usize = 64;

pub(super) async fn upgrade(State(app): State<AppState>, _: NoQuery, upgrade: Upgrade) -> Response {
    upgrade.run(Access::SOCKET, move |session| serve(session, app))
}

/// What a client says.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "FeedRequest")]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Asked {
    Subscribe {
        sub: Option<String>,
        from_seq: Option<Seq>,
        #[serde(default)]
        filter: Box<Said>,
    },
    Unsubscribe {
        sub: Option<String>,
    },
    /// A credential again, from a client that sent one in its header already.
    Auth {
        #[serde(rename = "token")]
        _token: tenantry_journal::sealed::Secret,
    },
}

/// What is said to it, besides events.
#[derive(Debug, Serialize, schemars::JsonSchema)]
#[schemars(rename = "FeedNotice")]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Told<'a> {
    Subscribed {
        head_seq: Seq,
        #[serde(skip_serializing_if = "Option::is_none")]
        sub: Option<&'a str>,
    },
    CaughtUp {
        seq: Seq,
        #[serde(skip_serializing_if = "Option::is_none")]
        sub: Option<&'a str>,
    },
    Unsubscribed {
        #[serde(skip_serializing_if = "Option::is_none")]
        sub: Option<&'a str>,
    },
    Error {
        error: &'a str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        sub: Option<&'a str>,
    },
}

/// The name of a subscription; the unnamed one has none.
type Sub = Option<String>;

/// A socket with what it subscribed to.
struct Client {
    session: Session,
    app: AppState,
    subscriptions: StreamMap<Sub, Follower>,
}

/// A subscription of a socket.
struct Follower {
    subscription: Subscription,
    /// Where it sits while it has everything.
    seat: Option<Seat>,
    app: AppState,
    wire: Wire,
    scope: Scope,
    sub: Sub,
}

impl Stream for Follower {
    type Item = Result<Slice, ScanError>;

    /// What it has to send by itself.
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Follower { subscription, seat, app, wire, scope, sub } = &mut *self;
        if let Some(taken) = seat {
            let Some(next) = taken.left_at() else { return Poll::Pending };
            *seat = None;
            subscription.go_on(app, next);
        }
        let polled = subscription.poll_next_unpin(cx);
        if polled.is_pending()
            && let Some(next) = subscription.at_head(app)
        {
            let (handler, filter) = (cx.waker().clone(), subscription.wants().clone());
            let listener = Listener::new(wire.clone(), handler, scope.clone(), sub.clone(), filter, next);
            *seat = app.rows.sit(app, listener);
            if seat.is_some() {
                subscription.pause();
            }
        }
        polled
    }
}

async fn serve(mut session: Session, app: AppState) {
    let _counted = Counted::new(&app);
    // Its World was that of the beginning, and would be held for as long as the socket.
    session.scope.world = Default::default();
    let mut client = Client { session, app, subscriptions: StreamMap::new() };
    let close = client.run().await;
    // Nobody offers it anything more.
    client.subscriptions.clear();
    client.session.end(close).await;
}

impl Client {
    async fn run(&mut self) -> Close {
        loop {
            let done = tokio::select! {
                incoming = self.session.next() => match incoming {
                    Incoming::End(close) => return close,
                    Incoming::Text(text) => self.hear(&text).await,
                },
                Some((sub, slice)) = self.subscriptions.next(), if !self.subscriptions.is_empty() => {
                    match slice {
                        Ok(slice) => self.send_slice(sub, slice).await,
                        Err(error) => {
                            tracing::error!(error = %crate::error::chain(&error), "a subscription ends");
                            Err(Close::Internal)
                        }
                    }
                }
            };
            if let Err(close) = done {
                return close;
            }
        }
    }

    async fn hear(&mut self, text: &str) -> Result<(), Close> {
        match parse_json(text.as_bytes()) {
            Ok(Asked::Subscribe { sub, from_seq, filter }) => self.subscribe(sub, from_seq, *filter).await,
            Ok(Asked::Unsubscribe { sub }) => {
                if self.subscriptions.remove(&sub).is_none() {
                    return self.refuse("not_subscribed", "There is no such subscription.", &sub).await;
                }
                self.session.send(&Told::Unsubscribed { sub: sub.as_deref() }).await
            }
            Ok(Asked::Auth { .. }) => Ok(()),
            Err(error) => self.refuse("bad_request", &error.message, &None).await,
        }
    }

    async fn subscribe(&mut self, sub: Sub, from_seq: Option<Seq>, filter: Said) -> Result<(), Close> {
        if sub.as_ref().is_some_and(|sub| sub.len() > LONGEST_SUB) {
            let message = format!("sub is longer than {LONGEST_SUB} bytes.");
            return self.refuse("bad_request", &message, &None).await;
        }
        if self.subscriptions.contains_key(&sub) {
            let message = "There is a subscription of this name; unsubscribe it first.";
            return self.refuse("already_subscribed", message, &sub).await;
        }
        if self.subscriptions.len() >= MOST_SUBSCRIPTIONS {
            let message = format!("There are {MOST_SUBSCRIPTIONS} subscriptions on this socket already.");
            return self.refuse("too_many_subscriptions", &message, &sub).await;
        }
        let filter = match filter.filter(self.app.now()) {
            Ok(filter) => filter,
            Err(error) => return self.refuse("bad_request", &error.message, &sub).await,
        };
        let head = self.app.engine.feed().head();
        let mut subscription = Subscription::new(&self.app, from_seq, filter, head);
        self.session.send(&Told::Subscribed { head_seq: head, sub: sub.as_deref() }).await?;
        if from_seq.is_some_and(|from| from > head) {
            subscription.catching_up = None;
            self.session.send(&Told::CaughtUp { seq: head, sub: sub.as_deref() }).await?;
        }
        let follower = Follower {
            subscription,
            seat: None,
            app: self.app.clone(),
            wire: self.session.wire(),
            scope: self.session.scope.clone(),
            sub: sub.clone(),
        };
        self.subscriptions.insert(sub, follower);
        Ok(())
    }

    async fn send_slice(&mut self, sub: Sub, slice: Slice) -> Result<(), Close> {
        let world = self.app.engine.world();
        for recorded in slice.iter() {
            let Some(subscription) = find(&mut self.subscriptions, &sub) else { return Ok(()) };
            let is_past = subscription.is_past(recorded);
            let json = subscription.shows(&self.app, &self.session.scope.principal, recorded, &world);
            let caught_up = subscription.catching_up.take_if(|head| is_past || recorded.seq >= *head);
            if let Some(json) = json {
                self.session.send_text(json.frame(sub.as_deref())).await?;
            }
            if caught_up.is_some() {
                self.session.send(&Told::CaughtUp { seq: recorded.seq, sub: sub.as_deref() }).await?;
            }
            if is_past {
                self.subscriptions.remove(&sub);
                return self.session.send(&Told::Unsubscribed { sub: sub.as_deref() }).await;
            }
        }
        Ok(())
    }

    async fn refuse(&mut self, error: &str, message: &str, sub: &Sub) -> Result<(), Close> {
        self.session.send(&Told::Error { error, message, sub: sub.as_deref() }).await
    }
}

fn find<'a>(subscriptions: &'a mut StreamMap<Sub, Follower>, sub: &Sub) -> Option<&'a mut Subscription> {
    subscriptions.iter_mut().find(|(name, _)| name == sub).map(|(_, follower)| &mut follower.subscription)
}
