//! Slows guessing of passwords: so many failures for one address and for one user name.
//!
//! An attempt counts as a failure from its beginning, so attempts at once do not slip
//! through; success takes it back. The limit is never global: guessing locks out nobody but
//! the guesser's address and the user that is guessed at.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Mutex;

use tenantry_journal::time::Timestamp;

/// How far back failures count, in milliseconds.
const WINDOW_MS: u64 = 5 * 60 * 1000;
/// Failures of one user name within the window: typing errors of a person.
const PER_USER: usize = 10;
/// Failures from one address within the window: a few people behind one address.
const PER_ADDRESS: usize = 30;
/// Addresses and names remembered each; at most 30 times are kept of one, so a few MiB.
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

#[derive(Default)]
struct Failures {
    by_address: HashMap<IpAddr, VecDeque<Timestamp>>,
    by_user: HashMap<String, VecDeque<Timestamp>>,
}

impl LoginLimit {
    /// Begins an attempt.
    ///
    /// # Errors
    /// [`TooMany`] when the address or the user name failed too often; the attempt is not
    /// counted then.
    pub fn begin(&self, address: IpAddr, user: &str, now: Timestamp) -> Result<(), TooMany> {
        let mut failures = self.lock();
        let waits = [
            wait(failures.by_address.get(&network(address)), PER_ADDRESS, now),
            wait(failures.by_user.get(user), PER_USER, now),
        ];
        if let Some(wait_ms) = waits.into_iter().flatten().max() {
            return Err(TooMany { retry_after_s: wait_ms.div_ceil(1000).max(1) });
        }
        note(&mut failures.by_address, network(address), now);
        note(&mut failures.by_user, user.to_owned(), now);
        Ok(())
    }

    /// The attempt was a success: it no longer counts, nor do earlier ones of the user.
    pub fn succeeded(&self, address: IpAddr, user: &str) {
        let mut failures = self.lock();
        failures.by_user.remove(user);
        if let Some(times) = failures.by_address.get_mut(&network(address)) {
            times.pop_back();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What counts as one address: an IPv6 host has a whole /64 to choose from.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
    }
}

/// How long to wait, in milliseconds, when the limit is reached.
fn wait(times: Option<&VecDeque<Timestamp>>, limit: usize, now: Timestamp) -> Option<u64> {
    let times = times?;
    let oldest_that_counts = times.iter().rev().nth(limit - 1)?;
    let age = now.since_ms(*oldest_that_counts);
    (age < WINDOW_MS).then(|| WINDOW_MS - age)
}

fn note<K: Eq + Hash + Clone>(map: &mut HashMap<K, VecDeque<Timestamp>>, key: K, now: Timestamp) {
    if map.len() >= REMEMBERED && !map.contains_key(&key) {
        map.retain(|_, times| times.back().is_some_and(|last| now.since_ms(*last) < WINDOW_MS));
        if map.len() >= REMEMBERED
            && let Some(stalest) = map
                .iter()
                .min_by_key(|(_, times)| (times.len(), times.back().copied()))
                .map(|(key, _)| key.clone())
        {
            map.remove(&stalest);
        }
    }
    let times = map.entry(key).or_default();
    times.push_back(now);
    while times.len() > PER_ADDRESS.max(PER_USER) {
        times.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const NOW: Timestamp = Timestamp(1_763_726_400_000);

    #[test]
    fn guessing_at_one_user_stops_that_user_only_and_only_for_a_while() {
        let limit = LoginLimit::default();
        for _ in 0..PER_USER {
            assert!(limit.begin(HERE, "admin", NOW).is_ok());
        }
        let refused = limit.begin(THERE, "admin", NOW.plus_ms(1000)).expect_err("limited");
        assert_eq!(refused.retry_after_s, 299);
        assert!(limit.begin(HERE, "else", NOW).is_ok());
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
