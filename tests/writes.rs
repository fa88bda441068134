//! Every write there is: tried out, refused when the client has seen an older version, carried
//! out, and sent again.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

#[path = "support/api.rs"]
mod api;

use std::sync::atomic::Ordering;

use api::{Answer, Api, PATIENCE, Req, request, tenant_body};
use axum::http::Method;
use serde_json::{Value, json};
use tenantry::domain::command::{Command, Submission};
use tenantry::domain::theme::{Found, theory};
use tenantry::http::router::{self, Declared};
use tenantry_journal::event::Event;
use tenantry_journal::event::theme::SuggestionSource;
use tenantry_journal::id::{Seq, TenantId};
use tenantry_projections::world::World;
use tokio::time::Instant;

/// A write that would succeed, and what it is about.
struct Case {
    path: String,
    body: Body,
    /// A GET of what it changes.
    of: Option<String>,
    /// What it really does cannot be done here: why.
    only_tried: Option<&'static str>,
    /// A dry run tells of no event: it cannot know it, or there is none.
    silent: bool,
}

enum Body {
    Json(Value),
    Form(&'static str),
}

fn case(path: impl Into<String>, body: Value) -> Case {
    let body = Body::Json(body);
    Case { path: path.into(), body, of: None, only_tried: None, silent: false }
}

impl Case {
    fn of(self, path: impl Into<String>) -> Case {
        Case { of: Some(path.into()), ..self }
    }

    fn only_tried(self, why: &'static str) -> Case {
        Case { only_tried: Some(why), ..self }
    }

    fn request(&self, method: &Method, query: &str, changed: bool, token: &str) -> Req {
        let asked = request(method.as_str(), &format!("{}{query}", self.path)).bearer(token);
        match &self.body {
            // A space more is another body that means the same.
            Body::Json(json) => {
                let text = format!("{json}{}", if changed { " " } else { "" });
                asked.header("content-type", "application/json").text(&text)
            }
            Body::Form(color) => {
                let color = if changed { "#abcdef" } else { color };
                let text = format!(
                    "--x\r\nContent-Disposition: form-data; name=\"primary_color\"\r\n\r\n{color}\r\n--x--\r\n"
                );
                asked.header("content-type", "multipart/form-data; boundary=x").text(&text)
            }
        }
    }
}

struct Scene {
    api: Api,
    tenant: String,
}

impl Scene {
    async fn start() -> Scene {
        let api = Api::start().await;
        api.limit(1_000_000, 1_000_000);
        let tenant = api.tenant("smith").await;
        Scene { api, tenant }
    }

    async fn until<T>(&self, found: impl FnMut(&World) -> Option<T>) -> T {
        self.api.handle.until(Instant::now() + PATIENCE, found).await.expect("it comes")
    }

    async fn tell(&self, command: Command) {
        self.api.handle.submit(Submission::system(command, None)).await.unwrap();
    }

    async fn spawned(&self) {
        self.api.post("/api/instances", json!({"service": "api", "id": "one"})).await.expect(201);
    }

    fn user(&self, name: &str) -> String {
        self.api.handle.world().access.user_by_name(name).unwrap().id.to_string()
    }

    /// A deployment that has not ended, nor will while the puppet is idle.
    async fn deploying(&self) -> String {
        self.api.puppet.idle.store(true, Ordering::Relaxed);
        let command =
            Command::DeployTenant { tenant_id: self.tenant.parse().unwrap(), switches: Default::default() };
        self.tell(command).await;
        self.api.handle.world().deployments.iter().last().unwrap().id.to_string()
    }

    async fn suggested(&self) -> String {
        let tenant_id: TenantId = self.tenant.parse().unwrap();
        let website = "https://smith.example/".to_owned();
        self.tell(Command::RequestAnalysis { tenant_id, website, capture_screenshot: false }).await;
        let analysis_id = self.api.handle.world().analyses.of(tenant_id).next_back().unwrap().id;
        self.tell(Command::BeginAnalysis { analysis_id }).await;
        let found = Found {
            source: SuggestionSource::Palette,
            model: None,
            drafts: theory::suggest(&[]),
            palette: Vec::new(),
            screenshot: None,
            notes: Vec::new(),
        };
        self.tell(Command::FinishAnalysis { analysis_id, report: Box::new(Ok(found)) }).await;
        let world = self.api.handle.world();
        world.analyses.get(analysis_id).unwrap().result().unwrap().suggestions[0].id.to_string()
    }

    /// Makes the scene for a route, and a write that succeeds in it. `None` for what only checks.
    async fn case(&self, route: &Declared) -> Option<Case> {
        let (api, tenant) = (&self.api, &self.tenant);
        let below = |rest: &str| format!("/api/tenants/{tenant}{rest}");
        let case = match (route.method.as_str(), route.path) {
            ("POST", "/api/users") => case(
                "/api/users",
                json!({"username": "ute", "password": "correct horse", "email": "u@h.example", "role": "viewer"}),
            ),
            ("PUT", "/api/users/{id}") => {
                let user = format!("/api/users/{}", self.user("olga"));
                case(user.clone(), json!({"email": "o@h.example"})).of(user)
            }
            ("DELETE", "/api/users/{id}") => {
                let user = format!("/api/users/{}", self.user("olga"));
                case(user.clone(), json!({})).of(user)
            }
            ("PUT", "/api/users/{id}/password") => {
                let user = format!("/api/users/{}", self.user("olga"));
                case(format!("{user}/password"), json!({"password": "another horse"})).of(user)
            }
            ("PUT", "/api/settings/{key}") => {
                let path = "/api/settings/acme_contact";
                case(path, json!({"value": "a@h.example"})).of(path)
            }
            ("POST", "/api/tenants") => case("/api/tenants", tenant_body("jones")),
            ("PUT", "/api/tenants/{id}") => case(below(""), json!({"name": "Jones"})).of(below("")),
            ("DELETE", "/api/tenants/{id}") => case(below(""), json!({})).of(below("")),
            ("PUT", "/api/tenants/{id}/theme") => {
                Case { body: Body::Form("#123456"), ..case(below("/theme"), json!({})).of(below("/theme")) }
            }
            ("POST", "/api/tenants/{id}/theme/analyze") => {
                case(below("/theme/analyze"), json!({"website_url": "http://93.184.216.34/"})).of(below(""))
            }
            ("POST", "/api/tenants/{id}/theme/apply-suggestion") => {
                let suggestion = self.suggested().await;
                let body = json!({"suggestion_id": suggestion});
                case(below("/theme/apply-suggestion"), body).of(below("/theme"))
            }
            ("PUT", "/api/tenants/{id}/config") => {
                case(below("/config"), json!({"app_name": "Two"})).of(below("/config"))
            }
            ("POST", "/api/tenants/{id}/config/regenerate-env") => {
                case(below("/config/regenerate-env"), json!({})).of(below("/config"))
            }
            ("POST", "/api/tenants/{id}/deploy") => case(below("/deploy"), json!({})).of(below("")),
            ("POST", "/api/tenants/{id}/rollback") => {
                api.deployed(tenant).await;
                api.deployed(tenant).await;
                case(below("/rollback"), json!({})).of(below(""))
            }
            ("POST", "/api/deployments/{id}/cancel") => {
                let id = self.deploying().await;
                case(format!("/api/deployments/{id}/cancel"), json!({})).of(format!("/api/deployments/{id}"))
            }
            ("POST", "/api/deployments/{id}/retry") => {
                api.puppet.failing.store(true, Ordering::Relaxed);
                let id = api.post(&below("/deploy"), json!({})).await.expect(202)["deployment_id"].clone();
                let id = id.as_str().unwrap().to_owned();
                let deployment = id.parse().unwrap();
                self.tell(Command::CancelDeployment { deployment_id: deployment }).await;
                api.ended(&id).await;
                api.puppet.failing.store(false, Ordering::Relaxed);
                case(format!("/api/deployments/{id}/retry"), json!({})).of(format!("/api/deployments/{id}"))
            }
            ("POST", "/api/tenants/{id}/start") => {
                api.deployed(tenant).await;
                api.post(&below("/stop"), json!({})).await.expect(200);
                case(below("/start"), json!({})).of(below(""))
            }
            ("POST", "/api/tenants/{id}/stop") => {
                api.deployed(tenant).await;
                case(below("/stop"), json!({})).of(below(""))
            }
            ("POST", "/api/tenants/{id}/restart") => {
                api.deployed(tenant).await;
                case(below("/restart"), json!({})).of(below(""))
            }
            ("POST", "/api/tenants/{id}/remote/backup") => {
                api.deployed(tenant).await;
                let case = case(below("/remote/backup"), json!({})).of(below(""));
                Case { silent: true, ..case.only_tried("no backend listens here") }
            }
            ("POST", "/api/nginx/reload") => {
                case("/api/nginx/reload", json!({})).only_tried("there may be no nginx here")
            }
            ("POST", "/api/instances") => case("/api/instances", json!({"service": "api", "id": "two"})),
            ("DELETE", "/api/instances/{service}/{id}") => {
                self.spawned().await;
                case("/api/instances/api/one", json!({})).of("/api/instances/api/one")
            }
            ("POST", "/api/instances/{service}/{id}/restart") => {
                self.spawned().await;
                case("/api/instances/api/one/restart", json!({})).of("/api/instances/api/one")
            }
            ("PUT", "/api/instances/{service}/{id}/weight") => {
                self.spawned().await;
                case("/api/instances/api/one/weight", json!({"weight": 7})).of("/api/instances/api/one")
            }
            ("POST", "/api/config/reload") => {
                let case = case("/api/config/reload", json!({}));
                Case { silent: true, ..case.only_tried("this server was started without a file") }
            }
            ("POST", "/api/tokens") => case("/api/tokens", json!({"name": "new"})),
            ("DELETE", "/api/tokens/{id}") => {
                let token = api.post("/api/tokens", json!({"name": "old"})).await.expect(201);
                case(format!("/api/tokens/{}", token["id"].as_str().unwrap()), json!({}))
            }
            ("POST", "/api/events/{seq}/undo") => {
                let seq = api.put(&below(""), json!({"name": "Jones"})).await.seq();
                case(format!("/api/events/{seq}/undo"), json!({}))
            }
            ("POST", "/api/tenants/{id}/restore") => {
                let then = api.handle.world().seq;
                api.put(&below(""), json!({"name": "Jones"})).await.expect(200);
                case(below("/restore"), json!({"as_of": then.0})).of(below(""))
            }
            // A check of what runs: recorded by the supervisor when it finds something new.
            ("POST", "/api/tenants/{id}/health-check") => return None,
            _ if route.access.checks => return None,
            (method, path) => panic!("no case for {method} {path}: add one"),
        };
        Some(case)
    }

    fn head(&self) -> Seq {
        self.api.handle.world().seq
    }

    /// Everything that people asked for after a position; what it led to comes by itself.
    fn asked_for(&self, after: Seq) -> Vec<&'static str> {
        let slices = self.api.handle.feed().read(after.next(), 10_000).unwrap();
        let events = slices.iter().flat_map(|slice| slice.iter());
        let by_somebody = events.filter(|event| event.actor.id().is_some());
        by_somebody.map(|event| event.event.kind()).collect()
    }
}

fn kinds(events: &Value) -> Vec<String> {
    let events = events.as_array().unwrap_or_else(|| panic!("no events: {events}"));
    events.iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
}

fn writes() -> Vec<Declared> {
    let all = router::routes();
    let writes: Vec<_> = all.declared().iter().filter(|route| route.method != Method::GET).cloned().collect();
    assert!(writes.len() > 30, "{}", writes.len());
    writes
}

/// The moment at which nothing more happens by itself.
async fn settled(scene: &Scene) -> Seq {
    if scene.api.puppet.idle.load(Ordering::Relaxed) {
        return scene.head();
    }
    scene
        .until(|world| {
            tenantry::domain::react::react(world)
                .iter()
                .all(|due| {
                    due.not_before.is_some()
                        || matches!(due.effect, tenantry::domain::effect::Effect::Analyze(_))
                })
                .then_some(world.seq)
        })
        .await
}

#[tokio::test]
async fn a_dry_run_of_every_write_tells_its_events_and_changes_nothing() {
    for route in writes() {
        let scene = Scene::start().await;
        let case = scene.case(&route).await;
        let name = format!("{} {}", route.method, route.path);
        let head = settled(&scene).await;
        let Some(case) = case else {
            let path = route.path.replace("{id}", &scene.tenant);
            let asked = request(route.method.as_str(), &format!("{path}?dry_run=true"));
            let told = scene.api.send(asked.bearer(&scene.api.admin).json(&json!({}))).await;
            assert_eq!(told.expect(200), json!({"events": []}), "{name}");
            assert_eq!(scene.head(), head, "{name}");
            continue;
        };
        let tried =
            scene.api.send(case.request(&route.method, "?dry_run=true", false, &scene.api.admin)).await;
        if case.only_tried.is_some() && tried.status != 200 {
            assert!(matches!(tried.status, 409 | 422 | 503), "{name}: {tried:?}");
            assert_eq!(scene.head(), head, "{name}");
            continue;
        }
        let told = tried.expect(200)["events"].clone();
        let would = kinds(&told);
        assert_eq!(would.is_empty(), case.silent, "{name}: {told}");
        for (event, seq) in told.as_array().unwrap().iter().zip(head.0 + 1..) {
            assert_eq!(event["seq"], seq, "{name}");
        }
        assert_eq!((tried.header("x-event-seq"), scene.head()), (None, head), "{name}");
        if case.only_tried.is_some() {
            continue;
        }
        // What it told is what is then recorded.
        let done =
            carried_out(&scene, &route, case.request(&route.method, "", false, &scene.api.admin)).await;
        assert!((200..300).contains(&done.status), "{name}: {done:?}");
        assert!(done.seq() > head.0, "{name}");
        let asked_for = scene.asked_for(head);
        assert_eq!(asked_for.len(), would.len(), "{name}: {asked_for:?} {would:?}");
        assert!(would.iter().zip(&asked_for).all(|(would, did)| would == did), "{name}: {asked_for:?}");
    }
}

/// Sends a write; one that waits for the puppet lets it go on when it is recorded.
async fn carried_out(scene: &Scene, route: &Declared, request: Req) -> Answer {
    if !scene.api.puppet.idle.load(Ordering::Relaxed) {
        return scene.api.send(request).await;
    }
    let head = scene.head();
    let go_on = async {
        scene.until(|world| (world.seq > head).then_some(())).await;
        scene.api.puppet.idle.store(false, Ordering::Relaxed);
        scene.tell(Command::NoteKeeper { pid: 1, start_ticks: 1 }).await;
    };
    let (answer, ()) = tokio::join!(scene.api.send(request), go_on);
    assert!(route.path.ends_with("cancel"), "only that waits for what runs");
    answer
}

#[tokio::test]
async fn every_write_is_refused_when_what_it_is_about_has_moved_on() {
    let mut tagged = 0;
    for route in writes() {
        let scene = Scene::start().await;
        let Some(case) = scene.case(&route).await else { continue };
        let name = format!("{} {}", route.method, route.path);
        let head = settled(&scene).await;
        for stale in ["\"1\"", "\"999999999\"", "nonsense"] {
            let asked = case.request(&route.method, "", false, &scene.api.admin).header("if-match", stale);
            let refused = scene.api.send(asked).await;
            assert_eq!(refused.status, 412, "{name} {stale}: {refused:?}");
            assert_eq!(scene.head(), head, "{name}");
        }
        let Some(of) = &case.of else { continue };
        let shown = scene.api.get(of).await;
        let tag = shown.header("etag").unwrap_or_else(|| panic!("no ETag: {of}")).to_owned();
        tagged += 1;
        if case.only_tried.is_some() {
            continue;
        }
        let asked = case.request(&route.method, "", false, &scene.api.admin).header("if-match", &tag);
        let done = carried_out(&scene, &route, asked).await;
        assert!((200..300).contains(&done.status), "{name}: {done:?}");
    }
    assert!(tagged >= 20, "{tagged}");
}

#[tokio::test]
async fn every_write_that_comes_again_is_answered_as_the_first_time_and_done_once() {
    for route in writes() {
        let scene = Scene::start().await;
        let Some(case) = scene.case(&route).await.filter(|case| case.only_tried.is_none()) else { continue };
        let name = format!("{} {}", route.method, route.path);
        let head = settled(&scene).await;
        let asked = |changed: bool| {
            let asked = case.request(&route.method, "", changed, &scene.api.admin);
            asked.header("idempotency-key", "the-key")
        };
        let first = carried_out(&scene, &route, asked(false)).await;
        assert!((200..300).contains(&first.status), "{name}: {first:?}");
        settled(&scene).await;
        let did = scene.asked_for(head);
        let again = scene.api.send(asked(false)).await;
        assert_eq!((again.status, &again.text), (first.status, &first.text), "{name}");
        for header in ["x-event-seq", "etag", "location", "content-type"] {
            assert_eq!(again.header(header), first.header(header), "{name} {header}");
        }
        let other = scene.api.send(asked(true)).await;
        assert_eq!(other.status, 422, "{name}: {other:?}");
        assert_eq!(scene.asked_for(head), did, "{name}");
        // What was recorded does not let anybody guess the body, and is enough by itself.
        let slices = scene.api.handle.feed().read(head.next(), 10_000).unwrap();
        let keyed = slices.iter().flat_map(|slice| slice.iter()).filter_map(|event| event.idempotency);
        assert_eq!(keyed.count(), 1, "{name}");
        scene.api.repeats.forget();
        let recalled = scene.api.send(asked(false)).await;
        assert_eq!(scene.asked_for(head), did, "{name}: done once");
        // What it waits for may have gone on since; what was recorded stays.
        if recalled.status == first.status {
            assert_eq!(recalled.header("x-event-seq"), first.header("x-event-seq"), "{name}");
        }
        assert_eq!(scene.api.send(asked(true)).await.status, 422, "{name}");
    }
}

#[tokio::test]
async fn a_write_that_changed_nothing_does_nothing_when_it_comes_again() {
    let scene = Scene::start().await;
    scene.api.deployed(&scene.tenant).await;
    let path = |what: &str| format!("/api/tenants/{}/{what}", scene.tenant);
    let start = |body: &str| {
        let asked = request("POST", &path("start")).bearer(&scene.api.admin).text(body);
        asked.header("idempotency-key", "start")
    };
    let first = scene.api.send(start("")).await;
    first.expect(200);
    scene.api.post(&path("stop"), json!({})).await.expect(200);
    let head = settled(&scene).await;
    let again = scene.api.send(start("")).await;
    assert_eq!((again.status, again.text), (200, first.text));
    assert_eq!(scene.head(), head, "it stays stopped");
    assert_eq!(scene.api.send(start(" ")).await.status, 422);
}

#[tokio::test]
async fn a_digest_without_a_secret_of_an_earlier_version_is_recognized() {
    use tenantry_journal::recorded::{Actor, Idempotency};
    let scene = Scene::start().await;
    let user: uuid::Uuid = scene.user("admin").parse().unwrap();
    let digest = |parts: &[&[u8]]| {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut cut = [0; 16];
        hasher.finalize_xof().fill(&mut cut);
        cut
    };
    let path = format!("/api/tenants/{}", scene.tenant);
    let body = json!({"name": "Jones"}).to_string();
    let actor = [b"user".as_slice(), user.as_bytes()].concat();
    let submission = Submission {
        actor: Actor::User(tenantry_journal::id::UserId(user)),
        idempotency: Some(Idempotency {
            key: digest(&[&actor, b"old"]),
            request: digest(&[b"PUT", path.as_bytes(), body.as_bytes()]),
        }),
        ..Submission::system(
            Command::UpdateTenant {
                tenant_id: scene.tenant.parse().unwrap(),
                changes: tenantry::domain::command::TenantChanges {
                    name: Some("Jones".into()),
                    ..Default::default()
                },
            },
            None,
        )
    };
    let first = scene.api.handle.submit(submission).await.unwrap();
    assert!(matches!(first.events[0].event, Event::TenantUpdated(_)));
    let asked = |body: &str| {
        let asked = request("PUT", &path).bearer(&scene.api.admin).header("idempotency-key", "old");
        asked.header("content-type", "application/json").text(body)
    };
    let again = scene.api.send(asked(&body)).await;
    assert_eq!((again.status, again.seq(), scene.head()), (200, first.seq.0, first.seq), "{again:?}");
    assert_eq!(scene.api.send(asked("{}")).await.status, 422);
}
