//! What a stop leaves: nothing settled comes again, nothing unsettled is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use lockgate::bus::Queue;
use lockgate::domain::delivery::Message;

use super::partner::{Answer, Partner};
use super::stage::{Stage, endpoint, event, eventually, name};

fn ids(messages: &[Message]) -> BTreeSet<String> {
    let id = |message: &Message| message.properties.message_id().as_ref().unwrap().to_string();
    messages.iter().map(id).collect()
}

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(ToString::to_string).collect()
}

#[actix_rt::test]
async fn a_stop_parks_what_is_partly_settled_and_leaves_the_rest_on_the_bus() {
    let (a, b) = (Partner::start(Answer::Status(200)), Partner::start(Answer::Never));
    let mut text =
        endpoint("a", &a, "") + &endpoint("b", &b, "max_in_flight = 1\npatience = \"5m\"");
    text += "[event_configurations.only-b]\nevents = [\"Only/*\"]\nendpoints = [\"b\"]\n";
    let stage = Stage::start(&text);
    // The untouched ones stand between the others: nothing behind them may be held back.
    for n in 1..=3 {
        stage.publish([n]);
        stage.bus.publish(event("Only", n)).unwrap();
    }
    eventually("one has all, one hangs", || {
        stage.counters("a").delivered.get() == 3 && stage.counters("b").routed.get() == 6
    })
    .await;
    eventually("an attempt hangs", || b.count() == 1).await;
    let bus = stage.bus.clone();
    stage.done().await;
    assert_eq!(ids(&bus.peek(&Queue::Source)), set(&["Only-1", "Only-2", "Only-3"]));
    let parked = bus.peek(&Queue::Parked(name("b")));
    assert_eq!((parked.len(), ids(&parked)), (3, set(&["Batch-1", "Batch-2", "Batch-3"])));
    assert_eq!((a.count(), b.count()), (3, 1));
}

#[actix_rt::test]
async fn what_is_settled_in_the_last_moment_does_not_come_again() {
    let (b, c) = (Partner::start(Answer::Never), Partner::start(Answer::Never));
    let only = endpoint("c", &c, "max_in_flight = 1\npatience = \"5m\"");
    let stage = Stage::start(&(endpoint("b", &b, "") + &only.replace("Batch", "Only")));
    // The second stays unsettled between two that are settled when the grace is over.
    stage.bus.publish(event("Only", 1)).unwrap();
    stage.bus.publish(event("Only", 2)).unwrap();
    stage.publish([3]);
    eventually("two hang, one waits", || {
        (b.count(), c.count(), stage.counters("c").routed.get()) == (1, 1, 2)
    })
    .await;
    let bus = stage.bus.clone();
    stage.done().await;
    assert_eq!(ids(&bus.peek(&Queue::Source)), set(&["Only-2"]));
    assert_eq!(ids(&bus.peek(&Queue::Parked(name("b")))), set(&["Batch-3"]));
    assert_eq!(ids(&bus.peek(&Queue::Parked(name("c")))), set(&["Only-1"]));
}

#[actix_rt::test]
async fn a_stop_gives_attempts_under_way_their_time() {
    let partner = Partner::start(Answer::After(Duration::from_millis(150), 200));
    let stage = Stage::start(&endpoint("a", &partner, ""));
    stage.publish(0..20);
    eventually("all are under way", || partner.count() == 20).await;
    let (bus, board) = (stage.bus.clone(), std::sync::Arc::clone(&stage.board));
    stage.done().await;
    assert_eq!((bus.peek(&Queue::Source).len(), board.source.acknowledged.get()), (0, 20));
    assert_eq!(board.endpoint(&name("a")).expect("configured").counters.delivered.get(), 20);
}

#[actix_rt::test]
async fn what_a_stop_finds_in_the_parked_lane_is_there_once_afterwards() {
    let partner = Partner::start(Answer::Status(503));
    let settings = "max_in_flight = 8\nretry = { schedule = [\"100ms\"] }\n\
                    breaker = { failures = 1000, failure_ratio = 1.0, min_attempts = 100000 }";
    let stage = Stage::start(&endpoint("a", &partner, settings));
    stage.publish(0..40);
    eventually("all are parked", || stage.acknowledged() == 40 && partner.count() > 80).await;
    partner.answers(Answer::Never);
    let bus = stage.bus.clone();
    eventually("eight are under way", || stage.counters("a").in_flight() >= 8).await;
    partner.answers(Answer::Status(503));
    stage.done().await;
    bus.restore();
    let queue = Queue::Parked(name("a"));
    eventually("the rungs are over", || !bus.peek(&queue).is_empty() && bus.delayed() == 0).await;
    let parked = bus.peek(&queue);
    assert_eq!((parked.len(), ids(&parked).len()), (40, 40));
    assert_eq!(bus.peek(&Queue::Source).len(), 0);
}
