//! Settings: what holds, changing it while the control plane runs, and what follows at once.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

#[path = "support/api.rs"]
mod api;
mod support;

use api::{Answer, Api, request};
use serde_json::{Value, json};
use support::app::TestApp;
use tenantry_journal::event::access::{Role, Scope};

const HIDDEN: &str = "***hidden***";

fn one(listed: &Value, key: &str) -> Value {
    let all = listed["settings"].as_array().unwrap();
    all.iter().find(|setting| setting["key"] == key).cloned().unwrap_or_else(|| panic!("no {key}: {listed}"))
}

async fn put(api: &Api, key: &str, value: Value) -> Answer {
    api.put(&format!("/api/settings/{key}"), json!({"value": value})).await
}

#[tokio::test]
async fn settings_are_listed_and_changed_as_printed() {
    let api = Api::start().await;
    let listed = api.get("/api/settings").await.expect(200);
    let interval = one(&listed, "health_check_interval");
    assert_eq!((&interval["value"], &interval["value_type"]), (&json!("300"), &json!("integer")));
    assert!(interval["description"].as_str().unwrap().len() > 5);
    let key = one(&listed, "anthropic_api_key");
    assert_eq!((&key["is_secret"], &key["value"]), (&json!(true), &Value::Null));
    assert_eq!(one(&listed, "anthropic_base_url")["value"], "https://api.anthropic.com");
    assert_eq!(one(&listed, "rate_limit_per_minute")["value"], "1000");
    let before = api.handle.world().seq.0;

    let changed = put(&api, "anthropic_api_key", json!("sk-ant-hunter2")).await.expect(200);
    assert_eq!((&changed["key"], &changed["value"]), (&json!("anthropic_api_key"), &json!(HIDDEN)));
    assert!(changed["updated_at"].as_str().unwrap().ends_with('Z'));
    let numbers = put(&api, "health_check_interval", json!(60)).await.expect(200);
    assert_eq!(numbers["value"], "60");
    let listed = api.get("/api/settings").await;
    assert_eq!(one(&listed.expect(200), "health_check_interval")["value"], "60");
    assert!(!listed.text.contains("hunter2"));
    let events = api.get("/api/events?kind=setting.").await;
    assert!(!events.text.contains("hunter2") && events.text.contains("setting.changed"), "{}", events.text);
    assert_eq!(events.expect(200)["events"][1]["data"]["shown"], "60", "what is no secret is told");
    let value = api.handle.world().settings.value("anthropic_api_key").map(str::to_owned);
    assert_eq!(value.as_deref(), Some("sk-ant-hunter2"));

    // The mask keeps it, the same value changes nothing, null goes back to the file.
    let head = api.handle.world().seq;
    put(&api, "anthropic_api_key", json!(HIDDEN)).await.expect(200);
    put(&api, "health_check_interval", json!("060")).await.expect(200);
    assert_eq!(api.handle.world().seq, head);
    let back = put(&api, "health_check_interval", Value::Null).await.expect(200);
    assert_eq!(back["value"], "300");

    let past = api.get(&format!("/api/settings?as_of={}", head.0)).await.expect(200);
    assert_eq!(one(&past, "health_check_interval")["value"], "60");
    let past = api.get(&format!("/api/settings?as_of={before}")).await.expect(200);
    assert_eq!(one(&past, "anthropic_api_key")["value"], Value::Null);
}

#[tokio::test]
async fn what_a_setting_cannot_be_is_refused() {
    let api = Api::start().await;
    let head = api.handle.world().seq;
    for (key, value, status) in [
        ("health_check_interval", json!("4"), 400),
        ("health_check_interval", json!("soon"), 400),
        ("health_check_interval", json!(-1), 400),
        ("health_check_interval", json!(1.5), 400),
        ("health_check_interval", json!(true), 400),
        ("rate_limit_per_minute", json!(0), 400),
        ("anthropic_base_url", json!("file:///etc/passwd"), 400),
        ("anthropic_api_key", json!("a\nb"), 400),
        ("anthropic_api_key", json!(HIDDEN), 400),
        ("anthropic_api_key", json!(""), 400),
        ("acme_contact", json!("nobody"), 400),
        ("colour", json!("red"), 404),
    ] {
        let refused = put(&api, key, value.clone()).await;
        assert_eq!(refused.status, status, "{key} {value}: {refused:?}");
        assert!(refused.text.contains(key), "{refused:?}");
    }
    api.put("/api/settings/acme_contact", json!({})).await.expect(400);
    api.put("/api/settings/acme_contact", json!({"value": "a@b.example", "kind": "x"})).await.expect(400);
    assert_eq!(api.handle.world().seq, head);
    let operator = api.token(Role::Operator, Scope::All).await;
    let asked = request("PUT", "/api/settings/acme_contact").bearer(&operator);
    api.send(asked.json(&json!({"value": "a@b.example"}))).await.expect(403);
    api.send(request("GET", "/api/settings").bearer(&operator)).await.expect(200);
}

#[tokio::test]
async fn a_rate_limit_counts_from_the_next_request_on() {
    let api = Api::start().await;
    let token = api.token(Role::Viewer, Scope::All).await;
    let ask = || request("GET", "/api/tenants").bearer(&token);
    api.send(ask()).await.expect(200);
    put(&api, "rate_limit_per_minute", json!(2)).await.expect(200);
    let second = api.send(ask()).await;
    assert_eq!((second.status, second.header("x-ratelimit-limit")), (200, Some("2")));
    api.send(ask()).await.expect(429);
    let stored = tenantry::domain::command::Command::ClearSetting { key: "rate_limit_per_minute".into() };
    let command = tenantry::domain::command::Submission::system(stored, None);
    api.handle.submit(command).await.unwrap();
    api.send(ask()).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_interval_takes_effect_at_once_and_survives_a_crash() {
    let app = TestApp::start().await;
    let tenant = app.tenant("smith").await;
    let deployment = app.deploy(&tenant).await;
    assert_eq!(app.deployed(&deployment).await["status"], "success");
    let path = format!("/api/tenants/{tenant}/health");
    let first = app.eventually(&path, |health| !health["last_check"].is_null()).await["last_check"].clone();
    let set = app.request("PUT", "/api/settings/health_check_interval").json(&json!({"value": "5"}));
    app.send(set).await.expect(200);
    // The default is five minutes: only the new interval brings another check within the wait.
    app.eventually(&path, |health| health["last_check"] != first).await;
    let key = app.request("PUT", "/api/settings/anthropic_api_key").json(&json!({"value": "sk-ant-hunter2"}));
    app.send(key).await.expect(200);

    let app = TestApp::in_home(app.kill()).await;
    let listed = app.get("/api/settings").await.expect(200);
    assert_eq!(one(&listed, "health_check_interval")["value"], "5");
    assert_eq!(one(&listed, "anthropic_api_key")["value"], HIDDEN);
    for file in walk(&app.data_dir()) {
        let bytes = std::fs::read(&file).unwrap_or_default();
        let found = bytes.windows(14).any(|window| window == b"sk-ant-hunter2");
        assert!(!found, "{} holds the secret", file.display());
    }
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => files.extend(walk(&entry.path())),
            kind if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    files
}
