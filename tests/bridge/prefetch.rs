//! The prefetch follows the events' size, and a change of it neither loses nor repeats anything.

use std::collections::HashSet;

use lockgate::domain::delivery::Message;

use super::partner::{Answer, Partner};
use super::stage::{Stage, endpoint, event, eventually, throughout};

const MILLIS: std::time::Duration = std::time::Duration::from_millis(1);

#[actix_rt::test]
async fn small_events_get_all_of_the_prefetch_and_large_ones_a_part_of_it() {
    let partner = Partner::start(Answer::Status(200));
    // It begins with what would fit if all were this large: eight.
    let stage = Stage::automatic(8 << 20, &endpoint("a", &partner, "max_in_flight = 8"));
    stage.publish(0..300);
    eventually("all came", || partner.count() == 300).await;
    partner.answers(Answer::Never);
    stage.publish(300..700);
    eventually("more than fit at first", || stage.bus.unacknowledged() >= 400).await;

    let large: bytes::Bytes = format!(r#"{{"x": "{}"}}"#, "x".repeat(240_000)).into();
    for n in 700..1_050 {
        stage.bus.publish(Message { body: large.clone(), ..event("Batch", n) }).unwrap();
        // As RabbitMQ would hand them out: not all at once.
        if n % 4 == 0 {
            tokio::time::sleep(MILLIS).await;
        }
    }
    // 64 MiB of them are 279, besides the small ones that came before.
    throughout(500 * MILLIS, "bounded", || stage.bus.unacknowledged() <= 400 + 279).await;
    let held = stage.bus.unacknowledged();
    println!("{held} unacknowledged, 400 of them small, of 750");
    partner.answers(Answer::Status(200));
    stage.is_idle().await;
    let ids: HashSet<String> = partner.ids().into_iter().collect();
    assert_eq!((partner.count(), ids.len()), (1_050, 1_050), "each once");
    assert_eq!((stage.acknowledged(), stage.board.source.stale.get()), (1_050, 0));
    stage.done().await;
}

#[actix_rt::test]
async fn a_bus_cut_in_the_middle_of_a_change_loses_nothing() {
    let partner = Partner::start(Answer::After(2 * MILLIS, 200));
    let stage = Stage::automatic(16 << 20, &endpoint("a", &partner, "max_in_flight = 8"));
    stage.publish(0..400);
    for wanted in [14, 16, 17, 20] {
        eventually("it flows", || partner.count() >= wanted).await;
        stage.bus.cut(false);
    }
    stage.is_idle().await;
    let ids: HashSet<String> = partner.ids().into_iter().collect();
    assert_eq!(ids.len(), 400);
    let source = &stage.board.source;
    assert_eq!(source.received.get(), stage.acknowledged() + source.stale.get());
    stage.done().await;
}

#[actix_rt::test]
async fn a_stop_in_the_middle_of_a_change_repeats_nothing() {
    for wanted in [15, 16, 17, 18, 30] {
        let partner = Partner::start(Answer::After(2 * MILLIS, 200));
        let stage = Stage::automatic(16 << 20, &endpoint("a", &partner, "max_in_flight = 8"));
        stage.publish(0..400);
        eventually("it flows", || partner.count() >= wanted).await;
        let (bus, board) = (stage.bus.clone(), stage.board.clone());
        stage.done().await;
        let left = bus.peek(&lockgate::bus::Queue::Source).len();
        let acknowledged = usize::try_from(board.source.acknowledged.get()).unwrap();
        assert_eq!((partner.count(), left), (acknowledged, 400 - acknowledged), "after {wanted}");
    }
}
