//! Faults, end to end: endpoints that are down or refuse, messages that are no event, kills of the
//! product and of RabbitMQ. Nothing is lost, whatever happens.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lockgate::domain::delivery::{HeaderValue, Message, Properties};

use super::support::http::{Answer, HttpServer, Request};
use super::support::lockgate::{Configuration, Lockgate};
use super::support::rabbitmq::{Client, Place, node, rough_node};
use super::support::{eventually, free_port, on_system};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(90);
/// Events of the kill test.
const EVENTS: usize = 3_000;
/// Kills of the kill test.
const KILLS: usize = 5;

fn source(place: &Place) -> String {
    format!(
        "[source]\nurl = \"{}\"\nqueue = \"events\"\n\
         bindings = [{{ exchange = \"Batch\", type = \"topic\", routing_key = \"#\" }}]\n",
        place.url
    )
}

fn rest(name: &str, url: &str) -> String {
    format!(
        "[endpoints.{name}]\nevents = [\"*/*\"]\n\
         retry = {{ schedule = [\"200ms\", \"500ms\"] }}\n\
         breaker = {{ open = \"500ms\", open_max = \"1s\", misconfigured_open = \"500ms\", misconfigured_open_max = \"1s\" }}\n\
         [endpoints.{name}.rest]\nurl = \"{url}\"\nnon_2xx = \"retry\"\ntimeout = \"5s\"\n"
    )
}

fn body(id: &str) -> Vec<u8> {
    format!(r#"{{"event_id":"{id}","batch":"B-7"}}"#).into_bytes()
}

async fn publish(platform: &Client, id: &str) {
    platform.publish("Batch", "batch_run_status", Properties::default(), &body(id)).await;
}

fn ids(received: &[Request]) -> BTreeSet<String> {
    received.iter().map(|r| r.header("x-request-id").unwrap().to_owned()).collect()
}

async fn until_all(server: &HttpServer, expected: &BTreeSet<String>) {
    eventually("every event at the server", DEADLINE, || async {
        (ids(&server.received()).is_superset(expected)).then_some(())
    })
    .await;
    assert_eq!(&ids(&server.received()), expected);
}

fn text(message: &Message, header: &str) -> String {
    match message.header(header) {
        Some(HeaderValue::LongString(value)) => value.to_string(),
        Some(HeaderValue::LongUInt(value)) => value.to_string(),
        other => panic!("{header}: {other:?}"),
    }
}

#[test]
fn an_endpoint_that_was_down_gets_every_event_afterwards() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let place = node().place();
        let (healthy, port) = (HttpServer::start(), free_port());
        let toml = format!(
            "{}{}{}",
            source(&place),
            rest("up", &healthy.url("/")),
            rest("down", &format!("http://127.0.0.1:{port}/"))
        );
        let lockgate = Lockgate::start_ready(&Configuration::write(folder.path(), &toml)).await;
        let platform = Client::connect(&place.url).await;
        let expected: BTreeSet<String> = (0..200).map(|n| format!("e-{n}")).collect();
        for id in &expected {
            publish(&platform, id).await;
        }
        // The healthy one is not disturbed, and the bus is not held up.
        until_all(&healthy, &expected).await;
        eventually("the source is empty", DEADLINE, || async {
            (lockgate.metric("lockgate_events_acknowledged_total").await >= 200.0).then_some(())
        })
        .await;
        assert_eq!(healthy.received().len(), expected.len(), "no repeat without a fault");
        let back = HttpServer::start_on(port);
        until_all(&back, &expected).await;
        for request in back.received() {
            let id = request.header("x-request-id").unwrap();
            assert_eq!(request.body, body(id), "the bytes are the same after parking");
        }
        lockgate.reconciles().await;
        lockgate.terminate().await;
        assert_eq!(platform.depth("lockgate.ep.down.parked").await, 0);
        assert_eq!(platform.depth("lockgate.ep.down.dead").await, 0);
        assert_eq!(back.received().len(), expected.len(), "no repeat without a fault");
    });
}

#[test]
fn a_refused_event_is_a_dead_letter_with_reason_attempts_and_times() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let place = node().place();
        let server = HttpServer::start();
        server.answer(|request| {
            let bad = request.header("x-request-id").is_some_and(|id| id.starts_with("bad"));
            Answer::status(if bad { 400 } else { 200 })
        });
        let toml = format!("{}{}", source(&place), rest("erp", &server.url("/")));
        let lockgate = Lockgate::start_ready(&Configuration::write(folder.path(), &toml)).await;
        let platform = Client::connect(&place.url).await;
        for id in ["bad-1", "good-1", "bad-2", "good-2"] {
            publish(&platform, id).await;
        }
        let dead = platform.take("lockgate.ep.erp.dead", 2).await;
        eventually("all four were tried", DEADLINE, || async {
            (server.received().len() >= 4).then_some(())
        })
        .await;
        lockgate.terminate().await;
        let found: BTreeSet<String> = dead.iter().map(|m| text(m, "lockgate-event-id")).collect();
        assert_eq!(found, BTreeSet::from(["bad-1".to_owned(), "bad-2".to_owned()]));
        for message in &dead {
            assert_eq!(message.body, body(&text(message, "lockgate-event-id")));
            assert_eq!(text(message, "lockgate-reason"), "http_400");
            assert_eq!(text(message, "lockgate-attempts"), "1");
            assert_eq!(text(message, "lockgate-source-exchange"), "Batch");
            assert_eq!(text(message, "lockgate-source-routing-key"), "batch_run_status");
            assert!(text(message, "lockgate-last-error").contains("400"));
            let time = |name: &str| text(message, name).parse::<jiff::Timestamp>().unwrap();
            assert!(time("lockgate-received-at") <= time("lockgate-first-attempt-at"));
            assert_eq!(time("lockgate-first-attempt-at"), time("lockgate-last-attempt-at"));
        }
        assert_eq!(ids(&server.received()).len(), 4);
        assert_eq!(server.received().len(), 4, "a permanent failure is not tried again");
    });
}

#[test]
fn what_is_no_event_is_kept_with_its_reason_and_holds_nothing_up() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let place = node().place();
        let server = HttpServer::start();
        let toml = format!(
            "{}max_event_bytes = \"1KiB\"\n{}",
            source(&place),
            rest("erp", &server.url("/"))
        );
        let lockgate = Lockgate::start_ready(&Configuration::write(folder.path(), &toml)).await;
        let platform = Client::connect(&place.url).await;
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(128), "]".repeat(128));
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(2_000));
        let malformed: [&[u8]; 10] = [
            b"",
            b"not json",
            b"[1]",
            b"\"x\"",
            b"{\"a\":",
            b"{\"a\":1} x",
            b"{\"a\":\"\xff\"}",
            b"{'a':1}",
            deep.as_bytes(),
            large.as_bytes(),
        ];
        for bytes in malformed {
            platform.publish("Batch", "batch_run_status", Properties::default(), bytes).await;
        }
        for id in ["after-1", "after-2"] {
            publish(&platform, id).await;
        }
        until_all(&server, &["after-1", "after-2"].map(str::to_owned).into()).await;
        let rejected = platform.take("lockgate.rejected", malformed.len()).await;
        lockgate.terminate().await;
        assert_eq!(platform.depth("events").await, 0);
        let bodies: BTreeSet<Vec<u8>> = rejected.iter().map(|m| m.body.to_vec()).collect();
        assert_eq!(bodies, malformed.iter().map(|bytes| bytes.to_vec()).collect());
        let reasons: BTreeSet<String> =
            rejected.iter().map(|m| text(m, "lockgate-reason")).collect();
        assert!(reasons.len() >= 5, "each kind has its own reason: {reasons:?}");
        assert!(reasons.iter().all(|reason| !reason.is_empty()));
    });
}

#[test]
fn nothing_is_lost_by_kill_9_in_mid_flow() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let place = node().place();
        let (steady, flaky) = (HttpServer::start(), HttpServer::start());
        let turn = Arc::new(AtomicBool::new(false));
        flaky.answer(move |_| {
            let fails = turn.fetch_xor(true, Ordering::Relaxed);
            Answer::status(if fails { 503 } else { 200 }).after(Duration::from_millis(2))
        });
        let toml = format!(
            "{}{}{}",
            source(&place),
            rest("steady", &steady.url("/")),
            rest("flaky", &flaky.url("/"))
        );
        let configuration = Configuration::write(folder.path(), &toml);
        let mut lockgate = Lockgate::start_ready(&configuration).await;
        let platform = Client::connect(&place.url).await;
        let expected: BTreeSet<String> = (0..EVENTS).map(|n| format!("e-{n}")).collect();
        let mut kills = 0;
        for (sent, id) in expected.iter().enumerate() {
            publish(&platform, id).await;
            // A kill when a share of the events has arrived, so that it falls into the flow.
            if kills < KILLS && sent + 1 == (kills + 1) * EVENTS / (KILLS + 1) {
                let before = steady.received().len();
                eventually("events flow", DEADLINE, || async {
                    (steady.received().len() > before || steady.received().len() > sent)
                        .then_some(())
                })
                .await;
                lockgate.kill();
                kills += 1;
                lockgate = Lockgate::start(&configuration);
            }
        }
        assert_eq!(kills, KILLS);
        until_all(&steady, &expected).await;
        until_all(&flaky, &expected).await;
        let repeats = steady.received().len() - EVENTS;
        println!(
            "{EVENTS} events, {KILLS} kills: 0 lost, {repeats} repeats at the steady endpoint"
        );
        eventually("every queue is empty", DEADLINE, || async {
            let waiting = platform.depth("events").await
                + platform.depth("lockgate.ep.flaky.parked").await
                + platform.depth("lockgate.ep.steady.parked").await;
            (waiting == 0).then_some(())
        })
        .await;
        lockgate.reconciles().await;
        lockgate.terminate().await;
        for queue in
            ["events", "lockgate.ep.flaky.dead", "lockgate.ep.steady.dead", "lockgate.rejected"]
        {
            assert_eq!(platform.depth(queue).await, 0, "{queue}");
        }
    });
}

#[test]
#[allow(clippy::await_holding_lock, reason = "the node is this test's alone until its end")]
fn the_bridge_comes_back_alone_when_rabbitmq_was_killed() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let node = rough_node();
        let place = node.place();
        let server = HttpServer::start();
        let toml = format!("{}{}", source(&place), rest("erp", &server.url("/")));
        let lockgate = Lockgate::start_ready(&Configuration::write(folder.path(), &toml)).await;
        let mut expected = BTreeSet::new();
        node.save_tables();
        for round in 0..2 {
            let platform = Client::connect(&place.url).await;
            for n in 0..500 {
                let id = format!("r{round}-{n}");
                publish(&platform, &id).await;
                expected.insert(id);
            }
            node.kill();
            node.restart();
        }
        lockgate.ready().await;
        let platform = Client::connect(&place.url).await;
        publish(&platform, "last").await;
        expected.insert("last".to_owned());
        until_all(&server, &expected).await;
        lockgate.reconciles().await;
        lockgate.terminate().await;
        assert_eq!(platform.depth("events").await, 0);
    });
}

#[test]
fn stopping_under_load_loses_and_repeats_nothing() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let place = node().place();
        let server = HttpServer::start();
        server.answer(|_| Answer::ok().after(Duration::from_millis(20)));
        let down = format!("http://127.0.0.1:{}/", free_port());
        let toml =
            format!("{}{}{}", source(&place), rest("slow", &server.url("/")), rest("down", &down));
        let configuration = Configuration::write(folder.path(), &toml);
        let mut lockgate = Lockgate::start_ready(&configuration).await;
        let platform = Client::connect(&place.url).await;
        let expected: BTreeSet<String> = (0..1_000).map(|n| format!("e-{n}")).collect();
        for (sent, id) in expected.iter().enumerate() {
            publish(&platform, id).await;
            if sent % 300 == 299 {
                lockgate.terminate().await;
                lockgate = Lockgate::start(&configuration);
            }
        }
        until_all(&server, &expected).await;
        eventually("the source is empty", DEADLINE, || async {
            (platform.depth("events").await == 0).then_some(())
        })
        .await;
        lockgate.terminate().await;
        assert_eq!(server.received().len(), expected.len(), "no repeat");
        let kept = platform.drain("lockgate.ep.down.parked").await;
        println!(
            "three stops under load: 0 lost, 0 repeats; {} parked for the dead endpoint",
            kept.len()
        );
    });
}
