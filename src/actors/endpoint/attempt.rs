//! One attempt: from a route to its outcome, and to what happens next.
//!
//! Owns the call of the publisher, with a net below it: an attempt that panics harms nothing but
//! itself; the span that tells in the log, and in JSON, what a line belongs to; and when the one that
//! is exported begins and ends. Refuses to judge: [`crate::logic::settle`] and the breaker do.

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use futures_util::FutureExt as _;
use jiff::Timestamp;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::super::parking::Job;
use super::super::route::Route;
use super::{Endpoint, Waiting};
use crate::domain::delivery::{Failure, Outcome, Outgoing, Settlement, TraceContext};
use crate::failpoint::{self, Place};
use crate::logic::attempt_log::{self, Phase, Which};
use crate::logic::breaker::Verdict;
use crate::logic::settle::{self, Next, PANICKED};
use crate::logic::span::Ended;
use crate::logic::trace_context;
use crate::transport::timeline::Timeline;
use crate::transport::{self, Publisher};
use crate::{meter, spans, world};

/// What an attempt needs to know when it ends.
struct Attempt {
    route: Route,
    epoch: u64,
    began: Instant,
    timeline: Timeline,
    /// What the log shows.
    span: tracing::Span,
    /// What is exported.
    recorded: spans::Attempt,
}

impl Endpoint {
    /// Begins an attempt; one that cannot be rendered has ended when this returns.
    pub(super) fn begin(&mut self, route: Route, ctx: &mut Context<Self>) {
        let trace = trace_context::of(&route.work.message);
        // Where `debug` is not logged this is next to nothing, and so is everything done with it.
        let span = tracing::debug_span!(
            "attempt",
            endpoint = self.name().as_str(),
            event_id = route.work.event.id,
            trace_id = trace.as_ref().map(TraceContext::id)
        );
        let (epoch, began) = (self.breaker.epoch(), Instant::now());
        let timeline = Timeline::default();
        let (name, kind) = (self.name().as_str(), self.plan.endpoint.transport.kind());
        let (recorded, trace) = spans::Attempt::begin(name, kind, &route.work.event.id, trace);
        let attempt = Attempt { route, epoch, began, timeline, span: span.clone(), recorded };
        attempt.route.touch();
        self.in_flight.entry(attempt.route.work.identity).or_default();
        self.attempts += 1;
        // The net is here too: an event that takes rendering down must not take the endpoint down.
        let prepare = AssertUnwindSafe(|| Ok((self.render(&attempt.route)?, self.publisher()?)));
        let (outgoing, publisher) = match std::panic::catch_unwind(prepare) {
            Ok(Ok((outgoing, publisher))) => (Rc::new(Outgoing { trace, ..outgoing }), publisher),
            Ok(Err(failure)) => return self.ended(attempt, &Outcome::Failed(failure), ctx),
            Err(_) => {
                let outcome = self.panicked();
                return self.ended(attempt, &outcome, ctx);
            }
        };
        let endpoint = self.name().clone();
        let publishing = AssertUnwindSafe(async move {
            failpoint::reach(Place::Attempt, endpoint.as_str(), Some(&outgoing.event_id));
            publisher.publish(outgoing).await
        });
        let publishing = publishing.catch_unwind().instrument(span);
        let publishing = attempt.timeline.scope(publishing).into_actor(self);
        ctx.spawn(publishing.map(move |done, endpoint, ctx| {
            let outcome = done.unwrap_or_else(|_| endpoint.panicked());
            endpoint.ended(attempt, &outcome, ctx);
            endpoint.pump(ctx);
        }));
    }

    fn render(&self, route: &Route) -> Result<Outgoing, Failure> {
        let endpoint = &self.plan.endpoint;
        let event = &route.work.event;
        failpoint::reach(Place::Render, endpoint.name.as_str(), Some(&event.id));
        let configuration = route.work.configuration.as_ref().ok_or_else(|| {
            Failure::permanent("no_longer_configured", "no event configuration wants it")
        })?;
        let (form, rendering) = (endpoint.body, &configuration.rendering);
        transport::render(&endpoint.transport, &endpoint.name, form, rendering, event)
    }

    /// The publisher, built when it is first needed or when the last one broke.
    pub(super) fn publisher(&mut self) -> Result<Rc<dyn Publisher>, Failure> {
        if let Some(publisher) = &self.publisher {
            return Ok(Rc::clone(publisher));
        }
        let endpoint = &self.plan.endpoint;
        failpoint::reach(Place::Publisher, endpoint.name.as_str(), None);
        let built = endpoint.transport.publisher(endpoint.name.as_str(), &self.plan.instance);
        let publisher =
            built.map_err(|error| Failure::misconfigured("not_prepared", error.to_string()))?;
        self.publisher = Some(Rc::clone(&publisher));
        Ok(publisher)
    }

    pub(super) fn panicked(&mut self) -> Outcome {
        // What it left behind may be broken: the next attempt gets a new publisher.
        self.publisher = None;
        Outcome::Failed(Failure::transient(PANICKED, "the attempt panicked: a fault of lockgate"))
    }

    /// The route if it may go now; else it waits on at the head of its queue.
    pub(super) fn within_limit(
        &mut self,
        waiting: Waiting,
        ctx: &mut Context<Self>,
    ) -> Option<Route> {
        use governor::clock::Clock as _;
        let Some(limiter) = &self.limiter else { return Some(waiting.route) };
        let Err(not_until) = limiter.check() else { return Some(waiting.route) };
        let wait = not_until.wait_time_from(governor::clock::DefaultClock::default().now());
        let queue = if self.express_turn { &mut self.resumed } else { &mut self.express };
        queue.push_front(waiting);
        self.limited = true;
        ctx.run_later(wait, |endpoint, ctx| {
            endpoint.limited = false;
            endpoint.pump(ctx);
        });
        None
    }

    fn ended(&mut self, attempt: Attempt, outcome: &Outcome, ctx: &mut Context<Self>) {
        let Attempt { mut route, epoch, began, timeline, span, recorded } = attempt;
        let _in_span = span.entered();
        let phases = timeline.take();
        // After the phases, which last no longer than the attempt.
        let took = began.elapsed();
        self.attempts -= 1;
        self.progressed = Instant::now();
        let repeats = self.in_flight.remove(&route.work.identity);
        route.joined.extend(repeats.unwrap_or_default());
        let now = world::now();
        route.progress.attempted(outcome, now);
        let (number, lane) = (route.progress.attempts, route.origin());
        recorded.end(&Ended { number, lane, outcome, phases: &phases });
        self.judge(epoch, outcome, now);
        self.note(&route, outcome, took);
        self.log(&route, outcome, now, took, phases);
        let settings = &self.plan.endpoint.retry;
        let next = settle::after(outcome, &route.progress, settings, now, world::random());
        self.perform(route, next);
        self.succeed(ctx);
        self.drained(ctx);
    }

    fn judge(&mut self, epoch: u64, outcome: &Outcome, at: Timestamp) {
        let verdict = match outcome {
            Outcome::Delivered { .. } => Verdict::Delivered,
            Outcome::Failed(failure) => {
                let (class, retry_after) = (failure.class, failure.retry_after);
                Verdict::Failed { class, retry_after }
            }
        };
        let now = self.now();
        self.breaker.judge(epoch, verdict, now);
        if let Outcome::Failed(failure) = outcome {
            let text = format!("{}: {}", failure.reason, failure.detail);
            self.plan.shown.explain(&failure.reason, text, at);
        }
    }

    /// Into the delivery log: how the attempt that has ended `now` went.
    fn log(
        &self,
        route: &Route,
        outcome: &Outcome,
        now: Timestamp,
        took: Duration,
        phases: Vec<Phase>,
    ) {
        let event = &route.work.event;
        let (number, lane) = (route.progress.attempts, route.origin());
        let which = Which { event_id: &event.id, event: &event.name(), number, lane };
        let began = now.checked_sub(took).unwrap_or(now);
        self.plan.shown.note(attempt_log::Attempt::new(which, began, outcome, took, phases));
    }

    fn note(&self, route: &Route, outcome: &Outcome, took: Duration) {
        let (endpoint, event_id) = (self.name().as_str(), route.work.event.id.as_str());
        let attempt = route.progress.attempts;
        match outcome {
            Outcome::Delivered { status } => {
                meter::attempt(endpoint, "delivered", "", took);
                tracing::debug!(endpoint, event_id, attempt, status, "delivered");
            }
            Outcome::Failed(failure) => {
                let class = failure.class.as_str();
                meter::attempt(endpoint, class, &failure.reason, took);
                let (reason, detail) = (failure.reason.as_str(), failure.detail.as_str());
                tracing::debug!(
                    endpoint,
                    event_id,
                    attempt,
                    class,
                    reason,
                    detail,
                    "attempt failed"
                );
            }
        }
    }

    fn perform(&mut self, route: Route, next: Next) {
        match next {
            Next::Delivered => {
                self.delivered.put(route.work.identity, ());
                route.settle(Settlement::Delivered);
            }
            Next::Dead => {
                let (endpoint, event_id) = (self.name().as_str(), route.work.event.id.as_str());
                let (reason, error) = (&route.progress.reason, &route.progress.last_error);
                let trace = trace_context::of(&route.work.message);
                let trace_id = trace.as_ref().map(TraceContext::id);
                tracing::warn!(endpoint, event_id, trace_id, reason, error, "dead letter");
                let _ = self.plan.jobs.send(Job::Settle(route, next));
            }
            Next::Wait(_) | Next::Park => {
                let _ = self.plan.jobs.send(Job::Settle(route, next));
            }
        }
    }
}
