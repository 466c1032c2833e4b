//! A test event: what an operator sends to one endpoint to see whether it passes.
//!
//! Owns what it says: that it is a test and that nothing happened. Refuses to send it. Its name is one
//! that no platform uses, unless the operator asks for another: a partner's RabbitMQ may have no
//! exchange for it, and its application may take a known name for the real thing.

use serde_json::json;

use crate::domain::event::{Context, Event, Organization, Shape};

/// The type of a test event where the operator names none.
pub const TYPE: &str = "lockgate";
/// The trigger of a test event where the operator names none.
pub const TRIGGER: &str = "test";

/// A test event of this type and trigger. The id is the caller's: unique, not empty.
#[must_use]
pub fn test_event(
    (event_type, event_trigger): (&str, &str),
    id: String,
    at: jiff::Timestamp,
    organization: Organization,
    source_environment: String,
) -> Event {
    let created_at = format!("{at:.3}");
    let body = json!({
        "test": true,
        "message": "a test event of lockgate: nothing happened",
        "id": id,
        "sent_at": created_at,
    });
    let body = bytes::Bytes::from(body.to_string());
    Event {
        id,
        event_type: event_type.to_owned(),
        event_trigger: event_trigger.to_owned(),
        created_at,
        created_by: "lockgate".to_owned(),
        organization,
        source_environment,
        context: Context::new(),
        shape: Shape::Plain,
        payload: body.clone(),
        body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_that_it_is_a_test() {
        let at = "2026-06-18T06:00:00.5Z".parse().unwrap();
        let event =
            test_event((TYPE, TRIGGER), "x".into(), at, Organization::default(), "e".into());
        assert_eq!(event.name(), "lockgate.test");
        assert_eq!(event.created_at, "2026-06-18T06:00:00.500Z");
        let body: serde_json::Value = serde_json::from_slice(&event.body).unwrap();
        assert_eq!((&body["test"], &body["id"]), (&json!(true), &json!("x")));
        assert_eq!(event.payload, event.body);
    }
}
