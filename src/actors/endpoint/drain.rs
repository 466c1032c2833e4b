//! Draining: how an endpoint ends without losing or repeating anything.
//!
//! Owns the last steps: no new attempts, time for those under way, then what waits goes back. A
//! waiting route of a message of which something was attempted is parked; one of which nothing was
//! attempted stays unacknowledged, and the bus gives its message to another instance. Two messages,
//! because that can be told only when no endpoint begins an attempt any more.

use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::prelude::*;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use tokio::sync::oneshot;

use super::super::parking::Job;
use super::super::route::Route;
use super::Endpoint;

/// Bounds the wait for the parked lane's last acknowledgements, after the grace.
pub const LONGEST_DRAIN: Duration = Duration::from_secs(10);

/// Begins no attempt any more.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Quiesce;

/// Ends the endpoint's work; every endpoint has quiesced. Answers when nothing is under way, or
/// when the grace is over: attempts that are still under way then are parked.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Drain {
    /// How long attempts under way may go on.
    pub grace: Duration,
}

/// The state of an endpoint that is ending.
#[derive(Default)]
pub(super) struct Draining {
    waiting: Vec<Route>,
    may_sort: bool,
    done: Option<oneshot::Sender<()>>,
    /// The process goes on without the endpoint: what is left unacknowledged would not come again.
    leaving: bool,
}

impl Draining {
    /// Of an endpoint that is configured no more.
    pub(super) fn leaving(waiting: Vec<Route>, done: oneshot::Sender<()>) -> Self {
        Self { waiting, may_sort: true, done: Some(done), leaving: true }
    }
}

impl Handler<Quiesce> for Endpoint {
    type Result = ();

    fn handle(&mut self, Quiesce: Quiesce, ctx: &mut Self::Context) {
        let draining = self.draining.get_or_insert_default();
        draining.waiting.extend(self.express.drain(..).map(|waiting| waiting.route));
        self.leave_parked(ctx);
    }
}

impl Handler<Drain> for Endpoint {
    type Result = LocalBoxFuture<'static, ()>;

    fn handle(&mut self, Drain { grace }: Drain, ctx: &mut Self::Context) -> Self::Result {
        let (sender, receiver) = oneshot::channel();
        let draining = self.draining.get_or_insert_default();
        draining.may_sort = true;
        draining.done = Some(sender);
        ctx.run_later(grace, |endpoint, ctx| {
            if endpoint.attempts > 0 {
                // The actor's end drops its attempts, and parking takes their routes.
                tracing::warn!(
                    endpoint = endpoint.name().as_str(),
                    attempts = endpoint.attempts,
                    "attempts still under way after the grace; parking their events"
                );
                endpoint.sort_waiting();
                ctx.stop();
            }
        });
        ctx.run_later(grace + LONGEST_DRAIN, |_, ctx| ctx.stop());
        self.drained(ctx);
        let publisher = self.publisher.clone();
        async move {
            let _ = receiver.await;
            if let Some(publisher) = publisher {
                publisher.close().await;
            }
        }
        .boxed_local()
    }
}

impl Endpoint {
    /// Goes on with ending when the last attempt and the last acknowledgement are through.
    pub(super) fn drained(&mut self, ctx: &mut Context<Self>) {
        if self.draining.as_ref().is_none_or(|draining| !draining.may_sort) {
            return;
        }
        self.sort_waiting();
        self.look_after_parked_lane(ctx);
        if self.attempts == 0
            && self.parked.is_closed()
            && let Some(done) = self.draining.as_mut().and_then(|draining| draining.done.take())
        {
            let _ = done.send(());
            if self.has_left() {
                // Its own clock would keep it alive, though nobody knows it any more.
                ctx.stop();
            }
        }
    }

    /// It is configured no more, and nothing of it is under way: it shows nothing any more.
    pub(super) fn has_left(&self) -> bool {
        self.draining.as_ref().is_some_and(|draining| draining.leaving && draining.done.is_none())
    }

    /// A route that came late: it waits until it can be told what becomes of it.
    pub(super) fn came_late(&mut self, route: Route) {
        let Some(draining) = &mut self.draining else { return };
        draining.waiting.push(route);
        if draining.may_sort {
            self.sort_waiting();
        }
    }

    /// What waits is parked or left.
    fn sort_waiting(&mut self) {
        let Some(draining) = &mut self.draining else { return };
        for route in draining.waiting.drain(..) {
            if draining.leaving {
                route.touch();
                let _ = self.plan.jobs.send(Job::Park(route, "endpoint_removed"));
            } else if route.work.touched.load(Ordering::Relaxed) {
                let _ = self.plan.jobs.send(Job::Park(route, "stopping"));
            } else {
                route.release();
            }
        }
    }
}
