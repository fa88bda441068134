//! What is refused stands in the journal: soon, without what strangers typed, and never much.

use std::sync::Arc;

use serde_json::{Value, json};
use tenantry::auth::denied::MOST_A_MINUTE;
use tenantry_journal::event::access::{Role, Scope};
use tokio::time::Instant;

use crate::api::{Api, PATIENCE, request};

/// Begins to record what was refused, and what will be.
fn record(api: &Api) {
    tokio::spawn(Arc::clone(&api.denials).record(api.handle.clone(), api.shutdown.clone()));
}

/// The events of a kind, once there are so many.
async fn events(api: &Api, kind: &str, count: usize) -> Vec<Value> {
    let deadline = Instant::now() + PATIENCE;
    let mut changes = api.handle.changes();
    loop {
        changes.mark_unchanged();
        let page = api.get(&format!("/api/events?kind={kind}&limit=1000")).await.expect(200);
        let found = page["events"].as_array().unwrap().clone();
        if found.len() >= count {
            return found;
        }
        tokio::time::timeout_at(deadline, changes.changed()).await.expect("they come").unwrap();
    }
}

async fn fail(api: &Api, username: &str, times: usize) {
    for _ in 0..times {
        let body = json!({"username": username, "password": "wrong"});
        api.send(request("POST", "/api/auth/login").json(&body)).await.expect(401);
    }
}

#[tokio::test]
async fn failed_logins_and_refused_requests_are_recorded_with_their_number() {
    let api = Api::start().await;
    let viewer = api.token(Role::Viewer, Scope::All).await;
    fail(&api, "victor", 3).await;
    fail(&api, "my-pass-word-by-mistake", 2).await;
    for _ in 0..4 {
        api.send(request("GET", "/api/tenants")).await.expect(401);
        api.send(request("POST", "/api/tenants").bearer(&viewer).json(&json!({}))).await.expect(403);
    }
    api.send(request("GET", "/api/nothing/secret-name").bearer("stranger")).await.expect(401);
    // Only now, so that those alike are one event however long it took to send them.
    record(&api);

    let logins = events(&api, "access.login_failed", 2).await;
    let victor = api.handle.world().access.user_by_name("victor").unwrap().id;
    let of = |user: Value| logins.iter().find(|event| event["data"]["user_id"] == user).unwrap();
    let known = of(json!(victor));
    assert_eq!((&known["data"]["count"], &known["data"]["limited"]), (&json!(3), &json!(false)));
    assert_eq!(known["data"]["from"], json!({"address": "0.0.0.0"}));
    assert_eq!(of(Value::Null)["data"]["count"], 2);

    let denied = events(&api, "access.denied", 3).await;
    let with = |status: u16, route: &str| {
        let is_it = |event: &&Value| event["data"]["status"] == status && event["data"]["route"] == route;
        denied.iter().find(is_it).unwrap_or_else(|| panic!("{status} {route}: {denied:?}"))
    };
    assert_eq!(with(401, "/api/tenants")["data"]["count"], 4);
    assert_eq!(with(401, "/api/tenants")["actor"]["type"], "system");
    let forbidden = with(403, "/api/tenants");
    assert_eq!((&forbidden["data"]["count"], &forbidden["data"]["method"]), (&json!(4), &json!("POST")));
    assert_eq!(forbidden["actor"]["type"], "token", "the credential is known");
    assert_eq!(with(401, "unmatched")["data"]["count"], 1);
    assert_eq!((logins.len(), denied.len()), (2, 3));

    // Nothing that a stranger typed is anywhere, and the control log tells it under its category.
    let log = api.get("/api/logs?source=control&category=audit&level=warning").await.expect(200);
    let shown = log["logs"].to_string();
    for text in [
        "Login failed: as victor from 0.0.0.0, 3 times",
        "Login failed: under a name that nobody has from 0.0.0.0, 2 times",
        "Refused with 403: POST /api/tenants from 0.0.0.0, 4 times",
    ] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    let all = api.get("/api/events?limit=1000").await.text;
    assert!(!all.contains("my-pass-word") && !all.contains("secret-name") && !all.contains("stranger"));
}

#[tokio::test]
async fn a_flood_is_a_few_events_and_is_counted() {
    let api = Api::start().await;
    record(&api);
    let head = api.handle.world().seq.0;
    // Each route is another sort; there are more of them than may be recorded.
    let routes = tenantry::http::router::routes();
    let mut sent = 0;
    for _ in 0..20 {
        for route in routes.declared() {
            let path = route.path.replace("{id}", "x").replace("{seq}", "1");
            let path: Vec<&str> =
                path.split('/').map(|word| if word.starts_with('{') { "x" } else { word }).collect();
            let answer = api.send(request(route.method.as_str(), &path.join("/")).bearer("stranger")).await;
            sent += u64::from(answer.status == 401 && route.path != "/api/auth/login");
        }
    }
    assert!(sent > 1000, "{sent}");
    let others = events(&api, "access.unrecorded", 1).await;
    let told = events(&api, "access.denied", 1).await;
    assert!(told.len() + others.len() <= MOST_A_MINUTE, "{} and {}", told.len(), others.len());
    assert!(api.handle.world().seq.0 - head <= MOST_A_MINUTE as u64);
    // What is not recorded yet is recorded at the end.
    api.shutdown.cancel();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let count =
            |events: Vec<Value>| events.iter().filter_map(|e| e["data"]["count"].as_u64()).sum::<u64>();
        let counted = count(events(&api, "access.", 1).await);
        if counted == sent {
            break;
        }
        assert!(Instant::now() < deadline, "{counted} of {sent} are counted");
        tokio::task::yield_now().await;
    }
}
