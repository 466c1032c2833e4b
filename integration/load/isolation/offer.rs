//! What is offered to the healthy endpoints, and what they see of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::super::support::counter::Counter;
use super::super::support::eventually;
use super::super::support::rabbitmq::Client;

/// What a healthy partner takes for an event.
pub const PARTNER_TAKES: Duration = Duration::from_millis(20);
/// The source queue counts as empty up to so many ready messages: what is published within a
/// fifth of a second.
pub const EMPTY: u32 = 60;
/// Events per second.
const RATE: u32 = 300;
/// How long they are offered.
const SPAN: Duration = Duration::from_secs(12);
/// How long everything may take to arrive.
const DEADLINE: Duration = Duration::from_secs(120);

/// When events were published, and when they arrived at one partner.
type Times = Arc<Mutex<HashMap<String, Instant>>>;

/// The healthy partners, and the events that are offered.
pub struct Offer {
    published: Times,
    partners: Vec<(Counter, Times)>,
}

/// What one healthy partner saw.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Events per second, from the first publish to the last arrival.
    pub rate: f64,
    /// From publish to arrival, for the slowest hundredth.
    pub p99: Duration,
}

impl Offer {
    /// Starts so many healthy partners.
    pub fn new(partners: usize) -> Self {
        let partner = |_| {
            let (counter, times) = (Counter::start(), Times::default());
            let seen = Arc::clone(&times);
            counter.answer(move |id, _| {
                seen.lock().unwrap().entry(id.to_owned()).or_insert_with(Instant::now);
                (200, PARTNER_TAKES)
            });
            (counter, times)
        };
        Self { published: Times::default(), partners: (0..partners).map(partner).collect() }
    }

    /// Where the partners are.
    pub fn urls(&self) -> impl Iterator<Item = String> + '_ {
        self.partners.iter().map(|(counter, _)| counter.url())
    }

    /// Publishes at the offered rate; returns the most messages that were ready in the source
    /// queue meanwhile.
    pub async fn make(&self, platform: &Client) -> u32 {
        let mut pace = tokio::time::interval(Duration::from_secs(1) / RATE);
        let (mut depth, mut confirms) = (0, Vec::new());
        for number in 0..RATE * u32::try_from(SPAN.as_secs()).unwrap() {
            pace.tick().await;
            let (id, body) = event(number);
            self.published.lock().unwrap().insert(id, Instant::now());
            confirms.push(platform.begin_publish("Batch", "batch_run_status", &body).await);
            if number % (RATE / 2) == RATE / 4 {
                depth = depth.max(platform.depth("events").await);
            }
        }
        for confirm in confirms {
            assert!(confirm.await, "the bus does not take an event");
        }
        depth
    }

    /// Publishes a backlog.
    pub async fn pile_up(&self, platform: &Client, events: usize) {
        let events = (0..u32::try_from(events).unwrap()).map(|number| {
            let (id, body) = event(number);
            self.published.lock().unwrap().insert(id, Instant::now());
            body
        });
        platform.publish_all("Batch", "batch_run_status", events).await;
    }

    /// Waits until every partner has everything, each once; returns what each saw.
    pub async fn seen(&self) -> Vec<Seen> {
        let published = self.published.lock().unwrap().clone();
        let first = published.values().min().copied().unwrap();
        let mut all = Vec::new();
        for (counter, arrived) in &self.partners {
            complete(counter, published.len()).await;
            let arrived = arrived.lock().unwrap();
            let mut took: Vec<Duration> =
                published.iter().map(|(id, at)| arrived[id].duration_since(*at)).collect();
            took.sort_unstable();
            let last = arrived.values().max().unwrap().duration_since(first);
            #[allow(clippy::cast_precision_loss, reason = "thousands")]
            let rate = took.len() as f64 / last.as_secs_f64();
            all.push(Seen { rate, p99: took[took.len() * 99 / 100] });
        }
        all
    }

    /// Waits until the first partner has everything, each once; returns at which rate it came.
    pub async fn taken_at(&self, events: usize) -> f64 {
        let (counter, arrived) = &self.partners[0];
        complete(counter, events).await;
        let arrived = arrived.lock().unwrap();
        let (first, last) = (arrived.values().min().unwrap(), arrived.values().max().unwrap());
        #[allow(clippy::cast_precision_loss, reason = "thousands")]
        let rate = events as f64 / last.duration_since(*first).as_secs_f64();
        rate
    }
}

async fn complete(counter: &Counter, events: usize) {
    eventually("every event at a healthy partner", DEADLINE, || async {
        (counter.taken() == events).then_some(())
    })
    .await;
    assert_eq!(counter.repeats(), 0, "a repeat without a fault");
}

fn event(number: u32) -> (String, Vec<u8>) {
    let id = format!("e-{number}");
    let body = format!(r#"{{"event_id":"{id}","batch":"B-7","quantity":12.50}}"#);
    (id, body.into_bytes())
}
