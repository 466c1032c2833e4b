//! What every bus promises about dead letters: looking changes nothing, and an order moves exactly
//! what it means.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Duration;

use lockgate::bus::dead::{Act, End, Looked, Order, Tally, carry_out, look};
use lockgate::bus::{Bus, Queue, Target};
use lockgate::domain::delivery::Message;
use lockgate::logic::dead::{Filter, Letter};
use lockgate::logic::parcel::{self, Record};
use tokio_util::sync::CancellationToken;

use super::{Fixture, RUNG, endpoint, message, next, prepared, shows};

/// A dead letter as lockgate makes one; `reason` tells it from others.
fn letter(number: usize, reason: &str) -> Message {
    let at = |second| jiff::Timestamp::from_second(second).unwrap();
    let record = Record {
        event_id: format!("e-{number}"),
        event_type: "Batch".into(),
        event_trigger: "batch_run_status".into(),
        configuration: "erp".into(),
        attempts: 7,
        panics: 1,
        received_at: at(1_750_000_000),
        first_attempt_at: Some(at(1_750_000_001)),
        last_attempt_at: Some(at(1_750_000_002)),
        reason: reason.to_owned(),
        last_error: "503 Service Unavailable".into(),
    };
    let came = Message {
        exchange: "Batch".into(),
        routing_key: "batch_run_status".into(),
        ..message(&format!("{{\"n\": {number}.0}}"))
    };
    parcel::pack(&came, &record, at(1_750_000_003))
}

async fn fill(bus: &dyn Bus, count: usize, reason: impl Fn(usize) -> &'static str) {
    let stores = (0..count).map(|n| bus.store(Target::Dead(endpoint()), letter(n, reason(n))));
    for done in futures_util::future::join_all(stores).await {
        done.unwrap();
    }
    shows(bus, Queue::Dead(endpoint()), u32::try_from(count).unwrap()).await;
}

/// A letter as it is stored: RabbitMQ writes on what it delivers again how often it has done so.
fn stored(letter: &Message) -> (Vec<u8>, String) {
    let mut headers = letter.properties.headers().clone().unwrap_or_default().inner().clone();
    headers.retain(|name, _| !matches!(name.as_str(), "x-delivery-count" | "x-acquired-count"));
    let properties = letter.properties.clone().with_headers(headers.into());
    (letter.body.to_vec(), format!("{properties:?}"))
}

/// Everything in a queue, taken out of it.
async fn drained(bus: &dyn Bus, queue: Queue, count: usize) -> Vec<Message> {
    let mut subscription = bus.consume(queue, 1_000).await.unwrap();
    let mut all = Vec::new();
    for _ in 0..count {
        let delivery = next(&mut subscription).await;
        subscription.control.ack(delivery.tag, false).await.unwrap();
        all.push(delivery.message);
    }
    all
}

fn ids(letters: &[Message]) -> BTreeSet<String> {
    letters.iter().map(|letter| Letter::of(letter).event_id.unwrap()).collect()
}

/// Looked at again and again, letters stay as they are. RabbitMQ may give those that were looked at
/// another order.
pub async fn looking_at_dead_letters_changes_nothing(fixture: &dyn Fixture) {
    let (bus, erp) = (prepared(fixture).await, endpoint());
    fill(&*bus, 5, |_| "http_400").await;
    let all: BTreeSet<_> = (0..5).map(|n| stored(&letter(n, "http_400"))).collect();
    for _ in 0..30 {
        for (limit, seen) in [(2, 2), (100, 5)] {
            let mut found = BTreeSet::new();
            let looked = look(&*bus, &erp, limit, |letter| {
                found.insert(stored(&letter));
                ControlFlow::Continue(())
            });
            assert_eq!(looked.await.unwrap(), Looked { ready: 5, seen });
            assert!(found.is_subset(&all), "a letter has changed");
            assert_eq!(found.len(), usize::try_from(seen).unwrap(), "a letter was shown twice");
            shows(&*bus, Queue::Dead(endpoint()), 5).await;
        }
    }
    let first = look(&*bus, &erp, 100, |_| ControlFlow::Break(())).await.unwrap();
    assert_eq!(first, Looked { ready: 5, seen: 1 });
    shows(&*bus, Queue::Dead(endpoint()), 5).await;
    let left = drained(&*bus, Queue::Dead(endpoint()), 5).await;
    assert!(left.iter().map(stored).collect::<BTreeSet<_>>() == all, "a letter has changed");
}

/// What is meant goes to the endpoint's parked queue as if new; the rest stays as it was.
pub async fn a_replay_moves_exactly_what_is_meant(fixture: &dyn Fixture) {
    let bus = prepared(fixture).await;
    fill(&*bus, 1_000, |n| if n % 4 == 0 { "http_503" } else { "http_400" }).await;
    let filter = Filter { reason: Some("http_503".into()), ..Filter::default() };
    let order = Order { endpoint: endpoint(), filter, act: Act::Replay, pace: None };
    let stop = CancellationToken::new();
    let (tally, end) = carry_out(&*bus, &order, &stop, |_| {}).await.unwrap();
    assert!(matches!(end, End::Done), "{end:?}");
    assert_eq!(tally, Tally { round: 1_000, meant: 250, taken: 250, skipped: 750 });
    shows(&*bus, Queue::Parked(endpoint()), 250).await;
    shows(&*bus, Queue::Dead(endpoint()), 750).await;
    let parked = drained(&*bus, Queue::Parked(endpoint()), 250).await;
    assert_eq!(ids(&parked), (0..1_000).step_by(4).map(|n| format!("e-{n}")).collect());
    for message in &parked {
        let again = Letter::of(message);
        assert_eq!((again.attempts, again.panics, again.last_error), (0, 0, None));
        assert_eq!((again.first_attempt_at, again.last_attempt_at), (None, None));
        let number = again.event_id.unwrap()[2..].parse().unwrap();
        assert_eq!(message.body, letter(number, "").body);
        assert_eq!(message.header("number"), letter(number, "").header("number"));
    }
    let left = drained(&*bus, Queue::Dead(endpoint()), 750).await;
    for message in &left {
        let number = Letter::of(message).event_id.unwrap()[2..].parse().unwrap();
        assert_eq!(stored(message), stored(&letter(number, "http_400")));
    }
    assert_eq!(ids(&left).len(), 750);
}

/// What is meant is gone; the rest stays as it was.
pub async fn a_purge_removes_exactly_what_is_meant(fixture: &dyn Fixture) {
    let bus = prepared(fixture).await;
    fill(&*bus, 300, |n| if n < 100 { "timeout" } else { "http_400" }).await;
    let mut filter = Filter { reason: Some("timeout".into()), ..Filter::default() };
    for (taken, skipped) in [(100, 200), (0, 200)] {
        let order =
            Order { endpoint: endpoint(), filter: filter.clone(), act: Act::Purge, pace: None };
        let stop = CancellationToken::new();
        let (tally, end) = carry_out(&*bus, &order, &stop, |_| {}).await.unwrap();
        assert!(matches!(end, End::Done), "{end:?}");
        assert_eq!((tally.taken, tally.skipped), (taken, skipped));
        shows(&*bus, Queue::Dead(endpoint()), 200).await;
    }
    filter.reason = None;
    let order = Order { endpoint: endpoint(), filter, act: Act::Purge, pace: None };
    let done = carry_out(&*bus, &order, &CancellationToken::new(), |_| {}).await.unwrap();
    assert_eq!(done.0, Tally { round: 200, meant: 200, taken: 200, skipped: 0 });
    shows(&*bus, Queue::Dead(endpoint()), 0).await;
    shows(&*bus, Queue::Parked(endpoint()), 0).await;
}

/// A rung's depth counts what waits in it.
pub async fn a_rung_shows_what_waits_in_it(fixture: &dyn Fixture) {
    let (bus, long) = (prepared(fixture).await, Duration::from_secs(3_600));
    bus.prepare(vec![endpoint()], vec![RUNG, long]).await.unwrap();
    shows(&*bus, Queue::Wait(long), 0).await;
    bus.store(Target::Wait(endpoint(), long), message("late")).await.unwrap();
    shows(&*bus, Queue::Wait(long), 1).await;
    shows(&*bus, Queue::Wait(RUNG), 0).await;
    shows(&*bus, Queue::Parked(endpoint()), 0).await;
}
