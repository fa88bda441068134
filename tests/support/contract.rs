//! Whether answers are what the API's own description says.
//!
//! Stricter than the description: what it does not name must not be in an answer either.
#![allow(dead_code, reason = "each test uses its own part")]

use std::collections::BTreeMap;
use std::sync::Mutex;

use axum::http::HeaderMap;
use jsonschema::Validator;
use serde_json::{Value, json};

/// The description, ready to be checked against.
pub(crate) struct Contract {
    document: Value,
    /// The schemas, each taking nothing that it does not name.
    strict: Value,
    validators: Mutex<BTreeMap<String, Validator>>,
    /// Operations that were answered with 2xx.
    seen: Mutex<BTreeMap<String, u64>>,
}

/// An answer to be looked at.
pub(crate) struct Given<'a> {
    pub(crate) method: &'a str,
    /// With or without its query.
    pub(crate) path: &'a str,
    pub(crate) status: u16,
    pub(crate) media_type: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) text: &'a str,
}

impl Contract {
    pub(crate) fn new(document: Value) -> Contract {
        let mut strict = document["components"]["schemas"].clone();
        strict.as_object_mut().unwrap().values_mut().for_each(close);
        Contract { document, strict, validators: Mutex::default(), seen: Mutex::default() }
    }

    /// What of an answer is not as described.
    pub(crate) fn complaints(&self, given: &Given<'_>) -> Vec<String> {
        let path = given.path.split(['?', '#']).next().unwrap();
        let Some((template, operation)) = self.operation(given.method, path) else {
            // Nothing is described there, and nothing may be there.
            let is_refusal = matches!(given.status, 400..=405 | 421 | 429);
            return if is_refusal { vec![] } else { vec![format!("{path} is not described")] };
        };
        let place = format!("{} {template} {}", given.method, given.status);
        let responses = &operation["responses"];
        let response = match responses.get(given.status.to_string()) {
            Some(response) => response,
            None if given.status >= 400 => &responses["default"],
            None if given.status == 304 => return vec![],
            None => return vec![format!("{place} is not described")],
        };
        let response = self.resolved(response);
        if (200..300).contains(&given.status) {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            *self.seen.lock().unwrap().entry(id).or_default() += 1;
            if let Some(wrong) = wrong_headers(given, response) {
                return vec![format!("{place}: {wrong}")];
            }
        }
        let Some(content) = response.get("content") else {
            return if given.text.is_empty() { vec![] } else { vec![format!("{place} must be empty")] };
        };
        let media_type = given.media_type.split(';').next().unwrap().trim();
        if given.method == "HEAD" {
            return vec![];
        }
        let Some(schema) = content.get(media_type).map(|one| &one["schema"]) else {
            return vec![format!("{place} has the media type '{media_type}': not described")];
        };
        if !media_type.ends_with("json") {
            return vec![];
        }
        let Ok(body) = serde_json::from_str::<Value>(given.text) else {
            return vec![format!("{place} is no JSON: {}", given.text)];
        };
        let mut validators = self.validators.lock().unwrap();
        let validator = validators.entry(schema.to_string()).or_insert_with(|| self.validator(schema));
        let wrong = validator.iter_errors(&body);
        wrong.map(|error| format!("{place} at '{}': {error}\n  in {body}", error.instance_path())).collect()
    }

    /// Panics when an answer is not as described.
    #[track_caller]
    pub(crate) fn check(&self, given: &Given<'_>) {
        let complaints = self.complaints(given);
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    }

    /// Whether a value fits a schema of this name.
    #[track_caller]
    pub(crate) fn check_named(&self, name: &str, value: &Value) {
        let schema = json!({ "$ref": format!("#/components/schemas/{name}") });
        let wrong: Vec<String> =
            self.validator(&schema).iter_errors(value).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{name}: {}\n  in {value}", wrong.join("\n"));
    }

    /// Operations of a method that were never answered with 2xx.
    pub(crate) fn unseen(&self, method: &str) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let paths = self.document["paths"].as_object().unwrap().values();
        let ids = paths.filter_map(|item| item.get(method)?["operationId"].as_str());
        ids.filter(|id| !seen.contains_key(*id)).map(str::to_owned).collect()
    }

    fn validator(&self, schema: &Value) -> Validator {
        let mut root = schema.clone();
        close(&mut root);
        root["components"] = json!({ "schemas": self.strict });
        jsonschema::draft202012::options().should_validate_formats(true).build(&root).unwrap()
    }

    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(place) => self.document.pointer(place.strip_prefix('#').unwrap()).unwrap(),
            None => value,
        }
    }

    /// The operation of a request; a path's own words win over its parameters.
    fn operation(&self, method: &str, path: &str) -> Option<(&str, &Value)> {
        let method = if method == "HEAD" { "GET" } else { method };
        let words: Vec<&str> = path.split('/').collect();
        let fits = |template: &&String| {
            let parts: Vec<&str> = template.split('/').collect();
            parts.len() == words.len()
                && parts.iter().zip(&words).all(|(part, word)| part.starts_with('{') || part == word)
        };
        let paths = self.document["paths"].as_object().unwrap();
        let template = paths.keys().filter(fits).min_by_key(|template| template.matches('{').count())?;
        let operation = paths[template].get(method.to_ascii_lowercase())?;
        Some((template.as_str(), operation))
    }
}

/// Headers that say something of an answer are described, and a GET has those that it promises.
fn wrong_headers(given: &Given<'_>, response: &Value) -> Option<String> {
    let described = |name: &str| response["headers"].get(name).is_some();
    let stray = ["ETag", "Location", "X-Event-Seq", "X-As-Of-Seq"]
        .into_iter()
        .find(|name| given.headers.contains_key(*name) && !described(name));
    if let Some(name) = stray {
        return Some(format!("the header {name} is not described"));
    }
    let is_promised = given.method == "GET" && given.media_type == "application/json" && described("ETag");
    (is_promised && !given.headers.contains_key("ETag")).then(|| "there is no ETag".to_owned())
}

/// Takes nothing that is not named.
fn close(schema: &mut Value) {
    match schema {
        Value::Array(all) => all.iter_mut().for_each(close),
        Value::Object(members) => {
            members.values_mut().for_each(close);
            let is_open = members.contains_key("additionalProperties");
            if members.contains_key("properties") && !is_open && members.get("type") == Some(&json!("object"))
            {
                members.insert("unevaluatedProperties".to_owned(), json!(false));
            }
        }
        _ => {}
    }
}
