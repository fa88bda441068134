//! Looking for a text in everything that lies on the disk, packed or not.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tenantry_journal::id::{InstanceId, Seq};
use tenantry_journal::sealed::Vault;
use tenantry_journal::spool::Reader;
use tenantry_journal::store::Journal;
use tenantry_journal::{Opened, open_read_only, scan};
use tenantry_projections::search::words;

/// Every file below a directory.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

fn holds(bytes: &[u8], text: &str) -> bool {
    let lower = bytes.to_ascii_lowercase();
    memchr::memmem::find(&lower, text.to_ascii_lowercase().as_bytes()).is_some()
}

/// The files, by name or content, that hold one of these texts as they lie there.
pub(crate) fn plain(dir: &Path, texts: &[&str]) -> Vec<String> {
    let found = files(dir).into_iter().flat_map(|path| {
        let name = path.strip_prefix(dir).unwrap().display().to_string();
        let bytes = std::fs::read(&path).unwrap();
        let has = |text: &&&str| holds(&bytes, text) || holds(name.as_bytes(), text);
        texts.iter().filter(has).map(|text| format!("{text} in {name}")).collect::<Vec<_>>()
    });
    found.collect()
}

/// The events whose bytes, unpacked, hold one of these texts; and those that say one of them
/// when whatever the keyring opens is opened.
pub(crate) fn journal(data: &Path, texts: &[&str]) -> (Vec<String>, Vec<String>) {
    let Opened { store, keyring, .. } = open_read_only(data).unwrap();
    let (mut sealed, mut opened) = (Vec::new(), Vec::new());
    for seq in 1..=store.head().0 {
        let bytes = scan::raw(&*store, Seq(seq)).unwrap();
        sealed.extend(texts.iter().filter(|text| holds(&bytes, text)).map(|text| format!("{text} in {seq}")));
    }
    let vault = keyring as Arc<dyn Vault>;
    scan::fold(&*store, &vault, Seq(1), store.head(), None, |event| {
        let text = serde_json::to_string(&event.event).unwrap();
        let found = texts.iter().filter(|wanted| holds(text.as_bytes(), wanted));
        opened.extend(found.map(|wanted| format!("{wanted} in {}", event.seq)));
    })
    .unwrap();
    (sealed, opened)
}

/// Spools that can be read without a key, with what they hold of these texts; and how many need one.
pub(crate) fn spools(data: &Path, texts: &[&str]) -> (Vec<String>, usize) {
    let (mut found, mut sealed) = (Vec::new(), 0);
    for dir in ["spool", "deployments"] {
        for entry in std::fs::read_dir(data.join(dir)).into_iter().flatten().flatten() {
            let owner: InstanceId = entry.file_name().to_str().unwrap().parse().unwrap();
            match Reader::open(&entry.path(), owner.0, None).read(usize::MAX) {
                Ok(records) => {
                    let lines = records.iter().map(|record| &record.bytes);
                    let held = lines.flat_map(|line| texts.iter().filter(|text| holds(line, text)));
                    found.extend(held.map(|text| format!("{text} in {}", entry.path().display())));
                }
                Err(_) => sealed += 1,
            }
        }
    }
    (found, sealed)
}

/// The words of the search index that stand in one of these texts, read from its files.
pub(crate) fn index(data: &Path, texts: &[&str]) -> BTreeSet<String> {
    let (words, strangers) = words(&data.join("search")).unwrap();
    assert!(strangers.is_empty(), "files that no segment has: {strangers:?}");
    words.into_iter().filter(|word| texts.iter().any(|text| text.to_ascii_lowercase() == *word)).collect()
}

/// The 48 bytes of a wrapped key in the keyring; `None` when it is not there.
pub(crate) fn wrapped(data: &Path, id: uuid::Uuid) -> Option<Vec<u8>> {
    let bytes = std::fs::read(data.join("keyring")).unwrap();
    let record = bytes[8..].chunks(92).find(|record| record[4..20] == *id.as_bytes())?;
    Some(record[44..92].to_vec())
}
