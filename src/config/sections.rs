//! The small fixed tables: `[organization]`, `[admin]`, `[telemetry]`, `[runtime]`.
//!
//! Owns their keys and bounds. Their defaults stand in `config/default.toml`. Read
//! [`super::source`] next.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::report::Report;
use super::{Admin, LogFormat, Runtime, Telemetry};
use crate::domain::event::Organization;
use crate::logic::attempt_log::MOST_ATTEMPTS;
use crate::logic::secret::Secret;

/// The longest timeout: longer than this, deliveries would stay unacknowledged for too long.
pub(super) const MAX_TIMEOUT: Duration = Duration::from_secs(300);
/// The names of all tables, for complaints about unknown ones.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tables {
    #[serde(rename = "organization")]
    _organization: IgnoredAny,
    #[serde(rename = "source")]
    _source: IgnoredAny,
    #[serde(rename = "event_configurations")]
    _event_configurations: IgnoredAny,
    #[serde(rename = "endpoints")]
    _endpoints: IgnoredAny,
    #[serde(rename = "admin")]
    _admin: IgnoredAny,
    #[serde(rename = "telemetry")]
    _telemetry: IgnoredAny,
    #[serde(rename = "runtime")]
    _runtime: IgnoredAny,
    #[serde(rename = "secrets")]
    _secrets: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OrganizationTable {
    id: String,
    name: String,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AdminTable {
    listen: String,
    token: Option<Secret>,
    hosts: Vec<String>,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TelemetryTable {
    log_format: LogFormat,
}

impl TelemetryTable {
    pub(super) fn telemetry(self) -> Telemetry {
        Telemetry { log_format: self.log_format }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuntimeTable {
    threads: Option<usize>,
    #[serde(with = "humantime_serde")]
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
