//! Reloads under load: nothing is lost, nothing is repeated, and who is not meant notices nothing.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::alone;
use super::support::counter::Counter;
use super::support::lockgate::{Configuration, Lockgate};
use super::support::mosquitto::{Mosquitto, PASSWORD, USER};
use super::support::rabbitmq::{Client, node};
use super::support::{eventually, on_system, within};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(120);
/// Reloads, a quarter of them of a file that is broken.
const RELOADS: usize = 100;
/// Between two events: 500 a second.
const PACE: Duration = Duration::from_millis(2);
/// Events that the slowest endpoint may be behind: a slow machine gets them more slowly.
const BEHIND: usize = 2_000;
/// Events that must arrive between two reloads, so that each of them falls into the flow.
const FLOWING: usize = 100;

struct Partners {
    broker: Mosquitto,
    steady: Counter,
    changing: Counter,
    coming: Counter,
}

impl Partners {
    async fn start() -> Self {
        let partners = Self {
            broker: Mosquitto::start().await,
            steady: Counter::start(),
            changing: Counter::start(),
            coming: Counter::start(),
        };
        // Attempts take a while, so that reloads find some under way.
        for partner in [&partners.changing, &partners.coming] {
            partner.answer(|_, _| (200, Duration::from_millis(10)));
        }
        partners
    }

    /// The configuration of a round: in turn the one endpoint comes, the other changes, the one goes.
    fn toml(&self, source: &str, round: usize) -> String {
        let mut text = format!(
            "[source]\nurl = \"{source}\"\nqueue = \"events\"\n\
             bindings = [{{ exchange = \"Batch\", type = \"topic\", routing_key = \"#\" }}]\n\
             [endpoints.line]\nevents = [\"*/*\"]\n[endpoints.line.mqtt]\nurl = \"{}\"\n\
             username = \"{USER}\"\npassword = \"{PASSWORD}\"\nsession = \"persistent\"\n",
            self.broker.url("mqtt"),
        );
        let mut rest = |name: &str, settings: &str, url: &str| {
            write!(
                text,
                "[endpoints.{name}]\nevents = [\"*/*\"]\n{settings}\n\
                 [endpoints.{name}.rest]\nurl = \"{url}\"\nnon_2xx = \"retry\"\n"
            )
            .unwrap();
        };
        rest("steady", "", &self.steady.url());
        rest(
            "changing",
            &format!("max_in_flight = {}", 8 + round.div_ceil(4)),
            &self.changing.url(),
        );
        if matches!(round % 4, 0 | 1) {
            rest("coming", "", &self.coming.url());
        }
        text
    }
}

/// What the log tells of reloads, a line each.
fn reloads(lockgate: &Lockgate) -> Vec<String> {
    let is_one = |line: &&str| line.contains(" reloaded ") || line.contains("not reloaded:");
    lockgate.log().lines().filter(is_one).map(str::to_owned).collect()
}

/// Writes the configurations of all rounds one after the other, while events flow; returns how long
/// the longest reload took.
async fn reload_all(
    lockgate: &Lockgate,
    partners: &Partners,
    folder: &Path,
    source: &str,
) -> Duration {
    let mut longest = Duration::ZERO;
    for round in 0..RELOADS {
        let before = partners.steady.taken();
        eventually("events flow", DEADLINE, || async {
            (partners.steady.taken() >= before + FLOWING).then_some(())
        })
        .await;
        let broken = round % 4 == 3;
        let toml = partners.toml(source, round);
        let toml = if broken { toml + "surplus = 1\n[endpoints.x]\n" } else { toml };
        Configuration::write(folder, &toml);
        let asked = Instant::now();
        // Each kind of change by a signal, and by the API in its turn.
        if round / 4 % 2 == 0 {
            lockgate.signal("HUP");
        } else {
            let (status, answer) = lockgate.ask("/api/reload", Some(json!({}))).await;
            assert_eq!(status, if broken { 422 } else { 200 }, "{answer}");
        }
        eventually("the reload is told about", DEADLINE, || async {
            (reloads(lockgate).len() > round).then_some(())
        })
        .await;
        longest = longest.max(asked.elapsed());
        let last = reloads(lockgate).pop().unwrap();
        assert_eq!(last.contains("not reloaded"), broken, "round {round}: {last}");
    }
    longest
}

#[test]
fn a_hundred_reloads_under_load_lose_and_repeat_nothing() {
    let _alone = alone();
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let place = node().place();
        let partners = Rc::new(Partners::start().await);
        let subscriber = partners.broker.subscribe("#").await;
        let configuration = Configuration::write(folder.path(), &partners.toml(&place.url, 3));
        let lockgate = Lockgate::start_quiet(&configuration).await;
        let (going, began) = (Rc::new(Cell::new(true)), Instant::now());
        let publishing =
            actix_rt::spawn(publish(place.url.clone(), Rc::clone(&going), Rc::clone(&partners)));
        let longest = reload_all(&lockgate, &partners, folder.path(), &place.url).await;
        going.set(false);
        let (published, span) = (publishing.await.unwrap(), began.elapsed());
        // What was parked when it went comes with it.
        Configuration::write(folder.path(), &partners.toml(&place.url, 0));
        lockgate.signal("HUP");
        for (name, partner) in [("steady", &partners.steady), ("changing", &partners.changing)] {
            eventually(&format!("every event at {name}"), DEADLINE, || async {
                (partner.taken() == published).then_some(())
            })
            .await;
            assert_eq!(partner.repeats(), 0, "repeats at {name}");
        }
        eventually("every event at the broker", DEADLINE, || async {
            (subscriber.count() >= published).then_some(())
        })
        .await;
        let coming = &partners.coming;
        let arrived = within(DEADLINE, || async {
            let routed = lockgate.metric("lockgate_routed_total{endpoint=\"coming\"}").await;
            (routed > 0.0 && format!("{routed:.0}") == coming.taken().to_string()).then_some(())
        });
        if arrived.await.is_none() {
            let (_, metrics) = lockgate.get("/metrics").await.unwrap();
            let lines: Vec<&str> = metrics.lines().filter(|l| l.contains("\"coming\"")).collect();
            panic!("{} taken, but: {lines:#?}", coming.taken());
        }
        assert_eq!(coming.repeats(), 0, "repeats at the one that came and went");
        let at_the_broker: BTreeSet<Vec<u8>> =
            subscriber.messages().into_iter().map(|message| message.payload).collect();
        assert_eq!((at_the_broker.len(), subscriber.count()), (published, published));
        let connections = partners.broker.connections();
        assert_eq!(
            connections.len(),
            1,
            "an untouched endpoint keeps its connection: {connections:?}"
        );
        lockgate.reconciles().await;
        lockgate.terminate().await;
        println!(
            "{RELOADS} reloads in {published} events in {span:.1?}, the longest {longest:.2?}: 0 lost, \
             0 repeated; {} to the endpoint that came and went; 1 connection to the broker",
            coming.taken()
        );
    });
}

/// Publishes until it is told to end; returns how many events.
async fn publish(url: String, going: Rc<Cell<bool>>, partners: Rc<Partners>) -> usize {
    let platform = Client::connect(&url).await;
    let mut pace = tokio::time::interval(PACE);
    let mut published = 0;
    while going.get() {
        pace.tick().await;
        let taken = partners.steady.taken().min(partners.changing.taken());
        if published < taken + BEHIND {
            let body = format!(r#"{{"event_id":"e-{published}","batch":"B-7"}}"#);
            let taken = platform.begin_publish("Batch", "batch_run_status", body.as_bytes()).await;
            assert!(taken.await, "the bus does not take an event");
            published += 1;
        }
    }
    published
}
