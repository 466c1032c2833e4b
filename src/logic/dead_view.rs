//! Dead letters as JSON, for people: what the command line prints and the admin API answers.
//!
//! Owns which facts are shown and how they are called. Refuses to find letters: that is
//! [`crate::bus::dead`]. Read [`super::message_json`] for the message in a letter.

use serde::Serialize;
use serde_json::Value;

use super::dead::Letter;
use super::{message_json, moment, parcel};
use crate::domain::delivery::{Headers, Message};
use crate::domain::names::Name;

/// What is known of a dead letter, but for its headers and its body. What nobody knows is null;
/// times are RFC 3339 UTC with milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Letter)]
pub struct LetterView {
    /// Whose letter it is.
    pub endpoint: String,
    /// The event's id.
    pub event_id: Option<String>,
    /// The event's type, raw.
    pub event_type: Option<String>,
    /// The event's trigger, raw.
    pub event_trigger: Option<String>,
    /// The event configuration that sent it to the endpoint.
    pub configuration: Option<String>,
    /// Why it is dead: a short word.
    pub reason: Option<String>,
    /// The last failure in words.
    pub last_error: Option<String>,
    /// Attempts made.
    pub attempts: u32,
    /// How often an attempt of it took its endpoint actor down.
    pub panics: u32,
    /// When lockgate first saw the event.
    pub received_at: Option<String>,
    /// When the first attempt ended.
    pub first_attempt_at: Option<String>,
    /// When the last attempt ended.
    pub last_attempt_at: Option<String>,
    /// Since when it is dead.
    pub dead_since: Option<String>,
    /// The same: when it was put among the dead.
    pub parked_at: Option<String>,
    /// The size of its body.
    pub bytes: usize,
}

impl LetterView {
    /// This letter of this endpoint.
    #[must_use]
    pub fn new(endpoint: &Name, letter: Letter) -> Self {
        let time = |at: Option<jiff::Timestamp>| at.map(moment::format);
        Self {
            endpoint: endpoint.to_string(),
            event_id: letter.event_id,
            event_type: letter.event_type,
            event_trigger: letter.event_trigger,
            configuration: letter.configuration,
            reason: letter.reason,
            last_error: letter.last_error,
            attempts: letter.attempts,
            panics: letter.panics,
            received_at: time(letter.received_at),
            first_attempt_at: time(letter.first_attempt_at),
            last_attempt_at: time(letter.last_attempt_at),
            dead_since: time(letter.dead_since),
            parked_at: time(letter.dead_since),
            bytes: letter.bytes,
        }
    }
}

/// The headers that lockgate and RabbitMQ have written, less how often the letter was looked at.
#[must_use]
pub fn written(letter: &Message) -> Value {
    let own = |name: &str| name.starts_with(parcel::OURS) || name.starts_with("x-");
    let looks = |name: &str| matches!(name, "x-delivery-count" | "x-acquired-count");
    let mut headers = letter.properties.headers().clone().unwrap_or_default().inner().clone();
    headers.retain(|name, _| own(name.as_str()) && !looks(name.as_str()));
    message_json::headers(&Headers::from(headers))
}

/// The message as it came from the platform, as far as the letter knows.
#[must_use]
pub fn original(letter: &Message) -> Value {
    let came = parcel::unpack(letter).map_or_else(|| parcel::bare(letter), |(message, _)| message);
    message_json::message(&came)
}
