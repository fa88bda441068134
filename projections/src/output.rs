//! What the lines of processes mean: their level, and how they are shown without harm.

pub mod level;
pub mod plain;
