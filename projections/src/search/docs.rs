//! Sets of a segment's documents: the few as a list, the many as a bit for each document, so that
//! two common words are brought together 64 documents at a time.

use std::ops::Range;

/// A list of more than this share of the documents would take more memory than the bits.
const FEW: u32 = 32;
const WORD: u32 = u64::BITS;

/// Documents of a segment, each below its count of documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Docs {
    /// Ascending.
    Few(Vec<u32>),
    /// One bit for each document of the segment.
    Many(Vec<u64>),
}

impl Docs {
    /// None.
    pub(super) fn none() -> Docs {
        Docs::Few(Vec::new())
    }

    /// All of so many.
    pub(super) fn all(max: u32) -> Docs {
        let mut bits = vec![u64::MAX; (max / WORD) as usize];
        if !max.is_multiple_of(WORD) {
            bits.push((1 << (max % WORD)) - 1);
        }
        Docs::Many(bits)
    }

    /// How many.
    pub(super) fn count(&self) -> usize {
        match self {
            Docs::Few(docs) => docs.len(),
            Docs::Many(bits) => bits.iter().map(|word| word.count_ones() as usize).sum(),
        }
    }

    /// The first of them, ascending.
    pub(super) fn first(&self, most: usize) -> Vec<u32> {
        match self {
            Docs::Few(docs) => docs.get(..most).unwrap_or(docs).to_vec(),
            Docs::Many(bits) => ones(bits).take(most).collect(),
        }
    }

    /// Those that are in both.
    pub(super) fn and(self, other: Docs) -> Docs {
        match (self, other) {
            (Docs::Few(few), Docs::Few(other)) => {
                let mut rest = other.as_slice();
                Docs::Few(few).retain(|doc| {
                    rest = rest.get(rest.partition_point(|other| *other < doc)..).unwrap_or_default();
                    rest.first() == Some(&doc)
                })
            }
            (few @ Docs::Few(_), Docs::Many(bits)) | (Docs::Many(bits), few @ Docs::Few(_)) => {
                few.retain(|doc| has(&bits, doc))
            }
            (Docs::Many(mut bits), Docs::Many(other)) => {
                bits.iter_mut().zip(other).for_each(|(word, other)| *word &= other);
                Docs::Many(bits)
            }
        }
    }

    /// Those that are not in the other.
    pub(super) fn without(self, other: &Docs) -> Docs {
        match (self, other) {
            (few @ Docs::Few(_), Docs::Few(other)) => few.retain(|doc| other.binary_search(&doc).is_err()),
            (few @ Docs::Few(_), Docs::Many(other)) => few.retain(|doc| !has(other, doc)),
            (Docs::Many(mut bits), Docs::Few(other)) => {
                for doc in other {
                    if let Some(word) = bits.get_mut((doc / WORD) as usize) {
                        *word &= !(1 << (doc % WORD));
                    }
                }
                Docs::Many(bits)
            }
            (Docs::Many(mut bits), Docs::Many(other)) => {
                bits.iter_mut().zip(other).for_each(|(word, other)| *word &= !other);
                Docs::Many(bits)
            }
        }
    }

    /// Those in a range.
    pub(super) fn within(self, range: &Range<u32>) -> Docs {
        match self {
            few @ Docs::Few(_) => few.retain(|doc| range.contains(&doc)),
            Docs::Many(mut bits) => {
                for (index, word) in (0..).zip(&mut bits) {
                    let low = |end: u32| match end.saturating_sub(index * WORD) {
                        count if count >= WORD => u64::MAX,
                        count => (1 << count) - 1,
                    };
                    *word &= low(range.end) & !low(range.start);
                }
                Docs::Many(bits)
            }
        }
    }

    /// Those that something is true of.
    pub(super) fn retain(self, mut is: impl FnMut(u32) -> bool) -> Docs {
        match self {
            Docs::Few(mut docs) => {
                docs.retain(|doc| is(*doc));
                Docs::Few(docs)
            }
            Docs::Many(mut bits) => {
                for (index, word) in (0..).zip(&mut bits) {
                    let mut left = *word;
                    while left != 0 {
                        let bit = left.trailing_zeros();
                        left &= left - 1;
                        if !is(index * WORD + bit) {
                            *word &= !(1 << bit);
                        }
                    }
                }
                Docs::Many(bits)
            }
        }
    }
}

fn has(bits: &[u64], doc: u32) -> bool {
    bits.get((doc / WORD) as usize).is_some_and(|word| word & (1 << (doc % WORD)) != 0)
}

fn ones(bits: &[u64]) -> impl Iterator<Item = u32> {
    (0..).zip(bits).flat_map(|(index, word)| {
        let mut left = *word;
        std::iter::from_fn(move || {
            let bit = (left != 0).then(|| left.trailing_zeros())?;
            left &= left - 1;
            Some(index * WORD + bit)
        })
    })
}

/// Gathers documents, in any order and more than once, from lists each of which ascends.
pub(super) struct Gather {
    max: u32,
    docs: Docs,
    is_ascending: bool,
}

impl Gather {
    /// For a segment of so many documents.
    pub(super) fn new(max: u32) -> Gather {
        Gather { max, docs: Docs::none(), is_ascending: true }
    }

    /// Adds some.
    pub(super) fn add(&mut self, more: &[u32]) {
        if let Docs::Few(docs) = &mut self.docs {
            let follows = docs.last().zip(more.first()).is_none_or(|(last, first)| last < first);
            self.is_ascending &= follows;
            docs.extend_from_slice(more);
            if docs.len() <= (self.max / FEW) as usize {
                return;
            }
            let mut bits = vec![0; self.max.div_ceil(WORD) as usize];
            set(&mut bits, docs);
            self.docs = Docs::Many(bits);
        } else if let Docs::Many(bits) = &mut self.docs {
            set(bits, more);
        }
    }

    /// All of a set.
    pub(super) fn add_set(&mut self, more: Docs) {
        match (&mut self.docs, more) {
            (_, Docs::Few(more)) => self.add(&more),
            (Docs::Many(bits), Docs::Many(more)) => {
                bits.iter_mut().zip(more).for_each(|(word, more)| *word |= more);
            }
            (Docs::Few(docs), Docs::Many(mut bits)) => {
                set(&mut bits, docs);
                self.docs = Docs::Many(bits);
            }
        }
    }

    /// The set.
    pub(super) fn done(self) -> Docs {
        match self.docs {
            Docs::Few(mut docs) if !self.is_ascending => {
                docs.sort_unstable();
                docs.dedup();
                Docs::Few(docs)
            }
            docs => docs,
        }
    }
}

fn set(bits: &mut [u64], docs: &[u32]) {
    for doc in docs {
        if let Some(word) = bits.get_mut((doc / WORD) as usize) {
            *word |= 1 << (doc % WORD);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const MAX: u32 = 300;

    fn set_of(docs: &BTreeSet<u32>) -> Docs {
        let docs: Vec<u32> = docs.iter().copied().collect();
        let mut gather = Gather::new(MAX);
        // In two runs, the later one first.
        let (low, high) = docs.split_at(docs.len() / 2);
        gather.add(high);
        gather.add(low);
        gather.add(low);
        gather.done()
    }

    fn listed(docs: &Docs) -> Vec<u32> {
        let all = docs.first(usize::MAX);
        assert_eq!(docs.count(), all.len());
        all
    }

    fn some() -> impl Strategy<Value = BTreeSet<u32>> {
        prop_oneof![
            proptest::collection::btree_set(0..MAX, 0..8),
            proptest::collection::btree_set(0..MAX, 0..MAX as usize),
        ]
    }

    proptest! {
        #[test]
        fn lists_and_bits_agree_with_sets(a in some(), b in some(), from in 0..MAX, len in 0..MAX) {
            let (x, y, range) = (set_of(&a), set_of(&b), from..from + len);
            let both: Vec<u32> = a.intersection(&b).copied().collect();
            let rest: Vec<u32> = a.difference(&b).copied().collect();
            let any: Vec<u32> = a.union(&b).copied().collect();
            let part: Vec<u32> = a.iter().copied().filter(|doc| range.contains(doc)).collect();
            let odd: Vec<u32> = a.iter().copied().filter(|doc| doc % 2 == 1).collect();
            prop_assert_eq!(listed(&x), a.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(listed(&x.clone().and(y.clone())), both);
            prop_assert_eq!(listed(&x.clone().without(&y)), rest);
            prop_assert_eq!(listed(&x.clone().within(&range)), part);
            prop_assert_eq!(listed(&x.clone().retain(|doc| doc % 2 == 1)), odd);
            prop_assert_eq!(x.first(3), a.iter().copied().take(3).collect::<Vec<_>>());
            let mut gather = Gather::new(MAX);
            gather.add_set(x);
            gather.add_set(y);
            prop_assert_eq!(listed(&gather.done()), any);
            prop_assert_eq!(listed(&Docs::all(MAX)), (0..MAX).collect::<Vec<_>>());
        }
    }
}
