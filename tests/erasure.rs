//! Forgetting a tenant: its key is destroyed, nothing that was its own can be read any more, and
//! the journal still says that something happened.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

#[path = "support/api.rs"]
mod api;
mod support;

#[path = "erasure/disk.rs"]
mod disk;
#[path = "erasure/kills.rs"]
mod kills;
#[path = "erasure/look.rs"]
mod look;
#[path = "erasure/words.rs"]
mod words;
