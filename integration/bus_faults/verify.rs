//! Queues that lockgate may not declare, and that are not there.

use std::time::Duration;

use lockgate::bus::topology::{Names, SourceQueue, definitions, objects};
use lockgate::domain::names::Name;

use super::{BACK, DEADLINE, bodies, ids, numbered, rest, until_all};
use crate::support::http::HttpServer;
use crate::support::lockgate::{Configuration, Lockgate};
use crate::support::rabbitmq::{Client, Place, node};
use crate::support::{eventually, on_system};

const KEY: &str = "batch_run_status";

async fn declare(place: &Place, endpoints: &[&str]) {
    let names = Names::new("lockgate");
    let endpoints: Vec<Name> = endpoints.iter().map(|name| name.parse().unwrap()).collect();
    let rungs = [Duration::from_millis(200), Duration::from_millis(500)];
    let source = SourceQueue { queue: "events".into(), bindings: Vec::new() };
    let all = objects(&names, &source, &endpoints, &rungs);
    let file = definitions(&all, &place.vhost).to_string();
    tokio::task::spawn_blocking(move || node().import(&file)).await.unwrap();
}

#[test]
fn an_endpoint_without_queues_waits_and_the_others_do_not() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let place = node().place();
        let (there, missing) = (HttpServer::start(), HttpServer::start());
        let platform = Client::connect(&place.url).await;
        platform.declare("events", true).await;
        platform.bind("Batch", lapin::ExchangeKind::Topic, "events", "#").await;
        let toml = format!(
            "[source]\nurl = \"{}\"\nqueue = \"events\"\ntopology = \"verify\"\nprefetch = 100\n{}{}",
            place.url,
            rest("there", "*", &there.url("/")),
            rest("missing", "*", &missing.url("/"))
        );
        let lockgate = Lockgate::start(&Configuration::write(folder.path(), &toml));
        // Nothing of what all endpoints need is there yet.
        eventually("it says what is missing", DEADLINE, || async {
            let log = lockgate.log();
            (log.contains("'lockgate.park'") && log.contains("lockgate topology")).then_some(())
        })
        .await;
        declare(&place, &["there"]).await;
        lockgate.ready().await;

        let few = numbered("few", 40);
        platform.publish_all("Batch", KEY, bodies(&few)).await;
        until_all(&there, &few).await;
        eventually("those 40 are unsettled", BACK, || async {
            let held = lockgate.metric("lockgate_events_in_flight").await;
            (39.5..40.5).contains(&held).then_some(())
        })
        .await;
        assert_eq!(platform.depth("lockgate.orphan").await, 0);
        let log = lockgate.log();
        let told: Vec<&str> = log.lines().filter(|l| l.contains("ep.missing.parked")).collect();
        assert!(told.iter().any(|line| line.contains("lockgate topology")), "{log}");

        // More than may be unacknowledged: the others must not wait for it.
        let mut all = numbered("many", 400);
        platform.publish_all("Batch", KEY, bodies(&all)).await;
        all.extend(few);
        until_all(&there, &all).await;
        assert_eq!((there.received().len(), missing.received().len()), (440, 0));
        println!("the other has all; {} kept as orphans", platform.depth("lockgate.orphan").await);

        let began = tokio::time::Instant::now();
        declare(&place, &["missing"]).await;
        eventually("it gets events", BACK, || async { (!ids(&missing).is_empty()).then_some(()) })
            .await;
        println!("flows {:?} after its queues were declared", began.elapsed());
        until_all(&missing, &all).await;
        eventually("nothing waits", DEADLINE, || async {
            let waiting = platform.depth("lockgate.orphan").await
                + platform.depth("lockgate.ep.missing.parked").await;
            let held = lockgate.metric("lockgate_events_in_flight").await;
            (waiting == 0 && held == 0.0).then_some(())
        })
        .await;
        assert_eq!((missing.received().len(), there.received().len()), (440, 440), "each once");
        lockgate.reconciles().await;
        lockgate.terminate().await;
    });
}
