//! What an attempt spends its time on, against real servers: each transport tells its steps, in
//! order, and the one in which a partner keeps it waiting.

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use lapin::ExchangeKind;
use lockgate::domain::delivery::{Address, Outcome, Outgoing};
use lockgate::logic::attempt_log::{Phase, Step};
use lockgate::transport::timeline::Timeline;
use lockgate::transport::{Instance, Publisher, amqp, mqtt, rest};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::support::certs;
use super::support::http::{self, Answer, HttpServer, RawPeer};
use super::support::mosquitto::{Mosquitto, PASSWORD, USER};
use super::support::rabbitmq::{Client, place};
use super::support::{eventually, on_system};

const MS: Duration = Duration::from_millis(1);
/// Longer than anything here takes on the slowest machine.
const GENEROUS: Duration = Duration::from_secs(30);

fn instance() -> Instance {
    Instance { id: "test".into() }
}

fn rest(settings: Value) -> Rc<dyn Publisher> {
    let settings: rest::Settings = serde_json::from_value(settings).unwrap();
    rest::publisher(&settings, "erp", &instance()).unwrap()
}

fn mqtt(mut settings: Value) -> Rc<dyn Publisher> {
    settings["username"] = USER.into();
    settings["password"] = PASSWORD.into();
    let settings: mqtt::Settings = serde_json::from_value(settings).unwrap();
    mqtt::publisher(&settings, "scada", &instance()).unwrap()
}

fn amqp(settings: Value) -> Rc<dyn Publisher> {
    let settings: amqp::Settings = serde_json::from_value(settings).unwrap();
    amqp::publisher(&settings, "partner", &instance()).unwrap()
}

/// One attempt, as an endpoint makes it. Its steps take no longer than itself.
async fn attempt(publisher: &Rc<dyn Publisher>, address: Address) -> (Outcome, Vec<Phase>) {
    let outgoing = Outgoing {
        event_id: "e-1".into(),
        event_name: "a.b".into(),
        address,
        body: "{}".into(),
        trace: None,
    };
    let (timeline, began) = (Timeline::default(), Instant::now());
    let outcome = timeline.scope(Rc::clone(publisher).publish(Rc::new(outgoing))).await;
    let phases = timeline.take();
    let took = began.elapsed();
    let spent: Duration = phases.iter().map(|phase| phase.took).sum();
    assert!(spent <= took && took < GENEROUS, "{took:?} of {phases:?}");
    (outcome, phases)
}

async fn delivers(publisher: &Rc<dyn Publisher>, address: Address) -> Vec<Phase> {
    let (outcome, phases) = attempt(publisher, address).await;
    assert!(matches!(outcome, Outcome::Delivered { .. }), "{outcome:?} after {phases:?}");
    phases
}

async fn times_out(publisher: &Rc<dyn Publisher>, address: Address) -> Vec<Phase> {
    let (outcome, phases) = attempt(publisher, address).await;
    let Outcome::Failed(failure) = outcome else { panic!("delivered") };
    assert_eq!(failure.reason, "timeout", "{failure:?} after {phases:?}");
    phases
}

fn topic() -> Address {
    Address::Topic("a/b".into())
}

fn steps(phases: &[Phase]) -> Vec<Step> {
    phases.iter().map(|phase| phase.step).collect()
}

fn took(phases: &[Phase], step: Step) -> Duration {
    phases.iter().filter(|phase| phase.step == step).map(|phase| phase.took).sum()
}

#[test]
fn an_exchange_over_https_tells_every_step_and_the_next_one_none_of_connecting() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let certs = certs::make(folder.path());
        let server = HttpServer::start_tls(&certs);
        let publisher =
            rest(json!({ "url": server.url("/"), "tls": { "ca_file": certs.ca.clone() } }));
        let exchange = [Step::Publish, Step::FirstByte, Step::Body];
        let first = delivers(&publisher, Address::Url).await;
        let connecting = [Step::Resolve, Step::Connect, Step::Tls];
        assert_eq!(steps(&first), [connecting, exchange].concat());
        // An idle connection is used again within seconds; a machine may take longer.
        let reused = || async {
            let again = delivers(&publisher, Address::Url).await;
            (steps(&again) == exchange).then_some(())
        };
        eventually("the connection is used again", GENEROUS, reused).await;
    });
}

#[test]
fn a_partner_that_thinks_shows_in_first_byte_and_one_that_talks_slowly_in_body() {
    on_system(async {
        let server = HttpServer::start();
        let delay = 400 * MS;
        server.answer(move |_| Answer::ok().after(delay));
        let phases = delivers(&rest(json!({ "url": server.url("/") })), Address::Url).await;
        let exchange = [Step::Resolve, Step::Connect, Step::Publish, Step::FirstByte, Step::Body];
        assert_eq!(steps(&phases), exchange);
        // The partner's time runs from the last byte that is written, which is noted a moment later.
        let (written, first_byte) = (took(&phases, Step::Publish), took(&phases, Step::FirstByte));
        assert!(written + first_byte >= delay && first_byte >= delay / 2, "{phases:?}");
        let peer = RawPeer::start(|_| {
            let head = http::write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
            vec![http::Step::Read, head, http::Step::Trickle(b"slow".into(), 100 * MS)]
        });
        let phases = delivers(&rest(json!({ "url": peer.url("/") })), Address::Url).await;
        assert_eq!(steps(&phases), exchange);
        assert!(took(&phases, Step::Body) >= 200 * MS, "{phases:?}");
    });
}

#[test]
fn a_partner_that_never_answers_is_given_up_in_first_byte() {
    on_system(async {
        let peer = RawPeer::start(|_| vec![http::Step::Read, http::Step::Hang]);
        let publisher = rest(json!({ "url": peer.url("/"), "timeout": "2s" }));
        let phases = times_out(&publisher, Address::Url).await;
        let expected = [Step::Resolve, Step::Connect, Step::Publish, Step::FirstByte];
        assert_eq!(steps(&phases), expected);
        assert!(took(&phases, Step::FirstByte) >= 100 * MS, "{phases:?}");
        peer.release();
    });
}

#[test]
fn every_redirect_repeats_the_steps_up_to_sixteen() {
    on_system(async {
        let server = HttpServer::start();
        server.answer(|request| match request.path.trim_start_matches('/').parse::<u8>() {
            Ok(hop) if hop < 8 => Answer::redirect(307, format!("/{}", hop + 1)),
            _ => Answer::ok(),
        });
        let publisher = rest(json!({ "url": server.url("/7") }));
        let phases = delivers(&publisher, Address::Url).await;
        let exchanges = phases.iter().filter(|phase| phase.step == Step::FirstByte).count();
        assert_eq!((exchanges, server.received().len()), (2, 2), "{phases:?}");
        let publisher = rest(json!({ "url": server.url("/0") }));
        assert_eq!(delivers(&publisher, Address::Url).await.len(), 16);
        assert_eq!(server.received().len(), 2 + 9);
    });
}

#[test]
fn mqtt_tells_the_four_steps_of_each_publish_in_both_kinds_of_session() {
    on_system(async {
        let broker = Mosquitto::start().await;
        let tls = json!({ "ca_file": broker.certs.ca });
        let publishing = [Step::Publish, Step::Pubrec, Step::Pubcomp];
        for scheme in ["mqtt", "mqtts", "ws"] {
            let settings = if scheme == "mqtts" {
                json!({ "url": broker.url(scheme), "tls": tls })
            } else {
                json!({ "url": broker.url(scheme) })
            };
            let phases = delivers(&mqtt(settings), topic()).await;
            assert_eq!(steps(&phases), [&[Step::Connect][..], &publishing].concat(), "{scheme}");
            assert!(!took(&phases, Step::Connect).is_zero());
        }
        let publisher = mqtt(json!({ "url": broker.url("mqtt"), "session": "persistent" }));
        // Side by side on one connection: none takes the steps of another.
        for round in 0..3 {
            let all = join_all((0..20).map(|_| delivers(&publisher, topic()))).await;
            for phases in all {
                let expected = [&[Step::Queue][..], &publishing].concat();
                assert_eq!(steps(&phases), expected, "round {round}");
            }
        }
        publisher.close().await;
    });
}

#[test]
fn a_broker_that_falls_silent_is_given_up_in_the_step_that_it_left_open() {
    on_system(async {
        let broker = Mosquitto::start().await;
        let lasting = mqtt(json!({
            "url": broker.url("mqtt"), "session": "persistent",
            "connect_timeout": "20s", "publish_timeout": "2s",
        }));
        delivers(&lasting, topic()).await;
        let each = mqtt(json!({ "url": broker.url("mqtt"), "connect_timeout": "500ms" }));
        broker.freeze();
        let phases = times_out(&lasting, topic()).await;
        assert_eq!(steps(&phases), [Step::Queue, Step::Publish, Step::Pubrec]);
        assert!(took(&phases, Step::Pubrec) >= 100 * MS, "{phases:?}");
        let phases = times_out(&each, topic()).await;
        assert_eq!(steps(&phases), [Step::Connect]);
        assert!(took(&phases, Step::Connect) >= 400 * MS, "{phases:?}");
        broker.thaw();
        lasting.close().await;
    });
}

#[test]
fn who_waits_for_a_place_at_the_broker_shows_it() {
    on_system(async {
        let broker = Mosquitto::start().await;
        let one_place =
            json!({ "url": broker.url("mqtt"), "client_id": "line", "client_id_exact": true });
        let publisher = mqtt(one_place);
        let all = join_all((0..5).map(|_| delivers(&publisher, topic()))).await;
        let waited = all.iter().filter(|phases| phases[0].step == Step::Queue).count();
        assert_eq!(waited, 4, "{all:?}");
    });
}

#[test]
fn rabbitmq_tells_connecting_or_waiting_and_the_confirm() {
    on_system(async {
        let place = place();
        let client = Client::connect(&place.url).await;
        client.declare(&place.prefix, true).await;
        client.bind(&place.prefix, ExchangeKind::Topic, &place.prefix, "key").await;
        for (session, before) in [("per-event", Step::Connect), ("persistent", Step::Queue)] {
            let publisher = amqp(json!({ "url": place.url, "session": session }));
            for _ in 0..2 {
                let address =
                    Address::Exchange { exchange: place.prefix.clone(), routing_key: "key".into() };
                let phases = delivers(&publisher, address).await;
                assert_eq!(steps(&phases), [before, Step::Confirm], "{session}");
                assert!(!took(&phases, Step::Confirm).is_zero());
            }
            publisher.close().await;
        }
        assert_eq!(client.depth(&place.prefix).await, 4);
    });
}
