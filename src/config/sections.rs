//! The small fixed tables: `[organization]`, `[admin]`, `[telemetry]`, `[runtime]`.
//!
//! Owns their keys and bounds. Their defaults stand in `config/default.toml`. Read
//! [`super::source`] next.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::report::Report;
use super::resolve::SecretsTable;
use super::source::SourceTable;
use super::{Admin, LogFormat, Runtime, Telemetry, endpoint, event};
use crate::domain::event::Organization;
use crate::domain::names::Name;
use crate::logic::attempt_log::MOST_ATTEMPTS;
use crate::logic::schema::DurationText;
use crate::logic::secret::Secret;
use crate::transport::collector;

/// The longest timeout: longer than this, deliveries would stay unacknowledged for too long.
pub(super) const MAX_TIMEOUT: Duration = Duration::from_secs(300);

/// A configuration file of lockgate, `<environment>.toml`.
///
/// It is laid over the built-in defaults, and environment variables over it: any value may come
/// from a variable such as `LOCKGATE__SOURCE__QUEUE`, so that hardly any key must be here.
/// `lockgate check` tells what is missing in the end, and what no schema can say.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tables {
    #[serde(rename = "organization")]
    #[schemars(with = "OrganizationTable")]
    _organization: IgnoredAny,
    #[serde(rename = "source")]
    #[schemars(with = "SourceTable")]
    _source: IgnoredAny,
    /// Which events go to which endpoints, rendered how. By name: 1 to 63 lower-case letters, digits and
    /// hyphens; an event goes to an endpoint by the first one, in byte order of the names, that matches.
    #[serde(rename = "event_configurations")]
    #[schemars(with = "BTreeMap<Name, event::Table>")]
    _event_configurations: IgnoredAny,
    /// The partners' endpoints. By name: 1 to 63 lower-case letters, digits and hyphens.
    #[serde(rename = "endpoints")]
    #[schemars(with = "BTreeMap<Name, endpoint::Table>")]
    _endpoints: IgnoredAny,
    #[serde(rename = "admin")]
    #[schemars(with = "AdminTable")]
    _admin: IgnoredAny,
    #[serde(rename = "telemetry")]
    #[schemars(with = "TelemetryTable")]
    _telemetry: IgnoredAny,
    #[serde(rename = "runtime")]
    #[schemars(with = "RuntimeTable")]
    _runtime: IgnoredAny,
    #[serde(rename = "secrets")]
    #[schemars(with = "SecretsTable")]
    _secrets: IgnoredAny,
}

/// For the Metadata block, where an event names none of its own.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OrganizationTable {
    /// The organization's id.
    id: String,
    /// Its name; also `{organization}` in topics.
    name: String,
    /// Its URL.
    url: String,
}

impl OrganizationTable {
    pub(super) fn organization(self) -> Organization {
        Organization { id: self.id, name: self.name, url: self.url }
    }
}

/// Complains where a duration is out of bounds.
pub(super) fn bounded(
    report: &mut Report<'_>,
    path: &str,
    value: Duration,
    bounds: std::ops::RangeInclusive<Duration>,
) {
    if !bounds.contains(&value) {
        let text = |d: &Duration| humantime::format_duration(*d).to_string().replace(' ', "");
        let (from, to) = (text(bounds.start()), text(bounds.end()));
        report.error(path, format!("must be from {from} to {to}"), None);
    }
}

/// The HTTP listener for operators.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AdminTable {
    /// Address and port. Beyond loopback `token` is required.
    #[schemars(extend("examples" = ["127.0.0.1:8080", "0.0.0.0:8080", "[::1]:8080"]))]
    listen: String,
    /// The bearer token that callers show.
    token: Option<Secret>,
    /// Host names that callers may use besides loopback's, without scheme and path.
    #[schemars(inner(pattern(r"^[A-Za-z0-9.:\[\]-]+$")))]
    hosts: Vec<String>,
    /// Attempts that are kept in memory for each endpoint's delivery log; 0 keeps none.
    #[schemars(range(max = MOST_ATTEMPTS))]
    attempt_log: usize,
}

impl AdminTable {
    /// `None` where the address cannot be used.
    pub(super) fn admin(self, report: &mut Report<'_>) -> Option<Admin> {
        for (index, host) in self.hosts.iter().enumerate() {
            let plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
            if host.is_empty() || !host.chars().all(plain) {
                let hint = Some("without scheme and path: lockgate.example.com".into());
                report.error(&format!("admin.hosts.{index}"), "no host name", hint);
            }
        }
        if self.token.as_ref().is_some_and(|token| token.expose().is_empty()) {
            report.error("admin.token", "is empty", None);
        }
        if self.attempt_log > MOST_ATTEMPTS {
            let message = format!("must be from 0 to {MOST_ATTEMPTS}");
            report.error("admin.attempt_log", message, Some("0 switches it off".into()));
        }
        let Ok(listen) = self.listen.parse::<SocketAddr>() else {
            let hint =
                Some("an address and a port: 127.0.0.1:8080, 0.0.0.0:8080, [::1]:8080".into());
            report.error("admin.listen", "no address to listen at", hint);
            return None;
        };
        if !listen.ip().is_loopback() && self.token.is_none() {
            let hint =
                "set admin.token = { env = \"LOCKGATE_ADMIN_TOKEN\" }, or listen at 127.0.0.1";
            report.error(
                "admin.token",
                "required where admin.listen is not loopback",
                Some(hint.into()),
            );
        }
        let (hosts, attempt_log) = (self.hosts, self.attempt_log);
        Some(Admin { listen, token: self.token, hosts, attempt_log })
    }

    /// Whether there is a token.
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }
}

/// The log, and the traces.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TelemetryTable {
    /// The log's form.
    log_format: LogFormat,
    /// Traces are exported to a collector by OTLP over HTTP. Takes a lockgate with the feature `otlp`.
    otlp: Option<collector::Settings>,
}

impl TelemetryTable {
    /// `exports`: whether this lockgate can export traces at all.
    pub(super) fn telemetry(self, exports: bool, report: &mut Report<'_>) -> Telemetry {
        if self.otlp.is_some() && !exports {
            let hint = "build it with `--features otlp`, take the container image, which has it, \
                        or remove [telemetry.otlp]";
            let message = "this lockgate is built without the export of traces";
            report.error("telemetry.otlp", message, Some(hint.into()));
        }
        for (key, message, hint) in self.otlp.iter().flat_map(collector::Settings::validate) {
            report.error(&format!("telemetry.otlp.{key}"), message, hint);
        }
        Telemetry { log_format: self.log_format, otlp: self.otlp }
    }

    /// The key paths of its credentials.
    pub(super) fn credentials(&self) -> Vec<String> {
        let keys = self.otlp.iter().flat_map(collector::Settings::secrets);
        keys.map(|key| format!("telemetry.otlp.{key}")).collect()
    }
}

/// The process.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RuntimeTable {
    /// Threads for endpoints, 1 to 64. Default: as many as cores, at most 4.
    #[schemars(range(min = 1, max = 64))]
    threads: Option<usize>,
    /// How long attempts under way may go on after a stop: 0 to 5 min.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "DurationText")]
    shutdown_grace: Duration,
}

impl RuntimeTable {
    pub(super) fn runtime(self, report: &mut Report<'_>) -> Runtime {
        if self.threads.is_some_and(|threads| !(1..=64).contains(&threads)) {
            report.error("runtime.threads", "must be from 1 to 64", None);
        }
        bounded(
            report,
            "runtime.shutdown_grace",
            self.shutdown_grace,
            Duration::ZERO..=MAX_TIMEOUT,
        );
        let cores =
            || std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(4);
        let threads = self.threads.unwrap_or_else(cores);
        Runtime { threads, shutdown_grace: self.shutdown_grace }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Environment;
    use super::super::layers::Layers;
    use super::*;

    #[test]
    fn a_lockgate_that_cannot_export_traces_says_so_and_what_to_do() {
        let complaints = |toml: &str, exports: bool| {
            let layers = Layers::new("t", "", &Environment::default());
            let mut report = Report::new(&layers);
            let table: TelemetryTable = {
                use figment::Figment;
                use figment::providers::{Format as _, Toml};
                Figment::from(Toml::string(toml)).extract().unwrap()
            };
            table.telemetry(exports, &mut report);
            report.finish().map_or_else(|problems| problems.to_string(), |_| String::new())
        };
        let with = "log_format = 'text'\notlp.endpoint = 'http://c:4318/v1/traces'";
        assert_eq!(complaints("log_format = 'text'", false), "");
        assert_eq!(complaints(with, true), "");
        let refused = complaints(with, false);
        for words in ["telemetry.otlp", "built without", "--features otlp", "container image"] {
            assert!(refused.contains(words), "{refused}");
        }
    }
}
