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

/// Another configuration holds from here on. What it says stands in its file; here stand only
/// the names of what changed, never a value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfigChanged {
    /// A keyed hash of the whole configuration, hex: the same configuration has the same.
    pub hash: String,
    /// What is another value now, such as `settings.rate_limit_per_minute`, in order.
    pub changed: Vec<String>,
    /// What of it counts only after the program was started again.
    pub needs_restart: Vec<String>,
    /// How many more changed than are listed.
    pub more: u64,
}
