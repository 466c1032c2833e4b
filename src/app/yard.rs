//! The yard: where endpoint actors are built.
//!
//! Owns what all of them are built from, and the threads that they are spread over. Refuses to start
//! them: the watchdog does. Read [`crate::actors::endpoint`] next.

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::sync::Arc;

use actix::prelude::*;
use tokio::sync::mpsc::UnboundedSender;

use crate::actors::board::{Board, Endpoints};
use crate::actors::endpoint::{Obituary, Plan};
use crate::actors::parking::Job;
use crate::actors::watchdog::Watched;
use crate::bus::Bus;
use crate::config::Config;
use crate::domain::names::Name;
use crate::transport::Instance;

/// Delivered routes that are remembered to recognise repeats, over all endpoints.
const REMEMBERED: usize = 100_000;
/// The smallest share of them that an endpoint gets.
const REMEMBERED_EACH: usize = 1_000;

/// What every endpoint actor needs.
pub(super) struct Yard {
    pub(super) bus: Arc<dyn Bus>,
    pub(super) board: Arc<Board>,
    /// Parking's ear.
    pub(super) jobs: UnboundedSender<Job>,
    pub(super) mailbox: usize,
    pub(super) instance: Instance,
    pub(super) obituary: UnboundedSender<Obituary>,
    pub(super) arbiters: Vec<Arbiter>,
    /// How many have been given a thread.
    pub(super) built: Cell<usize>,
}

impl Yard {
    /// Those of a configuration's endpoints that are named, each with its part of the board.
    pub(super) fn staff<'a>(
        &self,
        config: &Config,
        names: impl IntoIterator<Item = &'a Name>,
        shown: &Endpoints,
    ) -> Vec<Watched> {
        let (intake, routing) = (Arc::new(config.intake.clone()), Arc::new(config.routing.clone()));
        let share = (REMEMBERED / config.endpoints.len().max(1)).max(REMEMBERED_EACH);
        let watched = |name: &Name| {
            let index = self.built.replace(self.built.get() + 1);
            let arbiter = self.arbiters.get(index % self.arbiters.len().max(1))?.handle();
            let shown = Arc::clone(shown.get(name)?);
            shown.keep_attempts(config.admin.attempt_log);
            let plan = Plan {
                endpoint: Arc::new(config.endpoints.get(name)?.clone()),
                intake: Arc::clone(&intake),
                routing: Arc::clone(&routing),
                bus: Arc::clone(&self.bus),
                shown,
                board: Arc::clone(&self.board),
                jobs: self.jobs.clone(),
                mailbox: self.mailbox,
                remembered: NonZeroUsize::new(share).unwrap_or(NonZeroUsize::MIN),
                instance: self.instance.clone(),
                obituary: self.obituary.clone(),
                life: 0,
            };
            Some(Watched { plan, arbiter })
        };
        names.into_iter().filter_map(watched).collect()
    }
}
