//! Floor 2: what is counted. The names of every metric, and one function to record each.
//!
//! Owns names, labels and help texts; a label is the name of an endpoint or a constant word, never
//! anything that an event or a partner brings. What an endpoint that is gone leaves behind is
//! withdrawn by [`forget`]. Refuses to render or to serve them: that is
//! [`crate::admin::metrics`], which also installs the recorder before
//! anything is counted. Without one every call does nothing.
//!
//! The counters reconcile: at the source `received = acknowledged + stale + in flight`, and for each
//! endpoint `routed + resumed = routes settled (all four kinds) + stale + in flight`.

use std::time::Duration;

use jiff::Timestamp;
use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use crate::domain::delivery::Settlement;
use crate::logic::breaker::State;

/// The duration of attempts, in seconds: a histogram whose buckets the exporter must know.
pub const ATTEMPT_DURATION: &str = "lockgate_attempt_duration_seconds";
/// How long delivered routes took, in seconds: another histogram with buckets of its own.
pub const ROUTE_LATENCY: &str = "lockgate_route_latency_seconds";

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
const STATE: &str = "lockgate_endpoint_state";
const ORPHANED: &str = "lockgate_orphaned";
const PARKED: &str = "lockgate_parked";
const DEAD: &str = "lockgate_dead";
const BUS_CONNECTED: &str = "lockgate_bus_connected";
const CERTIFICATE_EXPIRY: &str = "lockgate_certificate_expiry_timestamp_seconds";
const BUS_CERTIFICATE_EXPIRY: &str = "lockgate_bus_certificate_expiry_timestamp_seconds";
const SPANS_DROPPED: &str = "lockgate_spans_dropped_total";
const START_TIME: &str = "lockgate_start_time_seconds";
const BUILD_INFO: &str = "lockgate_build_info";

/// The states of an endpoint, in the operator's words.
pub const STATES: [&str; 5] = ["healthy", "degraded", "open", "paused", "misconfigured"];

/// Every gauge of an endpoint but its states: what [`forget`] withdraws.
const OF_ENDPOINTS: [&str; 5] = [IN_FLIGHT, BREAKER, PARKED, DEAD, CERTIFICATE_EXPIRY];

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
    describe_histogram!(ATTEMPT_DURATION, Unit::Seconds, "How long an attempt took");
    describe_histogram!(
        ROUTE_LATENCY,
        Unit::Seconds,
        "From the first receipt of an event to its delivery to the endpoint, parked times included"
    );
    describe_gauge!(IN_FLIGHT, "Routes that are not settled");
    describe_gauge!(BREAKER, "The endpoint's breaker: 0 closed, 1 half-open, 2 open");
    describe_gauge!(STATE, "1 for the state in which the endpoint is, 0 for the others");
    describe_gauge!(ORPHANED, "Messages in the orphan queue that belong to no endpoint");
    describe_gauge!(PARKED, "Events ready in the endpoint's parked queue");
    describe_gauge!(DEAD, "Dead letters in the endpoint's dead-letter queue");
    describe_gauge!(BUS_CONNECTED, "1 while the source queue is consumed");
    describe_gauge!(
        CERTIFICATE_EXPIRY,
        Unit::Seconds,
        "When the certificate ends that the endpoint showed last, in unix time"
    );
    describe_gauge!(
        BUS_CERTIFICATE_EXPIRY,
        Unit::Seconds,
        "When the certificate ends that the bus showed last, in unix time"
    );
    describe_counter!(SPANS_DROPPED, "Spans that were recorded and never reached the collector");
    describe_gauge!(START_TIME, Unit::Seconds, "When this instance started, in unix time");
    describe_gauge!(BUILD_INFO, "Always 1; the version is a label");
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

/// This instance starts now. What it has not counted yet is 0 from here on: of a counter that begins
/// with its first event, nobody would see the first increase.
pub fn started(now: Timestamp) {
    gauge!(START_TIME).set(now.as_duration().as_secs_f64());
    for name in [RECEIVED, ACKNOWLEDGED, STALE, REJECTED, UNWANTED, SPANS_DROPPED] {
        counter!(name).increment(0);
    }
    for name in [EVENTS_IN_FLIGHT, ORPHANED, BUS_CONNECTED] {
        gauge!(name).set(0.0);
    }
}

/// An endpoint begins to work: its counters are there, as those of [`started`] are.
pub fn introduce(endpoint: &str) {
    for name in [ROUTED, RESUMED, ROUTES_STALE] {
        counter!(name, "endpoint" => endpoint.to_owned()).increment(0);
    }
    for settlement in ["delivered", "parked", "dead", "suppressed"] {
        let endpoint = endpoint.to_owned();
        counter!(SETTLED, "endpoint" => endpoint, "settlement" => settlement).increment(0);
    }
}

/// Spans were lost: there was no room for them, or no way to the collector.
pub fn spans_dropped(spans: u64) {
    counter!(SPANS_DROPPED).increment(spans);
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

/// A route was delivered so long after its event was first received. Zero where clocks disagree.
pub fn route_latency(endpoint: &str, received_at: Timestamp, now: Timestamp) {
    let took = Duration::try_from(now.duration_since(received_at)).unwrap_or_default();
    histogram!(ROUTE_LATENCY, "endpoint" => endpoint.to_owned()).record(took);
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

/// In which of its [`STATES`] an endpoint is now.
pub fn endpoint_state(endpoint: &str, now: &str) {
    for state in STATES {
        let value = if state == now { 1.0 } else { 0.0 };
        gauge!(STATE, "endpoint" => endpoint.to_owned(), "state" => state).set(value);
    }
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

/// The certificate that an endpoint showed ends then, in unix seconds.
pub fn certificate_expiry(endpoint: &str, not_after: Duration) {
    let not_after = not_after.as_secs_f64();
    gauge!(CERTIFICATE_EXPIRY, "endpoint" => endpoint.to_owned()).set(not_after);
}

/// The certificate that the bus showed ends then, in unix seconds.
pub fn bus_certificate_expiry(not_after: Duration) {
    gauge!(BUS_CERTIFICATE_EXPIRY).set(not_after.as_secs_f64());
}

/// An endpoint may have another peer from now on: its certificate is not known.
pub fn no_certificate(endpoint: &str) {
    gauge!(CERTIFICATE_EXPIRY, "endpoint" => endpoint.to_owned()).set(f64::NAN);
}

/// An endpoint is not configured any more: its gauges are not served until they are set again. Its
/// counters stay, or the sums over all endpoints would go back. Call it when nothing of the endpoint
/// runs any longer.
pub fn forget(endpoint: &str) {
    for name in OF_ENDPOINTS {
        // A recorder cannot drop a gauge; what is no number is left out where it is rendered.
        gauge!(name, "endpoint" => endpoint.to_owned()).set(f64::NAN);
    }
    for state in STATES {
        gauge!(STATE, "endpoint" => endpoint.to_owned(), "state" => state).set(f64::NAN);
    }
}
