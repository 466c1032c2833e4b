//! Messages as JSON, for people: the way back from what a bus delivers to what [`super::message_file`]
//! reads.
//!
//! Owns how headers, properties and bodies are written. Refuses to lose a header silently: what JSON
//! has no word for is written as a text. A body that is no UTF-8 is written in base64 under a key of
//! its own, which no message file has.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::domain::delivery::{HeaderValue, Headers, Message, Properties};

/// The message as `lockgate explain` and `lockgate send` read it, if its body is text.
#[must_use]
pub fn message(message: &Message) -> Value {
    let (key, body) = match std::str::from_utf8(&message.body) {
        Ok(text) => ("body", text.to_owned()),
        Err(_) => ("body_base64", STANDARD.encode(&message.body)),
    };
    let empty = Headers::default();
    json!({
        "exchange": message.exchange,
        "routing_key": message.routing_key,
        "headers": headers(message.properties.headers().as_ref().unwrap_or(&empty)),
        "properties": properties(&message.properties),
        key: body,
    })
}

/// A table of headers as an object.
#[must_use]
pub fn headers(table: &Headers) -> Value {
    let pairs = table.into_iter().map(|(name, value)| (name.to_string(), header(value)));
    Value::Object(pairs.collect())
}

/// One header's value.
#[must_use]
pub fn header(value: &HeaderValue) -> Value {
    match value {
        HeaderValue::Boolean(value) => json!(value),
        HeaderValue::ShortShortInt(value) => json!(value),
        HeaderValue::ShortShortUInt(value) => json!(value),
        HeaderValue::ShortInt(value) => json!(value),
        HeaderValue::ShortUInt(value) => json!(value),
        HeaderValue::LongInt(value) => json!(value),
        HeaderValue::LongUInt(value) => json!(value),
        HeaderValue::LongLongInt(value) => json!(value),
        HeaderValue::Timestamp(seconds) => json!(seconds),
        HeaderValue::Float(value) => number(f64::from(*value)),
        HeaderValue::Double(value) => number(*value),
        HeaderValue::DecimalValue(value) => json!(format!("{}e-{}", value.value, value.scale)),
        HeaderValue::ShortString(text) => json!(text.as_str()),
        HeaderValue::LongString(text) => json!(String::from_utf8_lossy(text.as_bytes())),
        HeaderValue::ByteArray(bytes) => json!(STANDARD.encode(bytes.as_slice())),
        HeaderValue::FieldArray(items) => items.as_slice().iter().map(header).collect(),
        HeaderValue::FieldTable(table) => headers(table),
        HeaderValue::Void => Value::Null,
    }
}

/// JSON has no word for infinity and for what is no number.
fn number(value: f64) -> Value {
    if value.is_finite() { json!(value) } else { json!(value.to_string()) }
}

/// The properties that are set, but for the headers.
fn properties(all: &Properties) -> Value {
    let mut map = Map::new();
    for (name, text) in [
        ("content_type", all.content_type()),
        ("content_encoding", all.content_encoding()),
        ("correlation_id", all.correlation_id()),
        ("reply_to", all.reply_to()),
        ("expiration", all.expiration()),
        ("message_id", all.message_id()),
        ("type", all.kind()),
        ("user_id", all.user_id()),
        ("app_id", all.app_id()),
        ("cluster_id", all.cluster_id()),
    ] {
        if let Some(text) = text {
            map.insert(name.into(), json!(text.as_str()));
        }
    }
    if let Some(mode) = all.delivery_mode() {
        map.insert("delivery_mode".into(), json!(mode));
    }
    if let Some(priority) = all.priority() {
        map.insert("priority".into(), json!(priority));
    }
    if let Some(seconds) = all.timestamp() {
        map.insert("timestamp".into(), json!(seconds));
    }
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lapin::types::DecimalValue;

    use super::*;
    use crate::logic::message_file;

    #[test]
    fn what_is_written_is_read_as_the_same_message() {
        let file = br#"{"exchange":"e","routing_key":"r","body":"{\"a\": 1.0}",
            "headers":{"s":"x","i":-5,"f":1.5,"b":true,"n":null,"l":[1,"x"],"t":{"k":"v"}},
            "properties":{"message_id":"m","type":"a/b","timestamp":1705314600,"reply_to":"q",
                "correlation_id":"c","app_id":"a","delivery_mode":2,"priority":3}}"#;
        let read = message_file::parse(file).unwrap();
        let written = message(&read).to_string();
        assert_eq!(message_file::parse(written.as_bytes()).unwrap(), read);
    }

    #[test]
    fn what_json_has_no_word_for_is_a_text() {
        for (value, wanted) in [
            (HeaderValue::Double(f64::INFINITY), json!("inf")),
            (HeaderValue::ByteArray(vec![0, 255].into()), json!("AP8=")),
            (HeaderValue::DecimalValue(DecimalValue { scale: 2, value: 314 }), json!("314e-2")),
            (HeaderValue::LongString(b"a\xff".to_vec().into()), json!("a\u{fffd}")),
        ] {
            assert_eq!(header(&value), wanted);
        }
        let binary = Message { body: Bytes::from_static(b"\xff"), ..Message::default() };
        let written = message(&binary);
        assert_eq!((&written["body_base64"], written.get("body")), (&json!("/w=="), None));
    }
}
