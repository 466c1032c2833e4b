//! Changing lanes: from express to the endpoint's own queue, and back.
//!
//! Owns what an endpoint looks at to apply [`crate::logic::lane`]. Refuses the rule itself.

use std::sync::atomic::Ordering;

use actix::prelude::*;

use super::Endpoint;
use crate::logic::breaker::State;
use crate::logic::lane::{self, Lane, Sight};

impl Endpoint {
    /// Leaves the express lane when it holds others back, and comes back when it may.
    pub(super) fn choose_lane(&mut self, ctx: &mut Context<Self>) {
        if self.draining.is_some() {
            return;
        }
        let state = self.state();
        match self.lane {
            Lane::Express => {
                let Some(first) = self.express.front() else { return };
                let longest_wait = first.since.elapsed();
                let now = self.now();
                let sight = Sight {
                    window_full: self.attempts >= self.breaker.window(now),
                    since_progress: self.progressed.elapsed().min(longest_wait),
                    longest_wait,
                    prefetch_used_up: self.plan.board.source.used_up.load(Ordering::Relaxed),
                    other_has_room: self.plan.board.other_has_room(self.name()),
                    patience: self.plan.endpoint.patience,
                };
                if !lane::keeps_up(&sight) {
                    let endpoint = self.name().as_str();
                    let waiting = self.express.len();
                    tracing::debug!(endpoint, waiting, "endpoint does not keep up");
                    self.lane = Lane::Parked;
                    self.pump(ctx);
                }
            }
            Lane::Parked if state == State::Closed && self.is_on() => {
                self.ask_depth(ctx);
            }
            Lane::Parked => {}
        }
    }

    /// Nothing that came from the parked queue waits, and another attempt could begin.
    pub(super) fn has_room(&mut self) -> bool {
        let now = self.now();
        let through = !self.parked.is_ending() || self.parked.is_clear();
        through && self.resumed.is_empty() && self.attempts < self.breaker.window(now)
    }

    pub(super) fn back_to_express(&mut self, ready: Option<u32>) {
        let closed = self.state() == State::Closed;
        let room = self.has_room();
        let lane_was = self.lane;
        if lane::may_return(closed, self.is_on(), ready, room) {
            self.lane = Lane::Express;
        }
        if lane_was != self.lane {
            let endpoint = self.name().as_str();
            tracing::debug!(endpoint, "endpoint takes events directly again");
            self.show();
        }
    }
}
