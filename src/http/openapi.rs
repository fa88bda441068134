//! `/openapi.json`: every route as OpenAPI 3.1, and `/docs`, a page to read it.
//!
//! The document is built from the table of routes ([`super::router`]) and from the very types
//! that are read and written. Each room says in its `described.rs` what a route takes and gives,
//! one entry for each; what all GETs or all writes have in common is added from the table, in
//! [`common`]. A route without an entry stands there all the same, and a test names it.

mod archive;
mod common;
mod describe;
pub mod docs;
mod operation;
mod schemas;
mod sent;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Map, Value, json};

pub use describe::{Describe, Op};
use sent::Sent;

use super::router::routes;
use super::{events, fleet, instances, manager};

/// The tags, one for each document and one for what stands in none.
const TAGS: [(&str, &str); 4] = [
    (
        "manager",
        "Document 1: tenants, their configuration, look, deployments, health, and the control plane's settings.",
    ),
    ("instances", "Document 2: instances, what they print and use, configuration, tokens."),
    ("events", "Document 3: what happened, time travel, restore, undo, proofs, the fleet as a whole."),
    ("system", "Whether it runs, numbers, and this description."),
];

const ABOUT: &str = "The control plane for one application run for many customers. Both listeners serve every \
route. `as_of` on a GET answers as it was then; a GET that takes it can be followed with `Accept: text/event-stream`: \
the present state, and again when it has changed, with its position as `id`, and last `event: gone` with an error; `dry_run=true` on a write answers the events that it would record; \
`Idempotency-Key` makes a write repeatable. Errors have the shape of the route's document; with \
`Accept: application/problem+json` they are RFC 9457.";

static DOCUMENT: LazyLock<Sent> = LazyLock::new(|| {
    let text = serde_json::to_vec(&build()).unwrap_or_else(|error| {
        tracing::error!(%error, "the API's description does not encode");
        Vec::new()
    });
    Sent::new("application/json", text)
});

/// What every room says of its routes.
fn described() -> Describe {
    let mut all = Describe::default();
    all.tagged("manager");
    manager::described::describe(&mut all);
    all.tagged("instances");
    instances::described::describe(&mut all);
    all.tagged("events");
    events::described::describe(&mut all);
    fleet::described::describe(&mut all);
    all.tagged("system");
    super::system::describe(&mut all);
    super::dashboard::describe(&mut all);
    all
}

/// The document. The same code always gives the same one: all of it is sorted by name.
#[must_use]
pub fn build() -> Value {
    let mut all = described();
    let mut schemas = std::mem::take(&mut all.schemas);
    common::schemas(&mut schemas);
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for declared in routes().declared() {
        let entry = all.entry(&declared.method, declared.path);
        let operation = operation::of(declared, entry.as_ref());
        let method = declared.method.as_str().to_ascii_lowercase();
        paths.entry(operation::template(declared.path)).or_default().insert(method, operation);
    }
    let tags: Vec<Value> =
        TAGS.iter().map(|(name, what)| json!({ "name": name, "description": what })).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tenantry",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "Apache License 2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "The server that gave this document." }],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": words::told(schemas.into_map()),
            "parameters": common::parameters(),
            "headers": common::headers(),
            "responses": common::responses(),
            "securitySchemes": common::security_schemes(),
        },
    })
}

/// `GET /openapi.json`
pub(super) async fn document(headers: HeaderMap) -> Response {
    DOCUMENT.answer(&headers)
}
