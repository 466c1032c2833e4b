//! The delivery log of one endpoint: its last attempts, as an operator wants to see them.
//!
//! Owns what is kept of an attempt and how much: texts are cut, the oldest attempts go first. Refuses
//! clocks, and payloads: none is ever kept. Read [`super::pace`] next.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::delivery::Outcome;

/// How many attempts are kept where nobody says otherwise.
pub const DEFAULT_ATTEMPTS: usize = 200;
/// The most that may be kept for an endpoint.
pub const MOST_ATTEMPTS: usize = 10_000;
/// Bytes that are kept for each attempt on average, at most: 256 KiB for 200 of them.
const BYTES_EACH: usize = 1_310;
/// The most phases of one attempt; later ones are not kept.
pub const MAX_PHASES: usize = 16;
/// The longest event id and event name that is kept, in bytes.
pub(super) const MAX_NAME: usize = 256;
/// The longest error type that is kept, in bytes.
const MAX_ERROR_TYPE: usize = 64;
/// The longest detail that is kept, in bytes.
pub(super) const MAX_DETAIL: usize = 512;

/// What an attempt spends time on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// It waits for a place, or for the connection that all attempts share.
    Queue,
    /// The name is looked up.
    Resolve,
    /// Until the peer has accepted: TCP, or a broker's whole login.
    Connect,
    /// The TLS handshake.
    Tls,
    /// Until the request or message is written.
    Publish,
    /// Until the broker has received it (MQTT).
    Pubrec,
    /// Until the broker has completed it (MQTT).
    Pubcomp,
    /// Until the answer begins (HTTP).
    FirstByte,
    /// Until the answer's body is read (HTTP).
    Body,
    /// Until the broker has confirmed it (RabbitMQ).
    Confirm,
}

impl Step {
    /// The step as the API writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Publish => "publish",
            Self::Pubrec => "pubrec",
            Self::Pubcomp => "pubcomp",
            Self::FirstByte => "first_byte",
            Self::Body => "body",
            Self::Confirm => "confirm",
        }
    }
}

/// One step of an attempt, and how long it took. Steps follow each other, so that together they take
/// at most as long as the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    /// What was done.
    pub step: Step,
    /// How long it took; of the last one of an attempt that failed, until it was given up.
    pub took: Duration,
}

/// By which way an event came to its attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// From the source, through memory alone.
    Express,
    /// From the endpoint's own queue.
    Parked,
    /// From an operator, as a test.
    Test,
}

impl Origin {
    /// The way as the API writes it, as the attempt's lane.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Express => "express",
            Self::Parked => "parked",
            Self::Test => "test",
        }
    }
}

/// Which attempt it was.
#[derive(Clone, Copy, Debug)]
pub struct Which<'a> {
    /// The event's id.
    pub event_id: &'a str,
    /// The event's dotted name.
    pub event: &'a str,
    /// The how manieth attempt of this event at this endpoint; the first is 1.
    pub number: u32,
    /// By which way the event came.
    pub lane: Origin,
}

/// One attempt that has ended. Holds no secret, as no [`Outcome`] does, and no payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When it began.
    pub at: Timestamp,
    /// The event's id, at most 256 bytes of it; compare by [`Attempt::is_of`].
    pub event_id: String,
    /// The event's dotted name, at most 256 bytes of it.
    pub event: String,
    /// The how manieth attempt of this event at this endpoint; the first is 1.
    pub number: u32,
    /// By which way the event came.
    pub lane: Origin,
    /// `delivered`, or the failure's class: `transient`, `permanent`, `misconfigured`.
    pub outcome: &'static str,
    /// The failure's constant word: `timeout`, `http_503`, `mqtt_not_authorized`.
    pub error_type: Option<String>,
    /// The failure in one sentence, at most 512 bytes of it.
    pub detail: Option<String>,
    /// The HTTP status, where there was one.
    pub status: Option<u16>,
    /// From its beginning to its end.
    pub took: Duration,
    /// What that time was spent on, in order; at most 16.
    pub phases: Vec<Phase>,
}

impl Attempt {
    /// An attempt that began `at` and `took` so long.
    #[must_use]
    pub fn new(
        which: Which<'_>,
        at: Timestamp,
        outcome: &Outcome,
        took: Duration,
        mut phases: Vec<Phase>,
    ) -> Self {
        phases.truncate(MAX_PHASES);
        let (word, error_type, detail, status) = match outcome {
            Outcome::Delivered { status } => ("delivered", None, None, *status),
            Outcome::Failed(failure) => (
                failure.class.as_str(),
                Some(cut(&failure.reason, MAX_ERROR_TYPE).to_owned()),
                Some(cut(&failure.detail, MAX_DETAIL).to_owned()),
                failure.reason.strip_prefix("http_").and_then(|status| status.parse().ok()),
            ),
        };
        Self {
            at,
            event_id: cut(which.event_id, MAX_NAME).to_owned(),
            event: cut(which.event, MAX_NAME).to_owned(),
            number: which.number,
            lane: which.lane,
            outcome: word,
            error_type,
            detail,
            status,
            took,
            phases,
        }
    }

    /// Whether it was one for the event of this id.
    #[must_use]
    pub fn is_of(&self, event_id: &str) -> bool {
        self.event_id == cut(event_id, MAX_NAME)
    }

    fn bytes(&self) -> usize {
        let texts = [Some(&self.event_id), Some(&self.event), self.error_type.as_ref()];
        let texts = texts.into_iter().chain([self.detail.as_ref()]).flatten();
        let phases = self.phases.capacity() * size_of::<Phase>();
        size_of::<Self>() + phases + texts.map(String::capacity).sum::<usize>()
    }
}

/// The longest beginning of a text that has at most so many bytes and ends with a whole character.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}

/// The last attempts of an endpoint. Takes at most 1,310 bytes an attempt on average, plus a pointer
/// each.
#[derive(Debug)]
pub struct AttemptLog {
    most: usize,
    bytes: usize,
    attempts: VecDeque<Arc<Attempt>>,
}

impl Default for AttemptLog {
    fn default() -> Self {
        Self::new(DEFAULT_ATTEMPTS)
    }
}

impl AttemptLog {
    /// A log that keeps so many attempts, at most 10,000; 0 keeps none.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most: most.min(MOST_ATTEMPTS), bytes: 0, attempts: VecDeque::new() }
    }

    /// From now on it keeps so many. The oldest go if there are more.
    pub fn keep(&mut self, most: usize) {
        self.most = most.min(MOST_ATTEMPTS);
        self.shed();
    }

    /// Whether it keeps any.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.most > 0
    }

    /// Notes an attempt. The oldest ones go when there are too many, or when they are too large.
    pub fn note(&mut self, attempt: Attempt) {
        if self.is_on() {
            self.bytes += attempt.bytes();
            self.attempts.push_back(Arc::new(attempt));
            self.shed();
        }
    }

    /// The attempts, the newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Arc<Attempt>> {
        self.attempts.iter().rev()
    }

    fn shed(&mut self) {
        while self.attempts.len() > self.most || self.bytes > self.most * BYTES_EACH {
            let Some(oldest) = self.attempts.pop_front() else { return };
            self.bytes -= oldest.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::delivery::Failure;

    fn attempt(event_id: &str, outcome: &Outcome) -> Attempt {
        let which = Which { event_id, event: "a.b", number: 1, lane: Origin::Express };
        Attempt::new(which, Timestamp::UNIX_EPOCH, outcome, Duration::from_millis(3), Vec::new())
    }

    fn ids(log: &AttemptLog) -> Vec<&str> {
        log.newest_first().map(|attempt| attempt.event_id.as_str()).collect()
    }

    #[test]
    fn the_newest_come_first_and_the_oldest_go() {
        let mut log = AttemptLog::new(3);
        for id in ["1", "2", "3", "4"] {
            log.note(attempt(id, &Outcome::delivered()));
        }
        assert_eq!(ids(&log), ["4", "3", "2"]);
        log.keep(1);
        assert_eq!(ids(&log), ["4"]);
    }

    #[test]
    fn a_log_of_none_keeps_none_and_forgets_what_it_had() {
        let mut log = AttemptLog::new(2);
        log.note(attempt("1", &Outcome::delivered()));
        log.keep(0);
        log.note(attempt("2", &Outcome::delivered()));
        assert!(ids(&log).is_empty() && !log.is_on());
        assert_eq!(log.bytes, 0);
    }

    #[test]
    fn an_outcome_is_kept_in_the_words_of_the_api() {
        let delivered = attempt("1", &Outcome::Delivered { status: Some(204) });
        assert_eq!((delivered.outcome, delivered.status), ("delivered", Some(204)));
        assert_eq!((delivered.error_type, delivered.detail), (None, None));
        let failed = attempt("1", &Failure::transient("http_503", "answered 503").into());
        assert_eq!((failed.outcome, failed.status), ("transient", Some(503)));
        assert_eq!(failed.error_type.as_deref(), Some("http_503"));
        assert_eq!(failed.detail.as_deref(), Some("answered 503"));
        let silent = attempt("1", &Failure::misconfigured("dns", "no such name").into());
        assert_eq!((silent.outcome, silent.status), ("misconfigured", None));
    }

    #[test]
    fn an_id_that_was_cut_is_still_known() {
        let id = "é".repeat(1_000);
        let kept = attempt(&id, &Outcome::delivered());
        assert_eq!(kept.event_id.len(), 256);
        assert!(kept.is_of(&id) && !kept.is_of("é"));
    }

    proptest! {
        #[test]
        fn number_and_bytes_are_bounded_and_the_newest_are_what_is_left(
            most in 0..40_usize,
            details in prop::collection::vec((0..2_000_usize, 0..40_usize), 0..120),
        ) {
            let mut log = AttemptLog::new(most);
            for (index, (length, phases)) in details.iter().enumerate() {
                let failure = Failure::transient("timeout", "x".repeat(*length));
                let mut attempt = attempt(&index.to_string(), &failure.into());
                let phase = Phase { step: Step::Body, took: Duration::ZERO };
                attempt.phases = vec![phase; *phases];
                log.note(attempt);
                let bytes: usize = log.attempts.iter().map(|attempt| attempt.bytes()).sum();
                prop_assert_eq!(log.bytes, bytes);
                prop_assert!(log.attempts.len() <= most && bytes <= most * BYTES_EACH);
            }
            let newest: Vec<String> = (0..details.len()).rev().map(|i| i.to_string()).collect();
            let kept = ids(&log);
            prop_assert_eq!(&newest[..kept.len()], kept);
        }
    }
}
