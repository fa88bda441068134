//! The facts: what happened, in one order, kept for good.
//!
//! This room knows ids, the event vocabulary, how events become bytes and stay durable, the
//! feed that follows them, the Merkle tree over them, and the spool of process output.
//! It knows nothing of decisions, read models or HTTP.

pub mod checkpoint;
mod cipher;
pub mod codec;
pub mod event;
pub mod feed;
pub mod group;
pub mod hex;
pub mod id;
pub mod keyring;
pub mod lock;
pub mod merkle;
pub mod name;
mod open;
pub mod receipt;
pub mod recorded;
pub mod scan;
pub mod sealed;
pub mod spool;
pub mod store;
pub mod time;
pub mod transfer;
pub mod tree;
pub mod upcast;

pub use open::{OpenError, Opened, open, open_read_only, open_read_only_from};
