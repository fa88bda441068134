//! Time travel of one tenant: history, difference, restore, undo, and why it is as it is.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

#[path = "support/api.rs"]
mod api;
mod support;

#[path = "time/history.rs"]
mod history;
