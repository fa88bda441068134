//! How many requests one token or user may make in a minute and in an hour.
//!
//! Both windows are fixed: a window begins with the first request that finds none open, and at
//! its end, which is told beforehand (`X-RateLimit-Reset`), everything is allowed again. So what
//! the headers say is exactly so. A refused request is not counted. Kept in memory only; only
//! those with a valid credential get in, and they are forgotten when their hour is over.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tenantry_journal::recorded::Actor;
use tenantry_journal::time::Timestamp;
use uuid::Uuid;

/// Parts that are locked apart: more than the cores of the machines that this runs on.
const SHARDS: usize = 32;
/// Principals in one part before those are let go whose hour is over.
const SWEEP_AT: usize = 1024;
const MINUTE_S: u32 = 60;
const HOUR_S: u32 = 3600;

/// How many requests one token or user may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Within a minute.
    pub per_minute: u32,
    /// Within an hour.
    pub per_hour: u32,
}

/// What is left to somebody: of the window of which less is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Requests of that window.
    pub limit: u32,
    /// Requests that are left in it.
    pub remaining: u32,
    /// When it ends, in seconds since the epoch.
    pub reset: u32,
    /// Seconds until then when this request is one too many.
    pub retry_after: Option<u32>,
}

/// One window: when it ends, in seconds since the epoch, and the requests in it.
#[derive(Clone, Copy, Default)]
struct Window {
    end: u32,
    count: u32,
}

impl Window {
    /// The window that is open now.
    fn at(self, now: u32, length: u32) -> Window {
        if now < self.end { self } else { Window { end: now.saturating_add(length), count: 0 } }
    }
}

#[derive(Clone, Copy, Default)]
struct Windows {
    minute: Window,
    hour: Window,
}

#[derive(Default)]
struct Shard {
    windows: HashMap<Uuid, Windows>,
    sweep_at: usize,
}

/// Counts the requests of everybody.
#[derive(Default)]
pub struct RateLimit {
    shards: [Mutex<Shard>; SHARDS],
}

impl RateLimit {
    /// Counts a request, unless it is one too many; `None` for the control plane itself.
    pub fn take(&self, actor: Actor, limits: Limits, now: Timestamp) -> Option<Standing> {
        let id = actor.id()?;
        let now = u32::try_from(now.unix_seconds()).unwrap_or(u32::MAX);
        // The last byte of a UUIDv7 is random.
        let shard = self.shards.get(usize::from(id.as_bytes()[15]) % SHARDS)?;
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if shard.windows.len() >= shard.sweep_at.max(SWEEP_AT) && !shard.windows.contains_key(&id) {
            shard.windows.retain(|_, windows| now < windows.hour.end);
            shard.sweep_at = shard.windows.len() * 2;
        }
        let windows = shard.windows.entry(id).or_default();
        let (mut minute, mut hour) = (windows.minute.at(now, MINUTE_S), windows.hour.at(now, HOUR_S));
        let left = |minute: Window, hour: Window| {
            (limits.per_minute.saturating_sub(minute.count), limits.per_hour.saturating_sub(hour.count))
        };
        let (in_minute, in_hour) = left(minute, hour);
        let is_refused = in_minute == 0 || in_hour == 0;
        if !is_refused {
            minute.count += 1;
            hour.count += 1;
        }
        *windows = Windows { minute, hour };
        let (in_minute, in_hour) = left(minute, hour);
        // When as much is left of both, the one that ends later is what has to be waited for.
        let (limit, remaining, reset) = if in_hour <= in_minute {
            (limits.per_hour, in_hour, hour.end)
        } else {
            (limits.per_minute, in_minute, minute.end)
        };
        let retry_after = is_refused.then(|| reset.saturating_sub(now).max(1));
        Some(Standing { limit, remaining, reset, retry_after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenantry_journal::id::{TokenId, UserId};

    const LIMITS: Limits = Limits { per_minute: 3, per_hour: 5 };
    const NOW: u64 = 1_763_726_400;

    fn token(n: u128) -> Actor {
        Actor::Token(TokenId(Uuid::from_u128(n)))
    }

    fn at(second: u64) -> Timestamp {
        Timestamp((NOW + second) * 1000)
    }

    /// Limit, remaining and seconds from [`NOW`] to the reset, or to the next try when refused.
    fn take(limit: &RateLimit, second: u64) -> Result<(u32, u32, u64), u32> {
        let standing = limit.take(token(1), LIMITS, at(second)).expect("a token is limited");
        match standing.retry_after {
            Some(wait) => Err(wait),
            None => Ok((standing.limit, standing.remaining, u64::from(standing.reset) - NOW)),
        }
    }

    #[test]
    fn the_smaller_window_is_told_and_what_it_says_is_so() {
        let limit = RateLimit::default();
        assert_eq!(take(&limit, 0), Ok((3, 2, 60)));
        assert_eq!(take(&limit, 1), Ok((3, 1, 60)));
        assert_eq!(take(&limit, 1), Ok((3, 0, 60)));
        assert_eq!(take(&limit, 2), Err(58));
        assert_eq!(take(&limit, 59), Err(1), "what was refused did not count and did not prolong");
        // At the second that was told. Of the hour less is left now.
        assert_eq!(take(&limit, 60), Ok((5, 1, 3600)));
        assert_eq!(take(&limit, 60), Ok((5, 0, 3600)));
        assert_eq!(take(&limit, 61), Err(3539));
        assert_eq!(take(&limit, 3600), Ok((3, 2, 3660)));
    }

    #[test]
    fn nobody_pays_for_another_and_the_control_plane_is_not_limited() {
        let limit = RateLimit::default();
        for _ in 0..3 {
            assert!(take(&limit, 0).is_ok());
        }
        assert!(take(&limit, 0).is_err());
        let others = [token(2), Actor::User(UserId(Uuid::from_u128(3)))];
        for other in others {
            assert_eq!(limit.take(other, LIMITS, at(0)).map(|standing| standing.remaining), Some(2));
        }
        assert_eq!(limit.take(Actor::System, LIMITS, at(0)), None);
    }

    #[test]
    fn other_limits_count_at_once() {
        let limit = RateLimit::default();
        for _ in 0..3 {
            assert!(take(&limit, 0).is_ok());
        }
        let wider = Limits { per_minute: 10, per_hour: 100 };
        let standing = limit.take(token(1), wider, at(1)).expect("a token is limited");
        assert_eq!((standing.remaining, standing.retry_after), (6, None));
        let tighter = Limits { per_minute: 2, per_hour: 100 };
        let standing = limit.take(token(1), tighter, at(1)).expect("a token is limited");
        assert_eq!((standing.limit, standing.remaining, standing.retry_after), (2, 0, Some(59)));
    }

    #[test]
    fn who_is_gone_for_an_hour_is_forgotten() {
        let limit = RateLimit::default();
        let many = (SHARDS * SWEEP_AT) as u128;
        for n in 0..many {
            assert!(limit.take(token(n), LIMITS, at(0)).is_some());
        }
        for n in many..many + 2 * SHARDS as u128 {
            assert!(limit.take(token(n), LIMITS, at(3600)).is_some());
        }
        let held: usize =
            limit.shards.iter().map(|shard| shard.lock().expect("no panic").windows.len()).sum();
        assert!(held <= 2 * SHARDS, "{held}");
    }
}
