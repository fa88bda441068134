//! Files that tell a tenant's application what it looks like, below `assets/` in its directory.
//!
//! Each is written aside, synced and renamed, so a reader sees the old one or the new one, whole.
//! Nothing is followed that the application may have put in the way, see [`super::below`].

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::below::{BelowError, Dir, Missing, io};

/// Writes a file into a directory, in place of what had its name.
///
/// # Errors
/// When the operating system refuses; what was there is then still there.
pub fn put(dir: &Dir, name: &str, bytes: &[u8]) -> Result<(), BelowError> {
    let path = dir.path().join(name);
    let aside = format!(".{name}.partial");
    remove(dir, &aside)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // The application may run as another user.
    let fd = rustix::fs::openat(dir.fd(), &aside, flags, Mode::from_raw_mode(0o644))
        .map_err(|errno| io("create", &path, errno.into()))?;
    let mut file = File::from(fd);
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| io("write", &path, error))?;
    rustix::fs::renameat(dir.fd(), &aside, dir.fd(), name)
        .map_err(|errno| io("replace", &path, errno.into()))?;
    dir.sync()
}

/// Removes a file; one that is not there is what was wanted.
///
/// # Errors
/// When the operating system refuses.
pub fn remove(dir: &Dir, name: &str) -> Result<(), BelowError> {
    match rustix::fs::unlinkat(dir.fd(), name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(io("remove", &dir.path().join(name), errno.into())),
    }
}

/// The directory of the application's assets, and of its logos in it.
///
/// # Errors
/// When one is a link or no directory, or cannot be made.
pub fn directories(tenant: &Dir) -> Result<(Dir, Dir), BelowError> {
    let assets = tenant.child(OsStr::new("assets"), Missing::Create)?;
    let logos = assets.child(OsStr::new("logos"), Missing::Create)?;
    Ok((assets, logos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_a_link_in_its_place_is_not_followed() {
        let scratch = tempfile::tempdir().unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        let root = Dir::root(scratch.path(), Missing::Fail).unwrap();
        let (assets, logos) = directories(&root).unwrap();
        put(&logos, "logo-full.png", b"old").unwrap();
        put(&logos, "logo-full.png", b"new").unwrap();
        assert_eq!(std::fs::read(scratch.path().join("assets/logos/logo-full.png")).unwrap(), b"new");
        for name in ["theme.json", ".theme.json.partial"] {
            std::os::unix::fs::symlink(outside.path(), scratch.path().join("assets").join(name)).unwrap();
        }
        put(&assets, "theme.json", b"{}").unwrap();
        assert_eq!(std::fs::read(outside.path()).unwrap(), b"");
        assert_eq!(std::fs::read(scratch.path().join("assets/theme.json")).unwrap(), b"{}");
        remove(&logos, "logo-full.png").unwrap();
        remove(&logos, "logo-full.png").unwrap();
        assert_eq!(logos.names().unwrap().len(), 0);
        std::fs::remove_dir(scratch.path().join("assets/logos")).unwrap();
        std::os::unix::fs::symlink("/tmp", scratch.path().join("assets/logos")).unwrap();
        assert!(directories(&root).is_err());
    }
}
