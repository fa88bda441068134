//! Tenantry: the control plane for one application run for many customers.
//!
//! See the README for the map of the code.

pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod engine;
pub mod error;
pub mod telemetry;
