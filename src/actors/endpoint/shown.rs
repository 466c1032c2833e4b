//! What an endpoint shows: its state on the board, in the metrics and, when it changes, in the log.
//!
//! Owns the words for the operator. Refuses to change anything.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Endpoint;
use crate::actors::board::{Health, Status};
use crate::logic::breaker::State;
use crate::logic::lane::Lane;
use crate::{meter, world};

impl Endpoint {
    /// Shows state and room on the board; one line in the log for each change of state.
    pub(super) fn show(&mut self) {
        let state = self.state();
        let now = self.now();
        let room = state == State::Closed
            && self.is_on()
            && !self.plan.shown.lacks_queues()
            && !self.is_changing()
            && self.express.is_empty()
            && self.attempts < self.breaker.window(now);
        self.plan.shown.has_room.store(room, Ordering::Relaxed);
        if self.metered != Some(state) {
            self.metered = Some(state);
            meter::breaker(self.name().as_str(), state);
        }
        self.show_probe(state, now);
        let health = match state {
            _ if !self.is_on() => Health::Paused,
            _ if self.plan.shown.lacks_queues() => Health::Misconfigured,
            State::Open { misconfigured: true, .. } => Health::Misconfigured,
            State::HalfOpen | State::Open { misconfigured: false, .. } => self.still_open(),
            State::Closed if self.lane == Lane::Parked || self.breaker.streak() > 0 => {
                Health::Degraded
            }
            State::Closed => Health::Healthy,
        };
        let was = self.plan.shown.status();
        if self.plan.shown.set(health, world::now()) {
            self.tell(&was, health);
        }
    }

    fn show_probe(&mut self, state: State, now: Duration) {
        let until = match state {
            State::Open { until, .. } if self.is_on() => Some(until),
            State::Open { .. } | State::HalfOpen | State::Closed => None,
        };
        if self.probe != until {
            self.probe = until;
            let at = |until: Duration| world::now().checked_add(until.saturating_sub(now)).ok();
            self.plan.shown.probe_at(until.and_then(at));
        }
    }

    /// One line for a change of state, and why.
    fn tell(&self, was: &Status, health: Health) {
        let (endpoint, state) = (self.name().as_str(), health.as_str());
        let recovers = matches!(was.health, Health::Open | Health::Misconfigured);
        let was = was.since.map_or("new", |_| was.health.as_str());
        match health {
            // Nothing has been attempted yet: no news.
            Health::Healthy if was == "new" => tracing::debug!(endpoint, state, "endpoint state"),
            Health::Healthy | Health::Paused => {
                tracing::info!(endpoint, state, was, "endpoint state");
            }
            Health::Degraded if recovers => {
                let reason = "it takes events again, those in its own queue first";
                tracing::info!(endpoint, state, was, reason, "endpoint state");
            }
            Health::Degraded if self.breaker.streak() == 0 => {
                let reason = "it does not keep up: its events go through its own queue";
                tracing::warn!(endpoint, state, was, reason, "endpoint state");
            }
            Health::Degraded | Health::Open | Health::Misconfigured => {
                let error = self.plan.shown.status().last_error;
                let reason = error.map(|error| error.text).unwrap_or_default();
                tracing::warn!(endpoint, state, was, reason, "endpoint state");
            }
        }
    }

    /// A half-open endpoint is shown as it was: misconfigured until an attempt says otherwise.
    fn still_open(&self) -> Health {
        match self.plan.shown.status().health {
            Health::Misconfigured => Health::Misconfigured,
            Health::Healthy | Health::Degraded | Health::Open | Health::Paused => Health::Open,
        }
    }
}
