//! The main job, end to end: the product as a process, RabbitMQ on one side, ten partners on the
//! other, every kind of event, exact to the byte.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use lapin::ExchangeKind;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lockgate::domain::delivery::Properties;
use lockgate::domain::names::KNOWN;
use lockgate::logic::signing;

use super::support::certs;
use super::support::http::{HttpServer, Request};
use super::support::lockgate::{Configuration, Lockgate};
use super::support::mosquitto::{Mosquitto, PASSWORD, USER};
use super::support::rabbitmq::{Client, node};
use super::support::{eventually, on_system};

/// How long everything may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(60);
/// The named events that are sent.
const NAMED: [(&str, &str); 5] = [
    ("job", "created"),
    ("operation", "started"),
    ("operation", "completed"),
    ("part", "created"),
    ("issue", "created"),
];
/// Six endpoints, one a scheme of MQTT.
const SCHEMES: [&str; 6] = ["mqtt", "tcp", "mqtts", "tls", "ws", "wss"];
const SECRET: &str = "hook secret ü";
const TIMESTAMP: &str = "2026-06-18T00:00:00.125Z";

/// An event as it is put on the bus, and what partners must get.
struct Sample {
    id: String,
    event_type: String,
    event_trigger: String,
    named: bool,
    body: String,
    /// The body in the named form, with the payload's bytes as they came.
    as_named: String,
    /// The body as ECMAScript writes it.
    as_webhook: String,
}

impl Sample {
    fn name(&self) -> String {
        format!("{}.{}", self.normal_type(), self.event_trigger)
    }

    fn normal_type(&self) -> String {
        self.event_type.to_lowercase().replace(' ', "_")
    }

    fn topic(&self) -> String {
        format!("{}/{}", self.normal_type(), self.event_trigger)
    }
}

fn samples() -> Vec<Sample> {
    let known = KNOWN.iter().enumerate().map(|(n, kind)| {
        let id = format!("known-{n}");
        let body = format!(
            r#"{{ "event_id" : "{id}", "n":1.0, "big":12345678901234567890 , "s":"\u00e9\/" }}"#
        );
        let name =
            format!("{}.{}", kind.event_type.to_lowercase().replace(' ', "_"), kind.event_trigger);
        let head = format!(r#"{{"event":"{name}","timestamp":"{TIMESTAMP}","data":"#);
        Sample {
            as_named: format!("{head}{body}}}"),
            as_webhook: format!(
                r#"{head}{{"event_id":"{id}","n":1,"big":12345678901234567000,"s":"é/"}}}}"#
            ),
            event_type: kind.event_type.to_owned(),
            event_trigger: kind.event_trigger.to_owned(),
            named: false,
            body,
            id,
        }
    });
    let named = NAMED.iter().enumerate().map(|(n, (event_type, event_trigger))| {
        let id = format!("named-{n}");
        let data = r#"{ "cell_name":"Laser Cutting", "2":2.50, "1":1 }"#;
        let head = format!(r#"{{"event":"{event_type}.{event_trigger}","timestamp":"{TIMESTAMP}","data":"#);
        Sample {
            body: format!(r#"{{"id":"{id}", "event":"{event_type}.{event_trigger}","timestamp":"{TIMESTAMP}","data":{data} }}"#),
            as_named: format!("{head}{data}}}"),
            as_webhook: format!(r#"{head}{{"1":1,"2":2.5,"cell_name":"Laser Cutting"}}}}"#),
            event_type: (*event_type).to_owned(),
            event_trigger: (*event_trigger).to_owned(),
            named: true,
            id,
        }
    });
    known.chain(named).collect()
}

fn properties(sample: &Sample) -> Properties {
    let mut headers = FieldTable::default();
    let mut put = |name: &str, value: &str| {
        headers.insert(name.into(), AMQPValue::LongString(value.into()));
    };
    if !sample.named {
        put("event_type", &sample.event_type);
        put("event_trigger", &sample.event_trigger);
        put("created_at", TIMESTAMP);
    }
    Properties::default().with_headers(headers).with_content_type("application/json".into())
}

#[test]
fn every_kind_of_event_reaches_ten_endpoints_exactly() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let (bus, partner) = (node().place(), node().place());
        let broker = Mosquitto::start().await;
        let subscriber = broker.subscribe("#").await;
        let certs = certs::make(folder.path());
        let (basic, keyed, hook) =
            (HttpServer::start(), HttpServer::start_tls(&certs), HttpServer::start());
        let samples = samples();
        let there = Client::connect(&partner.url).await;
        there.declare("partner", true).await;
        for sample in &samples {
            there.bind(&sample.event_type, ExchangeKind::Topic, "partner", "#").await;
        }

        let mut toml = format!(
            "[organization]\nid = \"org-1\"\nname = \"Acme Bio\"\n\
             [source]\nurl = \"{}\"\nqueue = \"events\"\n\
             bindings = [{{ exchange = \"platform\", type = \"topic\", routing_key = \"#\" }}]\n\
             [event_configurations.all]\nevents = [\"*/*\"]\nendpoints = [\"basic\", \"keyed\", \"hook\", \"bus\", {}]\n\
             [endpoints.basic.rest]\nurl = \"{}\"\nauth = {{ basic = {{ username = \"tempo\", password = \"pä:ss\" }} }}\n\
             [endpoints.keyed.rest]\nurl = \"{}\"\nauth = {{ api_key = {{ header = \"X-API-Key\", value = \"k-123\" }} }}\n\
             tls = {{ ca_file = \"{}\" }}\n\
             [endpoints.hook.webhook]\nurl = \"{}\"\nsecret = \"{SECRET}\"\n\
             [endpoints.bus.amqp]\nurl = \"{}\"\n",
            bus.url,
            SCHEMES.map(|scheme| format!("\"{scheme}\"")).join(", "),
            basic.url("/basic"),
            keyed.url("/keyed"),
            certs.ca.display(),
            hook.url("/hook"),
            partner.url,
        );
        for scheme in SCHEMES {
            let (url, ca) = (broker.url(scheme), broker.certs.ca.display());
            write!(
                toml,
                "[endpoints.{scheme}.mqtt]\nurl = \"{url}\"\nusername = \"{USER}\"\npassword = \"{PASSWORD}\"\n"
            )
            .unwrap();
            if ["mqtts", "tls", "wss"].contains(&scheme) {
                writeln!(toml, "tls = {{ ca_file = \"{ca}\" }}").unwrap();
            }
            if scheme == "ws" {
                toml += "topic_pattern = \"{enterprise}/{site}/{cell}/{event}\"\n\
                         topic_defaults = { enterprise = \"Acme\", site = \"chicago\" }\n\
                         topic_fields = { cell = \"/cell_name\" }\n";
            }
        }
        let configuration = Configuration::write(folder.path(), &toml);
        let lockgate = Lockgate::start_ready(&configuration).await;

        let platform = Client::connect(&bus.url).await;
        for sample in &samples {
            let key = format!("{}.{}", sample.normal_type(), sample.event_trigger);
            platform.publish("platform", &key, properties(sample), sample.body.as_bytes()).await;
        }

        check_mqtt(&samples, &subscriber.wait_for(6 * samples.len()).await);
        check_connections(&broker, samples.len());
        let all_at = |server: &HttpServer| (server.received().len() >= samples.len()).then_some(());
        eventually("every event at the HTTP servers", ARRIVAL, || async {
            all_at(&basic).and(all_at(&keyed)).and(all_at(&hook))
        })
        .await;
        check_rest(&samples, &basic.received(), "authorization", "Basic dGVtcG86cMOkOnNz");
        check_rest(&samples, &keyed.received(), "x-api-key", "k-123");
        check_hook(&samples, &hook.received());
        check_bus(&samples, &there.take("partner", samples.len()).await);

        let (acknowledged, wanted) = ("lockgate_events_acknowledged_total", 22.0);
        assert_eq!(samples.len(), 22);
        eventually("every message acknowledged", ARRIVAL, || async {
            (lockgate.metric(acknowledged).await >= wanted).then_some(())
        })
        .await;
        lockgate.terminate().await;
        check_empty(&platform).await;
    });
}

fn check_mqtt(samples: &[Sample], received: &[super::support::mosquitto::Received]) {
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for message in received {
        assert_eq!((message.qos, message.retain), (2, false));
        let payload = String::from_utf8(message.payload.clone()).unwrap();
        *counts.entry((message.topic.clone(), payload)).or_default() += 1;
    }
    let mut expected: BTreeMap<(String, String), usize> = BTreeMap::new();
    for sample in samples {
        if sample.named {
            let (parts, body) = (sample.topic(), sample.as_named.clone());
            *expected.entry((parts.clone(), body.clone())).or_default() += 5;
            let own = format!("acme/chicago/laser_cutting/{parts}").replace("Acme", "acme");
            *expected.entry((own, body)).or_default() += 1;
        } else {
            *expected.entry((sample.topic(), sample.body.clone())).or_default() += 6;
        }
    }
    assert_eq!(counts, expected);
}

fn check_connections(broker: &Mosquitto, events: usize) {
    let mut by_endpoint: BTreeMap<String, usize> = BTreeMap::new();
    let connections = broker.connections();
    for id in &connections {
        let endpoint = SCHEMES.iter().find(|scheme| id.contains(&format!("-{scheme}-")));
        let endpoint = endpoint.unwrap_or_else(|| panic!("whose is {id}?"));
        *by_endpoint.entry((*endpoint).to_owned()).or_default() += 1;
    }
    let expected = SCHEMES.map(|scheme| (scheme.to_owned(), events));
    assert_eq!(by_endpoint, BTreeMap::from(expected), "one connection an event");
    let distinct: std::collections::BTreeSet<_> = connections.iter().collect();
    assert_eq!(distinct.len(), connections.len(), "client ids are unique");
}

fn by_id(received: &[Request]) -> BTreeMap<String, &Request> {
    let all: BTreeMap<_, _> = received
        .iter()
        .map(|request| (request.header("x-request-id").unwrap().to_owned(), request))
        .collect();
    assert_eq!(all.len(), received.len(), "every event once");
    all
}

fn check_rest(samples: &[Sample], received: &[Request], header: &str, value: &str) {
    let received = by_id(received);
    assert_eq!(received.len(), samples.len());
    for sample in samples {
        let request = received[&sample.id];
        assert_eq!(request.method, "POST");
        assert_eq!(request.body, sample.body.as_bytes());
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert_eq!(request.header("x-correlation-id"), Some(sample.id.as_str()));
        assert_eq!(request.header(header), Some(value));
    }
}

fn check_hook(samples: &[Sample], received: &[Request]) {
    let received = by_id(received);
    assert_eq!(received.len(), samples.len());
    for sample in samples {
        let request = received[&sample.id];
        assert_eq!(String::from_utf8_lossy(&request.body), sample.as_webhook);
        let signature = format!("sha256={}", signing::hmac_hex(SECRET, &request.body));
        assert_eq!(request.header("x-eryxon-signature"), Some(signature.as_str()));
        assert_eq!(request.header("x-eryxon-event"), Some(sample.name().as_str()));
    }
}

fn check_bus(samples: &[Sample], received: &[lockgate::domain::delivery::Message]) {
    assert_eq!(received.len(), samples.len());
    for sample in samples {
        let id = |message: &&lockgate::domain::delivery::Message| {
            message.properties.message_id().as_ref().is_some_and(|id| id.as_str() == sample.id)
        };
        let message =
            received.iter().find(id).unwrap_or_else(|| panic!("{} is missing", sample.id));
        assert_eq!(message.exchange, sample.event_type);
        assert_eq!(message.routing_key, sample.event_trigger);
        assert_eq!(message.body, sample.body.as_bytes());
        let properties = &message.properties;
        assert_eq!(properties.delivery_mode(), &Some(2));
        assert_eq!(
            properties.content_type().as_ref().map(ShortString::as_str),
            Some("application/json")
        );
        assert_eq!(
            properties.kind().as_ref().map(ShortString::as_str),
            Some(sample.name().as_str())
        );
    }
}

async fn check_empty(platform: &Client) {
    assert_eq!(platform.depth("events").await, 0);
    for queue in ["lockgate.rejected", "lockgate.orphan"] {
        assert_eq!(platform.depth(queue).await, 0, "{queue}");
    }
    for endpoint in SCHEMES.iter().chain(&["basic", "keyed", "hook", "bus"]) {
        for kind in ["parked", "dead"] {
            let queue = format!("lockgate.ep.{endpoint}.{kind}");
            assert_eq!(platform.depth(&queue).await, 0, "{queue}");
        }
    }
}
