//! The facts: what happened, in one order, kept for good.
//!
//! This room knows ids, the event vocabulary, how events become bytes and stay durable, the
//! feed that follows them, the Merkle tree over them, and the spool of process output.
//! It knows nothing of decisions, read models or HTTP.

pub mod event;
pub mod id;
pub mod name;
pub mod recorded;
pub mod sealed;
pub mod spool;
pub mod time;
