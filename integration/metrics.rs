//! What the product counts, looked at by Prometheus' own tool; and the alerts and the dashboard that
//! come with it: every metric that they name is one that the product serves.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use lapin::ExchangeKind;
use lockgate::domain::delivery::Properties;
use serde_json::Value;

use super::support::certs;
use super::support::http::{Answer, HttpServer};
use super::support::lockgate::{Configuration, Lockgate};
use super::support::mosquitto::{Mosquitto, PASSWORD, USER};
use super::support::rabbitmq::{Client, node};
use super::support::{eventually, on_system};

/// How long anything may take; depths are asked for every 30 s.
const DEADLINE: Duration = Duration::from_secs(90);
/// When the certificates of the tests end: at the beginning of the year 4096.
const CERTIFICATES_END: f64 = 67_090_118_400.0;
/// What the alerts, their tests and the dashboard stand in.
const RULES: &str = "config/prometheus/rules.yml";
const RULES_TEST: &str = "config/prometheus/rules.test.yml";
const DASHBOARD: &str = "config/grafana/dashboard.json";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// Whether promtool has nothing against it, and what it said.
fn promtool(folder: &Path, arguments: &[&str], input: &str) -> (bool, String) {
    let mut tool = Command::new("promtool")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("these tests need promtool: apt-get install prometheus ({e})"));
    tool.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// Whether a metric has this whole number.
fn is(found: f64, expected: f64) -> bool {
    (found - expected).abs() < 0.5
}

/// Everything that begins like a metric of ours in a text.
fn named(text: &str) -> BTreeSet<String> {
    let in_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !in_word(c));
    words.filter(|word| word.starts_with("lockgate_")).map(str::to_owned).collect()
}

/// The metrics that are served, by name, as their samples are called.
fn served(text: &str) -> BTreeSet<String> {
    let samples = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    samples.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect()
}

/// Every value of a label.
fn values(text: &str, label: &str) -> BTreeSet<String> {
    let begins = format!("{label}=\"");
    let after = |line: &str| Some(line.split_once(&begins)?.1.split_once('"')?.0.to_owned());
    text.lines().filter_map(after).collect()
}

/// Every expression of the dashboard, as Prometheus gets it.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(text) if key == "expr" => found.push(text.clone()),
                    _ => expressions(value, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

#[test]
fn the_alerts_pass_promtool_and_each_of_them_fires_in_a_test() {
    let folder = root().join("config/prometheus");
    let (good, said) = promtool(&folder, &["check", "rules", "rules.yml"], "");
    assert!(good && said.contains("SUCCESS: 16 rules found"), "{said}");
    let (good, said) = promtool(&folder, &["test", "rules", "rules.test.yml"], "");
    assert!(good && said.contains("SUCCESS"), "{said}");
    let tests = read(RULES_TEST);
    let rules = read(RULES);
    let alerts: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert_eq!(alerts.len(), 16);
    for alert in alerts {
        assert!(tests.contains(&format!("alertname=\"{alert}\"")), "{alert} fires in no test");
    }
    for key in ["summary: ", "description: ", "action: ", "labels: { severity: "] {
        assert_eq!(rules.matches(key).count(), 16, "{key}");
    }
}

#[test]
fn every_query_of_the_dashboard_is_one_and_every_panel_fits_its_place() {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let mut found = Vec::new();
    expressions(&dashboard, &mut found);
    assert!(found.len() >= 25, "{found:?}");
    let mut rules = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    for (number, expression) in found.iter().enumerate() {
        let plain = expression.replace("$__rate_interval", "5m").replace("$instance", ".*");
        let plain = plain.replace("$endpoint", ".*");
        assert!(!plain.contains('$'), "{plain}");
        let quoted = serde_json::to_string(&plain).unwrap();
        writeln!(rules, "      - {{ record: 'query:{number}', expr: {quoted} }}").unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("queries.yml"), rules).unwrap();
    let (good, said) = promtool(folder.path(), &["check", "rules", "queries.yml"], "");
    assert!(good && said.contains(&format!("{} rules found", found.len())), "{said}");

    let panels = dashboard["panels"].as_array().unwrap();
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeMap::new());
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is taken");
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(x < 24, "{title} is too wide");
                assert_eq!(taken.insert((x, y), title), None, "{title} lies over another");
            }
        }
        if panel["type"] != "row" {
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
            assert!(panel["description"].as_str().unwrap().len() > 10, "{title}");
        }
    }
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<&str> = variables.iter().filter_map(|v| v["name"].as_str()).collect();
    assert_eq!(names, ["datasource", "instance", "endpoint"]);
}

/// Six endpoints, each with an end of its own, and a bus with TLS.
fn configuration(bus: &str, partner: &str, urls: &[(&str, String)], ca: [&Path; 3]) -> String {
    let [bus_ca, erp_ca, broker_ca] = ca.map(|path| path.display().to_string());
    let mut toml = format!(
        "[source]\nurl = \"{bus}\"\nqueue = \"events\"\ntls = {{ ca_file = \"{bus_ca}\" }}\n\
         bindings = [{{ exchange = \"platform\", type = \"topic\", routing_key = \"#\" }}]\n\
         [event_configurations.all]\nevents = [\"Batch/*\"]\n\
         endpoints = [\"erp\", \"scada\", \"partner\", \"down\", \"lost\", \"bad\"]\n\
         [endpoints.partner.amqp]\nurl = \"{partner}\"\ntls = {{ ca_file = \"{bus_ca}\" }}\n"
    );
    for (name, url) in urls {
        let transport = if *name == "scada" { "mqtt" } else { "rest" };
        let more = match *name {
            "erp" => &format!("tls = {{ ca_file = \"{erp_ca}\" }}"),
            "scada" => &format!(
                "username = \"{USER}\"\npassword = \"{PASSWORD}\"\n\
                 tls = {{ ca_file = \"{broker_ca}\" }}"
            ),
            _ => "non_2xx = \"retry\"",
        };
        writeln!(toml, "[endpoints.{name}.{transport}]\nurl = \"{url}\"\n{more}").unwrap();
    }
    toml
}

#[test]
fn prometheus_has_no_complaint_and_finds_what_alerts_and_dashboard_name() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let (bus, partner) = (node().place(), node().place());
        let certs = certs::make(folder.path());
        let (erp, broker) = (HttpServer::start_tls(&certs), Mosquitto::start().await);
        let failing = |status: u16| {
            let server = HttpServer::start();
            server.answer(move |_| Answer::status(status));
            server
        };
        let (down, lost, bad) = (failing(503), failing(404), failing(400));
        let there = Client::connect(&partner.url).await;
        there.declare("partner", true).await;
        there.bind("Batch", ExchangeKind::Topic, "partner", "#").await;
        let urls = [
            ("erp", erp.url("/")),
            ("scada", broker.url("mqtts")),
            ("down", down.url("/")),
            ("lost", lost.url("/")),
            ("bad", bad.url("/")),
        ];
        let urls_of_bus = [node().tls_url(&bus.vhost), node().tls_url(&partner.vhost)];
        let toml = configuration(
            &urls_of_bus[0],
            &urls_of_bus[1],
            &urls,
            [&node().certs.ca, &certs.ca, &broker.certs.ca],
        );
        let lockgate = Lockgate::start_ready(&Configuration::write(folder.path(), &toml)).await;

        let platform = Client::connect(&bus.url).await;
        publish_all(&platform).await;
        everything_settled(&lockgate).await;
        lockgate.reconciles().await;
        check_served(&lockgate).await;
    });
}

/// Eight events, one that nobody wants, and a message that is none.
async fn publish_all(platform: &Client) {
    for n in 0..8 {
        let properties = Properties::default()
            .with_type("Batch/batch_run_status".into())
            .with_message_id(format!("e-{n}").into());
        platform.publish("platform", "x", properties, b"{}").await;
    }
    let unwanted = Properties::default().with_type("Custom/x".into());
    platform.publish("platform", "x", unwanted, b"{}").await;
    platform.publish("platform", "x", Properties::default(), b"no event").await;
}

async fn everything_settled(lockgate: &Lockgate) {
    let settled = |endpoint: &'static str, how: &str| {
        format!("lockgate_routes_total{{endpoint=\"{endpoint}\",settlement=\"{how}\"}}")
    };
    let expected = [
        (settled("erp", "delivered"), 8.0),
        (settled("scada", "delivered"), 8.0),
        (settled("partner", "delivered"), 8.0),
        (settled("bad", "dead"), 8.0),
        ("lockgate_dead{endpoint=\"bad\"}".to_owned(), 8.0),
        ("lockgate_events_rejected_total".to_owned(), 1.0),
        ("lockgate_events_unwanted_total".to_owned(), 1.0),
        ("lockgate_events_acknowledged_total".to_owned(), 10.0),
    ];
    for (metric, value) in expected {
        eventually(&format!("{metric} {value}"), DEADLINE, || async {
            is(lockgate.metric(&metric).await, value).then_some(())
        })
        .await;
    }
    for endpoint in ["down", "lost"] {
        let parked = settled(endpoint, "parked");
        eventually(&parked, DEADLINE, || async {
            (lockgate.metric(&parked).await >= 8.0).then_some(())
        })
        .await;
    }
}

async fn check_served(lockgate: &Lockgate) {
    let (status, text) = lockgate.get("/metrics").await.unwrap();
    assert_eq!(status, 200);
    let (good, said) = promtool(Path::new("/"), &["check", "metrics"], &text);
    assert!(good && said.is_empty(), "{said}");

    let names = served(&text);
    let helped = |name: &&String| {
        let parts = ["_bucket", "_sum", "_count"];
        let base = parts.iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
        text.contains(&format!("# HELP {base} ")) || text.contains(&format!("# HELP {name} "))
    };
    assert_eq!(names.iter().find(|name| !helped(name)), None, "it has no help text");
    for file in [RULES, RULES_TEST, DASHBOARD] {
        let unknown: Vec<String> = named(&read(file)).difference(&names).cloned().collect();
        assert_eq!(unknown, Vec::<String>::new(), "{file} names what nobody serves");
    }
    let shown = named(&read(DASHBOARD));
    let forgotten: Vec<_> = names.difference(&shown).collect();
    let never_shown = |name: &&&String| {
        !name.ends_with("_sum") && !name.ends_with("_count") && !name.ends_with("_routed_total")
    };
    assert_eq!(forgotten.iter().find(never_shown), None, "the dashboard does not show it");

    let endpoints = ["bad", "down", "erp", "lost", "partner", "scada"].map(str::to_owned);
    assert_eq!(values(&text, "endpoint"), BTreeSet::from(endpoints));
    let errors = values(&text, "error_type");
    let expected = ["", "http_400", "http_404", "http_503"].map(str::to_owned);
    assert_eq!(errors, BTreeSet::from(expected));

    let bus = "lockgate_bus_certificate_expiry_timestamp_seconds".to_owned();
    let ends = ["erp", "scada", "partner"].map(|endpoint| {
        format!("lockgate_certificate_expiry_timestamp_seconds{{endpoint=\"{endpoint}\"}}")
    });
    for metric in ends.iter().chain([&bus]) {
        let end = lockgate.metric(metric).await;
        assert!(is(end, CERTIFICATES_END), "{metric} {end}");
    }
    let started = lockgate.metric("lockgate_start_time_seconds").await;
    let now = lockgate::world::now().as_duration().as_secs_f64();
    assert!((now - 600.0..=now).contains(&started), "{started} is not lately");
    let latency = "lockgate_route_latency_seconds_count{endpoint=\"erp\"}";
    assert!(is(lockgate.metric(latency).await, 8.0), "{text}");
    for (endpoint, state) in [("erp", "healthy"), ("lost", "misconfigured")] {
        let name = format!("lockgate_endpoint_state{{endpoint=\"{endpoint}\",state=\"{state}\"}}");
        assert!(is(lockgate.metric(&name).await, 1.0), "{text}");
    }
}
