//! The stored form of every kind of event, in every version that was ever written.
//!
//! `tests/golden/events/KIND.vN` holds examples of one kind as version N wrote them: for each its
//! length (u32, big-endian) and its fields. Such a file is written once, with the kind or its new
//! version, and never again: journals with these bytes exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tenantry_journal::event::Event;
use tenantry_journal::sealed::with_vault;
use tenantry_journal::upcast::{self, UpcastError};

use crate::arbitrary::event;
use crate::support::vault;

/// Position of every example: some events speak of positions before it.
const SEQ: u64 = 9;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/events")
}

/// Several shapes of one kind: with optional fields and without, and each variant of its choices.
fn examples(kind: usize) -> Vec<Event> {
    (0..4).map(|c| event(SEQ, (kind, 1, 2, c))).collect()
}

fn encode(events: &[Event]) -> Vec<u8> {
    let mut bytes = Vec::new();
    with_vault(&vault(), || {
        for event in events {
            let mut fields = Vec::new();
            event.encode_fields(&mut fields).unwrap();
            bytes.extend_from_slice(&u32::try_from(fields.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(&fields);
        }
    });
    bytes
}

fn decode(kind: &str, version: u16, mut bytes: &[u8]) -> Result<Vec<Event>, UpcastError> {
    let mut events = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let (fields, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        events.push(with_vault(&vault(), || upcast::decode(kind, version, fields))?);
        bytes = rest;
    }
    Ok(events)
}

/// When this is red for a kind that is not new, journals that exist are read or written
/// differently: give the kind its next version and a step in `upcast`, and leave the file alone.
#[test]
fn every_kind_is_stored_as_its_golden_file_says() {
    let mut missing = Vec::new();
    for (number, (kind, version)) in Event::KINDS.iter().enumerate() {
        let path = directory().join(format!("{kind}.v{version}"));
        let examples = examples(number);
        if !path.exists() {
            std::fs::create_dir_all(directory()).unwrap();
            std::fs::write(&path, encode(&examples)).unwrap();
            missing.push(path.display().to_string());
            continue;
        }
        let golden = std::fs::read(&path).unwrap();
        assert_eq!(
            decode(kind, *version, &golden).unwrap(),
            examples,
            "{kind}: old bytes are read differently"
        );
        assert!(encode(&examples) == golden, "{kind}: the same events are written differently");
    }
    assert!(missing.is_empty(), "written anew, look at them and commit them: {missing:#?}");
}

#[test]
fn every_version_that_was_ever_written_is_still_read() {
    for (kind, version) in Event::KINDS {
        for before in 1..*version {
            let path = directory().join(format!("{kind}.v{before}"));
            let golden = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(!decode(kind, before, &golden).unwrap().is_empty());
        }
    }
}

/// A kind that somebody removed, or a file for a version that is not written yet.
#[test]
fn no_golden_file_is_of_a_kind_or_version_that_this_program_lacks() {
    let known: BTreeSet<String> = Event::KINDS
        .iter()
        .flat_map(|(kind, newest)| (1..=*newest).map(move |version| format!("{kind}.v{version}")))
        .collect();
    let there: BTreeSet<String> = std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(there, known);
}

/// As if a field had another name: the comparison above would say so, for every kind that has fields.
#[test]
fn a_field_of_another_name_is_not_the_same_event() {
    let mut compared = 0;
    for (number, (kind, version)) in Event::KINDS.iter().enumerate() {
        let mut golden = std::fs::read(directory().join(format!("{kind}.v{version}"))).unwrap();
        // Length, the map's mark, the name's mark, the name.
        if golden[4] == 0x80 {
            continue;
        }
        // In each example: of one the field may be what a missing one is read as.
        let mut at = 0;
        while at < golden.len() {
            golden[at + 6] ^= 0x01;
            at += 4 + u32::from_be_bytes(golden[at..at + 4].try_into().unwrap()) as usize;
        }
        compared += 1;
        let read = decode(kind, *version, &golden);
        assert!(read.is_err() || read.is_ok_and(|events| events != examples(number)), "{kind}");
    }
    assert!(compared + 1 >= Event::KINDS.len(), "{compared} kinds have fields");
}
