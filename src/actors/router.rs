//! The router: finds out what a message is and who gets it.
//!
//! Owns the step from a bus message to routes. Refuses to wait: what an endpoint cannot take goes
//! to parking. Read [`super::endpoint`] next.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use actix::prelude::*;
use tokio::sync::mpsc::UnboundedSender;

use super::board::{Board, Endpoints};
use super::endpoint::{Deliver, Endpoint};
use super::parking::Job;
use super::route::{Creditor, Debt, Note, Route, Work};
use crate::bus::Delivery;
use crate::domain::delivery::Message as BusMessage;
use crate::domain::names::Name;
use crate::logic::intake::{self, IntakeSettings};
use crate::logic::parcel;
use crate::logic::routing::RoutingTable;
use crate::logic::settle::Progress;
use crate::logic::trace_context;
use crate::spans::Process;
use crate::{meter, world};

/// The router.
pub struct Router {
    /// What is an event.
    pub intake: Arc<IntakeSettings>,
    /// Who gets it.
    pub routing: Arc<RoutingTable>,
    /// The endpoint actors; one that is being rebuilt is missing.
    pub endpoints: BTreeMap<Name, Addr<Endpoint>>,
    /// What is shown.
    pub board: Arc<Board>,
    /// Parking's ear.
    pub jobs: UnboundedSender<Job>,
    /// At least the source's prefetch: then the mailbox can never be full.
    pub mailbox: usize,
}

impl Actor for Router {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(self.mailbox);
    }
}

/// A message that came from the source.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Incoming {
    /// The message and its tag.
    pub delivery: Delivery,
    /// Who holds its ledger.
    pub creditor: Creditor,
    /// When it arrived; `None` where nothing is traced.
    pub at: Option<SystemTime>,
}

/// An endpoint actor that has started, or started again.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Started {
    /// The endpoint.
    pub name: Name,
    /// Its actor.
    pub address: Addr<Endpoint>,
}

impl Handler<Started> for Router {
    type Result = ();

    fn handle(&mut self, started: Started, _: &mut Self::Context) {
        self.endpoints.insert(started.name, started.address);
    }
}

/// What a reload has brought. The board changes with it, so that no route ever lacks its endpoint.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Reroute {
    /// What is an event now.
    pub intake: Arc<IntakeSettings>,
    /// Who gets it now.
    pub routing: Arc<RoutingTable>,
    /// Every endpoint that is configured now.
    pub endpoints: Endpoints,
}

impl Handler<Reroute> for Router {
    type Result = ();

    fn handle(&mut self, reroute: Reroute, _: &mut Self::Context) {
        let Reroute { intake, routing, endpoints } = reroute;
        self.endpoints.retain(|name, _| endpoints.contains_key(name));
        self.board.configure(endpoints);
        (self.intake, self.routing) = (intake, routing);
    }
}

impl Handler<Incoming> for Router {
    type Result = ();

    fn handle(&mut self, incoming: Incoming, _: &mut Self::Context) {
        let Incoming { delivery, creditor, at } = incoming;
        let Delivery { generation, tag, message } = delivery;
        let message = Arc::new(message);
        let received_at = world::now();
        let mut process = Process::default();
        // A panic over a message must not stop the bridge: it is rejected and told about.
        let read = std::panic::catch_unwind(AssertUnwindSafe(|| {
            process = Process::begin(at, &message);
            self.read(&message, &process, received_at)
        }));
        let read = read.unwrap_or_else(|_| Err("reading it took lockgate's intake down".into()));
        let debt =
            || Debt { generation, tag, creditor: creditor.clone(), process: process.clone() };
        let announce = |routes| creditor.notes.send(Note::Routed { generation, tag, routes });
        match read {
            Err(reason) => {
                let _ = announce(1);
                process.failed("rejected", &reason);
                let (exchange, routing_key) = (&message.exchange, &message.routing_key);
                tracing::warn!(reason, exchange, routing_key, "message rejected");
                self.board.source.rejected.add(1);
                meter::rejected();
                let _ = self.jobs.send(Job::Reject(Box::new((*message).clone()), reason, debt()));
            }
            Ok(found) => {
                let routes: Vec<Route> =
                    found.into_iter().map(|work| self.route(work, received_at, debt())).collect();
                let _ = announce(u32::try_from(routes.len()).unwrap_or(u32::MAX));
                if routes.is_empty() {
                    self.board.source.unwanted.add(1);
                    meter::unwanted();
                }
                for route in routes {
                    self.hand_over(route);
                }
            }
        }
    }
}

/// The message as its endpoints know it: with the trace that begins with it, if one does.
fn traced(message: &Arc<BusMessage>, process: &Process) -> Arc<BusMessage> {
    let Some(root) = process.root() else { return Arc::clone(message) };
    let mut traced = (**message).clone();
    trace_context::write(&mut traced, root);
    Arc::new(traced)
}

impl Router {
    /// Who gets the message, as what; in words, why it is no event.
    fn read(
        &self,
        message: &Arc<BusMessage>,
        process: &Process,
        received_at: jiff::Timestamp,
    ) -> Result<Vec<Work>, String> {
        let read = intake::intake(message, &self.intake, received_at);
        let event = Arc::new(read.map_err(|no| no.to_string())?);
        process.is(&event.id);
        let message = traced(message, process);
        let touched = Arc::new(AtomicBool::new(false));
        let identity = parcel::identity(&event.id, &message);
        let endpoints = self.board.endpoints();
        let found = self.routing.routes(&event).into_iter().filter_map(|found| {
            let shown = endpoints.get(found.endpoint)?;
            Some(Work {
                event: Arc::clone(&event),
                message: Arc::clone(&message),
                identity,
                endpoint: found.endpoint.clone(),
                configuration: Some(Arc::clone(found.configuration)),
                shown: Arc::clone(shown),
                touched: Arc::clone(&touched),
            })
        });
        Ok(found.collect())
    }

    fn route(&self, work: Work, received_at: jiff::Timestamp, debt: Debt) -> Route {
        work.shown.counters.routed.add(1);
        meter::routed(work.endpoint.as_str());
        Route::new(Arc::new(work), Progress::new(received_at), debt, Some(self.jobs.clone()))
    }

    fn hand_over(&self, route: Route) {
        let refused = match self.endpoints.get(&route.work.endpoint) {
            None => Some(route),
            Some(address) => match address.try_send(Deliver(route)) {
                Ok(()) => None,
                Err(SendError::Full(Deliver(route)) | SendError::Closed(Deliver(route))) => {
                    Some(route)
                }
            },
        };
        if let Some(route) = refused {
            route.touch();
            let _ = self.jobs.send(Job::Park(route, "endpoint_restarting"));
        }
    }
}
