//! WebSockets: authentication by header or first message, liveness, and the close codes.
//!
//! A [`Session`] is an authenticated socket. Its handler selects over [`Session::next`] and its
//! own source; both ways it learns when the socket has to end: the client is gone, its
//! credential lapsed, or the control plane is ending. A client that reads slowly delays only
//! its own handler, and what is written ahead for it is bounded.

mod wire;

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocketUpgrade};
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tenantry_journal::recorded::Actor;
use tokio::sync::Semaphore;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use super::auth_layer::{check_access, peer};
use super::extract::{Looks, Scope, StreamEnd, parse_json};
use super::rate;
use super::router::{Access, Listener};
use super::state::AppState;
use crate::auth::principal::authenticate;

pub use wire::{Offered, Wire};

/// How long a client may take to authenticate by its first message; the contract's.
const AUTH_WAIT: Duration = Duration::from_secs(5);
/// Sockets that wait for their first message at once; more are asked to try again.
static UNAUTHENTICATED: Semaphore = Semaphore::const_new(256);
/// The longest message of a client: subscriptions and filters have some hundred bytes.
const LONGEST_MESSAGE: usize = 64 * 1024;
/// How much is read at once, in bytes. The library clears as much before each try, also when
/// nothing came, and keeps it for each socket: of its own 128 KiB a task that is woken to send
/// would feel little else.
const READ_AT_ONCE: usize = 2 * 1024;
/// What is written ahead for a client that does not read, at most, in bytes.
const WRITE_AHEAD: usize = 256 * 1024;
/// Time between pings: below the idle timeouts of usual proxies (60 s).
const PING: Duration = Duration::from_secs(20);
/// A client that was silent for so long, pongs included, is gone.
const SILENCE: Duration = Duration::from_secs(65);
/// How long the closing handshake may take.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// Why a socket ends: its close code and a word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// 1000: everything was said.
    Done,
    /// 1001: the control plane is ending.
    GoingAway,
    /// 1008: the client broke the rules.
    Policy(&'static str),
    /// 1009: the client's message is too long.
    TooBig,
    /// 1011: something of ours went wrong.
    Internal,
    /// 1013: not now.
    TryAgainLater,
    /// 4401: the credential is not valid, or not any more.
    Unauthorized,
    /// 4403: the credential does not go that far.
    Forbidden,
    /// 4408: no credential came in time.
    NoAuthInTime,
    /// The client is gone: nothing can be said to it.
    Gone,
}

impl Close {
    fn frame(self) -> Option<CloseFrame> {
        let (code, reason) = match self {
            Close::Done => (1000, "done"),
            Close::GoingAway => (1001, "going away"),
            Close::Policy(reason) => (1008, reason),
            Close::TooBig => (1009, "message too big"),
            Close::Internal => (1011, "internal error"),
            Close::TryAgainLater => (1013, "try again later"),
            Close::Unauthorized => (4401, "unauthorized"),
            Close::Forbidden => (4403, "forbidden"),
            Close::NoAuthInTime => (4408, "no authentication in time"),
            Close::Gone => return None,
        };
        Some(CloseFrame { code, reason: reason.into() })
    }
}

impl Close {
    /// The status of an answer that refuses for the same reason, if it is about who asks.
    fn refusal(self) -> Option<u16> {
        match self {
            Close::Unauthorized => Some(401),
            Close::Forbidden => Some(403),
            _ => None,
        }
    }
}

impl From<StreamEnd> for Close {
    fn from(end: StreamEnd) -> Close {
        match end {
            StreamEnd::Lapsed => Close::Unauthorized,
            StreamEnd::Shutdown => Close::GoingAway,
        }
    }
}

/// A request to become a WebSocket.
pub struct Upgrade {
    upgrade: WebSocketUpgrade,
    app: AppState,
    listener: Listener,
    from: IpAddr,
    /// Who asks, when the request had a bearer header; a handler can refuse with an HTTP
    /// status then. Otherwise they say so in the first message.
    pub scope: Option<Scope>,
}

impl FromRequestParts<AppState> for Upgrade {
    type Rejection = Response;
    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Response> {
        let scope = parts.extensions.get::<Scope>().cloned();
        let listener = parts.extensions.get::<Listener>().copied().unwrap_or(Listener::Manager);
        let from = peer(&parts.extensions);
        let State(app) =
            State::<AppState>::from_request_parts(parts, app).await.map_err(IntoResponse::into_response)?;
        let upgrade = WebSocketUpgrade::from_request_parts(parts, &app)
            .await
            .map_err(IntoResponse::into_response)?
            .max_message_size(LONGEST_MESSAGE)
            .max_frame_size(LONGEST_MESSAGE)
            .read_buffer_size(READ_AT_ONCE)
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_AHEAD);
        Ok(Upgrade { upgrade, app, listener, from, scope })
    }
}

impl Upgrade {
    /// Answers the upgrade; `work` runs when the client is authenticated and may do what
    /// `access` asks for. It ends with [`Session::end`].
    pub fn run<F, Fut>(self, access: Access, work: F) -> Response
    where
        F: FnOnce(Session) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send,
    {
        let Upgrade { upgrade, app, listener, from, scope } = self;
        upgrade.on_upgrade(move |socket| async move {
            let socket = Wire::new(socket);
            let scope = match scope {
                Some(scope) => scope,
                None => {
                    let mut actor = None;
                    match first_message(&socket, &app, listener, access, &mut actor).await {
                        Ok(scope) => scope,
                        Err(close) => {
                            if let Some(status) = close.refusal() {
                                app.denials.request(from, actor, (status, "GET", "websocket"), app.now());
                            }
                            return finish(&socket, close).await;
                        }
                    }
                }
            };
            work(Session::new(socket, scope, app)).await;
        })
    }
}

/// The first message of a client without a bearer header.
#[derive(Deserialize, schemars::JsonSchema)]
#[schemars(rename = "SocketAuth")]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum First {
    Auth { token: String },
}

async fn first_message(
    socket: &Wire,
    app: &AppState,
    listener: Listener,
    access: Access,
    actor: &mut Option<Actor>,
) -> Result<Scope, Close> {
    let Ok(_place) = UNAUTHENTICATED.try_acquire() else { return Err(Close::TryAgainLater) };
    let text = tokio::select! {
        received = timeout(AUTH_WAIT, text_message(socket)) => received.map_err(|_| Close::NoAuthInTime)??,
        () = app.shutdown.cancelled() => return Err(Close::GoingAway),
    };
    let First::Auth { token } = parse_json(text.as_bytes()).map_err(|_| Close::Unauthorized)?;
    let world = app.engine.world();
    let now = app.now();
    let (principal, proof) = authenticate(&world, &app.jwt, &token, now).ok_or(Close::Unauthorized)?;
    *actor = Some(principal.actor);
    app.last_used.note(principal.actor, now);
    rate::take(app, &app.engine.world(), principal.actor, now, &mut None)
        .map_err(|_| Close::TryAgainLater)?;
    check_access(&principal, access).map_err(|_| Close::Forbidden)?;
    Ok(Scope { principal: principal.into(), world, as_of: None, listener, proof })
}

async fn text_message(socket: &Wire) -> Result<String, Close> {
    loop {
        match socket.recv().await {
            Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Binary(_))) => return Err(Close::Policy("text messages only")),
            Some(Ok(Message::Close(_))) | None => return Err(Close::Gone),
            Some(Err(error)) => return Err(close_for(&error)),
        }
    }
}

/// What to answer to a broken message.
fn close_for(error: &axum::Error) -> Close {
    // axum hides the type of the error; its text is tungstenite's.
    let text = crate::error::chain(error);
    if text.contains("too long") || text.contains("too large") || text.contains("Space limit") {
        Close::TooBig
    } else if text.contains("UTF-8") || text.contains("utf-8") {
        Close::Policy("text must be UTF-8")
    } else {
        Close::Gone
    }
}

/// What comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A message of the client.
    Text(String),
    /// The socket has to end.
    End(Close),
}

/// An authenticated socket.
pub struct Session {
    socket: Wire,
    /// Whose it is. Its World is the one of the beginning.
    pub scope: Scope,
    app: AppState,
    ping: Interval,
    /// When to look at the credential again; kept here so that a busy stream looks no oftener.
    looks: Looks,
}

impl Session {
    fn new(socket: Wire, scope: Scope, app: AppState) -> Session {
        let mut ping = interval(PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ping.reset();
        Session { socket, scope, app, ping, looks: Scope::looks() }
    }

    /// Where messages go out, for those who have the same for many.
    #[must_use]
    pub fn wire(&self) -> Wire {
        self.socket.clone()
    }

    /// The next message of the client, or why the socket has to end. Sends pings meanwhile.
    /// May be dropped and called again.
    pub async fn next(&mut self) -> Incoming {
        let Session { socket, scope, app, ping, looks } = self;
        loop {
            tokio::select! {
                end = scope.ended(app, looks) => return Incoming::End(end.into()),
                received = socket.recv() => match received {
                    Some(Ok(Message::Text(text))) => return Incoming::Text(text.to_string()),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Binary(_))) => {
                        return Incoming::End(Close::Policy("text messages only"));
                    }
                    Some(Ok(Message::Close(_))) | None => return Incoming::End(Close::Gone),
                    Some(Err(error)) => return Incoming::End(close_for(&error)),
                },
                _ = ping.tick() => {
                    if socket.silence() > SILENCE || socket.send(Message::Ping(Default::default())).await.is_err() {
                        return Incoming::End(Close::Gone);
                    }
                }
            }
        }
    }

    /// Sends a message as JSON; waits while the client does not read.
    ///
    /// # Errors
    /// Why the socket has to end.
    pub async fn send(&mut self, message: &impl Serialize) -> Result<(), Close> {
        let text = serde_json::to_string(message).map_err(|error| {
            tracing::error!(error = %error, "a message does not encode");
            Close::Internal
        })?;
        self.send_text(text).await
    }

    /// Sends a message that is JSON already; waits while the client does not read.
    ///
    /// # Errors
    /// Why the socket has to end.
    pub async fn send_text(&mut self, text: impl Into<axum::extract::ws::Utf8Bytes>) -> Result<(), Close> {
        let Session { socket, scope, app, looks, .. } = self;
        if scope.was_revoked(app, looks) {
            return Err(Close::Unauthorized);
        }
        tokio::select! {
            biased;
            sent = socket.send(Message::Text(text.into())) => sent.map_err(|_| Close::Gone),
            end = scope.ended(app, looks) => Err(end.into()),
        }
    }

    /// Ends the socket with the closing handshake.
    pub async fn end(self, close: Close) {
        finish(&self.socket, close).await;
    }
}

async fn finish(socket: &Wire, close: Close) {
    let Some(frame) = close.frame() else { return };
    let handshake = async {
        if socket.send(Message::Close(Some(frame))).await.is_ok() {
            // Until the client's own close, or the end of the connection.
            while let Some(Ok(_)) = socket.recv().await {}
        }
    };
    // A client that does not answer is left; there is nothing more to say.
    let _ = timeout(CLOSE_WAIT, handshake).await;
}
