//! `lockgate check --connect` through the real binary: it names the fault of every peer, sends nothing
//! unasked, and leaves a RabbitMQ as it was.

mod bus;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use lapin::ExchangeKind;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::support::certs::{self, Certs};
use super::support::http::{Answer, HttpServer, RawPeer, Step, write};
use super::support::mosquitto::{Mosquitto, PASSWORD, USER};
use super::support::rabbitmq::{Client, Place, node};
use super::support::{eventually, free_port, on_system};

/// How long a round may take. The silent peers below are given a second each step.
const DEADLINE: Duration = Duration::from_secs(120);
/// What every secret of these configurations has in it.
const SECRET: &str = "hush";

/// What a command said.
struct Told {
    code: i32,
    out: String,
    err: String,
}

impl Told {
    /// The report of `--json`.
    fn report(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}{}", self.out, self.err))
    }
}

/// Runs `lockgate check --connect` on this configuration. Nothing that it says holds a secret.
async fn doctor(configuration: &str, arguments: &[&str]) -> Told {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("test.toml"), configuration).unwrap();
    let running = Command::new(env!("CARGO_BIN_EXE_lockgate"))
        .arg("--config")
        .arg(folder.path())
        .args(["--env", "test", "check", "--connect"])
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let done = tokio::time::timeout(DEADLINE, running).await.expect("the doctor ends").unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&done.stdout), text(&done.stderr));
    let told = Told { code: done.status.code().unwrap(), out, err };
    for said in [&told.out, &told.err] {
        assert!(!said.contains(SECRET) && !said.contains(PASSWORD), "a secret in: {said}");
    }
    told
}

/// A bus in this place with a queue to consume.
fn source(place: &Place) -> String {
    format!("[source]\nurl = '{}'\nqueue = 'events'\nprefix = '{}'\n", place.url, place.prefix)
}

/// A fault: the endpoint's name and table, the step that fails with its reason, words of what is said.
type Fault = (&'static str, String, &'static str, &'static str);

/// Every endpoint fails at its step, for its reason, with a remedy; what follows is skipped.
async fn check(arguments: &[&str], place: &Place, faults: &[Fault]) {
    let table = |(name, table, ..): &Fault| {
        format!("[endpoints.{name}]\nevents = ['*/*']\n[endpoints.{name}.{table}\n")
    };
    let tables: Vec<String> = faults.iter().map(table).collect();
    let configuration = source(place) + &tables.concat();
    let told = doctor(&configuration, &[arguments, &["--json"]].concat()).await;
    let report = told.report();
    assert_eq!(told.code, 1, "{}", told.err);
    assert_eq!(report["ok"], false);
    let endpoints = report["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.len(), faults.len());
    for (name, _, fault, words) in faults {
        let endpoint = endpoints.iter().find(|endpoint| endpoint["name"] == *name).unwrap();
        assert_eq!(endpoint["verdict"], "failed", "{endpoint:#}");
        let steps = endpoint["steps"].as_array().unwrap();
        let at = steps.iter().position(|found| found["verdict"] == "failed").unwrap();
        let found = &steps[at];
        let facts = format!("{} {}", found["step"], found["reason"]).replace('"', "");
        assert_eq!(facts, *fault, "{endpoint:#}");
        let said = format!("{} {}", found["detail"], found["remedy"]);
        assert!(said.contains(words), "{name}: {words:?} is not in {said}");
        assert!(found["took_ms"].as_f64().is_some(), "{endpoint:#}");
        assert!(steps[..at].iter().all(|s| s["verdict"] != "failed"), "{endpoint:#}");
        assert!(steps[at + 1..].iter().all(|s| s["verdict"] == "skipped"), "{endpoint:#}");
    }
}

fn in_folder(base: &TempDir, name: &str, make: impl FnOnce(&Path) -> Certs) -> Certs {
    let folder: PathBuf = base.path().join(name);
    std::fs::create_dir(&folder).unwrap();
    make(&folder)
}

fn trusting(certs: &Certs) -> String {
    format!("tls = {{ ca_file = '{}' }}", certs.ca.display())
}

/// A table with these lines.
fn at(kind: &str, url: impl std::fmt::Display, lines: &str) -> String {
    format!("{kind}]\nurl = '{url}'\n{lines}")
}

#[test]
fn it_names_the_fault_of_a_name_and_of_a_port() {
    on_system(async {
        let port = free_port();
        let [ws, https, amqps] =
            ["ws", "https", "amqps"].map(|scheme| format!("{scheme}://127.0.0.1:{port}"));
        let nowhere = "no-such-host.invalid";
        let (unknown, refused) = ("dns dns_unknown", "tcp connection_refused");
        let faults: &[Fault] = &[
            ("dns-mqtt", at("mqtt", format!("mqtt://{nowhere}"), ""), unknown, nowhere),
            ("dns-rest", at("rest", format!("http://{nowhere}"), ""), unknown, "typing error"),
            ("dns-amqp", at("amqp", format!("amqp://{nowhere}"), ""), unknown, "typing error"),
            ("refused-mqtt", at("mqtt", ws, ""), refused, "nothing listens"),
            ("refused-rest", at("rest", https, ""), refused, "firewall"),
            ("refused-amqp", at("amqp", amqps, ""), refused, "nothing listens"),
        ];
        check(&[], &node().place(), faults).await;
    });
}

#[test]
fn it_names_the_fault_of_a_certificate() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let good = in_folder(&folder, "good", certs::make);
        let other = in_folder(&folder, "other", |at| certs::make_for(at, &["other.example"]));
        let old = in_folder(&folder, "old", certs::make_expired);
        let [secure, misnamed, expired] = [&good, &other, &old].map(HttpServer::start_tls);
        let plain = HttpServer::start();
        let broker = Mosquitto::start().await;
        let url = |server: &HttpServer| server.url("/").replace("://", "://u:hush@");
        let amqps = format!("amqps://u:hush@localhost:{}", node().tls_port);
        let no_tls = format!("https://127.0.0.1:{}/", plain.port());
        let signed = format!("secret = 'hush'\n{}", trusting(&other));
        let failed = "tls tls_failed";
        let faults: &[Fault] = &[
            ("issuer-rest", at("rest", url(&secure), ""), failed, "tls.ca_file"),
            ("issuer-mqtt", at("mqtt", broker.url("mqtts"), ""), failed, "tls.ca_file"),
            ("issuer-wss", at("mqtt", broker.url("wss"), ""), failed, "unknown issuer"),
            ("issuer-amqp", at("amqp", amqps, ""), failed, "unknown issuer"),
            ("name", at("webhook", url(&misnamed), &signed), failed, "it is for"),
            (
                "expired",
                at("rest", url(&expired), &trusting(&old)),
                failed,
                "renew its certificate",
            ),
            ("no-tls", at("rest", no_tls, ""), failed, "does not speak TLS"),
        ];
        check(&[], &node().place(), faults).await;
    });
}

#[test]
fn it_names_the_step_at_which_a_peer_is_silent_or_speaks_otherwise() {
    on_system(async {
        let page = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let plain = RawPeer::start(move |_| vec![Step::Read, write(page)]);
        let silent = RawPeer::start(|_| vec![Step::Hang]);
        let [https, mqtt, ws, amqp] = ["https", "mqtt", "ws", "amqp"]
            .map(|scheme| format!("{scheme}://127.0.0.1:{}", silent.port()));
        let (soon, in_time) = ("timeout = '1s'", "no answer within 1s");
        let connect = "connect_timeout = '1s'";
        let page = format!("ws://127.0.0.1:{}/mqtt?token=hush", plain.port());
        let faults: &[Fault] = &[
            ("silent-rest", at("rest", https, soon), "tls timeout", in_time),
            ("silent-mqtt", at("mqtt", mqtt, connect), "login timeout", in_time),
            ("silent-ws", at("mqtt", ws, connect), "websocket timeout", in_time),
            ("silent-amqp", at("amqp", amqp, soon), "login timeout", in_time),
            ("no-websocket", at("mqtt", page, ""), "websocket http_200", "check the path"),
        ];
        check(&[], &node().place(), faults).await;
        // The handshake of a WebSocket is a GET; nothing else was asked of it.
        let requests = plain.requests();
        assert_eq!(requests.len(), 1);
        assert!(requests[0].starts_with(b"GET /mqtt"), "{requests:?}");
    });
}

#[test]
fn it_names_the_fault_of_a_login() {
    on_system(async {
        let place = node().place();
        let vhost = &place.vhost;
        node().user("idle", "hush", vhost, ["^$", "^$", "^$"]);
        let partner = Client::connect(&place.url).await;
        partner.declare("partner", true).await;
        partner.bind("Batch", ExchangeKind::Direct, "partner", "another").await;
        partner.bind("Closed", ExchangeKind::Direct, "partner", "batch_run_status").await;
        let http = HttpServer::start();
        http.answer(|request| {
            Answer::status(if request.path.starts_with("/401") { 401 } else { 204 })
        });
        let broker = Mosquitto::start().await;
        let login = |scheme: &str| {
            format!("mqtt]\nurl = '{}'\nusername = '{USER}'\npassword = 'hush'", broker.url(scheme))
        };
        let amqp = |user: &str, vhost: &str| format!("amqp]\nurl = '{}'", node().url(user, vhost));
        let rest = |line: &str| format!("rest]\nurl = '{}'\n{line}", http.url("/401?key=hush"));
        let faults: &[Fault] = &[
            ("mqtt", login("mqtt"), "login mqtt_not_authorized", "check username and password"),
            ("ws", login("ws"), "login mqtt_not_authorized", "check username and password"),
            ("amqp", amqp("guest:hush", vhost), "login access_refused", "check username"),
            ("vhost", amqp("guest:guest", "nowhere"), "vhost vhost_missing", "virtual host"),
            ("no-right", amqp("idle:hush", "v80"), "vhost not_allowed", "set_permissions"),
            ("exchange", amqp("guest:guest", vhost), "send exchange_missing", "create an exchange"),
            ("write", amqp("idle:hush", vhost), "send access_refused", "set_permissions"),
            (
                "rest",
                rest("non_2xx = 'retry'"),
                "send http_401",
                "check the configured credentials",
            ),
            ("accepting", rest(""), "send http_401", "it counts as delivered"),
        ];
        check(&["--send"], &place, faults).await;
        let unbound: &[Fault] =
            &[("partner", amqp("guest:guest", vhost), "send unroutable", "bind a queue")];
        check(&["--send", "--as", "Batch/batch_run_status"], &place, unbound).await;
        assert_eq!(partner.depth("partner").await, 0);
        assert_eq!(http.received().len(), 2, "one event for each endpoint that was reached");
    });
}

#[test]
fn a_certificate_that_soon_ends_is_a_warning() {
    on_system(async {
        let place = node().place();
        Client::connect(&place.url).await.declare("events", true).await;
        let folder = tempfile::tempdir().unwrap();
        let soon = in_folder(&folder, "soon", |at| certs::make_ending(at, 10));
        let later = in_folder(&folder, "later", |at| certs::make_ending(at, 40));
        let [ending, lasting] = [&soon, &later].map(HttpServer::start_tls);
        let configuration = format!(
            "{}[endpoints.ending.rest]\nurl = '{}'\n{}\n[endpoints.lasting.rest]\nurl = '{}'\n{}\n\
             [endpoints.loose.rest]\nurl = '{}'\ntls = {{ verify = false }}\n",
            source(&place),
            ending.url("/"),
            trusting(&soon),
            lasting.url("/"),
            trusting(&later),
            lasting.url("/"),
        );
        let told = doctor(&configuration, &["--json"]).await;
        assert_eq!(told.code, 0, "{}{}", told.out, told.err);
        let report = told.report();
        let tls = |index: usize| &report["endpoints"][index]["steps"][2];
        for (index, verdict, reason) in [
            (0, "warning", Value::from("tls_expires_soon")),
            (1, "ok", Value::Null),
            (2, "warning", "tls_not_verified".into()),
        ] {
            assert_eq!(tls(index)["step"], "tls");
            assert_eq!((&tls(index)["verdict"], &tls(index)["reason"]), (&verdict.into(), &reason));
            assert_eq!(tls(index)["seen"]["version"], "TLS 1.3");
            let issuer = tls(index)["seen"]["issuer"].as_str().unwrap();
            assert!(issuer.contains("lockgate test authority"), "{issuer}");
        }
        // The day begins less than a day before the tenth from now ends.
        assert_eq!(tls(0)["seen"]["days_left"], "9");
        assert!(told.report()["endpoints"][0]["steps"][2]["remedy"].is_string());
    });
}

/// A sound configuration: two brokers' endpoints, a REST one, a webhook, an exchange, a disabled one.
fn sound(source: &str, broker: &Mosquitto, http: &[HttpServer; 3], partner: &Place) -> String {
    let [rest, hook, off] = http.each_ref().map(|server| server.url("/"));
    let login = format!("username = '{USER}'\npassword = '{PASSWORD}'\n");
    let wss = format!("{login}{}\n", trusting(&broker.certs));
    [
        source.to_owned(),
        format!("[endpoints.mqtt.{}\n", at("mqtt", broker.url("mqtt"), &login)),
        format!("[endpoints.wss.{}\n", at("mqtt", broker.url("wss"), &wss)),
        format!("[endpoints.rest.{}\n", at("rest", rest, "")),
        format!("[endpoints.hook.{}\n", at("webhook", hook, "secret = 'hush'")),
        format!("[endpoints.amqp.{}\n", at("amqp", &partner.url, "")),
        format!("[endpoints.off]\nenabled = false\n[endpoints.off.{}\n", at("rest", off, "")),
    ]
    .concat()
}

#[test]
fn all_well_sends_nothing_unasked_and_one_event_where_asked() {
    on_system(async {
        let (place, partner_place) = (node().place(), node().place());
        let platform = Client::connect(&place.url).await;
        platform.declare("events", true).await;
        platform.publish("", "events", lapin::BasicProperties::default(), b"{}").await;
        let partner = Client::connect(&partner_place.url).await;
        partner.declare("partner", true).await;
        partner.bind("lockgate", ExchangeKind::Direct, "partner", "test").await;
        let broker = Mosquitto::start().await;
        let subscriber = broker.subscribe("#").await;
        let http: [HttpServer; 3] = std::array::from_fn(|_| HttpServer::start());
        let received = || http.each_ref().map(|server| server.received().len());
        let configuration = sound(&source(&place), &broker, &http, &partner_place);
        let before = bus::objects(&place.vhost);
        for (arguments, words) in
            [(&["--json"][..], "\"ok\": true"), (&[], "endpoint rest: rest http://localhost")]
        {
            let told = doctor(&configuration, arguments).await;
            assert_eq!(told.code, 0, "{}{}", told.out, told.err);
            assert!(told.out.contains(words), "{}", told.out);
        }
        assert_eq!((received(), partner.depth("partner").await), ([0, 0, 0], 0));
        eventually("it was there all the same", DEADLINE, || async {
            (http[0].connections() == 2).then_some(())
        })
        .await;
        let told = doctor(&configuration, &["--send", "--json"]).await;
        assert_eq!(told.code, 0, "{}{}", told.out, told.err);
        let sent = told.out.matches("\"event_id\"").count();
        assert_eq!(sent, 5, "{}", told.out);
        // Had the first rounds published something, it would have come before this.
        let messages = subscriber.wait_for(2).await;
        let topics: Vec<String> = messages.into_iter().map(|message| message.topic).collect();
        assert_eq!(topics, ["lockgate/test", "lockgate/test"]);
        assert_eq!((received(), partner.depth("partner").await), ([1, 1, 0], 1));
        // One that is named is sent to, although it is disabled; then nothing else is examined.
        let told = doctor(&configuration, &["--send", "--json", "--endpoint", "off"]).await;
        assert_eq!((told.code, &told.report()["source"]), (0, &Value::Null));
        assert_eq!(received(), [1, 1, 1]);
        assert_eq!(bus::objects(&place.vhost), before, "nothing was declared");
        let kept = platform.take("events", 1).await;
        assert!(!kept[0].redelivered, "nobody has had it");
    });
}

#[test]
fn what_cannot_be_used_is_exit_2() {
    on_system(async {
        let place = node().place();
        let sound = source(&place);
        for (configuration, arguments, words) in [
            ("[source]\nurl = 'http://h'\nqueue = 'q'\n", &[][..], "source.url"),
            (sound.as_str(), &["--endpoint", "nobody"], "no endpoint is called"),
            (sound.as_str(), &["--send", "--as", "Batch"], "TYPE/TRIGGER"),
        ] {
            let told = doctor(configuration, arguments).await;
            assert_eq!(told.code, 2, "{}{}", told.out, told.err);
            assert!(told.err.contains(words), "{words}: {}", told.err);
        }
    });
}
