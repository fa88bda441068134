//! An event with everything the journal knows about it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::Event;
use crate::id::{CommandId, EventId, InstanceId, Seq, TenantId, TokenId, UserId};
use crate::time::Timestamp;

/// Who gave a command. Names are not recorded: they are looked up when they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// A person, logged in.
    User(UserId),
    /// The bearer of an API token.
    Token(TokenId),
    /// The control plane itself: its supervisor, reactor, or start.
    System,
}

impl Actor {
    /// `user`, `token` or `system`.
    #[must_use]
    pub fn type_name(self) -> &'static str {
        match self {
            Actor::User(_) => "user",
            Actor::Token(_) => "token",
            Actor::System => "system",
        }
    }

    /// The user's or token's id; `None` for the system.
    #[must_use]
    pub fn id(self) -> Option<Uuid> {
        match self {
            Actor::User(id) => Some(id.0),
            Actor::Token(id) => Some(id.0),
            Actor::System => None,
        }
    }
}

/// Recognizes a repeated request: both are BLAKE3, cut to 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Idempotency {
    /// Of the actor and the `Idempotency-Key`.
    #[serde(with = "serde_bytes")]
    pub key: [u8; 16],
    /// Of method, path and body, under a secret of the control plane. (Without one until 2026-11.)
    #[serde(with = "serde_bytes")]
    pub request: [u8; 16],
}

/// What is known of an event before it has a position.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// Its identity.
    pub id: EventId,
    /// When it was decided. The journal raises it to its predecessor's time if it is earlier.
    pub at: Timestamp,
    /// Who gave the command.
    pub actor: Actor,
    /// The tenant that it is about, if any.
    pub tenant_id: Option<TenantId>,
    /// The instance that it is about, if any.
    pub instance_id: Option<InstanceId>,
    /// The command that caused it.
    pub command_id: CommandId,
    /// The event that the command answered, if it answered one.
    pub caused_by: Option<Seq>,
    /// On a command's first event, when the request had a key.
    pub idempotency: Option<Idempotency>,
    /// What happened.
    pub event: Event,
}

impl Draft {
    /// Of the control plane itself, about nobody, caused by nothing.
    #[must_use]
    pub fn of_system(id: EventId, at: Timestamp, event: impl Into<Event>) -> Draft {
        Draft {
            id,
            at,
            actor: Actor::System,
            tenant_id: None,
            instance_id: None,
            command_id: CommandId(Uuid::nil()),
            caused_by: None,
            idempotency: None,
            event: event.into(),
        }
    }
}

/// A fact in its place in the one order.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Its position.
    pub seq: Seq,
    /// Everything else.
    pub draft: Draft,
}

impl std::ops::Deref for Recorded {
    type Target = Draft;
    fn deref(&self) -> &Draft {
        &self.draft
    }
}

/// The events of one commit, shared by all who follow the feed.
pub type Batch = Arc<[Recorded]>;
