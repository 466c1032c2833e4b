//! The layers of a configuration: compiled-in defaults, one file, environment variables.
//!
//! Owns how they are merged, and remembers which of them said what. Refuses to know any key. Read
//! [`super::resolve`] next: what happens to secrets.

use std::collections::BTreeMap;
use std::fmt;

use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::report::Problem;
use super::resolve;

/// The compiled-in defaults.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

/// What every variable that sets a key begins with.
const VARIABLE: &str = "LOCKGATE__";

/// The environment variables of a process. Its `Debug` shows no value.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// This process's variables, as they are now; those that are not UTF-8 are left out.
    #[must_use]
    pub fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(text).collect())
    }

    /// One variable's value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A value that came from a variable: the text as it is, or what it says as TOML.
pub(super) struct Variable {
    /// The other reading, tried where the first does not fit the key.
    pub(super) other: Value,
}

/// The merged layers.
pub(super) struct Layers {
    figment: Figment,
    main: String,
    /// The merged tree.
    pub(super) tree: Value,
    /// By key path: values from variables that can be read in another way.
    pub(super) variables: BTreeMap<Vec<String>, Variable>,
    /// What went wrong while merging.
    pub(super) problems: Vec<Problem>,
}

struct Layer {
    name: String,
    data: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.data.clone()))
    }
}

impl Layers {
    /// Lays `text` (of the file `main`) and the variables over the defaults. `None` for a text that
    /// is not there: its absence is reported elsewhere.
    pub(super) fn new(main: &str, text: &str, environment: &Environment) -> Self {
        let mut layers = Self {
            figment: Figment::new(),
            main: main.into(),
            tree: Value::from(Dict::new()),
            variables: BTreeMap::new(),
            problems: Vec::new(),
        };
        layers.lay_text(DEFAULTS_NAME, DEFAULTS);
        layers.lay_text(main, text);
        for (name, value) in &environment.0 {
            if let Some(keys) = name.strip_prefix(VARIABLE) {
                layers.lay_variable(name, keys, value);
            }
        }
        layers
    }

    /// Whether a variable has the last word on `path`.
    pub(super) fn is_from_variable(&self, path: &str) -> bool {
        self.source_of(path).starts_with(SET_BY)
    }

    /// The file or variable that has the last word on `path`.
    pub(super) fn source_of(&self, path: &str) -> String {
        let (mut value, mut rest) = (&self.tree, path);
        while let Some(inner) = step(value, &mut rest) {
            value = inner;
        }
        let name = self.figment.get_metadata(value.tag()).map(|m| m.name.to_string());
        match name {
            // A table's own tag names the last layer that touched it, which need not be at fault.
            Some(name) if !matches!(value, Value::Dict(..)) && name != DEFAULTS_NAME => name,
            _ => self.main.clone(),
        }
    }

    fn lay_text(&mut self, name: &str, text: &str) {
        match Toml::from_str::<Dict>(text) {
            Ok(data) => self.lay(name.into(), data),
            Err(cause) => {
                self.problems.push(not_toml(name, text, cause.span(), cause.message()));
            }
        }
    }

    fn lay_variable(&mut self, name: &str, keys: &str, text: &str) {
        let Some(path) = self.key_path(keys) else {
            self.problems.push(Problem {
                path: String::new(),
                file: format!("{SET_BY}{name}"),
                message: "the variable's name is no key path".into(),
                hint: Some("write LOCKGATE__SECTION__KEY".into()),
            });
            return;
        };
        let (raw, parsed) = (Value::from(text), as_toml(text));
        let structured = matches!(parsed, Some(Value::Dict(..) | Value::Array(..)));
        let credential = resolve::is_credential(&path);
        let (first, other) = match parsed {
            Some(parsed) if structured && !credential => (parsed, Some(raw)),
            parsed => (raw, parsed.filter(|_| !credential)),
        };
        let data = path
            .iter()
            .rev()
            .fold(first, |inner, key| Value::from(Dict::from([(key.clone(), inner)])));
        if let Some(other) = other {
            self.variables.insert(path, Variable { other });
        }
        if let Value::Dict(_, data) = data {
            self.lay(format!("{SET_BY}{name}"), data);
        }
    }

    fn lay(&mut self, name: String, data: Dict) {
        self.figment = std::mem::take(&mut self.figment).merge(Layer { name, data });
        // Cannot fail: every layer's data are there.
        self.tree = self.figment.find_value("").unwrap_or_else(|_| Value::from(Dict::new()));
    }

    /// The key path that a variable's name means: keys that are there already are found whatever
    /// their case and with `-` for `_`; new names of endpoints, configurations and headers have
    /// `-` for `_`.
    fn key_path(&self, keys: &str) -> Option<Vec<String>> {
        let mut path = Vec::new();
        let mut value = Some(&self.tree);
        for key in keys.split("__") {
            if key.is_empty() {
                return None;
            }
            let dict = value.and_then(Value::as_dict);
            let there = dict.and_then(|d| d.keys().find(|have| same_key(have, key)));
            let key = there.cloned().unwrap_or_else(|| new_key(&path, key));
            value = dict.and_then(|d| d.get(&key));
            path.push(key);
        }
        Some(path)
    }
}

const SET_BY: &str = "environment variable ";
const DEFAULTS_NAME: &str = "the built-in defaults";

/// A file that cannot be parsed: where, and why.
pub(super) fn not_toml(
    name: &str,
    text: &str,
    span: Option<std::ops::Range<usize>>,
    message: &str,
) -> Problem {
    let before = span.and_then(|span| text.get(..span.start));
    let at = before.map_or(String::new(), |before| {
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        format!(", line {}, column {column}", before.matches('\n').count() + 1)
    });
    Problem {
        path: String::new(),
        file: format!("{name}{at}"),
        message: format!("not TOML: {}", message.replace('\n', ", ")),
        hint: None,
    }
}

/// One step down along the path. Keys may hold dots, so the longest that fits is taken.
fn step<'a>(value: &'a Value, rest: &mut &str) -> Option<&'a Value> {
    let ends: Vec<usize> = rest.match_indices('.').map(|(at, _)| at).chain([rest.len()]).collect();
    for end in ends.into_iter().rev() {
        let key = rest.get(..end)?;
        let inner = match value {
            Value::Dict(_, dict) => dict.get(key),
            Value::Array(_, items) => key.parse::<usize>().ok().and_then(|i| items.get(i)),
            _ => None,
        };
        if inner.is_some() {
            *rest = rest.get(end + 1..).unwrap_or("");
            return inner;
        }
    }
    None
}

fn same_key(have: &str, written: &str) -> bool {
    have.replace('-', "_").eq_ignore_ascii_case(&written.replace('-', "_"))
}

fn new_key(path: &[String], key: &str) -> String {
    let key = key.to_lowercase();
    match path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["endpoints" | "event_configurations"] | [.., "headers"] => key.replace('_', "-"),
        _ => key,
    }
}

fn as_toml(text: &str) -> Option<Value> {
    let mut data = Toml::from_str::<Dict>(&format!("value = {text}")).ok()?;
    let value = data.remove("value")?;
    data.is_empty().then_some(value)
}
