//! A tenant's receipt: what it shows, what it hides, and every way in which it is not believed.

use std::sync::Arc;

use serde_json::{Value, json};
use tenantry_journal::checkpoint::SigningKey;
use tenantry_journal::id::{Seq, TenantId};
use tenantry_journal::receipt::{self, BadReceipt, Receipt};
use tenantry_journal::recorded::Draft;
use tenantry_journal::store::Journal;
use tenantry_journal::store::memory::MemoryJournal;

use crate::support::*;

fn tenant(number: u128) -> TenantId {
    TenantId(uuid(number))
}

fn of(number: u128, event: u16) -> Draft {
    Draft { tenant_id: Some(tenant(number)), ..numbered(event) }
}

fn key() -> SigningKey {
    SigningKey::from_seed(&[3; 32])
}

/// 700 events: each 50th of tenant 1, each 7th of tenant 2, the others of nobody.
fn journal(dir: &std::path::Path) -> Arc<dyn Journal> {
    let store: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
    let rig = Rig::start(Arc::clone(&store), keyring(dir));
    for chunk in (1..=700u16).collect::<Vec<_>>().chunks(90) {
        let drafts = chunk.iter().map(|n| match n {
            n if n % 50 == 0 => of(1, *n),
            n if n % 7 == 0 => of(2, *n),
            n => numbered(*n),
        });
        rig.record(drafts.collect()).unwrap();
    }
    store
}

fn written(store: &dyn Journal, tenant: TenantId, size: u64) -> Value {
    let mut out = Vec::new();
    receipt::write(store, tenant, size, &key(), &mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

fn read(receipt: &Value) -> Receipt {
    serde_json::from_value(receipt.clone()).unwrap()
}

fn checked(receipt: &Value) -> Result<(), BadReceipt> {
    read(receipt).check(key().public()).map(drop)
}

#[test]
fn a_receipt_has_every_event_of_the_tenant_and_nothing_of_anybody_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = journal(dir.path());
    for size in [1, 49, 50, 51, 64, 255, 256, 257, 512, 699, 700] {
        for number in [1, 2, 3] {
            let receipt = written(&*store, tenant(number), size);
            let checkpoint = read(&receipt).check(key().public()).unwrap();
            assert_eq!((checkpoint.tree_size, read(&receipt).tree_size), (size, size));
            let own: Vec<u64> =
                receipt["entries"].as_array().unwrap().iter().filter_map(|e| e["seq"].as_u64()).collect();
            let theirs = (1..=size).filter(|n| match number {
                1 => n % 50 == 0,
                2 => n % 7 == 0 && n % 50 != 0,
                _ => false,
            });
            assert_eq!(own, theirs.collect::<Vec<_>>(), "tenant {number} at {size}");
            // Of the others there is nothing but places and hashes.
            for entry in receipt["entries"].as_array().unwrap().iter().filter(|e| e["seq"].is_null()) {
                assert_eq!(entry.as_object().unwrap().len(), 3, "{entry}");
                assert!(entry["from"].is_u64() && entry["to"].is_u64() && entry["hash"].is_string());
            }
        }
    }
    let entries = written(&*store, tenant(1), 700)["entries"].as_array().unwrap().len();
    assert!(entries < 14 * 11, "{entries} entries for 14 events");
}

#[test]
fn a_receipt_with_anything_else_in_it_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let store = journal(dir.path());
    let good = written(&*store, tenant(1), 700);
    checked(&good).unwrap();
    let place = |seq: u64| {
        good["entries"].as_array().unwrap().iter().position(|entry| entry["seq"] == json!(seq)).unwrap()
    };
    let with = |change: &dyn Fn(&mut Value)| {
        let mut changed = good.clone();
        change(&mut changed);
        checked(&changed)
    };
    // An event of the tenant, hidden behind its hash.
    let leaf = tenantry_journal::merkle::leaf(&tenantry_journal::scan::raw(&*store, Seq(50)).unwrap());
    let hash = tenantry_journal::hex::encode(&leaf);
    let hidden = with(&|receipt| {
        receipt["entries"][place(50)] = json!({"from": 50, "to": 50, "hash": hash});
    });
    assert_eq!(hidden, Err(BadReceipt::Statement("another number of events")));
    let hidden = with(&|receipt| {
        receipt["entries"][place(50)] = json!({"from": 50, "to": 50, "hash": hash});
        receipt["events"] = json!(13);
    });
    assert_eq!(hidden, Err(BadReceipt::Statement("another number of events")));
    // Two events in each other's place, one shown twice, one of somebody else's.
    let (a, b) = (place(50), place(100));
    let swapped = with(&|receipt| {
        let (one, other) = (receipt["entries"][a]["record"].clone(), receipt["entries"][b]["record"].clone());
        receipt["entries"][a]["record"] = other;
        receipt["entries"][b]["record"] = one;
    });
    assert_eq!(swapped, Err(BadReceipt::Record { seq: Seq(50) }));
    let theirs = written(&*store, tenant(2), 700);
    let theirs = theirs["entries"].as_array().unwrap().iter().find(|e| e["seq"] == json!(7)).unwrap().clone();
    let foreign = with(&|receipt| receipt["entries"].as_array_mut().unwrap().insert(0, theirs.clone()));
    assert_eq!(foreign, Err(BadReceipt::Record { seq: Seq(7) }));
    let twice = with(&|receipt| {
        let one = receipt["entries"][a].clone();
        receipt["entries"].as_array_mut().unwrap().insert(a, one);
    });
    assert!(matches!(twice, Err(BadReceipt::Statement(_))), "{twice:?}");
    // What it covers has a hole, or goes on.
    let hole = with(&|receipt| drop(receipt["entries"].as_array_mut().unwrap().remove(0)));
    assert!(matches!(hole, Err(BadReceipt::Gap { wanted: Seq(1) })), "{hole:?}");
    let short = with(&|receipt| drop(receipt["entries"].as_array_mut().unwrap().pop()));
    assert!(matches!(short, Err(BadReceipt::Statement(_) | BadReceipt::Gap { .. })), "{short:?}");
    // Another hash, another size, another tenant, another key, another statement.
    let other = with(&|receipt| receipt["entries"][0]["hash"] = json!("00".repeat(32)));
    assert_eq!(other, Err(BadReceipt::Root));
    let other = with(&|receipt| receipt["tree_size"] = json!(699));
    assert_eq!(other, Err(BadReceipt::Statement("a tree of another size")));
    let other = with(&|receipt| receipt["tenant_id"] = json!(tenant(2)));
    assert_eq!(other, Err(BadReceipt::Record { seq: Seq(50) }));
    let stranger = SigningKey::from_seed(&[4; 32]);
    assert!(matches!(read(&good).check(stranger.public()), Err(BadReceipt::Note(_))));
    let statement = written(&*store, tenant(2), 700)["checkpoint"].clone();
    let other = with(&|receipt| receipt["checkpoint"] = statement.clone());
    assert_eq!(other, Err(BadReceipt::Statement("another tenant")));
    let earlier = written(&*store, tenant(1), 650)["checkpoint"].clone();
    let other = with(&|receipt| receipt["checkpoint"] = earlier.clone());
    assert_eq!(other, Err(BadReceipt::Statement("another number of events")));
}

#[test]
fn a_later_receipt_goes_on_from_an_earlier_one_or_is_caught() {
    let dir = tempfile::tempdir().unwrap();
    let store = journal(dir.path());
    let (earlier, later) = (written(&*store, tenant(1), 300), written(&*store, tenant(1), 700));
    read(&later).goes_on_from(&read(&earlier)).unwrap();
    read(&later).goes_on_from(&read(&later)).unwrap();
    assert!(read(&earlier).goes_on_from(&read(&later)).is_err());
    assert!(read(&later).goes_on_from(&read(&written(&*store, tenant(2), 300))).is_err());
    // The same tenant in a journal that was written anew.
    let other = journal(dir.path());
    let rewritten = written(&*other, tenant(1), 700);
    checked(&rewritten).unwrap();
    let caught = read(&rewritten).goes_on_from(&read(&earlier));
    assert!(matches!(caught, Err(BadReceipt::Earlier(_))), "{caught:?}");
}
