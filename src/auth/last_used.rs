//! When each API token was shown last. Observation, not fact: it is lost with the process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use tenantry_journal::id::TokenId;
use tenantry_journal::recorded::Actor;
use tenantry_journal::time::Timestamp;

/// More tokens than anybody has; past it only those seen already are followed.
const MOST_TOKENS: usize = 100_000;

/// When each API token was shown last.
#[derive(Debug, Default)]
pub struct LastUsed(RwLock<HashMap<TokenId, AtomicU64>>);

impl LastUsed {
    /// Notes that somebody showed a valid credential.
    pub fn note(&self, actor: Actor, now: Timestamp) {
        let Actor::Token(token) = actor else { return };
        {
            let seen = self.0.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = seen.get(&token) {
                at.fetch_max(now.0, Ordering::Relaxed);
                return;
            }
        }
        let mut seen = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if seen.len() < MOST_TOKENS {
            seen.entry(token).or_default().fetch_max(now.0, Ordering::Relaxed);
        }
    }

    /// When the token was shown last, as far as this process knows.
    #[must_use]
    pub fn get(&self, token: TokenId) -> Option<Timestamp> {
        let seen = self.0.read().unwrap_or_else(PoisonError::into_inner);
        seen.get(&token).map(|at| Timestamp(at.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn remembers_the_latest_use_of_tokens_alone() {
        let used = LastUsed::default();
        let token = TokenId(Uuid::from_u128(1));
        assert_eq!(used.get(token), None);
        used.note(Actor::Token(token), Timestamp(7));
        used.note(Actor::Token(token), Timestamp(5));
        used.note(Actor::System, Timestamp(9));
        assert_eq!(used.get(token), Some(Timestamp(7)));
    }
}
