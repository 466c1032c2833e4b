//! `[endpoints.*]`
//!
//! Owns the keys that every endpoint has, whatever its transport, and their bounds; the keys of a
//! transport stand in that transport's own file. Read [`super::event`] next.

use std::str::FromStr;
use std::time::Duration;

use figment::value::Value;
use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::change::Fingerprint;
use super::extract::extract;
use super::report::Report;
use super::sections::{MAX_TIMEOUT, bounded};
use super::source::amqp_url_problem;
use crate::domain::names::Name;
use crate::logic::body::BodyForm;
use crate::logic::breaker::BreakerSettings;
use crate::logic::retry::RetrySettings;
use crate::logic::schema::DurationText;
use crate::transport::{Complaint, Transport, amqp, mqtt, rest, webhook};

/// One endpoint.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its name.
    pub name: Name,
    /// `false`: what comes for it is parked.
    pub enabled: bool,
    /// Where given, the body's form; else the transport's default.
    pub body: Option<BodyForm>,
    /// Attempts under way at once; the transport's default is already in.
    pub max_in_flight: u16,
    /// How long it may hold others back before it goes over to its parked lane.
    pub patience: Duration,
    /// Attempts it is sent at most.
    pub rate_limit: Option<RateLimit>,
    /// When a failed attempt is repeated.
    pub retry: RetrySettings,
    /// When it is left alone.
    pub breaker: BreakerSettings,
    /// How it is reached.
    pub transport: Transport,
    /// Of all its settings but its `events`, credentials included.
    pub fingerprint: Fingerprint,
    /// Of its transport's settings alone.
    pub wire: Fingerprint,
}

/// `"50/s"`, `"100/m"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// How many attempts. Not 0.
    pub count: u32,
    /// In which time.
    pub per: Duration,
}

/// A text that is no rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a rate like \"50/s\" or \"100/m\"")]
pub struct NotARate;

impl FromStr for RateLimit {
    type Err = NotARate;

    fn from_str(text: &str) -> Result<Self, NotARate> {
        let (count, unit) = text.split_once('/').ok_or(NotARate)?;
        let per = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            _ => return Err(NotARate),
        };
        let count = count.parse().ok().filter(|count| (1..=1_000_000).contains(count));
        let per = Duration::from_secs(per);
        count.map(|count| Self { count, per }).ok_or(NotARate)
    }
}

/// The transports' tables, in the order in which they are named to people.
const TRANSPORTS: [&str; 4] = ["mqtt", "rest", "webhook", "amqp"];

/// A partner's endpoint: how it is treated, and exactly one transport's table.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = exactly_one_transport)]
pub(super) struct Table {
    /// `false`: what comes for it is parked in its own queue. Default `true`.
    #[serde(default = "yes")]
    enabled: bool,
    /// Its own events, `type/trigger` or a dotted name; `*` stands for one whole part.
    #[serde(default)]
    #[schemars(inner(pattern(r"^[^/.]+\.[^/]+$|^[^/]+/.+$")))]
    events: Vec<String>,
    /// The body's form. Default: `named` for webhooks, and for named events on mqtt; else `event`.
    body: Option<BodyForm>,
    /// Attempts at once, 1 to 1000. Default 32; 20 for a persistent mqtt session.
    #[schemars(range(min = 1, max = 1_000))]
    max_in_flight: Option<u16>,
    /// How long it may hold others back before it goes over to its own queue: 1 ms to 5 min.
    #[serde(default = "default_patience", with = "humantime_serde")]
    #[schemars(with = "DurationText")]
    patience: Duration,
    /// Attempts it is sent at most: a number from 1 to 1000000 a second, minute or hour. Default: no limit.
    #[schemars(regex(pattern = r"^\+?0*[1-9][0-9]{0,6}/[smh]$"), extend("examples" = ["50/s", "100/m", "1000/h"]))]
    rate_limit: Option<String>,
    /// When a failed attempt is repeated, and when no more.
    #[serde(default)]
    retry: RetrySettings,
    /// When it is left alone for a while.
    #[serde(default)]
    breaker: BreakerSettings,
    #[serde(rename = "mqtt")]
    #[schemars(with = "Option<mqtt::Settings>")]
    _mqtt: Option<IgnoredAny>,
    #[serde(rename = "rest")]
    #[schemars(with = "Option<rest::Settings>")]
    _rest: Option<IgnoredAny>,
    #[serde(rename = "webhook")]
    #[schemars(with = "Option<webhook::Settings>")]
    _webhook: Option<IgnoredAny>,
    #[serde(rename = "amqp")]
    #[schemars(with = "Option<amqp::Settings>")]
    _amqp: Option<IgnoredAny>,
}

/// What the derived schema cannot know: one of the transports' tables, and no more.
fn exactly_one_transport(schema: &mut Schema) {
    let one = TRANSPORTS.map(|kind| json_schema!({ "required": [kind] }));
    schema.insert("oneOf".into(), one.into_iter().map(Schema::to_value).collect());
}

fn yes() -> bool {
    true
}

fn default_patience() -> Duration {
    Duration::from_millis(500)
}

/// What a transport's settings say about themselves.
struct Checked {
    transport: Transport,
    /// Key paths of credentials, below the transport's table.
    credentials: Vec<String>,
    /// Attempts at once that the transport bears.
    most_in_flight: Option<u16>,
}

/// What was read of one endpoint's table.
pub(super) struct Read {
    /// The endpoint.
    pub(super) endpoint: Endpoint,
    /// Its own `events`.
    pub(super) events: Vec<String>,
    /// The key paths of its credentials.
    pub(super) credentials: Vec<String>,
}

/// Reads `endpoints.<name>`; `None` where it cannot be used, which has been reported.
pub(super) fn read(name: &Name, value: &Value, report: &mut Report<'_>) -> Option<Read> {
    let base = ["endpoints", name.as_str()];
    let path = base.join(".");
    let table: Option<Table> = extract(&base, value, report);
    let there: Vec<(&str, &Value)> = TRANSPORTS
        .into_iter()
        .filter_map(|kind| Some((kind, value.as_dict()?.get(kind)?)))
        .collect();
    if value.as_dict().is_some() && there.len() != 1 {
        let names: Vec<&str> = there.iter().map(|(kind, _)| *kind).collect();
        let message = match names.as_slice() {
            [] => "has no transport".to_owned(),
            several => format!("has {} transports: {}", several.len(), several.join(", ")),
        };
        let hint = "an endpoint has exactly one table of mqtt, rest, webhook, amqp";
        report.error(&path, message, Some(hint.into()));
    }
    let wire = there.first().map(|(_, value)| *value);
    let mut checked: Vec<Option<Checked>> =
        there.into_iter().map(|(kind, value)| transport(name, kind, value, report)).collect();
    let table = table?;
    let rate_limit = table.rate_limit.as_deref().and_then(|text| {
        let wrong = |e: NotARate| report.error(&format!("{path}.rate_limit"), e.to_string(), None);
        text.parse().map_err(wrong).ok()
    });
    bounds(&table, &path, report);
    let checked = checked.pop()??;
    let most = checked.most_in_flight.unwrap_or(1_000).min(1_000);
    if table.max_in_flight.is_some_and(|asked| !(1..=most).contains(&asked)) {
        let message = format!("must be from 1 to {most} here");
        report.error(&format!("{path}.max_in_flight"), message, None);
    }
    let max_in_flight =
        table.max_in_flight.unwrap_or_else(|| checked.transport.default_in_flight());
    let endpoint = Endpoint {
        name: name.clone(),
        enabled: table.enabled,
        body: table.body,
        max_in_flight: max_in_flight.min(most),
        patience: table.patience,
        rate_limit,
        retry: table.retry,
        breaker: table.breaker,
        transport: checked.transport,
        fingerprint: Fingerprint::of(value, Some("events")),
        wire: Fingerprint::of(wire?, None),
    };
    Some(Read { endpoint, events: table.events, credentials: checked.credentials })
}

/// Reads one transport's table.
fn transport(name: &Name, kind: &str, value: &Value, report: &mut Report<'_>) -> Option<Checked> {
    let base = ["endpoints", name.as_str(), kind];
    match kind {
        "mqtt" => {
            let settings: mqtt::Settings = settings(base, value, report, mqtt::Settings::validate)?;
            Some(Checked {
                credentials: settings.secrets(),
                most_in_flight: settings.max_in_flight_limit(),
                transport: Transport::Mqtt(settings),
            })
        }
        "rest" => {
            let settings: rest::Settings = settings(base, value, report, rest::Settings::validate)?;
            let credentials = settings.secrets();
            Some(Checked {
                credentials,
                most_in_flight: None,
                transport: Transport::Rest(settings),
            })
        }
        "webhook" => {
            let settings = settings(base, value, report, webhook::Settings::validate)?;
            let credentials = settings.secrets();
            let transport = Transport::Webhook(settings);
            Some(Checked { credentials, most_in_flight: None, transport })
        }
        _ => {
            let settings: amqp::Settings = settings(base, value, report, amqp::Settings::validate)?;
            if let Some(message) = amqp_url_problem(settings.url.expose()) {
                let hint = Some("amqps://mq.example.com/vhost".into());
                report.error(&format!("{}.url", base.join(".")), message, hint);
            }
            Some(Checked {
                credentials: settings.secrets(),
                most_in_flight: None,
                transport: Transport::Amqp(settings),
            })
        }
    }
    .map(|checked| {
        let full = |key: &String| format!("{}.{key}", base.join("."));
        let credentials = checked.credentials.iter().map(full).collect();
        Checked { credentials, ..checked }
    })
}

fn settings<T: DeserializeOwned>(
    base: [&str; 3],
    value: &Value,
    report: &mut Report<'_>,
    validate: fn(&T) -> Vec<Complaint>,
) -> Option<T> {
    let settings: T = extract(&base, value, report)?;
    for (key, message, hint) in validate(&settings) {
        let below = if key.is_empty() { String::new() } else { format!(".{key}") };
        report.error(&format!("{}{below}", base.join(".")), message, hint);
    }
    Some(settings)
}

fn bounds(table: &Table, path: &str, report: &mut Report<'_>) {
    let at = |key: &str| format!("{path}.{key}");
    let (ms, second) = (Duration::from_millis(1), Duration::from_secs(1));
    let day = Duration::from_secs(86_400);
    bounded(report, &at("patience"), table.patience, ms..=MAX_TIMEOUT);
    let retry = &table.retry;
    bounded(report, &at("retry.max_age"), retry.max_age, second..=day * 365);
    if retry.max_attempts == Some(0) {
        report.error(&at("retry.max_attempts"), "must be 1 or more", None);
    }
    if retry.schedule.is_empty() || retry.schedule.len() > 32 {
        let hint = Some("for example [\"5s\", \"30s\", \"2m\"]".into());
        report.error(&at("retry.schedule"), "must name 1 to 32 delays", hint);
    }
    for (index, delay) in retry.schedule.iter().enumerate() {
        let path = at(&format!("retry.schedule.{index}"));
        bounded(report, &path, *delay, ms * 100..=day);
        if delay.subsec_nanos() % 1_000_000 != 0 {
            report.error(&path, "must be whole milliseconds", None);
        }
    }
    if !retry.schedule.is_sorted_by(|a, b| a < b) {
        report.error(&at("retry.schedule"), "must be ascending", None);
    }
    let breaker = &table.breaker;
    if breaker.failures.is_some_and(|failures| !(1..=1_000_000).contains(&failures)) {
        report.error(&at("breaker.failures"), "must be from 1 to 1000000", None);
    }
    if !(breaker.failure_ratio > 0.0 && breaker.failure_ratio <= 1.0) {
        report.error(&at("breaker.failure_ratio"), "must be above 0 and at most 1", None);
    }
    if !(1..=100_000).contains(&breaker.min_attempts) {
        report.error(&at("breaker.min_attempts"), "must be from 1 to 100000", None);
    }
    bounded(report, &at("breaker.window"), breaker.window, second..=Duration::from_secs(3_600));
    let pairs = [
        ("open", breaker.open, breaker.open_max),
        ("misconfigured_open", breaker.misconfigured_open, breaker.misconfigured_open_max),
    ];
    for (key, first, longest) in pairs {
        bounded(report, &at(&format!("breaker.{key}")), first, ms * 100..=day);
        bounded(report, &at(&format!("breaker.{key}_max")), longest, ms * 100..=day);
        if first > longest {
            let message = format!("must not be longer than breaker.{key}_max");
            report.error(&at(&format!("breaker.{key}")), message, None);
        }
    }
}
