//! The document is complete, valid, and the same each time.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::schemas::strings;
use super::{build, described};
use crate::http::router::{Listener, routes};
use crate::http::testing::TestApi;

type Place = (String, String);

fn documented(document: &Value) -> BTreeMap<Place, Value> {
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, item): (&String, &Value)| {
        let item = item.as_object().unwrap().clone();
        let path = path.clone();
        item.into_iter().map(move |(method, operation)| ((path.clone(), method.to_uppercase()), operation))
    };
    paths.iter().flat_map(of).collect()
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

fn declared() -> BTreeSet<Place> {
    let place = |path: &str, method: &str| (super::operation::template(path), method.to_owned());
    routes().declared().iter().map(|one| place(one.path, one.method.as_str())).collect()
}

#[test]
fn every_route_is_in_it_and_nothing_else() {
    let in_it: BTreeSet<Place> = documented(&build()).into_keys().collect();
    assert_eq!(in_it, declared());
}

#[test]
fn every_route_is_described_in_its_room() {
    let routes: BTreeSet<Place> =
        routes().declared().iter().map(|one| (one.path.to_owned(), one.method.as_str().to_owned())).collect();
    let described: BTreeSet<Place> = described().known().cloned().collect();
    let missing: Vec<&Place> = routes.difference(&described).collect();
    assert!(missing.is_empty(), "add an entry to the room's described.rs for each of {missing:?}");
    let stray: Vec<&Place> = described.difference(&routes).collect();
    assert!(stray.is_empty(), "no such routes: {stray:?}");
}

#[test]
fn it_is_the_same_each_time() {
    let (first, second) = (build().to_string(), build().to_string());
    assert_eq!(first, second);
}

#[test]
fn the_committed_document_is_the_one_that_is_served() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/openapi/openapi.json");
    let built = serde_json::to_string_pretty(&build()).unwrap() + "\n";
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(path, &built).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    let mut lines = committed.lines().zip(built.lines()).enumerate();
    let differs = lines.find(|(_, (one, other))| one != other);
    assert!(
        committed == built,
        "src/http/openapi/openapi.json is not what the code serves, from {differs:?} on; renew it with \
         `UPDATE_OPENAPI=1 cargo test -p tenantry --lib the_committed_document`, and look at what changed"
    );
}

#[test]
fn each_operation_has_a_name_of_its_own_that_a_generator_takes() {
    let mut seen = BTreeSet::new();
    for (place, operation) in documented(&build()) {
        let id = operation["operationId"].as_str().unwrap().to_owned();
        assert!(id.chars().all(|c| c.is_ascii_alphanumeric()) && id.starts_with(char::is_lowercase), "{id}");
        assert!(seen.insert(id.clone()), "{id} of {place:?} is taken");
        assert!(!operation["summary"].as_str().unwrap().is_empty());
        let tag = operation["tags"][0].as_str().unwrap();
        assert!(super::TAGS.iter().any(|(known, _)| *known == tag), "{tag} of {id}");
    }
}

#[test]
fn a_paths_parameters_are_those_of_its_template() {
    for ((path, _), operation) in documented(&build()) {
        let parameters = operation["parameters"].as_array().unwrap();
        let names =
            parameters.iter().filter(|one| one["in"] == "path").map(|one| one["name"].as_str().unwrap());
        let names: BTreeSet<&str> = names.collect();
        let wanted = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        assert_eq!(names, wanted.collect::<BTreeSet<&str>>(), "{path}");
        let all: Vec<String> =
            parameters.iter().map(|one| format!("{}{}{}", one["in"], one["name"], one["$ref"])).collect();
        assert_eq!(all.len(), all.iter().collect::<BTreeSet<_>>().len(), "{path}: {all:?}");
    }
}

fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Array(all) => all.iter().for_each(|one| references(one, found)),
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|one| references(one, found));
        }
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = build();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 500, "{}", found.len());
    for place in found {
        assert!(document.pointer(place.strip_prefix('#').unwrap()).is_some(), "{place}");
    }
}

#[test]
fn every_schema_is_one_and_no_two_types_share_a_name() {
    let document = build();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    assert!(schemas.len() > 100, "{}", schemas.len());
    for (name, schema) in schemas {
        assert!(jsonschema::draft202012::meta::is_valid(schema), "{name}: {schema}");
        // A generator counts up when a name is taken.
        assert!(!name.ends_with(|c: char| c.is_ascii_digit()), "two types are called {name}");
    }
    assert_eq!(described().schemas.clashes(), Vec::<String>::new());
}

fn without_words(name: &str, schema: &Value, found: &mut Vec<String>) {
    for variants in ["oneOf", "anyOf"] {
        let variants = schema.get(variants).and_then(Value::as_array);
        variants.into_iter().flatten().for_each(|one| without_words(name, one, found));
    }
    let fields = schema.get("properties").and_then(Value::as_object);
    let bare = fields.into_iter().flatten().filter(|(_, schema)| schema.get("description").is_none());
    found.extend(bare.map(|(field, _)| format!("{name}.{field}")));
}

#[test]
fn every_field_and_every_parameter_has_words() {
    let document = build();
    let mut bare = Vec::new();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        without_words(name, schema, &mut bare);
    }
    for ((path, method), operation) in documented(&document) {
        let parameters = operation["parameters"].as_array().unwrap().iter();
        let silent = parameters
            .filter(|one| one.get("$ref").is_none() && one["description"].as_str().is_none_or(str::is_empty));
        bare.extend(silent.map(|one| format!("{method} {path} {}", one["name"])));
    }
    assert!(bare.is_empty(), "say in words.rs, or in a comment on the field, what these are: {bare:?}");
    let text = document.to_string();
    let link = text.find("[`").map(|at| &text[at..at + 60]);
    assert_eq!(link, None, "words for readers of the code");
}

#[test]
fn what_is_written_is_required_and_what_may_be_left_out_is_never_null() {
    let document = build();
    let schema = |name: &str| &document["components"]["schemas"][name];
    let required = |name: &str| strings(schema(name), "required").map(str::to_owned).collect::<BTreeSet<_>>();
    let tenant = required("Tenant");
    for field in ["id", "api_domain", "deployed_at", "notes", "health_details"] {
        assert!(tenant.contains(field), "{field}");
    }
    assert!(!tenant.contains("certificate"));
    assert_eq!(schema("Tenant")["properties"]["certificate"]["$ref"], "#/components/schemas/Certificate");
    assert_eq!(schema("Tenant")["properties"]["notes"]["type"], json!(["string", "null"]));
    assert_eq!(schema("Tenant")["properties"]["id"]["$ref"], "#/components/schemas/TenantId");
    assert_eq!(schema("TenantId")["format"], "uuid");
    assert_eq!(schema("Tenant")["properties"]["created_at"]["format"], "date-time");
    assert_eq!(required("NewTenant"), set(["domain", "name", "slug"]));
    assert_eq!(schema("NewTenant")["additionalProperties"], false);
    assert_eq!(required("TenantChanges"), BTreeSet::new());
    // `null` clears one of them and is refused for the other.
    assert_eq!(schema("TenantChanges")["properties"]["notes"]["type"], json!(["string", "null"]));
    assert_eq!(schema("TenantChanges")["properties"]["name"]["type"], "string");
    assert_eq!(
        schema("TenantStatus")["enum"],
        json!(["pending", "deploying", "running", "stopped", "error"])
    );
    assert_eq!(schema("Role")["enum"], json!(["viewer", "operator", "admin"]));
}

#[test]
fn what_is_common_comes_from_the_table() {
    let document = build();
    let names = |path: &str, method: &str| -> BTreeSet<String> {
        let all = document["paths"][path][method]["parameters"].as_array().unwrap().iter();
        all.filter_map(|one| one["$ref"].as_str()?.rsplit('/').next().map(str::to_owned)).collect()
    };
    assert_eq!(names("/api/tenants", "get"), set(["as_of", "min_seq", "last_event_id"]));
    assert_eq!(names("/api/tenants/{id}/theme/logos/{kind}", "get"), set(["as_of", "min_seq"]));
    assert_eq!(names("/api/events/stream", "get"), set(["min_seq", "last_event_id"]));
    assert_eq!(names("/api/nginx/configs", "get"), set(["min_seq"]));
    assert_eq!(names("/api/tenants", "post"), set(["dry_run", "idempotency_key", "if_match"]));
    assert_eq!(names("/api/logs/search", "post"), BTreeSet::new());
    assert_eq!(names("/health", "get"), BTreeSet::new());
    let query = |path: &str, name: &str| {
        let all = document["paths"][path]["get"]["parameters"].as_array().unwrap().clone();
        all.iter().any(|one| one["name"] == name)
    };
    assert!(query("/api/events", "limit") && !query("/api/events/stream", "limit"));
    let answers = |path: &str| document["paths"][path]["get"]["responses"].clone();
    let state = &answers("/api/tenants")["200"]["content"];
    assert_eq!(state["text/event-stream"]["x-item-schema"], state["application/json"]["schema"]);
    assert_eq!(answers("/api/nginx/configs")["200"]["content"].get("text/event-stream"), None);
    assert!(answers("/api/nginx/configs").get("406").is_some());
    assert_eq!(answers("/api/events/stream").get("406"), None);
    assert_eq!(document["paths"]["/health"]["get"]["security"], json!([]));
    assert_eq!(
        document["paths"]["/api/tenants"]["get"]["security"],
        json!([{ "login": [] }, { "token": [] }])
    );
    assert_eq!(document["paths"]["/api/users"]["post"]["x-role"], "admin");
}

#[tokio::test]
async fn both_listeners_give_document_and_page_to_anyone_compressed_and_only_when_needed() {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt as _;

    for listener in [Listener::Manager, Listener::Instances] {
        let api = TestApi::on(listener).await;
        let ask = async |path: &str, name: &str, value: &str| {
            let request = Request::builder().uri(path).header("host", "localhost").header(name, value);
            api.router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
        };
        for path in ["/openapi.json", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/docs/start.js"]
        {
            let plain = ask(path, "accept-encoding", "identity").await;
            assert_eq!((plain.status().as_u16(), plain.headers().get("content-encoding")), (200, None));
            let tag = plain.headers()["etag"].to_str().unwrap().to_owned();
            let plain = axum::body::to_bytes(plain.into_body(), usize::MAX).await.unwrap();
            let gzip = ask(path, "accept-encoding", "br, gzip;q=0.8").await;
            assert_eq!(gzip.headers()["content-encoding"], "gzip");
            let gzip = axum::body::to_bytes(gzip.into_body(), usize::MAX).await.unwrap();
            let mut unpacked = Vec::new();
            std::io::copy(&mut flate2::read::GzDecoder::new(&*gzip), &mut unpacked).unwrap();
            assert!(unpacked == plain, "{path}");
            assert_eq!(
                ask(path, "accept-encoding", "gzip;q=0").await.headers().get("content-encoding"),
                None
            );
            assert_eq!(ask(path, "if-none-match", &tag).await.status(), 304);
        }
        let page = ask("/docs", "accept", "text/html").await;
        let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert_eq!(page.status().as_u16(), 200);
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(ask("/docs/nothing.js", "accept", "*/*").await.status(), 404);
        let document: Value = {
            let answer = ask("/openapi.json", "accept", "*/*").await;
            serde_json::from_slice(&axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap())
                .unwrap()
        };
        assert_eq!(document, build());
    }
}
