//! What became of a tenant, event by event and between two moments.

use serde_json::{Value, json};
use tenantry_journal::event::access::{Role, Scope};

use crate::api::{Api, request};

fn change<'a>(changes: &'a Value, field: &str) -> Option<&'a Value> {
    changes.as_array().unwrap().iter().find(|change| change["field"] == field)
}

#[tokio::test]
async fn each_event_of_a_tenant_stands_in_its_history_with_what_it_changed() {
    let api = Api::start().await;
    let tenant = api.tenant("smith").await;
    api.tenant("jones").await;
    let path = format!("/api/tenants/{tenant}");
    let updated = api.put(&path, json!({"notes": "first"})).await;
    updated.expect(200);
    api.put(&format!("{path}/config"), json!({"custom_env": {"API_KEY": "hunter2"}})).await.expect(200);
    api.deployed(&tenant).await;

    let page = api.get(&format!("{path}/history")).await.expect(200);
    assert_eq!((&page["tenant_id"], &page["next_seq"]), (&json!(tenant), &Value::Null));
    let entries = page["history"].as_array().unwrap().clone();
    assert!(entries.windows(2).all(|pair| pair[0]["seq"].as_u64() < pair[1]["seq"].as_u64()));
    let mut of_events = Vec::new();
    let mut next = Some(1);
    while let Some(from) = next {
        let events =
            api.get(&format!("/api/events?tenant_id={tenant}&from_seq={from}&limit=1000")).await.expect(200);
        of_events.extend(events["events"].as_array().unwrap().iter().map(|event| event["seq"].clone()));
        next = events["next_seq"].as_u64();
    }
    assert!(of_events.len() > 10);
    assert_eq!(entries.iter().map(|entry| entry["seq"].clone()).collect::<Vec<_>>(), of_events);
    let entry = |kind: &str| entries.iter().find(|entry| entry["kind"] == kind).unwrap();
    let notes = entry("tenant.updated");
    assert_eq!(notes["seq"], updated.seq());
    assert_eq!((&notes["actor"]["name"], &notes["actor"]["type"]), (&json!("admin"), &json!("user")));
    assert_eq!(notes["changes"].as_array().unwrap().len(), 1);
    assert_eq!(change(&notes["changes"], "notes").unwrap()["to"], "first");
    let secret = change(&entry("tenant.config_updated")["changes"], "config.custom_env.API_KEY").unwrap();
    assert_eq!((&secret["from"], &secret["to"]), (&Value::Null, &json!("***hidden***")));
    assert!(change(&entry("deployment.release_activated")["changes"], "release").is_some());
    assert!(!page.to_string().contains("hunter2"));

    // Pages join, and the past has no more than it had.
    let mut joined = Vec::new();
    let mut next = Some(1);
    while let Some(from) = next {
        let part = api.get(&format!("{path}/history?limit=3&from_seq={from}")).await.expect(200);
        assert!(part["history"].as_array().unwrap().len() <= 3);
        joined.extend(part["history"].as_array().unwrap().iter().cloned());
        next = part["next_seq"].as_u64();
    }
    assert_eq!(joined, entries);
    let then = api.get(&format!("{path}/history?as_of={}", updated.seq())).await.expect(200);
    assert_eq!(then["history"].as_array().unwrap().last().unwrap()["seq"], updated.seq());
    assert_eq!(then["head_seq"], updated.seq());
    for wrong in ["limit=0", "limit=1001", "from_seq=x", "colour=red"] {
        api.get(&format!("{path}/history?{wrong}")).await.expect(400);
    }
}

#[tokio::test]
async fn two_moments_differ_by_what_was_changed_between_them_in_either_direction() {
    let api = Api::start().await;
    let tenant = api.tenant("smith").await;
    let path = format!("/api/tenants/{tenant}");
    let first = api.put(&path, json!({"notes": "first"})).await.seq();
    let second = api.put(&path, json!({"notes": "second", "domain": "other.example.com"})).await.seq();
    let forth = api.get(&format!("{path}/diff?from={first}&to={second}")).await.expect(200);
    assert_eq!((&forth["from_seq"], &forth["to_seq"]), (&json!(first), &json!(second)));
    let changes = forth["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 2, "{changes:?}");
    let notes = change(&forth["changes"], "notes").unwrap();
    assert_eq!(*notes, json!({"field": "notes", "from": "first", "to": "second"}));
    let back = api.get(&format!("{path}/diff?from={second}&to={first}")).await.expect(200);
    assert_eq!(change(&back["changes"], "notes").unwrap()["to"], "first");
    let till_now = api.get(&format!("{path}/diff?from={first}")).await.expect(200);
    assert_eq!(till_now["changes"], forth["changes"]);
    let by_time = api.get(&format!("{path}/diff?from={first}&to=now")).await.expect(200);
    assert_eq!(by_time["changes"], forth["changes"]);
    for (query, named) in
        [("", "from"), ("?from=x", "from"), ("?from=1&to=999999", "to"), ("?from=0", "from")]
    {
        let refused = api.get(&format!("{path}/diff{query}")).await.expect(400);
        assert!(refused["message"].as_str().unwrap().contains(named), "{refused}");
    }
}

#[tokio::test]
async fn a_deleted_tenant_keeps_its_history_and_others_do_not_see_it() {
    let api = Api::start().await;
    let tenant = api.tenant("smith").await;
    let other = api.tenant("jones").await;
    let before = api.handle.world().seq.0;
    let path = format!("/api/tenants/{tenant}");
    api.delete(&path).await.expect(200);
    api.get(&path).await.expect(404);
    let page = api.get(&format!("{path}/history")).await.expect(200);
    let last = page["history"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["kind"], "tenant.deleted");
    assert_eq!(change(&last["changes"], "slug").unwrap()["to"], Value::Null);
    let gone = api.get(&format!("{path}/diff?from={before}")).await.expect(200);
    assert_eq!(
        change(&gone["changes"], "slug").unwrap(),
        &json!({"field": "slug", "from": "smith", "to": null})
    );

    let nobody = "/api/tenants/01a08b3c-0000-7000-8000-000000000000";
    let stranger = api.token(Role::Admin, Scope::Tenant(other.parse().unwrap())).await;
    for what in ["history", "diff?from=1"] {
        api.get(&format!("{nobody}/{what}")).await.expect(404);
        api.send(request("GET", &format!("{path}/{what}")).bearer(&stranger)).await.expect(404);
        api.get(&format!("{path}/{what}")).await.expect(200);
    }
}
