//! Attempts that were refused, as events.

use tenantry_journal::event::Event;
use tenantry_journal::event::access::{AccessDenied, DenialsUnrecorded, LoginFailed, Whence};
use tenantry_journal::id::{KeyId, UserId};
use tenantry_journal::recorded::Actor;
use tenantry_journal::sealed::Sealed;
use tenantry_journal::time::Timestamp;
use tenantry_projections::world::World;

/// What was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// A request, with 401 or 403.
    Request {
        /// The answer's status.
        status: u16,
        /// The method; `other` for unusual ones.
        method: &'static str,
        /// The route's pattern; `unmatched` without one.
        route: &'static str,
    },
    /// A login.
    Login {
        /// Whose name was given, if it is somebody's.
        user_id: Option<UserId>,
        /// Whether the password was not even looked at.
        limited: bool,
    },
}

/// Refused attempts that are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// Recorded with what is known of them.
    Told {
        /// What was refused.
        what: Refused,
        /// Who asked, when the credential was good.
        actor: Option<Actor>,
        /// The address, as text.
        from: String,
        /// How many, and when.
        times: Times,
    },
    /// Counted only.
    Counted(Times),
}

/// How many, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// How many.
    pub count: u64,
    /// When the first came.
    pub first_at: Timestamp,
    /// When the last came.
    pub last_at: Timestamp,
}

/// The event of refused attempts.
pub(super) fn event(world: &World, denial: &Denial) -> Event {
    let (what, actor, from, Times { count, first_at, last_at }) = match denial {
        Denial::Counted(Times { count, first_at, last_at }) => {
            return DenialsUnrecorded { count: *count, first_at: *first_at, last_at: *last_at }.into();
        }
        Denial::Told { what, actor, from, times } => (what, actor, from, *times),
    };
    let sealed = |user: Option<UserId>| {
        // Where somebody was is theirs, and goes with them.
        let known = user.filter(|id| world.access.user(*id).is_some());
        let key = known.map_or(KeyId::CONTROL_PLANE, KeyId::from);
        Sealed::new(key, Whence { address: from.clone() })
    };
    match what {
        Refused::Request { status, method, route } => {
            let user = actor.and_then(|actor| match actor {
                Actor::User(id) => Some(id),
                Actor::Token(_) | Actor::System => None,
            });
            AccessDenied {
                status: *status,
                method: (*method).to_owned(),
                route: (*route).to_owned(),
                from: sealed(user),
                count,
                first_at,
                last_at,
            }
            .into()
        }
        Refused::Login { user_id, limited } => LoginFailed {
            user_id: *user_id,
            limited: *limited,
            from: sealed(*user_id),
            count,
            first_at,
            last_at,
        }
        .into(),
    }
}
