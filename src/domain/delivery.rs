//! A delivery: a message on the bus, what is sent to a partner, and what may come of it.
//!
//! Owns messages, outcomes and settlements as data. Refuses to judge an answer: that is
//! [`crate::logic::classify`]. Read [`crate::logic`] next.

use std::time::Duration;

use bytes::Bytes;

/// The properties of an AMQP message, headers included: plain data, kept without loss.
pub type Properties = lapin::BasicProperties;
/// The headers of an AMQP message.
pub type Headers = lapin::types::FieldTable;
/// One value of a header.
pub type HeaderValue = lapin::types::AMQPValue;

/// A message as a bus delivers or takes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// The exchange that it was published to; empty for the default exchange.
    pub exchange: String,
    /// Its routing key.
    pub routing_key: String,
    /// Its properties and headers.
    pub properties: Properties,
    /// Its bytes.
    pub body: Bytes,
    /// The bus has delivered it before.
    pub redelivered: bool,
}

impl Message {
    /// One of the message's headers.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&HeaderValue> {
        self.properties.headers().as_ref()?.inner().get(name)
    }
}

/// Where at the endpoint an event goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// The one URL of a REST or webhook endpoint.
    Url,
    /// An MQTT topic: legal, not empty.
    Topic(String),
    /// An exchange and a routing key on the partner's RabbitMQ.
    Exchange {
        /// The event type, raw.
        exchange: String,
        /// The event trigger, raw; at most 255 bytes.
        routing_key: String,
    },
}

/// The trace that a bus message belongs to, by the W3C Trace Context: valid in all its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// `00-<trace id>-<parent id>-<flags>`: 55 characters, ASCII.
    pub parent: String,
    /// What the tracing systems on the way add: at most 512 characters, ASCII. Never empty.
    pub state: Option<String>,
}

impl TraceContext {
    /// The trace's id: 32 hex digits.
    #[must_use]
    pub fn id(&self) -> &str {
        self.parent.get(3..35).unwrap_or_default()
    }
}

/// One event rendered for one endpoint: what every attempt of that route sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The event's id.
    pub event_id: String,
    /// The event's dotted name.
    pub event_name: String,
    /// Where it goes.
    pub address: Address,
    /// The exact bytes.
    pub body: Bytes,
    /// The trace to pass on, where the transport has a place for it.
    pub trace: Option<TraceContext>,
}

/// What kind of failure an attempt met, and so what becomes of the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// It may pass later: tried again on the endpoint's schedule.
    Transient,
    /// This event will not pass: dead-lettered at once.
    Permanent,
    /// No event will pass until somebody mends the configuration: parked, the breaker opens.
    Misconfigured,
}

impl Class {
    /// The class as logs and metrics write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Permanent => "permanent",
            Self::Misconfigured => "misconfigured",
        }
    }
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What becomes of the event.
    pub class: Class,
    /// A short constant word for metrics and headers: `timeout`, `http_503`, `mqtt_not_authorized`.
    pub reason: String,
    /// One sentence for people. Holds no secret, no query and no user part of a URL.
    pub detail: String,
    /// How long the peer asked us to wait from now on; at most 24 h.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure without a wish to wait.
    #[must_use]
    pub fn new(class: Class, reason: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { class, reason: reason.into(), detail: detail.into(), retry_after: None }
    }

    /// A [`Class::Transient`] failure.
    #[must_use]
    pub fn transient(reason: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Class::Transient, reason, detail)
    }

    /// A [`Class::Permanent`] failure.
    #[must_use]
    pub fn permanent(reason: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Class::Permanent, reason, detail)
    }

    /// A [`Class::Misconfigured`] failure.
    #[must_use]
    pub fn misconfigured(reason: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Class::Misconfigured, reason, detail)
    }
}

/// What an attempt came to. What the world answers is a value, never an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The peer has acknowledged it.
    Delivered {
        /// The HTTP status, where there was one. A non-2xx is possible with `non_2xx = "accept"`.
        status: Option<u16>,
    },
    /// It was not acknowledged.
    Failed(Failure),
}

impl Outcome {
    /// Delivered, without a status.
    #[must_use]
    pub fn delivered() -> Self {
        Self::Delivered { status: None }
    }
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Of an attempt whose acknowledgement says no more than that.
impl From<Result<(), Failure>> for Outcome {
    fn from(done: Result<(), Failure>) -> Self {
        done.map_or_else(Self::Failed, |()| Self::delivered())
    }
}

/// How a route ended, for the ledger of the bus message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Settlement {
    /// The endpoint acknowledged it.
    Delivered,
    /// It is safe in the endpoint's own queue.
    Parked,
    /// It is safe in the endpoint's dead-letter queue.
    Dead,
    /// It had been delivered before: a repeat on redelivery.
    Suppressed,
}
