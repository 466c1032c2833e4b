//! Secrets stay secret: a canary stands in every place where a credential can stand, everything goes
//! wrong that can, the log is at its most talkative, and no canary is found in anything that lockgate
//! says: log, metrics, API, page, errors, commands, dead letters, its messages on the bus.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use lockgate::domain::delivery::Properties;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::support::certs;
use super::support::http::{Answer, HttpServer, Request};
use super::support::lockgate::{Configuration, Lockgate};
use super::support::mosquitto::Mosquitto;
use super::support::rabbitmq::{Client, node};
use super::support::{eventually, free_port, on_system};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(90);
/// How every canary begins; what follows says where it stood.
const CANARY: &str = "canary7q";
/// Where canaries stand that are no longer than a header or a user name may be.
const PLACES: [&str; 30] = [
    "bus-user",
    "bus-password",
    "token",
    "rest-url-user",
    "rest-url-password",
    "rest-url-query",
    "basic-user",
    "basic-password",
    "api-key",
    "header-plain",
    "header-env",
    "header-file",
    "hook-secret",
    "hook-second-secret",
    "hook-header",
    "hook-query",
    "mqtt-user",
    "mqtt-password",
    "mqtt-url-user",
    "mqtt-url-password",
    "ws-query",
    "amqp-user",
    "amqp-password",
    "amqp-url-user",
    "amqp-url-password",
    "whole-url",
    "otlp-user",
    "otlp-password",
    "otlp-query",
    "otlp-header",
];

fn canary(place: &str) -> String {
    assert!(PLACES.contains(&place), "{place}");
    format!("{CANARY}-{place}")
}

/// Every form in which a canary could come to light.
fn forms() -> Vec<String> {
    let mut forms = vec![CANARY.to_owned()];
    let pairs = [
        ("basic-user", "basic-password"),
        ("rest-url-user", "rest-url-password"),
        ("bus-user", "bus-password"),
    ];
    let plain = PLACES.iter().map(|place| canary(place));
    let joined = pairs.iter().map(|(user, word)| format!("{}:{}", canary(user), canary(word)));
    for text in plain.chain(joined) {
        forms.push(BASE64_STANDARD.encode(&text));
        forms.push(BASE64_STANDARD_NO_PAD.encode(&text));
        forms.push(BASE64_URL_SAFE_NO_PAD.encode(&text));
        forms.push(hex::encode(&text));
    }
    // As a debug form of bytes: [99, 97, 110, …].
    forms.push(format!("{:?}", CANARY.as_bytes()).trim_matches(['[', ']']).to_owned());
    forms
}

/// No canary is in a text. The text itself is shown only around the find.
fn is_clean(what: &str, text: &str) {
    assert!(!text.is_empty(), "{what} is empty: nothing was looked at");
    for form in forms() {
        if let Some(at) = text.find(&form) {
            let (from, to) = (at.saturating_sub(300), (at + form.len() + 200).min(text.len()));
            let around = String::from_utf8_lossy(&text.as_bytes()[from..to]);
            panic!("{what} holds the canary {form:?}:\n…{around}…");
        }
    }
}

/// Runs `lockgate`, and says its exit code, output and complaints.
async fn command(folder: &Path, arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockgate"));
    command.arg("--config").arg(folder).args(["--env", "test"]).args(arguments);
    command.envs(variables()).env("RUST_LOG", "trace").env("LOCKGATE_KEY_FILE", folder.join("key"));
    command.stdin(std::process::Stdio::piped());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that reads nothing has closed it.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let done = tokio::time::timeout(DEADLINE, child.wait_with_output()).await.unwrap().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (done.status.code().unwrap_or(-1), text(done.stdout), text(done.stderr))
}

fn variables() -> Vec<(&'static str, String)> {
    vec![
        ("CANARY_HEADER", canary("header-env")),
        ("CANARY_MQTT", canary("mqtt-password")),
        ("LOCKGATE_ADMIN_TOKEN", canary("token")),
        ("LOCKGATE__ENDPOINTS__BASIC__REST__AUTH__BASIC__PASSWORD", canary("basic-password")),
    ]
}

/// The value sealed for its key path, by the command that users take.
async fn seal(folder: &Path, path: &str, value: &str) -> String {
    let (code, out, err) = command(folder, &["secret", "seal", "--path", path], value).await;
    assert_eq!(code, 0, "{err}");
    is_clean("a sealed value", &out);
    out.trim().to_owned()
}

/// A partner that says everything back that it was told, wherever it can.
fn parrot(request: &Request) -> Answer {
    let mut heard = format!("{} ", request.path);
    for (name, value) in &request.headers {
        write!(heard, "{name}: {value}; ").unwrap();
    }
    let status = if request.path.contains("redirect") { 307 } else { 500 };
    let place = format!("http://{CANARY}-location:{CANARY}@127.0.0.1:1/?{CANARY}={heard}");
    let place = place.replace([' ', ';', '"'], "");
    let answer = if status == 307 { Answer::redirect(307, place) } else { Answer::status(status) };
    answer.header("X-Heard", heard.clone()).header("WWW-Authenticate", heard.clone()).body(heard)
}

struct Servers {
    parrot: HttpServer,
    secure: HttpServer,
    broker: Mosquitto,
    amqp: String,
}

/// One endpoint a way of failing, a canary at each place.
async fn endpoints(folder: &Path, servers: &Servers) -> String {
    let at = |server: &HttpServer| server.url("").replace("http://", "").replace("https://", "");
    let (http, secure) = (at(&servers.parrot), at(&servers.secure));
    let mqtt = servers.broker.url("mqtt").replace("mqtt://", "");
    let c = canary;
    std::fs::write(folder.join("header"), c("header-file") + "\n").unwrap();
    let api_key = seal(folder, "endpoints.key.rest.auth.api_key.value", &c("api-key")).await;
    let secret = seal(folder, "endpoints.hook.webhook.secrets.0", &c("hook-secret")).await;
    let whole = format!("http://{}@127.0.0.1:{}/?{0}", c("whole-url"), free_port());
    let whole = seal(folder, "endpoints.whole.rest.url", &whole).await;
    let amqp = servers.amqp.split_once('@').unwrap().1;
    let (user, word, query) = (c("rest-url-user"), c("rest-url-password"), c("rest-url-query"));
    let file = folder.join("header").display().to_string();
    let mut text = format!(
        "[endpoints.url.rest]\nurl = \"http://{user}:{word}@{http}/p?key={query}\"\n\
         [endpoints.url-redirect.rest]\nurl = \"http://{user}:{word}@{http}/redirect?key={query}\"\n\
         [endpoints.url-tls.rest]\nurl = \"https://{user}:{word}@{secure}/p?key={query}\"\n\
         [endpoints.basic.rest]\nurl = \"http://{http}/b\"\nnon_2xx = \"retry\"\n\
         auth = {{ basic = {{ username = \"{}\", password = \"replaced\" }} }}\n\
         headers = {{ X-Plain = \"{}\", X-Env = {{ env = \"CANARY_HEADER\" }}, X-File = {{ file = \"{file}\" }} }}\n\
         [endpoints.key.rest]\nurl = \"http://{http}/k\"\nnon_2xx = \"retry\"\n\
         auth = {{ api_key = {{ header = \"X-API-Key\", value = \"{api_key}\" }} }}\n\
         [endpoints.whole.rest]\nurl = \"{whole}\"\n\
         [endpoints.hook.webhook]\nurl = \"http://{http}/h?sig={}\"\n\
         secrets = [\"{secret}\", \"{}\"]\nheaders = {{ X-Hook = \"{}\" }}\n",
        c("basic-user"),
        c("header-plain"),
        c("hook-query"),
        c("hook-second-secret"),
        c("hook-header"),
    );
    write!(
        text,
        "[endpoints.broker.mqtt]\nurl = \"mqtt://{mqtt}\"\nusername = \"{}\"\npassword = {{ env = \"CANARY_MQTT\" }}\n\
         [endpoints.broker-url.mqtt]\nurl = \"mqtt://{}:{}@{mqtt}\"\nsession = \"persistent\"\n\
         [endpoints.socket.mqtt]\nurl = \"ws://{http}/mqtt?key={}\"\n\
         [endpoints.rabbit.amqp]\nurl = \"amqp://{amqp}\"\nusername = \"{}\"\npassword = \"{}\"\n\
         [endpoints.rabbit-url.amqp]\nurl = \"amqp://{}:{}@{amqp}\"\n\
         [endpoints.panics.rest]\nurl = \"http://{user}:{word}@{http}/p?key={query}\"\n",
        c("mqtt-user"),
        c("mqtt-url-user"),
        c("mqtt-url-password"),
        c("ws-query"),
        c("amqp-user"),
        c("amqp-password"),
        c("amqp-url-user"),
        c("amqp-url-password"),
    )
    .unwrap();
    text
}

/// The names of all endpoints in a configuration, each of which takes every event.
fn with_events(text: &str) -> (Vec<String>, String) {
    let name = |line: &str| Some(line.strip_prefix("[endpoints.")?.split('.').next()?.to_owned());
    let names: Vec<String> = text.lines().filter_map(name).collect();
    let mut all = text.to_owned();
    for name in &names {
        // An event is soon given up, so that dead letters are looked at too.
        write!(
            all,
            "[endpoints.{name}.retry]\nschedule = [\"200ms\"]\nmax_attempts = 3\n\
             [endpoints.{name}.breaker]\nopen = \"200ms\"\nopen_max = \"500ms\"\n\
             misconfigured_open = \"1s\"\nmisconfigured_open_max = \"2s\"\n"
        )
        .unwrap();
    }
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    let quoted = quoted.join(", ");
    write!(all, "[event_configurations.all]\nevents = [\"*/*\"]\nendpoints = [{quoted}]\n")
        .unwrap();
    (names, all)
}

/// Everything that the admin listener says.
async fn surface(lockgate: &Lockgate, names: &[String]) {
    let mut paths: Vec<String> =
        ["/", "/page.js", "/page.css", "/metrics", "/readyz", "/api/status"]
            .map(String::from)
            .into();
    paths.push("/api/endpoints".into());
    paths.push("/api/openapi.json".into());
    for name in names {
        paths.push(format!("/api/endpoints/{name}"));
        paths.push(format!("/api/endpoints/{name}/attempts"));
        paths.push(format!("/api/dead-letters?endpoint={name}"));
    }
    for path in paths {
        // A look at dead letters may take longer than one question may.
        let (status, text) = eventually(&path, DEADLINE, || lockgate.get(&path)).await;
        assert_eq!(status, 200, "{path}: {text}");
        is_clean(&path, &text);
    }
}

/// What the commands say of a configuration, good or broken.
async fn commands(folder: &Path, broken: bool) {
    let event = folder.join("event.json");
    let event = event.to_str().unwrap();
    for arguments in [
        &["check"] as &[&str],
        &["check", "--connect"],
        &["check", "--connect", "--send", "--json"],
        &["explain", "--event", event],
        &["explain", "--event", event, "--json"],
        &["topology"],
        &["dead", "list", "--endpoint", "basic"],
        &["run"],
    ] {
        if arguments == ["run"] && !broken {
            continue;
        }
        let (code, out, err) = command(folder, arguments, "").await;
        assert!(!broken || code == 2, "{arguments:?}: {code}\n{out}\n{err}");
        is_clean(&format!("{arguments:?}"), &format!("{out}{err}"));
    }
}

/// A bridge with a canary everywhere, and what fails around it.
struct Stage {
    folder: tempfile::TempDir,
    servers: Servers,
    toml: String,
    names: Vec<String>,
    platform: Client,
    lockgate: Lockgate,
}

impl Stage {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        std::fs::write(path.join("test.toml"), "").unwrap();
        let key = path.join("key").display().to_string();
        let (code, _, err) = command(path, &["secret", "keygen", "--out", &key], "").await;
        assert_eq!(code, 0, "{err}");
        let event = r#"{"exchange":"Batch","routing_key":"x","body":{"event_id":"e-1"}}"#;
        std::fs::write(path.join("event.json"), event).unwrap();
        let place = node().place();
        let (user, word) = (canary("bus-user"), canary("bus-password"));
        node().user(&user, &word, &place.vhost, [".*", ".*", ".*"]);
        let bus = node().url(&format!("{user}:{word}"), &place.vhost);
        let servers = Servers {
            parrot: HttpServer::start(),
            secure: HttpServer::start_tls(&certs::make(path)),
            broker: Mosquitto::start().await,
            amqp: place.url.clone(),
        };
        servers.parrot.answer(parrot);
        let (user, word) = (canary("otlp-user"), canary("otlp-password"));
        let (query, header) = (canary("otlp-query"), canary("otlp-header"));
        let port = servers.parrot.port();
        let collector = format!("http://{user}:{word}@localhost:{port}/v1/traces?key={query}");
        let (names, endpoints) = with_events(&endpoints(path, &servers).await);
        let toml = format!(
            "[telemetry.otlp]\nendpoint = \"{collector}\"\nheaders = {{ X-Otlp = \"{header}\" }}\n\
             [source]\nurl = \"{bus}\"\nqueue = \"events\"\n\
             bindings = [{{ exchange = \"Batch\", type = \"topic\", routing_key = \"#\" }}]\n\
             [admin]\ntoken = {{ env = \"LOCKGATE_ADMIN_TOKEN\" }}\n{endpoints}"
        );
        let configuration = Configuration::write(path, &toml);
        let mut more = variables();
        more.push(("RUST_LOG", "trace".into()));
        more.push(("LOCKGATE_KEY_FILE", key));
        more.push(("FAILPOINTS", "attempt::panics=panic".into()));
        let lockgate = Lockgate::start_with(&configuration, &more);
        lockgate.ready().await;
        let platform = Client::connect(&place.url).await;
        Self { folder, servers, toml, names, platform, lockgate }
    }

    /// Every endpoint has been tried, and letters have died.
    async fn fail(&self) {
        for n in 0..20 {
            let body = format!(r#"{{"event_id":"e-{n}"}}"#);
            self.platform.publish("Batch", "x", Properties::default(), body.as_bytes()).await;
        }
        for name in &self.names {
            eventually(&format!("{name} has been tried"), DEADLINE, || async {
                let (_, text) = self.lockgate.get("/metrics").await?;
                let tried = format!("lockgate_attempts_total{{endpoint=\"{name}\",outcome=");
                let mut lines = text.lines().filter(|line| line.starts_with(&tried));
                lines.any(|line| !line.ends_with(" 0")).then_some(())
            })
            .await;
        }
        eventually("letters die", DEADLINE, || async {
            (self.platform.depth("lockgate.ep.basic.dead").await > 0).then_some(())
        })
        .await;
    }

    /// A configuration with other mistakes, beside the credentials.
    async fn break_the_file(&self) {
        let broken = self.toml.replace("non_2xx = \"retry\"", "non_2xx = \"perhaps\"\nbeyond = 1");
        let broken = broken.replace("[admin]\n", "[admin]\nlisten = 7\n");
        Configuration::write(self.folder.path(), &broken);
        self.lockgate.signal("HUP");
        eventually("the reload is refused", DEADLINE, || async {
            self.lockgate.log().contains("not reloaded").then_some(())
        })
        .await;
    }
}

#[test]
fn a_canary_in_any_form_is_found() {
    let word = canary("basic-password");
    let pair = format!("{}:{word}", canary("basic-user"));
    for text in [word.clone(), BASE64_STANDARD.encode(&pair), hex::encode(&word)] {
        let looked =
            std::panic::catch_unwind(|| is_clean("a text", &format!("before {text} after")));
        assert!(looked.is_err(), "{text} was not found");
    }
    is_clean("a text", "nothing to be found");
}

#[test]
fn no_credential_comes_to_light_whatever_fails() {
    assert!(
        lockgate::failpoint::built_in(),
        "run integration/test, or cargo test --features failpoints,otlp"
    );
    on_system(async {
        let stage = Stage::start().await;
        stage.fail().await;
        surface(&stage.lockgate, &stage.names).await;
        for message in stage.platform.drain("lockgate.ep.basic.dead").await {
            is_clean("a dead letter", &format!("{message:?}"));
        }
        commands(stage.folder.path(), false).await;
        stage.break_the_file().await;
        commands(stage.folder.path(), true).await;
        stage.lockgate.reconciles().await;
        stage.lockgate.terminate().await;
        let log = stage.lockgate.log();
        for told in
            ["endpoint state", "attempt failed", "panicked", "dead letter", "export of spans fails"]
        {
            assert!(log.contains(told), "the log says nothing of {told:?}");
        }
        is_clean("the log", &log);
        // The canaries were really on their way: the parrot has heard those of HTTP.
        let heard = format!("{:?}", stage.servers.parrot.received());
        for place in
            ["rest-url-query", "api-key", "header-env", "header-file", "hook-header", "otlp-header"]
        {
            assert!(heard.contains(&canary(place)), "{place} was never sent");
        }
    });
}
