//! `lockgate explain`, through the binary: what becomes of an event, to the byte.

use serde_json::{Value, json};

use crate::support::{BASE, Told, lockgate};

const TABLES: &str = r#"
[organization]
id = "org-1"
name = "Acme Bio"
[event_configurations.all]
events = ["operation.*", "Batch/batch_run_status"]
endpoints = ["erp", "hook"]
metadata_in_payload = true
[event_configurations.b-shadowed]
events = ["operation.completed"]
endpoints = ["erp"]
[event_configurations.c-off]
enabled = false
events = ["*/*"]
endpoints = ["bus"]
[endpoints.erp.rest]
url = "https://u:canary-1@erp.example/tempo?k=canary-2"
headers = { "X-Plant" = "chicago", "X-Key" = { env = "KEY" } }
[endpoints.hook.webhook]
url = "https://hooks.example/x"
secret = { env = "KEY" }
[endpoints.line]
events = ["operation.completed", "x.y"]
[endpoints.line.mqtt]
url = "mqtt://broker.example"
password = { env = "KEY" }
username = "u"
topic_pattern = "{enterprise}/{cell}/{event}"
topic_defaults = { enterprise = "Acme" }
topic_fields = { cell = "/cell_name" }
[endpoints.std]
events = ["Plus+Sign/*"]
[endpoints.std.mqtt]
url = "mqtt://broker.example"
[endpoints.bus]
events = ["Procedure Run/*"]
[endpoints.bus.amqp]
url = "amqps://u:canary-3@mq.example/v"
"#;

fn explain(input: &str, flags: &[&str]) -> Told {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("plant.toml"), format!("{BASE}{TABLES}")).unwrap();
    let arguments: Vec<&str> =
        ["explain", "--event", "-"].into_iter().chain(flags.iter().copied()).collect();
    let told = lockgate(folder.path(), "plant", &arguments, &[("KEY", "canary-4")], input);
    assert!(!format!("{told:?}").contains("canary"), "{told:?}");
    told
}

fn explained(input: &str, flags: &[&str]) -> Value {
    let flags: Vec<&str> = flags.iter().copied().chain(["--json"]).collect();
    let told = explain(input, &flags);
    assert_eq!(told.code, 0, "{told:?}");
    serde_json::from_str(&told.out).unwrap_or_else(|error| panic!("{error}: {told:?}"))
}

fn named() -> String {
    json!({
        "exchange": "platform",
        "routing_key": "k",
        "properties": { "message_id": "m-1" },
        "body": r#"{"event":"operation.completed","timestamp":"2024-01-15T10:30:00Z","data":{"cell_name":"Laser Cutting"}}"#,
    })
    .to_string()
}

#[test]
fn every_configuration_and_every_endpoint_is_explained() {
    let found = explained(&named(), &[]);
    assert_eq!(found["event"]["name"], "operation.completed");
    assert_eq!(found["event"]["id"], "m-1");
    assert_eq!(found["event"]["shape"], "named");
    assert_eq!(found["event"]["organization_name"], "Acme Bio");
    assert_eq!(found["event"]["source_environment"], "plant");
    let why = |configuration: &str, endpoint: &str| {
        let all = found["configurations"].as_array().unwrap();
        let one =
            all.iter().find(|c| c["configuration"] == configuration && c["endpoint"] == endpoint);
        one.unwrap_or_else(|| panic!("{configuration} {endpoint}: {all:?}"))["why"].clone()
    };
    assert_eq!(why("all", "erp"), "matched");
    assert_eq!(why("b-shadowed", "erp"), "matches, but all comes first");
    assert_eq!(why("c-off", "bus"), "matches, but is not enabled");
    assert_eq!(why("line", "line"), "matched");
    assert_eq!(why("bus", "bus"), "not matched by procedure_run/*");
    let endpoints = found["endpoints"].as_array().unwrap();
    let names: Vec<&Value> = endpoints.iter().map(|e| &e["endpoint"]).collect();
    assert_eq!(names, ["erp", "hook", "line"]);
}

#[test]
fn a_rest_endpoint_is_shown_with_url_headers_and_the_exact_body() {
    let found = explained(&named(), &[]);
    let erp = &found["endpoints"][0];
    assert_eq!(erp["url"], "https://erp.example/tempo");
    let header = |name: &str| {
        let all = erp["headers"].as_array().unwrap();
        let one = all.iter().find(|h| h[0].as_str().unwrap().eq_ignore_ascii_case(name));
        one.unwrap_or_else(|| panic!("{name}: {all:?}"))[1].clone()
    };
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("x-request-id"), "m-1");
    assert_eq!(header("x-correlation-id"), "m-1");
    let body = erp["body"].as_str().unwrap();
    let start = r#"{"event":"operation.completed","timestamp":"2024-01-15T10:30:00Z","data":{"cell_name":"Laser Cutting"},"Metadata":{"OrganizationID":"org-1","OrganizationName":"Acme Bio""#;
    assert!(body.starts_with(start), "{body}");
    assert!(body.contains(r#""Subscriber":"erp""#), "{body}");
}

#[test]
fn an_mqtt_endpoint_is_shown_with_its_topic() {
    let found = explained(&named(), &[]);
    let line = &found["endpoints"][2];
    assert_eq!(line["topic"], "acme/laser_cutting/operation/completed");
    assert_eq!(
        line["body"],
        r#"{"event":"operation.completed","timestamp":"2024-01-15T10:30:00.000Z","data":{"cell_name":"Laser Cutting"}}"#
    );
}

#[test]
fn a_rabbitmq_endpoint_is_shown_with_exchange_and_key_and_the_bytes_as_they_arrived() {
    let body = r#"{ "event_id":"p-1", "n": 1.50 }"#;
    let found =
        explained(body, &["--exchange", "Procedure Run", "--routing-key", "step_execution"]);
    let bus = &found["endpoints"][0];
    assert_eq!(bus["exchange"], "Procedure Run");
    assert_eq!(bus["routing_key"], "step_execution");
    assert_eq!(bus["body"], body);
}

#[test]
fn flags_give_a_bare_body_its_headers() {
    let flags = ["--header", "event_type=Batch", "--header", "event_trigger=batch_run_status"];
    let found = explained(r#"{"body":"text","other":1}"#, &flags);
    assert_eq!(found["event"]["name"], "batch.batch_run_status");
    assert_eq!(
        found["endpoints"][0]["body"]
            .as_str()
            .unwrap()
            .find(r#"{"body":"text","other":1,"Metadata":{"#),
        Some(0)
    );
}

#[test]
fn an_event_that_nobody_wants_goes_nowhere_and_that_is_told() {
    let event = r#"{"event":"nobody.asked","timestamp":"2024-01-15T10:30:00Z","data":{}}"#;
    let found = explained(event, &[]);
    assert_eq!(found["endpoints"], json!([]));
    let told = explain(event, &[]);
    assert!(told.out.contains("no configuration wants it"), "{told:?}");
}

#[test]
fn an_event_that_cannot_be_sent_is_told_with_the_reason() {
    let flags = ["--header", "event_type=Plus+Sign", "--header", "event_trigger=made"];
    let found = explained("{}", &flags);
    let endpoints = found["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.len(), 1, "{found}");
    assert_eq!(endpoints[0]["endpoint"], "std");
    let failure = &endpoints[0]["failure"];
    assert_eq!(
        (&failure["class"], &failure["reason"]),
        (&json!("permanent"), &json!("illegal_topic"))
    );
    assert_eq!(endpoints[0].get("topic").unwrap_or(&Value::Null), &Value::Null, "{failure}");
    let told = explain("{}", &flags);
    assert_eq!(told.code, 0, "{told:?}");
    let line = "\n  fails (permanent, illegal_topic): the topic holds the wildcard +\n";
    assert!(told.out.contains(line), "{told:?}");
}

#[test]
fn the_form_for_people_holds_the_same() {
    let told = explain(&named(), &[]);
    assert_eq!(told.code, 0, "{told:?}");
    for line in [
        "event operation.completed\n",
        "  id: m-1\n",
        "configuration all -> erp: matched\n",
        "endpoint's own line -> line: matched\n",
        "endpoint erp by all\n  rest https://erp.example/tempo\n",
        "  topic: acme/laser_cutting/operation/completed\n",
        "  body, ",
    ] {
        assert!(told.out.contains(line), "{line:?} is not in\n{}", told.out);
    }
}

#[test]
fn what_is_no_event_is_told_with_the_reason_and_exit_code_1() {
    for (input, reason) in [("[1]", "object"), ("{", "JSON")] {
        let told = explain(input, &["--exchange", "a", "--routing-key", "b"]);
        assert_eq!(told.code, 1, "{told:?}");
        assert!(told.err.contains("error: this message is no event: "), "{told:?}");
        assert!(told.err.to_lowercase().contains(&reason.to_lowercase()), "{told:?}");
        assert!(told.err.contains("hint: it would go to the queue lockgate.rejected"), "{told:?}");
    }
}

#[test]
fn a_file_that_cannot_be_read_exits_with_2() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("plant.toml"), BASE).unwrap();
    let told = lockgate(folder.path(), "plant", &["explain", "--event", "/nowhere"], &[], "");
    assert_eq!(told.code, 2, "{told:?}");
    assert!(told.err.contains("cannot read events from /nowhere"), "{told:?}");
}

#[test]
fn a_valid_trace_is_shown_where_it_is_passed_on() {
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = |event_type: &str, parent: &str| -> Vec<Value> {
        let headers = [
            format!("event_type={event_type}"),
            "event_trigger=step_execution".to_owned(),
            format!("traceparent={parent}"),
            "tracestate=a=1".to_owned(),
        ];
        let flags: Vec<&str> = headers.iter().flat_map(|h| ["--header", h.as_str()]).collect();
        let told = explained("{}", &flags);
        told["endpoints"][0]["headers"].as_array().unwrap().clone()
    };
    let sent = [json!(["traceparent", trace]), json!(["tracestate", "a=1"])];
    for event_type in ["operation", "Procedure Run"] {
        let good = headers(event_type, trace);
        assert!(good.ends_with(&sent), "{event_type}: {good:?}");
        let bad = headers(event_type, &trace.to_uppercase());
        assert_eq!(bad[..], good[..good.len() - 2], "{event_type}");
    }
}
