//! Ingress: takes messages from the source and acknowledges them.
//!
//! Owns the source's subscription and its ledger: a message is acknowledged when every route of it
//! is settled, and never otherwise. Comes back alone after every loss. Refuses to look into a
//! message. Read [`super::router`] next.

mod live;
mod survey;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::prelude::*;
use actix_rt::task::JoinHandle;
use futures_util::future::LocalBoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use self::live::{Live, Moving};
pub use self::survey::Need;
use self::survey::Survey;
use super::board::Board;
use super::depths;
use super::route::{Creditor, Note};
use super::router::{Incoming, Router};
use crate::bus::{Bus, BusError, Delivery, Queue, Subscription};
use crate::domain::names::Name;
use crate::logic::prefetch::{self, Prefetch};
use crate::{meter, spans, world};

/// How often acknowledgements that wait for an earlier message are looked at.
const TICK: Duration = Duration::from_millis(25);
/// The first pause before consuming anew; doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A subscription that did not last this long counts as a failed try.
const STEADY: Duration = Duration::from_secs(5);
/// The longest pause. The bus itself waits between two attempts to connect, on top of it.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Notes taken together, so that acknowledgements go out in runs.
const NOTES: usize = 512;

/// What ingress needs.
pub struct Source {
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// Who gets the messages.
    pub router: Addr<Router>,
    /// What is shown.
    pub board: Arc<Board>,
    /// Unacknowledged messages at most.
    pub prefetch: Prefetch,
    /// The endpoints whose queues must be there before anything is routed.
    pub endpoints: Vec<Name>,
    /// The rungs that must be there.
    pub rungs: Vec<Duration>,
    /// Resolves when every endpoint actor is there.
    pub staffed: Option<oneshot::Receiver<()>>,
}

/// The actor.
pub struct Ingress {
    source: Source,
    prefetch: Prefetch,
    began: Instant,
    notes: (mpsc::UnboundedSender<Note>, Option<mpsc::UnboundedReceiver<Note>>),
    /// The present subscription.
    live: Option<Live>,
    /// Cancelled ones, because of another prefetch, that still hold messages.
    leaving: Vec<Live>,
    /// Those that hold nothing any more, and whose last acknowledgements are on their way.
    finishing: Vec<JoinHandle<()>>,
    moving: Moving,
    survey: Survey,
    pause: Duration,
    prepared: bool,
    stopping: bool,
    /// Depths are being asked for.
    asking: bool,
    told: Option<String>,
}

impl Ingress {
    /// An ingress that begins when its actor starts.
    #[must_use]
    pub fn new(source: Source) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self {
            prefetch: source.prefetch.clone(),
            source,
            began: Instant::now(),
            notes: (sender, Some(receiver)),
            live: None,
            leaving: Vec::new(),
            finishing: Vec::new(),
            moving: Moving::No,
            survey: Survey::new(),
            pause: FIRST_PAUSE,
            prepared: false,
            stopping: false,
            asking: false,
            told: None,
        }
    }

    /// Prepares the topology where that is due, then consumes.
    fn connect(&mut self, ctx: &mut Context<Self>) {
        if self.stopping {
            return;
        }
        let bus = Arc::clone(&self.source.bus);
        let (prepared, prefetch) = (self.prepared, self.prefetch.now());
        let staffed = self.source.staffed.take();
        let surveying = self.survey();
        let opening = async move {
            if let Some(staffed) = staffed {
                let _ = staffed.await;
            }
            if !prepared {
                surveying.await?;
            }
            bus.consume(Queue::Source, prefetch).await
        };
        ctx.spawn(opening.into_actor(self).map(|opened, ingress, ctx| match opened {
            Ok(subscription) => ingress.opened(subscription, ctx),
            Err(error) => {
                // A queue that is gone may be declared again.
                ingress.prepared &= !matches!(error, BusError::Refused(_));
                ingress.retry(&error, ctx);
            }
        }));
    }

    fn opened(&mut self, subscription: Subscription, ctx: &mut Context<Self>) {
        if self.stopping {
            return;
        }
        self.prepared = true;
        self.told = None;
        self.live = Some(Live::start(subscription, self.notes.0.clone(), ctx));
        self.source.board.source.consuming.store(true, Ordering::Relaxed);
        let prefetch = self.prefetch.now();
        meter::bus_connected(true);
        meter::prefetch(prefetch);
        if std::mem::replace(&mut self.moving, Moving::No) == Moving::No {
            tracing::info!(prefetch, "consuming from the source");
            self.rescue(ctx);
            self.show_depths(ctx);
        }
    }

    /// Shows how much waits and is dead. One question at a time, however slow the bus is.
    fn show_depths(&mut self, ctx: &mut Context<Self>) {
        if self.live.is_none() || self.stopping || self.asking {
            return;
        }
        self.asking = true;
        let (bus, board) = (Arc::clone(&self.source.bus), Arc::clone(&self.source.board));
        ctx.spawn(depths::show(bus, board).into_actor(self).map(|done, ingress, _| {
            ingress.asking = false;
            if let Err(error) = done {
                tracing::debug!(%error, "the depths of queues could not be asked for");
            }
        }));
    }

    fn retry(&mut self, error: &BusError, ctx: &mut Context<Self>) {
        self.moving = Moving::No;
        self.show_consuming(false);
        let text = error.to_string();
        // The same trouble is told once, not at every try.
        if self.told.as_ref() != Some(&text) {
            tracing::error!(error = text, "cannot consume from the source; trying again");
            self.told = Some(text);
        }
        self.again(ctx);
    }

    /// Consumes anew after a pause.
    fn again(&mut self, ctx: &mut Context<Self>) {
        let wait = self.pause.mul_f64(0.5 + world::random() / 2.0);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        ctx.run_later(wait, Self::connect);
    }

    /// The subscription is gone: what was unacknowledged comes again.
    fn lost(&mut self, ctx: &mut Context<Self>) {
        let Some(live) = self.live.take() else { return };
        if live.acks.age() >= STEADY {
            self.pause = FIRST_PAUSE;
        }
        let why = live.acks.why_lost();
        let stale = self.give_up(&live, ctx);
        self.look_after_leaving(ctx);
        if !self.stopping {
            self.tell_lost(&why, stale);
            self.again(ctx);
        }
    }

    fn tell_lost(&self, reason: &str, unacknowledged: u64) {
        self.show_consuming(false);
        tracing::warn!(
            reason,
            unacknowledged,
            "the source's consumer was lost; consuming anew, what was unacknowledged comes again"
        );
    }

    fn show_consuming(&self, consuming: bool) {
        let shown = &self.source.board.source;
        shown.consuming.store(consuming, Ordering::Relaxed);
        if !consuming {
            shown.used_up.store(false, Ordering::Relaxed);
            depths::forget(&self.source.board);
        }
        meter::bus_connected(consuming);
    }

    fn flush(&mut self) {
        let all = self.live.iter_mut().chain(&mut self.leaving);
        let covered = all.map(Live::flush).sum();
        self.acknowledged(covered);
        let consuming = self.live.is_some() || self.moving != Moving::No;
        let used_up =
            consuming && self.source.board.source.in_flight() >= u64::from(self.prefetch.now());
        self.source.board.source.used_up.store(used_up, Ordering::Relaxed);
    }

    fn acknowledged(&self, messages: u64) {
        if messages > 0 {
            self.source.board.source.acknowledged.add(messages);
            meter::acknowledged(messages);
        }
    }

    /// A message of a subscription that counts.
    fn arrived(&mut self, delivery: Delivery, creditor: Creditor, ctx: &mut Context<Self>) {
        self.source.board.source.arrived();
        meter::received();
        self.prefetch.seen(prefetch::weight(&delivery.message));
        let incoming = Incoming { delivery, creditor, at: spans::arrival() };
        // The mailbox holds a whole prefetch, and what older subscriptions still hold.
        if self.source.router.try_send(incoming).is_err() {
            tracing::error!("the router takes nothing; consuming anew");
            return self.lost(ctx);
        }
        self.follow_sizes(ctx);
    }
}

impl Actor for Ingress {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(notes) = self.notes.1.take() {
            ctx.add_stream(super::stream_of(notes).ready_chunks(NOTES));
        }
        ctx.run_interval(TICK, |ingress, ctx| {
            ingress.flush();
            ingress.show_held();
            if ingress.live.as_ref().is_some_and(|live| live.acks.is_lost()) {
                ingress.lost(ctx);
            }
            ingress.look_after_leaving(ctx);
            ingress.look_again(ctx);
        });
        ctx.run_interval(survey::RESCUE_EVERY, Self::rescue);
        ctx.run_interval(depths::EVERY, Self::show_depths);
        self.connect(ctx);
    }
}

impl StreamHandler<Vec<Note>> for Ingress {
    fn handle(&mut self, notes: Vec<Note>, ctx: &mut Self::Context) {
        let mut barriers = Vec::new();
        for note in notes {
            match note {
                Note::Barrier(reached) => barriers.push(reached),
                Note::Routed { generation, .. } | Note::Settled { generation, .. } => {
                    if let Some(live) = self.subscription(generation) {
                        live.acks.take(&note);
                    }
                }
            }
        }
        self.flush();
        self.look_after_leaving(ctx);
        for reached in barriers {
            let _ = reached.send(());
        }
    }

    fn finished(&mut self, _: &mut Self::Context) {}
}

/// Takes nothing more from the source. Ends when the bus has understood.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StopConsuming;

impl Handler<StopConsuming> for Ingress {
    type Result = LocalBoxFuture<'static, ()>;

    fn handle(&mut self, StopConsuming: StopConsuming, _: &mut Self::Context) -> Self::Result {
        self.stopping = true;
        self.source.board.source.consuming.store(false, Ordering::Relaxed);
        let control = self.live.as_ref().map(|live| live.acks.control());
        async move {
            if let Some(control) = control {
                let _ = tokio::time::timeout(Duration::from_secs(2), control.cancel()).await;
            }
        }
        .boxed_local()
    }
}

/// Sends the last acknowledgements. Ends when they are on the wire.
#[derive(Message)]
#[rtype(result = "()")]
pub struct FinishAcks;

impl Handler<FinishAcks> for Ingress {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, FinishAcks: FinishAcks, _: &mut Self::Context) -> Self::Result {
        let (sender, reached) = oneshot::channel();
        let _ = self.notes.0.send(Note::Barrier(sender));
        let done = reached.into_actor(self).then(|_, ingress, _| {
            let mut last: Vec<Live> =
                ingress.leaving.drain(..).chain(ingress.live.take()).collect();
            let covered = last.iter_mut().map(Live::flush_all).sum();
            ingress.acknowledged(covered);
            let finishing = std::mem::take(&mut ingress.finishing);
            async move {
                let last = last.into_iter().map(|live| live.acks.finish());
                futures_util::future::join_all(last).await;
                futures_util::future::join_all(finishing).await;
            }
            .into_actor(ingress)
        });
        Box::pin(done)
    }
}
