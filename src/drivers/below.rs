//! Directories below a root, opened one component at a time without following links.
//!
//! A tenant's processes may write in the tenant's directory, so any component may be
//! swapped for a symbolic link at any moment. What is opened here is held by descriptor:
//! a later swap of the name changes nothing. Below the root no link is followed at all.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Why a directory below a root could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum BelowError {
    /// The path is not written as one below the root.
    #[error("{path} does not lie below {root}")]
    Outside {
        /// What was asked for.
        path: PathBuf,
        /// What it must lie below.
        root: PathBuf,
    },
    /// A component is a link or no directory.
    #[error("{path} is a symbolic link or no directory, and is not followed")]
    NotADirectory {
        /// The component.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}

impl BelowError {
    /// Whether what was looked for is not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, BelowError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }
}

/// What to do about a directory that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Make it (mode 0750).
    Create,
    /// Fail.
    Fail,
}

/// An open directory, with the name under which it was found (for messages only).
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

const OPEN: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Dir {
    /// Opens a root that the operator configured; here links are the operator's own.
    ///
    /// # Errors
    /// When it is no directory or cannot be opened or made.
    pub fn root(path: &Path, missing: Missing) -> Result<Dir, BelowError> {
        if missing == Missing::Create {
            std::fs::create_dir_all(path).map_err(|source| io("create", path, source))?;
        }
        let fd =
            rustix::fs::open(path, OPEN, Mode::empty()).map_err(|errno| io("open", path, errno.into()))?;
        Ok(Dir { fd, path: path.to_path_buf() })
    }

    /// Opens one directory in this one; a link is refused.
    ///
    /// # Errors
    /// When `name` is no single component, no directory, or cannot be opened or made.
    pub fn child(&self, name: &OsStr, missing: Missing) -> Result<Dir, BelowError> {
        let path = self.path.join(name);
        let mut components = Path::new(name).components();
        if !matches!((components.next(), components.next()), (Some(Component::Normal(_)), None)) {
            return Err(BelowError::Outside { path, root: self.path.clone() });
        }
        if missing == Missing::Create {
            match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(0o750)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(io("create", &path, errno.into())),
            }
        }
        match rustix::fs::openat(&self.fd, name, OPEN | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(fd) => Ok(Dir { fd, path }),
            Err(Errno::LOOP | Errno::NOTDIR) => Err(BelowError::NotADirectory { path }),
            Err(errno) => Err(io("open", &path, errno.into())),
        }
    }

    /// Opens a directory any number of components below this one; `path` may be written
    /// relative to it or with its own path in front. `..` is refused.
    ///
    /// # Errors
    /// As [`Dir::child`], and when `path` leads elsewhere or to this directory itself.
    pub fn below(&self, path: &Path, missing: Missing) -> Result<Dir, BelowError> {
        let outside = || BelowError::Outside { path: path.to_path_buf(), root: self.path.clone() };
        let relative =
            if path.is_absolute() { path.strip_prefix(&self.path).map_err(|_| outside())? } else { path };
        if !relative.components().all(|component| matches!(component, Component::Normal(_))) {
            return Err(outside());
        }
        let mut found: Option<Dir> = None;
        for component in relative.components() {
            found = Some(found.as_ref().unwrap_or(self).child(component.as_os_str(), missing)?);
        }
        found.ok_or_else(outside)
    }

    /// The name under which it was found; only for messages and for paths that somebody
    /// else resolves.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path that leads to this very directory whatever its name is now; good within this
    /// process while the value lives, and as the working directory of a child.
    #[must_use]
    pub fn anchored(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_fd().as_raw_fd()))
    }

    /// The descriptor.
    #[must_use]
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Makes names that were added, replaced or removed here durable.
    ///
    /// # Errors
    /// When the sync failed.
    pub fn sync(&self) -> Result<(), BelowError> {
        rustix::fs::fsync(&self.fd).map_err(|errno| io("sync", &self.path, errno.into()))
    }

    /// The names in this directory, without `.` and `..`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn names(&self) -> Result<Vec<std::ffi::OsString>, BelowError> {
        let entries = std::fs::read_dir(self.anchored()).map_err(|source| io("read", &self.path, source))?;
        entries
            .map(|entry| {
                entry.map(|entry| entry.file_name()).map_err(|source| io("read", &self.path, source))
            })
            .collect()
    }
}

/// An error of the operating system with what was tried.
pub(crate) fn io(what: &'static str, path: &Path, source: std::io::Error) -> BelowError {
    BelowError::Io { what, path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_below_the_root_is_not_followed() {
        let scratch = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), scratch.path().join("smith")).unwrap();
        let root = Dir::root(scratch.path(), Missing::Fail).unwrap();
        for missing in [Missing::Fail, Missing::Create] {
            let refused = root.below(Path::new("smith/releases"), missing);
            assert!(matches!(refused, Err(BelowError::NotADirectory { .. })), "{refused:?}");
        }
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_what_is_written_below_the_root_is_below_it() {
        let scratch = tempfile::tempdir().unwrap();
        let root = Dir::root(scratch.path(), Missing::Fail).unwrap();
        for path in ["..", "a/../..", "/etc", "", "."] {
            let refused = root.below(Path::new(path), Missing::Fail);
            assert!(matches!(refused, Err(BelowError::Outside { .. })), "{path}: {refused:?}");
        }
        assert!(root.below(scratch.path(), Missing::Fail).is_err(), "the root is not below itself");
        assert!(root.below(&scratch.path().join("a/b"), Missing::Create).is_ok());
    }
}
