//! `POST /api/tenants/{id}/restore` as a client sees it.

use serde_json::{Value, json};
use tenantry_journal::event::access::{Role, Scope};

use crate::api::{Api, request, tenant_body};

fn fields(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|one| one["field"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_dry_run_tells_what_would_change_and_records_nothing() {
    let api = Api::start().await;
    let tenant = api.tenant("smith").await;
    let path = format!("/api/tenants/{tenant}");
    let then = api.put(&path, json!({"notes": "then"})).await.seq();
    api.put(&path, json!({"notes": "now"})).await.expect(200);
    let head = api.handle.world().seq;
    let dry = api.post(&format!("{path}/restore"), json!({"as_of": then, "dry_run": true})).await.expect(200);
    assert_eq!((&dry["tenant_id"], &dry["restored_to_seq"]), (&json!(tenant), &json!(then)));
    assert_eq!(dry["changes"], json!([{"field": "notes", "from": "now", "to": "then"}]));
    assert_eq!((&dry["conflicts"], &dry["seq"]), (&json!([]), &Value::Null));
    assert_eq!(fields(&dry["not_restored"]), ["database"]);
    let events = api.post(&format!("{path}/restore?dry_run=true"), json!({"as_of": then})).await.expect(200);
    assert_eq!(events["events"][0]["kind"], "tenant.restored");
    assert_eq!(api.handle.world().seq, head);

    let body = json!({"as_of": then.to_string(), "include": ["details"]});
    let send = || {
        let restore = request("POST", &format!("{path}/restore")).bearer(&api.admin);
        api.send(restore.header("idempotency-key", "once").json(&body))
    };
    let first = send().await;
    let restored = first.expect(200);
    assert_eq!((&restored["changes"], &restored["complete"]), (&dry["changes"], &json!(true)));
    assert_eq!(restored["seq"], first.seq());
    assert_eq!(api.get(&path).await.expect(200)["notes"], "then");
    let again = send().await;
    assert_eq!(again.expect(200), restored, "a repetition is answered as the first time");
    let history = api.get(&format!("{path}/history")).await.expect(200);
    let restores =
        history["history"].as_array().unwrap().iter().filter(|one| one["kind"] == "tenant.restored");
    assert_eq!(restores.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_restores_at_once_the_later_one_counts_and_other_tenants_stay_as_they_are() {
    let api = Api::start().await;
    let (tenant, other) = (api.tenant("smith").await, api.tenant("jones").await);
    let path = format!("/api/tenants/{tenant}");
    let mut points = Vec::new();
    for notes in ["first", "second", "third"] {
        points.push(api.put(&path, json!({"notes": notes, "name": format!("Smith {notes}")})).await.seq());
    }
    let before = api.get(&format!("/api/tenants/{other}")).await.expect(200);
    for _ in 0..5 {
        let restore =
            async |point: usize| api.post(&format!("{path}/restore"), json!({"as_of": points[point]})).await;
        let (first, second) = tokio::join!(restore(0), restore(1));
        let (first, second) = (first.expect(200), second.expect(200));
        assert_eq!((&first["complete"], &second["complete"]), (&json!(true), &json!(true)));
        let word = if first["seq"].as_u64() > second["seq"].as_u64() { "first" } else { "second" };
        let shown = api.get(&path).await.expect(200);
        assert_eq!((&shown["notes"], &shown["name"]), (&json!(word), &json!(format!("Smith {word}"))));
        api.put(&path, json!({"notes": "third", "name": "Smith third"})).await.expect(200);
    }
    assert_eq!(api.get(&format!("/api/tenants/{other}")).await.expect(200), before);
}

#[tokio::test]
async fn what_is_no_restore_is_refused() {
    let api = Api::start().await;
    let before = api.handle.world().seq.0;
    let tenant = api.tenant("smith").await;
    let path = format!("/api/tenants/{tenant}/restore");
    let head = api.handle.world().seq;
    for (body, status) in [
        (json!({}), 400),
        (json!({"as_of": "nonsense"}), 400),
        (json!({"as_of": 999_999}), 400),
        (json!({"as_of": 0}), 400),
        (json!({"as_of": -1}), 400),
        (json!({"as_of": head.0, "include": []}), 400),
        (json!({"as_of": head.0, "include": ["colour"]}), 400),
        (json!({"as_of": head.0, "on_conflict": "steal"}), 400),
        (json!({"as_of": head.0, "colour": "red"}), 400),
        (json!({"as_of": before}), 404),
    ] {
        let answer = api.post(&path, body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
    }
    let nobody = "/api/tenants/01a08b3c-0000-7000-8000-000000000000/restore";
    api.post(nobody, json!({"as_of": head.0})).await.expect(404);
    let stale = request("POST", &path).bearer(&api.admin).header("if-match", "\"1\"");
    api.send(stale.json(&json!({"as_of": head.0}))).await.expect(412);
    assert_eq!(api.handle.world().seq, head);
}

#[tokio::test]
async fn a_deleted_tenant_whose_names_are_taken_comes_back_under_others() {
    let api = Api::start().await;
    let tenant = api.tenant("smith").await;
    let path = format!("/api/tenants/{tenant}");
    let ports = api.get(&path).await.expect(200)["frontend_port"].clone();
    let then = api.handle.world().seq.0;
    api.delete(&path).await.expect(200);
    let mut body = tenant_body("smith");
    body["frontend_port"] = ports.clone();
    let other = api.post("/api/tenants", body).await.expect(201);
    let refused = api.post(&format!("{path}/restore"), json!({"as_of": then})).await.expect(409);
    let conflicts = refused["conflicts"].as_array().unwrap();
    assert!(conflicts.iter().all(|one| one["held_by"] == other["id"]), "{refused}");
    let port = conflicts.iter().find(|one| one["field"] == "frontend_port").unwrap();
    assert_eq!(port["wanted"], ports);
    assert!(fields(&refused["conflicts"]).contains(&"slug"));
    api.get(&path).await.expect(404);
    // Who may not see the other tenant is not told which it is.
    let own = api.token(Role::Operator, Scope::Tenant(tenant.parse().unwrap())).await;
    let asked = request("POST", &format!("{path}/restore")).bearer(&own).json(&json!({"as_of": then}));
    let masked = api.send(asked).await.expect(409);
    assert!(masked["conflicts"].as_array().unwrap().iter().all(|one| one["held_by"].is_null()), "{masked}");

    let body = json!({"as_of": then, "on_conflict": "reassign"});
    let restored = api.post(&format!("{path}/restore"), body).await.expect(200);
    assert!(fields(&restored["conflicts"]).contains(&"slug"));
    let shown = api.get(&path).await.expect(200);
    assert_eq!((&shown["slug"], &shown["id"]), (&json!("smith-2"), &json!(tenant)));
    assert_ne!(shown["frontend_port"], ports);
    let other_now = api.get(&format!("/api/tenants/{}", other["id"].as_str().unwrap())).await.expect(200);
    assert_eq!((&other_now["slug"], &other_now["frontend_port"]), (&json!("smith"), &ports));
}
