//! Wrapped keys on their way to a backup, an export or another data directory. Nothing here opens
//! one: whoever has them needs the master key, too.

use std::path::Path;

use super::file::{self, RECORD_BYTES, Record, io};
use super::{KeyringError, MasterKey};
use crate::id::KeyId;

/// Keys, each wrapped by the master key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wrapped(Vec<Record>);

fn id_of(record: &Record) -> Option<KeyId> {
    let id = record.get(4..20)?.try_into().ok()?;
    Some(KeyId(uuid::Uuid::from_bytes(id)))
}

impl Wrapped {
    /// Reads the keyring file of a data directory, also beside the server that writes it.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn read(dir: &Path) -> Result<Wrapped, KeyringError> {
        Self::read_file(&dir.join("keyring"))
    }

    /// Reads a keyring file of any name.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn read_file(path: &Path) -> Result<Wrapped, KeyringError> {
        let bytes = std::fs::read(path).map_err(io("read", path))?;
        file::wrapped_records(path, &bytes).map(Wrapped)
    }

    /// Takes records that came from elsewhere; `None` when one of them is none.
    #[must_use]
    pub fn of_records(records: Vec<Vec<u8>>) -> Option<Wrapped> {
        let records = records.into_iter().map(|record| Record::try_from(record).ok());
        let records: Vec<Record> = records.collect::<Option<_>>()?;
        records.iter().all(file::is_whole).then_some(Wrapped(records))
    }

    /// The records, each [`RECORD_BYTES`] long.
    pub fn records(&self) -> impl Iterator<Item = &[u8; RECORD_BYTES]> {
        self.0.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Leaves out what is not wanted.
    pub fn retain(&mut self, mut wanted: impl FnMut(KeyId) -> bool) {
        self.0.retain(|record| id_of(record).is_some_and(&mut wanted));
    }

    /// Whether a master key opens them all.
    #[must_use]
    pub fn open_with(&self, master: &MasterKey) -> bool {
        self.0.iter().all(|record| file::unwrap(master, record).is_some())
    }

    /// Writes them as a keyring file, durably.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), KeyringError> {
        file::write_records(path, &self.0)
    }
}
