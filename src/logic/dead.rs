//! Dead letters: what is shown of one, which ones are meant, and how one is made ready to go again.
//!
//! Owns the view of a letter, the filter over letters, and the two forms in which a letter is stored
//! again: as it is ([`kept`], which a round through the queue needs) and as if it had never been
//! attempted ([`revived`]). Refuses to move anything: that is [`crate::bus::dead`]. Read
//! [`super::parcel`] for the headers.

use std::collections::BTreeSet;

use jiff::Timestamp;
use lapin::types::AMQPValue;

use super::moment;
use super::parcel::{self, Record};
use super::routing::Pattern;
use crate::domain::delivery::Message;
use crate::domain::names::normal_form;

/// The reason of what RabbitMQ itself moved, where RabbitMQ does not say one.
pub const DELIVERY_LIMIT: &str = "delivery_limit";
/// The reason under which a replayed letter is parked.
pub const REPLAYED: &str = "replayed";

/// What is known of a dead letter without its body. What nobody knows is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letter {
    /// The event's id.
    pub event_id: Option<String>,
    /// The event's type, raw.
    pub event_type: Option<String>,
    /// The event's trigger, raw.
    pub event_trigger: Option<String>,
    /// The event configuration that sent it to the endpoint.
    pub configuration: Option<String>,
    /// Why it is dead: a short word. What RabbitMQ itself moved has RabbitMQ's: `delivery_limit`.
    pub reason: Option<String>,
    /// The last failure in words.
    pub last_error: Option<String>,
    /// Attempts made.
    pub attempts: u32,
    /// How often an attempt of it took its endpoint actor down.
    pub panics: u32,
    /// When lockgate first saw the event.
    pub received_at: Option<Timestamp>,
    /// When the first attempt ended.
    pub first_attempt_at: Option<Timestamp>,
    /// When the last attempt ended.
    pub last_attempt_at: Option<Timestamp>,
    /// Since when it is dead.
    pub dead_since: Option<Timestamp>,
    /// The size of its body, in bytes.
    pub bytes: usize,
}

impl Letter {
    /// What a message of a dead-letter queue says about itself.
    #[must_use]
    pub fn of(message: &Message) -> Self {
        let text = |name: &str| parcel::read_text(message, name).filter(|text| !text.is_empty());
        let time = |name: &str| parcel::read_time(message, name);
        let moved = Moved::of(message);
        let own_id = || message.properties.message_id().as_ref().map(ToString::to_string);
        let (reason, dead_since) = match moved {
            Some(moved) => (Some(moved.reason), moved.at.or_else(|| time("parked-at"))),
            None => (text("reason"), time("parked-at")),
        };
        Self {
            event_id: text("event-id").or_else(own_id),
            event_type: text("event-type"),
            event_trigger: text("event-trigger"),
            configuration: text("configuration"),
            reason,
            last_error: text("last-error"),
            attempts: parcel::read_count(message, "attempts"),
            panics: parcel::read_count(message, "panics"),
            received_at: time("received-at"),
            first_attempt_at: time("first-attempt-at"),
            last_attempt_at: time("last-attempt-at"),
            dead_since,
            bytes: message.body.len(),
        }
    }
}

/// That RabbitMQ itself put a message where it is. What lockgate stores never bears this mark.
struct Moved {
    reason: String,
    at: Option<Timestamp>,
}

impl Moved {
    fn of(message: &Message) -> Option<Self> {
        let AMQPValue::FieldArray(deaths) = message.header("x-death")? else { return None };
        // The latest comes first.
        let AMQPValue::FieldTable(latest) = deaths.as_slice().first()? else { return None };
        let reason = match latest.inner().get("reason") {
            Some(AMQPValue::LongString(reason)) => reason.to_string(),
            _ => DELIVERY_LIMIT.to_owned(),
        };
        let at = match latest.inner().get("time") {
            Some(AMQPValue::Timestamp(seconds)) => moment::from_seconds(*seconds),
            _ => None,
        };
        Some(Self { reason, at })
    }
}

/// Which letters are meant: those that meet every condition that is set. None set: all of them.
/// What a letter does not say meets no condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Exactly these events.
    pub event_ids: Option<BTreeSet<String>>,
    /// Events of this kind, compared in normal form.
    pub kind: Option<Pattern>,
    /// Exactly this reason.
    pub reason: Option<String>,
    /// Dead since this moment or longer.
    pub dead_by: Option<Timestamp>,
    /// Dead since later than this moment.
    pub dead_after: Option<Timestamp>,
}

impl Filter {
    /// Whether it means every letter.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it means this letter.
    #[must_use]
    pub fn matches(&self, letter: &Letter) -> bool {
        let named = |ids: &BTreeSet<String>| {
            letter.event_id.as_ref().is_some_and(|event_id| ids.contains(event_id))
        };
        let since = |holds: &dyn Fn(Timestamp) -> bool| letter.dead_since.is_some_and(holds);
        self.event_ids.as_ref().is_none_or(named)
            && (self.reason.is_none() || self.reason == letter.reason)
            && self.kind.as_ref().is_none_or(|kind| is_of(kind, letter))
            && self.dead_by.is_none_or(|by| since(&|at| at <= by))
            && self.dead_after.is_none_or(|after| since(&|at| at > after))
    }
}

fn is_of(kind: &Pattern, letter: &Letter) -> bool {
    match (&letter.event_type, &letter.event_trigger) {
        (Some(event_type), Some(event_trigger)) => {
            kind.matches(&normal_form(event_type), &normal_form(event_trigger))
        }
        _ => false,
    }
}

/// The letter to be stored among the dead letters again: the same letter. Only what would send it
/// astray is taken off, and what RabbitMQ's mark said is written as lockgate says it.
#[must_use]
pub fn kept(letter: &Message) -> Message {
    let again = parcel::again(letter);
    match Moved::of(letter) {
        Some(moved) => parcel::marked(&again, &moved.reason, moved.at),
        None => again,
    }
}

/// The letter to be parked for its endpoint at `now`, as if nobody had attempted it yet.
#[must_use]
pub fn revived(letter: &Message, now: Timestamp) -> Message {
    let Some((message, record)) = parcel::unpack(letter) else { return parcel::bare(letter) };
    let fresh = Record {
        attempts: 0,
        panics: 0,
        first_attempt_at: None,
        last_attempt_at: None,
        reason: REPLAYED.to_owned(),
        last_error: String::new(),
        ..record
    };
    parcel::pack(&message, &fresh, now)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lapin::types::{FieldArray, FieldTable};
    use proptest::prelude::*;

    use super::*;
    use crate::domain::delivery::Properties;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn record() -> Record {
        Record {
            event_id: "e-1".into(),
            event_type: "Procedure Run".into(),
            event_trigger: "step_execution".into(),
            configuration: "steps".into(),
            attempts: 7,
            panics: 2,
            received_at: at(1),
            first_attempt_at: Some(at(2)),
            last_attempt_at: Some(at(3)),
            reason: "http_400".into(),
            last_error: "400 Bad Request".into(),
        }
    }

    fn letter(record: &Record, dead_since: i64) -> Message {
        let mut headers = FieldTable::default();
        headers.insert("X-Plant".into(), AMQPValue::LongLongInt(7));
        let message = Message {
            exchange: "Procedure Run".into(),
            routing_key: "step_execution".into(),
            properties: Properties::default()
                .with_headers(headers)
                .with_message_id("m-1".into())
                .with_content_type("application/json".into()),
            body: Bytes::from_static(b"{ \"a\" : 1.0 }"),
            redelivered: false,
        };
        parcel::pack(&message, record, at(dead_since))
    }

    /// As RabbitMQ moves it out of the parked queue, after it had come there through a rung.
    fn moved(letter: &Message, reason: &str, second: u64) -> Message {
        let death = |reason: &str, queue: &str, second| {
            let mut death = FieldTable::default();
            death.insert("reason".into(), AMQPValue::LongString(reason.into()));
            death.insert("queue".into(), AMQPValue::LongString(queue.into()));
            death.insert("time".into(), AMQPValue::Timestamp(second));
            AMQPValue::FieldTable(death)
        };
        let deaths = FieldArray::from(vec![
            death(reason, "lockgate.ep.erp.parked", second),
            death("expired", "lockgate.wait.5s", 1),
        ]);
        let mut headers = letter.properties.headers().clone().unwrap_or_default();
        headers.insert("x-death".into(), AMQPValue::FieldArray(deaths));
        headers.insert("x-first-death-reason".into(), AMQPValue::LongString("expired".into()));
        headers.insert("x-last-death-queue".into(), AMQPValue::LongString("q".into()));
        headers.insert("x-delivery-count".into(), AMQPValue::LongLongInt(3));
        let properties = letter.properties.clone().with_headers(headers);
        Message { properties, ..letter.clone() }
    }

    fn names(message: &Message) -> Vec<String> {
        let headers = message.properties.headers().clone().unwrap_or_default();
        headers.inner().keys().map(ToString::to_string).collect()
    }

    #[test]
    fn a_letter_says_what_its_headers_say() {
        let found = Letter::of(&letter(&record(), 4));
        assert_eq!(found.event_id.as_deref(), Some("e-1"));
        assert_eq!(found.event_type.as_deref(), Some("Procedure Run"));
        assert_eq!((found.attempts, found.panics, found.bytes), (7, 2, 13));
        assert_eq!(found.reason.as_deref(), Some("http_400"));
        assert_eq!(found.last_error.as_deref(), Some("400 Bad Request"));
        assert_eq!((found.first_attempt_at, found.last_attempt_at), (Some(at(2)), Some(at(3))));
        assert_eq!(found.dead_since, Some(at(4)));
    }

    #[test]
    fn what_rabbitmq_itself_moved_shows_its_reason_and_its_time() {
        let found = Letter::of(&moved(&letter(&record(), 4), "delivery_limit", 9));
        assert_eq!(found.reason.as_deref(), Some("delivery_limit"));
        assert_eq!(found.dead_since, Some(at(9)));
        assert_eq!(found.attempts, 7);
    }

    #[test]
    fn a_message_that_is_no_parcel_is_a_letter_that_says_little() {
        let foreign = Message { body: Bytes::from_static(b"x"), ..Message::default() };
        assert_eq!(Letter::of(&foreign), Letter { bytes: 1, ..Letter::default() });
        assert!(Filter::default().matches(&Letter::of(&foreign)));
        assert_eq!(revived(&foreign, at(0)).body, foreign.body);
        assert_eq!(kept(&foreign).body, foreign.body);
    }

    #[test]
    fn a_filter_means_the_letters_that_meet_all_of_it() {
        let letter = Letter::of(&letter(&record(), 100));
        let kind = |text: &str| Some(text.parse().unwrap());
        let text = |text: &str| Some(text.to_owned());
        let ids = |ids: &[&str]| Some(ids.iter().map(ToString::to_string).collect());
        let none = Filter::default;
        for (what, filter, meant) in [
            ("nothing asked", none(), true),
            ("its id", Filter { event_ids: ids(&["e-1"]), ..none() }, true),
            ("its id among others", Filter { event_ids: ids(&["e-0", "e-1"]), ..none() }, true),
            ("other ids", Filter { event_ids: ids(&["e-2", "e-3"]), ..none() }, false),
            ("no id at all", Filter { event_ids: ids(&[]), ..none() }, false),
            ("its kind", Filter { kind: kind("procedure run/STEP_EXECUTION"), ..none() }, true),
            ("its kind, dotted", Filter { kind: kind("procedure_run.*"), ..none() }, true),
            ("another kind", Filter { kind: kind("Batch/*"), ..none() }, false),
            ("its reason", Filter { reason: text("http_400"), ..none() }, true),
            ("a part of its reason", Filter { reason: text("http"), ..none() }, false),
            ("old enough", Filter { dead_by: Some(at(100)), ..none() }, true),
            ("too young", Filter { dead_by: Some(at(99)), ..none() }, false),
            ("young enough", Filter { dead_after: Some(at(99)), ..none() }, true),
            ("too old", Filter { dead_after: Some(at(100)), ..none() }, false),
            (
                "one of two",
                Filter { event_ids: ids(&["e-1"]), reason: text("timeout"), ..none() },
                false,
            ),
        ] {
            assert_eq!(filter.matches(&letter), meant, "{what}");
            assert_eq!(filter.is_everything(), what == "nothing asked");
        }
    }

    #[test]
    fn what_a_letter_does_not_say_meets_no_condition() {
        let silent = Letter::default();
        for filter in [
            Filter { event_ids: Some([String::new()].into()), ..Filter::default() },
            Filter { kind: Some("*/*".parse().unwrap()), ..Filter::default() },
            Filter { reason: Some(String::new()), ..Filter::default() },
            Filter { dead_by: Some(Timestamp::MAX), ..Filter::default() },
            Filter { dead_after: Some(Timestamp::MIN), ..Filter::default() },
        ] {
            assert!(!filter.matches(&silent), "{filter:?}");
        }
    }

    #[test]
    fn a_revived_letter_was_never_attempted_and_is_the_same_event() {
        let dead = moved(&letter(&record(), 4), "delivery_limit", 9);
        let revived = revived(&dead, at(50));
        let (message, read) = parcel::unpack(&revived).unwrap();
        assert_eq!((read.attempts, read.panics), (0, 0));
        assert_eq!((read.first_attempt_at, read.last_attempt_at), (None, None));
        assert_eq!((read.reason.as_str(), read.last_error.as_str()), (REPLAYED, ""));
        assert_eq!(parcel::parked_at(&revived), Some(at(50)));
        assert_eq!(
            (read.event_id.as_str(), read.configuration.as_str(), read.received_at),
            ("e-1", "steps", at(1))
        );
        assert_eq!((message.exchange.as_str(), &message.body), ("Procedure Run", &dead.body));
        assert_eq!(message.header("X-Plant"), Some(&AMQPValue::LongLongInt(7)));
        assert!(!names(&revived).iter().any(|name| name.starts_with("x-")), "{revived:?}");
    }

    fn any_record() -> impl Strategy<Value = Record> {
        let time = || proptest::option::of(0_i64..4_000_000_000);
        (
            ("[a-zA-Z0-9-]{0,40}", ".{0,40}", ".{1,20}"),
            (any::<u32>(), any::<u32>()),
            (time(), time()),
        )
            .prop_map(
                |((event_id, last_error, event_type), (attempts, panics), (first, last))| Record {
                    event_id,
                    event_type,
                    last_error,
                    attempts,
                    panics,
                    first_attempt_at: first.map(at),
                    last_attempt_at: last.map(at),
                    ..record()
                },
            )
    }

    proptest! {
        #[test]
        fn a_letter_that_went_round_is_the_same_letter(
            record in any_record(), since in 0_i64..4_000_000_000,
            reason in proptest::option::of("[a-z_]{1,20}"), rounds in 1_usize..4,
        ) {
            let own = letter(&record, since);
            let letter = reason.map_or(own.clone(), |reason| moved(&own, &reason, 77));
            let mut round = letter.clone();
            for _ in 0..rounds {
                round = kept(&round);
            }
            prop_assert_eq!(Letter::of(&round), Letter::of(&letter));
            prop_assert_eq!(&round.body, &letter.body);
            prop_assert_eq!(names(&round), names(&own));
            prop_assert_eq!(round.properties.message_id(), letter.properties.message_id());
            prop_assert_eq!(revived(&round, at(5)), revived(&letter, at(5)));
            if letter == own {
                prop_assert_eq!(round, letter);
            }
        }
    }
}
