//! The configuration through the router: shown, judged, read again.

use axum::body::Body;
use serde_json::{Value, json};
use tenantry_journal::event::access::{Role, Scope};

use crate::http::testing::{Answer, CONFIG, TestApi};

const QUIET: &str = "[settings]\nmanager = '127.0.0.1:0'\ninstances = '127.0.0.1:0'\n";

async fn judge(api: &TestApi, method: &str, text: &str) -> Answer {
    let request = api.request(method, "/api/config/validate");
    api.send(request.body(Body::from(text.to_owned())).unwrap()).await
}

#[tokio::test]
async fn the_configuration_is_shown_as_printed_to_those_who_see_everything() {
    let mut api = TestApi::start().await;
    let shown = api.get("/api/config").await;
    assert!(shown.headers.contains_key("etag"));
    let body = shown.expect(200);
    assert!(body["settings"]["data_dir"].is_string());
    assert_eq!(body["settings"]["health_check_interval"], 10);
    let api_service = json!({"command": "/bin/api", "socket": "/tmp/{name}-{id}.sock", "health": "/health"});
    for (key, value) in api_service.as_object().unwrap() {
        assert_eq!(body["services"]["api"][key], *value, "{key}");
    }
    assert_eq!(api.get("/api/config?as_of=1").await.expect(400)["error"], "not_time_travelable");
    api.token = api.token_for(Role::Viewer, Scope::All).await;
    api.get("/api/config").await.expect(200);
    api.post("/api/config/reload", Value::Null).await.expect(403);
    api.token = api.token_for(Role::Admin, Scope::Service("api".parse().unwrap())).await;
    api.get("/api/config").await.expect(403);
}

#[tokio::test]
async fn a_text_is_judged_as_printed_by_get_and_post_whatever_its_content_type() {
    let mut api = TestApi::start().await;
    api.token = api.token_for(Role::Viewer, Scope::All).await;
    let before = api.app.engine.world().seq;
    for method in ["GET", "POST"] {
        let good = format!("{QUIET}[service.api]\ncommand = './api'\n");
        let valid = json!({"valid": true, "warnings": []});
        assert_eq!(judge(&api, method, &good).await.expect(200), valid);
        // As `curl -d @tenement.toml` sends it.
        assert_eq!(judge(&api, method, &good.replace('\n', "")).await.expect(200), valid);
        let bad =
            judge(&api, method, "[service.api]\nsocket = '/tmp/{id}'\nrestart = 'no'\n").await.expect(400);
        assert_eq!(bad["valid"], false);
        assert_eq!(bad["errors"][0], "Service 'api' missing required field: command");
        assert!(bad["errors"][1].as_str().unwrap().starts_with("line 3: "), "{bad}");
        assert_eq!((&bad["problems"][0]["line"], &bad["problems"][1]["line"]), (&json!(1), &json!(3)));
    }
    let json = r#"{"settings": {"manager": "127.0.0.1:0", "instances": "127.0.0.1:0", "helth": 1}}"#;
    let told = judge(&api, "POST", json).await.expect(200);
    assert!(told["warnings"][0].as_str().unwrap().contains("unknown key 'helth'"), "{told}");
    assert_eq!(judge(&api, "GET", "").await.expect(400)["valid"], false);
    let long = api.request("POST", "/api/config/validate").header("content-length", "2000000");
    assert_eq!(api.send(long.body(Body::empty()).unwrap()).await.status, 413);
    assert_eq!(api.app.engine.world().seq, before);
}

async fn spawned(api: &TestApi, service: &str, id: &str) {
    let body = json!({"service": service, "id": id, "env": {"OWN": "mine", "BOTH": "mine"}});
    api.post("/api/instances", body).await.expect(201);
}

fn env(api: &TestApi, name: &str) -> Vec<(String, String)> {
    let world = api.app.engine.world();
    let instance = world.instances.by_key(&name.parse().unwrap()).unwrap();
    let spec = instance.spec.open().unwrap();
    spec.env.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned())).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn a_reload_says_what_changed_and_restarts_what_it_concerns() {
    let api = TestApi::start().await;
    spawned(&api, "api", "a").await;
    spawned(&api, "worker", "w").await;
    let changed = format!("{CONFIG}env = {{ BOTH = 'ours', KEY = 'hunter22' }}\n");
    api.write_config(&changed.replace("1000000", "2000000"));

    let before = api.app.engine.world().seq;
    let dry = api.post("/api/config/reload?dry_run=true", Value::Null).await;
    assert!(!dry.text.contains("hunter22"), "{}", dry.text);
    let kinds = |events: &Value| -> Vec<String> {
        events.as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
    };
    let expected = ["config.changed", "instance.respecified", "instance.restart_requested"];
    assert_eq!(kinds(&dry.expect(200)["events"]), expected);
    assert_eq!(api.app.engine.world().seq, before);
    assert_eq!(api.app.settings.load().rate_limit_per_minute, 1_000_000);

    let done = api.post("/api/config/reload", Value::Null).await;
    assert!(!done.text.contains("hunter22"), "{}", done.text);
    let told = done.expect(200);
    let names = ["services.worker.env.BOTH", "services.worker.env.KEY", "settings.rate_limit_per_hour"];
    assert_eq!(&told["changed"].as_array().unwrap()[..3], names.map(Value::from));
    assert_eq!((&told["restarted"], &told["respecified"]), (&json!(["worker:w"]), &json!(["worker:w"])));
    assert_eq!(api.app.settings.load().rate_limit_per_minute, 2_000_000);
    assert_eq!(env(&api, "worker:w"), pairs(&[("BOTH", "mine"), ("KEY", "hunter22"), ("OWN", "mine")]));
    assert_eq!(env(&api, "api:a"), pairs(&[("BOTH", "mine"), ("OWN", "mine")]));

    let seq = api.app.engine.world().seq;
    let again = api.post("/api/config/reload", Value::Null).await.expect(200);
    assert_eq!((&again["changed"], &again["hash"]), (&json!([]), &told["hash"]));
    assert!(
        kinds(&api.get(&format!("/api/events?from_seq={}", seq.0 + 1)).await.expect(200)["events"])
            .iter()
            .all(|kind| kind != "config.changed")
    );

    // What the configuration no longer sets goes, what the request gave stays.
    api.write_config(CONFIG);
    api.post("/api/config/reload", Value::Null).await.expect(200);
    assert_eq!(env(&api, "worker:w"), pairs(&[("BOTH", "mine"), ("OWN", "mine")]));
}

#[tokio::test]
async fn a_change_of_how_it_is_watched_restarts_nothing() {
    let api = TestApi::start().await;
    spawned(&api, "api", "a").await;
    api.write_config(&CONFIG.replace("health = '/health'", "health = '/up'"));
    let told = api.post("/api/config/reload", Value::Null).await.expect(200);
    assert_eq!((&told["restarted"], &told["respecified"]), (&json!([]), &json!(["api:a"])));
    assert_eq!(told["changed"], json!(["services.api.health"]));
}

#[tokio::test]
async fn a_bad_file_is_refused_with_everything_and_changes_nothing() {
    let api = TestApi::start().await;
    let before = api.app.engine.world().seq;
    api.write_config("[settings]\nrate_limit_per_minute = 'many'\n[service.x]\nhealth = 'http://y'\n");
    let told = api.post("/api/config/reload", Value::Null).await.expect(422);
    assert_eq!(told["error"], "unprocessable_entity");
    assert_eq!(told["errors"].as_array().unwrap().len(), 3, "{told}");
    assert_eq!(told["problems"][0]["line"], 2);
    assert_eq!(api.app.engine.world().seq, before);
    assert!(api.get("/api/config").await.expect(200)["services"]["api"].is_object());
}

#[tokio::test]
async fn what_counts_only_after_a_start_is_named_and_told_once() {
    let api = TestApi::start().await;
    let moved = CONFIG.replace("[settings]", "[settings]\ndata_dir = '/elsewhere'\nmanager = '127.0.0.1:1'");
    api.write_config(&moved);
    let told = api.post("/api/config/reload", Value::Null).await.expect(200);
    let names = json!(["deploy.root", "settings.data_dir", "settings.manager"]);
    assert_eq!((&told["needs_restart"], &told["changed"]), (&names, &names));
    let shown = api.get("/api/config").await.expect(200);
    assert_ne!(shown["settings"]["data_dir"], "/elsewhere");
    assert_eq!(api.post("/api/config/reload", Value::Null).await.expect(200)["changed"], json!([]));
}
