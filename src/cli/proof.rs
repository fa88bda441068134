//! `tenantry proof check`: whether a file proves what it says. It asks nobody and opens nothing
//! but the files that it is given.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tenantry_journal::checkpoint::{Checkpoint, PublicKey};
use tenantry_journal::codec;
use tenantry_journal::hex;
use tenantry_journal::merkle;
use tenantry_journal::merkle::proof::{Consistency, Inclusion};
use tenantry_journal::receipt::Receipt;

use super::Verdict;
use super::client::field;
use super::safe_text::safe;
use super::screen::{Color, Screen, bad, good};

/// What can be asked of a proof.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Proof {
    /// Check a proof, a receipt or a checkpoint. Exit code 3 when it does not prove what it says.
    ///
    /// FILE is what GET /api/journal, GET /api/journal/proof, GET /api/tenants/ID/receipt or `tenantry
    /// journal proof|receipt|checkpoint` printed; which of them is told by what is in it. The public key
    /// lies in the data directory as signing.pub; get it once, from somebody whom you trust.
    Check(Check),
}

/// What `proof check` is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Check {
    /// The file; `-` is standard input.
    file: PathBuf,
    /// The public key of the journal, or a file that holds it.
    #[arg(long, value_name = "KEY")]
    key: String,
    /// A checkpoint that you kept: what the proof is about must be the tree under it.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Something that you kept from before: the checkpoint that a consistency proof begins with, or the
    /// receipt that a receipt has to go on from.
    #[arg(long, value_name = "FILE")]
    earlier: Option<PathBuf>,
    /// The event's own bytes (GET /api/events/SEQ?raw=true), which an inclusion proof has to be about.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// When to print in colour.
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    color: Color,
}

/// What was proved.
struct Proved {
    what: &'static str,
    sentence: String,
    more: Value,
}

/// Does one of them.
pub(super) fn run(command: &Proof) -> anyhow::Result<Verdict> {
    let Proof::Check(asked) = command;
    let key = key(&asked.key)?;
    let given = Given::read(asked)?;
    let screen = Screen::of_process(asked.color);
    let (verdict, told, line) = match given.check(&key) {
        Ok(proved) => {
            let mut told = json!({"valid": true, "what": proved.what, "key": key.to_string()});
            if let (Some(told), Value::Object(more)) = (told.as_object_mut(), proved.more) {
                told.extend(more);
            }
            let line = format!("{} {}", screen.paint(good(), "valid:"), safe(&proved.sentence));
            (Verdict::Valid, told, line)
        }
        Err(error) => {
            let reason = error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ");
            let line = format!("{} {}", screen.paint(bad(), "not valid:"), safe(&reason));
            (Verdict::Invalid, json!({"valid": false, "reason": reason, "key": key.to_string()}), line)
        }
    };
    if asked.json {
        screen.print_json(&told)?;
    } else {
        screen.print(&format!("{line}\n"))?;
    }
    Ok(verdict)
}

/// A public key, or what a file says that holds one.
///
/// # Errors
/// When it is neither.
pub fn key(text: &str) -> anyhow::Result<PublicKey> {
    let read = match PublicKey::parse(text) {
        Ok(key) => return Ok(key),
        Err(error) if text.matches('+').count() >= 2 => return Err(error.into()),
        Err(_) => fs::read_to_string(text).with_context(|| format!("cannot read the key {text}"))?,
    };
    PublicKey::parse(&read).with_context(|| format!("{text} holds no key"))
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// A file that is JSON or a note.
enum Document {
    Note(String),
    Json(Value),
}

impl Document {
    fn read(path: &Path) -> anyhow::Result<Document> {
        let text =
            String::from_utf8(read(path)?).with_context(|| format!("{} is no text", path.display()))?;
        if !text.trim_start().starts_with('{') {
            return Ok(Document::Note(text));
        }
        let value = serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))?;
        Ok(Document::Json(value))
    }

    /// The signed note in it: itself, or a member of any of our answers.
    fn note(&self) -> Option<&str> {
        match self {
            Document::Note(note) => Some(note),
            Document::Json(value) => {
                let inside = field(value, "checkpoint");
                let note = [field(inside, "note"), inside, field(value, "note")];
                note.into_iter().find_map(Value::as_str)
            }
        }
    }
}

/// Everything that a check looks at.
struct Given {
    document: Document,
    checkpoint: Option<Document>,
    earlier: Option<Document>,
    record: Option<Vec<u8>>,
}

impl Given {
    fn read(asked: &Check) -> anyhow::Result<Given> {
        let document = |path: &Option<PathBuf>| path.as_deref().map(Document::read).transpose();
        Ok(Given {
            document: Document::read(&asked.file)?,
            checkpoint: document(&asked.checkpoint)?,
            earlier: document(&asked.earlier)?,
            record: asked.record.as_deref().map(read).transpose()?,
        })
    }

    fn check(&self, key: &PublicKey) -> anyhow::Result<Proved> {
        match &self.document {
            Document::Json(value) if value.get("inclusion_path").is_some() => self.inclusion(value, key),
            Document::Json(value) if value.get("consistency_path").is_some() => self.consistency(value, key),
            Document::Json(value) if value.get("entries").is_some() => self.receipt(value, key),
            Document::Json(_) | Document::Note(_) => self.checkpoint(key),
        }
    }

    /// What was signed of the tree that the document is about: by its own note, and by a kept one.
    fn signed(&self, key: &PublicKey) -> anyhow::Result<Checkpoint> {
        let own = self.document.note();
        let kept =
            self.checkpoint.as_ref().map(|kept| kept.note().context("no checkpoint is in --checkpoint"));
        let note = match (own, &kept) {
            (Some(own), _) => own,
            (None, Some(Ok(kept))) => kept,
            (None, _) => anyhow::bail!("there is no signed checkpoint in it; give one with --checkpoint"),
        };
        let signed = Checkpoint::open(note, key)?;
        if let Some(kept) = kept.transpose()? {
            let kept = Checkpoint::open(kept, key).context("the checkpoint that you kept")?;
            anyhow::ensure!(
                (kept.tree_size, kept.root_hash) == (signed.tree_size, signed.root_hash),
                "it is about {} events, the checkpoint that you kept about {}, and a proof is needed between them",
                signed.tree_size,
                kept.tree_size
            );
        }
        Ok(signed)
    }

    fn inclusion(&self, value: &Value, key: &PublicKey) -> anyhow::Result<Proved> {
        let proof: Inclusion = serde_json::from_value(value.clone()).context("it is no inclusion proof")?;
        let signed = self.signed(key)?;
        same_tree(&signed, proof.tree_size, &proof.root_hash)?;
        anyhow::ensure!(proof.holds(), "the path does not lead from the leaf to the root");
        let inside = match value.get("record").and_then(Value::as_str) {
            Some(text) => Some(STANDARD.decode(text).context("its record is no base64")?),
            None => None,
        };
        let seq = proof.leaf_index + 1;
        let mut about = format!("the event with the leaf hash {} is", hex::encode(&proof.leaf_hash));
        let mut more = json!({"seq": seq, "tree_size": proof.tree_size, "root_hash": signed.root_text(),
            "leaf_hash": hex::encode(&proof.leaf_hash)});
        for record in self.record.iter().chain(&inside) {
            anyhow::ensure!(merkle::leaf(record) == proof.leaf_hash, "the record is not that of the leaf");
            let read = codec::about(record).map_err(|error| anyhow::anyhow!("{error}"))?;
            anyhow::ensure!(read.seq.0 == seq, "the record names another seq, {}", read.seq);
            about = format!("event {seq} of {} is", read.at);
            if let Some(more) = more.as_object_mut() {
                more.insert("at".into(), json!(read.at));
                more.insert("tenant_id".into(), json!(read.tenant));
            }
        }
        let sentence =
            format!("{about} number {seq} of the {} events signed by {}", proof.tree_size, signed.origin);
        Ok(Proved { what: "inclusion", sentence, more })
    }

    fn consistency(&self, value: &Value, key: &PublicKey) -> anyhow::Result<Proved> {
        let proof: Consistency =
            serde_json::from_value(value.clone()).context("it is no consistency proof")?;
        let signed = self.signed(key)?;
        same_tree(&signed, proof.tree_size_2, &proof.root_hash_2)?;
        anyhow::ensure!(proof.holds(), "the path does not lead from the one root to the other");
        let (earlier, later) = (proof.tree_size_1, proof.tree_size_2);
        let mut sentence =
            format!("the {later} events signed by {} begin with the {earlier} events under ", signed.origin);
        match &self.earlier {
            Some(kept) => {
                let kept = Checkpoint::open(kept.note().context("no checkpoint is in --earlier")?, key)
                    .context("the checkpoint that you kept")?;
                same_tree(&kept, earlier, &proof.root_hash_1).context("the checkpoint that you kept")?;
                sentence.push_str("the checkpoint that you kept");
            }
            None => sentence.push_str(&format!("the root {}", hex::encode(&proof.root_hash_1))),
        }
        let more = json!({"tree_size_1": earlier, "tree_size_2": later,
            "root_hash_1": hex::encode(&proof.root_hash_1), "root_hash_2": hex::encode(&proof.root_hash_2)});
        Ok(Proved { what: "consistency", sentence, more })
    }

    fn receipt(&self, value: &Value, key: &PublicKey) -> anyhow::Result<Proved> {
        let receipt: Receipt = serde_json::from_value(value.clone()).context("it is no receipt")?;
        let signed = receipt.check(key)?;
        self.signed(key)?;
        if let Some(earlier) = &self.earlier {
            let Document::Json(earlier) = earlier else { anyhow::bail!("no receipt is in --earlier") };
            let earlier: Receipt =
                serde_json::from_value(earlier.clone()).context("no receipt is in --earlier")?;
            earlier.check(key).context("the receipt that you kept")?;
            receipt.goes_on_from(&earlier)?;
        }
        let sentence = format!(
            "the {} events shown are in the journal of {} events, and {} has signed that they are all that the \
             tenant {} has there",
            receipt.events, receipt.tree_size, signed.origin, receipt.tenant_id
        );
        let more = json!({"tenant_id": receipt.tenant_id, "events": receipt.events,
            "tree_size": receipt.tree_size, "root_hash": signed.root_text()});
        Ok(Proved { what: "receipt", sentence, more })
    }

    fn checkpoint(&self, key: &PublicKey) -> anyhow::Result<Proved> {
        let signed = self.signed(key)?;
        if let Document::Json(value) = &self.document {
            // What the answer says beside the note is what the note says.
            for (place, name) in
                [(value, "root"), (value, "root_hash"), (field(value, "checkpoint"), "root_hash")]
            {
                let said = place.get(name).and_then(Value::as_str);
                anyhow::ensure!(
                    said.is_none_or(|said| said == signed.root_text()),
                    "'{name}' is not the root that was signed"
                );
            }
        }
        let sentence = format!(
            "{} events with the root {}, signed by {}",
            signed.tree_size,
            signed.root_text(),
            signed.origin
        );
        let more =
            json!({"tree_size": signed.tree_size, "root_hash": signed.root_text(), "origin": signed.origin});
        Ok(Proved { what: "checkpoint", sentence, more })
    }
}

fn same_tree(signed: &Checkpoint, size: u64, root: &merkle::Hash) -> anyhow::Result<()> {
    anyhow::ensure!(
        signed.tree_size == size && signed.root_hash == *root,
        "it is about a tree of {size} events with the root {}, but what was signed is {} events with the root {}",
        hex::encode(root),
        signed.tree_size,
        signed.root_text()
    );
    Ok(())
}
