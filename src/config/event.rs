//! `[event_configurations.*]`, and the endpoints' own `events`.
//!
//! Owns their keys and the rules for one of them alone. Read [`super::check`] next: the rules
//! between tables.

use std::collections::BTreeSet;

use figment::value::Value;
use schemars::JsonSchema;
use serde::Deserialize;

use super::extract::{extract, scrub};
use super::report::{Report, nearest};
use crate::domain::names::{KNOWN, NAMED, Name, normal_form};
use crate::logic::body::Rendering;
use crate::logic::filter::Filter;
use crate::logic::routing::{EventConfiguration, Pattern};

/// These events go to these endpoints, rendered so.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    /// `false`: its events are dropped, as those that nobody wants. Default `true`.
    #[serde(default = "yes")]
    enabled: bool,
    /// The events, `type/trigger` or a dotted name; `*` stands for one whole part. Required.
    #[schemars(length(min = 1), inner(pattern(r"^[^/.]+\.[^/]+$|^[^/]+/.+$")))]
    events: Vec<String>,
    /// The names of the endpoints. Required.
    #[schemars(length(min = 1))]
    endpoints: Vec<String>,
    /// Adds the Metadata block at the end of the body.
    #[serde(default)]
    metadata_in_payload: bool,
    /// A jq program that makes the payload, for printing events only. Default: none.
    #[schemars(extend("examples" = ["{label: .sublot, qty: .quantity}"]))]
    payload: Option<String>,
}

fn yes() -> bool {
    true
}

/// Reads `event_configurations.<name>`; `endpoints` are the names of all endpoints, usable or not.
pub(super) fn read(
    name: &Name,
    value: &Value,
    endpoints: &BTreeSet<String>,
    report: &mut Report<'_>,
) -> Option<EventConfiguration> {
    let base = ["event_configurations", name.as_str()];
    let path = base.join(".");
    let table: Table = extract(&base, value, report)?;
    if table.endpoints.is_empty() {
        let hint = Some("`enabled = false` switches a configuration off".into());
        report.error(&format!("{path}.endpoints"), "names no endpoint", hint);
    }
    if table.events.is_empty() {
        let hint = Some("`enabled = false` switches a configuration off".into());
        report.error(&format!("{path}.events"), "names no event", hint);
    }
    let patterns = patterns(&path, &table.events, report);
    let payload = table.payload.and_then(|source| filter(&path, &source, &patterns, report));
    Some(EventConfiguration {
        name: name.clone(),
        enabled: table.enabled,
        patterns,
        endpoints: known_endpoints(&path, &table.endpoints, endpoints, report),
        rendering: Rendering { metadata_in_payload: table.metadata_in_payload, payload },
        own: false,
    })
}

/// The configuration that an endpoint's own `events` are; `None` where there are none.
pub(super) fn own(
    endpoint: &Name,
    events: &[String],
    report: &mut Report<'_>,
) -> Option<EventConfiguration> {
    let path = format!("endpoints.{endpoint}");
    let patterns = patterns(&path, events, report);
    (!patterns.is_empty()).then(|| EventConfiguration {
        name: endpoint.clone(),
        enabled: true,
        patterns,
        endpoints: vec![endpoint.clone()],
        rendering: Rendering::default(),
        own: true,
    })
}

fn patterns(path: &str, events: &[String], report: &mut Report<'_>) -> Vec<Pattern> {
    let mut patterns: Vec<Pattern> = Vec::new();
    for (index, text) in events.iter().enumerate() {
        let path = format!("{path}.events.{index}");
        match text.parse::<Pattern>() {
            Err(cause) => {
                let hint = Some("type/trigger or a dotted name; `*` stands for one part".into());
                report.error(&path, scrub(&cause.to_string(), text, &[]), hint);
            }
            Ok(pattern) if patterns.contains(&pattern) => {
                report.error(&path, "named twice", Some("take one of them out".into()));
            }
            Ok(pattern) => {
                mention(&path, &pattern, report);
                patterns.push(pattern);
            }
        }
    }
    patterns
}

/// Warns of what is probably a slip of the pen, and of what is deprecated.
fn mention(path: &str, pattern: &Pattern, report: &mut Report<'_>) {
    let Some(event_type) = &pattern.event_type else { return };
    let same = |known: &str| normal_form(known) == *event_type;
    if KNOWN.iter().any(|known| known.deprecated && same(known.event_type)) {
        let hint = "it is still sent, but build nothing new upon it".to_owned();
        report.warn(path, "this event is deprecated", Some(hint));
        return;
    }
    let kinds = || KNOWN.iter().map(|known| (known.event_type, known.event_trigger));
    let named = || NAMED.iter().filter_map(|name| name.split_once('.'));
    let all: Vec<(String, String)> =
        kinds().chain(named()).map(|(t, g)| (normal_form(t), normal_form(g))).collect();
    let hint = match &pattern.event_trigger {
        None if all.iter().any(|(known, _)| known == event_type) => None,
        None => nearest(event_type, all.iter().map(|(known, _)| known.as_str())),
        Some(trigger) if all.contains(&(event_type.clone(), trigger.clone())) => None,
        Some(trigger) => {
            let written = format!("{event_type}/{trigger}");
            let known: Vec<String> = all.iter().map(|(t, g)| format!("{t}/{g}")).collect();
            close(&written, &known)
        }
    };
    if hint.is_some() {
        report.warn(path, "no known event is called so", hint);
    }
}

/// As [`nearest`], but stricter: names of one's own are legal and often resemble known ones.
fn close(written: &str, known: &[String]) -> Option<String> {
    let near = known.iter().map(|word| (strsim::damerau_levenshtein(written, word), word));
    let (far, best) = near.min()?;
    (far <= 2).then(|| format!("did you mean `{best}`?"))
}

fn filter(
    path: &str,
    source: &str,
    patterns: &[Pattern],
    report: &mut Report<'_>,
) -> Option<Filter> {
    let path = format!("{path}.payload");
    let printing = |p: &Pattern| p.event_type.as_deref() == Some("printing");
    if !patterns.iter().all(printing) {
        let hint = "every pattern in `events` must begin with Printing/, or take `payload` out";
        report.error(&path, "a payload filter serves printing events only", Some(hint.into()));
    }
    Filter::compile(source).map_err(|cause| report.error(&path, cause.to_string(), None)).ok()
}

fn known_endpoints(
    path: &str,
    named: &[String],
    known: &BTreeSet<String>,
    report: &mut Report<'_>,
) -> Vec<Name> {
    let mut endpoints = Vec::new();
    for (index, text) in named.iter().enumerate() {
        let path = format!("{path}.endpoints.{index}");
        match text.parse::<Name>() {
            Ok(name) if endpoints.contains(&name) => {
                report.error(&path, "named twice", Some("take one of them out".into()));
            }
            Ok(name) if known.contains(text) => endpoints.push(name),
            _ => {
                let listed = || {
                    let all: Vec<&str> = known.iter().map(String::as_str).collect();
                    format!("there are: {}", all.join(", "))
                };
                let hint = nearest(text, known.iter().map(String::as_str)).unwrap_or_else(listed);
                report.error(&path, "there is no such endpoint", Some(hint));
            }
        }
    }
    endpoints
}
