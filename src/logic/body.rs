//! The body: exactly what a partner receives.
//!
//! Owns the two forms, the Metadata block and how it gets into a body whose other bytes stay as
//! they arrived. Refuses to reserialise: it splices. The form that webhooks need comes after it,
//! from [`super::ecmascript`]; a payload filter runs before it, in [`super::filter`]. Read
//! [`super::ecmascript`] next.

use bytes::Bytes;

use super::ecmascript::write_string;
use super::filter::Filter;
use super::json_parts::{self, Object};
use super::json_scan::utf8;
use crate::domain::event::{Event, Shape};

/// The two forms of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BodyForm {
    /// The bus body's bytes as they arrived.
    Event,
    /// `{"event":name,"timestamp":created_at,"data":payload}`.
    Named,
}

/// How an event configuration wants its events rendered.
#[derive(Clone, Debug, Default)]
pub struct Rendering {
    /// Adds the `Metadata` block.
    pub metadata_in_payload: bool,
    /// Changes the payload; printing events only.
    pub payload: Option<Filter>,
}

/// The body of an event in this form; `subscriber` asks for Metadata; `payload` replaces the event's own.
#[must_use]
pub fn render(
    event: &Event,
    form: BodyForm,
    subscriber: Option<&str>,
    payload: Option<&Bytes>,
) -> Bytes {
    let body = match (form, payload) {
        (BodyForm::Named, payload) => named(event, payload.unwrap_or(&event.payload)),
        (BodyForm::Event, None) => event.body.clone(),
        (BodyForm::Event, Some(payload)) => match event.shape {
            Shape::Plain => payload.clone(),
            Shape::Named => with_data(&event.body, payload),
        },
    };
    match subscriber {
        Some(subscriber) => with_metadata(&body, &metadata(event, subscriber)),
        None => body,
    }
}

/// The value of the `Metadata` key: one JSON object with all nine keys, in the contract's order.
#[must_use]
pub fn metadata(event: &Event, subscriber: &str) -> String {
    let members = [
        ("OrganizationID", event.organization.id.as_str()),
        ("OrganizationName", &event.organization.name),
        ("OrganizationURL", &event.organization.url),
        ("EventType", &event.event_type),
        ("EventTrigger", &event.event_trigger),
        ("Subscriber", subscriber),
        ("CreatedBy", &event.created_by),
        ("SourceEnvironment", &event.source_environment),
        ("CreationDateTime", &event.created_at),
    ];
    let members = members.map(|(key, value)| format!("\"{key}\":{}", quoted(value)));
    format!("{{{}}}", members.join(","))
}

fn named(event: &Event, payload: &[u8]) -> Bytes {
    let (name, time) = (quoted(&event.name()), quoted(&event.created_at));
    let before = format!("{{\"event\":{name},\"timestamp\":{time},\"data\":");
    [before.as_bytes(), payload, b"}"].concat().into()
}

/// The body with this value for `data`: of repeated keys the last, which is the one parsers see.
fn with_data(body: &Bytes, payload: &[u8]) -> Bytes {
    spliced(body, |text, object| {
        let value = object.value("data")?;
        let (before, after) = (text.get(..value.start)?, text.get(value.end..)?);
        Some([before.as_bytes(), payload, after.as_bytes()].concat())
    })
}

/// The body with this Metadata at its end, in place of any that is there already.
fn with_metadata(body: &Bytes, metadata: &str) -> Bytes {
    spliced(body, |text, object| {
        let others = object.members.iter().filter(|member| !member.key.is("Metadata"));
        let mut kept = others.map(|m| text.get(m.segment.clone())).collect::<Option<Vec<_>>>()?;
        if let Some(last) = kept.last_mut() {
            *last = last.trim_end_matches([' ', '\t', '\n', '\r']);
        }
        let added = format!("\"Metadata\":{metadata}");
        kept.push(&added);
        let (before, after) = (text.get(..object.inside.start)?, text.get(object.inside.end..)?);
        Some([before, &kept.join(","), after].concat().into_bytes())
    })
}

/// The body as `change` makes it. An event's body is a JSON object; of anything else there is no
/// part to change, and it stays as it is.
fn spliced(body: &Bytes, change: impl FnOnce(&str, &Object<'_>) -> Option<Vec<u8>>) -> Bytes {
    let changed = utf8(body).ok().and_then(|text| {
        let object = json_parts::object(text).ok()?;
        change(text, &object)
    });
    changed.map_or_else(|| body.clone(), Bytes::from)
}

fn quoted(text: &str) -> String {
    let mut written = Vec::with_capacity(text.len() + 2);
    write_string(text.as_bytes(), &mut written);
    String::from_utf8(written).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::event::{Context, Organization};

    fn event(shape: Shape, body: &str, payload: &str) -> Event {
        Event {
            id: "e-1".into(),
            event_type: "Print \"Job\"".into(),
            event_trigger: "a\u{1}b".into(),
            created_at: "2026-06-18T00:00:00.000Z".into(),
            created_by: "\u{7f}é".into(),
            organization: Organization { id: "o".into(), ..Organization::default() },
            source_environment: String::new(),
            context: Context::new(),
            shape,
            body: Bytes::copy_from_slice(body.as_bytes()),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
        }
    }

    const BLOCK: &str = "\"Metadata\":{\"OrganizationID\":\"o\",\"OrganizationName\":\"\",\
        \"OrganizationURL\":\"\",\"EventType\":\"Print \\\"Job\\\"\",\
        \"EventTrigger\":\"a\\u0001b\",\"Subscriber\":\"erp\",\"CreatedBy\":\"\u{7f}é\",\
        \"SourceEnvironment\":\"\",\"CreationDateTime\":\"2026-06-18T00:00:00.000Z\"}";

    #[track_caller]
    fn check_metadata(body: &str, expected: &str) {
        let event = event(Shape::Plain, body, body);
        let rendered = render(&event, BodyForm::Event, Some("erp"), None);
        let expected = expected.replace("<M>", BLOCK);
        assert_eq!(String::from_utf8_lossy(&rendered), expected, "{body}");
        let again =
            render(&Event { body: rendered.clone(), ..event }, BodyForm::Event, Some("erp"), None);
        assert_eq!(again, rendered, "a second time changes nothing");
    }

    #[test]
    fn metadata_replaces_whatever_has_its_name_and_touches_nothing_else() {
        for (body, expected) in [
            ("{}", "{<M>}"),
            (" {\n} \n", " {<M>} \n"),
            ("{ \"a\" : 1 \n}\n", "{ \"a\" : 1,<M>}\n"),
            ("{\"Metadata\":1}", "{<M>}"),
            ("{ \"Metadata\" : { \"x\" : [1, 2] } , \"z\" : 2 }", "{ \"z\" : 2,<M>}"),
            ("{\"a\":1 , \"Metadata\" : null }", "{\"a\":1,<M>}"),
            (
                "{\"Metadata\":1,\"a\":1.0,\"M\\u0065tadata\":2,\"b\":2 ,\"Metadata\":3}",
                "{\"a\":1.0,\"b\":2,<M>}",
            ),
            (
                "{\"metadata\":1,\"Metadata \":2,\"x\":{\"Metadata\":3}}",
                "{\"metadata\":1,\"Metadata \":2,\"x\":{\"Metadata\":3},<M>}",
            ),
            (
                "{\"a\":\"\\ud83d , \\\"Metadata\\\":1\"}",
                "{\"a\":\"\\ud83d , \\\"Metadata\\\":1\",<M>}",
            ),
        ] {
            check_metadata(body, expected);
        }
    }

    #[track_caller]
    fn check_filtered(shape: Shape, form: BodyForm, body: &str, expected: &str) {
        let event = event(shape, body, "{\"old\":1}");
        let rendered = render(&event, form, None, Some(&Bytes::from_static(b"{\"new\":2}")));
        assert_eq!(String::from_utf8_lossy(&rendered), expected, "{body}");
    }

    #[test]
    fn a_filtered_payload_takes_the_place_of_the_events_own() {
        let named = "{\"event\":\"print_\\\"job\\\".a\\u0001b\",\
            \"timestamp\":\"2026-06-18T00:00:00.000Z\",\"data\":{\"new\":2}}";
        check_filtered(Shape::Plain, BodyForm::Event, "{\"old\":1}", "{\"new\":2}");
        check_filtered(Shape::Plain, BodyForm::Named, "{\"old\":1}", named);
        let body = "{\"data\":0, \"event\" : \"a.b\",\"d\\u0061ta\" : {\"old\":1} ,\"n\":1.0 }\n";
        let expected =
            "{\"data\":0, \"event\" : \"a.b\",\"d\\u0061ta\" : {\"new\":2} ,\"n\":1.0 }\n";
        check_filtered(Shape::Named, BodyForm::Event, body, expected);
        check_filtered(Shape::Named, BodyForm::Named, body, named);
    }

    #[test]
    fn without_metadata_and_filter_the_body_is_the_very_same_bytes() {
        let event = event(Shape::Named, " {\"event\":\"a.b\",\"data\":{}} ", "{}");
        let rendered = render(&event, BodyForm::Event, None, None);
        assert_eq!(rendered.as_ptr(), event.body.as_ptr());
        assert_eq!(rendered, event.body);
    }

    fn member() -> impl Strategy<Value = (String, String)> {
        let key = prop_oneof![
            Just("Metadata".to_owned()),
            Just("\\u004detadata".to_owned()),
            "[a-zM ,{}:]{0,4}",
        ];
        let value = prop_oneof![
            "-?[1-9][0-9]{0,20}(\\.[0-9]{1,3})?",
            "[ -!#-\\[\\]-~\u{e9}]{0,6}".prop_map(|s| format!("\"{s}\"")),
            Just("{ \"Metadata\" : [ {}, 1.0 ] }".to_owned()),
        ];
        ("[ \n]{0,2}", key, "[ \t]{0,2}", value).prop_map(|(space, key, gap, value)| {
            let segment = format!("{space}\"{key}\"{gap}:{gap}{value}");
            (key, segment)
        })
    }

    proptest! {
        #[test]
        fn every_byte_that_is_not_metadata_stays(members in prop::collection::vec(member(), 0..6)) {
            let join = |members: Vec<&str>| members.join(",");
            let all = join(members.iter().map(|(_, segment)| segment.as_str()).collect());
            let others = members.iter().filter(|(key, _)| !key.ends_with("etadata"));
            let others = join(others.map(|(_, segment)| segment.as_str()).collect());
            let event = event(Shape::Plain, &format!("{{{all} }}"), "{}");
            let rendered = render(&event, BodyForm::Event, Some("erp"), None);
            let comma = if others.is_empty() { "" } else { "," };
            let expected = format!("{{{others}{comma}{BLOCK}}}");
            prop_assert_eq!(String::from_utf8_lossy(&rendered), expected);
        }
    }
}
