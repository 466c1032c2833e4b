//! An MQTT broker inside the process, with a subscriber that counts everything it takes.
//!
//! Owns a rumqttd on a port of 127.0.0.1. Its threads cannot be stopped from outside: one broker a
//! process, which ends with it. Refuses to be a broker for anything but the demonstration and
//! tests: its log holds 2 MiB, nothing is kept. Read [`super::receivers`] next.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rumqttd::local::LinkRx;
use rumqttd::{Config, ConnectionSettings, Notification, RouterConfig, ServerSettings};
use tokio::net::TcpStream;

/// How many different topics are counted by name; further ones only in the total.
const MAX_TOPICS: usize = 1_000;
/// How often another port is tried when somebody took the chosen one.
const TRIES: usize = 5;
/// How long the broker may take to listen.
const START: Duration = Duration::from_secs(5);

/// What the broker has taken and given on to its subscriber.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Messages in all.
    pub messages: u64,
    /// Messages by topic; at most a thousand topics.
    pub topics: BTreeMap<String, u64>,
}

/// A running broker.
pub struct Broker {
    address: SocketAddr,
    taken: Arc<Mutex<Taken>>,
}

impl Broker {
    /// Starts a broker and waits until it listens.
    ///
    /// # Errors
    /// When no port can be had, a thread cannot be started, or it does not listen in time.
    pub async fn start() -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..TRIES {
            let address = free_address()?;
            let taken = Arc::new(Mutex::new(Taken::default()));
            launch(address, Arc::clone(&taken))?;
            match listening(address).await {
                Ok(()) => return Ok(Self { address, taken }),
                Err(cause) => last = cause,
            }
        }
        Err(last)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has taken until now.
    #[must_use]
    pub fn taken(&self) -> Taken {
        lock(&self.taken).clone()
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

/// rumqttd wants a number: the system's choice, given back at once, so it may be lost to somebody.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

async fn listening(address: SocketAddr) -> io::Result<()> {
    let dial = async {
        while TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the demonstration's MQTT broker");
    tokio::time::timeout(START, dial).await.map_err(late)
}

fn launch(address: SocketAddr, taken: Arc<Mutex<Taken>>) -> io::Result<()> {
    let mut broker = rumqttd::Broker::new(config(address));
    let (mut ask, answers) = broker.link("lockgate-demo-counter").map_err(io::Error::other)?;
    ask.subscribe("#").map_err(io::Error::other)?;
    // The router forgets a link whose sending half is gone, so it moves along.
    let count = move || {
        let _ask = ask;
        count(answers, &taken);
    };
    std::thread::Builder::new().name("demo-mqtt-counter".into()).spawn(count)?;
    let serve = move || drop(broker.start());
    std::thread::Builder::new().name("demo-mqtt-broker".into()).spawn(serve)?;
    Ok(())
}

fn count(mut answers: LinkRx, taken: &Mutex<Taken>) {
    while let Ok(notification) = answers.recv() {
        match notification {
            Some(Notification::Forward(forward)) => {
                let topic = String::from_utf8_lossy(&forward.publish.topic).into_owned();
                let mut taken = lock(taken);
                taken.messages += 1;
                if taken.topics.len() < MAX_TOPICS || taken.topics.contains_key(&topic) {
                    *taken.topics.entry(topic).or_default() += 1;
                }
            }
            // Its buffer was full; the router waits to hear that it is empty again.
            Some(Notification::Unschedule) => drop(answers.ready()),
            _ => {}
        }
    }
}

fn config(listen: SocketAddr) -> Config {
    let connections = ConnectionSettings {
        connection_timeout_ms: 10_000,
        max_payload_size: 1024 * 1024,
        max_inflight_count: 100,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = ServerSettings {
        name: "demo-mqtt".into(),
        listen,
        tls: None,
        next_connection_delay_ms: 1,
        connections,
    };
    let router = RouterConfig {
        max_connections: 1_000,
        max_outgoing_packet_count: 200,
        max_segment_size: 1024 * 1024,
        max_segment_count: 2,
        ..RouterConfig::default()
    };
    let v4 = Some(HashMap::from([("demo".to_owned(), server)]));
    Config { router, v4, ..Config::default() }
}
