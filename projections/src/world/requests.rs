//! Requests that carried an `Idempotency-Key`: which were answered, and by which events.
//!
//! Bounded: the oldest is forgotten when there are more than [`KEPT`].

use imbl::{HashMap, OrdMap};
use serde::{Deserialize, Serialize};
use tenantry_journal::id::{CommandId, Seq};
use tenantry_journal::recorded::Recorded;

/// How many keys are remembered: a day of one keyed write a second, rounded up.
const KEPT: usize = 100_000;

/// A request that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    /// Digest of method, path and body.
    pub request: [u8; 16],
    /// The command that it became.
    pub command_id: CommandId,
    /// Position of the command's first event.
    pub first: Seq,
}

/// The recent requests with a key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Requests {
    by_key: HashMap<[u8; 16], Answered>,
    order: OrdMap<Seq, [u8; 16]>,
}

impl Requests {
    /// The request that came with this key, if it is remembered.
    #[must_use]
    pub fn get(&self, key: &[u8; 16]) -> Option<&Answered> {
        self.by_key.get(key)
    }

    pub(super) fn note(&mut self, recorded: &Recorded) {
        let Some(idempotency) = recorded.idempotency else { return };
        let answered =
            Answered { request: idempotency.request, command_id: recorded.command_id, first: recorded.seq };
        self.by_key.insert(idempotency.key, answered);
        self.order.insert(recorded.seq, idempotency.key);
        while self.order.len() > KEPT {
            let Some((oldest, key)) = self.order.get_min().copied() else { break };
            self.order.remove(&oldest);
            if self.by_key.get(&key).is_some_and(|answered| answered.first == oldest) {
                self.by_key.remove(&key);
            }
        }
    }
}
