//! Other settings: how an endpoint takes over what a reload has brought.
//!
//! Owns the turn from one configuration to the next: intake and routing at once; the endpoint's own
//! settings when no attempt is under way, so that none is cut off and no two connections with one
//! client id ever meet. Until then nothing new is attempted. What waits and what is parked stays, and
//! where the transport's settings are the same, so does its connection. Also how an endpoint leaves that is
//! configured no more: what waits is parked in its queue, which stays. Read [`super::drain`] next.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use tokio::sync::oneshot;

use super::drain::Draining;
use super::{Endpoint, Plan, limiter};
use crate::config;
use crate::logic::breaker::Breaker;
use crate::logic::intake::IntakeSettings;
use crate::logic::routing::RoutingTable;
use crate::meter;

/// Attempts of an endpoint that leaves may go on for as long as any timeout allows.
const LONGEST_LEAVE: Duration = Duration::from_secs(360);

/// The turn from one configuration to the next.
#[derive(Default)]
pub(super) struct Turn {
    /// Settings that a reload has brought, until they are taken over.
    successor: Option<Arc<config::endpoint::Endpoint>>,
    /// The publisher of the settings before says goodbye.
    closing: bool,
}

/// What a reload has brought, for one endpoint.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct Change {
    /// How messages become events now.
    pub intake: Arc<IntakeSettings>,
    /// Who gets them now.
    pub routing: Arc<RoutingTable>,
    /// Its own settings now; the same as before if nothing of them has changed.
    pub endpoint: Arc<config::endpoint::Endpoint>,
}

impl Change {
    /// From now on a plan says the same.
    pub fn apply(&self, plan: &mut Plan) {
        plan.intake = Arc::clone(&self.intake);
        plan.routing = Arc::clone(&self.routing);
        plan.endpoint = Arc::clone(&self.endpoint);
    }
}

impl Handler<Change> for Endpoint {
    type Result = ();

    fn handle(&mut self, change: Change, ctx: &mut Self::Context) {
        self.plan.intake = change.intake;
        self.plan.routing = change.routing;
        let next = self.turn.successor.as_ref().unwrap_or(&self.plan.endpoint);
        if next.fingerprint != change.endpoint.fingerprint {
            self.turn.successor = Some(change.endpoint);
            self.succeed(ctx);
        }
    }
}

/// Ends the endpoint, which is configured no more. Answers when nothing is under way.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Leave;

impl Handler<Leave> for Endpoint {
    type Result = LocalBoxFuture<'static, ()>;

    fn handle(&mut self, Leave: Leave, ctx: &mut Self::Context) -> Self::Result {
        let (sender, receiver) = oneshot::channel();
        let waiting = self.express.drain(..).map(|waiting| waiting.route).collect();
        self.draining = Some(Draining::leaving(waiting, sender));
        self.leave_parked(ctx);
        ctx.run_later(LONGEST_LEAVE, |_, ctx| ctx.stop());
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
    /// Other settings wait for the last attempt under the present ones.
    pub(super) fn is_changing(&self) -> bool {
        self.turn.successor.is_some() || self.turn.closing
    }

    /// Takes the new settings over, if there are any and nothing is under way.
    pub(super) fn succeed(&mut self, ctx: &mut Context<Self>) {
        if self.attempts > 0 || self.trying || self.turn.closing || self.draining.is_some() {
            return;
        }
        let Some(next) = self.turn.successor.take() else { return };
        let now = self.now();
        self.breaker = Breaker::new(next.breaker.clone(), next.max_in_flight, now);
        self.limiter = limiter(&next);
        let same_wire = self.plan.endpoint.wire == next.wire;
        self.plan.endpoint = next;
        let publisher = if same_wire { None } else { self.publisher.take() };
        let endpoint = self.name().as_str();
        tracing::info!(endpoint, reconnects = !same_wire, "endpoint has its new settings");
        if !same_wire {
            // It was another peer's, perhaps; the next handshake says.
            meter::no_certificate(endpoint);
        }
        if let Some(publisher) = publisher {
            self.turn.closing = true;
            ctx.spawn(publisher.close().into_actor(self).map(|(), endpoint, ctx| {
                endpoint.turn.closing = false;
                endpoint.succeed(ctx);
                endpoint.pump(ctx);
                endpoint.drained(ctx);
            }));
        }
        self.pump(ctx);
    }
}
