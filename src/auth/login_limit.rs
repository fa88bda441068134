//! Slows guessing of passwords: so many failures for one address and for one user name.
//!
//! An attempt counts as a failure from its beginning, so attempts at once do not slip
//! through; success takes it back. The limit is never global. Guessing locks out the guesser's
//! address alone: a user who is guessed at from many addresses still gets one attempt from
//! each other address. The address is the connection's own; what a request says of where it
//! came from (`X-Forwarded-For`) is anybody's word.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Mutex;

use tenantry_journal::time::Timestamp;

/// How far back failures count, in milliseconds.
const WINDOW_MS: u64 = 5 * 60 * 1000;
/// Failures of one user name from one address within the window: typing errors of a person.
const PER_PAIR: usize = 10;
/// Failures of one user name from all addresses within the window; past it each address gets
/// one attempt, so that its owner, who knows the password, gets in from anywhere.
const PER_USER: usize = 20;
/// Failures from one address within the window: a few people behind one address.
const PER_ADDRESS: usize = 30;
/// Failures of one user name that are remembered. Older ones are of other addresses, and what
/// is forgotten of an address still counts for the address.
const KEPT_PER_USER: usize = 128;
/// Addresses and names remembered each. Every failure costs us a hash, so the minutes that
/// count hold some ten thousands of them at most, of 40 bytes each.
const REMEMBERED: usize = 10_000;

/// Too many failures; asks to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many failed logins; try again in {retry_after_s} s")]
pub struct TooMany {
    /// Seconds until the next attempt is looked at.
    pub retry_after_s: u64,
}

/// Counts failures per address and per user name.
#[derive(Default)]
pub struct LoginLimit {
    failures: Mutex<Failures>,
}

/// When somebody failed, and from where.
#[derive(Clone, Copy)]
struct Failure {
    at: Timestamp,
    from: IpAddr,
}

#[derive(Default)]
struct Failures {
    by_address: HashMap<IpAddr, VecDeque<Failure>>,
    by_user: HashMap<String, VecDeque<Failure>>,
}

impl LoginLimit {
    /// Begins an attempt.
    ///
    /// # Errors
    /// [`TooMany`] when the address or the user name failed too often; the attempt is not
    /// counted then.
    pub fn begin(&self, address: IpAddr, user: &str, now: Timestamp) -> Result<(), TooMany> {
        let from = network(address);
        let mut failures = self.lock();
        let recent = |times: Option<&VecDeque<Failure>>| -> Vec<Failure> {
            let counts = |failure: &&Failure| now.since_ms(failure.at) < WINDOW_MS;
            times.into_iter().flatten().filter(counts).copied().collect()
        };
        let of_address = recent(failures.by_address.get(&from));
        let of_user = recent(failures.by_user.get(user));
        let of_pair: Vec<Failure> = of_user.iter().filter(|failure| failure.from == from).copied().collect();
        // Of both ways out the one that comes first: the user's failures are few again, or
        // none of this address is left.
        let user_wait = match (wait(&of_user, PER_USER, now), wait(&of_pair, 1, now)) {
            (Some(user), Some(pair)) => Some(user.min(pair)),
            _ => None,
        };
        let waits = [wait(&of_address, PER_ADDRESS, now), wait(&of_pair, PER_PAIR, now), user_wait];
        if let Some(wait_ms) = waits.into_iter().flatten().max() {
            return Err(TooMany { retry_after_s: wait_ms.div_ceil(1000).max(1) });
        }
        let failure = Failure { at: now, from };
        note(&mut failures.by_address, from, failure, PER_ADDRESS);
        note(&mut failures.by_user, user.to_owned(), failure, KEPT_PER_USER);
        Ok(())
    }

    /// The attempt was a success: it no longer counts, nor do earlier ones of the user from
    /// this address. What others did at other addresses still counts.
    pub fn succeeded(&self, address: IpAddr, user: &str) {
        let from = network(address);
        let mut failures = self.lock();
        if let Some(of_user) = failures.by_user.get_mut(user) {
            of_user.retain(|failure| failure.from != from);
            if of_user.is_empty() {
                failures.by_user.remove(user);
            }
        }
        if let Some(of_address) = failures.by_address.get_mut(&from) {
            of_address.pop_back();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What counts as one address: an IPv6 host has a whole /64 to choose from.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
    }
}

/// How long until fewer than `limit` of these count, in milliseconds; `None` when they do.
fn wait(recent: &[Failure], limit: usize, now: Timestamp) -> Option<u64> {
    let last_to_go = recent.iter().rev().nth(limit - 1)?;
    Some(WINDOW_MS.saturating_sub(now.since_ms(last_to_go.at)))
}

fn note<K: Eq + Hash + Clone>(
    map: &mut HashMap<K, VecDeque<Failure>>,
    key: K,
    failure: Failure,
    keep: usize,
) {
    if map.len() >= REMEMBERED && !map.contains_key(&key) {
        let counts = |last: &Failure| failure.at.since_ms(last.at) < WINDOW_MS;
        map.retain(|_, failures| failures.back().is_some_and(counts));
        if map.len() >= REMEMBERED
            && let Some(stalest) = map
                .iter()
                .min_by_key(|(_, failures)| (failures.len(), failures.back().map(|last| last.at)))
                .map(|(key, _)| key.clone())
        {
            map.remove(&stalest);
        }
    }
    let failures = map.entry(key).or_default();
    failures.push_back(failure);
    while failures.len() > keep {
        failures.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const NOW: Timestamp = Timestamp(1_763_726_400_000);

    fn host(n: u8) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, n))
    }

    #[test]
    fn guessing_at_one_user_stops_that_user_only_and_only_for_a_while() {
        let limit = LoginLimit::default();
        for _ in 0..PER_PAIR {
            assert!(limit.begin(HERE, "admin", NOW).is_ok());
        }
        let refused = limit.begin(HERE, "admin", NOW.plus_ms(1000)).expect_err("limited");
        assert_eq!(refused.retry_after_s, 299);
        assert!(limit.begin(HERE, "else", NOW).is_ok());
        assert!(limit.begin(HERE, "admin", NOW.plus_ms(WINDOW_MS)).is_ok());
    }

    #[test]
    fn a_stranger_locks_nobody_out_from_elsewhere_and_many_addresses_gain_little() {
        let limit = LoginLimit::default();
        let strangers = 100;
        let mut looked_at = 0;
        for _ in 0..PER_PAIR {
            for n in 0..strangers {
                looked_at += usize::from(limit.begin(host(n), "admin", NOW).is_ok());
            }
        }
        assert_eq!(looked_at, usize::from(strangers), "one attempt each, past the user's limit");
        // The user themself, from an address of their own.
        assert!(limit.begin(HERE, "admin", NOW).is_ok());
        limit.succeeded(HERE, "admin");
        assert!(limit.begin(HERE, "admin", NOW).is_ok());
        // One wrong password there, and they wait like everybody else.
        assert!(limit.begin(HERE, "admin", NOW).is_err());
        assert!(limit.begin(HERE, "admin", NOW.plus_ms(WINDOW_MS)).is_ok());
    }

    #[test]
    fn guessing_from_one_address_stops_that_address_only() {
        let limit = LoginLimit::default();
        for n in 0..PER_ADDRESS {
            assert!(limit.begin(HERE, &format!("user{n}"), NOW).is_ok());
        }
        assert!(limit.begin(HERE, "admin", NOW).is_err());
        assert!(limit.begin(THERE, "admin", NOW).is_ok());
    }

    #[test]
    fn logins_that_succeed_never_reach_the_limit() {
        let limit = LoginLimit::default();
        for _ in 0..100 {
            assert!(limit.begin(HERE, "admin", NOW).is_ok());
            limit.succeeded(HERE, "admin");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let limit = LoginLimit::default();
        for n in 0..REMEMBERED + 50 {
            let address = IpAddr::V4(std::net::Ipv4Addr::from(u32::try_from(n).expect("small")));
            assert!(limit.begin(address, &n.to_string(), NOW).is_ok());
        }
        assert!(limit.lock().by_user.len() <= REMEMBERED);
        assert!(limit.lock().by_address.len() <= REMEMBERED);
    }
}
