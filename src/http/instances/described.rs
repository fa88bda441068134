//! What each route of document 2 takes and gives, for `/openapi.json`. One entry for each, in
//! the order of the table.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use super::{config, list, logs, merge, metrics, remove, restart, search, spawn, tail, tokens, view, weight};
use crate::http::manager::log;
use crate::http::openapi::Describe;

/// The configuration that holds, as a tree that reads like its file.
#[derive(JsonSchema)]
#[schemars(extend("additionalProperties" = true))]
#[expect(dead_code, reason = "described, never made")]
struct Config {
    /// The keys of `[settings]`.
    settings: Map<String, Value>,
    /// The keys of each `[service.NAME]`; secrets are hidden.
    services: BTreeMap<String, Map<String, Value>>,
}

/// Says what the routes of document 2 take and give.
pub(in crate::http) fn describe(all: &mut Describe) {
    instances(all);
    output(all);
    configuration(all);
    tokens(all);
}

fn instances(all: &mut Describe) {
    all.get("/api/instances", "listInstances", "List instances")
        .query::<list::Filter>()
        .answers::<list::Listed<'_>>();
    all.post("/api/instances", "spawnInstance", "Spawn an instance")
        .notes("Answers when its process is healthy; 422 with the reason when it does not become so.")
        .body::<spawn::Wanted>()
        .created::<spawn::Spawned<'_>>()
        .located();
    all.get("/api/instances/{service}/{id}", "getInstance", "Get an instance")
        .answers::<view::InstanceDetails<'_>>()
        .etag();
    all.delete("/api/instances/{service}/{id}", "stopInstance", "Stop an instance")
        .notes("Answers when nothing of it is left; its output stays until retention.")
        .answers::<remove::Stopped<'_>>();
    all.post("/api/instances/{service}/{id}/restart", "restartInstance", "Restart an instance")
        .answers::<restart::Restarting<'_>>();
    all.put(
        "/api/instances/{service}/{id}/weight",
        "weighInstance",
        "Set an instance's share of its service's traffic",
    )
    .body::<weight::Weight>()
    .answers::<weight::Weighted<'_>>();
    all.get("/api/metrics/{service}/{id}", "getInstanceMetrics", "What an instance uses now")
        .answers::<metrics::Metrics<'_>>();
    all.get(
        "/api/metrics/{service}/{id}/history",
        "getInstanceMetricsHistory",
        "What an instance used in the last hour",
    )
    .answers::<metrics::History<'_>>();
}

fn output(all: &mut Describe) {
    all.get("/api/logs", "listLogs", "Lines of the control plane's log, or what processes printed")
        .notes(
            "On the manager's listener the control plane's own log, on the instances' listener what processes \
             printed; `source` chooses. `follow=true` sends what processes print: over a WebSocket, or as \
             server-sent events with `Accept: text/event-stream`.",
        )
        .query::<logs::Params>()
        .query::<log::Params>()
        .answers::<log::Lines<'_>>()
        .answers::<logs::All>()
        .streams::<merge::LogLine>()
        .socket::<tail::Said, merge::LogLine>();
    all.get("/api/logs/{service}/{id}", "listInstanceLogs", "What an instance printed")
        .notes("`follow=true` as for `/api/logs`. `source=control` is refused here.")
        .query::<logs::Params>()
        .without(&["service", "instance"])
        .answers::<logs::One>()
        .streams::<merge::LogLine>()
        .socket::<tail::Said, merge::LogLine>();
    all.get(
        "/api/logs/stream",
        "followLogs",
        "Follow what processes print (WebSocket or server-sent events)",
    )
    .query::<logs::StreamParams>()
    .streams::<merge::LogLine>()
    .socket::<tail::Said, merge::LogLine>();
    all.post("/api/logs/search", "searchLogs", "Search what processes printed")
        .body::<search::Body>()
        .answers::<search::Results>();
}

fn configuration(all: &mut Describe) {
    let text = || json!({ "description": "A configuration, TOML or JSON, whatever the content type says." });
    all.get("/api/config", "getConfig", "The configuration that holds").answers::<Config>().etag();
    all.get("/api/config/validate", "validateConfig", "Say what is wrong with a configuration")
        .notes("Takes the configuration as its body, as document 2 prints it; POST does the same.")
        .answers::<config::Valid>()
        .fails::<config::Invalid>(400);
    all.post("/api/config/validate", "validateConfigByPost", "Say what is wrong with a configuration")
        .other_body("application/json", false, text())
        .answers::<config::Valid>()
        .fails::<config::Invalid>(400);
    all.post("/api/config/reload", "reloadConfig", "Read the configuration file again")
        .answers::<config::Reloaded<'_>>();
}

fn tokens(all: &mut Describe) {
    all.get("/api/tokens", "listTokens", "List tokens")
        .query::<tokens::Paging>()
        .answers::<tokens::Listed<'_>>();
    all.post("/api/tokens", "createToken", "Create a token")
        .notes("Its text is in this answer and nowhere else.")
        .body::<tokens::Wanted>()
        .created::<tokens::Created<'_>>();
    all.delete("/api/tokens/{id}", "revokeToken", "Revoke a token").nothing();
}
