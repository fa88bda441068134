//! How much disk space instances with a quota take in their working directories.
//!
//! A quota is watched and not enforced: what is over it is told in the log, in the metrics and
//! with the instance. Refusing to start it would turn a full disk into an outage.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tenantry_journal::id::InstanceId;

use super::Supervisor;

/// Seldom: each look reads every directory below.
const EVERY: Duration = Duration::from_secs(60);
/// Files that are counted at most; a directory with more takes too long to be looked at often.
const FILES: u64 = 1_000_000;
/// Bytes of a block in `st_blocks`, whatever the file system's own are (stat(2)).
const BLOCK: u64 = 512;

/// What an instance's directory takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Bytes on the disk.
    pub used_bytes: u64,
    /// Bytes that it may take.
    pub quota_bytes: u64,
}

impl Storage {
    /// Whether it takes more than it may.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.used_bytes > self.quota_bytes
    }
}

/// Looks for ever.
pub(super) async fn watch(supervisor: &Supervisor) {
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let world = supervisor.handle.world();
        let limited = world.instances.iter().filter_map(|instance| {
            let spec = instance.spec.open()?;
            let quota_bytes = spec.limits.storage_quota_mb?.saturating_mul(1 << 20);
            Some((instance.id, PathBuf::from(&spec.workdir), quota_bytes))
        });
        let limited: Vec<_> = limited.collect();
        let mut over = 0;
        for (id, directory, quota_bytes) in limited {
            let path = directory.clone();
            let Ok(used_bytes) = tokio::task::spawn_blocking(move || size(&path)).await else { continue };
            let storage = Storage { used_bytes, quota_bytes };
            over += i64::from(storage.is_over());
            note(supervisor, id, &directory, storage);
        }
        supervisor.metrics.instances_over_quota.set(over);
    }
}

fn note(supervisor: &Supervisor, id: InstanceId, directory: &Path, storage: Storage) {
    let before = supervisor.live.note_storage(id, storage);
    if storage.is_over() && !before.is_some_and(|before| before.is_over()) {
        tracing::warn!(
            instance.id = %id,
            path = %directory.display(),
            used_bytes = storage.used_bytes,
            quota_bytes = storage.quota_bytes,
            "an instance takes more disk space than its quota"
        );
    }
}

/// Bytes on the disk below a directory, on its own file system, following no link.
fn size(directory: &Path) -> u64 {
    let Ok(top) = std::fs::symlink_metadata(directory) else { return 0 };
    let (mut bytes, mut files, mut left) = (0, 0, vec![directory.to_path_buf()]);
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            // Of the entry itself, not of what a link points to.
            let Ok(meta) = entry.metadata() else { continue };
            files += 1;
            if meta.dev() != top.dev() || files > FILES {
                continue;
            }
            bytes += meta.blocks() * BLOCK;
            if meta.is_dir() {
                left.push(entry.path());
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_counts_with_all_below_and_links_count_as_links() {
        let dir = tempfile::tempdir().unwrap();
        let (inner, outer) = (dir.path().join("a/b"), tempfile::tempdir().unwrap());
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(inner.join("file"), vec![7; 300_000]).unwrap();
        std::fs::write(outer.path().join("big"), vec![7; 3_000_000]).unwrap();
        std::os::unix::fs::symlink(outer.path(), dir.path().join("link")).unwrap();
        let bytes = size(dir.path());
        assert!((300_000..1_000_000).contains(&bytes), "{bytes}");
        assert_eq!(size(&dir.path().join("nowhere")), 0);
    }
}
