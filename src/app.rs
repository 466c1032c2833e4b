//! The composition: actors, threads and the order in which they start and stop.
//!
//! Owns the life of a bridge over any bus. Refuses decisions. Read [`yard`] (endpoint actors are built there)
//! and [`reload`] next, and [`crate::actors`] for its parts.

mod reload;
mod yard;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::{Mutex, mpsc, oneshot};

use self::yard::Yard;

use crate::actors::board::Board;
use crate::actors::controls::Controls;
use crate::actors::ingress::{FinishAcks, Ingress, Source, StopConsuming};
use crate::actors::parking::{Job, Parking};
use crate::actors::router::Router;
use crate::actors::watchdog::{DrainAll, Watchdog};
use crate::bus::Bus;
use crate::bus::rabbitmq::{Mode, RabbitSettings};
use crate::bus::topology::SourceBinding;
use crate::config::{self, Config, TopologyMode};
use crate::logic::prefetch::Prefetch;
use crate::transport::Instance;

/// The smallest automatic prefetch.
const PREFETCH: u32 = 2_000;
/// Bounds the last stores when a bridge stops.
const LAST_STORES: Duration = Duration::from_secs(10);

/// A running bridge. Lives on the thread that started it, inside an actix system.
pub struct Bridge {
    board: Arc<Board>,
    bus: Arc<dyn Bus>,
    ingress: Addr<Ingress>,
    router: Addr<Router>,
    watchdog: Addr<Watchdog>,
    yard: Yard,
    /// What it does now; held while it changes.
    config: Mutex<Arc<Config>>,
}

/// The prefetch for a configuration: its own, or the larger of 2,000 and twice the sum of all
/// `max_in_flight`, which is less while events are large.
#[must_use]
pub fn prefetch(config: &Config) -> u16 {
    let in_flight: u32 =
        config.endpoints.values().map(|endpoint| u32::from(endpoint.max_in_flight)).sum();
    let automatic = u16::try_from((2 * in_flight).max(PREFETCH)).unwrap_or(u16::MAX);
    config.source.prefetch.unwrap_or(automatic)
}

/// Every distinct delay of every endpoint, ascending.
#[must_use]
pub fn rungs(config: &Config) -> Vec<Duration> {
    let mut rungs: Vec<Duration> =
        config.endpoints.values().flat_map(|endpoint| endpoint.retry.schedule.clone()).collect();
    rungs.sort_unstable();
    rungs.dedup();
    rungs
}

/// What the bus on RabbitMQ needs of a configuration.
#[must_use]
pub fn rabbit_settings(config: &Config, instance: &Instance) -> RabbitSettings {
    let source = &config.source;
    let binding = |binding: &config::Binding| SourceBinding {
        exchange: binding.exchange.clone(),
        kind: binding.kind.clone(),
        routing_key: binding.routing_key.clone(),
    };
    RabbitSettings {
        url: source.url.clone(),
        queue: source.queue.clone(),
        bindings: source.bindings.iter().map(binding).collect(),
        prefix: source.prefix.clone(),
        mode: match source.topology {
            TopologyMode::Declare => Mode::Declare,
            TopologyMode::Verify => Mode::Verify,
            TopologyMode::Off => Mode::Off,
        },
        tls: source.tls.clone(),
        heartbeat: source.heartbeat,
        instance: instance.id.clone(),
    }
}

impl Bridge {
    /// Starts a bridge. It connects by itself, and comes back by itself after every loss.
    #[must_use]
    pub fn start(config: &Config, bus: Arc<dyn Bus>, instance: &Instance) -> Self {
        let board = Arc::new(Board::new(config.endpoints.keys()));
        let prefetch = match config.source.prefetch {
            Some(fixed) => Prefetch::fixed(fixed),
            None => Prefetch::automatic(prefetch(config), config.source.max_event_bytes),
        };
        // A whole prefetch, and half of one that an older subscription may still hold.
        let mailbox = 2 * usize::from(prefetch.most()) + 64;
        // Bounded by the routes that are not settled: prefetch times endpoints.
        let (jobs, to_keep) = mpsc::unbounded_channel();
        Parking::start(Arc::clone(&bus), to_keep, Arc::clone(&board));
        let (intake, routing) = (Arc::new(config.intake.clone()), Arc::new(config.routing.clone()));
        let router = Router {
            intake: Arc::clone(&intake),
            routing: Arc::clone(&routing),
            endpoints: BTreeMap::new(),
            board: Arc::clone(&board),
            jobs: jobs.clone(),
            mailbox,
        }
        .start();
        let (obituary, obituaries) = mpsc::unbounded_channel();
        let yard = Yard {
            bus: Arc::clone(&bus),
            board: Arc::clone(&board),
            jobs,
            mailbox,
            instance: instance.clone(),
            obituary,
            arbiters: (0..config.runtime.threads).map(|_| Arbiter::new()).collect(),
            built: Cell::new(0),
        };
        let (staffed, wait_for_staff) = oneshot::channel();
        let watched = yard.staff(config, config.endpoints.keys(), &board.endpoints());
        let watchdog = Watchdog::new(watched, obituaries, router.clone(), staffed).start();
        let ingress = Ingress::new(Source {
            bus: Arc::clone(&bus),
            router: router.clone(),
            board: Arc::clone(&board),
            prefetch,
            endpoints: config.endpoints.keys().cloned().collect(),
            rungs: rungs(config),
            staffed: Some(wait_for_staff),
        })
        .start();
        let config = Mutex::new(Arc::new(config.clone()));
        Self { board, bus, ingress, router, watchdog, yard, config }
    }

    /// What an operator may do to it.
    #[must_use]
    pub fn controls(&self) -> Controls {
        Controls::new(Arc::clone(&self.board), self.watchdog.clone())
    }

    /// What the bridge shows.
    #[must_use]
    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board)
    }

    /// Stops: takes nothing more, lets attempts end, parks or leaves what waits, acknowledges,
    /// closes. Bounded by the grace and some seconds for the bus.
    pub async fn stop(self) {
        let grace = self.config.lock().await.runtime.shutdown_grace;
        let endpoints = self.board.endpoints().len();
        tracing::info!(endpoints, ?grace, "stopping");
        let _ = self.ingress.send(StopConsuming).await;
        let _ = self.watchdog.send(DrainAll { grace }).await;
        let (reached, stored) = oneshot::channel();
        let _ = self.yard.jobs.send(Job::Barrier(reached));
        if tokio::time::timeout(LAST_STORES, stored).await.is_err() {
            tracing::warn!("some events could not be parked in time; they stay on the bus");
        }
        let _ = self.ingress.send(FinishAcks).await;
        self.bus.close().await;
        for arbiter in self.yard.arbiters {
            arbiter.stop();
        }
        let left = self.board.source.in_flight();
        let acknowledged = self.board.source.acknowledged.get();
        tracing::info!(acknowledged, left_on_the_bus = left, "stopped");
    }

    /// Whether events are being consumed now.
    #[must_use]
    pub fn is_consuming(&self) -> bool {
        self.board.source.consuming.load(Ordering::Relaxed)
    }
}
