//! Stored files that changed while nobody looked.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use serde_json::Value;
use tenantry_journal::id::KeyId;
use tenantry_journal::keyring::{Keyring, MasterKey};

use crate::support::app::{Home, TestApp};
use crate::tools::{Acknowledged, files, keeper_pid, kill, notes, run, tenant};

/// A data directory with some history, and nobody on it.
async fn lived_in() -> (Arc<Home>, Acknowledged, u64) {
    let app = TestApp::start().await;
    let keeper = keeper_pid(&app).await;
    let tenant = tenant(&app, "smith").await;
    let mut done = Acknowledged::default();
    for n in 0..60 {
        let text = format!("note {n} {}", "n".repeat(300));
        assert!(done.note(&tenant, &text, &app.send(notes(&app, &tenant, &text)).await));
    }
    let home = Arc::clone(app.home());
    assert_eq!(app.terminate().0, Some(0));
    kill(keeper).await;
    let head = done.0.last().unwrap().1;
    (home, done, head)
}

fn journal_file(home: &Home) -> PathBuf {
    home.data_dir().join("journal").join(format!("{:020}", 1)).join("db")
}

fn snapshots(home: &Home) -> Vec<PathBuf> {
    let dir = std::fs::read_dir(home.data_dir().join("snapshots")).unwrap().flatten();
    dir.map(|entry| entry.path()).collect()
}

/// The last number that stands in a text after some words.
fn number_after(text: &str, words: &str) -> Option<u64> {
    let rest = &text[text.rfind(words)? + words.len()..];
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_byte_in_the_journal_is_refused_by_seq_and_nothing_is_touched() {
    let (home, done, head) = lived_in().await;
    // Events so old that the write-ahead file, which would bring them back, has others by now.
    std::fs::remove_dir_all(home.data_dir().join("journal/wal")).unwrap();
    let whole = std::fs::read(journal_file(&home)).unwrap();
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let mut named = 0;
    for part in [20, 50, 80, 95] {
        let position = used * part / 100;
        let mut bytes = whole.clone();
        bytes[position] ^= 0x10;
        std::fs::write(journal_file(&home), &bytes).unwrap();

        let before = files(&home.data_dir());
        let verified = home.program().args(["journal", "verify", "--data-dir"]).arg(home.data_dir()).output();
        let verified = verified.unwrap();
        let printed = String::from_utf8_lossy(&verified.stdout).into_owned();
        let told =
            format!("byte {position} of {used}: {printed} {}", String::from_utf8_lossy(&verified.stderr));
        assert_eq!(verified.status.code(), Some(3), "{told}");
        let report: Value = serde_json::from_str(&printed).unwrap_or_else(|_| panic!("no report: {told}"));
        assert_eq!(report["valid"], false, "{told}");
        let bad = report["first_bad_seq"].as_u64().unwrap_or_else(|| panic!("no seq: {told}"));
        assert!((1..=head + 1).contains(&bad), "{told}");
        assert!(report["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{told}");

        let refused = home.serve().output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success(), "byte {position}: {said}");
        assert!(said.contains(&bad.to_string()), "byte {position}, event {bad}: {said}");
        assert!(said.contains("put back a copy"), "no way out: {said}");
        named += u64::from(number_after(&said, "event ").is_some());
        // The lock names the process that had it last.
        let kept = before.iter().filter(|(path, _)| !path.ends_with("lock"));
        for (path, bytes) in kept {
            let now = std::fs::read(path).unwrap();
            assert!(now == *bytes, "the refusal changed {}", path.display());
        }
        assert_eq!(files(&home.data_dir()).len(), before.len(), "the refusal left something");
    }
    assert_eq!(named, 4);

    // The way out that is named: a whole copy put back.
    std::fs::write(journal_file(&home), &whole).unwrap();
    let app = TestApp::in_home(home).await;
    done.check(&app).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_flipped_byte_took_comes_back_from_the_write_ahead_file_or_is_refused_by_seq() {
    let (home, done, _) = lived_in().await;
    let (journal, saved) = (home.data_dir().join("journal"), home.data_dir().join("saved"));
    let copy = |from: &PathBuf, to: &PathBuf| run(Command::new("cp").arg("-a").args([from, to])).unwrap();
    copy(&journal, &saved);
    let checkpoint = home.data_dir().join("checkpoint");
    let signed = std::fs::read(&checkpoint).ok();
    let mut healed = 0;
    for part in [20, 50, 80, 95] {
        std::fs::remove_dir_all(&journal).unwrap();
        copy(&saved, &journal);
        // One of a later journal would say that this one lacks something.
        match &signed {
            Some(signed) => std::fs::write(&checkpoint, signed).unwrap(),
            None => drop(std::fs::remove_file(&checkpoint)),
        }
        let mut bytes = std::fs::read(journal_file(&home)).unwrap();
        let position = bytes.iter().rposition(|byte| *byte != 0).unwrap() * part / 100;
        bytes[position] ^= 0x10;
        std::fs::write(journal_file(&home), &bytes).unwrap();
        let verified = home.program().args(["journal", "verify", "--data-dir"]).arg(home.data_dir()).output();
        let printed = String::from_utf8_lossy(&verified.unwrap().stdout).into_owned();
        let report: Value = serde_json::from_str(&printed).unwrap_or_else(|_| panic!("no report: {printed}"));
        if report["valid"] == true {
            let app = TestApp::in_home(Arc::clone(&home)).await;
            done.check(&app).await;
            let keeper = keeper_pid(&app).await;
            assert_eq!(app.terminate().0, Some(0));
            kill(keeper).await;
            healed += 1;
        } else {
            assert!(report["first_bad_seq"].as_u64().is_some(), "byte {position}: {report}");
            let refused = home.serve().output().unwrap();
            assert!(!refused.status.success(), "byte {position}: it started all the same");
        }
    }
    assert!(healed > 0, "nothing came back");
}

/// What is damaged must not pass as erased: that would be a lie about who erased what.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_whose_key_does_not_open_it_is_refused_by_seq_and_not_shown_as_erased() {
    let (home, done, _) = lived_in().await;
    let keyring = home.data_dir().join("keyring");
    let right = std::fs::read(&keyring).unwrap();
    let tenant = KeyId(done.0[0].0.parse().unwrap());
    {
        let ring = Keyring::open(&home.data_dir(), MasterKey::load(&home.data_dir()).unwrap()).unwrap();
        ring.erase(tenant).unwrap();
        assert!(ring.create(tenant));
        ring.sync().unwrap();
    }
    let before = files(&home.data_dir());
    let verified = home.program().args(["journal", "verify", "--data-dir"]).arg(home.data_dir()).output();
    let verified = verified.unwrap();
    let printed = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert_eq!(verified.status.code(), Some(3), "{printed}");
    let report: Value = serde_json::from_str(&printed).unwrap();
    let bad = report["first_bad_seq"].as_u64().unwrap();
    assert!(bad <= done.0[0].1, "the event that made the tenant comes before its first change: {report}");

    let refused = home.serve().output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success(), "{said}");
    assert!(said.contains(&format!("event {bad}")), "{bad}: {said}");
    assert!(said.contains("put back copies of the journal and the keyring"), "no way out: {said}");
    for (path, bytes) in before.iter().filter(|(path, _)| !path.ends_with("lock")) {
        // Opened whole, the store engine writes down where it begins; the events stay.
        if path.starts_with(home.data_dir().join("snapshots")) || path == &keyring {
            assert!(std::fs::read(path).unwrap() == *bytes, "the refusal changed {}", path.display());
        }
    }
    // The way out that is named.
    std::fs::write(&keyring, right).unwrap();
    let app = TestApp::in_home(home).await;
    done.check(&app).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_or_missing_snapshot_is_passed_over_and_made_again() {
    let (home, mut done, _) = lived_in().await;
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 4] = [
        ("a byte of the body", |bytes| *bytes.last_mut().unwrap() ^= 1),
        ("a byte of the header", |bytes| bytes[40] ^= 1),
        ("its second half is missing", |bytes| bytes.truncate(bytes.len() / 2)),
        ("empty", Vec::clear),
    ];
    let tenant = done.0[0].0.clone();
    for (what, damage) in damages {
        let all = snapshots(&home);
        assert!(!all.is_empty(), "{what}: no snapshot was written");
        for path in &all {
            let mut bytes = std::fs::read(path).unwrap();
            damage(&mut bytes);
            std::fs::write(path, bytes).unwrap();
        }
        let app = TestApp::in_home(Arc::clone(&home)).await;
        assert!(app.log().contains("snapshot skipped"), "{what}: {}", app.log());
        done.check(&app).await;
        assert!(done.note(&tenant, what, &app.send(notes(&app, &tenant, what)).await), "{what}");
        assert_eq!(app.terminate().0, Some(0));
        // The one that the end wrote is good, and the next start uses it.
        let app = TestApp::in_home(Arc::clone(&home)).await;
        assert!(!app.log().contains("snapshot.seq=0"), "{what}: {}", app.log());
        done.check(&app).await;
        assert_eq!(app.terminate().0, Some(0));
    }
    std::fs::remove_dir_all(home.data_dir().join("snapshots")).unwrap();
    let app = TestApp::in_home(home).await;
    done.check(&app).await;
}
