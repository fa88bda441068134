//! What a real control plane proves, checked on another machine: with the files and the public
//! key, and nothing else.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tenantry_journal::hex;
use tenantry_journal::id::{KeyId, TenantId};
use tenantry_journal::keyring::{Keyring, MasterKey};
use tenantry_journal::merkle;

use crate::support::app::TestApp;

/// Somebody with a directory of their own.
struct Auditor {
    dir: tempfile::TempDir,
}

impl Auditor {
    fn new() -> Auditor {
        Auditor { dir: tempfile::tempdir().unwrap() }
    }

    fn keep(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// `tenantry proof check`: its exit code and what it says.
    fn check(&self, args: &[&str]) -> (i32, Value) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tenantry"));
        command.env_clear().current_dir(self.dir.path()).args([
            "proof",
            "check",
            "--json",
            "--key",
            "signing.pub",
        ]);
        let output = command.args(args).stdin(Stdio::null()).output().unwrap();
        let told = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code().unwrap(), told)
    }

    #[track_caller]
    fn is_valid(&self, args: &[&str], what: &str) -> Value {
        let (code, told) = self.check(args);
        assert_eq!((code, &told["valid"], &told["what"]), (0, &json!(true), &json!(what)), "{told}");
        told
    }

    #[track_caller]
    fn is_refused(&self, args: &[&str], reason: &str) {
        let (code, told) = self.check(args);
        assert_eq!((code, &told["valid"]), (3, &json!(false)), "{told}");
        assert!(told["reason"].as_str().unwrap().contains(reason), "{told}");
    }
}

fn offline(app: &TestApp, args: &[&str]) -> String {
    let output = app
        .home()
        .program()
        .arg("journal")
        .args(args)
        .arg("--data-dir")
        .arg(app.data_dir())
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_printed_is_checked_on_another_machine_with_the_public_key_alone() {
    let app = TestApp::start().await;
    let tenant = app.tenant("smith").await;
    app.tenant("jones").await;
    let key = app.data_dir().join("signing.key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);

    let auditor = Auditor::new();
    auditor.keep("signing.pub", std::fs::read(app.data_dir().join("signing.pub")).unwrap());
    let journal = app.get("/api/journal").await;
    auditor.keep("journal.json", &journal.text);
    auditor.keep("then.note", journal.json()["checkpoint"]["note"].as_str().unwrap());
    auditor.is_valid(&["journal.json"], "checkpoint");
    let then = auditor.is_valid(&["then.note"], "checkpoint")["tree_size"].as_u64().unwrap();

    // An event with its own bytes.
    let proof = app.get("/api/journal/proof?seq=2").await;
    auditor.keep("proof.json", &proof.text);
    let raw = app.request("GET", "/api/events/2?raw=true").send().await.unwrap();
    assert_eq!(raw.headers()["content-type"], "application/vnd.msgpack");
    let raw = raw.bytes().await.unwrap();
    assert_eq!(proof.json()["leaf_hash"], hex::encode(&merkle::leaf(&raw)));
    auditor.keep("record", &raw);
    auditor.is_valid(&["proof.json"], "inclusion");
    auditor.is_valid(&["proof.json", "--record", "record"], "inclusion");
    auditor.keep("other", [&raw, [0].as_slice()].concat());
    auditor.is_refused(&["proof.json", "--record", "other"], "not that of the leaf");
    let mut changed = proof.json();
    changed["leaf_index"] = json!(2);
    auditor.keep("changed.json", changed.to_string());
    auditor.is_refused(&["changed.json"], "does not lead");
    changed["leaf_index"] = json!(1);
    changed["checkpoint"]["note"] =
        json!(journal.json()["checkpoint"]["note"].as_str().unwrap().replace('\n', "\n\n"));
    auditor.keep("changed.json", changed.to_string());
    auditor.is_refused(&["changed.json"], "checkpoint");

    // Later, after a crash: the journal goes on from what was kept.
    let receipt = app.get(&format!("/api/tenants/{tenant}/receipt")).await;
    auditor.keep("receipt.json", &receipt.text);
    auditor.is_valid(&["receipt.json"], "receipt");
    let app = TestApp::in_home(app.kill()).await;
    app.send(app.request("PUT", &format!("/api/tenants/{tenant}")).json(&json!({"notes": "later"})))
        .await
        .expect(200);
    let proof = app.get(&format!("/api/journal/proof?from={then}")).await;
    auditor.keep("later.json", &proof.text);
    auditor.is_valid(&["later.json", "--earlier", "then.note"], "consistency");
    auditor.keep("sealed.note", offline(&app, &["checkpoint", "--tree-size", &(then - 1).to_string()]));
    auditor.is_refused(&["later.json", "--earlier", "sealed.note"], "what was signed is");
    let later = app.get(&format!("/api/tenants/{tenant}/receipt")).await;
    auditor.keep("later-receipt.json", &later.text);
    let told = auditor.is_valid(&["later-receipt.json", "--earlier", "receipt.json"], "receipt");
    assert!(told["events"].as_u64() > receipt.json()["events"].as_u64());
    auditor.is_refused(&["receipt.json", "--earlier", "later-receipt.json"], "that one is the later");

    // The same from the files, beside the running server.
    auditor.keep("offline.json", offline(&app, &["proof", "--seq", "2"]));
    assert!(auditor.is_valid(&["offline.json"], "inclusion")["at"].is_string(), "the record is in it");
    auditor.keep("offline.json", offline(&app, &["proof", "--from", "1"]));
    auditor.is_valid(&["offline.json"], "consistency");
    auditor.keep("offline.json", offline(&app, &["receipt", "smith"]));
    auditor.is_valid(&["offline.json", "--earlier", "receipt.json"], "receipt");
    auditor.keep("offline.note", offline(&app, &["checkpoint"]));
    auditor.is_valid(&["offline.note"], "checkpoint");
    let stats: Value = serde_json::from_str(&offline(&app, &["stats"])).unwrap();
    assert_eq!(stats["public_key"], journal.json()["checkpoint"]["public_key"]);
    let note = auditor.keep("kept.note", journal.json()["checkpoint"]["note"].as_str().unwrap());
    let verified = offline(&app, &["verify", "--checkpoint", note.to_str().unwrap()]);
    let verified: Value = serde_json::from_str(&verified).unwrap();
    assert_eq!(verified["valid"], true);
    assert!(verified["checkpoints"].as_u64().unwrap() >= 1);

    // Another key has signed nothing of this.
    let stranger = tenantry_journal::checkpoint::SigningKey::from_seed(&[1; 32]);
    auditor.keep("signing.pub", stranger.public().to_string());
    for file in ["proof.json", "receipt.json", "then.note", "journal.json", "later.json"] {
        auditor.is_refused(&[file], "has not signed");
    }
}

fn erase(data_dir: &Path, tenant: TenantId) {
    let ring = Keyring::open(data_dir, MasterKey::load_or_create(data_dir).unwrap()).unwrap();
    assert!(ring.contains(KeyId::from(tenant)));
    ring.erase(KeyId::from(tenant)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_an_erased_tenant_is_still_proved_and_its_proof_says_nothing() {
    let app = TestApp::start().await;
    let tenant = app.tenant("smith").await;
    let created = app.get(&format!("/api/events?tenant_id={tenant}&kind=tenant.created")).await.expect(200);
    let seq = created["events"][0]["seq"].as_u64().unwrap();
    let before = app.get(&format!("/api/journal/proof?seq={seq}&tree_size={seq}")).await.expect(200);
    let (data_dir, home) = (app.data_dir(), app.kill());
    // What a snapshot holds of it would be asked for at the start.
    let _ = std::fs::remove_dir_all(data_dir.join("snapshots"));
    erase(&data_dir, tenant.parse().unwrap());
    let app = TestApp::in_home(home).await;
    let shown = app.get(&format!("/api/events/{seq}")).await.expect(200);
    assert!(!shown.to_string().contains("smith.example.com"), "{shown}");
    let after = app.get(&format!("/api/journal/proof?seq={seq}&tree_size={seq}")).await.expect(200);
    assert_eq!((&after["leaf_hash"], &after["root_hash"]), (&before["leaf_hash"], &before["root_hash"]));
    let receipt = app.get(&format!("/api/tenants/{tenant}/receipt")).await;
    let auditor = Auditor::new();
    auditor.keep("signing.pub", std::fs::read(data_dir.join("signing.pub")).unwrap());
    auditor.keep("receipt.json", &receipt.text);
    auditor.is_valid(&["receipt.json"], "receipt");
    let verified = app.post("/api/journal/verify", json!({})).await.expect(200);
    assert_eq!((&verified["valid"], &verified["first_bad_seq"]), (&json!(true), &Value::Null));
}
