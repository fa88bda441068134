//! Every GET there is: asked of the past, and followed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

#[path = "support/api.rs"]
mod api;
#[path = "reads/live.rs"]
mod live;
#[path = "reads/travel.rs"]
mod travel;

use api::Api;
use axum::http::Method;
use serde_json::{Value, json};
use tenantry::domain::command::{Command, Submission};
use tenantry::domain::theme::ThemeChanges;
use tenantry::http::router::{self, Declared, Shows};
use tenantry_journal::event::health::TenantHealth;
use tenantry_journal::id::TenantId;

/// A control plane with one of everything that a path can name.
pub(crate) struct Everything {
    pub(crate) api: Api,
    pub(crate) tenant: String,
    deployment: String,
    user: String,
}

impl Everything {
    pub(crate) async fn start() -> Everything {
        let api = Api::start().await;
        api.limit(1_000_000, 1_000_000);
        let tenant = api.tenant("smith").await;
        let deployment = api.deployed(&tenant).await;
        api.post("/api/instances", json!({"service": "api", "id": "one"})).await.expect(201);
        api.put("/api/settings/acme_contact", json!({"value": "one@h.example"})).await.expect(200);
        let user = api.handle.world().access.user_by_name("olga").unwrap().id.to_string();
        let all = Everything { api, tenant, deployment, user };
        all.theme("#111111").await;
        let health = Command::TenantHealthObserved {
            tenant_id: all.tenant.parse().unwrap(),
            overall: TenantHealth::Healthy,
            frontend: "up".into(),
            backend: "up".into(),
            database: "healthy".into(),
        };
        all.tell(health).await;
        let config = json!({"app_name": "One"});
        all.api.put(&format!("/api/tenants/{}/config", all.tenant), config).await.expect(200);
        all
    }

    pub(crate) async fn tell(&self, command: Command) {
        self.api.handle.submit(Submission::system(command, None)).await.unwrap();
    }

    async fn theme(&self, color: &str) {
        let tenant_id: TenantId = self.tenant.parse().unwrap();
        let colors = [("primary_color".to_owned(), color.to_owned())].into();
        let changes = ThemeChanges { colors, ..ThemeChanges::default() };
        self.tell(Command::UpdateTheme { tenant_id, changes }).await;
        let themed = |world: &tenantry_projections::world::World| {
            let tenant = world.tenants.get(tenant_id)?;
            (tenant.theme.applied >= tenant.theme.changed).then_some(())
        };
        self.api.handle.until(tokio::time::Instant::now() + api::PATIENCE, themed).await.unwrap();
    }

    /// Changes something of everything.
    pub(crate) async fn change(&self) {
        let tenant = &self.tenant;
        self.api.put(&format!("/api/tenants/{tenant}"), json!({"name": "Jones"})).await.expect(200);
        self.api.put(&format!("/api/tenants/{tenant}/config"), json!({"app_name": "Two"})).await.expect(200);
        self.theme("#222222").await;
        self.api.deployed(tenant).await;
        self.api.tenant("jones").await;
        self.api.post("/api/instances", json!({"service": "api", "id": "two"})).await.expect(201);
        self.api.put("/api/instances/api/one/weight", json!({"weight": 7})).await.expect(200);
        self.api.put("/api/settings/acme_contact", json!({"value": "two@h.example"})).await.expect(200);
        self.api.post("/api/tokens", json!({"name": "new"})).await.expect(201);
        let user = format!("/api/users/{}", self.user);
        self.api.put(&user, json!({"email": "other@h.example"})).await.expect(200);
        let admin = self.api.handle.world().access.user_by_name("admin").unwrap().id;
        self.api.put(&format!("/api/users/{admin}"), json!({"email": "me@h.example"})).await.expect(200);
    }

    /// The path of a route, with the query that it cannot do without.
    pub(crate) fn path(&self, route: &Declared) -> String {
        let id = match route.path {
            path if path.contains("/deployments/{id}") => &self.deployment,
            path if path.contains("/users/{id}") => &self.user,
            _ => &self.tenant,
        };
        let path = route.path.replace("{service}/{id}", "api/one").replace("{id}", id);
        let path = path.replace("{seq}", "4").replace("{key}", "acme_contact");
        let words = path.split('/').map(|word| if word.starts_with('{') { "nothing" } else { word });
        let path = words.collect::<Vec<_>>().join("/");
        match route.path {
            "/api/tenants/{id}/diff" => format!("{path}?from=1"),
            "/api/events/why" => format!("{path}?tenant={}", self.tenant),
            _ => path,
        }
    }
}

/// Every GET, and what it shows.
pub(crate) fn gets() -> Vec<(Declared, Shows)> {
    let all = router::routes();
    let gets = all.declared().iter().filter(|route| route.method == Method::GET);
    let gets: Vec<_> = gets.map(|route| (route.clone(), route.access.shows)).collect();
    assert!(gets.len() > 35, "{}", gets.len());
    gets
}

/// Adds a parameter to a path.
pub(crate) fn with(path: &str, parameter: &str) -> String {
    format!("{path}{}{parameter}", if path.contains('?') { '&' } else { '?' })
}

/// An answer without what is so just now and stands in no event.
pub(crate) fn lasting(mut answer: Value) -> Value {
    fn strip(value: &mut Value) {
        const LIVE: [&str; 17] = [
            "bytes",
            "uptime_ms",
            "uptime_s",
            "uptime_seconds",
            "last_check",
            "last_health_check",
            "last_used",
            "checked_at",
            "logs",
            "timestamp",
            "head_seq",
            "response_time_ms",
            "in_use",
            "listening",
            "status_code",
            "size_mb",
            "connections",
        ];
        match value {
            Value::Object(fields) => {
                fields.retain(|name, _| !LIVE.contains(&name.as_str()));
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut answer);
    answer
}
