//! Isolation, measured: healthy endpoints beside broken ones, against the same endpoints alone.
//!
//! Both are measured in the same run, by the partners themselves: when the platform published an
//! event, and when each partner was asked to take it. Read [`ways`] for how an endpoint is broken.

mod offer;
mod ways;

use std::time::Duration;

use self::offer::{Offer, PARTNER_TAKES, Seen};
use self::ways::{Partners, Way};
use super::alone;
use super::support::lockgate::{Configuration, Lockgate};
use super::support::on_system;
use super::support::rabbitmq::{Client, Place, node};

/// Endpoints, healthy and broken together.
const ENDPOINTS: usize = 10;
/// Of its throughput alone, what a healthy endpoint keeps beside broken ones.
const KEPT: f64 = 0.95;
/// What its slowest hundredth may take longer, as a factor or as a time, whatever is more.
const SLOWER: (f64, Duration) = (1.5, Duration::from_millis(20));
/// Pairs of runs, alone and beside, at most. The best of each counts, and the first pair decides where
/// nothing disturbs it: a stall of the machine for an eighth of a second is a hundredth of a run, and only
/// ever adds; what a broken endpoint does to others, it does in every run.
const PAIRS: usize = 3;
/// The most memory, in KiB.
const MEMORY: u64 = 100 * 1024;

/// The beginning of a configuration: the platform's bus.
fn source(place: &Place) -> String {
    format!(
        "[source]\nurl = \"{}\"\nqueue = \"events\"\n\
         bindings = [{{ exchange = \"Batch\", type = \"topic\", routing_key = \"#\" }}]\n",
        place.url
    )
}

/// A healthy endpoint.
fn healthy(name: &str, url: &str) -> String {
    format!("[endpoints.{name}]\nevents = [\"*/*\"]\n[endpoints.{name}.rest]\nurl = \"{url}\"\n")
}

/// What one run showed.
struct Run {
    healthy: Vec<Seen>,
    /// The most messages that were ready in the source queue.
    depth: u32,
    /// The most memory, in KiB.
    memory: u64,
}

/// Offers events to so many healthy endpoints, beside these broken ones.
async fn run(healthies: usize, broken: &[Way]) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let place = node().place();
    let offer = Offer::new(healthies);
    let mut partners = Partners::start(broken).await;
    let mut toml = source(&place) + &partners.toml();
    for (number, url) in offer.urls().enumerate() {
        toml += &healthy(&format!("healthy-{number}"), &url);
    }
    let configuration = Configuration::write(folder.path(), &toml);
    let environment = [("RUST_LOG", "info".to_owned()), ("FAILPOINTS", partners.failpoints())];
    let lockgate = Lockgate::start_with(&configuration, &environment);
    lockgate.ready().await;
    let platform = Client::connect(&place.url).await;
    let depth = offer.make(&platform).await;
    let healthy = offer.seen().await;
    lockgate.reconciles().await;
    let memory = lockgate.peak_memory();
    partners.behave(&lockgate).await;
    lockgate.terminate().await;
    Run { healthy, depth, memory }
}

fn worst(seen: &[Seen]) -> (f64, Duration) {
    let rate = seen.iter().map(|seen| seen.rate).fold(f64::INFINITY, f64::min);
    (rate, seen.iter().map(|seen| seen.p99).max().unwrap())
}

fn check(broken: &[Way]) {
    let _alone = alone();
    let broken = broken.to_vec();
    on_system(async move {
        let healthies = ENDPOINTS - broken.len();
        let (mut alone, mut beside) = (Duration::MAX, Duration::MAX);
        for run in 1..=PAIRS {
            let (p99_alone, p99) = pair(healthies, &broken).await;
            (alone, beside) = (alone.min(p99_alone), beside.min(p99));
            println!("the best of {run}: p99 {beside:?} (alone {alone:?})");
            if beside <= alone.mul_f64(SLOWER.0).max(alone + SLOWER.1) {
                return;
            }
        }
        panic!("the slowest hundredth took {beside:?}, alone {alone:?}");
    });
}

/// Measures alone and beside. Throughput, source and memory must hold each time; the slowest
/// hundredths are returned.
async fn pair(healthies: usize, broken: &[Way]) -> (Duration, Duration) {
    let alone = run(healthies, &[]).await;
    let beside = run(healthies, broken).await;
    let ((rate_alone, p99_alone), (rate, p99)) = (worst(&alone.healthy), worst(&beside.healthy));
    println!(
        "{healthies} healthy endpoints beside {broken:?}: slowest {:.3} of its rate alone \
         ({rate:.0}/s), p99 {p99:?} (alone {p99_alone:?}), at most {} messages ready in the \
         source queue (alone {}), {} MiB at most (alone {})",
        rate / rate_alone,
        beside.depth,
        alone.depth,
        beside.memory / 1024,
        alone.memory / 1024
    );
    assert!(rate >= KEPT * rate_alone, "throughput");
    assert!(beside.memory <= MEMORY, "memory");
    assert!(beside.depth <= alone.depth.max(offer::EMPTY), "the source queue fills");
    (p99_alone, p99)
}

#[test]
fn one_broken_endpoint_slows_no_other() {
    check(&[Way::Hangs]);
}

#[test]
fn five_broken_endpoints_slow_no_other() {
    check(&[Way::Refuses, Way::Trickles, Way::TooManyRequests, Way::MqttSilent, Way::Panics]);
}

#[test]
fn nine_broken_endpoints_do_not_slow_the_tenth() {
    check(&[
        Way::Refuses,
        Way::Hangs,
        Way::Fails,
        Way::Unauthorised,
        Way::TooManyRequests,
        Way::TlsExpired,
        Way::MqttUnauthorised,
        Way::MqttSilent,
        Way::Panics,
    ]);
}

/// The rate at which a lone or accompanied healthy endpoint takes a backlog, per second.
async fn backlog(events: usize, hanging: bool) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let place = node().place();
    let offer = Offer::new(1);
    let mut partners = Partners::start(if hanging { &[Way::Hangs] } else { &[] }).await;
    let urls: Vec<String> = offer.urls().collect();
    let toml = source(&place) + &partners.toml() + &healthy("healthy", &urls[0]);
    let configuration = Configuration::write(folder.path(), &toml);
    // Once, so that the queue is there; then the backlog comes.
    let first = Lockgate::start_ready(&configuration).await;
    first.terminate().await;
    let platform = Client::connect(&place.url).await;
    offer.pile_up(&platform, events).await;
    let lockgate = Lockgate::start_with(&configuration, &[("RUST_LOG", "info".to_owned())]);
    let rate = offer.taken_at(events).await;
    lockgate.reconciles().await;
    partners.behave(&lockgate).await;
    lockgate.terminate().await;
    rate
}

#[test]
fn a_backlog_reaches_the_healthy_endpoint_while_another_hangs() {
    const EVENTS: usize = 20_000;
    let _alone = alone();
    on_system(async {
        let (alone, beside) = (backlog(EVENTS, false).await, backlog(EVENTS, true).await);
        let share = beside / alone;
        println!(
            "a backlog of {EVENTS}: {beside:.0}/s beside a hanging endpoint, {alone:.0}/s alone: {share:.3}"
        );
        assert!(share >= 0.8, "{share}");
    });
}

#[test]
fn a_lone_endpoint_slower_than_the_bus_goes_at_its_own_rate_and_nothing_is_parked() {
    const EVENTS: usize = 3_000;
    const AT_ONCE: u16 = 4;
    let _alone = alone();
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let place = node().place();
        let offer = Offer::new(1);
        let url = offer.urls().next().unwrap();
        let toml = source(&place)
            + &healthy("slow", &url)
                .replace("events", &format!("max_in_flight = {AT_ONCE}\nevents"));
        let configuration = Configuration::write(folder.path(), &toml);
        Lockgate::start_ready(&configuration).await.terminate().await;
        let platform = Client::connect(&place.url).await;
        offer.pile_up(&platform, EVENTS).await;
        let lockgate = Lockgate::start(&configuration);
        let rate = offer.taken_at(EVENTS).await;
        lockgate.reconciles().await;
        let parked = "lockgate_routes_total{endpoint=\"slow\",settlement=\"parked\"}";
        let parked = lockgate.metric(parked).await;
        lockgate.terminate().await;
        let its_own = f64::from(AT_ONCE) / PARTNER_TAKES.as_secs_f64();
        println!("a lone slow endpoint: {rate:.0}/s of its own {its_own:.0}/s, {parked} parked");
        assert_eq!(parked.to_bits(), 0.0_f64.to_bits(), "parked");
        assert!(rate >= 0.7 * its_own, "{rate} of {its_own}");
    });
}
