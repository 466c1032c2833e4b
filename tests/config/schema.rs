//! The JSON Schema of a configuration file: it takes what the loader takes, and refuses what it can.

use std::path::Path;

use figment::providers::{Format as _, Toml};
use jsonschema::Validator;
use lockgate::config::{Environment, schema, takes_credential};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{BASE, ENDPOINT, load_with, lockgate};

fn validator() -> Validator {
    jsonschema::draft202012::new(&schema()).unwrap()
}

fn parsed(text: &str) -> Value {
    Toml::from_str(text).unwrap_or_else(|cause| panic!("{text}\n{cause}"))
}

/// What the schema says is wrong with a text, each with its place.
fn wrong(validator: &Validator, text: &str) -> Vec<String> {
    let value = parsed(text);
    validator.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect()
}

#[test]
fn it_is_a_schema_of_draft_2020_12_and_the_command_prints_it() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(jsonschema::meta::is_valid(&schema));
    let folder = tempfile::tempdir().unwrap();
    let told = lockgate(folder.path(), "nowhere", &["config", "schema"], &[], "");
    assert_eq!((told.code, told.err.as_str()), (0, ""), "{told:?}");
    assert_eq!(serde_json::from_str::<Value>(&told.out).unwrap(), schema);
}

#[test]
fn every_configuration_that_comes_with_lockgate_fits() {
    let validator = validator();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut texts: Vec<(String, String)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "toml"))
        .map(|path| (path.display().to_string(), std::fs::read_to_string(path).unwrap()))
        .collect();
    assert!(texts.len() >= 5, "{texts:?}");
    let readme = include_str!("../../README.md");
    let blocks = readme.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    texts.extend(blocks.map(|block| ("README.md".to_owned(), block.to_owned())));
    #[cfg(feature = "demo")]
    texts.push((
        "demo".to_owned(),
        lockgate::demo::configuration("mqtt://127.0.0.1:1883", "http://127.0.0.1:8080"),
    ));
    for (name, text) in texts {
        assert_eq!(wrong(&validator, &text), Vec::<String>::new(), "{name}");
    }
}

/// An endpoint `e`, without and with a transport.
fn endpoint(keys: &str) -> String {
    format!("{BASE}[endpoints.e]\nrest.url = 'https://h/'\n{keys}\n")
}

fn rest(keys: &str) -> String {
    format!("{BASE}[endpoints.e.rest]\nurl = 'https://h/'\n{keys}\n")
}

fn mqtt(keys: &str) -> String {
    format!("{BASE}[endpoints.e.mqtt]\nurl = 'mqtt://h/'\n{keys}\n")
}

fn hook(keys: &str) -> String {
    format!("{BASE}[endpoints.e.webhook]\nurl = 'https://h/'\n{keys}\n")
}

fn source(keys: &str) -> String {
    format!("[source]\nurl = 'amqp://h/%2f'\nqueue = 'q'\n{keys}\n")
}

#[test]
fn schema_and_loader_agree() {
    let validator = validator();
    #[rustfmt::skip]
    let table = [
        (source(""), true),
        (source("prefetch = 'auto'"), true),
        (source("prefetch = 100"), true),
        (source("prefetch = 0"), false),
        (source("prefetch = 65536"), false),
        (source("prefetch = '100'"), false),
        (source("bindngs = []"), false),
        (source("bindings = [{ exchange = 'x', type = 'topic' }]"), true),
        (source("bindings = [{ exchange = 'x', type = 'tpoic' }]"), false),
        (source("bindings = [{ exchange = '', type = 'topic' }]"), false),
        (source("bindings = [{ type = 'topic' }]"), false),
        (source("bindings = [{ exchange = 'x', type = 'topic', key = '#' }]"), false),
        (source("max_event_bytes = '1MiB'"), true),
        (source("max_event_bytes = 4096"), true),
        (source("max_event_bytes = '1 mib'"), true),
        (source("max_event_bytes = '1.5k'"), true),
        (source("max_event_bytes = 'large'"), false),
        (source("max_event_bytes = -1"), false),
        (source("max_event_bytes = 1.5"), false),
        (source("topology = 'verify'"), true),
        (source("topology = 'Verify'"), false),
        (source("heartbeat = '10s'"), true),
        (source("heartbeat = '1m 5s'"), true),
        (source("heartbeat = 10"), false),
        (source("heartbeat = '10'"), false),
        (source("heartbeat = '10 seconds or so'"), false),
        (source("tls = { verify = false }"), true),
        (source("tls = { verify = 'no' }"), false),
        (source("tls = { verfy = true }"), false),
        (source("attributes = { event_type = ['header:x', 'body:/a', 'property:type', 'exchange'] }"), true),
        (source("attributes = { evnt_type = ['exchange'] }"), false),
        (source("attributes = { event_type = [] }"), false),
        (source("attributes = { event_type = ['exchnge'] }"), false),
        (source("[sorce]"), false),
        ("source = 5".to_owned(), false),
        ("[source]\nurl = 'http://h/'\nqueue = 'q'\n".to_owned(), false),
        ("[source]\nurl = 'AMQPS://h/v'\nqueue = 'q'\n".to_owned(), true),
        ("[source]\nurl = 'amqp://h/%2f'\nqueue = ''\n".to_owned(), false),
        (source("[organization]\nid = 'a'"), true),
        (source("[organization]\nid = 1"), false),
        (source("[admin]\nlisten = '127.0.0.1:1'\nhosts = ['a.b']"), true),
        (source("[admin]\nhosts = ['https://a.b/']"), false),
        (source("[admin]\nhosts = 'a.b'"), false),
        (source("[admin]\nattempt_log = 0"), true),
        (source("[admin]\nattempt_log = 10001"), false),
        (source("[telemetry]\nlog_format = 'json'"), true),
        (source("[telemetry]\nlog_format = 'yaml'"), false),
        (source("[runtime]\nthreads = 64\nshutdown_grace = '0s'"), true),
        (source("[runtime]\nthreads = 0"), false),
        (source("[runtime]\nthreads = 65"), false),
        (source("[secrets]\nrequire_sealed = false"), true),
        (source("[secrets]\nkey_files = 'a.key'"), false),
        (endpoint(""), true),
        (endpoint("events = ['a/b', 'a.b.c', '*/*', 'a.*']"), true),
        (endpoint("events = ['a']"), false),
        (endpoint("events = ['a/']"), false),
        (endpoint("events = ['.a']"), false),
        (endpoint("events = 'a/b'"), false),
        (endpoint("body = 'named'"), true),
        (endpoint("body = 'name'"), false),
        (endpoint("max_in_flight = 1000"), true),
        (endpoint("max_in_flight = 1001"), false),
        (endpoint("patience = '0.5s'"), true),
        (endpoint("patience = 'half a second'"), false),
        (endpoint("rate_limit = '50/s'"), true),
        (endpoint("rate_limit = '0/s'"), false),
        (endpoint("rate_limit = '50/d'"), false),
        (endpoint("rate_limit = 50"), false),
        (endpoint("enabled = 'yes'"), false),
        (endpoint("retry = { schedule = ['5s', '1m'], max_age = '1h', max_attempts = 3 }"), true),
        (endpoint("retry = { schedule = [] }"), false),
        (endpoint("retry = { schedule = ['5'] }"), false),
        (endpoint("retry = { max_attempts = 0 }"), false),
        (endpoint("retry = { max_atempts = 1 }"), false),
        (endpoint("breaker = { failures = 3, failure_ratio = 1.0, min_attempts = 1, window = '1s', open = '1s' }"), true),
        (endpoint("breaker = { failure_ratio = 0.0 }"), false),
        (endpoint("breaker = { failure_ratio = 1.1 }"), false),
        (endpoint("breaker = { failures = 0 }"), false),
        (endpoint("timeout = '1s'"), false),
        (endpoint("mqtt.url = 'mqtt://h/'"), false),
        (format!("{BASE}[endpoints.e]\n"), false),
        (format!("{BASE}[endpoints.e.kafka]\nurl = 'https://h/'\n"), false),
        (format!("{BASE}[endpoints.E.rest]\nurl = 'https://h/'\n"), false),
        (format!("{BASE}[endpoints.-e.rest]\nurl = 'https://h/'\n"), false),
        (format!("{BASE}[endpoints.{}.rest]\nurl = 'https://h/'\n", "e".repeat(63)), true),
        (format!("{BASE}[endpoints.{}.rest]\nurl = 'https://h/'\n", "e".repeat(64)), false),
        (rest("timeout = '5s'\nnon_2xx = 'retry'"), true),
        (rest("non_2xx = 'ignore'"), false),
        (rest("headers = { X-A = 'a' }"), true),
        (rest("headers = { X-A = 1 }"), false),
        (rest("auth = { basic = { username = 'u', password = 'p' } }"), true),
        (rest("auth = { api_key = { header = 'X-K', value = 'k' } }"), true),
        (rest("auth = { api_key = { header = 'X-K', value = 'k' }, basic = { username = 'u', password = 'p' } }"), false),
        (rest("auth = { bearer = 'x' }"), false),
        (format!("{BASE}[endpoints.e.rest]\nurl = 'mqtt://h/'\n"), false),
        (hook("secret = 's'"), true),
        (hook("secrets = ['new', 'old']\nsignature = 'eryxon'"), true),
        (hook("secret = 's'\nsecrets = ['s']"), false),
        (hook("secrets = []"), false),
        (hook("secret = 's'\nsignature = 'md5'"), false),
        (mqtt("session = 'persistent'\nretain = true\nmax_packet_size = '2MiB'"), true),
        (mqtt("session = 'per_event'"), false),
        (mqtt("topic_pattern = '{site}/{event}'\ntopic_defaults = { site = 's' }\ntopic_fields = { area = '/a' }"), true),
        (mqtt("topic_defaults = { stie = 's' }"), false),
        (mqtt("topic_pattern_for = 'none'"), false),
        (mqtt("qos = 1"), false),
        (format!("{BASE}[endpoints.e.amqp]\nurl = 'mq.example.com/vhost'\n"), true),
        (format!("{BASE}[endpoints.e.amqp]\nurl = 'amqps://h/v'\nexchange = 'x'\n"), false),
        (format!("{BASE}{ENDPOINT}[event_configurations.c]\nevents = ['a/b']\nendpoints = ['erp']\n"), true),
        (format!("{BASE}{ENDPOINT}[event_configurations.c]\nevents = []\nendpoints = ['erp']\n"), false),
        (format!("{BASE}{ENDPOINT}[event_configurations.c]\nevents = ['a/b']\nendpoints = 'erp'\n"), false),
        (format!("{BASE}{ENDPOINT}[event_configurations.C]\nevents = ['a/b']\nendpoints = ['erp']\n"), false),
    ];
    for (text, fits) in table {
        let loaded = load_with(&text, "development", &Environment::default());
        assert_eq!(loaded.is_ok(), fits, "the loader on\n{text}\n{:?}", loaded.err());
        let told = wrong(&validator, &text);
        assert_eq!(told.is_empty(), fits, "the schema on\n{text}\n{told:#?}");
    }
}

#[test]
fn an_export_of_traces_fits_and_is_loaded_where_it_is_built_in() {
    let validator = validator();
    for keys in ["'grpc://c'", "'http://c/'\nsample = 1.1", "'http://c/'\nprotocol = 'grpc'"] {
        let text = source(&format!("[telemetry.otlp]\nendpoint = {keys}"));
        assert!(load_with(&text, "development", &Environment::default()).is_err(), "{text}");
        assert!(!wrong(&validator, &text).is_empty(), "{text}");
    }
    for keys in ["sample = 0.5", "sample = 0\nheaders = { x = 'y' }\ntls = { verify = false }"] {
        let text =
            source(&format!("[telemetry.otlp]\nendpoint = 'http://c:4318/v1/traces'\n{keys}"));
        assert_eq!(wrong(&validator, &text), Vec::<String>::new());
        match load_with(&text, "development", &Environment::default()) {
            Ok(config) => assert!(config.telemetry.otlp.is_some() && lockgate::spans::built_in()),
            Err(problems) => {
                assert!(!lockgate::spans::built_in(), "{problems}");
                assert!(problems.to_string().contains("--features otlp"), "{problems}");
            }
        }
    }
}

#[test]
fn what_a_variable_may_bring_need_not_be_in_the_file() {
    let validator = validator();
    let text = "[endpoints.e.rest]\nauth = { basic = { username = 'u' } }\n";
    let variables = [
        ("LOCKGATE__SOURCE__URL", "amqp://h/%2f"),
        ("LOCKGATE__SOURCE__QUEUE", "q"),
        ("LOCKGATE__ENDPOINTS__E__REST__URL", "https://h/"),
        ("LOCKGATE__ENDPOINTS__E__REST__AUTH__BASIC__PASSWORD", "p"),
    ];
    let environment = variables.into_iter().collect();
    assert!(load_with(text, "development", &environment).is_ok());
    assert_eq!(wrong(&validator, text), Vec::<String>::new());
    let description = schema()["description"].as_str().unwrap().to_owned();
    assert!(description.contains("LOCKGATE__SOURCE__QUEUE"), "{description}");
}

/// Every key that the schema names, with its path; names of one's own are `n`, items of lists `0`.
fn keys(schema: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    let mut below = |name: &str, inner: &Value| {
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        found.push((path.clone(), inner.clone()));
        keys(inner, &path, found);
    };
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        below(name, inner);
    }
    for inner in schema["patternProperties"].as_object().into_iter().flat_map(|all| all.values()) {
        below("n", inner);
    }
    if schema["additionalProperties"].is_object() {
        below("n", &schema["additionalProperties"]);
    }
    if schema["items"].is_object() {
        below("0", &schema["items"]);
    }
}

fn all_keys() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    keys(&schema(), "", &mut found);
    assert!(found.len() > 80, "{found:?}");
    found
}

#[test]
fn every_key_is_described() {
    // Not the names of one's own, nor the items of lists.
    let own = |path: &str| !matches!(path.rsplit('.').next(), Some("n" | "0"));
    for (path, key) in all_keys().into_iter().filter(|(path, _)| own(path)) {
        assert!(key["description"].as_str().is_some_and(|text| text.len() > 5), "{path}: {key:#}");
    }
}

#[test]
fn credentials_may_stand_where_the_loader_takes_them_and_in_every_form() {
    let sealed = "sealed:v1:0123abcd:AAAA_-";
    let mut places = 0;
    for (path, key) in all_keys() {
        let validator = jsonschema::draft202012::new(&key).unwrap();
        let takes = takes_credential(&path);
        for value in [json!({ "env": "NAME" }), json!({ "file": "PATH" })] {
            // A table of one's own names may have such names, too.
            if key["additionalProperties"].is_object() && !takes {
                continue;
            }
            assert_eq!(validator.is_valid(&value), takes, "{path}: {value}");
        }
        if !takes {
            continue;
        }
        places += 1;
        assert!(validator.is_valid(&json!(sealed)), "{path}");
        let last = path.rsplit('.').next().unwrap();
        let plain = match path.split('.').nth(2).unwrap_or_default() {
            "mqtt" if last == "url" => "mqtt://u:p@h/",
            "amqp" if last == "url" => "amqps://u:p@h/v",
            "rest" | "webhook" if last == "url" => "https://u:p@h/",
            "endpoint" => "https://u:p@h/v1/traces",
            _ if last == "url" => "amqp://h/",
            _ => "plain",
        };
        assert!(validator.is_valid(&json!(plain)), "{path}");
        for value in [
            json!({ "vault": "x" }),
            json!({ "env": "A", "file": "b" }),
            json!({ "env": 5 }),
            json!({}),
            json!(5),
            json!("sealed:"),
            json!("sealed:v2:0123abcd:AAAA"),
        ] {
            assert!(!validator.is_valid(&value), "{path}: {value}");
        }
    }
    assert_eq!(places, 21, "places where a credential may stand");
}

#[test]
fn defaults_are_shown_wherever_they_come_from() {
    let keys = all_keys();
    let check = |path: &str, wanted: Value| {
        let (_, key) = keys.iter().find(|(known, _)| known == path).expect(path);
        assert_eq!(key["default"], wanted, "{path}");
    };
    check("source.prefetch", json!("auto"));
    check("source.heartbeat", json!("10s"));
    check("source.tls.verify", json!(true));
    check("admin.listen", json!("127.0.0.1:8080"));
    check("secrets.require_sealed", json!(false));
    check("endpoints.n.patience", json!("500ms"));
    check("endpoints.n.retry.schedule", json!(["5s", "30s", "2m", "10m", "1h", "6h"]));
    check("endpoints.n.breaker.open", json!("5s"));
    check("endpoints.n.rest.timeout", json!("1m"));
    check("endpoints.n.mqtt.session", json!("per-event"));
    check("endpoints.n.webhook.event_header", json!("X-Eryxon-Event"));
    check("endpoints.n.body", json!(null));
}

fn of(path: &str) -> Validator {
    let (_, key) = all_keys().into_iter().find(|(known, _)| known == path).unwrap();
    jsonschema::draft202012::new(&key).unwrap()
}

proptest! {
    #[test]
    fn the_schema_knows_a_duration_as_the_loader_does(
        text in prop_oneof![
            "[0-9a-zµM. ]{0,6}",
            "( ?[0-9]{1,2}(\\.[0-9]{1,2})? ?(ns|us|µs|ms|s|m|h|d|w|M|y|hr|min|sec|days|mo) ?){1,3}",
            Just("0".to_owned()), Just("99999999999999999y".to_owned()),
        ],
    ) {
        thread_local!(static VALIDATOR: Validator = of("runtime.shutdown_grace"));
        let fits = VALIDATOR.with(|validator| validator.is_valid(&json!(text)));
        match humantime::parse_duration(&text) {
            // Only the loader counts.
            Err(humantime::DurationError::NumberOverflow) => {}
            read => prop_assert_eq!(fits, read.is_ok(), "{:?}: {:?}", text, read),
        }
    }

    #[test]
    fn the_schema_knows_a_size_as_the_loader_does(
        text in prop_oneof!["[+0-9a-zA-Z. ]{0,6}", "[0-9]{1,3}(\\.[0-9])? ?[kKmMgGtTpPeE]?[iI]?[bB]?"],
    ) {
        thread_local!(static VALIDATOR: Validator = of("source.max_event_bytes"));
        let fits = VALIDATOR.with(|validator| validator.is_valid(&json!(text)));
        let read = text.parse::<bytesize::ByteSize>();
        prop_assert_eq!(fits, read.is_ok(), "{:?}: {:?}", text, read);
    }
}
