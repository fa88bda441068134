//! Logins: a JWT (HS256) that names a user and the password that it was made with.
//!
//! A login says nothing of roles: they are looked up with each request, so a change of role
//! or password counts at once. The key is derived from the master key and never stored.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use tenantry_journal::id::UserId;
use tenantry_journal::time::Timestamp;

/// How long a login lasts, in seconds: a working day with some left over.
pub const LIFETIME_S: u64 = 12 * 60 * 60;

/// What a login says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who logged in.
    pub sub: UserId,
    /// When, in seconds since the epoch.
    pub iat: u64,
    /// Until when it holds, in seconds since the epoch.
    pub exp: u64,
    /// When the password behind it was set, in milliseconds since the epoch: another password
    /// makes the login void.
    pub pwd: u64,
}

/// Makes and reads logins.
pub struct JwtKeys {
    sign: EncodingKey,
    check: DecodingKey,
    validation: Validation,
}

impl JwtKeys {
    /// Logins under this key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> JwtKeys {
        let mut validation = Validation::new(Algorithm::HS256);
        // The expiry is compared below, with the caller's clock.
        validation.validate_exp = false;
        JwtKeys { sign: EncodingKey::from_secret(key), check: DecodingKey::from_secret(key), validation }
    }

    /// A login of a user whose password was set at `password_set_at`.
    ///
    /// # Errors
    /// When the claims cannot be encoded.
    pub fn issue(
        &self,
        user: UserId,
        password_set_at: Timestamp,
        now: Timestamp,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let iat = now.unix_seconds();
        let claims = Claims { sub: user, iat, exp: iat + LIFETIME_S, pwd: password_set_at.0 };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.sign)
    }

    /// What a login says, if it is ours and not over.
    #[must_use]
    pub fn read(&self, text: &str, now: Timestamp) -> Option<Claims> {
        let claims = jsonwebtoken::decode::<Claims>(text, &self.check, &self.validation).ok()?.claims;
        (now.unix_seconds() < claims.exp).then_some(claims)
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
