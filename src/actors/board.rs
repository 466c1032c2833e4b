//! The board: what the actors show each other, and what the outside may read.
//!
//! Owns gauges and each endpoint's state as shared memory. Refuses to decide. Read
//! [`super::counters`] and [`super::activity`], which stand on it, then [`super::route`] for who moves
//! the counters.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;

pub use super::activity::Depth;
pub use super::counters::{Count, Counters};

use super::activity::{Activity, Paced, Since};
use crate::domain::names::Name;
use crate::logic::attempt_log::Attempt;
use crate::logic::pace::Percentiles;

/// How an endpoint is, in the operator's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Health {
    /// What comes is delivered.
    #[default]
    Healthy,
    /// Attempts fail, or events take the way through its queue.
    Degraded,
    /// It is left alone for a while.
    Open,
    /// It is switched off: what comes is parked.
    Paused,
    /// No event passes until somebody mends its configuration or the partner's.
    Misconfigured,
}

impl Health {
    /// The state as the page, logs and metrics write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Open => "open",
            Self::Paused => "paused",
            Self::Misconfigured => "misconfigured",
        }
    }
}

/// Why something failed last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// A short constant word: `timeout`, `http_503`, `missing_queues`.
    pub reason: String,
    /// The failure in words, with its reason where an attempt failed; no secret.
    pub text: String,
    /// When.
    pub at: Timestamp,
}

/// An endpoint's state and why.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// How it is.
    pub health: Health,
    /// Since when; `None` before its actor has started.
    pub since: Option<Timestamp>,
    /// The last failure. It stays when all is well again.
    pub last_error: Option<LastError>,
    /// When an endpoint that is left alone is tried again; `None` while it is not left alone, and
    /// while it is switched off.
    pub next_probe: Option<Timestamp>,
}

/// What one endpoint shows.
#[derive(Debug, Default)]
pub struct Shown {
    /// Its counters.
    pub counters: Counters,
    /// It could begin an attempt now.
    pub has_room: AtomicBool,
    /// An operator has paused it in this instance, until resumed.
    pub paused: AtomicBool,
    /// What waits in its parked queue, over all instances.
    pub parked: Depth,
    /// What is in its dead-letter queue.
    pub dead: Depth,
    activity: Activity,
    lacks_queues: AtomicBool,
    status: Mutex<Status>,
}

impl Shown {
    /// The endpoint's state now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.state().clone()
    }

    fn state(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last attempts that ended, tests included, the newest first: as many as `admin.attempt_log`
    /// says.
    #[must_use]
    pub fn attempts(&self) -> Vec<Arc<Attempt>> {
        self.activity.attempts()
    }

    /// Deliveries per second in each 5 s of the last 15 minutes: 180 numbers, the oldest first; the
    /// last one is that of the seconds that have just begun.
    #[must_use]
    pub fn rates(&self) -> Vec<f64> {
        self.activity.delivered().rates()
    }

    /// Deliveries per second over the last ten seconds.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.activity.delivered().rate()
    }

    /// How long its last 512 attempts took, tests apart; `None` before the first one has ended.
    #[must_use]
    pub fn percentiles(&self) -> Option<Percentiles> {
        self.activity.percentiles()
    }

    /// Notes an attempt that has ended.
    pub fn note(&self, attempt: Attempt) {
        self.activity.note(attempt);
    }

    /// From now on it keeps so many attempts, at most 10,000.
    pub fn keep_attempts(&self, attempts: usize) {
        self.activity.keep(attempts);
    }

    /// Its queues are missing on the bus: nothing may be attempted, since nothing could be parked.
    #[must_use]
    pub fn lacks_queues(&self) -> bool {
        self.lacks_queues.load(Ordering::Relaxed)
    }

    /// Notes which of its queues are missing, in words; `None`: none is.
    pub fn lack(&self, missing: Option<String>, now: Timestamp) {
        self.lacks_queues.store(missing.is_some(), Ordering::Relaxed);
        if let Some(missing) = missing {
            self.explain("missing_queues", missing, now);
        }
    }

    /// Notes the last failure: its constant word, and in words; no secret.
    pub fn explain(&self, reason: &str, text: String, at: Timestamp) {
        self.state().last_error = Some(LastError { reason: reason.to_owned(), text, at });
    }

    /// Notes when it is tried again.
    pub fn probe_at(&self, at: Option<Timestamp>) {
        self.state().next_probe = at;
    }

    /// Changes the state; returns whether its health became another.
    pub fn set(&self, health: Health, now: Timestamp) -> bool {
        let mut status = self.state();
        let changed = status.since.is_none() || status.health != health;
        if changed {
            status.health = health;
            status.since = Some(now);
        }
        changed
    }
}

/// The source's counters. At rest `received = acknowledged + stale + in_flight`.
#[derive(Debug, Default)]
pub struct SourceShown {
    /// Messages that were delivered to us.
    pub received: Count,
    /// Messages that we acknowledged.
    pub acknowledged: Count,
    /// Messages whose subscription was lost first: they come again.
    pub stale: Count,
    /// Messages that are no event.
    pub rejected: Count,
    /// Events that no configuration wants.
    pub unwanted: Count,
    /// Every queue that lockgate needs was there or has been declared.
    pub prepared: AtomicBool,
    /// Somebody was refused something: perhaps a queue or an exchange is missing. A survey says.
    pub suspect: AtomicBool,
    /// A consumer is running.
    pub consuming: AtomicBool,
    /// The source delivers nothing more until something is acknowledged.
    pub used_up: AtomicBool,
    /// What is ready in the source queue.
    pub depth: Depth,
    arrivals: Paced,
    oldest: Since,
}

impl SourceShown {
    /// Notes a message that was delivered to us.
    pub fn arrived(&self) {
        self.received.add(1);
        self.arrivals.add();
    }

    /// Messages received per second, as [`Shown::rates`].
    #[must_use]
    pub fn rates(&self) -> Vec<f64> {
        self.arrivals.rates()
    }

    /// Messages received per second over the last ten seconds.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.arrivals.rate()
    }

    /// How long the oldest message that is not acknowledged has been held; `None` while there is
    /// none. Right to some hundredths of a second.
    #[must_use]
    pub fn oldest_unsettled(&self) -> Option<Duration> {
        self.oldest.age(self.arrivals.now())
    }

    /// Notes how long the oldest unacknowledged message has been held by now.
    pub fn hold(&self, oldest: Option<Duration>) {
        self.oldest.set(oldest, self.arrivals.now());
    }

    /// Messages that are not settled now.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.received.get().saturating_sub(self.acknowledged.get() + self.stale.get())
    }
}

/// The endpoints by name.
pub type Endpoints = BTreeMap<Name, Arc<Shown>>;

/// Everything that is shown, for the life of a bridge.
#[derive(Debug, Default)]
pub struct Board {
    /// The source.
    pub source: SourceShown,
    endpoints: ArcSwap<Endpoints>,
}

impl Board {
    /// A board for these endpoints.
    #[must_use]
    pub fn new<'a>(endpoints: impl IntoIterator<Item = &'a Name>) -> Self {
        let endpoints: Endpoints =
            endpoints.into_iter().map(|name| (name.clone(), Arc::default())).collect();
        Self { source: SourceShown::default(), endpoints: ArcSwap::from_pointee(endpoints) }
    }

    /// Every configured endpoint, as configured now: a reload may change them.
    #[must_use]
    pub fn endpoints(&self) -> Arc<Endpoints> {
        self.endpoints.load_full()
    }

    /// From now on these are the endpoints.
    pub fn configure(&self, endpoints: Endpoints) {
        self.endpoints.store(Arc::new(endpoints));
    }

    /// One endpoint, if it is configured now.
    #[must_use]
    pub fn endpoint(&self, name: &Name) -> Option<Arc<Shown>> {
        self.endpoints.load().get(name).cloned()
    }

    /// Whether some endpoint besides this one could begin an attempt now.
    #[must_use]
    pub fn other_has_room(&self, name: &Name) -> bool {
        let endpoints = self.endpoints.load();
        let mut others = endpoints.iter().filter(|(other, _)| *other != name);
        others.any(|(_, shown)| shown.has_room.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::Health;
    use crate::meter;

    #[test]
    fn the_metrics_know_every_state() {
        let states = [
            Health::Healthy,
            Health::Degraded,
            Health::Open,
            Health::Paused,
            Health::Misconfigured,
        ];
        assert_eq!(states.map(Health::as_str), meter::STATES);
    }
}
