//! Users and API tokens.

use std::sync::Arc;

use imbl::{HashMap, OrdMap};
use serde::{Deserialize, Serialize};
use tenantry_journal::event::access::{
    Role, Scope, TokenCreated, TokenRevoked, UserCreated, UserPasswordChanged, UserProfile, UserUpdated,
};
use tenantry_journal::id::{Seq, TokenId, UserId};
use tenantry_journal::recorded::{Actor, Recorded};
use tenantry_journal::sealed::{Sealed, Secret};
use tenantry_journal::time::Timestamp;

/// A person who may log in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// Their id.
    pub id: UserId,
    /// What they are called.
    pub profile: Sealed<UserProfile>,
    /// What they may do.
    pub role: Role,
    /// To what that is limited.
    pub scope: Scope,
    /// Argon2id in PHC form.
    pub password_hash: Sealed<Secret>,
    /// Whether they may not log in.
    pub disabled: bool,
    /// The last event that changed the user.
    pub changed: Seq,
    /// When the user was created.
    pub created_at: Timestamp,
    /// Logins from before this are void: when the password was set, or the user disabled.
    pub logins_since: Timestamp,
}

/// An API token that opens something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// What its owner calls it.
    pub name: Sealed<String>,
    /// BLAKE3 of its text.
    pub hash: [u8; 32],
    /// What it may do.
    pub role: Role,
    /// To what that is limited.
    pub scope: Scope,
    /// When it was issued.
    pub created_at: Timestamp,
    /// When it ends, if it does.
    pub expires_at: Option<Timestamp>,
}

/// All users and tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Access {
    users: OrdMap<UserId, Arc<User>>,
    tokens: OrdMap<TokenId, Arc<Token>>,
    #[serde(skip)]
    by_username: HashMap<String, UserId>,
    #[serde(skip)]
    by_hash: HashMap<u64, TokenId>,
}

/// A token is found by the beginning of its hash, and the whole is compared after.
fn beginning(hash: &[u8; 32]) -> u64 {
    hash.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}

impl Access {
    /// Whether nothing was created, changed or taken away between the two; takes no time.
    #[must_use]
    pub fn is_same(&self, other: &Access) -> bool {
        self.users.ptr_eq(&other.users) && self.tokens.ptr_eq(&other.tokens)
    }

    /// One user.
    #[must_use]
    pub fn user(&self, id: UserId) -> Option<&Arc<User>> {
        self.users.get(&id)
    }

    /// The user with this login name.
    #[must_use]
    pub fn user_by_name(&self, username: &str) -> Option<&Arc<User>> {
        self.by_username.get(username).and_then(|id| self.users.get(id))
    }

    /// All users, oldest first.
    pub fn users(&self) -> impl DoubleEndedIterator<Item = &Arc<User>> {
        self.users.values()
    }

    /// One token.
    #[must_use]
    pub fn token(&self, id: TokenId) -> Option<&Arc<Token>> {
        self.tokens.get(&id)
    }

    /// The token whose text has this BLAKE3 hash. Takes the same time whatever the hash is
    /// compared with.
    #[must_use]
    pub fn token_by_hash(&self, hash: &[u8; 32]) -> Option<&Arc<Token>> {
        let found = self.by_hash.get(&beginning(hash)).and_then(|id| self.tokens.get(id))?;
        // BLAKE3 compares its hashes in constant time.
        (blake3::Hash::from(found.hash) == blake3::Hash::from(*hash)).then_some(found)
    }

    /// All tokens that were not revoked, oldest first.
    pub fn tokens(&self) -> impl DoubleEndedIterator<Item = &Arc<Token>> {
        self.tokens.values()
    }

    /// What an actor is called; `None` for the system, the unknown and the erased.
    #[must_use]
    pub fn actor_name(&self, actor: Actor) -> Option<&str> {
        match actor {
            Actor::User(id) => self.user(id)?.profile.open().map(|profile| profile.username.as_str()),
            Actor::Token(id) => self.token(id)?.name.open().map(String::as_str),
            Actor::System => None,
        }
    }

    pub(super) fn user_created(&mut self, recorded: &Recorded, event: &UserCreated) {
        let user = User {
            id: event.user_id,
            profile: event.profile.clone(),
            role: event.role,
            scope: event.scope.clone(),
            password_hash: event.password_hash.clone(),
            disabled: false,
            changed: recorded.seq,
            created_at: recorded.at,
            logins_since: recorded.at,
        };
        let before = self.users.insert(event.user_id, Arc::new(user));
        if let Some(profile) = before.as_ref().and_then(|before| before.profile.open()) {
            self.by_username.remove(&profile.username);
        }
        if let Some(profile) = event.profile.open() {
            self.by_username.insert(profile.username.clone(), event.user_id);
        }
    }

    pub(super) fn user_password_changed(&mut self, recorded: &Recorded, event: &UserPasswordChanged) {
        if let Some(user) = self.users.get_mut(&event.user_id) {
            let user = Arc::make_mut(user);
            user.password_hash = event.password_hash.clone();
            user.logins_since = recorded.at;
            user.changed = recorded.seq;
        }
    }

    pub(super) fn user_updated(&mut self, recorded: &Recorded, event: &UserUpdated) {
        let Some(user) = self.users.get_mut(&event.user_id) else { return };
        let user = Arc::make_mut(user);
        if let Some(before) = user.profile.open() {
            self.by_username.remove(&before.username);
        }
        if let Some(after) = event.profile.open() {
            self.by_username.insert(after.username.clone(), event.user_id);
        }
        user.profile = event.profile.clone();
        user.role = event.role;
        user.scope = event.scope.clone();
        if event.disabled && !user.disabled {
            user.logins_since = recorded.at;
        }
        user.disabled = event.disabled;
        user.changed = recorded.seq;
    }

    pub(super) fn user_deleted(&mut self, id: UserId) {
        let gone = self.users.remove(&id);
        if let Some(profile) = gone.as_ref().and_then(|user| user.profile.open()) {
            self.by_username.remove(&profile.username);
        }
    }

    pub(super) fn token_created(&mut self, recorded: &Recorded, event: &TokenCreated) {
        let token = Token {
            id: event.token_id,
            name: event.name.clone(),
            hash: event.hash,
            role: event.role,
            scope: event.scope.clone(),
            created_at: recorded.at,
            expires_at: event.expires_at,
        };
        if let Some(before) = self.tokens.insert(event.token_id, Arc::new(token)) {
            self.by_hash.remove(&beginning(&before.hash));
        }
        self.by_hash.insert(beginning(&event.hash), event.token_id);
    }

    pub(super) fn token_revoked(&mut self, event: &TokenRevoked) {
        if let Some(token) = self.tokens.remove(&event.token_id) {
            self.by_hash.remove(&beginning(&token.hash));
        }
    }

    pub(super) fn reindex(&mut self) {
        self.by_username = self
            .users
            .values()
            .filter_map(|user| user.profile.open().map(|profile| (profile.username.clone(), user.id)))
            .collect();
        self.by_hash = self.tokens.values().map(|token| (beginning(&token.hash), token.id)).collect();
    }
}
