//! Intake: what of a bus message is an event, and with which attributes.
//!
//! Owns the two shapes, the search for every attribute and the reasons for which a message is no
//! event. Refuses to change a byte: an event's payload is a slice of the bus body. Read
//! [`super::attribute`] for the orders of sources, [`super::json`] for the look into the body,
//! and [`super::routing`] next.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeMap;

use jiff::Timestamp;

use super::attribute::{Place, property};
use super::json::{self, Object};
use super::moment;
use crate::domain::delivery::{HeaderValue, Message};
use crate::domain::event::{CONTEXT_FIELDS, Context, Event, Organization, Shape};

pub use super::attribute::{Attribute, AttributeSource, BadAttributeSource};

/// How deep objects and arrays of an event may be nested, the outer object counted.
pub const MAX_DEPTH: usize = 128;
/// Who made an event that does not say so.
pub const CREATED_BY: &str = "System Auto Execution";

/// What intake needs of the configuration.
#[derive(Clone, Debug)]
pub struct IntakeSettings {
    /// Orders of one's own, by the attribute's name; an attribute that is not here has the
    /// contract's order.
    pub attributes: BTreeMap<String, Vec<AttributeSource>>,
    /// Where an event names no organization of its own.
    pub organization: Organization,
    /// Where an event names no environment: `source.environment`, else the `--env` name.
    pub environment: String,
    /// Larger bodies are rejected.
    pub max_event_bytes: u64,
}

/// Why a message is no event. Holds nothing of its body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Rejection(pub String);

impl From<&str> for Rejection {
    fn from(reason: &str) -> Self {
        Self(reason.into())
    }
}

/// The event in a message. `received_at` is the time of first receipt.
///
/// An order of one's own replaces the contract's, except that a named event's parts come before
/// every other source of type and trigger, and that what the contract names at last stays: the
/// digest, `received_at`, the configuration. A pointer to an id looks into the body of a named
/// event and then into its `data` before the next source is asked. Half a surrogate pair in a
/// string is taken as U+FFFD.
///
/// # Errors
/// When the message is no event.
pub fn intake(
    message: &Message,
    settings: &IntakeSettings,
    received_at: Timestamp,
) -> Result<Event, Rejection> {
    let text = readable(message, settings.max_event_bytes)?;
    let body = Object::parse(text).map_err(not_json)?;
    let search = Search::new(message, settings, body);
    let (event_type, event_trigger) = search.kind()?;
    let or_else = |attribute, last: &str| {
        search.text(attribute).map_or_else(|| last.to_owned(), Cow::into_owned)
    };
    Ok(Event {
        id: search.text(Attribute::Id).map_or_else(|| digest(message), Cow::into_owned),
        event_type,
        event_trigger,
        created_at: moment::format(search.created_at().unwrap_or(received_at)),
        created_by: or_else(Attribute::CreatedBy, CREATED_BY),
        organization: Organization {
            id: or_else(Attribute::OrganizationId, &settings.organization.id),
            name: or_else(Attribute::OrganizationName, &settings.organization.name),
            url: or_else(Attribute::OrganizationUrl, &settings.organization.url),
        },
        source_environment: or_else(Attribute::SourceEnvironment, &settings.environment),
        context: search.context(),
        shape: if search.named.is_some() { Shape::Named } else { Shape::Plain },
        body: message.body.clone(),
        payload: match &search.named {
            Some(named) => message.body.slice_ref(named.data.as_bytes()),
            None => message.body.clone(),
        },
    })
}

/// The body as the text of one JSON object, not parsed yet.
fn readable(message: &Message, max_event_bytes: u64) -> Result<&str, Rejection> {
    let bytes = &message.body;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > max_event_bytes {
        let reason = format!("larger than source.max_event_bytes ({max_event_bytes} bytes)");
        return Err(Rejection(reason));
    }
    if bytes.is_empty() {
        return Err("the body is empty".into());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Rejection::from("not UTF-8"))?;
    if json::deeper_than(MAX_DEPTH, bytes) {
        return Err(Rejection(format!("nested deeper than {MAX_DEPTH}")));
    }
    if text.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('{') {
        return Ok(text);
    }
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => Err("not an object".into()),
        Err(error) => Err(not_json(error)),
    }
}

/// Errors of syntax say what was expected and where; they quote nothing.
#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn not_json(error: serde_json::Error) -> Rejection {
    Rejection(format!("not JSON: {error}"))
}

/// An id for an event that has none: the same for every delivery of the message.
fn digest(message: &Message) -> String {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let parts = [message.exchange.as_bytes(), message.routing_key.as_bytes(), &message.body];
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    hex::encode(context.finish())
}

/// What makes an event a named one.
struct Named<'a> {
    event_type: String,
    event_trigger: String,
    /// The payload, as written.
    data: &'a str,
    /// Its members, once asked for.
    members: OnceCell<Object<'a>>,
}

impl<'a> Named<'a> {
    fn of(body: &Object<'a>) -> Option<Self> {
        let name = body.get("event").and_then(json::string)?;
        let (event_type, event_trigger) = name.split_once('.')?;
        let data = body.get("data").filter(|data| data.starts_with('{'))?;
        (!event_type.is_empty() && !event_trigger.is_empty()).then(|| Self {
            event_type: event_type.into(),
            event_trigger: event_trigger.into(),
            data,
            members: OnceCell::new(),
        })
    }

    fn members(&self) -> &Object<'a> {
        self.members.get_or_init(|| Object::of(self.data).unwrap_or_default())
    }
}

/// One message, searched for attributes.
struct Search<'a> {
    message: &'a Message,
    settings: &'a IntakeSettings,
    body: Object<'a>,
    named: Option<Named<'a>>,
    /// The body's `Metadata`, once asked for: it is asked for often.
    metadata: OnceCell<Option<Object<'a>>>,
}

impl<'a> Search<'a> {
    fn new(message: &'a Message, settings: &'a IntakeSettings, body: Object<'a>) -> Self {
        let named = Named::of(&body);
        Self { message, settings, body, named, metadata: OnceCell::new() }
    }

    /// Type and trigger.
    fn kind(&self) -> Result<(String, String), Rejection> {
        if let Some(named) = &self.named {
            return Ok((named.event_type.clone(), named.event_trigger.clone()));
        }
        let event_type = self.text(Attribute::EventType).ok_or("no event type")?;
        let event_trigger = self.text(Attribute::EventTrigger).ok_or("no event trigger")?;
        Ok((event_type.into_owned(), event_trigger.into_owned()))
    }

    /// An attribute's text from the first source that has it. Never empty.
    fn text(&self, attribute: Attribute) -> Option<Cow<'_, str>> {
        self.first(attribute, |place| {
            let text = match place {
                Place::Header(name) => header_text(self.message.header(name)?)?,
                Place::Body(pointer) => self.in_body(attribute, pointer)?,
                Place::NamedBody(pointer) => {
                    self.named.as_ref()?;
                    self.in_body(attribute, pointer)?
                }
                Place::Property(name) => self.in_property(attribute, name)?.into(),
                Place::Exchange => Cow::from(&self.message.exchange),
                Place::RoutingKey => Cow::from(&self.message.routing_key),
            };
            Some(text).filter(|text| !text.is_empty())
        })
    }

    /// The time of creation from the first source that has a readable one.
    fn created_at(&self) -> Option<Timestamp> {
        let readable = |text: Cow<'_, str>| moment::parse(&text);
        self.first(Attribute::CreatedAt, |place| match place {
            Place::Header(name) => match self.message.header(name)? {
                HeaderValue::Timestamp(seconds) => moment::from_seconds(*seconds),
                value => header_text(value).and_then(readable),
            },
            Place::Body(pointer) => self.in_body(Attribute::CreatedAt, pointer).and_then(readable),
            Place::NamedBody(pointer) => {
                self.named.as_ref()?;
                self.in_body(Attribute::CreatedAt, pointer).and_then(readable)
            }
            Place::Property("timestamp") => {
                moment::from_seconds((*self.message.properties.timestamp())?)
            }
            Place::Property(name) => {
                property(&self.message.properties, name).and_then(moment::parse)
            }
            Place::Exchange => moment::parse(&self.message.exchange),
            Place::RoutingKey => moment::parse(&self.message.routing_key),
        })
    }

    /// What the first place that has something has.
    fn first<T>(
        &self,
        attribute: Attribute,
        look: impl FnMut(Place<'_>) -> Option<T>,
    ) -> Option<T> {
        match self.settings.attributes.get(attribute.name()) {
            Some(own) => own.iter().map(Place::from).find_map(look),
            None => attribute.order().iter().copied().find_map(look),
        }
    }

    fn in_body(&self, attribute: Attribute, pointer: &str) -> Option<Cow<'a, str>> {
        let field = pointer.strip_prefix("/Metadata/").filter(|field| !field.contains(['/', '~']));
        let in_body = match (field, self.metadata()) {
            (Some(field), Some(metadata)) => metadata.get(field),
            _ => self.body.find(pointer),
        };
        in_body.and_then(json::text).or_else(|| {
            let named = self.named.as_ref().filter(|_| attribute == Attribute::Id)?;
            named.members().find(pointer).and_then(json::text)
        })
    }

    fn metadata(&self) -> Option<&Object<'a>> {
        self.metadata.get_or_init(|| self.body.get("Metadata").and_then(Object::of)).as_ref()
    }

    fn in_property(&self, attribute: Attribute, name: &str) -> Option<&'a str> {
        let text = property(&self.message.properties, name)?;
        match (name, attribute) {
            ("type", Attribute::EventType) => text.split(['/', '.']).next(),
            ("type", Attribute::EventTrigger) => text.split_once(['/', '.']).map(|(_, rest)| rest),
            _ => Some(text),
        }
    }

    fn context(&self) -> Context {
        let body = self.body.get("context").and_then(Object::of).unwrap_or_default();
        let value = |field: &str| {
            let header = self.message.header(field).and_then(header_text);
            header.or_else(|| body.get(field).and_then(json::text))
        };
        let fields = CONTEXT_FIELDS.into_iter();
        fields.filter_map(|field| Some((field.to_owned(), value(field)?.into_owned()))).collect()
    }
}

/// What a header says as an attribute: a text that is UTF-8, or a number. Never empty.
fn header_text(value: &HeaderValue) -> Option<Cow<'_, str>> {
    let text: Cow<'_, str> = match value {
        HeaderValue::ShortString(text) => text.as_str().into(),
        HeaderValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok()?.into(),
        HeaderValue::ShortShortInt(number) => number.to_string().into(),
        HeaderValue::ShortShortUInt(number) => number.to_string().into(),
        HeaderValue::ShortInt(number) => number.to_string().into(),
        HeaderValue::ShortUInt(number) => number.to_string().into(),
        HeaderValue::LongInt(number) => number.to_string().into(),
        HeaderValue::LongUInt(number) => number.to_string().into(),
        HeaderValue::LongLongInt(number) => number.to_string().into(),
        HeaderValue::Float(number) if number.is_finite() => number.to_string().into(),
        HeaderValue::Double(number) if number.is_finite() => number.to_string().into(),
        HeaderValue::DecimalValue(number) => decimal(number.value, number.scale).into(),
        HeaderValue::Float(_)
        | HeaderValue::Double(_)
        | HeaderValue::Boolean(_)
        | HeaderValue::Timestamp(_)
        | HeaderValue::FieldArray(_)
        | HeaderValue::FieldTable(_)
        | HeaderValue::ByteArray(_)
        | HeaderValue::Void => return None,
    };
    Some(text).filter(|text| !text.is_empty())
}

/// A decimal number with so many digits after its point.
fn decimal(value: u32, scale: u8) -> String {
    let scale = usize::from(scale);
    let digits = format!("{value:0>width$}", width = scale + 1);
    match digits.split_at_checked(digits.len() - scale) {
        Some((whole, fraction)) if !fraction.is_empty() => format!("{whole}.{fraction}"),
        _ => digits,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::delivery::{Headers, Properties};

    fn settings() -> IntakeSettings {
        IntakeSettings {
            attributes: BTreeMap::new(),
            organization: Organization {
                id: "org-1".into(),
                name: "Acme Bio".into(),
                url: "https://acme.example".into(),
            },
            environment: "production".into(),
            max_event_bytes: 1 << 20,
        }
    }

    fn with_order(attribute: &str, order: &[&str]) -> IntakeSettings {
        let order = order.iter().map(|text| AttributeSource::parse(text).expect(text)).collect();
        IntakeSettings { attributes: [(attribute.into(), order)].into(), ..settings() }
    }

    fn now() -> Timestamp {
        "2026-06-18T00:00:00.0009Z".parse().expect("a time")
    }

    fn message(body: &str) -> Message {
        Message {
            exchange: "Batch".into(),
            routing_key: "batch_run_status".into(),
            body: body.to_owned().into(),
            ..Message::default()
        }
    }

    fn with_headers<const N: usize>(body: &str, headers: [(&str, HeaderValue); N]) -> Message {
        let mut table = Headers::default();
        for (name, value) in headers {
            table.insert(name.into(), value);
        }
        with_properties(body, Properties::default().with_headers(table))
    }

    fn with_properties(body: &str, properties: Properties) -> Message {
        Message { properties, ..message(body) }
    }

    fn text(value: &str) -> HeaderValue {
        HeaderValue::LongString(value.into())
    }

    fn taken(message: &Message, settings: &IntakeSettings) -> Event {
        intake(message, settings, now()).expect("an event")
    }

    #[test]
    fn an_event_without_anything_has_the_last_of_everything() {
        let event = taken(&message("{}"), &settings());
        assert_eq!(event.id.len(), 64);
        assert_eq!(event.created_at, "2026-06-18T00:00:00.000Z");
        assert_eq!(event.created_by, "System Auto Execution");
        assert_eq!(event.organization, settings().organization);
        assert_eq!(event.source_environment, "production");
        assert_eq!((event.shape, event.payload), (Shape::Plain, event.body));
    }

    #[test]
    fn a_header_wins_over_the_body_and_that_over_its_metadata() {
        let metadata = r#""Metadata":{"CreatedBy":"m","OrganizationID":"m","OrganizationName":"m",
            "OrganizationURL":"m","SourceEnvironment":"m"}"#;
        let own = r#""created_by":"b","organization_id":"b","organization_name":"b",
            "organization_url":"b","source_environment":"b""#;
        let names = Attribute::ALL.into_iter().skip(4).map(Attribute::name);
        let mut table = Headers::default();
        for name in names {
            table.insert(name.into(), text("h"));
        }
        let check = |message: Message, wanted: &str| {
            let event = taken(&message, &settings());
            let organization = event.organization;
            for found in [
                event.created_by,
                organization.id,
                organization.name,
                organization.url,
                event.source_environment,
            ] {
                assert_eq!(found, wanted);
            }
        };
        check(message(&format!("{{{metadata}}}")), "m");
        check(message(&format!("{{{metadata},{own}}}")), "b");
        let headers = Properties::default().with_headers(table);
        check(with_properties(&format!("{{{metadata},{own}}}"), headers), "h");
    }

    #[test]
    fn a_header_counts_when_it_is_a_text_or_a_number() {
        let check = |value: HeaderValue, wanted: Option<&str>| {
            let event = taken(&with_headers("{}", [("event_id", value)]), &settings());
            assert_eq!(Some(event.id.as_str()).filter(|id| id.len() < 64), wanted);
        };
        check(text("x"), Some("x"));
        check(HeaderValue::ShortString("x".into()), Some("x"));
        check(HeaderValue::ShortShortInt(-1), Some("-1"));
        check(HeaderValue::LongLongInt(i64::MIN), Some("-9223372036854775808"));
        check(HeaderValue::LongUInt(7), Some("7"));
        check(HeaderValue::Double(0.1), Some("0.1"));
        check(HeaderValue::Float(0.1), Some("0.1"));
        check(HeaderValue::Double(f64::NAN), None);
        check(HeaderValue::LongString(vec![0xFF].into()), None);
        check(text(""), None);
        check(HeaderValue::Boolean(true), None);
        check(HeaderValue::Void, None);
        check(HeaderValue::Timestamp(1), None);
        check(HeaderValue::ByteArray(b"x".to_vec().into()), None);
    }

    #[test]
    fn a_decimal_header_is_written_with_its_point() {
        let check = |value, scale, wanted: &str| assert_eq!(decimal(value, scale), wanted);
        check(12_345, 2, "123.45");
        check(12_345, 0, "12345");
        check(5, 3, "0.005");
        check(0, 0, "0");
    }

    #[test]
    fn the_time_of_creation_is_the_first_readable_one() {
        let check = |message: Message, wanted: &str| {
            assert_eq!(taken(&message, &settings()).created_at, wanted);
        };
        let seconds = Properties::default().with_timestamp(1_705_314_600);
        let body = r#"{"event":"a.b","timestamp":"2024-01-01T00:00:00Z","data":{}}"#;
        check(with_properties(body, seconds.clone()), "2024-01-01T00:00:00.000Z");
        let plain = r#"{"timestamp":"2024-01-01T00:00:00Z","CreationDateTime":1705314600}"#;
        check(with_properties(plain, seconds), "2024-01-15T10:30:00.000Z");
        check(message(plain), "2026-06-18T00:00:00.000Z");
        let metadata = r#"{"Metadata":{"CreationDateTime":"2024-01-01T01:00:00.1239+01:00"}}"#;
        check(message(metadata), "2024-01-01T00:00:00.123Z");
        let header = HeaderValue::Timestamp(1_705_314_600);
        check(with_headers(body, [("created_at", header)]), "2024-01-15T10:30:00.000Z");
        check(with_headers(body, [("created_at", text("noon"))]), "2024-01-01T00:00:00.000Z");
    }

    #[test]
    fn the_property_type_is_split_at_its_first_slash_or_dot() {
        let check = |kind: &str, wanted: (&str, &str)| {
            let properties = Properties::default().with_type(kind.into());
            let event = taken(&with_properties("{}", properties.clone()), &settings());
            assert_eq!((event.event_type.as_str(), event.event_trigger.as_str()), wanted, "{kind}");
            let own = with_order("event_type", &["property:type", "exchange"]);
            let event = taken(&with_properties("{}", properties), &own);
            assert_eq!(event.event_type, wanted.0, "{kind}");
        };
        check("Printing/a.b", ("Printing", "a.b"));
        check("job.created/x", ("job", "created/x"));
        check("Printing", ("Printing", "batch_run_status"));
        check("/x", ("Batch", "x"));
        check("x/", ("x", "batch_run_status"));
    }

    #[test]
    fn a_named_event_has_its_parts_before_any_other_source() {
        let body = r#"{"event":"job.created.x","data":{"id":"d"},"event_type":"b"}"#;
        let headers = || [("event_type", text("h")), ("event_trigger", text("h"))];
        let own = with_order("event_type", &["header:event_type"]);
        for settings in [settings(), own] {
            let event = taken(&with_headers(body, headers()), &settings);
            assert_eq!(
                (event.event_type.as_str(), event.event_trigger.as_str()),
                ("job", "created.x")
            );
            assert_eq!((event.shape, event.id.as_str()), (Shape::Named, "d"));
            assert_eq!(event.payload, r#"{"id":"d"}"#);
        }
    }

    #[test]
    fn what_does_not_have_the_named_shape_is_plain() {
        for body in [
            r#"{"event":"nodot","data":{}}"#,
            r#"{"event":".b","data":{}}"#,
            r#"{"event":"a.","data":{}}"#,
            r#"{"event":"a.b","data":"{}"}"#,
            r#"{"event":"a.b"}"#,
            r#"{"event":1.5,"data":{}}"#,
            r#"{"event":"a.b","data":{},"data":null}"#,
        ] {
            let event = taken(&message(body), &settings());
            assert_eq!((event.shape, event.event_type.as_str()), (Shape::Plain, "Batch"), "{body}");
        }
        let event = taken(&message(r#"{"event":"a..","data":{}}"#), &settings());
        assert_eq!((event.shape, event.event_trigger.as_str()), (Shape::Named, "."));
    }

    #[test]
    fn an_id_pointer_looks_into_data_before_the_next_source() {
        let check = |body: &str, wanted: &str| {
            assert_eq!(taken(&message(body), &settings()).id, wanted);
        };
        check(r#"{"event":"a.b","data":{"event_id":"d"},"id":"b"}"#, "d");
        check(r#"{"event":"a.b","data":{"event_id":"d"},"event_id":"b"}"#, "b");
        check(r#"{"event":"a.b","data":{"id":"d"},"id":""}"#, "d");
    }

    #[test]
    fn an_order_of_ones_own_replaces_the_contracts_but_not_what_comes_at_last() {
        let body = r#"{"event_id":"b","deep":{"list":[{"id":1.0}]},"created_by":"b"}"#;
        let id = |order: &[&str]| taken(&message(body), &with_order("id", order)).id;
        assert_eq!(id(&["body:/deep/list/0/id", "body:/event_id"]), "1.0");
        assert_eq!(id(&["property:correlation_id", "routing_key"]), "batch_run_status");
        assert_eq!(id(&["header:nothing"]).len(), 64);
        let nobody = taken(&message(body), &with_order("created_by", &["property:user_id"]));
        assert_eq!(nobody.created_by, "System Auto Execution");
        let own = with_order("event_type", &["header:kind"]);
        let rejected = intake(&message(body), &own, now());
        assert_eq!(rejected, Err("no event type".into()));
    }

    #[test]
    fn the_context_is_from_headers_and_then_from_the_body() {
        let body = r#"{"context":{"site":"chicago","line":4,"cell":"","area":null,"other":"x",
            "job_number":"body"}}"#;
        let headers = [("job_number", text("header")), ("part_number", HeaderValue::LongInt(9))];
        let event = taken(&with_headers(body, headers), &settings());
        let wanted =
            [("job_number", "header"), ("line", "4"), ("part_number", "9"), ("site", "chicago")];
        let found: Vec<_> = event.context.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn escapes_of_half_a_pair_are_legal() {
        let event = taken(&message(r#"{"\ud83d":"\ude00","event_id":"a\ud83d"}"#), &settings());
        assert_eq!(event.id, "a\u{FFFD}");
    }

    #[test]
    fn a_message_that_is_no_event_is_rejected_with_a_reason_that_quotes_nothing() {
        let check = |body: &[u8], wanted: &str| {
            let message = Message { body: body.to_vec().into(), ..message("") };
            let Rejection(reason) = intake(&message, &settings(), now()).expect_err(wanted);
            assert!(reason.starts_with(wanted), "{reason}");
            assert!(!reason.contains("hunter2"), "{reason}");
        };
        check(b"", "the body is empty");
        check(b"{\"a\":\"\xFF\"}", "not UTF-8");
        check(b"hunter2", "not JSON: expected value at line 1");
        check(b" ", "not JSON");
        check(b"{\"a\":hunter2}", "not JSON");
        check(b"{\"hunter2\":1,}", "not JSON: trailing comma");
        check(b"{\"a\":1} hunter2", "not JSON: trailing characters");
        check(b" [\"hunter2\"]", "not an object");
        check(b"\"hunter2\"", "not an object");
        check(b"[\"hunter2\"", "not JSON");
        check("[".repeat(1_000_000).as_bytes(), "nested deeper than 128");
        check(&vec![b' '; (1 << 20) + 1], "larger than source.max_event_bytes (1048576 bytes)");
        let nowhere = Message { body: "{}".into(), ..Message::default() };
        assert_eq!(intake(&nowhere, &settings(), now()), Err("no event type".into()));
        let half = Message { exchange: "x".into(), ..nowhere };
        assert_eq!(intake(&half, &settings(), now()), Err("no event trigger".into()));
    }

    #[test]
    fn nesting_of_128_passes_in_a_payload_too() {
        let nested = |depth: usize| {
            let array = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            message(&format!(r#"{{"event":"a.b","data":{{"x":{array}}}}}"#))
        };
        assert_eq!(taken(&nested(126), &settings()).shape, Shape::Named);
        assert!(intake(&nested(127), &settings(), now()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_event_or_a_rejection(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let message = Message { body: bytes.into(), ..message("") };
            if let Ok(event) = intake(&message, &settings(), now()) {
                let value: Result<Object, _> = serde_json::from_slice(&event.payload);
                prop_assert!(value.is_ok());
            }
        }

        #[test]
        fn every_object_that_another_parser_reads_is_an_event(
            entries in prop::collection::hash_map(".*", any::<Option<f64>>(), 0..6)
        ) {
            let body = serde_json::to_string(&entries).expect("a map is JSON");
            prop_assert!(intake(&message(&body), &settings(), now()).is_ok());
        }
    }
}
