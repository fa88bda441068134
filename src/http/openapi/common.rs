//! What many operations share: parameters, headers, errors, ways to authenticate.

use serde_json::{Map, Value, json};

use super::schemas::{Schemas, any_of, reference};
use crate::http::error::{self, Family};
use crate::http::write::DryRun;
use tenantry_journal::name::{InstanceName, ServiceName};

/// Statuses of errors, with what each means.
const ERRORS: [(u16, &str); 16] = [
    (400, "The request is wrong; the sentence names the field or parameter."),
    (401, "No credential, or none that is valid."),
    (403, "The credential does not go that far, or the request comes from a page of another origin."),
    (404, "There is no such thing, or none that the caller may see."),
    (406, "What it shows cannot be followed with `Accept: text/event-stream`."),
    (409, "It contradicts what is there."),
    (412, "The resource has changed since the entity tag of `If-Match`."),
    (413, "The body is longer than what is read."),
    (415, "The body is of another media type."),
    (421, "The request names a foreign host."),
    (422, "It cannot be carried out; or the idempotency key came with another request before."),
    (426, "The request is no WebSocket upgrade."),
    (429, "Too many requests; `Retry-After` says when to try again."),
    (500, "Something of ours went wrong; the log names the cause."),
    (503, "Not at the moment; nothing was recorded."),
    (504, "It was begun and has not ended in time; it goes on."),
];

/// What a status means.
pub(super) fn told(status: u16) -> &'static str {
    match status {
        200 => "Done.",
        201 => "It was created.",
        202 => "It was begun; `Location` says where to look.",
        204 => "Done; there is nothing to say.",
        status => ERRORS.iter().find(|(known, _)| *known == status).map_or("An error.", |(_, words)| words),
    }
}

/// Schemas that every document needs, whoever mentions them.
pub(super) fn schemas(schemas: &mut Schemas) {
    schemas.written::<DryRun<'_>>();
    schemas.written::<error::Manager<'_>>();
    schemas.written::<error::Instances<'_>>();
    schemas.written::<error::Problem<'_>>();
    schemas.read::<ServiceName>();
    schemas.read::<InstanceName>();
}

fn family_name(family: Family) -> &'static str {
    match family {
        Family::Manager => "manager",
        Family::Instances => "instances",
        Family::Listener => "either",
    }
}

fn shape(family: Family) -> Value {
    match family {
        Family::Manager => reference("ManagerError"),
        Family::Instances => reference("ApiError"),
        Family::Listener => any_of(vec![reference("ManagerError"), reference("ApiError")]),
    }
}

fn errors(shape: &Value) -> Value {
    json!({
        "application/json": { "schema": shape },
        "application/problem+json": { "schema": reference("Problem") },
    })
}

/// An error in the shape of its document.
pub(super) fn error_response(family: Family, status: u16) -> Value {
    json!({ "$ref": format!("#/components/responses/{}_{status}", family_name(family)) })
}

/// Any other error.
pub(super) fn any_error(family: Family) -> Value {
    json!({ "$ref": format!("#/components/responses/{}_error", family_name(family)) })
}

/// An error with a body of its own, or in the shape of its document.
pub(super) fn special_error(family: Family, status: u16, own: &Value) -> Value {
    let either = any_of(vec![own.clone(), shape(family)]);
    json!({ "description": told(status), "content": errors(&either) })
}

/// Every error in every shape.
pub(super) fn responses() -> Map<String, Value> {
    let mut all = Map::new();
    for family in [Family::Manager, Family::Instances, Family::Listener] {
        let name = family_name(family);
        let content = errors(&shape(family));
        for (status, words) in ERRORS {
            let mut headers = vec!["X-Request-Id"];
            match status {
                401 => headers.push("WWW-Authenticate"),
                429 | 503 => headers.push("Retry-After"),
                _ => {}
            }
            let headers: Map<String, Value> =
                headers.into_iter().map(|name| (name.to_owned(), header(name))).collect();
            let response = json!({ "description": words, "headers": headers, "content": content });
            all.insert(format!("{name}_{status}"), response);
        }
        all.insert(format!("{name}_error"), json!({ "description": "Any other error.", "content": content }));
    }
    all
}

/// A parameter that many operations have.
pub(super) fn parameter(name: &str) -> Value {
    json!({ "$ref": format!("#/components/parameters/{name}") })
}

/// Those parameters.
pub(super) fn parameters() -> Value {
    let position = json!({ "type": "integer", "format": "uint64", "minimum": 1 });
    let one = |name: &str, place: &str, schema: Value, words: &str| json!({ "name": name, "in": place, "required": false, "schema": schema, "description": words });
    json!({
        "as_of": one(
            "as_of",
            "query",
            json!({ "anyOf": [position, { "type": "string", "format": "date-time" }] }),
            "Answers as it was after this event, or at this time.",
        ),
        "min_seq": one("X-Min-Seq", "header", position.clone(),
            "Waits until the answer includes this event, at most 5 s."),
        "last_event_id": one("Last-Event-ID", "header", position.clone(),
            "Goes on after this event; wins over `from_seq`. A live query leaves a state out that it showed."),
        "dry_run": one("dry_run", "query", json!({ "type": "boolean", "default": false }),
            "Answers the events that would be recorded; nothing is recorded, nothing done."),
        "idempotency_key": one("Idempotency-Key", "header",
            json!({ "type": "string", "minLength": 1, "maxLength": 255 }),
            "The same key with the same request gives the first answer again."),
        "if_match": one("If-Match", "header", json!({ "type": "string" }),
            "An `ETag`; 412 when the resource has changed since."),
    })
}

/// A header that many answers have.
pub(super) fn header(name: &str) -> Value {
    json!({ "$ref": format!("#/components/headers/{name}") })
}

/// Those headers.
pub(super) fn headers() -> Value {
    let text = |words: &str| json!({ "description": words, "schema": { "type": "string" } });
    let number = |words: &str| json!({ "description": words, "schema": { "type": "integer", "format": "uint64", "minimum": 0 } });
    json!({
        "ETag": text("The state of the resource, for `If-Match`."),
        "Location": text("Where what was created or begun is found."),
        "Retry-After": number("Seconds to wait."),
        "WWW-Authenticate": text("`Bearer`."),
        "X-As-Of-Seq": number("The position that `as_of` named."),
        "X-Event-Seq": number("The position of the write's last event."),
        "X-RateLimit-Limit": number("Requests that the window allows."),
        "X-RateLimit-Remaining": number("Requests that are left in the window."),
        "X-RateLimit-Reset": number("When the window ends, in seconds since 1970."),
        "X-Request-Id": text("Names the request; the client's own name for it when it sent a plain one."),
    })
}

/// The two credentials.
pub(super) fn security_schemes() -> Value {
    json!({
        "login": {
            "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
            "description": "`access_token` of `POST /api/auth/login`.",
        },
        "token": {
            "type": "http", "scheme": "bearer", "bearerFormat": "tenement_...",
            "description": "An API token of `POST /api/tokens`.",
        },
    })
}
