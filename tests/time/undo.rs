//! `POST /api/events/{seq}/undo` as a client sees it.

use serde_json::json;
use tenantry_journal::event::access::{Role, Scope};

use crate::api::{Api, request};

#[tokio::test]
async fn an_undo_takes_the_events_command_back_and_is_caused_by_it() {
    let api = Api::start().await;
    let tenant = api.tenant("smith").await;
    let path = format!("/api/tenants/{tenant}");
    api.put(&path, json!({"notes": "before"})).await.expect(200);
    let seq = api.put(&path, json!({"notes": "after"})).await.seq();
    let head = api.handle.world().seq;
    let dry = api.post(&format!("/api/events/{seq}/undo?dry_run=true"), json!({})).await.expect(200);
    assert_eq!((&dry["events"][0]["kind"], api.handle.world().seq), (&json!("tenant.updated"), head));
    let undone = api.post(&format!("/api/events/{seq}/undo"), json!({})).await;
    let body = undone.expect(200);
    assert_eq!((&body["undone_seq"], &body["seq"]), (&json!(seq), &json!(undone.seq())));
    assert_eq!(body["events"][0]["caused_by"], seq);
    assert_eq!(api.get(&path).await.expect(200)["notes"], "before");
    let event = api.get(&format!("/api/events/{seq}")).await.expect(200);
    assert_eq!(event["effects"][0]["seq"], undone.seq(), "the undo is an effect of what it undoes");
    let refused = api.post(&format!("/api/events/{seq}/undo"), json!({})).await.expect(409);
    assert!(refused["message"].as_str().unwrap().contains("changed again"), "{refused}");

    // The undo is an event like others.
    api.post(&format!("/api/events/{}/undo", undone.seq()), json!({})).await.expect(200);
    assert_eq!(api.get(&path).await.expect(200)["notes"], "after");
}

#[tokio::test]
async fn what_has_no_undo_answers_409_with_the_reason_and_nobody_undoes_beyond_their_role() {
    let api = Api::start().await;
    let tenant = api.tenant("smith").await;
    let other = api.tenant("jones").await;
    api.deployed(&tenant).await;
    let restarted = api.post(&format!("/api/tenants/{tenant}/restart"), json!({})).await;
    restarted.expect(200);
    let events = api.get("/api/events?kind=instance.restart_requested").await.expect(200);
    let restart = events["events"][0]["seq"].as_u64().unwrap();
    let refused = api.post(&format!("/api/events/{restart}/undo"), json!({})).await.expect(409);
    assert!(refused["message"].as_str().unwrap().contains("run before has ended"), "{refused}");
    let started = api.get("/api/events?kind=instance.started").await.expect(200);
    let observed = started["events"][0]["seq"].as_u64().unwrap();
    api.post(&format!("/api/events/{observed}/undo"), json!({})).await.expect(409);

    let setting = api.put("/api/settings/rate_limit_per_hour", json!({"value": "5000"})).await;
    setting.expect(200);
    let path = format!("/api/events/{}/undo", setting.seq());
    let operator = api.login("olga").await;
    api.send(request("POST", &path).bearer(&operator).json(&json!({}))).await.expect(403);
    api.post(&path, json!({})).await.expect(200);
    let stranger = api.token(Role::Admin, Scope::Tenant(other.parse().unwrap())).await;
    api.send(request("POST", &format!("/api/events/{restart}/undo")).bearer(&stranger).json(&json!({})))
        .await
        .expect(404);
    for missing in ["0", "999999", "x"] {
        api.post(&format!("/api/events/{missing}/undo"), json!({})).await.expect(404);
    }
}

#[tokio::test]
async fn a_deletion_is_taken_back() {
    let api = Api::start().await;
    let tenant = api.tenant("smith").await;
    api.put(&format!("/api/tenants/{tenant}"), json!({"notes": "mine"})).await.expect(200);
    api.delete(&format!("/api/tenants/{tenant}")).await.expect(200);
    let events = api.get("/api/events?kind=tenant.deletion_requested").await.expect(200);
    let seq = events["events"][0]["seq"].as_u64().unwrap();
    api.post(&format!("/api/events/{seq}/undo"), json!({})).await.expect(200);
    assert_eq!(api.get(&format!("/api/tenants/{tenant}")).await.expect(200)["notes"], "mine");
}
