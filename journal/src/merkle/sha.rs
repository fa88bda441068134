//! SHA-256 of messages whose length is known, whole blocks at a time.
//!
//! A hasher that takes parts spends as long on its buffer as on a record of 256 bytes. Here the
//! message is laid out with its padding (FIPS 180-4, section 5.1.1) and compressed at once.

use sha2::block_api::compress256;
use sha2::{Digest as _, Sha256};

use super::Hash;

/// FIPS 180-4, section 5.3.3.
const START: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
const BLOCK: usize = 64;
/// Blocks that are laid out on the stack: 1014 bytes of message, more than most records have.
const BLOCKS: usize = 16;
/// A byte of padding and the length.
const PADDING: usize = 9;

fn digest_of(state: [u32; 8]) -> Hash {
    let mut digest = [0; 32];
    let (words, _) = digest.as_chunks_mut::<4>();
    words.iter_mut().zip(state).for_each(|(place, word)| *place = word.to_be_bytes());
    digest
}

/// `SHA-256(prefix || message)`
pub(super) fn prefixed(prefix: u8, message: &[u8]) -> Hash {
    let length = message.len() + 1;
    let used = (length + PADDING).div_ceil(BLOCK);
    let mut room = [0; BLOCKS * BLOCK];
    let laid_out = room.get_mut(..used * BLOCK).and_then(|padded| {
        let (first, rest) = padded.split_first_mut()?;
        *first = prefix;
        let (place, rest) = rest.split_at_mut_checked(message.len())?;
        place.copy_from_slice(message);
        *rest.first_mut()? = 0x80;
        *rest.last_chunk_mut()? = (length as u64 * 8).to_be_bytes();
        Some(())
    });
    if laid_out.is_none() {
        return Sha256::new().chain_update([prefix]).chain_update(message).finalize().into();
    }
    let (blocks, _) = room.as_chunks::<BLOCK>();
    let mut state = START;
    compress256(&mut state, blocks.get(..used).unwrap_or_default());
    digest_of(state)
}

/// `SHA-256(0x01 || left || right)`
pub(super) fn pair(left: &Hash, right: &Hash) -> Hash {
    /// One byte and two hashes, in bits.
    const BITS: u64 = 65 * 8;
    let mut room = [0; 2 * BLOCK];
    let (first, rest) = room.split_at_mut(1);
    first.copy_from_slice(&[1]);
    let (one, rest) = rest.split_at_mut(32);
    one.copy_from_slice(left);
    let (other, rest) = rest.split_at_mut(32);
    other.copy_from_slice(right);
    let (mark, rest) = rest.split_at_mut(1);
    mark.copy_from_slice(&[0x80]);
    let (_, bits) = rest.split_at_mut(rest.len() - 8);
    bits.copy_from_slice(&BITS.to_be_bytes());
    let (blocks, _) = room.as_chunks::<BLOCK>();
    let mut state = START;
    compress256(&mut state, blocks);
    digest_of(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_has_the_digest_of_the_standard() {
        let message: Vec<u8> = (0..1200u32).map(|n| (n * 31) as u8).collect();
        for length in 0..message.len() {
            let whole = [&[7], &message[..length]].concat();
            let wanted: Hash = Sha256::digest(whole).into();
            assert_eq!(prefixed(7, &message[..length]), wanted, "{length}");
        }
        let (left, right) = ([3; 32], [200; 32]);
        let wanted: Hash = Sha256::digest([[1].as_slice(), &left, &right].concat()).into();
        assert_eq!(pair(&left, &right), wanted);
    }
}
