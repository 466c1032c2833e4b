//! Floor 2: what is counted. The names of every metric, and one function to record each.
//!
//! Owns names, labels and help texts; a label is the name of an endpoint or a constant word, never
//! anything that an event brings. Refuses to render or to serve them: that is
//! [`crate::admin::metrics`], which also installs the recorder before
//! anything is counted. Without one every call does nothing.
//!
//! The counters reconcile: at the source `received = acknowledged + stale + in flight`, and for each
//! endpoint `routed + resumed = routes settled (all four kinds) + stale + in flight`.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::domain::delivery::Settlement;
use crate::logic::breaker::State;

/// The duration of attempts, in seconds: a histogram whose buckets the exporter must know.
pub const ATTEMPT_DURATION: &str = "lockgate_attempt_duration_seconds";

const RECEIVED: &str = "lockgate_events_received_total";
const ACKNOWLEDGED: &str = "lockgate_events_acknowledged_total";
const STALE: &str = "lockgate_events_stale_total";
const EVENTS_IN_FLIGHT: &str = "lockgate_events_in_flight";
const OLDEST_UNSETTLED: &str = "lockgate_oldest_unsettled_age_seconds";
const SOURCE_DEPTH: &str = "lockgate_source_depth";
const PREFETCH: &str = "lockgate_prefetch";
const REJECTED: &str = "lockgate_events_rejected_total";
const UNWANTED: &str = "lockgate_events_unwanted_total";
const ROUTED: &str = "lockgate_routed_total";
const RESUMED: &str = "lockgate_resumed_total";
const SETTLED: &str = "lockgate_routes_total";
const ROUTES_STALE: &str = "lockgate_routes_stale_total";
const ATTEMPTS: &str = "lockgate_attempts_total";
const IN_FLIGHT: &str = "lockgate_in_flight";
const BREAKER: &str = "lockgate_breaker_state";
const ORPHANED: &str = "lockgate_orphaned";
const PARKED: &str = "lockgate_parked";
const DEAD: &str = "lockgate_dead";
const BUS_CONNECTED: &str = "lockgate_bus_connected";
const BUILD_INFO: &str = "lockgate_build_info";

/// Gives every metric its help text. Called once, after the recorder is installed.
pub fn describe() {
    describe_counter!(RECEIVED, "Messages that came from the source queue, repeats included");
    describe_counter!(ACKNOWLEDGED, "Messages acknowledged on the source queue");
    describe_counter!(STALE, "Messages whose connection was lost before they were acknowledged");
    describe_gauge!(EVENTS_IN_FLIGHT, "Messages that are not acknowledged");
    describe_gauge!(
        OLDEST_UNSETTLED,
        metrics::Unit::Seconds,
        "How long the oldest message that is not acknowledged has been held; 0 when there is none"
    );
    describe_gauge!(SOURCE_DEPTH, "Messages ready in the source queue");
    describe_gauge!(PREFETCH, "Messages that may be unacknowledged at once");
    describe_counter!(REJECTED, "Messages that are no event, kept in the rejected queue");
    describe_counter!(UNWANTED, "Events that no event configuration wants");
    describe_counter!(ROUTED, "Routes that came from the source queue");
    describe_counter!(RESUMED, "Routes that came back from the endpoint's parked queue");
    describe_counter!(SETTLED, "Routes that ended: delivered, parked, dead or suppressed");
    describe_counter!(ROUTES_STALE, "Routes dropped because their bus connection was lost");
    describe_counter!(ATTEMPTS, "Attempts that ended, by outcome and kind of error");
    describe_histogram!(ATTEMPT_DURATION, metrics::Unit::Seconds, "How long an attempt took");
    describe_gauge!(IN_FLIGHT, "Routes that are not settled");
    describe_gauge!(BREAKER, "The endpoint's breaker: 0 closed, 1 half-open, 2 open");
    describe_gauge!(ORPHANED, "Messages in the orphan queue that belong to no endpoint");
    describe_gauge!(PARKED, "Events ready in the endpoint's parked queue");
    describe_gauge!(DEAD, "Dead letters in the endpoint's dead-letter queue");
    describe_gauge!(BUS_CONNECTED, "1 while the source queue is consumed");
    describe_gauge!(BUILD_INFO, "Always 1; the version is a label");
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

/// A message came from the source queue.
pub fn received() {
    counter!(RECEIVED).increment(1);
}

/// Messages were acknowledged on the source queue.
pub fn acknowledged(messages: u64) {
    counter!(ACKNOWLEDGED).increment(messages);
}

/// The connection of unacknowledged messages was lost; they come again.
pub fn stale(messages: u64) {
    counter!(STALE).increment(messages);
}

/// How many messages of the source queue are not acknowledged now.
pub fn events_in_flight(messages: usize) {
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 messages")]
    gauge!(EVENTS_IN_FLIGHT).set(messages as f64);
}

/// How long the oldest message that is not acknowledged has been held; zero when there is none.
pub fn oldest_unsettled(age: Duration) {
    gauge!(OLDEST_UNSETTLED).set(age.as_secs_f64());
}

/// How many messages are ready in the source queue.
pub fn source_depth(messages: u32) {
    gauge!(SOURCE_DEPTH).set(f64::from(messages));
}

/// How many messages of the source queue may be unacknowledged now.
pub fn prefetch(messages: u16) {
    gauge!(PREFETCH).set(f64::from(messages));
}

/// A message was no event.
pub fn rejected() {
    counter!(REJECTED).increment(1);
}

/// No event configuration wanted an event.
pub fn unwanted() {
    counter!(UNWANTED).increment(1);
}

/// An event from the source queue is to go to an endpoint.
pub fn routed(endpoint: &str) {
    counter!(ROUTED, "endpoint" => endpoint.to_owned()).increment(1);
}

/// A parked event came back to its endpoint.
pub fn resumed(endpoint: &str) {
    counter!(RESUMED, "endpoint" => endpoint.to_owned()).increment(1);
}

/// A route ended.
pub fn settled(endpoint: &str, settlement: Settlement) {
    let settlement = match settlement {
        Settlement::Delivered => "delivered",
        Settlement::Parked => "parked",
        Settlement::Dead => "dead",
        Settlement::Suppressed => "suppressed",
    };
    counter!(SETTLED, "endpoint" => endpoint.to_owned(), "settlement" => settlement).increment(1);
}

/// Routes were dropped because their bus connection was lost.
pub fn routes_stale(endpoint: &str, routes: u64) {
    counter!(ROUTES_STALE, "endpoint" => endpoint.to_owned()).increment(routes);
}

/// An attempt ended. `outcome` is `delivered` or a failure's class, `error_type` a failure's
/// constant reason or empty.
pub fn attempt(endpoint: &str, outcome: &'static str, error_type: &str, took: Duration) {
    counter!(
        ATTEMPTS,
        "endpoint" => endpoint.to_owned(),
        "outcome" => outcome,
        "error_type" => error_type.to_owned()
    )
    .increment(1);
    histogram!(ATTEMPT_DURATION, "endpoint" => endpoint.to_owned()).record(took);
}

/// How many routes of an endpoint are not settled now.
pub fn in_flight(endpoint: &str, routes: u64) {
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 routes")]
    gauge!(IN_FLIGHT, "endpoint" => endpoint.to_owned()).set(routes as f64);
}

/// How an endpoint's breaker stands now.
pub fn breaker(endpoint: &str, state: State) {
    let value = match state {
        State::Closed => 0.0,
        State::HalfOpen => 1.0,
        State::Open { .. } => 2.0,
    };
    gauge!(BREAKER, "endpoint" => endpoint.to_owned()).set(value);
}

/// How many orphans belong to no configured endpoint.
pub fn orphaned(messages: u32) {
    gauge!(ORPHANED).set(f64::from(messages));
}

/// How many events are ready in an endpoint's parked queue.
pub fn parked_depth(endpoint: &str, messages: u32) {
    gauge!(PARKED, "endpoint" => endpoint.to_owned()).set(f64::from(messages));
}

/// How many letters are ready in an endpoint's dead-letter queue.
pub fn dead_depth(endpoint: &str, messages: u32) {
    gauge!(DEAD, "endpoint" => endpoint.to_owned()).set(f64::from(messages));
}

/// Whether the source queue is consumed now.
pub fn bus_connected(connected: bool) {
    gauge!(BUS_CONNECTED).set(if connected { 1.0 } else { 0.0 });
}
