//! Resuming: a message of the parked queue becomes a route again.
//!
//! Owns the way back from a parcel to an event, and by which configuration it goes now. Refuses to
//! attempt it. Read [`super::drain`] next.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::super::parking::Job;
use super::super::route::{Debt, Route, Work};
use super::Endpoint;
use crate::domain::delivery::Message;
use crate::logic::settle::Progress;
use crate::logic::{intake, parcel};
use crate::{meter, world};

impl Endpoint {
    /// The route in a parked message, and whether a configuration still wants it. What is no event
    /// any more goes to the rejected queue.
    pub(super) fn resume(&self, parcel: Message, debt: Debt) -> Option<(Route, bool)> {
        let redelivered = parcel.redelivered;
        let unpacked = parcel::unpack(&parcel);
        let (message, record) = match unpacked {
            Some((message, record)) => (message, Some(record)),
            None => (parcel, None),
        };
        let received_at = record.as_ref().map_or_else(world::now, |record| record.received_at);
        let read = || {
            let read = intake::intake(&message, &self.plan.intake, received_at);
            read.map_err(|no| no.to_string())
        };
        let read = std::panic::catch_unwind(AssertUnwindSafe(read))
            .unwrap_or_else(|_| Err("reading it took lockgate's intake down".into()));
        let mut event = match read {
            Ok(event) => event,
            Err(reason) => {
                let _ = self.plan.jobs.send(Job::Reject(Box::new(message), reason, debt));
                return None;
            }
        };
        let mut progress = Progress::new(received_at);
        if let Some(record) = &record {
            if !record.event_id.is_empty() {
                event.id.clone_from(&record.event_id);
            }
            progress.attempts = record.attempts;
            progress.panics = record.panics;
            progress.first_attempt_at = record.first_attempt_at;
            progress.last_attempt_at = record.last_attempt_at;
            progress.reason.clone_from(&record.reason);
            progress.last_error.clone_from(&record.last_error);
        }
        let name = self.name().clone();
        let parked_by = record.as_ref().map(|record| record.configuration.as_str());
        let found = self.plan.routing.resume(&event, &name, parked_by);
        let configuration = found.cloned();
        let wanted = configuration.is_some();
        if !wanted {
            "no_longer_configured".clone_into(&mut progress.reason);
            "no event configuration sends it here any more".clone_into(&mut progress.last_error);
        }
        self.plan.shown.counters.resumed.add(1);
        meter::resumed(name.as_str());
        let work = Work {
            identity: parcel::identity(&event.id, &message),
            event: Arc::new(event),
            message: Arc::new(Message { redelivered, ..message }),
            endpoint: name,
            configuration,
            shown: Arc::clone(&self.plan.shown),
            touched: Arc::new(AtomicBool::new(true)),
        };
        Some((Route::new(Arc::new(work), progress, debt, None), wanted))
    }
}
