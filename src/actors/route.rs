//! A route: one event for one endpoint, and the debt that goes with it.
//!
//! Owns the guard that makes loss impossible: a route that is dropped without a settlement (a
//! panic, a lost actor, a dropped future) goes to parking by itself. Refuses to know why it moves.
//! Read [`super::parking`] next.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::board::Shown;
use super::parking::Job;
use crate::domain::delivery::{Message, Settlement};
use crate::domain::event::Event;
use crate::domain::names::Name;
use crate::logic::attempt_log::Origin;
use crate::logic::parcel::Record;
use crate::logic::routing::EventConfiguration;
use crate::logic::settle::Progress;
use crate::spans::Process;
use crate::{meter, world};

/// A note to whoever holds the ledger of a subscription.
#[derive(Debug)]
pub enum Note {
    /// A message has this many routes.
    Routed {
        /// The subscription.
        generation: u64,
        /// The message.
        tag: u64,
        /// How many settlements it takes.
        routes: u32,
    },
    /// One route of a message is settled.
    Settled {
        /// The subscription.
        generation: u64,
        /// The message.
        tag: u64,
    },
    /// Answered when every note sent before it has been taken.
    Barrier(oneshot::Sender<()>),
}

/// Where the notes of a subscription go, and whether it is still the present one.
#[derive(Clone, Debug)]
pub struct Creditor {
    /// The generation that is consumed now; 0 is none.
    pub current: Arc<AtomicU64>,
    /// The ledger's ear. Holds at most a few notes for each unacknowledged message.
    pub notes: UnboundedSender<Note>,
}

/// One settlement owed to a message's ledger.
#[derive(Debug)]
pub struct Debt {
    /// The subscription.
    pub generation: u64,
    /// The message.
    pub tag: u64,
    /// The ledger.
    pub creditor: Creditor,
    /// The message's span: it ends with its last debt.
    pub process: Process,
}

impl Debt {
    /// The message's subscription was lost: it comes again, and nobody waits for this settlement.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.creditor.current.load(Ordering::Acquire) != self.generation
    }

    /// Pays. A ledger that is gone needs no payment.
    pub fn pay(self) {
        let note = Note::Settled { generation: self.generation, tag: self.tag };
        let _ = self.creditor.notes.send(note);
    }
}

/// What a route carries unchanged.
#[derive(Debug)]
pub struct Work {
    /// The event.
    pub event: Arc<Event>,
    /// The message as it came from the platform.
    pub message: Arc<Message>,
    /// Tells it apart from others across redeliveries.
    pub identity: u128,
    /// For whom.
    pub endpoint: Name,
    /// By which event configuration; `None`: none wants it any more. It stays this one, whatever a
    /// reload changes meanwhile.
    pub configuration: Option<Arc<EventConfiguration>>,
    /// The endpoint's counters.
    pub shown: Arc<Shown>,
    /// Some route of the same message has been attempted, settled or handed to parking.
    pub touched: Arc<AtomicBool>,
}

impl Work {
    /// The name of the event configuration; for an endpoint's own events, and where none wants it
    /// any more, the endpoint's.
    #[must_use]
    pub fn configuration(&self) -> &Name {
        self.configuration.as_ref().map_or(&self.endpoint, |found| &found.name)
    }
}

/// One event for one endpoint. Must be settled or released; dropping it sends it to parking.
#[derive(Debug)]
pub struct Route {
    /// What it carries.
    pub work: Arc<Work>,
    /// How far it has come.
    pub progress: Progress,
    /// Repeats of the same message that arrived while this one was under way: settled with it.
    pub joined: Vec<Route>,
    debt: Option<Debt>,
    /// Only one from the source has it.
    rescue: Option<UnboundedSender<Job>>,
}

impl Route {
    /// A route that owes `debt`. If it is dropped, `rescue` takes it to parking. One from a parked
    /// queue has no rescue: its consumer dies with its actor, and the bus gives it out again.
    #[must_use]
    pub fn new(
        work: Arc<Work>,
        progress: Progress,
        debt: Debt,
        rescue: Option<UnboundedSender<Job>>,
    ) -> Self {
        work.shown.counters.open.fetch_add(1, Ordering::Relaxed);
        Self { work, progress, joined: Vec::new(), debt: Some(debt), rescue }
    }

    /// Its message comes again by itself, and so does every repeat that joined it: nobody waits
    /// for a settlement. A repeat comes with a newer subscription than the message that it joined.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.debt.as_ref().is_none_or(Debt::is_stale) && self.joined.iter().all(Self::is_stale)
    }

    /// By which way it came.
    #[must_use]
    pub fn origin(&self) -> Origin {
        if self.rescue.is_some() { Origin::Express } else { Origin::Parked }
    }

    /// Marks the message as one of which some route was attempted, or is being parked.
    pub fn touch(&self) {
        self.work.touched.store(true, Ordering::Relaxed);
    }

    /// Settles it, and what joined it.
    pub fn settle(mut self, how: Settlement) {
        self.touch();
        let counters = &self.work.shown.counters;
        match how {
            Settlement::Delivered => {
                counters.delivered.add(1);
                let (endpoint, received_at) =
                    (self.work.endpoint.as_str(), self.progress.received_at);
                meter::route_latency(endpoint, received_at, world::now());
            }
            Settlement::Parked => counters.parked.add(1),
            Settlement::Dead => counters.dead.add(1),
            Settlement::Suppressed => counters.suppressed.add(1),
        }
        meter::settled(self.work.endpoint.as_str(), how);
        for joined in std::mem::take(&mut self.joined) {
            joined.settle(Settlement::Suppressed);
        }
        if let Some(debt) = self.debt.take() {
            counters.open.fetch_sub(1, Ordering::Relaxed);
            debt.pay();
        }
    }

    /// Gives it up without a settlement: its message stays unacknowledged and comes again.
    pub fn release(mut self) {
        self.forget();
    }

    fn forget(&mut self) {
        if let Some(debt) = self.debt.take() {
            debt.process.failed("stale", "given up unsettled: the message comes again");
            self.work.shown.counters.stale.add(1);
            self.work.shown.counters.open.fetch_sub(1, Ordering::Relaxed);
            meter::routes_stale(self.work.endpoint.as_str(), 1);
        }
        for joined in std::mem::take(&mut self.joined) {
            joined.release();
        }
    }

    /// What is written beside the message when it is parked.
    #[must_use]
    pub fn record(&self) -> Record {
        let (event, progress) = (&self.work.event, &self.progress);
        Record {
            event_id: event.id.clone(),
            event_type: event.event_type.clone(),
            event_trigger: event.event_trigger.clone(),
            configuration: self.work.configuration().to_string(),
            attempts: progress.attempts,
            panics: progress.panics,
            received_at: progress.received_at,
            first_attempt_at: progress.first_attempt_at,
            last_attempt_at: progress.last_attempt_at,
            reason: progress.reason.clone(),
            last_error: progress.last_error.clone(),
        }
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        if self.debt.is_none() {
            return;
        }
        let Some(rescue) = self.rescue.clone() else {
            // What joined it goes its own way.
            drop(std::mem::take(&mut self.joined));
            return self.forget();
        };
        self.touch();
        let again = Self {
            work: Arc::clone(&self.work),
            progress: self.progress.clone(),
            joined: std::mem::take(&mut self.joined),
            debt: self.debt.take(),
            rescue: Some(rescue.clone()),
        };
        // Parking is gone only when the process ends: the bus gives the message out again.
        if let Err(unsent) = rescue.send(Job::Abandoned(again))
            && let Job::Abandoned(mut route) = unsent.0
        {
            route.forget();
        }
    }
}
