//! Answers held to the API's own document.
//!
//! Owns how the schema for an answer is found, and that nothing may be in an answer that the document
//! does not name.

use std::sync::LazyLock;

use serde_json::{Value, json};

/// The document, closed: no object may have keys that its schema does not name.
static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let mut document = serde_json::to_value(lockgate::admin::api::openapi()).unwrap();
    close(&mut document["components"]["schemas"]);
    document
});

fn close(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(close);
            if map.get("properties").is_some_and(Value::is_object) {
                map.entry("additionalProperties").or_insert(json!(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// Every path and method in the document.
pub fn documented() -> Vec<(String, String)> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let methods = |(path, methods): (&String, &Value)| {
        let names = methods.as_object().unwrap().keys();
        names.map(|method| (method.to_uppercase(), path.clone())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(methods).collect()
}

fn fits(template: &str, path: &str) -> bool {
    let (wanted, found): (Vec<_>, Vec<_>) =
        (template.split('/').collect(), path.split('/').collect());
    wanted.len() == found.len()
        && wanted
            .iter()
            .zip(&found)
            .all(|(wanted, found)| wanted.starts_with('{') || wanted == found)
}

/// The schema of an answer. A status that a path does not name, such as 401, is a problem.
fn schema_of(method: &str, path: &str, status: u16) -> Value {
    let path = path.split('?').next().unwrap();
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let method = method.to_lowercase();
    // A path as it stands comes before one with a name in it.
    let exact = paths.get_key_value(path).filter(|(_, methods)| methods.get(&method).is_some());
    let mut fitting = paths.iter().filter(|(template, _)| fits(template, path));
    let named = || fitting.find(|(_, methods)| methods.get(&method).is_some());
    let found = exact.or_else(named);
    let answer = found.map(|(_, methods)| {
        let responses = &methods[&method]["responses"];
        responses[status.to_string()]["content"].as_object().and_then(|kinds| kinds.values().next())
    });
    match answer.flatten() {
        Some(content) => content["schema"].clone(),
        None => json!({"$ref": "#/components/schemas/Problem"}),
    }
}

/// Fails where the answer is not what the document says.
#[track_caller]
pub fn holds(method: &str, path: &str, status: u16, answer: &Value) {
    let mut schema = schema_of(method, path, status);
    schema["components"] = DOCUMENT["components"].clone();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let wrong: Vec<String> =
        validator.iter_errors(answer).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(wrong.is_empty(), "{method} {path} {status}: {wrong:#?}\n{answer:#}");
}

#[test]
fn an_answer_with_a_wrong_a_missing_or_an_unknown_key_is_found() {
    let good = json!({"endpoint": "erp", "paused": true, "changed": false});
    holds("POST", "/api/endpoints/erp/pause", 200, &good);
    for (key, value) in
        [("paused", json!("yes")), ("surprise", json!(1)), ("endpoint", Value::Null)]
    {
        let mut bad = good.clone();
        bad[key] = value;
        let caught =
            std::panic::catch_unwind(|| holds("POST", "/api/endpoints/erp/pause", 200, &bad));
        assert!(caught.is_err(), "{bad}");
    }
    let lacking = json!({"endpoint": "erp", "paused": true});
    let caught =
        std::panic::catch_unwind(|| holds("POST", "/api/endpoints/erp/pause", 200, &lacking));
    assert!(caught.is_err());
}
