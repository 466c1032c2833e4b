//! Parcels: how a bus message is kept in lockgate's own queues, and read from them again.
//!
//! Owns the `lockgate-*` headers. A parcel is the message as it came, body and properties, with
//! these headers added; everything with which RabbitMQ would send it astray is taken off. Refuses
//! to decide where a parcel goes: that is [`super::retry`]. Read [`super::frame`] next.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};

use super::frame::DROPPED;
use crate::domain::delivery::{HeaderValue, Message, Properties};

/// The longest `lockgate-last-error`, in bytes.
const MAX_ERROR: usize = 512;
/// The longest of the other texts, in bytes. All headers of a message go in one frame, which
/// RabbitMQ bounds to 128 KiB: a larger one ends the connection, and everything else on it.
const MAX_TEXT: usize = 1_024;
/// What every header of ours begins with.
pub(super) const OURS: &str = "lockgate-";
/// Written by RabbitMQ; a kept `x-death` makes a message stick in a delay queue for ever.
const ASTRAY: [&str; 5] =
    ["x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-count"];

/// What is known of a route when its event is parked or dead-lettered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The event's id. Not kept when it is longer than a KiB: then a parcel's is empty, and the id
    /// is found in the message again.
    pub event_id: String,
    /// The event's type, raw; its first KiB in a parcel. Likewise the trigger and the reason.
    pub event_type: String,
    /// The event's trigger, raw.
    pub event_trigger: String,
    /// The event configuration that sent it to the endpoint.
    pub configuration: String,
    /// Attempts made so far.
    pub attempts: u32,
    /// How often an attempt of this event took its endpoint actor down.
    pub panics: u32,
    /// When lockgate first saw the event.
    pub received_at: Timestamp,
    /// When the first attempt ended.
    pub first_attempt_at: Option<Timestamp>,
    /// When the last attempt ended.
    pub last_attempt_at: Option<Timestamp>,
    /// Why it is parked or dead: a short constant word.
    pub reason: String,
    /// The last failure in words; no secret.
    pub last_error: String,
}

/// The parcel for a message: put it into a queue of ours at `parked_at`.
#[must_use]
pub fn pack(message: &Message, record: &Record, parked_at: Timestamp) -> Message {
    let mut headers = foreign_headers(&message.properties);
    let mut put = |name: &str, value: AMQPValue| {
        headers.insert(ShortString::from(format!("{OURS}{name}")), value);
    };
    if record.event_id.len() <= MAX_TEXT {
        put("event-id", text(&record.event_id));
    }
    put("event-type", text(bounded(&record.event_type, MAX_TEXT)));
    put("event-trigger", text(bounded(&record.event_trigger, MAX_TEXT)));
    put("configuration", text(&record.configuration));
    put("attempts", AMQPValue::LongUInt(record.attempts));
    put("panics", AMQPValue::LongUInt(record.panics));
    put("received-at", time(record.received_at));
    if let Some(at) = record.first_attempt_at {
        put("first-attempt-at", time(at));
    }
    if let Some(at) = record.last_attempt_at {
        put("last-attempt-at", time(at));
    }
    put("parked-at", time(parked_at));
    put("reason", text(bounded(&record.reason, MAX_TEXT)));
    if !record.last_error.is_empty() {
        put("last-error", text(bounded(&record.last_error, MAX_ERROR)));
    }
    put("source-exchange", text(&message.exchange));
    put("source-routing-key", text(&message.routing_key));
    with_headers(message, headers)
}

/// A rejected message: as it came, with the reason.
#[must_use]
pub fn reject(message: &Message, reason: &str) -> Message {
    let mut headers = foreign_headers(&message.properties);
    headers.insert(ShortString::from(format!("{OURS}reason")), text(bounded(reason, MAX_ERROR)));
    headers.insert(ShortString::from(format!("{OURS}source-exchange")), text(&message.exchange));
    headers
        .insert(ShortString::from(format!("{OURS}source-routing-key")), text(&message.routing_key));
    with_headers(message, headers)
}

/// A parcel to be stored once more as it is: only what would send it astray is taken off.
#[must_use]
pub fn again(parcel: &Message) -> Message {
    with_headers(parcel, headers_that(&parcel.properties, |name| !leads_astray(name)))
}

/// A message without anything of ours on it, and without what would send it astray.
#[must_use]
pub fn bare(message: &Message) -> Message {
    with_headers(message, foreign_headers(&message.properties))
}

/// A parcel with another reason and, where one is given, another time at which it was stored.
#[must_use]
pub fn marked(parcel: &Message, reason: &str, parked_at: Option<Timestamp>) -> Message {
    let mut headers = headers_that(&parcel.properties, |_| true);
    headers.insert(ShortString::from(format!("{OURS}reason")), text(bounded(reason, MAX_TEXT)));
    if let Some(at) = parked_at {
        headers.insert(ShortString::from(format!("{OURS}parked-at")), time(at));
    }
    with_headers(parcel, headers)
}

/// The message in a parcel as it came from the platform, and its record; `None` when it is no
/// parcel of ours.
#[must_use]
pub fn unpack(parcel: &Message) -> Option<(Message, Record)> {
    let record = Record {
        event_id: read_text(parcel, "event-id").unwrap_or_default(),
        event_type: read_text(parcel, "event-type")?,
        event_trigger: read_text(parcel, "event-trigger")?,
        configuration: read_text(parcel, "configuration").unwrap_or_default(),
        attempts: read_count(parcel, "attempts"),
        panics: read_count(parcel, "panics"),
        received_at: read_time(parcel, "received-at")?,
        first_attempt_at: read_time(parcel, "first-attempt-at"),
        last_attempt_at: read_time(parcel, "last-attempt-at"),
        reason: read_text(parcel, "reason").unwrap_or_default(),
        last_error: read_text(parcel, "last-error").unwrap_or_default(),
    };
    let message = Message {
        exchange: read_text(parcel, "source-exchange").unwrap_or_default(),
        routing_key: read_text(parcel, "source-routing-key").unwrap_or_default(),
        properties: bare(parcel).properties,
        body: parcel.body.clone(),
        redelivered: parcel.redelivered,
    };
    Some((message, record))
}

/// Tells messages apart across redeliveries: 128 bits of SHA-256 over event id, exchange, routing
/// key and body, each preceded by its length.
#[must_use]
pub fn identity(event_id: &str, message: &Message) -> u128 {
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    let parts: [&[u8]; 4] = [
        event_id.as_bytes(),
        message.exchange.as_bytes(),
        message.routing_key.as_bytes(),
        &message.body,
    ];
    for part in parts {
        digest.update(&(part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let digest = digest.finish();
    digest.as_ref().iter().take(16).fold(0, |sum, byte| (sum << 8) | u128::from(*byte))
}

/// The time at which a parcel was put into its queue.
#[must_use]
pub fn parked_at(parcel: &Message) -> Option<Timestamp> {
    read_time(parcel, "parked-at")
}

/// The headers that are neither ours nor RabbitMQ's own, and the one that names what was left off.
fn foreign_headers(properties: &Properties) -> BTreeMap<ShortString, HeaderValue> {
    // What was left off stays told, however often the event is parked again.
    let ours = |name: &str| name.starts_with(OURS) && name != DROPPED;
    headers_that(properties, |name| !leads_astray(name) && !ours(name))
}

fn leads_astray(name: &str) -> bool {
    ASTRAY.iter().any(|prefix| name.starts_with(prefix)) || name == "CC" || name == "BCC"
}

fn headers_that(
    properties: &Properties,
    wanted: impl Fn(&str) -> bool,
) -> BTreeMap<ShortString, HeaderValue> {
    let Some(headers) = properties.headers() else { return BTreeMap::new() };
    let wanted = headers.into_iter().filter(|(name, _)| wanted(name.as_str()));
    wanted.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The message with these headers, without expiry and user, and stored on disk.
fn with_headers(message: &Message, headers: BTreeMap<ShortString, HeaderValue>) -> Message {
    let old = &message.properties;
    let mut new = Properties::default().with_delivery_mode(2);
    let keep = |value: &Option<ShortString>| value.clone();
    if let Some(value) = keep(old.content_type()) {
        new = new.with_content_type(value);
    }
    if let Some(value) = keep(old.content_encoding()) {
        new = new.with_content_encoding(value);
    }
    if let Some(value) = *old.priority() {
        new = new.with_priority(value);
    }
    if let Some(value) = keep(old.correlation_id()) {
        new = new.with_correlation_id(value);
    }
    if let Some(value) = keep(old.reply_to()) {
        new = new.with_reply_to(value);
    }
    if let Some(value) = keep(old.message_id()) {
        new = new.with_message_id(value);
    }
    if let Some(value) = *old.timestamp() {
        new = new.with_timestamp(value);
    }
    if let Some(value) = keep(old.kind()) {
        new = new.with_type(value);
    }
    if let Some(value) = keep(old.app_id()) {
        new = new.with_app_id(value);
    }
    if let Some(value) = keep(old.cluster_id()) {
        new = new.with_cluster_id(value);
    }
    if !headers.is_empty() {
        new = new.with_headers(FieldTable::from(headers));
    }
    Message { properties: new, redelivered: false, ..message.clone() }
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value))
}

fn time(at: Timestamp) -> AMQPValue {
    text(&format!("{at:.3}"))
}

fn bounded(value: &str, most: usize) -> &str {
    value.get(..value.floor_char_boundary(most)).unwrap_or(value)
}

pub(super) fn read_text(parcel: &Message, name: &str) -> Option<String> {
    match parcel.header(&format!("{OURS}{name}"))? {
        AMQPValue::LongString(value) => String::from_utf8(value.as_bytes().to_vec()).ok(),
        AMQPValue::ShortString(value) => Some(value.as_str().to_owned()),
        _ => None,
    }
}

pub(super) fn read_count(parcel: &Message, name: &str) -> u32 {
    match parcel.header(&format!("{OURS}{name}")) {
        Some(AMQPValue::LongUInt(count)) => *count,
        Some(AMQPValue::LongInt(count)) => u32::try_from(*count).unwrap_or(0),
        Some(AMQPValue::LongLongInt(count)) => u32::try_from(*count).unwrap_or(0),
        _ => 0,
    }
}

pub(super) fn read_time(parcel: &Message, name: &str) -> Option<Timestamp> {
    read_text(parcel, name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn record() -> Record {
        Record {
            event_id: "e-1".into(),
            event_type: "Batch".into(),
            event_trigger: "batch_run_status".into(),
            configuration: "batch-status".into(),
            attempts: 3,
            panics: 1,
            received_at: "2026-06-18T00:00:00.125Z".parse().unwrap(),
            first_attempt_at: Some("2026-06-18T00:00:01Z".parse().unwrap()),
            last_attempt_at: Some("2026-06-18T00:00:02Z".parse().unwrap()),
            reason: "timeout".into(),
            last_error: "no answer".into(),
        }
    }

    fn message() -> Message {
        let mut headers = FieldTable::default();
        headers.insert("X-Plant".into(), AMQPValue::LongLongInt(7));
        headers.insert("x-death".into(), AMQPValue::FieldArray(Vec::new().into()));
        headers.insert("x-first-death-queue".into(), text("q"));
        headers.insert("x-delivery-count".into(), AMQPValue::LongLongInt(7));
        headers.insert("CC".into(), AMQPValue::FieldArray(Vec::new().into()));
        headers.insert("lockgate-attempts".into(), AMQPValue::LongUInt(99));
        Message {
            exchange: "Batch".into(),
            routing_key: "batch_run_status".into(),
            properties: Properties::default()
                .with_headers(headers)
                .with_message_id("m-1".into())
                .with_content_type("application/json".into())
                .with_expiration("1000".into())
                .with_user_id("guest".into())
                .with_type("Batch".into())
                .with_timestamp(5),
            body: Bytes::from_static(b"{ \"a\" : 1.0 }"),
            redelivered: true,
        }
    }

    #[test]
    fn what_is_packed_can_be_unpacked() {
        let at = "2026-06-18T00:00:03Z".parse().unwrap();
        let parcel = pack(&message(), &record(), at);
        let (back, read) = unpack(&parcel).unwrap();
        assert_eq!(read, record());
        assert_eq!(parked_at(&parcel), Some(at));
        assert_eq!(back.body, message().body);
        assert_eq!(
            (back.exchange.as_str(), back.routing_key.as_str()),
            ("Batch", "batch_run_status")
        );
        assert_eq!(back.properties.message_id().as_ref().map(ShortString::as_str), Some("m-1"));
        assert_eq!(back.header("X-Plant"), Some(&AMQPValue::LongLongInt(7)));
        assert_eq!(back.properties.headers().as_ref().map(|h| h.inner().len()), Some(1));
    }

    #[test]
    fn nothing_that_sends_a_message_astray_is_kept() {
        for parcel in [pack(&message(), &record(), Timestamp::UNIX_EPOCH), reject(&message(), "no")]
        {
            for name in ["x-death", "x-first-death-queue", "x-delivery-count", "CC"] {
                assert_eq!(parcel.header(name), None, "{name}");
            }
            assert_eq!(parcel.properties.expiration(), &None);
            assert_eq!(parcel.properties.user_id(), &None);
            assert_eq!(parcel.properties.delivery_mode(), &Some(2));
        }
    }

    #[test]
    fn a_rejected_message_keeps_its_bytes_and_says_why() {
        let parcel = reject(&message(), "not JSON");
        assert_eq!(parcel.body, message().body);
        assert_eq!(read_text(&parcel, "reason").as_deref(), Some("not JSON"));
        assert_eq!(parcel.header("lockgate-attempts"), None);
    }

    #[test]
    fn a_long_error_is_cut_between_characters() {
        let long = Record { last_error: "ü".repeat(400), ..record() };
        let parcel = pack(&message(), &long, Timestamp::UNIX_EPOCH);
        assert_eq!(read_text(&parcel, "last-error").map(|e| e.len()), Some(512));
    }

    #[test]
    fn what_is_added_stays_far_below_a_frame_however_long_an_event_names_itself() {
        let long = || "x".repeat(900_000);
        let (event_id, event_type, event_trigger, reason) = (long(), long(), long(), long());
        let record = Record { event_id, event_type, event_trigger, reason, ..record() };
        let parcel = pack(&message(), &record, Timestamp::UNIX_EPOCH);
        let texts = parcel.properties.headers().as_ref().unwrap().inner().values();
        let size =
            |value: &HeaderValue| value.as_long_string().map_or(0, |text| text.as_bytes().len());
        assert!(texts.map(size).sum::<usize>() < 8_000);
        let (_, read) = unpack(&parcel).unwrap();
        assert_eq!((read.event_id.as_str(), read.event_type.len()), ("", 1_024));
    }

    #[test]
    fn a_message_without_our_headers_is_no_parcel() {
        assert!(unpack(&message()).is_none());
    }
}
