//! What the facts mean: the one read model, folded from the journal, and what processes
//! printed, indexed from their spools.
//!
//! This room knows [`world::World`] and how each event changes it, snapshots, and how to get
//! the World of any moment. It knows no HTTP, no time of day, and no I/O but its own files.

pub mod as_of;
pub mod audit_log;
pub mod event_view;
pub mod history;
pub mod output;
pub mod page;
pub mod search;
pub mod snapshot;
pub mod world;
