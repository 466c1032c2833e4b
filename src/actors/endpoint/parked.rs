//! The parked lane: the endpoint's own queue on the bus, consumed by the endpoint itself.
//!
//! Owns its subscription and ledger: consumed while the breaker is closed, with a prefetch of one
//! while it is half-open, left alone while it is open or the endpoint is switched off. What was not
//! attempted when that changes goes back by a confirmed publish, never by closing the channel, which
//! would count as a delivery. Refuses to attempt: [`super::attempt`] does. Read [`super::resume`] next.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::prelude::*;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::Arrival;
use super::super::acks::Acks;
use super::super::parking::Job;
use super::super::route::{Creditor, Debt, Note};
use super::{Endpoint, Waiting};
use crate::bus::{BusError, Delivery, Queue, Subscription};
use crate::failpoint::{self, Place};
use crate::logic::breaker::State;
use crate::logic::settle::Next;
use crate::spans::Process;
use crate::world;

/// How often the depth of the queue is asked for at most.
const DEPTH_EVERY: Duration = Duration::from_secs(1);
/// No delivery may stay unacknowledged longer than this, however low the rate limit.
const LONGEST_HELD: Duration = Duration::from_secs(300);
/// The pause before consuming anew after a loss; doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// A consumer that did not last this long counts as a failed try.
const STEADY: Duration = Duration::from_secs(5);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The state of the parked lane's consumer.
pub(super) struct ParkedLane {
    creditor: Creditor,
    notes: Option<mpsc::UnboundedReceiver<Note>>,
    live: Option<Live>,
    opening: bool,
    /// Consumers that have ended and whose last acknowledgements are on their way.
    finishing: usize,
    not_before: Option<Instant>,
    pause: Duration,
    /// That the queue cannot be consumed has been told.
    told: bool,
    asked: Option<Instant>,
}

struct Live {
    acks: Acks,
    arriving: SpawnHandle,
    prefetch: u16,
    /// Cancelled: it ends when the last delivery has come and nothing is unacknowledged.
    ending: bool,
    /// No delivery comes any more.
    ended: bool,
    received: u64,
    covered: u64,
}

impl ParkedLane {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let creditor = Creditor { current: Arc::new(AtomicU64::new(0)), notes: sender };
        Self {
            creditor,
            notes: Some(receiver),
            live: None,
            opening: false,
            finishing: 0,
            not_before: None,
            pause: FIRST_PAUSE,
            told: false,
            asked: None,
        }
    }

    /// Messages of the queue that this instance holds.
    pub(super) fn held(&self) -> usize {
        let held = self.live.as_ref().map_or(0, |live| live.received - live.covered);
        usize::try_from(held).unwrap_or(usize::MAX)
    }

    /// Nothing of the queue is unacknowledged.
    pub(super) fn is_clear(&self) -> bool {
        self.held() == 0
    }

    /// Its consumer is being cancelled.
    pub(super) fn is_ending(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.ending)
    }

    /// Its consumer is gone, and nothing is owed.
    pub(super) fn is_closed(&self) -> bool {
        self.live.is_none() && !self.opening && self.finishing == 0
    }

    fn flush(&mut self) {
        if let Some(live) = &mut self.live {
            live.covered += live.acks.flush() as u64;
        }
    }

    fn end(&mut self) -> Option<Live> {
        self.creditor.current.store(0, Ordering::Release);
        self.live.take()
    }
}

impl Drop for ParkedLane {
    fn drop(&mut self) {
        // Its consumer ends with it, and what was unacknowledged comes again.
        self.creditor.current.store(0, Ordering::Release);
    }
}

impl Endpoint {
    pub(super) fn listen_to_parked_lane(&mut self, ctx: &mut Context<Self>) {
        if let Some(notes) = self.parked.notes.take() {
            ctx.add_stream(super::super::stream_of(notes).ready_chunks(256));
        }
    }

    /// Opens, changes or ends the consumer, as breaker and switch want it.
    pub(super) fn look_after_parked_lane(&mut self, ctx: &mut Context<Self>) {
        self.parked.flush();
        let wanted = self.wanted_prefetch();
        match &self.parked.live {
            Some(live) if live.acks.is_lost() => self.lose_parked("acknowledging failed", ctx),
            Some(live) if live.ending && live.acks.is_gone() => {
                self.lose_parked("the connection was lost", ctx);
            }
            Some(live) if live.ending => {
                if live.ended && self.parked.is_clear() {
                    self.close_parked(ctx);
                }
            }
            Some(live) if wanted != Some(live.prefetch) => self.leave_parked(ctx),
            Some(_) => {}
            None => {
                let due = self.parked.not_before.is_none_or(|at| at <= Instant::now());
                if let (Some(prefetch), false, true) = (wanted, self.parked.opening, due) {
                    self.open_parked(prefetch, ctx);
                }
            }
        }
    }

    fn wanted_prefetch(&mut self) -> Option<u16> {
        let endpoint = Arc::clone(&self.plan.endpoint);
        let prepared = self.plan.board.source.prepared.load(Ordering::Relaxed);
        let lacking = self.plan.shown.lacks_queues();
        if !self.is_on() || self.draining.is_some() || !prepared || lacking {
            return None;
        }
        match self.state() {
            State::Open { .. } => None,
            State::HalfOpen => Some(1),
            State::Closed => {
                let full = endpoint.max_in_flight;
                let Some(limit) = endpoint.rate_limit else { return Some(full) };
                let share = LONGEST_HELD.as_secs_f64() / limit.per.as_secs_f64();
                let held = (share * f64::from(limit.count)).clamp(1.0, f64::from(full));
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "clamped to 1..=u16"
                )]
                Some(held as u16)
            }
        }
    }

    fn open_parked(&mut self, prefetch: u16, ctx: &mut Context<Self>) {
        self.parked.opening = true;
        let opening = self.plan.bus.consume(Queue::Parked(self.name().clone()), prefetch);
        ctx.spawn(opening.into_actor(self).map(move |opened, endpoint, ctx| {
            endpoint.parked.opening = false;
            match opened {
                Ok(subscription) => endpoint.parked_opened(subscription, prefetch, ctx),
                Err(error) => endpoint.parked_failed(&error),
            }
            endpoint.drained(ctx);
        }));
    }

    fn parked_opened(
        &mut self,
        subscription: Subscription,
        prefetch: u16,
        ctx: &mut Context<Self>,
    ) {
        let Subscription { generation, deliveries, control } = subscription;
        self.parked.told = false;
        self.parked.not_before = None;
        self.parked.creditor.current.store(generation, Ordering::Release);
        let acks = Acks::start(generation, control);
        let arriving = ctx.add_stream(super::super::arrivals(generation, deliveries));
        let (received, covered) = (0, 0);
        let fresh =
            Live { acks, arriving, prefetch, ending: false, ended: false, received, covered };
        self.parked.live = Some(fresh);
        self.look_after_parked_lane(ctx);
    }

    fn parked_failed(&mut self, error: &BusError) {
        if matches!(error, BusError::Refused(_)) {
            self.plan.board.source.suspect.store(true, Ordering::Relaxed);
        }
        // That the whole bus is gone, ingress tells once for all endpoints.
        if !matches!(error, BusError::Lost(_)) && !self.parked.told {
            self.parked.told = true;
            let endpoint = self.name().as_str();
            tracing::warn!(endpoint, %error, "cannot consume the parked queue; trying again");
        }
        let wait = self.parked.pause.mul_f64(0.5 + world::random() / 2.0);
        self.parked.not_before = Some(Instant::now() + wait);
        self.parked.pause = (self.parked.pause * 2).min(LONGEST_PAUSE);
    }

    /// Cancels the consumer and sends back what was not attempted.
    pub(super) fn leave_parked(&mut self, ctx: &mut Context<Self>) {
        let Some(live) = &mut self.parked.live else { return };
        live.ending = true;
        let generation = live.acks.generation;
        let cancelling = live.acks.control().cancel();
        ctx.spawn(cancelling.into_actor(self).map(move |cancelled, endpoint, ctx| {
            let live = endpoint.parked.live.as_ref();
            let same = live.is_some_and(|live| live.acks.generation == generation);
            if let (Err(error), true) = (cancelled, same) {
                // A consumer that cannot be cancelled would deliver again what is sent back.
                endpoint.lose_parked(&error.to_string(), ctx);
            }
            endpoint.look_after_parked_lane(ctx);
            endpoint.drained(ctx);
        }));
        for waiting in self.resumed.drain(..) {
            let _ = self.plan.jobs.send(Job::Park(waiting.route, "sent_back"));
        }
    }

    fn close_parked(&mut self, ctx: &mut Context<Self>) {
        let Some(live) = self.parked.end() else { return };
        self.parked.finishing += 1;
        ctx.spawn(live.acks.finish().into_actor(self).map(|(), endpoint, ctx| {
            endpoint.parked.finishing -= 1;
            endpoint.drained(ctx);
        }));
    }

    /// The consumer is gone, or must go: what was unacknowledged comes again.
    fn lose_parked(&mut self, why: &str, ctx: &mut Context<Self>) {
        let Some(live) = self.parked.end() else { return };
        ctx.cancel_future(live.arriving);
        for waiting in self.resumed.drain(..) {
            waiting.route.release();
        }
        if live.acks.age() >= STEADY {
            self.parked.pause = FIRST_PAUSE;
        }
        self.parked_failed(&BusError::Lost(why.into()));
    }

    fn parked_arrived(&mut self, delivery: Delivery, ctx: &mut Context<Self>) {
        let Delivery { generation, tag, message } = delivery;
        let Some(live) = self.parked.live.as_mut().filter(|l| l.acks.generation == generation)
        else {
            return;
        };
        live.received += 1;
        let ending = live.ending;
        live.acks.take(&Note::Routed { generation, tag, routes: 1 });
        let creditor = self.parked.creditor.clone();
        // The span of its message ended when it was parked.
        let debt = Debt { generation, tag, creditor, process: Process::default() };
        let Some((route, wanted)) = self.resume(message, debt) else { return };
        failpoint::reach(Place::Endpoint, self.name().as_str(), Some(&route.work.event.id));
        if !wanted {
            let _ = self.plan.jobs.send(Job::Settle(route, Next::Dead));
        } else if ending {
            let _ = self.plan.jobs.send(Job::Park(route, "sent_back"));
        } else if let Some(route) = self.unless_repeat(route) {
            self.resumed.push_back(Waiting { route, since: Instant::now() });
            self.pump(ctx);
        }
    }

    /// Asks how many messages are ready, at most once a second.
    pub(super) fn ask_depth(&mut self, ctx: &mut Context<Self>) {
        let recently = self.parked.asked.is_some_and(|at| at.elapsed() < DEPTH_EVERY);
        if recently || !self.has_room() {
            return;
        }
        self.parked.asked = Some(Instant::now());
        let asking = self.plan.bus.depth(Queue::Parked(self.name().clone()));
        ctx.spawn(asking.into_actor(self).map(|depth, endpoint, _| {
            if matches!(depth, Ok(None)) {
                // Its queue is not there: a survey may declare it anew.
                endpoint.plan.board.source.suspect.store(true, Ordering::Relaxed);
            }
            endpoint.back_to_express(depth.unwrap_or(None));
        }));
    }
}

impl StreamHandler<Arrival> for Endpoint {
    fn handle(&mut self, arrival: Arrival, ctx: &mut Self::Context) {
        let generation = arrival.generation;
        let Some(live) = self.parked.live.as_mut().filter(|l| l.acks.generation == generation)
        else {
            return;
        };
        match arrival.delivery {
            Some(delivery) => self.parked_arrived(delivery, ctx),
            None if live.ending => live.ended = true,
            None => self.lose_parked("the consumer ended", ctx),
        }
        self.look_after_parked_lane(ctx);
        self.drained(ctx);
    }

    fn finished(&mut self, _: &mut Self::Context) {}
}

impl StreamHandler<Vec<Note>> for Endpoint {
    fn handle(&mut self, notes: Vec<Note>, ctx: &mut Self::Context) {
        if let Some(live) = &mut self.parked.live {
            for note in &notes {
                live.acks.take(note);
            }
        }
        self.look_after_parked_lane(ctx);
        self.drained(ctx);
    }

    fn finished(&mut self, _: &mut Self::Context) {}
}
