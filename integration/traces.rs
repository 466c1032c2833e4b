//! The trace of an event, end to end: from the headers of the bus message to the partner's, through
//! parking and past redirects; and what of it, and of an endpoint that flaps, is in the log.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use lapin::ExchangeKind;
use lapin::types::{AMQPValue, FieldTable};
use lockgate::domain::delivery::{HeaderValue, Message, Properties};
use serde_json::Value;

use super::support::http::{Answer, HttpServer, Request};
use super::support::lockgate::{Configuration, Lockgate};
use super::support::rabbitmq::{Client, node};
use super::support::{eventually, free_port, on_system};

const DEADLINE: Duration = Duration::from_secs(60);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const STATE: &str = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE";
/// Event ids, and what stands in the headers of their bus messages.
const EVENTS: [(&str, Option<&str>, Option<&str>); 4] = [
    ("whole", Some(PARENT), Some(STATE)),
    ("without-state", Some(PARENT), Some("not a state")),
    ("malformed", Some("00-00000000000000000000000000000000-b7ad6b7169203331-01"), Some(STATE)),
    ("untraced", None, None),
];
/// What is passed on of each.
const PASSED: [(&str, Option<&str>, Option<&str>); 4] = [
    ("whole", Some(PARENT), Some(STATE)),
    ("without-state", Some(PARENT), None),
    ("malformed", None, None),
    ("untraced", None, None),
];

async fn publish_all(platform: &Client) {
    for (id, parent, state) in EVENTS {
        let mut headers = FieldTable::default();
        for (name, value) in [("traceparent", parent), ("tracestate", state)] {
            if let Some(value) = value {
                headers.insert(name.into(), AMQPValue::LongString(value.into()));
            }
        }
        let properties = Properties::default()
            .with_type("Batch/batch_run_status".into())
            .with_message_id(id.into())
            .with_headers(headers);
        platform.publish("platform", "x", properties, b"{}").await;
    }
}

/// The requests, by event.
fn check_requests(
    requests: &[Request],
    path: &str,
    expected: [(&str, Option<&str>, Option<&str>); 4],
) {
    for (id, parent, state) in expected {
        let of_event =
            |request: &&Request| request.path == path && request.header("x-request-id") == Some(id);
        let request = requests.iter().find(of_event);
        let request = request.unwrap_or_else(|| panic!("{id} is missing at {path}"));
        assert_eq!(request.header("traceparent"), parent, "{id} at {path}");
        assert_eq!(request.header("tracestate"), state, "{id} at {path}");
    }
}

async fn arrived(server: &HttpServer, requests: usize) -> Vec<Request> {
    eventually(&format!("{requests} requests"), DEADLINE, || async {
        let received = server.received();
        (received.len() >= requests).then_some(received)
    })
    .await
}

fn text<'a>(message: &'a Message, header: &str) -> Option<&'a str> {
    match message.header(header)? {
        HeaderValue::LongString(text) => Some(std::str::from_utf8(text.as_bytes()).unwrap()),
        other => panic!("{header} is {other:?}"),
    }
}

fn configuration(bus: &str, partner: &str, urls: &[(&str, String, &str)]) -> String {
    let mut toml = format!(
        "[source]\nurl = \"{bus}\"\nqueue = \"events\"\n\
         bindings = [{{ exchange = \"platform\", type = \"topic\", routing_key = \"#\" }}]\n\
         [telemetry]\nlog_format = \"json\"\n\
         [endpoints.partner]\nevents = [\"Batch/*\"]\n[endpoints.partner.amqp]\nurl = \"{partner}\"\n"
    );
    for (name, url, more) in urls {
        let transport = if *name == "hook" { "webhook" } else { "rest" };
        write!(
            toml,
            "[endpoints.{name}]\nevents = [\"Batch/*\"]\nretry = {{ schedule = [\"1s\"] }}\n\
             breaker = {{ open = \"1s\", open_max = \"1s\" }}\n\
             [endpoints.{name}.{transport}]\nurl = \"{url}\"\n{more}\n"
        )
        .unwrap();
    }
    toml
}

#[test]
fn a_valid_trace_reaches_http_and_amqp_partners_and_no_other_origin() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let (bus, partner) = (node().place(), node().place());
        let (erp, elsewhere) = (HttpServer::start(), HttpServer::start());
        let (hook, fixed, bad) = (HttpServer::start(), HttpServer::start(), HttpServer::start());
        let away = elsewhere.url("/away");
        erp.answer(move |request| match request.path.as_str() {
            "/first" => Answer::redirect(307, "/second"),
            _ => Answer::redirect(307, away.clone()),
        });
        bad.answer(|_| Answer::status(400));
        // Nobody listens there yet.
        let late = free_port();
        let there = Client::connect(&partner.url).await;
        there.declare("partner", true).await;
        there.bind("Batch", ExchangeKind::Topic, "partner", "#").await;
        let urls = [
            ("erp", erp.url("/first"), ""),
            ("hook", hook.url("/"), "secret = \"s\""),
            ("fixed", fixed.url("/"), "headers = { TraceParent = \"mine\" }"),
            ("late", format!("http://localhost:{late}/"), "non_2xx = \"retry\""),
            ("bad", bad.url("/"), "non_2xx = \"retry\""),
        ];
        let toml = configuration(&bus.url, &partner.url, &urls);
        let lockgate = Lockgate::start_ready(&Configuration::write(folder.path(), &toml)).await;
        let platform = Client::connect(&bus.url).await;
        publish_all(&platform).await;

        check_requests(&arrived(&hook, 4).await, "/", PASSED);
        let nothing = PASSED.map(|(id, ..)| (id, None, None));
        check_requests(&arrived(&elsewhere, 4).await, "/away", nothing);
        check_requests(&erp.received(), "/first", PASSED);
        check_requests(&erp.received(), "/second", PASSED);
        let mine = PASSED.map(|(id, ..)| (id, Some("mine"), None));
        check_requests(&arrived(&fixed, 4).await, "/", mine);
        let messages = there.take("partner", 4).await;
        for (id, parent, state) in PASSED {
            let of_event = |m: &&Message| {
                m.properties.message_id().as_ref().is_some_and(|found| found.as_str() == id)
            };
            let message = messages.iter().find(of_event).unwrap();
            assert_eq!(text(message, "traceparent"), parent, "{id}");
            assert_eq!(text(message, "tracestate"), state, "{id}");
        }
        survives_parking(&lockgate, late).await;
        check_log(&lockgate).await;
        lockgate.reconciles().await;
    });
}

/// The events that were parked for want of a listener come with their traces.
async fn survives_parking(lockgate: &Lockgate, port: u16) {
    let parked = "lockgate_routes_total{endpoint=\"late\",settlement=\"parked\"}";
    eventually("every event was parked", DEADLINE, || async {
        (lockgate.metric(parked).await >= 4.0).then_some(())
    })
    .await;
    let late = HttpServer::start_on(port);
    check_requests(&arrived(&late, 4).await, "/", PASSED);
}

/// The lines of the log with this message: every line is JSON.
fn lines(lockgate: &Lockgate, message: &str) -> Vec<Value> {
    let log = lockgate.log();
    let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
    // What is said of the configuration before there is a log is for people.
    let lines = whole.lines().skip_while(|line| !line.starts_with('{'));
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).expect(line));
    lines.filter(|line| line["message"] == message).collect()
}

/// The lines of an attempt carry its span, and a dead letter its trace.
async fn check_log(lockgate: &Lockgate) {
    let dead = eventually("four dead letters in the log", DEADLINE, || async {
        Some(lines(lockgate, "dead letter")).filter(|dead| dead.len() == 4)
    })
    .await;
    let trace_of = |lines: &[Value], id: &str, endpoint: &str| -> Option<Option<String>> {
        let of_route = |line: &&Value| line["event_id"] == id && line["endpoint"] == endpoint;
        let line = lines.iter().find(of_route)?;
        Some(line["trace_id"].as_str().map(str::to_owned))
    };
    let (traced, untraced) = (Some(Some(TRACE.to_owned())), Some(None));
    assert_eq!(trace_of(&dead, "whole", "bad"), traced);
    assert_eq!(trace_of(&dead, "untraced", "bad"), untraced);
    let spans = |message: &str| -> Vec<Value> {
        lines(lockgate, message).iter().map(|line| line["span"].clone()).collect()
    };
    for (message, endpoint) in [("delivered", "hook"), ("attempt failed", "bad")] {
        let spans = spans(message);
        assert!(spans.iter().all(|span| span["name"] == "attempt"), "{spans:?}");
        assert_eq!(trace_of(&spans, "whole", endpoint), traced, "{spans:?}");
        assert_eq!(trace_of(&spans, "malformed", endpoint), untraced, "{spans:?}");
    }
}

#[test]
fn an_endpoint_that_flaps_has_few_lines_in_the_log_and_loses_nothing() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let (bus, partner) = (node().place(), node().place());
        let flaps = HttpServer::start();
        let asked = AtomicUsize::new(0);
        flaps.answer(move |_| {
            let odd = asked.fetch_add(1, Ordering::Relaxed) % 2 == 1;
            Answer::status(if odd { 503 } else { 200 })
        });
        let there = Client::connect(&partner.url).await;
        there.declare("partner", true).await;
        there.bind("Batch", ExchangeKind::Topic, "partner", "#").await;
        let urls = [("flaps", flaps.url("/"), "non_2xx = \"retry\"")];
        let toml = configuration(&bus.url, &partner.url, &urls).replace(
            "breaker = { open = \"1s\", open_max = \"1s\" }",
            "max_in_flight = 1\nbreaker = { failures = 1, open = \"100ms\", open_max = \"100ms\" }",
        );
        let lockgate = Lockgate::start_ready(&Configuration::write(folder.path(), &toml)).await;
        let platform = Client::connect(&bus.url).await;
        let number = AtomicUsize::new(0);
        let told = || {
            let mut told = lines(&lockgate, "endpoint state");
            told.retain(|line| line["endpoint"] == "flaps");
            told
        };
        eventually("a line says that others were left out", DEADLINE, || async {
            let id = format!("e-{}", number.fetch_add(1, Ordering::Relaxed));
            let properties = Properties::default()
                .with_type("Batch/batch_run_status".into())
                .with_message_id(id.into());
            platform.publish("platform", "x", properties, b"{}").await;
            let left_out = told().iter().filter_map(|line| line["left_out"].as_u64()).max();
            (left_out? >= 5).then_some(())
        })
        .await;
        let at = |line: &Value| line["timestamp"].as_str().unwrap().parse::<Timestamp>().unwrap();
        let times: Vec<Timestamp> = told().iter().map(at).collect();
        assert!(times.len() >= 4, "{times:?}");
        for few in times.windows(4) {
            let took = few[3].duration_since(few[0]).as_secs_f64();
            assert!(took > 29.5, "four lines within {took} s");
        }
        flaps.answer(|_| Answer::ok());
        let sent = number.load(Ordering::Relaxed);
        let delivered = "lockgate_routes_total{endpoint=\"flaps\",settlement=\"delivered\"}";
        eventually("everything is delivered", DEADLINE, || async {
            let delivered = lockgate.metric(delivered).await;
            (delivered >= f64::from(u32::try_from(sent).unwrap())).then_some(())
        })
        .await;
        lockgate.reconciles().await;
    });
}
