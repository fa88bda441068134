//! One operation: what its room says of it, and what follows from its line in the table.

use axum::http::Method;
use serde_json::{Map, Value, json};
use tenantry_journal::event::access::Role;

use super::common::{self, error_response, header, parameter};
use super::describe::Entry;
use super::schemas::{any_of, reference};
use super::words;
use crate::domain::setting::KNOWN;
use crate::domain::theme::LOGO_FIELDS;
use crate::http::error::Family;
use crate::http::router::{Declared, Shows, Who};

/// A path as OpenAPI writes it: axum's `{*rest}` has no star there.
pub(super) fn template(path: &str) -> String {
    path.replace("{*", "{")
}

/// The operation of a route.
pub(super) fn of(declared: &Declared, entry: Option<&Entry>) -> Value {
    let entry = entry.cloned().unwrap_or_else(|| unsaid(declared));
    let mut operation = json!({
        "operationId": if entry.id.is_empty() { derived_id(declared) } else { entry.id.to_owned() },
        "summary": if entry.summary.is_empty() { declared.path } else { entry.summary },
        "tags": [entry.tag],
        "parameters": parameters(declared, &entry),
        "responses": responses(declared, &entry),
        "security": security(declared),
    });
    let Some(members) = operation.as_object_mut() else { return operation };
    members.extend(entry.notes.map(|notes| ("description".to_owned(), json!(notes))));
    members.extend(who(declared.access.who).map(|who| ("x-role".to_owned(), json!(who))));
    if declared.access.unlimited {
        members.insert("x-unlimited".to_owned(), json!(true));
    }
    if let Some((media_type, required, schema)) = &entry.body {
        let body = json!({ "required": required, "content": content([(*media_type, schema.clone())]) });
        members.insert("requestBody".to_owned(), body);
    }
    if let Some((said, told)) = &entry.socket {
        members.insert("x-websocket".to_owned(), json!({ "sends": said, "receives": told }));
    }
    operation
}

/// For a route of which its room says nothing.
fn unsaid(declared: &Declared) -> Entry {
    let tag = match declared.family {
        Family::Manager => "manager",
        Family::Instances => "instances",
        Family::Listener => "system",
    };
    let mut entry = Entry { tag, ..Entry::default() };
    entry.answers.insert(200, vec![("application/json", json!({}))]);
    entry
}

fn derived_id(declared: &Declared) -> String {
    let words = declared.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let words: Vec<&str> = words.collect();
    format!("{}_{}", declared.method.as_str().to_ascii_lowercase(), words.join("_"))
}

/// The lowest role that it answers.
fn who(who: Who) -> Option<&'static str> {
    match who {
        Who::Anyone => None,
        Who::Role(Role::Viewer) | Who::Socket(Role::Viewer) => Some("viewer"),
        Who::Role(Role::Operator) | Who::Socket(Role::Operator) => Some("operator"),
        Who::Role(Role::Admin) | Who::Socket(Role::Admin) => Some("admin"),
        Who::Own => Some("own"),
    }
}

fn is_open(declared: &Declared) -> bool {
    declared.access.who == Who::Anyone
}

fn is_read(declared: &Declared) -> bool {
    declared.method == Method::GET
}

/// Whether it records something.
fn is_write(declared: &Declared) -> bool {
    !is_read(declared) && !is_open(declared) && !declared.access.checks
}

/// Whether it is a GET that may name a moment of the past.
fn has_past(declared: &Declared) -> bool {
    is_read(declared) && declared.access.shows == Shows::State
}

/// What a live query of it shows: a GET of state can be followed, when it is JSON.
fn followed(declared: &Declared, entry: &Entry) -> Option<Value> {
    let json = entry.answers.get(&200)?.iter().find(|(media_type, _)| *media_type == "application/json");
    json.filter(|_| has_past(declared)).map(|(_, schema)| schema.clone())
}

fn security(declared: &Declared) -> Value {
    if is_open(declared) { json!([]) } else { json!([{ "login": [] }, { "token": [] }]) }
}

fn parameters(declared: &Declared, entry: &Entry) -> Vec<Value> {
    let mut all: Vec<Value> = path_names(declared.path)
        .map(|name| {
            let (schema, words) = path_parameter(declared.path, name);
            json!({ "name": name, "in": "path", "required": true, "schema": schema, "description": words })
        })
        .collect();
    all.extend(entry.query.iter().map(|(name, required, schema)| {
        let mut schema = schema.clone();
        let words = words::parameter(name, &mut schema);
        json!({ "name": name, "in": "query", "required": required, "schema": schema, "description": words })
    }));
    if is_open(declared) {
        return all;
    }
    if is_read(declared) {
        if has_past(declared) {
            all.push(parameter("as_of"));
        }
        all.push(parameter("min_seq"));
    }
    if entry.resumes || followed(declared, entry).is_some() {
        all.push(parameter("last_event_id"));
    }
    if is_write(declared) {
        all.extend(["dry_run", "idempotency_key", "if_match"].map(parameter));
    }
    all
}

fn path_names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| name.trim_start_matches('*'))
}

/// What stands in a path, by its name and what is before it.
fn path_parameter(path: &str, name: &str) -> (Value, &'static str) {
    let uuid = || json!({ "type": "string", "format": "uuid" });
    match name {
        "id" if path.contains("{service}/{id}") => {
            (reference("InstanceName"), "The instance's name within its service.")
        }
        "id" if path.contains("/tenants/") => (uuid(), "The tenant's id."),
        "id" if path.contains("/deployments/") => (uuid(), "The deployment's id."),
        "id" if path.contains("/users/") => (uuid(), "The user's id."),
        "id" if path.contains("/tokens/") => (uuid(), "The token's id."),
        "service" => (reference("ServiceName"), "The instance's service."),
        "key" => {
            let keys: Vec<&str> = KNOWN.iter().map(|known| known.key).collect();
            (json!({ "type": "string", "enum": keys }), "The setting's name.")
        }
        "seq" => (json!({ "type": "integer", "format": "uint64", "minimum": 1 }), "The event's position."),
        "kind" if path.contains("/logos/") => {
            let kinds: Vec<&str> =
                LOGO_FIELDS.iter().filter_map(|field| field.strip_prefix("logo_")).collect();
            (json!({ "type": "string", "enum": kinds }), "Which of the four logos.")
        }
        "file" if path.contains("/screenshots/") => (
            json!({ "type": "string" }),
            "The analysis' id and `.png`, as `screenshot` of the suggestions names it.",
        ),
        _ => (json!({ "type": "string" }), "Part of the path."),
    }
}

fn content<'a>(all: impl IntoIterator<Item = (&'a str, Value)>) -> Map<String, Value> {
    all.into_iter().map(|(media_type, schema)| (media_type.to_owned(), json!({ "schema": schema }))).collect()
}

fn responses(declared: &Declared, entry: &Entry) -> Map<String, Value> {
    let mut all = Map::new();
    let mut answers = entry.answers.clone();
    let stream = entry
        .streamed
        .clone()
        .or_else(|| followed(declared, entry))
        .map(|item| json!({ "schema": { "type": "string" }, "x-item-schema": item }));
    if is_write(declared) {
        // What a dry run answers.
        let dry = reference("DryRun");
        let ok = answers.entry(200).or_default();
        match ok.iter_mut().find(|(media_type, _)| *media_type == "application/json") {
            Some((_, schema)) => *schema = any_of(vec![schema.take(), dry]),
            None => ok.push(("application/json", dry)),
        }
    }
    for (status, media_types) in answers {
        let mut content = content(media_types);
        if let Some(item) = stream.as_ref().filter(|_| status == 200) {
            content.insert("text/event-stream".to_owned(), item.clone());
        }
        let mut response = json!({
            "description": common::told(status),
            "headers": headers(declared, entry, status),
        });
        if let (Some(members), false) = (response.as_object_mut(), content.is_empty()) {
            members.insert("content".to_owned(), json!(content));
        }
        all.insert(status.to_string(), response);
    }
    if let Some(item) = stream.filter(|_| !entry.answers.contains_key(&200)) {
        all.insert(
            "200".to_owned(),
            json!({
                "description": "A stream of server-sent events.",
                "headers": headers(declared, entry, 200),
                "content": { "text/event-stream": item },
            }),
        );
    }
    if entry.socket.is_some() {
        all.insert(
            "101".to_owned(),
            json!({ "description": "A WebSocket; `x-websocket` has its messages." }),
        );
    }
    for status in statuses(declared, entry) {
        all.insert(status.to_string(), error_response(declared.family, status));
    }
    for (status, schema) in &entry.errors {
        all.insert(status.to_string(), common::special_error(declared.family, *status, schema));
    }
    all.insert("default".to_owned(), common::any_error(declared.family));
    all
}

fn headers(declared: &Declared, entry: &Entry, status: u16) -> Map<String, Value> {
    let mut names = vec!["X-Request-Id"];
    if !is_open(declared) {
        names.extend(["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"]);
        if has_past(declared) {
            names.push("X-As-Of-Seq");
        }
        if is_write(declared) {
            names.push("X-Event-Seq");
        }
    }
    if entry.has_etag {
        names.push("ETag");
    }
    if entry.is_located && status != 200 {
        names.push("Location");
    }
    names.into_iter().map(|name| (name.to_owned(), header(name))).collect()
}

/// With what it may refuse, in the usual shape.
fn statuses(declared: &Declared, entry: &Entry) -> Vec<u16> {
    let mut all = vec![400, 403, 421, 500];
    if !is_open(declared) {
        all.extend([401, 429, 503]);
    }
    if declared.path.contains('{') {
        all.push(404);
    }
    if is_read(declared) && declared.access.shows != Shows::Lines {
        all.push(406);
    }
    if !is_read(declared) {
        all.push(413);
    }
    if entry.body.is_some() {
        all.push(415);
    }
    if is_write(declared) {
        all.extend([409, 412, 422, 504]);
    }
    if entry.socket.is_some() {
        all.push(426);
    }
    all.retain(|status| !entry.errors.contains_key(status));
    all
}
