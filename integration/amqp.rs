//! The amqp transport against a real RabbitMQ, and against peers that are none.

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use lapin::ExchangeKind;
use lockgate::domain::delivery::{Address, Class, Failure, Outcome, Outgoing};
use lockgate::transport::amqp::{Settings, publisher};
use lockgate::transport::{Instance, Publisher};
use serde_json::json;
use tokio::time::Instant;

use crate::support::rabbitmq::{Client, Place, node, place, rough_node};
use crate::support::{eventually, free_port, on_system};

fn connect(table: serde_json::Value) -> Rc<dyn Publisher> {
    let settings: Settings = serde_json::from_value(table).unwrap();
    assert_eq!(settings.validate(), []);
    publisher(&settings, "partner", &Instance { id: "test".into() }).unwrap()
}

fn outgoing(exchange: &str, routing_key: &str, body: &str) -> Rc<Outgoing> {
    Rc::new(Outgoing {
        event_id: "e-1".into(),
        event_name: "procedure_run.step_execution".into(),
        address: Address::Exchange { exchange: exchange.into(), routing_key: routing_key.into() },
        body: body.to_owned().into(),
        trace: None,
    })
}

fn failed(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Failed(failure) => failure,
        Outcome::Delivered { .. } => panic!("delivered"),
    }
}

async fn fails(publisher: &Rc<dyn Publisher>, outgoing: Rc<Outgoing>, class: Class, reason: &str) {
    let failure = failed(publisher.clone().publish(outgoing).await);
    assert_eq!((failure.class, failure.reason.as_str()), (class, reason), "{}", failure.detail);
    assert!(!failure.detail.contains("hush"), "{}", failure.detail);
}

async fn delivers(publisher: &Rc<dyn Publisher>, outgoing: Rc<Outgoing>) {
    let outcome = publisher.clone().publish(outgoing).await;
    assert_eq!(outcome, Outcome::delivered());
}

/// A partner with one bound queue, named by the place's prefix as everything in it is.
async fn partner(place: &Place) -> Client {
    let client = Client::connect(&place.url).await;
    client.declare(&place.prefix, true).await;
    client.bind(&place.prefix, ExchangeKind::Topic, &place.prefix, "step_execution").await;
    client
}

const SESSIONS: [&str; 2] = ["per-event", "persistent"];

#[test]
fn an_event_arrives_unchanged_with_its_properties() {
    on_system(async {
        for session in SESSIONS {
            let place = place();
            let client = partner(&place).await;
            let publisher = connect(json!({ "url": place.url, "session": session }));
            let body = "{ \"n\": 1.0, \"text\": \"ü\" }";
            delivers(&publisher, outgoing(&place.prefix, "step_execution", body)).await;
            assert_eq!(client.depth(&place.prefix).await, 1);
            let taken = client.take(&place.prefix, 1).await;
            assert_eq!(taken[0].body, body.as_bytes());
            assert_eq!(taken[0].exchange, place.prefix);
            assert_eq!(taken[0].routing_key, "step_execution");
            let properties = &taken[0].properties;
            let text = |value: &Option<lapin::types::ShortString>| {
                value.as_ref().map(|text| text.as_str().to_owned())
            };
            assert_eq!(text(properties.content_type()).as_deref(), Some("application/json"));
            assert_eq!(text(properties.message_id()).as_deref(), Some("e-1"));
            assert_eq!(text(properties.kind()).as_deref(), Some("procedure_run.step_execution"));
            assert_eq!(properties.delivery_mode(), &Some(2));
            publisher.close().await;
        }
    });
}

#[test]
fn what_the_partner_lacks_is_misconfigured_and_the_next_event_still_goes() {
    on_system(async {
        for session in SESSIONS {
            let place = place();
            let client = partner(&place).await;
            let publisher = connect(json!({ "url": place.url, "session": session }));
            for _ in 0..2 {
                let missing = outgoing("no such exchange", "k", "{}");
                fails(&publisher, missing, Class::Misconfigured, "exchange_missing").await;
                let unbound = outgoing(&place.prefix, "nowhere", "{}");
                fails(&publisher, unbound, Class::Misconfigured, "unroutable").await;
                delivers(&publisher, outgoing(&place.prefix, "step_execution", "{}")).await;
            }
            assert_eq!(client.take(&place.prefix, 2).await.len(), 2);
            publisher.close().await;
        }
    });
}

#[test]
fn who_may_not_in_is_misconfigured() {
    on_system(async {
        let place = node().place();
        let (user, vhost) = (place.prefix.clone(), place.vhost.clone());
        let made = tokio::task::spawn_blocking(move || {
            node().user(&user, "hush", &vhost, ["^$", "^$", "^$"]);
        });
        made.await.unwrap();
        let _client = partner(&place).await;
        for session in SESSIONS {
            let attempt = async |user: &str, vhost: &str, reason: &str| {
                let url = node().url(user, vhost);
                let publisher = connect(json!({ "url": url, "session": session }));
                let event = outgoing(&place.prefix, "step_execution", "{}");
                fails(&publisher, event, Class::Misconfigured, reason).await;
                publisher.close().await;
            };
            attempt("guest:hush", &place.vhost, "access_refused").await;
            attempt("guest:guest", "no-such-vhost", "vhost_missing").await;
            attempt(&format!("{}:hush", place.prefix), &place.vhost, "access_refused").await;
            attempt(&format!("{}:hush", place.prefix), "v80", "not_allowed").await;
        }
    });
}

#[test]
fn tls_is_verified_unless_it_is_switched_off() {
    on_system(async {
        let place = node().place();
        let client = partner(&place).await;
        let url = node().tls_url(&place.vhost);
        let event = || outgoing(&place.prefix, "step_execution", "{}");
        for tls in [json!({ "ca_file": node().certs.ca }), json!({ "verify": false })] {
            let publisher = connect(json!({ "url": url, "tls": tls }));
            delivers(&publisher, event()).await;
        }
        // Without a scheme it is TLS all the same.
        let bare = url.trim_start_matches("amqps://");
        let publisher = connect(json!({ "url": bare }));
        fails(&publisher, event(), Class::Misconfigured, "tls_failed").await;
        assert_eq!(client.take(&place.prefix, 2).await.len(), 2);
    });
}

#[test]
fn a_peer_that_is_not_there_is_transient_and_an_unknown_name_is_not() {
    on_system(async {
        for session in SESSIONS {
            let url = format!("amqp://127.0.0.1:{}", free_port());
            let publisher = connect(json!({ "url": url, "session": session }));
            let event = outgoing("e", "k", "{}");
            fails(&publisher, event.clone(), Class::Transient, "connection_refused").await;
            let url = "amqp://no-such-host.invalid";
            let publisher = connect(json!({ "url": url, "session": session }));
            let failure = failed(publisher.publish(event).await);
            assert!(
                failure.reason == "dns_unknown" && failure.class == Class::Misconfigured
                    // Where the machine has no name server to ask.
                    || failure.class == Class::Transient,
                "{failure:?}"
            );
        }
    });
}

#[test]
fn an_attempt_at_a_silent_peer_ends_in_time() {
    on_system(async {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = silent.local_addr().unwrap();
        for (session, scheme) in
            [("per-event", "amqp"), ("persistent", "amqp"), ("per-event", "amqps")]
        {
            let url = format!("{scheme}://{host}/v");
            let publisher = connect(json!({ "url": url, "session": session, "timeout": "500ms" }));
            let start = Instant::now();
            fails(&publisher, outgoing("e", "k", "{}"), Class::Transient, "timeout").await;
            assert!(start.elapsed() >= Duration::from_millis(450));
            assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
            // Nothing is left of the attempt: its socket is closed.
            let (mut socket, _) = silent.accept().await.unwrap();
            let mut all = Vec::new();
            let read = tokio::io::AsyncReadExt::read_to_end(&mut socket, &mut all);
            let _ = tokio::time::timeout(Duration::from_secs(5), read).await.unwrap();
            publisher.close().await;
        }
    });
}

#[test]
fn a_persistent_session_pipelines_and_knows_which_of_many_failed() {
    on_system(async {
        let place = place();
        let client = partner(&place).await;
        let publisher = connect(json!({ "url": place.url, "session": "persistent" }));
        let attempts = (0..2_000).map(|number| {
            let key = if number % 10 == 3 { "nowhere" } else { "step_execution" };
            let event = outgoing(&place.prefix, key, &number.to_string());
            publisher.clone().publish(event)
        });
        for (number, outcome) in join_all(attempts).await.into_iter().enumerate() {
            if number % 10 == 3 {
                assert_eq!(failed(outcome).reason, "unroutable", "{number}");
            } else {
                assert_eq!(outcome, Outcome::delivered(), "{number}");
            }
        }
        assert_eq!(client.take(&place.prefix, 1_800).await.len(), 1_800);
        publisher.close().await;
    });
}

#[test]
fn an_event_that_closes_the_channel_takes_no_other_down_with_it_for_good() {
    on_system(async {
        let place = place();
        let client = partner(&place).await;
        let publisher = connect(json!({ "url": place.url, "session": "persistent" }));
        let attempts = (0..200).map(|number| {
            let exchange = if number == 50 { "no such exchange" } else { &place.prefix };
            publisher.clone().publish(outgoing(exchange, "step_execution", &number.to_string()))
        });
        for (number, outcome) in join_all(attempts).await.into_iter().enumerate() {
            match (number, outcome) {
                (50, outcome) => {
                    let failure = failed(outcome);
                    assert_eq!(failure.class, Class::Misconfigured);
                    assert_eq!(failure.reason, "exchange_missing");
                }
                (_, Outcome::Delivered { .. }) => {}
                (_, Outcome::Failed(failure)) => assert_eq!(failure.class, Class::Transient),
            }
        }
        delivers(&publisher, outgoing(&place.prefix, "step_execution", "after")).await;
        let taken = client.drain(&place.prefix).await;
        assert!(taken.iter().any(|message| &message.body[..] == b"after"));
        publisher.close().await;
    });
}

#[test]
fn a_partner_that_takes_nothing_now_is_transient_in_time() {
    let node = rough_node();
    on_system(async move {
        let place = node.place();
        let _client = partner(&place).await;
        for session in SESSIONS {
            let table = json!({ "url": place.url, "session": session, "timeout": "1s" });
            let publisher = connect(table);
            let event = || outgoing(&place.prefix, "step_execution", "{}");
            delivers(&publisher, event()).await;
            node.alarm(true);
            let start = Instant::now();
            let failure = failed(publisher.clone().publish(event()).await);
            assert_eq!(failure.class, Class::Transient, "{failure:?}");
            assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
            node.alarm(false);
            eventually("a delivery", Duration::from_secs(30), async || {
                let outcome = publisher.clone().publish(event()).await;
                (outcome == Outcome::delivered()).then_some(())
            })
            .await;
            publisher.close().await;
        }
    });
}
