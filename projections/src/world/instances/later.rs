//! Instances as they became later than those that a map holds, in the few bytes that [`hot`]
//! writes: each is opened when somebody looks at it. So a World of the past costs what is asked
//! of it, and not a copy of twenty thousand instances.

use std::sync::{Arc, OnceLock};

use imbl::HashMap;
use tenantry_journal::id::InstanceId;

use super::{Instance, hot};

/// Short names for instances, in the order in which they were seen.
pub(crate) type Numbers = HashMap<InstanceId, u32>;

/// What is hot of many instances, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct HotBytes {
    bytes: Box<[u8]>,
    /// Where each one's begin and end; nothing is said of one whose are the same.
    places: Box<[(u32, u32)]>,
}

impl HotBytes {
    pub(crate) fn of(all: &[Option<&[u8]>]) -> HotBytes {
        let mut bytes = Vec::with_capacity(all.iter().flatten().map(|one| one.len()).sum());
        let place = |one: &Option<&[u8]>| {
            let begin = bytes.len() as u32;
            bytes.extend_from_slice(one.unwrap_or_default());
            (begin, bytes.len() as u32)
        };
        let places = all.iter().map(place).collect();
        HotBytes { bytes: bytes.into(), places }
    }

    pub(crate) fn get(&self, number: u32) -> Option<&[u8]> {
        let (begin, end) = self.places.get(number as usize)?;
        self.bytes.get(*begin as usize..*end as usize).filter(|bytes| !bytes.is_empty())
    }

    /// Numbers up to which something may be said.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// What it takes.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len() + size_of_val(&*self.places)
    }
}

/// What became of the instances of a map.
#[derive(Clone, Debug)]
pub(super) struct Later {
    numbers: Numbers,
    hot: Arc<HotBytes>,
    opened: Arc<[OnceLock<Arc<Instance>>]>,
    /// A bit for each number: whether the map has the last word again.
    settled: Box<[u64]>,
}

impl Later {
    pub(super) fn new(numbers: Numbers, hot: Arc<HotBytes>) -> Later {
        let opened = (0..hot.len()).map(|_| OnceLock::new()).collect();
        let settled = vec![0; hot.len().div_ceil(64)].into();
        Later { numbers, hot, opened, settled }
    }

    /// The instance that became of one in the map.
    pub(super) fn of<'a>(&'a self, one: &'a Arc<Instance>) -> &'a Arc<Instance> {
        let Some(number) = self.numbers.get(&one.id).copied().filter(|number| !self.is_settled(*number))
        else {
            return one;
        };
        let Some((mut bytes, room)) = self.hot.get(number).zip(self.opened.get(number as usize)) else {
            return one;
        };
        room.get_or_init(|| match hot::take(&mut bytes, one) {
            Some(instance) => Arc::new(instance),
            None => {
                // It was tried when it was packed.
                tracing::error!(instance.id = %one.id, "an instance of the past is packed badly; an earlier state of it is shown");
                Arc::clone(one)
            }
        })
    }

    fn is_settled(&self, number: u32) -> bool {
        self.settled.get(number as usize / 64).is_some_and(|bits| bits >> (number % 64) & 1 == 1)
    }

    /// From now on the map has the last word on an instance.
    pub(super) fn settle(&mut self, id: InstanceId) {
        if let Some(number) = self.numbers.get(&id)
            && let Some(bits) = self.settled.get_mut(*number as usize / 64)
        {
            *bits |= 1 << (number % 64);
        }
    }
}
