//! A subscription of the source at work, and the change to another one.
//!
//! Owns what belongs to one subscription: its ledger, whether its messages still count, how many are
//! held. A changed prefetch needs a new consumer; the old one is cancelled, which gives nothing
//! back, and stays until what it brought is settled and acknowledged: so the change neither loses
//! nor repeats an event. Refuses to say which prefetch: that is [`crate::logic::prefetch`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix::prelude::*;
use tokio::sync::mpsc::UnboundedSender;

use super::super::Arrival;
use super::super::acks::Acks;
use super::super::route::{Creditor, Note};
use super::Ingress;
use crate::bus::Subscription;
use crate::logic::prefetch;
use crate::meter;

/// Subscriptions that are cancelled and still hold messages, at most.
const MOST_LEAVING: usize = 3;

/// One subscription.
pub(super) struct Live {
    pub(super) acks: Acks,
    pub(super) creditor: Creditor,
    arriving: SpawnHandle,
    pub(super) received: u64,
    covered: u64,
    /// No delivery comes any more.
    pub(super) ended: bool,
}

/// How far the change to a new consumer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moving {
    /// None is under way.
    No,
    /// The old one has been cancelled.
    Leaving,
    /// The new one has been asked for.
    Opening,
}

impl Live {
    pub(super) fn start(
        subscription: Subscription,
        notes: UnboundedSender<Note>,
        ctx: &mut Context<Ingress>,
    ) -> Self {
        let Subscription { generation, deliveries, control } = subscription;
        let creditor = Creditor { current: Arc::new(AtomicU64::new(generation)), notes };
        let acks = Acks::start(generation, control);
        let arriving = ctx.add_stream(super::super::arrivals(generation, deliveries));
        Self { acks, creditor, arriving, received: 0, covered: 0, ended: false }
    }

    /// Messages that are not acknowledged.
    pub(super) fn held(&self) -> u64 {
        self.received.saturating_sub(self.covered)
    }

    /// Sends what is due; returns how many messages are acknowledged by it.
    pub(super) fn flush(&mut self) -> u64 {
        let covered = self.acks.flush() as u64;
        self.covered += covered;
        covered
    }

    /// Sends everything that is settled; returns how many messages are acknowledged by it.
    pub(super) fn flush_all(&mut self) -> u64 {
        let covered = self.acks.flush_all() as u64;
        self.covered += covered;
        covered
    }
}

impl Ingress {
    /// Consumes anew with another prefetch when the events' size asks for it.
    pub(super) fn follow_sizes(&mut self, ctx: &mut Context<Self>) {
        let free = self.moving == Moving::No && self.leaving.len() < MOST_LEAVING;
        if self.stopping || self.live.is_none() || !free {
            return;
        }
        let Some(change) = self.prefetch.change(self.began.elapsed()) else { return };
        let prefetch::Change { from, to, mean } = change;
        meter::prefetch(to);
        if to < from {
            tracing::info!(from, to, mean_event_bytes = mean, "prefetch lowered to bound memory");
        } else {
            tracing::debug!(from, to, mean_event_bytes = mean, "prefetch raised");
        }
        let Some(live) = self.live.take() else { return };
        let generation = live.acks.generation;
        let cancelling = live.acks.control().cancel();
        self.leaving.push(live);
        self.moving = Moving::Leaving;
        ctx.spawn(cancelling.into_actor(self).map(move |cancelled, ingress, ctx| {
            if cancelled.is_err() {
                // It may deliver on: what it brings must not count.
                ingress.give_up_leaving(|live| live.acks.generation == generation, ctx);
            }
        }));
    }

    /// Ends cancelled subscriptions that hold nothing any more, and goes on with a change when there
    /// is room for the new consumer beside what the old ones hold.
    pub(super) fn look_after_leaving(&mut self, ctx: &mut Context<Self>) {
        self.give_up_leaving(|live| live.acks.is_gone(), ctx);
        let done = self.leaving.extract_if(.., |live| live.ended && live.held() == 0);
        self.finishing.retain(|finishing| !finishing.is_finished());
        self.finishing.extend(done.map(|live| actix_rt::spawn(live.acks.finish())));
        let held: u64 = self.leaving.iter().map(Live::held).sum();
        let through = self.leaving.iter().all(|live| live.ended);
        if self.moving == Moving::Leaving && through && held <= u64::from(self.prefetch.now() / 2) {
            self.moving = Moving::Opening;
            self.connect(ctx);
        }
    }

    /// The cancelled subscriptions that are lost: what they hold comes again.
    fn give_up_leaving(&mut self, is_lost: impl Fn(&Live) -> bool, ctx: &mut Context<Self>) {
        let lost: Vec<Live> = self.leaving.extract_if(.., |live| is_lost(live)).collect();
        let Some(why) = lost.last().map(|live| live.acks.why_lost()) else { return };
        let stale = lost.iter().map(|live| self.give_up(live, ctx)).sum();
        if self.moving == Moving::Leaving {
            self.moving = Moving::No;
            self.tell_lost(&why, stale);
            self.again(ctx);
        }
    }

    /// What a lost subscription held comes again; returns how much that is.
    pub(super) fn give_up(&self, live: &Live, ctx: &mut Context<Self>) -> u64 {
        // Whatever is left of it: nobody would acknowledge what still comes.
        ctx.cancel_future(live.arriving);
        live.creditor.current.store(0, Ordering::Release);
        let stale = live.held();
        self.source.board.source.stale.add(stale);
        meter::stale(stale);
        stale
    }

    /// Shows how many messages are held, and the oldest for how long.
    pub(super) fn show_held(&self) {
        let all = || self.live.iter().chain(&self.leaving).map(|live| &live.acks);
        meter::events_in_flight(all().map(Acks::outstanding).sum());
        let oldest = all().filter_map(Acks::oldest).max();
        self.source.board.source.hold(oldest);
        meter::oldest_unsettled(oldest.unwrap_or_default());
    }

    /// The subscription of this generation, whether it is the present one or on its leave.
    pub(super) fn subscription(&mut self, generation: u64) -> Option<&mut Live> {
        let all = self.live.iter_mut().chain(&mut self.leaving);
        all.into_iter().find(|live| live.acks.generation == generation)
    }
}

/// What comes from a subscription goes to the ledger that it belongs to.
impl StreamHandler<Arrival> for Ingress {
    fn handle(&mut self, arrival: Arrival, ctx: &mut Self::Context) {
        if self.stopping {
            return;
        }
        let present = self.live.as_ref().is_some_and(|l| l.acks.generation == arrival.generation);
        let Some(live) = self.subscription(arrival.generation) else { return };
        match arrival.delivery {
            Some(delivery) => {
                live.received += 1;
                let creditor = live.creditor.clone();
                self.arrived(delivery, creditor, ctx);
            }
            None if present => self.lost(ctx),
            None => {
                live.ended = true;
                self.look_after_leaving(ctx);
            }
        }
    }

    fn finished(&mut self, _: &mut Self::Context) {}
}
