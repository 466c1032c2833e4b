//! Queues that are deleted, rights that are taken away, queues that take no more.

use std::collections::BTreeSet;
use std::time::Duration;

use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties};

use super::{
    BACK, DEADLINE, bodies, event_id, ids, lines, numbered, rest, rights, source, until_all,
    until_more,
};
use crate::support::http::{Answer, HttpServer};
use crate::support::lockgate::{Configuration, Lockgate};
use crate::support::rabbitmq::{Client, Node, Place, node, rough_node};
use crate::support::{eventually, free_port, on_system};

const KEY: &str = "batch_run_status";

/// Waits until a queue is there; how long that took.
async fn until_there(url: &str, queue: &str) -> Duration {
    let began = tokio::time::Instant::now();
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    eventually(&format!("{queue} is there"), BACK, || async {
        let channel = connection.create_channel().await.unwrap();
        let passive = lapin::options::QueueDeclareOptions { passive: true, ..Default::default() };
        channel.queue_declare(queue.into(), passive, FieldTable::default()).await.ok()
    })
    .await;
    began.elapsed()
}

/// Publishes what RabbitMQ hands back until it takes it: a queue is there before it is bound.
async fn publish_when_bound(platform: &Client, bodies: Vec<Vec<u8>>) {
    for body in bodies {
        eventually("the queue is bound", BACK, || async {
            platform.try_publish("Batch", KEY, &body).await.then_some(())
        })
        .await;
    }
}

#[test]
fn a_source_queue_that_was_deleted_is_declared_anew_or_waited_for() {
    on_system(async {
        for declared_by_us in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let place = node().place();
            let server = HttpServer::start();
            server.answer(|_| Answer::ok().after(Duration::from_millis(10)));
            let platform = Client::connect(&place.url).await;
            let again = async || {
                platform.declare("events", true).await;
                platform.bind("Batch", lapin::ExchangeKind::Topic, "events", "#").await;
            };
            let toml = if declared_by_us {
                source(&place.url)
            } else {
                again().await;
                format!("[source]\nurl = \"{}\"\nqueue = \"events\"\n", place.url)
            };
            let toml = toml + &rest("erp", "*", &server.url("/"));
            let lockgate = Lockgate::start_quiet(&Configuration::write(folder.path(), &toml)).await;
            platform.publish_all("Batch", KEY, bodies(&numbered("before", 1_000))).await;
            until_more(&server).await;
            let before = lockgate.log().len();
            platform.delete("events").await;
            if !declared_by_us {
                eventually("it is told", BACK, || async {
                    lockgate.log().contains("missing on the bus: queue 'events'").then_some(())
                })
                .await;
                tokio::time::sleep(Duration::from_secs(5)).await;
                again().await;
            }
            let there = until_there(&place.url, "events").await;
            let began = tokio::time::Instant::now();
            let after = numbered("after", 200);
            publish_when_bound(&platform, bodies(&after)).await;
            eventually("events flow", BACK, || async {
                ids(&server).iter().any(|id| id.starts_with("after")).then_some(())
            })
            .await;
            println!(
                "declared by us: {declared_by_us}; there after {there:?}, flows {:?} later",
                began.elapsed()
            );
            eventually("all of them", DEADLINE, || async {
                ids(&server).is_superset(&after).then_some(())
            })
            .await;
            lockgate.reconciles().await;
            lockgate.terminate().await;
            let log = lockgate.log();
            let told = lines(&log, before);
            println!("{} lines:\n{}", told.len(), told.join("\n"));
            assert!(told.len() <= 10 && log.contains("its queue was deleted"), "{log}");
            assert_eq!(platform.depth("events").await, 0);
        }
    });
}

#[test]
fn a_parked_queue_that_was_deleted_is_declared_anew_and_its_orphans_come_home() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let place = node().place();
        let (healthy, port) = (HttpServer::start(), free_port());
        let down = format!("http://127.0.0.1:{port}/");
        let toml = source(&place.url)
            + &rest("healthy", "*", &healthy.url("/"))
            + &rest("down", "*", &down);
        let lockgate = Lockgate::start_ready(&Configuration::write(folder.path(), &toml)).await;
        let platform = Client::connect(&place.url).await;
        let before = numbered("before", 50);
        platform.publish_all("Batch", KEY, bodies(&before)).await;
        until_all(&healthy, &before).await;
        eventually("all are kept", DEADLINE, || async {
            (lockgate.metric("lockgate_events_in_flight").await == 0.0).then_some(())
        })
        .await;
        for queue in
            ["lockgate.ep.down.parked", "lockgate.ep.healthy.parked", "lockgate.wait.200ms"]
        {
            platform.delete(queue).await;
        }
        let mut all = numbered("after", 200);
        platform.publish_all("Batch", KEY, bodies(&all)).await;
        for queue in ["lockgate.ep.down.parked", "lockgate.ep.healthy.parked"] {
            println!("{queue} is there again after {:?}", until_there(&place.url, queue).await);
        }
        let back = HttpServer::start_on(port);
        eventually("every event that came after", DEADLINE, || async {
            ids(&back).is_superset(&all).then_some(())
        })
        .await;
        all.extend(before);
        until_all(&healthy, &all).await;
        assert_eq!(healthy.received().len(), all.len(), "the healthy one is not disturbed");
        eventually("no orphan is left", DEADLINE, || async {
            let left = platform.depth("lockgate.orphan").await
                + platform.depth("lockgate.ep.down.parked").await;
            (left == 0).then_some(())
        })
        .await;
        lockgate.reconciles().await;
        lockgate.terminate().await;
        println!("{} of {} at the other one", ids(&back).len(), all.len());
    });
}

/// Leaves the user these rights only, for a while; what is said about it, and how often.
async fn stays_calm_without(
    node: &Node,
    place: &Place,
    lockgate: &Lockgate,
    left: [&str; 3],
) -> String {
    let (before, accepted) = (lockgate.log().len(), node.accepted());
    node.permit(&rights(place), &place.vhost, left);
    node.close_connections(&place.vhost);
    tokio::time::sleep(Duration::from_secs(20)).await;
    let log = lockgate.log();
    let told = lines(&log, before);
    let attempts = node.accepted() - accepted;
    let read = left[2] == "^$";
    let needed = if read { "needed: read on 'events'" } else { "needed: write on 'lockgate." };
    assert!(told.iter().any(|line| line.contains(needed)), "does not say what is needed: {log}");
    let text = told.join("\n");
    assert!(told.len() <= 12 && attempts <= 12, "loud or hot: {attempts} connections, {text}");
    format!("left {left:?}: {} lines, {attempts} connections in 20 s:\n{text}", told.len())
}

#[test]
#[allow(clippy::await_holding_lock, reason = "the node is this test's alone until its end")]
fn lost_rights_are_told_once_with_what_is_needed_and_waited_for() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let node = rough_node();
        let place = node.place();
        let (healthy, broken) = (HttpServer::start(), HttpServer::start());
        healthy.answer(|_| Answer::ok().after(Duration::from_millis(10)));
        broken.answer(|_| Answer::status(503));
        let user = rights(&place);
        node.user(&user, "hush", &place.vhost, [".*", ".*", ".*"]);
        let url = node.url(&format!("{user}:hush"), &place.vhost);
        let toml = source(&url)
            + &rest("healthy", "*", &healthy.url("/"))
            + &rest("broken", "*", &broken.url("/"));
        let lockgate = Lockgate::start_quiet(&Configuration::write(folder.path(), &toml)).await;
        let mut expected = BTreeSet::new();
        for (round, left) in [["", "", ""], [".*", "", ".*"], [".*", ".*", ""]].iter().enumerate() {
            let platform = Client::connect(&place.url).await;
            let some = numbered(&format!("r{round}"), 1_000);
            platform.publish_all("Batch", KEY, bodies(&some)).await;
            expected.extend(some);
            until_more(&healthy).await;
            let left = left.map(|right| if right.is_empty() { "^$" } else { right });
            println!("{}", stays_calm_without(&node, &place, &lockgate, left).await);
            node.permit(&user, &place.vhost, [".*", ".*", ".*"]);
            let began = tokio::time::Instant::now();
            lockgate.ready().await;
            let platform = Client::connect(&place.url).await;
            let more = numbered(&format!("m{round}"), 50);
            platform.publish_all("Batch", KEY, bodies(&more)).await;
            expected.extend(more);
            let mark = format!("m{round}-");
            eventually("events flow", BACK, || async {
                ids(&healthy).iter().any(|id| id.starts_with(&mark)).then_some(())
            })
            .await;
            println!("flows {:?} after the rights are back", began.elapsed());
        }
        until_all(&healthy, &expected).await;
        broken.answer(|_| Answer::ok());
        until_all(&broken, &expected).await;
        lockgate.reconciles().await;
        lockgate.terminate().await;
        let log = lockgate.log();
        assert!(!log.contains("hush") && !log.contains(&user), "{log}");
    });
}

#[test]
fn a_full_queue_keeps_the_rest_on_the_bus_is_told_once_and_costs_nothing() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let place = node().place();
        let port = free_port();
        let platform = Client::connect(&place.url).await;
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(5));
        arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
        platform.declare_with("lockgate.ep.down.parked", arguments).await;
        let down = format!("http://127.0.0.1:{port}/");
        let toml = source(&place.url)
            + "topology = \"declare\"\n"
            // No attempts: RabbitMQ, which brings back what waits for another, tries again a full
            // queue only every three minutes.
            + &rest("down", "*", &down).replace("max_in_flight", "enabled = false\nmax_in_flight");
        let lockgate = Lockgate::start_quiet(&Configuration::write(folder.path(), &toml)).await;
        let expected = numbered("e", 300);
        platform.publish_all("Batch", KEY, bodies(&expected)).await;
        eventually("it is told", DEADLINE, || async {
            lockgate.log().contains("storing fails").then_some(())
        })
        .await;
        let (cpu, before) = (cpu_ticks(lockgate.pid()), lockgate.log().len());
        tokio::time::sleep(Duration::from_secs(10)).await;
        let (spent, log) = (cpu_ticks(lockgate.pid()) - cpu, lockgate.log());
        let told = lines(&log, before).len();
        println!(
            "10 s of refused stores: {spent} ticks of 10 ms, {told} lines after the first:\n{log}"
        );
        assert!(spent < 500, "half a core: it spins");
        assert!(told <= 1, "{log}");
        assert_eq!(log.matches("storing fails").count(), 1, "{log}");
        assert!(lockgate.metric("lockgate_events_in_flight").await >= 250.0);
        // The operator makes room.
        let kept = std::cell::RefCell::new(BTreeSet::new());
        eventually("everything has been stored", DEADLINE, || async {
            let some = platform.drain("lockgate.ep.down.parked").await;
            kept.borrow_mut().extend(some.iter().map(event_id));
            (*kept.borrow() == expected).then_some(())
        })
        .await;
        lockgate.reconciles().await;
        lockgate.terminate().await;
        assert_eq!(platform.depth("events").await, 0);
    });
}

/// The processor time of a process, in hundredths of a second.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
