//! The routes of the audit: right answers, and no more to anybody than is theirs.

use futures_util::future::join_all;
use serde_json::{Value, json};
use tenantry_journal::checkpoint::{Checkpoint, PublicKey};
use tenantry_journal::event::access::{Role, Scope};
use tenantry_journal::hex;
use tenantry_journal::merkle::proof::{Consistency, Inclusion};
use tenantry_journal::receipt::Receipt;

use crate::api::{Api, request};

fn key(answer: &Value) -> PublicKey {
    PublicKey::parse(answer["checkpoint"]["public_key"].as_str().unwrap()).unwrap()
}

fn opened(answer: &Value, key: &PublicKey) -> Checkpoint {
    Checkpoint::open(answer["checkpoint"]["note"].as_str().unwrap(), key).unwrap()
}

#[tokio::test]
async fn the_journal_is_shown_with_its_root_and_a_signed_checkpoint() {
    let api = Api::start().await;
    api.tenant("smith").await;
    let shown = api.get("/api/journal").await.expect(200);
    let head = api.handle.world().seq.0;
    assert_eq!((&shown["head_seq"], &shown["events"]), (&json!(head), &json!(head)));
    assert!(shown["bytes"].is_u64() && shown["first_at"].is_string() && shown["last_at"].is_string());
    let checkpoint = opened(&shown, &key(&shown));
    assert_eq!((checkpoint.tree_size, json!(checkpoint.root_text())), (head, shown["root"].clone()));
    assert_eq!(shown["checkpoint"]["tree_size"], head);
    assert_eq!(shown["checkpoint"]["origin"], checkpoint.origin);

    // As it was then: the same tree, cut off there.
    let then = api.get("/api/journal?as_of=3").await;
    assert_eq!(then.header("x-as-of-seq"), Some("3"));
    let then = then.expect(200);
    assert_eq!((&then["head_seq"], &then["bytes"]), (&json!(3), &Value::Null));
    let proof = api.get(&format!("/api/journal/proof?from=3&to={head}")).await.expect(200);
    assert_eq!((&proof["root_hash_1"], &proof["root_hash_2"]), (&then["root"], &shown["root"]));
}

#[tokio::test]
async fn every_event_has_a_proof_and_every_tree_goes_on_in_the_next() {
    let api = Api::start().await;
    api.limit(1_000_000, 1_000_000);
    let tenant = api.tenant("smith").await;
    api.deployed(&tenant).await;
    let shown = api.get("/api/journal").await.expect(200);
    let (head, key) = (shown["head_seq"].as_u64().unwrap(), key(&shown));
    assert!(head > 20);
    for seq in 1..=head {
        let answer = api.get(&format!("/api/journal/proof?seq={seq}&tree_size={head}")).await.expect(200);
        let proof: Inclusion = serde_json::from_value(answer.clone()).unwrap();
        assert!(proof.holds());
        assert_eq!((proof.leaf_index, proof.tree_size), (seq - 1, head));
        assert_eq!(
            (json!(hex::encode(&proof.root_hash)), opened(&answer, &key).root_hash),
            (shown["root"].clone(), proof.root_hash)
        );
        let answer = api.get(&format!("/api/journal/proof?from={seq}&to={head}")).await.expect(200);
        let proof: Consistency = serde_json::from_value(answer.clone()).unwrap();
        assert!(
            proof.holds() && proof.tree_size_1 == seq && opened(&answer, &key).root_hash == proof.root_hash_2
        );
    }
    let in_an_earlier_tree = api.get("/api/journal/proof?seq=2&tree_size=5").await.expect(200);
    assert!(serde_json::from_value::<Inclusion>(in_an_earlier_tree).unwrap().holds());
    for wrong in [
        "",
        "seq=1&from=1",
        "from=0&to=2",
        "from=3&to=2",
        "from=1&to=999999",
        "seq=3&tree_size=2",
        "tree_size=3",
        "seq=1&tree_size=999999",
        "to=3",
        "seq=x",
        "size=3",
    ] {
        assert_eq!(api.get(&format!("/api/journal/proof?{wrong}")).await.status, 400, "{wrong}");
    }
    for missing in ["seq=0", "seq=999999"] {
        assert_eq!(api.get(&format!("/api/journal/proof?{missing}")).await.status, 404, "{missing}");
    }
}

#[tokio::test]
async fn verifying_reads_everything_and_is_done_once_for_all_who_ask_at_once() {
    let api = Api::start().await;
    let head = api.handle.world().seq.0;
    let whole = json!({"valid": true, "checked": head, "first_bad_seq": null});
    let viewer = api.token(Role::Viewer, Scope::All).await;
    let whole_now = json!({"valid": true, "checked": head + 1, "first_bad_seq": null});
    let asked = (0..20).map(|_| api.send(request("POST", "/api/journal/verify").bearer(&viewer)));
    for answer in join_all(asked).await {
        assert_eq!(answer.expect(200), whole_now);
    }
    assert_ne!(whole, whole_now);
    assert_eq!(api.handle.world().seq.0, head + 1, "verifying records nothing");
    assert_eq!(api.send(request("POST", "/api/journal/verify")).await.status, 401);
}

#[tokio::test]
async fn a_tenants_receipt_is_whole_checks_and_shows_nothing_of_the_others() {
    let api = Api::start().await;
    let smith = api.tenant("smith").await;
    let jones = api.tenant("jones").await;
    api.deployed(&smith).await;
    let answer = api.get(&format!("/api/tenants/{smith}/receipt")).await;
    assert!(answer.header("content-disposition").unwrap().contains("receipt-"));
    let shown = answer.expect(200);
    let key = PublicKey::parse(shown["public_key"].as_str().unwrap()).unwrap();
    assert_eq!(api.get("/api/journal").await.expect(200)["checkpoint"]["public_key"], json!(key.to_string()));
    let receipt: Receipt = serde_json::from_value(shown.clone()).unwrap();
    receipt.check(&key).unwrap();
    let own = api.get(&format!("/api/events?tenant_id={smith}&limit=1000")).await.expect(200);
    let own: Vec<u64> = own["events"].as_array().unwrap().iter().filter_map(|e| e["seq"].as_u64()).collect();
    let in_it: Vec<u64> =
        shown["entries"].as_array().unwrap().iter().filter_map(|e| e["seq"].as_u64()).collect();
    assert!(in_it.len() > 5);
    assert_eq!(in_it, own);

    // Then, and afterwards.
    let then: Receipt = serde_json::from_value(
        api.get(&format!("/api/tenants/{smith}/receipt?as_of={}", own[2])).await.expect(200),
    )
    .unwrap();
    then.check(&key).unwrap();
    assert_eq!(then.events, 3);
    receipt.goes_on_from(&then).unwrap();

    // Somebody of the other tenant.
    let token = api.token(Role::Viewer, Scope::Tenant(jones.parse().unwrap())).await;
    let ask = |path: String| api.send(request("GET", &path).bearer(&token));
    assert_eq!(ask(format!("/api/tenants/{smith}/receipt")).await.status, 404);
    assert_eq!(ask(format!("/api/tenants/{jones}/receipt")).await.status, 200);
    assert_eq!(ask(format!("/api/journal/proof?seq={}", own[0])).await.status, 404);
    assert_eq!(ask(format!("/api/events/{}?raw=true", own[0])).await.status, 404);
    let theirs = api.get(&format!("/api/events?tenant_id={jones}")).await.expect(200);
    let seq = theirs["events"][0]["seq"].as_u64().unwrap();
    assert_eq!(ask(format!("/api/journal/proof?seq={seq}")).await.status, 200);
    assert_eq!(ask("/api/journal".into()).await.status, 200);
    let verify = api.send(request("POST", "/api/journal/verify").bearer(&token)).await;
    assert_eq!(verify.status, 403, "it reads everybody's events");
    let nobody = "01a08b3c-0000-7000-8000-000000000000";
    assert_eq!(api.get(&format!("/api/tenants/{nobody}/receipt")).await.status, 404);
}
