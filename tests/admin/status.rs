//! The status and its stream: what they show, also while the bus is down.

use std::time::Duration;

use bytes::BytesMut;
use futures_util::StreamExt as _;
use lockgate::domain::delivery::Message;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::partner::{Answer, Partner};
use super::stage::{DEADLINE, Listener, admin, ask, endpoint, event, eventually, is, name};

#[actix_rt::test]
async fn the_status_shows_the_instance_the_source_and_every_endpoint() {
    let (good, bad) = (Partner::start(Answer::Status(200)), Partner::start(Answer::Status(503)));
    let endpoints = format!(
        "{}{}\n[endpoints.off]\nenabled = false\n[endpoints.off.mqtt]\nurl = \"mqtt://me:canary@127.0.0.1:9\"\n",
        endpoint("erp", &good, ""),
        endpoint("flaky", &bad, "")
    );
    let listener = Listener::open(&endpoints).ready().await;
    for n in 0..3 {
        listener.bus.publish(event(n)).unwrap();
    }
    listener.bus.publish(Message { body: "no event".into(), ..event(3) }).unwrap();
    let source = &listener.board.source;
    eventually("all are acknowledged", || {
        source.acknowledged.get() == 4 && source.oldest_unsettled().is_none()
    })
    .await;
    let (code, status) = listener.get("/api/status").await;
    assert_eq!(code, 200);

    let instance = &status["instance"];
    assert_eq!((&instance["id"], &instance["host"]), (&json!("test"), &json!("here")));
    assert_eq!(instance["environment"], "development");
    assert_eq!(instance["version"], env!("CARGO_PKG_VERSION"));
    assert!(listener.config.load().digest.starts_with(instance["configuration"].as_str().unwrap()));
    assert_eq!(instance["configuration"].as_str().unwrap().len(), 12);
    let started: jiff::Timestamp = instance["started_at"].as_str().unwrap().parse().unwrap();
    assert!(started <= lockgate::world::now());
    assert!(instance["uptime_seconds"].as_u64().unwrap() < 600);

    let source = &status["source"];
    for (key, value) in [
        ("consuming", json!(true)),
        ("queue", json!("q")),
        ("received", json!(4)),
        ("acknowledged", json!(4)),
        ("rejected", json!(1)),
        ("stale", json!(0)),
        ("unwanted", json!(0)),
        ("in_flight", json!(0)),
    ] {
        assert_eq!(source[key], value, "{key} in {source:#}");
    }

    let names: Vec<&Value> =
        status["endpoints"].as_array().unwrap().iter().map(|e| &e["name"]).collect();
    assert_eq!(names, ["erp", "flaky", "off"]);
    let [erp, flaky, off] = [0, 1, 2].map(|n| status["endpoints"][n].clone());
    assert_eq!((&erp["transport"], &erp["target"]), (&json!("rest"), &json!(good.url())));
    assert_eq!((&erp["state"], &erp["counters"]["delivered"]), (&json!("healthy"), &json!(3)));
    assert_eq!((&erp["enabled"], &erp["paused"]), (&json!(true), &json!(false)));
    assert_eq!((&erp["last_error"], &erp["next_probe"]), (&Value::Null, &Value::Null));
    assert_eq!(flaky["counters"]["parked"], 3);
    assert!(flaky["last_error"]["text"].as_str().unwrap().contains("503"), "{flaky:#}");
    assert!(flaky["last_error"]["remedy"].is_string(), "{flaky:#}");
    let at: jiff::Timestamp = flaky["last_error"]["at"].as_str().unwrap().parse().unwrap();
    assert!(at >= started, "{flaky:#}");
    for (what, shown) in [("source", source), ("erp", &erp), ("off", &off)] {
        assert_eq!(shown["rates"].as_array().unwrap().len(), 180, "{what}");
    }
    let total = |shown: &Value| -> f64 {
        shown["rates"].as_array().unwrap().iter().map(|rate| rate.as_f64().unwrap()).sum()
    };
    // Each is a rate over five seconds, but for the last one, which has just begun.
    for (shown, events) in [(source, 4.0), (&erp, 3.0)] {
        let total = total(shown) * 5.0;
        assert!((events - 0.01..events * 5.0 + 0.01).contains(&total), "{total} of {events}");
    }
    assert!(total(&off).abs() < f64::EPSILON);
    assert!(erp["rate"].as_f64().unwrap() > 0.0 && off["rate"].as_f64().unwrap() < f64::EPSILON);
    assert!(erp["p50_ms"].as_f64().unwrap() <= erp["p99_ms"].as_f64().unwrap());
    assert_eq!((&off["p50_ms"], &source["oldest_unsettled_seconds"]), (&Value::Null, &Value::Null));
    assert_eq!((&off["state"], &off["enabled"]), (&json!("paused"), &json!(false)));
    assert_eq!(off["transport"], "mqtt");

    // One alone is the same, and neither shows a credential.
    let (code, alone) = listener.get("/api/endpoints/erp").await;
    assert_eq!((code, &alone["counters"]), (200, &erp["counters"]));
    let (_, all) = listener.get("/api/endpoints").await;
    assert_eq!(all["endpoints"].as_array().unwrap().len(), 3);
    assert!(!status.to_string().contains("canary") && !all.to_string().contains("canary"));
    let (code, none) = listener.get("/api/endpoints/nobody").await;
    assert_eq!((code, &none["detail"]), (404, &json!("no endpoint is called \"nobody\"")));
    assert_eq!(listener.get("/api/endpoints/No%20Name").await.0, 404);
}

#[actix_rt::test]
async fn while_the_bus_is_down_the_status_answers_at_once() {
    let partner = Partner::start(Answer::Status(200));
    let listener = Listener::open(&endpoint("erp", &partner, "")).ready().await;
    listener.bus.cut(true);
    let consuming = || listener.board.source.consuming.load(std::sync::atomic::Ordering::Relaxed);
    eventually("it consumes no more", || !consuming()).await;
    let began = Instant::now();
    let (code, status) = listener.get("/api/status").await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!((code, &status["source"]["consuming"]), (200, &json!(false)));
}

/// The data of one `status` event after the other.
struct Events {
    answer: std::pin::Pin<Box<dyn futures_util::Stream<Item = Option<bytes::Bytes>>>>,
    buffer: BytesMut,
}

impl Events {
    async fn open(listener: &Listener) -> Result<Self, u16> {
        let client = awc::Client::builder().disable_timeout().finish();
        let url = format!("http://{}/api/stream", listener.address);
        let answer = client.get(url).send().await.unwrap();
        if answer.status() != 200 {
            return Err(answer.status().as_u16());
        }
        assert_eq!(answer.headers().get("Content-Type").unwrap(), "text/event-stream");
        let answer = Box::pin(answer.map(Result::ok));
        Ok(Self { answer, buffer: BytesMut::new() })
    }

    /// `None`: the stream has ended.
    async fn next(&mut self) -> Option<Value> {
        loop {
            let text = String::from_utf8_lossy(&self.buffer).into_owned();
            if let Some((event, _)) = text.split_once("\n\n") {
                let _ = self.buffer.split_to(event.len() + 2);
                let data = event.strip_prefix("event: status\ndata: ").unwrap();
                let value: Value = serde_json::from_str(data).unwrap();
                super::schema::holds("GET", "/api/status", 200, &value);
                return Some(value);
            }
            let more =
                timeout(DEADLINE, self.answer.next()).await.expect("a stream is never silent");
            self.buffer.extend_from_slice(&more??);
        }
    }
}

#[actix_rt::test]
async fn the_stream_has_the_status_at_once_and_then_every_second() {
    let partner = Partner::start(Answer::Status(200));
    let listener = Listener::open(&endpoint("erp", &partner, "")).ready().await;
    let began = Instant::now();
    let mut events = Events::open(&listener).await.unwrap();
    assert_eq!(events.next().await.unwrap()["endpoints"][0]["paused"], false);
    listener.post("/api/endpoints/erp/pause", &json!({})).await;
    // One may be under way already.
    let mut more = 1;
    while events.next().await.unwrap()["endpoints"][0]["paused"] != true {
        more += 1;
        assert!(more <= 2, "the pause is not shown");
    }
    events.next().await.unwrap();
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(1_900), "three events within {took:?}");
}

#[actix_rt::test]
async fn the_head_of_a_stream_alone_opens_none() {
    let listener = Listener::open("");
    for _ in 0..40 {
        let head = ask(listener.address, "HEAD /api/stream", &["Host: localhost"]).await;
        is(&head, 200, "content-type: text/event-stream");
    }
    assert!(Events::open(&listener).await.is_ok());
}

#[actix_rt::test]
async fn streams_are_counted_and_end_with_the_listener_in_no_time() {
    let listener = Listener::open("");
    let mut open = Vec::new();
    for _ in 0..32 {
        let mut events = Events::open(&listener).await.unwrap();
        events.next().await.unwrap();
        open.push(events);
    }
    let (code, refused) = listener.get("/api/stream").await;
    assert_eq!((code, &refused["detail"]), (503, &json!("32 streams are open")));
    // Others are answered all the same.
    assert_eq!(listener.get("/api/status").await.0, 200);

    open.pop();
    let began = Instant::now();
    loop {
        match Events::open(&listener).await {
            Ok(events) => break open.push(events),
            Err(code) => assert_eq!(code, 503),
        }
        assert!(began.elapsed() < DEADLINE, "a stream that is gone keeps its place");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let began = Instant::now();
    listener.stop().await;
    for mut events in open {
        while events.next().await.is_some() {}
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(tokio::net::TcpStream::connect(listener.address).await.is_err());
}

#[actix_rt::test]
async fn an_endpoint_that_is_in_one_of_board_and_configuration_only_is_not_shown() {
    let partner = Partner::start(Answer::Status(200));
    let two = endpoint("erp", &partner, "") + &endpoint("old", &partner, "");
    let listener = Listener::with(&admin("127.0.0.1:0", None, &[]), &two);
    let mut config = lockgate::config::Config::clone(&listener.config.load());
    config.endpoints.remove(&name("old"));
    listener.config.store(std::sync::Arc::new(config));
    let (_, all) = listener.get("/api/endpoints").await;
    assert_eq!(all["endpoints"].as_array().unwrap().len(), 1);
    assert_eq!(listener.get("/api/endpoints/old").await.0, 404);
    assert_eq!(listener.get("/api/endpoints/erp").await.0, 200);
}
