//! What the API takes and answers: one type for each body.
//!
//! Owns the names of the keys and what they mean; the document is made from these types. Refuses to
//! gather anything: that is [`super::status`] and the handlers. Read [`super::status`] next.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::logic::attempt_log;
use crate::logic::dead_view::LetterView;

/// One instance, its source and its endpoints.
#[derive(Debug, Serialize, ToSchema)]
pub struct Status {
    /// The process that answers.
    pub instance: Instance,
    /// The platform's queue.
    pub source: Source,
    /// Every configured endpoint, by name.
    pub endpoints: Vec<Endpoint>,
}

/// The process that answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct Instance {
    /// Unique for each running process.
    pub id: String,
    /// Its version.
    pub version: &'static str,
    /// The `--env` name.
    pub environment: String,
    /// When it started.
    pub started_at: String,
    /// For how long it runs.
    pub uptime_seconds: u64,
    /// The first 12 digits of the configuration's digest. Credentials are not in it.
    pub configuration: String,
    /// The machine's name.
    pub host: Option<String>,
}

/// The platform's queue, as this instance sees it. `received = acknowledged + stale + in_flight`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Source {
    /// A consumer is running.
    pub consuming: bool,
    /// The queue's name.
    pub queue: String,
    /// Messages that were delivered to this instance.
    pub received: u64,
    /// Messages that it acknowledged.
    pub acknowledged: u64,
    /// Messages whose connection was lost first: they come again.
    pub stale: u64,
    /// Messages that are no event.
    pub rejected: u64,
    /// Events that no configuration wants.
    pub unwanted: u64,
    /// Messages that are not settled now.
    pub in_flight: u64,
    /// Received per second, over the last 10 s.
    pub rate: f64,
    /// Received per second in each 5 s of the last 15 min, oldest first.
    pub rates: Vec<f64>,
    /// Messages ready in the queue.
    pub depth: Option<u32>,
    /// For how long the oldest unsettled message has been held.
    pub oldest_unsettled_seconds: Option<f64>,
}

/// Endpoints, by name.
#[derive(Debug, Serialize, ToSchema)]
pub struct Endpoints {
    /// All that are configured.
    pub endpoints: Vec<Endpoint>,
}

/// One endpoint, as this instance sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// `mqtt`, `rest`, `webhook` or `amqp`.
    pub transport: &'static str,
    /// Its URL without user and query.
    pub target: String,
    /// `false`: its configuration says that what comes is parked.
    pub enabled: bool,
    /// Somebody has paused it in this instance.
    pub paused: bool,
    /// `healthy`, `degraded`, `open`, `paused` or `misconfigured`.
    pub state: &'static str,
    /// Since when it is in this state.
    pub since: Option<String>,
    /// The last failure.
    pub last_error: Option<LastError>,
    /// When an endpoint that is left alone is tried again.
    pub next_probe: Option<String>,
    /// What became of its events.
    pub counters: Counters,
    /// Events ready in its parked queue, for all instances.
    pub parked: Option<u32>,
    /// Its dead letters.
    pub dead: Option<u32>,
    /// Delivered per second, over the last 10 s.
    pub rate: f64,
    /// Delivered per second in each 5 s of the last 15 min, oldest first.
    pub rates: Vec<f64>,
    /// Half of the last attempts took no longer.
    pub p50_ms: Option<f64>,
    /// 99 of 100 of the last attempts took no longer.
    pub p99_ms: Option<f64>,
}

/// A failure.
#[derive(Debug, Serialize, ToSchema)]
pub struct LastError {
    /// What failed, in words.
    pub text: String,
    /// What to do.
    pub remedy: Option<&'static str>,
    /// When.
    pub at: Option<String>,
}

/// `routed + resumed = delivered + parked + dead + suppressed + stale + in_flight`.
#[derive(Debug, Serialize, ToSchema)]
#[expect(missing_docs, reason = "each is what crate::actors::board::Counters says of its name")]
pub struct Counters {
    pub routed: u64,
    pub resumed: u64,
    pub delivered: u64,
    pub parked: u64,
    pub dead: u64,
    pub suppressed: u64,
    pub stale: u64,
    pub in_flight: u64,
}

/// Whether an endpoint is paused now.
#[derive(Debug, Serialize, ToSchema)]
pub struct Paused {
    /// The endpoint.
    pub endpoint: String,
    /// It is paused.
    pub paused: bool,
    /// It was not so before.
    pub changed: bool,
}

/// Which event a test sends: both or neither. Where neither is given, one that no platform uses.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TestRequest {
    /// Its type.
    pub event_type: Option<String>,
    /// Its trigger.
    pub event_trigger: Option<String>,
}

/// What came of a test event.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tested {
    /// The endpoint.
    pub endpoint: String,
    /// The test event's id.
    pub event_id: String,
    /// `delivered`, `transient`, `permanent` or `misconfigured`.
    pub outcome: &'static str,
    /// The failure as a short word.
    pub error_type: Option<String>,
    /// The failure in a sentence.
    pub detail: Option<String>,
    /// What to do.
    pub remedy: Option<&'static str>,
    /// The HTTP status, where there was one.
    pub status: Option<u16>,
    /// How long it took.
    pub took_ms: f64,
    /// What took how long, in order.
    pub phases: Vec<Phase>,
}

/// A part of an attempt.
#[derive(Debug, Serialize, ToSchema)]
pub struct Phase {
    /// `queue`, `resolve`, `connect`, `tls`, `publish`, `pubrec`, `pubcomp`, `first_byte`, `body` or
    /// `confirm`.
    pub name: &'static str,
    /// How long it took.
    pub ms: f64,
}

/// A duration in milliseconds.
pub(super) fn milliseconds(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

impl Phase {
    /// The phases of an attempt.
    pub(super) fn all(phases: &[attempt_log::Phase]) -> Vec<Self> {
        let of = |phase: &attempt_log::Phase| Self {
            name: phase.step.as_str(),
            ms: milliseconds(phase.took),
        };
        phases.iter().map(of).collect()
    }
}

/// An endpoint's last attempts in this instance.
#[derive(Debug, Serialize, ToSchema)]
pub struct Attempts {
    /// The endpoint.
    pub endpoint: String,
    /// Newest first.
    pub attempts: Vec<Attempt>,
}

/// One attempt.
#[derive(Debug, Serialize, ToSchema)]
pub struct Attempt {
    /// When it began.
    pub at: String,
    /// The event's id.
    pub event_id: String,
    /// The event's dotted name.
    pub event: String,
    /// The how many-th it was, from 1.
    pub attempt: u32,
    /// `express`, `parked` or `test`.
    pub lane: &'static str,
    /// `delivered`, `transient`, `permanent` or `misconfigured`.
    pub outcome: &'static str,
    /// The failure as a short word.
    pub error_type: Option<String>,
    /// The failure in a sentence.
    pub detail: Option<String>,
    /// The HTTP status, where there was one.
    pub status: Option<u16>,
    /// How long it took.
    pub took_ms: f64,
    /// What took how long, in order.
    pub phases: Vec<Phase>,
}

/// Dead letters from the head of an endpoint's queue.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeadLetters {
    /// The endpoint.
    pub endpoint: String,
    /// How many there are.
    pub ready: u32,
    /// How many of them were looked at.
    pub seen: u32,
    /// Those of them that were asked for, oldest first.
    pub letters: Vec<LetterView>,
}

/// One dead letter, whole.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeadLetter {
    /// What is known of it.
    pub letter: LetterView,
    /// The headers that lockgate and RabbitMQ have written.
    #[schema(value_type = Object)]
    pub headers: Value,
    /// The message as it came from the platform: `exchange`, `routing_key`, `properties`, `headers`,
    /// and `body` (text) or `body_base64`.
    #[schema(value_type = Object)]
    pub message: Value,
}

/// Which dead letters are meant: these, or all.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LettersRequest {
    /// Whose letters.
    pub endpoint: String,
    /// These events' letters: 1 to 1000.
    #[schema(min_items = 1, max_items = 1000)]
    pub event_ids: Option<Vec<String>>,
    /// `true`: every letter that is there when it begins.
    #[serde(default)]
    pub all: bool,
}

/// What became of the letters that were meant.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MovedLetters)]
pub struct Moved {
    /// The endpoint.
    pub endpoint: String,
    /// Letters that were meant.
    pub matched: u32,
    /// Letters that were replayed or purged.
    pub moved: u32,
    /// Dead letters that are there now.
    pub left: Option<u32>,
}

/// What a reload has changed: endpoints by name.
#[derive(Debug, Serialize, ToSchema)]
pub struct Reloaded {
    /// Endpoints that were not there before.
    pub added: Vec<String>,
    /// Endpoints that are no longer there.
    pub removed: Vec<String>,
    /// Endpoints whose settings are others now.
    pub changed: Vec<String>,
    /// How many endpoints go on as they were.
    pub unchanged: usize,
    /// The first 12 digits of the new configuration's digest.
    pub configuration: String,
}
