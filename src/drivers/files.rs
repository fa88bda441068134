//! A tenant's directory: releases, the `current` link, removal.
//!
//! A release is filled in `releases/N.partial`, synced, then renamed to `releases/N`, so one
//! with a number is whole; it carries a stamp (`.tenantry-release`) that says where it came
//! from. `current` is replaced by a rename and never missing in between. Everything goes
//! through [`Dir`], so no link below the root is followed.

mod home;
mod tree;

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use tenantry_journal::id::TenantId;

pub use home::{Holder, MARK, Unmarked};
pub use tree::{Cancel, Limits, Size};

use super::below::{BelowError, Dir, Missing, io};

/// The file in a release that says where it came from.
pub const STAMP: &str = ".tenantry-release";
/// The link to the release that serves.
pub const CURRENT: &str = "current";

const RELEASES: &str = "releases";
const PARTIAL: &str = "partial";
/// What is being deleted is renamed to this and a number first.
const DISCARDED: &str = ".discarded-";
/// No stamp of ours is longer.
const STAMP_BYTES: u64 = 4096;

/// Why a tenant's files could not be brought into shape.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A directory could not be reached.
    #[error(transparent)]
    Below(#[from] BelowError),
    /// A file system call failed.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A source holds what a release may not.
    #[error("{path} is {what}, which a release may not hold")]
    Forbidden {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A source is larger than a release may be.
    #[error("the source is larger than a release may be: {limit}")]
    TooLarge {
        /// The limit that it passes.
        limit: String,
    },
    /// The source is a place that must not be deployed.
    #[error("{path} cannot be deployed: it {why}")]
    Source {
        /// The source.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// The release that is to serve is not there.
    #[error("release {release} is not in {directory}")]
    NoRelease {
        /// The release.
        release: u32,
        /// The tenant's directory.
        directory: PathBuf,
    },
    /// It belongs to somebody else.
    #[error(
        "{directory} belongs to the tenant {holder}, by the file {MARK} in it: move it away, or remove \
         that file to have the directory used"
    )]
    Anothers {
        /// The directory.
        directory: PathBuf,
        /// Whose it is.
        holder: TenantId,
    },
    /// A directory could not be renamed.
    #[error("cannot move {from} to {to}: {source}; when something lies there, move it away")]
    Move {
        /// Where it lies.
        from: PathBuf,
        /// Where it should.
        to: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// It was called off.
    #[error("called off")]
    Cancelled,
}

impl FilesError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> FilesError {
        move |source| FilesError::Io { what, path: path.to_path_buf(), source }
    }
}

/// Where a release came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The release's number.
    pub release: u32,
    /// `git` or `directory`.
    pub source: String,
    /// The commit, when it came from git.
    pub commit: Option<String>,
}

/// A release that is being filled.
#[derive(Debug)]
pub struct Partial {
    releases: Dir,
    dir: Dir,
    release: u32,
}

impl Partial {
    /// Where to put the files.
    #[must_use]
    pub fn dir(&self) -> &Dir {
        &self.dir
    }
}

/// All tenants' directories, below one root.
#[derive(Clone, Debug)]
pub struct Files {
    root: PathBuf,
    limits: Limits,
    /// Below one of these every local source lies; none means anywhere.
    sources: Vec<PathBuf>,
}

impl Files {
    /// `root` is the operator's choice: absolute, made when missing.
    #[must_use]
    pub fn new(root: PathBuf) -> Files {
        Files { root, limits: Limits::default(), sources: Vec::new() }
    }

    /// Deploys local sources below one of these directories alone.
    #[must_use]
    pub fn only_from(self, sources: Vec<PathBuf>) -> Files {
        Files { sources, ..self }
    }

    /// Makes a tenant's directory when it is missing.
    ///
    /// # Errors
    /// When it does not lie below the root, or cannot be made.
    pub fn ensure_directory(&self, directory: &Path) -> Result<Dir, FilesError> {
        Ok(Dir::root(&self.root, Missing::Create)?.below(directory, Missing::Create)?)
    }

    /// The stamp of a release that is whole; `None` when there is none.
    ///
    /// # Errors
    /// When the tenant's directory cannot be read.
    pub fn stamp(&self, directory: &Path, release: u32) -> Result<Option<Stamp>, FilesError> {
        let relative = directory.join(RELEASES).join(release.to_string());
        let found =
            Dir::root(&self.root, Missing::Fail).and_then(|root| root.below(&relative, Missing::Fail));
        let dir = match found {
            Ok(dir) => dir,
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(read_stamp(&dir).filter(|stamp| stamp.release == release))
    }

    /// An empty place for a release; what an earlier attempt left there is discarded.
    ///
    /// # Errors
    /// When the tenant's directory cannot be changed.
    pub fn begin_release(&self, directory: &Path, release: u32) -> Result<Partial, FilesError> {
        let releases = self.ensure_directory(directory)?.child(OsStr::new(RELEASES), Missing::Create)?;
        let name = partial_name(release);
        discard(&releases, &name)?;
        discard(&releases, OsStr::new(&release.to_string()))?;
        let dir = releases.child(&name, Missing::Create)?;
        Ok(Partial { releases, dir, release })
    }

    /// Copies a directory into a release: modes stay, links too as far as they stay inside,
    /// `.git` is left out.
    ///
    /// # Errors
    /// When the source may not be deployed, holds what a release may not, or is too large.
    pub fn copy_into(
        &self,
        source: &Path,
        partial: &Partial,
        private: &Path,
        cancel: &Cancel,
    ) -> Result<Size, FilesError> {
        let source = self.check_source(source, private)?;
        tree::copy(&source, partial.dir(), self.limits, cancel)
    }

    /// A local source's real path, when it may be deployed: no tenant's files, none of the
    /// control plane's own, and nothing that holds them.
    ///
    /// # Errors
    /// [`FilesError::Source`] when it may not, [`FilesError::Io`] when it is not there.
    pub fn check_source(&self, source: &Path, private: &Path) -> Result<PathBuf, FilesError> {
        let real = source.canonicalize().map_err(FilesError::io("find", source))?;
        let refused = |why| Err(FilesError::Source { path: source.to_path_buf(), why });
        let real_or_given = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let (root, private) = (real_or_given(&self.root), real_or_given(private));
        let is_below = |source: &PathBuf| real.starts_with(real_or_given(source));
        if !self.sources.is_empty() && !self.sources.iter().any(is_below) {
            return refused("lies in none of the directories of [deploy] sources");
        }
        if real.starts_with(&root) {
            return refused("lies in the directory of the tenants");
        }
        if root.starts_with(&real) || private.starts_with(&real) {
            return refused("holds the control plane's own files");
        }
        if real.starts_with(&private) && !real.join(".git").exists() && !real.join("objects").exists() {
            return refused("lies in the control plane's own directory and is no git repository");
        }
        Ok(real)
    }

    /// Checks what somebody else put in a release by the same rules as a copy.
    ///
    /// # Errors
    /// When it holds what a release may not, or is too large.
    pub fn check_release(&self, partial: &Partial, cancel: &Cancel) -> Result<Size, FilesError> {
        tree::check(partial.dir(), self.limits, cancel)
    }

    /// Removes one entry of a release that is being filled, such as `.git`.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn drop_entry(&self, partial: &Partial, name: &str) -> Result<(), FilesError> {
        remove(&partial.dir, OsStr::new(name))
    }

    /// Stamps a release, makes it durable and gives it its number.
    ///
    /// # Errors
    /// When that failed; the release is not there then.
    pub fn finish_release(&self, partial: Partial, stamp: &Stamp) -> Result<(), FilesError> {
        let path = partial.dir.path().join(STAMP);
        remove(&partial.dir, OsStr::new(STAMP))?;
        let text = serde_json::to_vec(stamp).map_err(|error| FilesError::io("stamp", &path)(error.into()))?;
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(partial.dir.anchored().join(STAMP))
            .map_err(FilesError::io("stamp", &path))?;
        std::io::Write::write_all(&mut file, &text).map_err(FilesError::io("stamp", &path))?;
        // One call for all files of the release; syncing each would take thousands.
        rustix::fs::syncfs(partial.dir.fd()).map_err(|errno| FilesError::io("sync", &path)(errno.into()))?;
        let name = partial.release.to_string();
        rustix::fs::renameat(
            partial.releases.fd(),
            partial_name(partial.release),
            partial.releases.fd(),
            &name,
        )
        .map_err(|errno| FilesError::io("name", &path)(errno.into()))?;
        Ok(partial.releases.sync()?)
    }

    /// Whether something was noted of a release with [`Files::note`].
    ///
    /// # Errors
    /// When the release cannot be read.
    pub fn is_noted(&self, directory: &Path, release: u32, name: &str) -> Result<bool, FilesError> {
        let dir = self.release(directory, release)?;
        match rustix::fs::statat(dir.fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(FilesError::io("look at", &dir.path().join(name))(errno.into())),
        }
    }

    /// Notes durably, by an empty file in it, that something was done for a release.
    ///
    /// # Errors
    /// When the release is not there or cannot be changed.
    pub fn note(&self, directory: &Path, release: u32, name: &str) -> Result<(), FilesError> {
        let dir = self.release(directory, release)?;
        let path = dir.path().join(name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(dir.fd(), name, flags, rustix::fs::Mode::from(0o644))
            .map_err(|errno| FilesError::io("note", &path)(errno.into()))?;
        rustix::fs::fsync(&file).map_err(|errno| FilesError::io("sync", &path)(errno.into()))?;
        Ok(dir.sync()?)
    }

    fn release(&self, directory: &Path, release: u32) -> Result<Dir, FilesError> {
        let relative = directory.join(RELEASES).join(release.to_string());
        Ok(Dir::root(&self.root, Missing::Fail)?.below(&relative, Missing::Fail)?)
    }

    /// Points `current` to a release, or removes it. Never leaves it missing in between.
    ///
    /// # Errors
    /// When the release is not there or the link cannot be replaced.
    pub fn point_current(&self, directory: &Path, release: Option<u32>) -> Result<(), FilesError> {
        let dir = self.ensure_directory(directory)?;
        let path = dir.path().join(CURRENT);
        let Some(release) = release else {
            match rustix::fs::unlinkat(dir.fd(), CURRENT, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(FilesError::io("remove", &path)(errno.into())),
            }
            return Ok(dir.sync()?);
        };
        if self.stamp(directory, release)?.is_none() {
            return Err(FilesError::NoRelease { release, directory: directory.to_path_buf() });
        }
        if self.current(directory)? == Some(release) {
            return Ok(());
        }
        let aside = format!(".{CURRENT}-{release}");
        remove(&dir, OsStr::new(&aside))?;
        let target = Path::new(RELEASES).join(release.to_string());
        rustix::fs::symlinkat(&target, dir.fd(), &aside)
            .map_err(|errno| FilesError::io("link", &path)(errno.into()))?;
        rustix::fs::renameat(dir.fd(), &aside, dir.fd(), CURRENT)
            .map_err(|errno| FilesError::io("replace", &path)(errno.into()))?;
        Ok(dir.sync()?)
    }

    /// The release that `current` points to.
    ///
    /// # Errors
    /// When the tenant's directory cannot be read.
    pub fn current(&self, directory: &Path) -> Result<Option<u32>, FilesError> {
        let found =
            Dir::root(&self.root, Missing::Fail).and_then(|root| root.below(directory, Missing::Fail));
        let dir = match found {
            Ok(dir) => dir,
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Ok(target) = std::fs::read_link(dir.anchored().join(CURRENT)) else { return Ok(None) };
        let release = target.strip_prefix(RELEASES).ok().and_then(Path::to_str);
        Ok(release.and_then(|text| text.parse().ok()))
    }

    /// Removes all releases up to `newest` that are not in `kept`, what attempts at them left,
    /// and what was discarded. Returns the numbers that were removed.
    ///
    /// # Errors
    /// When the tenant's directory cannot be changed.
    pub fn prune(&self, directory: &Path, kept: &[u32], newest: u32) -> Result<Vec<u32>, FilesError> {
        let releases = self.ensure_directory(directory)?.child(OsStr::new(RELEASES), Missing::Create)?;
        let names = releases.names()?;
        let number = |name: &OsString| name.to_str()?.parse::<u32>().ok();
        let mut old: Vec<u32> = names.iter().filter_map(number).collect();
        old.retain(|number| *number <= newest && !kept.contains(number));
        old.sort_unstable_by(|a, b| b.cmp(a));
        for number in &old {
            discard(&releases, OsStr::new(&number.to_string()))?;
        }
        let attempt = |name: &OsString| name.to_str()?.strip_suffix(PARTIAL)?.strip_suffix('.')?.parse().ok();
        for name in names.iter().filter(|name| attempt(name).is_some_and(|number: u32| number <= newest)) {
            discard(&releases, name)?;
        }
        for name in names.iter().filter(|name| name.to_string_lossy().starts_with(DISCARDED)) {
            remove(&releases, name)?;
        }
        Ok(old)
    }

    /// Removes a tenant's directory with everything in it. A link in its place is removed and
    /// not followed.
    ///
    /// # Errors
    /// When it does not lie strictly below the root, or something cannot be removed.
    pub fn remove_tenant_directory(&self, directory: &Path) -> Result<(), FilesError> {
        let root = match Dir::root(&self.root, Missing::Fail) {
            Ok(root) => root,
            Err(error) if error.is_missing() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let outside = || BelowError::Outside { path: directory.to_path_buf(), root: self.root.clone() };
        let (Some(parent), Some(name)) = (directory.parent(), directory.file_name()) else {
            return Err(outside().into());
        };
        let relative = parent.strip_prefix(&self.root).map_err(|_| outside())?;
        if relative.as_os_str().is_empty() {
            remove(&root, name)?;
            return Ok(root.sync()?);
        }
        match root.below(relative, Missing::Fail) {
            Ok(parent) => {
                remove(&parent, name)?;
                Ok(parent.sync()?)
            }
            Err(error) if error.is_missing() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn partial_name(release: u32) -> OsString {
    format!("{release}.{PARTIAL}").into()
}

/// Reads a stamp; what is no regular small file of ours is no stamp.
fn read_stamp(dir: &Dir) -> Option<Stamp> {
    let fd = rustix::fs::openat(
        dir.fd(),
        STAMP,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .ok()?;
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(std::fs::File::from(fd), STAMP_BYTES), &mut text)
        .ok()?;
    serde_json::from_slice(&text).ok()
}

/// Takes a directory out of the way at once and removes it as far as possible: somebody from
/// an earlier life may still write in it, and prune will come back to it.
fn discard(parent: &Dir, name: &OsStr) -> Result<(), FilesError> {
    let path = parent.path().join(name);
    let aside = OsString::from(format!("{DISCARDED}{}", uuid::Uuid::now_v7()));
    match rustix::fs::renameat(parent.fd(), name, parent.fd(), &aside) {
        Ok(()) => {}
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(FilesError::io("discard", &path)(errno.into())),
    }
    if let Err(error) = remove(parent, &aside) {
        tracing::warn!(path = %path.display(), %error, "left for the next pruning");
    }
    Ok(())
}

/// Removes an entry, whatever it is; a link itself and not what it points to.
fn remove(parent: &Dir, name: &OsStr) -> Result<(), FilesError> {
    let path = parent.path().join(name);
    match rustix::fs::unlinkat(parent.fd(), name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(FilesError::io("remove", &path)(errno.into())),
    }
    // std walks by descriptor and follows no link.
    match std::fs::remove_dir_all(parent.anchored().join(name)) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(io("remove", &path, source).into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
