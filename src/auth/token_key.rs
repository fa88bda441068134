//! Token texts for requests that may come twice.
//!
//! A token's text is shown once and kept nowhere. So that a request with an
//! `Idempotency-Key` gets the same answer when it is repeated, its token is not random but
//! derived from what recognizes the request, under a key that only this server has.

use tenantry_journal::recorded::Idempotency;
use tenantry_journal::sealed::Secret;

use super::token;

/// Derives token texts.
pub struct TokenKey([u8; 32]);

impl TokenKey {
    /// Derives under this key, which must never be used for anything else.
    #[must_use]
    pub fn new(key: [u8; 32]) -> TokenKey {
        TokenKey(key)
    }

    /// The text for a request: the same for each repetition, random without a key.
    #[must_use]
    pub fn text(&self, request: Option<Idempotency>) -> Secret {
        let Some(Idempotency { key, request }) = request else { return token::generate() };
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&key).update(&request);
        token::text(hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_request_gets_the_same_text_and_no_other_does() {
        let key = TokenKey::new([1; 32]);
        let request = Idempotency { key: [2; 16], request: [3; 16] };
        let text = |key: &TokenKey, request| key.text(request).reveal().to_owned();
        assert_eq!(text(&key, Some(request)), text(&key, Some(request)));
        assert_ne!(text(&key, Some(request)), text(&TokenKey::new([9; 32]), Some(request)));
        let other = Idempotency { key: [2; 16], request: [4; 16] };
        assert_ne!(text(&key, Some(request)), text(&key, Some(other)));
        assert_ne!(text(&key, None), text(&key, None));
    }
}
