//! Floor 6: sample events, as messages that a platform would publish; and the written form of a
//! message, one JSON object: `exchange routing_key headers properties body`.
//!
//! Owns `config/samples.ndjson`, which is compiled in: every known kind, named events, and each way
//! in which a platform says what a message is about. Refuses to publish them, and has no clock: a
//! sample's identity and time come in as arguments. Read [`crate::logic::intake`] next.

use std::collections::BTreeMap;

use bytes::Bytes;
use lapin::types::{FieldArray, FieldTable, LongString, ShortString};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::domain::delivery::{HeaderValue, Headers, Message, Properties};

/// The samples as a file: one object a line.
pub const NDJSON: &str = include_str!("../config/samples.ndjson");

/// How every sample's id begins in the file; twelve digits follow.
const ID: &str = "5a3b1e00-0000-4000-8000-";
/// The digits that follow.
const ID_DIGITS: usize = 12;
/// When every sample happened, in the file, and the same in seconds.
const TIME: &str = "2026-06-18T06:00:00.000Z";
const SECONDS: &str = "1781762400";

/// A text that is no message in the written form.
#[derive(Debug, thiserror::Error)]
pub enum NotAMessage {
    /// It is no such object.
    #[error("no object of exchange, routing_key, headers, properties and body")]
    Object(#[source] serde_json::Error),
    /// A name or a property is longer than AMQP can carry.
    #[error("{0} is longer than 255 bytes")]
    TooLong(String),
}

/// How many samples there are.
#[must_use]
pub fn count() -> usize {
    lines().count()
}

/// Every sample as it stands in the file.
///
/// # Errors
/// Never for the samples that are compiled in, which a test asserts.
pub fn all() -> Result<Vec<Message>, NotAMessage> {
    lines().map(message).collect()
}

/// Sample `n`, counted round and round, as something new: with this id and this time wherever the
/// original has its own. The id is plain text without quotation marks or backslashes.
///
/// # Errors
/// When the id breaks the sample's JSON or is too long for a property.
pub fn sample(n: usize, id: &str, at: jiff::Timestamp) -> Result<Message, NotAMessage> {
    let line = lines().nth(n % count().max(1)).unwrap_or_default();
    let mut fresh =
        line.replace(TIME, &format!("{at:.3}")).replace(SECONDS, &at.as_second().to_string());
    while let Some(at) = fresh.find(ID) {
        fresh.replace_range(at..at + ID.len() + ID_DIGITS, id);
    }
    message(&fresh)
}

fn lines() -> impl Iterator<Item = &'static str> {
    NDJSON.lines().filter(|line| !line.trim().is_empty())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<'a> {
    #[serde(default)]
    exchange: String,
    #[serde(default)]
    routing_key: String,
    #[serde(default)]
    headers: BTreeMap<String, Value>,
    #[serde(default)]
    properties: WrittenProperties,
    #[serde(borrow)]
    body: &'a RawValue,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenProperties {
    content_type: Option<String>,
    content_encoding: Option<String>,
    delivery_mode: Option<u8>,
    priority: Option<u8>,
    correlation_id: Option<String>,
    reply_to: Option<String>,
    expiration: Option<String>,
    message_id: Option<String>,
    timestamp: Option<u64>,
    #[serde(rename = "type")]
    kind: Option<String>,
    user_id: Option<String>,
    app_id: Option<String>,
}

/// The message that a text describes. A `body` that is a string is the body's text; anything else
/// is the body as it is written.
///
/// # Errors
/// When the text is no such object, or holds what AMQP cannot carry.
pub fn message(text: &str) -> Result<Message, NotAMessage> {
    let written: Written<'_> = serde_json::from_str(text).map_err(NotAMessage::Object)?;
    let raw = written.body.get();
    let body = if raw.starts_with('"') {
        Bytes::from(serde_json::from_str::<String>(raw).map_err(NotAMessage::Object)?)
    } else {
        Bytes::copy_from_slice(raw.as_bytes())
    };
    let mut properties = properties(written.properties)?;
    if !written.headers.is_empty() {
        properties = properties.with_headers(table(&written.headers)?);
    }
    short("exchange", &written.exchange)?;
    short("routing_key", &written.routing_key)?;
    let Written { exchange, routing_key, .. } = written;
    Ok(Message { exchange, routing_key, properties, body, redelivered: false })
}

fn properties(written: WrittenProperties) -> Result<Properties, NotAMessage> {
    type Setter = fn(Properties, ShortString) -> Properties;
    let texts: [(&str, Option<String>, Setter); 9] = [
        ("content_type", written.content_type, Properties::with_content_type),
        ("content_encoding", written.content_encoding, Properties::with_content_encoding),
        ("correlation_id", written.correlation_id, Properties::with_correlation_id),
        ("reply_to", written.reply_to, Properties::with_reply_to),
        ("expiration", written.expiration, Properties::with_expiration),
        ("message_id", written.message_id, Properties::with_message_id),
        ("type", written.kind, Properties::with_type),
        ("user_id", written.user_id, Properties::with_user_id),
        ("app_id", written.app_id, Properties::with_app_id),
    ];
    let mut properties = Properties::default();
    for (name, text, set) in texts {
        if let Some(text) = text {
            properties = set(properties, short(name, &text)?);
        }
    }
    if let Some(mode) = written.delivery_mode {
        properties = properties.with_delivery_mode(mode);
    }
    if let Some(priority) = written.priority {
        properties = properties.with_priority(priority);
    }
    if let Some(seconds) = written.timestamp {
        properties = properties.with_timestamp(seconds);
    }
    Ok(properties)
}

fn short(name: &str, text: &str) -> Result<ShortString, NotAMessage> {
    ShortString::try_new(text).map_err(|_| NotAMessage::TooLong(name.to_owned()))
}

fn table(headers: &BTreeMap<String, Value>) -> Result<Headers, NotAMessage> {
    let mut table = FieldTable::default();
    for (name, value) in headers {
        table.insert(short("a header's name", name)?, header(value)?);
    }
    Ok(table)
}

fn header(value: &Value) -> Result<HeaderValue, NotAMessage> {
    Ok(match value {
        Value::Null => HeaderValue::Void,
        Value::Bool(flag) => HeaderValue::Boolean(*flag),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => HeaderValue::LongLongInt(whole),
            None => HeaderValue::Double(number.as_f64().unwrap_or(f64::MAX)),
        },
        Value::String(text) => HeaderValue::LongString(LongString::from(text.as_str())),
        Value::Array(values) => {
            let values = values.iter().map(header).collect::<Result<Vec<_>, _>>()?;
            HeaderValue::FieldArray(FieldArray::from(values))
        }
        Value::Object(values) => {
            let values = values.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
            HeaderValue::FieldTable(table(&values)?)
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn there_are_a_few_dozen_samples_and_each_is_a_message() {
        let all = all().unwrap();
        assert!(all.len() >= 36, "{}", all.len());
        assert_eq!(all.len(), count());
        for message in &all {
            let body: Value = serde_json::from_slice(&message.body).unwrap();
            assert!(body.is_object(), "{body}");
        }
    }

    #[test]
    fn every_line_has_one_id_of_its_own_and_a_time() {
        let mut ids = BTreeSet::new();
        for line in lines() {
            let found: BTreeSet<&str> = line
                .match_indices(ID)
                .map(|(at, _)| &line[at..at + ID.len() + ID_DIGITS])
                .collect();
            assert_eq!(found.len(), 1, "{line}");
            ids.extend(found);
            assert!(line.contains(TIME) || line.contains(SECONDS), "{line}");
        }
        assert_eq!(ids.len(), count());
    }

    /// Everything in a message that may tell its identity and its time.
    fn told(message: &Message) -> String {
        let properties = &message.properties;
        let mut text = format!("{:?} {:?} ", properties.message_id(), properties.timestamp());
        text += std::str::from_utf8(&message.body).unwrap();
        let headers = properties.headers().iter().flat_map(FieldTable::inner);
        for (_, value) in headers {
            let HeaderValue::LongString(value) = value else { panic!("{value:?}") };
            text += std::str::from_utf8(value.as_bytes()).unwrap();
        }
        text
    }

    #[test]
    fn a_sample_comes_round_again_with_another_id_and_time() {
        let at: jiff::Timestamp = "2027-01-02T03:04:05.678901Z".parse().unwrap();
        for n in 0..count() * 2 {
            let id = format!("id-{n}");
            let fresh = sample(n, &id, at).unwrap();
            let text = told(&fresh);
            assert!(text.contains(&id), "{text}");
            assert!(
                !text.contains(ID) && !text.contains(TIME) && !text.contains(SECONDS),
                "{text}"
            );
            assert!(
                text.contains("2027-01-02T03:04:05.678Z") || text.contains("1798859045"),
                "{text}"
            );
            let original = &all().unwrap()[n % count()];
            assert_eq!(fresh.exchange, original.exchange);
            assert_eq!(fresh.routing_key, original.routing_key);
        }
    }

    #[test]
    fn every_part_of_the_written_form_arrives() {
        let message = message(
            r#"{"exchange": "e", "routing_key": "k", "headers": {"a": "x", "b": 1, "c": 1.5, "d": true,
                "e": null, "f": [1], "g": {"h": "y"}}, "properties": {"message_id": "m", "type": "t",
                "timestamp": 7, "delivery_mode": 2, "priority": 3, "app_id": "p"},
                "body": {"n":1.0,  "a":[]}}"#,
        )
        .unwrap();
        assert_eq!((message.exchange.as_str(), message.routing_key.as_str()), ("e", "k"));
        assert_eq!(message.body, r#"{"n":1.0,  "a":[]}"#);
        assert_eq!(message.header("a"), Some(&HeaderValue::LongString("x".into())));
        assert_eq!(message.header("b"), Some(&HeaderValue::LongLongInt(1)));
        assert_eq!(message.header("c"), Some(&HeaderValue::Double(1.5)));
        assert_eq!(message.header("d"), Some(&HeaderValue::Boolean(true)));
        assert_eq!(message.header("e"), Some(&HeaderValue::Void));
        let HeaderValue::FieldTable(inner) = message.header("g").unwrap() else { panic!() };
        assert_eq!(inner.inner().get("h"), Some(&HeaderValue::LongString("y".into())));
        let properties = &message.properties;
        assert_eq!(properties.message_id().as_ref().map(ShortString::as_str), Some("m"));
        assert_eq!(properties.kind().as_ref().map(ShortString::as_str), Some("t"));
        assert_eq!((*properties.timestamp(), *properties.delivery_mode()), (Some(7), Some(2)));
        assert_eq!(properties.app_id().as_ref().map(ShortString::as_str), Some("p"));
    }

    #[test]
    fn a_text_that_is_no_message_is_refused_with_its_reason() {
        let refused = |text: &str| message(text).unwrap_err().to_string();
        assert!(refused("[]").contains("no object of exchange"));
        assert!(refused(r#"{"exchange": "e"}"#).contains("no object of exchange"));
        assert!(refused(r#"{"body": {}, "header": {}}"#).contains("no object of exchange"));
        let long = format!(r#"{{"routing_key": "{}", "body": {{}}}}"#, "k".repeat(256));
        assert!(refused(&long).contains("routing_key is longer"));
    }
}
