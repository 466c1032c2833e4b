//! The survey: whether everything that lockgate needs on the bus is there, and what to do about it.
//!
//! Owns when the topology is looked at: before anything is consumed, again when somebody was
//! refused, and while an endpoint's queues are missing. What is missing of one endpoint is that
//! endpoint's trouble alone: nothing is attempted for it until it is there. Also sends orphans home.
//! Refuses to declare: that is [`crate::bus::Bus::prepare`]. Read [`super::live`] next.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::prelude::*;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::Ingress;
use crate::actors::board::Board;
use crate::bus::{Bus, BusError, Queue};
use crate::domain::names::Name;
use crate::{meter, world};

/// How often orphans are looked for.
pub(super) const RESCUE_EVERY: Duration = Duration::from_mins(1);
/// The first pause between two surveys; doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Without a reason for a survey for so long, the next one comes soon again.
const CALM: Duration = Duration::from_secs(30);
/// What an operator can do.
const REMEDY: &str = "`lockgate topology` prints what has to be declared";

/// When the next survey may be.
pub(super) struct Survey {
    under_way: bool,
    last: Option<Instant>,
    pause: Duration,
    told: Option<String>,
}

impl Survey {
    pub(super) fn new() -> Self {
        Self { under_way: false, last: None, pause: FIRST_PAUSE, told: None }
    }
}

impl Ingress {
    /// A survey of everything, to be awaited anywhere.
    pub(super) fn survey(&self) -> BoxFuture<'static, Result<(), BusError>> {
        let source = &self.source;
        let (endpoints, rungs) = (source.endpoints.clone(), source.rungs.clone());
        survey(Arc::clone(&source.bus), Arc::clone(&source.board), endpoints, rungs).boxed()
    }

    /// Surveys again where somebody was refused, or something is known to be missing.
    pub(super) fn look_again(&mut self, ctx: &mut Context<Self>) {
        if self.stopping || self.survey.under_way || self.live.is_none() {
            return;
        }
        let board = Arc::clone(&self.source.board);
        let due = self.survey.last.is_none_or(|last| last.elapsed() >= self.survey.pause);
        let suspect = board.source.suspect.load(Ordering::Relaxed);
        if !(suspect || board.endpoints().values().any(|shown| shown.lacks_queues())) {
            if self.survey.last.is_some_and(|last| last.elapsed() >= CALM) {
                self.survey.pause = FIRST_PAUSE;
            }
            return;
        }
        if !due {
            return;
        }
        board.source.suspect.store(false, Ordering::Relaxed);
        self.survey.under_way = true;
        ctx.spawn(self.survey().into_actor(self).map(|surveyed, ingress, ctx| {
            let survey = &mut ingress.survey;
            survey.under_way = false;
            survey.last = Some(Instant::now());
            survey.pause = (survey.pause * 2).min(LONGEST_PAUSE);
            match surveyed {
                Ok(()) => {
                    survey.told = None;
                    ingress.rescue(ctx);
                }
                Err(error) => {
                    ingress.source.board.source.suspect.store(true, Ordering::Relaxed);
                    let text = error.to_string();
                    // That the bus is gone, the consumer's loss tells.
                    let gone = matches!(error, BusError::Lost(_));
                    if !gone && survey.told.as_ref() != Some(&text) {
                        tracing::warn!(error = text, "not everything is there on the bus");
                        survey.told = Some(text);
                    }
                }
            }
        }));
    }

    /// Sends orphans of configured endpoints home, as far as these have queues, and counts the rest.
    pub(super) fn rescue(&mut self, ctx: &mut Context<Self>) {
        if self.live.is_none() || self.stopping {
            return;
        }
        let (bus, board) = (Arc::clone(&self.source.bus), Arc::clone(&self.source.board));
        let surveying = self.survey();
        let rescuing = async move {
            if bus.depth(Queue::Orphan).await?.unwrap_or(0) == 0 {
                return Ok((0, Some(0)));
            }
            // An orphan of ours says that a queue is, or was, missing: without it, it would come back.
            surveying.await?;
            let endpoints = board.endpoints();
            let at_home = endpoints.iter().filter(|(_, shown)| !shown.lacks_queues());
            let at_home: Vec<Name> = at_home.map(|(name, _)| name.clone()).collect();
            let moved = bus.rescue_orphans(at_home).await?;
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
}

/// From now on these endpoints and rungs are needed on the bus. Answers when that has been looked
/// after once, or when it could not be: then it is tried again as ever.
#[derive(Message)]
#[rtype(result = "Result<(), BusError>")]
pub struct Need {
    /// The endpoints, those of the board.
    pub endpoints: Vec<Name>,
    /// The rungs.
    pub rungs: Vec<Duration>,
    /// Something is new among them: look after it now.
    pub look: bool,
}

impl Handler<Need> for Ingress {
    type Result = ResponseFuture<Result<(), BusError>>;

    fn handle(&mut self, need: Need, _: &mut Self::Context) -> Self::Result {
        let Need { endpoints, rungs, look } = need;
        self.source.endpoints = endpoints;
        self.source.rungs = rungs;
        if look { self.survey() } else { std::future::ready(Ok(())).boxed() }
    }
}

/// Declares or checks everything; shows which endpoints have to wait for their queues.
async fn survey(
    bus: Arc<dyn Bus>,
    board: Arc<Board>,
    endpoints: Vec<Name>,
    rungs: Vec<Duration>,
) -> Result<(), BusError> {
    let report = bus.prepare(endpoints, rungs).await?;
    for object in &report.declared {
        tracing::debug!(object, "declared on the bus");
    }
    if !report.declared.is_empty() {
        tracing::info!(objects = report.declared.len(), "declared on the bus");
    }
    for (name, shown) in board.endpoints().iter() {
        let missing = report.incomplete.get(name);
        shown.lack(missing.map(|missing| missing_text(missing)), world::now());
    }
    let of_endpoints: usize = report.incomplete.values().map(Vec::len).sum();
    if report.missing.len() > of_endpoints {
        return Err(BusError::Refused(missing_text(&report.missing)));
    }
    board.source.prepared.store(true, Ordering::Relaxed);
    Ok(())
}

fn missing_text(objects: &[String]) -> String {
    format!("missing on the bus: {}; {REMEDY}", objects.join(", "))
}
