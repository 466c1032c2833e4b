//! The demonstration's partners do what real ones do: QoS 2, signatures, and being down.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "this crate is tests from end to end"
)]

use std::time::Duration;

use lockgate::config::Config;
use lockgate::demo::receivers::{Receivers, is_down};
use lockgate::demo::{Peers, SECRET, broker::Broker, configuration};
use ring::hmac;
use rumqttc::{AsyncClient, Event, Incoming, MqttOptions, QoS};

const DEADLINE: Duration = Duration::from_secs(20);

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("{what}: not in time"));
}

/// Publishes with QoS 2 on a connection of its own and waits for as many completions.
async fn publish_exactly_once(broker: &Broker, client: &str, messages: usize) {
    let mut options = MqttOptions::new(client, "127.0.0.1", broker.address().port());
    options.set_inflight(20);
    let (client, mut events) = AsyncClient::new(options, 10);
    actix_rt::spawn(async move {
        for n in 0..messages {
            let topic = format!("acme/{}", n % 3);
            client.publish(topic, QoS::ExactlyOnce, false, format!("{n}")).await.unwrap();
        }
        // Keeps the request channel open until the runtime ends.
        std::future::pending::<()>().await;
    });
    let run = async {
        let mut completed = 0;
        while completed < messages {
            if let Event::Incoming(Incoming::PubComp(_)) = events.poll().await.unwrap() {
                completed += 1;
            }
        }
    };
    tokio::time::timeout(DEADLINE, run).await.expect("every publish is completed");
}

#[actix_rt::test]
async fn the_broker_completes_pipelined_publishes_of_quality_2_and_counts_each_once() {
    let broker = Broker::start().await.unwrap();
    publish_exactly_once(&broker, "first", 300).await;
    publish_exactly_once(&broker, "second", 1).await;
    eventually("301 messages are counted", || broker.taken().messages >= 301).await;
    let taken = broker.taken();
    assert_eq!(taken.messages, 301);
    assert_eq!(taken.topics["acme/0"], 101);
    assert_eq!(taken.topics["acme/1"] + taken.topics["acme/2"], 200);
}

async fn post(url: String, headers: &[(&'static str, String)], body: &'static str) -> u16 {
    let mut request = awc::Client::default().post(url);
    for (name, value) in headers {
        request = request.insert_header((*name, value.as_str()));
    }
    request.send_body(body).await.unwrap().status().as_u16()
}

#[actix_rt::test]
async fn the_erp_takes_everything_and_knows_repeats() {
    let receivers = Receivers::start(SECRET).unwrap();
    let url = format!("http://{}/erp", receivers.address());
    for id in ["a", "b", "a"] {
        assert_eq!(post(url.clone(), &[("X-Request-Id", id.into())], "{}").await, 200);
    }
    let seen = &receivers.seen()["/erp"];
    assert_eq!((seen.taken, seen.refused, seen.repeats, seen.ids.len()), (3, 0, 1, 2));
    receivers.stop().await;
}

#[actix_rt::test]
async fn the_hook_takes_only_what_is_signed_with_its_secret() {
    let receivers = Receivers::start(SECRET).unwrap();
    let url = format!("http://{}/hook", receivers.address());
    let body = r#"{"event":"operation.completed"}"#;
    let signed = |secret: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        ("X-Eryxon-Signature", format!("sha256={}", hex::encode(hmac::sign(&key, body.as_bytes()))))
    };
    assert_eq!(post(url.clone(), &[signed(SECRET)], body).await, 200);
    assert_eq!(post(url.clone(), &[signed("other")], body).await, 401);
    assert_eq!(post(url.clone(), &[signed(SECRET)], "{}").await, 401);
    assert_eq!(post(url.clone(), &[("X-Eryxon-Signature", "sha256=xyz".into())], body).await, 401);
    assert_eq!(post(url.clone(), &[], body).await, 401);
    let seen = &receivers.seen()["/hook"];
    assert_eq!((seen.taken, seen.refused), (1, 4));
}

#[test]
fn the_flaky_one_is_down_for_five_seconds_of_every_twenty() {
    let down: Vec<u64> = (0..60).filter(|s| is_down(Duration::from_secs(*s))).collect();
    assert_eq!(down, [8, 9, 10, 11, 12, 28, 29, 30, 31, 32, 48, 49, 50, 51, 52]);
}

#[actix_rt::test]
async fn the_flaky_one_takes_events_at_first() {
    let receivers = Receivers::start(SECRET).unwrap();
    let url = format!("http://{}/flaky", receivers.address());
    assert_eq!(post(url, &[("X-Request-Id", "a".into())], "{}").await, 200);
    assert_eq!(receivers.seen()["/flaky"].taken, 1);
}

fn loaded(environment: &str) -> Config {
    let text = configuration("mqtt://127.0.0.1:1", "http://127.0.0.1:2");
    Config::from_toml_str("the demonstration", &text, environment).unwrap()
}

#[test]
fn the_configuration_is_valid_and_nothing_is_to_be_said_of_it() {
    assert_eq!(loaded("development").warnings, []);
    // Its one secret is no secret; anywhere else a plain one is worth a warning.
    let plain: Vec<String> = loaded("plant").warnings.into_iter().map(|w| w.path).collect();
    assert_eq!(plain, ["endpoints.hook.webhook.secret"]);
}

#[test]
fn the_configuration_has_five_endpoints_of_three_transports_at_the_given_urls() {
    let config = loaded("development");
    let found: Vec<(&str, &str, String)> = config
        .endpoints
        .iter()
        .map(|(name, one)| (name.as_str(), one.transport.kind(), one.transport.target()))
        .collect();
    let expected = [
        ("erp", "rest", "http://127.0.0.1:2/erp"),
        ("flaky", "rest", "http://127.0.0.1:2/flaky"),
        ("hook", "webhook", "http://127.0.0.1:2/hook"),
        ("line", "mqtt", "mqtt://127.0.0.1:1"),
        ("scada", "mqtt", "mqtt://127.0.0.1:1"),
    ];
    assert_eq!(found, expected.map(|(name, kind, url)| (name, kind, url.to_owned())));
}

#[actix_rt::test]
async fn the_configuration_points_at_the_partners_that_run() {
    let peers = Peers::start().await.unwrap();
    let text = peers.configuration();
    assert!(text.contains(&format!("\"{}\"", peers.mqtt_url())), "{text}");
    assert!(text.contains(&format!("\"{}/erp\"", peers.http_url())), "{text}");
    assert_eq!(post(format!("{}/erp", peers.http_url()), &[], "{}").await, 200);
    assert_eq!(peers.receivers().seen()["/erp"].taken, 1);
    assert_eq!(peers.broker().taken().messages, 0);
    peers.stop().await;
}
