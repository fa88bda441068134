//! Keys: durable before what needs them, gone when erased, never silently lost.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use tenantry_journal::event::Event;
use tenantry_journal::id::{KeyId, Seq, TenantId};
use tenantry_journal::keyring::{Keyring, KeyringError, MasterKey};
use tenantry_journal::merkle::Frontier;
use tenantry_journal::scan::{self, ScanError};
use tenantry_journal::sealed::Vault;
use tenantry_journal::store::sled::SledJournal;

use crate::support::*;

fn key(number: u128) -> KeyId {
    KeyId(uuid(number))
}

fn reopen(dir: &Path) -> Result<Keyring, KeyringError> {
    Keyring::open(dir, MasterKey::load_or_create(dir).unwrap())
}

#[test]
fn a_synced_key_opens_what_it_sealed_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let ring = reopen(dir.path()).unwrap();
    assert!(ring.create(key(1)));
    assert!(!ring.create(key(1)), "a key is made once");
    let sealed = ring.seal(key(1), b"Smith").unwrap();
    let own = ring.seal(KeyId::CONTROL_PLANE, b"own").unwrap();
    ring.sync().unwrap();
    drop(ring);
    let ring = reopen(dir.path()).unwrap();
    assert_eq!(ring.open(key(1), &sealed).as_deref(), Some(b"Smith".as_slice()));
    assert_eq!(ring.open(KeyId::CONTROL_PLANE, &own).as_deref(), Some(b"own".as_slice()));
    assert_eq!(ring.open(key(2), &sealed), None, "another key opens nothing");
    assert_eq!(ring.seal(key(2), b"x"), None);
    assert_ne!(ring.seal(key(1), b"Smith").unwrap(), sealed, "every sealing has a nonce of its own");
}

#[test]
fn key_files_are_for_their_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    reopen(dir.path()).unwrap();
    for name in ["keyring", "master.key"] {
        let mode = dir.path().join(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn a_torn_last_record_is_cut_and_kept_aside() {
    let dir = tempfile::tempdir().unwrap();
    let ring = reopen(dir.path()).unwrap();
    ring.create(key(1));
    ring.sync().unwrap();
    let whole = std::fs::read(dir.path().join("keyring")).unwrap();
    ring.create(key(2));
    ring.sync().unwrap();
    drop(ring);
    let longer = std::fs::read(dir.path().join("keyring")).unwrap();
    for cut in whole.len() + 1..longer.len() {
        std::fs::write(dir.path().join("keyring"), &longer[..cut]).unwrap();
        let ring = reopen(dir.path()).unwrap();
        assert!(ring.contains(key(1)) && !ring.contains(key(2)), "cut to {cut}");
        assert_eq!(std::fs::read(dir.path().join("keyring")).unwrap(), whole);
        assert_eq!(std::fs::read(dir.path().join("keyring.cut")).unwrap(), longer[whole.len()..cut]);
        ring.create(key(3));
        ring.sync().unwrap();
        assert!(reopen(dir.path()).unwrap().contains(key(3)), "what follows the cut is read");
    }
}

#[test]
fn damage_before_the_end_is_refused_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let ring = reopen(dir.path()).unwrap();
    ring.create(key(1));
    ring.sync().unwrap();
    drop(ring);
    let path = dir.path().join("keyring");
    let whole = std::fs::read(&path).unwrap();
    for position in 8..8 + 92 {
        let mut bytes = whole.clone();
        bytes[position] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(reopen(dir.path()), Err(KeyringError::Damaged { index: 0, .. })), "{position}");
    }
}

#[test]
fn a_keyring_without_its_master_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    reopen(dir.path()).unwrap();
    let wrong = Keyring::open(dir.path(), MasterKey::new([1; 32])).err().unwrap();
    assert!(matches!(wrong, KeyringError::WrongMaster { .. }), "{wrong}");
    std::fs::remove_file(dir.path().join("master.key")).unwrap();
    let missing = MasterKey::load_or_create(dir.path()).err().unwrap();
    assert!(matches!(missing, KeyringError::NoMaster { .. }), "{missing}");
    assert!(!dir.path().join("master.key").exists(), "no new master key was made");
}

#[test]
fn derived_keys_differ_by_context_and_stay_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let ring = reopen(dir.path()).unwrap();
    let jwt = ring.derive("tenantry 2026 jwt");
    assert_ne!(*jwt, *ring.derive("tenantry 2026 signing"));
    drop(ring);
    assert_eq!(*jwt, *reopen(dir.path()).unwrap().derive("tenantry 2026 jwt"));
}

#[test]
fn an_erased_tenant_reads_as_erased_and_its_plain_text_is_in_no_file() {
    const NAME: &str = "Kentucky-Fried-Campaign-0451";
    let dir = tempfile::tempdir().unwrap();
    let tenant = TenantId(uuid(0xa1));
    let other = TenantId(uuid(0xa2));
    let ring = keyring(dir.path());
    let store = Arc::new(SledJournal::open(&dir.path().join("journal")).unwrap());
    let rig = Rig::start(store, ring);
    rig.record(vec![created(tenant, NAME), created(other, NAME)]).unwrap();
    let name_of = |index: usize| match rig.events()[index].event.clone() {
        Event::TenantCreated(created) => created.details.open().map(|details| details.name.clone()),
        _ => panic!("a tenant was created"),
    };
    assert_eq!(name_of(0).as_deref(), Some(NAME));
    assert!(reopen(dir.path()).unwrap().contains(tenant.into()), "the key is as durable as the event");

    for (path, content) in files(dir.path()) {
        let found = content.windows(NAME.len()).any(|window| window == NAME.as_bytes());
        assert!(!found, "{} holds plain text", path.display());
    }
    rig.keyring.erase(tenant.into()).unwrap();
    assert_eq!(name_of(0), None, "erased");
    assert_eq!(name_of(1).as_deref(), Some(NAME), "the neighbour is untouched");
    let text = serde_json::to_value(&rig.events()[0].event).unwrap();
    assert_eq!(text["details"], "erased");
    assert!(!reopen(dir.path()).unwrap().contains(tenant.into()), "erased on disk");
    rig.record(vec![updated(other, "still writes".into())]).unwrap();
}

/// As after a keyring from another time was put beside a journal.
#[test]
fn a_value_that_its_key_does_not_open_stops_a_fold_that_asks_for_it_and_never_reads_as_erased() {
    let dir = tempfile::tempdir().unwrap();
    let (erased, damaged) = (TenantId(uuid(0xa1)), TenantId(uuid(0xa2)));
    let store = Arc::new(SledJournal::open(&dir.path().join("journal")).unwrap());
    let rig = Rig::start(store, keyring(dir.path()));
    rig.record(vec![created(erased, "Smith")]).unwrap();
    rig.record(vec![created(damaged, "Jones"), updated(damaged, "notes".into())]).unwrap();
    for tenant in [erased, damaged] {
        rig.keyring.erase(tenant.into()).unwrap();
    }
    let replay = |asking: bool| {
        let mut frontier = Frontier::default();
        scan::replay(&*rig.store, &rig.vault, &mut frontier, Seq(0), Seq(3), |recorded| {
            if let (true, Event::TenantUpdated(updated)) = (asking, &recorded.event) {
                assert_eq!(updated.details.open(), None);
            }
        })
    };
    // Without keys both are erased, which stops nobody.
    replay(true).unwrap();
    scan::verify_sealed(&*rig.store, &rig.vault, Seq(1), Seq(3)).unwrap();
    assert!(rig.keyring.create(damaged.into()), "another key of the same name");
    replay(false).unwrap();
    let error = replay(true).unwrap_err();
    assert!(matches!(error, ScanError::Sealed { seq: Seq(3), key } if key == damaged.into()), "{error}");
    assert_eq!(error.seq(), Some(Seq(3)));
    // Asked for all, it is the first.
    let error = scan::verify_sealed(&*rig.store, &rig.vault, Seq(1), Seq(3)).unwrap_err();
    assert!(matches!(error, ScanError::Sealed { seq: Seq(2), .. }), "{error}");
    let shown = |index: usize| serde_json::to_value(&rig.events()[index].event).unwrap()["details"].clone();
    assert_eq!((shown(0), shown(2)), ("erased".into(), "damaged".into()));
    assert!(scan::verify(&*rig.store, Seq(3)).unwrap().bad.is_none(), "every stored byte is as it was");
}

#[test]
fn an_erased_keys_old_bytes_are_written_over_wherever_a_crash_came() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let ring = reopen(dir.path()).unwrap();
    ring.create(key(1));
    ring.create(key(2));
    ring.sync().unwrap();
    let before = std::fs::read(path("keyring")).unwrap();
    // A reader of the old file still sees it, as somebody with the raw disk would.
    let old = std::fs::File::open(path("keyring")).unwrap();
    std::fs::write(path("keyring.cut"), &before[8 + 92..8 + 2 * 92]).unwrap();
    ring.erase(key(1)).unwrap();
    ring.erase(key(1)).unwrap();
    let mut seen = Vec::new();
    std::io::Read::read_to_end(&mut &old, &mut seen).unwrap();
    assert_eq!(seen, vec![0; before.len()], "the old file is written over");
    assert!(!path("keyring.old").exists() && !path("keyring.cut").exists());
    ring.create(key(3));
    ring.sync().unwrap();
    drop(ring);
    let after = std::fs::read(path("keyring")).unwrap();

    // Cut off after the old one was kept, and after the new one took its place.
    std::fs::write(path("keyring"), &before).unwrap();
    std::fs::hard_link(path("keyring"), path("keyring.old")).unwrap();
    let ring = reopen(dir.path()).unwrap();
    assert!(ring.contains(key(1)) && !path("keyring.old").exists(), "nothing was erased yet");
    drop(ring);
    assert_eq!(std::fs::read(path("keyring")).unwrap(), before);
    std::fs::write(path("keyring.old"), &before).unwrap();
    std::fs::write(path("keyring"), &after).unwrap();
    let old = std::fs::File::open(path("keyring.old")).unwrap();
    let ring = reopen(dir.path()).unwrap();
    assert!(!ring.contains(key(1)) && ring.contains(key(2)) && ring.contains(key(3)));
    let mut seen = Vec::new();
    std::io::Read::read_to_end(&mut &old, &mut seen).unwrap();
    assert!(seen.iter().all(|byte| *byte == 0) && !path("keyring.old").exists());
}
