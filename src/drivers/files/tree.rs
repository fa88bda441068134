//! Walks a tree of files by descriptor: copies it, or checks it against what a release may
//! hold. Iterative and bounded in depth, number and bytes.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use super::FilesError;
use crate::drivers::below::{Dir, Missing};

/// What a release may be at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of all files.
    pub bytes: u64,
    /// Number of files, directories and links.
    pub entries: u64,
    /// Levels of directories.
    pub depth: usize,
}

impl Default for Limits {
    /// 4 GiB and 500,000 entries: an application with its packages and media stays well under
    /// it, and a mistyped source (`/`, a home directory) ends soon. 64 levels: each holds an
    /// open descriptor.
    fn default() -> Self {
        Limits { bytes: 4 << 30, entries: 500_000, depth: 64 }
    }
}

/// What was found or copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Bytes of all files.
    pub bytes: u64,
    /// Number of files, directories and links.
    pub entries: u64,
}

/// Calls a walk off.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// The walk ends at its next entry.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was called off.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn check(&self) -> Result<(), FilesError> {
        if self.is_cancelled() { Err(FilesError::Cancelled) } else { Ok(()) }
    }
}

struct Level {
    from: Dir,
    to: Option<Dir>,
    /// Below the top of the tree.
    relative: PathBuf,
    names: std::vec::IntoIter<OsString>,
}

struct Walk<'a> {
    limits: Limits,
    cancel: &'a Cancel,
    size: Size,
}

/// Copies what is in `source` to `target`; `.git` at the top is left out.
pub(super) fn copy(source: &Path, target: &Dir, limits: Limits, cancel: &Cancel) -> Result<Size, FilesError> {
    let from = Dir::root(source, Missing::Fail)?;
    // A second descriptor of the same directory, for the walk to own.
    let to = Dir::root(&target.anchored(), Missing::Fail)?;
    Walk { limits, cancel, size: Size::default() }.run(from, Some(to))
}

/// Checks what is in `target` as if it had been copied.
pub(super) fn check(target: &Dir, limits: Limits, cancel: &Cancel) -> Result<Size, FilesError> {
    let from = Dir::root(&target.anchored(), Missing::Fail)?;
    Walk { limits, cancel, size: Size::default() }.run(from, None)
}

impl Walk<'_> {
    fn run(mut self, from: Dir, to: Option<Dir>) -> Result<Size, FilesError> {
        let mut names = from.names()?;
        names.retain(|name| name != ".git");
        let mut levels = vec![Level { from, to, relative: PathBuf::new(), names: names.into_iter() }];
        while let Some(level) = levels.last_mut() {
            self.cancel.check()?;
            let Some(name) = level.names.next() else {
                levels.pop();
                continue;
            };
            if let Some(deeper) = self.entry(level, &name)? {
                levels.push(deeper);
            }
            if levels.len() > self.limits.depth {
                return Err(FilesError::TooLarge { limit: format!("{} levels", self.limits.depth) });
            }
        }
        Ok(self.size)
    }

    fn entry(&mut self, level: &Level, name: &OsStr) -> Result<Option<Level>, FilesError> {
        let relative = level.relative.join(name);
        let failed = |what| {
            let path = relative.clone();
            move |errno: rustix::io::Errno| FilesError::Io { what, path, source: errno.into() }
        };
        let stat = rustix::fs::statat(level.from.fd(), name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed("inspect"))?;
        self.size.entries += 1;
        if self.size.entries > self.limits.entries {
            return Err(FilesError::TooLarge { limit: format!("{} entries", self.limits.entries) });
        }
        // Set-user-id and the like stay behind.
        let mode = Mode::from_raw_mode(stat.st_mode & 0o777);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let from = level.from.child(name, Missing::Fail)?;
                let to = match &level.to {
                    Some(to) => {
                        let made = to.child(name, Missing::Create)?;
                        // The owner can always fill and remove it.
                        rustix::fs::fchmod(made.fd(), mode | Mode::RWXU)
                            .map_err(failed("set the mode of"))?;
                        Some(made)
                    }
                    None => None,
                };
                let names = from.names()?.into_iter();
                return Ok(Some(Level { from, to, relative, names }));
            }
            FileType::RegularFile => self.file(level, name, &relative, mode)?,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(level.from.fd(), name, Vec::new())
                    .map_err(failed("read the link"))?;
                let target = Path::new(OsStr::from_bytes(target.as_bytes()));
                if !stays_inside(&level.relative, target) {
                    return Err(FilesError::Forbidden { path: relative, what: "a link that leads outside" });
                }
                if let Some(to) = &level.to {
                    rustix::fs::symlinkat(target, to.fd(), name).map_err(failed("link"))?;
                }
            }
            FileType::Socket => return Err(FilesError::Forbidden { path: relative, what: "a socket" }),
            FileType::Fifo => return Err(FilesError::Forbidden { path: relative, what: "a pipe" }),
            _ => return Err(FilesError::Forbidden { path: relative, what: "a device" }),
        }
        Ok(None)
    }

    fn file(&mut self, level: &Level, name: &OsStr, relative: &Path, mode: Mode) -> Result<(), FilesError> {
        let io = |what| {
            move |source: std::io::Error| FilesError::Io { what, path: relative.to_path_buf(), source }
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source = rustix::fs::openat(level.from.fd(), name, flags, Mode::empty())
            .map_err(|errno| io("open")(errno.into()))?;
        let mut source = std::fs::File::from(source);
        let left = self.limits.bytes.saturating_sub(self.size.bytes);
        let too_large = || FilesError::TooLarge { limit: format!("{} bytes", self.limits.bytes) };
        let meta = source.metadata().map_err(io("inspect"))?;
        if meta.len() > left {
            return Err(too_large());
        }
        let Some(to) = &level.to else {
            self.size.bytes += meta.len();
            return Ok(());
        };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = rustix::fs::openat(to.fd(), name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| io("create")(errno.into()))?;
        let mut target = std::fs::File::from(target);
        // One more than is left, so that a file that grows meanwhile is noticed.
        let copied = std::io::copy(&mut std::io::Read::take(&mut source, left + 1), &mut target)
            .map_err(io("copy"))?;
        if copied > left {
            return Err(too_large());
        }
        rustix::fs::fchmod(&target, mode).map_err(|errno| io("set the mode of")(errno.into()))?;
        self.size.bytes += copied;
        Ok(())
    }
}

/// Whether a link in the directory `at` (below the top) leads to the top or below, by its text.
fn stays_inside(at: &Path, target: &Path) -> bool {
    let mut depth = at.components().count();
    for component in target.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_judged_from_where_it_stands() {
        assert!(stays_inside(Path::new("a/b"), Path::new("../../c")));
        assert!(!stays_inside(Path::new("a/b"), Path::new("../../../c")));
        assert!(!stays_inside(Path::new(""), Path::new("/etc")));
        assert!(!stays_inside(Path::new("a"), Path::new("x/../../../y")));
    }
}
