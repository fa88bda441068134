//! A journal that travels: it arrives as it left, or not at all.

use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use tenantry_journal::codec;
use tenantry_journal::id::{CommandId, Seq, TenantId};
use tenantry_journal::keyring::{MasterKey, Wrapped};
use tenantry_journal::merkle::Frontier;
use tenantry_journal::recorded::Draft;
use tenantry_journal::scan;
use tenantry_journal::sealed::with_vault;
use tenantry_journal::store::sled::SledJournal;
use tenantry_journal::transfer::{self, Arrival, Builder, Export, Form, TransferError};

use crate::support::*;

const FORMS: [Form; 2] = [Form::Jsonl, Form::Msgpack];

fn of_command(number: u128, draft: Draft) -> Draft {
    Draft { command_id: CommandId(uuid(number)), ..draft }
}

/// Commands of one to three events, some of them sealed.
fn filled(dir: &Path, commands: u16) -> Rig {
    let rig = Rig::start(Arc::new(SledJournal::open(&dir.join("journal")).unwrap()), keyring(dir));
    for n in 0..commands {
        let command = 0xc000 + u128::from(n);
        let mut drafts = vec![of_command(command, created(TenantId(uuid(0xa00 + u128::from(n))), "Smith"))];
        drafts.extend((0..n % 3).map(|more| of_command(command, numbered(more))));
        rig.record(drafts).unwrap();
    }
    rig
}

fn exported(rig: &Rig, dir: &Path, form: Form, until: Seq) -> Vec<u8> {
    let mut out = Vec::new();
    let keys = Wrapped::read(dir).unwrap();
    let export = Export { store: &*rig.store, before: Frontier::default(), until, keys, form };
    let mut count = 0;
    transfer::write(export, &mut out, |_| count += 1).unwrap();
    assert_eq!(count, until.0);
    out
}

fn arrived(bytes: &[u8]) -> Result<Arrival, TransferError> {
    transfer::read(&mut BufReader::new(bytes), Frontier::default(), |_, _| Ok(()))
}

#[test]
fn what_was_exported_is_imported_with_the_same_root_and_opens_with_its_keys() {
    let (dir, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let rig = filled(dir.path(), 40);
    let head = rig.store.head();
    let root = scan::verify(&*rig.store, head).unwrap().frontier.root();
    for form in FORMS {
        let bytes = exported(&rig, dir.path(), form, head);
        let place = into.path().join(format!("{form:?}"));
        std::fs::create_dir(&place).unwrap();
        let mut builder = Builder::begin(&place).unwrap();
        let arrival =
            transfer::read(&mut BufReader::new(bytes.as_slice()), Frontier::default(), |seq, record| {
                builder.push(seq, record).map(drop)
            })
            .unwrap();
        let built = builder.finish().unwrap();
        assert_eq!((built.frontier.root(), &arrival.frontier), (root, &built.frontier));
        assert_eq!(built.keys.len(), 41, "the control plane's and each tenant's");
        assert!(arrival.keys.open_with(&MasterKey::load(dir.path()).unwrap()));
        arrival.keys.write(&place.join("keyring")).unwrap();
        MasterKey::load(dir.path()).unwrap().write(&place).unwrap();
        let opened = tenantry_journal::open(&place).unwrap();
        assert_eq!(scan::verify(&*opened.store, head).unwrap().frontier.root(), root);
        let vault: Arc<dyn tenantry_journal::sealed::Vault> = opened.keyring.clone();
        assert_eq!(read_all(&*opened.store, &vault), rig.events());
        scan::verify_sealed(&*opened.store, &vault, Seq(1), head).unwrap();
    }
}

#[test]
fn every_flipped_byte_is_refused_and_the_event_named() {
    let dir = tempfile::tempdir().unwrap();
    let rig = filled(dir.path(), 4);
    let head = rig.store.head();
    for form in FORMS {
        let bytes = exported(&rig, dir.path(), form, head);
        arrived(&bytes).unwrap();
        // Where each event's record lies in the stream.
        let spans: Vec<(usize, usize)> = (1..=head.0)
            .map(|seq| {
                let record = scan::raw(&*rig.store, Seq(seq)).unwrap();
                let needle = match form {
                    Form::Msgpack => record,
                    Form::Jsonl => {
                        use base64::Engine as _;
                        base64::engine::general_purpose::STANDARD.encode(record).into_bytes()
                    }
                };
                let at = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
                (at, at + needle.len())
            })
            .collect();
        for at in 0..bytes.len() {
            for bit in [0x01, 0x10, 0x80] {
                let mut changed = bytes.clone();
                changed[at] ^= bit;
                let error = match arrived(&changed) {
                    Err(error) => error,
                    Ok(_) => panic!("{form:?}: byte {at} of {} was changed and taken", bytes.len()),
                };
                if let Some(index) = spans.iter().position(|(from, to)| (*from..*to).contains(&at)) {
                    assert_eq!(error.seq(), Some(Seq(index as u64 + 1)), "{form:?} byte {at}: {error}");
                    assert!(error.to_string().contains(&format!("event {}", index + 1)), "{error}");
                }
            }
        }
        for cut in 0..bytes.len() {
            assert!(arrived(&bytes[..cut]).is_err(), "{form:?}: cut to {cut} bytes and taken");
        }
        let longer = [bytes.as_slice(), b"\n"].concat();
        assert!(arrived(&longer).is_err(), "{form:?}: something followed");
    }
}

#[test]
fn an_event_of_another_journal_is_told_by_the_root_though_its_own_hash_is_right() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [own, other] = dirs.each_ref().map(|dir| {
        let rig = filled(dir.path(), 3);
        String::from_utf8(exported(&rig, dir.path(), Form::Jsonl, rig.store.head())).unwrap()
    });
    let mut lines: Vec<&str> = own.split_inclusive('\n').collect();
    lines[2] = other.split_inclusive('\n').nth(2).unwrap();
    assert!(!own.contains(lines[2]), "both journals hold the same event");
    let error = arrived(lines.concat().as_bytes()).unwrap_err();
    assert!(error.to_string().contains("Merkle root"), "{error}");
}

#[test]
fn an_event_in_the_place_of_another_is_told_by_its_own_position() {
    let dir = tempfile::tempdir().unwrap();
    let rig = filled(dir.path(), 4);
    let export = String::from_utf8(exported(&rig, dir.path(), Form::Jsonl, rig.store.head())).unwrap();
    let mut lines: Vec<String> = export.split_inclusive('\n').map(str::to_owned).collect();
    lines[3] = lines[4].replacen("\"seq\":4,", "\"seq\":3,", 1);
    assert_ne!(lines[3], lines[4]);
    let error = arrived(lines.concat().as_bytes()).unwrap_err();
    assert_eq!(error.seq(), Some(Seq(3)));
    assert!(error.to_string().contains("the record is of event 4"), "{error}");
}

#[test]
fn a_part_goes_on_where_the_one_before_ended() {
    let dir = tempfile::tempdir().unwrap();
    let rig = filled(dir.path(), 12);
    let (middle, head) = (Seq(rig.store.head().0 / 2), rig.store.head());
    let first = arrived(&exported(&rig, dir.path(), Form::Msgpack, middle)).unwrap();
    let mut second = Vec::new();
    let before = first.frontier.clone();
    let export = Export {
        store: &*rig.store,
        before: before.clone(),
        until: head,
        keys: Wrapped::default(),
        form: Form::Msgpack,
    };
    let after = transfer::write(export, &mut second, |_| {}).unwrap();
    let arrival = transfer::read(&mut second.as_slice(), before, |_, _| Ok(())).unwrap();
    assert_eq!((arrival.head.from, &arrival.frontier), (middle.next(), &after));
    assert!(arrival.keys.is_empty());
    let alone = arrived(&second).unwrap_err();
    assert!(alone.to_string().contains("wanted is 1"), "{alone}");
}

#[test]
fn a_journal_that_ends_inside_a_command_is_brought_back_to_its_beginning() {
    let (dir, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let rig = filled(dir.path(), 6);
    let events = rig.events();
    // The third command has three events: cut behind its second.
    let third = events.iter().find(|event| event.command_id == CommandId(uuid(0xc002))).unwrap().seq;
    let mut builder = Builder::begin(into.path()).unwrap();
    for seq in 1..=third.0 + 1 {
        builder.push(Seq(seq), &scan::raw(&*rig.store, Seq(seq)).unwrap()).unwrap();
    }
    assert_eq!(builder.command(), Some(uuid(0xc002)));
    assert_eq!(builder.take_back(), 2);
    let built = builder.finish().unwrap();
    assert_eq!(built.frontier.size(), third.0 - 1);
    let store = SledJournal::open(&into.path().join("journal")).unwrap();
    assert_eq!(scan::verify(&store, Seq(third.0 - 1)).unwrap().frontier, built.frontier);
}

#[test]
fn an_event_of_a_future_version_is_refused_by_kind_version_and_seq() {
    let dir = tempfile::tempdir().unwrap();
    let rig = filled(dir.path(), 3);
    let event = rig.events().pop().unwrap();
    let mut record = Vec::new();
    with_vault(&rig.vault, || codec::encode_record(&event, &mut Vec::new(), &mut record)).unwrap();
    let version = record.windows(3).position(|window| window == b"\xa1v\x01").unwrap() + 2;
    record[version] = 9;
    let mut builder = Builder::begin(&dir.path().join("other")).unwrap();
    let error = builder.push(event.seq, &record).unwrap_err();
    assert_eq!(error.seq(), Some(event.seq));
    let mut told = String::new();
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = cause {
        told.push_str(&error.to_string());
        cause = error.source();
    }
    for part in
        [format!("event {}", event.seq), event.event.kind().to_owned(), "version 9".into(), "up to 1".into()]
    {
        assert!(told.contains(&part), "{part} in {told}");
    }
}
