//! A trial: an operator's test event, sent past window, breaker and queues.
//!
//! Owns one attempt that counts for nothing: what comes of it changes neither the breaker nor a
//! counter, and it is never repeated or parked; the delivery log alone shows it. It goes through the endpoint's own publisher, so it
//! says how the next event would fare. Refuses a second one while the first is under way.

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::Endpoint;
use crate::domain::delivery::{Failure, Outcome};
use crate::domain::event::Event;
use crate::logic::attempt_log::{Attempt, Origin, Phase, Which};
use crate::logic::body::Rendering;
use crate::transport::timeline::Timeline;
use crate::{transport, world};

/// Sends this event to the endpoint, once.
#[derive(Message)]
#[rtype(result = "Option<Tried>")]
pub struct Trial(
    /// The event.
    pub Event,
);

/// What came of a trial.
#[derive(Clone, Debug)]
pub struct Tried {
    /// The test event's id.
    pub event_id: String,
    /// What the partner said.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
    /// What that time was spent on, in order; at most 16.
    pub phases: Vec<Phase>,
}

impl Handler<Trial> for Endpoint {
    type Result = ResponseActFuture<Self, Option<Tried>>;

    fn handle(&mut self, Trial(event): Trial, _: &mut Self::Context) -> Self::Result {
        if self.trying || self.is_changing() || self.draining.is_some() {
            return Box::pin(actix::fut::ready(None));
        }
        self.trying = true;
        let began = Instant::now();
        let endpoint = &self.plan.endpoint;
        let (form, plain) = (endpoint.body, Rendering::default());
        let rendered = transport::render(&endpoint.transport, &endpoint.name, form, &plain, &event);
        let attempt = async move |publisher: Result<_, Failure>| {
            let publisher: Rc<dyn transport::Publisher> = publisher?;
            Ok::<_, Failure>(publisher.publish(Rc::new(rendered?)).await)
        };
        let timeline = Timeline::default();
        let publishing = AssertUnwindSafe(attempt(self.publisher())).catch_unwind();
        let publishing = timeline.scope(publishing);
        Box::pin(publishing.into_actor(self).map(move |done, endpoint, ctx| {
            endpoint.trying = false;
            let outcome = match done {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(failure)) => failure.into(),
                Err(_) => endpoint.panicked(),
            };
            let phases = timeline.take();
            let took = began.elapsed();
            endpoint.log_trial(&event, &outcome, took, phases.clone());
            endpoint.succeed(ctx);
            Some(Tried { event_id: event.id, outcome, took, phases })
        }))
    }
}

impl Endpoint {
    fn log_trial(&self, event: &Event, outcome: &Outcome, took: Duration, phases: Vec<Phase>) {
        let (event_id, name) = (&event.id, event.name());
        let which = Which { event_id, event: &name, number: 1, lane: Origin::Test };
        let now = world::now();
        let began = now.checked_sub(took).unwrap_or(now);
        self.plan.shown.note(Attempt::new(which, began, outcome, took, phases));
    }
}
