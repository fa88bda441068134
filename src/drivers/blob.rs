//! Uploaded files and screenshots, sealed under their tenant's key, each named by its BLAKE3.
//!
//! `blobs/TENANT/DIGEST` holds what the vault makes of the file: when the key is erased the
//! file is gone from every copy. A blob is written aside, synced and renamed, and never
//! changes. Blobs stay when nothing refers to them any more: an earlier moment may.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tenantry_journal::id::TenantId;
use tenantry_journal::sealed::Vault;

/// Why a blob could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The operating system refused.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The tenant's key is gone.
    #[error("the key of tenant {0} is gone")]
    NoKey(TenantId),
    /// It is not what was kept.
    #[error("blob {0} is damaged")]
    Damaged(String),
    /// A name that no blob has.
    #[error("no blob has this name")]
    BadName,
}

/// All blobs of a data directory. Its methods read and write files: call them where blocking is
/// allowed.
pub struct Blobs {
    dir: PathBuf,
    vault: Arc<dyn Vault>,
}

fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> BlobError {
    move |source| BlobError::Io { what, path: path.to_path_buf(), source }
}

impl Blobs {
    /// In this directory, which is made with the first blob.
    #[must_use]
    pub fn new(dir: PathBuf, vault: Arc<dyn Vault>) -> Blobs {
        Blobs { dir, vault }
    }

    fn path(&self, tenant: TenantId, digest: &str) -> Result<PathBuf, BlobError> {
        let is_digest = digest.len() == 64 && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_digest {
            return Err(BlobError::BadName);
        }
        Ok(self.dir.join(tenant.to_string()).join(digest))
    }

    /// Keeps a file; it is durable when this returns. Gives its name.
    ///
    /// # Errors
    /// When the tenant has no key, or the file cannot be written.
    pub fn keep(&self, tenant: TenantId, bytes: &[u8]) -> Result<String, BlobError> {
        let digest = blake3::hash(bytes).to_hex().to_string();
        let path = self.path(tenant, &digest)?;
        // What is there may be damaged; then it is written again.
        if path.exists() && self.read(tenant, &digest).is_ok() {
            return Ok(digest);
        }
        let sealed = self.vault.seal(tenant.into(), bytes).ok_or(BlobError::NoKey(tenant))?;
        let dir = self.dir.join(tenant.to_string());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(io("make", &dir))?;
        let aside = dir.join(format!(".{}.partial", uuid::Uuid::now_v7()));
        let written = write(&aside, &sealed).and_then(|()| {
            fs::rename(&aside, &path).map_err(io("name", &path))?;
            for dir in [&dir, &self.dir] {
                File::open(dir).and_then(|dir| dir.sync_all()).map_err(io("sync", dir))?;
            }
            Ok(())
        });
        if written.is_err() {
            // What is left aside holds nothing that counts.
            let _ = fs::remove_file(&aside);
        }
        written.map(|()| digest)
    }

    /// Reads a file back.
    ///
    /// # Errors
    /// When it is not there, its key is gone, or it is damaged.
    pub fn read(&self, tenant: TenantId, digest: &str) -> Result<Vec<u8>, BlobError> {
        let path = self.path(tenant, digest)?;
        let sealed = fs::read(&path).map_err(io("read", &path))?;
        let bytes = self.vault.open(tenant.into(), &sealed).ok_or(BlobError::NoKey(tenant))?;
        if blake3::hash(&bytes).to_hex().as_str() == digest {
            Ok(bytes)
        } else {
            Err(BlobError::Damaged(digest.to_owned()))
        }
    }
}

impl Blobs {
    /// Removes all files of a tenant; none is there when this returns.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn remove_all(&self, tenant: TenantId) -> Result<(), BlobError> {
        let dir = self.dir.join(tenant.to_string());
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(io("remove", &dir)(error)),
            Ok(()) => File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(io("sync", &self.dir)),
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), BlobError> {
    let options = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = options.map_err(io("create", path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io("write", path))
}

#[cfg(test)]
mod tests {
    use tenantry_journal::keyring::{Keyring, MasterKey};
    use uuid::Uuid;

    use super::*;

    fn blobs() -> (tempfile::TempDir, Arc<Keyring>, Blobs, TenantId) {
        let dir = tempfile::tempdir().unwrap();
        let keyring = Arc::new(Keyring::open(dir.path(), MasterKey::new([7; 32])).unwrap());
        let tenant = TenantId(Uuid::from_u128(5));
        keyring.create(tenant.into());
        let blobs = Blobs::new(dir.path().join("blobs"), Arc::clone(&keyring) as Arc<dyn Vault>);
        (dir, keyring, blobs, tenant)
    }

    #[test]
    fn what_is_kept_comes_back_and_does_not_lie_open() {
        let (dir, _, blobs, tenant) = blobs();
        let picture = b"a picture of somebody".repeat(100);
        let digest = blobs.keep(tenant, &picture).unwrap();
        assert_eq!(digest, blake3::hash(&picture).to_hex().as_str());
        assert_eq!(blobs.keep(tenant, &picture).unwrap(), digest);
        assert_eq!(blobs.read(tenant, &digest).unwrap(), picture);
        let folder = dir.path().join("blobs").join(tenant.to_string());
        let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(files, [digest.as_str()]);
        let stored = fs::read(folder.join(&digest)).unwrap();
        assert!(!stored.windows(8).any(|window| window == b"somebody"));
    }

    #[test]
    fn an_erased_key_a_changed_byte_and_a_foreign_name_are_told_apart() {
        let (dir, keyring, blobs, tenant) = blobs();
        let digest = blobs.keep(tenant, b"picture").unwrap();
        let path = dir.path().join("blobs").join(tenant.to_string()).join(&digest);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(blobs.read(tenant, &digest).is_err());
        assert_eq!(blobs.keep(tenant, b"picture").unwrap(), digest, "it is written again");
        assert_eq!(blobs.read(tenant, &digest).unwrap(), b"picture");
        for bad in ["../../master.key", "", "ABC", &"g".repeat(64)] {
            assert!(matches!(blobs.read(tenant, bad), Err(BlobError::BadName)), "{bad}");
        }
        keyring.erase(tenant.into()).unwrap();
        assert!(matches!(blobs.read(tenant, &digest), Err(BlobError::NoKey(_))));
        assert!(matches!(blobs.keep(tenant, b"other"), Err(BlobError::NoKey(_))));
    }
}
