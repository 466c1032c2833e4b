//! Settling: what happens to a route after an attempt.
//!
//! Owns the step from an outcome to *delivered*, *wait*, *park* or *dead*. Refuses to perform it:
//! the endpoint actor and parking do. Read [`super::retry`] next.

use std::time::Duration;

use jiff::Timestamp;

use super::retry::{self, RetrySettings};
use crate::domain::delivery::{Class, Outcome};

/// How often one event may take its endpoint actor down before it is dead-lettered.
pub const MAX_PANICS: u32 = 3;
/// The reason of an attempt that panicked.
pub const PANICKED: &str = "panicked";

/// How far a route has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// When lockgate first saw the event.
    pub received_at: Timestamp,
    /// Attempts made so far.
    pub attempts: u32,
    /// How many of them panicked.
    pub panics: u32,
    /// When the first attempt ended.
    pub first_attempt_at: Option<Timestamp>,
    /// When the last attempt ended.
    pub last_attempt_at: Option<Timestamp>,
    /// Why the last attempt failed, or why it was parked: a short constant word.
    pub reason: String,
    /// The same in words.
    pub last_error: String,
}

impl Progress {
    /// A route that nobody has attempted.
    #[must_use]
    pub fn new(received_at: Timestamp) -> Self {
        Self {
            received_at,
            attempts: 0,
            panics: 0,
            first_attempt_at: None,
            last_attempt_at: None,
            reason: String::new(),
            last_error: String::new(),
        }
    }

    /// Notes an attempt that ended at `now`.
    pub fn attempted(&mut self, outcome: &Outcome, now: Timestamp) {
        self.attempts = self.attempts.saturating_add(1);
        self.first_attempt_at.get_or_insert(now);
        self.last_attempt_at = Some(now);
        if let Outcome::Failed(failure) = outcome {
            if failure.reason == PANICKED {
                self.panics = self.panics.saturating_add(1);
            }
            self.reason.clone_from(&failure.reason);
            self.last_error.clone_from(&failure.detail);
        }
    }
}

/// What is to be done with a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is settled: the peer has it.
    Delivered,
    /// It goes to this rung, and from there to the endpoint's queue.
    Wait(Duration),
    /// It goes to the endpoint's queue at once.
    Park,
    /// It goes to the endpoint's dead-letter queue.
    Dead,
}

/// What is to be done after an attempt; `progress` knows of it already. `chance` is `0.0..1.0`.
#[must_use]
pub fn after(
    outcome: &Outcome,
    progress: &Progress,
    settings: &RetrySettings,
    now: Timestamp,
    chance: f64,
) -> Next {
    let failure = match outcome {
        Outcome::Delivered { .. } => return Next::Delivered,
        Outcome::Failed(failure) => failure,
    };
    let first = progress.first_attempt_at.unwrap_or(now);
    match failure.class {
        Class::Permanent => Next::Dead,
        Class::Misconfigured => Next::Park,
        Class::Transient if progress.panics >= MAX_PANICS => Next::Dead,
        Class::Transient if retry::exhausted(settings, progress.attempts, first, now) => Next::Dead,
        Class::Transient => Next::Wait(retry::rung(
            &settings.schedule,
            progress.attempts,
            failure.retry_after,
            chance,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::Failure;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn check(what: &str, outcome: &Outcome, before: u32, now: i64, expected: Next) {
        let mut progress = Progress::new(at(0));
        for _ in 0..=before {
            progress.attempted(outcome, at(if before == 0 { now } else { 0 }));
        }
        let next = after(outcome, &progress, &RetrySettings::default(), at(now), 0.999);
        assert_eq!(next, expected, "{what}");
    }

    #[test]
    fn an_outcome_decides_what_happens_next() {
        let transient = Outcome::Failed(Failure::transient("timeout", ""));
        let permanent = Outcome::Failed(Failure::permanent("http_400", ""));
        let misconfigured = Outcome::Failed(Failure::misconfigured("http_401", ""));
        let panicked = Outcome::Failed(Failure::transient(PANICKED, ""));
        check("delivered", &Outcome::delivered(), 0, 0, Next::Delivered);
        check("permanent", &permanent, 0, 0, Next::Dead);
        check("misconfigured", &misconfigured, 9, 999_999_999, Next::Park);
        check("first transient", &transient, 0, 0, Next::Wait(Duration::from_secs(5)));
        check("too old", &transient, 5, 72 * 3_600 + 1, Next::Dead);
        check("second panic", &panicked, 1, 0, Next::Wait(Duration::from_secs(30)));
        check("third panic", &panicked, 2, 0, Next::Dead);
    }

    #[test]
    fn the_first_attempt_keeps_its_time() {
        let mut progress = Progress::new(at(0));
        let failed = Outcome::Failed(Failure::transient("timeout", "no answer"));
        progress.attempted(&failed, at(1));
        progress.attempted(&failed, at(2));
        assert_eq!(progress.first_attempt_at, Some(at(1)));
        assert_eq!(progress.last_attempt_at, Some(at(2)));
        assert_eq!((progress.attempts, progress.last_error.as_str()), (2, "no answer"));
    }
}
