//! The JSON Schema of a configuration file, for editors that complete and check TOML.
//!
//! Owns what is true of all tables: a file is one layer of several, so that nearly nothing must be
//! in it, and the built-in defaults are shown. What a table holds is derived from the table itself,
//! where it stands. Refuses what no schema can say: `lockgate check` does that. Read
//! [`super::sections`] for the tables' root.

use figment::providers::{Format as _, Toml};
use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform as _};
use serde_json::{Map, Value};

use super::layers::DEFAULTS;
use super::sections::Tables;

/// The schema of `<environment>.toml`, draft 2020-12.
#[must_use]
pub fn schema() -> Value {
    let inlined = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = inlined.into_generator().into_root_schema_for::<Tables>();
    RecursiveTransform(without_null).transform(&mut schema);
    let mut schema = schema.to_value();
    if let Some(root) = schema.as_object_mut() {
        // People read its beginning.
        if let Some(draft) = root.remove("$schema") {
            root.shift_insert(0, "$schema".into(), draft);
        }
        root.shift_insert(1, "title".into(), "Configuration of lockgate".into());
    }
    without_required(&mut schema);
    // The defaults are compiled in, and every other test reads them.
    if let Ok(defaults) = Toml::from_str::<Value>(DEFAULTS) {
        with_defaults(&mut schema, &defaults);
    }
    schema
}

/// TOML has no null: what may be left out is just left out.
fn without_null(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(kinds)) = object.get_mut("anyOf") {
        kinds.retain(|kind| kind.get("type").is_none_or(|kind| kind != "null"));
        if let [Value::Object(only)] = kinds.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            merge(object, only);
        }
    }
}

/// What stands in `object` already has the last word: a key's own description.
fn merge(object: &mut Map<String, Value>, more: Map<String, Value>) {
    for (key, value) in more {
        object.entry(key).or_insert(value);
    }
}

/// What a table requires may stand in another layer. Items of lists are whole, and keep theirs.
fn without_required(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    object.remove("required");
    for keyword in ["properties", "patternProperties"] {
        if let Some(Value::Object(inner)) = object.get_mut(keyword) {
            inner.values_mut().for_each(without_required);
        }
    }
    if let Some(inner) = object.get_mut("additionalProperties") {
        without_required(inner);
    }
}

/// Says the built-in defaults where they stand.
fn with_defaults(schema: &mut Value, defaults: &Value) {
    let Value::Object(defaults) = defaults else { return };
    for (key, value) in defaults {
        let Some(inner) = schema.get_mut("properties").and_then(|keys| keys.get_mut(key)) else {
            continue;
        };
        match value {
            Value::Object(table) if !table.is_empty() => with_defaults(inner, value),
            Value::Object(_) => {}
            value => {
                if let Some(object) = inner.as_object_mut() {
                    object.insert("default".into(), value.clone());
                }
            }
        }
    }
}
