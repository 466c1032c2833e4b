//! The contract as data: every row of `tests/conformance/*.json` that says which bytes are sent.
//!
//! A row is never weakened, skipped or treated apart. `attributes.json` and `rest.json` have test
//! files of their own.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use lockgate::domain::delivery::{Address, Class, Failure};
use lockgate::domain::event::{Context, Event, Organization, Shape};
use lockgate::logic::body::{self, BodyForm};
use lockgate::logic::ecmascript::stringify;
use lockgate::logic::signing::{StandardSecret, hmac_hex, standard_signature};
use lockgate::logic::topic::{self, BadPattern, TopicPattern};
use lockgate::transport::amqp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance")
}

/// The rows of one section of one file; there is at least one.
#[track_caller]
fn rows<T: DeserializeOwned>(file: &str, section: &str) -> Vec<T> {
    let text = fs::read_to_string(folder().join(file)).unwrap();
    let mut sections: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
    let rows: Vec<T> = serde_json::from_value(sections.remove(section).unwrap()).unwrap();
    assert!(!rows.is_empty(), "{file} has no {section}");
    rows
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A plain event with nothing but a type, a trigger and a payload.
fn event(event_type: &str, event_trigger: &str, payload: &str) -> Event {
    let body = Bytes::copy_from_slice(payload.as_bytes());
    Event {
        id: "e-1".into(),
        event_type: event_type.into(),
        event_trigger: event_trigger.into(),
        created_at: String::new(),
        created_by: String::new(),
        organization: Organization::default(),
        source_environment: String::new(),
        context: Context::new(),
        shape: Shape::Plain,
        payload: body.clone(),
        body,
    }
}

/// A named event with this payload.
fn named_event(name: &str, created_at: &str, payload: &str) -> Event {
    let (event_type, event_trigger) = name.split_once('.').unwrap();
    let body = format!(r#"{{"event":"{name}","timestamp":"{created_at}","data":{payload}}}"#);
    Event {
        created_at: created_at.into(),
        shape: Shape::Named,
        body: body.into(),
        ..event(event_type, event_trigger, payload)
    }
}

/// A permanent failure, `illegal_topic`.
#[track_caller]
fn check_illegal(topic: Result<String, Failure>, why: &str) {
    let Err(failure) = topic else { panic!("{why}: {topic:?}") };
    assert_eq!(failure.class, Class::Permanent, "{why}");
    assert_eq!(failure.reason, "illegal_topic", "{why}");
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stringified {
    input: String,
    expected: String,
}

#[test]
fn json_is_written_as_ecmascript_writes_it() {
    for row in rows::<Stringified>("ecmascript_json.json", "cases") {
        assert_eq!(text(&stringify(row.input.as_bytes()).unwrap()), row.expected, "{}", row.input);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Metadata {
    #[serde(rename = "OrganizationID")]
    organization_id: String,
    organization_name: String,
    #[serde(rename = "OrganizationURL")]
    organization_url: String,
    event_type: String,
    event_trigger: String,
    subscriber: String,
    created_by: String,
    source_environment: String,
    creation_date_time: String,
}

impl Metadata {
    fn event(&self, payload: &str) -> Event {
        Event {
            created_at: self.creation_date_time.clone(),
            created_by: self.created_by.clone(),
            source_environment: self.source_environment.clone(),
            organization: Organization {
                id: self.organization_id.clone(),
                name: self.organization_name.clone(),
                url: self.organization_url.clone(),
            },
            ..event(&self.event_type, &self.event_trigger, payload)
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WithMetadata {
    payload: String,
    metadata: Metadata,
    body: String,
    #[serde(rename = "note")]
    _note: Option<String>,
}

#[test]
fn metadata_is_added_at_the_end_of_a_body() {
    for row in rows::<WithMetadata>("metadata.json", "cases") {
        let event = row.metadata.event(&row.payload);
        let rendered = body::render(&event, BodyForm::Event, Some(&row.metadata.subscriber), None);
        assert_eq!(text(&rendered), row.body);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WithoutMetadata {
    payload: String,
    body: String,
}

#[test]
fn without_metadata_a_body_is_what_arrived() {
    for row in rows::<WithoutMetadata>("metadata.json", "without") {
        let event = event("Batch", "batch_run_status", &row.payload);
        assert_eq!(text(&body::render(&event, BodyForm::Event, None, None)), row.body);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedWithMetadata {
    event_name: String,
    created_at: String,
    payload: String,
    metadata: Metadata,
    body: String,
}

#[test]
fn metadata_comes_after_data_in_the_named_form() {
    for row in rows::<NamedWithMetadata>("metadata.json", "named") {
        let event = row.metadata.event(&row.payload);
        assert_eq!((event.name(), &event.created_at), (row.event_name, &row.created_at));
        let rendered = body::render(&event, BodyForm::Named, Some(&row.metadata.subscriber), None);
        assert_eq!(text(&rendered), row.body);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StandardTopic {
    domain: String,
    event_type: String,
    event_trigger: String,
    topic: String,
    exchange: String,
    routing_key: String,
}

#[test]
fn standard_topics_are_normal_and_exchanges_are_raw() {
    let partner = serde_json::json!({ "url": "amqps://mq.example.com/vhost" });
    let amqp: amqp::Settings = serde_json::from_value(partner).unwrap();
    for row in rows::<StandardTopic>("standard_topics.json", "cases") {
        let topic = topic::standard(&row.event_type, &row.event_trigger);
        assert_eq!(topic, Ok(row.topic), "{}", row.domain);
        let address = amqp.address(&event(&row.event_type, &row.event_trigger, "{}"));
        let (exchange, routing_key) = (row.exchange, row.routing_key);
        assert_eq!(address, Ok(Address::Exchange { exchange, routing_key }), "{}", row.domain);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefusedTopic {
    event_type: String,
    event_type_repeat: Option<usize>,
    event_trigger: String,
    event_trigger_repeat: Option<usize>,
    why: String,
}

#[test]
fn illegal_standard_topics_are_refused() {
    for row in rows::<RefusedTopic>("standard_topics.json", "refused") {
        let event_type = row.event_type.repeat(row.event_type_repeat.unwrap_or(1));
        let event_trigger = row.event_trigger.repeat(row.event_trigger_repeat.unwrap_or(1));
        check_illegal(topic::standard(&event_type, &event_trigger), &row.why);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PatternTopic {
    pattern: String,
    context: Context,
    #[serde(default)]
    organization: String,
    event_type: String,
    event_trigger: String,
    topic: String,
}

#[test]
fn patterns_give_the_topics_of_a_unified_namespace() {
    for row in rows::<PatternTopic>("uns_topics.json", "cases") {
        let pattern = TopicPattern::parse(&row.pattern).unwrap();
        let topic =
            pattern.render(&row.context, &row.event_type, &row.event_trigger, &row.organization);
        assert_eq!(topic, Ok(row.topic), "{}", row.pattern);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    pattern: String,
    why: String,
}

#[test]
fn bad_patterns_are_refused_for_their_reason() {
    for row in rows::<Refused>("uns_topics.json", "bad_patterns") {
        let why = match TopicPattern::parse(&row.pattern).unwrap_err() {
            BadPattern::UnknownVariable(_) => "unknown variable",
            BadPattern::Wildcard(_) => "wildcard",
            BadPattern::Control('\0') => "NUL",
            BadPattern::Control(_) => "control character",
            BadPattern::UnclosedBrace => "unclosed brace",
            BadPattern::Empty => "empty",
            BadPattern::UnopenedBrace | BadPattern::Dollar => "something else",
        };
        assert_eq!(why, row.why, "{:?}", row.pattern);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefusedRender {
    pattern: String,
    context: Context,
    why: String,
}

#[test]
fn a_topic_of_which_nothing_is_left_is_refused() {
    for row in rows::<RefusedRender>("uns_topics.json", "refused") {
        let pattern = TopicPattern::parse(&row.pattern).unwrap();
        check_illegal(pattern.render(&row.context, "operation", "completed", ""), &row.why);
    }
}

/// What a webhook endpoint must receive; the signatures that are looked for are given.
#[track_caller]
fn check_headers(mut expected: BTreeMap<String, String>, sent: &[(&str, &str)]) {
    // Every transport over HTTP sends this one; its own tests look for it.
    expected.remove("Content-Type");
    let sent = sent.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    assert_eq!(sent.collect::<BTreeMap<_, _>>(), expected);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Webhook {
    payload: String,
    event_name: String,
    created_at: String,
    secret: String,
    body: String,
    headers: BTreeMap<String, String>,
}

#[test]
fn webhooks_are_signed_over_what_receivers_write_themselves() {
    for row in rows::<Webhook>("webhook.json", "cases") {
        let event = named_event(&row.event_name, &row.created_at, &row.payload);
        let plain = Event { shape: Shape::Plain, body: event.payload.clone(), ..event.clone() };
        for event in [event, plain] {
            let rendered = body::render(&event, BodyForm::Named, None, None);
            let body = stringify(&rendered).unwrap();
            assert_eq!(text(&body), row.body);
            let signature = format!("sha256={}", hmac_hex(&row.secret, &body));
            let sent = [("X-Eryxon-Signature", &*signature), ("X-Eryxon-Event", &event.name())];
            check_headers(row.headers.clone(), &sent);
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Standard {
    secret: Option<String>,
    secrets: Option<Vec<String>>,
    id: String,
    timestamp: i64,
    event_name: Option<String>,
    body: String,
    headers: BTreeMap<String, String>,
}

#[track_caller]
fn check_standard(row: Standard) {
    let texts = row.secrets.or(row.secret.map(|one| vec![one])).unwrap();
    let secrets = texts.iter().map(|text| StandardSecret::parse(text).unwrap());
    let secrets = secrets.collect::<Vec<_>>();
    let signature = standard_signature(&secrets, &row.id, row.timestamp, row.body.as_bytes());
    let timestamp = row.timestamp.to_string();
    let mut sent = vec![
        ("webhook-id", row.id.as_str()),
        ("webhook-timestamp", &timestamp),
        ("webhook-signature", &signature),
    ];
    let hex = format!("sha256={}", hmac_hex(texts.first().unwrap(), row.body.as_bytes()));
    if let Some(name) = &row.event_name {
        sent.extend([("X-Eryxon-Signature", hex.as_str()), ("X-Eryxon-Event", name)]);
    }
    check_headers(row.headers, &sent);
}

#[test]
fn standard_webhooks_have_their_signatures() {
    for section in ["cases", "rotation", "both"] {
        rows::<Standard>("standard_webhooks.json", section).into_iter().for_each(check_standard);
    }
}

/// The files of a folder, by name.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}

/// Where the contract itself stands beside the checkout, the copy here is the same byte for byte.
#[test]
fn the_copy_of_the_contract_is_exact() {
    let copy = files(&folder());
    assert!(copy.len() >= 8, "{:?}", copy.keys());
    let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance");
    if original.is_dir() {
        let original = files(&original);
        assert!(original.keys().eq(copy.keys()), "{:?} are not {:?}", copy.keys(), original.keys());
        for (name, bytes) in original {
            assert!(copy.get(&name) == Some(&bytes), "{name} differs");
        }
    }
}
