//! RabbitMQ is away, frozen, or takes no publishes.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{
    BACK, DEADLINE, bodies, event_id, ids, lines, numbered, rest, source, until_all, until_more,
};
use crate::support::http::{Answer, HttpServer};
use crate::support::lockgate::{Configuration, Lockgate};
use crate::support::rabbitmq::{Client, rough_node};
use crate::support::{eventually, free_port, on_system};

const KEY: &str = "batch_run_status";

#[test]
#[allow(clippy::await_holding_lock, reason = "the node is this test's alone until its end")]
fn five_kills_of_rabbitmq_under_load_lose_nothing() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let node = rough_node();
        let place = node.place();
        let steady = HttpServer::start();
        steady.answer(|_| Answer::ok().after(Duration::from_millis(20)));
        let down = format!("http://127.0.0.1:{}/", free_port());
        let toml = source(&place.url)
            + &rest("steady", "*", &steady.url("/"))
            + &rest("down", "sometimes", &down);
        let lockgate = Lockgate::start_ready(&Configuration::write(folder.path(), &toml)).await;
        let (mut expected, mut wanted) = (BTreeSet::new(), BTreeSet::new());
        for round in 0..5 {
            node.save_tables();
            let platform = Client::connect(&place.url).await;
            let some = numbered(&format!("r{round}"), 800);
            let (sometimes, others): (BTreeSet<_>, BTreeSet<_>) =
                some.iter().cloned().partition(|id| id.ends_with('7'));
            platform.publish_all("Batch", KEY, bodies(&others)).await;
            platform.publish_all("Batch", "sometimes", bodies(&sometimes)).await;
            wanted.extend(sometimes);
            expected.extend(some);
            until_more(&steady).await;
            node.kill();
            node.restart();
            let back = until_more(&steady).await;
            println!("kill {round}: flows again {back:?} after RabbitMQ is back");
        }
        until_all(&steady, &expected).await;
        let platform = Client::connect(&place.url).await;
        eventually("the source is empty", DEADLINE, || async {
            let empty = platform.depth("events").await == 0;
            (empty && lockgate.metric("lockgate_events_in_flight").await == 0.0).then_some(())
        })
        .await;
        lockgate.reconciles().await;
        lockgate.terminate().await;
        let kept = std::cell::RefCell::new(Vec::new());
        let distinct = || kept.borrow().iter().map(event_id).collect::<BTreeSet<_>>();
        eventually("every event kept for the dead endpoint", DEADLINE, || async {
            let more = platform.drain("lockgate.ep.down.parked").await;
            kept.borrow_mut().extend(more);
            (distinct() == wanted).then_some(())
        })
        .await;
        println!(
            "5 kills, {} events: 0 lost, {} repeats delivered, {} stored twice",
            expected.len(),
            steady.received().len() - expected.len(),
            kept.borrow().len() - wanted.len()
        );
        assert_eq!(platform.depth("lockgate.ep.down.dead").await, 0);
        assert_eq!(platform.depth("lockgate.rejected").await, 0);
    });
}

#[test]
#[allow(clippy::await_holding_lock, reason = "the node is this test's alone until its end")]
fn a_memory_alarm_holds_up_only_what_cannot_be_delivered() {
    const EVENTS: usize = 9_000;
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let node = rough_node();
        let place = node.place();
        let (healthy, broken) = (HttpServer::start(), HttpServer::start());
        // Some 200 events a second: the backlog outlasts the alarm.
        healthy.answer(|_| Answer::ok().after(Duration::from_millis(20)));
        broken.answer(|_| Answer::status(503));
        let toml = source(&place.url)
            + &rest("healthy", "*", &healthy.url("/"))
            + &rest("broken", "sometimes", &broken.url("/"));
        let configuration = Configuration::write(folder.path(), &toml);
        // Declares everything; the backlog comes before the flow.
        let first = Lockgate::start_ready(&configuration).await;
        first.terminate().await;
        let platform = Client::connect(&place.url).await;
        let all = numbered("e", EVENTS);
        let wanted: BTreeSet<String> = all.iter().step_by(20).cloned().collect();
        for (n, some) in all.iter().collect::<Vec<_>>().chunks(20).enumerate() {
            assert!(wanted.contains(some[0]), "{n}");
            platform.publish_all("Batch", "sometimes", bodies([some[0]])).await;
            platform.publish_all("Batch", KEY, bodies(some[1..].iter().copied())).await;
        }
        let lockgate = Lockgate::start_ready(&configuration).await;
        until_more(&healthy).await;
        node.alarm(true);
        let mut seen = vec![healthy.received().len()];
        for _ in 0..6 {
            tokio::time::sleep(Duration::from_secs(5)).await;
            seen.push(healthy.received().len());
        }
        let held = lockgate.metric("lockgate_events_in_flight").await;
        let log = lockgate.log();
        node.alarm(false);
        println!("healthy, every 5 s of the alarm: {seen:?}; {held} events unacknowledged");
        assert!(seen.windows(2).all(|pair| pair[1] > pair[0]), "{seen:?}");
        assert!(seen[6] < EVENTS, "the backlog did not outlast the alarm");
        let told = log.lines().filter(|line| line.contains("storing fails")).count();
        assert_eq!(told, 1, "{log}");
        until_all(&healthy, &all).await;
        eventually("all is acknowledged", DEADLINE, || async {
            (lockgate.metric("lockgate_events_in_flight").await == 0.0).then_some(())
        })
        .await;
        assert_eq!(healthy.received().len(), EVENTS, "no repeat");
        lockgate.reconciles().await;
        lockgate.terminate().await;
        let kept = platform.take("lockgate.ep.broken.parked", wanted.len()).await;
        let distinct: BTreeSet<String> = kept.iter().map(event_id).collect();
        println!("{} of {} kept for the broken endpoint, each once", kept.len(), wanted.len());
        assert_eq!((kept.len(), distinct), (wanted.len(), wanted));
    });
}

#[test]
#[allow(clippy::await_holding_lock, reason = "the node is this test's alone until its end")]
fn an_outage_is_told_in_a_few_lines_with_its_cause_and_its_end() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let node = rough_node();
        let place = node.place();
        let (steady, flaky) = (HttpServer::start(), HttpServer::start());
        steady.answer(|_| Answer::ok().after(Duration::from_millis(20)));
        flaky.answer(|_| Answer::status(503).after(Duration::from_millis(20)));
        let toml = source(&place.url)
            + &rest("steady", "*", &steady.url("/"))
            + &rest("other", "*", &steady.url("/other"))
            + &rest("flaky", "*", &flaky.url("/"));
        let lockgate = Lockgate::start_quiet(&Configuration::write(folder.path(), &toml)).await;
        node.save_tables();
        let platform = Client::connect(&place.url).await;
        let expected = numbered("e", 2_000);
        platform.publish_all("Batch", KEY, bodies(&expected)).await;
        until_more(&steady).await;
        let before = lockgate.log().len();
        node.kill();
        tokio::time::sleep(Duration::from_secs(20)).await;
        node.restart();
        lockgate.ready().await;
        until_all(&steady, &expected).await;
        let log = lockgate.log();
        // The state of endpoints is another matter: the flaky one goes its own ways.
        let told: Vec<&str> = lines(&log, before)
            .into_iter()
            .filter(|line| !line.contains("endpoint state"))
            .collect();
        println!("{} lines in an outage of 20 s:\n{}", told.len(), told.join("\n"));
        assert!(told.len() <= 10, "too many");
        let with = |text: &str| told.iter().filter(|line| line.contains(text)).count();
        assert_eq!(with("the source's consumer was lost"), 1);
        assert_eq!(with("consuming from the source"), 1);
        assert!(with("connection refused") >= 1, "the cause is told");
        lockgate.reconciles().await;
        lockgate.terminate().await;
    });
}

#[test]
#[allow(clippy::await_holding_lock, reason = "the node is this test's alone until its end")]
fn a_frozen_connection_is_noticed_by_its_heartbeat_and_replaced() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let node = rough_node();
        let place = node.place();
        let steady = HttpServer::start();
        steady.answer(|_| Answer::ok().after(Duration::from_millis(10)));
        let down = format!("http://127.0.0.1:{}/", free_port());
        let toml = source(&place.url)
            + "heartbeat = \"5s\"\n"
            + &rest("steady", "*", &steady.url("/"))
            + &rest("down", "*", &down);
        let lockgate = Lockgate::start_quiet(&Configuration::write(folder.path(), &toml)).await;
        let mut expected = numbered("before", 2_000);
        let platform = Client::connect(&place.url).await;
        platform.publish_all("Batch", KEY, bodies(&expected)).await;
        until_more(&steady).await;
        let before = lockgate.log().len();
        node.freeze(true);
        tokio::time::sleep(Duration::from_secs(25)).await;
        let log = lockgate.log();
        let noticed = lines(&log, before).join("\n");
        node.freeze(false);
        assert!(noticed.contains("no heartbeat from the broker"), "{noticed}");
        lockgate.ready().await;
        let platform = Client::connect(&place.url).await;
        let after = numbered("after", 100);
        let began = tokio::time::Instant::now();
        platform.publish_all("Batch", KEY, bodies(&after)).await;
        eventually("events flow again", BACK, || async {
            ids(&steady).iter().any(|id| id.starts_with("after")).then_some(())
        })
        .await;
        println!("frozen for 25 s; flows again {:?} after a publish:\n{noticed}", began.elapsed());
        expected.extend(after);
        until_all(&steady, &expected).await;
        lockgate.reconciles().await;
        lockgate.terminate().await;
        let repeats = steady.received().len() - expected.len();
        println!("{} events: 0 lost, {repeats} repeated", expected.len());
    });
}
