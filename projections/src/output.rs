//! What the lines of processes mean: their level, and where they hold no words.

pub mod escape;
pub mod level;
