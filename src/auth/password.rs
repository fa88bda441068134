//! Passwords: Argon2id in PHC form, never more than a few computed at once.
//!
//! A hash takes tens of milliseconds and 19 MiB on purpose, so it runs off the request
//! threads, bounded, and an unknown user costs as much time as a wrong password.

use std::sync::{Arc, OnceLock};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use prometheus_client::metrics::counter::Counter;
use tenantry_journal::sealed::Secret;
use tokio::sync::Semaphore;

/// Hashes computed at once: enough for people, too few to starve the traffic of a small machine.
const AT_ONCE: usize = 2;
/// Hashes that wait for their turn: about a second's worth. More are refused, so that a crowd
/// of guessers cannot make everybody wait.
const WAITING: usize = 32;
/// The shortest password that a new user may have (NIST SP 800-63B).
pub const SHORTEST: usize = 8;
/// The longest password that is hashed; longer input would only cost time.
pub const LONGEST: usize = 1024;

/// The password could not be hashed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// Too many wait already.
    #[error("too many passwords are being checked")]
    Busy,
    /// The computation failed.
    #[error("the password could not be hashed: {0}")]
    Failed(String),
}

/// Computes and checks password hashes.
#[derive(Clone)]
pub struct Passwords {
    waiting: Arc<Semaphore>,
    places: Arc<Semaphore>,
    computed: Counter,
}

impl Default for Passwords {
    fn default() -> Self {
        Passwords::counted(Counter::default())
    }
}

impl Passwords {
    /// Counts what is computed.
    #[must_use]
    pub fn counted(computed: Counter) -> Passwords {
        let (waiting, places) = (Arc::new(Semaphore::new(WAITING)), Arc::new(Semaphore::new(AT_ONCE)));
        Passwords { waiting, places, computed }
    }

    /// The PHC string to keep for a password.
    ///
    /// # Errors
    /// When too many wait already, no salt can be made or the hash cannot be computed.
    pub async fn hash(&self, password: Secret) -> Result<Secret, HashError> {
        self.compute(move || hash(password.reveal())).await?
    }

    /// Whether `password` is the one behind `hash`. Without a hash (no such user) the answer
    /// is no, after the same time.
    ///
    /// # Errors
    /// When too many wait already or the computation did not end.
    pub async fn verify(&self, password: Secret, hash: Option<Secret>) -> Result<bool, HashError> {
        self.compute(move || {
            let known = hash.is_some();
            let text = match &hash {
                Some(hash) => hash.reveal(),
                None => dummy(),
            };
            let matches = PasswordHash::new(text).is_ok_and(|parsed| {
                Argon2::default().verify_password(password.reveal().as_bytes(), &parsed).is_ok()
            });
            matches && known
        })
        .await
    }

    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, HashError> {
        let failed = |error: &dyn std::fmt::Display| HashError::Failed(error.to_string());
        let _waits = self.waiting.try_acquire().map_err(|_| HashError::Busy)?;
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|error| failed(&error))?;
        self.computed.inc();
        tokio::task::spawn_blocking(move || {
            let _place = place;
            work()
        })
        .await
        .map_err(|error| failed(&error))
    }
}

/// The PHC string to keep for a password; takes tens of milliseconds.
///
/// # Errors
/// When no salt can be made or the hash cannot be computed.
pub fn hash(password: &str) -> Result<Secret, HashError> {
    Argon2::default()
        .hash_password(password.as_bytes())
        .map(|hash| Secret::new(hash.to_string()))
        .map_err(|error| HashError::Failed(error.to_string()))
}

/// The hash of nobody's password, so that asking for nobody takes as long.
fn dummy() -> &'static str {
    static DUMMY: OnceLock<Secret> = OnceLock::new();
    let nobody = || hash("nobody").unwrap_or_else(|_| Secret::new(String::new()));
    DUMMY.get_or_init(nobody).reveal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_password_itself_opens_its_hash() {
        let passwords = Passwords::default();
        let kept = passwords.hash(Secret::new("correct horse".into())).await.expect("hashes");
        assert!(kept.reveal().starts_with("$argon2id$"));
        let right = passwords.verify(Secret::new("correct horse".into()), Some(kept.clone())).await;
        assert!(right.expect("verifies"));
        let wrong = passwords.verify(Secret::new("correct horsf".into()), Some(kept)).await;
        assert!(!wrong.expect("verifies"));
    }

    #[tokio::test]
    async fn nobody_has_no_password() {
        let passwords = Passwords::default();
        assert!(!passwords.verify(Secret::new("nobody".into()), None).await.expect("verifies"));
    }
}
