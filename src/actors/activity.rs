//! Activity: what an endpoint and the source did lately, as the board shows it.
//!
//! Owns the clock and the locks around [`crate::logic::attempt_log`] and [`crate::logic::pace`]; each
//! is held for a few steps, so writers never wait for readers. Refuses to decide. Read
//! [`super::board`] next.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::logic::attempt_log::{Attempt, AttemptLog, Origin};
use crate::logic::pace::{Durations, Pace, Percentiles};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is one step: a panic cannot leave half of it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is counted over time, on a clock of its own.
#[derive(Debug)]
pub(super) struct Paced {
    began: Instant,
    pace: Mutex<Pace>,
}

impl Default for Paced {
    fn default() -> Self {
        Self { began: Instant::now(), pace: Mutex::default() }
    }
}

impl Paced {
    pub(super) fn add(&self) {
        lock(&self.pace).add(self.now());
    }

    pub(super) fn rates(&self) -> Vec<f64> {
        let pace = lock(&self.pace).clone();
        pace.rates(self.now())
    }

    pub(super) fn rate(&self) -> f64 {
        lock(&self.pace).rate(self.now())
    }

    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

/// The last attempts of an endpoint.
#[derive(Debug, Default)]
pub(super) struct Activity {
    delivered: Paced,
    attempts: Mutex<(AttemptLog, Durations)>,
}

impl Activity {
    pub(super) fn keep(&self, attempts: usize) {
        lock(&self.attempts).0.keep(attempts);
    }

    /// Notes an attempt. A test counts for nothing, and is only written down.
    pub(super) fn note(&self, attempt: Attempt) {
        let counts = attempt.lane != Origin::Test;
        if counts && attempt.outcome == "delivered" {
            self.delivered.add();
        }
        let mut attempts = lock(&self.attempts);
        if counts {
            attempts.1.add(attempt.took);
        }
        attempts.0.note(attempt);
    }

    pub(super) fn delivered(&self) -> &Paced {
        &self.delivered
    }

    pub(super) fn attempts(&self) -> Vec<Arc<Attempt>> {
        lock(&self.attempts).0.newest_first().cloned().collect()
    }

    pub(super) fn percentiles(&self) -> Option<Percentiles> {
        let durations = lock(&self.attempts).1.clone();
        durations.percentiles()
    }
}

/// How many messages are ready in a queue, as far as is known.
#[derive(Debug)]
pub struct Depth(AtomicU64);

const UNKNOWN: u64 = u64::MAX;

impl Default for Depth {
    fn default() -> Self {
        Self(AtomicU64::new(UNKNOWN))
    }
}

impl Depth {
    /// The depth when it was last asked for, a few seconds ago; `None` while the bus does not answer,
    /// and where there is no such queue.
    #[must_use]
    pub fn get(&self) -> Option<u32> {
        u32::try_from(self.0.load(Ordering::Relaxed)).ok()
    }

    pub(super) fn set(&self, depth: Option<u32>) {
        self.0.store(depth.map_or(UNKNOWN, u64::from), Ordering::Relaxed);
    }
}

/// Since when something has been so.
#[derive(Debug)]
pub(super) struct Since(AtomicU64);

impl Default for Since {
    fn default() -> Self {
        Self(AtomicU64::new(UNKNOWN))
    }
}

impl Since {
    /// It has been so for this long at `now`; `None`: it is not so.
    pub(super) fn set(&self, age: Option<Duration>, now: Duration) {
        let since = age.map(|age| now.saturating_sub(age).as_micros());
        let since = since.and_then(|since| u64::try_from(since).ok());
        self.0.store(since.unwrap_or(UNKNOWN), Ordering::Relaxed);
    }

    /// For how long it has been so at `now`.
    pub(super) fn age(&self, now: Duration) -> Option<Duration> {
        let since = self.0.load(Ordering::Relaxed);
        (since != UNKNOWN).then(|| now.saturating_sub(Duration::from_micros(since)))
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::domain::delivery::{Failure, Outcome};
    use crate::logic::attempt_log::Which;

    fn attempt(lane: Origin, outcome: &Outcome, millis: u64) -> Attempt {
        let which = Which { event_id: "1", event: "a.b", number: 1, lane };
        let took = Duration::from_millis(millis);
        Attempt::new(which, Timestamp::UNIX_EPOCH, outcome, took, Vec::new())
    }

    #[tokio::test(start_paused = true)]
    async fn a_test_is_written_down_and_counts_for_nothing() {
        let activity = Activity::default();
        activity.note(attempt(Origin::Test, &Outcome::delivered(), 900));
        assert_eq!(activity.attempts().len(), 1);
        assert_eq!((activity.percentiles(), activity.delivered().rate()), (None, 0.0));
        activity.note(attempt(Origin::Parked, &Outcome::delivered(), 5));
        activity.note(attempt(Origin::Express, &Failure::transient("timeout", "").into(), 5));
        assert_eq!(activity.attempts().len(), 3);
        assert_eq!(activity.percentiles().map(|p| p.p99), Some(Duration::from_millis(5)));
        assert!(activity.delivered().rate() > 0.0);
        tokio::time::advance(Duration::from_secs(11)).await;
        assert!(activity.delivered().rate().abs() < f64::EPSILON);
        let counted: f64 = activity.delivered().rates().iter().sum();
        assert!((counted - 0.2).abs() < 1e-9, "one delivery within 5 s: {counted}");
    }

    #[test]
    fn a_depth_is_unknown_until_it_is_told() {
        let depth = Depth::default();
        assert_eq!(depth.get(), None);
        for told in [Some(0), Some(u32::MAX), None] {
            depth.set(told);
            assert_eq!(depth.get(), told);
        }
    }

    #[test]
    fn an_age_grows_by_itself_until_it_ends() {
        let (since, second) = (Since::default(), Duration::from_secs(1));
        assert_eq!(since.age(second), None);
        since.set(Some(second), 3 * second);
        assert_eq!(since.age(7 * second), Some(5 * second));
        since.set(None, 8 * second);
        assert_eq!(since.age(9 * second), None);
    }
}
