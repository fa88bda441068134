//! Document 2 through the router: instances, output and tokens.

use axum::body::Body;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tenantry_journal::event::access::{Role, Scope};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::http::observed::Source;
use crate::http::router::Listener;
use crate::http::testing::{TestApi, id_of};

async fn spawn(api: &TestApi, service: &str, id: &str) -> crate::http::testing::Answer {
    api.post("/api/instances", json!({"service": service, "id": id, "env": {"CUSTOM_VAR": "value"}})).await
}

#[tokio::test]
async fn a_spawned_instance_is_answered_listed_and_shown_as_printed() {
    let api = TestApi::start().await;
    let created = spawn(&api, "api", "user123").await;
    let body = created.expect(201);
    assert_eq!(body["instance"], "api:user123");
    assert_eq!(body["socket"], "/tmp/api-user123.sock");
    assert_eq!(body["status"], "running");
    assert!(body["uptime_ms"].is_u64());
    assert_eq!(created.headers["location"], "/api/instances/api/user123");

    let seq: u64 = created.headers["x-event-seq"].to_str().unwrap().parse().unwrap();
    assert_eq!(seq, api.app.engine.world().seq.0, "the last event of the write is the healthy one");

    let shown = api.get("/api/instances/api/user123").await;
    let one = shown.expect(200);
    for (field, value) in [
        ("service", json!("api")),
        ("id", json!("user123")),
        ("health", json!("healthy")),
        ("restart_count", json!(0)),
        ("last_health_check", json!("2025-11-21T12:00:00.000Z")),
    ] {
        assert_eq!(one[field], value, "{field}");
    }
    assert!(one["created_at"].as_str().unwrap().ends_with('Z'));
    assert!(shown.headers.contains_key("etag"));

    let list = api.get("/api/instances").await.expect(200);
    assert_eq!(list["instances"][0]["instance"], "api:user123");
    assert!(list["instances"][0].get("created_at").is_none());
    assert_eq!(list["pagination"], json!({"limit": 1000, "offset": 0, "total": 1, "has_more": false}));
}

#[tokio::test]
async fn an_instance_on_tcp_has_no_socket() {
    let api = TestApi::start().await;
    assert_eq!(spawn(&api, "worker", "a").await.expect(201)["socket"], Value::Null);
}

#[tokio::test]
async fn a_start_that_fails_is_told_with_its_reason_and_stays_listed() {
    let api = TestApi::start().await;
    for (service, id, reason, status) in [
        ("worker", "missing", "No such file or directory", "failed"),
        ("worker", "exits", "exited with code 3", "failed"),
        ("api", "exits", "exited with code 3", "restarting"),
    ] {
        let error = spawn(&api, service, id).await.expect(422);
        assert_eq!(error["error"], "unprocessable_entity");
        assert!(error["message"].as_str().unwrap().contains(reason), "{error}");
        let shown = api.get(&format!("/api/instances/{service}/{id}")).await.expect(200);
        assert_eq!(shown["status"], status, "{shown}");
    }
    let failed = api.get("/api/instances?status=failed&service=worker&limit=1").await.expect(200);
    assert_eq!(failed["pagination"]["total"], 2);
    assert_eq!(failed["pagination"]["has_more"], true);
}

#[tokio::test]
async fn wrong_requests_are_refused_and_record_nothing() {
    let api = TestApi::start().await;
    spawn(&api, "api", "a").await.expect(201);
    let before = api.app.engine.world().seq;
    let error = |answer: crate::http::testing::Answer, status| answer.expect(status)["error"].clone();
    assert_eq!(error(spawn(&api, "nothing", "a").await, 404), "not_found");
    assert_eq!(spawn(&api, "api", "a").await.status, 409);
    for id in ["", "../../../victim", "a b", "-a", "a\u{0}b"] {
        assert_eq!(spawn(&api, "api", id).await.status, 400, "{id:?}");
    }
    for body in
        [json!({"service": "api"}), json!({"service": "api", "id": "b", "x": 1}), json!([]), json!("a")]
    {
        assert_eq!(api.post("/api/instances", body).await.status, 400);
    }
    for path in ["/api/instances/api/b", "/api/instances/api/..%2F..%2Fb", "/api/instances/%00/b"] {
        assert_eq!(error(api.get(path).await, 404), "instance_not_found", "{path}");
        assert_eq!(api.call("DELETE", path, Value::Null).await.status, 404, "{path}");
    }
    for query in ["limit=0", "limit=1001", "limit=x", "offset=-1", "status=odd", "health=odd", "odd=1"] {
        assert_eq!(api.get(&format!("/api/instances?{query}")).await.status, 400, "{query}");
    }
    assert_eq!(api.app.engine.world().seq, before);
}

#[tokio::test]
async fn a_restart_is_answered_at_once_and_a_removed_instance_is_gone() {
    let api = TestApi::start().await;
    spawn(&api, "api", "a").await.expect(201);
    let restart = api.post("/api/instances/api/a/restart", Value::Null).await.expect(200);
    assert_eq!(restart, json!({"instance": "api:a", "status": "restarting"}));
    let removed = api.call("DELETE", "/api/instances/api/a", Value::Null).await.expect(200);
    assert_eq!(removed, json!({"instance": "api:a", "status": "stopped"}));
    api.get("/api/instances/api/a").await.expect(404);
    api.call("DELETE", "/api/instances/api/a", Value::Null).await.expect(404);
    spawn(&api, "api", "a").await.expect(201);
}

#[tokio::test]
async fn a_repeated_spawn_gets_the_first_answer_and_starts_nothing() {
    let api = TestApi::start().await;
    let request = |id: &str| {
        let body = json!({"service": "api", "id": id}).to_string();
        let request = api.request("POST", "/api/instances").header("idempotency-key", "k1");
        request.body(Body::from(body)).unwrap()
    };
    let first = api.send(request("a")).await.expect(201);
    let again = api.send(request("a")).await.expect(201);
    assert_eq!((&first["instance"], &first["status"]), (&again["instance"], &again["status"]));
    api.send(request("b")).await.expect(422);
    let listed = api.get("/api/instances").await.expect(200);
    assert_eq!(listed["pagination"]["total"], 1);
}

#[tokio::test]
async fn a_dry_run_tells_and_does_nothing() {
    let api = TestApi::start().await;
    let told =
        api.post("/api/instances?dry_run=true", json!({"service": "api", "id": "a"})).await.expect(200);
    assert_eq!(told["events"][0]["kind"], "instance.spawned");
    api.get("/api/instances/api/a").await.expect(404);
}

#[tokio::test]
async fn the_past_shows_an_instance_without_its_uptime() {
    let api = TestApi::start().await;
    let seq = spawn(&api, "api", "a").await.headers["x-event-seq"].to_str().unwrap().to_owned();
    api.call("DELETE", "/api/instances/api/a", Value::Null).await.expect(200);
    let then = api.get(&format!("/api/instances/api/a?as_of={seq}")).await;
    assert_eq!(then.headers["x-as-of-seq"].to_str().unwrap(), seq);
    let then = then.expect(200);
    assert_eq!((&then["status"], &then["uptime_ms"]), (&json!("running"), &Value::Null));
    assert_eq!(then["last_health_check"], Value::Null);
    api.get("/api/instances/api/a?as_of=1").await.expect(404);
    api.get("/api/logs?as_of=1").await.expect(400);
}

#[tokio::test]
async fn somebody_limited_to_a_service_reaches_no_other() {
    let mut api = TestApi::start().await;
    spawn(&api, "api", "a").await.expect(201);
    spawn(&api, "worker", "a").await.expect(201);
    let world = api.app.engine.world();
    api.printed.print(id_of(&world, "api:a"), Source::Stdout, 1, "secret of api");
    api.printed.print(id_of(&world, "worker:a"), Source::Stdout, 2, "of worker");
    api.token = api.token_for(Role::Operator, Scope::Service("worker".parse().unwrap())).await;
    let list = api.get("/api/instances").await.expect(200);
    assert_eq!(list["pagination"]["total"], 1);
    assert_eq!(list["instances"][0]["instance"], "worker:a");
    api.get("/api/instances/api/a").await.expect(404);
    api.post("/api/instances/api/a/restart", Value::Null).await.expect(404);
    api.call("DELETE", "/api/instances/api/a", Value::Null).await.expect(404);
    assert_eq!(spawn(&api, "api", "b").await.status, 403);
    assert!(!api.get("/api/logs").await.text.contains("secret"));
    api.get("/api/logs/api/a").await.expect(404);
    api.get("/api/tokens").await.expect(403);
}

#[tokio::test]
async fn a_viewer_changes_nothing() {
    let mut api = TestApi::start().await;
    api.token = api.token_for(Role::Viewer, Scope::All).await;
    assert_eq!(spawn(&api, "api", "a").await.status, 403);
    api.post("/api/instances/api/nothing/restart", Value::Null).await.expect(403);
    api.get("/api/instances").await.expect(200);
}

#[tokio::test]
async fn logs_are_paged_from_the_newest_line_and_filtered() {
    let api = TestApi::start().await;
    spawn(&api, "api", "a").await.expect(201);
    spawn(&api, "worker", "b").await.expect(201);
    let world = api.app.engine.world();
    for n in 1..=10 {
        api.printed.print(id_of(&world, "api:a"), Source::Stdout, n * 10, &format!("request {n}"));
    }
    api.printed.print(id_of(&world, "worker:b"), Source::Stderr, 55, "Traceback");
    let messages = |body: &Value| -> Vec<String> {
        body["logs"].as_array().unwrap().iter().map(|l| l["message"].as_str().unwrap().to_owned()).collect()
    };
    let last = api.get("/api/logs?limit=2").await.expect(200);
    assert_eq!(messages(&last), ["request 9", "request 10"]);
    assert_eq!(last["pagination"], json!({"limit": 2, "offset": 0, "total": 11, "has_more": true}));
    let before = api.get("/api/logs?limit=3&offset=4").await.expect(200);
    assert_eq!(messages(&before), ["request 5", "Traceback", "request 6"]);
    let errors = api.get("/api/logs?level=error").await.expect(200);
    let line = json!({"timestamp": "1970-01-01T00:00:00.055Z", "instance": "worker:b", "level": "error", "message": "Traceback"});
    assert_eq!(errors["logs"], json!([line]));
    assert_eq!(messages(&api.get("/api/logs?grep=request%201.$").await.expect(200)), ["request 10"]);
    assert_eq!(api.get("/api/logs?service=worker").await.expect(200)["pagination"]["total"], 1);
    let one = api.get("/api/logs/api/a?limit=1").await.expect(200);
    assert_eq!((&one["instance"], messages(&one)), (&json!("api:a"), vec!["request 10".to_owned()]));
    assert_eq!(one["pagination"]["total"], 10);
    api.get("/api/logs/api/nobody").await.expect(404);
    api.get("/api/logs?grep=(").await.expect(400);
    api.get("/api/logs?level=loud").await.expect(400);

    api.call("DELETE", "/api/instances/api/a", Value::Null).await.expect(200);
    assert_eq!(api.get("/api/logs/api/a").await.expect(200)["pagination"]["total"], 10, "output outlives it");
}

#[tokio::test]
async fn on_the_managers_listener_output_is_asked_for_by_name() {
    let api = TestApi::on(Listener::Manager).await;
    let own = api.get("/api/logs").await.expect(200);
    assert!(own["total"].as_u64().unwrap() > 0, "{own}");
    api.get("/api/logs?source=process").await.expect(200);
}

#[tokio::test]
async fn a_tail_sends_log_objects_as_they_come_also_of_later_instances() {
    let api = TestApi::start().await;
    spawn(&api, "api", "a").await.expect(201);
    let first = id_of(&api.app.engine.world(), "api:a");
    api.printed.print(first, Source::Stdout, 1, "before");
    let address = api.listen().await;
    let request = format!("ws://{address}/api/logs/stream").into_client_request().unwrap();
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    let auth = json!({"type": "auth", "token": api.token}).to_string();
    socket.send(Message::text(auth)).await.unwrap();
    let filter = json!({"type": "filter", "service": "api", "level": "error"}).to_string();
    socket.send(Message::text(filter)).await.unwrap();
    while api.printed.followers(first) == 0 {
        tokio::task::yield_now().await;
    }
    // The filter may be read after the first lines: they are errors of that service anyway.
    api.printed.print(first, Source::Stdout, 2, "error: one");
    let next = |message: Option<Result<Message, _>>| -> Value {
        let message: Message =
            message.unwrap().unwrap_or_else(|error: tokio_tungstenite::tungstenite::Error| panic!("{error}"));
        serde_json::from_str(message.to_text().unwrap()).unwrap()
    };
    let line = next(socket.next().await);
    let expected = json!({"timestamp": "1970-01-01T00:00:00.002Z", "instance": "api:a", "level": "error", "message": "error: one"});
    assert_eq!(line, expected);
    spawn(&api, "api", "b").await.expect(201);
    api.printed.print(id_of(&api.app.engine.world(), "api:b"), Source::Stderr, 3, "two");
    assert_eq!(next(socket.next().await)["instance"], "api:b");
}

#[tokio::test]
async fn a_token_is_shown_once_and_ends_when_it_is_revoked() {
    let mut api = TestApi::start().await;
    let body = json!({"name": "CI/CD", "expires_in_days": 30});
    let created = api.post("/api/tokens", body.clone()).await.expect(201);
    let text = created["token"].as_str().unwrap().to_owned();
    assert!(text.starts_with("tenement_"));
    assert_eq!(created["name"], "CI/CD");
    let days = |field: &str| created[field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let seconds = days("expires_at").duration_since(days("created_at")).as_secs();
    assert!(seconds.abs_diff(30 * 24 * 60 * 60) <= 1, "{created}");

    let admin = std::mem::replace(&mut api.token, text.clone());
    let list = api.get("/api/tokens").await;
    assert!(!list.text.contains(&text));
    let list = list.expect(200);
    let own = list["tokens"].as_array().unwrap().iter().find(|token| token["id"] == created["id"]).unwrap();
    assert!(own["last_used"].is_string());
    api.token = admin;
    let path = format!("/api/tokens/{}", created["id"].as_str().unwrap());
    assert_eq!(api.call("DELETE", &path, Value::Null).await.status, 204);
    api.call("DELETE", &path, Value::Null).await.expect(404);
    api.token = text;
    api.get("/api/instances").await.expect(401);
}

#[tokio::test]
async fn a_repeated_token_request_gets_the_same_token() {
    let api = TestApi::start().await;
    let request = || {
        let request = api.request("POST", "/api/tokens").header("idempotency-key", "k");
        request.body(Body::from(json!({"name": "x"}).to_string())).unwrap()
    };
    let first = api.send(request()).await.expect(201);
    assert_eq!(api.send(request()).await.expect(201), first);
}

#[tokio::test]
async fn a_token_never_exceeds_its_creator_and_takes_sane_input() {
    let api = TestApi::start().await;
    for body in [
        json!({}),
        json!({"name": ""}),
        json!({"name": "x", "expires_in_days": 0}),
        json!({"name": "x", "expires_in_days": 100_000}),
        json!({"name": "x", "role": "root"}),
        json!({"name": "x", "id": "mine"}),
    ] {
        assert_eq!(api.post("/api/tokens", body.clone()).await.status, 400, "{body}");
    }
    let viewer = api.post("/api/tokens", json!({"name": "v", "role": "viewer"})).await.expect(201);
    let list = api.get("/api/tokens").await.expect(200);
    let view = list["tokens"].as_array().unwrap().iter().find(|token| token["id"] == viewer["id"]).unwrap();
    assert_eq!((&view["role"], &view["expires_at"]), (&json!("viewer"), &Value::Null));
}
