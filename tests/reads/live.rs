//! Live queries: every list and resource with `Accept: text/event-stream`.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::StatusCode;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tenantry::domain::command::{Command, Submission};
use tenantry::http::router::Shows;
use tenantry_journal::event::access::{Role, Scope};
use tokio::time::{Instant, timeout};

use crate::api::{Api, PATIENCE, Req, request};
use crate::{Everything, gets, lasting};

/// What a test waits for something that must not come.
const QUIET: Duration = Duration::from_millis(700);

/// One server-sent event.
#[derive(Debug)]
struct Sent {
    id: u64,
    event: Option<String>,
    data: Value,
}

struct Following {
    body: BodyDataStream,
    text: String,
}

impl Following {
    fn new(body: Body) -> Following {
        Following { body: body.into_data_stream(), text: String::new() }
    }

    /// The next event; `None` at the end. Comments are passed over.
    async fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    let lines = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                    let lines: Vec<&str> = lines.collect();
                    (!lines.is_empty()).then(|| lines.join("\n"))
                };
                let Some(id) = field("id") else { continue };
                let data = serde_json::from_str(&field("data").unwrap()).unwrap();
                return Some(Sent { id: id.parse().unwrap(), event: field("event"), data });
            }
            let more = timeout(PATIENCE, self.body.next()).await.expect("something comes")?;
            self.text.push_str(std::str::from_utf8(&more.unwrap()).unwrap());
        }
    }

    async fn state(&mut self) -> Sent {
        let sent = self.next().await.expect("a state");
        assert_eq!(sent.event, None, "{sent:?}");
        sent
    }

    /// Waits for a state that is as wanted.
    async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Sent {
        loop {
            let sent = self.state().await;
            if wanted(&sent.data) {
                return sent;
            }
        }
    }

    async fn is_quiet(&mut self) -> bool {
        timeout(QUIET, self.next()).await.is_err()
    }
}

fn live(path: &str, token: &str) -> Req {
    request("GET", path).bearer(token).header("accept", "text/event-stream")
}

async fn follow(api: &Api, path: &str) -> Following {
    let response = api.open(live(path, &api.admin)).await;
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    Following::new(response.into_body())
}

async fn metric(api: &Api, name: &str) -> u64 {
    let page = api.send(request("GET", "/metrics")).await;
    let line = page.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

#[tokio::test]
async fn every_list_and_resource_can_be_followed_and_ends_up_as_a_get_shows_it() {
    let all = Everything::start().await;
    let mut followed = Vec::new();
    for (route, shows) in gets() {
        let path = all.path(&route);
        match shows {
            Shows::Lines => continue,
            Shows::Now => {
                let refused = all.api.send(live(&path, &all.api.admin)).await;
                let body = refused.expect(406);
                let code = body["code"].as_str().or(body["error"].as_str()).unwrap().to_lowercase();
                assert_eq!(code, "not_live", "{path}");
                continue;
            }
            Shows::State => {}
        }
        let plain = all.api.get(&path).await;
        if plain.status != 200 {
            assert_eq!(all.api.send(live(&path, &all.api.admin)).await.status, plain.status, "{path}");
            continue;
        }
        let head = all.api.handle.world().seq.0;
        let mut stream = follow(&all.api, &path).await;
        let first = stream.state().await;
        assert_eq!(first.id, head, "{path}");
        assert_eq!(lasting(first.data.clone()), lasting(plain.expect(200)), "{path}");
        let past = crate::with(&path, &format!("as_of={head}"));
        assert_eq!(all.api.send(live(&past, &all.api.admin)).await.status, 400, "{past}");
        followed.push((path, stream, first.data));
    }
    assert!(followed.len() >= 22, "{}", followed.len());
    assert_eq!(metric(&all.api, "tenantry_live_queries").await, followed.len() as u64);
    all.change().await;
    let mut changed = 0;
    for (path, mut stream, first) in followed {
        let now = lasting(all.api.get(&path).await.expect(200));
        if now == lasting(first) {
            continue;
        }
        let last = stream.until(|state| lasting(state.clone()) == now).await;
        assert!(last.id <= all.api.handle.world().seq.0, "{path}");
        changed += 1;
    }
    assert!(changed >= 16, "{changed}");
    let deadline = Instant::now() + PATIENCE;
    while metric(&all.api, "tenantry_live_queries").await > 0 {
        assert!(Instant::now() < deadline, "those who left are counted no more");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_does_not_concern_a_tenant_is_neither_sent_nor_rendered() {
    let all = Everything::start().await;
    let other = all.api.tenant("jones").await;
    let mut stream = follow(&all.api, &format!("/api/tenants/{}", all.tenant)).await;
    stream.state().await;
    let renderings = metric(&all.api, "tenantry_live_queries_rendered_total").await;
    for name in ["A", "B", "C"] {
        all.api.put(&format!("/api/tenants/{other}"), json!({"name": name})).await.expect(200);
    }
    assert!(stream.is_quiet().await);
    assert_eq!(metric(&all.api, "tenantry_live_queries_rendered_total").await, renderings);
    let put = all.api.put(&format!("/api/tenants/{}", all.tenant), json!({"name": "Mine"})).await;
    let sent = stream.state().await;
    assert_eq!((sent.data["name"].as_str(), sent.id), (Some("Mine"), put.seq()));
}

#[tokio::test]
async fn followers_of_the_same_share_one_rendering_and_a_burst_is_a_few_states() {
    let all = Everything::start().await;
    let path = format!("/api/tenants/{}", all.tenant);
    let mut streams = Vec::new();
    for _ in 0..200 {
        let mut stream = follow(&all.api, &path).await;
        stream.state().await;
        streams.push(stream);
    }
    assert_eq!(metric(&all.api, "tenantry_live_queries").await, 200);
    assert_eq!(metric(&all.api, "tenantry_live_queries_distinct").await, 1);
    let before = metric(&all.api, "tenantry_live_queries_rendered_total").await;
    let began = Instant::now();
    let tenant_id = all.tenant.parse().unwrap();
    for n in 0..300 {
        let changes = tenantry::domain::command::TenantChanges {
            name: Some(format!("Name {n}")),
            ..Default::default()
        };
        let command = Command::UpdateTenant { tenant_id, changes };
        all.api.handle.submit(Submission::system(command, None)).await.unwrap();
    }
    for stream in &mut streams {
        let mut states = 0;
        loop {
            states += 1;
            if stream.state().await.data["name"] == "Name 299" {
                break;
            }
        }
        let most = began.elapsed().as_millis() / 100 + 2;
        assert!(states <= most, "{states} states");
    }
    let rendered = metric(&all.api, "tenantry_live_queries_rendered_total").await - before;
    assert!(u128::from(rendered) <= began.elapsed().as_millis() / 100 + 2, "{rendered} renderings");
    assert!(metric(&all.api, "tenantry_live_queries_coalesced_total").await > 0);
}

#[tokio::test]
async fn the_end_of_what_is_followed_is_told_once_and_ends_the_stream() {
    let all = Everything::start().await;
    let mut stream = follow(&all.api, "/api/instances/api/one").await;
    stream.state().await;
    all.api.delete("/api/instances/api/one").await.expect(200);
    loop {
        let sent = stream.next().await.expect("the end is told");
        if let Some(event) = sent.event {
            assert_eq!((event.as_str(), sent.data["error"].as_str()), ("gone", Some("instance_not_found")));
            break;
        }
    }
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_revoked_credential_ends_what_it_follows_and_sees_nothing_more() {
    let all = Everything::start().await;
    let token = all.api.token(Role::Viewer, Scope::All).await;
    let id = all.api.handle.world().access.tokens().last().unwrap().id;
    let response = all.api.open(live("/api/tokens", &token)).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN, "what a GET may not see cannot be followed");
    let response = all.api.open(live("/api/tenants", &token)).await;
    let mut stream = Following::new(response.into_body());
    stream.state().await;
    all.tell(Command::RevokeToken { token_id: id }).await;
    all.api.tenant("jones").await;
    let ended = timeout(PATIENCE, stream.next()).await.expect("it ends");
    assert!(ended.is_none(), "{ended:?}");
}

#[tokio::test]
async fn whoever_comes_back_sees_nothing_older_and_nothing_twice() {
    let all = Everything::start().await;
    let path = format!("/api/tenants/{}/theme", all.tenant);
    let head = all.api.handle.world().seq.0;
    let again = |seq: u64| live(&path, &all.api.admin).header("last-event-id", &seq.to_string());
    let mut known = Following::new(all.api.open(again(head)).await.into_body());
    assert!(known.is_quiet().await, "it is known");
    let mut old = Following::new(all.api.open(again(head - 1)).await.into_body());
    assert_eq!(old.state().await.id, head);
    let wrong = live(&path, &all.api.admin).header("last-event-id", "x");
    assert_eq!(all.api.open(wrong).await.status(), StatusCode::BAD_REQUEST);
    // Who has seen more than is here waits for it; as for X-Min-Seq.
    let ahead = all.api.open(again(head + 1));
    let min = all.api.open(live(&path, &all.api.admin).header("x-min-seq", &(head + 1).to_string()));
    let told = all.tell(Command::NoteKeeper { pid: 1, start_ticks: 1 });
    let (ahead, min, ()) = tokio::join!(ahead, min, told);
    for (response, seq) in [(ahead, None), (min, Some(head + 1))] {
        assert_eq!(response.status(), StatusCode::OK);
        let mut stream = Following::new(response.into_body());
        match seq {
            Some(seq) => assert_eq!(stream.state().await.id, seq),
            None => assert!(stream.is_quiet().await, "it is known"),
        }
    }
}

#[tokio::test]
async fn a_live_query_counts_once_and_nobody_opens_too_many() {
    let all = Everything::start().await;
    let token = all.api.token(Role::Viewer, Scope::All).await;
    all.api.limit(3, 100);
    let response = all.api.open(live("/api/tenants", &token)).await;
    assert_eq!(response.headers()["x-ratelimit-remaining"], "2");
    let mut stream = Following::new(response.into_body());
    stream.state().await;
    for slug in ["a-one", "a-two"] {
        all.api.limit(1_000_000, 1_000_000);
        all.api.tenant(slug).await;
        all.api.limit(3, 100);
        stream.until(|list| list.to_string().contains(slug)).await;
    }
    let left = all.api.send(request("GET", "/api/tenants").bearer(&token)).await;
    assert_eq!(left.header("x-ratelimit-remaining"), Some("1"));
    all.api.limit(1_000_000, 1_000_000);
    let mut open = vec![stream];
    while open.len() < 1024 {
        let response = all.api.open(live("/api/tenants", &token)).await;
        assert_eq!(response.status(), StatusCode::OK);
        open.push(Following::new(response.into_body()));
    }
    assert_eq!(all.api.open(live("/api/tenants", &token)).await.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(all.api.open(live("/api/tenants", &all.api.admin)).await.status(), StatusCode::OK);
    open.pop();
    assert_eq!(all.api.open(live("/api/tenants", &token)).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_picture_cannot_be_followed_and_json_is_given_to_who_takes_both() {
    let all = Everything::start().await;
    let both = |path: &str| {
        request("GET", path).bearer(&all.api.admin).header("accept", "application/json, text/event-stream")
    };
    // Of what cannot be followed.
    let page = all.api.send(both("/health")).await;
    assert_eq!(page.header("content-type"), Some("application/json"));
    // Of what can.
    let response = all.api.open(both("/api/tenants")).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
}
