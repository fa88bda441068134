//! Lines as they are printed: `/api/logs/stream` and `follow=true`, over a WebSocket, or as
//! server-sent events for who accepts them.
//!
//! Sends log objects and nothing else. An instance that comes later is followed from its
//! first line, so none is missed between its start and our notice of it.

use std::collections::HashMap;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use serde::Deserialize;
use tenantry_journal::id::InstanceId;
use tenantry_journal::name::{InstanceKey, ServiceName};
use tenantry_projections::output::level::Level;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use tokio_stream::StreamMap;

use super::logs::{StreamParams, Wanted, line_filter};
use super::merge::{LineFilter, LogLine};
use super::sse;
use crate::auth::principal::Principal;
use crate::http::error::ApiError;
use crate::http::extract::{Query, Scope, parse_json};
use crate::http::observed::Line;
use crate::http::router::Access;
use crate::http::state::AppState;
use crate::http::write::Answer;
use crate::http::ws::{Close, Incoming, Session, Upgrade};

/// How often new instances are looked for; nobody notices a later first line.
const LOOK: Duration = Duration::from_millis(200);
/// How long the last lines of an instance that is gone may take to arrive.
const LAST_WORDS: Duration = Duration::from_secs(5);

pub(super) async fn stream(
    State(app): State<AppState>,
    scope: Result<Scope, ApiError>,
    headers: HeaderMap,
    Query(params): Query<StreamParams>,
    upgrade: Result<Upgrade, Response>,
) -> Answer {
    let (wanted, filter) = params.filter()?;
    match upgrade {
        Err(_) if sse::is_wanted(&headers) => Ok(sse::run(app, scope?, wanted, filter)),
        Ok(upgrade) => Ok(run(upgrade, app, wanted, filter)),
        Err(refusal) => Ok(refusal),
    }
}

/// Upgrades, and sends what is wanted until the client leaves.
pub(super) fn run(upgrade: Upgrade, app: AppState, wanted: Wanted, filter: LineFilter) -> Response {
    upgrade.run(Access::SOCKET, move |session| follow(session, app, wanted, filter))
}

/// What a client may say.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "LogStreamRequest")]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Said {
    /// From here on only these lines.
    Filter {
        service: Option<ServiceName>,
        instance: Option<String>,
        level: Option<Level>,
        grep: Option<String>,
    },
    /// A credential again, from a client that sent one in its header already.
    Auth {
        #[serde(rename = "token")]
        _token: tenantry_journal::sealed::Secret,
    },
}

async fn follow(mut session: Session, app: AppState, mut wanted: Wanted, mut filter: LineFilter) {
    let mut followed = Followed::new(&app, &session.scope.principal, &wanted);
    let mut look = Followed::looks();
    let close = loop {
        tokio::select! {
            incoming = session.next() => match incoming {
                Incoming::End(close) => break close,
                Incoming::Text(text) => match parse_json(text.as_bytes()) {
                    Ok(Said::Filter { service, instance, level, grep }) => {
                        let Ok(new) = line_filter(level, grep.as_deref()) else {
                            break Close::Policy("the filter is not valid");
                        };
                        (wanted, filter) = (Wanted::new(service, instance), new);
                        followed.begun = false;
                        followed.look(&app, &session.scope.principal, &wanted);
                        followed.begun = true;
                    }
                    Ok(Said::Auth { .. }) => {}
                    Err(_) => break Close::Policy("the message is not understood"),
                },
            },
            _ = look.tick() => followed.look(&app, &session.scope.principal, &wanted),
            shown = followed.next(&filter) => {
                if let Some(shown) = shown && let Err(close) = session.send(&shown).await {
                    break close;
                }
            }
        }
    };
    session.end(close).await;
}

/// The instances that are followed.
#[derive(Default)]
pub(super) struct Followed {
    lines: StreamMap<InstanceId, BoxStream<'static, Line>>,
    names: HashMap<InstanceId, InstanceKey>,
    gone: HashMap<InstanceId, Instant>,
    seen: tenantry_journal::id::Seq,
    /// Whether an instance that was not there before is new.
    begun: bool,
}

impl Followed {
    /// Follows what there is, from now on.
    pub(super) fn new(app: &AppState, principal: &Principal, wanted: &Wanted) -> Followed {
        let mut followed = Followed::default();
        followed.look(app, principal, wanted);
        followed.begun = true;
        followed
    }

    /// When to [`Followed::look`].
    pub(super) fn looks() -> Interval {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        look
    }

    /// The next line, or `None` when the filter does not want it.
    pub(super) async fn next(&mut self, filter: &LineFilter) -> Option<LogLine> {
        match self.lines.next().await {
            Some((id, line)) => filter.show(self.names.get(&id)?, line),
            // Nothing is followed yet.
            None => std::future::pending().await,
        }
    }

    /// Follows what has come and lets go what has left.
    pub(super) fn look(&mut self, app: &AppState, principal: &Principal, wanted: &Wanted) {
        let world = app.engine.world();
        self.gone.retain(|id, since| {
            let keep = since.elapsed() < LAST_WORDS;
            if !keep {
                self.lines.remove(id);
                self.names.remove(id);
            }
            keep
        });
        if self.begun && world.seq == self.seen {
            return;
        }
        let after = if self.begun { Some(0) } else { None };
        self.seen = world.seq;
        for instance in world.instances.iter() {
            let Some(name) = instance.name.open() else { continue };
            let is_wanted = wanted.takes(name) && principal.reaches_instance(&world, instance.id);
            if is_wanted && !self.names.contains_key(&instance.id) {
                self.names.insert(instance.id, name.clone());
                self.lines.insert(instance.id, app.outputs.follow(instance.id, after));
            }
        }
        let lost: Vec<(InstanceId, bool)> = self
            .names
            .iter()
            .map(|(id, name)| (*id, wanted.takes(name)))
            .filter(|(id, is_wanted)| !is_wanted || world.instances.get(*id).is_none())
            .collect();
        for (id, is_wanted) in lost {
            if is_wanted {
                self.gone.entry(id).or_insert_with(Instant::now);
            } else {
                self.lines.remove(&id);
                self.names.remove(&id);
            }
        }
    }
}
