//! MQTT topics: the standard ones, and those of a Unified Namespace.
//!
//! Owns which topic an event goes to, what a pattern may hold and what makes a topic illegal.
//! Refuses to find an event's attributes: that is [`super::intake`]. Read [`super::signing`] next.

use std::collections::BTreeMap;
use std::fmt;

use super::json_parts::pointer;
use super::json_scan::{Scanner, utf8};
use crate::domain::delivery::Failure;
use crate::domain::event::{CONTEXT_FIELDS, Context, Event};
use crate::domain::names::{find_known, normal_form};

/// The longest topic that MQTT can carry, in bytes.
pub const MAX_TOPIC: usize = 65_535;

/// The standard topic: `{event_type}/{event_trigger}` in normal form.
///
/// # Errors
/// A permanent failure, `illegal_topic`.
pub fn standard(event_type: &str, event_trigger: &str) -> Result<String, Failure> {
    let topic = format!("{}/{}", normal_form(event_type), normal_form(event_trigger));
    check_topic(&topic).map(|()| topic)
}

/// The topic of an event. Known events have their standard topic, whatever the pattern, unless it
/// is `for_all`; the others have the pattern's, or without a pattern the standard one. `context`
/// is the event's own with the endpoint's fields and defaults added.
///
/// # Errors
/// A permanent failure, `illegal_topic`.
pub fn event_topic(
    pattern: Option<&TopicPattern>,
    for_all: bool,
    event: &Event,
    context: &Context,
) -> Result<String, Failure> {
    let (kind, trigger) = (event.event_type.as_str(), event.event_trigger.as_str());
    match pattern {
        Some(pattern) if for_all || find_known(kind, trigger).is_none() => {
            pattern.render(context, kind, trigger, &event.organization.name)
        }
        _ => standard(kind, trigger),
    }
}

/// Whether a topic may be published to.
///
/// # Errors
/// A permanent failure, `illegal_topic`.
pub fn check_topic(topic: &str) -> Result<(), Failure> {
    let wrong = if topic.is_empty() {
        "is empty".to_owned()
    } else if topic.len() > MAX_TOPIC {
        format!("has {} bytes, more than {MAX_TOPIC}", topic.len())
    } else if topic.starts_with('$') {
        "begins with $, which is the broker's own".to_owned()
    } else if let Some(wildcard) = topic.chars().find(|c| is_wildcard(*c)) {
        format!("holds the wildcard {wildcard}")
    } else if let Some(control) = topic.chars().find(|c| c.is_control()) {
        format!("holds the control character U+{:04X}", u32::from(control))
    } else {
        return Ok(());
    };
    Err(Failure::permanent("illegal_topic", format!("the topic {wrong}")))
}

/// The values at JSON pointers in a payload, by the names that `fields` gives them: text as it is,
/// a number as its text. Anything else, and empty text, is absent.
#[must_use]
pub fn pointer_fields(payload: &[u8], fields: &BTreeMap<String, String>) -> Context {
    let Ok(text) = utf8(payload) else { return Context::new() };
    let value = |at: &String| {
        let found = pointer(text, at)?;
        let value = match found.as_bytes().first()? {
            b'"' => Scanner::new(found).string().ok()?.to_text(),
            b'-' | b'0'..=b'9' => found.to_owned(),
            _ => return None,
        };
        Some(value).filter(|value| !value.is_empty())
    };
    fields.iter().filter_map(|(name, at)| Some((name.clone(), value(at)?))).collect()
}

fn is_wildcard(character: char) -> bool {
    matches!(character, '+' | '#')
}

/// What a pattern's braces may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variable {
    /// One of [`CONTEXT_FIELDS`].
    Context(&'static str),
    Event,
    EventType,
    EventTrigger,
    Organization,
}

impl Variable {
    const OWN: [(&'static str, Self); 4] = [
        ("event", Self::Event),
        ("event_type", Self::EventType),
        ("event_trigger", Self::EventTrigger),
        ("organization", Self::Organization),
    ];

    fn find(name: &str) -> Option<Self> {
        let own = Self::OWN.iter().find(|(known, _)| *known == name).map(|(_, own)| *own);
        let field = || CONTEXT_FIELDS.iter().find(|known| **known == name);
        own.or_else(|| field().map(|field| Self::Context(field)))
    }

    /// All names, in the contract's order.
    fn names() -> String {
        let own = Self::OWN.iter().map(|(name, _)| *name);
        CONTEXT_FIELDS.into_iter().chain(own).collect::<Vec<_>>().join(", ")
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Variable(Variable),
}

/// A topic with variables in braces: `{enterprise}/{site}/{event}`.
#[derive(Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct TopicPattern {
    source: String,
    parts: Vec<Part>,
}

/// Why a text is no topic pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// A name in braces that nothing has.
    #[error("unknown variable {{{0}}}; there are {known}", known = Variable::names())]
    UnknownVariable(String),
    /// `+` or `#`.
    #[error("the wildcard {0} cannot be published to")]
    Wildcard(char),
    /// U+0000–001F or U+007F–009F.
    #[error("the control character U+{code:04X}", code = u32::from(*.0))]
    Control(char),
    /// `{` without `}`.
    #[error("a brace is not closed")]
    UnclosedBrace,
    /// `}` without `{`.
    #[error("a closing brace without an opening one")]
    UnopenedBrace,
    /// Every topic would begin with `$`, which is the broker's own.
    #[error("a topic cannot begin with $")]
    Dollar,
    /// Nothing, or nothing but slashes.
    #[error("a pattern needs a segment that is not empty")]
    Empty,
}

impl TopicPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When it could never give a legal topic, or names an unknown variable.
    pub fn parse(source: &str) -> Result<Self, BadPattern> {
        if let Some(wildcard) = source.chars().find(|c| is_wildcard(*c)) {
            return Err(BadPattern::Wildcard(wildcard));
        }
        if let Some(control) = source.chars().find(|c| c.is_control()) {
            return Err(BadPattern::Control(control));
        }
        match source.trim_start_matches('/') {
            "" => return Err(BadPattern::Empty),
            topic if topic.starts_with('$') => return Err(BadPattern::Dollar),
            _ => {}
        }
        let mut parts = Vec::new();
        let mut rest = source;
        while let Some((literal, opened)) = rest.split_once('{') {
            push_literal(literal, &mut parts)?;
            let (name, after) = opened.split_once('}').ok_or(BadPattern::UnclosedBrace)?;
            let variable = Variable::find(name);
            let variable = variable.ok_or_else(|| BadPattern::UnknownVariable(name.to_owned()))?;
            parts.push(Part::Variable(variable));
            rest = after;
        }
        push_literal(rest, &mut parts)?;
        Ok(Self { source: source.to_owned(), parts })
    }

    /// The pattern as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// The topic for these values, segments without anything in them left out.
    ///
    /// # Errors
    /// A permanent failure, `illegal_topic`: nothing is left of it, say.
    pub fn render(
        &self,
        context: &Context,
        event_type: &str,
        event_trigger: &str,
        organization: &str,
    ) -> Result<String, Failure> {
        let mut topic = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => topic.push_str(text),
                Part::Variable(Variable::Context(field)) => {
                    topic.push_str(&clean(context.get(*field).map_or("", String::as_str)));
                }
                Part::Variable(Variable::Event) => {
                    let pieces = event_type.split('.').chain(event_trigger.split('.'));
                    topic.push_str(&pieces.map(clean).collect::<Vec<_>>().join("/"));
                }
                Part::Variable(Variable::EventType) => topic.push_str(&clean(event_type)),
                Part::Variable(Variable::EventTrigger) => topic.push_str(&clean(event_trigger)),
                Part::Variable(Variable::Organization) => topic.push_str(&clean(organization)),
            }
        }
        let segments = topic.split('/').filter(|segment| !segment.is_empty());
        let topic = segments.collect::<Vec<_>>().join("/");
        check_topic(&topic).map(|()| topic)
    }
}

fn push_literal(text: &str, parts: &mut Vec<Part>) -> Result<(), BadPattern> {
    if text.contains('}') {
        return Err(BadPattern::UnopenedBrace);
    }
    if !text.is_empty() {
        parts.push(Part::Literal(text.to_owned()));
    }
    Ok(())
}

/// A value as it stands in a topic: lower case, trimmed, each run of white space an underscore,
/// then nothing but letters, digits, `_` and `-`.
fn clean(value: &str) -> String {
    let words = value.to_lowercase();
    let words = words.split_whitespace().collect::<Vec<_>>().join("_");
    words.chars().filter(|c| c.is_alphanumeric() || matches!(c, '_' | '-')).collect()
}

impl fmt::Debug for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TopicPattern").field(&self.source).finish()
    }
}

impl TryFrom<String> for TopicPattern {
    type Error = BadPattern;

    fn try_from(source: String) -> Result<Self, BadPattern> {
        Self::parse(&source)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::delivery::Class;
    use crate::domain::event::{Organization, Shape};

    #[test]
    fn a_bad_pattern_says_what_is_wrong_with_it() {
        let unknown = |name: &str| BadPattern::UnknownVariable(name.into());
        for (pattern, expected) in [
            ("{plant}/{event}", unknown("plant")),
            ("{}", unknown("")),
            ("{ event }", unknown(" event ")),
            ("{Event}", unknown("Event")),
            ("{a{event}", unknown("a{event")),
            ("a/+/{event}", BadPattern::Wildcard('+')),
            ("{a#}", BadPattern::Wildcard('#')),
            ("a\u{85}", BadPattern::Control('\u{85}')),
            ("a/{event", BadPattern::UnclosedBrace),
            ("a/{event}}", BadPattern::UnopenedBrace),
            ("}{event}", BadPattern::UnopenedBrace),
            ("$SYS/{event}", BadPattern::Dollar),
            ("//$x", BadPattern::Dollar),
            ("", BadPattern::Empty),
            ("///", BadPattern::Empty),
        ] {
            assert_eq!(TopicPattern::parse(pattern), Err(expected), "{pattern:?}");
        }
        let said = unknown("plant").to_string();
        assert!(
            said.starts_with("unknown variable {plant}; there are enterprise, site, "),
            "{said}"
        );
        assert!(said.ends_with(", part_number, event, event_type, event_trigger, organization"));
        assert_eq!(BadPattern::Control('\t').to_string(), "the control character U+0009");
    }

    #[test]
    fn a_configuration_can_hold_a_pattern() {
        let pattern: TopicPattern = serde_json::from_str("\"a/{event}\"").unwrap();
        assert_eq!(pattern.as_str(), "a/{event}");
        assert_eq!(format!("{pattern:?}"), "TopicPattern(\"a/{event}\")");
        assert!(serde_json::from_str::<TopicPattern>("\"{x}\"").is_err());
    }

    #[track_caller]
    fn check(pattern: &str, cell: &str, trigger: &str, expected: &str) {
        let context = Context::from([("cell".into(), cell.into())]);
        let topic = TopicPattern::parse(pattern).unwrap().render(&context, "Job", trigger, "Acme");
        assert_eq!(topic.as_deref().map_err(|f| f.detail.as_str()), Ok(expected));
    }

    #[test]
    fn values_are_cleaned_and_literal_text_stays() {
        check("/Plant//{cell}/ {event}/", "a", "x", "Plant/a/ job/x");
        check("{cell}", "İß Ω²/a.b\u{85}$c\u{a0}_-", "x", "iß_ω²ab_c__-");
        check("{line}{cell}-{cell}", "\u{2003}É\t\n é ", "x", "é_é-é_é");
        check("{event}", "", ".a..b/c.", "job/a/bc");
        check("x{event}y", "", "a", "xjob/ay");
        check("{event_trigger}/{event_type}", "", "a.b", "ab/job");
        check("{cell}/$x", "a", "x", "a/$x");
    }

    #[track_caller]
    fn check_illegal(topic: Result<String, Failure>, detail: &str) {
        let failure = topic.unwrap_err();
        assert_eq!((failure.class, failure.reason.as_str()), (Class::Permanent, "illegal_topic"));
        assert_eq!(failure.detail, detail);
    }

    #[test]
    fn an_illegal_topic_is_a_permanent_failure() {
        let rendered = |pattern: &str| {
            TopicPattern::parse(pattern).unwrap().render(&Context::new(), ".", "*", "")
        };
        check_illegal(rendered("{cell}/{event}"), "the topic is empty");
        check_illegal(rendered("{cell}/$x"), "the topic begins with $, which is the broker's own");
        check_illegal(standard("a", "b+"), "the topic holds the wildcard +");
        check_illegal(standard("a", "\u{9f}"), "the topic holds the control character U+009F");
        let long = standard(&"a".repeat(65_530), "123456");
        check_illegal(long, "the topic has 65537 bytes, more than 65535");
        assert_eq!(standard(&"a".repeat(65_530), "1234").map(|topic| topic.len()), Ok(MAX_TOPIC));
    }

    #[test]
    fn known_events_keep_their_standard_topic() {
        let event = |kind: &str, trigger: &str| Event {
            id: "e".into(),
            event_type: kind.into(),
            event_trigger: trigger.into(),
            created_at: String::new(),
            created_by: String::new(),
            organization: Organization { name: "Acme Bio".into(), ..Organization::default() },
            source_environment: String::new(),
            context: Context::new(),
            shape: Shape::Plain,
            body: Bytes::from_static(b"{}"),
            payload: Bytes::from_static(b"{}"),
        };
        let pattern = TopicPattern::parse("{organization}/{event}").unwrap();
        let known = event("procedure run", "Step Execution");
        let other = event("job", "created");
        let topic = |pattern, for_all, event| {
            event_topic(pattern, for_all, event, &Context::new()).unwrap()
        };
        assert_eq!(topic(Some(&pattern), false, &known), "procedure_run/step_execution");
        assert_eq!(topic(Some(&pattern), true, &known), "acme_bio/procedure_run/step_execution");
        assert_eq!(topic(Some(&pattern), false, &other), "acme_bio/job/created");
        assert_eq!(topic(None, true, &known), "procedure_run/step_execution");
        assert_eq!(topic(None, false, &other), "job/created");
    }

    #[test]
    fn topic_fields_are_text_and_numbers_of_the_payload() {
        let payload =
            br#"{"cell":"A\u00e9\ud83d","n":{"x":[1.50,-2]},"e":"","b":true,"o":{},"z":null}"#;
        let fields = [
            ("cell", "/cell"),
            ("site", "/n/x/0"),
            ("area", "/n/x/1"),
            ("line", "/e"),
            ("operation", "/b"),
            ("job_number", "/o"),
            ("part_number", "/z"),
            ("enterprise", "/y"),
        ];
        let fields = fields.map(|(name, pointer)| (name.to_owned(), pointer.to_owned())).into();
        let expected = [("cell", "Aé\u{fffd}"), ("site", "1.50"), ("area", "-2")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(pointer_fields(payload, &fields), expected);
        assert_eq!(pointer_fields(b"\xff", &fields), Context::new());
    }

    proptest! {
        #[test]
        fn a_rendered_topic_is_always_legal(
            pattern in "([a-z$/ .}é]|\\{(cell|event|event_type|event_trigger|organization)\\}|/){0,8}",
            cell in any::<String>(),
            kind in any::<String>(),
            trigger in any::<String>(),
        ) {
            let context = Context::from([("cell".into(), cell.clone())]);
            let Ok(pattern) = TopicPattern::parse(&pattern) else { return Ok(()) };
            for topic in [pattern.render(&context, &kind, &trigger, &cell), standard(&kind, &trigger)] {
                let Ok(topic) = topic else { continue };
                prop_assert!(!topic.is_empty() && topic.len() <= 65_535 && !topic.starts_with('$'));
                let illegal = |c: char| {
                    c == '+' || c == '#' || c <= '\u{1f}' || ('\u{7f}'..='\u{9f}').contains(&c)
                };
                prop_assert!(!topic.contains(illegal), "{topic:?}");
            }
        }

        #[test]
        fn a_value_never_reaches_beyond_its_segment(value in any::<String>()) {
            let context = Context::from([("cell".into(), value)]);
            let pattern = TopicPattern::parse("a/{cell}/b").unwrap();
            let topic = pattern.render(&context, "x", "y", "").unwrap();
            prop_assert!(matches!(topic.split('/').count(), 2 | 3), "{topic:?}");
        }
    }
}
