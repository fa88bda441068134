//! `tenantry journal`: verifying, counting and proving, on a copy of the data directory's journal.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tenantry_journal::checkpoint::{Checkpoint, PublicKey, SigningKey};
use tenantry_journal::id::{Seq, TenantId};
use tenantry_journal::merkle::Hash;
use tenantry_journal::sealed::Vault;
use tenantry_journal::store::Journal;
use tenantry_journal::{OpenError, Opened, hex, open_read_only, scan};
use tenantry_projections::as_of::fold;
use tenantry_projections::world::World;

use super::{cannot_read, dump, is_there, open, print};
use crate::audit::Audit;
use crate::cli::Verdict;
use crate::cli::audit::{MakeProof, MakeReceipt, Prove, Stats, Verify};
use crate::cli::progress::Progress;
use crate::engine::JournalSource;
use crate::error::chain;

/// Sealed values are opened for so many events at a time.
const SEALED_STEP: u64 = 50_000;

/// What verifying found.
struct Found {
    checked: u64,
    bad: Option<(u64, String)>,
    root: Option<Hash>,
    /// Checkpoints that the journal was compared with.
    checkpoints: usize,
}

/// Reads everything again and prints what was found.
pub(in crate::app) fn verify(asked: &Verify) -> anyhow::Result<Verdict> {
    let dir = std::path::absolute(&asked.data_dir)?;
    is_there(&dir)?;
    let found = match open_read_only(&dir) {
        Ok(opened) => check(&opened, &dir, asked)?,
        Err(error) => match error.seq() {
            Some(seq) => unreadable(seq, &error),
            None => return Err(error).context(cannot_read(&dir)),
        },
    };
    let bad = found.bad.as_ref();
    if asked.json || !io::stdout().is_terminal() {
        print(&json!({
            "valid": bad.is_none(),
            "checked": found.checked,
            "first_bad_seq": bad.map(|(seq, _)| seq),
            "reason": bad.map(|(_, reason)| reason),
            "root": found.root.map(|root| hex::encode(&root)),
            "checkpoints": found.checkpoints,
        }))?;
    } else {
        let mut out = io::stdout().lock();
        match bad {
            Some((seq, reason)) => writeln!(out, "not valid from event {seq} on: {reason}")?,
            None => writeln!(
                out,
                "valid: {} events, root {}, {} signed checkpoints agree",
                found.checked,
                found.root.map(|root| hex::encode(&root)).unwrap_or_default(),
                found.checkpoints
            )?,
        }
    }
    Ok(if bad.is_none() { Verdict::Valid } else { Verdict::Invalid })
}

/// The journal is so damaged that it does not even open; nothing of it was checked.
fn unreadable(seq: Seq, error: &OpenError) -> Found {
    Found { checked: 0, bad: Some((seq.0, chain(error))), root: None, checkpoints: 0 }
}

fn check(opened: &Opened, dir: &Path, asked: &Verify) -> anyhow::Result<Found> {
    let head = opened.store.head();
    let kept = checkpoints(dir, asked)?;
    let checkpoints = kept.len();
    if let Some(later) = kept.iter().find(|kept| kept.tree_size > head.0) {
        let reason = format!(
            "the journal ends at event {head}, but a checkpoint over {} events was signed",
            later.tree_size
        );
        return Ok(Found { checked: 0, bad: Some((head.0 + 1, reason)), root: None, checkpoints });
    }
    let kept: Vec<(u64, Hash)> = kept.into_iter().map(|kept| (kept.tree_size, kept.root_hash)).collect();
    let progress = Progress::over_events("hashing", head.0, asked.json);
    let verified = scan::verify_against(&*opened.store, head, &kept, |seq| progress.at(seq.0))?;
    drop(progress);
    let mut bad = verified.bad.map(|(seq, error)| (seq.0, chain(&error)));
    let mut checked = verified.checked;
    let vault = Arc::clone(&opened.keyring) as Arc<dyn Vault>;
    let progress = Progress::over_events("opening sealed values", checked, asked.json);
    let mut from = 1;
    while from <= checked {
        let to = checked.min(from + SEALED_STEP - 1);
        if let Err(error) = scan::verify_sealed(&*opened.store, &vault, Seq(from), Seq(to)) {
            let seq = error.seq().unwrap_or(Seq(from)).0;
            checked = seq - 1;
            bad = Some((seq, chain(&error)));
            break;
        }
        progress.at(to);
        from = to + 1;
    }
    Ok(Found { checked, bad, root: Some(verified.frontier.root()), checkpoints })
}

/// The checkpoints that the journal has to agree with, the smallest first: the last one in its
/// own directory, and those that were given.
fn checkpoints(dir: &Path, asked: &Verify) -> anyhow::Result<Vec<Checkpoint>> {
    let own = fs::read_to_string(dir.join("signing.pub")).ok();
    let own = own.and_then(|text| PublicKey::parse(&text).ok());
    let mut found = Vec::new();
    if let (Some(key), Ok(note)) = (&own, fs::read_to_string(dir.join("checkpoint")))
        && let Ok(checkpoint) = Checkpoint::open(&note, key)
    {
        found.push(checkpoint);
    }
    let key = match &asked.key {
        Some(text) => Some(crate::cli::public_key(text)?),
        None => own,
    };
    for path in &asked.checkpoint {
        let key =
            key.as_ref().context("there is no public key in the data directory; give one with --key")?;
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let note = match serde_json::from_str::<Value>(&text) {
            Ok(value) => {
                let inside = value.get("checkpoint").unwrap_or(&value);
                let note = inside.get("note").unwrap_or(inside).as_str();
                note.with_context(|| format!("{} holds no checkpoint", path.display()))?.to_owned()
            }
            Err(_) => text,
        };
        let checkpoint = Checkpoint::open(&note, key);
        found.push(checkpoint.with_context(|| format!("{} is no checkpoint of this key", path.display()))?);
    }
    found.sort_by_key(|checkpoint| checkpoint.tree_size);
    Ok(found)
}

/// Prints the journal's numbers.
pub(in crate::app) fn stats(asked: &Stats) -> anyhow::Result<()> {
    let dir = std::path::absolute(&asked.data_dir)?;
    let opened = open(&dir)?;
    let head = opened.store.head();
    let vault = Arc::clone(&opened.keyring) as Arc<dyn Vault>;
    let first = scan::page(&*opened.store, &vault, Seq(1), head, 1)?;
    let last = scan::page(&*opened.store, &vault, head, head, 1)?;
    let (first, last) = (first.first().map(|event| event.at), last.first().map(|event| event.at));
    let bytes = opened.store.size_on_disk()?;
    let key = fs::read_to_string(dir.join("signing.pub")).ok().map(|key| key.trim().to_owned());
    if asked.json || !io::stdout().is_terminal() {
        return print(&json!({
            "head_seq": head.0,
            "events": head.0,
            "bytes": bytes,
            "first_at": first,
            "last_at": last,
            "public_key": key,
        }));
    }
    let mut out = io::stdout().lock();
    writeln!(out, "events      {head}")?;
    writeln!(out, "bytes       {bytes}")?;
    for (name, at) in [("first", first), ("last", last)] {
        writeln!(out, "{name:<11} {}", at.map_or_else(|| "-".to_owned(), |at| at.to_string()))?;
    }
    writeln!(out, "public key  {}", key.as_deref().unwrap_or("none yet"))?;
    Ok(())
}

/// Prints something that the journal proves.
pub(in crate::app) fn prove(asked: &Prove) -> anyhow::Result<()> {
    let dir = match asked {
        Prove::Proof(asked) => &asked.data_dir,
        Prove::Receipt(asked) => &asked.data_dir,
        Prove::Checkpoint(asked) => &asked.data_dir,
    };
    let dir = std::path::absolute(dir)?;
    let opened = open(&dir)?;
    let key = SigningKey::load(&dir)?.with_context(|| {
        format!(
            "there is no signing key in {}: it is made at the first start of `tenantry serve`",
            dir.display()
        )
    })?;
    let head = opened.store.head();
    let audit = Audit::signing(Arc::clone(&opened.store) as Arc<dyn Journal>, key);
    match asked {
        Prove::Proof(asked) => proof(&audit, asked, head),
        Prove::Receipt(asked) => receipt(&opened, &audit, asked, head),
        Prove::Checkpoint(asked) => {
            let size = within(asked.tree_size, head)?;
            io::stdout().lock().write_all(audit.checkpoint(size)?.note.as_bytes())?;
            Ok(())
        }
    }
}

/// A size that was asked for, or all.
fn within(size: Option<u64>, head: Seq) -> anyhow::Result<u64> {
    match size {
        Some(size) if size == 0 || size > head.0 => {
            bail!("the journal has the events 1 to {head}, not {size}")
        }
        Some(size) => Ok(size),
        None if head == Seq::ZERO => bail!("the journal is empty"),
        None => Ok(head.0),
    }
}

fn proof(audit: &Audit, asked: &MakeProof, head: Seq) -> anyhow::Result<()> {
    let (mut shown, size) = match (asked.seq, asked.from) {
        (Some(seq), _) => {
            let size = within(asked.tree_size, head)?;
            let mut shown = serde_json::to_value(audit.inclusion(Seq(seq), size)?)?;
            if let Some(shown) = shown.as_object_mut() {
                shown.insert("record".into(), json!(STANDARD.encode(audit.record(Seq(seq))?)));
            }
            (shown, size)
        }
        (None, Some(from)) => {
            let size = within(asked.to, head)?;
            (serde_json::to_value(audit.consistency(from, size)?)?, size)
        }
        (None, None) => bail!("give --seq or --from"),
    };
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("checkpoint".into(), serde_json::to_value(audit.checkpoint(size)?)?);
    }
    print(&shown)
}

fn receipt(opened: &Opened, audit: &Audit, asked: &MakeReceipt, head: Seq) -> anyhow::Result<()> {
    let tenant = match asked.tenant.parse::<TenantId>() {
        Ok(id) => id,
        Err(_) => {
            let vault = Arc::clone(&opened.keyring) as Arc<dyn Vault>;
            let source = JournalSource::new(Arc::clone(&opened.store) as Arc<dyn Journal>, vault);
            let mut world = World::default();
            fold(&source, &mut world, head)?;
            dump::find(&world, &asked.tenant)?
        }
    };
    let size = within(asked.tree_size, head)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    audit.receipt(tenant, size, &mut out)?;
    writeln!(out)?;
    out.flush()?;
    Ok(())
}
