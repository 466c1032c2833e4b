//! Secrets: sealed values, `{ env = "NAME" }` and `{ file = "PATH" }` become the texts they stand for.
//!
//! Owns where a credential may stand and how it is found. Refuses to print one. Works on the
//! merged tree, before any table is read. Read [`super::extract`] next.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use figment::value::Value;

use super::layers::Environment;
use super::report::{Problem, Report};
use crate::logic::secret::{Key, Keyring, OpenError, Secret, is_sealed, key_id};

/// The largest secret that is read from a file, in bytes.
const MAX_SECRET: u64 = 64 * 1024;

/// The keys of sealed values, and whether there must be any.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretsTable {
    /// Files with keys: the first one seals, any of them opens. Also the variables `LOCKGATE_KEY` and
    /// `LOCKGATE_KEY_FILE`.
    pub(super) key_files: Vec<PathBuf>,
    /// A plain credential is an error outside `development`.
    pub(super) require_sealed: bool,
}

/// Whether a credential may stand at this key path.
pub(super) fn is_credential(path: &[String]) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["source", "url" | "username" | "password"]
        | ["admin", "token"]
        | ["telemetry", "otlp", "endpoint"]
        | ["telemetry", "otlp", "headers", _] => true,
        ["endpoints", _, kind, below @ ..] => matches!(
            (*kind, below),
            ("mqtt" | "rest" | "webhook" | "amqp", ["url"])
                | ("mqtt" | "amqp", ["username" | "password"])
                | (
                    "rest",
                    ["auth", "basic", "username" | "password"] | ["auth", "api_key", "value"]
                )
                | ("rest" | "webhook", ["headers", _])
                | ("webhook", ["secret"] | ["secrets", _])
        ),
        _ => false,
    }
}

/// Whether a credential may stand at this dotted key path.
#[must_use]
pub fn takes_credential(path: &str) -> bool {
    is_credential(&path.split('.').map(str::to_owned).collect::<Vec<_>>())
}

/// The keys that open sealed values: of `secrets.key_files`, `LOCKGATE_KEY` and `LOCKGATE_KEY_FILE`.
pub(super) fn keyring(
    table: &SecretsTable,
    environment: &Environment,
    report: &mut Report<'_>,
) -> Keyring {
    let mut keys = Vec::new();
    for (index, file) in table.key_files.iter().enumerate() {
        match key_file(file) {
            Ok(key) => keys.push(key),
            Err(message) => {
                report.error(&format!("secrets.key_files.{index}"), message, Some(keygen()));
            }
        }
    }
    let mut from_variable = |name: &str, read: &dyn Fn(&str) -> Result<Key, String>| {
        let found = environment.get(name).filter(|text| !text.is_empty());
        match found.map(read) {
            Some(Ok(key)) => keys.push(key),
            Some(Err(message)) => {
                let (path, file) = (String::new(), format!("environment variable {name}"));
                report.push(Problem { path, file, message, hint: Some(keygen()) });
            }
            None => {}
        }
    };
    from_variable("LOCKGATE_KEY", &|text| {
        text.trim().parse().map_err(|_| "the variable holds no key".into())
    });
    from_variable("LOCKGATE_KEY_FILE", &|path| key_file(Path::new(path)));
    Keyring::new(keys)
}

/// The key in a file.
///
/// # Errors
/// In words, without anything that the file holds.
pub fn key_file(path: &Path) -> Result<Key, String> {
    let text = read(path).map_err(|cause| format!("cannot read the key file: {cause}"))?;
    text.trim().parse().map_err(|_| format!("the file {} holds no key", path.display()))
}

fn keygen() -> String {
    "`lockgate secret keygen --out FILE` makes a key".into()
}

/// Walks the tree and puts the secrets themselves in the place of what stands for them.
pub(super) struct Resolver<'a, 'r> {
    pub(super) keyring: &'a Keyring,
    pub(super) environment: &'a Environment,
    pub(super) report: &'a mut Report<'r>,
    /// The key paths of what was sealed, in a variable or in a file.
    pub(super) found: BTreeSet<String>,
}

/// What is wrong, in words without the value, and what to do.
pub(super) type Wrong = (String, Option<String>);

enum Step {
    Keep,
    Remove,
}

impl Resolver<'_, '_> {
    /// Resolves everything at and below `path`.
    pub(super) fn walk(&mut self, path: &mut Vec<String>, value: &mut Value) {
        self.visit(path, value);
    }

    fn visit(&mut self, path: &mut Vec<String>, value: &mut Value) -> Step {
        if let Some(resolved) = self.secret(path, value) {
            return self.replace(path, value, resolved);
        }
        match value {
            Value::Dict(_, dict) => dict.retain(|key, inner| {
                path.push(key.clone());
                let step = self.visit(path, inner);
                path.pop();
                matches!(step, Step::Keep)
            }),
            Value::Array(_, items) => {
                for (index, inner) in items.iter_mut().enumerate() {
                    path.push(index.to_string());
                    self.visit(path, inner);
                    path.pop();
                }
            }
            _ => {}
        }
        Step::Keep
    }

    /// The secret that this value stands for, or what is wrong with it and what to do.
    fn secret(&self, path: &[String], value: &Value) -> Option<Result<String, Wrong>> {
        match value {
            Value::String(_, text) if is_sealed(text) => {
                let opened = opened(self.keyring, &path.join("."), text);
                Some(opened.map(|secret| secret.expose().to_owned()))
            }
            Value::Dict(_, dict) if dict.len() == 1 && is_credential(path) => {
                let (kind, name) = dict.iter().next()?;
                match (kind.as_str(), name.as_str()?) {
                    ("env", name) => Some(self.variable(name)),
                    ("file", name) => Some(secret_file(Path::new(name))),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn variable(&self, name: &str) -> Result<String, Wrong> {
        let hint = || Some(format!("set {name} for the lockgate process"));
        match self.environment.get(name) {
            Some("") => Err((format!("the environment variable {name} is empty"), hint())),
            Some(text) => Ok(text.into()),
            None => Err((format!("the environment variable {name} is not set"), hint())),
        }
    }

    fn replace(
        &mut self,
        path: &[String],
        value: &mut Value,
        resolved: Result<String, Wrong>,
    ) -> Step {
        let dotted = path.join(".");
        match resolved {
            Ok(text) => {
                *value = Value::String(value.tag(), text);
                self.found.insert(dotted);
                Step::Keep
            }
            Err((message, hint)) => {
                self.report.break_off(&dotted, message, hint);
                *value = Value::String(value.tag(), "unresolved".into());
                // A URL has no stand-in that would not be complained about in its turn.
                let is_url = |key: &String| key == "url" || key == "endpoint";
                if path.last().is_some_and(is_url) { Step::Remove } else { Step::Keep }
            }
        }
    }
}

/// What a sealed value at this key path holds, or what is wrong with it and what to do: in words
/// that name the key.
pub(super) fn opened(keyring: &Keyring, path: &str, sealed: &str) -> Result<Secret, Wrong> {
    let id = key_id(sealed).unwrap_or("of no name");
    keyring.open(path, sealed).map_err(|cause| match cause {
        OpenError::UnknownKey { id } => (
            format!("sealed with the key {id}, which is not at hand"),
            Some("name its file in secrets.key_files or LOCKGATE_KEY_FILE".into()),
        ),
        OpenError::WrongKeyOrPath { .. } => (
            format!("this sealed value does not open here with its key {id}: it was sealed for another key path, or altered"),
            Some(format!("seal it anew: `lockgate secret seal --path {path}`")),
        ),
        OpenError::NotSealed | OpenError::Malformed => (
            "not a sealed value, though it begins like one".into(),
            Some(format!("seal it anew: `lockgate secret seal --path {path}`")),
        ),
    })
}

fn secret_file(path: &Path) -> Result<String, Wrong> {
    let hint = || Some("the file must exist and be readable for the lockgate process".to_owned());
    let mut text =
        read(path).map_err(|cause| (format!("cannot read the secret's file: {cause}"), hint()))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err((format!("the file {} is empty", path.display()), hint()));
    }
    Ok(text)
}

/// A file's text, in bounds; errors name the file and hold nothing of its text.
fn read(path: &Path) -> Result<String, String> {
    let named = |cause: &dyn std::fmt::Display| format!("{}: {cause}", path.display());
    let file = std::fs::File::open(path).map_err(|cause| named(&cause))?;
    let mut bytes = Vec::new();
    file.take(MAX_SECRET + 1).read_to_end(&mut bytes).map_err(|cause| named(&cause))?;
    if bytes.len() as u64 > MAX_SECRET {
        return Err(named(&"larger than 64 KiB"));
    }
    String::from_utf8(bytes).map_err(|_| named(&"not UTF-8 text"))
}
