//! Endpoints that come, change and go while the bridge runs.
//!
//! Owns what a reload asks of the watchdog, in its three parts, because the router must know nobody
//! who is not there, and nobody may go whom the router still knows. Refuses to say which endpoints:
//! [`crate::app`] does. Read [`crate::actors::endpoint`] for what a change or a leave is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;

use super::{ANSWER, Entry, Watchdog, Watched};
use crate::actors::endpoint::{Change, Endpoint, Leave};
use crate::config;
use crate::domain::names::Name;
use crate::logic::intake::IntakeSettings;
use crate::logic::routing::RoutingTable;
use crate::meter;

/// How long new actors may take to be there. A later one is there for the router all the same.
const STAFFED: Duration = Duration::from_secs(10);

/// An endpoint that is configured no more, until nothing of it is under way.
pub(super) struct Leaving {
    pub(super) address: Addr<Endpoint>,
    /// Configured again meanwhile: built when the old one is gone, so that they never meet.
    successor: Option<Watched>,
}

/// Builds new endpoints. Answers when they are known to the router, or after ten seconds.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Hire(
    /// The new ones.
    pub Vec<Watched>,
);

impl Handler<Hire> for Watchdog {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Hire(all): Hire, ctx: &mut Self::Context) -> Self::Result {
        for watched in all {
            let name = watched.plan.endpoint.name.clone();
            if let Some(leaving) = self.leaving.get_mut(&name) {
                leaving.successor = Some(watched);
            } else {
                self.hire(watched, ctx);
            }
        }
        let (staffed, wait) = oneshot::channel();
        self.staffed.push(staffed);
        self.everybody_there();
        Box::pin(async move {
            let _ = tokio::time::timeout(STAFFED, wait).await;
        })
    }
}

/// Tells every endpoint that stays what a reload has brought. Answers when they know, but for one
/// that hangs. Those that go must not hear of it: in the new routing nobody wants their events, and
/// what they just take from their queues would be dead letters.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Instruct {
    /// How messages become events now.
    pub intake: Arc<IntakeSettings>,
    /// Who gets them now.
    pub routing: Arc<RoutingTable>,
    /// The endpoints that are configured now.
    pub endpoints: BTreeMap<Name, Arc<config::endpoint::Endpoint>>,
}

impl Handler<Instruct> for Watchdog {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, instruct: Instruct, _: &mut Self::Context) -> Self::Result {
        let Instruct { intake, routing, endpoints } = instruct;
        let leaving = self.leaving.values_mut().filter_map(|leaving| leaving.successor.as_mut());
        let staying =
            self.entries.values_mut().map(|entry| (&mut entry.watched, entry.address.clone()));
        let all = staying.chain(leaving.map(|watched| (watched, None)));
        let mut telling = Vec::new();
        for (watched, address) in all {
            let plan = &mut watched.plan;
            let Some(endpoint) = endpoints.get(&plan.endpoint.name) else { continue };
            let change = Change {
                intake: Arc::clone(&intake),
                routing: Arc::clone(&routing),
                endpoint: Arc::clone(endpoint),
            };
            change.apply(plan);
            // One that is dead is built from its plan, which knows.
            telling.extend(address.map(|address| address.send(change).timeout(ANSWER)));
        }
        Box::pin(async move {
            futures_util::future::join_all(telling).await;
        })
    }
}

/// Ends endpoints that the router does not know any more. Their queues stay.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Dismiss(
    /// Who goes.
    pub Vec<Name>,
);

impl Handler<Dismiss> for Watchdog {
    type Result = ();

    fn handle(&mut self, Dismiss(names): Dismiss, ctx: &mut Self::Context) {
        for name in names {
            self.expected.remove(&name);
            if let Some(leaving) = self.leaving.get_mut(&name) {
                leaving.successor = None;
            }
            let entry = self.entries.remove(&name);
            if let Some(address) = entry.and_then(|entry| entry.address) {
                self.dismiss(name, address, ctx);
            }
        }
        self.everybody_there();
    }
}

impl Watchdog {
    fn hire(&mut self, watched: Watched, ctx: &mut Context<Self>) {
        let name = watched.plan.endpoint.name.clone();
        self.expected.insert(name.clone());
        self.entries.insert(name.clone(), Entry::new(watched));
        self.build(&name, ctx);
    }

    fn dismiss(&mut self, name: Name, address: Addr<Endpoint>, ctx: &mut Context<Self>) {
        let ending = address.send(Leave);
        self.leaving.insert(name.clone(), Leaving { address, successor: None });
        // A dead actor answers with an error: it has nothing to end.
        ctx.spawn(ending.into_actor(self).map(move |_, watchdog, ctx| {
            tracing::info!(endpoint = name.as_str(), "endpoint removed; its queues stay");
            meter::forget(name.as_str());
            let leaving = watchdog.leaving.remove(&name);
            if let (Some(watched), false) = (leaving.and_then(|l| l.successor), watchdog.stopping) {
                watchdog.hire(watched, ctx);
            }
        }));
    }
}
