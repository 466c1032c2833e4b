//! Intake: what of a bus message is an event, and with which attributes.

use std::collections::BTreeMap;

use crate::domain::delivery::Message;
use crate::domain::event::{Event, Organization};

/// One place where an attribute may stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeSource {
    /// `header:NAME`
    Header(String),
    /// `body:/json/pointer`
    Body(String),
    /// `property:NAME`: `message_id`, `type`, `timestamp`, …
    Property(String),
    /// `exchange`
    Exchange,
    /// `routing_key`
    RoutingKey,
}

/// What intake needs of the configuration.
#[derive(Clone, Debug)]
pub struct IntakeSettings {
    /// Orders of one's own, by attribute; an attribute that is not here has the contract's order.
    pub attributes: BTreeMap<String, Vec<AttributeSource>>,
    /// Where an event names no organization of its own.
    pub organization: Organization,
    /// Where an event names no environment: `source.environment`, else the `--env` name.
    pub environment: String,
    /// Larger bodies are rejected.
    pub max_event_bytes: u64,
}

/// Why a message is no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Rejection(pub String);

/// The event in a message. `received_at` is the time of first receipt.
///
/// # Errors
/// When the message is no event.
pub fn intake(
    message: &Message,
    settings: &IntakeSettings,
    received_at: jiff::Timestamp,
) -> Result<Event, Rejection> {
    let _ = (message, settings, received_at);
    Err(Rejection("not written".into()))
}
