//! Faults of RabbitMQ itself, end to end: it dies, freezes, raises an alarm, loses queues, takes
//! rights away, refuses. Nothing is lost, the flow comes back alone, and the log stays short.

mod headers;
mod login;
mod objects;
mod outages;
mod verify;

use std::collections::BTreeSet;
use std::time::Duration;

use lockgate::domain::delivery::{HeaderValue, Message};

use super::support::eventually;
use super::support::http::HttpServer;
use super::support::rabbitmq::Place;

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(120);
/// How soon events flow again after a fault has ended.
const BACK: Duration = Duration::from_secs(30);

/// A source that lockgate declares.
fn source(url: &str) -> String {
    format!(
        "[source]\nurl = \"{url}\"\nqueue = \"events\"\n\
         bindings = [{{ exchange = \"Batch\", type = \"topic\", routing_key = \"#\" }}]\n"
    )
}

/// An endpoint that takes Batch events of these triggers.
fn rest(name: &str, triggers: &str, url: &str) -> String {
    format!(
        "[endpoints.{name}]\nevents = [\"Batch/{triggers}\"]\nmax_in_flight = 4\n\
         retry = {{ schedule = [\"200ms\", \"500ms\"] }}\n\
         breaker = {{ open = \"500ms\", open_max = \"1s\", misconfigured_open = \"500ms\", misconfigured_open_max = \"1s\" }}\n\
         [endpoints.{name}.rest]\nurl = \"{url}\"\nnon_2xx = \"retry\"\ntimeout = \"5s\"\n"
    )
}

fn body(id: &str) -> Vec<u8> {
    format!(r#"{{"event_id":"{id}","batch":"B-7"}}"#).into_bytes()
}

fn bodies<'a>(ids: impl IntoIterator<Item = &'a String>) -> Vec<Vec<u8>> {
    ids.into_iter().map(|id| body(id)).collect()
}

/// The ids `{prefix}-0` and so on.
fn numbered(prefix: &str, count: usize) -> BTreeSet<String> {
    (0..count).map(|n| format!("{prefix}-{n}")).collect()
}

/// The ids that have come to a server.
fn ids(server: &HttpServer) -> BTreeSet<String> {
    let received = server.received();
    received.iter().map(|r| r.header("x-request-id").unwrap().to_owned()).collect()
}

async fn until_all(server: &HttpServer, expected: &BTreeSet<String>) {
    let what = format!("{} events at the server", expected.len());
    eventually(&what, DEADLINE, || async { ids(server).is_superset(expected).then_some(()) }).await;
    assert_eq!(&ids(server), expected);
}

/// Waits until something more has come to a server; how long that took.
async fn until_more(server: &HttpServer) -> Duration {
    let (began, before) = (tokio::time::Instant::now(), server.received().len());
    eventually("events flow", BACK, || async { (server.received().len() > before).then_some(()) })
        .await;
    began.elapsed()
}

/// What was logged after the first `skip` bytes, line by line.
fn lines(log: &str, skip: usize) -> Vec<&str> {
    log.get(skip..).unwrap_or_default().lines().collect()
}

fn rights(place: &Place) -> String {
    format!("{}-user", place.prefix)
}

/// The event in a parcel.
fn event_id(message: &Message) -> String {
    match message.header("lockgate-event-id") {
        Some(HeaderValue::LongString(id)) => id.to_string(),
        other => panic!("no parcel: {other:?}"),
    }
}
