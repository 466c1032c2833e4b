//! Traces exported by OTLP: what a collector receives, what a partner is told of it, and that a
//! collector which is down costs spans and nothing else.

use std::fmt::Write as _;
use std::time::Duration;

use lapin::ExchangeKind;
use lapin::types::{AMQPValue, FieldTable};
use lockgate::domain::delivery::{HeaderValue, Message, Properties};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use prost::Message as _;
use tokio::time::Instant;

use super::support::certs;
use super::support::http::{Answer, HttpServer, Request};
use super::support::lockgate::{Configuration, Lockgate};
use super::support::rabbitmq::{Client, node};
use super::support::{eventually, free_port, on_system};

const DEADLINE: Duration = Duration::from_secs(60);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PLATFORM: &str = "b7ad6b7169203331";
const STATE: &str = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE";
const TOKEN: &str = "Bearer canary-of-the-collector";

fn parent(flags: &str) -> String {
    format!("00-{TRACE}-{PLATFORM}-{flags}")
}

/// A collector, and what it has received.
struct Collector(HttpServer);

impl Collector {
    fn spans(&self) -> Vec<Span> {
        let requests = self.0.received();
        let decoded = requests.iter().map(|request| {
            assert_eq!(request.path, "/v1/traces");
            assert_eq!(request.header("content-type"), Some("application/x-protobuf"));
            assert_eq!(request.header("authorization"), Some(TOKEN));
            ExportTraceServiceRequest::decode(request.body.clone()).unwrap()
        });
        let mut spans = Vec::new();
        for resource in decoded.flat_map(|request| request.resource_spans) {
            let said = resource.resource.unwrap().attributes;
            assert_eq!(text(&said, "service.name").as_deref(), Some("lockgate"));
            assert_eq!(text(&said, "service.version").as_deref(), Some(env!("CARGO_PKG_VERSION")));
            assert_eq!(text(&said, "service.instance.id").unwrap().len(), 32);
            spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
        spans
    }

    /// The spans of this name for this event, once there are so many.
    async fn of(&self, name: &str, event: &str, number: usize) -> Vec<Span> {
        let what = format!("{number} spans {name:?} of {event}");
        let mut found = eventually(&what, DEADLINE, || async {
            let mut spans = self.spans();
            spans.retain(|span| {
                let id = text(&span.attributes, "messaging.message.id");
                span.name == name && id.as_deref() == Some(event)
            });
            (spans.len() >= number).then_some(spans)
        })
        .await;
        assert_eq!(found.len(), number, "{what}: {found:#?}");
        found.sort_by_key(|span| span.start_time_unix_nano);
        found
    }

    async fn one(&self, name: &str, event: &str) -> Span {
        self.of(name, event, 1).await.remove(0)
    }
}

fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.clone()?.value? {
        any_value::Value::StringValue(text) => Some(text),
        any_value::Value::IntValue(number) => Some(number.to_string()),
        any_value::Value::DoubleValue(number) => Some(number.to_string()),
        other => panic!("{name} is {other:?}"),
    }
}

/// What a span says, and of which kind it is.
fn check(span: &Span, kind: SpanKind, expected: &[(&str, Option<&str>)]) {
    assert_eq!(span.kind, kind as i32, "{span:#?}");
    assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{span:#?}");
    for (name, value) in expected {
        assert_eq!(text(&span.attributes, name).as_deref(), *value, "{name} of {span:#?}");
    }
}

fn has_failed(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code == StatusCode::Error as i32)
}

/// What a partner is told when this span is the parent of its own.
fn told(span: &Span) -> String {
    format!("00-{}-{}-01", hex::encode(&span.trace_id), hex::encode(&span.span_id))
}

async fn publish(platform: &Client, id: &str, parent: Option<&str>) {
    let mut headers = FieldTable::default();
    if let Some(parent) = parent {
        headers.insert("traceparent".into(), AMQPValue::LongString(parent.into()));
        headers.insert("tracestate".into(), AMQPValue::LongString(STATE.into()));
    }
    let properties = Properties::default()
        .with_type("Batch/batch_run_status".into())
        .with_message_id(id.into())
        .with_headers(headers);
    platform.publish("platform", "x", properties, b"{}").await;
}

/// The requests for an event, once there is one.
async fn request(server: &HttpServer, id: &str) -> Request {
    eventually(&format!("{id} arrives"), DEADLINE, || async {
        let of_event = |request: &Request| request.header("x-request-id") == Some(id);
        server.received().into_iter().find(of_event)
    })
    .await
}

fn configuration(bus: &str, otlp: &str, urls: &[(&str, String)]) -> String {
    let mut toml = format!(
        "[source]\nurl = \"{bus}\"\nqueue = \"events\"\n\
         bindings = [{{ exchange = \"platform\", type = \"topic\", routing_key = \"#\" }}]\n\
         [telemetry.otlp]\nheaders = {{ authorization = {{ env = \"COLLECTOR_TOKEN\" }} }}\n{otlp}\n"
    );
    for (name, url) in urls {
        write!(
            toml,
            "[endpoints.{name}]\nevents = [\"Batch/*\"]\nretry = {{ schedule = [\"1s\"] }}\n\
             breaker = {{ open = \"1s\", open_max = \"1s\" }}\n\
             [endpoints.{name}.rest]\nurl = \"{url}\"\nnon_2xx = \"retry\"\n"
        )
        .unwrap();
    }
    toml
}

async fn start(folder: &std::path::Path, toml: &str) -> Lockgate {
    assert!(
        lockgate::spans::built_in(),
        "run integration/test, or cargo test --features failpoints,otlp"
    );
    let configuration = Configuration::write(folder, toml);
    let variables = [("COLLECTOR_TOKEN", TOKEN.to_owned()), ("RUST_LOG", "trace".to_owned())];
    let lockgate = Lockgate::start_with(&configuration, &variables);
    lockgate.ready().await;
    lockgate
}

#[test]
fn spans_say_what_became_of_each_event_and_partners_are_told_theirs() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let (bus, partner) = (node().place(), node().place());
        let collector = Collector(HttpServer::start());
        let (erp, bad, late) = (HttpServer::start(), HttpServer::start(), free_port());
        bad.answer(|_| Answer::status(400));
        let there = Client::connect(&partner.url).await;
        there.declare("partner", true).await;
        there.bind("Batch", ExchangeKind::Topic, "partner", "#").await;
        let urls = [
            ("erp", erp.url("/")),
            ("bad", bad.url("/")),
            ("late", format!("http://localhost:{late}/")),
        ];
        let otlp = format!("endpoint = \"{}\"", collector.0.url("/v1/traces"));
        let mut toml = configuration(&bus.url, &otlp, &urls);
        write!(
            toml,
            "[endpoints.partner]\nevents = [\"Batch/*\"]\n[endpoints.partner.amqp]\nurl = \"{}\"\n",
            partner.url
        )
        .unwrap();
        let lockgate = start(folder.path(), &toml).await;
        let platform = Client::connect(&bus.url).await;
        publish(&platform, "whole", Some(&parent("01"))).await;
        publish(&platform, "untraced", None).await;
        publish(&platform, "unsampled", Some(&parent("00"))).await;
        let mut headers = FieldTable::default();
        headers.insert("traceparent".into(), AMQPValue::LongString("none".into()));
        let properties = Properties::default().with_headers(headers);
        platform.publish("platform", "x", properties, b"no event").await;

        traced(&collector, &erp, &there).await;
        untraced(&collector, &erp).await;
        let late = parked(&collector, &lockgate, late).await;
        for server in [&erp, &late] {
            let request = request(server, "unsampled").await;
            assert_eq!(request.header("traceparent"), Some(parent("00").as_str()));
            assert_eq!(request.header("tracestate"), Some(STATE));
        }
        lockgate.reconciles().await;
        lockgate.terminate().await;
        let of_unsampled = |span: &Span| {
            text(&span.attributes, "messaging.message.id").as_deref() == Some("unsampled")
        };
        let spans = collector.spans();
        assert!(!spans.iter().any(of_unsampled), "{spans:#?}");
        let rejected =
            |span: &&Span| text(&span.attributes, "error.type").as_deref() == Some("rejected");
        let rejected = spans.iter().find(rejected).expect("the span of what is no event");
        assert!(rejected.name == "process events" && has_failed(rejected), "{rejected:#?}");
        // What is no event is kept as it came.
        let kept = platform.take("lockgate.rejected", 1).await.remove(0);
        let came = HeaderValue::LongString("none".into());
        assert_eq!((&kept.body[..], kept.header("traceparent")), (&b"no event"[..], Some(&came)));
        let log = lockgate.log();
        assert!(!log.contains("canary-of-the-collector"), "the log holds the collector's token");
        assert!(!log.contains("export of spans"), "{log}");
    });
}

/// An event with a trace: every span of it is a child of the platform's.
async fn traced(collector: &Collector, erp: &HttpServer, there: &Client) {
    let of_platform = |span: &Span| {
        assert_eq!(hex::encode(&span.trace_id), TRACE, "{span:#?}");
        assert_eq!(hex::encode(&span.parent_span_id), PLATFORM, "{span:#?}");
        assert_eq!(span.trace_state, STATE);
    };
    let process = collector.one("process events", "whole").await;
    of_platform(&process);
    check(
        &process,
        SpanKind::Consumer,
        &[
            ("messaging.system", Some("rabbitmq")),
            ("messaging.operation.type", Some("process")),
            ("messaging.destination.name", Some("platform:x:events")),
            ("messaging.message.body.size", Some("2")),
            ("error.type", None),
        ],
    );
    let sent = collector.one("send erp", "whole").await;
    of_platform(&sent);
    check(
        &sent,
        SpanKind::Client,
        &[
            ("lockgate.endpoint", Some("erp")),
            ("lockgate.attempt", Some("1")),
            ("lockgate.lane", Some("express")),
            ("lockgate.outcome", Some("delivered")),
            ("http.response.status_code", Some("200")),
        ],
    );
    assert!(text(&sent.attributes, "lockgate.phase.first_byte").is_some(), "{sent:#?}");
    assert!(!has_failed(&sent) && process.end_time_unix_nano >= sent.end_time_unix_nano);
    let request = request(erp, "whole").await;
    assert_eq!(request.header("traceparent"), Some(told(&sent).as_str()));
    assert_eq!(request.header("tracestate"), Some(STATE));

    let refused = collector.one("send bad", "whole").await;
    of_platform(&refused);
    let error = [("error.type", Some("http_400")), ("http.response.status_code", Some("400"))];
    check(&refused, SpanKind::Client, &error);
    assert!(has_failed(&refused), "{refused:#?}");

    let produced = collector.one("send partner", "whole").await;
    of_platform(&produced);
    check(&produced, SpanKind::Producer, &[("messaging.operation.type", Some("send"))]);
    let messages = there.take("partner", 3).await;
    let of_event = |message: &&Message| {
        message.properties.message_id().as_ref().is_some_and(|id| id.as_str() == "whole")
    };
    let message = messages.iter().find(of_event).unwrap();
    let header = |name| match message.header(name) {
        Some(HeaderValue::LongString(text)) => {
            String::from_utf8_lossy(text.as_bytes()).into_owned()
        }
        other => panic!("{name} is {other:?}"),
    };
    assert_eq!((header("traceparent"), header("tracestate")), (told(&produced), STATE.to_owned()));
}

/// An event without a trace begins one, in which its attempts are below the message's span.
async fn untraced(collector: &Collector, erp: &HttpServer) {
    let process = collector.one("process events", "untraced").await;
    assert!(process.parent_span_id.is_empty(), "{process:#?}");
    let sent = collector.one("send erp", "untraced").await;
    assert_eq!(sent.trace_id, process.trace_id);
    assert_eq!(sent.parent_span_id, process.span_id);
    let request = request(erp, "untraced").await;
    assert_eq!(request.header("traceparent"), Some(told(&sent).as_str()));
    assert_eq!(request.header("tracestate"), None);
}

/// Attempts after a wait in a queue have the parent that the first one had.
async fn parked(collector: &Collector, lockgate: &Lockgate, port: u16) -> HttpServer {
    let parked = "lockgate_routes_total{endpoint=\"late\",settlement=\"parked\"}";
    eventually("every event was parked", DEADLINE, || async {
        (lockgate.metric(parked).await >= 3.0).then_some(())
    })
    .await;
    let late = HttpServer::start_on(port);
    for event in ["whole", "untraced"] {
        let request = request(&late, event).await;
        let delivered = eventually("the span of its delivery", DEADLINE, || async {
            let mut spans = collector.spans();
            spans.retain(|span| request.header("traceparent") == Some(told(span).as_str()));
            spans.pop()
        })
        .await;
        let said = [("lockgate.lane", Some("parked")), ("lockgate.outcome", Some("delivered"))];
        check(&delivered, SpanKind::Client, &said);
        let process = collector.one("process events", event).await;
        assert_eq!(delivered.trace_id, process.trace_id);
        let first = if event == "whole" { hex::decode(PLATFORM).unwrap() } else { process.span_id };
        assert_eq!(delivered.parent_span_id, first, "{delivered:#?}");
    }
    late
}

#[test]
fn what_is_not_sampled_is_not_exported_and_passes_unchanged() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let bus = node().place();
        let (collector, erp) = (Collector(HttpServer::start()), HttpServer::start());
        let otlp = format!("endpoint = \"{}\"\nsample = 0", collector.0.url("/v1/traces"));
        let toml = configuration(&bus.url, &otlp, &[("erp", erp.url("/"))]);
        let lockgate = start(folder.path(), &toml).await;
        let platform = Client::connect(&bus.url).await;
        publish(&platform, "unsampled", Some(&parent("00"))).await;
        publish(&platform, "untraced", None).await;
        let traceparent = |request: &Request| request.header("traceparent").map(str::to_owned);
        assert_eq!(traceparent(&request(&erp, "unsampled").await), Some(parent("00")));
        assert_eq!(traceparent(&request(&erp, "untraced").await), None);
        lockgate.reconciles().await;
        lockgate.terminate().await;
        assert_eq!(collector.spans(), []);
    });
}

#[test]
fn a_collector_that_is_down_costs_spans_alone_and_two_lines() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let bus = node().place();
        let (port, erp) = (free_port(), HttpServer::start());
        let otlp = format!("endpoint = \"http://localhost:{port}/v1/traces\"\ntimeout = \"2s\"");
        let toml = configuration(&bus.url, &otlp, &[("erp", erp.url("/"))]);
        let lockgate = start(folder.path(), &toml).await;
        let platform = Client::connect(&bus.url).await;
        let lines = |words: &str| lockgate.log().lines().filter(|l| l.contains(words)).count();
        // Several batches, each of which fails.
        for batch in 0..3 {
            let id = format!("down-{batch}");
            publish(&platform, &id, None).await;
            request(&erp, &id).await;
            let lost = f64::from(2 * (batch + 1));
            eventually("its spans are lost", DEADLINE, || async {
                (lockgate.metric("lockgate_spans_dropped_total").await >= lost).then_some(())
            })
            .await;
        }
        assert_eq!(lines("the export of spans fails"), 1);
        assert!(lockgate.log().contains("connection refused"), "the reason is in the log");

        let collector = Collector(HttpServer::start_on(port));
        publish(&platform, "up", None).await;
        let sent = collector.one("send erp", "up").await;
        assert_eq!(sent.trace_id, collector.one("process events", "up").await.trace_id);
        eventually("that it works again", DEADLINE, || async {
            (lines("the export of spans works again") == 1).then_some(())
        })
        .await;
        assert_eq!(lines("the export of spans fails"), 1);
        lockgate.reconciles().await;

        // What waits for a batch at the end goes before the end.
        publish(&platform, "last", None).await;
        request(&erp, "last").await;
        lockgate.terminate().await;
        collector.one("send erp", "last").await;
        collector.one("process events", "last").await;
        assert!(!lockgate.log().contains("canary-of-the-collector"));
    });
}

#[test]
fn a_collector_that_hangs_holds_up_neither_events_nor_the_end() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let bus = node().place();
        let (hangs, erp) = (HttpServer::start(), HttpServer::start());
        hangs.answer(|_| Answer::ok().after(Duration::from_secs(60)));
        let otlp = format!("endpoint = \"{}\"\ntimeout = \"1m\"", hangs.url("/v1/traces"));
        let toml = configuration(&bus.url, &otlp, &[("erp", erp.url("/"))]);
        let lockgate = start(folder.path(), &toml).await;
        let platform = Client::connect(&bus.url).await;
        publish(&platform, "first", None).await;
        eventually("a batch hangs", DEADLINE, || async {
            (!hangs.received().is_empty()).then_some(())
        })
        .await;
        publish(&platform, "second", None).await;
        request(&erp, "second").await;
        lockgate.reconciles().await;
        let began = Instant::now();
        lockgate.terminate().await;
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        assert!(lockgate.log().contains("the last spans may not have reached the collector"));
    });
}

#[test]
fn a_collector_is_reached_by_tls_with_a_ca_file_of_its_own() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let (bus, erp) = (node().place(), HttpServer::start());
        let certs = certs::make(folder.path());
        let collector = Collector(HttpServer::start_tls(&certs));
        let otlp = format!(
            "endpoint = \"{}\"\ntls = {{ ca_file = \"{}\" }}",
            collector.0.url("/v1/traces"),
            certs.ca.display()
        );
        let toml = configuration(&bus.url, &otlp, &[("erp", erp.url("/"))]);
        let lockgate = start(folder.path(), &toml).await;
        let platform = Client::connect(&bus.url).await;
        publish(&platform, "secure", None).await;
        collector.one("send erp", "secure").await;
        lockgate.reconciles().await;
    });
}
