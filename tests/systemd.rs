//! Tenants' processes as units of a real systemd, in a box of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may panic"
)]

#[path = "systemd/boxed.rs"]
mod boxed;
#[path = "systemd/hostile.rs"]
mod hostile;
#[path = "systemd/life.rs"]
mod life;
#[path = "systemd/restart.rs"]
mod restart;
mod support;
