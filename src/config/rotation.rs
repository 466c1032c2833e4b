//! Rotation: every sealed value of a file's text, sealed anew with the key that seals now.
//!
//! Owns where sealed values stand in a text, and puts new ones in their place; every other byte
//! stays as it is. Refuses to write files: the command does. Read [`super::resolve`] for how a
//! value is opened.

use std::ops::Range;

use figment::value::Value as Merged;
use toml_edit::{ImDocument, Item, TableLike, Value};

use super::layers::{Environment, Layers, not_toml};
use super::load::{keyring, keyring_of, read};
use super::resolve::{Wrong, opened};
use super::{Location, Problem, Problems};
use crate::logic::secret::{Keyring, is_sealed, key_id};
use crate::world;

/// A file's text with its sealed values sealed anew.
#[derive(Clone, Debug)]
pub struct Rotated {
    /// The whole text; as it was where nothing changes.
    pub text: String,
    /// What changes, in the order of the text.
    pub changes: Vec<Change>,
    /// How many values had been sealed with the key that seals now.
    pub current: usize,
}

/// One value that is sealed anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where it stands: `endpoints.erp.rest.auth.basic.password`.
    pub path: String,
    /// The id of the key that had sealed it.
    pub from: String,
    /// The id of the key that seals it now.
    pub to: String,
}

/// A sealed value that stands in an environment variable, where no file can be rewritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// `environment variable LOCKGATE__…`
    pub variable: String,
    /// The key path that it sets.
    pub path: String,
    /// The id of its key; `None` where it is malformed.
    pub key: Option<String>,
}

/// Seals the values of a text anew with the first key that this text and the variables name.
/// `file` names it in complaints.
///
/// # Errors
/// Everything that keeps a value from being opened: its path, its file and its key's id.
pub fn rotate(file: &str, text: &str, environment: &Environment) -> Result<Rotated, Problems> {
    let found = sealed_values(file, text).map_err(Problems::one)?;
    let mut rotated = Rotated { text: text.to_owned(), changes: Vec::new(), current: 0 };
    if found.is_empty() {
        // A file that needs no key is not asked for one.
        return Ok(rotated);
    }
    let ring = keyring_of(file, text, environment)?;
    let mut problems = Problems::default();
    let mut edits = Vec::new();
    for sealed in found {
        match sealed.anew(&ring) {
            Ok(None) => rotated.current += 1,
            Ok(Some((change, value))) => {
                rotated.changes.push(change);
                edits.push((sealed.span, sealed.value, value));
            }
            Err((message, hint)) => problems.errors.push(Problem {
                path: sealed.path,
                file: file.to_owned(),
                message,
                hint,
            }),
        }
    }
    if !problems.errors.is_empty() {
        return Err(problems);
    }
    // From the end, so that the places before stay where they are.
    for (span, old, new) in edits.into_iter().rev() {
        let written = text.get(span.clone()).unwrap_or_default();
        // With its own quotes where it stands in them as it is, else with plain ones.
        let literal =
            if written.contains(&old) { written.replace(&old, &new) } else { format!("\"{new}\"") };
        rotated.text.replace_range(span, &literal);
    }
    Ok(rotated)
}

/// The sealed values in `LOCKGATE__…` variables that another key sealed than the one that seals
/// now at this location.
///
/// # Errors
/// Where there is such a variable, what is wrong with the keys.
pub fn held_by_variables(
    location: &Location,
    environment: &Environment,
) -> Result<Vec<Held>, Problems> {
    let (file, text) = read(location).unwrap_or_default();
    let layers = Layers::new(&file, &text, environment);
    let mut found = Vec::new();
    in_tree(&layers.tree, &mut Vec::new(), &mut found);
    found.retain(|(path, _)| layers.is_from_variable(path));
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let ring = keyring(location, environment)?;
    let old = found.into_iter().filter(|(path, value)| !ring.is_current(path, value));
    let held = old.map(|(path, value)| Held {
        variable: layers.source_of(&path),
        key: key_id(&value).map(str::to_owned),
        path,
    });
    Ok(held.collect())
}

fn in_tree(value: &Merged, path: &mut Vec<String>, found: &mut Vec<(String, String)>) {
    let mut below = |key: String, inner: &Merged| {
        path.push(key);
        in_tree(inner, path, found);
        path.pop();
    };
    match value {
        Merged::Dict(_, dict) => dict.iter().for_each(|(key, inner)| below(key.clone(), inner)),
        Merged::Array(_, items) => {
            items.iter().enumerate().for_each(|(index, inner)| below(index.to_string(), inner));
        }
        Merged::String(_, text) if is_sealed(text) => found.push((path.join("."), text.clone())),
        _ => {}
    }
}

/// A sealed value in a text.
struct Sealed {
    path: String,
    value: String,
    /// With its quotes.
    span: Range<usize>,
}

impl Sealed {
    /// The change and the new value; `None` where the key that seals now had sealed it.
    fn anew(&self, ring: &Keyring) -> Result<Option<(Change, String)>, Wrong> {
        let plain = opened(ring, &self.path, &self.value)?;
        if ring.is_current(&self.path, &self.value) {
            return Ok(None);
        }
        let nonce =
            world::random_bytes().map_err(|_| ("the system gives no random bytes".into(), None))?;
        let new = ring
            .seal(&self.path, plain.expose(), nonce)
            .map_err(|cause| (cause.to_string(), None))?;
        let id = |value: &str| key_id(value).unwrap_or_default().to_owned();
        let change = Change { path: self.path.clone(), from: id(&self.value), to: id(&new) };
        Ok(Some((change, new)))
    }
}

/// The sealed values of a text, in its order.
fn sealed_values(file: &str, text: &str) -> Result<Vec<Sealed>, Problem> {
    let document = ImDocument::parse(text)
        .map_err(|cause| not_toml(file, text, cause.span(), cause.message()))?;
    let mut found = Vec::new();
    in_table(document.as_table(), &mut Vec::new(), &mut found);
    found.sort_by_key(|sealed| sealed.span.start);
    Ok(found)
}

fn in_table(table: &dyn TableLike, path: &mut Vec<String>, found: &mut Vec<Sealed>) {
    for (key, item) in table.iter() {
        path.push(key.to_owned());
        match item {
            Item::Value(value) => in_value(value, path, found),
            Item::Table(table) => in_table(table, path, found),
            Item::ArrayOfTables(tables) => {
                for (index, table) in tables.iter().enumerate() {
                    path.push(index.to_string());
                    in_table(table, path, found);
                    path.pop();
                }
            }
            Item::None => {}
        }
        path.pop();
    }
}

fn in_value(value: &Value, path: &mut Vec<String>, found: &mut Vec<Sealed>) {
    match value {
        Value::String(text) if is_sealed(text.value()) => {
            // A text that was parsed has its place.
            if let Some(span) = text.span() {
                found.push(Sealed { path: path.join("."), value: text.value().clone(), span });
            }
        }
        Value::InlineTable(table) => in_table(table, path, found),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push(index.to_string());
                in_value(item, path, found);
                path.pop();
            }
        }
        _ => {}
    }
}
