//! `[source]`: the platform's bus.
//!
//! Owns its keys and bounds; their defaults stand in `config/default.toml`. Read
//! [`super::endpoint`] next.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use bytesize::ByteSize;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use url::Url;

use super::report::{Report, nearest};
use super::sections::{MAX_TIMEOUT, bounded};
use super::{Binding, Source, TopologyMode};
use crate::bus::topology::prefix_problem;
use crate::logic::intake::{Attribute, AttributeSource};
use crate::logic::schema::{self, DurationText, SizeText};
use crate::logic::secret::{Secret, SecretUrl, has_user};
use crate::transport::tls::TlsSettings;

/// The largest event: what RabbitMQ itself takes.
const MAX_EVENT: u64 = 128 * 1024 * 1024;

/// The platform's bus: a RabbitMQ.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceTable {
    /// Where it is: `amqp://host:5672/%2f` or `amqps://…`. May hold user and password. Required.
    #[schemars(schema_with = "url_schema")]
    url: SecretUrl,
    /// Who logs in; excluded by a user part in the URL.
    username: Option<Secret>,
    /// With this password.
    password: Option<Secret>,
    /// The queue that is consumed. Required; 1 to 255 bytes.
    #[schemars(length(min = 1, max = 255))]
    queue: String,
    /// Where given, the queue is declared and bound so; else it is somebody else's and only consumed.
    bindings: Vec<Binding>,
    /// Unacknowledged messages at most: `"auto"`, which is bounded to 64 MiB too, or 1 to 65535.
    prefetch: Prefetch,
    /// Larger events are rejected. 1 B to 128 MiB.
    #[schemars(with = "SizeText")]
    max_event_bytes: ByteSize,
    /// What lockgate may do about missing queues and exchanges.
    topology: TopologyMode,
    /// The first part of every name that lockgate owns on RabbitMQ.
    prefix: String,
    /// For `amqps`.
    tls: TlsSettings,
    /// Between AMQP heartbeats: 1 s to 5 min, whole seconds.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "DurationText")]
    heartbeat: Duration,
    /// The name of the platform's environment, where events name none. Default: the `--env` name.
    pub(super) environment: Option<String>,
    /// Where attributes of events are taken from, in an order of one's own: `header:NAME`,
    /// `body:/json/pointer`, `property:NAME`, `exchange` or `routing_key`.
    #[schemars(schema_with = "attributes_schema")]
    attributes: BTreeMap<String, Vec<String>>,
}

fn url_schema(_: &mut SchemaGenerator) -> Schema {
    schema::url(&["amqp", "amqps"])
}

fn attributes_schema(_: &mut SchemaGenerator) -> Schema {
    let names: Vec<&str> = Attribute::ALL.iter().map(|attribute| attribute.name()).collect();
    let place = "^(header:.+|body:.*|property:.+|exchange|routing_key)$";
    json_schema!({
        "type": "object",
        "propertyNames": { "enum": names },
        "additionalProperties": {
            "type": "array",
            "minItems": 1,
            "items": { "type": "string", "pattern": place },
        },
    })
}

impl JsonSchema for Prefetch {
    fn schema_name() -> Cow<'static, str> {
        "Prefetch".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "const": "auto" },
                { "type": "integer", "minimum": 1, "maximum": u16::MAX },
            ],
        })
    }
}

/// `"auto"` or a number.
struct Prefetch(Option<u16>);

impl<'de> Deserialize<'de> for Prefetch {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Prefetch;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("\"auto\" or a whole number from 1 to 65535")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Prefetch, E> {
                let wrong = || E::invalid_value(serde::de::Unexpected::Str(text), &self);
                if text == "auto" { Ok(Prefetch(None)) } else { Err(wrong()) }
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Prefetch, E> {
                let wrong = |_| E::invalid_value(serde::de::Unexpected::Unsigned(number), &self);
                u16::try_from(number)
                    .and_then(std::num::NonZeroU16::try_from)
                    .map_err(wrong)
                    .map(|prefetch| Prefetch(Some(prefetch.get())))
            }
            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Prefetch, E> {
                self.visit_u64(u64::try_from(number).unwrap_or(0))
            }
        }
        from.deserialize_any(Visitor)
    }
}

impl SourceTable {
    /// The orders of one's own for attributes.
    pub(super) fn attributes(
        &self,
        report: &mut Report<'_>,
    ) -> BTreeMap<String, Vec<AttributeSource>> {
        let known = || Attribute::ALL.iter().map(|attribute| attribute.name());
        let mut all = BTreeMap::new();
        for (name, sources) in &self.attributes {
            let path = format!("source.attributes.{name}");
            if !known().any(|attribute| attribute == name) {
                let listed = || format!("attributes: {}", known().collect::<Vec<_>>().join(", "));
                let hint = nearest(name, known()).unwrap_or_else(listed);
                report.error(&path, "no attribute of an event", Some(hint));
            }
            if sources.is_empty() {
                report.error(&path, "names no source", None);
            }
            let mut parsed = Vec::new();
            for (index, source) in sources.iter().enumerate() {
                match source.parse() {
                    Ok(source) => parsed.push(source),
                    Err(_) => report.error(
                        &format!("{path}.{index}"),
                        "no source of an attribute",
                        Some("header:NAME, body:/json/pointer, property:NAME, exchange or routing_key".into()),
                    ),
                }
            }
            all.insert(name.clone(), parsed);
        }
        all
    }

    /// The source; `None` where its URL cannot be used.
    pub(super) fn source(self, report: &mut Report<'_>) -> Option<Source> {
        if self.queue.is_empty() || self.queue.len() > 255 {
            report.error("source.queue", "must have 1 to 255 bytes", None);
        }
        if let Some(problem) = prefix_problem(&self.prefix) {
            report.error("source.prefix", problem, None);
        }
        if !(1..=MAX_EVENT).contains(&self.max_event_bytes.0) {
            report.error("source.max_event_bytes", "must be from 1B to 128MiB", None);
        }
        let second = Duration::from_secs(1);
        bounded(report, "source.heartbeat", self.heartbeat, second..=MAX_TIMEOUT);
        if self.heartbeat.subsec_nanos() != 0 {
            report.error("source.heartbeat", "must be whole seconds", None);
        }
        for (index, binding) in self.bindings.iter().enumerate() {
            check_binding(binding, &format!("source.bindings.{index}"), report);
        }
        let url = merged_url(&self.url, self.username.as_ref(), self.password.as_ref(), report)?;
        Some(Source {
            url,
            queue: self.queue,
            bindings: self.bindings,
            prefetch: self.prefetch.0,
            max_event_bytes: self.max_event_bytes.0,
            topology: self.topology,
            prefix: self.prefix,
            tls: self.tls,
            heartbeat: self.heartbeat,
        })
    }

    /// The key paths of the credentials that are there.
    pub(super) fn credentials(&self) -> Vec<&'static str> {
        let in_url = self.url.expose().password().is_some();
        let found = [("source.url", in_url), ("source.password", self.password.is_some())];
        found.into_iter().filter(|(_, there)| *there).map(|(path, _)| path).collect()
    }
}

fn check_binding(binding: &Binding, path: &str, report: &mut Report<'_>) {
    if binding.exchange.is_empty() || binding.exchange.len() > 255 {
        let hint = Some("the default exchange takes no bindings".into());
        report.error(&format!("{path}.exchange"), "must have 1 to 255 bytes", hint);
    }
    if binding.routing_key.len() > 255 {
        report.error(&format!("{path}.routing_key"), "must have at most 255 bytes", None);
    }
    let kinds = ["topic", "direct", "fanout", "headers"];
    if !kinds.contains(&binding.kind.as_str()) {
        let hint = nearest(&binding.kind, kinds);
        report.error(
            &format!("{path}.type"),
            "expected \"topic\", \"direct\", \"fanout\" or \"headers\"",
            hint,
        );
    }
}

/// What keeps a URL from naming a RabbitMQ and one virtual host on it.
pub(super) fn amqp_url_problem(url: &Url) -> Option<&'static str> {
    if url.host_str().is_none_or(str::is_empty) {
        return Some("the URL names no host");
    }
    // A slip before the `@` makes a path of what should be a user part: it must not be shown.
    let vhost = url.path().get(1..).unwrap_or_default();
    let wrong = vhost.contains(['/', '@']);
    wrong.then_some("no virtual host is called so: percent-encode it, `/` is %2f")
}

fn merged_url(
    url: &SecretUrl,
    username: Option<&Secret>,
    password: Option<&Secret>,
    report: &mut Report<'_>,
) -> Option<SecretUrl> {
    let mut merged: Url = url.expose().clone();
    let hint = || Some("amqp://host:5672/%2f, or amqps://host:5671/%2f".into());
    if !matches!(merged.scheme(), "amqp" | "amqps") {
        report.error("source.url", "must be an amqp:// or amqps:// URL", hint());
        return None;
    }
    if let Some(message) = amqp_url_problem(&merged) {
        report.error("source.url", message, hint());
        return None;
    }
    if merged.path() == "/" {
        let hint = Some("end it with /%2f for the virtual host `/`".into());
        report.warn("source.url", "names the virtual host whose name is empty", hint);
    }
    let in_url = has_user(&merged);
    if in_url && (username.is_some() || password.is_some()) {
        let key = if username.is_some() { "source.username" } else { "source.password" };
        let hint = Some("write them in one place only".into());
        report.error(key, "excluded by the user part of source.url", hint);
        return None;
    }
    if password.is_some() && username.is_none() {
        report.error("source.username", "missing, with a password given", None);
    }
    let encoded = |s: &Secret| utf8_percent_encode(s.expose(), NON_ALPHANUMERIC).to_string();
    // Neither can fail: there is a host.
    if let Some(username) = username {
        let _ = merged.set_username(&encoded(username));
    }
    if let Some(password) = password {
        let _ = merged.set_password(Some(&encoded(password)));
    }
    Some(SecretUrl::new(merged))
}
