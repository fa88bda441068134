//! `backup.json`: what of a backup's directory counts. It is written last, so a backup that was cut
//! off is still the one before.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use tenantry_journal::id::Seq;
use tenantry_journal::merkle::{Frontier, Hash};
use tenantry_journal::time::Timestamp;

use super::files;

const FORMAT: &str = "tenantry-backup";
const VERSION: u16 = 1;
/// Its name in the directory.
pub(super) const NAME: &str = "backup.json";

/// A file of the backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    /// Its name in the directory.
    pub(super) file: String,
    /// Of its bytes.
    pub(super) blake3: String,
}

/// A stretch of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Segment {
    #[serde(flatten)]
    pub(super) part: Part,
    pub(super) from: Seq,
    pub(super) until: Seq,
}

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    format: String,
    version: u16,
    /// Version of the program that wrote it.
    pub(super) written_by: String,
    /// Time of its last event.
    pub(super) at: Timestamp,
    /// How many events it holds.
    pub(super) events: u64,
    /// The Merkle root over them, hex.
    pub(super) root: String,
    peaks: Vec<Hash>,
    /// Which master key opens it. The key itself is not in it.
    pub(super) master_key: String,
    pub(super) journal: Vec<Segment>,
    /// The wrapped keys.
    pub(super) keyring: Part,
    /// Uploaded files, sealed: their paths below `blobs`, with the hash of what lies there.
    pub(super) blobs: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Signed {
    manifest: Manifest,
    /// BLAKE3 of the manifest.
    check: String,
}

impl Manifest {
    pub(super) fn new(tree: &Frontier, at: Timestamp, master_key: String, keyring: Part) -> Manifest {
        Manifest {
            format: FORMAT.to_owned(),
            version: VERSION,
            written_by: env!("CARGO_PKG_VERSION").to_owned(),
            at,
            events: tree.size(),
            root: tenantry_journal::hex::encode(&tree.root()),
            peaks: tree.peaks().to_vec(),
            master_key,
            journal: Vec::new(),
            keyring,
            blobs: BTreeMap::new(),
        }
    }

    /// The tree over its events.
    pub(super) fn tree(&self) -> anyhow::Result<Frontier> {
        Ok(Frontier::resume(self.events, self.peaks.clone())?)
    }

    /// Reads the one of a directory; `None` when there is none.
    pub(super) fn read(dir: &Path) -> anyhow::Result<Option<Manifest>> {
        let path = dir.join(NAME);
        if !path.exists() {
            return Ok(None);
        }
        let damaged = || format!("{} is damaged or of another program", path.display());
        let signed: Signed = serde_json::from_slice(&files::read(&path)?).with_context(damaged)?;
        ensure!(signed.check == check(&signed.manifest)?, damaged());
        let Manifest { format, version, .. } = &signed.manifest;
        ensure!(
            format == FORMAT && *version == VERSION,
            "{} is '{format}' of version {version}, this program reads '{FORMAT}' of version {VERSION}",
            path.display()
        );
        Ok(Some(signed.manifest))
    }

    /// Makes it the one of the directory.
    pub(super) fn write(self, dir: &Path) -> anyhow::Result<()> {
        let signed = Signed { check: check(&self)?, manifest: self };
        files::write(&dir.join(NAME), |out| Ok(serde_json::to_writer_pretty(out, &signed)?))
    }
}

fn check(manifest: &Manifest) -> anyhow::Result<String> {
    Ok(blake3::hash(&serde_json::to_vec(manifest)?).to_hex().to_string())
}
