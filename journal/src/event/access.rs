//! Who may do what: users and API tokens.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::id::{TenantId, TokenId, UserId};
use crate::name::ServiceName;
use crate::sealed::{Sealed, Secret};
use crate::time::Timestamp;

/// What somebody may do. Each role may do all that the ones before it may.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads, and runs what only checks.
    Viewer,
    /// Changes tenants and instances.
    Operator,
    /// Everything, users, tokens and settings too.
    Admin,
}

/// To what somebody's powers are limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "TokenScope")]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// To nothing.
    #[default]
    All,
    /// To one tenant and what belongs to it.
    Tenant(TenantId),
    /// To the instances of one service.
    Service(ServiceName),
    /// To several tenants and what belongs to them.
    Tenants(BTreeSet<TenantId>),
}

/// What a user is called; all of it sealed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserProfile {
    /// Login name, unique.
    pub username: String,
    /// Mail address.
    pub email: String,
}

/// A person may log in. Their key exists from here on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserCreated {
    /// The new user.
    pub user_id: UserId,
    /// What they are called.
    pub profile: Sealed<UserProfile>,
    /// What they may do.
    pub role: Role,
    /// To what that is limited.
    pub scope: Scope,
    /// Argon2id in PHC form.
    pub password_hash: Sealed<Secret>,
}

/// A user's password is another one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserPasswordChanged {
    /// The user.
    pub user_id: UserId,
    /// Argon2id in PHC form.
    pub password_hash: Sealed<Secret>,
}

/// What is known of a user is another: the whole of it as it is from here on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserUpdated {
    /// The user.
    pub user_id: UserId,
    /// The names of the fields that differ from before.
    pub changed: Vec<String>,
    /// What they are called.
    pub profile: Sealed<UserProfile>,
    /// What they may do.
    pub role: Role,
    /// To what that is limited.
    pub scope: Scope,
    /// Whether they may not log in. Logins from before this became so stay void for ever.
    pub disabled: bool,
}

/// The user is gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserDeleted {
    /// The user.
    pub user_id: UserId,
}

/// An API token was issued; it was shown once and is nowhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenCreated {
    /// The new token.
    pub token_id: TokenId,
    /// What its owner calls it.
    pub name: Sealed<String>,
    /// BLAKE3 of the token's text; bytes in storage, hidden in text.
    #[serde(with = "hidden_bytes")]
    pub hash: [u8; 32],
    /// What it may do.
    pub role: Role,
    /// To what that is limited.
    pub scope: Scope,
    /// When it ends, if it does.
    pub expires_at: Option<Timestamp>,
}

/// The token opens nothing any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenRevoked {
    /// The token.
    pub token_id: TokenId,
}

/// From where somebody came; all of it sealed, under their key when it is known who it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whence {
    /// The connection's own address; of IPv6 the network of 64 bits.
    pub address: String,
}

/// Requests were refused with 401 or 403. One event stands for all alike of a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccessDenied {
    /// The answer's status: 401 without a valid credential, 403 with one that does not go so far.
    pub status: u16,
    /// The method; `other` for unusual ones.
    pub method: String,
    /// The route's pattern; `unmatched` without one.
    pub route: String,
    /// From where.
    pub from: Sealed<Whence>,
    /// How many.
    pub count: u64,
    /// When the first came.
    pub first_at: Timestamp,
    /// When the last came.
    pub last_at: Timestamp,
}

/// Logins failed. One event stands for all alike of a while. A name that nobody has is not
/// recorded: it may be a password in the wrong field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoginFailed {
    /// Whose name was given, if it is somebody's.
    pub user_id: Option<UserId>,
    /// Whether they were refused without a look at the password, after too many failures.
    pub limited: bool,
    /// From where.
    pub from: Sealed<Whence>,
    /// How many.
    pub count: u64,
    /// When the first came.
    pub first_at: Timestamp,
    /// When the last came.
    pub last_at: Timestamp,
}

/// More was refused than is recorded one by one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DenialsUnrecorded {
    /// How many.
    pub count: u64,
    /// When the first came.
    pub first_at: Timestamp,
    /// When the last came.
    pub last_at: Timestamp,
}

/// Bytes that are stored as they are, and that text (for people) does not show.
mod hidden_bytes {
    use serde::{Deserializer, Serializer};

    use crate::sealed::HIDDEN;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.serialize_str(HIDDEN);
        }
        serde_bytes::serialize(bytes, serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        serde_bytes::deserialize(deserializer)
    }
}
