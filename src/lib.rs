//! Tenantry: the control plane for one application run for many customers.
//!
//! See the README for the map of the code.

pub mod clock;
pub mod domain;
pub mod drivers;
pub mod engine;
pub mod error;
pub mod keeper;
pub mod reactor;
pub mod supervisor;
