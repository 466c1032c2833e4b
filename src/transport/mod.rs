//! Floor 2: the wire. One file is one transport: its settings and its publisher.
//!
//! Owns how an event reaches a partner, and says what came of it as an [`Outcome`]. Refuses to
//! decide what happens next: that is [`crate::logic`] and [`crate::actors`]. Read [`rest`] first
//! (over [`http`]), then [`mqtt`] and [`amqp`]; [`timeline`] is what all of them tell of an attempt,
//! [`examine`] looks at their peers for the doctor. [`collector`] is where spans go, which is no partner.

pub mod amqp;
pub mod amqp_link;
pub mod collector;
pub mod examine;
pub mod http;
pub mod mqtt;
pub mod rest;
pub mod timeline;
pub mod tls;
mod way;
pub mod webhook;

use std::rc::Rc;

use futures_util::future::LocalBoxFuture;

use crate::domain::delivery::{Address, Failure, Outcome, Outgoing};
use crate::domain::event::{Event, Shape};
use crate::domain::names::Name;
use crate::logic::body::{self, BodyForm, Rendering};
use crate::logic::ecmascript;

/// Publishes events to one endpoint. Built, kept and dropped on one arbiter thread.
pub trait Publisher {
    /// Makes one attempt. Ends within the endpoint's own timeouts, and says *delivered* only after
    /// the peer's acknowledgement. Several may be under way at once.
    fn publish(self: Rc<Self>, outgoing: Rc<Outgoing>) -> LocalBoxFuture<'static, Outcome>;

    /// Says goodbye to the peer where there is a lasting connection. Bounded to a few seconds.
    fn close(self: Rc<Self>) -> LocalBoxFuture<'static, ()>;
}

/// How long a connection to a broker lasts.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    serde::Deserialize,
    serde::Serialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Session {
    /// Connect, publish one message, disconnect.
    #[default]
    PerEvent,
    /// One connection for all, pipelined.
    Persistent,
}

/// What is wrong with an endpoint's settings: the key below the transport's table, what, and what to
/// do. Holds no credential.
pub type Complaint = (String, String, Option<String>);

/// What a transport may know of the process, for client names.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Unique for each running process.
    pub id: String,
}

/// The settings of an endpoint's one transport.
#[derive(Clone, Debug)]
pub enum Transport {
    /// An MQTT broker.
    Mqtt(mqtt::Settings),
    /// A REST endpoint.
    Rest(rest::Settings),
    /// A webhook.
    Webhook(webhook::Settings),
    /// An exchange on another RabbitMQ.
    Amqp(amqp::Settings),
}

/// A publisher could not be built: a certificate file that cannot be read, say.
#[derive(Debug, thiserror::Error)]
#[error("cannot prepare the connection: {0}")]
pub struct BuildError(pub String);

impl Transport {
    /// The transport's table in the configuration: `mqtt`, `rest`, `webhook`, `amqp`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Mqtt(_) => "mqtt",
            Self::Rest(_) => "rest",
            Self::Webhook(_) => "webhook",
            Self::Amqp(_) => "amqp",
        }
    }

    /// The endpoint's URL without user part and query.
    #[must_use]
    pub fn target(&self) -> String {
        match self {
            Self::Mqtt(settings) => settings.target(),
            Self::Rest(settings) => settings.target(),
            Self::Webhook(settings) => settings.target(),
            Self::Amqp(settings) => settings.target(),
        }
    }

    /// Where at the endpoint this event goes.
    ///
    /// # Errors
    /// A permanent failure when the event's topic or routing key is illegal.
    pub fn address(&self, event: &Event) -> Result<Address, Failure> {
        match self {
            Self::Mqtt(settings) => settings.topic(event).map(Address::Topic),
            Self::Rest(_) | Self::Webhook(_) => Ok(Address::Url),
            Self::Amqp(settings) => settings.address(event),
        }
    }

    /// The body's form where the endpoint does not name one.
    #[must_use]
    pub fn default_body(&self, shape: Shape) -> BodyForm {
        match (self, shape) {
            (Self::Webhook(_), _) | (Self::Mqtt(_), Shape::Named) => BodyForm::Named,
            (Self::Mqtt(_), Shape::Plain) | (Self::Rest(_) | Self::Amqp(_), _) => BodyForm::Event,
        }
    }

    /// Whether the body must be what `JSON.stringify(JSON.parse(body))` gives.
    #[must_use]
    pub fn wants_ecmascript(&self) -> bool {
        matches!(self, Self::Webhook(_))
    }

    /// How many attempts may be under way at once where the endpoint does not say.
    #[must_use]
    pub fn default_in_flight(&self) -> u16 {
        match self {
            Self::Mqtt(settings) => settings.default_in_flight(),
            Self::Rest(_) | Self::Webhook(_) | Self::Amqp(_) => 32,
        }
    }

    /// The publisher for these settings. Must be called on the thread that will use it.
    ///
    /// # Errors
    /// When what the settings name cannot be loaded.
    pub fn publisher(
        &self,
        endpoint: &str,
        instance: &Instance,
    ) -> Result<Rc<dyn Publisher>, BuildError> {
        match self {
            Self::Mqtt(settings) => mqtt::publisher(settings, endpoint, instance),
            Self::Rest(settings) => rest::publisher(settings, endpoint, instance),
            Self::Webhook(settings) => webhook::publisher(settings, endpoint, instance),
            Self::Amqp(settings) => amqp::publisher(settings, endpoint, instance),
        }
    }
}

/// Everything that one attempt at `endpoint` sends for this event, but for the trace that its message
/// belongs to: an event does not know it.
///
/// # Errors
/// A permanent failure when the event cannot be rendered: an illegal topic, a payload filter
/// without exactly one object.
pub fn render(
    transport: &Transport,
    endpoint: &Name,
    form: Option<BodyForm>,
    rendering: &Rendering,
    event: &Event,
) -> Result<Outgoing, Failure> {
    let address = transport.address(event)?;
    let filtered =
        rendering.payload.as_ref().map(|filter| filter.apply(&event.payload)).transpose()?;
    let form = form.unwrap_or_else(|| transport.default_body(event.shape));
    let subscriber = rendering.metadata_in_payload.then_some(endpoint.as_str());
    let mut body = body::render(event, form, subscriber, filtered.as_ref());
    if transport.wants_ecmascript() {
        let written = ecmascript::stringify(&body)
            .map_err(|cause| Failure::permanent("unrenderable", cause.to_string()))?;
        body = written.into();
    }
    let (event_id, event_name) = (event.id.clone(), event.name());
    Ok(Outgoing { event_id, event_name, address, body, trace: None })
}
