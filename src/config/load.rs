//! The course of things: from a location to a whole configuration, or to everything wrong with it.
//!
//! Owns the order of the steps. Read [`super::layers`] next.

use std::collections::{BTreeMap, BTreeSet};

use figment::value::{Dict, Value};

use super::endpoint::Endpoint;
use super::extract::extract;
use super::layers::{Environment, Layers};
use super::report::{Problem, Problems, Report};
use super::resolve::{self, Resolver, SecretsTable, is_credential};
use super::sections::{AdminTable, OrganizationTable, RuntimeTable, Tables, TelemetryTable};
use super::source::SourceTable;
use super::{Config, Location, Source, change, check, endpoint, event};
use crate::domain::names::Name;
use crate::logic::intake::IntakeSettings;
use crate::logic::routing::{EventConfiguration, RoutingTable};
use crate::logic::secret::{Keyring, is_sealed};
use crate::spans;

/// The configuration at a location.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn load(location: &Location, environment: &Environment) -> Result<Config, Problems> {
    let (file, text) = read(location)?;
    load_text(&file, &text, &location.environment, environment)
}

/// The configuration that a text says; `file` names it in complaints.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn load_text(
    file: &str,
    text: &str,
    name: &str,
    environment: &Environment,
) -> Result<Config, Problems> {
    let layers = Layers::new(file, text, environment);
    let mut report = Report::new(&layers);
    let config = assemble(&layers, name, environment, &mut report);
    let warnings = report.finish()?;
    // Where nothing was reported, there is a configuration.
    let mut config = config.ok_or_else(Problems::default)?;
    config.warnings = warnings;
    file.clone_into(&mut config.file);
    Ok(config)
}

/// The keys that open and seal values at a location, though all else may be wrong there.
///
/// # Errors
/// What is wrong with the keys.
pub fn keyring(location: &Location, environment: &Environment) -> Result<Keyring, Problems> {
    let (file, text) = read(location).unwrap_or_default();
    keyring_of(&file, &text, environment)
}

/// The keys of the configuration that a text says, as [`keyring`].
pub(super) fn keyring_of(
    file: &str,
    text: &str,
    environment: &Environment,
) -> Result<Keyring, Problems> {
    let layers = Layers::new(file, text, environment);
    let mut report = Report::new(&layers);
    let table = section::<SecretsTable>("secrets", &layers.tree, &mut report);
    let ring = table.map(|table| resolve::keyring(&table, environment, &mut report));
    report.finish()?;
    ring.ok_or_else(Problems::default)
}

/// The file of a location, and its text.
pub(super) fn read(location: &Location) -> Result<(String, String), Problems> {
    let name = &location.environment;
    let one = |file: String, message: String, hint: &str| {
        let (path, hint) = (String::new(), Some(hint.to_owned()));
        Problems::one(Problem { path, file, message, hint })
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        let hint = "letters, digits, `-`, `_` and `.`";
        return Err(one(String::new(), "the environment's name is no file name".into(), hint));
    }
    let path = location.folder.join(format!("{name}.toml"));
    let file = path.display().to_string();
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok((file, text)),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
            let message = format!("there is no configuration for the environment {name}");
            Err(one(
                file,
                message,
                "create the file, or name others with --config DIR and --env NAME",
            ))
        }
        Err(cause) => {
            let message = format!("the configuration cannot be read: {cause}");
            Err(one(file, message, "it must be UTF-8 text that the process may read"))
        }
    }
}

fn section<T: serde::de::DeserializeOwned>(
    name: &str,
    tree: &Value,
    report: &mut Report<'_>,
) -> Option<T> {
    extract(&[name], tree.as_dict()?.get(name)?, report)
}

fn assemble(
    layers: &Layers,
    name: &str,
    environment: &Environment,
    report: &mut Report<'_>,
) -> Option<Config> {
    let _: Option<Tables> = extract(&[], &layers.tree, report);
    let secrets: Option<SecretsTable> = section("secrets", &layers.tree, report);
    let keyring = secrets.as_ref().map(|table| resolve::keyring(table, environment, report));
    let mut tree = layers.tree.clone();
    let mut found = BTreeSet::new();
    // Without a table of secrets nothing can be opened; that it is broken has been said.
    if let Some(keyring) = &keyring {
        let mut resolver = Resolver { keyring, environment, report, found };
        resolver.walk(&mut Vec::new(), &mut tree);
        found = resolver.found;
    }
    let tree = tree;
    let organization = section::<OrganizationTable>("organization", &tree, report);
    let organization = organization.map(OrganizationTable::organization);
    let (source, intake, mut credentials) = source(name, &tree, report);
    let admin = section::<AdminTable>("admin", &tree, report);
    if admin.as_ref().is_some_and(AdminTable::has_token) {
        credentials.push("admin.token".into());
    }
    let admin = admin.and_then(|table| table.admin(report));
    let telemetry = section::<TelemetryTable>("telemetry", &tree, report);
    credentials.extend(telemetry.iter().flat_map(TelemetryTable::credentials));
    let telemetry = telemetry.map(|table| table.telemetry(spans::built_in(), report));
    let runtime = section::<RuntimeTable>("runtime", &tree, report).map(|r| r.runtime(report));
    let (endpoints, own) = endpoints(&tree, &mut credentials, report);
    let routing = routing(&tree, own, report);
    check::routes(&endpoints, &routing, report);
    credentials.retain(|path| !found.contains(path) && !layers.is_from_variable(path));
    let require_sealed = secrets.is_some_and(|table| table.require_sealed);
    check::plain_credentials(&credentials, name, require_sealed, report);
    let organization = organization?;
    let intake = IntakeSettings { organization: organization.clone(), ..intake? };
    Some(Config {
        file: String::new(),
        environment: name.into(),
        organization,
        source: source?,
        intake,
        routing,
        endpoints,
        admin: admin?,
        telemetry: telemetry?,
        runtime: runtime?,
        warnings: Vec::new(),
        digest: digest(layers),
        at_start: change::at_start(&tree),
    })
}

/// The source, what intake needs of it (without the organization), and its credentials' key paths.
fn source(
    name: &str,
    tree: &Value,
    report: &mut Report<'_>,
) -> (Option<Source>, Option<IntakeSettings>, Vec<String>) {
    let Some(table) = section::<SourceTable>("source", tree, report) else {
        return (None, None, Vec::new());
    };
    let credentials = table.credentials().into_iter().map(str::to_owned).collect();
    let attributes = table.attributes(report);
    let environment = table.environment.clone().unwrap_or_else(|| name.into());
    let source = table.source(report);
    let intake = source.as_ref().map(|source| IntakeSettings {
        attributes,
        organization: crate::domain::event::Organization::default(),
        environment,
        max_event_bytes: source.max_event_bytes,
    });
    (source, intake, credentials)
}

/// The tables below `section`, by their names; complains about what is no name.
fn named<'a>(section: &str, tree: &'a Value, report: &mut Report<'_>) -> Vec<(Name, &'a Value)> {
    let value = tree.as_dict().and_then(|tree| tree.get(section));
    let Some(tables) = value.and_then(Value::as_dict) else {
        report.error(section, "expected a table", None);
        return Vec::new();
    };
    let mut all = Vec::new();
    for (name, table) in tables {
        if let Ok(name) = name.parse() {
            all.push((name, table));
        } else {
            let hint = "1 to 63 lower-case letters, digits and hyphens; no hyphen first";
            report.break_off(&format!("{section}.{name}"), "not a name", Some(hint.into()));
        }
    }
    all
}

fn endpoints(
    tree: &Value,
    credentials: &mut Vec<String>,
    report: &mut Report<'_>,
) -> (BTreeMap<Name, Endpoint>, Vec<EventConfiguration>) {
    let (mut endpoints, mut own) = (BTreeMap::new(), Vec::new());
    for (name, table) in named("endpoints", tree, report) {
        check::deliberate(&name, table, report);
        if let Some(read) = endpoint::read(&name, table, report) {
            credentials.extend(read.credentials);
            own.extend(event::own(&name, &read.events, report));
            endpoints.insert(name, read.endpoint);
        }
    }
    (endpoints, own)
}

fn routing(tree: &Value, own: Vec<EventConfiguration>, report: &mut Report<'_>) -> RoutingTable {
    let tables = tree.find_ref("endpoints").and_then(Value::as_dict);
    let known: BTreeSet<String> = tables.into_iter().flat_map(Dict::keys).cloned().collect();
    let mut all = own;
    for (name, table) in named("event_configurations", tree, report) {
        all.extend(event::read(&name, table, &known, report));
    }
    RoutingTable::new(all)
}

/// SHA-256 over the merged tree without its credentials. URLs stay, without their secret parts.
fn digest(layers: &Layers) -> String {
    let mut tree = layers.tree.clone();
    hide(&mut Vec::new(), &mut tree);
    // Cannot fail: the tree came from TOML. If it did, there would be a digest of nothing.
    let text = serde_json::to_string(&tree).unwrap_or_default();
    hex::encode(ring::digest::digest(&ring::digest::SHA256, text.as_bytes()))
}

fn hide(path: &mut Vec<String>, value: &mut Value) {
    if is_credential(path) {
        let url = value.as_str().and_then(|text| url::Url::parse(text).ok());
        let shown = url.map_or_else(String::new, |url| crate::logic::secret::redact(&url));
        *value = Value::from(shown);
        return;
    }
    match value {
        Value::Dict(_, dict) => {
            for (key, inner) in dict.iter_mut() {
                path.push(key.clone());
                hide(path, inner);
                path.pop();
            }
        }
        Value::Array(_, items) => {
            for (index, inner) in items.iter_mut().enumerate() {
                path.push(index.to_string());
                hide(path, inner);
                path.pop();
            }
        }
        Value::String(_, text) if is_sealed(text) => text.clear(),
        _ => {}
    }
}
