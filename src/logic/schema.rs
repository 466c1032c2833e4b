//! What a value of the configuration looks like, as JSON Schema: durations, sizes, credentials.
//!
//! Owns the shapes that many tables share; a table's own shape is derived where it stands. Refuses
//! to check anything: the types themselves do, and a test holds the two together. Read
//! [`super::secret`] for what a credential is.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::secret::{Secret, SecretUrl};

/// How a duration is written: `"10s"`. Stands in for `Duration`.
pub struct DurationText;

/// How a size is written: `"1MiB"`, or a number of bytes. Stands in for `ByteSize`.
pub struct SizeText;

/// The units of a duration, as `humantime` reads them.
const UNITS: &str = "nanos|nsec|ns|usec|us|µs|millis|msec|ms|seconds|second|secs|sec|s|\
                     minutes|minute|mins|min|m|hours|hour|hrs|hr|h|days|day|d|\
                     weeks|week|wks|wk|w|months|month|M|years|year|yrs|yr|y";

impl JsonSchema for DurationText {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let number = r"[0-9][0-9\s]*(\.[0-9\s]*[0-9][0-9\s]*)?";
        json_schema!({
            "type": "string",
            "pattern": format!(r"^(0|\s*({number}({UNITS})\s*)+)$"),
            "examples": ["500ms", "10s", "5m", "1h 30m", "3d"],
        })
    }
}

impl JsonSchema for SizeText {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                {
                    "type": "string",
                    "pattern": r"^(\+?[0-9]+|([0-9]+\.?[0-9]*|\.[0-9]+)\s*([Bb]|[KkMmGgTtPpEe][Ii]?[Bb]?))$",
                },
                { "type": "integer", "minimum": 0, "description": "Bytes." },
            ],
            "examples": ["64KiB", "1MiB", 1_048_576],
        })
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Credential".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        credential(&json_schema!({ "not": { "pattern": "^sealed:" } }))
    }
}

impl JsonSchema for SecretUrl {
    fn schema_name() -> Cow<'static, str> {
        "Url".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        credential(&json_schema!({ "not": { "pattern": "^sealed:" } }))
    }
}

/// A URL of one of these schemes, which may hold credentials: plain, sealed, in a variable or in
/// a file, always as a whole.
#[must_use]
pub fn url(schemes: &[&str]) -> Schema {
    // Schemes ignore case.
    let either = |c: char| format!("[{}{}]", c.to_ascii_uppercase(), c.to_ascii_lowercase());
    let names: Vec<String> =
        schemes.iter().map(|scheme| scheme.chars().map(either).collect()).collect();
    credential(&json_schema!({ "pattern": format!(r"^\s*({}):", names.join("|")) }))
}

/// What may stand where a credential may: `plain` is what holds of one that is written as it is.
fn credential(plain: &Schema) -> Schema {
    let mut plain = plain.clone();
    plain.insert("type".into(), "string".into());
    plain.insert("description".into(), "As it is.".into());
    let held = |key: &str, what: &str| {
        json_schema!({
            "type": "object",
            "properties": { key: { "type": "string", "description": what } },
            "required": [key],
            "additionalProperties": false,
        })
    };
    json_schema!({
        "anyOf": [
            plain,
            {
                "type": "string",
                "pattern": "^sealed:v1:[0-9a-f]{8}:[A-Za-z0-9_-]+$",
                "description": "Sealed for its key path by `lockgate secret seal --path KEY.PATH`.",
            },
            held("env", "The name of the environment variable that holds it."),
            held("file", "The path of the file that holds it: at most 64 KiB; one newline at its end is dropped."),
        ],
    })
}
