//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha): HChaCha20 makes a key of its own for each
//! nonce, ring's ChaCha20-Poly1305 does the rest.
//!
//! Most sealed values are shorter than 100 bytes and a fold opens millions of them. The
//! pure Rust Poly1305 sets up vector tables for each, which took half of a whole fold;
//! ring's assembly takes a fifth of that. The bytes are the same, and a test says so.

use chacha20::hchacha;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

/// Bytes of a nonce; chosen at random, they never meet again.
pub(crate) const NONCE_BYTES: usize = 24;
/// Bytes of the tag behind the ciphertext.
pub(crate) const TAG_BYTES: usize = 16;

/// The key and nonce under which ring encrypts.
fn inner(key: &[u8; 32], nonce: &[u8; NONCE_BYTES]) -> Option<(LessSafeKey, Nonce)> {
    let (head, tail) = nonce.split_first_chunk::<16>()?;
    let subkey: [u8; 32] = hchacha::<chacha20::R20>(&(*key).into(), &(*head).into()).into();
    let subkey = Zeroizing::new(subkey);
    let mut short = [0; 12];
    short.iter_mut().skip(4).zip(tail).for_each(|(to, from)| *to = *from);
    let unbound = UnboundKey::new(&CHACHA20_POLY1305, subkey.as_ref()).ok()?;
    Some((LessSafeKey::new(unbound), Nonce::assume_unique_for_key(short)))
}

/// Encrypts in place and gives the tag.
pub(crate) fn seal(
    key: &[u8; 32],
    nonce: &[u8; NONCE_BYTES],
    aad: &[u8],
    text: &mut [u8],
) -> Option<[u8; TAG_BYTES]> {
    let (key, nonce) = inner(key, nonce)?;
    let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), text).ok()?;
    tag.as_ref().try_into().ok()
}

/// Decrypts ciphertext and tag in place and gives the text; `None` when they are not this
/// key's.
pub(crate) fn open<'a>(
    key: &[u8; 32],
    nonce: &[u8; NONCE_BYTES],
    aad: &[u8],
    sealed: &'a mut [u8],
) -> Option<&'a [u8]> {
    let (key, nonce) = inner(key, nonce)?;
    key.open_in_place(nonce, Aad::from(aad), sealed).ok().map(|text| &*text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chacha20poly1305::XChaCha20Poly1305;
    use chacha20poly1305::aead::{Aead, KeyInit, Payload};

    #[test]
    fn writes_and_reads_the_bytes_of_the_reference_implementation() {
        for len in [0, 1, 15, 16, 17, 63, 64, 65, 300, 5000] {
            let key: [u8; 32] = std::array::from_fn(|i| (i * 7 + len) as u8);
            let nonce: [u8; 24] = std::array::from_fn(|i| (i * 11 + len) as u8);
            let text: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let expected = XChaCha20Poly1305::new(&key.into())
                .encrypt(&nonce.into(), Payload { msg: &text, aad: b"id" })
                .unwrap();
            let mut ours = text.clone();
            let tag = seal(&key, &nonce, b"id", &mut ours).unwrap();
            ours.extend_from_slice(&tag);
            assert_eq!(ours, expected, "{len} bytes");
            assert_eq!(open(&key, &nonce, b"id", &mut ours.clone()), Some(text.as_slice()));
            assert_eq!(open(&key, &nonce, b"di", &mut ours.clone()), None, "other associated data");
            ours[len / 2] ^= 1;
            assert_eq!(open(&key, &nonce, b"id", &mut ours), None, "a changed byte");
        }
    }
}
