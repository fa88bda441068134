//! Every route there is, asked by nobody, by strangers, by every role, by somebody of another
//! tenant, and by somebody who is kept out. What the table of routes says is what happens.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

#[path = "support/api.rs"]
mod api;

use api::{Api, PASSWORD, Req, request};
use axum::http::Method;
use serde_json::json;
use tenantry::domain::command::{Command, Submission};
use tenantry::domain::user::UserChanges;
use tenantry::http::router::{self, Declared, Who};
use tenantry_journal::event::access::{Role, Scope};

const ROLES: [Role; 3] = [Role::Viewer, Role::Operator, Role::Admin];
/// An id that nothing has.
const NOBODY: &str = "01a08b3c-0000-7000-8000-000000000000";

/// What a route's path is filled with.
#[derive(Clone)]
struct Ids {
    tenant: String,
    deployment: String,
    user: String,
    slug: String,
}

impl Ids {
    fn of_nothing() -> Ids {
        let id = NOBODY.to_owned();
        Ids { tenant: id.clone(), deployment: id.clone(), user: id, slug: "nobody".into() }
    }

    fn fill(&self, route: &Declared) -> String {
        let id = match route.path {
            path if path.contains("/deployments/{id}") => &self.deployment,
            path if path.contains("/users/{id}") => &self.user,
            _ => &self.tenant,
        };
        let path =
            route.path.replace("{service}/{id}", &format!("backend/{}", self.slug)).replace("{id}", id);
        let path = path.replace("{seq}", "1").replace("{key}", "acme_contact");
        // Whatever else is named by a path is named by nothing here.
        let words = path.split('/').map(|word| if word.starts_with('{') { "nothing" } else { word });
        words.collect::<Vec<_>>().join("/")
    }
}

fn ask(route: &Declared, path: &str) -> Req {
    let asked = request(route.method.as_str(), path);
    if route.method == Method::GET { asked } else { asked.json(&json!({})) }
}

/// The status on both listeners, whatever comes after the head of the answer.
async fn statuses(api: &Api, make: impl Fn() -> Req) -> [u16; 2] {
    [api.open(make()).await, api.open_instances(make()).await].map(|answer| answer.status().as_u16())
}

fn is_refused(status: u16) -> bool {
    matches!(status, 401 | 403)
}

fn all() -> Vec<Declared> {
    router::routes().declared().to_vec()
}

/// The role that a route takes; of one's own an administrator's, for nothing here is one's own.
fn needed(route: &Declared) -> Option<(Role, bool)> {
    match route.access.who {
        Who::Anyone => None,
        Who::Role(role) | Who::Socket(role) => Some((role, route.access.unlimited)),
        Who::Own => Some((Role::Admin, true)),
    }
}

#[tokio::test]
async fn nobody_and_strangers_get_nowhere() {
    let api = Api::start().await;
    let tenant = api.tenant("smith").await;
    let ids = Ids { tenant, slug: "smith".into(), ..Ids::of_nothing() };
    let (head, routes) = (api.handle.world().seq, all());
    assert!(routes.len() > 40, "{}", routes.len());
    let strangers = ["x".to_owned(), tenantry::auth::token::generate().reveal().to_owned()];
    for route in routes.iter().filter(|route| route.access.who != Who::Anyone) {
        for path in [ids.fill(route), Ids::of_nothing().fill(route)] {
            let nobody = statuses(&api, || ask(route, &path)).await;
            assert_eq!(nobody, [401, 401], "{} {path} without a credential", route.method);
            for stranger in &strangers {
                let seen = statuses(&api, || ask(route, &path).bearer(stranger)).await;
                assert_eq!(seen, [401, 401], "{} {path} for a stranger", route.method);
            }
        }
    }
    assert_eq!(api.handle.world().seq, head, "nothing was recorded");
}

#[tokio::test]
async fn each_role_gets_as_far_as_the_table_says_and_no_further() {
    let api = Api::start().await;
    api.limit(1_000_000, 1_000_000);
    let tenant = api.tenant("smith").await;
    let known = Ids { tenant, slug: "smith".into(), ..Ids::of_nothing() };
    for role in ROLES {
        let token = api.token(role, Scope::All).await;
        for route in all() {
            let Some((needed, _)) = needed(&route) else { continue };
            if role < needed {
                // 403 comes before 404, so nobody finds out what there is.
                let head = api.handle.world().seq;
                for ids in [&known, &Ids::of_nothing()] {
                    let path = ids.fill(&route);
                    let seen = statuses(&api, || ask(&route, &path).bearer(&token)).await;
                    assert_eq!(seen, [403, 403], "{} {path} as {role:?}", route.method);
                }
                assert_eq!(api.handle.world().seq, head);
            } else {
                let path = Ids::of_nothing().fill(&route);
                let seen = statuses(&api, || ask(&route, &path).bearer(&token)).await;
                assert!(!seen.into_iter().any(is_refused), "{} {path} as {role:?}", route.method);
            }
        }
    }
}

#[tokio::test]
async fn somebody_of_another_tenant_gets_nowhere_near_this_one() {
    let api = Api::start().await;
    api.limit(1_000_000, 1_000_000);
    let own = api.tenant("jones").await;
    let tenant = api.tenant("smith").await;
    let deployment = api.deployed(&tenant).await;
    let user = api.handle.world().access.user_by_name("olga").unwrap().id.to_string();
    let ids = Ids { tenant: tenant.clone(), deployment, user, slug: "smith".into() };
    let own = own.parse().unwrap();
    let head = api.handle.world().seq;
    let mut tokens = Vec::new();
    for scope in [Scope::Tenant(own), Scope::Tenants([own].into())] {
        tokens.push(api.token(Role::Admin, scope).await);
    }
    let made = api.handle.world().seq;
    assert!(made > head);
    for token in tokens {
        for route in all() {
            let Some((_, unlimited)) = needed(&route) else { continue };
            let path = ids.fill(&route);
            let names_it =
                [&ids.tenant, &ids.deployment, &ids.slug].iter().any(|id| path.contains(id.as_str()));
            let seen = statuses(&api, || ask(&route, &path).bearer(&token)).await;
            if unlimited {
                assert_eq!(seen, [403, 403], "{} {path}", route.method);
            } else if names_it {
                let is_missing = |status: &u16| matches!(status, 400 | 403 | 404 | 415 | 422 | 426);
                assert!(seen.iter().all(is_missing), "{} {path}: {seen:?}", route.method);
            }
        }
    }
    assert_eq!(api.handle.world().seq, made, "nothing was recorded");
}

#[tokio::test]
async fn a_user_who_is_kept_out_is_kept_out_everywhere() {
    let api = Api::start().await;
    let tenant = api.tenant("smith").await;
    let hash = tenantry::auth::password::hash(PASSWORD).unwrap();
    let create = Command::CreateUser {
        username: "tom".into(),
        email: "t@h.example".into(),
        role: Role::Admin,
        scope: Scope::All,
        password_hash: hash,
    };
    api.handle.submit(Submission::system(create, None)).await.unwrap();
    let login = api.login("tom").await;
    let user_id = api.handle.world().access.user_by_name("tom").unwrap().id;
    let changes = UserChanges { disabled: Some(true), ..UserChanges::default() };
    api.handle.submit(Submission::system(Command::UpdateUser { user_id, changes }, None)).await.unwrap();
    let ids = Ids { tenant, user: user_id.to_string(), slug: "smith".into(), ..Ids::of_nothing() };
    for route in all().iter().filter(|route| route.access.who != Who::Anyone) {
        let path = ids.fill(route);
        let seen = statuses(&api, || ask(route, &path).bearer(&login)).await;
        assert_eq!(seen, [401, 401], "{} {path}", route.method);
    }
}
