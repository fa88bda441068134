//! The saga, cut between any two lines: `kill -9` at exact system calls of the real server.
//!
//! A server runs below strace, which kills it as one system call is entered; the next one goes
//! on, and is killed in its turn, until the deployment or the deletion has come to its end.
//! Nothing in the program knows of it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

#[path = "saga/checks.rs"]
mod checks;
#[allow(dead_code, reason = "shared with the tests of nginx")]
#[path = "nginx/front.rs"]
mod front;
#[path = "saga/lives.rs"]
mod lives;
#[path = "saga/operations.rs"]
mod operations;
#[path = "saga/points.rs"]
mod points;
#[path = "saga/steps.rs"]
mod steps;
mod support;
