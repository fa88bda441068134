//! Logins: a JWT (HS256) that names a user and the password that it was made with.
//!
//! A login says nothing of roles: they are looked up with each request, so a change of role
//! or password counts at once. The key is derived from the master key and never stored.
//! What a login says never changes, so it is remembered: to check a signature costs more
//! than to answer most requests.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use tenantry_journal::id::UserId;
use tenantry_journal::time::Timestamp;

/// How long a login lasts, in seconds: a working day with some left over.
pub const LIFETIME_S: u64 = 12 * 60 * 60;

/// Logins that are remembered: more than are in use at once in most places; past it all are
/// forgotten, and checked again as they come. Only valid ones get in. About 350 bytes each.
const MOST_REMEMBERED: usize = 4096;

/// What a login says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who logged in.
    pub sub: UserId,
    /// When, in seconds since the epoch.
    pub iat: u64,
    /// Until when it holds, in seconds since the epoch.
    pub exp: u64,
    /// Since when the user's logins hold, in milliseconds since the epoch: another password, or
    /// being disabled, begins that anew and makes the login void.
    pub pwd: u64,
}

impl Claims {
    /// Whether the login has ended.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        now.unix_seconds() >= self.exp
    }
}

/// Makes and reads logins.
pub struct JwtKeys {
    sign: EncodingKey,
    check: DecodingKey,
    validation: Validation,
    /// What checked logins say, by their text. The map's own hash has a random key, so it is
    /// as hard to steer as a digest and takes a fifth of its time.
    checked: RwLock<HashMap<String, Claims>>,
}

impl JwtKeys {
    /// Logins under this key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> JwtKeys {
        let mut validation = Validation::new(Algorithm::HS256);
        // The expiry is compared below, with the caller's clock.
        validation.validate_exp = false;
        JwtKeys {
            sign: EncodingKey::from_secret(key),
            check: DecodingKey::from_secret(key),
            validation,
            checked: RwLock::default(),
        }
    }

    /// A login of a user whose logins hold since `since`.
    ///
    /// # Errors
    /// When the claims cannot be encoded.
    pub fn issue(
        &self,
        user: UserId,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let iat = now.unix_seconds();
        let claims = Claims { sub: user, iat, exp: iat + LIFETIME_S, pwd: since.0 };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.sign)
    }

    /// What a login says, if it is ours and not over.
    #[must_use]
    pub fn read(&self, text: &str, now: Timestamp) -> Option<Claims> {
        let claims = self.claims(text)?;
        (!claims.is_over(now)).then_some(claims)
    }

    fn claims(&self, text: &str) -> Option<Claims> {
        let known = self.checked.read().unwrap_or_else(PoisonError::into_inner).get(text).copied();
        if known.is_some() {
            return known;
        }
        let claims = jsonwebtoken::decode::<Claims>(text, &self.check, &self.validation).ok()?.claims;
        let mut checked = self.checked.write().unwrap_or_else(PoisonError::into_inner);
        if checked.len() >= MOST_REMEMBERED {
            checked.clear();
        }
        checked.insert(text.to_owned(), claims);
        Some(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const USER: UserId = UserId(Uuid::from_u128(7));

    #[test]
    fn a_login_holds_for_twelve_hours_and_not_longer() {
        let keys = JwtKeys::new(&[1; 32]);
        let now = Timestamp(1_763_726_400_000);
        let text = keys.issue(USER, Timestamp(5), now).expect("encodes");
        let claims = keys.read(&text, now).expect("reads");
        assert_eq!((claims.sub, claims.pwd), (USER, 5));
        assert!(keys.read(&text, now.plus_ms(LIFETIME_S * 1000 - 1)).is_some());
        assert!(keys.read(&text, now.plus_ms(LIFETIME_S * 1000)).is_none());
    }

    #[test]
    fn a_login_that_was_read_before_says_the_same_and_ends_in_time() {
        let keys = JwtKeys::new(&[1; 32]);
        let now = Timestamp(1_763_726_400_000);
        for second in 0..=MOST_REMEMBERED as u64 {
            let issued = now.plus_ms(second * 1000);
            let text = keys.issue(USER, Timestamp(5), issued).expect("encodes");
            let first = keys.read(&text, issued).expect("reads");
            assert_eq!(keys.read(&text, issued), Some(first));
            assert_eq!(keys.read(&text, issued.plus_ms(LIFETIME_S * 1000)), None);
        }
        assert!(keys.checked.read().expect("not poisoned").len() <= MOST_REMEMBERED);
    }

    #[test]
    fn a_login_of_another_key_or_without_signature_is_void() {
        let now = Timestamp(1_763_726_400_000);
        let keys = JwtKeys::new(&[1; 32]);
        let foreign = JwtKeys::new(&[2; 32]).issue(USER, Timestamp(5), now).expect("encodes");
        assert!(keys.read(&foreign, now).is_none());
        let own = keys.issue(USER, Timestamp(5), now).expect("encodes");
        let payload = own.split('.').nth(1).expect("three parts");
        // {"alg":"none","typ":"JWT"}
        let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{payload}.");
        assert!(keys.read(&unsigned, now).is_none());
        assert!(keys.read("", now).is_none());
    }
}
