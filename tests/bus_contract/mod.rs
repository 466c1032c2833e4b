//! What every bus promises, as functions over one: the memory bus and RabbitMQ go through the same.
//!
//! Each needs a bus whose queues are empty.

#![allow(dead_code, reason = "each test binary that includes this uses what it can")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test code")]

mod dead;

pub use dead::{
    a_purge_removes_exactly_what_is_meant, a_replay_moves_exactly_what_is_meant,
    a_rung_shows_what_waits_in_it, looking_at_dead_letters_changes_nothing,
};

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{LocalBoxFuture, join_all};
use lapin::types::{AMQPValue, FieldTable};
use lockgate::bus::{Bus, Delivery, Queue, Subscription, Target};
use lockgate::domain::delivery::{Message, Properties};
use lockgate::domain::names::Name;
use tokio::time::{Instant, timeout};

/// A bus under test, and what only its own kind can do to it.
pub trait Fixture {
    /// The bus. The same one each time.
    fn bus(&self) -> Arc<dyn Bus>;

    /// Loses every connection, as a network does.
    fn cut(&self) -> LocalBoxFuture<'_, ()>;
}

/// The rung that is prepared.
pub const RUNG: Duration = Duration::from_millis(200);
const DEADLINE: Duration = Duration::from_secs(20);

/// The endpoint that is prepared.
pub fn endpoint() -> Name {
    "erp".parse().unwrap()
}

/// A message with properties of every sort.
pub fn message(text: &str) -> Message {
    let mut inner = FieldTable::default();
    inner.insert("deep".into(), AMQPValue::Boolean(true));
    let mut headers = FieldTable::default();
    headers.insert("X-Plant".into(), AMQPValue::LongString("chicago".into()));
    headers.insert("number".into(), AMQPValue::LongLongInt(-7));
    headers.insert("count".into(), AMQPValue::LongUInt(7));
    headers.insert("table".into(), AMQPValue::FieldTable(inner));
    headers.insert("nothing".into(), AMQPValue::Void);
    let properties = Properties::default()
        .with_content_type("application/json".into())
        .with_content_encoding("utf-8".into())
        .with_headers(headers)
        .with_delivery_mode(2)
        .with_priority(3)
        .with_correlation_id("c-1".into())
        .with_reply_to("r".into())
        .with_message_id("m-1".into())
        .with_timestamp(1_750_000_000)
        .with_type("Batch".into())
        .with_app_id("platform".into());
    Message { properties, body: text.to_owned().into(), ..Message::default() }
}

async fn prepared(fixture: &dyn Fixture) -> Arc<dyn Bus> {
    let bus = fixture.bus();
    let report = bus.prepare(vec![endpoint()], vec![RUNG]).await.unwrap();
    assert_eq!(report.missing, Vec::<String>::new());
    bus
}

async fn fill(bus: &dyn Bus, count: usize) {
    for number in 0..count {
        bus.store(Target::Source, message(&number.to_string())).await.unwrap();
    }
}

/// The next delivery, within a deadline.
pub async fn next(subscription: &mut Subscription) -> Delivery {
    let next = timeout(DEADLINE, subscription.deliveries.recv()).await;
    next.expect("a delivery in time").expect("the subscription goes on")
}

/// The next deliveries: their tags, texts and whether they were delivered before.
pub async fn seen(subscription: &mut Subscription, count: usize) -> Vec<(u64, String, bool)> {
    let mut seen = Vec::new();
    for _ in 0..count {
        let delivery = next(subscription).await;
        assert_eq!(delivery.generation, subscription.generation);
        let text = String::from_utf8(delivery.message.body.to_vec()).unwrap();
        seen.push((delivery.tag, text, delivery.message.redelivered));
    }
    seen
}

/// Waits until the subscription ends, letting what it still holds pass.
pub async fn ends(subscription: &mut Subscription) {
    let drained = async { while subscription.deliveries.recv().await.is_some() {} };
    timeout(DEADLINE, drained).await.expect("the subscription ends");
}

/// Waits until a queue shows so many ready messages.
pub async fn shows(bus: &dyn Bus, queue: Queue, count: u32) {
    let start = Instant::now();
    loop {
        let found = bus.depth(queue.clone()).await.unwrap();
        if found == Some(count) {
            return;
        }
        assert!(start.elapsed() < DEADLINE, "{queue:?} shows {found:?}, not {count}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Nothing is lost of a message, and nothing is added, in any of the queues.
pub async fn what_is_stored_comes_out_as_it_went_in(fixture: &dyn Fixture) {
    let bus = prepared(fixture).await;
    for (target, queue) in [
        (Target::Source, Queue::Source),
        (Target::Park(endpoint()), Queue::Parked(endpoint())),
        (Target::Dead(endpoint()), Queue::Dead(endpoint())),
        (Target::Rejected, Queue::Rejected),
    ] {
        bus.store(target, message("{\"n\": 1.0}")).await.unwrap();
        let mut subscription = bus.consume(queue.clone(), 10).await.unwrap();
        let delivery = next(&mut subscription).await;
        assert_eq!(delivery.message.body, message("{\"n\": 1.0}").body, "{queue:?}");
        assert_eq!(delivery.message.properties, message("").properties, "{queue:?}");
        assert!(!delivery.message.redelivered);
        subscription.control.ack(delivery.tag, false).await.unwrap();
    }
}

/// The prefetch holds deliveries back, and acknowledgements let them go on.
pub async fn the_prefetch_is_the_brake(fixture: &dyn Fixture) {
    let bus = prepared(fixture).await;
    fill(&*bus, 5).await;
    let mut source = bus.consume(Queue::Source, 2).await.unwrap();
    let first = seen(&mut source, 2).await;
    assert_eq!(first, [(1, "0".into(), false), (2, "1".into(), false)]);
    let more = timeout(Duration::from_millis(200), source.deliveries.recv()).await;
    assert!(more.is_err(), "the prefetch is used up");
    source.control.ack(2, true).await.unwrap();
    let then = seen(&mut source, 2).await;
    assert_eq!(then, [(3, "2".into(), false), (4, "3".into(), false)]);
}

/// One acknowledgement covers a run; another one a message behind it.
pub async fn runs_are_acknowledged_at_once(fixture: &dyn Fixture) {
    let bus = prepared(fixture).await;
    fill(&*bus, 100).await;
    let mut source = bus.consume(Queue::Source, 100).await.unwrap();
    let tags: Vec<u64> = seen(&mut source, 100).await.into_iter().map(|(tag, ..)| tag).collect();
    assert_eq!(tags, (1..=100).collect::<Vec<_>>());
    source.control.ack(60, false).await.unwrap();
    source.control.ack(50, true).await.unwrap();
    source.control.ack(99, true).await.unwrap();
    drop(source);
    shows(&*bus, Queue::Source, 1).await;
    let mut again = bus.consume(Queue::Source, 100).await.unwrap();
    assert_eq!(seen(&mut again, 1).await, [(1, "99".into(), true)]);
}

/// What was not acknowledged before a loss comes again, marked; nothing else does.
pub async fn what_was_unacknowledged_comes_again_after_a_loss(fixture: &dyn Fixture) {
    let bus = prepared(fixture).await;
    fill(&*bus, 5).await;
    let mut source = bus.consume(Queue::Source, 4).await.unwrap();
    assert_eq!(seen(&mut source, 4).await.len(), 4);
    source.control.ack(2, true).await.unwrap();
    // The acknowledgement has arrived when the brake is off.
    assert_eq!(seen(&mut source, 1).await, [(5, "4".into(), false)]);
    fixture.cut().await;
    ends(&mut source).await;
    let late = source.control.ack(3, false).await;
    assert!(late.is_err(), "an old subscription acknowledges nothing");
    let mut again = bus.consume(Queue::Source, 10).await.unwrap();
    assert_ne!(again.generation, source.generation);
    let then: BTreeSet<_> = seen(&mut again, 3).await.into_iter().map(|(_, t, r)| (t, r)).collect();
    assert_eq!(then, ["2", "3", "4"].map(|t| (t.to_owned(), true)).into());
    again.control.ack(3, true).await.unwrap();
}

/// A rung gives a message back to its endpoint after its delay, not before.
pub async fn a_rung_gives_back_after_its_delay(fixture: &dyn Fixture) {
    let bus = prepared(fixture).await;
    let mut parked = bus.consume(Queue::Parked(endpoint()), 10).await.unwrap();
    let start = Instant::now();
    bus.store(Target::Wait(endpoint(), RUNG), message("late")).await.unwrap();
    let delivery = next(&mut parked).await;
    assert!(start.elapsed() >= RUNG, "after {:?}", start.elapsed());
    assert_eq!(delivery.message.body, message("late").body);
    assert_eq!(delivery.message.header("X-Plant"), message("").header("X-Plant"));
    assert_eq!(delivery.message.properties.message_id(), message("").properties.message_id());
    assert_eq!(delivery.message.properties.expiration(), &None);
    parked.control.ack(delivery.tag, false).await.unwrap();
}

/// A cancelled subscription gives nothing more, ends, and can still be acknowledged.
pub async fn a_cancelled_subscription_can_still_be_acknowledged(fixture: &dyn Fixture) {
    let bus = prepared(fixture).await;
    fill(&*bus, 3).await;
    let mut source = bus.consume(Queue::Source, 3).await.unwrap();
    assert_eq!(seen(&mut source, 3).await.len(), 3);
    source.control.cancel().await.unwrap();
    source.control.cancel().await.unwrap();
    bus.store(Target::Source, message("3")).await.unwrap();
    ends(&mut source).await;
    source.control.ack(2, true).await.unwrap();
    drop(source);
    shows(&*bus, Queue::Source, 2).await;
    let mut again = bus.consume(Queue::Source, 10).await.unwrap();
    let then: BTreeSet<_> = seen(&mut again, 2).await.into_iter().map(|(_, t, r)| (t, r)).collect();
    assert_eq!(then, [("2".to_owned(), true), ("3".to_owned(), false)].into());
}

/// A dropped subscription gives back what it held.
pub async fn a_dropped_subscription_gives_back(fixture: &dyn Fixture) {
    let bus = prepared(fixture).await;
    fill(&*bus, 3).await;
    let mut source = bus.consume(Queue::Source, 3).await.unwrap();
    assert_eq!(seen(&mut source, 1).await, [(1, "0".into(), false)]);
    drop(source);
    shows(&*bus, Queue::Source, 3).await;
}

/// Many stores at once all arrive, each once.
pub async fn many_stores_at_once_all_arrive(fixture: &dyn Fixture, count: u32) {
    let bus = prepared(fixture).await;
    let stores = (0..count).map(|n| bus.store(Target::Park(endpoint()), message(&n.to_string())));
    for done in join_all(stores).await {
        done.unwrap();
    }
    shows(&*bus, Queue::Parked(endpoint()), count).await;
    let mut parked = bus.consume(Queue::Parked(endpoint()), 1_000).await.unwrap();
    let mut all = BTreeSet::new();
    for _ in 0..count {
        let delivery = next(&mut parked).await;
        all.insert(delivery.message.body);
        if delivery.tag % 100 == 0 {
            parked.control.ack(delivery.tag, true).await.unwrap();
        }
    }
    assert_eq!(all.len(), usize::try_from(count).unwrap());
}

/// A queue's depth counts what is ready, not what is delivered.
pub async fn the_depth_counts_what_is_ready(fixture: &dyn Fixture) {
    let bus = prepared(fixture).await;
    shows(&*bus, Queue::Source, 0).await;
    fill(&*bus, 5).await;
    shows(&*bus, Queue::Source, 5).await;
    let mut source = bus.consume(Queue::Source, 2).await.unwrap();
    assert_eq!(seen(&mut source, 2).await.len(), 2);
    shows(&*bus, Queue::Source, 3).await;
}
