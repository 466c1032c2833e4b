//! What an operator may do to a running bridge, from any thread.
//!
//! Owns pause, resume and the test of one endpoint, in this instance. Refuses to know who asks: the
//! admin surface does, and writes the audit log. Read [`super::endpoint`] for what they change.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix::prelude::*;

use super::board::{Board, Shown};
use super::endpoint::{Trial, Tried};
use super::watchdog::{Find, Watchdog};
use crate::domain::event::Event;
use crate::domain::names::Name;

/// Why it was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// No endpoint of this name is configured.
    #[error("no endpoint is called {0}")]
    Unknown(String),
    /// The endpoint's actor is being built again, is ending, or a test of it is under way.
    #[error("the endpoint {0} cannot do it now; try again in a moment")]
    Busy(Name),
}

/// The handle.
#[derive(Clone)]
pub struct Controls {
    board: Arc<Board>,
    watchdog: Addr<Watchdog>,
}

impl Controls {
    /// A handle on this bridge's parts.
    #[must_use]
    pub fn new(board: Arc<Board>, watchdog: Addr<Watchdog>) -> Self {
        Self { board, watchdog }
    }

    /// What the bridge shows.
    #[must_use]
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// From now on what comes for the endpoint is parked, and nothing is attempted, in this instance
    /// and until [`Self::resume`] or a restart. Attempts under way end. Returns whether it is news.
    ///
    /// # Errors
    /// When there is no such endpoint.
    pub fn pause(&self, name: &Name) -> Result<bool, ControlError> {
        Ok(!self.shown(name)?.paused.swap(true, Ordering::Relaxed))
    }

    /// The end of a pause: what was parked comes first. Returns whether it is news.
    ///
    /// # Errors
    /// When there is no such endpoint.
    pub fn resume(&self, name: &Name) -> Result<bool, ControlError> {
        Ok(self.shown(name)?.paused.swap(false, Ordering::Relaxed))
    }

    /// Sends a test event to the endpoint, past its window, breaker and queues, and says what came
    /// of it. Bounded by the endpoint's own timeouts.
    ///
    /// # Errors
    /// When there is no such endpoint, or its actor cannot do it now.
    pub async fn test(&self, name: &Name, event: Event) -> Result<Tried, ControlError> {
        self.shown(name)?;
        let busy = || ControlError::Busy(name.clone());
        let found = self.watchdog.send(Find(name.clone())).await.map_err(|_| busy())?;
        let address = found.ok_or_else(busy)?;
        address.send(Trial(event)).await.map_err(|_| busy())?.ok_or_else(busy)
    }

    fn shown(&self, name: &Name) -> Result<Arc<Shown>, ControlError> {
        self.board.endpoint(name).ok_or_else(|| ControlError::Unknown(name.to_string()))
    }
}
