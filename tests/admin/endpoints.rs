//! Pause, resume and test, and the audit line that each leaves.

use lockgate::bus::Queue;
use serde_json::{Value, json};

use super::partner::{Answer, Partner};
use super::stage::{Listener, endpoint, event, eventually, name};

#[actix_rt::test]
async fn while_paused_what_comes_is_parked_and_resumed_it_arrives() {
    let partner = Partner::start(Answer::Status(200));
    let listener = Listener::open(&endpoint("erp", &partner, "")).ready().await;
    let pause = "/api/endpoints/erp/pause";
    let paused = |changed| (200, json!({"endpoint": "erp", "paused": true, "changed": changed}));
    assert_eq!(listener.post(pause, &json!({})).await, paused(true));
    assert_eq!(listener.post(pause, &json!({})).await, paused(false));
    let erp = listener.board.endpoint(&name("erp")).unwrap();
    for n in 0..5 {
        listener.bus.publish(event(n)).unwrap();
    }
    eventually("all are parked", || erp.counters.parked.get() == 5).await;
    let (_, shown) = listener.get("/api/endpoints/erp").await;
    assert_eq!((&shown["paused"], &shown["state"]), (&json!(true), &json!("paused")));
    assert_eq!(listener.bus.peek(&Queue::Parked(name("erp"))).len(), 5);
    assert_eq!(partner.count(), 0);

    let (code, resumed) = listener.post("/api/endpoints/erp/resume", &json!({})).await;
    assert_eq!((code, &resumed["paused"], &resumed["changed"]), (200, &json!(false), &json!(true)));
    eventually("all arrive", || erp.counters.delivered.get() == 5).await;
    let (_, again) = listener.post("/api/endpoints/erp/resume", &json!({})).await;
    assert_eq!(again["changed"], false);
    for verb in ["pause", "resume", "test"] {
        let (code, none) =
            listener.post(&format!("/api/endpoints/nobody/{verb}"), &json!({})).await;
        assert_eq!((code, &none["title"]), (404, &json!("Not Found")));
    }
}

#[actix_rt::test]
async fn a_test_says_what_came_of_it_and_counts_for_nothing() {
    let partner = Partner::start(Answer::Status(200));
    let listener = Listener::open(&endpoint("erp", &partner, "")).ready().await;
    let test = "/api/endpoints/erp/test";
    let (code, tested) = listener.post(test, &json!({})).await;
    assert_eq!(
        (code, &tested["outcome"], &tested["status"]),
        (200, &json!("delivered"), &json!(200))
    );
    assert_eq!((&tested["error_type"], &tested["detail"]), (&Value::Null, &Value::Null));
    assert!(tested["took_ms"].as_f64().unwrap() > 0.0);
    let sent = &partner.requests()[0];
    assert_eq!(sent.id, tested["event_id"].as_str().unwrap());
    assert!(sent.body.contains("\"test\":true"), "{}", sent.body);

    for (answer, outcome, error) in [
        (503, "transient", "http_503"),
        (400, "permanent", "http_400"),
        (401, "misconfigured", "http_401"),
    ] {
        partner.answers(Answer::Status(answer));
        let (code, tested) = listener.post(test, &json!({})).await;
        assert_eq!((code, &tested["outcome"]), (200, &json!(outcome)), "{tested:#}");
        assert_eq!(tested["error_type"], error);
        assert!(tested["detail"].as_str().unwrap().contains(&answer.to_string()), "{tested:#}");
        assert!(tested["remedy"].is_string(), "{tested:#}");
        assert!(!tested["phases"].as_array().unwrap().is_empty(), "{tested:#}");
    }
    let known = json!({"event_type": "Batch", "event_trigger": "batch_run_status"});
    assert_eq!(listener.post(test, &known).await.0, 200);
    let (_, shown) = listener.get("/api/endpoints/erp").await;
    assert_eq!((&shown["state"], &shown["counters"]["routed"]), (&json!("healthy"), &json!(0)));

    for wrong in [
        json!({"event_type": "Batch"}),
        json!({"event_trigger": "batch_run_status"}),
        json!({"event_type": "", "event_trigger": "x"}),
        json!({"event_type": 1, "event_trigger": "x"}),
        json!({"kind": "Batch"}),
    ] {
        assert_eq!(listener.post(test, &wrong).await.0, 422, "{wrong}");
    }
}

#[actix_rt::test]
async fn a_second_test_waits_for_the_first() {
    let partner = Partner::start(Answer::Never);
    let listener = Listener::open(&endpoint("erp", &partner, "")).ready().await;
    let test = "/api/endpoints/erp/test";
    let first = actix_rt::spawn(listener.post(test, &json!({})));
    eventually("the first is under way", || partner.count() == 1).await;
    let (code, busy) = listener.post(test, &json!({})).await;
    assert_eq!(code, 409, "{busy:#}");
    partner.answers(Answer::Status(200));
    assert_eq!(first.await.unwrap().1["outcome"], "delivered");
    assert_eq!(listener.post(test, &json!({})).await.0, 200);
}

#[actix_rt::test]
async fn attempts_are_shown_newest_first_by_event_and_number() {
    let partner = Partner::start(Answer::Status(200));
    let listener = Listener::open(&endpoint("erp", &partner, "")).ready().await;
    let attempts = "/api/endpoints/erp/attempts";
    assert_eq!(listener.get(attempts).await.1["attempts"], json!([]));
    for n in 0..3 {
        listener.bus.publish(event(n)).unwrap();
        eventually("it has arrived", || partner.count() == n + 1).await;
    }
    partner.answers(Answer::Status(401));
    let (_, tested) = listener.post("/api/endpoints/erp/test", &json!({})).await;
    let test = tested["event_id"].as_str().unwrap();
    let shown = listener.board.endpoint(&name("erp")).unwrap();
    eventually("all are noted", || shown.attempts().len() == 4).await;

    let (_, all) = listener.get(attempts).await;
    let ids = |answer: &Value| -> Vec<String> {
        let attempts = answer["attempts"].as_array().unwrap();
        attempts.iter().map(|attempt| attempt["event_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&all), [test, "e-2", "e-1", "e-0"]);
    let (failed, good) = (&all["attempts"][0], &all["attempts"][1]);
    for (attempt, key, value) in [
        (failed, "lane", json!("test")),
        (failed, "event", json!("lockgate.test")),
        (failed, "outcome", json!("misconfigured")),
        (failed, "error_type", json!("http_401")),
        (good, "lane", json!("express")),
        (good, "event", json!("batch.batch_run_status")),
        (good, "outcome", json!("delivered")),
        (good, "attempt", json!(1)),
        (good, "error_type", Value::Null),
        (good, "status", json!(200)),
    ] {
        assert_eq!(attempt[key], value, "{key} in {attempt:#}");
    }
    let phases = good["phases"].as_array().unwrap();
    let names: Vec<&str> = phases.iter().map(|phase| phase["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"first_byte"), "{names:?}");
    let together: f64 = phases.iter().map(|phase| phase["ms"].as_f64().unwrap()).sum();
    assert!(together <= good["took_ms"].as_f64().unwrap() + 0.001, "{good:#}");

    for (query, wanted) in [
        ("?limit=1", vec![test]),
        ("?limit=10000", vec![test, "e-2", "e-1", "e-0"]),
        ("?event_id=e-1", vec!["e-1"]),
        ("?event_id=e-1&limit=1", vec!["e-1"]),
        ("?event_id=none", vec![]),
    ] {
        let (code, answer) = listener.get(&format!("{attempts}{query}")).await;
        assert_eq!(
            (code, ids(&answer)),
            (200, wanted.into_iter().map(String::from).collect()),
            "{query}"
        );
    }
    for query in ["?limit=x", "?limit=-1", "?limit=0", "?limit=10001", "?limt=1"] {
        assert_eq!(listener.get(&format!("{attempts}{query}")).await.0, 422, "{query}");
    }
    assert_eq!(listener.get("/api/endpoints/nobody/attempts").await.0, 404);
}
