//! What an operator does to a running bridge: pause, resume, test.

use lockgate::actors::board::Health;
use lockgate::actors::controls::ControlError;
use lockgate::bus::Queue;
use lockgate::domain::delivery::Outcome;
use lockgate::domain::event::{Event, Organization};
use lockgate::logic::test_event::{TRIGGER, TYPE, test_event};

use super::partner::{Answer, Partner};
use super::stage::{Stage, endpoint, eventually, name};

fn a_test(id: &str) -> Event {
    let now = lockgate::world::now();
    test_event((TYPE, TRIGGER), id.into(), now, Organization::default(), "test".into())
}

#[actix_rt::test]
async fn what_comes_while_an_endpoint_is_paused_is_parked_and_goes_out_when_it_is_resumed() {
    let (a, b) = (Partner::start(Answer::Status(200)), Partner::start(Answer::Status(200)));
    let stage = Stage::start(&(endpoint("a", &a, "") + &endpoint("b", &b, "")));
    stage.publish(0..5);
    eventually("both have them", || (a.count(), b.count()) == (5, 5)).await;
    let controls = stage.controls();
    assert_eq!(controls.pause(&name("a")), Ok(true));
    assert_eq!(controls.pause(&name("a")), Ok(false));
    eventually("it is paused", || stage.health("a") == Health::Paused).await;
    stage.publish(5..25);
    let parked = Queue::Parked(name("a"));
    eventually("all are parked", || stage.ready(&parked).len() == 20).await;
    eventually("the other has them", || b.count() == 25).await;
    assert_eq!((a.count(), stage.counters("a").parked.get()), (5, 20));
    assert_eq!(controls.resume(&name("a")), Ok(true));
    assert_eq!(controls.resume(&name("a")), Ok(false));
    eventually("it has them all", || a.count() == 25).await;
    eventually("it is healthy", || stage.health("a") == Health::Healthy).await;
    stage.publish(25..30);
    eventually("it takes them directly", || a.count() == 30).await;
    let mut ids = a.ids();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 30, "each came once");
    stage.done().await;
}

#[actix_rt::test]
async fn attempts_under_way_end_when_an_endpoint_is_paused() {
    let partner = Partner::start(Answer::Never);
    let stage = Stage::start(&endpoint("a", &partner, ""));
    stage.publish([1]);
    eventually("it is under way", || partner.count() == 1).await;
    stage.controls().pause(&name("a")).unwrap();
    eventually("it is paused", || stage.health("a") == Health::Paused).await;
    partner.answers(Answer::Status(200));
    eventually("it is delivered", || stage.counters("a").delivered.get() == 1).await;
    assert_eq!((partner.count(), stage.counters("a").parked.get()), (1, 0));
    stage.done().await;
}

#[actix_rt::test]
async fn a_test_event_passes_by_a_pause_and_counts_for_nothing() {
    let partner = Partner::start(Answer::Status(200));
    let stage = Stage::start(&endpoint("a", &partner, ""));
    let controls = stage.controls();
    controls.pause(&name("a")).unwrap();
    let tried = loop {
        match controls.test(&name("a"), a_test("t-1")).await {
            Ok(tried) => break tried,
            // Its actor is on its way.
            Err(busy) => assert_eq!(busy, ControlError::Busy(name("a"))),
        }
        actix_rt::task::yield_now().await;
    };
    assert_eq!(tried.outcome, Outcome::Delivered { status: Some(200) });
    assert_eq!((tried.event_id.as_str(), partner.ids()), ("t-1", vec!["t-1".to_owned()]));
    assert!(partner.requests()[0].body.contains("\"test\":true"), "{:?}", partner.requests());
    partner.answers(Answer::Status(503));
    let tried = controls.test(&name("a"), a_test("t-2")).await.unwrap();
    let Outcome::Failed(failure) = tried.outcome else { panic!("{tried:?}") };
    assert_eq!(failure.reason, "http_503");
    let counters = stage.counters("a");
    assert_eq!((counters.routed.get(), counters.delivered.get(), counters.parked.get()), (0, 0, 0));
    stage.done().await;
}

#[actix_rt::test]
async fn one_test_is_under_way_at_a_time_and_an_unknown_endpoint_is_named() {
    let partner = Partner::start(Answer::Never);
    let stage = Stage::start(&endpoint("a", &partner, ""));
    stage.publish([1]);
    eventually("its actor is there", || partner.count() == 1).await;
    let (controls, a) = (stage.controls(), name("a"));
    let first = actix_rt::spawn({
        let (controls, a) = (controls.clone(), a.clone());
        async move { controls.test(&a, a_test("t-1")).await }
    });
    eventually("the first is under way", || partner.count() == 2).await;
    let second = controls.test(&a, a_test("t-2")).await.unwrap_err();
    assert_eq!(second, ControlError::Busy(a));
    partner.answers(Answer::Status(200));
    assert_eq!(first.await.unwrap().unwrap().event_id, "t-1");
    let unknown = controls.test(&name("b"), a_test("t-3")).await.unwrap_err();
    assert_eq!(unknown.to_string(), "no endpoint is called b");
    assert_eq!(controls.pause(&name("b")), Err(unknown));
    stage.done().await;
}
