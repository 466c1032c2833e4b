//! What one connection has been given and has not acknowledged.
//!
//! Owns the match between publishes and packet identifiers: the library says no more than "a
//! publish went out as 7" and "7 is complete", in the order in which it was given them. Refuses
//! any I/O. Read [`super::link`] next.

use std::collections::{HashMap, VecDeque};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::domain::delivery::Failure;
use crate::logic::attempt_log::Step;
use crate::transport::timeline::Timeline;

/// Packet identifiers run from 1 to this and begin again. More than twice what may be in flight,
/// so that an identifier is hardly ever still in use when its turn comes.
pub(super) const IDENTIFIERS: u16 = 2 * super::MAX_PIPELINED + 48;

/// Somebody who waits for a PUBCOMP. Holds a place in flight for as long.
pub(super) struct Waiter {
    pub(super) answer: oneshot::Sender<Result<(), Failure>>,
    pub(super) place: Option<OwnedSemaphorePermit>,
    /// That of the attempt, which hears of the steps only here.
    pub(super) timeline: Option<Timeline>,
}

impl Waiter {
    fn begins(&self, step: Step) {
        if let Some(timeline) = &self.timeline {
            timeline.begin(step);
        }
    }

    fn tell(self, result: Result<(), Failure>) {
        drop(self.place);
        // Who no longer listens has been told otherwise, or has gone.
        let _ = self.answer.send(result);
    }
}

/// The publishes in flight on one connection. Bounded by the places that the waiters hold.
#[derive(Default)]
pub(super) struct Flight {
    /// Given to the library, in this order; without an identifier yet.
    submitted: VecDeque<Waiter>,
    /// On the wire, by identifier.
    sent: HashMap<u16, Waiter>,
    /// The identifier that the library gave last; 0 at first.
    last: u16,
}

impl Flight {
    /// Whether the identifier that the library will give next is free. The library itself would
    /// give it to a second publish while the first waits for its PUBCOMP, and a broker takes the
    /// second for a repeat: it would be acknowledged and lost.
    pub(super) fn next_is_free(&self) -> bool {
        !self.sent.contains_key(&following(self.last))
    }

    /// A publish is about to be given to the library.
    pub(super) fn submit(&mut self, waiter: Waiter) {
        self.last = following(self.last);
        self.submitted.push_back(waiter);
    }

    /// The library has sent the publish that was given to it first.
    pub(super) fn sent(&mut self, identifier: u16) {
        if let Some(waiter) = self.submitted.pop_front() {
            waiter.begins(Step::Pubrec);
            self.sent.insert(identifier, waiter);
        }
    }

    /// The broker has said PUBREC.
    pub(super) fn received(&self, identifier: u16) {
        if let Some(waiter) = self.sent.get(&identifier) {
            waiter.begins(Step::Pubcomp);
        }
    }

    /// The broker has said PUBCOMP.
    pub(super) fn completed(&mut self, identifier: u16) {
        if let Some(waiter) = self.sent.remove(&identifier) {
            waiter.tell(Ok(()));
        }
    }

    /// The connection has ended: nothing in flight will be acknowledged.
    pub(super) fn lose(&mut self, failure: &Failure) {
        let sent = std::mem::take(&mut self.sent).into_values();
        let submitted = std::mem::take(&mut self.submitted);
        for waiter in sent.chain(submitted) {
            waiter.tell(Err(failure.clone()));
        }
    }
}

fn following(identifier: u16) -> u16 {
    if identifier >= IDENTIFIERS { 1 } else { identifier + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Answer = oneshot::Receiver<Result<(), Failure>>;

    fn submit(flight: &mut Flight) -> Answer {
        let (answer, wait) = oneshot::channel();
        flight.submit(Waiter { answer, place: None, timeline: None });
        wait
    }

    #[test]
    fn publishes_are_matched_in_the_order_of_submission() {
        let mut flight = Flight::default();
        let (mut first, mut second) = (submit(&mut flight), submit(&mut flight));
        flight.sent(1);
        flight.sent(2);
        flight.completed(2);
        assert_eq!(second.try_recv(), Ok(Ok(())));
        assert!(first.try_recv().is_err());
        flight.completed(1);
        assert_eq!(first.try_recv(), Ok(Ok(())));
    }

    #[test]
    fn an_acknowledgement_of_nothing_settles_nothing() {
        let mut flight = Flight::default();
        let mut wait = submit(&mut flight);
        flight.completed(1);
        flight.sent(1);
        flight.completed(7);
        assert!(wait.try_recv().is_err());
    }

    #[test]
    fn a_lost_connection_fails_what_was_sent_and_what_was_not() {
        let mut flight = Flight::default();
        let (mut first, mut second) = (submit(&mut flight), submit(&mut flight));
        flight.sent(1);
        let failure = Failure::transient("connection_lost", "gone");
        flight.lose(&failure);
        assert_eq!(first.try_recv(), Ok(Err(failure.clone())));
        assert_eq!(second.try_recv(), Ok(Err(failure)));
    }

    #[test]
    fn an_identifier_in_use_is_not_given_twice() {
        let mut flight = Flight::default();
        let stuck = submit(&mut flight);
        flight.sent(1);
        for identifier in 2..=IDENTIFIERS {
            assert!(flight.next_is_free(), "{identifier}");
            drop(submit(&mut flight));
            flight.sent(identifier);
            flight.completed(identifier);
        }
        assert!(!flight.next_is_free());
        flight.completed(1);
        assert!(flight.next_is_free());
        drop(stuck);
    }
}
