//! The Merkle tree over all events, in the shapes of RFC 9162 (certificate transparency).
//!
//! A leaf is `SHA-256(0x00 || record)`, where the record is the exact bytes of `codec`; a
//! node is `SHA-256(0x01 || left || right)`; the root of nothing is `SHA-256("")`. Only
//! the frontier is kept here: the roots of the perfect subtrees, largest first, one for
//! each bit that is set in the size. From it any later root follows, so a snapshot that
//! carries it needs only the events after it hashed again.

pub mod proof;
mod sha;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A SHA-256 digest.
pub type Hash = [u8; 32];

/// The hash of one record as a leaf.
#[must_use]
pub fn leaf(record: &[u8]) -> Hash {
    sha::prefixed(0, record)
}

/// The hash of two subtrees as one.
#[must_use]
pub fn node(left: &Hash, right: &Hash) -> Hash {
    sha::pair(left, right)
}

/// The tree over the first `size` events, as far as it is needed to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontier {
    size: u64,
    /// Roots of the perfect subtrees, largest first.
    peaks: Vec<Hash>,
}

/// A checkpoint's peaks do not belong to its size.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a tree of {size} events cannot have {peaks} peaks")]
pub struct BadFrontier {
    size: u64,
    peaks: usize,
}

impl Frontier {
    /// Goes on from a checkpoint.
    ///
    /// # Errors
    /// When the number of peaks is not the number of bits set in `size`.
    pub fn resume(size: u64, peaks: Vec<Hash>) -> Result<Self, BadFrontier> {
        if size.count_ones() as usize == peaks.len() {
            Ok(Frontier { size, peaks })
        } else {
            Err(BadFrontier { size, peaks: peaks.len() })
        }
    }

    /// How many events the tree is over.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Roots of the perfect subtrees, largest first.
    #[must_use]
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Adds the next event's leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.push_with(leaf, |_| {});
    }

    /// As [`Frontier::push`]; `made` is handed the leaf and then each subtree that it
    /// completes, from the smallest.
    pub fn push_with(&mut self, leaf: Hash, mut made: impl FnMut(&Hash)) {
        let mut hash = leaf;
        made(&hash);
        // Each set bit at the low end of the size is a subtree as large as the one in
        // hand: the two become one, as in adding 1 to a binary number.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                hash = node(&left, &hash);
                made(&hash);
            }
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root over all events so far.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else {
            return Sha256::digest([]).into();
        };
        peaks.fold(*last, |right, left| node(left, &right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The eight inputs of the certificate-transparency reference implementation.
    pub(super) const PUBLISHED: [&[u8]; 8] = [
        &[],
        &[0],
        &[0x10],
        &[0x20, 0x21],
        &[0x30, 0x31],
        &[0x40, 0x41, 0x42, 0x43],
        &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
        &[0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f],
    ];

    /// RFC 9162, section 2.1.1, word for word.
    fn reference(leaves: &[Vec<u8>]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [one] => leaf(one),
            many => {
                let k = many.len().next_power_of_two() / 2;
                node(&reference(&many[..k]), &reference(&many[k..]))
            }
        }
    }

    #[test]
    fn every_root_is_the_one_of_rfc_9162() {
        let leaves: Vec<Vec<u8>> = (0..300u32).map(|i| i.to_be_bytes().to_vec()).collect();
        let mut frontier = Frontier::default();
        for size in 0..leaves.len() {
            assert_eq!(frontier.root(), reference(&leaves[..size]), "size {size}");
            assert_eq!(frontier.size(), size as u64);
            frontier.push(leaf(&leaves[size]));
        }
    }

    #[test]
    fn the_root_of_the_published_test_vectors() {
        let mut frontier = Frontier::default();
        for input in PUBLISHED {
            frontier.push(leaf(input));
        }
        let hex: String = frontier.root().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
    }

    #[test]
    fn goes_on_from_a_checkpoint() {
        let mut whole = Frontier::default();
        (0..77u8).for_each(|i| whole.push(leaf(&[i])));
        let mut resumed = Frontier::resume(whole.size(), whole.peaks().to_vec()).unwrap();
        whole.push(leaf(b"next"));
        resumed.push(leaf(b"next"));
        assert_eq!(resumed.root(), whole.root());
        assert!(Frontier::resume(3, vec![[0; 32]]).is_err());
    }
}
