//! A copy of the journal's volumes in the system's directory for temporary files.

use std::fs;
use std::path::{Path, PathBuf};

use super::io;
use crate::store::StoreError;

/// A directory that is removed with its owner.
pub(super) struct TempDir(PathBuf);

impl TempDir {
    pub(super) fn create() -> Result<Self, StoreError> {
        let name = format!("tenantry-journal-{}", uuid::Uuid::now_v7());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).map_err(io("create", &path))?;
        Ok(TempDir(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "cannot remove a copy of the journal");
        }
    }
}

pub(super) fn copy_dir(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::create_dir(to).map_err(io("create", to))?;
    for entry in fs::read_dir(from).map_err(io("list", from))? {
        let entry = entry.map_err(io("list", from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_dir(&source, &target)?;
        } else {
            fs::copy(&source, &target).map_err(io("copy", &source))?;
        }
    }
    Ok(())
}
