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
use super::volume::Volume;
use super::{io, sync_dir};
use crate::store::StoreError;

/// A volume that takes more than this is opened without a copy: copying is done at some
/// 400 MB/s, and a start must not take a second for it. Of a larger one that is refused,
/// what lies behind the first damaged byte is gone.
const MOST_BYTES: u64 = 32 * 1024 * 1024;

/// A copy of a volume's directory beside it; removed when dropped.
pub(super) struct Saved {
    volume: PathBuf,
    copy: PathBuf,
}

impl Saved {
    /// Copies the files of a closed volume. `None` where it is too large or, which is told,
    /// there is no room: then the journal opens without this net.
    pub(super) fn take(volume: &Volume) -> Option<Saved> {
        let dir = volume.dir().to_owned();
        let saved = Saved { copy: dir.with_extension("before"), volume: dir };
        saved.remove();
        if volume.size_on_disk().is_ok_and(|bytes| bytes > MOST_BYTES) {
            return None;
        }
        match copy_dir(&saved.volume, &saved.copy) {
            Ok(()) => Some(saved),
            Err(error) => {
                let reason: &dyn std::error::Error = &error;
                tracing::warn!(reason, "the journal is opened without a copy of its last files");
                None
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
