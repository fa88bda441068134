//! One control plane for a data directory: a lock that ends with the process.
//!
//! The kernel holds the lock, the file's content (the holder's process id) is only for
//! the person who reads the refusal. The file is never removed: removing it would let
//! two processes lock two files of one name.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// The data directory could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{} is in use by {holder}; stop it first, or choose another --data-dir", dir.display())]
    Held {
        /// The data directory.
        dir: PathBuf,
        /// `process N`, or `another process` when it left no id.
        holder: String,
        /// Its process id, as it left it.
        pid: Option<u32>,
    },
    /// The lock file cannot be opened, locked or written.
    #[error("cannot lock {}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// The data directory is ours as long as this lives.
#[derive(Debug)]
pub struct DataLock {
    _file: File,
}

/// Longest process id that is read from a lock file, so that a stranger's file of that
/// name is not read whole.
const MAX_PID_BYTES: u64 = 20;

impl DataLock {
    /// Takes the lock of a data directory, which must exist.
    ///
    /// # Errors
    /// When another process has it, or the file cannot be used.
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        let path = dir.join("lock");
        let failed = |source| LockError::Io { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let read = (&mut file).take(MAX_PID_BYTES).read_to_string(&mut pid);
                let pid = pid.trim().parse::<u32>().ok().filter(|_| read.is_ok());
                let holder = pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
                return Err(LockError::Held { dir: dir.to_owned(), holder, pid });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let write = |mut file: &File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        // A full disk must not keep the reader of a full journal out: the id is a courtesy.
        if let Err(error) = write(&file) {
            tracing::warn!(%error, path = %path.display(), "cannot write the process id into the lock file");
        }
        Ok(DataLock { _file: file })
    }
}
