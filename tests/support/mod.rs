//! What the tests share.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

pub(crate) mod app;
pub(crate) mod ports;
pub(crate) mod scenario;
