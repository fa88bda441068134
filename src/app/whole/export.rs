//! `tenantry journal export` and `import`.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde_json::json;
use tenantry_journal::hex;
use tenantry_journal::keyring::{MasterKey, Wrapped};
use tenantry_journal::merkle::Frontier;
use tenantry_journal::store::Journal;
use tenantry_journal::transfer::{self, Builder, Form};

use super::files::{self, NewDirectory};
use crate::app::offline;
use crate::cli::progress::Progress;
use crate::cli::{Export, ExportFormat, Import, Verdict};
use crate::clock;
use crate::engine::JournalSource;
use crate::error::chain;

pub(super) fn export(asked: &Export) -> anyhow::Result<()> {
    let opened = offline::open(&asked.data_dir)?;
    clock::not_before(opened.tail.time);
    let store = std::sync::Arc::clone(&opened.store) as std::sync::Arc<dyn Journal>;
    let source = JournalSource::new(std::sync::Arc::clone(&store), opened.keyring);
    let until = match &asked.until {
        Some(text) => offline::resolve(&source, text)?,
        None => store.head(),
    };
    let keys = if asked.without_keys { Wrapped::default() } else { Wrapped::read(&asked.data_dir)? };
    let form = match asked.format {
        ExportFormat::Jsonl => Form::Jsonl,
        ExportFormat::Msgpack => Form::Msgpack,
    };
    let progress = Progress::over_events("exporting", until.0, false);
    let send = |out: &mut dyn std::io::Write| -> anyhow::Result<Frontier> {
        let export =
            transfer::Export { store: &*store, before: Frontier::default(), until, keys: keys.clone(), form };
        Ok(transfer::write(export, out, |seq| progress.at(seq.0))?)
    };
    let tree = match &asked.output {
        Some(path) => files::write(path, send)?,
        None => {
            let mut out = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
            let tree = send(&mut out)?;
            out.flush()?;
            tree
        }
    };
    drop(progress);
    let told = json!({"events": tree.size(), "root": hex::encode(&tree.root()), "keys": keys.len()});
    if asked.json {
        eprintln!("{told}");
    } else {
        eprintln!("{} events, root {}", tree.size(), hex::encode(&tree.root()));
    }
    Ok(())
}

fn open(path: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    Ok(Box::new(BufReader::with_capacity(1 << 20, file)))
}

pub(super) fn import(asked: &Import) -> anyhow::Result<Verdict> {
    let master = asked.master_key.as_deref().map(MasterKey::read).transpose()?;
    let new = NewDirectory::begin(&asked.into)?;
    let mut stream = open(&asked.file)?;
    let mut builder = Builder::begin(new.place())?;
    let progress = Progress::over_events("importing", 0, false);
    let arrival = transfer::read(&mut *stream, Frontier::default(), |seq, record| {
        progress.at(seq.0);
        builder.push(seq, record).map(drop)
    });
    drop(progress);
    let arrival = match arrival {
        Ok(arrival) => arrival,
        Err(error) => {
            if asked.json {
                let seq = error.seq().map(|seq| seq.0);
                offline::print(&json!({"imported": false, "first_bad_seq": seq, "reason": chain(&error)}))?;
            } else {
                eprintln!("tenantry: {}", chain(&error));
            }
            return Ok(Verdict::Invalid);
        }
    };
    let built = builder.finish()?;
    let root = hex::encode(&built.frontier.root());
    if let Some(wanted) = &asked.root {
        ensure!(*wanted == root, "its Merkle root is {root}, not {wanted}; nothing was imported");
    }
    match &master {
        Some(master) => {
            ensure!(
                !arrival.keys.is_empty(),
                "the export holds no keys; say --without-keys to take the events alone"
            );
            ensure!(
                arrival.keys.open_with(master),
                "this master key does not open the export's keys; nothing was imported"
            );
            arrival.keys.write(&new.place().join("keyring"))?;
            master.write(new.place())?;
        }
        None => {
            // A master key of its own, and no key under it.
            drop(MasterKey::load_or_create(new.place())?);
            Wrapped::default().write(&new.place().join("keyring"))?;
        }
    }
    new.finish()?;
    let told = json!({"imported": true, "into": asked.into.display().to_string(), "events": built.frontier.size(), "root": root,
        "keys": arrival.keys.len()});
    if asked.json {
        offline::print(&told)?;
    } else {
        println!("{}: {} events, root {root}", asked.into.display(), built.frontier.size());
    }
    Ok(Verdict::Valid)
}
