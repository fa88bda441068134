//! Proofs over the tree, as in RFC 9162, sections 2.1.3 and 2.1.4: made from the roots of
//! perfect subtrees, checked with nothing but the hashes in hand.
//!
//! A leaf's index is its event's seq - 1.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Hash, node};
use crate::hex;

/// Where the roots of perfect subtrees come from.
pub trait Subtrees {
    /// Why one is not to be had.
    type Error;

    /// The root over the leaves `index << level .. (index + 1) << level`.
    ///
    /// # Errors
    /// When it is not to be had.
    fn perfect(&mut self, level: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// That an event is in a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Inclusion {
    /// Events in the tree.
    pub tree_size: u64,
    /// The event's seq - 1.
    pub leaf_index: u64,
    /// `SHA-256(0x00 || record)`.
    #[serde(with = "hex::one")]
    #[schemars(with = "hex::Digits")]
    pub leaf_hash: Hash,
    /// Siblings from the leaf to the root.
    #[serde(with = "hex::many")]
    #[schemars(with = "Vec<hex::Digits>")]
    pub inclusion_path: Vec<Hash>,
    /// The tree's root.
    #[serde(with = "hex::one")]
    #[schemars(with = "hex::Digits")]
    pub root_hash: Hash,
}

/// That a tree begins with all of an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Consistency {
    /// Events in the earlier tree.
    pub tree_size_1: u64,
    /// Events in the later tree.
    pub tree_size_2: u64,
    /// The earlier tree's root.
    #[serde(with = "hex::one")]
    #[schemars(with = "hex::Digits")]
    pub root_hash_1: Hash,
    /// The later tree's root.
    #[serde(with = "hex::one")]
    #[schemars(with = "hex::Digits")]
    pub root_hash_2: Hash,
    /// The nodes between them.
    #[serde(with = "hex::many")]
    #[schemars(with = "Vec<hex::Digits>")]
    pub consistency_path: Vec<Hash>,
}

/// The largest power of two below `size`, which is at least 2.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// The root over the leaves `from..to`, where `from` is a multiple of a power of two that is
/// no less than their number, as in every subtree of a tree.
///
/// # Errors
/// Those of the source.
pub fn root<S: Subtrees>(source: &mut S, from: u64, to: u64) -> Result<Hash, S::Error> {
    let mut perfect = Vec::new();
    let mut at = from;
    while at < to {
        let level = (to - at).ilog2();
        perfect.push(source.perfect(level, at >> level)?);
        at += 1 << level;
    }
    let mut peaks = perfect.into_iter().rev();
    let Some(last) = peaks.next() else {
        return Ok(Sha256::digest([]).into());
    };
    Ok(peaks.fold(last, |right, left| node(&left, &right)))
}

impl Inclusion {
    /// Proves that the leaf `index` is in the tree over the first `size` leaves.
    /// `index` is below `size`.
    ///
    /// # Errors
    /// Those of the source.
    pub fn of<S: Subtrees>(source: &mut S, index: u64, size: u64) -> Result<Inclusion, S::Error> {
        let leaf_hash = source.perfect(0, index)?;
        let (mut from, mut to) = (0, size);
        let mut path = Vec::new();
        while to - from > 1 {
            let middle = from + split(to - from);
            if index < middle {
                path.push(root(source, middle, to)?);
                to = middle;
            } else {
                path.push(root(source, from, middle)?);
                from = middle;
            }
        }
        path.reverse();
        let root_hash = root(source, 0, size)?;
        Ok(Inclusion { tree_size: size, leaf_index: index, leaf_hash, inclusion_path: path, root_hash })
    }

    /// Whether it proves what it says (RFC 9162, section 2.1.3.2).
    #[must_use]
    pub fn holds(&self) -> bool {
        if self.leaf_index >= self.tree_size {
            return false;
        }
        let mut place = Place { first: self.leaf_index, last: self.tree_size - 1 };
        let mut hash = self.leaf_hash;
        for sibling in &self.inclusion_path {
            if place.last == 0 {
                return false;
            }
            hash = if place.is_right() { node(sibling, &hash) } else { node(&hash, sibling) };
            place.rise();
        }
        place.last == 0 && hash == self.root_hash
    }
}

impl Consistency {
    /// Proves that the tree over `later` leaves begins with the one over `earlier`, which is
    /// at least 1 and no more than `later`.
    ///
    /// # Errors
    /// Those of the source.
    pub fn of<S: Subtrees>(source: &mut S, earlier: u64, later: u64) -> Result<Consistency, S::Error> {
        let (mut from, mut to) = (0, later);
        let mut path = Vec::new();
        while to > earlier {
            let middle = from + split(to - from);
            if earlier <= middle {
                path.push(root(source, middle, to)?);
                to = middle;
            } else {
                path.push(root(source, from, middle)?);
                from = middle;
            }
        }
        // The first tree itself is known to who asks, unless only its right part is left.
        if from > 0 {
            path.push(root(source, from, to)?);
        }
        path.reverse();
        Ok(Consistency {
            tree_size_1: earlier,
            tree_size_2: later,
            root_hash_1: root(source, 0, earlier)?,
            root_hash_2: root(source, 0, later)?,
            consistency_path: path,
        })
    }

    /// Whether it proves what it says (RFC 9162, section 2.1.4.2).
    #[must_use]
    pub fn holds(&self) -> bool {
        let (earlier, later) = (self.tree_size_1, self.tree_size_2);
        if earlier == 0 || earlier > later {
            return false;
        }
        if earlier == later {
            return self.consistency_path.is_empty() && self.root_hash_1 == self.root_hash_2;
        }
        let mut place = Place { first: earlier - 1, last: later - 1 };
        let low = place.first.trailing_ones();
        place = Place { first: place.first >> low, last: place.last >> low };
        let mut path = self.consistency_path.iter();
        let begin = if earlier.is_power_of_two() { Some(&self.root_hash_1) } else { path.next() };
        let Some(begin) = begin else { return false };
        let (mut first, mut second) = (*begin, *begin);
        for sibling in path {
            if place.last == 0 {
                return false;
            }
            if place.is_right() {
                first = node(sibling, &first);
                second = node(sibling, &second);
            } else {
                second = node(&second, sibling);
            }
            place.rise();
        }
        place.last == 0 && first == self.root_hash_1 && second == self.root_hash_2
    }
}

/// Where a node is among those of its level, and which is the last of them.
struct Place {
    first: u64,
    last: u64,
}

impl Place {
    /// Whether its sibling is to its left; a last node without a sibling rises until it has one.
    fn is_right(&mut self) -> bool {
        let is_odd = self.first & 1 == 1;
        if !is_odd && self.first == self.last {
            let low = self.first.trailing_zeros().min(63);
            (self.first, self.last) = (self.first >> low, self.last >> low);
            return true;
        }
        is_odd
    }

    fn rise(&mut self) {
        self.first >>= 1;
        self.last >>= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::leaf;
    use super::*;
    use proptest::prelude::*;

    /// All leaves at hand: subtrees are computed word for word as RFC 9162, 2.1.1 says.
    struct Naive(Vec<Hash>);

    fn naive(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [one] => *one,
            many => {
                let (left, right) = many.split_at(split(many.len() as u64) as usize);
                node(&naive(left), &naive(right))
            }
        }
    }

    /// PATH(m, D[n]) of section 2.1.3.1.
    fn path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let k = split(leaves.len() as u64) as usize;
        let (mut path, next) = if m < k {
            (path(m, &leaves[..k]), naive(&leaves[k..]))
        } else {
            (path(m - k, &leaves[k..]), naive(&leaves[..k]))
        };
        path.push(next);
        path
    }

    /// SUBPROOF(m, D[n], b) of section 2.1.4.1.
    fn subproof(m: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
        if m == leaves.len() {
            return if whole { Vec::new() } else { vec![naive(leaves)] };
        }
        let k = split(leaves.len() as u64) as usize;
        let (mut path, next) = if m <= k {
            (subproof(m, &leaves[..k], whole), naive(&leaves[k..]))
        } else {
            (subproof(m - k, &leaves[k..], false), naive(&leaves[..k]))
        };
        path.push(next);
        path
    }

    impl Subtrees for Naive {
        type Error = std::convert::Infallible;
        fn perfect(&mut self, level: u32, index: u64) -> Result<Hash, Self::Error> {
            let (from, to) = ((index << level) as usize, ((index + 1) << level) as usize);
            Ok(naive(&self.0[from..to]))
        }
    }

    fn leaves(count: u64) -> Naive {
        Naive((0..count).map(|n| leaf(&n.to_be_bytes())).collect())
    }

    /// The eight inputs of the certificate-transparency reference implementation.
    fn published() -> Naive {
        Naive(crate::merkle::tests::PUBLISHED.into_iter().map(leaf).collect())
    }

    fn hashes(texts: &[&str]) -> Vec<Hash> {
        texts.iter().map(|text| hex::hash(text).unwrap()).collect()
    }

    #[test]
    fn the_paths_of_the_published_test_vectors() {
        const INCLUSION: [(u64, u64, &[&str]); 4] = [
            (0, 1, &[]),
            (
                0,
                8,
                &[
                    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
                ],
            ),
            (
                5,
                8,
                &[
                    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
                ],
            ),
            (2, 3, &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
        ];
        const CONSISTENCY: [(u64, u64, &[&str]); 4] = [
            (1, 1, &[]),
            (
                1,
                8,
                &[
                    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
                ],
            ),
            (
                6,
                8,
                &[
                    "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
                ],
            ),
            (
                2,
                5,
                &[
                    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                ],
            ),
        ];
        let mut tree = published();
        for (index, size, path) in INCLUSION {
            let proof = Inclusion::of(&mut tree, index, size).unwrap();
            assert_eq!(proof.inclusion_path, hashes(path), "{index} of {size}");
            assert!(proof.holds());
        }
        for (earlier, later, path) in CONSISTENCY {
            let proof = Consistency::of(&mut tree, earlier, later).unwrap();
            assert_eq!(proof.consistency_path, hashes(path), "{earlier} to {later}");
            assert!(proof.holds());
        }
    }

    #[test]
    fn every_proof_in_every_small_tree_is_that_of_the_rfc_and_holds() {
        let mut tree = leaves(70);
        for size in 1..=70 {
            let all = tree.0[..size as usize].to_vec();
            for index in 0..size {
                let proof = Inclusion::of(&mut tree, index, size).unwrap();
                assert_eq!(proof.inclusion_path, path(index as usize, &all));
                assert_eq!((proof.root_hash, proof.leaf_hash), (naive(&all), all[index as usize]));
                assert!(proof.holds(), "{index} of {size}");
            }
            for earlier in 1..=size {
                let proof = Consistency::of(&mut tree, earlier, size).unwrap();
                assert_eq!(proof.consistency_path, subproof(earlier as usize, &all, true));
                assert_eq!(proof.root_hash_1, naive(&all[..earlier as usize]));
                assert!(proof.holds(), "{earlier} to {size}");
            }
        }
    }

    #[test]
    fn what_cannot_be_proved_is_not() {
        let none = Consistency {
            tree_size_1: 0,
            tree_size_2: 0,
            root_hash_1: [0; 32],
            root_hash_2: [0; 32],
            consistency_path: Vec::new(),
        };
        assert!(!none.holds());
        assert!(!Consistency { tree_size_1: 3, tree_size_2: 2, ..none.clone() }.holds());
        assert!(!Consistency { tree_size_1: 3, tree_size_2: u64::MAX, ..none }.holds());
        let proof = Inclusion {
            tree_size: 0,
            leaf_index: 0,
            leaf_hash: [0; 32],
            inclusion_path: Vec::new(),
            root_hash: [0; 32],
        };
        assert!(!proof.holds());
    }

    proptest! {
        /// A proof that says anything else than it was made for does not hold.
        #[test]
        fn a_changed_inclusion_proof_does_not_hold(
            (size, index) in (1u64..400).prop_flat_map(|size| (Just(size), 0..size)),
            place in 0usize..20, bit in 0usize..256, what in 0u8..6,
        ) {
            let mut proof = Inclusion::of(&mut leaves(size), index, size).unwrap();
            prop_assert!(proof.holds());
            let flip = |hash: &mut Hash| hash[bit / 8] ^= 1 << (bit % 8);
            match what {
                0 => flip(&mut proof.leaf_hash),
                1 => flip(&mut proof.root_hash),
                2 => {
                    let len = proof.inclusion_path.len();
                    if len == 0 { return Ok(()); }
                    flip(&mut proof.inclusion_path[place % len]);
                }
                3 => if proof.inclusion_path.pop().is_none() { return Ok(()); },
                4 => proof.inclusion_path.push([7; 32]),
                _ => {
                    // Another place in the same tree.
                    let other = (index + 1) % size;
                    if other == index { return Ok(()); }
                    proof.leaf_index = other;
                }
            }
            prop_assert!(!proof.holds());
        }

        #[test]
        fn a_changed_consistency_proof_does_not_hold(
            (later, earlier) in (2u64..400).prop_flat_map(|size| (Just(size), 1..size)),
            place in 0usize..20, bit in 0usize..256, what in 0u8..5,
        ) {
            let mut proof = Consistency::of(&mut leaves(later), earlier, later).unwrap();
            prop_assert!(proof.holds());
            let flip = |hash: &mut Hash| hash[bit / 8] ^= 1 << (bit % 8);
            match what {
                0 => flip(&mut proof.root_hash_1),
                1 => flip(&mut proof.root_hash_2),
                2 => {
                    let len = proof.consistency_path.len();
                    flip(&mut proof.consistency_path[place % len]);
                }
                3 => drop(proof.consistency_path.pop()),
                _ => proof.consistency_path.push([7; 32]),
            }
            prop_assert!(!proof.holds());
        }
    }
}
