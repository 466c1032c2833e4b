//! The watchdog: builds an endpoint actor again that died.
//!
//! Owns the plans of all endpoints and the pauses between rebuilding. A dead actor owes nothing:
//! its routes went to parking by themselves. Refuses to look after anything else: ingress, router
//! and parking run nothing of a partner's. actix's own supervisor does not survive a panic. Read
//! [`staff`] next: endpoints that come, change and go while the bridge runs.

pub mod staff;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::board::Health;
use super::endpoint::{Drain, Endpoint, Hello, LONGEST_DRAIN, Obituary, Plan, Quiesce};
use super::router::{Router, Started};
use crate::domain::names::Name;
use crate::logic::settle::PANICKED;
use crate::{meter, world};

/// The first pause before rebuilding; doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// An actor that lived this long is rebuilt after the shortest pause again.
const CALM: Duration = Duration::from_secs(60);
/// How long an endpoint actor's thread may take to answer at the end.
const ANSWER: Duration = Duration::from_secs(5);

/// An endpoint under watch.
#[derive(Clone)]
pub struct Watched {
    /// From what it is built.
    pub plan: Plan,
    /// On which thread.
    pub arbiter: ArbiterHandle,
}

struct Entry {
    watched: Watched,
    address: Option<Addr<Endpoint>>,
    born: Instant,
    pause: Duration,
}

impl Entry {
    fn new(watched: Watched) -> Self {
        Self { watched, address: None, born: Instant::now(), pause: FIRST_PAUSE }
    }
}

/// The actor.
pub struct Watchdog {
    entries: BTreeMap<Name, Entry>,
    /// Those that are configured no more, until they have ended.
    leaving: BTreeMap<Name, staff::Leaving>,
    /// How many actors have been built.
    lives: u64,
    obituaries: Option<mpsc::UnboundedReceiver<Obituary>>,
    router: Addr<Router>,
    /// Resolved when every endpoint actor has been introduced to the router, or has died before.
    staffed: Vec<oneshot::Sender<()>>,
    /// Those of which neither is known.
    expected: BTreeSet<Name>,
    stopping: bool,
}

impl Watchdog {
    /// A watchdog that builds every endpoint when its actor starts.
    #[must_use]
    pub fn new(
        watched: Vec<Watched>,
        obituaries: mpsc::UnboundedReceiver<Obituary>,
        router: Addr<Router>,
        staffed: oneshot::Sender<()>,
    ) -> Self {
        let named = |watched: Watched| (watched.plan.endpoint.name.clone(), Entry::new(watched));
        let entries: BTreeMap<Name, Entry> = watched.into_iter().map(named).collect();
        Self {
            expected: entries.keys().cloned().collect(),
            entries,
            leaving: BTreeMap::new(),
            lives: 0,
            obituaries: Some(obituaries),
            router,
            staffed: vec![staffed],
            stopping: false,
        }
    }

    fn build(&mut self, name: &Name, ctx: &mut Context<Self>) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        if self.stopping {
            return;
        }
        self.lives += 1;
        entry.watched.plan.life = self.lives;
        let plan = entry.watched.plan.clone();
        let address =
            Endpoint::start_in_arbiter(&entry.watched.arbiter, move |_| Endpoint::new(plan));
        entry.born = Instant::now();
        entry.address = Some(address.clone());
        // Before it has answered, its mailbox is small and would refuse routes.
        let started = Started { name: name.clone(), address: address.clone() };
        ctx.spawn(address.send(Hello).into_actor(self).map(move |greeted, watchdog, _| {
            if greeted.is_ok() {
                watchdog.introduce(started);
            } else {
                // It died on the way: nobody else waits for it. Its events are parked until it is
                // built again, which its obituary sees to.
                watchdog.expected.remove(&started.name);
                watchdog.everybody_there();
            }
        }));
    }

    fn introduce(&mut self, started: Started) {
        self.expected.remove(&started.name);
        if let Err(error) = self.router.try_send(started) {
            tracing::error!(%error, "the router does not take a new endpoint actor");
        }
        self.everybody_there();
    }

    fn everybody_there(&mut self) {
        if self.expected.is_empty() {
            for staffed in self.staffed.drain(..) {
                let _ = staffed.send(());
            }
        }
    }
}

impl Actor for Watchdog {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(obituaries) = self.obituaries.take() {
            ctx.add_stream(super::stream_of(obituaries));
        }
        let names: Vec<Name> = self.entries.keys().cloned().collect();
        for name in names {
            self.build(&name, ctx);
        }
        self.everybody_there();
    }
}

impl StreamHandler<Obituary> for Watchdog {
    fn handle(&mut self, Obituary { name, life }: Obituary, ctx: &mut Self::Context) {
        let same = |entry: &&mut Entry| entry.watched.plan.life == life;
        let Some(entry) = self.entries.get_mut(&name).filter(same) else { return };
        if self.stopping {
            return;
        }
        if entry.born.elapsed() >= CALM {
            entry.pause = FIRST_PAUSE;
        }
        let pause = entry.pause;
        entry.pause = (pause * 2).min(LONGEST_PAUSE);
        let shown = &entry.watched.plan.shown;
        let now = world::now();
        shown.explain(PANICKED, "its actor died: a fault of lockgate".to_owned(), now);
        shown.set(Health::Open, now);
        meter::endpoint_state(name.as_str(), Health::Open.as_str());
        shown.probe_at(now.checked_add(pause).ok());
        tracing::error!(endpoint = name.as_str(), ?pause, "endpoint actor died; building it again");
        ctx.run_later(pause, move |watchdog, ctx| {
            // A reload may have put another one into its place.
            let entry = watchdog.entries.get(&name);
            if entry.is_some_and(|entry| entry.watched.plan.life == life) {
                watchdog.build(&name, ctx);
            }
        });
    }

    fn finished(&mut self, _: &mut Self::Context) {}
}

/// The actor of an endpoint, if it lives.
#[derive(Message)]
#[rtype(result = "Option<Addr<Endpoint>>")]
pub struct Find(
    /// The endpoint.
    pub Name,
);

impl Handler<Find> for Watchdog {
    type Result = Option<Addr<Endpoint>>;

    fn handle(&mut self, Find(name): Find, _: &mut Self::Context) -> Self::Result {
        let address = self.entries.get(&name)?.address.clone()?;
        address.connected().then_some(address)
    }
}

/// Ends every endpoint: no new attempts anywhere, then each drains.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DrainAll {
    /// How long attempts under way may go on.
    pub grace: Duration,
}

impl Handler<DrainAll> for Watchdog {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, DrainAll { grace }: DrainAll, _: &mut Self::Context) -> Self::Result {
        self.stopping = true;
        let leaving = self.leaving.values().map(|leaving| leaving.address.clone());
        let addresses: Vec<_> = self
            .entries
            .values()
            .filter_map(|entry| entry.address.clone())
            .chain(leaving)
            .collect();
        Box::pin(async move {
            // An actor that is gone has nothing to end; one that does not answer ends with its thread.
            let quiesced = addresses.iter().map(|address| address.send(Quiesce).timeout(ANSWER));
            futures_util::future::join_all(quiesced).await;
            let bound = grace + LONGEST_DRAIN + ANSWER;
            let drained =
                addresses.iter().map(|address| address.send(Drain { grace }).timeout(bound));
            futures_util::future::join_all(drained).await;
        })
    }
}
