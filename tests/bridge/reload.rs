//! Another configuration for a running bridge: nothing lost, nothing twice, nobody disturbed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lockgate::bus::Queue;
use lockgate::config::change::Change;
use lockgate::domain::names::Name;

use super::partner::{Answer, Partner};
use super::stage::{Stage, endpoint, event, eventually, name, throughout};

fn names(names: &[&str]) -> Vec<Name> {
    names.iter().map(|one| name(one)).collect()
}

/// How often each event came.
fn times(partner: &Partner) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for id in partner.ids() {
        *times.entry(id).or_default() += 1;
    }
    times
}

#[actix_rt::test]
async fn endpoints_come_and_go_while_events_flow() {
    let (a, b) = (Partner::start(Answer::Status(200)), Partner::start(Answer::Status(200)));
    let (only_a, only_b) = (endpoint("a", &a, ""), endpoint("b", &b, ""));
    let stage = Stage::start(&only_a);
    stage.publish(0..10);
    eventually("the one has them", || a.count() == 10).await;
    let change = stage.reload(&(only_a.clone() + &only_b)).await;
    assert_eq!(change, Change { added: names(&["b"]), unchanged: 1, ..Change::default() });
    stage.publish(10..20);
    eventually("both have them", || (a.count(), b.count()) == (20, 10)).await;
    let change = stage.reload(&only_b).await;
    assert_eq!(change, Change { removed: names(&["a"]), unchanged: 1, ..Change::default() });
    stage.publish(20..30);
    eventually("the other has them", || b.count() == 20).await;
    throughout(Duration::from_millis(100), "the one is left alone", || a.count() == 20).await;
    assert!(stage.board.endpoint(&name("a")).is_none());
    assert!(times(&b).values().all(|times| *times == 1));
    stage.done().await;
}

#[actix_rt::test]
async fn of_an_endpoint_that_went_nothing_is_left_running() {
    let (a, b) = (Partner::start(Answer::Status(200)), Partner::start(Answer::Status(200)));
    let staying = endpoint("b", &b, "");
    let stage = Stage::start(&(endpoint("a", &a, "") + &staying));
    stage.publish(0..5);
    eventually("both have them", || (a.count(), b.count()) == (5, 5)).await;
    let shown = stage.board.endpoint(&name("a")).expect("configured");
    stage.reload(&staying).await;
    eventually("nobody else holds its part of the board", || Arc::strong_count(&shown) == 1).await;
    assert!(shown.counters.reconcile());
    stage.publish(5..10);
    eventually("the other goes on", || b.count() == 10).await;
    stage.done().await;
}

#[actix_rt::test]
async fn what_waits_for_an_endpoint_that_goes_is_parked_and_comes_back_with_it() {
    let (a, b) = (Partner::start(Answer::Never), Partner::start(Answer::Status(200)));
    let going = endpoint("a", &a, "max_in_flight = 1\npatience = \"5m\"");
    let staying = endpoint("b", &b, "");
    let stage = Stage::start(&(going.clone() + &staying));
    stage.publish(0..10);
    eventually("one is under way", || (a.count(), b.count()) == (1, 10)).await;
    stage.reload(&staying).await;
    let parked = Queue::Parked(name("a"));
    eventually("what waited is parked", || stage.ready(&parked).len() == 9).await;
    a.answers(Answer::Status(200));
    eventually("everything is settled", || stage.board.source.in_flight() == 0).await;
    assert_eq!((a.count(), stage.ready(&parked).len()), (1, 9), "its queue stays");
    stage.reload(&(going + &staying)).await;
    eventually("what was parked has come", || a.count() == 10).await;
    assert!(times(&a).values().all(|times| *times == 1), "{:?}", times(&a));
    stage.done().await;
}

#[actix_rt::test]
async fn an_endpoint_that_comes_back_before_its_old_actor_is_gone_meets_nobody() {
    let (old, new) = (Partner::start(Answer::Never), Partner::start(Answer::Status(200)));
    let b = Partner::start(Answer::Status(200));
    let staying = endpoint("b", &b, "");
    let stage = Stage::start(&(endpoint("a", &old, "") + &staying));
    stage.publish([1]);
    eventually("it is under way", || old.count() == 1).await;
    stage.reload(&staying).await;
    stage.reload(&(endpoint("a", &new, "") + &staying)).await;
    stage.publish(2..6);
    eventually("the other has them", || b.count() == 5).await;
    throughout(Duration::from_millis(100), "it waits its turn", || new.count() == 0).await;
    old.answers(Answer::Status(200));
    eventually("the new one has the rest", || new.count() == 4).await;
    assert_eq!((times(&old).len(), old.count()), (1, 1));
    stage.done().await;
}

#[actix_rt::test]
async fn other_settings_are_taken_over_between_two_attempts() {
    let (old, new) = (Partner::start(Answer::Never), Partner::start(Answer::Status(200)));
    let stage = Stage::start(&endpoint("a", &old, "max_in_flight = 2\npatience = \"5m\""));
    stage.publish([1]);
    eventually("one is under way", || old.count() == 1).await;
    let change = stage.reload(&endpoint("a", &new, "max_in_flight = 3")).await;
    assert_eq!(change, Change { changed: names(&["a"]), ..Change::default() });
    stage.publish(2..10);
    throughout(Duration::from_millis(100), "nothing goes meanwhile", || {
        (old.count(), new.count()) == (1, 0)
    })
    .await;
    old.answers(Answer::Status(200));
    eventually("the rest goes to the new address", || new.count() == 8).await;
    assert_eq!((old.count(), stage.counters("a").parked.get()), (1, 0));
    stage.done().await;
}

#[actix_rt::test]
async fn an_endpoint_that_was_given_up_is_tried_at_once_with_its_new_settings() {
    let (old, new) = (Partner::start(Answer::Status(401)), Partner::start(Answer::Status(200)));
    let stage = Stage::start(&endpoint("a", &old, ""));
    stage.publish(0..5);
    eventually("all wait", || stage.ready(&Queue::Parked(name("a"))).len() == 5).await;
    stage.reload(&endpoint("a", &new, "")).await;
    eventually("they come", || new.count() == 5).await;
    stage.done().await;
}

#[actix_rt::test]
async fn an_event_that_is_routed_already_goes_as_it_was_routed() {
    let partner = Partner::start(Answer::Never);
    let rest = format!("[endpoints.a.rest]\nurl = \"{}\"\n", partner.url());
    let by = |configuration: &str, metadata: bool| {
        let head = format!("[event_configurations.{configuration}]\nevents = [\"Batch/*\"]\n");
        format!(
            "[endpoints.a]\nmax_in_flight = 1\npatience = \"5m\"\n{rest}{head}\
             endpoints = [\"a\"]\nmetadata_in_payload = {metadata}\n"
        )
    };
    let stage = Stage::start(&by("before", true));
    stage.publish(0..3);
    eventually("one is under way", || {
        partner.count() == 1 && stage.counters("a").routed.get() == 3
    })
    .await;
    let change = stage.reload(&by("after", false)).await;
    assert_eq!(change, Change { unchanged: 1, ..Change::default() });
    stage.publish([3]);
    partner.answers(Answer::Status(200));
    eventually("all are there", || partner.count() == 4).await;
    let with: Vec<bool> =
        partner.requests().iter().map(|request| request.body.contains("Metadata")).collect();
    assert_eq!(with, [true, true, true, false]);
    assert_eq!(stage.counters("a").dead.get(), 0);
    stage.done().await;
}

#[actix_rt::test]
async fn a_hundred_reloads_lose_and_repeat_nothing() {
    let (a, b, c) = (
        Partner::start(Answer::Status(200)),
        Partner::start(Answer::Status(200)),
        Partner::start(Answer::Status(200)),
    );
    let stays = endpoint("a", &a, "");
    let stage = Stage::start(&stays);
    let mut wanted = 0;
    for round in 0..100 {
        let changing = endpoint("b", &b, &format!("max_in_flight = {}", 1 + round % 7));
        let coming = if round % 2 == 0 { endpoint("c", &c, "") } else { String::new() };
        stage.reload(&(stays.clone() + &changing + &coming)).await;
        stage.publish(wanted..wanted + 20);
        wanted += 20;
    }
    stage.bus.publish(event("Batch", wanted)).unwrap();
    eventually("both have everything", || (a.count(), b.count()) == (wanted + 1, wanted + 1)).await;
    for partner in [&a, &b, &c] {
        let times = times(partner);
        assert!(times.values().all(|times| *times == 1), "{times:?}");
    }
    // What was parked when it went waits for it.
    stage.reload(&(stays.clone() + &endpoint("b", &b, "") + &endpoint("c", &c, ""))).await;
    eventually("nothing waits", || stage.ready(&Queue::Parked(name("c"))).is_empty()).await;
    assert!(c.count() > 0);
    stage.done().await;
}

#[actix_rt::test]
async fn the_gauges_of_an_endpoint_go_with_it_and_come_back_with_it() {
    let metrics = lockgate::admin::metrics::install().unwrap();
    let there = |metric: &str| {
        let sample = format!("{metric}{{endpoint=\"leaver\"");
        lockgate::admin::metrics::render(&metrics).lines().any(|line| line.starts_with(&sample))
    };
    let gauges = || {
        let names = ["lockgate_in_flight", "lockgate_breaker_state", "lockgate_endpoint_state"];
        names.into_iter().filter(|name| there(name)).count()
    };
    let (leaver, b) = (Partner::start(Answer::Status(200)), Partner::start(Answer::Status(200)));
    let (going, staying) = (endpoint("leaver", &leaver, ""), endpoint("b", &b, ""));
    let stage = Stage::start(&(going.clone() + &staying));
    stage.publish([1]);
    eventually("it shows itself", || gauges() == 3).await;
    stage.reload(&staying).await;
    eventually("it is gone", || gauges() == 0).await;
    throughout(Duration::from_millis(300), "and stays so", || gauges() == 0).await;
    assert!(there("lockgate_routed_total"), "a sum over all endpoints never falls");
    stage.reload(&(going + &staying)).await;
    eventually("it shows itself again", || gauges() == 3).await;
    stage.done().await;
}
