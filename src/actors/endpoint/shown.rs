//! What an endpoint shows: its state on the board, in the metrics and, when it changes, in the log.
//!
//! Owns the words for the operator. Refuses to change anything. The board shows every change; in the
//! log are few where many follow each other: see [`crate::logic::telling`].

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Endpoint;
use crate::actors::board::{Health, Status};
use crate::logic::breaker::State;
use crate::logic::lane::Lane;
use crate::logic::telling::Told;
use crate::{meter, world};

/// A change of state, for the log.
pub(super) struct News {
    state: &'static str,
    was: &'static str,
    reason: Option<String>,
    /// Somebody may have to do something.
    warns: bool,
}

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
        let news = if self.plan.shown.set(health, world::now()) {
            meter::endpoint_state(self.name().as_str(), health.as_str());
            self.news(&was, health).and_then(|news| self.telling.change(news, now))
        } else {
            self.telling.due(now)
        };
        if let Some(news) = news {
            self.tell(&news);
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

    /// What there is to tell of a change of state; `None`: nothing.
    fn news(&self, was: &Status, health: Health) -> Option<News> {
        let recovers = matches!(was.health, Health::Open | Health::Misconfigured);
        let was = was.since.map_or("new", |_| was.health.as_str());
        let (warns, reason) = match health {
            // Nothing has been attempted yet.
            Health::Healthy if was == "new" => return None,
            Health::Healthy | Health::Paused => (false, None),
            Health::Degraded if recovers => {
                (false, Some("it takes events again, those in its own queue first".to_owned()))
            }
            Health::Degraded if self.breaker.streak() == 0 => {
                let reason = "it does not keep up: its events go through its own queue";
                (true, Some(reason.to_owned()))
            }
            Health::Degraded | Health::Open | Health::Misconfigured => {
                (true, self.plan.shown.status().last_error.map(|error| error.text))
            }
        };
        Some(News { state: health.as_str(), was, reason, warns })
    }

    /// One line for a change of state, and why.
    fn tell(&self, told: &Told<News>) {
        let News { state, was, reason, warns } = &told.change;
        let (endpoint, reason) = (self.name().as_str(), reason.as_deref());
        let left_out = (told.left_out > 0).then_some(told.left_out);
        if *warns {
            tracing::warn!(endpoint, state, was, reason, left_out, "endpoint state");
        } else {
            tracing::info!(endpoint, state, was, reason, left_out, "endpoint state");
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
