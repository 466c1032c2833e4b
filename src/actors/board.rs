//! The board: what the actors show each other, and what the outside may read.
//!
//! Owns counters, gauges and each endpoint's state as shared memory. Refuses to decide. Read
//! [`super::route`] for who moves the counters.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use jiff::Timestamp;

use crate::domain::names::Name;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `more`.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of one endpoint in this instance. At rest
/// `routed + resumed = delivered + parked + dead + suppressed + stale + in_flight`.
#[derive(Debug, Default)]
pub struct Counters {
    /// Routes that came from the source.
    pub routed: Count,
    /// Routes that came from the endpoint's parked queue.
    pub resumed: Count,
    /// Routes that the endpoint acknowledged.
    pub delivered: Count,
    /// Routes that were put into the endpoint's parked queue or a rung.
    pub parked: Count,
    /// Routes that were put into the endpoint's dead-letter queue.
    pub dead: Count,
    /// Repeats that were recognised.
    pub suppressed: Count,
    /// Routes that were given up because their message comes again.
    pub stale: Count,
    /// Routes that are not settled now, counted on their own: one up when a route is made, one down
    /// when its debt ends. That is what makes the sum above a check.
    pub open: AtomicU64,
}

impl Counters {
    /// Routes that are not settled now.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether everything that came is accounted for. True at rest; while routes move, those that
    /// move may make it false for a moment.
    #[must_use]
    pub fn reconcile(&self) -> bool {
        let ended = [&self.delivered, &self.parked, &self.dead, &self.suppressed, &self.stale];
        let ended: u64 = ended.into_iter().map(Count::get).sum();
        self.routed.get() + self.resumed.get() == ended + self.in_flight()
    }
}

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

/// An endpoint's state and why.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// How it is.
    pub health: Health,
    /// Since when; `None` before its actor has started.
    pub since: Option<Timestamp>,
    /// The last failure in words; no secret.
    pub last_error: Option<String>,
    /// When an endpoint that is left alone is tried again.
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
    lacks_queues: AtomicBool,
    status: Mutex<Status>,
}

impl Shown {
    /// The endpoint's state now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its queues are missing on the bus: nothing may be attempted, since nothing could be parked.
    #[must_use]
    pub fn lacks_queues(&self) -> bool {
        self.lacks_queues.load(Ordering::Relaxed)
    }

    /// Notes which of its queues are missing, in words; `None`: none is.
    pub fn lack(&self, missing: Option<String>) {
        self.lacks_queues.store(missing.is_some(), Ordering::Relaxed);
        if let Some(missing) = missing {
            self.explain(missing);
        }
    }

    /// Notes the last failure in words; no secret.
    pub fn explain(&self, error: String) {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).last_error = Some(error);
    }

    /// Changes the state; returns whether its health became another.
    pub fn set(&self, health: Health, now: Timestamp) -> bool {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
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
}

impl SourceShown {
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
