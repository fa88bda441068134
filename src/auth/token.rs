//! API tokens: `tenement_` and 32 random bytes in base64url. Only the BLAKE3 hash is kept.
//!
//! The text has 256 random bits, so a fast hash is enough and no request waits for Argon2.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tenantry_journal::sealed::Secret;

/// What every token begins with; printed in document 2.
pub const PREFIX: &str = "tenement_";

/// A token's text from 32 random bytes.
#[must_use]
pub fn text(random: &[u8; 32]) -> Secret {
    Secret::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random)))
}

/// A new token's text.
#[must_use]
pub fn generate() -> Secret {
    text(&rand::random())
}

/// What is kept of a token: the BLAKE3 hash of its text.
#[must_use]
pub fn hash(text: &str) -> [u8; 32] {
    blake3::hash(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_its_prefix_and_256_bits() {
        let token = generate();
        let random = token.reveal().strip_prefix(PREFIX).expect("prefix");
        assert_eq!(URL_SAFE_NO_PAD.decode(random).expect("base64url").len(), 32);
        assert_ne!(token.reveal(), generate().reveal());
        assert_ne!(hash(token.reveal()), hash(random));
    }
}
