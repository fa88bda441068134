//! The keys that sealed values are under: one for the control plane, each tenant, each user.
//!
//! They lie in the file `keyring` (mode 0600) in the data directory, outside the store,
//! because the store keeps old bytes and a key must be erasable. Each key is wrapped by
//! the master key (`master.key`, 0600, 32 bytes). A new key is usable at once and durable
//! after [`Keyring::sync`], which the committing thread calls before the commit that
//! needs it: a commit is never durable without its keys, a key may be without its commit.
//!
//! File: `TNKEYS` and two bytes of format version (0, 1), then records of 92 bytes:
//! CRC-32 of the rest (u32, big-endian) · key id 16 · nonce 24 · XChaCha20-Poly1305 of
//! the 32-byte key with the id as associated data, 48.

mod file;
mod wrapped;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use rand::Rng;
use zeroize::Zeroizing;

use crate::cipher::{self, NONCE_BYTES, TAG_BYTES};
use crate::id::KeyId;
use crate::sealed::Vault;
use file::KeyFile;

pub use wrapped::Wrapped;

/// First byte of every sealed value.
const SEALED_VERSION: u8 = 1;
/// Version byte and nonce before the ciphertext.
const SEALED_HEAD: usize = 1 + NONCE_BYTES;

/// A key, wiped when dropped.
pub(crate) type KeyBytes = Zeroizing<[u8; 32]>;

/// The keyring cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// A file of it cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// There is a keyring, and no master key to open it.
    #[error(
        "{} is missing, and without it nothing in {} can be read; put it back from your backup",
        master.display(),
        keyring.display()
    )]
    NoMaster {
        /// Where the master key should be.
        master: PathBuf,
        /// The keyring that it opens.
        keyring: PathBuf,
    },
    /// The master key file does not hold 32 bytes.
    #[error("{} must hold exactly 32 bytes; put it back from your backup", path.display())]
    BadMaster {
        /// The file.
        path: PathBuf,
    },
    /// The keyring does not begin as one.
    #[error("{} is not a keyring of this version of tenantry", path.display())]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// A record before the last is not what was written.
    #[error("record {index} of {} is damaged; put the file back from your backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which record, from 0.
        index: usize,
    },
    /// The master key does not open the records.
    #[error("the master key does not fit {}; put the right one back from your backup", path.display())]
    WrongMaster {
        /// The keyring.
        path: PathBuf,
    },
    /// An earlier write failed: what the file holds is uncertain.
    #[error("an earlier write to {} failed", path.display())]
    Broken {
        /// The keyring.
        path: PathBuf,
    },
}

/// The key that wraps all others.
pub struct MasterKey(KeyBytes);

impl MasterKey {
    /// A master key from outside.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        MasterKey(Zeroizing::new(bytes))
    }

    /// Reads a master key from a file of any name.
    ///
    /// # Errors
    /// When it is not 32 bytes, or cannot be read.
    pub fn read(path: &Path) -> Result<Self, KeyringError> {
        file::read_master(path)
    }

    /// Writes it as the `master.key` of a data directory.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, dir: &Path) -> Result<(), KeyringError> {
        file::write_aside(&dir.join("master.key"), self.0.as_ref())
    }

    /// Tells which master key this is, and nothing about it: 16 bytes as hex.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let derived = blake3::derive_key("tenantry 2026-11 fingerprint of the master key", self.0.as_ref());
        crate::hex::encode(&derived).chars().take(32).collect()
    }

    /// Reads `master.key` of a data directory.
    ///
    /// # Errors
    /// When it is missing, is not 32 bytes, or cannot be read.
    pub fn load(dir: &Path) -> Result<Self, KeyringError> {
        file::load_master(dir)
    }

    /// Reads `master.key` of a data directory, and makes it when there is no keyring yet.
    ///
    /// # Errors
    /// When it is missing beside a keyring, is not 32 bytes, or cannot be read or written.
    pub fn load_or_create(dir: &Path) -> Result<Self, KeyringError> {
        file::load_or_create_master(dir)
    }
}

/// Opens and seals under keys that are in a file, each wrapped by the master key.
pub struct Keyring {
    master: MasterKey,
    keys: RwLock<HashMap<KeyId, KeyBytes>>,
    /// Wrapped keys that are not yet in the file. Apart from it, so that making a key
    /// never waits for a sync.
    pending: Mutex<Vec<file::Record>>,
    /// Whether there are any; spares the lock.
    any_pending: AtomicBool,
    file: Mutex<KeyFile>,
}

impl Keyring {
    /// Opens the keyring of a data directory, making it with the control plane's own key
    /// when there is none. A torn last record is cut off and kept beside it.
    ///
    /// # Errors
    /// When the file is damaged, does not fit the master key, or cannot be used.
    pub fn open(dir: &Path, master: MasterKey) -> Result<Self, KeyringError> {
        let (file, keys) = KeyFile::open(dir, &master)?;
        let keyring = Self::assemble(file, keys, master);
        if keyring.create(KeyId::CONTROL_PLANE) {
            keyring.sync()?;
        }
        Ok(keyring)
    }

    /// Opens the keyring to read only: nothing is made, cut or written.
    ///
    /// # Errors
    /// When there is none, it is damaged, or does not fit the master key.
    pub fn open_read_only(dir: &Path, master: MasterKey) -> Result<Self, KeyringError> {
        let (file, keys) = KeyFile::open_read_only(dir, &master)?;
        Ok(Self::assemble(file, keys, master))
    }

    fn assemble(file: KeyFile, keys: HashMap<KeyId, KeyBytes>, master: MasterKey) -> Self {
        Keyring {
            master,
            keys: RwLock::new(keys),
            pending: Mutex::new(Vec::new()),
            any_pending: AtomicBool::new(false),
            file: Mutex::new(file),
        }
    }

    fn file(&self) -> MutexGuard<'_, KeyFile> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending(&self) -> MutexGuard<'_, Vec<file::Record>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a key, unless there is one of that id; `true` when it was made. It is durable
    /// after the next [`Keyring::sync`].
    pub fn create(&self, id: KeyId) -> bool {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if keys.contains_key(&id) {
            return false;
        }
        let mut key: KeyBytes = Zeroizing::new([0; 32]);
        rand::rng().fill_bytes(key.as_mut());
        self.pending().push(file::wrap(&self.master, id, &key));
        self.any_pending.store(true, Ordering::Release);
        keys.insert(id, key);
        true
    }

    /// Whether there is a key of that id.
    #[must_use]
    pub fn contains(&self, id: KeyId) -> bool {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).contains_key(&id)
    }

    /// Makes every key that was created so far durable.
    ///
    /// # Errors
    /// When the file cannot be written or synced; it is not written again after that.
    pub fn sync(&self) -> Result<(), KeyringError> {
        if !self.any_pending.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut file = self.file();
        let records = {
            let mut pending = self.pending();
            self.any_pending.store(false, Ordering::Release);
            std::mem::take(&mut *pending)
        };
        file.append(&records)
    }

    /// Removes a key for good: the keyring is written anew without it, and what was sealed
    /// under it opens as erased from here on. The old file's bytes are written over. One that is
    /// not there is erased already.
    ///
    /// # Errors
    /// When the new file cannot be written; the key is then still there.
    pub fn erase(&self, id: KeyId) -> Result<(), KeyringError> {
        if !self.contains(id) {
            return Ok(());
        }
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let kept = keys.iter().filter(|(key, _)| **key != id);
        let records: Vec<_> = kept.map(|(id, key)| file::wrap(&self.master, *id, key)).collect();
        let mut file = self.file();
        file.rewrite(&records, id)?;
        // The new file holds the pending ones too.
        self.pending().clear();
        self.any_pending.store(false, Ordering::Release);
        keys.remove(&id);
        Ok(())
    }

    /// A key for another purpose, named by `context`, that follows from the master key.
    #[must_use]
    pub fn derive(&self, context: &str) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(blake3::derive_key(context, self.master.0.as_ref()))
    }

    /// A key for another purpose, named by `context`, that follows from the key `id` and is
    /// gone with it; `None` when that is gone.
    #[must_use]
    pub fn derive_under(&self, id: KeyId, context: &str) -> Option<Zeroizing<[u8; 32]>> {
        self.with_key(id, |key| Some(Zeroizing::new(blake3::derive_key(context, key.as_ref()))))
    }

    fn with_key<R>(&self, id: KeyId, work: impl FnOnce(&KeyBytes) -> Option<R>) -> Option<R> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(&id).and_then(work)
    }
}

impl Vault for Keyring {
    fn seal(&self, id: KeyId, plain: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = Vec::with_capacity(SEALED_HEAD + plain.len() + TAG_BYTES);
        sealed.push(SEALED_VERSION);
        let mut nonce = [0; NONCE_BYTES];
        rand::rng().fill_bytes(&mut nonce);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let text = sealed.get_mut(SEALED_HEAD..)?;
        let tag = self.with_key(id, |key| cipher::seal(key, &nonce, id.0.as_bytes(), text))?;
        sealed.extend_from_slice(&tag);
        Some(sealed)
    }

    fn open(&self, id: KeyId, sealed: &[u8]) -> Option<Vec<u8>> {
        let (version, rest) = sealed.split_first()?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_BYTES>()?;
        if *version != SEALED_VERSION {
            return None;
        }
        let mut plain = body.to_vec();
        let len =
            self.with_key(id, |key| cipher::open(key, nonce, id.0.as_bytes(), &mut plain).map(<[u8]>::len))?;
        plain.truncate(len);
        Some(plain)
    }

    fn holds(&self, id: KeyId) -> bool {
        self.contains(id)
    }
}
