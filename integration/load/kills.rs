//! The kill marathon: two instances under load, one of them killed (-9) again and again. Nothing is
//! lost, and what is repeated is no more than the killed instance held.
//!
//! `LOCKGATE_TEST_SEED` chooses the moments again that a run has printed.

use std::rc::Rc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tempfile::TempDir;

use super::alone;
use super::support::counter::Counter;
use super::support::lockgate::{Configuration, Lockgate};
use super::support::rabbitmq::{Client, Place, node};
use super::support::{eventually, on_system};

/// How long all events may take.
const DEADLINE: Duration = Duration::from_secs(1_800);
/// Events of the marathon.
const EVENTS: usize = 100_000;
/// Kills in it.
const KILLS: usize = 20;
/// Events published at once.
const STEP: usize = 250;
/// Events that are published before the steady endpoints have those before them.
const AHEAD: usize = 1_000;
/// Events of the run without kills.
const QUIET_EVENTS: usize = 20_000;
/// Unacknowledged messages that one instance holds at most: the default.
const PREFETCH: usize = 2_000;
/// Attempts under way at one endpoint at most: the default.
const WINDOW: usize = 32;

/// A bus, two steady partners, and a flaky one, which refuses some of all attempts.
struct Scene {
    folder: TempDir,
    place: Place,
    steady: [Counter; 2],
    flaky: Counter,
    configuration: Configuration,
}

impl Scene {
    /// `refused` is the share of the attempts that the flaky one refuses.
    fn new(seed: u64, refused: f64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = node().place();
        let (steady, flaky) = ([Counter::start(), Counter::start()], Counter::start());
        flaky.refuse(refused, seed, Duration::ZERO);
        let endpoint = |name: &str, server: &Counter| {
            format!(
                "[endpoints.{name}]\nevents = [\"*/*\"]\nmax_in_flight = {WINDOW}\n\
                 retry = {{ schedule = [\"200ms\", \"500ms\"] }}\n\
                 [endpoints.{name}.rest]\nurl = \"{}\"\nnon_2xx = \"retry\"\ntimeout = \"30s\"\n",
                server.url()
            )
        };
        let toml = format!(
            "[source]\nurl = \"{}\"\nqueue = \"events\"\nprefetch = {PREFETCH}\n\
             bindings = [{{ exchange = \"Batch\", type = \"topic\", routing_key = \"#\" }}]\n{}{}{}",
            place.url,
            endpoint("left", &steady[0]),
            endpoint("right", &steady[1]),
            endpoint("flaky", &flaky),
        );
        let configuration = Configuration::write(folder.path(), &toml);
        Self { folder, place, steady, flaky, configuration }
    }

    /// An instance that logs no single event: that is much of the work of an unoptimised build.
    fn start(&self) -> Lockgate {
        Lockgate::start_with(&self.configuration, &[("RUST_LOG", "lockgate=info".to_owned())])
    }

    /// Publishes so many events in the background, never many more than the steady ones have got:
    /// of a long backlog an unoptimised build would make its way through the parked queues.
    async fn publish(self: &Rc<Self>, events: usize) -> actix_rt::task::JoinHandle<()> {
        let (scene, platform) = (Rc::clone(self), Client::connect(&self.place.url).await);
        actix_rt::spawn(async move {
            let body = |id: String| format!(r#"{{"event_id":"{id}","batch":"B-7"}}"#).into_bytes();
            for begin in (0..events).step_by(STEP) {
                let some = ids(events).skip(begin).take(STEP).map(body);
                platform.publish_all("Batch", "batch_run_status", some).await;
                eventually("the steady endpoints get events", DEADLINE, || async {
                    let taken = scene.steady.iter().map(Counter::taken).min();
                    (taken.unwrap() + AHEAD >= begin + STEP).then_some(())
                })
                .await;
            }
        })
    }

    fn all(&self) -> [&Counter; 3] {
        [&self.steady[0], &self.steady[1], &self.flaky]
    }

    /// Waits until every endpoint has every event and every queue is empty.
    async fn until_done(&self, events: usize) {
        eventually("every event at every endpoint", DEADLINE, || async {
            self.all().iter().all(|counter| counter.taken() == events).then_some(())
        })
        .await;
        let platform = Client::connect(&self.place.url).await;
        let waiting = ["left", "right", "flaky"].map(|name| format!("lockgate.ep.{name}.parked"));
        for queue in waiting.iter().map(String::as_str).chain(["events"]) {
            eventually("the queue is empty", DEADLINE, || async {
                (platform.depth(queue).await == 0).then_some(())
            })
            .await;
        }
        for counter in self.all() {
            assert!(counter.lacks(ids(events)).is_empty(), "what came was not what was published");
        }
        for name in ["left", "right", "flaky"] {
            assert_eq!(platform.depth(&format!("lockgate.ep.{name}.dead")).await, 0, "{name}");
        }
        assert_eq!(platform.depth("lockgate.rejected").await, 0);
    }
}

fn ids(events: usize) -> impl Iterator<Item = String> {
    (0..events).map(|n| format!("e-{n}"))
}

#[allow(clippy::disallowed_methods, reason = "what is measured is real time")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

#[test]
fn without_a_fault_nothing_is_repeated() {
    let _alone = alone();
    on_system(async {
        let scene = Rc::new(Scene::new(1, 0.5));
        let instances = [scene.start(), scene.start()];
        for instance in &instances {
            instance.ready().await;
        }
        let began = now();
        let publishing = scene.publish(QUIET_EVENTS).await;
        scene.until_done(QUIET_EVENTS).await;
        let took = began.elapsed();
        publishing.await.unwrap();
        let mut used = Used::default();
        for instance in &instances {
            instance.reconciles().await;
            used.look(instance);
            instance.terminate().await;
        }
        let repeats = scene.all().map(Counter::repeats);
        println!(
            "{QUIET_EVENTS} events to 3 endpoints, one refusing half ({} attempts), without a fault: \
             {took:.1?}, repeats {repeats:?}; {used}",
            scene.flaky.asked()
        );
        assert_eq!(repeats, [0; 3], "{}", Lockgate::logs(scene.folder.path()));
    });
}

/// What instances needed.
#[derive(Debug, Default)]
struct Used {
    /// The highest peak of memory, in MiB.
    memory: u64,
    /// Seconds of all together.
    cpu: f64,
}

impl Used {
    fn look(&mut self, instance: &Lockgate) {
        self.memory = self.memory.max(instance.peak_memory() / 1024);
        self.cpu += instance.cpu();
    }
}

impl std::fmt::Display for Used {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { memory, cpu } = self;
        write!(f, "an instance took {memory} MiB at most, all together {cpu:.0} s of a processor")
    }
}

/// What the killed instances held right before their ends, summed over all kills.
#[derive(Debug, Default)]
struct Held {
    /// Messages that were not acknowledged.
    messages: f64,
    /// Of these, how many were delivered to the left, or under way there.
    touched: f64,
}

impl Held {
    async fn look(&mut self, instance: &Lockgate) {
        let text = instance.metrics().await;
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.map_or(0.0, |value| value.parse().unwrap())
        };
        let messages = value("lockgate_events_in_flight");
        let open = value("lockgate_in_flight{endpoint=\"left\"}");
        self.messages += messages;
        #[expect(clippy::cast_precision_loss, reason = "a window is a small number")]
        let window = WINDOW as f64;
        self.touched += (messages - open).max(0.0) + open.min(window);
    }
}

#[test]
fn a_hundred_thousand_events_survive_twenty_kills() {
    let _alone = alone();
    on_system(async {
        let seed =
            std::env::var("LOCKGATE_TEST_SEED").map_or(20_260_618, |seed| seed.parse().unwrap());
        println!("LOCKGATE_TEST_SEED={seed}");
        let mut chance = StdRng::seed_from_u64(seed);
        let scene = Rc::new(Scene::new(seed, 0.2));
        let mut instances = vec![scene.start(), scene.start()];
        for instance in &instances {
            instance.ready().await;
        }
        let began = now();
        let publishing = scene.publish(EVENTS).await;
        let (mut held, mut used) = (Held::default(), Used::default());
        for kill in 0..KILLS {
            // Somewhere in its twentieth of the way, so that every kill falls into the flow.
            let moment = (kill * EVENTS + chance.random_range(0..EVENTS)) / KILLS;
            eventually("events flow", DEADLINE, || async {
                (scene.steady[0].taken() >= moment).then_some(())
            })
            .await;
            let victim = instances.swap_remove(chance.random_range(0..2));
            victim.ready().await;
            used.look(&victim);
            held.look(&victim).await;
            victim.kill();
            instances.push(scene.start());
        }
        scene.until_done(EVENTS).await;
        let took = began.elapsed();
        publishing.await.unwrap();
        for instance in &instances {
            instance.reconciles().await;
            used.look(instance);
            instance.terminate().await;
        }
        let repeats = scene.all().map(Counter::repeats);
        println!(
            "{EVENTS} events, {KILLS} kills, {took:.1?}: 0 lost; repeats at left, right, flaky: \
             {repeats:?}; the killed held {:.0} messages, {:.0} of them delivered to the left or \
             under way there; {} attempts at the flaky one; {used}",
            held.messages,
            held.touched,
            scene.flaky.asked(),
        );
        assert!(repeats.iter().all(|repeats| *repeats <= KILLS * PREFETCH), "{repeats:?}");
        // What is held changes until the kill, by a step of the platform at most on the average.
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 events")]
        let explained = |repeats: &usize| *repeats as f64 <= held.messages + (KILLS * STEP) as f64;
        assert!(repeats.iter().all(explained), "{repeats:?}: {held:?}");
    });
}
