//! JSON Schema (2020-12, which OpenAPI 3.1 takes as it is) of the types that are read and written.
//!
//! What is written and what is read differ: a field that is always written is required in an
//! answer, and may be left out of a request when it has a default. So there are two generators;
//! a type that is in both has the same schema in both, or a test says so.

use schemars::JsonSchema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

/// What has been described so far.
pub(super) struct Schemas {
    written: SchemaGenerator,
    read: SchemaGenerator,
}

fn settings() -> SchemaSettings {
    SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    })
}

impl Default for Schemas {
    fn default() -> Schemas {
        Schemas {
            written: settings().for_serialize().into_generator(),
            read: settings().for_deserialize().into_generator(),
        }
    }
}

impl Schemas {
    /// The schema of what is written: a reference, where the type has a name.
    pub(super) fn written<T: JsonSchema>(&mut self) -> Value {
        tidied(self.written.subschema_for::<T>(), Direction::Written)
    }

    /// The schema of what is read.
    pub(super) fn read<T: JsonSchema>(&mut self) -> Value {
        tidied(self.read.subschema_for::<T>(), Direction::Read)
    }

    /// The fields of what is read as a query: name, whether it must be there, schema.
    pub(super) fn fields<T: JsonSchema>(&mut self) -> Vec<(String, bool, Value)> {
        let schema = tidied(T::json_schema(&mut self.read), Direction::Read);
        let required: Vec<&str> = strings(&schema, "required").collect();
        let fields = schema.get("properties").and_then(Value::as_object);
        let one = |(name, schema): (&String, &Value)| {
            let mut schema = schema.clone();
            not_null(&mut schema);
            (name.clone(), required.contains(&name.as_str()), schema)
        };
        fields.into_iter().flatten().map(one).collect()
    }

    /// Every schema that has a name.
    pub(super) fn into_map(mut self) -> Map<String, Value> {
        let mut all = Map::new();
        for (generator, direction) in
            [(&mut self.read, Direction::Read), (&mut self.written, Direction::Written)]
        {
            let taken = generator.take_definitions(true);
            all.extend(taken.into_iter().map(|(name, schema)| (name, tidied(schema, direction))));
        }
        all
    }

    /// Names under which something else is read than is written.
    #[cfg(test)]
    pub(super) fn clashes(mut self) -> Vec<String> {
        let read = self.read.take_definitions(true);
        let written = self.written.take_definitions(true);
        let differs =
            |name: &&String| read.get(*name).is_some_and(|schema| Some(schema) != written.get(*name));
        written.keys().filter(differs).cloned().collect()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Written,
    Read,
}

fn tidied(schema: impl Into<Value>, direction: Direction) -> Value {
    let mut schema = schema.into();
    tidy(&mut schema, direction);
    schema
}

fn tidy(schema: &mut Value, direction: Direction) {
    match schema {
        Value::Array(all) => all.iter_mut().for_each(|one| tidy(one, direction)),
        Value::Object(members) => {
            members.values_mut().for_each(|one| tidy(one, direction));
            // It says no more than that the field may be left out.
            if members.get("default").is_some_and(Value::is_null) {
                members.remove("default");
            }
            if direction == Direction::Written {
                without_null(members);
            }
            enumerate(members);
        }
        _ => {}
    }
}

/// What may be left out of an answer is never `null` in it.
fn without_null(members: &mut Map<String, Value>) {
    let required: Vec<String> = members
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default();
    let Some(fields) = members.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for (_, schema) in fields.iter_mut().filter(|(name, _)| !required.contains(name)) {
        not_null(schema);
    }
}

/// The schema without `null`.
fn not_null(schema: &mut Value) {
    let Some(members) = schema.as_object_mut() else { return };
    if let Some(Value::Array(types)) = members.get_mut("type") {
        types.retain(|one| one != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            members.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(values)) = members.get_mut("enum") {
        values.retain(|one| !one.is_null());
    }
    let Some(Value::Array(any)) = members.get_mut("anyOf") else { return };
    any.retain(|one| one.get("type").is_none_or(|kind| kind != "null"));
    if let [Value::Object(only)] = any.as_slice() {
        let only = only.clone();
        members.remove("anyOf");
        members.extend(only);
    }
}

/// An enumeration whose values have words of their own is one `enum`, with the words together.
fn enumerate(members: &mut Map<String, Value>) {
    let Some(Value::Array(variants)) = members.get("oneOf") else { return };
    let value = |variant: &Value| match (variant.get("const"), variant.get("enum")) {
        (Some(Value::String(one)), _) => Some(vec![one.clone()]),
        (_, Some(Value::Array(some))) => {
            some.iter().map(|one| one.as_str().map(str::to_owned)).collect::<Option<Vec<String>>>()
        }
        _ => None,
    };
    let Some(values) = variants.iter().map(value).collect::<Option<Vec<Vec<String>>>>() else { return };
    let told = variants.iter().zip(&values).filter_map(|(variant, values)| {
        let words = variant.get("description")?.as_str()?;
        Some(format!("`{}`: {words}", values.first()?))
    });
    let told: Vec<String> = told.collect();
    let own = members.get("description").and_then(Value::as_str).unwrap_or_default();
    let mut words = vec![own.to_owned()];
    words.extend(told);
    let description = words.join("\n\n");
    members.remove("oneOf");
    members.insert("type".to_owned(), json!("string"));
    members.insert("enum".to_owned(), json!(values.concat()));
    members.insert("description".to_owned(), json!(description.trim()));
}

/// A list of texts below a name.
pub(super) fn strings<'a>(schema: &'a Value, name: &str) -> impl Iterator<Item = &'a str> {
    schema.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// A reference to a schema by its name.
pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// One of some schemas; the only one by itself.
pub(super) fn any_of(mut all: Vec<Value>) -> Value {
    all.dedup();
    match all.pop() {
        Some(only) if all.is_empty() => only,
        Some(last) => {
            all.push(last);
            json!({ "anyOf": all })
        }
        None => json!({}),
    }
}
