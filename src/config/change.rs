//! What another configuration changes.
//!
//! Owns the comparison of two configurations, credentials and certificate files included: by
//! fingerprints, so that nothing secret is kept twice or shown. Says what a running bridge can take
//! over and what it takes a restart for. Refuses to apply it: that is [`crate::app`].

use std::collections::BTreeMap;
use std::fmt;

use figment::value::Value;
use ring::digest::{Context, SHA256};
use url::Url;

use super::Config;
use super::report::{Problem, Problems};
use crate::domain::names::Name;

/// Keys that take effect without a restart although their section does not.
const TAKEN_OVER: [&str; 11] = [
    // By the next connection to the bus, as the credentials in its URL are.
    "source.username",
    "source.password",
    "source.tls",
    "source.heartbeat",
    "source.attributes",
    "source.environment",
    "source.max_event_bytes",
    "admin.token",
    "admin.hosts",
    "admin.attempt_log",
    "runtime.shutdown_grace",
];
/// The sections that else take a restart.
const AT_START: [&str; 4] = ["source", "admin", "runtime", "telemetry"];

/// A part of a configuration as it is after every credential has been put in: equal if the parts are.
#[derive(Clone, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It could be tried against guesses of a short password.
        f.write_str("[fingerprint]")
    }
}

impl Fingerprint {
    /// Of a value without the key `but` of its table; certificate files that it names count with
    /// what is in them.
    pub(super) fn of(value: &Value, but: Option<&str>) -> Self {
        let mut context = Context::new(&SHA256);
        feed(&mut context, value, but);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Self(bytes)
    }
}

fn feed(context: &mut Context, value: &Value, but: Option<&str>) {
    match value {
        Value::Dict(_, dict) => {
            context.update(b"{");
            for (key, inner) in dict.iter().filter(|(key, _)| Some(key.as_str()) != but) {
                context.update(&(key.len() as u64).to_le_bytes());
                context.update(key.as_bytes());
                feed(context, inner, None);
                if let ("ca_file", Some(path)) = (key.as_str(), inner.as_str()) {
                    // One that cannot be read is complained about elsewhere.
                    context.update(&std::fs::read(path).unwrap_or_default());
                }
            }
            context.update(b"}");
        }
        Value::Array(_, items) => {
            context.update(b"[");
            for inner in items {
                feed(context, inner, None);
            }
            context.update(b"]");
        }
        plain => {
            // Cannot fail: the value came from TOML or a variable.
            let text = serde_json::to_string(plain).unwrap_or_default();
            context.update(&(text.len() as u64).to_le_bytes());
            context.update(text.as_bytes());
        }
    }
}

/// The fingerprints of everything that a running bridge cannot take over, by key path.
pub(super) fn at_start(tree: &Value) -> BTreeMap<String, Fingerprint> {
    let mut all = BTreeMap::new();
    for section in AT_START {
        let table = tree.as_dict().and_then(|tree| tree.get(section)).and_then(Value::as_dict);
        for (key, value) in table.into_iter().flatten() {
            let path = format!("{section}.{key}");
            if TAKEN_OVER.contains(&path.as_str()) {
                continue;
            }
            let place = (path == "source.url").then(|| without_user(value)).flatten();
            all.insert(path, Fingerprint::of(place.as_ref().unwrap_or(value), None));
        }
    }
    all
}

/// Where a URL leads, whoever logs in there and however often is asked whether it lives; `None` for
/// what is no URL.
fn without_user(url: &Value) -> Option<Value> {
    let mut url: Url = url.as_str()?.parse().ok()?;
    let pairs = url.query().into_iter().flat_map(|query| query.split('&'));
    let kept: Vec<&str> = pairs.filter(|pair| !pair.starts_with("heartbeat=")).collect();
    let kept = (!kept.is_empty()).then(|| kept.join("&"));
    url.set_query(kept.as_deref());
    // Neither can fail where there is a host, and where there is none there is no user.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Some(Value::from(url.as_str()))
}

/// What a running bridge has to do to take over another configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Endpoints that are new.
    pub added: Vec<Name>,
    /// Endpoints that are there no more. Their queues stay.
    pub removed: Vec<Name>,
    /// Endpoints with other settings. Their own `events` are none: those are routing.
    pub changed: Vec<Name>,
    /// How many endpoints stay as they are, with their connections.
    pub unchanged: usize,
}

/// What is different in `new`.
///
/// # Errors
/// Where it changes what takes a restart: every such key.
pub fn compare(old: &Config, new: &Config) -> Result<Change, Problems> {
    let paths = old.at_start.keys().chain(new.at_start.keys());
    let differs = |path: &&String| old.at_start.get(*path) != new.at_start.get(*path);
    let mut differing: Vec<&String> = paths.filter(differs).collect();
    differing.sort();
    differing.dedup();
    if !differing.is_empty() {
        let problem = |path: &&String| Problem {
            path: (*path).clone(),
            file: new.file.clone(),
            message: "cannot change while lockgate runs".into(),
            hint: Some("restart lockgate, or take this change back and reload".into()),
        };
        let errors = differing.iter().map(problem).collect();
        return Err(Problems { errors, warnings: Vec::new() });
    }
    let mut change = Change::default();
    for (name, endpoint) in &new.endpoints {
        match old.endpoints.get(name) {
            None => change.added.push(name.clone()),
            Some(was) if was.fingerprint == endpoint.fingerprint => change.unchanged += 1,
            Some(_) => change.changed.push(name.clone()),
        }
    }
    let gone = old.endpoints.keys().filter(|name| !new.endpoints.contains_key(*name));
    change.removed = gone.cloned().collect();
    Ok(change)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "[source]\nurl = \"amqp://u:p@127.0.0.1\"\nqueue = \"q\"\n\
        [admin]\nlisten = \"127.0.0.1:0\"\n\
        [endpoints.a]\nevents = [\"A/*\"]\n[endpoints.a.rest]\nurl = \"http://h/a\"\n\
        [endpoints.b]\nevents = [\"A/*\"]\n[endpoints.b.webhook]\nurl = \"http://h/b\"\nsecret = \"one\"\n";

    fn config(text: &str) -> Config {
        Config::from_toml_str("t", text, "development").unwrap()
    }

    fn compared(change: impl Fn(String) -> String) -> Result<Change, Vec<String>> {
        let new = config(&change(BASE.to_owned()));
        let paths = |problems: Problems| problems.errors.into_iter().map(|e| e.path).collect();
        compare(&config(BASE), &new).map_err(paths)
    }

    fn names(names: &[&str]) -> Vec<Name> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_equal_is_untouched() {
        let change = compared(|text| format!("{text}\n# a comment\n")).unwrap();
        assert_eq!(change, Change { unchanged: 2, ..Change::default() });
    }

    #[test]
    fn other_events_of_an_endpoint_leave_it_untouched() {
        let change = compared(|text| text.replace("A/*", "B/*")).unwrap();
        assert_eq!(change, Change { unchanged: 2, ..Change::default() });
    }

    #[test]
    fn other_settings_or_credentials_change_an_endpoint_alone() {
        for (from, to) in [
            ("secret = \"one\"", "secret = \"two\""),
            ("http://h/b", "http://h/c"),
            ("[endpoints.b.webhook]", "[endpoints.b.webhook]\ntimeout = \"1s\""),
            ("[endpoints.b]", "[endpoints.b]\nenabled = false"),
        ] {
            let change = compared(|text| text.replace(from, to)).unwrap();
            let expected = Change { changed: names(&["b"]), unchanged: 1, ..Change::default() };
            assert_eq!(change, expected, "{to}");
        }
    }

    #[test]
    fn endpoints_come_and_go() {
        let change = compared(|text| text.replace("endpoints.b", "endpoints.c")).unwrap();
        let (added, removed) = (names(&["c"]), names(&["b"]));
        assert_eq!(change, Change { added, removed, unchanged: 1, ..Change::default() });
    }

    #[test]
    fn what_takes_a_restart_is_named_key_by_key() {
        for (from, to, path) in [
            ("queue = \"q\"", "queue = \"r\"", "source.queue"),
            ("u:p@127.0.0.1", "u:p@127.0.0.2", "source.url"),
            ("u:p@127.0.0.1", "u:p@127.0.0.1/other", "source.url"),
            ("amqp://u:p@", "amqps://u:p@", "source.url"),
            ("127.0.0.1:0", "127.0.0.1:1", "admin.listen"),
            ("[admin]", "[runtime]\nthreads = 7\n[admin]", "runtime.threads"),
            ("[admin]", "[telemetry]\nlog_format = \"json\"\n[admin]", "telemetry.log_format"),
        ] {
            let refused = compared(|text| text.replace(from, to)).unwrap_err();
            assert_eq!(refused, [path], "{to}");
        }
    }

    #[test]
    #[cfg(feature = "otlp")]
    fn an_export_of_traces_begins_and_changes_with_a_restart() {
        let with = |token: &str| {
            config(&format!(
                "{BASE}[telemetry.otlp]\nendpoint = \"http://c/\"\nheaders.authorization = \"{token}\"\n"
            ))
        };
        let refused = |old: &Config, new: &Config| -> Vec<String> {
            compare(old, new).unwrap_err().errors.into_iter().map(|e| e.path).collect()
        };
        assert_eq!(refused(&config(BASE), &with("one")), ["telemetry.otlp"]);
        assert_eq!(refused(&with("one"), &with("two")), ["telemetry.otlp"]);
        assert_eq!(compare(&with("one"), &with("one")).unwrap().unchanged, 2);
    }

    #[test]
    fn who_logs_in_at_the_bus_and_how_is_taken_over() {
        for (from, to) in [
            ("u:p@", "u:x@"),
            ("u:p@", "v:p@"),
            ("u:p@127.0.0.1\"", "u:p@127.0.0.1?heartbeat=7\""),
            ("u:p@127.0.0.1\"", "127.0.0.1\"\nusername = \"u\"\npassword = \"x\""),
            ("queue = \"q\"", "queue = \"q\"\nheartbeat = \"7s\""),
            ("queue = \"q\"", "queue = \"q\"\ntls = { verify = false }"),
        ] {
            let change = compared(|text| text.replace(from, to));
            assert_eq!(change, Ok(Change { unchanged: 2, ..Change::default() }), "{to}");
        }
    }

    #[test]
    fn intake_token_hosts_and_grace_are_taken_over() {
        let more =
            "token = \"t\"\nhosts = [\"h\"]\n[runtime]\nshutdown_grace = \"1s\"\n[endpoints.a]";
        let change = compared(|text| {
            text.replace("[endpoints.a]", more).replace(
                "queue = \"q\"",
                "queue = \"q\"\nenvironment = \"e\"\nmax_event_bytes = \"2MiB\"",
            )
        });
        assert_eq!(change.unwrap().unchanged, 2);
    }

    #[test]
    fn a_certificate_file_counts_with_what_is_in_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().display().to_string();
        let table = Value::from(std::collections::BTreeMap::from([("ca_file", path)]));
        std::fs::write(file.path(), "one").unwrap();
        let one = Fingerprint::of(&table, None);
        assert_eq!(one, Fingerprint::of(&table, None));
        std::fs::write(file.path(), "two").unwrap();
        assert_ne!(one, Fingerprint::of(&table, None));
    }
}
