//! Ingress: takes messages from the source and acknowledges them.
//!
//! Owns the source's subscription and its ledger: a message is acknowledged when every route of it
//! is settled, and never otherwise. Comes back alone after every loss. Refuses to look into a
//! message. Read [`super::router`] next.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::prelude::*;
use futures_util::future::LocalBoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::{mpsc, oneshot};

use super::acks::Acks;
use super::board::Board;
use super::route::{Creditor, Note};
use super::router::{Incoming, Router};
use super::{Arrival, depths};
use crate::bus::{Bus, BusError, Queue, Subscription};
use crate::domain::names::Name;
use crate::{meter, world};

/// How often acknowledgements that wait for an earlier message are looked at.
const TICK: Duration = Duration::from_millis(25);
/// How often orphans are looked for.
const RESCUE_EVERY: Duration = Duration::from_mins(1);
/// The first pause before consuming anew; doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A subscription that did not last this long counts as a failed try.
const STEADY: Duration = Duration::from_secs(5);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
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
    pub prefetch: u16,
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
    creditor: Creditor,
    notes: Option<mpsc::UnboundedReceiver<Note>>,
    live: Option<Acks>,
    arriving: Option<SpawnHandle>,
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
        let creditor = Creditor { current: Arc::new(AtomicU64::new(0)), notes: sender };
        Self {
            source,
            creditor,
            notes: Some(receiver),
            live: None,
            arriving: None,
            pause: FIRST_PAUSE,
            prepared: false,
            stopping: false,
            asking: false,
            told: None,
        }
    }

    /// Prepares the topology once, then consumes.
    fn connect(&mut self, ctx: &mut Context<Self>) {
        if self.stopping {
            return;
        }
        let bus = Arc::clone(&self.source.bus);
        let wanted = (self.source.endpoints.clone(), self.source.rungs.clone());
        let (prepared, prefetch) = (self.prepared, self.source.prefetch);
        let staffed = self.source.staffed.take();
        let board = Arc::clone(&self.source.board);
        let opening = async move {
            if let Some(staffed) = staffed {
                let _ = staffed.await;
            }
            if !prepared {
                let report = bus.prepare(wanted.0, wanted.1).await?;
                for object in &report.declared {
                    tracing::debug!(object, "declared on the bus");
                }
                if !report.declared.is_empty() {
                    tracing::info!(objects = report.declared.len(), "declared on the bus");
                }
                if !report.missing.is_empty() {
                    let missing = report.missing.join(", ");
                    return Err(BusError::Refused(format!("missing on the bus: {missing}")));
                }
                board.source.prepared.store(true, Ordering::Relaxed);
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
        let Subscription { generation, deliveries, control } = subscription;
        self.live = Some(Acks::start(generation, control));
        self.creditor.current.store(generation, Ordering::Release);
        self.source.board.source.consuming.store(true, Ordering::Relaxed);
        meter::bus_connected(true);
        tracing::info!(prefetch = self.source.prefetch, "consuming from the source");
        self.arriving = Some(ctx.add_stream(super::arrivals(generation, deliveries)));
        self.rescue(ctx);
        self.show_depths(ctx);
    }

    /// Sends orphans of configured endpoints home and counts the rest.
    fn rescue(&mut self, ctx: &mut Context<Self>) {
        if self.live.is_none() || self.stopping {
            return;
        }
        let (bus, endpoints) = (Arc::clone(&self.source.bus), self.source.endpoints.clone());
        let rescuing = async move {
            let moved = bus.rescue_orphans(endpoints).await?;
            Ok::<_, BusError>((moved, bus.depth(Queue::Orphan).await?))
        };
        ctx.spawn(rescuing.into_actor(self).map(|done, _, _| match done {
            Ok((moved, left)) => {
                if moved > 0 {
                    tracing::info!(moved, "orphans sent back to their endpoints' queues");
                }
                meter::orphaned(left.unwrap_or(0));
            }
            Err(error) => tracing::debug!(%error, "orphans could not be looked at"),
        }));
    }

    /// Shows how much waits and is dead. One question at a time, however slow the bus is.
    fn show_depths(&mut self, ctx: &mut Context<Self>) {
        if self.live.is_none() || self.stopping || self.asking {
            return;
        }
        self.asking = true;
        let (bus, endpoints) = (Arc::clone(&self.source.bus), self.source.endpoints.clone());
        ctx.spawn(depths::show(bus, endpoints).into_actor(self).map(|done, ingress, _| {
            ingress.asking = false;
            if let Err(error) = done {
                tracing::debug!(%error, "the depths of queues could not be asked for");
            }
        }));
    }

    fn retry(&mut self, error: &BusError, ctx: &mut Context<Self>) {
        let text = error.to_string();
        // The same trouble is told once, not at every try.
        if self.told.as_ref() != Some(&text) {
            tracing::error!(error = text, "cannot consume from the source; trying again");
            self.told = Some(text);
        }
        let wait = self.pause.mul_f64(0.5 + world::random() / 2.0);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        ctx.run_later(wait, Self::connect);
    }

    /// The subscription is gone: what was unacknowledged comes again.
    fn lost(&mut self, ctx: &mut Context<Self>) {
        let Some(acks) = self.live.take() else { return };
        if let Some(arriving) = self.arriving.take() {
            // Whatever is left of it: nobody would acknowledge what still comes.
            ctx.cancel_future(arriving);
        }
        if acks.age() >= STEADY {
            self.pause = FIRST_PAUSE;
        }
        self.creditor.current.store(0, Ordering::Release);
        self.source.board.source.consuming.store(false, Ordering::Relaxed);
        self.source.board.source.used_up.store(false, Ordering::Relaxed);
        meter::bus_connected(false);
        let shown = &self.source.board.source;
        let stale = shown.in_flight();
        shown.stale.add(stale);
        meter::stale(stale);
        drop(acks);
        if !self.stopping {
            tracing::warn!(
                unacknowledged = stale,
                "the source's consumer was lost; consuming anew, what was unacknowledged comes again"
            );
            let lost = BusError::Lost("the consumer ended".into());
            self.told = Some(lost.to_string());
            self.retry(&lost, ctx);
        }
    }

    fn flush(&mut self) {
        let Some(acks) = &mut self.live else { return };
        let covered = acks.flush();
        self.acknowledged(covered);
        let used_up = self.source.board.source.in_flight() >= u64::from(self.source.prefetch);
        self.source.board.source.used_up.store(used_up, Ordering::Relaxed);
    }

    fn acknowledged(&self, messages: usize) {
        if messages > 0 {
            self.source.board.source.acknowledged.add(messages as u64);
            meter::acknowledged(messages as u64);
        }
    }
}

impl Actor for Ingress {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(notes) = self.notes.take() {
            ctx.add_stream(super::stream_of(notes).ready_chunks(NOTES));
        }
        ctx.run_interval(TICK, |ingress, ctx| {
            ingress.flush();
            meter::events_in_flight(ingress.live.as_ref().map_or(0, Acks::outstanding));
            if ingress.live.as_ref().is_some_and(Acks::is_lost) {
                ingress.lost(ctx);
            }
        });
        ctx.run_interval(RESCUE_EVERY, Self::rescue);
        ctx.run_interval(depths::EVERY, Self::show_depths);
        self.connect(ctx);
    }
}

impl StreamHandler<Arrival> for Ingress {
    fn handle(&mut self, arrival: Arrival, ctx: &mut Self::Context) {
        let ours = self.live.as_ref().is_some_and(|acks| acks.generation == arrival.generation);
        if !ours || self.stopping {
            return;
        }
        let Some(delivery) = arrival.delivery else { return self.lost(ctx) };
        self.source.board.source.received.add(1);
        meter::received();
        let incoming = Incoming { delivery, creditor: self.creditor.clone() };
        // The mailbox holds a whole prefetch.
        if self.source.router.try_send(incoming).is_err() {
            tracing::error!("the router takes nothing; consuming anew");
            self.lost(ctx);
        }
    }

    fn finished(&mut self, _: &mut Self::Context) {}
}

impl StreamHandler<Vec<Note>> for Ingress {
    fn handle(&mut self, notes: Vec<Note>, _: &mut Self::Context) {
        let mut barriers = Vec::new();
        for note in notes {
            match (note, &mut self.live) {
                (Note::Barrier(reached), _) => barriers.push(reached),
                (note, Some(acks)) => acks.take(&note),
                (Note::Routed { .. } | Note::Settled { .. }, None) => {}
            }
        }
        self.flush();
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
        let control = self.live.as_ref().map(Acks::control);
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
        let _ = self.creditor.notes.send(Note::Barrier(sender));
        let done = reached.into_actor(self).then(|_, ingress, _| {
            let mut last = ingress.live.take();
            let covered = last.as_mut().map_or(0, Acks::flush_all);
            ingress.acknowledged(covered);
            async move {
                if let Some(acks) = last {
                    acks.finish().await;
                }
            }
            .into_actor(ingress)
        });
        Box::pin(done)
    }
}
