//! What fails: every class of failure goes its own way.

use std::time::Duration;

use lockgate::bus::{Bus as _, Queue, Target};
use lockgate::logic::parcel::{self, Record};
use lockgate::world;

use super::partner::{Answer, Partner};
use super::stage::{Stage, endpoint, event, eventually, name, throughout};

const MS: Duration = Duration::from_millis(1);

fn record(message: &lockgate::domain::delivery::Message) -> Record {
    parcel::unpack(message).unwrap().1
}

#[actix_rt::test]
async fn a_transient_failure_waits_on_a_rung_and_passes_later() {
    let partner = Partner::start(Answer::Status(503));
    let stage = Stage::start(&endpoint("a", &partner, "retry = { schedule = [\"300ms\"] }"));
    stage.publish([1]);
    eventually("it waits", || stage.bus.delayed() == 1).await;
    eventually("and is acknowledged", || stage.acknowledged() == 1).await;
    partner.answers(Answer::Status(200));
    eventually("it passes", || stage.counters("a").delivered.get() == 1).await;
    stage.is_idle().await;
    let requests = partner.requests();
    assert_eq!(partner.ids(), ["Batch-1", "Batch-1"]);
    assert!(requests[1].at - requests[0].at >= 300 * MS);
    let counters = stage.counters("a");
    assert_eq!((counters.routed.get(), counters.resumed.get(), counters.parked.get()), (1, 1, 1));
    stage.done().await;
}

#[actix_rt::test]
async fn attempts_are_counted_until_there_are_enough() {
    let partner = Partner::start(Answer::Status(503));
    let retry = "retry = { schedule = [\"100ms\"], max_attempts = 3 }";
    let stage = Stage::start(&endpoint("a", &partner, retry));
    stage.publish([1]);
    let dead = Queue::Dead(name("a"));
    eventually("it is dead", || stage.ready(&dead).len() == 1).await;
    let record = record(&stage.ready(&dead)[0]);
    assert_eq!((record.attempts, record.reason.as_str(), partner.count()), (3, "http_503", 3));
    assert!(record.first_attempt_at.unwrap() < record.last_attempt_at.unwrap());
    stage.is_idle().await;
    stage.done().await;
}

#[actix_rt::test]
async fn a_permanent_failure_is_dead_at_once() {
    let partner = Partner::start(Answer::Status(400));
    let stage = Stage::start(&endpoint("a", &partner, ""));
    stage.publish(0..3);
    let dead = Queue::Dead(name("a"));
    eventually("all are dead", || stage.ready(&dead).len() == 3).await;
    stage.is_idle().await;
    let letter = &stage.ready(&dead)[0];
    let record = record(letter);
    assert_eq!((record.attempts, record.reason.as_str()), (1, "http_400"));
    assert_eq!((record.event_type.as_str(), record.configuration.as_str()), ("Batch", "a"));
    assert!(!record.last_error.is_empty() && letter.body.starts_with(b"{\"n\": "));
    assert_eq!((partner.count(), stage.health("a").as_str()), (3, "healthy"));
    stage.done().await;
}

#[actix_rt::test]
async fn a_misconfiguration_opens_the_breaker_and_kills_nothing() {
    let partner = Partner::start(Answer::Status(401));
    let settings = "max_in_flight = 1\nbreaker = { misconfigured_open = \"2s\" }";
    let stage = Stage::start(&endpoint("a", &partner, settings));
    stage.publish(0..5);
    eventually("all are parked", || stage.acknowledged() == 5).await;
    assert_eq!((partner.count(), stage.health("a").as_str()), (1, "misconfigured"));
    eventually("it is tried again", || partner.count() >= 2).await;
    assert_eq!(stage.counters("a").dead.get(), 0);
    partner.answers(Answer::Status(200));
    eventually("all pass", || stage.counters("a").delivered.get() == 5).await;
    eventually("it is healthy", || stage.health("a").as_str() == "healthy").await;
    stage.is_idle().await;
    stage.done().await;
}

#[actix_rt::test]
async fn a_breaker_that_opened_by_failures_tries_one_at_a_time_and_closes() {
    let partner = Partner::start(Answer::Status(500));
    let settings = "retry = { schedule = [\"100ms\"] }\nmax_in_flight = 4\n\
                    breaker = { failures = 4, open = \"200ms\", open_max = \"400ms\" }";
    let stage = Stage::start(&endpoint("a", &partner, settings));
    stage.publish(0..40);
    eventually("it is open", || stage.health("a").as_str() == "open").await;
    eventually("all are parked", || stage.acknowledged() == 40).await;
    let before = partner.count();
    assert!(before < 12, "{before} attempts before and while it opened");
    partner.answers(Answer::Status(200));
    eventually("all pass", || stage.counters("a").delivered.get() == 40).await;
    stage.is_idle().await;
    stage.done().await;
}

#[actix_rt::test]
async fn a_half_open_endpoint_without_anything_parked_is_tried_with_the_next_event() {
    let partner = Partner::start(Answer::Status(500));
    let settings = "retry = { schedule = [\"100ms\"], max_attempts = 1 }\nmax_in_flight = 1\n\
                    breaker = { failures = 1, open = \"100ms\" }";
    let stage = Stage::start(&endpoint("a", &partner, settings));
    stage.publish([1]);
    eventually("it is dead", || stage.counters("a").dead.get() == 1).await;
    partner.answers(Answer::Status(200));
    eventually("the next one passes", || {
        stage.publish([partner.count()]);
        stage.counters("a").delivered.get() > 0
    })
    .await;
    stage.is_idle().await;
    eventually("it is healthy", || stage.health("a").as_str() == "healthy").await;
    stage.done().await;
}

#[actix_rt::test]
async fn nothing_is_sent_before_retry_after_is_over() {
    let partner = Partner::start(Answer::RetryAfter(2));
    let settings = "max_in_flight = 1\nretry = { schedule = [\"100ms\"] }";
    let stage = Stage::start(&endpoint("a", &partner, settings));
    stage.publish([1]);
    eventually("the first came", || partner.count() == 1).await;
    partner.answers(Answer::Status(200));
    stage.publish(2..10);
    eventually("all pass", || stage.counters("a").delivered.get() == 9).await;
    let requests = partner.requests();
    assert!(requests[1].at - requests[0].at >= 1_990 * MS, "nothing went before");
    stage.is_idle().await;
    stage.done().await;
}

#[actix_rt::test]
async fn what_no_configuration_wants_any_more_is_dead() {
    let partner = Partner::start(Answer::Status(200));
    let stage = Stage::start(&endpoint("a", &partner, ""));
    let record = Record {
        event_id: "e".into(),
        event_type: "Gone".into(),
        event_trigger: "batch_run_status".into(),
        configuration: "gone".into(),
        attempts: 2,
        panics: 0,
        received_at: world::now(),
        first_attempt_at: None,
        last_attempt_at: None,
        reason: "timeout".into(),
        last_error: String::new(),
    };
    let parcel = parcel::pack(&event("Gone", 1), &record, world::now());
    stage.bus.store(Target::Park(name("a")), parcel).await.unwrap();
    let dead = Queue::Dead(name("a"));
    eventually("it is dead", || stage.ready(&dead).len() == 1).await;
    let letter = super::failures::record(&stage.ready(&dead)[0]);
    assert_eq!((letter.reason.as_str(), letter.attempts), ("no_longer_configured", 2));
    stage.is_idle().await;
    assert_eq!((partner.count(), stage.counters("a").resumed.get()), (0, 1));
    stage.done().await;
}

#[actix_rt::test]
async fn what_cannot_be_parked_stays_unacknowledged_and_is_tried_again() {
    let partner = Partner::start(Answer::Status(400));
    let stage = Stage::start(&endpoint("a", &partner, ""));
    stage.bus.block(true);
    stage.publish(0..4);
    let mut broken = event("Batch", 4);
    broken.body = "[]".into();
    stage.bus.publish(broken).unwrap();
    eventually("all were attempted", || partner.count() == 4).await;
    throughout(400 * MS, "unacknowledged", || stage.bus.unacknowledged() == 5).await;
    assert_eq!((stage.acknowledged(), stage.counters("a").in_flight()), (0, 4));
    stage.bus.fail_stores(7);
    stage.bus.block(false);
    stage.is_idle().await;
    assert_eq!((stage.ready(&Queue::Dead(name("a"))).len(), partner.count()), (4, 4));
    assert_eq!(stage.ready(&Queue::Rejected).len(), 1);
    stage.done().await;
}
