//! A bridge on a memory bus, and how a test waits for what it does.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lockgate::actors::board::{Board, Counters, Health, Shown};
use lockgate::actors::controls::Controls;
use lockgate::app::Bridge;
use lockgate::bus::memory::MemoryBus;
use lockgate::bus::{Bus, Queue};
use lockgate::config::Config;
use lockgate::config::change::Change;
use lockgate::domain::delivery::{Message, Properties};
use lockgate::domain::names::Name;
use lockgate::transport::Instance;
use tokio::time::Instant;

use super::partner::Partner;

const DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);

/// A REST endpoint of this name that takes Batch events and goes to this partner, with more
/// settings of its own.
pub fn endpoint(name: &str, partner: &Partner, settings: &str) -> String {
    let url = partner.url();
    let mut text = format!("[endpoints.{name}]\nevents = [\"Batch/*\"]\n{settings}\n");
    write!(text, "[endpoints.{name}.rest]\nurl = \"{url}\"\nnon_2xx = \"retry\"\n").unwrap();
    text
}

/// The counters of one endpoint, wherever the board has them by now.
pub struct Counted(Arc<Shown>);

impl std::ops::Deref for Counted {
    type Target = Counters;

    fn deref(&self) -> &Counters {
        &self.0.counters
    }
}

/// The event number `n` of this type, as the platform sends it.
pub fn event(kind: &str, n: usize) -> Message {
    let id = format!("{kind}-{n}").as_str().into();
    Message {
        exchange: kind.into(),
        routing_key: "batch_run_status".into(),
        properties: Properties::default().with_message_id(id),
        body: format!("{{\"n\": {n}.0}}").into(),
        ..Message::default()
    }
}

/// The name of an endpoint.
pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// Waits until it is so.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("{what}: not in time"));
}

/// It is so now, and stays so for this long.
pub async fn throughout(span: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while began.elapsed() < span {
        assert!(condition(), "{what}: no more after {:?}", began.elapsed());
        tokio::time::sleep(POLL).await;
    }
}

fn configured(configuration: &str) -> Config {
    let text = format!(
        "[runtime]\nthreads = 1\nshutdown_grace = \"2s\"\n\
         [source]\nurl = \"amqp://127.0.0.1/%2f\"\nqueue = \"q\"\n{configuration}"
    );
    Config::from_toml_str("test.toml", &text, "development").unwrap()
}

/// A bridge at work.
pub struct Stage {
    /// Its bus.
    pub bus: MemoryBus,
    /// What it shows.
    pub board: Arc<Board>,
    bridge: Bridge,
}

impl Stage {
    /// Starts one with these endpoints.
    pub fn start(endpoints: &str) -> Self {
        let bus = MemoryBus::default();
        Self::on(Arc::new(bus.clone()), bus, endpoints)
    }

    /// Starts one with an automatic prefetch, for events of at most so many bytes.
    pub fn automatic(max_event_bytes: usize, endpoints: &str) -> Self {
        let bus = MemoryBus::default();
        let source = format!("prefetch = \"auto\"\nmax_event_bytes = {max_event_bytes}\n");
        Self::with(Arc::new(bus.clone()), bus, &(source + endpoints))
    }

    /// Starts one that speaks to `bus`, which stands before `memory`.
    pub fn on(bus: Arc<dyn Bus>, memory: MemoryBus, configuration: &str) -> Self {
        Self::with(bus, memory, &format!("prefetch = 50\n{configuration}"))
    }

    fn with(bus: Arc<dyn Bus>, memory: MemoryBus, configuration: &str) -> Self {
        let config = configured(configuration);
        let bridge = Bridge::start(&config, bus, &Instance { id: "test".into() });
        Self { bus: memory, board: bridge.board(), bridge }
    }

    /// Has the bridge take over these endpoints instead.
    pub async fn reload(&self, endpoints: &str) -> Change {
        let new = configured(&format!("prefetch = 50\n{endpoints}"));
        self.bridge.reload(new).await.expect("it takes no restart")
    }

    /// What an operator may do.
    pub fn controls(&self) -> Controls {
        self.bridge.controls()
    }

    /// Publishes Batch events of these numbers.
    pub fn publish(&self, numbers: impl IntoIterator<Item = usize>) {
        for n in numbers {
            self.bus.publish(event("Batch", n)).unwrap();
        }
    }

    /// An endpoint's counters.
    pub fn counters(&self, endpoint: &str) -> Counted {
        Counted(self.board.endpoint(&name(endpoint)).expect("configured"))
    }

    /// An endpoint's health.
    pub fn health(&self, endpoint: &str) -> Health {
        self.board.endpoint(&name(endpoint)).expect("configured").status().health
    }

    /// How many source messages have been acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.board.source.acknowledged.get()
    }

    /// The messages that are ready in a queue.
    pub fn ready(&self, queue: &Queue) -> Vec<Message> {
        self.bus.peek(queue)
    }

    /// Nothing waits anywhere: source and parked queues are empty, every message acknowledged.
    pub async fn is_idle(&self) {
        // What moves from one place to another while they are looked at is seen the next time.
        let mut calm = 0;
        eventually("the bridge is idle", || {
            calm = if self.nothing_waits() { calm + 1 } else { 0 };
            calm > 4
        })
        .await;
    }

    fn nothing_waits(&self) -> bool {
        let parked = |name: &Name| self.ready(&Queue::Parked(name.clone())).is_empty();
        self.ready(&Queue::Source).is_empty()
            && self.board.endpoints().keys().all(parked)
            && self.bus.delayed() == 0
            && self.bus.unacknowledged() == 0
            && self.board.source.in_flight() == 0
    }

    /// Every counter reconciles once nothing moves.
    pub async fn reconciles(&self) {
        let endpoints = self.board.endpoints();
        eventually("the counters reconcile", || endpoints.values().all(|e| e.counters.reconcile()))
            .await;
        let source = &self.board.source;
        assert!(source.acknowledged.get() + source.stale.get() <= source.received.get());
    }

    /// Stops the bridge; every counter reconciles before and after.
    pub async fn done(self) {
        self.reconciles().await;
        let (board, began) = (Arc::clone(&self.board), Instant::now());
        self.bridge.stop().await;
        assert!(began.elapsed() < Duration::from_secs(25), "a stop is bounded");
        assert!(!board.source.consuming.load(Ordering::Relaxed));
        for (name, shown) in board.endpoints().iter() {
            assert!(shown.counters.reconcile(), "{name}: {:?}", shown.counters);
        }
    }
}
