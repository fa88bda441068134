//! The keyring's two files: reading, appending, and writing anew.
//!
//! A record is written whole or not at all as far as a reader can tell: what does not
//! check at the end of the file was never synced, so nothing durable depends on it. It is
//! cut off, and kept in `keyring.cut`, because only a person can tell a torn write from a
//! damaged disk.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rand::Rng;
use zeroize::Zeroizing;

use super::{KeyBytes, KeyringError, MasterKey};
use crate::cipher;
use crate::id::KeyId;

const HEADER: [u8; 8] = *b"TNKEYS\x00\x01";
/// Checksum 4, id 16, nonce 24, wrapped key 48.
pub(super) const RECORD_BYTES: usize = 92;
/// Only the owner reads and writes.
const MODE: u32 = 0o600;

/// The keyring of before an erasure, until it is written over.
const OLD: &str = "keyring.old";
/// What was cut off the end.
const CUT: &str = "keyring.cut";

/// One wrapped key.
pub(super) type Record = [u8; RECORD_BYTES];

/// The open keyring file.
pub(super) struct KeyFile {
    path: PathBuf,
    /// `None` after a failed write: what the file holds is uncertain from then on.
    file: Option<File>,
    len: u64,
}

pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> KeyringError {
    let path = path.to_owned();
    move |source| KeyringError::Io { action, path, source }
}

impl KeyFile {
    pub(super) fn open(
        dir: &Path,
        master: &MasterKey,
    ) -> Result<(Self, HashMap<KeyId, KeyBytes>), KeyringError> {
        let path = dir.join("keyring");
        remove_old(dir)?;
        match std::fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => write_aside(&path, &HEADER)?,
            Err(error) => return Err(io("read", &path)(error)),
            Ok(_) => {}
        }
        let bytes = std::fs::read(&path).map_err(io("read", &path))?;
        let (keys, whole) = read_records(&path, &bytes, master)?;
        let file = OpenOptions::new().write(true).open(&path).map_err(io("open", &path))?;
        let len = whole as u64;
        if let Some(torn) = bytes.get(whole..).filter(|torn| !torn.is_empty()) {
            let aside = dir.join(CUT);
            write_aside(&aside, torn)?;
            tracing::warn!(
                bytes = torn.len(),
                kept = %aside.display(),
                "the keyring ended in a torn record, which was cut off"
            );
            file.set_len(len).and_then(|()| file.sync_all()).map_err(io("cut", &path))?;
        }
        Ok((KeyFile { path, file: Some(file), len }, keys))
    }

    pub(super) fn open_read_only(
        dir: &Path,
        master: &MasterKey,
    ) -> Result<(Self, HashMap<KeyId, KeyBytes>), KeyringError> {
        let path = dir.join("keyring");
        let bytes = std::fs::read(&path).map_err(io("read", &path))?;
        let (keys, _) = read_records(&path, &bytes, master)?;
        Ok((KeyFile { path, file: None, len: 0 }, keys))
    }

    /// Appends records and makes them durable.
    pub(super) fn append(&mut self, records: &[Record]) -> Result<(), KeyringError> {
        if records.is_empty() {
            return Ok(());
        }
        let Some(file) = self.file.take() else {
            return Err(KeyringError::Broken { path: self.path.clone() });
        };
        let bytes = records.as_flattened();
        file.write_all_at(bytes, self.len)
            .and_then(|()| file.sync_data())
            .map_err(io("append to", &self.path))?;
        self.len += bytes.len() as u64;
        self.file = Some(file);
        Ok(())
    }

    /// Replaces the file's content by `records`, which lack `erased`. No copy of that one is left
    /// in a file of ours, nor, as far as the file system writes in place, on the disk.
    pub(super) fn rewrite(&mut self, records: &[Record], erased: KeyId) -> Result<(), KeyringError> {
        if self.file.is_none() {
            return Err(KeyringError::Broken { path: self.path.clone() });
        }
        let replaced = self.replace(records, erased);
        // Which of the two lies there after a failure is not known, and both are whole.
        self.file = None;
        let file = OpenOptions::new().write(true).open(&self.path).map_err(io("open", &self.path))?;
        self.len = file.metadata().map_err(io("look at", &self.path))?.len();
        self.file = Some(file);
        replaced
    }

    fn replace(&self, records: &[Record], erased: KeyId) -> Result<(), KeyringError> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        remove_old(dir)?;
        std::fs::hard_link(&self.path, dir.join(OLD)).map_err(io("keep", &self.path))?;
        write_aside(&self.path, &[HEADER.as_slice(), records.as_flattened()].concat())?;
        remove_old(dir)?;
        remove_cut(dir, erased)
    }
}

/// Writes over the keyring of before an erasure, and removes it. While the new one has not taken
/// its place yet, the old one is the keyring itself, and only its second name goes.
fn remove_old(dir: &Path) -> Result<(), KeyringError> {
    use std::os::unix::fs::MetadataExt as _;
    let (path, old) = (dir.join("keyring"), dir.join(OLD));
    let old_is = match std::fs::metadata(&old) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found.map_err(io("look at", &old))?,
    };
    let is_the_keyring = std::fs::metadata(&path).is_ok_and(|it| it.ino() == old_is.ino());
    if is_the_keyring {
        std::fs::remove_file(&old).map_err(io("remove", &old))?;
        return File::open(dir).and_then(|dir| dir.sync_all()).map_err(io("sync", dir));
    }
    shred(&old)
}

/// What was cut off the end once may be all of the record that is erased now.
fn remove_cut(dir: &Path, erased: KeyId) -> Result<(), KeyringError> {
    let cut = dir.join(CUT);
    match std::fs::read(&cut) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io("read", &cut)(error)),
        Ok(bytes) if memchr::memmem::find(&bytes, erased.0.as_bytes()).is_some() => shred(&cut),
        Ok(_) => Ok(()),
    }
}

/// Writes zeros over a file, and removes it.
fn shred(path: &Path) -> Result<(), KeyringError> {
    let over = || {
        let file = OpenOptions::new().write(true).open(path)?;
        let len = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        file.write_all_at(&vec![0; len], 0)?;
        file.sync_all()?;
        std::fs::remove_file(path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    over().map_err(io("write over", path))
}

/// Writes a file whole: aside, synced, renamed, its directory synced.
pub(super) fn write_aside(path: &Path, bytes: &[u8]) -> Result<(), KeyringError> {
    let aside = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(MODE)
        .open(&aside)
        .map_err(io("create", &aside))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io("write", &aside))?;
    std::fs::rename(&aside, path).map_err(io("replace", path))?;
    if let Some(dir) = path.parent() {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(io("sync", dir))?;
    }
    Ok(())
}

/// The keys, and how many bytes of the file hold whole records.
fn read_records(
    path: &Path,
    bytes: &[u8],
    master: &MasterKey,
) -> Result<(HashMap<KeyId, KeyBytes>, usize), KeyringError> {
    let body = bytes.strip_prefix(&HEADER).ok_or_else(|| KeyringError::Format { path: path.to_owned() })?;
    let (records, _) = body.as_chunks::<RECORD_BYTES>();
    let whole = records.iter().rposition(is_whole).map_or(0, |last| last + 1);
    let mut keys = HashMap::with_capacity(whole);
    for (index, record) in records.iter().take(whole).enumerate() {
        if !is_whole(record) {
            return Err(KeyringError::Damaged { path: path.to_owned(), index });
        }
        let (id, key) =
            unwrap(master, record).ok_or_else(|| KeyringError::WrongMaster { path: path.to_owned() })?;
        keys.insert(id, key);
    }
    Ok((keys, HEADER.len() + whole * RECORD_BYTES))
}

pub(super) fn is_whole(record: &Record) -> bool {
    record
        .split_first_chunk::<4>()
        .is_some_and(|(stored, rest)| crc32fast::hash(rest).to_be_bytes() == *stored)
}

/// Wraps a key under the master key.
pub(super) fn wrap(master: &MasterKey, id: KeyId, key: &KeyBytes) -> Record {
    let mut nonce = [0; 24];
    rand::rng().fill_bytes(&mut nonce);
    let mut wrapped = Zeroizing::new(**key);
    let tag = cipher::seal(&master.0, &nonce, id.0.as_bytes(), wrapped.as_mut_slice())
        .expect("32 bytes are within the cipher's limit");
    let rest = [id.0.as_bytes().as_slice(), &nonce, wrapped.as_slice(), &tag].concat();
    let mut record = [0; RECORD_BYTES];
    let (checksum, body) = record.split_at_mut(4);
    checksum.copy_from_slice(&crc32fast::hash(&rest).to_be_bytes());
    body.copy_from_slice(&rest);
    record
}

pub(super) fn unwrap(master: &MasterKey, record: &Record) -> Option<(KeyId, KeyBytes)> {
    let (_, rest) = record.split_first_chunk::<4>()?;
    let (id, rest) = rest.split_first_chunk::<16>()?;
    let (nonce, rest) = rest.split_first_chunk::<24>()?;
    let mut wrapped = Zeroizing::new(rest.to_vec());
    let key = cipher::open(&master.0, nonce, id, &mut wrapped)?;
    let key: KeyBytes = Zeroizing::new(key.try_into().ok()?);
    Some((KeyId(uuid::Uuid::from_bytes(*id)), key))
}

pub(super) fn load_master(dir: &Path) -> Result<MasterKey, KeyringError> {
    read_master(&dir.join("master.key"))
}

pub(super) fn read_master(path: &Path) -> Result<MasterKey, KeyringError> {
    let bytes = std::fs::read(path).map(Zeroizing::new).map_err(io("read", path))?;
    let bytes = <[u8; 32]>::try_from(bytes.as_slice());
    let bytes = bytes.map_err(|_| KeyringError::BadMaster { path: path.to_owned() })?;
    Ok(MasterKey::new(bytes))
}

/// The whole records of a keyring, unopened.
pub(super) fn wrapped_records(path: &Path, bytes: &[u8]) -> Result<Vec<Record>, KeyringError> {
    let body = bytes.strip_prefix(&HEADER).ok_or_else(|| KeyringError::Format { path: path.to_owned() })?;
    let (records, _) = body.as_chunks::<RECORD_BYTES>();
    let whole = records.iter().rposition(is_whole).map_or(0, |last| last + 1);
    let records: Vec<Record> = records.iter().take(whole).copied().collect();
    match records.iter().position(|record| !is_whole(record)) {
        Some(index) => Err(KeyringError::Damaged { path: path.to_owned(), index }),
        None => Ok(records),
    }
}

/// Writes a keyring of these records.
pub(super) fn write_records(path: &Path, records: &[Record]) -> Result<(), KeyringError> {
    write_aside(path, &[HEADER.as_slice(), records.as_flattened()].concat())
}

pub(super) fn load_or_create_master(dir: &Path) -> Result<MasterKey, KeyringError> {
    let (path, keyring) = (dir.join("master.key"), dir.join("keyring"));
    if path.exists() {
        return load_master(dir);
    }
    if keyring.exists() {
        return Err(KeyringError::NoMaster { master: path, keyring });
    }
    let mut key: KeyBytes = Zeroizing::new([0; 32]);
    rand::rng().fill_bytes(key.as_mut());
    write_aside(&path, key.as_ref())?;
    Ok(MasterKey(key))
}
