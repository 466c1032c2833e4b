//! An endpoint: makes the attempts for one partner, and fails alone.
//!
//! Owns the window, the breaker, the lane and the record of what was delivered, for one endpoint in
//! this instance. Refuses to store anything: what cannot go is handed to parking. Read [`attempt`]
//! for one attempt, [`parked`] for the endpoint's own queue, [`drain`] for the end.

mod attempt;
mod change;
mod drain;
mod lanes;
mod parked;
mod resume;
mod shown;
mod trial;

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::prelude::*;
use lru::LruCache;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

pub use change::{Change, Leave};
pub use drain::{Drain, LONGEST_DRAIN, Quiesce};
pub use trial::{Trial, Tried};

use self::parked::ParkedLane;
use self::shown::News;
use super::board::{Board, Shown};
use super::parking::Job;
use super::route::Route;
use crate::bus::Bus;
use crate::config;
use crate::domain::delivery::Settlement;
use crate::domain::names::Name;
use crate::failpoint::{self, Place};
use crate::logic::breaker::{Breaker, State};
use crate::logic::intake::IntakeSettings;
use crate::logic::lane::Lane;
use crate::logic::routing::RoutingTable;
use crate::logic::telling::Telling;
use crate::meter;
use crate::transport::{Instance, Publisher};

/// How often the endpoint looks at its clock.
const TICK: Duration = Duration::from_millis(50);

/// What an endpoint actor is built from; kept by the watchdog to build it again.
#[derive(Clone)]
pub struct Plan {
    /// Its configuration.
    pub endpoint: Arc<config::endpoint::Endpoint>,
    /// How a parked message becomes an event again.
    pub intake: Arc<IntakeSettings>,
    /// By which configuration a parked event goes.
    pub routing: Arc<RoutingTable>,
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// What is shown.
    pub board: Arc<Board>,
    /// Its own part of the board.
    pub shown: Arc<Shown>,
    /// Parking's ear.
    pub jobs: UnboundedSender<Job>,
    /// At least the source's prefetch: then the mailbox can never be full.
    pub mailbox: usize,
    /// How many settled routes are remembered to recognise repeats.
    pub remembered: NonZeroUsize,
    /// This process.
    pub instance: Instance,
    /// Tells the watchdog when the actor is gone.
    pub obituary: UnboundedSender<Obituary>,
    /// Which of the endpoint's actors this one is.
    pub life: u64,
}

/// That an endpoint's actor is gone, and which one.
#[derive(Debug)]
pub struct Obituary {
    /// The endpoint.
    pub name: Name,
    /// The actor's [`Plan::life`].
    pub life: u64,
}

/// Tells the watchdog, however the actor ends.
struct Life {
    watchdog: UnboundedSender<Obituary>,
    name: Name,
    number: u64,
    shown: Arc<Shown>,
}

impl Drop for Life {
    fn drop(&mut self) {
        // Room that nobody can use would make others leave the express lane.
        self.shown.has_room.store(false, Ordering::Relaxed);
        let _ = self.watchdog.send(Obituary { name: self.name.clone(), life: self.number });
    }
}

fn limiter(endpoint: &config::endpoint::Endpoint) -> Option<governor::DefaultDirectRateLimiter> {
    let limit = endpoint.rate_limit?;
    let period = limit.per.checked_div(limit.count)?;
    governor::Quota::with_period(period).map(governor::RateLimiter::direct)
}

/// A route that waits in memory.
struct Waiting {
    route: Route,
    since: Instant,
}

/// The actor.
pub struct Endpoint {
    plan: Plan,
    publisher: Option<Rc<dyn Publisher>>,
    breaker: Breaker,
    began: Instant,
    lane: Lane,
    express: VecDeque<Waiting>,
    resumed: VecDeque<Waiting>,
    /// By identity: attempts under way, with the repeats that wait for their end.
    in_flight: HashMap<u128, Vec<Route>>,
    attempts: u16,
    express_turn: bool,
    progressed: Instant,
    /// By identity: what was delivered lately.
    delivered: LruCache<u128, ()>,
    limiter: Option<governor::DefaultDirectRateLimiter>,
    limited: bool,
    parked: ParkedLane,
    draining: Option<drain::Draining>,
    /// An operator's test event is under way.
    trying: bool,
    turn: change::Turn,
    /// The breaker's state as the metrics show it.
    metered: Option<State>,
    /// When it is tried again, as the board shows it.
    probe: Option<Duration>,
    /// Which changes of state are in the log.
    telling: Telling<News>,
    _life: Life,
}

impl Endpoint {
    /// An endpoint that begins when its actor starts. Call it on the arbiter that will run it.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        // First of all: whatever panics from here on, the watchdog hears of it.
        let life = Life {
            watchdog: plan.obituary.clone(),
            name: plan.endpoint.name.clone(),
            number: plan.life,
            shown: Arc::clone(&plan.shown),
        };
        failpoint::reach(Place::Start, plan.endpoint.name.as_str(), None);
        meter::introduce(plan.endpoint.name.as_str());
        let (breaker, max) = (plan.endpoint.breaker.clone(), plan.endpoint.max_in_flight);
        let limiter = limiter(&plan.endpoint);
        Self {
            publisher: None,
            breaker: Breaker::new(breaker, max, Duration::ZERO),
            began: Instant::now(),
            lane: Lane::Express,
            express: VecDeque::new(),
            resumed: VecDeque::new(),
            in_flight: HashMap::new(),
            attempts: 0,
            express_turn: true,
            progressed: Instant::now(),
            delivered: LruCache::new(plan.remembered),
            limiter,
            limited: false,
            parked: ParkedLane::new(),
            draining: None,
            trying: false,
            turn: change::Turn::default(),
            metered: None,
            probe: None,
            telling: Telling::default(),
            _life: life,
            plan,
        }
    }

    fn name(&self) -> &Name {
        &self.plan.endpoint.name
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Neither the configuration nor an operator keeps events from it.
    fn is_on(&self) -> bool {
        self.plan.endpoint.enabled && !self.plan.shown.paused.load(Ordering::Relaxed)
    }

    fn state(&mut self) -> State {
        let now = self.now();
        self.breaker.state(now)
    }

    /// Does everything that can be done now. Called after every change.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        if self.draining.is_some() {
            return;
        }
        let state = self.state();
        // Without queues nothing is parked, unless what waits holds others back.
        let lacking = self.plan.shown.lacks_queues();
        if !lacking && (!self.is_on() || state != State::Closed) {
            self.lane = Lane::Parked;
        }
        while self.may_begin() {
            let Some(waiting) = self.next_route() else { break };
            if let Some(route) = self.within_limit(waiting, ctx) {
                self.begin(route, ctx);
            }
        }
        if self.lane == Lane::Parked {
            self.park_express();
        }
        self.look_after_parked_lane(ctx);
        self.show();
    }

    /// Whether an attempt may begin now, as far as window and switch say.
    fn may_begin(&mut self) -> bool {
        let now = self.now();
        let ready = self.is_on() && !self.plan.shown.lacks_queues() && !self.is_changing();
        ready && !self.limited && self.attempts < self.breaker.window(now)
    }

    /// The next route to attempt: express and parked ones in turn. On the parked lane express ones
    /// go only to probe a half-open endpoint that has nothing parked at hand.
    fn next_route(&mut self) -> Option<Waiting> {
        let probing = self.state() == State::HalfOpen;
        loop {
            let express_counts = self.lane == Lane::Express || probing;
            let express = express_counts
                && !self.express.is_empty()
                && (self.resumed.is_empty() || (self.express_turn && !probing));
            let queue = if express { &mut self.express } else { &mut self.resumed };
            let waiting = queue.pop_front()?;
            if waiting.route.is_stale() {
                waiting.route.release();
                continue;
            }
            self.express_turn = !express;
            return Some(waiting);
        }
    }

    fn park_express(&mut self) {
        for waiting in self.express.drain(..) {
            waiting.route.touch();
            let _ = self.plan.jobs.send(Job::Park(waiting.route, "endpoint_behind"));
        }
    }

    /// The route again, unless it is a repeat of something that was delivered or is under way.
    fn unless_repeat(&mut self, route: Route) -> Option<Route> {
        if !route.work.message.redelivered {
            return Some(route);
        }
        if let Some(joined) = self.in_flight.get_mut(&route.work.identity) {
            route.touch();
            joined.push(route);
            return None;
        }
        if self.delivered.get(&route.work.identity).is_some() {
            route.settle(Settlement::Suppressed);
            return None;
        }
        Some(route)
    }
}

impl Actor for Endpoint {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // The one before it may have been left alone when it died.
        self.plan.shown.probe_at(None);
        ctx.set_mailbox_capacity(self.plan.mailbox);
        self.listen_to_parked_lane(ctx);
        ctx.run_interval(TICK, |endpoint, ctx| {
            endpoint.choose_lane(ctx);
            endpoint.pump(ctx);
            if !endpoint.has_left() {
                let in_flight = endpoint.plan.shown.counters.in_flight();
                meter::in_flight(endpoint.name().as_str(), in_flight);
            }
        });
        self.pump(ctx);
    }
}

/// Answered when the actor has started and its mailbox has its capacity.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Hello;

impl Handler<Hello> for Endpoint {
    type Result = ();

    fn handle(&mut self, Hello: Hello, _: &mut Self::Context) {}
}

/// A route for this endpoint, from the source.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Deliver(
    /// The route.
    pub Route,
);

impl Handler<Deliver> for Endpoint {
    type Result = ();

    fn handle(&mut self, Deliver(route): Deliver, ctx: &mut Self::Context) {
        if self.draining.is_some() {
            return self.came_late(route);
        }
        failpoint::reach(Place::Endpoint, self.name().as_str(), Some(&route.work.event.id));
        if let Some(route) = self.unless_repeat(route) {
            self.express.push_back(Waiting { route, since: Instant::now() });
            self.pump(ctx);
        }
    }
}
