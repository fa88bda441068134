//! `tenantry backup`: the journal in stretches, the wrapped keys, the uploaded files.
//!
//! The journal is read from a copy, as beside a running server everywhere. What an event needs is
//! durable before it: so keys and blobs that are read after the journal are at least those that its
//! events need. What was erased meanwhile is erased in the backup, too.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde_json::json;
use tenantry_journal::id::Seq;
use tenantry_journal::keyring::{MasterKey, Wrapped};
use tenantry_journal::lock::DataLock;
use tenantry_journal::merkle::Frontier;
use tenantry_journal::open_read_only_from;
use tenantry_journal::store::Journal;
use tenantry_journal::transfer::{self, Export, Form};

use super::files;
use super::manifest::{Manifest, Part, Segment};
use crate::app::offline;
use crate::cli::Backup;
use crate::cli::progress::Progress;

pub(super) fn backup(asked: &Backup) -> anyhow::Result<()> {
    let (data, into) = (&asked.data_dir, &asked.into);
    offline::is_there(data)?;
    files::directory(into)?;
    let _lock = DataLock::take(into).context("another backup into this directory is under way")?;
    let before = Manifest::read(into)?;
    let had = before.as_ref().map_or(0, |before| before.events);
    let master_key = MasterKey::load(data)?.fingerprint();
    if let Some(before) = &before {
        ensure!(
            before.master_key == master_key,
            "{} is the backup of another control plane, one with another master key",
            into.display()
        );
    }
    let opened = open_read_only_from(data, Seq(had + 1)).with_context(|| offline::cannot_read(data))?;
    let head = opened.store.head();
    ensure!(
        head.0 >= had,
        "{} holds events up to {had}, and the journal in {} ends at {head}: it is another, or was restored to an \
         earlier moment; back it up into another directory",
        into.display(),
        data.display()
    );
    let tree = before.as_ref().map_or(Ok(Frontier::default()), Manifest::tree)?;
    let (tree, segment) = journal(&*opened.store, tree, head, into)?;
    let keyring = keyring(data, into)?;
    let mut manifest = Manifest::new(&tree, opened.tail.time, master_key, keyring);
    manifest.journal = before.as_ref().map(|before| before.journal.clone()).unwrap_or_default();
    manifest.journal.extend(segment);
    let known = before.map(|before| before.blobs).unwrap_or_default();
    let copied = blobs(data, into, &known, &mut manifest)?;
    let told = json!({
        "into": into.display().to_string(),
        "events": manifest.events,
        "new_events": manifest.events - had,
        "new_blobs": copied,
        "root": manifest.root,
        "master_key": manifest.master_key,
    });
    let kept = manifest.clone();
    manifest.write(into)?;
    clean(into, &kept)?;
    tell(asked, &told, data)
}

fn tell(asked: &Backup, told: &serde_json::Value, data: &Path) -> anyhow::Result<()> {
    if asked.json {
        return offline::print(told);
    }
    let number = |name: &str| told.get(name).and_then(serde_json::Value::as_u64).unwrap_or(0);
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{}: {} events, {} of them new; root {}",
        asked.into.display(),
        number("events"),
        number("new_events"),
        told.get("root").and_then(serde_json::Value::as_str).unwrap_or_default(),
    )?;
    writeln!(
        out,
        "To restore it you need the master key, which is not in it: keep a copy of {} elsewhere.",
        data.join("master.key").display()
    )?;
    Ok(())
}

/// Writes what is new of the journal.
fn journal(
    store: &dyn Journal,
    tree: Frontier,
    head: Seq,
    into: &Path,
) -> anyhow::Result<(Frontier, Option<Segment>)> {
    let from = Seq(tree.size() + 1);
    if from > head {
        return Ok((tree, None));
    }
    files::directory(&into.join("journal"))?;
    let file = format!("journal/{:020}.tnj", from.0);
    let path = into.join(&file);
    let progress = Progress::over_events("backing up", head.0, false);
    let (tree, hash) = files::write(&path, |out| {
        let mut out = Hashing { out, hasher: blake3::Hasher::new() };
        let export =
            Export { store, before: tree, until: head, keys: Wrapped::default(), form: Form::Msgpack };
        let tree = transfer::write(export, &mut out, |seq| progress.at(seq.0))?;
        Ok((tree, out.hasher.finalize()))
    })?;
    let part = Part { file, blake3: hash.to_hex().to_string() };
    Ok((tree, Some(Segment { part, from, until: head })))
}

/// Passes on what is written, and hashes it.
struct Hashing<'a> {
    out: &'a mut dyn Write,
    hasher: blake3::Hasher,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

fn keyring(data: &Path, into: &Path) -> anyhow::Result<Part> {
    let keys = Wrapped::read(data)?;
    let mut hasher = blake3::Hasher::new();
    for record in keys.records() {
        hasher.update(record);
    }
    let file = format!("keyring-{}", hasher.finalize().to_hex().chars().take(16).collect::<String>());
    keys.write(&into.join(&file))?;
    let blake3 = blake3::hash(&files::read(&into.join(&file))?).to_hex().to_string();
    Ok(Part { file, blake3 })
}

/// Copies the blobs that are not there yet; a blob never changes. Returns how many.
fn blobs(
    data: &Path,
    into: &Path,
    known: &std::collections::BTreeMap<String, String>,
    manifest: &mut Manifest,
) -> anyhow::Result<usize> {
    let mut copied = 0;
    for tenant in files::entries(&data.join("blobs"))? {
        for blob in files::entries(&tenant)? {
            let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let (tenant, digest) = (name(&tenant), name(&blob));
            let path = format!("{tenant}/{digest}");
            if digest.starts_with('.') {
                continue;
            }
            if let Some(hash) = known.get(&path).filter(|_| into.join("blobs").join(&path).is_file()) {
                manifest.blobs.insert(path, hash.clone());
                continue;
            }
            let bytes = match fs::read(&blob) {
                // Its tenant was erased just now.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                read => read.with_context(|| format!("cannot read {}", blob.display()))?,
            };
            files::directory(&into.join("blobs").join(&tenant))?;
            files::write(&into.join("blobs").join(&path), |out| Ok(out.write_all(&bytes)?))?;
            manifest.blobs.insert(path, blake3::hash(&bytes).to_hex().to_string());
            copied += 1;
        }
    }
    Ok(copied)
}

/// Removes what the manifest does not name: of a backup that was cut off, or erased since.
fn clean(into: &Path, manifest: &Manifest) -> anyhow::Result<()> {
    let remove =
        |path: &Path| fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()));
    for path in files::entries(into)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("keyring-") && *name != *manifest.keyring.file {
            // Zeros over what a key that was erased since was wrapped in.
            let len = files::read(&path)?.len();
            fs::write(&path, vec![0; len])
                .with_context(|| format!("cannot write over {}", path.display()))?;
            files::sync(&path)?;
            remove(&path)?;
        }
    }
    for path in files::entries(&into.join("journal"))? {
        let name = format!("journal/{}", path.file_name().unwrap_or_default().to_string_lossy());
        if !manifest.journal.iter().any(|segment| segment.part.file == name) {
            remove(&path)?;
        }
    }
    for tenant in files::entries(&into.join("blobs"))? {
        for blob in files::entries(&tenant)? {
            let name = blob.strip_prefix(into.join("blobs")).unwrap_or(&blob).to_string_lossy().into_owned();
            if !manifest.blobs.contains_key(&name) {
                remove(&blob)?;
            }
        }
        if files::entries(&tenant)?.is_empty() {
            fs::remove_dir(&tenant).with_context(|| format!("cannot remove {}", tenant.display()))?;
        }
    }
    files::sync(into)
}
