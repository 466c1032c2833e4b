//! The header rows of the contract's data for REST and webhooks, through the function that both
//! the publishers and `lockgate explain` use.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use bytes::Bytes;
use lockgate::domain::delivery::{Address, Outgoing, TraceContext};
use lockgate::transport::http::{Header, Reach};
use lockgate::transport::{rest, webhook};
use serde_json::{Value, json};

fn load(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn rest_data() -> Value {
    load(include_str!("conformance/rest.json"))
}

fn outgoing(id: &str, name: &str, body: &str) -> Outgoing {
    Outgoing {
        event_id: id.into(),
        event_name: name.into(),
        address: Address::Url,
        body: Bytes::copy_from_slice(body.as_bytes()),
        trace: None,
    }
}

fn value<'a>(headers: &'a [Header], name: &str) -> Option<&'a Header> {
    let mut found = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
    let first = found.next();
    assert!(found.next().is_none(), "{name} is there twice");
    first
}

/// Checks that these headers are there with exactly these values.
fn check(headers: &[Header], expected: &Value) {
    for (name, expected) in expected.as_object().unwrap() {
        let found = value(headers, name).map(|header| header.value.as_str());
        assert_eq!(found, expected.as_str(), "{name}");
    }
}

fn rest_headers(settings: Value) -> Vec<Header> {
    let settings: rest::Settings = serde_json::from_value(settings).unwrap();
    assert_eq!(settings.validate(), [], "{settings:?}");
    let id = rest_data()["event_id"].as_str().unwrap().to_owned();
    settings.headers(&outgoing(&id, "operation.completed", "{}"))
}

#[test]
fn every_request_has_the_headers_of_the_contract() {
    let always = &rest_data()["always"];
    assert_eq!(always.as_object().unwrap().len(), 3);
    let headers = rest_headers(json!({ "url": "https://h/" }));
    check(&headers, always);
    assert!(value(&headers, "Authorization").is_none());
    assert!(headers.iter().all(|header| !header.secret));
}

#[test]
fn credentials_are_written_as_the_contract_has_them() {
    let data = rest_data();
    let rows = data["auth"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    for row in rows {
        let (auth, name, value_expected) = match row["kind"].as_str().unwrap() {
            "basic" => (
                json!({ "basic": { "username": row["username"], "password": row["password"] } }),
                row["header"].as_str().unwrap(),
                row["value"].as_str().unwrap(),
            ),
            "api-key" => (
                json!({ "api_key": { "header": row["name"], "value": row["value"] } }),
                row["name"].as_str().unwrap(),
                row["value"].as_str().unwrap(),
            ),
            other => panic!("an unknown kind of row: {other}"),
        };
        let headers = rest_headers(json!({ "url": "https://h/", "auth": auth }));
        check(&headers, &data["always"]);
        let header = value(&headers, name).unwrap();
        assert_eq!(header.value, value_expected);
        assert_eq!((header.secret, header.reach), (true, Reach::FirstOrigin));
        assert!(!format!("{headers:?}").contains(value_expected));
    }
}

#[test]
fn a_user_part_of_the_url_means_basic_authentication() {
    let data = rest_data();
    let expected = &data["auth"][1]["value"];
    let headers = rest_headers(json!({ "url": "https://j%C3%BCrgen:p%C3%A4%3Ass@h/" }));
    check(&headers, &json!({ "Authorization": expected }));
}

#[test]
fn what_is_bound_to_the_first_origin_is_all_but_the_ids_and_the_content_type() {
    let data = rest_data();
    assert_eq!(data["redirects"].as_array().unwrap().len(), 10);
    let headers = rest_headers(json!({
        "url": "https://h/",
        "auth": { "api_key": { "header": "X-API-Key", "value": "k-123" } },
        "headers": { "X-Plant": "chicago" },
    }));
    let bound: Vec<_> = headers.iter().filter(|h| h.reach == Reach::FirstOrigin).collect();
    let names: Vec<_> = bound.iter().map(|header| header.name.as_str()).collect();
    assert_eq!(names, ["X-Plant", "X-API-Key"]);
    assert_eq!(value(&headers, "Content-Type").unwrap().reach, Reach::WithBody);
}

#[test]
fn a_trace_goes_to_the_first_origin_alone_and_what_is_configured_under_its_names_wins() {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let trace = TraceContext { parent: parent.into(), state: Some("a=1".into()) };
    let outgoing = Outgoing { trace: Some(trace), ..outgoing("e-1", "a.b", "{}") };
    let check = |headers: &[Header], expected: [Option<&str>; 2]| {
        let found = ["traceparent", "tracestate"].map(|name| value(headers, name));
        assert_eq!(found.map(|header| header.map(|h| h.value.as_str())), expected);
        let bound = |header: &&Header| header.reach == Reach::FirstOrigin;
        assert!(found.iter().flatten().all(bound), "{headers:?}");
    };
    let both = [Some(parent), Some("a=1")];
    for (more, expected) in [
        (json!({}), both),
        (json!({ "headers": { "X-Plant": "chicago" } }), both),
        (json!({ "headers": { "TraceParent": "mine" } }), [Some("mine"), None]),
        (json!({ "headers": { "TraceState": "mine" } }), [Some(parent), Some("mine")]),
    ] {
        let mut table = json!({ "url": "https://h/" });
        table.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let settings: rest::Settings = serde_json::from_value(table.clone()).unwrap();
        assert_eq!(settings.validate(), []);
        check(&settings.headers(&outgoing), expected);
        table["secret"] = json!("s");
        let settings: webhook::Settings = serde_json::from_value(table).unwrap();
        check(&settings.headers(&outgoing, jiff::Timestamp::UNIX_EPOCH), expected);
    }
    let keyed = json!({ "url": "https://h/",
        "auth": { "api_key": { "header": "traceparent", "value": "key" } } });
    let keyed: rest::Settings = serde_json::from_value(keyed).unwrap();
    check(&keyed.headers(&outgoing), [Some("key"), None]);
}

#[test]
fn webhooks_are_signed_as_the_contract_has_it() {
    let data = load(include_str!("conformance/webhook.json"));
    let rows = data["cases"].as_array().unwrap();
    assert_eq!(rows.len(), 13);
    for row in rows {
        let settings = json!({ "url": "https://h/", "secret": row["secret"] });
        let settings: webhook::Settings = serde_json::from_value(settings).unwrap();
        let name = row["event_name"].as_str().unwrap();
        let outgoing = outgoing("e-1", name, row["body"].as_str().unwrap());
        let headers = settings.headers(&outgoing, jiff::Timestamp::UNIX_EPOCH);
        check(&headers, &row["headers"]);
        check(&headers, &json!({ "X-Request-Id": "e-1", "X-Correlation-Id": "e-1" }));
        assert!(value(&headers, "webhook-signature").is_none());
    }
}

#[test]
fn standard_webhooks_are_signed_as_the_contract_has_it() {
    let data = load(include_str!("conformance/standard_webhooks.json"));
    let rows = |name: &str| data[name].as_array().unwrap().clone();
    let (cases, rotation, both) = (rows("cases"), rows("rotation"), rows("both"));
    assert_eq!((cases.len(), rotation.len(), both.len()), (2, 1, 1));
    for (rows, signature) in [(cases, "standard"), (rotation, "standard"), (both, "both")] {
        for row in rows {
            let mut settings = json!({ "url": "https://h/", "signature": signature });
            for key in ["secret", "secrets"] {
                if let Some(secret) = row.get(key) {
                    settings[key] = secret.clone();
                }
            }
            let settings: webhook::Settings = serde_json::from_value(settings).unwrap();
            assert_eq!(settings.validate(), []);
            let name = row["event_name"].as_str().unwrap_or("operation.completed");
            let id = row["id"].as_str().unwrap();
            let outgoing = outgoing(id, name, row["body"].as_str().unwrap());
            let at = jiff::Timestamp::from_second(row["timestamp"].as_i64().unwrap()).unwrap();
            let headers = settings.headers(&outgoing, at);
            check(&headers, &row["headers"]);
            let eryxon = value(&headers, "X-Eryxon-Signature").is_some();
            assert_eq!(eryxon, signature == "both");
        }
    }
}
