//! Identities of things that events speak of: opaque, made once, never reused.
//!
//! Every id but [`Seq`] is a UUIDv7, so ids made later sort later. In
//! binary form an id is 16 bytes, in text the usual hyphenated form.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The position of an event in the one order of everything. Starts at 1, has no gaps;
/// 0 is the position before the first event.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// The position before the first event.
    pub const ZERO: Seq = Seq(0);

    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[derive(schemars::JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map($name)
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                $name(uuid)
            }
        }
    )+};
}

ids! {
    /// One recorded event.
    EventId,
    /// One accepted command; shared by all events that it caused.
    CommandId,
    /// A customer.
    TenantId,
    /// A process definition that the control plane keeps running.
    InstanceId,
    /// One life of an instance's process, from spawn to exit.
    RunId,
    /// One attempt to bring a release of a tenant into service.
    DeploymentId,
    /// A person who may log in.
    UserId,
    /// An API token.
    TokenId,
    /// One look at a customer's website.
    AnalysisId,
    /// A look that an analysis suggests.
    SuggestionId,
}

/// Names the key under which something is sealed: a tenant's, a user's, or the control
/// plane's own ([`KeyId::CONTROL_PLANE`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(pub Uuid);

impl KeyId {
    /// The key of what belongs to no tenant and no user.
    pub const CONTROL_PLANE: KeyId = KeyId(Uuid::nil());
}

impl From<TenantId> for KeyId {
    fn from(id: TenantId) -> Self {
        KeyId(id.0)
    }
}

impl From<UserId> for KeyId {
    fn from(id: UserId) -> Self {
        KeyId(id.0)
    }
}
