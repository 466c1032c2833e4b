//! From the merged tree to one table's type, with every problem of that table.
//!
//! Owns the trick: what does not fit is reported, taken out, and the rest is tried again until
//! nothing is wrong. Refuses to print a value. Read [`super::endpoint`] next: who uses it.

use figment::error::{Actual, Kind};
use figment::value::Value;
use serde::de::DeserializeOwned;

use super::report::{Report, nearest};
use super::resolve::is_credential;

/// What stands in for a missing text or URL, so that further missing keys are found too.
const STAND_INS: [&str; 2] = ["amqp://stand-in.invalid", "1s"];
/// More problems than this in one table are not counted.
const MAX_PROBLEMS: usize = 200;

/// The table at the key path `base`, where it is whole. Everything that is wrong is reported.
pub(super) fn extract<T: DeserializeOwned>(
    base: &[&str],
    value: &Value,
    report: &mut Report<'_>,
) -> Option<T> {
    let mut value = value.clone();
    let mut invented = Vec::new();
    for _ in 0..MAX_PROBLEMS {
        let error = match T::deserialize(&value) {
            Ok(table) => return invented.is_empty().then_some(table),
            Err(error) => error,
        };
        if let Some(other) = other_reading::<T>(base, &error.path, &value, report) {
            value = other;
            continue;
        }
        let full = base.iter().map(|key| (*key).to_owned()).chain(error.path.clone());
        let mut full: Vec<String> = full.collect();
        match error.kind {
            Kind::MissingField(name) => {
                full.push(name.to_string());
                report.break_off(&full.join("."), "missing", hint_for_missing(&name));
                let mut place = error.path;
                place.push(name.to_string());
                if !insert(&mut value, &place, Value::from(STAND_INS[0])) {
                    return None;
                }
                invented.push(place);
            }
            _ if invented.contains(&error.path) => return None,
            kind => {
                let (message, hint) = describe(&kind, &full, at(&value, &error.path));
                report.break_off(&full.join("."), message, hint);
                let taken = take_out(&mut value, &error.path, &kind)?;
                full.truncate(base.len() + taken);
                report.mark_broken(&full.join("."));
            }
        }
    }
    None
}

/// The tree with the other reading of a variable, where that brings the extraction further.
fn other_reading<T: DeserializeOwned>(
    base: &[&str],
    path: &[String],
    value: &Value,
    report: &Report<'_>,
) -> Option<Value> {
    let full: Vec<String> =
        base.iter().map(|key| (*key).to_owned()).chain(path.iter().cloned()).collect();
    let (place, variable) =
        report.layers().variables.iter().find(|(place, _)| full.starts_with(place))?;
    let place = place.get(base.len()..)?;
    if at(value, place)? == &variable.other {
        return None;
    }
    let mut other = value.clone();
    insert(&mut other, place, variable.other.clone());
    let further = T::deserialize(&other).err().is_none_or(|error| !error.path.starts_with(place));
    further.then_some(other)
}

/// What is wrong, in words that do not show the value, and what to do.
fn describe(kind: &Kind, path: &[String], value: Option<&Value>) -> (String, Option<String>) {
    let expected = |words: &str| {
        let plain = || expectation(words);
        if is_credential(path) {
            "a text, \"sealed:…\", { env = \"NAME\" } or { file = \"PATH\" }".to_owned()
        } else {
            plain()
        }
    };
    match kind {
        Kind::UnknownField(name, known) => {
            let near = nearest(name, known.iter().copied());
            let hint = near.unwrap_or_else(|| format!("known here: {}", known.join(", ")));
            ("unknown key".into(), Some(hint))
        }
        Kind::UnknownVariant(name, known) => {
            let listed: Vec<String> = known.iter().map(|word| format!("{word:?}")).collect();
            let hint = nearest(name, known.iter().copied());
            (format!("expected one of {}", listed.join(", ")), hint)
        }
        Kind::InvalidType(actual, words) => {
            (format!("expected {}, found {}", expected(words), found(actual)), None)
        }
        Kind::InvalidValue(actual, words) => {
            let found = found(actual);
            let other = found.strip_prefix("a ").map_or(found.clone(), |f| format!("another {f}"));
            (format!("expected {}, found {other}", expected(words)), None)
        }
        Kind::InvalidLength(count, words) => {
            (format!("expected {}, found {count} of them", expected(words)), None)
        }
        Kind::Message(message) => {
            let text = value.and_then(Value::as_str).unwrap_or_default();
            (scrub(message, text, path), hint_for_value(path))
        }
        Kind::DuplicateField(_)
        | Kind::MissingField(_)
        | Kind::ISizeOutOfRange(_)
        | Kind::USizeOutOfRange(_)
        | Kind::Unsupported(_)
        | Kind::UnsupportedKey(..) => ("cannot be used here".into(), None),
    }
}

fn expectation(words: &str) -> String {
    let range = |max: u64| format!("a whole number from 0 to {max}");
    match words {
        "a duration" => "a duration like \"10s\"".into(),
        "an integer or string" | "parsable string" | "integer overflow" => {
            "a size like \"1MiB\"".into()
        }
        "a string" => "a text".into(),
        "a boolean" => "true or false".into(),
        "a sequence" => "a list".into(),
        "a map" | "map with a single key" => "a table".into(),
        "path string" => "a path".into(),
        "u8" => range(u64::from(u8::MAX)),
        "u16" => range(u64::from(u16::MAX)),
        "u32" => range(u64::from(u32::MAX)),
        "u64" | "usize" => "a whole number, 0 or more".into(),
        "f32" | "f64" => "a number".into(),
        other if other.starts_with("struct ") => "a table".into(),
        other if other.starts_with("enum ") => "one of the known words".into(),
        other => other.into(),
    }
}

fn found(actual: &Actual) -> String {
    match actual {
        Actual::Bool(_) => "true or false",
        Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_) => "a number",
        Actual::Char(_) | Actual::Str(_) | Actual::Bytes(_) => "a text",
        Actual::Seq => "a list",
        Actual::Map => "a table",
        _ => "something else",
    }
    .into()
}

/// The message without the value that it complains about: it may be a secret in the wrong place.
pub(super) fn scrub(message: &str, text: &str, path: &[String]) -> String {
    let quoted = format!("{text:?}");
    let shown = message.contains(text) || message.contains(&quoted);
    if text.is_empty() || !shown {
        message.into()
    } else if is_credential(path) || text.len() < 4 {
        "the value cannot be used here".into()
    } else {
        message.replace(&quoted, "…").replace(text, "…")
    }
}

fn hint_for_value(path: &[String]) -> Option<String> {
    let url = path.last().is_some_and(|key| key == "url");
    url.then(|| "write the URL whole: scheme://host:port/path".into())
}

fn hint_for_missing(name: &str) -> Option<String> {
    match name {
        "url" => Some("where to connect: scheme://host:port/path".into()),
        "queue" => Some("the queue on the platform's bus that lockgate consumes".into()),
        _ => None,
    }
}

fn at<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| match value {
        Value::Dict(_, dict) => dict.get(key),
        Value::Array(_, items) => items.get(key.parse::<usize>().ok()?),
        _ => None,
    })
}

fn at_mut<'a>(value: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    path.iter().try_fold(value, |value, key| match value {
        Value::Dict(_, dict) => dict.get_mut(key),
        Value::Array(_, items) => items.get_mut(key.parse::<usize>().ok()?),
        _ => None,
    })
}

fn insert(value: &mut Value, path: &[String], new: Value) -> bool {
    let Some((last, above)) = path.split_last() else { return false };
    match at_mut(value, above) {
        Some(Value::Dict(_, dict)) => {
            dict.insert(last.clone(), new);
            true
        }
        Some(Value::Array(_, items)) => {
            let place = last.parse::<usize>().ok().and_then(|index| items.get_mut(index));
            place.map(|place| *place = new).is_some()
        }
        _ => false,
    }
}

/// Takes the offending value out; says how much of `path` leads to what is gone. An item of a list
/// gets a stand-in, so that the items after it keep their numbers; where none fits, the whole list
/// goes. `None`: nothing could be taken out.
fn take_out(value: &mut Value, path: &[String], kind: &Kind) -> Option<usize> {
    let (last, above) = path.split_last()?;
    let alone = match at_mut(value, above)? {
        Value::Dict(_, dict) => {
            dict.remove(last)?;
            dict.is_empty()
        }
        Value::Array(_, items) => {
            let item = items.get_mut(last.parse::<usize>().ok()?)?;
            let used = STAND_INS.iter().position(|text| item.as_str() == Some(text));
            let Some(text) = STAND_INS.get(used.map_or(0, |used| used + 1)) else {
                return take_out(value, above, kind);
            };
            *item = Value::from(*text);
            false
        }
        _ => return None,
    };
    // A table that chose an unknown kind of something is nothing without it.
    let choice = alone && matches!(kind, Kind::UnknownVariant(..));
    if choice { take_out(value, above, kind) } else { Some(path.len()) }
}
