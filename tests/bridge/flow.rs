//! What flows: several endpoints, patience, lanes, rates.

use std::collections::HashSet;
use std::time::Duration;

use lockgate::bus::Queue;
use lockgate::logic::parcel;

use super::partner::{Answer, Partner};
use super::stage::{Stage, endpoint, event, eventually, name, throughout};

const MS: Duration = Duration::from_millis(1);

#[actix_rt::test]
async fn a_message_is_acknowledged_when_every_endpoint_has_it() {
    let (fast, slow) = (Partner::start(Answer::Status(200)), Partner::start(Answer::Never));
    let text = endpoint("fast", &fast, "") + &endpoint("slow", &slow, "patience = \"5m\"");
    let stage = Stage::start(&text);
    stage.publish(0..3);
    eventually("the slow one is asked", || fast.count() == 3 && slow.count() == 1).await;
    eventually("one has taken all", || stage.counters("fast").delivered.get() == 3).await;
    throughout(100 * MS, "unacknowledged", || stage.bus.unacknowledged() == 3).await;
    assert_eq!(stage.acknowledged(), 0);
    slow.answers(Answer::Status(204));
    stage.is_idle().await;
    assert_eq!((stage.acknowledged(), fast.count(), slow.count()), (3, 3, 3));
    let bodies: HashSet<String> = slow.requests().into_iter().map(|r| r.body).collect();
    assert!(bodies.contains("{\"n\": 0.0}"), "the bytes as they came");
    assert_eq!(stage.counters("slow").parked.get(), 0);
    stage.done().await;
}

#[actix_rt::test]
async fn what_waits_for_a_hanging_endpoint_is_parked_when_another_has_room() {
    let (fast, slow) = (Partner::start(Answer::Status(200)), Partner::start(Answer::Never));
    let hanging = "max_in_flight = 1\npatience = \"200ms\"";
    let stage = Stage::start(&(endpoint("fast", &fast, "") + &endpoint("slow", &slow, hanging)));
    stage.publish(0..3);
    eventually("two are parked", || stage.counters("slow").parked.get() == 2).await;
    eventually("and acknowledged", || stage.acknowledged() == 2).await;
    stage.publish(3..20);
    eventually("the other goes on", || fast.count() == 20).await;
    eventually("all but the hanging one", || stage.acknowledged() == 19).await;
    assert_eq!((slow.count(), stage.counters("slow").dead.get()), (1, 0));
    slow.answers(Answer::Status(200));
    eventually("all go", || stage.counters("slow").delivered.get() == 20).await;
    stage.is_idle().await;
    let ids: HashSet<String> = slow.ids().into_iter().collect();
    assert_eq!((slow.count(), ids.len()), (20, 20), "each once");
    stage.done().await;
}

#[actix_rt::test]
async fn a_hanging_endpoint_that_is_alone_is_waited_for() {
    let slow = Partner::start(Answer::Never);
    let stage = Stage::start(&endpoint("slow", &slow, "max_in_flight = 1\npatience = \"20ms\""));
    stage.publish(0..3);
    eventually("an attempt", || slow.count() == 1).await;
    throughout(500 * MS, "waited for", || stage.counters("slow").parked.get() == 0).await;
    assert_eq!((stage.bus.unacknowledged(), stage.acknowledged()), (3, 0));
    slow.answers(Answer::Status(200));
    stage.is_idle().await;
    assert_eq!((slow.count(), stage.counters("slow").parked.get()), (3, 0));
    stage.done().await;
}

#[actix_rt::test]
async fn a_disabled_endpoint_parks_and_its_queue_is_left_alone() {
    let partner = Partner::start(Answer::Status(200));
    let stage = Stage::start(&endpoint("off", &partner, "enabled = false"));
    stage.publish(0..10);
    eventually("all are parked", || stage.acknowledged() == 10).await;
    let parked = Queue::Parked(name("off"));
    throughout(300 * MS, "left alone", || stage.ready(&parked).len() == 10).await;
    assert_eq!((partner.count(), stage.health("off").as_str()), (0, "paused"));
    let (message, record) = parcel::unpack(&stage.ready(&parked)[0]).unwrap();
    assert_eq!((record.attempts, record.configuration.as_str()), (0, "off"));
    assert_eq!((&message.body, record.event_id.as_str()), (&event("Batch", 0).body, "Batch-0"));
    stage.done().await;
}

#[actix_rt::test]
async fn what_is_no_event_is_rejected_and_what_nobody_wants_is_acknowledged() {
    let partner = Partner::start(Answer::Status(200));
    let stage = Stage::start(&endpoint("a", &partner, ""));
    let mut broken = event("Batch", 1);
    broken.body = "{\"no\": JSON".into();
    stage.bus.publish(broken.clone()).unwrap();
    stage.bus.publish(event("Unwanted", 1)).unwrap();
    stage.publish([2]);
    eventually("all are acknowledged", || stage.acknowledged() == 3).await;
    let rejected = stage.ready(&Queue::Rejected);
    assert_eq!((rejected.len(), &rejected[0].body), (1, &broken.body));
    assert!(rejected[0].header("lockgate-reason").is_some());
    let source = &stage.board.source;
    assert_eq!((source.rejected.get(), source.unwanted.get(), partner.count()), (1, 1, 1));
    stage.done().await;
}

#[actix_rt::test]
async fn a_rate_limit_is_kept() {
    let partner = Partner::start(Answer::Status(200));
    let stage = Stage::start(&endpoint("a", &partner, "rate_limit = \"20/s\""));
    stage.publish(0..30);
    eventually("all came", || partner.count() == 30).await;
    let requests = partner.requests();
    let first = requests[0].at;
    let within = requests.iter().filter(|r| r.at - first < Duration::from_secs(1)).count();
    assert!(within <= 26, "{within} in the first second");
    assert!(requests[29].at - first >= 1_200 * MS, "30 events at 20/s");
    stage.is_idle().await;
    stage.done().await;
}

#[actix_rt::test]
async fn an_endpoint_held_back_by_its_rate_limit_does_not_hold_back_others() {
    let (fast, slow) = (Partner::start(Answer::Status(200)), Partner::start(Answer::Status(200)));
    // Its patience is longer than the time between two of its events.
    let limited = "rate_limit = \"5/s\"\npatience = \"1s\"";
    let stage = Stage::start(&(endpoint("fast", &fast, "") + &endpoint("slow", &slow, limited)));
    stage.publish(0..150);
    eventually("the other has all", || fast.count() == 150).await;
    assert!(slow.count() < 75, "the other did not wait for it");
    assert!(stage.counters("slow").parked.get() > 0);
    stage.reconciles().await;
    stage.done().await;
}

#[actix_rt::test]
async fn an_endpoint_that_keeps_up_again_is_express_again_under_a_steady_load() {
    let (other, partner) = (Partner::start(Answer::Status(200)), Partner::start(Answer::Never));
    let text = endpoint("a", &partner, "patience = \"100ms\"\nmax_in_flight = 8");
    let stage = Stage::start(&(text + &endpoint("other", &other, "")));
    stage.publish(0..20);
    eventually("it is behind", || stage.counters("a").parked.get() > 0).await;
    // Several are always under way from now on, and it keeps up.
    partner.answers(Answer::After(100 * MS, 200));
    let mut n = 20;
    eventually("it is express again", || {
        n += 1;
        if n % 8 == 0 {
            stage.publish([n]);
        }
        let (shown, held) = (stage.counters("a"), stage.bus.unacknowledged());
        held > 0 && stage.health("a").as_str() == "healthy" && shown.delivered.get() > 25
    })
    .await;
    stage.is_idle().await;
    stage.done().await;
}
