//! What may happen: commands, the rules that decide them, and what follows from a World.
//!
//! Everything here is plain and synchronous: no I/O, no clock, no randomness ([`ctx::Ctx`]
//! carries time and ids). [`decide::decide`] turns a command into events or refuses it;
//! [`react::react`] says what the world outside still lacks.

pub mod access;
pub mod certificate;
pub mod command;
pub mod ctx;
pub mod decide;
pub mod denied;
pub mod deployment;
pub mod effect;
mod erasure;
pub mod instance;
pub mod policy;
pub mod ports;
pub mod react;
pub mod reconfigure;
pub mod rejection;
pub mod request;
pub mod rest;
pub mod restore;
pub mod rollout;
pub mod run;
pub mod setting;
pub mod successor;
pub mod tenant;
pub mod tenant_config;
pub mod text;
pub mod theme;
pub mod undo;
pub mod user;
