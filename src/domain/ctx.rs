//! What a decision may know besides the World: the time, new ids, who asks, and the policy.

use std::cell::Cell;
use std::sync::Arc;

use tenantry_journal::time::Timestamp;
use uuid::Uuid;

use super::policy::Policy;

/// Makes ids from a moment and a seed: UUIDv7 (RFC 9562), in the order in which they are made.
#[derive(Debug)]
pub struct Ids {
    at: Timestamp,
    seed: u64,
    made: Cell<u16>,
}

impl Ids {
    /// `seed` must be random wherever ids of several commands meet.
    #[must_use]
    pub fn new(at: Timestamp, seed: u64) -> Ids {
        Ids { at, seed, made: Cell::new(0) }
    }

    /// A new id, after all that were made before.
    #[must_use]
    pub fn make<Id: From<Uuid>>(&self) -> Id {
        let count = self.made.get();
        self.made.set(count.wrapping_add(1));
        let mut random = [0_u8; 10];
        random[..2].copy_from_slice(&count.to_be_bytes());
        random[2..].copy_from_slice(&self.seed.to_be_bytes());
        uuid::Builder::from_unix_timestamp_millis(self.at.0, &random).into_uuid().into()
    }
}

/// What a decision may know besides the World.
#[derive(Debug)]
pub struct Ctx {
    /// The moment of the decision.
    pub now: Timestamp,
    /// New ids.
    pub ids: Ids,
    /// What the configuration says.
    pub policy: Arc<Policy>,
}
