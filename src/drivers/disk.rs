//! How much room a disk has.

use std::io;
use std::path::Path;

/// Below this (1 GiB) a busy machine's output and releases fill the disk soon.
const LITTLE: u64 = 1 << 30;
/// Below this (64 MiB) the journal itself is about to stop.
const NONE: u64 = 64 << 20;

/// The room of a file system, as whoever is not root has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All of it, in bytes.
    pub total_bytes: u64,
    /// What is free, in bytes.
    pub free_bytes: u64,
}

/// Whether room is enough for a control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enough {
    /// It is.
    Yes,
    /// It will not be soon.
    Little,
    /// The journal is about to stop.
    No,
}

impl Space {
    /// Whether this is enough.
    #[must_use]
    pub fn enough(self) -> Enough {
        match self.free_bytes {
            0..NONE => Enough::No,
            NONE..LITTLE => Enough::Little,
            _ => Enough::Yes,
        }
    }
}

/// The room where a path lies or would lie. Asks the file system: call it where blocking is allowed.
///
/// # Errors
/// When its file system does not answer.
pub fn space(path: &Path) -> io::Result<Space> {
    let there = path.ancestors().find(|above| above.is_dir()).unwrap_or(path);
    let stat = rustix::fs::statvfs(there)?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(Space { total_bytes: bytes(stat.f_blocks), free_bytes: bytes(stat.f_bavail) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_room_that_is_part_of_its_disk() {
        let dir = tempfile::tempdir().unwrap();
        let space = space(&dir.path().join("not/there/yet")).unwrap();
        assert!(space.total_bytes > 0 && space.free_bytes <= space.total_bytes, "{space:?}");
        let of = |free_bytes| Space { free_bytes, ..space }.enough();
        assert_eq!(
            [of(NONE - 1), of(NONE), of(LITTLE - 1), of(LITTLE)],
            [Enough::No, Enough::Little, Enough::Little, Enough::Yes]
        );
    }
}
