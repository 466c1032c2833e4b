//! The rules between tables, and what should be known though it is no error.
//!
//! Owns warnings about endpoints that nothing reaches, shadowed configurations, plain credentials
//! and deliberate extensions. Read [`super::report`] for how complaints look.

use std::collections::BTreeMap;

use figment::value::Value;

pub use super::report::{Problem, Problems};

use super::endpoint::Endpoint;
use super::report::Report;
use crate::domain::names::Name;
use crate::logic::routing::RoutingTable;

/// The environment in which plain credentials are nobody's business.
const DEVELOPMENT: &str = "development";

/// Warns of endpoints that get nothing and configurations that never come to bear.
pub(super) fn routes(
    endpoints: &BTreeMap<Name, Endpoint>,
    routing: &RoutingTable,
    report: &mut Report<'_>,
) {
    if endpoints.is_empty() && !report.has_errors() {
        let hint = Some("add one: [endpoints.NAME]".into());
        report.warn(
            "endpoints",
            "there is no endpoint: every event is acknowledged and dropped",
            hint,
        );
    }
    let used = |name: &Name| {
        routing.configurations().iter().any(|c| c.enabled && c.endpoints.contains(name))
    };
    for name in endpoints.keys().filter(|name| !used(name)) {
        let hint = "name it in an enabled event configuration, or give it `events` of its own";
        let path = format!("endpoints.{name}");
        report.warn(&path, "no enabled event configuration names this endpoint", Some(hint.into()));
    }
    for (name, endpoint, first) in routing.wholly_shadowed() {
        let is =
            |own: bool| routing.configurations().iter().any(|c| c.name == name && c.own == own);
        let path = if is(true) && !is(false) {
            format!("endpoints.{name}.events")
        } else {
            format!("event_configurations.{name}")
        };
        let message =
            format!("sends nothing to {endpoint}: {first} takes all its events there first");
        let hint =
            "configurations are tried in the order of their names, endpoints' own `events` last";
        report.warn(&path, message, Some(hint.into()));
    }
}

/// Complains about credentials that stand in the file as they are.
pub(super) fn plain_credentials(
    plain: &[String],
    environment: &str,
    require_sealed: bool,
    report: &mut Report<'_>,
) {
    if environment == DEVELOPMENT {
        return;
    }
    for path in plain {
        let hint = Some(format!(
            "`lockgate secret seal --path {path}`, or {{ env = \"NAME\" }}, {{ file = \"PATH\" }}"
        ));
        let message = "a plain credential in the configuration";
        if require_sealed {
            report.error(path, message, hint);
        } else {
            report.warn(path, message, hint);
        }
    }
}

/// Mentions what is allowed but deliberate, by what the endpoint's tables say.
pub(super) fn deliberate(name: &Name, table: &Value, report: &mut Report<'_>) {
    let says = |path: &str| table.find_ref(path);
    let path = |key: &str| format!("endpoints.{name}.{key}");
    if says("mqtt.topic_pattern_for").and_then(Value::as_str) == Some("all") {
        let message = "an extension of the contract: known events leave their standard topics";
        report.warn(&path("mqtt.topic_pattern_for"), message, None);
    }
    for kind in ["mqtt", "rest", "webhook", "amqp"] {
        let key = format!("{kind}.tls.verify");
        if says(&key).and_then(Value::to_bool) == Some(false) {
            let hint = Some("name the partner's CA in tls.ca_file instead".into());
            report.warn(&path(&key), "the partner's certificate is not verified", hint);
        }
    }
}
