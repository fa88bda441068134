//! Document 1 over HTTP: its fields, its status codes, its error shape, who may call what.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

#[path = "support/api.rs"]
mod api;

use std::sync::atomic::Ordering;

use api::{Api, request, tenant_body};
use serde_json::{Value, json};
use tenantry_journal::event::access::{Role, Scope};

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[tokio::test]
async fn a_login_answers_as_printed_and_opens_the_api() {
    let api = Api::start().await;
    let body = json!({"username": "admin", "password": api::PASSWORD});
    let answer = api.send(request("POST", "/api/auth/login").json(&body)).await.expect(200);
    assert_eq!(keys(&answer), ["access_token", "token_type", "user"]);
    assert_eq!(answer["token_type"], "bearer");
    assert_eq!(keys(&answer["user"]), ["email", "id", "role", "username"]);
    assert_eq!(answer["user"]["role"], "admin");
    let token = answer["access_token"].as_str().unwrap();
    api.send(request("GET", "/api/tenants").bearer(token)).await.expect(200);
}

#[tokio::test]
async fn a_wrong_login_is_401_and_guessing_is_slowed_for_that_user_only() {
    let api = Api::start().await;
    let try_as =
        |name: &str| request("POST", "/api/auth/login").json(&json!({"username": name, "password": "wrong"}));
    let refused = api.send(try_as("victor")).await;
    assert_eq!(refused.expect(401)["code"], "INVALID_CREDENTIALS");
    assert_eq!(api.send(try_as("nobody")).await.expect(401)["error"], refused.expect(401)["error"]);
    for _ in 0..9 {
        api.send(try_as("victor")).await.expect(401);
    }
    let slowed = api.send(try_as("victor")).await;
    slowed.expect(429);
    assert!(slowed.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    api.login("olga").await;
}

#[tokio::test]
async fn without_a_credential_nothing_answers_but_401_in_the_shape_of_the_document() {
    let api = Api::start().await;
    let id = "0198a5a0-0000-7000-8000-000000000000";
    let paths = ["/api/tenants", &format!("/api/tenants/{id}"), "/api/no-such-route", "/ws/x", "/api/ports"];
    for path in paths {
        let answer = api.send(request("GET", path)).await;
        let body = answer.expect(401);
        assert_eq!(keys(&body), ["code", "detail", "error", "timestamp"], "{path}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        let bad = api.send(request("GET", path).bearer("tenement_bad")).await;
        assert_eq!(bad.expect(401)["code"], "UNAUTHORIZED");
    }
    // A route in no document answers in its listener's shape, one of document 1 in document 1's.
    let foreign = api.send_instances(request("GET", "/api/no-such-route")).await.expect(401);
    assert_eq!(foreign["status"], 401);
    let own = api.send_instances(request("GET", "/api/tenants")).await.expect(401);
    assert_eq!(own["code"], "UNAUTHORIZED");
    let problem = request("GET", "/api/tenants").header("accept", "application/problem+json");
    let problem = api.send(problem).await;
    assert_eq!(problem.header("content-type"), Some("application/problem+json"));
    assert_eq!(problem.expect(401)["status"], 401);
}

#[tokio::test]
async fn with_a_credential_an_unknown_route_is_404_and_a_wrong_method_405() {
    let api = Api::start().await;
    assert_eq!(api.get("/api/no-such-route").await.expect(404)["code"], "NOT_FOUND");
    let wrong = api.delete("/api/ports").await;
    assert_eq!(wrong.expect(405)["code"], "METHOD_NOT_ALLOWED");
    assert!(wrong.header("allow").unwrap().contains("GET"));
}

#[tokio::test]
async fn roles_bound_what_is_changed_and_403_comes_before_404() {
    let api = Api::start().await;
    let (viewer, operator) = (api.login("victor").await, api.login("olga").await);
    let nobody = "/api/tenants/0198a5a0-0000-7000-8000-000000000000";
    for (method, path) in [
        ("POST", "/api/tenants"),
        ("PUT", nobody),
        ("DELETE", nobody),
        ("POST", &format!("{nobody}/deploy")),
        ("POST", &format!("{nobody}/start")),
        ("GET", "/api/users"),
        ("POST", "/api/users"),
    ] {
        let answer = api.send(request(method, path).bearer(&viewer).json(&json!({}))).await;
        assert_eq!(answer.expect(403)["code"], "FORBIDDEN", "{method} {path}");
    }
    api.send(request("GET", "/api/tenants").bearer(&viewer)).await.expect(200);
    api.send(request("GET", nobody).bearer(&viewer)).await.expect(404);
    api.send(request("GET", "/api/users").bearer(&operator)).await.expect(403);
    let created = request("POST", "/api/tenants").bearer(&operator).json(&tenant_body("smith"));
    api.send(created).await.expect(201);
}

#[tokio::test]
async fn a_token_limited_to_a_tenant_sees_that_tenant_alone() {
    let api = Api::start().await;
    let (own, other) = (api.tenant("own").await, api.tenant("other").await);
    let deployment = api.deployed(&other).await;
    let token = api.token(Role::Operator, Scope::Tenant(own.parse().unwrap())).await;
    let ask = |method: &str, path: &str| {
        let request = request(method, path).bearer(&token).json(&json!({}));
        let router = &api;
        async move { router.send(request).await }
    };
    let list = ask("GET", "/api/tenants").await.expect(200);
    assert_eq!((list["total"].clone(), list["tenants"][0]["id"].clone()), (json!(1), json!(own)));
    ask("GET", &format!("/api/tenants/{own}")).await.expect(200);
    for (method, path) in [
        ("GET", format!("/api/tenants/{other}")),
        ("PUT", format!("/api/tenants/{other}")),
        ("DELETE", format!("/api/tenants/{other}")),
        ("POST", format!("/api/tenants/{other}/deploy")),
        ("POST", format!("/api/tenants/{other}/stop")),
        ("POST", format!("/api/tenants/{other}/health-check")),
        ("GET", format!("/api/tenants/{other}/health")),
        ("GET", format!("/api/tenants/{other}/deployments")),
        ("GET", format!("/api/deployments/{deployment}")),
        ("GET", format!("/api/deployments/{deployment}/logs")),
    ] {
        ask(method, &path).await.expect(404);
    }
    ask("POST", "/api/tenants").await.expect(403);
    ask("GET", "/api/ports").await.expect(403);
}

#[tokio::test]
async fn a_tenant_is_created_listed_shown_updated_and_deleted_as_printed() {
    let api = Api::start().await;
    let created = api.post("/api/tenants", tenant_body("smith")).await;
    let tenant = created.expect(201);
    let id = tenant["id"].as_str().unwrap();
    for field in ["id", "name", "slug", "domain", "status", "frontend_port", "backend_port", "created_at"] {
        assert!(!tenant[field].is_null(), "{field}");
    }
    assert_eq!(tenant["status"], "pending");
    assert_eq!(created.header("location"), Some(format!("/api/tenants/{id}").as_str()));
    let ports = (tenant["frontend_port"].as_u64().unwrap(), tenant["backend_port"].as_u64().unwrap());
    assert_eq!(ports.1, ports.0 + 1);

    let list = api.get("/api/tenants").await.expect(200);
    assert_eq!(keys(&list), ["limit", "offset", "tenants", "total"]);
    assert_eq!((&list["total"], &list["limit"], &list["offset"]), (&json!(1), &json!(50), &json!(0)));
    let line = [
        "api_domain",
        "backend_port",
        "created_at",
        "deployed_at",
        "domain",
        "frontend_port",
        "health_status",
        "id",
        "name",
        "slug",
        "status",
    ];
    assert_eq!(keys(&list["tenants"][0]), line);
    assert_eq!(list["tenants"][0]["health_status"], "unknown");

    let shown = api.get(&format!("/api/tenants/{id}")).await;
    let page = shown.expect(200);
    assert_eq!(keys(&page["health_details"]), ["backend", "database", "frontend", "last_check"]);
    assert_eq!(page["notes"], "Second campaign deployment");
    assert_eq!(page["directory"], "/data/tenants/smith");
    assert!(shown.header("etag").is_some());

    let changes = json!({"name": "John Smith for U.S. Senate", "notes": null});
    let updated = api.put(&format!("/api/tenants/{id}"), changes).await;
    let page = updated.expect(200);
    assert_eq!((&page["name"], &page["notes"]), (&json!("John Smith for U.S. Senate"), &Value::Null));
    assert_eq!(page["domain"], "smith.nominate.ai");
    assert_eq!(updated.seq(), created.seq() + 1);

    let deleted = api.delete(&format!("/api/tenants/{id}?remove_files=true")).await;
    let body = deleted.expect(200);
    assert_eq!(body["message"], "Tenant deleted successfully");
    let removed =
        json!({"files": true, "nginx": true, "services": true, "ports_released": [ports.0, ports.1]});
    assert_eq!(body["removed"], removed);
    assert_eq!(deleted.seq(), api.handle.world().seq.0);
    assert_eq!(api.get(&format!("/api/tenants/{id}")).await.expect(404)["code"], "TENANT_NOT_FOUND");
}

#[tokio::test]
async fn wrong_input_is_refused_with_the_field_and_records_nothing() {
    let api = Api::start().await;
    api.tenant("smith").await;
    let before = api.handle.world().seq;
    let with = |field: &str, value: Value| {
        let mut body = tenant_body("jones");
        body[field] = value;
        body
    };
    for (field, value) in [
        ("id", json!("0198a5a0-0000-7000-8000-000000000000")),
        ("status", json!("running")),
        ("directory", json!("/etc")),
        ("colour", json!("red")),
        ("name", json!(7)),
        ("name", json!("a\u{0}b")),
        ("name", json!("")),
        ("notes", json!("\u{1b}[2J")),
        ("slug", json!("../etc")),
        ("slug", json!("Jones")),
        ("slug", json!("a".repeat(64))),
        ("domain", json!("jones.example;}")),
        ("domain", json!("a\u{0}.example")),
        ("frontend_port", json!(70_000)),
        ("frontend_port", json!("23310")),
        ("github_repo", json!("--upload-pack=id")),
    ] {
        let answer = api.post("/api/tenants", with(field, value.clone())).await;
        let body = answer.expect(400);
        let told = format!("{} {}", body["error"], body["detail"]);
        assert!(told.contains(field), "{field} {value}: {told}");
    }
    let slug = api.post("/api/tenants", with("slug", json!("smith"))).await.expect(409);
    assert_eq!(slug["code"], "SLUG_TAKEN");
    let domain = api.post("/api/tenants", with("domain", json!("smithapi.nominate.ai"))).await.expect(409);
    assert_eq!(domain["code"], "DOMAIN_TAKEN");
    api.post("/api/tenants", with("frontend_port", json!(23300))).await.expect(409);
    api.post("/api/tenants", with("frontend_port", json!(80))).await.expect(400);
    assert_eq!(api.handle.world().seq, before);

    let send = |kind: &str, body: &str| {
        let request = request("POST", "/api/tenants").bearer(&api.admin).header("content-type", kind);
        let (api, body) = (&api, body.to_owned());
        async move { api.send(request.text(&body)).await }
    };
    send("text/plain", "{}").await.expect(415);
    send("application/json", "{").await.expect(400);
    send("application/json", "").await.expect(400);
    send("application/json", "{}").await.expect(400);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_by_its_header_and_by_its_length() {
    let api = Api::start().await;
    let said = request("POST", "/api/tenants").bearer(&api.admin).header("content-length", "1048577");
    assert_eq!(api.send(said.json(&json!({}))).await.expect(413)["code"], "PAYLOAD_TOO_LARGE");
    let long = format!("{{\"name\":\"{}\"}}", "a".repeat(1_100_000));
    let sent = request("POST", "/api/tenants").bearer(&api.admin).header("content-type", "application/json");
    api.send(sent.text(&long)).await.expect(413);
}

#[tokio::test]
async fn lists_are_filtered_searched_and_paged_and_refuse_what_they_do_not_know() {
    let api = Api::start().await;
    let smith = api.tenant("smith").await;
    api.tenant("jones").await;
    api.deployed(&smith).await;
    let total = |path: &str| {
        let path = format!("/api/tenants{path}");
        let api = &api;
        async move { api.get(&path).await.expect(200)["total"].clone() }
    };
    assert_eq!(total("?status=running").await, 1);
    assert_eq!(total("?status=pending").await, 1);
    assert_eq!(total("?status=error").await, 0);
    assert_eq!(total("?search=SMITH%20for").await, 1);
    assert_eq!(total("?search=jonesapi").await, 1);
    assert_eq!(total("?search=nominate.ai").await, 2);
    let page = api.get("/api/tenants?limit=1&offset=1").await.expect(200);
    assert_eq!((page["total"].clone(), page["tenants"].as_array().unwrap().len()), (json!(2), 1));
    for bad in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "offset=-1",
        "status=odd",
        "colour=red",
        "limit=1&limit=2",
        "dry_run=true",
    ] {
        api.get(&format!("/api/tenants?{bad}")).await.expect(400);
    }
    api.get(&format!("/api/tenants/{smith}?x=1")).await.expect(400);
    for id in ["x", "%00", "..%2f..%2fetc", "0198a5a0-0000-7000-8000-000000000000"] {
        api.get(&format!("/api/tenants/{id}")).await.expect(404);
    }
}

#[tokio::test]
async fn a_dry_run_tells_the_events_and_records_nothing() {
    let api = Api::start().await;
    let id = api.tenant("smith").await;
    let before = api.handle.world().seq;
    let path = |rest: &str| format!("/api/tenants/{id}{rest}?dry_run=true");
    let created = api.post("/api/tenants?dry_run=true", tenant_body("jones")).await;
    let events = created.expect(200)["events"].clone();
    assert_eq!(events[0]["kind"], "tenant.created");
    assert_eq!(events[0]["actor"]["name"], "admin");
    assert_eq!(events[1]["kind"], "port.allocated");
    assert!(created.header("x-event-seq").is_none());
    api.put(&path(""), json!({"name": "Else"})).await.expect(200);
    api.delete(&path("")).await.expect(200);
    let deploy = api.post(&path("/deploy"), json!({})).await.expect(200);
    assert_eq!(deploy["events"][0]["kind"], "deployment.requested");
    api.post(&path("/start"), json!({})).await.expect(409);
    api.post(&path("/health-check"), json!({})).await.expect(200);
    assert_eq!(api.pretend.checks.load(Ordering::Relaxed), 0);
    api.post("/api/tenants?dry_run=maybe", tenant_body("jones")).await.expect(400);
    assert_eq!(api.handle.world().seq, before);
}

#[tokio::test]
async fn if_match_lets_only_the_first_of_two_editors_write() {
    let api = Api::start().await;
    let id = api.tenant("smith").await;
    let path = format!("/api/tenants/{id}");
    let tag = api.get(&path).await.header("etag").unwrap().to_owned();
    let edit = |name: &str, tag: &str| {
        let request = request("PUT", &path).bearer(&api.admin).header("if-match", tag);
        request.json(&json!({"name": name}))
    };
    let first = api.send(edit("One", &tag)).await;
    first.expect(200);
    assert_ne!(first.header("etag"), Some(tag.as_str()));
    api.send(edit("Two", &tag)).await.expect(412);
    api.send(edit("Two", "\"no tag of ours\"")).await.expect(412);
    assert_eq!(api.get(&path).await.expect(200)["name"], "One");
    api.send(edit("Three", first.header("etag").unwrap())).await.expect(200);
}

#[tokio::test]
async fn a_repeated_request_with_its_key_gets_the_first_answer_and_acts_once() {
    let api = Api::start().await;
    let keyed = |method: &str, path: &str, key: &str, body: &Value| {
        request(method, path).bearer(&api.admin).header("idempotency-key", key).json(body)
    };
    let first = api.send(keyed("POST", "/api/tenants", "k1", &tenant_body("smith"))).await;
    let id = first.expect(201)["id"].as_str().unwrap().to_owned();
    // Meanwhile the tenant changes; the answer stays the first one.
    api.put(&format!("/api/tenants/{id}"), json!({"name": "Changed"})).await.expect(200);
    let again = api.send(keyed("POST", "/api/tenants", "k1", &tenant_body("smith"))).await;
    assert_eq!(again.expect(201), first.expect(201));
    assert_eq!(again.seq(), first.seq());
    let other = api.send(keyed("POST", "/api/tenants", "k1", &tenant_body("jones"))).await;
    assert_eq!(other.expect(422)["code"], "IDEMPOTENCY_KEY_REUSED");
    // The key is the actor's own.
    let olga = api.login("olga").await;
    let theirs = request("POST", "/api/tenants").bearer(&olga).header("idempotency-key", "k1");
    api.send(theirs.json(&tenant_body("brown"))).await.expect(201);

    let deploy = format!("/api/tenants/{id}/deploy");
    let one = api.send(keyed("POST", &deploy, "k2", &json!({}))).await.expect(202);
    api.ended(one["deployment_id"].as_str().unwrap()).await;
    let two = api.send(keyed("POST", &deploy, "k2", &json!({}))).await.expect(202);
    assert_eq!(one, two);

    let delete = format!("/api/tenants/{id}");
    let one = api.send(keyed("DELETE", &delete, "k3", &Value::Null)).await;
    let two = api.send(keyed("DELETE", &delete, "k3", &Value::Null)).await;
    assert_eq!((one.expect(200), one.seq()), (two.expect(200), two.seq()));
    api.send(keyed("DELETE", &delete, "", &Value::Null)).await.expect(400);
}

#[tokio::test]
async fn two_requests_at_once_with_one_key_act_once() {
    let api = Api::start().await;
    let keyed = || {
        let request = request("POST", "/api/tenants").bearer(&api.admin).header("idempotency-key", "k");
        request.json(&tenant_body("smith"))
    };
    let (one, two) = tokio::join!(api.send(keyed()), api.send(keyed()));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert!(statuses == [201, 201] || statuses == [201, 409], "{statuses:?}");
    assert_eq!(api.handle.world().tenants.len(), 1);
}

#[tokio::test]
async fn the_past_is_shown_as_it_was_and_only_where_there_is_one() {
    let api = Api::start().await;
    let created = api.post("/api/tenants", tenant_body("smith")).await;
    let id = created.expect(201)["id"].as_str().unwrap().to_owned();
    let then = created.seq();
    let updated = api.put(&format!("/api/tenants/{id}"), json!({"name": "Later"})).await;
    let deployment = api.deployed(&id).await;
    let past = api.get(&format!("/api/tenants/{id}?as_of={then}")).await;
    assert_eq!(past.expect(200)["name"], "smith for Senate");
    assert_eq!(past.header("x-as-of-seq"), Some(then.to_string().as_str()));
    let at = api.get(&format!("/api/tenants/{id}?as_of=2999-01-01T00:00:00Z")).await;
    at.expect(400);
    assert_eq!(api.get(&format!("/api/tenants?as_of={then}")).await.expect(200)["total"], 1);
    assert_eq!(api.get(&format!("/api/tenants?as_of={}", then - 2)).await.expect(200)["total"], 0);
    api.get(&format!("/api/tenants/{id}?as_of={}", then - 2)).await.expect(404);
    api.get(&format!("/api/deployments/{deployment}?as_of={}", updated.seq())).await.expect(404);
    for bad in ["0", "99999999", "soon", "-1"] {
        api.get(&format!("/api/tenants?as_of={bad}")).await.expect(400);
    }
    let ports = api.get(&format!("/api/ports?as_of={}", then - 2)).await.expect(200);
    assert_eq!(ports["in_use_count"], 0);
    let live = api.get(&format!("/api/deployments/{deployment}/logs?as_of={then}")).await;
    assert_eq!(live.expect(400)["code"], "NOT_TIME_TRAVELABLE");
    let write = request("PUT", &format!("/api/tenants/{id}?as_of={then}")).bearer(&api.admin);
    api.send(write.json(&json!({}))).await.expect(400);
}

#[tokio::test]
async fn a_read_waits_for_the_position_that_it_must_include() {
    let api = Api::start().await;
    let next = api.handle.world().seq.0 + 2;
    let read = request("GET", "/api/tenants").bearer(&api.admin).header("x-min-seq", &next.to_string());
    let (read, _) = tokio::join!(api.send(read), async {
        tokio::task::yield_now().await;
        api.tenant("smith").await
    });
    assert_eq!(read.expect(200)["total"], 1);
    let bad = request("GET", "/api/tenants").bearer(&api.admin).header("x-min-seq", "soon");
    api.send(bad).await.expect(400);
}

#[tokio::test]
async fn a_deployment_answers_as_printed_from_its_request_to_its_end() {
    let api = Api::start().await;
    let id = api.tenant("smith").await;
    api.puppet.idle.store(true, Ordering::Relaxed);
    let requested = api.post(&format!("/api/tenants/{id}/deploy"), json!({"skip_ssl": true})).await;
    let body = requested.expect(202);
    assert_eq!(keys(&body), ["deployment_id", "estimated_duration", "started_at", "status"]);
    assert_eq!((&body["status"], &body["estimated_duration"]), (&json!("running"), &json!(60)));
    let deployment = body["deployment_id"].as_str().unwrap();
    assert_eq!(requested.header("location"), Some(format!("/api/deployments/{deployment}").as_str()));
    let again = api.post(&format!("/api/tenants/{id}/deploy"), json!({})).await;
    assert_eq!(again.expect(409)["code"], "DEPLOYMENT_RUNNING");
    let tenant = api.get(&format!("/api/tenants/{id}")).await.expect(200);
    assert_eq!(tenant["status"], "deploying");

    api.pretend.lines.lock().unwrap().insert(deployment.parse().unwrap(), vec!["one".into(), "two".into()]);
    api.puppet.idle.store(false, Ordering::Relaxed);
    // Anything recorded wakes the puppet.
    api.put(&format!("/api/tenants/{id}"), json!({"notes": "go"})).await.expect(200);
    api.ended(deployment).await;
    let shown = api.get(&format!("/api/deployments/{deployment}")).await.expect(200);
    assert_eq!(shown["status"], "success");
    assert_eq!(shown["logs"], "one\ntwo");
    let names: Vec<&str> =
        shown["steps"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    let printed = [
        "Copy files",
        "Initialize database",
        "Create systemd services",
        "Configure NGINX",
        "Setup SSL",
        "Start services",
    ];
    assert_eq!(names, printed);
    let statuses: Vec<&str> =
        shown["steps"].as_array().unwrap().iter().map(|s| s["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["success", "success", "success", "skipped", "skipped", "success"]);
    assert!(shown["steps"][0]["duration"].is_number());
    assert!(shown["steps"][3]["detail"].as_str().unwrap().contains("nginx"));
    assert!(shown["steps"][3].get("duration").is_none());

    let logs = api.get(&format!("/api/deployments/{deployment}/logs")).await.expect(200);
    assert_eq!(logs, json!({"deployment_id": deployment, "logs": "one\ntwo"}));
    let stream = api.get(&format!("/api/deployments/{deployment}/logs?stream=true")).await;
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    assert_eq!(stream.text.matches("event: log").count(), 2, "{}", stream.text);
    assert!(stream.text.contains("event: complete"));

    let list = api.get(&format!("/api/tenants/{id}/deployments")).await.expect(200);
    assert_eq!((&list["total"], &list["deployments"][0]["id"]), (&json!(1), &json!(deployment)));
    let second = api.post(&format!("/api/tenants/{id}/deploy"), json!({})).await.expect(202);
    assert_ne!(second["estimated_duration"], 60);
    // The body may be left out.
    api.ended(second["deployment_id"].as_str().unwrap()).await;
    let bare = request("POST", &format!("/api/tenants/{id}/deploy")).bearer(&api.admin);
    api.send(bare).await.expect(202);
    let unknown = api.post(&format!("/api/tenants/{id}/deploy"), json!({"skip_all": true})).await;
    unknown.expect(400);
}

#[tokio::test]
async fn services_start_stop_and_restart_and_the_answer_tells_what_is_so() {
    let api = Api::start().await;
    let id = api.tenant("smith").await;
    let call = |verb: &str| {
        let path = format!("/api/tenants/{id}/{verb}");
        let api = &api;
        async move { api.send(request("POST", &path).bearer(&api.admin)).await }
    };
    assert_eq!(call("start").await.expect(409)["code"], "NOT_DEPLOYED");
    api.deployed(&id).await;
    let stopped = call("stop").await.expect(200);
    assert_eq!(stopped["message"], "Services stopped successfully");
    assert_eq!(stopped["services"], json!({"frontend": "inactive", "backend": "inactive"}));
    assert_eq!(api.get(&format!("/api/tenants/{id}")).await.expect(200)["status"], "stopped");
    let started = call("start").await;
    let body = started.expect(200);
    assert_eq!(body["services"], json!({"frontend": "active", "backend": "active"}));
    assert!(started.seq() > 0);
    call("start").await.expect(200);
    let run = || {
        let world = api.handle.world();
        let tenant = world.tenants.get(id.parse().unwrap()).unwrap().clone();
        world.instances.get(tenant.frontend.unwrap()).unwrap().run.as_ref().unwrap().id
    };
    let before = run();
    let restarted = call("restart").await.expect(200);
    assert_eq!(restarted["services"], json!({"frontend": "active", "backend": "active"}));
    assert_ne!(run(), before);

    call("stop").await.expect(200);
    api.puppet.failing.store(true, Ordering::Relaxed);
    let failed = call("start").await.expect(500);
    assert_eq!(failed["code"], "SERVICE_FAILED");
    assert!(failed["error"].as_str().unwrap().contains("exited with 3"), "{failed}");
}

#[tokio::test]
async fn health_tells_the_last_check_and_a_check_looks_anew() {
    let api = Api::start().await;
    let id = api.tenant("smith").await;
    api.deployed(&id).await;
    let checks = || api.pretend.checks.load(Ordering::Relaxed);
    assert_eq!(checks(), 0);
    let first = api.get(&format!("/api/tenants/{id}/health")).await.expect(200);
    assert_eq!(checks(), 1, "nobody had looked, so this had to");
    let viewer = api.login("victor").await;
    let check = request("POST", &format!("/api/tenants/{id}/health-check")).bearer(&viewer);
    let checked = api.send(check).await.expect(200);
    let printed = json!({
        "tenant_id": id,
        "overall_status": "healthy",
        "checks": {
            "frontend": {"status": "up", "response_time_ms": 4, "status_code": 200},
            "backend": {"status": "up", "response_time_ms": 4, "status_code": 200},
            "database": {"status": "healthy", "size_mb": 2.5, "connections": 2},
            "services": {"frontend_service": "active", "backend_service": "active"},
        },
        "last_check": "2025-11-21T12:00:00.000Z",
    });
    assert_eq!((&first, &checked), (&printed, &printed));
    assert_eq!(checks(), 2);
    assert_eq!(api.get(&format!("/api/tenants/{id}/health")).await.expect(200), printed);
    assert_eq!(checks(), 2, "the last check is told, not a new one made");
    let seq = api.handle.world().seq;
    let past = api.get(&format!("/api/tenants/{id}/health?as_of={seq}")).await.expect(200);
    assert_eq!(past["last_check"], Value::Null);
}

#[tokio::test]
async fn ports_show_every_pair_and_run_out_with_409() {
    let api = Api::start().await;
    let next = api.get("/api/ports/next-available").await.expect(200);
    let id = api.tenant("one").await;
    let list = api.get("/api/ports").await.expect(200);
    assert_eq!(keys(&list), ["allocations", "available_count", "in_use_count"]);
    assert_eq!(list["in_use_count"], 1);
    let held =
        list["allocations"].as_array().unwrap().iter().find(|line| line["status"] == "in_use").unwrap();
    assert_eq!((&held["tenant_id"], &held["tenant_name"]), (&json!(id), &json!("one for Senate")));
    assert_eq!(held["frontend_port"], next["frontend_port"]);
    let free =
        list["allocations"].as_array().unwrap().iter().find(|line| line["status"] == "available").unwrap();
    assert_eq!(keys(free), ["backend_port", "frontend_port", "status", "tenant_id"]);
    // Outside of the range, when asked for.
    let mut outside = tenant_body("outside");
    outside["frontend_port"] = json!(23400);
    api.post("/api/tenants", outside).await.expect(201);
    assert_eq!(api.get("/api/ports").await.expect(200)["in_use_count"], 2);
    let left = api.get("/api/ports").await.expect(200)["available_count"].as_u64().unwrap();
    for n in 0..left {
        api.tenant(&format!("more{n}")).await;
    }
    assert_eq!(api.get("/api/ports/next-available").await.expect(409)["code"], "NO_PORTS_LEFT");
    api.post("/api/tenants", tenant_body("last")).await.expect(409);
}

#[tokio::test]
async fn users_are_made_by_administrators_and_log_in() {
    let api = Api::start().await;
    let new =
        json!({"username": "vera", "password": api::PASSWORD, "email": "vera@example.com", "role": "viewer"});
    let created = api.post("/api/users", new.clone()).await;
    let user = created.expect(201);
    assert_eq!((&user["username"], &user["role"]), (&json!("vera"), &json!("viewer")));
    assert!(!created.text.contains(api::PASSWORD) && !created.text.contains("argon2"));
    let token = api.login("vera").await;
    api.send(request("POST", "/api/tenants").bearer(&token).json(&tenant_body("x"))).await.expect(403);
    api.post("/api/users", new.clone()).await.expect(409);
    let dry = api
        .post(
            "/api/users?dry_run=true",
            json!({"username": "w", "password": api::PASSWORD, "email": "w@x", "role": "admin"}),
        )
        .await;
    assert!(!dry.text.contains("argon2"), "{}", dry.text);
    for (field, value) in [
        ("role", json!("root")),
        ("password", json!("short")),
        ("email", json!("none")),
        ("username", json!("a\u{0}")),
    ] {
        let mut bad = new.clone();
        bad["username"] = json!("other");
        bad[field] = value;
        api.post("/api/users", bad).await.expect(400);
    }
    let list = api.get("/api/users").await.expect(200);
    assert_eq!(list["total"], 4);
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused_whatever_the_token() {
    let api = Api::start().await;
    let ask = || request("GET", "/api/tenants").bearer(&api.admin);
    api.send(ask().header("host", "evil.example")).await.expect(421);
    api.send(ask().header("host", "manager.nominate.ai")).await.expect(200);
    api.send(ask().header("origin", "null")).await.expect(403);
    api.send(ask().header("origin", "http://evil.example")).await.expect(403);
    let own = api.send(ask().header("origin", "http://127.0.0.1:32201")).await;
    own.expect(200);
    assert_eq!(own.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(own.header("x-frame-options"), Some("DENY"));
    assert!(own.header("x-request-id").is_some());
}
