//! Message files: bus messages as JSON objects, as people write them for `explain` and `send`, and
//! as the samples are written.
//!
//! Owns the form `{exchange, routing_key, headers, properties, body}` and its conversion to what a
//! bus delivers. Refuses unknown keys. Read [`super::intake`] for what becomes of the message.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::moment;
use crate::domain::delivery::{HeaderValue, Headers, Message, Properties};

/// The longest exchange, routing key, header name and text of a property, in bytes.
pub const MAX_SHORT: usize = 255;

/// The keys of a message file.
pub const KEYS: [&str; 5] = ["exchange", "routing_key", "headers", "properties", "body"];

/// A file that is no message.
#[derive(Debug, thiserror::Error)]
pub enum BadMessageFile {
    /// Not JSON, or not of this form; says the line, and an unknown key by its name.
    #[error("no message file: {0}")]
    Form(String),
    /// The body is a number, a list, `null`, …
    #[error("body is neither a string nor an object")]
    Body,
    /// A text that AMQP has too little room for.
    #[error("{what} is {length} bytes long: AMQP allows {MAX_SHORT}")]
    TooLong {
        /// `exchange`, `property message_id`, …
        what: String,
        /// Its length in bytes.
        length: usize,
    },
    /// A number that no header can hold.
    #[error("header {0}: the number is too large for AMQP; write it as a string")]
    Number(String),
    /// No time.
    #[error("property timestamp is neither RFC 3339 nor a number of seconds since 1970")]
    Timestamp,
}

/// One of several messages in a file is none.
#[derive(Debug, thiserror::Error)]
#[error("message {number}: {cause}")]
pub struct BadMessage {
    /// Which one, counted from 1.
    pub number: usize,
    /// What is wrong with it. Where it says a line, that is a line of the whole file.
    pub cause: BadMessageFile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageFile<'a> {
    #[serde(default)]
    exchange: String,
    #[serde(default)]
    routing_key: String,
    #[serde(default)]
    headers: Map<String, Value>,
    #[serde(default)]
    properties: PropertiesFile,
    #[serde(borrow)]
    body: &'a RawValue,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PropertiesFile {
    content_type: Option<String>,
    content_encoding: Option<String>,
    delivery_mode: Option<u8>,
    priority: Option<u8>,
    correlation_id: Option<String>,
    reply_to: Option<String>,
    expiration: Option<String>,
    message_id: Option<String>,
    timestamp: Option<Value>,
    r#type: Option<String>,
    user_id: Option<String>,
    app_id: Option<String>,
    cluster_id: Option<String>,
}

/// The message in a file. Only `body` has to be there: a string is the body's text, an object is
/// the body as it is written, to the byte. A header may be any JSON value; the property `timestamp`
/// is RFC 3339 or seconds since 1970, the other properties as AMQP has them.
///
/// # Errors
/// When the file is not of this form, or AMQP cannot carry what it says.
pub fn parse(json: &[u8]) -> Result<Message, BadMessageFile> {
    message(serde_json::from_slice(json).map_err(form)?)
}

/// The messages in a file that holds any number of them, one after the other: one a line (NDJSON),
/// or each over several lines.
///
/// # Errors
/// Where the first one is that is not of the form of [`parse`].
pub fn parse_all(json: &[u8]) -> Result<Vec<Message>, BadMessage> {
    let files = serde_json::Deserializer::from_slice(json).into_iter::<MessageFile<'_>>();
    let messages = files.zip(1..).map(|(file, number)| {
        file.map_err(form).and_then(message).map_err(|cause| BadMessage { number, cause })
    });
    messages.collect()
}

/// Whether this is a message file, not the bare body of a message: an object with a `body` that is a
/// string or an object, and with nothing in it that no message has.
#[must_use]
pub fn is_message_file(json: &[u8]) -> bool {
    let object: Result<Map<String, Value>, _> = serde_json::from_slice(json);
    object.is_ok_and(|object| {
        object.get("body").is_some_and(|body| body.is_string() || body.is_object())
            && object.keys().all(|key| KEYS.contains(&key.as_str()))
    })
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn form(error: serde_json::Error) -> BadMessageFile {
    BadMessageFile::Form(error.to_string())
}

fn message(file: MessageFile<'_>) -> Result<Message, BadMessageFile> {
    let mut properties = properties(file.properties)?;
    if !file.headers.is_empty() {
        properties = properties.with_headers(headers(file.headers)?);
    }
    Ok(Message {
        exchange: short("exchange", file.exchange)?,
        routing_key: short("routing_key", file.routing_key)?,
        properties,
        body: body(file.body.get())?,
        redelivered: false,
    })
}

fn body(written: &str) -> Result<Bytes, BadMessageFile> {
    match written.as_bytes().first() {
        Some(b'"') => Ok(serde_json::from_str::<String>(written).map_err(form)?.into()),
        Some(b'{') => Ok(Bytes::copy_from_slice(written.as_bytes())),
        _ => Err(BadMessageFile::Body),
    }
}

/// A text that AMQP has room for.
fn short(what: &str, text: String) -> Result<String, BadMessageFile> {
    match text.len() {
        0..=MAX_SHORT => Ok(text),
        length => Err(BadMessageFile::TooLong { what: what.into(), length }),
    }
}

fn properties(file: PropertiesFile) -> Result<Properties, BadMessageFile> {
    let mut all = Properties::default();
    macro_rules! texts {
        ($($field:ident $with:ident),*) => { $(
            if let Some(text) = file.$field {
                let what = concat!("property ", stringify!($field)).replace("r#", "");
                all = all.$with(short(&what, text)?.into());
            }
        )* };
    }
    texts!(
        content_type with_content_type, content_encoding with_content_encoding,
        correlation_id with_correlation_id, reply_to with_reply_to, expiration with_expiration,
        message_id with_message_id, r#type with_type, user_id with_user_id,
        app_id with_app_id, cluster_id with_cluster_id
    );
    if let Some(mode) = file.delivery_mode {
        all = all.with_delivery_mode(mode);
    }
    if let Some(priority) = file.priority {
        all = all.with_priority(priority);
    }
    if let Some(time) = file.timestamp {
        all = all.with_timestamp(seconds(&time).ok_or(BadMessageFile::Timestamp)?);
    }
    Ok(all)
}

fn seconds(time: &Value) -> Option<u64> {
    match time {
        Value::String(text) => u64::try_from(moment::parse(text)?.as_second()).ok(),
        other => other.as_u64(),
    }
}

fn headers(file: Map<String, Value>) -> Result<Headers, BadMessageFile> {
    let mut table = Headers::default();
    for (name, value) in file {
        let value = header(&name, value)?;
        table.insert(short("the name of a header", name)?.into(), value);
    }
    Ok(table)
}

/// A header's value. The parser has bounded how deep it is nested.
fn header(name: &str, value: Value) -> Result<HeaderValue, BadMessageFile> {
    Ok(match value {
        Value::Null => HeaderValue::Void,
        Value::Bool(value) => HeaderValue::Boolean(value),
        Value::String(text) => HeaderValue::LongString(text.into()),
        Value::Array(items) => {
            let items: Result<Vec<_>, _> =
                items.into_iter().map(|item| header(name, item)).collect();
            HeaderValue::FieldArray(items?.into())
        }
        Value::Object(fields) => HeaderValue::FieldTable(headers(fields)?),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => HeaderValue::LongLongInt(whole),
            (None, Some(float)) if float.is_finite() && !number.is_u64() => {
                HeaderValue::Double(float)
            }
            _ => return Err(BadMessageFile::Number(name.into())),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_file_becomes_the_message_that_it_describes() {
        let file = br#"{"exchange":"e","routing_key":"r","body":"{\"a\":1}",
            "headers":{"s":"x","i":-5,"f":1.5,"b":true,"n":null,"l":[1,"x"],"t":{"k":"v"}},
            "properties":{"message_id":"m","type":"a/b","timestamp":"2024-01-15T10:30:00Z",
                "correlation_id":"c","app_id":"a","delivery_mode":2,"priority":3}}"#;
        let message = parse(file).expect("a message");
        assert_eq!((message.exchange.as_str(), message.routing_key.as_str()), ("e", "r"));
        assert_eq!(message.body, r#"{"a":1}"#);
        let text = |text: &str| HeaderValue::LongString(text.into());
        let check = |name: &str, wanted: HeaderValue| {
            assert_eq!(message.header(name), Some(&wanted), "{name}");
        };
        check("s", text("x"));
        check("i", HeaderValue::LongLongInt(-5));
        check("f", HeaderValue::Double(1.5));
        check("b", HeaderValue::Boolean(true));
        check("n", HeaderValue::Void);
        check("l", HeaderValue::FieldArray(vec![HeaderValue::LongLongInt(1), text("x")].into()));
        let mut table = Headers::default();
        table.insert("k".into(), text("v"));
        check("t", HeaderValue::FieldTable(table));
        let properties = &message.properties;
        assert_eq!(*properties.message_id(), Some("m".into()));
        assert_eq!(*properties.kind(), Some("a/b".into()));
        assert_eq!(*properties.timestamp(), Some(1_705_314_600));
        assert_eq!((*properties.delivery_mode(), *properties.priority()), (Some(2), Some(3)));
    }

    #[test]
    fn only_the_body_has_to_be_there() {
        let message = parse(br#"{"body":"x","properties":{"timestamp":7}}"#).expect("a message");
        assert_eq!((message.body.as_ref(), message.exchange.as_str()), (&b"x"[..], ""));
        assert_eq!(*message.properties.timestamp(), Some(7));
    }

    #[test]
    fn a_body_that_is_an_object_stays_as_it_is_written() {
        let message = parse(br#"{"body": {"n":1.0,  "a":[], "b":"\u00e4"} }"#).expect("a message");
        assert_eq!(message.body, r#"{"n":1.0,  "a":[], "b":"\u00e4"}"#);
        assert_eq!(message.properties, Properties::default());
    }

    #[test]
    fn several_messages_stand_one_after_the_other_however_they_are_laid_out() {
        let check = |file: &str, bodies: &[&str]| {
            let messages = parse_all(file.as_bytes()).expect(file);
            let found: Vec<&[u8]> = messages.iter().map(|message| &*message.body).collect();
            assert_eq!(found, bodies.iter().map(|body| body.as_bytes()).collect::<Vec<_>>());
        };
        check("", &[]);
        check("\n \r\n", &[]);
        check(r#"{"body":"a"}"#, &["a"]);
        check("{\"body\":\"a\"}\n\n{\"body\":{}}\r\n", &["a", "{}"]);
        check("{\n  \"body\": {\n }\n}\n{\"body\":\"b\"}", &["{\n }", "b"]);
    }

    #[test]
    fn the_first_of_several_that_is_no_message_is_told() {
        let check = |second: &str, wanted: &[&str]| {
            let file = format!("{{\"body\":\"a\"}}\n{second}\n{{\"body\":1}}");
            let error = parse_all(file.as_bytes()).expect_err(second).to_string();
            assert!(wanted.iter().all(|part| error.contains(part)), "{error}");
        };
        check("[]", &["message 2: no message file: ", "line 2"]);
        check("{\"bodi\":\"\"}", &["message 2: ", "unknown field `bodi`", "line 2"]);
        check("{\"body\":7}", &["message 2: body is neither a string nor an object"]);
        check("{\"body\":{}}", &["message 3: body is neither"]);
    }

    #[test]
    fn a_bare_body_is_told_from_a_message_file() {
        let check =
            |json: &str, wanted| assert_eq!(is_message_file(json.as_bytes()), wanted, "{json}");
        check(r#"{"body":"x"}"#, true);
        check(r#"{"exchange":"e","body":{"a":1}}"#, true);
        check(r#"{"body":"x","batch":"b"}"#, false);
        check(r#"{"body":1}"#, false);
        check(r#"{"exchange":"e"}"#, false);
        check("[]", false);
        check("x", false);
    }

    #[test]
    fn what_is_no_message_file_is_refused_with_the_reason() {
        let check = |file: &str, wanted: &str| {
            let error = parse(file.as_bytes()).expect_err(file).to_string();
            assert!(error.contains(wanted), "{error}");
        };
        let long = "x".repeat(256);
        check("", "no message file");
        check("{}", "missing field `body`");
        check(r#"{"body":"","bodi":""}"#, "unknown field `bodi`");
        check(r#"{"body":[{}]}"#, "body is neither a string nor an object");
        check(r#"{"body":null}"#, "body is neither a string nor an object");
        check(r#"{"body":"\ud800"}"#, "no message file");
        check(r#"{"body":"","properties":{"typ":""}}"#, "unknown field `typ`");
        check(r#"{"body":"","properties":{"timestamp":"noon"}}"#, "property timestamp");
        check(r#"{"body":"","properties":{"timestamp":-1}}"#, "property timestamp");
        check(r#"{"body":"","headers":{"n":12345678901234567890}}"#, "header n: the number");
        check(&format!(r#"{{"body":"","exchange":"{long}"}}"#), "exchange is 256 bytes long");
        check(&format!(r#"{{"body":"","properties":{{"type":"{long}"}}}}"#), "property type is");
        check(&format!(r#"{{"body":"","headers":{{"{long}":1}}}}"#), "the name of a header");
    }
}
