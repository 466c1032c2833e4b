//! Panics, end to end: in an attempt, in rendering, in an endpoint's actor again and again, at its
//! start. Whoever panics fails alone, and nothing is lost.
//!
//! The binary panics where the environment variable `FAILPOINTS` says, which only a build with the
//! feature `failpoints` reads: see `src/failpoint.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use lockgate::domain::delivery::{HeaderValue, Message, Properties};
use serde_json::Value;

use super::support::http::{Answer, HttpServer};
use super::support::lockgate::{Configuration, Lockgate};
use super::support::rabbitmq::{Client, node};
use super::support::{eventually, on_system};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(90);

/// A bridge that panics where `points` say, and all around it.
struct Stage {
    _folder: tempfile::TempDir,
    configuration: Configuration,
    platform: Client,
    lockgate: Lockgate,
}

impl Stage {
    async fn start(points: &str, endpoints: &[(&str, &HttpServer)]) -> Self {
        assert!(
            lockgate::failpoint::built_in(),
            "run integration/test, or cargo test --features failpoints,otlp"
        );
        let folder = tempfile::tempdir().unwrap();
        let place = node().place();
        let mut toml = format!(
            "[telemetry]\nlog_format = \"json\"\n[source]\nurl = \"{}\"\nqueue = \"events\"\n\
             bindings = [{{ exchange = \"Batch\", type = \"topic\", routing_key = \"#\" }}]\n",
            place.url
        );
        for (name, server) in endpoints {
            write!(
                toml,
                "[endpoints.{name}]\nevents = [\"*/*\"]\nretry = {{ schedule = [\"200ms\"] }}\n\
                 breaker = {{ open = \"200ms\", open_max = \"1s\" }}\n\
                 [endpoints.{name}.rest]\nurl = \"{}\"\nnon_2xx = \"retry\"\n",
                server.url("/")
            )
            .unwrap();
        }
        let configuration = Configuration::write(folder.path(), &toml);
        let points = [("FAILPOINTS", points.to_owned())];
        let lockgate = Lockgate::start_with(&configuration, &points);
        lockgate.ready().await;
        let platform = Client::connect(&place.url).await;
        Self { _folder: folder, configuration, platform, lockgate }
    }

    async fn publish(&self, id: &str) {
        let body = format!(r#"{{"event_id":"{id}","batch":"secret-payload"}}"#);
        let properties = Properties::default();
        self.platform.publish("Batch", "batch_run_status", properties, body.as_bytes()).await;
    }

    /// The log, line by line; every line is one object.
    fn log(&self) -> Vec<Value> {
        let text = self.lockgate.log();
        // The last line may be half written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let line = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|e| panic!("no JSON: {e}: {line}"))
        };
        // What the configuration is warned of is said before there is a log.
        whole.lines().skip_while(|line| !line.starts_with('{')).map(line).collect()
    }

    fn said(&self, message: &str) -> Vec<Value> {
        self.log().into_iter().filter(|line| line["message"] == message).collect()
    }

    async fn settled(&self, endpoint: &str, how: &str) -> f64 {
        let name = format!("lockgate_routes_total{{endpoint=\"{endpoint}\",settlement=\"{how}\"}}");
        self.lockgate.metric(&name).await
    }

    /// Waits for rest, ends the bridge, and holds its log to what every log must be.
    async fn ends(&self) {
        self.lockgate.reconciles().await;
        self.lockgate.terminate().await;
        assert_eq!(self.platform.depth("events").await, 0);
        let text = self.lockgate.log();
        for never in ["panicked at", "secret-payload", "RUST_BACKTRACE"] {
            assert!(!text.contains(never), "{never} is in the log");
        }
        assert!(!self.log().is_empty());
    }
}

/// How often each event came.
fn times(server: &HttpServer) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for request in server.received() {
        *times.entry(request.header("x-request-id").unwrap().to_owned()).or_default() += 1;
    }
    times
}

async fn until_all(server: &HttpServer, expected: &BTreeSet<String>) {
    eventually("every event at the server", DEADLINE, || async {
        expected.iter().all(|id| times(server).contains_key(id)).then_some(())
    })
    .await;
    assert_eq!(&times(server).into_keys().collect::<BTreeSet<_>>(), expected);
}

fn number(message: &Message, header: &str) -> u32 {
    match message.header(header) {
        Some(HeaderValue::LongUInt(value)) => *value,
        other => panic!("{header}: {other:?}"),
    }
}

fn text(message: &Message, header: &str) -> String {
    match message.header(header) {
        Some(HeaderValue::LongString(value)) => value.to_string(),
        other => panic!("{header}: {other:?}"),
    }
}

#[test]
fn an_endpoint_actor_that_panics_again_and_again_is_rebuilt_and_harms_no_other() {
    const DEATHS: usize = 6;
    on_system(async {
        let (bad, good) = (HttpServer::start(), HttpServer::start());
        let points = format!("endpoint::bad={DEATHS}*panic");
        let stage = Stage::start(&points, &[("bad", &bad), ("good", &good)]).await;
        let mut expected = BTreeSet::new();
        // Events keep coming while it dies and is built again.
        eventually("its deaths", DEADLINE, || {
            let id = format!("e-{}", expected.len());
            expected.insert(id.clone());
            let stage = &stage;
            async move {
                stage.publish(&id).await;
                (stage.said("endpoint actor died; building it again").len() == DEATHS).then_some(())
            }
        })
        .await;
        until_all(&good, &expected).await;
        until_all(&bad, &expected).await;
        let deaths = stage.said("endpoint actor died; building it again");
        let pauses: Vec<&str> = deaths.iter().map(|line| line["pause"].as_str().unwrap()).collect();
        assert_eq!(pauses, ["100ms", "200ms", "400ms", "800ms", "1.6s", "3.2s"]);
        let panics = stage.said("panicked: a fault of lockgate");
        assert_eq!(panics.len(), DEATHS, "one line a panic");
        assert!(panics.iter().all(|line| line["place"].as_str().unwrap().contains(".rs:")));
        let alarming = |line: &&Value| line["level"] == "ERROR" || line["level"] == "WARN";
        let alarms = stage.log().iter().filter(alarming).count();
        assert!(alarms <= 2 * DEATHS + 4, "{alarms} lines for {DEATHS} deaths");
        // The neighbour never noticed: everything once, and nothing by way of its queue.
        assert!(times(&good).values().all(|times| *times == 1), "{:?}", times(&good));
        assert!(stage.settled("good", "parked").await < 0.5);
        assert!(stage.settled("bad", "parked").await >= 1.0);
        let repeats = times(&bad).values().sum::<usize>() - expected.len();
        println!(
            "{DEATHS} deaths, {} events: 0 lost, {repeats} repeats at the one that died, 0 at its \
             neighbour, {alarms} lines at warn or error",
            expected.len()
        );
        stage.ends().await;
        assert_eq!(stage.platform.depth("lockgate.ep.bad.parked").await, 0);
        assert_eq!(stage.platform.depth("lockgate.ep.bad.dead").await, 0);
    });
}

#[test]
fn an_event_whose_attempt_panics_three_times_is_a_dead_letter_and_the_others_pass() {
    on_system(async {
        let (bad, good) = (HttpServer::start(), HttpServer::start());
        let points = "attempt::bad::e-7=panic;render::bad::e-13=panic(secret-payload);\
                      attempt::bad::e-20=2*panic;publisher::good=1*panic";
        let stage = Stage::start(points, &[("bad", &bad), ("good", &good)]).await;
        let expected: BTreeSet<String> = (0..50).map(|n| format!("e-{n}")).collect();
        for id in &expected {
            stage.publish(id).await;
        }
        until_all(&good, &expected).await;
        let poison = BTreeSet::from(["e-7".to_owned(), "e-13".to_owned()]);
        until_all(&bad, &(&expected - &poison)).await;
        let dead = stage.platform.take("lockgate.ep.bad.dead", 2).await;
        stage.ends().await;
        let found = dead.iter().map(|message| text(message, "lockgate-event-id")).collect();
        assert_eq!(poison, found);
        for message in &dead {
            assert_eq!(text(message, "lockgate-reason"), "panicked");
            assert_eq!(number(message, "lockgate-panics"), 3);
            assert_eq!(number(message, "lockgate-attempts"), 3);
        }
        assert_eq!(stage.said("panicked: a fault of lockgate").len(), 3 + 3 + 2 + 1);
        assert_eq!(stage.said("dead letter").len(), 2);
        assert!(stage.said("endpoint actor died; building it again").is_empty());
        for server in [&bad, &good] {
            assert!(times(server).values().all(|times| *times == 1), "{:?}", times(server));
        }
        println!("2 events of 50 panic for ever: both dead after 3 panics; 48 delivered once");
    });
}

#[test]
fn what_was_abandoned_beside_a_panic_does_not_count_as_one() {
    on_system(async {
        let server = HttpServer::start();
        // Those that go before are taken, to open the window. Then the first attempt of each event
        // is never answered, and every other is refused for good.
        let seen = std::sync::Mutex::new(BTreeSet::new());
        server.answer(move |request| {
            let id = request.header("x-request-id").unwrap().to_owned();
            if id.starts_with("before") {
                return Answer::ok();
            }
            let first = id.starts_with("beside") && seen.lock().unwrap().insert(id);
            Answer::status(400).after(Duration::from_secs(if first { 600 } else { 0 }))
        });
        let points = "endpoint::bad::culprit=1*panic";
        let stage = Stage::start(points, &[("bad", &server)]).await;
        let before: BTreeSet<String> = (0..40).map(|n| format!("before-{n}")).collect();
        for id in &before {
            stage.publish(id).await;
        }
        until_all(&server, &before).await;
        let beside: BTreeSet<String> = (0..10).map(|n| format!("beside-{n}")).collect();
        for id in &beside {
            stage.publish(id).await;
        }
        eventually("ten attempts under way", DEADLINE, || async {
            (server.received().len() == before.len() + beside.len()).then_some(())
        })
        .await;
        stage.publish("culprit").await;
        let dead = stage.platform.take("lockgate.ep.bad.dead", beside.len() + 1).await;
        stage.ends().await;
        let mut found: BTreeSet<String> =
            dead.iter().map(|message| text(message, "lockgate-event-id")).collect();
        assert!(found.remove("culprit"));
        assert_eq!(found, beside);
        for message in &dead {
            assert_eq!(number(message, "lockgate-panics"), 0, "{message:?}");
            assert_eq!(text(message, "lockgate-reason"), "http_400");
        }
        assert_eq!(stage.said("endpoint actor died; building it again").len(), 1);
    });
}

#[test]
fn an_endpoint_actor_that_cannot_even_start_holds_nobody_up() {
    on_system(async {
        let (bad, good) = (HttpServer::start(), HttpServer::start());
        let stage = Stage::start("start::bad=panic", &[("bad", &bad), ("good", &good)]).await;
        let expected: BTreeSet<String> = (0..50).map(|n| format!("e-{n}")).collect();
        for id in &expected {
            stage.publish(id).await;
        }
        until_all(&good, &expected).await;
        stage.ends().await;
        assert_eq!(stage.platform.depth("lockgate.ep.bad.parked").await, 50);
        assert!(!stage.said("endpoint actor died; building it again").is_empty());
        // What was kept for it waits for an instance in which it starts.
        let cured = Lockgate::start_ready(&stage.configuration).await;
        until_all(&bad, &expected).await;
        cured.reconciles().await;
        cured.terminate().await;
        assert_eq!(good.received().len(), expected.len());
        assert_eq!(bad.received().len(), expected.len());
    });
}
