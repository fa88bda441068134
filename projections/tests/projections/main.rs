//! What the read model promises, tested through its public face alone.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests stand outside of test functions, and a failed one is a failed test"
)]

mod arbitrary;
mod as_of;
mod audit_log;
mod by_tenant;
mod erasures;
mod event_view;
mod golden;
mod history;
mod late;
mod properties;
mod snapshots;
mod support;
mod vocabulary;
mod waypoints;
