//! A trial: an operator's test event, sent past window, breaker and queues.
//!
//! Owns one attempt that counts for nothing: what comes of it changes neither the breaker nor a
//! counter, and it is never repeated or parked. It goes through the endpoint's own publisher, so it
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
use crate::logic::body::Rendering;
use crate::transport;

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
        let publishing = AssertUnwindSafe(attempt(self.publisher())).catch_unwind();
        Box::pin(publishing.into_actor(self).map(move |done, endpoint, ctx| {
            endpoint.trying = false;
            let outcome = match done {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(failure)) => failure.into(),
                Err(_) => endpoint.panicked(),
            };
            endpoint.succeed(ctx);
            Some(Tried { event_id: event.id, outcome, took: began.elapsed() })
        }))
    }
}
