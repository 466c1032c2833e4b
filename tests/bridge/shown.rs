//! What the board shows an operator: the delivery log, rates, depths, since when and until when.

use std::sync::Arc;
use std::time::Duration;

use lockgate::actors::board::Shown;
use lockgate::bus::Queue;
use lockgate::logic::attempt_log::{Attempt, Origin, Step};
use lockgate::world;

use super::partner::{Answer, Partner};
use super::stage::{Stage, endpoint, eventually, name};

const MS: Duration = Duration::from_millis(1);

fn shown(stage: &Stage, endpoint: &str) -> Arc<Shown> {
    stage.board.endpoint(&name(endpoint)).unwrap()
}

fn steps(attempt: &Attempt) -> Vec<Step> {
    let spent: Duration = attempt.phases.iter().map(|phase| phase.took).sum();
    assert!(spent <= attempt.took, "{attempt:?}");
    attempt.phases.iter().map(|phase| phase.step).collect()
}

#[actix_rt::test]
async fn every_attempt_is_in_the_delivery_log_the_newest_first() {
    let partner = Partner::start(Answer::Status(503));
    let began = world::now();
    let stage = Stage::start(&endpoint("a", &partner, "retry = { schedule = [\"200ms\"] }"));
    stage.publish([1]);
    eventually("it waits", || stage.bus.delayed() == 1).await;
    partner.answers(Answer::Status(202));
    eventually("it passes", || stage.counters("a").delivered.get() == 1).await;
    let shown = shown(&stage, "a");
    let attempts = shown.attempts();
    let told = |attempt: &Arc<Attempt>| {
        assert!(attempt.is_of("Batch-1") && attempt.at >= began && attempt.at <= world::now());
        assert_eq!(attempt.event, "batch.batch_run_status");
        (attempt.number, attempt.lane, attempt.outcome, attempt.status)
    };
    assert_eq!(
        attempts.iter().map(told).collect::<Vec<_>>(),
        [(2, Origin::Parked, "delivered", Some(202)), (1, Origin::Express, "transient", Some(503)),]
    );
    assert_eq!(attempts[1].error_type.as_deref(), Some("http_503"));
    assert!(attempts[1].detail.as_deref().unwrap().contains("answered 503"), "{attempts:?}");
    assert!(attempts[0].at > attempts[1].at);
    let first = [Step::Resolve, Step::Connect, Step::Publish, Step::FirstByte, Step::Body];
    assert_eq!(steps(&attempts[1]), first);
    // The second one may have used the connection of the first.
    assert!(steps(&attempts[0]).ends_with(&first[2..]), "{attempts:?}");
    let percentiles = shown.percentiles().unwrap();
    assert!(attempts.iter().any(|attempt| attempt.took == percentiles.p50));
    assert!(shown.rate() > 0.0 && shown.rates().len() == 180);
    stage.is_idle().await;
    stage.done().await;
}

#[actix_rt::test]
async fn a_reused_connection_has_no_phases_of_connecting() {
    let partner = Partner::start(Answer::Status(200));
    let stage = Stage::start(&endpoint("a", &partner, "max_in_flight = 1"));
    stage.publish(0..20);
    eventually("all pass", || stage.counters("a").delivered.get() == 20).await;
    let attempts = shown(&stage, "a").attempts();
    let reused = [Step::Publish, Step::FirstByte, Step::Body];
    assert!(attempts.iter().any(|attempt| steps(attempt) == reused), "{attempts:?}");
    stage.is_idle().await;
    stage.done().await;
}

#[actix_rt::test]
async fn a_slow_answer_is_seen_as_such_and_a_missing_one_too() {
    let (slow, silent) =
        (Partner::start(Answer::After(300 * MS, 200)), Partner::start(Answer::Never));
    let endpoints = endpoint("slow", &slow, "")
        + &endpoint("silent", &silent, "retry = { schedule = [\"1h\"] }")
        + "timeout = \"1500ms\"\n";
    let stage = Stage::start(&endpoints);
    stage.publish([1]);
    eventually("one is delivered", || stage.counters("slow").delivered.get() == 1).await;
    eventually("one waits", || stage.bus.delayed() == 1).await;
    let attempt = Arc::clone(&shown(&stage, "slow").attempts()[0]);
    let first_byte = attempt.phases.iter().find(|phase| phase.step == Step::FirstByte).unwrap();
    // What the partner waits begins when the request is written, which a busy machine notes late.
    assert!(first_byte.took >= 200 * MS && first_byte.took <= attempt.took, "{attempt:?}");
    let attempt = Arc::clone(&shown(&stage, "silent").attempts()[0]);
    assert_eq!(steps(&attempt).last(), Some(&Step::FirstByte), "{attempt:?}");
    assert_eq!((attempt.outcome, attempt.status), ("transient", None));
    assert_eq!(attempt.error_type.as_deref(), Some("timeout"));
    assert!(attempt.took >= 1_500 * MS, "{attempt:?}");
    stage.done().await;
}

#[actix_rt::test]
async fn a_delivery_log_of_none_keeps_none_and_one_of_three_keeps_three() {
    let partner = Partner::start(Answer::Status(200));
    let keeping = |attempts: usize| {
        format!("[admin]\nattempt_log = {attempts}\n") + &endpoint("a", &partner, "")
    };
    for (kept, expected) in [(0, 0), (3, 3)] {
        let stage = Stage::start(&keeping(kept));
        stage.publish(0..5);
        eventually("all pass", || stage.counters("a").delivered.get() == 5).await;
        let shown = shown(&stage, "a");
        assert_eq!(shown.attempts().len(), expected);
        assert!(shown.percentiles().is_some());
        stage.is_idle().await;
        stage.reload(&keeping(2)).await;
        stage.publish(5..10);
        eventually("all pass", || stage.counters("a").delivered.get() == 10).await;
        assert_eq!(shown.attempts().len(), 2, "a reload changes it");
        stage.is_idle().await;
        stage.done().await;
    }
}

#[actix_rt::test]
async fn an_endpoint_that_is_left_alone_shows_why_since_when_and_until_when() {
    let partner = Partner::start(Answer::Status(401));
    let settings = "max_in_flight = 1\nbreaker = { misconfigured_open = \"2s\", misconfigured_open_max = \"2s\" }";
    let began = world::now();
    let stage = Stage::start(&endpoint("a", &partner, settings));
    stage.publish(0..5);
    eventually("all are parked", || stage.acknowledged() == 5).await;
    let shown = shown(&stage, "a");
    eventually("it says when it is tried again", || shown.status().next_probe.is_some()).await;
    let status = shown.status();
    let (error, probe) = (status.last_error.unwrap(), status.next_probe.unwrap());
    assert_eq!(error.reason, "http_401");
    assert!(error.text.contains("http_401") && error.text.contains("credentials"), "{error:?}");
    assert!(error.at >= began && error.at <= world::now());
    let wait = probe.duration_since(error.at).unsigned_abs();
    assert!(wait > 1_500 * MS && wait < 3_500 * MS, "{wait:?} after {error:?}");
    eventually("its depth is seen", || shown.parked.get().is_some_and(|depth| depth > 0)).await;
    partner.answers(Answer::Status(200));
    eventually("all pass", || stage.counters("a").delivered.get() == 5).await;
    eventually("it is not left alone", || shown.status().next_probe.is_none()).await;
    stage.is_idle().await;
    eventually("nothing waits", || shown.parked.get() == Some(0)).await;
    assert_eq!(shown.dead.get(), Some(0));
    stage.done().await;
}

#[actix_rt::test]
async fn the_source_shows_its_pace_its_depth_and_how_long_the_oldest_message_has_been_held() {
    let partner = Partner::start(Answer::Never);
    let stage = Stage::start(&endpoint("a", &partner, "max_in_flight = 1"));
    let source = &stage.board.source;
    assert_eq!((source.oldest_unsettled(), source.depth.get()), (None, None));
    stage.publish([1]);
    let held = || source.oldest_unsettled().is_some_and(|age| age > 300 * MS);
    eventually("it is held", held).await;
    // 50 may be unacknowledged; the rest stays in the queue.
    stage.publish(2..=80);
    eventually("the depth is seen", || source.depth.get() == Some(30)).await;
    assert!(source.oldest_unsettled().unwrap() > 300 * MS, "the first is still the oldest");
    assert!(source.rates().iter().sum::<f64>() > 0.0);
    partner.answers(Answer::Status(200));
    eventually("all pass", || stage.counters("a").delivered.get() == 80).await;
    eventually("nothing is held", || source.oldest_unsettled().is_none()).await;
    assert!(source.rate() > 0.0);
    eventually("nothing is there", || source.depth.get() == Some(0)).await;
    assert!(stage.ready(&Queue::Source).is_empty());
    stage.done().await;
}

#[actix_rt::test]
async fn while_the_bus_is_away_no_depth_is_known_and_nothing_is_held() {
    let partner = Partner::start(Answer::Never);
    let stage = Stage::start(&endpoint("a", &partner, ""));
    let (source, shown) = (&stage.board.source, shown(&stage, "a"));
    stage.publish([1]);
    let known = || [source.depth.get(), shown.parked.get(), shown.dead.get()].map(|d| d.is_some());
    eventually("all depths are known", || known() == [true; 3]).await;
    eventually("one is held", || source.oldest_unsettled().is_some()).await;
    stage.bus.cut(true);
    eventually("no depth is known", || known() == [false; 3]).await;
    eventually("nothing is held", || source.oldest_unsettled().is_none()).await;
    partner.answers(Answer::Status(200));
    stage.bus.restore();
    eventually("all are known again", || known() == [true; 3]).await;
    stage.is_idle().await;
    stage.done().await;
}

#[actix_rt::test]
async fn a_test_is_in_the_delivery_log_with_what_its_time_was_spent_on() {
    let partner = Partner::start(Answer::Status(200));
    let stage = Stage::start(&endpoint("a", &partner, ""));
    let shown = shown(&stage, "a");
    eventually("it has started", || shown.status().since.is_some()).await;
    let organization = lockgate::domain::event::Organization::default();
    let event = lockgate::logic::test_event::test_event(
        ("Batch", "batch_run_status"),
        "test-1".to_owned(),
        world::now(),
        organization,
        "development".to_owned(),
    );
    let tried = stage.controls().test(&name("a"), event).await.unwrap();
    let attempts = shown.attempts();
    assert_eq!(attempts.len(), 1);
    let attempt = &attempts[0];
    assert_eq!((attempt.lane, attempt.outcome, attempt.number), (Origin::Test, "delivered", 1));
    assert_eq!((attempt.took, &attempt.phases), (tried.took, &tried.phases));
    assert!(attempt.is_of("test-1") && steps(attempt).contains(&Step::FirstByte), "{attempt:?}");
    assert_eq!(shown.percentiles(), None, "it counts for nothing");
    assert_eq!(shown.counters.delivered.get(), 0);
    stage.done().await;
}
