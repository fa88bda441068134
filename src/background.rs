//! Threads whose work can wait.

/// How far they stand back: requests and traffic go first on a busy machine.
const NICE: i32 = 10;

/// Lowers the priority of the calling thread and of those that it will start.
pub(crate) fn give_way(who: &str) {
    if let Err(error) = rustix::process::nice(NICE) {
        tracing::warn!(%error, who, "a thread of the background runs at the usual priority");
    }
}
