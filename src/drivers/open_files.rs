//! Which files are open, and how often, in all processes that we may look into.
//!
//! The kernel has no list of them: each process is asked for each of its descriptors, which
//! takes tens of milliseconds where thousands run. So one pass finds all files, and serves
//! whoever asked before it began or is content with one that is not too old.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A file's device and inode.
type File = (u64, u64);

/// What the last pass found.
#[derive(Debug)]
struct Pass {
    began: Instant,
    open: HashMap<File, u32>,
}

/// Counts open files.
#[derive(Debug, Default)]
pub struct OpenFiles {
    last: Mutex<Option<Pass>>,
}

impl OpenFiles {
    /// How often a regular file is open now, or was at a time that is not longer ago than `age`.
    /// Blocks for as long as a pass takes.
    #[must_use]
    pub fn count(&self, file: &Metadata, age: Duration) -> u32 {
        self.count_by((file.dev(), file.ino()), Instant::now(), age, look)
    }

    fn count_by(
        &self,
        file: File,
        asked: Instant,
        age: Duration,
        look: impl FnOnce() -> HashMap<File, u32>,
    ) -> u32 {
        // A pass that panicked has left nothing behind.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let pass = match last.take() {
            Some(pass) if pass.began + age >= asked => pass,
            _ => Pass { began: Instant::now(), open: look() },
        };
        let count = pass.open.get(&file).copied().unwrap_or(0);
        *last = Some(pass);
        count
    }
}

/// One pass.
fn look() -> HashMap<File, u32> {
    let is_pid =
        |name: &std::ffi::OsStr| name.to_str().is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()));
    let descriptors = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|process| is_pid(&process.file_name()))
        .filter_map(|process| std::fs::read_dir(process.path().join("fd")).ok())
        .flatten();
    let mut open = HashMap::new();
    for descriptor in descriptors.flatten() {
        // What the descriptor leads to, not the link.
        let Ok(found) = std::fs::metadata(descriptor.path()) else { continue };
        if found.is_file() {
            *open.entry((found.dev(), found.ino())).or_default() += 1;
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;
    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn a_file_counts_as_often_as_it_is_open() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let meta = file.as_file().metadata().unwrap();
        let open = OpenFiles::default();
        assert_eq!(open.count(&meta, NOW), 1);
        let again = std::fs::File::open(file.path()).unwrap();
        assert_eq!(open.count(&meta, NOW), 2);
        drop(again);
        assert_eq!(open.count(&meta, LONG), 2, "as it was");
        assert_eq!(open.count(&meta, NOW), 1);
    }

    #[test]
    fn a_pass_serves_all_who_asked_before_it_began_and_no_one_after() {
        let (open, file) = (OpenFiles::default(), (1, 1));
        let finds = |count| move || HashMap::from([(file, count)]);
        let waiting = Instant::now();
        assert_eq!(open.count_by(file, waiting, NOW, finds(7)), 7);
        assert_eq!(open.count_by(file, waiting, NOW, finds(8)), 7, "it waited while that pass was made");
        assert_eq!(open.count_by((2, 2), waiting, NOW, finds(8)), 0, "whatever file it asks for");
        assert_eq!(open.count_by(file, Instant::now(), LONG, finds(8)), 7, "old enough for who says so");
        assert_eq!(
            open.count_by(file, Instant::now(), NOW, finds(9)),
            9,
            "a descriptor of since then counts"
        );
    }
}
