//! Whose a tenant's directory is.
//!
//! A directory bears its tenant's id in a file of ours ([`MARK`]): it is made beside its place with
//! the mark in it and renamed to it, so one that is there is never without. What bears another's
//! mark is never used. When a tenant that was deleted has left its files where another one
//! comes, they are moved aside to `NAME.deleted-ID`, by one rename, and back by another when
//! that tenant returns; a slug holds no dot, so no tenant's own directory is called so. Before
//! there were marks directories bore none; whose such a one is, the caller knows.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use tenantry_journal::id::TenantId;

use super::{Files, FilesError, remove};
use crate::drivers::below::{BelowError, Dir, Missing};

/// The file in a tenant's directory that says whose it is.
pub const MARK: &str = ".tenantry-tenant";
/// A directory that is being made is called so, with its tenant's id behind.
const NEW: &str = ".tenantry-new-";
/// What a directory that is kept aside has behind its name, before its tenant's id.
const ASIDE: &str = ".deleted-";
/// An id, and a line's end.
const MARK_BYTES: u64 = 64;

/// Whose the directory at some place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// There is none.
    Nobody,
    /// It bears no mark.
    Unmarked,
    /// This tenant's.
    Tenant(TenantId),
}

impl Files {
    /// Whose the directory at a place is.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn holder(&self, directory: &Path) -> Result<Holder, FilesError> {
        let Some((parent, name)) = self.place(directory, Missing::Fail)? else { return Ok(Holder::Nobody) };
        match parent.child(&name, Missing::Fail) {
            Ok(dir) => Ok(read_mark(&dir).map_or(Holder::Unmarked, Holder::Tenant)),
            Err(error) if error.is_missing() => Ok(Holder::Nobody),
            Err(error) => Err(error.into()),
        }
    }

    /// Where a tenant's files lie whose place is `directory`: there, moved aside, or under a name
    /// that differs by a number, since one that returns to a taken name gets such a one.
    ///
    /// # Errors
    /// When the directory of the tenants cannot be read.
    pub fn home(&self, directory: &Path, tenant: TenantId) -> Result<Option<PathBuf>, FilesError> {
        if self.holder(directory)? == Holder::Tenant(tenant) {
            return Ok(Some(directory.to_path_buf()));
        }
        let Some((parent, own)) = self.place(directory, Missing::Fail)? else { return Ok(None) };
        let aside = format!("{ASIDE}{tenant}");
        let family = without_number(&own.to_string_lossy()).to_owned();
        for name in parent.names()? {
            let text = name.to_string_lossy();
            if !text.ends_with(&aside) && without_number(&text) != family {
                continue;
            }
            let path = directory.with_file_name(&name);
            if matches!(self.holder(&path), Ok(Holder::Tenant(holder)) if holder == tenant) {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Gives a tenant the directory at its place: the one that is its own, wherever it lies, else
    /// one that bears no mark, else a new one. Returns from where it was moved, if it was.
    ///
    /// # Errors
    /// [`FilesError::Anothers`] when it is another's, or when it cannot be made.
    pub fn move_in(&self, directory: &Path, tenant: TenantId) -> Result<Option<PathBuf>, FilesError> {
        let (parent, name) =
            self.place(directory, Missing::Create)?.ok_or_else(|| outside(directory, &self.root))?;
        match self.holder(directory)? {
            Holder::Tenant(holder) if holder == tenant => return Ok(None),
            Holder::Tenant(holder) => {
                return Err(FilesError::Anothers { directory: directory.to_path_buf(), holder });
            }
            Holder::Unmarked => {
                mark(&parent.child(&name, Missing::Fail)?, tenant)?;
                return Ok(None);
            }
            Holder::Nobody => {}
        }
        if let Some(found) = self.home(directory, tenant)? {
            let from = found.file_name().unwrap_or_default();
            rename(&parent, from, &name)?;
            return Ok(Some(found));
        }
        let new = OsString::from(format!("{NEW}{tenant}"));
        mark(&parent.child(&new, Missing::Create)?, tenant)?;
        rename(&parent, &new, &name)?;
        Ok(None)
    }

    /// Moves a directory aside, as one that a tenant left. Returns where it lies then.
    ///
    /// # Errors
    /// When something lies there already, or it cannot be moved.
    pub fn set_aside(&self, directory: &Path, tenant: TenantId) -> Result<PathBuf, FilesError> {
        let (parent, name) =
            self.place(directory, Missing::Fail)?.ok_or_else(|| outside(directory, &self.root))?;
        let dir = parent.child(&name, Missing::Fail)?;
        if read_mark(&dir) != Some(tenant) {
            mark(&dir, tenant)?;
        }
        let mut aside = name.clone();
        aside.push(format!("{ASIDE}{tenant}"));
        rename(&parent, &name, &aside)?;
        Ok(directory.with_file_name(aside))
    }

    /// Removes what is a tenant's: its directory wherever it lies, and one that it was about to
    /// get. What bears no mark at its place is taken for its own when `unmarked` says so.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn remove_home(
        &self,
        directory: &Path,
        tenant: TenantId,
        unmarked: Unmarked,
    ) -> Result<(), FilesError> {
        let Some((parent, _)) = self.place(directory, Missing::Fail)? else { return Ok(()) };
        let is_unmarked = match self.holder(directory) {
            Ok(holder) => holder == Holder::Unmarked,
            // A link in its place is nobody's home.
            Err(FilesError::Below(BelowError::NotADirectory { .. })) => true,
            Err(error) => return Err(error),
        };
        if is_unmarked && unmarked == Unmarked::IsItsOwn {
            self.remove_tenant_directory(directory)?;
        }
        remove(&parent, OsStr::new(&format!("{NEW}{tenant}")))?;
        match self.home(directory, tenant) {
            Ok(Some(home)) => self.remove_tenant_directory(&home),
            Ok(None) | Err(FilesError::Below(BelowError::NotADirectory { .. })) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The directory in which a tenant's lies, and its name; `None` when that is missing.
    fn place(&self, directory: &Path, missing: Missing) -> Result<Option<(Dir, OsString)>, FilesError> {
        let refused = || outside(directory, &self.root);
        let (Some(parent), Some(name)) = (directory.parent(), directory.file_name()) else {
            return Err(refused());
        };
        let relative = parent.strip_prefix(&self.root).map_err(|_| refused())?;
        let found = Dir::root(&self.root, missing).and_then(|root| {
            if relative.as_os_str().is_empty() { Ok(root) } else { root.below(relative, missing) }
        });
        match found {
            Ok(parent) => Ok(Some((parent, name.to_owned()))),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// What to take a directory for that bears no mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmarked {
    /// The tenant's own.
    IsItsOwn,
    /// Somebody else's.
    IsAnothers,
}

fn outside(directory: &Path, root: &Path) -> FilesError {
    BelowError::Outside { path: directory.to_path_buf(), root: root.to_path_buf() }.into()
}

/// A name without the numbers behind it that tell tenants of one name apart.
fn without_number(name: &str) -> &str {
    let mut rest = name;
    while let Some((before, number)) = rest.rsplit_once('-')
        && !before.is_empty()
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
    {
        rest = before;
    }
    rest
}

/// Renames durably; nothing that holds something is ever replaced.
fn rename(parent: &Dir, from: &OsStr, to: &OsStr) -> Result<(), FilesError> {
    rustix::fs::renameat(parent.fd(), from, parent.fd(), to).map_err(|errno| {
        let source = std::io::Error::from(errno);
        FilesError::Move { from: parent.path().join(from), to: parent.path().join(to), source }
    })?;
    Ok(parent.sync()?)
}

/// Whose mark a directory bears. One that somebody else wrote, such as a tenant's process under
/// its own user, is none.
fn read_mark(dir: &Dir) -> Option<TenantId> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir.fd(), MARK, flags, Mode::empty()).ok()?;
    let found = rustix::fs::fstat(&fd).ok()?;
    let is_file = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
    if !is_file || found.st_uid != rustix::process::geteuid().as_raw() {
        return None;
    }
    let mut text = String::new();
    let file = std::fs::File::from(fd);
    std::io::Read::read_to_string(&mut std::io::Read::take(file, MARK_BYTES), &mut text).ok()?;
    text.trim_end().parse().ok()
}

/// Has a directory bear a tenant's mark, durably.
fn mark(dir: &Dir, tenant: TenantId) -> Result<(), FilesError> {
    let path = dir.path().join(MARK);
    let aside = format!("{MARK}.new");
    remove(dir, OsStr::new(&aside))?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(dir.anchored().join(&aside))
        .map_err(FilesError::io("mark", &path))?;
    std::io::Write::write_all(&mut file, format!("{tenant}\n").as_bytes())
        .map_err(FilesError::io("mark", &path))?;
    file.sync_all().map_err(FilesError::io("sync", &path))?;
    match rustix::fs::renameat(dir.fd(), &aside, dir.fd(), MARK) {
        Ok(()) => {}
        // What lies there under this name is no file.
        Err(Errno::ISDIR) => {
            remove(dir, OsStr::new(MARK))?;
            rustix::fs::renameat(dir.fd(), &aside, dir.fd(), MARK)
                .map_err(|errno| FilesError::io("mark", &path)(errno.into()))?;
        }
        Err(errno) => return Err(FilesError::io("mark", &path)(errno.into())),
    }
    Ok(dir.sync()?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use uuid::Uuid;

    use super::*;

    const ONE: TenantId = TenantId(Uuid::from_u128(1));
    const OTHER: TenantId = TenantId(Uuid::from_u128(2));

    fn bench() -> (tempfile::TempDir, Files, PathBuf) {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("tenants");
        (scratch, Files::new(root.clone()), root.join("smith"))
    }

    fn names(directory: &Path) -> Vec<String> {
        let parent = std::fs::read_dir(directory.parent().unwrap()).unwrap();
        let mut names: Vec<String> =
            parent.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_directory_bears_its_tenants_mark_from_its_first_moment_on() {
        let (_scratch, files, smith) = bench();
        assert_eq!(files.holder(&smith).unwrap(), Holder::Nobody);
        assert_eq!(files.move_in(&smith, ONE).unwrap(), None);
        assert_eq!(files.holder(&smith).unwrap(), Holder::Tenant(ONE));
        assert_eq!(files.move_in(&smith, ONE).unwrap(), None);
        assert_eq!(names(&smith), ["smith"]);
        let refused = files.move_in(&smith, OTHER).unwrap_err();
        assert!(matches!(&refused, FilesError::Anothers { holder, .. } if *holder == ONE), "{refused}");
        assert!(refused.to_string().contains(MARK), "{refused}");
    }

    #[test]
    fn what_a_crash_left_of_the_making_is_taken_up() {
        let (_scratch, files, smith) = bench();
        let new = smith.with_file_name(format!("{NEW}{ONE}"));
        std::fs::create_dir_all(&new).unwrap();
        std::fs::write(new.join(format!("{MARK}.new")), "torn").unwrap();
        assert_eq!(files.holder(&smith).unwrap(), Holder::Nobody);
        files.move_in(&smith, ONE).unwrap();
        assert_eq!(
            (files.holder(&smith).unwrap(), names(&smith)),
            (Holder::Tenant(ONE), vec!["smith".into()])
        );
        assert_eq!(std::fs::read_dir(&smith).unwrap().count(), 1);
    }

    #[test]
    fn what_one_left_is_moved_aside_and_back_also_under_another_name() {
        let (_scratch, files, smith) = bench();
        files.move_in(&smith, ONE).unwrap();
        std::fs::write(smith.join("kept"), "1").unwrap();
        let aside = files.set_aside(&smith, ONE).unwrap();
        assert_eq!(aside, smith.with_file_name(format!("smith.deleted-{ONE}")));
        assert_eq!(files.home(&smith, ONE).unwrap(), Some(aside.clone()));
        // A crash here leaves the place empty; whoever comes next goes on.
        files.move_in(&smith, OTHER).unwrap();
        assert!(!smith.join("kept").exists());
        let second = smith.with_file_name("smith-2");
        assert_eq!(files.move_in(&second, ONE).unwrap(), Some(aside));
        assert!(second.join("kept").exists());
        assert_eq!(names(&smith), ["smith", "smith-2"]);
        // Under the name of before, when that is free again.
        files.remove_home(&smith, OTHER, Unmarked::IsItsOwn).unwrap();
        assert_eq!(files.move_in(&smith, ONE).unwrap(), Some(second));
        assert!(smith.join("kept").exists());
    }

    #[test]
    fn nothing_that_holds_something_is_replaced() {
        let (_scratch, files, smith) = bench();
        files.move_in(&smith, ONE).unwrap();
        let aside = smith.with_file_name(format!("smith.deleted-{ONE}"));
        std::fs::create_dir(&aside).unwrap();
        std::fs::write(aside.join("older"), "1").unwrap();
        let refused = files.set_aside(&smith, ONE).unwrap_err();
        assert!(refused.to_string().contains("smith.deleted-"), "{refused}");
        assert!(aside.join("older").exists() && smith.join(MARK).exists());
    }

    #[test]
    fn a_directory_without_a_mark_is_given_to_whoever_comes_or_moved_aside() {
        let (_scratch, files, smith) = bench();
        std::fs::create_dir_all(smith.join("data")).unwrap();
        assert_eq!(files.holder(&smith).unwrap(), Holder::Unmarked);
        let aside = files.set_aside(&smith, ONE).unwrap();
        assert_eq!(files.holder(&aside).unwrap(), Holder::Tenant(ONE));
        std::fs::create_dir_all(smith.join("data")).unwrap();
        files.move_in(&smith, OTHER).unwrap();
        assert_eq!(files.holder(&smith).unwrap(), Holder::Tenant(OTHER));
        assert!(smith.join("data").exists());
    }

    #[test]
    fn a_mark_that_is_no_plain_file_of_ours_is_none() {
        let (scratch, files, smith) = bench();
        std::fs::create_dir_all(&smith).unwrap();
        let elsewhere = scratch.path().join("mark");
        std::fs::write(&elsewhere, format!("{ONE}\n")).unwrap();
        symlink(&elsewhere, smith.join(MARK)).unwrap();
        assert_eq!(files.holder(&smith).unwrap(), Holder::Unmarked);
        std::fs::remove_file(smith.join(MARK)).unwrap();
        std::fs::create_dir(smith.join(MARK)).unwrap();
        assert_eq!(files.holder(&smith).unwrap(), Holder::Unmarked);
        files.move_in(&smith, OTHER).unwrap();
        assert_eq!(files.holder(&smith).unwrap(), Holder::Tenant(OTHER));
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(smith.join(MARK), Some(65_534), None).unwrap();
            assert_eq!(files.holder(&smith).unwrap(), Holder::Unmarked, "a tenant's process wrote it");
        }
    }

    #[test]
    fn a_removal_takes_a_tenants_own_and_nobody_elses() {
        let (scratch, files, smith) = bench();
        files.remove_home(&smith, ONE, Unmarked::IsItsOwn).unwrap();
        files.move_in(&smith, ONE).unwrap();
        files.remove_home(&smith, OTHER, Unmarked::IsItsOwn).unwrap();
        assert_eq!(names(&smith), ["smith"]);
        files.set_aside(&smith, ONE).unwrap();
        files.move_in(&smith, OTHER).unwrap();
        files.remove_home(&smith, ONE, Unmarked::IsItsOwn).unwrap();
        assert_eq!(names(&smith), ["smith"]);
        std::fs::remove_file(smith.join(MARK)).unwrap();
        files.remove_home(&smith, OTHER, Unmarked::IsAnothers).unwrap();
        assert_eq!(names(&smith), ["smith"]);
        files.remove_home(&smith, OTHER, Unmarked::IsItsOwn).unwrap();
        assert_eq!(names(&smith), [""; 0]);
        let elsewhere = scratch.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        symlink(&elsewhere, &smith).unwrap();
        files.remove_home(&smith, ONE, Unmarked::IsItsOwn).unwrap();
        assert!(elsewhere.exists() && !smith.is_symlink());
    }

    #[test]
    fn a_number_behind_a_name_is_no_part_of_it() {
        for (name, without) in
            [("smith", "smith"), ("smith-2", "smith"), ("smith-2-3", "smith"), ("a-b", "a-b"), ("-2", "-2")]
        {
            assert_eq!(without_number(name), without);
        }
    }
}
