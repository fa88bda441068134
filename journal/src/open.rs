//! Opening a data directory: lock, keys, store, in that order.
//!
//! `DIR/lock`, `DIR/master.key`, `DIR/keyring` and the store in `DIR/journal/`. Every file
//! and directory is for its owner alone.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::id::Seq;
use crate::keyring::{Keyring, KeyringError, MasterKey};
use crate::lock::{DataLock, LockError};
use crate::store::StoreError;
use crate::store::sled::{SledJournal, Tail};

/// A data directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it, or it cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Its keys cannot be used.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// Its journal cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be made.
    #[error("cannot create the data directory {}", path.display())]
    Create {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl OpenError {
    /// The first event that is lost or damaged, where the error is about that.
    #[must_use]
    pub fn seq(&self) -> Option<Seq> {
        match self {
            OpenError::Store(error) => error.seq(),
            OpenError::Lock(_) | OpenError::Keyring(_) | OpenError::Create { .. } => None,
        }
    }
}

/// An open data directory.
pub struct Opened {
    /// The journal.
    pub store: Arc<SledJournal>,
    /// The keys.
    pub keyring: Arc<Keyring>,
    /// Where the journal ends.
    pub tail: Tail,
    /// Held as long as the directory is ours; `None` when it was opened to read only.
    pub lock: Option<DataLock>,
}

fn journal_dir(dir: &Path) -> PathBuf {
    dir.join("journal")
}

/// Opens a data directory to write, making what is missing.
///
/// # Errors
/// When it is in use, damaged, or cannot be written.
pub fn open(dir: &Path) -> Result<Opened, OpenError> {
    if !dir.exists() {
        create(dir)?;
    }
    let lock = DataLock::take(dir)?;
    let keyring = Keyring::open(dir, MasterKey::load_or_create(dir)?)?;
    let store = SledJournal::open(&journal_dir(dir))?;
    let tail = store.tail();
    Ok(Opened { store: Arc::new(store), keyring: Arc::new(keyring), tail, lock: Some(lock) })
}

/// Opens a data directory to read only, also beside the server that has it.
///
/// # Errors
/// When there is none, or it is damaged.
pub fn open_read_only(dir: &Path) -> Result<Opened, OpenError> {
    open_read_only_from(dir, Seq(1))
}

/// As [`open_read_only`], for who reads only events from a position on: what lies before it may
/// not be there.
///
/// # Errors
/// As [`open_read_only`].
pub fn open_read_only_from(dir: &Path, from: Seq) -> Result<Opened, OpenError> {
    let master = MasterKey::load(dir)?;
    let store = SledJournal::open_read_only_from(&journal_dir(dir), from)?;
    // After the journal: a running server adds keys before the commits that need them.
    let keyring = Keyring::open_read_only(dir, master)?;
    let tail = store.tail();
    Ok(Opened { store: Arc::new(store), keyring: Arc::new(keyring), tail, lock: None })
}

fn create(dir: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Create { path: dir.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    fs::File::open(parent.unwrap_or(Path::new("."))).and_then(|dir| dir.sync_all()).map_err(failed)
}
