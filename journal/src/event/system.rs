//! What the control plane itself went through.

use serde::{Deserialize, Serialize};

/// The control plane began to serve this journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SystemStarted {
    /// The program's version.
    pub version: String,
    /// The machine's boot id; processes of another boot are gone.
    pub boot_id: String,
}

/// A keeper answered: the parent of every instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeeperConnected {
    /// Process id of the keeper.
    pub pid: u32,
    /// When that process started, in clock ticks since boot; with the pid it is unique.
    pub start_ticks: u64,
}

/// The keeper died; its processes are adopted by its successor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeeperLost {
    /// Process id of the keeper that is gone.
    pub pid: u32,
}
