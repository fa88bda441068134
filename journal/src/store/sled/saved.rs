//! A volume's files as they were before the engine opened them.
//!
//! sled repairs while it opens: it takes the first damaged byte for the end of its log and
//! writes over everything behind it. A journal that is refused because acknowledged events
//! are missing must be left as it was found, for whoever repairs it by better means. So the
//! files are copied first, and put back when the journal is refused. A copy that a crash
//! left behind is removed and never put back: it may be older than what was acknowledged.

use std::fs::{self, File};
use std::path::PathBuf;

use super::copy::copy_dir;
use super::log::{self, Log};
use super::volume::Volume;
use super::{io, sync_dir};
use crate::store::StoreError;

/// A copy of a volume's directory beside it; removed when dropped.
pub(super) struct Saved {
    volume: PathBuf,
    copy: PathBuf,
}

impl Saved {
    /// Copies the files of a closed volume. `None` where it is whole and larger than `most`,
    /// or, which is told, there is no room: then the journal opens without this net.
    ///
    /// # Errors
    /// When the volume cannot be read, or is damaged and there is no room for a copy.
    pub(super) fn take(volume: &Volume, most: u64) -> Result<Option<Saved>, StoreError> {
        let dir = volume.dir().to_owned();
        let saved = Saved { copy: dir.with_extension("before"), volume: dir };
        saved.remove();
        let log = log::check(&saved.volume).map_err(io("read", &saved.volume))?;
        if log == Log::Whole && volume.size_on_disk()? > most {
            return Ok(None);
        }
        match copy_dir(&saved.volume, &saved.copy) {
            Ok(()) => Ok(Some(saved)),
            Err(error) if log == Log::Damaged => Err(error),
            Err(error) => {
                let reason: &dyn std::error::Error = &error;
                tracing::warn!(reason, "the journal is opened without a copy of its last files");
                Ok(None)
            }
        }
    }

    /// Puts the files back; nobody may have them open.
    pub(super) fn put_back(self) -> Result<(), StoreError> {
        for entry in fs::read_dir(&self.copy).map_err(io("list", &self.copy))? {
            let path = entry.map_err(io("list", &self.copy))?.path();
            File::open(&path).and_then(|file| file.sync_all()).map_err(io("sync", &path))?;
        }
        sync_dir(&self.copy)?;
        let repaired = self.volume.with_extension("repaired");
        fs::rename(&self.volume, &repaired).map_err(io("put aside", &self.volume))?;
        fs::rename(&self.copy, &self.volume).map_err(io("put back", &self.volume))?;
        fs::remove_dir_all(&repaired).map_err(io("remove", &repaired))?;
        sync_dir(self.volume.parent().unwrap_or(&self.volume))
    }

    fn remove(&self) {
        if self.copy.exists()
            && let Err(error) = fs::remove_dir_all(&self.copy)
        {
            tracing::warn!(%error, path = %self.copy.display(), "cannot remove a copy");
        }
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        self.remove();
    }
}
