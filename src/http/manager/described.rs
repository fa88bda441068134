//! What each route of document 1 takes and gives, for `/openapi.json`. One entry for each, in
//! the order of the table.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::{
    auth, config, deployment_feed, deployments, health_ws, nginx, ports, remote, rollbacks, service_logs,
    services, settings, tenants, theme, theme_analysis, users, view,
};
use crate::domain::tenant_config;
use crate::domain::theme::{COLOR_FIELDS, LOGO_FIELDS};
use crate::http::openapi::Describe;
use crate::http::ws::First;

/// A configuration's fields, by the table that names them.
pub(super) struct ConfigFields;

impl JsonSchema for ConfigFields {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ConfigFields".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = tenant_config::FIELDS.iter().map(|field| field.name).collect();
        let fields: Map<String, Value> =
            names.iter().map(|name| ((*name).to_owned(), json!({ "type": "string" }))).collect();
        json_schema!({ "type": "object", "properties": fields, "required": names })
    }
}

/// The figures of a tenant's own API, passed on as it gave them.
#[derive(JsonSchema)]
#[schemars(extend("additionalProperties" = true))]
#[expect(dead_code, reason = "described, never made")]
struct RemoteStats {
    #[schemars(skip_serializing_if = "Option::is_none")]
    persons: Option<u64>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    events: Option<u64>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    tags: Option<u64>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    segments: Option<u64>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    communications: Option<u64>,
    #[schemars(skip_serializing_if = "Option::is_none")]
    database_size_mb: Option<f64>,
}

/// How many persons a tenant's own API counts, passed on as it gave it.
#[derive(JsonSchema)]
#[schemars(extend("additionalProperties" = true))]
#[expect(dead_code, reason = "described, never made")]
struct PersonsCount {
    total: u64,
    #[schemars(skip_serializing_if = "Option::is_none")]
    by_status: Option<std::collections::BTreeMap<String, u64>>,
}

/// The form of a theme: colours and files.
fn theme_form() -> Value {
    let color =
        || json!({ "type": "string", "description": "`#rgb` or `#rrggbb`.", "examples": ["#0e173e"] });
    let file = || {
        json!({ "type": "string", "contentMediaType": "application/octet-stream",
            "description": "PNG, JPEG, WebP or SVG; a field without a file takes the logo away." })
    };
    let colors = COLOR_FIELDS.iter().map(|name| ((*name).to_owned(), color()));
    let fields: Map<String, Value> =
        colors.chain(LOGO_FIELDS.iter().map(|name| ((*name).to_owned(), file()))).collect();
    json!({ "type": "object", "properties": fields, "additionalProperties": false, "minProperties": 1 })
}

/// Says what the routes of document 1 take and give.
pub(in crate::http) fn describe(all: &mut Describe) {
    people(all);
    tenants(all);
    themes(all);
    deployments(all);
    running(all);
    machine(all);
}

fn people(all: &mut Describe) {
    all.post("/api/auth/login", "login", "Log in").body::<auth::Login>().answers::<auth::LoggedIn<'_>>();
    all.get("/api/users", "listUsers", "List users")
        .query::<users::UserQuery>()
        .answers::<users::UserList<'_>>();
    all.post("/api/users", "createUser", "Create a user")
        .body::<users::NewUser>()
        .created::<users::UserView<'_>>()
        .etag()
        .located();
    all.get("/api/users/me", "getOwnUser", "Who is logged in").answers::<users::UserView<'_>>().etag();
    all.get("/api/users/{id}", "getUser", "Get a user").answers::<users::UserView<'_>>().etag();
    all.put("/api/users/{id}", "updateUser", "Update a user")
        .body::<users::Changes>()
        .answers::<users::UserView<'_>>()
        .etag();
    all.delete("/api/users/{id}", "deleteUser", "Delete a user").answers::<users::Deleted>();
    all.put("/api/users/{id}/password", "changePassword", "Change a password")
        .notes("One's own takes `current_password`; an administrator changes others' without.")
        .body::<users::NewPassword>()
        .answers::<users::UserView<'_>>()
        .etag();
    all.get("/api/settings", "listSettings", "List settings").answers::<settings::Listed>();
    all.get("/api/settings/{key}", "getSetting", "Get a setting").answers::<settings::SettingView>().etag();
    all.put("/api/settings/{key}", "updateSetting", "Change a setting")
        .body::<settings::NewValue>()
        .answers::<settings::SettingView>()
        .etag();
}

fn tenants(all: &mut Describe) {
    all.get("/api/tenants", "listTenants", "List tenants")
        .query::<tenants::TenantQuery>()
        .answers::<tenants::TenantList<'_>>();
    all.post("/api/tenants", "createTenant", "Create a tenant")
        .body::<tenants::NewTenant>()
        .created::<view::TenantPage<'_>>()
        .etag()
        .located();
    all.get("/api/tenants/{id}", "getTenant", "Get a tenant").answers::<view::TenantPage<'_>>().etag();
    all.put("/api/tenants/{id}", "updateTenant", "Update a tenant")
        .body::<tenants::Changes>()
        .answers::<view::TenantPage<'_>>()
        .etag();
    all.delete("/api/tenants/{id}", "deleteTenant", "Delete a tenant")
        .notes("Answers when it is gone.")
        .query::<tenants::DeleteQuery>()
        .answers::<tenants::Deleted>();
    all.get("/api/tenants/{id}/config", "getTenantConfig", "Get a tenant's configuration")
        .answers::<config::ConfigView>()
        .etag();
    all.put("/api/tenants/{id}/config", "updateTenantConfig", "Update a tenant's configuration")
        .notes("A field that is `null` follows from the tenant again; `custom_env` is replaced whole.")
        .body::<config::Changes>()
        .answers::<config::ConfigView>()
        .etag();
    all.post("/api/tenants/{id}/config/regenerate-env", "regenerateEnv", "Write a tenant's .env file again")
        .answers::<config::Regenerated>();
}

fn themes(all: &mut Describe) {
    const PICTURES: [&str; 4] = ["image/png", "image/jpeg", "image/webp", "image/svg+xml"];
    all.get("/api/tenants/{id}/theme", "getTheme", "Get a tenant's theme")
        .answers::<theme::ThemeView>()
        .etag();
    all.put("/api/tenants/{id}/theme", "updateTheme", "Update a tenant's theme")
        .other_body("multipart/form-data", true, theme_form())
        .answers::<theme::Updated>()
        .etag();
    all.get("/api/tenants/{id}/theme/logos/{kind}", "getLogo", "Get one of a tenant's logos")
        .gives(&PICTURES)
        .etag();
    all.post("/api/tenants/{id}/theme/analyze", "analyzeWebsite", "Have a website analyzed")
        .body::<theme_analysis::Wanted>()
        .accepted::<theme_analysis::Requested>()
        .located();
    all.get("/api/tenants/{id}/theme/suggestions", "getThemeSuggestions", "Get what an analysis suggests")
        .query::<theme_analysis::Which>()
        .answers::<theme_analysis::AnalysisView<'_>>()
        .etag();
    all.get(
        "/api/tenants/{id}/theme/screenshots/{file}",
        "getScreenshot",
        "Get the picture of an analyzed page",
    )
    .gives(&["image/png"])
    .etag();
    all.post("/api/tenants/{id}/theme/apply-suggestion", "applySuggestion", "Take a suggestion")
        .body::<theme_analysis::Chosen>()
        .answers::<theme_analysis::Applied>()
        .etag();
}

fn deployments(all: &mut Describe) {
    all.post("/api/tenants/{id}/deploy", "deployTenant", "Deploy a tenant")
        .query::<deployments::DeployQuery>()
        .optional_body::<deployments::Switches>()
        .accepted::<deployments::Requested>()
        .located();
    all.get(
        "/api/tenants/{id}/deployments",
        "listDeployments",
        "List a tenant's deployments, the newest first",
    )
    .query::<deployments::ListQuery>()
    .answers::<deployments::DeploymentList<'_>>();
    all.post("/api/tenants/{id}/rollback", "rollBackTenant", "Deploy an earlier release")
        .notes("Without a release, the one that served before.")
        .optional_body::<rollbacks::Rollback>()
        .accepted::<deployments::Requested>()
        .located();
    all.get("/api/tenants/{id}/releases", "listReleases", "List a tenant's releases, the newest first")
        .query::<rollbacks::ListQuery>()
        .answers::<rollbacks::ReleaseList<'_>>();
    all.post("/api/deployments/{id}/cancel", "cancelDeployment", "Call a deployment off")
        .answers::<deployments::DeploymentView<'_>>();
    all.post("/api/deployments/{id}/retry", "retryDeployment", "Take a deployment up again")
        .notes("From the step that did not succeed.")
        .accepted::<deployments::Requested>()
        .located();
    all.get("/api/deployments/{id}", "getDeployment", "Get a deployment")
        .answers::<deployments::DeploymentView<'_>>()
        .etag();
    all.get("/api/deployments/{id}/logs", "getDeploymentLogs", "Get a deployment's log")
        .notes("`stream=true` sends it as server-sent events.")
        .query::<deployments::LogQuery>()
        .answers::<deployments::Logs>()
        .streams::<deployment_feed::Message>();
    all.get("/ws/deployments/{id}", "followDeployment", "Follow a deployment (WebSocket)")
        .socket::<First, deployment_feed::Message>();
}

fn running(all: &mut Describe) {
    all.post("/api/tenants/{id}/start", "startTenant", "Start a tenant's processes")
        .answers::<services::Done>();
    all.post("/api/tenants/{id}/stop", "stopTenant", "Stop a tenant's processes").answers::<services::Done>();
    all.post("/api/tenants/{id}/restart", "restartTenant", "Restart a tenant's processes")
        .answers::<services::Done>();
    all.get("/api/tenants/{id}/health", "getTenantHealth", "What the last check of a tenant found")
        .answers::<view::HealthView>();
    all.post("/api/tenants/{id}/health-check", "checkTenant", "Check a tenant now")
        .answers::<view::HealthView>();
    all.get("/api/tenants/{id}/logs", "getTenantLogs", "What a tenant's frontend or backend printed")
        .notes("`follow=true` sends it as server-sent events.")
        .query::<service_logs::Params>()
        .answers::<service_logs::Logs>()
        .streams::<deployment_feed::Message>();
    all.get("/api/tenants/{id}/remote/stats", "getRemoteStats", "Ask a tenant's own API for its figures")
        .answers::<RemoteStats>();
    all.get(
        "/api/tenants/{id}/remote/persons/count",
        "countRemotePersons",
        "Ask a tenant's own API how many persons it has",
    )
    .answers::<PersonsCount>();
    all.post("/api/tenants/{id}/remote/backup", "backUpRemote", "Have a tenant's own API make a backup")
        .answers::<remote::BackedUp<'_>>();
    all.get("/ws/tenants/{id}/health", "followTenantHealth", "Follow a tenant's health (WebSocket)")
        .socket::<First, health_ws::Update>();
}

fn machine(all: &mut Describe) {
    all.post("/api/nginx/reload", "reloadNginx", "Test and reload nginx").answers::<nginx::Reloaded>();
    all.post("/api/nginx/test", "testNginx", "Test the nginx configuration").answers::<nginx::TestedView>();
    all.get("/api/nginx/configs", "listNginxConfigs", "List nginx sites").answers::<nginx::Configs>();
    all.get("/api/ports", "listPorts", "List pairs of ports").answers::<ports::Allocations<'_>>();
    all.get("/api/ports/next-available", "getNextPorts", "The pair that the next tenant would get")
        .answers::<ports::Pair>();
}
