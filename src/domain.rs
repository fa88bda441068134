//! What may happen: commands, the rules that decide them, and what follows from a World.
//!
//! Everything here is plain and synchronous: no I/O, no clock, no randomness ([`ctx::Ctx`]
//! carries time and ids). `decide` turns a command into events or refuses it; `react` says
//! what the world outside still lacks.

pub mod command;
pub mod ctx;
pub mod effect;
pub mod policy;
pub mod rejection;
