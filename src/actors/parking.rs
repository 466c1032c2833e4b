//! Parking: keeps on the bus what cannot go to its endpoint now.
//!
//! Owns the waiting for a confirm and the trying again: a route that comes here is settled only
//! when RabbitMQ has it on disk, however long that takes. Refuses to decide where it goes. Read
//! [`super::endpoint`] for who does.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::{mpsc, oneshot};

use super::route::{Debt, Route};
use crate::bus::{Bus, BusError, Target};
use crate::domain::delivery::{Message, Settlement};
use crate::logic::{parcel, settle::Next};
use crate::world;

/// The first pause after a failed store; doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Something to keep. Each owns a debt, so there are never more than unacknowledged messages times
/// endpoints.
#[derive(Debug)]
pub enum Job {
    /// Park a route at once, for a reason that is no attempt.
    Park(Route, &'static str),
    /// A route after an attempt: to its rung, its queue or its dead letters.
    Settle(Route, Next),
    /// A route that was dropped without a settlement.
    Abandoned(Route),
    /// A message that is no event.
    Reject(Box<Message>, String, Debt),
}

/// The actor that stores.
pub struct Parking {
    bus: Arc<dyn Bus>,
    outstanding: usize,
    drained: Vec<oneshot::Sender<()>>,
}

impl Parking {
    /// Starts it on the present arbiter; jobs come through the channel.
    pub fn start(bus: Arc<dyn Bus>, jobs: mpsc::UnboundedReceiver<Job>) -> Addr<Self> {
        Self::create(|ctx| {
            ctx.add_stream(super::stream_of(jobs));
            Self { bus, outstanding: 0, drained: Vec::new() }
        })
    }

    fn begin(&mut self, job: Job, ctx: &mut Context<Self>) {
        self.outstanding += 1;
        let done = perform(Arc::clone(&self.bus), job);
        ctx.spawn(done.into_actor(self).map(|(), parking, _| {
            parking.outstanding -= 1;
            if parking.outstanding == 0 {
                for waiting in parking.drained.drain(..) {
                    let _ = waiting.send(());
                }
            }
        }));
    }
}

impl Actor for Parking {
    type Context = Context<Self>;
}

impl StreamHandler<Job> for Parking {
    fn handle(&mut self, job: Job, ctx: &mut Context<Self>) {
        self.begin(job, ctx);
    }

    // Its actor lives as long as the process, also when nobody is left to send.
    fn finished(&mut self, _: &mut Context<Self>) {}
}

/// Ends when nothing is being stored.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Drain;

impl Handler<Drain> for Parking {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Drain: Drain, _: &mut Context<Self>) -> Self::Result {
        if self.outstanding == 0 {
            return Box::pin(futures_util::future::ready(()));
        }
        let (sender, receiver) = oneshot::channel();
        self.drained.push(sender);
        Box::pin(async move {
            let _ = receiver.await;
        })
    }
}

async fn perform(bus: Arc<dyn Bus>, job: Job) {
    match job {
        Job::Park(mut route, reason) => {
            if route.progress.attempts == 0 || route.progress.reason.is_empty() {
                reason.clone_into(&mut route.progress.reason);
            }
            keep(&*bus, route, Next::Park).await;
        }
        Job::Settle(route, next) => keep(&*bus, route, next).await,
        Job::Abandoned(mut route) => {
            "abandoned".clone_into(&mut route.progress.reason);
            keep(&*bus, route, Next::Park).await;
        }
        Job::Reject(message, reason, debt) => {
            let parcel = parcel::reject(&message, &reason);
            if store(&*bus, &Target::Rejected, &parcel, || debt.is_stale()).await {
                debt.pay();
            }
        }
    }
}

async fn keep(bus: &dyn Bus, route: Route, next: Next) {
    let name = route.work.endpoint.clone();
    let (target, settlement) = match next {
        Next::Delivered => return route.settle(Settlement::Delivered),
        Next::Wait(rung) => (Target::Wait(name, rung), Settlement::Parked),
        Next::Park => (Target::Park(name), Settlement::Parked),
        Next::Dead => (Target::Dead(name), Settlement::Dead),
    };
    let parcel = parcel::pack(&route.work.message, &route.record(), world::now());
    if store(bus, &target, &parcel, || route.is_stale()).await {
        route.settle(settlement);
    } else {
        route.release();
    }
}

/// Stores until it is safe; `false` when its message comes again anyway.
async fn store(
    bus: &dyn Bus,
    target: &Target,
    parcel: &Message,
    is_stale: impl Fn() -> bool,
) -> bool {
    let mut pause = FIRST_PAUSE;
    let mut told = false;
    loop {
        if is_stale() {
            return false;
        }
        let error: BusError = match bus.store(target.clone(), parcel.clone()).await {
            Ok(()) => return true,
            Err(error) => error,
        };
        if !told {
            tracing::warn!(?target, %error, "storing failed; the event stays unacknowledged and storing is tried again");
            told = true;
        }
        tokio::time::sleep(pause.mul_f64(0.5 + world::random() / 2.0)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
