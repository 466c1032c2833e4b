//! Dead letters through the real binary, on a real RabbitMQ: looked at, replayed, purged; interrupted
//! in every way. Nothing is lost, and looking changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use lapin::types::{AMQPValue, FieldTable};
use lockgate::bus::rabbitmq::{Mode, RabbitMq, RabbitSettings};
use lockgate::bus::{Bus, Queue, Target};
use lockgate::domain::delivery::{HeaderValue, Message, Properties};
use lockgate::domain::names::Name;
use lockgate::logic::dead::Letter;
use lockgate::logic::parcel::{self, Record};
use lockgate::logic::secret::SecretUrl;
use lockgate::transport::tls::TlsSettings;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::support::http::HttpServer;
use super::support::lockgate::{Configuration, Lockgate};
use super::support::rabbitmq::{Client, Place, node, rough_node};
use super::support::{eventually, free_port, on_system};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(120);
const DEAD: &str = "lockgate.ep.erp.dead";
const PARKED: &str = "lockgate.ep.erp.parked";

fn erp() -> Name {
    "erp".parse().unwrap()
}

fn at(second: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(second).unwrap()
}

/// A dead letter of one kind, dead for the hours given.
fn letter(id: &str, trigger: &str, reason: &str, hours: i64) -> Message {
    let record = Record {
        event_id: id.to_owned(),
        event_type: "Batch".into(),
        event_trigger: trigger.to_owned(),
        configuration: "erp".into(),
        attempts: 9,
        panics: 2,
        received_at: at(1_750_000_000),
        first_attempt_at: Some(at(1_750_000_001)),
        last_attempt_at: Some(at(1_750_000_002)),
        reason: reason.to_owned(),
        last_error: "503 Service Unavailable\u{1b}[2J".into(),
    };
    let mut headers = FieldTable::default();
    headers.insert("X-Plant".into(), AMQPValue::LongString("chicago".into()));
    headers.insert("number".into(), AMQPValue::LongUInt(7));
    let came = Message {
        exchange: "Batch".into(),
        routing_key: trigger.to_owned(),
        properties: Properties::default()
            .with_headers(headers)
            .with_content_type("application/json".into())
            .with_correlation_id("c-1".into())
            .with_priority(3),
        body: format!("{{\"event_id\": \"{id}\", \"n\": 1.0}}").into(),
        redelivered: false,
    };
    let dead_at = lockgate::world::now() - jiff::SignedDuration::from_hours(hours);
    parcel::pack(&came, &record, dead_at)
}

/// A letter as it is stored: RabbitMQ writes on what it delivers again how often it has done so.
fn stored(letter: &Message) -> (Vec<u8>, String) {
    let mut headers = letter.properties.headers().clone().unwrap_or_default().inner().clone();
    headers.retain(|name, _| name.as_str() != "x-delivery-count");
    let properties = letter.properties.clone().with_headers(headers.into());
    (letter.body.to_vec(), format!("{properties:?}"))
}

fn id(message: &Message) -> String {
    Letter::of(message).event_id.unwrap()
}

/// How often each event is there.
fn times(messages: &[Message]) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for message in messages {
        *times.entry(id(message)).or_default() += 1;
    }
    times
}

/// What a command printed, and its exit code.
#[derive(Debug)]
struct Told {
    code: i32,
    out: String,
    err: String,
}

impl Told {
    fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.out).unwrap()
    }

    #[track_caller]
    fn is(&self, code: i32, out: &str, err: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.out.contains(out) && self.err.contains(err), "{out:?} {err:?}: {self:?}");
    }
}

/// A configuration, its bus, and the topology of endpoint `erp` declared there.
struct Stage {
    configuration: Configuration,
    bus: Arc<RabbitMq>,
    platform: Client,
    place: Place,
}

impl Stage {
    async fn set(folder: &Path, place: Place, endpoints: &str) -> Self {
        let toml = format!(
            "[source]\nurl = \"{}\"\nqueue = \"events\"\n\
             bindings = [{{ exchange = \"Batch\", type = \"topic\", routing_key = \"#\" }}]\n{endpoints}",
            place.url
        );
        let configuration = Configuration::write(folder, &toml);
        let settings = RabbitSettings {
            url: SecretUrl::new(place.url.parse().unwrap()),
            queue: "events".into(),
            bindings: Vec::new(),
            prefix: "lockgate".into(),
            mode: Mode::Declare,
            tls: TlsSettings::default(),
            heartbeat: Duration::from_secs(10),
            instance: "test".into(),
        };
        let bus = RabbitMq::new(&settings).unwrap();
        let platform = Client::connect(&place.url).await;
        Self { configuration, bus, platform, place }
    }

    async fn ready(folder: &Path, place: Place, endpoints: &str) -> Self {
        let stage = Self::set(folder, place, endpoints).await;
        let rungs = vec![Duration::from_secs(60)];
        let _ = stage.bus.prepare(vec![erp()], rungs).await.unwrap();
        stage
    }

    async fn die(&self, letters: &[Message]) {
        for some in letters.chunks(500) {
            let stores =
                some.iter().map(|letter| self.bus.store(Target::Dead(erp()), letter.clone()));
            for done in futures_util::future::join_all(stores).await {
                done.unwrap();
            }
        }
        self.depth_is(DEAD, letters.len()).await;
    }

    async fn depth_is(&self, queue: &str, count: usize) {
        eventually(&format!("{count} in {queue}"), DEADLINE, || async {
            (self.platform.depth(queue).await as usize == count).then_some(())
        })
        .await;
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockgate"));
        command
            .arg("--config")
            .arg(&self.configuration.folder)
            .args(["--env", "test", "dead"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    /// Runs it on a terminal of its own, 70 columns wide, where somebody types `input`. Standard
    /// error is on the terminal too.
    async fn on_terminal(&self, arguments: &[&str], input: &str) -> Told {
        let line = format!(
            "stty rows 50 cols 70; exec '{}' --config '{}' --env test dead {}",
            env!("CARGO_BIN_EXE_lockgate"),
            self.configuration.folder.display(),
            arguments.join(" ")
        );
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().expect("the tool `script`");
        let mut keyboard = child.stdin.take().unwrap();
        keyboard.write_all(input.as_bytes()).await.unwrap();
        let told = told(child).await;
        drop(keyboard);
        told
    }

    async fn dead(&self, arguments: &[&str]) -> Told {
        told(self.start(arguments)).await
    }
}

async fn told(child: Child) -> Told {
    let done = tokio::time::timeout(DEADLINE, child.wait_with_output());
    let output = done.await.expect("the command ends in time").unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Told {
        code: output.status.code().unwrap(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}

fn rest(url: &str) -> String {
    format!(
        "[endpoints.erp]\nevents = [\"*/*\"]\nretry = {{ schedule = [\"60s\"] }}\n\
         [endpoints.erp.rest]\nurl = \"{url}\"\nnon_2xx = \"retry\"\n"
    )
}

fn nowhere() -> String {
    rest(&format!("http://127.0.0.1:{}/", free_port()))
}

#[test]
fn letters_that_were_looked_at_fifty_times_are_as_they_were() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let stage = Stage::ready(folder.path(), node().place(), &nowhere()).await;
        let letters: Vec<Message> =
            (0..12).map(|n| letter(&format!("e-{n}"), "step", "http_400", n)).collect();
        stage.die(&letters).await;
        let mut shown = BTreeSet::new();
        for round in 0..50 {
            let limit = if round % 2 == 0 { "100" } else { "5" };
            let list = stage.dead(&["list", "--json", "--limit", limit]).await.json();
            let all = list["letters"].as_array().unwrap();
            assert_eq!(all.len(), if round % 2 == 0 { 12 } else { 5 });
            assert_eq!(list["endpoints"][0]["dead"], 12, "{list}");
            let show = stage.dead(&["show", "e-7", "--endpoint", "erp", "--json"]).await.json();
            shown.insert(show.to_string());
            stage.depth_is(DEAD, letters.len()).await;
        }
        assert_eq!(shown.len(), 1, "shown the same every time: {shown:#?}");
        let shown: Value = serde_json::from_str(shown.first().unwrap()).unwrap();
        assert_eq!(shown["message"]["exchange"], "Batch");
        assert_eq!(shown["message"]["body"], "{\"event_id\": \"e-7\", \"n\": 1.0}");
        assert_eq!(shown["message"]["headers"]["X-Plant"], "chicago");
        assert_eq!(shown["headers"]["lockgate-attempts"], 9);
        let left = stage.platform.drain(DEAD).await;
        let looks = left.iter().filter_map(|letter| match letter.header("x-delivery-count") {
            Some(HeaderValue::LongLongInt(count)) => Some(*count),
            _ => None,
        });
        let looks = looks.min().unwrap();
        println!("12 letters, each given back {looks} times or more: all there, none changed");
        assert!(looks >= 50, "given back {looks} times");
        let before: BTreeSet<_> = letters.iter().map(stored).collect();
        assert!(left.iter().map(stored).collect::<BTreeSet<_>>() == before, "a letter has changed");
        assert_eq!(left.len(), letters.len());
    });
}

#[test]
fn a_filtered_replay_beside_a_running_bridge_moves_exactly_what_it_means() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let server = HttpServer::start();
        let stage = Stage::ready(folder.path(), node().place(), &rest(&server.url("/"))).await;
        let letters: Vec<Message> = (0..5_000)
            .map(|n| {
                // A kind, a reason or an age alone does not make it.
                let trigger = if n % 5 == 0 || n % 5 == 1 { "step_execution" } else { "other" };
                let reason = if n % 5 == 0 || n % 5 == 2 { "http_400" } else { "timeout" };
                letter(&format!("e-{n}"), trigger, reason, if n % 5 == 3 { 0 } else { 5 })
            })
            .collect();
        stage.die(&letters).await;
        let lockgate = Lockgate::start_ready(&stage.configuration).await;
        let wanted = ["--endpoint", "erp", "--type", "batch/STEP_execution", "--reason"];
        let wanted = [&["replay"], &wanted[..], &["http_400", "--older-than", "2h"]].concat();
        let dry = stage.dead(&[&wanted[..], &["--dry-run"]].concat()).await;
        dry.is(0, "1,000 of 5,000 dead letters of erp would be replayed; nothing was moved", "");
        stage.depth_is(DEAD, 5_000).await;
        assert_eq!((stage.platform.depth(PARKED).await, server.received().len()), (0, 0));
        let start = Instant::now();
        let done = stage.dead(&wanted).await;
        let took = start.elapsed();
        done.is(0, "1,000 dead letters of erp replayed, 4,000 skipped, 4,000 left", "");
        println!("a filtered replay of 1,000 among 5,000 letters: {took:?}");
        let expected: BTreeSet<String> = (0..5_000).step_by(5).map(|n| format!("e-{n}")).collect();
        let arrived = || -> Vec<String> {
            let received = server.received();
            received.iter().map(|r| r.header("x-request-id").unwrap().to_owned()).collect()
        };
        eventually("all that was meant has arrived", DEADLINE, || async {
            (arrived().len() >= expected.len()).then_some(())
        })
        .await;
        stage.depth_is(PARKED, 0).await;
        lockgate.reconciles().await;
        lockgate.terminate().await;
        assert_eq!(arrived().len(), expected.len(), "each once");
        assert_eq!(arrived().into_iter().collect::<BTreeSet<_>>(), expected);
        let left = stage.platform.drain(DEAD).await;
        let before: BTreeSet<_> =
            letters.iter().filter(|l| !expected.contains(&id(l))).map(stored).collect();
        assert_eq!((left.len(), before.len()), (4_000, 4_000));
        assert!(left.iter().map(stored).collect::<BTreeSet<_>>() == before, "a letter has changed");
    });
}

#[test]
fn a_replay_that_is_killed_again_and_again_loses_no_letter() {
    const LETTERS: usize = 12_000;
    const KILLS: u32 = 5;
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let stage = Stage::ready(folder.path(), node().place(), &nowhere()).await;
        let letters: Vec<Message> = (0..LETTERS)
            .map(|n| {
                let reason = if n % 4 == 3 { "timeout" } else { "http_400" };
                letter(&format!("e-{n}"), "step", reason, 1)
            })
            .collect();
        stage.die(&letters).await;
        let replay = ["replay", "--endpoint", "erp", "--reason", "http_400"];
        let mut kills = 0;
        for kill in 1..=KILLS {
            let before = stage.platform.depth(PARKED).await;
            let mut child = stage.start(&replay);
            eventually("it is in the middle", DEADLINE, || async {
                let more = stage.platform.depth(PARKED).await - before;
                (more >= 50 * kill).then_some(())
            })
            .await;
            kills += u32::from(child.try_wait().unwrap().is_none());
            child.kill().await.unwrap();
            eventually("what it held is given back", DEADLINE, || async {
                let all = stage.platform.depth(PARKED).await + stage.platform.depth(DEAD).await;
                let taken = stage.platform.consumers(DEAD).await > 0;
                (all as usize >= LETTERS && !taken).then_some(())
            })
            .await;
        }
        assert_eq!(kills, KILLS, "each kill came in the middle");
        let last = stage.dead(&replay).await;
        last.is(0, "replayed", "");
        let parked = times(&stage.platform.drain(PARKED).await);
        let dead = times(&stage.platform.drain(DEAD).await);
        let mut missing = Vec::new();
        for letter in &letters {
            let meant = Letter::of(letter).reason.as_deref() == Some("http_400");
            let place = if meant { &parked } else { &dead };
            if !place.contains_key(&id(letter)) {
                missing.push(id(letter));
            }
        }
        let all: usize = parked.values().chain(dead.values()).sum();
        println!(
            "{LETTERS} letters, {KILLS} kills in the middle of a replay: {} lost, {} repeats",
            missing.len(),
            all - LETTERS + missing.len()
        );
        assert!(missing.is_empty(), "lost: {missing:?}");
        assert!(parked.keys().all(|id| !dead.contains_key(id)), "what was meant is all gone");
    });
}

#[test]
fn what_rabbitmq_moved_itself_says_so_until_it_is_replayed_and_then_is_as_new() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let stage = Stage::set(folder.path(), node().place(), &nowhere()).await;
        let text = |text: &str| AMQPValue::LongString(text.into());
        let mut impatient = FieldTable::default();
        for (name, value) in [
            ("x-queue-type", text("quorum")),
            ("x-dead-letter-exchange", text("lockgate.dead")),
            ("x-dead-letter-routing-key", text("erp")),
            ("x-dead-letter-strategy", text("at-least-once")),
            ("x-overflow", text("reject-publish")),
            ("x-delivery-limit", AMQPValue::LongLongInt(1)),
        ] {
            impatient.insert(name.into(), value);
        }
        stage.platform.declare_with(PARKED, impatient).await;
        let _ = stage.bus.prepare(vec![erp()], vec![Duration::from_secs(60)]).await.unwrap();
        stage.bus.store(Target::Park(erp()), letter("e-1", "step", "timeout", 0)).await.unwrap();
        eventually("it was delivered too often", DEADLINE, || async {
            let mut parked = stage.bus.consume(Queue::Parked(erp()), 1).await.unwrap();
            let next = parked.deliveries.recv();
            let _ = tokio::time::timeout(Duration::from_millis(200), next).await;
            (stage.platform.depth(DEAD).await == 1).then_some(())
        })
        .await;
        for _ in 0..2 {
            let list = stage.dead(&["list", "--json", "--reason", "delivery_limit"]).await.json();
            let found = &list["letters"][0];
            assert_eq!((&found["event_id"], &found["attempts"]), (&"e-1".into(), &9.into()));
            let age = found["dead_since"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
            assert!(lockgate::world::now().duration_since(age).as_secs() < 3_600);
            // Once round the queue, which takes RabbitMQ's marks off.
            let round = ["replay", "--endpoint", "erp", "--reason", "other"];
            stage.dead(&round).await.is(0, "0 dead letters of erp replayed, 1 skipped, 1 left", "");
            stage.depth_is(DEAD, 1).await;
        }
        let replay = ["replay", "--endpoint", "erp", "--reason", "delivery_limit"];
        stage.dead(&replay).await.is(0, "1 dead letter of erp replayed, 0 skipped, 0 left", "");
        let parked = stage.platform.take(PARKED, 1).await.remove(0);
        let again = Letter::of(&parked);
        assert_eq!((again.attempts, again.panics, again.last_error), (0, 0, None));
        assert_eq!((again.first_attempt_at, again.last_attempt_at), (None, None));
        // Taken one by one, a message that was never delivered bears a count of none.
        let never = HeaderValue::LongLongInt(0);
        assert!(parked.header("x-delivery-count").is_none_or(|count| *count == never));
        let mut headers = parked.properties.headers().clone().unwrap_or_default().inner().clone();
        headers.retain(|name, _| name.as_str().starts_with("x-"));
        headers.remove("x-delivery-count");
        assert!(headers.is_empty(), "{headers:?}");
        assert_eq!(parked.body, letter("e-1", "step", "timeout", 0).body);
        assert_eq!(parked.header("number"), Some(&HeaderValue::LongUInt(7)));
    });
}

#[test]
fn a_purge_asks_first_and_removes_exactly_what_it_means() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let stage = Stage::ready(folder.path(), node().place(), &nowhere()).await;
        let letters: Vec<Message> = (0..1_000)
            .map(|n| letter(&format!("e-{n}"), "step", "http_400", if n < 300 { 100 } else { 1 }))
            .collect();
        stage.die(&letters).await;
        let purge = ["purge", "--endpoint", "erp", "--older-than", "3d"];
        let and = |more| [&purge[..], &[more]].concat();
        stage.dead(&purge).await.is(2, "", "--yes deletes them without asking");
        stage.dead(&and("--dry-run")).await.is(0, "300 of 1,000 dead letters of erp would", "");
        stage.depth_is(DEAD, 1_000).await;
        let asked = stage.on_terminal(&purge, "n\n").await;
        asked.is(1, "Delete 300 of 1,000 dead letters of erp for good? [y/N]", "");
        assert!(asked.out.contains("not confirmed: nothing was deleted"), "{asked:?}");
        stage.depth_is(DEAD, 1_000).await;
        let one = ["purge", "--endpoint", "erp", "--id", "e-501"];
        let asked = stage.on_terminal(&one, "y\n").await;
        asked.is(0, "1 dead letter of erp purged, 999 skipped, 999 left", "");
        let again = letter("e-501", "step", "http_400", 1);
        stage.bus.store(Target::Dead(erp()), again).await.unwrap();
        stage.depth_is(DEAD, 1_000).await;
        let purged = stage.dead(&and("--yes")).await;
        purged.is(0, "300 dead letters of erp purged, 700 skipped, 700 left", "");
        let one = ["purge", "--endpoint", "erp", "--id", "e-500", "--yes"];
        stage.dead(&one).await.is(0, "1 dead letter of erp purged, 699 skipped, 699 left", "");
        let left = times(&stage.platform.drain(DEAD).await);
        let expected = (300..1_000).filter(|n| *n != 500).map(|n| (format!("e-{n}"), 1));
        assert_eq!(left, expected.collect());
        assert_eq!(stage.platform.depth(PARKED).await, 0);
        let all = ["purge", "--endpoint", "erp", "--all", "--yes"];
        stage.dead(&all).await.is(0, "0 dead letters of erp purged, 0 skipped, 0 left", "");
    });
}

#[test]
fn an_interrupt_ends_a_replay_in_order() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let stage = Stage::ready(folder.path(), node().place(), &nowhere()).await;
        let letters: Vec<Message> =
            (0..500).map(|n| letter(&format!("e-{n}"), "step", "timeout", 1)).collect();
        stage.die(&letters).await;
        let child = stage.start(&["replay", "--endpoint", "erp", "--all", "--rate", "20/s"]);
        eventually("it has begun", DEADLINE, || async {
            (stage.platform.depth(PARKED).await >= 5).then_some(())
        })
        .await;
        let pid = child.id().unwrap().to_string();
        let sent = Command::new("kill").args(["-s", "INT", &pid]).status().await.unwrap();
        assert!(sent.success());
        told(child).await.is(1, " replayed, 0 skipped", "nothing is half done");
        eventually("all are given back", DEADLINE, || async {
            let all = stage.platform.depth(PARKED).await + stage.platform.depth(DEAD).await;
            (all >= 500).then_some(())
        })
        .await;
        let parked = stage.platform.drain(PARKED).await;
        let dead = stage.platform.drain(DEAD).await;
        println!("interrupted after {} of 500: {} left", parked.len(), dead.len());
        assert!(!dead.is_empty(), "it was in the middle");
        let both = times(&[parked, dead].concat());
        assert_eq!(both.len(), 500, "none is lost");
        assert!(both.values().all(|times| *times == 1), "none is there twice");
    });
}

#[test]
#[allow(clippy::await_holding_lock, reason = "the node is this test's alone until its end")]
fn under_a_memory_alarm_a_replay_says_that_it_waits_and_then_goes_on() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let node = rough_node();
        let stage = Stage::ready(folder.path(), node.place(), &nowhere()).await;
        let letters: Vec<Message> =
            (0..600).map(|n| letter(&format!("e-{n}"), "step", "timeout", 1)).collect();
        stage.die(&letters).await;
        node.alarm(true);
        let log = folder.path().join("told");
        let mut command = stage.command(&["replay", "--endpoint", "erp", "--all"]);
        let child = command.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
        eventually("it says that it waits", DEADLINE, || async {
            std::fs::read_to_string(&log).unwrap().contains("alarm. Waiting").then_some(())
        })
        .await;
        let list = stage.dead(&["list", "--endpoint", "erp"]).await;
        assert_eq!(list.code, 0, "looking needs no publishing: {list:?}");
        node.alarm(false);
        told(child).await.is(0, "600 dead letters of erp replayed, 0 skipped, 0 left", "");
        let parked = times(&stage.platform.drain(PARKED).await);
        let repeats = parked.values().sum::<usize>() - parked.len();
        println!("600 letters replayed through an alarm: {repeats} repeats");
        assert_eq!(parked.len(), 600);
    });
}

#[test]
fn list_counts_what_waits_and_what_is_dead_and_so_do_the_metrics() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let endpoints =
            nowhere().replace("[endpoints.erp]\n", "[endpoints.erp]\nenabled = false\n");
        let stage = Stage::ready(folder.path(), node().place(), &endpoints).await;
        let letters: Vec<Message> =
            (0..7).map(|n| letter(&format!("e-{n}"), "step", "http_400", 5)).collect();
        stage.die(&letters).await;
        let another = || letter("p", "step", "timeout", 0);
        for target in [
            Target::Park(erp()),
            Target::Park(erp()),
            Target::Wait(erp(), Duration::from_secs(60)),
            Target::Rejected,
        ] {
            stage.bus.store(target, another()).await.unwrap();
        }
        let list = stage.dead(&["list", "--json"]).await.json();
        assert_eq!(
            list["endpoints"],
            serde_json::json!([
                {"endpoint": "erp", "dead": 7, "parked": 2, "waiting": 1, "looked_at": 7}
            ])
        );
        assert_eq!((&list["rejected"], &list["orphaned"]), (&1.into(), &0.into()));
        assert_eq!(list["waiting"], serde_json::json!({"1m": 1}));
        let list = stage.dead(&["list", "--id", "e-3"]).await;
        for line in [
            "endpoint  dead  parked  waiting\nerp          7       2        1\n",
            "waiting, all endpoints together: 1 for 1m\nrejected 1, orphaned 0\n",
            "erp       e-3       Batch/step  http_400         9        5h  503 Service",
        ] {
            list.is(0, line, "");
        }
        assert!(!list.out.contains('\u{1b}') && !list.out.contains("e-4"), "{list:?}");
        let narrow = stage.on_terminal(&["list"], "").await;
        let rows: Vec<&str> = narrow.out.lines().filter(|line| line.starts_with("erp ")).collect();
        assert_eq!(rows.len(), 8, "{narrow:?}");
        let fits = |row: &&str| row.trim_end().chars().count() <= 70;
        assert!(rows.iter().all(fits) && narrow.out.contains('…'), "{narrow:?}");
        let few = stage.dead(&["list", "--limit", "3"]).await;
        few.is(0, "erp: 3 of 7 looked at; --limit looks further", "");
        let replay = ["replay", "--endpoint", "erp", "--all", "--dry-run"];
        stage.dead(&replay).await.is(0, "7 of 7 dead letters", "erp is disabled");
        let lockgate = Lockgate::start_ready(&stage.configuration).await;
        eventually("the gauges show it", DEADLINE, || async {
            let dead = lockgate.metric("lockgate_dead{endpoint=\"erp\"}").await;
            let parked = lockgate.metric("lockgate_parked{endpoint=\"erp\"}").await;
            ((dead, parked) == (7.0, 2.0)).then_some(())
        })
        .await;
        lockgate.reconciles().await;
        lockgate.terminate().await;
        assert_eq!(stage.platform.depth(DEAD).await, 7);
    });
}

#[test]
fn what_cannot_be_done_is_told_with_a_remedy() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let stage = Stage::set(folder.path(), node().place(), &nowhere()).await;
        let missing = "there is no queue of erp's dead letters";
        for (arguments, code, told) in [
            ("replay --endpoint erp", 2, "error: nothing says which dead letters are meant"),
            ("purge --endpoint erp --yes", 2, "hint: --type, --reason, --older-than"),
            ("replay --all", 2, "--endpoint"),
            ("show e-1", 2, "--endpoint"),
            ("replay --endpoint erp --all --id e-1", 2, "cannot be used with"),
            ("replay --endpoint erp --type Batch", 2, "has one part only"),
            ("replay --endpoint erp --older-than soon", 2, "--older-than"),
            ("replay --endpoint erp --all --rate fast", 2, "expected a rate"),
            ("replay --endpoint erp --all --rate 1/h", 2, "below one a minute"),
            ("replay --endpoint old --all", 2, "endpoint old is not configured"),
            ("list --limit 0", 2, "--limit"),
            ("list --endpoint erp", 1, missing),
            ("show e-1 --endpoint erp", 1, missing),
            ("replay --endpoint erp --all", 1, missing),
            ("replay --endpoint erp --all --dry-run", 1, "hint: `lockgate run` declares it"),
            ("purge --endpoint erp --all --yes", 1, "`lockgate topology` prints"),
            ("list --endpoint old", 1, "hint: configured endpoints: erp"),
        ] {
            let arguments: Vec<&str> = arguments.split(' ').collect();
            stage.dead(&arguments).await.is(code, "", told);
        }
        stage.dead(&["list"]).await.is(0, "erp       no queue  no queue", "");
        // An endpoint that is no longer configured: its letters can be seen and purged.
        let old: Name = "old".parse().unwrap();
        let _ = stage.bus.prepare(vec![erp(), old.clone()], vec![]).await.unwrap();
        let forgotten = letter("e-1", "step", "http_400", 1);
        stage.bus.store(Target::Dead(old.clone()), forgotten).await.unwrap();
        let not_there = stage.dead(&["show", "e-2", "--endpoint", "old"]).await;
        not_there.is(1, "", "event \"e-2\" is not among the 1 looked at, of 1 dead letter of old");
        stage.dead(&["show", "e-1", "--endpoint", "old"]).await.is(0, "reason: http_400", "");
        stage.dead(&["list", "--endpoint", "old"]).await.is(0, "e-1", "");
        let purge = ["purge", "--endpoint", "old", "--all", "--yes"];
        stage.dead(&purge).await.is(0, "1 dead letter of old purged", "");
        // Its dead letters have a queue, but what is replayed would have none.
        stage.platform.delete(PARKED).await;
        let replay = ["replay", "--endpoint", "erp", "--all"];
        stage.dead(&replay).await.is(1, "", "no queue in which erp's events could wait");
        let nobody = format!("amqp://guest:guest@127.0.0.1:{}/%2f", free_port());
        let unreachable = Place { url: nobody, ..stage.place.clone() };
        let toml = std::fs::read_to_string(folder.path().join("test.toml")).unwrap();
        let toml = toml.replace(&stage.place.url, &unreachable.url);
        let _ = Configuration::write(folder.path(), &toml);
        stage.dead(&["list"]).await.is(1, "", "hint: is RabbitMQ up, and source.url right?");
    });
}
