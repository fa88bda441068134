//! The API's description against the running program: every GET, the main writes, errors in
//! every shape, messages of streams and sockets; and against the standard itself.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

#[path = "support/contract.rs"]
mod contract;
mod support;

use std::io::Cursor;
use std::process::Command;

use axum::response::Html;
use contract::{Contract, Given};
use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::RequestBuilder;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use support::app::{Answer, Home, PATIENCE, TestApp};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

/// A program with its description.
struct Checked {
    app: TestApp,
    contract: Contract,
}

/// Which listener is asked.
#[derive(Clone, Copy)]
enum At {
    Manager,
    Instances,
}

impl Checked {
    async fn start(more: &str) -> Checked {
        let app = TestApp::in_home(Home::with(more)).await;
        let contract = Contract::new(app.get("/openapi.json").await.expect(200));
        Checked { app, contract }
    }

    /// Sends a request and holds the answer against the description.
    #[track_caller]
    fn ask(&self, at: At, method: &str, path: &str, body: Option<Value>) -> impl Future<Output = Answer> {
        self.ask_with(at, method, path, |request| match body {
            Some(body) => request.json(&body),
            None => request,
        })
    }

    async fn ask_with(
        &self,
        at: At,
        method: &str,
        path: &str,
        more: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Answer {
        let request = match at {
            At::Manager => self.app.request(method, path),
            At::Instances => self.app.instances_request(method, path),
        };
        let answer = self.app.send(more(request)).await;
        self.look(method, path, &answer);
        answer
    }

    fn look(&self, method: &str, path: &str, answer: &Answer) {
        let kind = answer.headers.get("content-type").map_or("", |kind| kind.to_str().unwrap());
        let (status, text) = (answer.status, answer.text.as_str());
        self.contract.check(&Given {
            method,
            path,
            status,
            media_type: kind,
            headers: &answer.headers,
            text,
        });
    }

    async fn get(&self, path: &str) -> Value {
        self.ask(At::Manager, "GET", path, None).await.expect(200)
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(At::Manager, "POST", path, Some(body)).await
    }

    async fn put(&self, path: &str, body: Value) -> Answer {
        self.ask(At::Manager, "PUT", path, Some(body)).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.ask(At::Manager, "DELETE", path, None).await
    }

    /// The first messages of a socket, until one is as wanted; each fits one of the schemas.
    async fn messages(&self, path: &str, say: Option<Value>, schema: &str, last: impl Fn(&Value) -> bool) {
        let address = format!("{}{path}", self.app.manager.replacen("http", "ws", 1));
        let mut request = address.into_client_request().unwrap();
        let bearer = format!("Bearer {}", self.app.token);
        request.headers_mut().insert("authorization", bearer.parse().unwrap());
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        if let Some(say) = say {
            socket.send(Message::text(say.to_string())).await.unwrap();
        }
        loop {
            let message = timeout(PATIENCE, socket.next()).await.unwrap();
            let Some(Ok(Message::Text(text))) = message else { panic!("{path} ended with {message:?}") };
            let message: Value = serde_json::from_str(&text).unwrap();
            self.contract.check_named(schema, &message);
            if last(&message) {
                return;
            }
        }
    }
}

impl Checked {
    /// What the first events of a stream hold, at least so many.
    async fn streamed(&self, path: &str, wanted: usize) -> Vec<Value> {
        let request = self.app.request("GET", path).header("accept", "text/event-stream");
        let mut stream = request.send().await.unwrap();
        assert_eq!(
            (stream.status().as_u16(), &stream.headers()["content-type"]),
            (200, &"text/event-stream".parse().unwrap())
        );
        let mut text = String::new();
        loop {
            let piece = timeout(PATIENCE, stream.chunk()).await.unwrap().unwrap().unwrap();
            text.push_str(std::str::from_utf8(&piece).unwrap());
            let complete = text.rsplit_once("\n\n").map_or("", |(complete, _)| complete);
            let data = complete.lines().filter_map(|line| line.strip_prefix("data: "));
            let data: Vec<Value> = data.map(|one| serde_json::from_str(one).unwrap()).collect();
            if data.len() >= wanted {
                return data;
            }
        }
    }
}

/// A page to analyze; gives its address.
async fn website() -> std::net::SocketAddr {
    let page =
        || async { Html("<html><style>h1{color:#0e173e;background:#f1c613}</style><h1>Ed</h1></html>") };
    let router = axum::Router::new().fallback(page);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn picture() -> Part {
    let mut bytes = Cursor::new(Vec::new());
    image::RgbImage::new(8, 8).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    Part::bytes(bytes.into_inner()).file_name("logo.png").mime_str("image/png").unwrap()
}

fn tenant(slug: &str, repo: &str) -> Value {
    json!({ "name": slug, "slug": slug, "domain": format!("{slug}.example.com"), "github_repo": repo })
}

async fn open_routes(it: &Checked) {
    let page = it.app.send(it.app.client.get(&it.app.manager)).await.text;
    // What it is called depends on what is built in.
    let asset = page.split('"').find(|part| part.starts_with("/dashboard/assets/")).unwrap();
    for path in ["/", asset, "/health", "/ready", "/metrics", "/openapi.json", "/docs", "/docs/start.js"] {
        for at in [At::Manager, At::Instances] {
            let request = |request: RequestBuilder| request.header("accept", "*/*");
            assert_eq!(it.ask_with(at, "GET", path, request).await.status, 200, "{path}");
            let base = if matches!(at, At::Manager) { &it.app.manager } else { &it.app.instances };
            let anonymous = it.app.send(it.app.client.get(format!("{base}{path}"))).await;
            let policy = anonymous.headers["content-security-policy"].to_str().unwrap();
            assert!(policy.contains("default-src 'none'") && !policy.contains("//"), "{path}: {policy}");
            assert_eq!(anonymous.status, 200, "{path}");
        }
    }
}

async fn people(it: &Checked) {
    let login = it.app.login("admin", "correct horse battery").await;
    it.look("POST", "/api/auth/login", &login);
    let wanted =
        json!({"username": "olga", "password": "long enough", "email": "o@example.com", "role": "operator"});
    let user = it.post("/api/users", wanted.clone()).await.expect(201)["id"].as_str().unwrap().to_owned();
    it.post("/api/users", wanted).await.expect(409);
    let user = format!("/api/users/{user}");
    it.get("/api/users").await;
    it.get("/api/users/me").await;
    it.get(&user).await;
    it.put(&user, json!({"tenant_ids": null, "disabled": true})).await.expect(200);
    it.get(&user).await;
    it.put(&format!("{user}/password"), json!({"password": "another one"})).await.expect(200);
    it.delete(&user).await.expect(200);
    it.get("/api/settings").await;
    it.put("/api/settings/anthropic_model", json!({"value": "some-model"})).await.expect(200);
    it.put("/api/settings/health_check_interval", json!({"value": 60})).await.expect(200);
    it.put("/api/settings/health_check_interval", json!({"value": null})).await.expect(200);
    it.put("/api/settings/health_check_interval", json!({"value": true})).await.expect(400);
    it.get("/api/settings/anthropic_model").await;
    let wanted = json!({"name": "CI/CD", "expires_in_days": 30});
    let token = it.ask(At::Instances, "POST", "/api/tokens", Some(wanted)).await.expect(201);
    it.post("/api/tokens", json!({"name": "api alone", "service": "api", "role": "viewer"}))
        .await
        .expect(201);
    it.get("/api/tokens").await;
    it.delete(&format!("/api/tokens/{}", token["id"].as_str().unwrap())).await.expect(204);
}

/// What a tenant has before its first deployment.
async fn a_new_tenant(it: &Checked, site: std::net::SocketAddr) -> String {
    let repo = it.app.home().campaign();
    it.ask(At::Manager, "POST", "/api/tenants?dry_run=true", Some(tenant("smith", &repo))).await.expect(200);
    let made = it.post("/api/tenants", tenant("smith", &repo)).await.expect(201);
    let path = format!("/api/tenants/{}", made["id"].as_str().unwrap());
    for path in [&path, &format!("{path}/health"), &format!("{path}/logs"), &format!("{path}/deployments")] {
        it.get(path).await;
    }
    it.get("/api/tenants?status=pending&search=smith&limit=10&offset=0").await;
    it.put(&path, json!({"name": "Smith", "notes": "seen", "api_domain": null})).await.expect(200);
    it.put(&format!("{path}/config"), json!({"app_name": "Smith", "custom_env": {"API_KEY": "x", "A": "b"}}))
        .await
        .expect(200);
    it.get(&format!("{path}/config")).await;
    it.get(&format!("{path}/theme")).await;
    let form = Form::new().text("primary_color", "#123456").part("logo_full", picture());
    let theme = format!("{path}/theme");
    it.ask_with(At::Manager, "PUT", &theme, |request| request.multipart(form)).await.expect(200);
    assert_eq!(it.ask(At::Manager, "GET", &format!("{theme}/logos/full"), None).await.status, 200);
    it.ask(At::Manager, "GET", &format!("{theme}/suggestions"), None).await.expect(404);
    let wanted = json!({"website_url": format!("http://{site}/"), "capture_screenshot": false});
    it.post(&format!("{theme}/analyze"), wanted).await.expect(202);
    let suggestions = format!("{theme}/suggestions");
    it.get(&suggestions).await;
    let found = it.app.eventually(&suggestions, |found| found["status"] != "processing").await;
    it.get(&suggestions).await;
    let chosen = json!({"suggestion_id": found["suggestions"][0]["id"]});
    it.post(&format!("{theme}/apply-suggestion"), chosen).await.expect(200);
    it.get(&theme).await;
    path
}

async fn deployments(it: &Checked, tenant: &str) {
    let deploy = format!("{tenant}/deploy");
    it.post(&format!("{tenant}/start"), Value::Null).await.expect(409);
    it.ask(At::Manager, "POST", &format!("{deploy}?dry_run=true"), None).await.expect(200);
    let deployment =
        it.post(&deploy, json!({})).await.expect(202)["deployment_id"].as_str().unwrap().to_owned();
    it.get(&format!("/api/deployments/{deployment}")).await;
    let path = format!("/ws/deployments/{deployment}");
    it.messages(&path, None, "DeploymentMessage", |message| message["type"] == "complete").await;
    let path = format!("/api/deployments/{deployment}");
    assert_eq!(it.get(&path).await["status"], "success");
    it.get(&format!("{path}/logs")).await;
    let stream = it.ask(At::Manager, "GET", &format!("{path}/logs?stream=true"), None).await;
    for line in stream.text.lines().filter_map(|line| line.strip_prefix("data: ")) {
        it.contract.check_named("DeploymentMessage", &serde_json::from_str(line).unwrap());
    }
    assert!(stream.text.contains("event: complete"), "{stream:?}");
    it.post(&format!("{path}/cancel"), Value::Null).await.expect(409);
    it.post(&format!("{path}/retry"), Value::Null).await.expect(409);
    it.get(&format!("{tenant}/deployments?limit=1")).await;
    it.get(&format!("{tenant}/releases")).await;
    it.post(&format!("{tenant}/rollback"), json!({"release": 99})).await;
}

async fn a_running_tenant(it: &Checked, tenant: &str) {
    for path in ["remote/stats", "remote/persons/count", "health", "logs?service=backend&lines=5"] {
        it.get(&format!("{tenant}/{path}")).await;
    }
    it.post(&format!("{tenant}/health-check"), Value::Null).await.expect(200);
    it.post(&format!("{tenant}/remote/backup"), Value::Null).await.expect(200);
    it.post(&format!("{tenant}/config/regenerate-env"), Value::Null).await.expect(200);
    let id = tenant.rsplit('/').next().unwrap();
    it.messages(&format!("/ws/tenants/{id}/health"), None, "HealthMessage", |_| true).await;
    for wish in ["stop", "start", "restart"] {
        it.post(&format!("{tenant}/{wish}"), Value::Null).await.expect(200);
    }
    it.get(tenant).await;
    for path in ["/api/ports", "/api/ports/next-available", "/api/nginx/configs"] {
        it.get(path).await;
    }
    it.post("/api/nginx/test", Value::Null).await;
    it.post("/api/nginx/reload?dry_run=true", Value::Null).await;
}

async fn instances(it: &Checked) {
    let wanted = json!({"service": "api", "id": "user123", "env": {"LINES": "1"}});
    it.ask(At::Instances, "POST", "/api/instances", Some(wanted.clone())).await.expect(201);
    it.ask(At::Instances, "POST", "/api/instances", Some(wanted)).await.expect(409);
    let failing = json!({"service": "api", "id": "failing", "env": {"MODE": "exit"}});
    it.ask(At::Instances, "POST", "/api/instances", Some(failing)).await.expect(422);
    it.ask(At::Instances, "DELETE", "/api/instances/api/failing", None).await.expect(200);
    it.get("/api/instances?status=running&limit=5").await;
    it.get("/api/instances/api/user123").await;
    it.get("/api/metrics/api/user123").await;
    it.get("/api/metrics/api/user123/history").await;
    it.messages("/api/logs/stream", None, "LogLine", |_| true).await;
    it.get("/api/logs/api/user123?limit=5").await;
    for at in [At::Manager, At::Instances] {
        it.ask(at, "GET", "/api/logs?limit=3", None).await.expect(200);
    }
    it.get("/api/logs?source=process&level=info&grep=line").await;
    it.get("/api/logs?source=control&level=info&category=api").await;
    it.app
        .eventually("/api/logs/api/user123", |page| page["logs"].as_array().is_some_and(|l| l.len() > 5))
        .await;
    it.post("/api/logs/search", json!({"query": "line", "limit": 3, "since": "1h"})).await.expect(200);
    it.put("/api/instances/api/user123/weight", json!({"weight": 50})).await.expect(200);
    it.post("/api/instances/api/user123/restart", Value::Null).await.expect(200);
    it.app.eventually("/api/instances/api/user123", |one| one["status"] == "running").await;
    it.delete("/api/instances/api/user123").await.expect(200);
    let gone = it.ask(At::Instances, "GET", "/api/instances/api/user123", None).await.expect(404);
    assert_eq!(gone["error"], "instance_not_found");
    it.get("/api/config").await;
    let bad = |request: RequestBuilder| request.body("[service.api]\ncommand = 3\n");
    let good = |request: RequestBuilder| request.body("[service.api]\ncommand = \"/bin/true\"\n");
    for method in ["GET", "POST"] {
        let told = it.ask_with(At::Instances, method, "/api/config/validate", bad).await.expect(400);
        it.contract.check_named("InvalidConfig", &told);
        it.ask_with(At::Instances, method, "/api/config/validate", good).await.expect(200);
    }
    it.post("/api/config/reload?dry_run=true", Value::Null).await.expect(200);
    it.post("/api/config/reload", Value::Null).await.expect(200);
}

async fn events(it: &Checked, tenant: &str) {
    let id = tenant.rsplit('/').next().unwrap();
    let page = it.get("/api/events?limit=1000").await;
    let head = page["head_seq"].as_u64().unwrap();
    let all = page["events"].as_array().unwrap();
    let updated =
        all.iter().find(|event| event["kind"] == "tenant.updated").unwrap()["seq"].as_u64().unwrap();
    it.get(&format!("/api/events?order=desc&limit=2&kind=tenant.&tenant_id={id}")).await;
    it.get(&format!("/api/events/{updated}")).await;
    it.get(&format!("/api/events/why?tenant_id={id}")).await;
    it.get("/api/events/why?instance=backend:smith").await;
    for path in ["", "/tenants", "/usage", "/space"] {
        it.get(&format!("/api/fleet{path}")).await;
    }
    it.get(&format!("{tenant}/history?limit=1000")).await;
    it.get(&format!("{tenant}/diff?from={updated}&to={head}")).await;
    it.get(&format!("{tenant}?as_of={}", updated - 1)).await;
    it.ask(At::Manager, "GET", "/api/tenants?as_of=1", None).await.expect(200);
    let live = it.ask(At::Instances, "GET", "/api/config?as_of=1", None).await.expect(400);
    assert_eq!(live["error"], "not_time_travelable");
    it.post(&format!("/api/events/{updated}/undo?dry_run=true"), Value::Null).await.expect(200);
    it.post(&format!("/api/events/{updated}/undo"), Value::Null).await.expect(200);
    it.post("/api/events/1/undo", Value::Null).await.expect(409);
    let wanted = json!({"as_of": updated, "dry_run": true});
    it.post(&format!("{tenant}/restore"), wanted).await.expect(200);
    it.post(&format!("{tenant}/restore"), json!({"as_of": updated, "include": ["details"]}))
        .await
        .expect(200);

    let feed = it.streamed("/api/events/stream?from_seq=1", 3).await;
    feed.iter().for_each(|event| it.contract.check_named("EventView", event));
    let subscribe = json!({"type": "subscribe", "sub": "mine", "from_seq": 1, "filter": {"kind": "tenant."}});
    it.messages("/ws/events", Some(subscribe), "FeedMessage", |told| told["type"] == "caught_up").await;
    it.messages("/ws/events", Some(json!({"type": "what"})), "FeedMessage", |told| told["type"] == "error")
        .await;
}

/// What the journal proves, and states that are followed.
async fn proofs(it: &Checked, tenant: &str) {
    let head = it.get("/api/journal").await["head_seq"].as_u64().unwrap();
    it.get("/api/journal?as_of=1").await;
    it.get(&format!("/api/journal/proof?seq=1&tree_size={head}")).await;
    it.get("/api/journal/proof?from=1&to=2").await;
    it.ask(At::Instances, "GET", "/api/journal/proof?seq=1&from=1", None).await.expect(400);
    it.post("/api/journal/verify", Value::Null).await.expect(200);
    it.get(&format!("{tenant}/receipt")).await;
    for path in
        ["/api/journal/export?until=2", "/api/journal/export?format=msgpack", "/api/events/1?raw=true"]
    {
        assert_eq!(it.ask(At::Manager, "GET", path, None).await.status, 200, "{path}");
    }
    for (path, schema) in
        [("/api/tenants", "TenantList"), (tenant, "Tenant"), ("/api/instances", "InstanceList")]
    {
        let states = it.streamed(path, 1).await;
        it.contract.check_named(schema, &states[0]);
    }
    let stream = |request: RequestBuilder| request.header("accept", "text/event-stream");
    it.ask_with(At::Manager, "GET", "/api/nginx/configs", stream).await.expect(406);
}

/// A tenant is forgotten.
async fn an_erasure(it: &Checked) {
    let repo = it.app.home().campaign();
    let made = it.post("/api/tenants", tenant("brown", &repo)).await.expect(201);
    let path = format!("/api/tenants/{}", made["id"].as_str().unwrap());
    it.delete(&format!("{path}?erase=true&dry_run=true")).await.expect(200);
    assert_eq!(it.delete(&format!("{path}?erase=true")).await.expect(200)["erased"], true);
    // What was sealed is null in its events now.
    it.get("/api/events?order=desc&kind=tenant.&limit=20").await;
}

/// A tenant is deleted, somebody takes what it had, and it wants to come back.
async fn a_conflict(it: &Checked) {
    let repo = it.app.home().campaign();
    let made = it.post("/api/tenants", tenant("jones", &repo)).await;
    let seq = made.headers["x-event-seq"].to_str().unwrap().parse::<u64>().unwrap();
    let path = format!("/api/tenants/{}", made.expect(201)["id"].as_str().unwrap());
    it.delete(&format!("{path}?remove_files=true")).await.expect(200);
    it.post("/api/tenants", tenant("jones", &repo)).await.expect(201);
    let refused = it.post(&format!("{path}/restore"), json!({"as_of": seq})).await.expect(409);
    assert!(!refused["conflicts"].as_array().unwrap().is_empty(), "{refused}");
    it.contract.check_named("RefusedRestore", &refused);
    let wanted = json!({"as_of": seq, "on_conflict": "reassign"});
    it.post(&format!("{path}/restore"), wanted).await.expect(200);
}

/// The same refusals on routes of all three sorts, in both shapes and as RFC 9457.
async fn errors(it: &Checked, tenant: &str) {
    let routes = [tenant, "/api/instances", "/api/events", "/api/logs"];
    let problem = |request: RequestBuilder| request.header("accept", "application/problem+json");
    for at in [At::Manager, At::Instances] {
        for route in routes {
            let path = format!("{route}?nonsense=1");
            it.ask(at, "GET", &path, None).await.expect(400);
            let told = it.ask_with(at, "GET", &path, problem).await;
            assert_eq!(told.headers["content-type"], "application/problem+json");
            let base = match at {
                At::Manager => &it.app.manager,
                At::Instances => &it.app.instances,
            };
            let anonymous = it.app.client.get(format!("{base}{route}"));
            let refused = it.app.send(anonymous).await;
            it.look("GET", route, &refused);
            assert_eq!(refused.status, 401, "{route}");
            let foreign = |request: RequestBuilder| request.header("origin", "http://evil.example");
            assert_eq!(it.ask_with(at, "GET", route, foreign).await.status, 403);
            it.ask(at, "PATCH", route, None).await.expect(405);
        }
        it.ask(at, "GET", "/api/nothing", None).await.expect(404);
    }
    let moved = |request: RequestBuilder| request.header("if-match", "\"1\"").json(&json!({"notes": "x"}));
    it.ask_with(At::Manager, "PUT", tenant, moved).await.expect(412);
    it.ask_with(At::Manager, "PUT", tenant, |request| request.body("x")).await.expect(415);
    it.put(tenant, json!({"slug": "other"})).await.expect(400);
    for (name, status) in [("first", 200), ("second", 422)] {
        let keyed =
            |request: RequestBuilder| request.header("idempotency-key", "k").json(&json!({ "notes": name }));
        it.ask_with(At::Manager, "PUT", tenant, keyed).await.expect(status);
    }
    let viewer = it.post("/api/tokens", json!({"name": "v", "role": "viewer"})).await.expect(201);
    let refused = it.app.client.delete(format!("{}{tenant}", it.app.manager));
    let refused = it.app.send(refused.bearer_auth(viewer["token"].as_str().unwrap())).await;
    it.look("DELETE", tenant, &refused);
    assert_eq!(refused.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn real_answers_are_as_described() {
    let site = website().await;
    let it = Checked::start(&format!("[analyze]\nallow_hosts = [\"{site}\"]")).await;
    open_routes(&it).await;
    people(&it).await;
    let tenant = a_new_tenant(&it, site).await;
    deployments(&it, &tenant).await;
    a_running_tenant(&it, &tenant).await;
    instances(&it).await;
    events(&it, &tenant).await;
    proofs(&it, &tenant).await;
    a_conflict(&it).await;
    an_erasure(&it).await;
    errors(&it, &tenant).await;
    // Looked at above by what they send, or in the tests of themes: a picture takes a browser.
    const ELSEWHERE: [&str; 6] = [
        "followDeployment",
        "followEvents",
        "followLogs",
        "followTenantHealth",
        "getScreenshot",
        "streamEvents",
    ];
    let unseen = it.contract.unseen("get");
    let unseen: Vec<&String> = unseen.iter().filter(|id| !ELSEWHERE.contains(&id.as_str())).collect();
    assert!(unseen.is_empty(), "these were never looked at: {unseen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_every_operation_in_a_browser_and_keeps_to_its_policy() {
    let browser = match tenantry::drivers::chromium::find(None) {
        Ok(browser) => browser,
        Err(why) => return eprintln!("!!! SKIPPED: no browser reads the documentation: {why}"),
    };
    let app = TestApp::start().await;
    let profile = tempfile::tempdir().unwrap();
    let page = tokio::process::Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("{}/docs", app.manager))
        .kill_on_drop(true)
        .output();
    let page = timeout(PATIENCE, page).await.unwrap().unwrap();
    let (dom, log) = (String::from_utf8_lossy(&page.stdout), String::from_utf8_lossy(&page.stderr));
    let document = tenantry::http::openapi::build();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let id = item[method]["operationId"].as_str().unwrap();
            assert!(dom.contains(&format!("-{id}\"")), "{method} {path} ({id}) is not shown: {log}");
        }
    }
    let complaints: Vec<&str> = log.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

fn printed() -> Vec<u8> {
    let output = Command::new(env!("CARGO_BIN_EXE_tenantry")).arg("openapi").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn the_command_line_prints_the_same_document_each_time_without_a_server() {
    let (first, second) = (printed(), printed());
    assert!(first == second && first.ends_with(b"}\n"));
    let document: Value = serde_json::from_slice(&first).unwrap();
    assert_eq!(document, tenantry::http::openapi::build());
}

/// Judges a document by the official schema of OpenAPI 3.1, and its schemas by JSON Schema's.
const JUDGE: &str = "import json, sys\n\
    from openapi_spec_validator import OpenAPIV31SpecValidator as V\n\
    wrong = [f'{list(e.absolute_path)}: {e.message}' for e in V(json.load(sys.stdin)).iter_errors()]\n\
    print('\\n'.join(wrong)); sys.exit(bool(wrong))";

#[test]
fn it_is_openapi_3_1_by_the_official_schema() {
    let python = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    let there = Command::new(&python).args(["-c", "import openapi_spec_validator"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        eprintln!("!!! SKIPPED: openapi-spec-validator is not in .venv (.ci/prepare puts it there)");
        return;
    }
    let judge = |document: &Value| {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("openapi.json");
        std::fs::write(&file, document.to_string()).unwrap();
        Command::new(&python).args(["-c", JUDGE]).stdin(std::fs::File::open(file).unwrap()).output().unwrap()
    };
    let mut document = tenantry::http::openapi::build();
    let judged = judge(&document);
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stdout));
    document["paths"]["/api/tenants"]["get"]["responses"] = json!({ "200": {} });
    assert!(!judge(&document).status.success(), "it judges nothing");
}
