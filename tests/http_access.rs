//! Who gets how much, and who sees what: rate limits, ends of streams, and tokens that are
//! limited to one tenant, on every route there is.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

#[path = "support/api.rs"]
mod api;

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use api::{Answer, Api, PATIENCE, request};
use futures_util::future::join_all;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tenantry::domain::command::{Command, Submission};
use tenantry::http::observed::{Line, Source};
use tenantry::http::router::{self, Who};
use tenantry_journal::event::access::{Role, Scope};
use tenantry_journal::id::TokenId;
use tenantry_journal::time::Timestamp;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// What has not ended by then is a stream.
const SOON: Duration = Duration::from_secs(2);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn open(address: SocketAddr, path: &str, token: Option<&str>) -> Socket {
    let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
    if let Some(token) = token {
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    connect_async(request).await.unwrap_or_else(|error| panic!("{path}: {error}")).0
}

/// Reads until the close code.
async fn close_code(socket: &mut Socket) -> u16 {
    loop {
        if let Message::Close(frame) =
            timeout(PATIENCE, socket.next()).await.expect("a close").unwrap().unwrap()
        {
            return frame.map_or(1005, |frame| frame.code.into());
        }
    }
}

fn header(answer: &Answer, name: &str) -> u64 {
    let value = answer.header(name).unwrap_or_else(|| panic!("no {name}: {answer:?}"));
    value.parse().unwrap()
}

#[tokio::test]
async fn every_answer_to_somebody_known_tells_what_is_left_and_one_too_many_is_429() {
    let api = Api::start().await;
    let token = api.token(Role::Viewer, Scope::All).await;
    let ask = |path: &str| request("GET", path).bearer(&token);
    api.limit(4, 100);
    let first = api.send(ask("/api/tenants")).await;
    first.expect(200);
    assert_eq!((header(&first, "x-ratelimit-limit"), header(&first, "x-ratelimit-remaining")), (4, 3));
    let reset = header(&first, "x-ratelimit-reset");
    let now = tenantry::clock::now().unix_seconds();
    assert!((now..=now + 60).contains(&reset), "{reset} {now}");
    // Errors tell it, too, on both listeners.
    let missing = api.send_instances(ask("/api/no-such-route")).await;
    missing.expect(404);
    let refused = api.send(ask("/api/users")).await;
    refused.expect(403);
    let left = |answer: &Answer| header(answer, "x-ratelimit-remaining");
    assert_eq!((left(&missing), left(&refused)), (2, 1));
    assert_eq!(left(&api.send_instances(ask("/api/instances")).await), 0);

    let over = api.send(ask("/api/tenants")).await;
    assert_eq!(over.expect(429)["code"], "RATE_LIMITED");
    assert_eq!((left(&over), header(&over, "x-ratelimit-reset")), (0, reset));
    assert!((1..=60).contains(&header(&over, "retry-after")));
    let over = api.send_instances(ask("/api/instances")).await.expect(429);
    assert_eq!((&over["error"], &over["status"]), (&json!("rate_limited"), &json!(429)));

    // Whoever is not asked for a credential is not counted.
    for path in ["/health", "/ready", "/metrics"] {
        let open = api.send(ask(path)).await;
        assert_ne!(open.status, 429, "{path}");
        assert_eq!(open.header("x-ratelimit-limit"), None, "{path}");
    }
    for _ in 0..5 {
        api.login("olga").await;
    }
    let anonymous = api.send(request("GET", "/api/tenants")).await;
    assert_eq!((anonymous.status, anonymous.header("x-ratelimit-limit")), (401, None));
    // Others are not concerned, and other limits count at once.
    let other = api.token(Role::Viewer, Scope::All).await;
    api.send(request("GET", "/api/tenants").bearer(&other)).await.expect(200);
    api.limit(10, 100);
    assert_eq!(left(&api.send(ask("/api/tenants")).await), 5);
    api.limit(10, 6);
    let hourly = api.send(ask("/api/tenants")).await;
    assert_eq!((header(&hourly, "x-ratelimit-limit"), left(&hourly)), (6, 0));
    assert!(header(&hourly, "x-ratelimit-reset") > now + 3000);
    api.send(ask("/api/tenants")).await.expect(429);
}

#[tokio::test]
async fn a_socket_counts_once_and_its_messages_do_not() {
    let api = Api::start().await;
    let address = api.listen().await;
    let token = api.token(Role::Viewer, Scope::All).await;
    api.limit(2, 100);
    let mut first = open(address, "/ws/events", Some(&token)).await;
    for n in 0..20 {
        first
            .send(Message::text(json!({"type": "subscribe", "sub": format!("s{n}")}).to_string()))
            .await
            .unwrap();
        let told = first.next().await.unwrap().unwrap();
        assert!(told.to_text().unwrap().contains("subscribed"), "{told}");
    }
    let auth = Message::text(json!({"type": "auth", "token": token}).to_string());
    let mut second = open(address, "/ws/events", None).await;
    second.send(auth.clone()).await.unwrap();
    second.send(Message::text(json!({"type": "subscribe"}).to_string())).await.unwrap();
    assert!(second.next().await.unwrap().unwrap().to_text().unwrap().contains("subscribed"));
    let mut third = open(address, "/ws/events", None).await;
    third.send(auth).await.unwrap();
    assert_eq!(close_code(&mut third).await, 1013);
}

/// A path for each route that is a WebSocket.
fn socket_path(route: &str, tenant: &str, deployment: &str) -> String {
    match route {
        "/api/logs" => "/api/logs?source=process&follow=true".into(),
        "/api/logs/{service}/{id}" => "/api/logs/api/a?follow=true".into(),
        "/ws/deployments/{id}" => format!("/ws/deployments/{deployment}"),
        "/ws/tenants/{id}/health" => format!("/ws/tenants/{tenant}/health"),
        plain => {
            assert!(!plain.contains('{'), "say how {plain} is opened, so that its end is tested");
            plain.into()
        }
    }
}

async fn token_until(api: &Api, expires_at: Option<Timestamp>) -> (TokenId, String) {
    let text = tenantry::auth::token::generate();
    let hash = tenantry::auth::token::hash(text.reveal());
    let (name, role, scope) = ("test".into(), Role::Viewer, Scope::All);
    let command = Command::CreateToken { name, hash, role, scope, expires_at };
    api.handle.submit(Submission::system(command, None)).await.unwrap();
    let id = api.handle.world().access.token_by_hash(&hash).unwrap().id;
    (id, text.reveal().to_owned())
}

#[tokio::test]
async fn every_stream_of_a_token_ends_when_it_is_revoked_or_expires() {
    let api = Api::start().await;
    let address = api.listen().await;
    api.post("/api/instances", json!({"service": "api", "id": "a"})).await.expect(201);
    let tenant = api.tenant("smith").await;
    api.puppet.idle.store(true, Ordering::Relaxed);
    let requested = api.post(&format!("/api/tenants/{tenant}/deploy"), json!({})).await.expect(202);
    let deployment = requested["deployment_id"].as_str().unwrap().to_owned();
    let routes = router::routes();
    let sockets: Vec<String> = routes
        .declared()
        .iter()
        .filter(|route| matches!(route.access.who, Who::Socket(_)))
        .map(|route| socket_path(route.path, &tenant, &deployment))
        .collect();
    assert!(sockets.len() >= 6, "{sockets:?}");
    let streams =
        ["/api/events/stream".to_owned(), format!("/api/deployments/{deployment}/logs?stream=true")];

    for expires in [false, true] {
        let lifetime = Duration::from_secs(8);
        let end = tenantry::clock::now().plus_ms(lifetime.as_millis() as u64);
        let (begun, (id, token)) = (Instant::now(), token_until(&api, expires.then_some(end)).await);
        let mut open_sockets = Vec::new();
        for path in &sockets {
            open_sockets.push(open(address, path, Some(&token)).await);
        }
        let client = tenantry::tls::client().build().unwrap();
        let mut bodies = Vec::new();
        for path in &streams {
            let response =
                client.get(format!("http://{address}{path}")).bearer_auth(&token).send().await.unwrap();
            assert_eq!(response.status(), 200, "{path}");
            bodies.push(response.bytes());
        }
        let ends = if expires {
            begun + lifetime
        } else {
            api.handle.submit(Submission::system(Command::RevokeToken { token_id: id }, None)).await.unwrap();
            Instant::now()
        };
        let codes = join_all(open_sockets.iter_mut().map(close_code));
        let (codes, bodies) =
            tokio::time::timeout_at(ends + PATIENCE, async { tokio::join!(codes, join_all(bodies)) })
                .await
                .expect("every stream ends");
        assert!(!expires || Instant::now() + SOON > ends, "not long before its time");
        for (path, code) in sockets.iter().zip(codes) {
            assert_eq!(code, 4401, "{path}");
        }
        assert!(bodies.iter().all(Result::is_ok), "{bodies:?}");
    }
}

/// What tells of a tenant.
struct Marks(Vec<String>);

impl Marks {
    fn of(api: &Api, slug: &str, tenant: &str, deployment: &str) -> Marks {
        let world = api.handle.world();
        let mut marks = vec![slug.to_owned(), tenant.to_owned(), deployment.to_owned()];
        let tenant = world.tenants.get(tenant.parse().unwrap()).unwrap();
        let ids = [tenant.frontend, tenant.backend].into_iter().flatten();
        marks.extend(ids.map(|id| id.to_string()));
        marks.extend(tenant.ports.map(|ports| ports.frontend.to_string()));
        Marks(marks)
    }

    /// What of it a text shows that the request did not say itself.
    fn shown<'a>(&'a self, text: &str, asked: &str) -> Vec<&'a str> {
        let shown =
            self.0.iter().filter(|mark| text.contains(mark.as_str()) && !asked.contains(mark.as_str()));
        shown.map(String::as_str).collect()
    }
}

async fn tenant_with_everything(api: &Api, slug: &str) -> (String, String) {
    let tenant = api.tenant(slug).await;
    let deployment = api.deployed(&tenant).await;
    api.pretend.lines.lock().unwrap().insert(deployment.parse().unwrap(), vec![format!("init of {slug}")]);
    let world = api.handle.world();
    let found = world.tenants.get(tenant.parse().unwrap()).unwrap();
    for id in [found.frontend, found.backend].into_iter().flatten() {
        let text = format!("GET /{slug}/index.html");
        let line = Line { position: 1, at: Timestamp(1), source: Source::Stdout, text };
        api.pretend.printed.lock().unwrap().insert(id, vec![line]);
    }
    (tenant, deployment)
}

#[tokio::test]
async fn a_token_of_one_tenant_finds_nothing_of_another_on_any_route() {
    let api = Api::start().await;
    let address = api.listen().await;
    let (own, own_deployment) = tenant_with_everything(&api, "smith").await;
    let (foreign, foreign_deployment) = tenant_with_everything(&api, "jones").await;
    let marks = Marks::of(&api, "jones", &foreign, &foreign_deployment);
    let token = api.token(Role::Admin, Scope::Tenant(own.parse().unwrap())).await;
    let head = api.handle.world().seq.0;

    let fill = |path: &str, tenant: &str, deployment: &str, slug: &str| {
        let id = if path.contains("/deployments/{id}") { deployment } else { tenant };
        let path = path.replace("{service}/{id}", &format!("frontend/{slug}")).replace("{id}", id);
        if path == "/api/events/stream" { format!("{path}?from_seq=1&to_seq={head}") } else { path }
    };
    let mut answered = 0;
    for route in router::routes().declared().iter().filter(|route| route.access.who != Who::Anyone) {
        let mut paths = vec![fill(route.path, &foreign, &foreign_deployment, "jones")];
        if route.method == "GET" {
            paths.push(fill(route.path, &own, &own_deployment, "smith"));
        }
        if route.path.contains("{seq}") {
            paths = (1..=head).map(|seq| route.path.replace("{seq}", &seq.to_string())).collect();
        }
        for path in paths {
            for instances in [false, true] {
                let mut asked = request(route.method.as_str(), &path).bearer(&token);
                if route.method != "GET" {
                    asked = asked.json(&json!({}));
                }
                let answer =
                    async { if instances { api.send_instances(asked).await } else { api.send(asked).await } };
                let Ok(answer) = timeout(SOON, answer).await else { continue };
                answered += 1;
                let shown = marks.shown(&answer.text, &path);
                assert!(shown.is_empty(), "{} {path} shows {shown:?}: {}", route.method, answer.text);
                if path.contains("jones") || path.contains(&foreign) || path.contains(&foreign_deployment) {
                    assert!((400..500).contains(&answer.status), "{} {path}: {answer:?}", route.method);
                }
            }
        }
    }
    assert!(answered > 100, "{answered}");
    assert_eq!(api.handle.world().seq.0, head, "nothing was changed");

    // The same token does see its own.
    for path in ["/api/tenants", "/api/instances", "/api/logs?source=process", "/api/events"] {
        let seen = api.send(request("GET", path).bearer(&token)).await;
        assert!(
            seen.text.contains(if path == "/api/events" { &own } else { "smith" }),
            "{path}: {}",
            seen.text
        );
    }
    let mut events = open(address, "/ws/events", Some(&token)).await;
    events.send(Message::text(json!({"type": "subscribe", "from_seq": 1}).to_string())).await.unwrap();
    let mut count = 0;
    loop {
        let message = timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap();
        let text = message.to_text().unwrap();
        assert!(marks.shown(text, "").is_empty(), "{text}");
        let told: Value = serde_json::from_str(text).unwrap();
        count += usize::from(told["type"] == "event");
        if told["type"] == "caught_up" {
            break;
        }
    }
    assert!(count > 5, "{count}");
    let mut lines = open(address, "/api/logs/stream", Some(&token)).await;
    for _ in 0..2 {
        let line = timeout(PATIENCE, lines.next()).await.unwrap().unwrap().unwrap();
        assert!(line.to_text().unwrap().contains("smith"), "{line}");
    }
    let metrics = api.send(request("GET", "/metrics")).await;
    assert!(marks.shown(&metrics.text, "").is_empty());
}

/// How many hashes of passwords were computed so far.
async fn password_hashes(api: &Api) -> u64 {
    let page = api.send(request("GET", "/metrics")).await.text;
    let lines = page.lines();
    let found = lines.filter_map(|line| line.strip_prefix("tenantry_password_hashes_total ")).next();
    found.unwrap_or_else(|| panic!("{page}")).parse().unwrap()
}

#[tokio::test]
async fn passwords_are_hashed_for_logins_alone_and_not_for_those_that_are_refused() {
    let api = Api::start().await;
    let tokens = [api.admin.clone(), api.token(Role::Viewer, Scope::All).await];
    assert_eq!(password_hashes(&api).await, 1, "the login of the test itself");
    for token in &tokens {
        for _ in 0..50 {
            api.send(request("GET", "/api/tenants").bearer(token)).await.expect(200);
        }
    }
    for bad in ["tenement_bad", "a.b.c"] {
        api.send(request("GET", "/api/tenants").bearer(bad)).await.expect(401);
    }
    assert_eq!(password_hashes(&api).await, 1, "a credential is not a password");

    let guess =
        || api.send(request("POST", "/api/auth/login").json(&json!({"username": "victor", "password": "x"})));
    let (mut looked_at, mut refused) = (0, 0);
    for _ in 0..100 {
        match guess().await.status {
            401 => looked_at += 1,
            429 => refused += 1,
            other => panic!("{other}"),
        }
    }
    assert!(looked_at > 0 && refused > looked_at, "{looked_at} {refused}");
    assert_eq!(
        password_hashes(&api).await,
        1 + looked_at,
        "a guess too many is refused before it costs anything"
    );
}

#[tokio::test]
async fn what_was_asked_for_before_is_new_after_a_change_and_is_never_somebody_elses() {
    let api = Api::start().await;
    let own = api.tenant("own").await;
    let limited = api.token(Role::Viewer, Scope::Tenant(own.parse().unwrap())).await;
    let slugs = async |path: &str, token: &str| -> Vec<String> {
        let list = api.send(request("GET", path).bearer(token)).await.expect(200);
        let tenants = list["tenants"].as_array().unwrap().iter();
        tenants.map(|tenant| tenant["slug"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(slugs("/api/tenants", &api.admin).await, ["own"]);
    let other = api.tenant("other").await;
    for _ in 0..2 {
        assert_eq!(slugs("/api/tenants", &api.admin).await, ["own", "other"]);
        assert_eq!(slugs("/api/tenants?limit=1", &api.admin).await, ["own"]);
        assert_eq!(slugs("/api/tenants?limit=1&offset=1", &api.admin).await, ["other"]);
        assert_eq!(slugs("/api/tenants?search=oth", &api.admin).await, ["other"]);
        assert_eq!(slugs("/api/tenants?status=running", &api.admin).await, [""; 0]);
        assert_eq!(slugs("/api/tenants", &limited).await, ["own"]);
    }
    let path = format!("/api/tenants/{other}");
    for _ in 0..2 {
        assert_eq!(api.get(&path).await.expect(200)["slug"], "other");
        api.send(request("GET", &path).bearer(&limited)).await.expect(404);
    }
    let renamed = api.put(&path, json!({"name": "Renamed"})).await;
    let page = api.get(&path).await;
    assert_eq!(page.expect(200)["name"], "Renamed");
    assert_eq!(page.header("etag"), renamed.header("etag"));
    let before = renamed.header("x-event-seq").unwrap().parse::<u64>().unwrap() - 1;
    let list = api.get("/api/tenants").await.expect(200);
    assert_eq!(list["tenants"][1]["name"], "Renamed");
    let past = api.get(&format!("/api/tenants?as_of={before}")).await.expect(200);
    assert_ne!(past["tenants"][1]["name"], "Renamed", "the past is not the present");
    assert_ne!(api.get(&format!("{path}?as_of={before}")).await.expect(200)["name"], "Renamed");
}
