//! What a room says of its routes: one entry for each, in the order of the room's table.

use std::collections::BTreeMap;

use axum::http::Method;
use schemars::JsonSchema;
use serde_json::{Value, json};

use super::schemas::{Schemas, any_of};

/// What one route takes and gives, as far as it is its own.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub(super) tag: &'static str,
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) notes: Option<&'static str>,
    /// Name, whether it must be there, schema.
    pub(super) query: Vec<(String, bool, Value)>,
    /// Media type, whether it must be there, schema.
    pub(super) body: Option<(&'static str, bool, Value)>,
    /// By status: media types with their schemas.
    pub(super) answers: BTreeMap<u16, Vec<(&'static str, Value)>>,
    /// Errors that are not in the usual shape, by status.
    pub(super) errors: BTreeMap<u16, Value>,
    pub(super) has_etag: bool,
    pub(super) is_located: bool,
    /// What a client says on the socket, and what it is told.
    pub(super) socket: Option<(Value, Value)>,
    /// What each event of a stream holds.
    pub(super) streamed: Option<Value>,
    /// It reads `Last-Event-ID`.
    pub(super) resumes: bool,
}

/// Everything that is said.
#[derive(Default)]
pub struct Describe {
    pub(super) schemas: Schemas,
    tag: &'static str,
    entries: BTreeMap<(String, String), Entry>,
}

impl Describe {
    /// Under which tag the next routes stand.
    pub fn tagged(&mut self, tag: &'static str) {
        self.tag = tag;
    }

    /// A GET: its path as the table has it, its `operationId`, and what it does.
    pub fn get(&mut self, path: &str, id: &'static str, summary: &'static str) -> Op<'_> {
        self.add(Method::GET, path, id, summary)
    }

    /// A POST.
    pub fn post(&mut self, path: &str, id: &'static str, summary: &'static str) -> Op<'_> {
        self.add(Method::POST, path, id, summary)
    }

    /// A PUT.
    pub fn put(&mut self, path: &str, id: &'static str, summary: &'static str) -> Op<'_> {
        self.add(Method::PUT, path, id, summary)
    }

    /// A DELETE.
    pub fn delete(&mut self, path: &str, id: &'static str, summary: &'static str) -> Op<'_> {
        self.add(Method::DELETE, path, id, summary)
    }

    fn add(&mut self, method: Method, path: &str, id: &'static str, summary: &'static str) -> Op<'_> {
        let entry = self.entries.entry((path.to_owned(), method.as_str().to_owned())).or_default();
        *entry = Entry { tag: self.tag, id, summary, ..Entry::default() };
        Op { schemas: &mut self.schemas, entry }
    }

    /// What is said of a route.
    pub(super) fn entry(&self, method: &Method, path: &str) -> Option<Entry> {
        self.entries.get(&(path.to_owned(), method.as_str().to_owned())).cloned()
    }

    /// Every route of which something is said: path and method.
    #[cfg(test)]
    pub(super) fn known(&self) -> impl Iterator<Item = &(String, String)> {
        self.entries.keys()
    }
}

/// One entry, while it is written.
pub struct Op<'a> {
    schemas: &'a mut Schemas,
    entry: &'a mut Entry,
}

impl Op<'_> {
    /// More than the summary says.
    pub fn notes(self, notes: &'static str) -> Self {
        self.entry.notes = Some(notes);
        self
    }

    /// Parameters of the query. Said twice (a route with two sorts of answers), both count.
    pub fn query<T: JsonSchema>(self) -> Self {
        for (name, required, schema) in self.schemas.fields::<T>() {
            match self.entry.query.iter_mut().find(|(known, _, _)| *known == name) {
                Some((_, _, known)) => *known = any_of(vec![known.take(), schema]),
                None => self.entry.query.push((name, required, schema)),
            }
        }
        self
    }

    /// Of the query's parameters so far, those that this route refuses.
    pub fn without(self, refused: &[&str]) -> Self {
        self.entry.query.retain(|(name, _, _)| !refused.contains(&name.as_str()));
        self
    }

    /// The JSON that it reads.
    pub fn body<T: JsonSchema>(self) -> Self {
        self.entry.body = Some(("application/json", true, self.schemas.read::<T>()));
        self
    }

    /// The JSON that it reads when there is some.
    pub fn optional_body<T: JsonSchema>(self) -> Self {
        self.entry.body = Some(("application/json", false, self.schemas.read::<T>()));
        self
    }

    /// A body of another kind.
    pub fn other_body(self, media_type: &'static str, required: bool, schema: Value) -> Self {
        self.entry.body = Some((media_type, required, schema));
        self
    }

    /// What a 200 holds. Said twice, it may be either.
    pub fn answers<T: JsonSchema>(self) -> Self {
        self.answers_with::<T>(200)
    }

    /// What a 201 holds.
    pub fn created<T: JsonSchema>(self) -> Self {
        self.answers_with::<T>(201)
    }

    /// What a 202 holds.
    pub fn accepted<T: JsonSchema>(self) -> Self {
        self.answers_with::<T>(202)
    }

    fn answers_with<T: JsonSchema>(self, status: u16) -> Self {
        let schema = self.schemas.written::<T>();
        let answers = self.entry.answers.entry(status).or_default();
        match answers.iter_mut().find(|(media_type, _)| *media_type == "application/json") {
            Some((_, known)) => *known = any_of(vec![known.take(), schema]),
            None => answers.push(("application/json", schema)),
        }
        self
    }

    /// A 204, which holds nothing.
    pub fn nothing(self) -> Self {
        self.entry.answers.insert(204, Vec::new());
        self
    }

    /// A 200 of another kind than JSON.
    pub fn gives(self, media_types: &[&'static str]) -> Self {
        let schema = |media_type: &str| match media_type.split_once('/') {
            Some(("image", _) | (_, "vnd.msgpack")) => json!({}),
            _ => json!({ "type": "string" }),
        };
        let answers = self.entry.answers.entry(200).or_default();
        answers.extend(media_types.iter().map(|media_type| (*media_type, schema(media_type))));
        self
    }

    /// JSON of no type of ours.
    pub fn gives_json(self, schema: Value) -> Self {
        self.entry.answers.entry(200).or_default().push(("application/json", schema));
        self
    }

    /// Server-sent events, each with the JSON of this type as its data.
    pub fn streams<T: JsonSchema>(self) -> Self {
        self.entry.streamed = Some(self.schemas.written::<T>());
        self
    }

    /// A stream goes on after `Last-Event-ID`.
    pub fn resumes(self) -> Self {
        self.entry.resumes = true;
        self
    }

    /// A WebSocket: what a client may say, and what it is told, as JSON texts.
    pub fn socket<Said: JsonSchema, Told: JsonSchema>(self) -> Self {
        self.entry.socket = Some((self.schemas.read::<Said>(), self.schemas.written::<Told>()));
        self
    }

    /// An error whose body is of this type, besides or beyond the usual shape.
    pub fn fails<T: JsonSchema>(self, status: u16) -> Self {
        let schema = self.schemas.written::<T>();
        self.entry.errors.insert(status, schema);
        self
    }

    /// The answer has an `ETag`.
    pub fn etag(self) -> Self {
        self.entry.has_etag = true;
        self
    }

    /// The answer has a `Location`.
    pub fn located(self) -> Self {
        self.entry.is_located = true;
        self
    }
}
