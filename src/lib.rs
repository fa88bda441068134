//! Tenantry: the control plane for one application run for many customers.
//!
//! See the README for the map of the code.

pub mod app;
pub mod audit;
pub mod auth;
pub mod cli;
pub mod clock;
pub mod config;
pub mod configured;
pub mod control_log;
pub mod domain;
pub mod drivers;
pub mod engine;
pub mod error;
pub mod http;
pub mod keeper;
pub mod output;
pub mod past;
pub mod proxy;
pub mod reactor;
pub mod rehearsal;
pub mod sites;
pub mod supervisor;
pub mod telemetry;
pub mod tls;
