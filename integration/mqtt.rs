//! The mqtt transport against a private Mosquitto, and against peers that misbehave by script.

mod losses;
pub mod peer;

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use figment::Figment;
use figment::providers::{Format as _, Toml};
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use lockgate::domain::delivery::{Address, Class, Failure, Outcome, Outgoing};
use lockgate::transport::mqtt::{self, Settings};
use lockgate::transport::{Instance, Publisher};
use tokio::time::{Instant, timeout};

use self::peer::{Peer, Script};
use super::support::mosquitto::{Mosquitto, PASSWORD, USER};
use super::support::{eventually, free_port, on_system};

const SOON: Duration = Duration::from_secs(10);
const SESSIONS: [&str; 2] = ["per-event", "persistent"];

fn publisher(url: &str, more: &str) -> Rc<dyn Publisher> {
    let table = format!("url = '{url}'\n{more}");
    let settings: Settings = Figment::from(Toml::string(&table)).extract().unwrap();
    assert_eq!(settings.validate(), [], "{table}");
    mqtt::publisher(&settings, "scada", &Instance { id: "0123456789".into() }).unwrap()
}

/// As [`publisher`], with the user of the private brokers.
fn known(url: &str, more: &str) -> Rc<dyn Publisher> {
    publisher(url, &format!("username = '{USER}'\npassword = '{PASSWORD}'\n{more}"))
}

async fn publish(publisher: &Rc<dyn Publisher>, topic: &str, body: &[u8]) -> Outcome {
    let outgoing = Outgoing {
        event_id: "1".into(),
        event_name: "a.b".into(),
        address: Address::Topic(topic.into()),
        body: body.to_vec().into(),
        trace: None,
    };
    Rc::clone(publisher).publish(Rc::new(outgoing)).await
}

async fn failure(publisher: &Rc<dyn Publisher>) -> Failure {
    match publish(publisher, "a/b", b"{}").await {
        Outcome::Failed(failure) => failure,
        delivered @ Outcome::Delivered { .. } => panic!("{delivered:?}"),
    }
}

#[track_caller]
fn check(failure: &Failure, class: Class, reason: &str) {
    assert_eq!((failure.class, failure.reason.as_str()), (class, reason), "{}", failure.detail);
    assert!(!failure.detail.contains(PASSWORD), "{}", failure.detail);
}

#[test]
fn all_six_schemes_deliver_the_exact_bytes_by_qos_2() {
    on_system(async {
        let broker = Mosquitto::start().await;
        let subscriber = broker.subscribe("#").await;
        let body: Vec<u8> = "{\"ä\": \"\n\"}".bytes().chain(0..=255).collect();
        let tls = format!("tls = {{ ca_file = '{}' }}", broker.certs.ca.display());
        let mut expected = BTreeSet::new();
        for scheme in ["mqtt", "tcp", "mqtts", "tls", "ws", "wss"] {
            for session in SESSIONS {
                let more = format!("{tls}\nsession = '{session}'");
                let publisher = known(&broker.url(scheme), &more);
                let topic = format!("schemes/{scheme}/{session}");
                let outcome = publish(&publisher, &topic, &body).await;
                assert_eq!(outcome, Outcome::delivered(), "{topic}");
                publisher.close().await;
                expected.insert(topic);
            }
        }
        let messages = subscriber.wait_for(expected.len()).await;
        assert_eq!(messages.iter().map(|m| m.topic.clone()).collect::<BTreeSet<_>>(), expected);
        assert!(messages.iter().all(|m| m.payload == body && m.qos == 2 && !m.retain));
        assert_eq!(messages.len(), expected.len());
    });
}

#[test]
fn a_session_per_event_is_one_connection_per_event_with_a_goodbye() {
    on_system(async {
        let broker = Mosquitto::start().await;
        let publisher = known(&broker.url("mqtt"), "client_id = 'line'");
        for _ in 0..5 {
            assert_eq!(publish(&publisher, "a/b", b"{}").await, Outcome::delivered());
        }
        let all_gone = || async { (broker.goodbyes() == 5).then_some(()) };
        eventually("five goodbyes", SOON, all_gone).await;
        let ids = broker.connections();
        assert_eq!(ids.len(), 5);
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 5, "{ids:?}");
        assert!(ids.iter().all(|id| id.starts_with("line-01234567-")), "{ids:?}");
    });
}

#[test]
fn a_persistent_session_is_one_connection_for_all_and_says_goodbye_when_closed() {
    on_system(async {
        let broker = Mosquitto::start().await;
        let more = "session = 'persistent'\nclient_id = 'line'\nclient_id_exact = true";
        let publisher = known(&broker.url("mqtt"), more);
        let outcomes = join_all((0..20).map(|_| publish(&publisher, "a/b", b"{}"))).await;
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::delivered()), "{outcomes:?}");
        assert_eq!(broker.goodbyes(), 0);
        Rc::clone(&publisher).close().await;
        eventually("a goodbye", SOON, || async { (broker.goodbyes() == 1).then_some(()) }).await;
        assert_eq!(broker.connections(), ["line"]);
    });
}

#[test]
fn a_persistent_connection_ends_with_its_publisher() {
    on_system(async {
        let peer = Peer::start(Script::All).await;
        let url = format!("mqtt://127.0.0.1:{}", peer.port);
        let publisher = publisher(&url, "session = 'persistent'");
        assert_eq!(publish(&publisher, "a/b", b"{}").await, Outcome::delivered());
        drop(publisher);
        let closed = || async { (peer.closed() == 1).then_some(()) };
        eventually("the connection is closed", SOON, closed).await;
    });
}

#[test]
fn certificates_are_verified_unless_that_is_switched_off() {
    on_system(async {
        let broker = Mosquitto::start().await;
        let ca = format!("tls = {{ ca_file = '{}' }}", broker.certs.ca.display());
        for scheme in ["mqtts", "wss"] {
            let url = broker.url(scheme);
            let unknown = failure(&known(&url, "")).await;
            check(&unknown, Class::Misconfigured, "tls_failed");
            assert!(unknown.detail.contains("unknown issuer"), "{}", unknown.detail);

            let elsewhere = url.replace("localhost", "127.0.0.2");
            let other_name = failure(&known(&elsewhere, &ca)).await;
            check(&other_name, Class::Misconfigured, "tls_failed");
            assert!(other_name.detail.contains("another name"), "{}", other_name.detail);

            let relaxed = known(&elsewhere, "tls = { verify = false }");
            assert_eq!(publish(&relaxed, "a/b", b"{}").await, Outcome::delivered(), "{scheme}");
        }
        let plain = broker.url("mqtt").replace("mqtt:", "mqtts:");
        assert_ne!(failure(&known(&plain, &ca)).await.class, Class::Permanent);
    });
}

#[test]
fn a_wrong_password_is_misconfigured() {
    on_system(async {
        let broker = Mosquitto::start().await;
        for session in SESSIONS {
            let more = format!("username = '{USER}'\npassword = 'wrong'\nsession = '{session}'");
            let refused = failure(&publisher(&broker.url("mqtt"), &more)).await;
            check(&refused, Class::Misconfigured, "mqtt_not_authorized");
            let nobody = failure(&publisher(&broker.url("ws"), "")).await;
            check(&nobody, Class::Misconfigured, "mqtt_not_authorized");
        }
        let url = broker.url("mqtt").replace("//", &format!("//{USER}:correct%20horse@"));
        assert_eq!(publish(&publisher(&url, ""), "a/b", b"{}").await, Outcome::delivered());
    });
}

#[test]
fn ports_that_refuse_are_transient_and_unknown_names_misconfigured() {
    on_system(async {
        for session in SESSIONS {
            let more = format!("session = '{session}'");
            for scheme in ["mqtt", "mqtts", "ws", "wss"] {
                let url = format!("{scheme}://127.0.0.1:{}", free_port());
                let refused = failure(&publisher(&url, &more)).await;
                check(&refused, Class::Transient, "connection_refused");

                let url = format!("{scheme}://user:hunter2@no-such-host.invalid");
                let unknown = failure(&publisher(&url, &more)).await;
                check(&unknown, Class::Misconfigured, "dns_unknown");
                assert!(unknown.detail.contains("no-such-host.invalid"), "{}", unknown.detail);
                assert!(!unknown.detail.contains("hunter2"), "{}", unknown.detail);
            }
        }
    });
}

/// Against a peer with this script, an attempt ends as a timeout, after its own time and not the
/// other.
async fn check_timeout(script: Script, more: &str) {
    for session in SESSIONS {
        let peer = Peer::start(script).await;
        let url = format!("mqtt://127.0.0.1:{}", peer.port);
        let publisher = publisher(&url, &format!("session = '{session}'\n{more}"));
        let start = Instant::now();
        let failed = timeout(SOON, failure(&publisher)).await.expect("it ends in time");
        check(&failed, Class::Transient, "timeout");
        assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
        let closed = || async { (peer.closed() == 1).then_some(()) };
        eventually("the connection is dropped", SOON, closed).await;
    }
}

#[test]
fn a_broker_that_never_answers_connect_costs_the_connect_timeout() {
    on_system(check_timeout(Script::Silence, "connect_timeout = '300ms'\npublish_timeout = '5m'"));
}

#[test]
fn a_broker_that_never_answers_publish_costs_the_publish_timeout() {
    on_system(check_timeout(
        Script::Connack(0),
        "connect_timeout = '5m'\npublish_timeout = '300ms'",
    ));
}

#[test]
fn pubcomp_counts_even_when_the_connection_ends_with_it() {
    on_system(async {
        let peer = Peer::start(Script::PubcompAndClose).await;
        let url = format!("mqtt://127.0.0.1:{}", peer.port);
        for session in SESSIONS.repeat(20) {
            let publisher = publisher(&url, &format!("session = '{session}'"));
            let outcome = publish(&publisher, "a/b", b"{}").await;
            assert_eq!(outcome, Outcome::delivered(), "{session}");
        }
    });
}

#[test]
fn a_frozen_broker_is_a_timeout_until_it_thaws() {
    on_system(async {
        let broker = Mosquitto::start().await;
        let times = "connect_timeout = '500ms'\npublish_timeout = '500ms'";
        let publishers = SESSIONS
            .map(|session| known(&broker.url("mqtt"), &format!("session = '{session}'\n{times}")));
        for publisher in &publishers {
            assert_eq!(publish(publisher, "a/b", b"{}").await, Outcome::delivered());
        }
        broker.freeze();
        for publisher in &publishers {
            check(&failure(publisher).await, Class::Transient, "timeout");
            check(&failure(publisher).await, Class::Transient, "timeout");
        }
        broker.thaw();
        for publisher in &publishers {
            eventually("it delivers again", SOON, || async {
                (publish(publisher, "a/b", b"{}").await == Outcome::delivered()).then_some(())
            })
            .await;
        }
    });
}

#[test]
fn connack_return_codes_have_their_classes() {
    on_system(async {
        let peer = Peer::start(Script::Silence).await;
        let url = format!("mqtt://127.0.0.1:{}", peer.port);
        for (code, class, reason) in [
            (1, Class::Misconfigured, "mqtt_protocol_version"),
            (2, Class::Misconfigured, "mqtt_identifier_rejected"),
            (3, Class::Transient, "mqtt_server_busy"),
            (4, Class::Misconfigured, "mqtt_bad_credentials"),
            (5, Class::Misconfigured, "mqtt_not_authorized"),
            (9, Class::Misconfigured, "mqtt_protocol"),
        ] {
            peer.follow(Script::Connack(code));
            for session in SESSIONS {
                let failed = failure(&publisher(&url, &format!("session = '{session}'"))).await;
                check(&failed, class, reason);
            }
        }
    });
}

#[test]
fn answers_that_are_no_mqtt_are_told_apart() {
    on_system(async {
        let peer = Peer::start(Script::Silence).await;
        let page = "HTTP/1.1 200 OK\r\ncontent-length: 63\r\nconnection: close\r\n\r\n\
                    <!doctype html><title>It works</title><p>But it is no broker.</p>";
        for (scheme, text, class, reason) in [
            ("mqtt", page, Class::Misconfigured, "mqtt_protocol"),
            ("mqtt", "", Class::Transient, "connection_lost"),
            ("ws", "", Class::Transient, "connection_lost"),
            ("mqtts", "", Class::Transient, "connection_lost"),
            ("mqtts", page, Class::Misconfigured, "tls_failed"),
            ("ws", page, Class::Misconfigured, "http_200"),
            ("ws", "HTTP/1.1 401 No\r\n\r\n", Class::Misconfigured, "http_401"),
            ("ws", "HTTP/1.1 404 No\r\n\r\n", Class::Misconfigured, "http_404"),
            ("ws", "HTTP/1.1 503 Later\r\n\r\n", Class::Transient, "http_503"),
        ] {
            peer.follow(Script::Text(text));
            let url = format!("{scheme}://127.0.0.1:{}", peer.port);
            check(&failure(&publisher(&url, "")).await, class, reason);
        }
    });
}

#[test]
fn what_was_in_flight_on_a_lost_connection_fails_once_and_is_never_replayed() {
    on_system(async {
        let peer = Peer::start(Script::CloseAtPublish(3)).await;
        let url = format!("mqtt://127.0.0.1:{}", peer.port);
        let publisher = publisher(&url, "session = 'persistent'");
        let attempts = ["old/1", "old/2", "old/3"].map(|topic| publish(&publisher, topic, b"{}"));
        for outcome in join_all(attempts).await {
            let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
            check(&failure, Class::Transient, "connection_lost");
        }
        peer.follow(Script::All);
        assert_eq!(publish(&publisher, "new", b"{}").await, Outcome::delivered());
        assert_eq!(peer.topics(), ["old/1", "old/2", "old/3", "new"]);
        assert_eq!(peer.connections(), 2);
    });
}

#[test]
fn all_who_wait_for_one_connection_learn_its_end_together() {
    on_system(async {
        let peer = Peer::start(Script::Connack(3)).await;
        let url = format!("mqtt://127.0.0.1:{}", peer.port);
        let publisher = publisher(&url, "session = 'persistent'");
        let outcomes = join_all((0..50).map(|_| publish(&publisher, "a/b", b"{}"))).await;
        assert!(outcomes.iter().all(|outcome| matches!(outcome,
            Outcome::Failed(failure) if failure.reason == "mqtt_server_busy")));
        assert_eq!(peer.connections(), 1);
    });
}

#[test]
fn a_packet_that_is_too_large_is_refused_and_harms_nothing() {
    on_system(async {
        let broker = Mosquitto::start().await;
        let subscriber = broker.subscribe("#").await;
        for session in SESSIONS {
            let more = format!("session = '{session}'\nmax_packet_size = '64KiB'");
            let publisher = known(&broker.url("mqtt"), &more);
            let largest = vec![b'x'; (64 << 10) - 11];
            assert_eq!(publish(&publisher, "big", &largest).await, Outcome::delivered());
            let outcome = publish(&publisher, "big", &[&largest[..], b"x"].concat()).await;
            let Outcome::Failed(failed) = outcome else { panic!("{outcome:?}") };
            check(&failed, Class::Permanent, "too_large");
            assert_eq!(publish(&publisher, "small", b"{}").await, Outcome::delivered());
        }
        assert_eq!(subscriber.wait_for(4).await.len(), 4);
        assert_eq!(broker.connections().len(), 2 + 1);
    });
}

#[test]
fn two_thousand_pipelined_publishes_arrive_exactly_once() {
    on_system(async {
        let broker = Mosquitto::start().await;
        let subscriber = broker.subscribe("#").await;
        let publisher = known(&broker.url("mqtt"), "session = 'persistent'");
        let bodies: Vec<String> = (0..2_000).map(|number| format!("{number:04}")).collect();
        let outcomes = stream::iter(&bodies)
            .map(|body| publish(&publisher, "many", body.as_bytes()))
            .buffer_unordered(20);
        let delivered = outcomes.filter(|o| std::future::ready(*o == Outcome::delivered()));
        assert_eq!(delivered.count().await, 2_000);
        let messages = subscriber.wait_for(2_000).await;
        let mut payloads: Vec<_> =
            messages.into_iter().map(|m| String::from_utf8(m.payload).unwrap()).collect();
        payloads.sort();
        assert_eq!(payloads, bodies);
        assert_eq!(broker.connections().len(), 1);
    });
}

#[test]
fn a_thousand_in_flight_on_one_connection_are_all_acknowledged() {
    on_system(async {
        let peer = Peer::start(Script::All).await;
        let url = format!("mqtt://127.0.0.1:{}", peer.port);
        let publisher = publisher(&url, "session = 'persistent'");
        let topics: Vec<String> = (0..5_000).map(|number| number.to_string()).collect();
        let outcomes = join_all(topics.iter().map(|topic| publish(&publisher, topic, b"{}"))).await;
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::delivered()));
        assert_eq!(peer.topics().iter().collect::<BTreeSet<_>>().len(), 5_000);
        assert_eq!((peer.topics().len(), peer.connections()), (5_000, 1));
    });
}

#[test]
fn sixty_four_events_at_once_have_sixty_four_connections() {
    on_system(async {
        let broker = Mosquitto::start().await;
        let subscriber = broker.subscribe("#").await;
        let publisher = known(&broker.url("mqtt"), "");
        let topics: Vec<String> = (0..64).map(|number| format!("many/{number}")).collect();
        let outcomes = join_all(topics.iter().map(|topic| publish(&publisher, topic, b"{}"))).await;
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::delivered()), "{outcomes:?}");
        let seen = subscriber.wait_for(64).await.into_iter().map(|message| message.topic);
        assert_eq!(seen.collect::<BTreeSet<_>>(), topics.into_iter().collect());
        assert_eq!(broker.connections().into_iter().collect::<BTreeSet<_>>().len(), 64);
    });
}

#[test]
fn retain_is_what_the_setting_says() {
    on_system(async {
        let broker = Mosquitto::start_anonymous().await;
        for session in SESSIONS {
            let more = format!("session = '{session}'\nretain = true");
            let keeping = publisher(&broker.url("mqtt"), &more);
            let topic = format!("kept/{session}");
            assert_eq!(publish(&keeping, &topic, b"{}").await, Outcome::delivered());
            let passing = publisher(&broker.url("mqtt"), &format!("session = '{session}'"));
            let topic = format!("passing/{session}");
            assert_eq!(publish(&passing, &topic, b"{}").await, Outcome::delivered());
        }
        // A later subscriber sees what was retained, before anything new.
        let subscriber = broker.subscribe("#").await;
        let fence = publisher(&broker.url("mqtt"), "");
        assert_eq!(publish(&fence, "fence", b"{}").await, Outcome::delivered());
        let seen: Vec<_> =
            subscriber.wait_for(3).await.into_iter().map(|m| (m.topic, m.retain)).collect();
        assert_eq!(
            seen,
            [
                ("kept/per-event".to_owned(), true),
                ("kept/persistent".to_owned(), true),
                ("fence".to_owned(), false),
            ]
        );
    });
}
