//! Memory: what is taken from the bus at once fits, however large the events are.

use std::collections::BTreeMap;
use std::time::Duration;

use lockgate::domain::delivery::Properties;

use super::alone;
use super::support::http::{Answer, HttpServer};
use super::support::lockgate::{Configuration, Lockgate};
use super::support::rabbitmq::{Client, node};
use super::support::{eventually, on_system};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(400);
/// Events of each size.
const EVENTS: usize = 1_200;
/// What a large event has in bytes: all of them are 480 MB, and less than one prefetch by number.
const LARGE: usize = 400_000;
/// The most that the process may ever need, in MiB.
const MOST: u64 = 300;

/// The memory that a process has now and has had at most, in MiB.
fn resident(pid: u32) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let of = |name: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1_024
    };
    (of("VmRSS:"), of("VmHWM:"))
}

#[test]
fn a_backlog_of_large_events_does_not_fill_the_memory() {
    let _alone = alone();
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let place = node().place();
        let server = HttpServer::start();
        server.answer(|_| Answer::ok().after(Duration::from_millis(50)));
        let toml = format!(
            "[source]\nurl = \"{}\"\nqueue = \"events\"\n\
             [endpoints.erp]\nevents = [\"*/*\"]\nmax_in_flight = 16\npatience = \"5m\"\n\
             [endpoints.erp.rest]\nurl = \"{}\"\nnon_2xx = \"retry\"\n",
            place.url,
            server.url("/")
        );
        let platform = Client::connect(&place.url).await;
        // A classic queue: its messages are on disk, not in the server's memory.
        platform.declare("events", false).await;
        platform.bind("Batch", lapin::ExchangeKind::Topic, "events", "#").await;
        let publish = async |name: &str, size: usize| {
            let filler = "x".repeat(size);
            for n in 0..EVENTS {
                let body = format!(r#"{{"event_id":"{name}-{n}","filler":"{filler}"}}"#);
                let properties = Properties::default();
                platform.publish("Batch", "batch_run_status", properties, body.as_bytes()).await;
            }
        };
        publish("small", 100).await;
        publish("large", LARGE).await;
        publish("last", 100).await;
        let configuration = Configuration::write(folder.path(), &toml);
        let lockgate = Lockgate::start_ready(&configuration).await;
        let idle = resident(lockgate.pid()).0;
        let mut samples = Vec::new();
        eventually("every event at the endpoint", DEADLINE, || {
            samples.push(resident(lockgate.pid()).0);
            let received = server.received().len();
            async move { (received >= 3 * EVENTS).then_some(()) }
        })
        .await;
        let most = resident(lockgate.pid()).1;
        lockgate.reconciles().await;
        let prefetch = lockgate.metric("lockgate_prefetch").await;
        lockgate.terminate().await;
        let mut times = BTreeMap::<String, usize>::new();
        for request in server.received() {
            *times.entry(request.header("x-request-id").unwrap().to_owned()).or_default() += 1;
        }
        let repeated = times.values().filter(|times| **times > 1).count();
        let log = lockgate.log();
        let changes = log.lines().filter(|line| line.contains("prefetch ")).collect::<Vec<_>>();
        println!(
            "{idle} MiB at the start, {most} MiB at most; {} of {} events, {repeated} repeated; \
             prefetch at the end {prefetch}:\n{}",
            times.len(),
            3 * EVENTS,
            changes.join("\n")
        );
        assert_eq!((times.len(), repeated), (3 * EVENTS, 0));
        assert!(most <= MOST, "{most} MiB");
        assert!(changes.iter().any(|line| line.contains("prefetch lowered")));
        assert!(changes.len() <= 20, "it flaps");
        assert_eq!(platform.depth("events").await, 0);
    });
}
