//! Parking: keeps on the bus what cannot go to its endpoint now.
//!
//! Owns the waiting for a confirm and the trying again: a route that comes here is settled only
//! when RabbitMQ has it on disk, however long that takes. Refuses to decide where it goes. Read
//! [`super::endpoint`] for who does.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::{mpsc, oneshot};

use super::board::Board;
use super::route::{Debt, Route};
use crate::bus::{Bus, BusError, Target};
use crate::domain::delivery::{Message, Settlement};
use crate::logic::{parcel, settle::Next};
use crate::world;

/// The first pause after a failed store; doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A confirm that takes longer is told about.
const SLOW: Duration = Duration::from_secs(5);

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
    /// Answered when everything that was sent before it has been kept.
    Barrier(oneshot::Sender<()>),
}

/// The actor that stores. Each store is a task of its own: one that fails harms no other.
pub struct Parking {
    bus: Arc<dyn Bus>,
    under_way: Rc<UnderWay>,
    troubled: Troubled,
}

/// The stores under way, and who waits for their end.
#[derive(Default)]
struct UnderWay {
    stores: Cell<usize>,
    waiting: RefCell<Vec<oneshot::Sender<()>>>,
}

/// One store under way, until it is dropped.
struct Ticket(Rc<UnderWay>);

impl Ticket {
    fn new(under_way: &Rc<UnderWay>) -> Self {
        under_way.stores.set(under_way.stores.get() + 1);
        Self(Rc::clone(under_way))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.stores.set(self.0.stores.get() - 1);
        self.0.answer();
    }
}

impl UnderWay {
    fn answer(&self) {
        if self.stores.get() == 0 {
            for waiting in self.waiting.take() {
                let _ = waiting.send(());
            }
        }
    }
}

/// The places that take nothing now, and how many stores wait there: trouble is told once a place,
/// and its end when nothing waits any more. Bounded by what is configured.
#[derive(Clone)]
struct Troubled {
    places: Rc<RefCell<BTreeMap<String, usize>>>,
    board: Arc<Board>,
}

/// The place of a trouble that is none of one queue.
const BUS: &str = "the bus";

impl Troubled {
    /// A store for `target` has failed; `waits` is where it has been waiting until now.
    fn tell(&self, waits: &mut Option<String>, target: &Target, error: &BusError) {
        let place = match error {
            BusError::Lost(_) | BusError::Blocked(_) => BUS.to_owned(),
            BusError::Refused(_) => {
                self.board.source.suspect.store(true, Ordering::Relaxed);
                place(target)
            }
        };
        if waits.as_ref() == Some(&place) {
            return;
        }
        self.waits_no_more(waits);
        *waits = Some(place.clone());
        let mut places = self.places.borrow_mut();
        if !places.contains_key(&place) {
            tracing::warn!(
                place,
                %error,
                "storing fails; events stay unacknowledged, and it is tried again"
            );
        }
        *places.entry(place).or_default() += 1;
    }

    /// A store is given up, or waits elsewhere.
    fn waits_no_more(&self, waits: &mut Option<String>) {
        let Some(place) = waits.take() else { return };
        if let Some(stores) = self.places.borrow_mut().get_mut(&place) {
            *stores = stores.saturating_sub(1);
        }
    }

    /// A store for `target` went well.
    fn over(&self, waits: &mut Option<String>, target: &Target) {
        if self.places.borrow().is_empty() {
            return;
        }
        self.waits_no_more(waits);
        let mut places = self.places.borrow_mut();
        for place in [place(target), BUS.to_owned()] {
            if places.get(&place) == Some(&0) {
                places.remove(&place);
                tracing::info!(place, "storing works again");
            }
        }
    }
}

impl Parking {
    /// Starts it on the present arbiter; jobs come through the channel.
    pub fn start(
        bus: Arc<dyn Bus>,
        jobs: mpsc::UnboundedReceiver<Job>,
        board: Arc<Board>,
    ) -> Addr<Self> {
        Self::create(|ctx| {
            ctx.add_stream(super::stream_of(jobs));
            let troubled = Troubled { places: Rc::default(), board };
            Self { bus, under_way: Rc::default(), troubled }
        })
    }
}

impl Actor for Parking {
    type Context = Context<Self>;
}

impl StreamHandler<Job> for Parking {
    fn handle(&mut self, job: Job, _: &mut Context<Self>) {
        if let Job::Barrier(reached) = job {
            self.under_way.waiting.borrow_mut().push(reached);
            return self.under_way.answer();
        }
        let (bus, ticket) = (Arc::clone(&self.bus), Ticket::new(&self.under_way));
        let troubled = self.troubled.clone();
        actix_rt::spawn(async move {
            perform(bus, job, troubled).await;
            drop(ticket);
        });
    }

    // Its actor lives as long as the process, also when nobody is left to send.
    fn finished(&mut self, _: &mut Context<Self>) {}
}

async fn perform(bus: Arc<dyn Bus>, job: Job, troubled: Troubled) {
    match job {
        Job::Park(mut route, reason) => {
            if route.progress.attempts == 0 || route.progress.reason.is_empty() {
                reason.clone_into(&mut route.progress.reason);
            }
            keep(&*bus, route, Next::Park, &troubled).await;
        }
        Job::Settle(route, next) => keep(&*bus, route, next, &troubled).await,
        Job::Abandoned(mut route) => {
            // Were it storing itself that drops routes, this would be a hot loop.
            tokio::time::sleep(FIRST_PAUSE).await;
            "abandoned".clone_into(&mut route.progress.reason);
            keep(&*bus, route, Next::Park, &troubled).await;
        }
        Job::Reject(message, reason, debt) => {
            let parcel = parcel::reject(&message, &reason);
            if store(&*bus, &Target::Rejected, &parcel, &troubled, || debt.is_stale()).await {
                debt.pay();
            }
        }
        Job::Barrier(reached) => drop(reached),
    }
}

async fn keep(bus: &dyn Bus, route: Route, next: Next, troubled: &Troubled) {
    let name = route.work.endpoint.clone();
    let (target, settlement) = match next {
        Next::Delivered => return route.settle(Settlement::Delivered),
        Next::Wait(rung) => (Target::Wait(name, rung), Settlement::Parked),
        Next::Park => (Target::Park(name), Settlement::Parked),
        Next::Dead => (Target::Dead(name), Settlement::Dead),
    };
    let parcel = parcel::pack(&route.work.message, &route.record(), world::now());
    if store(bus, &target, &parcel, troubled, || route.is_stale()).await {
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
    troubled: &Troubled,
    is_stale: impl Fn() -> bool,
) -> bool {
    let mut pause = FIRST_PAUSE;
    let mut waits = None;
    loop {
        if is_stale() {
            troubled.waits_no_more(&mut waits);
            return false;
        }
        let mut storing = bus.store(target.clone(), parcel.clone());
        let quick = tokio::time::timeout(SLOW, &mut storing).await;
        let stored = if let Ok(stored) = quick {
            stored
        } else {
            let why = format!(
                "no confirm for {SLOW:?}; a memory or disk alarm does that, or a server that hangs"
            );
            troubled.tell(&mut waits, target, &BusError::Blocked(why));
            storing.await
        };
        match stored {
            Ok(()) => {
                troubled.over(&mut waits, target);
                return true;
            }
            Err(error) => troubled.tell(&mut waits, target, &error),
        }
        tokio::time::sleep(pause.mul_f64(0.5 + world::random() / 2.0)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// A target as an operator calls it.
fn place(target: &Target) -> String {
    match target {
        Target::Park(name) => format!("the parked queue of {name}"),
        Target::Wait(name, delay) => format!("the wait of {delay:?} for {name}"),
        Target::Dead(name) => format!("the dead letters of {name}"),
        Target::Rejected => "the rejected messages".to_owned(),
        Target::Platform { exchange, .. } => format!("the exchange {exchange}"),
        Target::Source => "the source queue".to_owned(),
    }
}
