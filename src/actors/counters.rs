//! Counters: what became of an endpoint's routes.
//!
//! Owns the sums that reconcile. Refuses to move them: [`super::route`] does. Read [`super::board`]
//! next.

use std::sync::atomic::{AtomicU64, Ordering};

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
