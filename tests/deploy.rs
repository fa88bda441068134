//! Deployments as a whole: switches that nobody notices, releases, what is called off, queued,
//! tried again, and cut off at any point.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod support;

#[path = "deploy/bench.rs"]
mod bench;
#[path = "deploy/cut_off.rs"]
mod cut_off;
#[path = "deploy/requests.rs"]
mod requests;
#[path = "deploy/rollout.rs"]
mod rollout;
#[path = "deploy/rules.rs"]
mod rules;
