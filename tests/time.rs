//! Time travel of one tenant: history, difference, restore, undo, and why it is as it is.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

#[path = "support/api.rs"]
mod api;
mod support;

#[path = "time/cli.rs"]
mod cli;
#[path = "time/history.rs"]
mod history;
#[path = "time/left.rs"]
mod left;
#[path = "time/play.rs"]
mod play;
#[path = "time/property.rs"]
mod property;
#[path = "time/restore.rs"]
mod restore;
#[path = "time/rules.rs"]
mod rules;
#[path = "time/taken_back.rs"]
mod taken_back;
#[path = "time/undo.rs"]
mod undo;
#[path = "time/why.rs"]
mod why;
#[path = "time/world.rs"]
mod world;
