//! What is lost: the bus, in the middle of everything.

use std::collections::HashSet;
use std::time::Duration;

use lockgate::bus::Queue;

use super::partner::{Answer, Partner};
use super::stage::{Stage, endpoint, eventually, name, throughout};

const MS: Duration = Duration::from_millis(1);

#[actix_rt::test]
async fn what_was_delivered_is_recognised_when_it_comes_again() {
    let (a, b) = (Partner::start(Answer::Status(200)), Partner::start(Answer::Never));
    let stage = Stage::start(&(endpoint("a", &a, "") + &endpoint("b", &b, "")));
    stage.publish([1]);
    eventually("one has it", || stage.counters("a").delivered.get() == 1 && b.count() == 1).await;
    stage.bus.cut(false);
    eventually("it came again", || stage.counters("a").suppressed.get() == 1).await;
    eventually("to both", || stage.counters("b").routed.get() == 2).await;
    b.answers(Answer::Status(200));
    stage.is_idle().await;
    assert_eq!((a.count(), b.count()), (1, 1), "neither got it twice");
    assert_eq!(stage.counters("b").suppressed.get(), 1);
    let source = &stage.board.source;
    assert_eq!((source.received.get(), source.stale.get(), stage.acknowledged()), (2, 1, 1));
    stage.done().await;
}

#[actix_rt::test]
async fn a_repeat_that_joined_an_attempt_is_kept_when_the_attempt_fails() {
    for (answer, dead) in [(503, false), (400, true), (401, false)] {
        let partner = Partner::start(Answer::Never);
        let settings = "retry = { schedule = [\"100ms\"] }\n\
                        breaker = { misconfigured_open = \"100ms\" }";
        let stage = Stage::start(&endpoint("a", &partner, settings));
        stage.publish([1]);
        eventually("it is under way", || partner.count() == 1).await;
        stage.bus.cut(false);
        eventually("it came again", || stage.counters("a").routed.get() == 2).await;
        partner.answers(Answer::Status(answer));
        eventually("it is settled", || stage.acknowledged() == 1).await;
        partner.answers(Answer::Status(200));
        stage.is_idle().await;
        let delivered = stage.counters("a").delivered.get();
        let letters = stage.ready(&Queue::Dead(name("a"))).len();
        assert_eq!((delivered > 0, letters > 0), (!dead, dead), "after {answer}");
        stage.done().await;
    }
}

#[actix_rt::test]
async fn a_bus_cut_in_mid_flow_loses_nothing() {
    let (a, b) = (Partner::start(Answer::After(5 * MS, 200)), Partner::start(Answer::Status(200)));
    let stage = Stage::start(&(endpoint("a", &a, "") + &endpoint("b", &b, "")));
    stage.publish(0..400);
    for cut in 1..=4 {
        eventually("some are through", || a.count() > cut * 40).await;
        stage.bus.cut(cut % 2 == 0);
        throughout(50 * MS, "away", || true).await;
        stage.bus.restore();
    }
    stage.is_idle().await;
    for partner in [&a, &b] {
        let ids: HashSet<String> = partner.ids().into_iter().collect();
        assert_eq!(ids.len(), 400);
    }
    let source = &stage.board.source;
    assert!(source.stale.get() > 0);
    assert_eq!(source.received.get(), stage.acknowledged() + source.stale.get());
    stage.done().await;
}

#[actix_rt::test]
async fn a_cut_while_the_parked_lane_is_at_work_loses_nothing() {
    let partner = Partner::start(Answer::Status(503));
    let settings = "max_in_flight = 4\nretry = { schedule = [\"100ms\", \"150ms\"] }\n\
                    breaker = { failures = 3, open = \"100ms\", open_max = \"200ms\" }";
    let stage = Stage::start(&endpoint("a", &partner, settings));
    stage.publish(0..100);
    eventually("all are parked", || stage.acknowledged() == 100).await;
    for round in 0..6 {
        partner.answers(Answer::Status(if round % 2 == 0 { 200 } else { 503 }));
        let before = partner.count();
        eventually("it is tried", || partner.count() > before).await;
        stage.bus.cut(false);
    }
    partner.answers(Answer::Status(200));
    stage.is_idle().await;
    eventually("the queue is empty", || stage.ready(&Queue::Parked(name("a"))).is_empty()).await;
    stage.is_idle().await;
    let ids: HashSet<String> = partner.ids().into_iter().collect();
    assert_eq!((ids.len(), stage.ready(&Queue::Dead(name("a"))).len()), (100, 0));
    stage.done().await;
}
