//! Rehearsal: what a real journal looks like to this program, and an upgrade that would see it differently.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use tenantry_journal::codec;
use tenantry_journal::event::Event;
use tenantry_journal::event::instance::InstanceStarting;
use tenantry_journal::event::system::SystemStarted;
use tenantry_journal::id::{CommandId, EventId, InstanceId, KeyId, RunId, Seq};
use tenantry_journal::keyring::{Keyring, MasterKey};
use tenantry_journal::recorded::{Draft, Recorded};
use tenantry_journal::sealed::{Vault, with_vault};
use tenantry_journal::time::Timestamp;
use tenantry_journal::transfer::{Builder, Built};
use tenantry_projections::snapshot::{Snapshots, TreeState};
use tenantry_projections::world::World;

use crate::support::app::{Home, TestApp};
use crate::tools::{run, said};

fn rehearsed(home: &Home, code: i32) -> serde_json::Value {
    said(&run(home, &["rehearse", "--data-dir", "data", "--json"]), code)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_of_this_very_program_holds_no_difference() {
    let app = TestApp::start().await;
    let tenant = app.tenant("smith").await;
    for _ in 0..2 {
        let deployment = app.deploy(&tenant).await;
        assert_eq!(app.deployed(&deployment).await["status"], "success");
    }
    let home = app.kill();
    let app = TestApp::in_home(home).await;
    app.post(&format!("/api/tenants/{tenant}/stop"), json!({})).await.expect(200);
    let home = Arc::clone(app.home());
    app.terminate();
    let app = TestApp::in_home(home).await;
    let other = app.tenant("jones").await;
    app.delete(&format!("/api/tenants/{tenant}?erase=true")).await.expect(200);
    let home = Arc::clone(app.home());
    let beside = rehearsed(&home, 0);
    assert!(beside["effects"].as_u64().unwrap() > 15, "{beside}");
    assert_eq!(beside["differences"], json!([]));
    app.delete(&format!("/api/tenants/{other}")).await.expect(200);
    app.terminate();
    let after = rehearsed(&home, 0);
    let snapshots = after["snapshots"].as_object().unwrap();
    assert!(snapshots.len() >= 2, "{after}");
    assert!(
        snapshots.values().any(|one| one == "same_but_erased"),
        "one is from before the erasure: {after}"
    );
    assert!(snapshots.values().all(|one| one == "same" || one == "same_but_erased"), "{after}");
}

/// A data directory that another version served last, in which these events follow its start.
fn written(data: &Path, more: Vec<Event>) -> (Arc<dyn Vault>, World, Built) {
    std::fs::create_dir_all(data).unwrap();
    let keyring = Keyring::open(data, MasterKey::load_or_create(data).unwrap()).unwrap();
    assert!(keyring.contains(KeyId::CONTROL_PLANE));
    let vault: Arc<dyn Vault> = Arc::new(keyring);
    let started = SystemStarted { version: "0.0.9".into(), boot_id: "b".into() };
    let mut world = World::default();
    let mut builder = Builder::begin(data).unwrap();
    for (event, seq) in std::iter::once(started.into()).chain(more).zip(1..) {
        let draft = Draft::of_system(EventId(uuid::Uuid::now_v7()), Timestamp(1_763_726_400_000), event);
        let draft = Draft { command_id: CommandId(uuid::Uuid::now_v7()), ..draft };
        let recorded = Recorded { seq: Seq(seq), draft };
        let mut record = Vec::new();
        with_vault(&vault, || codec::encode_record(&recorded, &mut Vec::new(), &mut record)).unwrap();
        builder.push(Seq(seq), &record).unwrap();
        world.evolve(&recorded);
    }
    (vault, world, builder.finish().unwrap())
}

/// One with a snapshot that is not what this version folds.
fn upgraded(data: &Path) {
    let (vault, mut world, built) = written(data, vec![]);
    world.boot_id = "another".into();
    let tree = TreeState { size: 1, peaks: built.frontier.peaks().to_vec() };
    Snapshots::open(data.join("snapshots"), vault).unwrap().write(&world, &tree).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_that_sees_the_journal_differently_refuses_to_start_until_that_is_accepted() {
    let home = Home::new();
    upgraded(&home.data_dir());
    let told = rehearsed(&home, 3);
    assert_eq!(
        (&told["written_by"], &told["snapshots"]["1"]),
        (&json!("0.0.9"), &json!("different")),
        "{told}"
    );
    assert!(told["differences"][0]["what"].as_str().unwrap().contains("the boot"), "{told}");
    let refused = home.serve().output().unwrap();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr);
    for word in ["0.0.9", "event 1", "--accept-differences", "tenantry rehearse"] {
        assert!(said.contains(word), "{word} in {said}");
    }
    let mut accepting = home.serve();
    accepting.arg("--accept-differences");
    let app = TestApp::from_command(home, accepting).await;
    app.log_says("differences of an upgrade are accepted").await;
    let home = Arc::clone(app.home());
    app.terminate();
    let app = TestApp::in_home(Arc::clone(&home)).await;
    assert!(!app.log().contains("rehearsed"), "this version has served it by now");
    app.terminate();
    assert_eq!(rehearsed(&home, 0)["differences"], json!([]));
}

#[test]
fn an_effect_that_this_program_would_not_have_begun_is_told_with_its_event() {
    let home = Home::new();
    let instance_id = InstanceId(uuid::Uuid::now_v7());
    let starting = InstanceStarting { instance_id, run_id: RunId(uuid::Uuid::now_v7()) };
    written(&home.data_dir(), vec![starting.into()]);
    let told = rehearsed(&home, 3);
    let what = told["differences"][0]["what"].as_str().unwrap();
    assert!(what.contains("instance.starting") && what.contains("would not have begun"), "{told}");
    assert_eq!((&told["differences"][0]["seq"], &told["effects"]), (&json!(2), &json!(0)), "{told}");
}
