//! Files that are whole or not there: written aside, synced, renamed, their directory synced.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

/// Makes a directory for its owner alone, unless it is there.
pub(super) fn directory(path: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("cannot make {}", path.display()))
}

/// Makes what was written to a directory durable.
pub(super) fn sync(dir: &Path) -> anyhow::Result<()> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.with_context(|| format!("cannot sync {}", dir.display()))
}

/// The directory that holds a path.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    path.with_file_name(name)
}

/// Writes a file by `fill`; it has its name when it is durable.
pub(super) fn write<T>(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let aside = beside(path);
    let cannot = || format!("cannot write {}", aside.display());
    let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside);
    let mut out = BufWriter::with_capacity(1 << 20, options.with_context(cannot)?);
    let done = fill(&mut out).and_then(|done| {
        let file = out.into_inner().map_err(std::io::IntoInnerError::into_error).with_context(cannot)?;
        file.sync_all().with_context(cannot)?;
        fs::rename(&aside, path).with_context(|| format!("cannot name {}", path.display()))?;
        sync(parent(path))?;
        Ok(done)
    });
    if done.is_err() {
        // What is left of it has a name that nobody reads.
        let _ = fs::remove_file(&aside);
    }
    done
}

/// A directory that is being made; it gets its name when everything in it is durable.
pub(super) struct NewDirectory {
    aside: PathBuf,
    path: PathBuf,
    is_named: bool,
}

impl NewDirectory {
    /// Begins one that is not there yet, or is empty. What an earlier attempt left is removed.
    pub(super) fn begin(path: &Path) -> anyhow::Result<NewDirectory> {
        let is_free = match fs::read_dir(path) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
            Err(error) => return Err(error).with_context(|| format!("cannot look at {}", path.display())),
        };
        ensure!(is_free, "{} is there already and not empty; nothing is ever written over", path.display());
        let aside = beside(path);
        match fs::remove_dir_all(&aside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", aside.display()));
            }
            _ => {}
        }
        directory(&aside)?;
        Ok(NewDirectory { aside, path: path.to_owned(), is_named: false })
    }

    /// Where to write meanwhile.
    pub(super) fn place(&self) -> &Path {
        &self.aside
    }

    /// Everything in it is written.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        sync_tree(&self.aside)?;
        fs::rename(&self.aside, &self.path)
            .with_context(|| format!("cannot name {}", self.path.display()))?;
        self.is_named = true;
        sync(parent(&self.path))
    }
}

impl Drop for NewDirectory {
    fn drop(&mut self) {
        if !self.is_named {
            let _ = fs::remove_dir_all(&self.aside);
        }
    }
}

fn sync_tree(dir: &Path) -> anyhow::Result<()> {
    for path in entries(dir)? {
        if path.is_dir() { sync_tree(&path)? } else { sync(&path)? }
    }
    sync(dir)
}

/// What lies in a directory, by name; nothing when there is no such directory.
pub(super) fn entries(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let cannot = || format!("cannot list {}", dir.display());
    let mut paths = match fs::read_dir(dir) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<PathBuf>, _>>()
            .with_context(cannot)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).with_context(cannot),
    };
    paths.sort();
    Ok(paths)
}

/// Reads a file.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
