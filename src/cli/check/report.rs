//! What the doctor found, for people and as JSON.
//!
//! Owns the two views; their fields are promised in the README. Holds no secret: neither do steps.
//! Read [`crate::logic::diagnosis`] for what is in them.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::config::endpoint::Endpoint;
use crate::logic::diagnosis::{Step, Verdict, verdict};

/// The column in which facts begin.
const NAME_WIDTH: usize = 13;

/// One endpoint and its steps.
pub(super) struct Examined<'a> {
    /// The endpoint.
    pub endpoint: &'a Endpoint,
    /// In order.
    pub steps: Vec<Step>,
}

/// Everything that was found.
pub(super) struct Report<'a> {
    /// What was examined.
    pub config: &'a Config,
    /// `None` where one endpoint was asked for.
    pub bus: Option<Vec<Step>>,
    /// In the order of their names.
    pub endpoints: Vec<Examined<'a>>,
}

impl Report<'_> {
    /// Who is not well: `the bus`, and endpoints by name.
    pub(super) fn failed(&self) -> Vec<String> {
        let failed = |steps: &[Step]| verdict(steps) == Verdict::Failed;
        let bus = self.bus.as_ref().filter(|steps| failed(steps)).map(|_| "the bus".to_owned());
        let endpoints = self.endpoints.iter().filter(|examined| failed(&examined.steps));
        bus.into_iter().chain(endpoints.map(|e| format!("endpoint {}", e.endpoint.name))).collect()
    }

    /// The object that `--json` prints.
    pub(super) fn json(&self) -> Value {
        let source = &self.config.source;
        let bus = self.bus.as_ref().map(|steps| {
            json!({
                "target": source.url.to_string(),
                "queue": source.queue,
                "verdict": verdict(steps).as_str(),
                "steps": steps.iter().map(step).collect::<Vec<_>>(),
            })
        });
        let endpoints = self.endpoints.iter().map(|examined| {
            json!({
                "name": examined.endpoint.name.as_str(),
                "kind": examined.endpoint.transport.kind(),
                "target": examined.endpoint.transport.target(),
                "enabled": examined.endpoint.enabled,
                "verdict": verdict(&examined.steps).as_str(),
                "steps": examined.steps.iter().map(step).collect::<Vec<_>>(),
            })
        });
        json!({
            "ok": self.failed().is_empty(),
            "environment": self.config.environment,
            "configuration": self.config.digest,
            "source": bus,
            "endpoints": endpoints.collect::<Vec<_>>(),
        })
    }
}

fn step(step: &Step) -> Value {
    let seen = step.seen.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
    json!({
        "step": step.name,
        "verdict": step.verdict.as_str(),
        "took_ms": step.took.map(millis),
        "seen": Value::Object(seen.collect::<Map<_, _>>()),
        "reason": step.reason,
        "detail": step.detail,
        "remedy": step.remedy,
    })
}

/// With a tenth at most: 12.3.
fn millis(took: Duration) -> f64 {
    (took.as_secs_f64() * 10_000.0).round() / 10.0
}

/// Lines for people, grouped by peer.
pub(super) fn show(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    let source = &report.config.source;
    if let Some(steps) = &report.bus {
        let head = format!("bus {} queue {:?}", source.url, source.queue);
        group(&head, steps, out)?;
    }
    for Examined { endpoint, steps } in &report.endpoints {
        let off = if endpoint.enabled { "" } else { ", disabled" };
        let (kind, target) = (endpoint.transport.kind(), endpoint.transport.target());
        group(&format!("endpoint {}: {kind} {target}{off}", endpoint.name), steps, out)?;
    }
    let all: Vec<&[Step]> = report
        .bus
        .iter()
        .map(Vec::as_slice)
        .chain(report.endpoints.iter().map(|examined| examined.steps.as_slice()))
        .collect();
    let count = |wanted| all.iter().filter(|steps| verdict(steps) == wanted).count();
    writeln!(
        out,
        "{} well, {} with a warning, {} failed",
        count(Verdict::Ok),
        count(Verdict::Warning),
        count(Verdict::Failed)
    )
}

fn group(head: &str, steps: &[Step], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{head}")?;
    for step in steps {
        let took = step.took.map(|took| format!("{:.1} ms", millis(took)));
        let facts: Vec<String> =
            step.seen.iter().map(|(name, value)| format!("{name} {value}")).collect();
        let line = format!(
            "  {:<NAME_WIDTH$} {:<8} {:>10}  {}",
            step.name,
            step.verdict.as_str(),
            took.unwrap_or_default(),
            facts.join(", ")
        );
        writeln!(out, "{}", harmless(line.trim_end()))?;
        for (what, text) in [("", &step.detail), ("remedy: ", &step.remedy)] {
            if let Some(text) = text {
                writeln!(out, "  {:<NAME_WIDTH$} {what}{}", "", harmless(text))?;
            }
        }
    }
    writeln!(out)
}

/// What a peer says of itself, for a terminal: without anything that a terminal would obey.
fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::Failure;
    use crate::logic::diagnosis::Finding;

    #[test]
    fn a_step_is_a_line_with_what_was_seen_said_and_can_be_done() {
        let failure = Failure::misconfigured("mqtt_bad_credentials", "refused \u{1b}[2J");
        let steps = [
            Step::made("dns", Duration::from_micros(1_250), Finding::ok(vec![("a", "b".into())])),
            Step::made("login", Duration::from_millis(3), failure.into()),
            Step::skipped("send", "why"),
        ];
        let mut out = Vec::new();
        group("endpoint x", &steps, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        let wanted: [&[&str]; 7] = [
            &["endpoint", "x"],
            &["dns", "ok", "1.3", "ms", "a", "b"],
            &["login", "failed", "3.0", "ms"],
            &["refused", "\u{fffd}[2J"],
            &["remedy:", "check", "username", "and", "password"],
            &["send", "skipped"],
            &["why"],
        ];
        assert_eq!(lines, [&wanted[..], &[&[]]].concat(), "{text}");
    }
}
