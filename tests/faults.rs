//! The whole program under faults: failing disks, damaged files, a dead keeper, services that
//! misbehave, a clock that jumps, and an end in the middle of everything.
//!
//! What a test cannot have (root, loop devices, strace, faketime) it says loudly and proves
//! nothing. Nothing here waits for a while: every wait is for a condition.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod support;

#[path = "faults/damage.rs"]
mod damage;
#[path = "faults/disk.rs"]
mod disk;
#[path = "faults/ending.rs"]
mod ending;
#[path = "faults/jump.rs"]
mod jump;
#[path = "faults/orphans.rs"]
mod orphans;
#[path = "faults/replay.rs"]
mod replay;
#[path = "faults/services.rs"]
mod services;
#[path = "faults/tools.rs"]
mod tools;
