//! `tenantry restore-journal`: a new data directory that holds a control plane as it was.
//!
//! A moment inside a command is none that ever was: then the new journal ends before the command.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use serde_json::json;
use tenantry_journal::codec;
use tenantry_journal::hex;
use tenantry_journal::id::{KeyId, Seq};
use tenantry_journal::keyring::{MasterKey, Wrapped};
use tenantry_journal::merkle::Frontier;
use tenantry_journal::scan::{self, ScanError};
use tenantry_journal::store::Journal;
use tenantry_journal::transfer::{self, Builder, Built, TransferError};
use tenantry_projections::as_of::Point;

use super::files::{self, NewDirectory};
use super::manifest::Manifest;
use crate::app::offline;
use crate::cli::RestoreJournal;
use crate::cli::progress::Progress;
use crate::clock;

pub(super) fn restore(asked: &RestoreJournal) -> anyhow::Result<()> {
    let new = NewDirectory::begin(&asked.into)?;
    let (built, moved_back) = match (&asked.backup, &asked.master_key) {
        (Some(backup), Some(master)) => from_backup(asked, backup, master, new.place())?,
        _ => from_data(asked, new.place())?,
    };
    ensure!(built.frontier.size() > 0, "there is nothing before that moment");
    new.finish()?;
    let told = json!({
        "into": asked.into.display().to_string(),
        "events": built.frontier.size(),
        "at": built.at,
        "root": hex::encode(&built.frontier.root()),
        "left_out_of_last_command": moved_back,
    });
    if asked.json {
        return offline::print(&told);
    }
    println!("{}: {} events, the last of {}", asked.into.display(), built.frontier.size(), built.at);
    if moved_back > 0 {
        println!("The moment lay inside a command; its {moved_back} events are left out.");
    }
    println!(
        "Stop the other control plane before you serve this one: both would use the same directories and ports.\n\
         Passwords and tokens are those of that moment."
    );
    Ok(())
}

/// Where the new journal ends.
struct Cut {
    builder: Builder,
    until: Option<Point>,
    is_past: bool,
    moved_back: usize,
}

impl Cut {
    fn new(dir: &Path, until: Option<Point>) -> anyhow::Result<Cut> {
        Ok(Cut { builder: Builder::begin(dir)?, until, is_past: false, moved_back: 0 })
    }

    fn take(&mut self, seq: Seq, record: &[u8]) -> Result<(), TransferError> {
        if self.is_past {
            return Ok(());
        }
        let lies_behind = match self.until {
            None => false,
            Some(Point::Seq(until)) => seq > until,
            Some(Point::At(until)) => codec::decode_record(seq, record)?.at > until,
        };
        if !lies_behind {
            self.builder.push(seq, record)?;
            return Ok(());
        }
        self.is_past = true;
        let command = codec::decode_record(seq, record)?.command_id.0;
        if self.builder.command() == Some(command) {
            self.moved_back = self.builder.take_back();
        }
        Ok(())
    }

    /// Ends the journal and puts its keys beside it.
    fn finish(self, dir: &Path, mut keys: Wrapped, master: &MasterKey) -> anyhow::Result<(Built, usize)> {
        let built = self.builder.finish()?;
        keys.retain(|id| built.keys.contains(&id));
        keys.write(&dir.join("keyring"))?;
        master.write(dir)?;
        Ok((built, self.moved_back))
    }
}

/// Why a journal is not read on.
enum Halt {
    /// What was wanted lies before.
    Past,
    Unreadable(ScanError),
    Untaken(TransferError),
}

impl From<ScanError> for Halt {
    fn from(error: ScanError) -> Halt {
        Halt::Unreadable(error)
    }
}

impl From<TransferError> for Halt {
    fn from(error: TransferError) -> Halt {
        Halt::Untaken(error)
    }
}

/// Copies the blobs of tenants that there were; `blobs` are paths and their bytes.
fn keep_blob(dir: &Path, keys: &[KeyId], path: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let tenant = path.split('/').next().unwrap_or_default();
    let is_known = tenant.parse::<uuid::Uuid>().is_ok_and(|id| keys.contains(&KeyId(id)));
    if !is_known {
        return Ok(());
    }
    files::directory(&dir.join("blobs").join(tenant))?;
    files::write(&dir.join("blobs").join(path), |out| Ok(out.write_all(bytes)?))
}

fn from_data(asked: &RestoreJournal, dir: &Path) -> anyhow::Result<(Built, usize)> {
    let opened = offline::open(&asked.data_dir)?;
    clock::not_before(opened.tail.time);
    let head = opened.store.head();
    let until = match &asked.until {
        Some(text) => Some(checked(text, head)?),
        None => None,
    };
    let mut cut = Cut::new(dir, until)?;
    let progress = Progress::over_events("restoring", head.0, false);
    let read = scan::records(&*opened.store, &mut Frontier::default(), head, |seq, record, _| {
        progress.at(seq.0);
        cut.take(seq, record)?;
        if cut.is_past { Err(Halt::Past) } else { Ok(()) }
    });
    match read {
        Ok(()) | Err(Halt::Past) => {}
        Err(Halt::Unreadable(error)) => return Err(error.into()),
        Err(Halt::Untaken(error)) => return Err(error.into()),
    }
    let master = MasterKey::load(&asked.data_dir)?;
    let done = cut.finish(dir, Wrapped::read(&asked.data_dir)?, &master)?;
    for tenant in files::entries(&asked.data_dir.join("blobs"))? {
        for blob in files::entries(&tenant)? {
            let path = blob.strip_prefix(asked.data_dir.join("blobs")).unwrap_or(&blob);
            if !path.to_string_lossy().contains("/.") {
                keep_blob(dir, &done.0.keys, &path.to_string_lossy(), &files::read(&blob)?)?;
            }
        }
    }
    Ok(done)
}

/// A moment that there was.
fn checked(text: &str, head: Seq) -> anyhow::Result<Point> {
    let now = clock::now();
    match Point::parse(text, now)? {
        Point::Seq(seq) if seq > head => bail!("position {seq} lies after the last event, {head}"),
        Point::At(at) if at > now => bail!("{at} has not come yet"),
        point => Ok(point),
    }
}

fn from_backup(
    asked: &RestoreJournal,
    backup: &Path,
    master: &Path,
    dir: &Path,
) -> anyhow::Result<(Built, usize)> {
    let manifest = Manifest::read(backup)?;
    let manifest = manifest.with_context(|| format!("there is no whole backup in {}", backup.display()))?;
    let master = MasterKey::read(master)?;
    ensure!(
        master.fingerprint() == manifest.master_key,
        "this master key does not open the backup: it needs the one with the fingerprint {}",
        manifest.master_key
    );
    clock::not_before(manifest.at);
    let until = match &asked.until {
        Some(text) => Some(checked(text, Seq(manifest.events))?),
        None => None,
    };
    let mut cut = Cut::new(dir, until)?;
    let progress = Progress::over_events("restoring", manifest.events, false);
    let mut tree = Frontier::default();
    for segment in &manifest.journal {
        let path = backup.join(&segment.part.file);
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let mut stream = BufReader::with_capacity(1 << 20, file);
        let arrival = transfer::read(&mut stream, tree, |seq, record| {
            progress.at(seq.0);
            cut.take(seq, record)
        });
        tree = arrival.with_context(|| format!("{} is damaged", path.display()))?.frontier;
    }
    ensure!(
        tree == manifest.tree()? && hex::encode(&tree.root()) == manifest.root,
        "the Merkle root over the backup's journal is not the one that was backed up"
    );
    let keyring = backup.join(&manifest.keyring.file);
    ensure!(
        blake3::hash(&files::read(&keyring)?).to_hex().as_str() == manifest.keyring.blake3,
        "{} is damaged",
        keyring.display()
    );
    let done = cut.finish(dir, Wrapped::read_file(&keyring)?, &master)?;
    for (path, hash) in &manifest.blobs {
        let bytes = files::read(&backup.join("blobs").join(path))?;
        ensure!(blake3::hash(&bytes).to_hex().as_str() == hash, "the backup's blob {path} is damaged");
        keep_blob(dir, &done.0.keys, path, &bytes)?;
    }
    Ok(done)
}
