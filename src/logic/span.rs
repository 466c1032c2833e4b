//! What a span says: its name and its attributes, by OpenTelemetry's semantic conventions.
//!
//! Owns the words, those of the conventions for [messaging], [RabbitMQ] and [HTTP] and ours, which
//! begin with `lockgate.`. Texts are cut as those of the delivery log are, and hold no payload, no
//! header and no secret. Refuses to know how spans are recorded: [`crate::spans`] does. Read
//! [`super::trace_context`] for what belongs together.
//!
//! [messaging]: https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/
//! [RabbitMQ]: https://opentelemetry.io/docs/specs/semconv/messaging/rabbitmq/
//! [HTTP]: https://opentelemetry.io/docs/specs/semconv/http/http-spans/

use std::borrow::Cow;

use super::attempt_log::{MAX_DETAIL, MAX_NAME, Origin, Phase, cut};
use crate::domain::delivery::{Message, Outcome};

/// What an attribute holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A text.
    Text(Cow<'static, str>),
    /// A number of something.
    Whole(i64),
    /// Seconds.
    Seconds(f64),
}

/// A name and what it holds.
pub type Attribute = (Cow<'static, str>, Value);

/// How a span begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Beginning {
    /// Its name: few different ones, so that traces can be told apart by it.
    pub name: String,
    /// What it says from the start.
    pub attributes: Vec<Attribute>,
}

/// How a span ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    /// What it says besides.
    pub attributes: Vec<Attribute>,
    /// In words, why it failed.
    pub error: Option<String>,
}

/// An attempt that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// The how manieth attempt of this event at this endpoint; the first is 1.
    pub number: u32,
    /// By which way the event came.
    pub lane: Origin,
    /// What it came to.
    pub outcome: &'a Outcome,
    /// What it spent its time on.
    pub phases: &'a [Phase],
}

fn text(name: &'static str, value: impl Into<Cow<'static, str>>) -> Attribute {
    (name.into(), Value::Text(value.into()))
}

fn whole(name: &'static str, value: i64) -> Attribute {
    (name.into(), Value::Whole(value))
}

/// The id of the event, as both kinds of spans name it.
#[must_use]
pub fn id(event_id: &str) -> Attribute {
    text("messaging.message.id", cut(event_id, MAX_NAME).to_owned())
}

/// The kind of error, by which failures are told apart.
#[must_use]
pub fn error_type(reason: &str) -> Attribute {
    text("error.type", reason.to_owned())
}

/// A message of the source has arrived. By the conventions for RabbitMQ, its destination is exchange,
/// routing key and queue, those that it has, and the queue only once.
#[must_use]
pub fn process(queue: &str, message: &Message) -> Beginning {
    let key = (message.routing_key != queue).then_some(message.routing_key.as_str());
    let parts = [Some(message.exchange.as_str()), key, Some(queue)];
    let parts: Vec<&str> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
    let size = i64::try_from(message.body.len()).unwrap_or(i64::MAX);
    Beginning {
        name: format!("process {queue}"),
        attributes: vec![
            text("messaging.system", "rabbitmq"),
            text("messaging.operation.name", "process"),
            text("messaging.operation.type", "process"),
            text("messaging.destination.name", parts.join(":")),
            text("messaging.rabbitmq.destination.routing_key", message.routing_key.clone()),
            whole("messaging.message.body.size", size),
        ],
    }
}

/// Whether attempts by this transport are a client's, who waits for an answer; else a producer's.
#[must_use]
pub fn is_client(transport: &str) -> bool {
    matches!(transport, "rest" | "webhook")
}

/// An attempt begins.
#[must_use]
pub fn send(endpoint: &str, transport: &'static str, event_id: &str) -> Beginning {
    let mut attributes = vec![
        text("lockgate.endpoint", endpoint.to_owned()),
        text("lockgate.transport", transport),
        id(event_id),
    ];
    if is_client(transport) {
        attributes.push(text("http.request.method", "POST"));
    } else {
        let system = if transport == "amqp" { "rabbitmq" } else { transport };
        attributes.push(text("messaging.system", system));
        attributes.push(text("messaging.operation.name", "send"));
        attributes.push(text("messaging.operation.type", "send"));
    }
    Beginning { name: format!("send {endpoint}"), attributes }
}

/// An attempt has ended.
#[must_use]
pub fn sent(ended: &Ended<'_>) -> Ending {
    let mut attributes = vec![
        whole("lockgate.attempt", i64::from(ended.number)),
        text("lockgate.lane", ended.lane.as_str()),
    ];
    let (outcome, status, error) = match ended.outcome {
        Outcome::Delivered { status } => ("delivered", *status, None),
        Outcome::Failed(failure) => {
            attributes.push(error_type(&failure.reason));
            let answered = failure.reason.strip_prefix("http_");
            let status = answered.and_then(|status| status.parse().ok());
            let words = cut(&failure.detail, MAX_DETAIL).to_owned();
            (failure.class.as_str(), status, Some(words))
        }
    };
    attributes.push(text("lockgate.outcome", outcome));
    let status = status.map(|status| whole("http.response.status_code", i64::from(status)));
    attributes.extend(status);
    attributes.extend(ended.phases.iter().map(|phase| {
        let name = format!("lockgate.phase.{}", phase.step.as_str());
        (name.into(), Value::Seconds(phase.took.as_secs_f64()))
    }));
    Ending { attributes, error }
}

/// What an attempt says that came to no end: the endpoint was stopped, or died, before it.
#[must_use]
pub fn abandoned() -> [Attribute; 2] {
    [error_type("abandoned"), text("lockgate.outcome", "abandoned")]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::delivery::Failure;
    use crate::logic::attempt_log::Step;

    fn shown(attributes: &[Attribute]) -> Vec<String> {
        let value = |value: &Value| match value {
            Value::Text(text) => text.to_string(),
            Value::Whole(number) => number.to_string(),
            Value::Seconds(seconds) => format!("{seconds}s"),
        };
        attributes.iter().map(|(name, held)| format!("{name}={}", value(held))).collect()
    }

    #[test]
    fn a_message_is_processed_under_the_name_of_its_queue() {
        let message = Message {
            routing_key: "a.b".into(),
            body: b"12345".as_slice().into(),
            ..Message::default()
        };
        let begun = process("events", &message);
        assert_eq!(begun.name, "process events");
        assert_eq!(
            shown(&begun.attributes),
            [
                "messaging.system=rabbitmq",
                "messaging.operation.name=process",
                "messaging.operation.type=process",
                "messaging.destination.name=a.b:events",
                "messaging.rabbitmq.destination.routing_key=a.b",
                "messaging.message.body.size=5",
            ]
        );
    }

    #[test]
    fn a_destination_is_exchange_routing_key_and_queue_without_what_is_empty_or_the_same() {
        for (exchange, key, expected) in [
            ("Batch", "status", "Batch:status:events"),
            ("Batch", "", "Batch:events"),
            ("", "events", "events"),
            ("Batch", "events", "Batch:events"),
        ] {
            let (exchange, routing_key) = (exchange.into(), key.into());
            let message = Message { exchange, routing_key, ..Message::default() };
            let found = shown(&process("events", &message).attributes);
            assert!(found.contains(&format!("messaging.destination.name={expected}")), "{found:?}");
        }
    }

    #[test]
    fn long_texts_are_cut() {
        let (long, name) = ("x".repeat(1 << 20), "messaging.message.id=".len());
        let of_id = |begun: Vec<String>| begun.into_iter().map(|text| text.len()).max();
        assert_eq!(of_id(shown(&send("erp", "rest", &long).attributes)), Some(name + 256));
        let (outcome, lane) = (Failure::permanent("unrenderable", long).into(), Origin::Express);
        let ending = sent(&Ended { number: 1, lane, outcome: &outcome, phases: &[] });
        assert_eq!(ending.error.map(|words| words.len()), Some(512));
    }

    #[test]
    fn an_attempt_says_by_what_it_sends() {
        let check = |transport, client: bool, last: &[&str]| {
            let begun = send("erp", transport, "e-1");
            assert_eq!(is_client(transport), client, "{transport}");
            assert_eq!(begun.name, "send erp");
            let of_transport = format!("lockgate.transport={transport}");
            let first = ["lockgate.endpoint=erp", &of_transport, "messaging.message.id=e-1"];
            assert_eq!(shown(&begun.attributes), [&first, last].concat());
        };
        let producer =
            |system| [system, "messaging.operation.name=send", "messaging.operation.type=send"];
        check("rest", true, &["http.request.method=POST"]);
        check("webhook", true, &["http.request.method=POST"]);
        check("mqtt", false, &producer("messaging.system=mqtt"));
        check("amqp", false, &producer("messaging.system=rabbitmq"));
    }

    #[test]
    fn an_attempt_says_what_it_came_to() {
        let check = |outcome: Outcome, error: Option<&str>, expected: &[&str]| {
            let took = Duration::from_millis(250);
            let phases = [Phase { step: Step::FirstByte, took }];
            let (number, lane) = (3, Origin::Parked);
            let ending = sent(&Ended { number, lane, outcome: &outcome, phases: &phases });
            let first = ["lockgate.attempt=3", "lockgate.lane=parked"];
            let last = ["lockgate.phase.first_byte=0.25s"];
            assert_eq!(shown(&ending.attributes), [&first, expected, &last].concat());
            assert_eq!(ending.error.as_deref(), error);
        };
        check(
            Outcome::Delivered { status: Some(204) },
            None,
            &["lockgate.outcome=delivered", "http.response.status_code=204"],
        );
        check(Outcome::Delivered { status: None }, None, &["lockgate.outcome=delivered"]);
        check(
            Failure::transient("http_503", "POST http://h/: answered 503").into(),
            Some("POST http://h/: answered 503"),
            &["error.type=http_503", "lockgate.outcome=transient", "http.response.status_code=503"],
        );
        check(
            Failure::misconfigured("http_status", "no number").into(),
            Some("no number"),
            &["error.type=http_status", "lockgate.outcome=misconfigured"],
        );
        check(
            Failure::permanent("unrenderable", "why").into(),
            Some("why"),
            &["error.type=unrenderable", "lockgate.outcome=permanent"],
        );
    }
}
