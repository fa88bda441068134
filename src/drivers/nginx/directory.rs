//! The two directories of sites: what lies there, and how it is changed and changed back.
//!
//! A file is written aside, synced, then renamed; a link is made aside and renamed. What
//! was there before is kept until the change has proved itself. Files without our mark are
//! read and listed, and never touched.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::NginxError;
use super::layout::is_same;
use super::site::{Owner, owner};

/// What is written aside begins so; nginx's patterns take no leading dot.
const ASIDE: &str = ".tenantry-new-";
/// So many files are synced one by one.
const FEW: usize = 8;
/// No site of ours is longer; of a longer file only the beginning is looked at.
const MOST_BYTES: u64 = 1 << 20;

/// The directories, by their configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directories {
    pub(super) available: PathBuf,
    pub(super) enabled: PathBuf,
}

/// A file that lies there.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) text: String,
    pub(super) owner: Owner,
}

/// What is to be so of one file name: its text, or that it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) name: String,
    pub(super) text: Option<String>,
}

/// What was so before a change.
pub(super) struct Before {
    name: String,
    text: Option<String>,
    was_linked: bool,
}

impl Directories {
    /// Makes them when they are not there, and removes what an attempt before left aside.
    pub(super) fn prepare(&self) -> Result<(), NginxError> {
        for dir in [&self.available, &self.enabled] {
            std::fs::create_dir_all(dir).map_err(|source| NginxError::io("create", dir, source))?;
        }
        for dir in [&self.available, &self.enabled] {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                if entry.file_name().to_str().is_some_and(|name| name.starts_with(ASIDE)) {
                    let _ = std::fs::remove_file(entry.path());
                }
            }
        }
        Ok(())
    }

    /// Whether one directory is both, as with a plain `conf.d`.
    fn are_one(&self) -> bool {
        is_same(&self.available, &self.enabled)
    }

    /// The files of ours among the available sites, by name.
    pub(super) fn ours(&self) -> BTreeMap<String, Found> {
        let entries = std::fs::read_dir(&self.available).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                if name.starts_with('.') || !entry.file_type().ok()?.is_file() {
                    return None;
                }
                let text = read(&entry.path())?;
                let owner = owner(&text);
                (owner != Owner::Foreign).then_some((name, Found { text, owner }))
            })
            .collect()
    }

    /// Whether a name is linked to its file.
    pub(super) fn is_linked(&self, name: &str) -> bool {
        let link = self.enabled.join(name);
        let file = self.available.join(name);
        if self.are_one() {
            return file.exists();
        }
        let is_link = std::fs::symlink_metadata(&link).is_ok_and(|meta| meta.file_type().is_symlink());
        is_link
            && std::fs::read_link(&link).is_ok_and(|target| is_same_file(&self.enabled.join(target), &file))
    }

    /// Refuses a name under which something of somebody else lies.
    pub(super) fn check_ours(&self, name: &str) -> Result<(), NginxError> {
        let file = self.available.join(name);
        let is_there = std::fs::symlink_metadata(&file).is_ok();
        let is_ours = || read(&file).is_some_and(|text| owner(&text) != Owner::Foreign);
        if is_there && !is_ours() {
            return Err(NginxError::Foreign { path: file });
        }
        let link = self.enabled.join(name);
        if !self.are_one() && std::fs::symlink_metadata(&link).is_ok() && !self.is_linked(name) {
            return Err(NginxError::Foreign { path: link });
        }
        Ok(())
    }

    /// Writes a file aside; [`Directories::settle`] syncs it. It may hold a key, so nobody else reads it.
    pub(super) fn write_aside(&self, name: &str, text: &str) -> Result<PathBuf, NginxError> {
        let path = self.available.join(format!("{ASIDE}{name}"));
        write(&path, text).map_err(|source| NginxError::io("write", &path, source))?;
        Ok(path)
    }

    /// Makes what was written aside durable: a few files one by one, many with their whole
    /// file system, which takes as long as one of them.
    pub(super) fn settle(&self, changes: &[&Change]) -> Result<(), NginxError> {
        let written = changes.iter().filter(|change| change.text.is_some());
        let files: Vec<PathBuf> =
            written.map(|change| self.available.join(format!("{ASIDE}{}", change.name))).collect();
        let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all());
        if files.len() <= FEW {
            return files
                .iter()
                .try_for_each(|path| sync(path).map_err(|source| NginxError::io("sync", path, source)));
        }
        let synced = File::open(&self.available).and_then(|dir| Ok(rustix::fs::syncfs(&dir)?));
        synced.map_err(|source| NginxError::io("sync", &self.available, source))
    }

    /// Removes what was written aside.
    pub(super) fn drop_aside(&self, changes: &[Change]) {
        for change in changes {
            let _ = std::fs::remove_file(self.available.join(format!("{ASIDE}{}", change.name)));
        }
    }

    /// The files that nginx would read with these changes, in its order.
    pub(super) fn enabled_with(&self, pattern: &str, changes: &[Change]) -> Vec<PathBuf> {
        let mut files: BTreeMap<String, PathBuf> = super::layout::listed(&self.enabled, pattern)
            .into_iter()
            .filter_map(|path| Some((path.file_name()?.to_str()?.to_owned(), path)))
            .collect();
        for change in changes {
            match change.text {
                Some(_) => {
                    let aside = self.available.join(format!("{ASIDE}{}", change.name));
                    files.insert(change.name.clone(), aside);
                }
                None => drop(files.remove(&change.name)),
            }
        }
        files.into_values().collect()
    }

    /// Puts one change in place. What was written aside is taken from there.
    pub(super) fn commit(&self, change: &Change) -> Result<Before, NginxError> {
        let (file, link) = (self.available.join(&change.name), self.enabled.join(&change.name));
        let before =
            Before { name: change.name.clone(), text: read(&file), was_linked: self.is_linked(&change.name) };
        let Err((what, source)) = self.put(&change.name, change.text.as_deref(), true) else {
            return Ok(before);
        };
        // After the first rename the file is in its place, and nothing leads to it.
        if what != "rename"
            && let Err(error) = self.put_back(&before)
        {
            tracing::error!(error = crate::error::chain(&error), "a site could not be put back");
        }
        let path = if what == "link" { &link } else { &file };
        Err(NginxError::io(what, path, source))
    }

    /// Puts back what was so before.
    pub(super) fn put_back(&self, before: &Before) -> Result<(), NginxError> {
        if let Some(text) = &before.text {
            self.write_aside(&before.name, text)?;
            let change = Change { name: before.name.clone(), text: Some(String::new()) };
            self.settle(&[&change])?;
        }
        let put = self.put(&before.name, before.text.as_deref(), before.was_linked);
        put.map_err(|(what, source)| NginxError::io(what, &self.available.join(&before.name), source))
    }

    fn put(
        &self,
        name: &str,
        text: Option<&str>,
        linked: bool,
    ) -> Result<(), (&'static str, std::io::Error)> {
        let (file, link) = (self.available.join(name), self.enabled.join(name));
        let gone = |path: &Path| match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(("remove", error)),
            _ => Ok(()),
        };
        match text {
            Some(_) => {
                let aside = self.available.join(format!("{ASIDE}{name}"));
                std::fs::rename(&aside, &file).map_err(|error| ("rename", error))?;
                if !self.are_one() && linked && !self.is_linked(name) {
                    let aside = self.enabled.join(format!("{ASIDE}{name}"));
                    gone(&aside)?;
                    std::os::unix::fs::symlink(&file, &aside).map_err(|error| ("link", error))?;
                    std::fs::rename(&aside, &link).map_err(|error| ("link", error))?;
                }
                if !self.are_one() && !linked && self.is_linked(name) {
                    gone(&link)?;
                }
            }
            None => {
                if !self.are_one() && self.is_linked(name) {
                    gone(&link)?;
                }
                gone(&file)?;
            }
        }
        Ok(())
    }

    /// Makes what was changed durable.
    pub(super) fn sync(&self) -> Result<(), NginxError> {
        for dir in [&self.available, &self.enabled] {
            let synced = File::open(dir).and_then(|dir| dir.sync_all());
            synced.map_err(|source| NginxError::io("sync", dir, source))?;
        }
        Ok(())
    }
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// A file's text as far as it is looked at; `None` when there is none that can be read.
pub(super) fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(File::open(path).ok()?, MOST_BYTES), &mut bytes)
        .ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Writes a file of mode 0600.
pub(super) fn write(path: &Path, text: &str) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "# Written by tenantry for tenant 0193a1b2-0000-7000-8000-000000000001, api. x\n";

    fn change(name: &str, text: Option<&str>) -> Change {
        Change { name: name.to_owned(), text: text.map(str::to_owned) }
    }

    fn put(sites: &Directories, name: &str, text: Option<&str>) -> Before {
        if let Some(text) = text {
            sites.write_aside(name, text).unwrap();
        }
        sites.commit(&change(name, text)).unwrap()
    }

    #[test]
    fn a_change_is_put_in_place_and_back() {
        let dir = tempfile::tempdir().unwrap();
        let sites = Directories { available: dir.path().join("a"), enabled: dir.path().join("e") };
        sites.prepare().unwrap();
        let first = put(&sites, "x", Some(OURS));
        assert!(sites.is_linked("x") && sites.ours().contains_key("x"));
        let newer = format!("{OURS}server {{}}\n");
        let second = put(&sites, "x", Some(&newer));
        assert_eq!(read(&sites.enabled.join("x")), Some(newer));
        sites.put_back(&second).unwrap();
        assert_eq!(read(&sites.enabled.join("x")).as_deref(), Some(OURS));
        let removed = put(&sites, "x", None);
        assert!(!sites.available.join("x").exists() && !sites.enabled.join("x").is_symlink());
        sites.put_back(&removed).unwrap();
        assert!(sites.is_linked("x"));
        sites.put_back(&first).unwrap();
        assert_eq!(std::fs::read_dir(&sites.available).unwrap().count(), 0);
        assert_eq!(std::fs::read_dir(&sites.enabled).unwrap().count(), 0);
    }

    #[test]
    fn a_file_whose_link_cannot_be_made_does_not_stay() {
        let dir = tempfile::tempdir().unwrap();
        let sites = Directories { available: dir.path().join("a"), enabled: dir.path().join("e") };
        sites.prepare().unwrap();
        // What is in the way of the link is no file that could be removed.
        std::fs::create_dir(sites.enabled.join(format!("{ASIDE}x"))).unwrap();
        sites.write_aside("x", OURS).unwrap();
        assert!(sites.commit(&change("x", Some(OURS))).is_err());
        assert_eq!(std::fs::read_dir(&sites.available).unwrap().count(), 0);
    }

    #[test]
    fn what_is_not_ours_is_not_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let sites = Directories { available: dir.path().join("a"), enabled: dir.path().join("e") };
        sites.prepare().unwrap();
        std::fs::write(sites.available.join("x"), "server {}").unwrap();
        std::fs::write(sites.enabled.join("y"), "server {}").unwrap();
        assert!(matches!(sites.check_ours("x"), Err(NginxError::Foreign { .. })));
        assert!(matches!(sites.check_ours("y"), Err(NginxError::Foreign { .. })));
        assert!(sites.check_ours("z").is_ok());
        assert!(sites.ours().is_empty());
    }
}
