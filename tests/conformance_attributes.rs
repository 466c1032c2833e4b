//! The contract's rows about attributes: what becomes of a message as it arrives.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use lockgate::domain::delivery::Message;
use lockgate::domain::event::{Event, Organization};
use lockgate::logic::intake::{IntakeSettings, Rejection, intake};
use lockgate::logic::message_file;
use serde_json::{Map, Value};

const ROWS: &str = include_str!("conformance/attributes.json");

fn rows(part: &str) -> Vec<Map<String, Value>> {
    let mut file: Map<String, Value> = serde_json::from_str(ROWS).expect("the rows are JSON");
    let rows = file.remove(part).unwrap_or_else(|| panic!("there are rows called {part}"));
    let rows: Vec<_> = serde_json::from_value(rows).expect("each row is an object");
    assert!(!rows.is_empty(), "no row called {part}");
    rows
}

/// Takes the message out of a row; what the message must become is left.
fn message(row: &mut Map<String, Value>) -> Message {
    let keys = ["exchange", "routing_key", "headers", "properties", "body"];
    let parts: Map<String, Value> =
        keys.into_iter().filter_map(|key| row.remove_entry(key)).collect();
    let file = serde_json::to_vec(&parts).expect("it was JSON before");
    message_file::parse(&file).unwrap_or_else(|error| panic!("{error}: {parts:?}"))
}

fn taken(message: &Message) -> Result<Event, Rejection> {
    let settings = IntakeSettings {
        attributes: std::collections::BTreeMap::new(),
        organization: Organization::default(),
        environment: "test".into(),
        max_event_bytes: 1 << 20,
    };
    let received_at = "2026-06-18T00:00:00Z".parse().expect("a time");
    intake(message, &settings, received_at)
}

#[test]
fn every_message_gets_the_attributes_of_its_row() {
    let mut checked = 0;
    for mut row in rows("cases") {
        let message = message(&mut row);
        let event = taken(&message).unwrap_or_else(|why| panic!("rejected: {why}: {message:?}"));
        for (attribute, wanted) in row {
            let found = match attribute.as_str() {
                "note" => continue,
                _ if wanted.is_null() => continue,
                "id" => event.id.as_bytes(),
                "event_type" => event.event_type.as_bytes(),
                "event_trigger" => event.event_trigger.as_bytes(),
                "created_at" => event.created_at.as_bytes(),
                "payload" => &event.payload,
                unknown => panic!("a row says {unknown}, which nothing checks"),
            };
            let found = String::from_utf8_lossy(found);
            assert_eq!(Some(found.as_ref()), wanted.as_str(), "{attribute} of {message:?}");
            checked += 1;
        }
        assert_eq!(event.body, message.body);
    }
    assert!(checked > 0, "no attribute was checked");
}

#[test]
fn every_message_that_is_no_event_is_rejected() {
    for mut row in rows("rejected") {
        let message = message(&mut row);
        let why = row.get("why").and_then(Value::as_str).expect("a row says why");
        let Err(Rejection(reason)) = taken(&message) else { panic!("{why}: {message:?} passed") };
        assert!(!reason.is_empty());
    }
}
