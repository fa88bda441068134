//! A control plane as a whole: backup while it runs, restore to a moment, export and import,
//! rehearsal before an upgrade.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod support;

#[path = "whole/backup.rs"]
mod backup;
#[path = "whole/export.rs"]
mod export;
#[path = "whole/rehearsal.rs"]
mod rehearsal;
#[path = "whole/tools.rs"]
mod tools;
