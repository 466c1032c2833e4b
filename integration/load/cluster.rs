//! A RabbitMQ cluster whose nodes die under load: nothing is lost, and events flow again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::join_all;

use super::alone;
use super::support::cluster::{Cluster, NODES};
use super::support::counter::Counter;
use super::support::lockgate::{Configuration, Lockgate};
use super::support::rabbitmq::{Client, Place};
use super::support::{eventually, on_system};

/// How long anything may take. RabbitMQ takes a message that it was moving between queues when a
/// leader died up again after three minutes only.
const DEADLINE: Duration = Duration::from_secs(400);
/// How soon events must flow again.
const FLOWS_AGAIN: Duration = Duration::from_secs(30);
/// Events before each accident.
const BEFORE: usize = 1_000;
/// How long two of three nodes are down.
const NO_MAJORITY: Duration = Duration::from_secs(5);

/// The platform: publishes events until it is stopped, each until it is taken, from a thread of
/// its own.
struct Platform {
    published: Arc<AtomicUsize>,
    again: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

fn body(id: &str) -> Vec<u8> {
    format!(r#"{{"event_id":"{id}","batch":"B-7"}}"#).into_bytes()
}

fn ids(events: usize) -> impl Iterator<Item = String> {
    (0..events).map(|n| format!("e-{n}"))
}

impl Platform {
    fn start(place: &Place) -> Self {
        let (published, again) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let stop = Arc::<AtomicBool>::default();
        let (url, count, twice, stopped) =
            (place.url.clone(), Arc::clone(&published), Arc::clone(&again), Arc::clone(&stop));
        let work = async move {
            let mut client = Client::connect(&url).await;
            let mut waiting: Vec<String> = Vec::new();
            while !(stopped.load(Ordering::SeqCst) && waiting.is_empty()) {
                if waiting.is_empty() {
                    let next = count.load(Ordering::SeqCst);
                    waiting = (next..next + 20).map(|n| format!("e-{n}")).collect();
                    count.store(next + 20, Ordering::SeqCst);
                }
                let one = async |id: String| {
                    let taken = client.try_publish("Batch", "batch_run_status", &body(&id)).await;
                    (!taken).then_some(id)
                };
                let left = join_all(waiting.iter().cloned().map(one)).await;
                waiting = left.into_iter().flatten().collect();
                if !waiting.is_empty() {
                    twice.fetch_add(waiting.len(), Ordering::SeqCst);
                    client = Client::connect(&url).await;
                }
                // About 200 a second: what the nodes do beside that is what takes the time.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let thread = std::thread::spawn(move || on_system(work));
        Self { published, again, stop, thread }
    }

    fn published(&self) -> usize {
        self.published.load(Ordering::SeqCst)
    }

    /// Stops when all is taken; returns how many events there were, and how many were published
    /// again because nobody knew whether they had been taken.
    async fn stop(self) -> (usize, usize) {
        self.stop.store(true, Ordering::SeqCst);
        eventually("the platform's last events are taken", DEADLINE, || async {
            self.thread.is_finished().then_some(())
        })
        .await;
        self.thread.join().unwrap();
        (self.published.load(Ordering::SeqCst), self.again.load(Ordering::SeqCst))
    }
}

/// What the events run through.
struct Scene {
    lockgate: Lockgate,
    platform: Platform,
    healthy: [Counter; 2],
    failing: Counter,
}

impl Scene {
    /// Waits until so many more events than are published now have come to both healthy endpoints.
    async fn until_flowing(&self, events: usize, limit: Duration) {
        let enough = self.platform.published() + events;
        eventually("events flow", limit, || async {
            self.healthy.iter().all(|counter| counter.taken() >= enough).then_some(())
        })
        .await;
    }

    /// Waits until everything flows after an accident, and returns how long that took: the healthy
    /// endpoints get what is published now, and as much is acknowledged, so also parked for the
    /// failing one, as was under way at the accident and more.
    async fn flows_again(&self) -> Duration {
        #[allow(clippy::disallowed_methods, reason = "what is measured is real time")]
        let since = std::time::Instant::now();
        let under_way = self.lockgate.metric("lockgate_events_in_flight").await;
        let acknowledged = self.lockgate.metric("lockgate_events_acknowledged_total").await;
        self.until_flowing(1, FLOWS_AGAIN).await;
        eventually("events are acknowledged", FLOWS_AGAIN, || async {
            let now = self.lockgate.metric("lockgate_events_acknowledged_total").await;
            (now > acknowledged + under_way).then_some(())
        })
        .await;
        since.elapsed()
    }
}

fn endpoint(name: &str, server: &Counter) -> String {
    format!(
        "[endpoints.{name}]\nevents = [\"*/*\"]\n\
         retry = {{ schedule = [\"200ms\", \"500ms\"] }}\n\
         breaker = {{ open = \"500ms\", open_max = \"1s\" }}\n\
         [endpoints.{name}.rest]\nurl = \"{}\"\nnon_2xx = \"retry\"\ntimeout = \"10s\"\n",
        server.url()
    )
}

#[test]
fn a_cluster_may_lose_nodes_and_its_majority_under_load() {
    let _alone = alone();
    let cluster = Cluster::start();
    on_system(async move {
        let folder = tempfile::tempdir().unwrap();
        let place = cluster.place();
        let (healthy, failing) = ([Counter::start(), Counter::start()], Counter::start());
        failing.answer(|_, _| (503, Duration::ZERO));
        let toml = format!(
            "[source]\nurl = \"{}\"\nqueue = \"events\"\n\
             bindings = [{{ exchange = \"Batch\", type = \"topic\", routing_key = \"#\" }}]\n{}{}{}",
            place.url,
            endpoint("left", &healthy[0]),
            endpoint("right", &healthy[1]),
            endpoint("failing", &failing),
        );
        let lockgate = Lockgate::start_ready(&Configuration::write(folder.path(), &toml)).await;
        let platform = Platform::start(&place);
        let scene = Scene { lockgate, platform, healthy, failing };
        scene.until_flowing(BEFORE, DEADLINE).await;
        for queue in ["events", "lockgate.ep.failing.parked"] {
            cluster.kill(cluster.leader(&place, queue));
            let took = scene.flows_again().await;
            println!("the leader of {queue} killed: everything flows again after {took:.1?}");
            cluster.mend();
            scene.until_flowing(BEFORE, DEADLINE).await;
        }
        cluster.save_tables();
        let leader = cluster.leader(&place, "events");
        cluster.kill(leader);
        cluster.kill((leader + 1) % NODES);
        tokio::time::sleep(NO_MAJORITY).await;
        cluster.mend();
        let took = scene.flows_again().await;
        println!("two of three nodes killed: everything flows {took:.1?} after they are back");
        scene.until_flowing(BEFORE, DEADLINE).await;
        scene.ends_well(&place).await;
    });
}

impl Scene {
    /// Mends the failing endpoint and waits until every event is everywhere and nothing waits.
    async fn ends_well(self, place: &Place) {
        let Self { lockgate, platform, healthy: [left, right], failing } = self;
        failing.answer(|_, _| (200, Duration::ZERO));
        let (events, again) = platform.stop().await;
        for (name, counter) in [("left", &left), ("right", &right), ("failing", &failing)] {
            eventually(&format!("every event at {name}"), DEADLINE, || async {
                (counter.taken() >= events).then_some(())
            })
            .await;
            assert!(counter.lacks(ids(events)).is_empty(), "{name}");
        }
        let client = Client::connect(&place.url).await;
        for queue in [
            "events",
            "lockgate.ep.failing.parked",
            "lockgate.ep.failing.dead",
            "lockgate.rejected",
        ] {
            eventually(&format!("{queue} is empty"), DEADLINE, || async {
                (client.depth(queue).await == 0).then_some(())
            })
            .await;
        }
        lockgate.reconciles().await;
        lockgate.terminate().await;
        println!(
            "{events} events, {again} of them published again by the platform: 0 lost; repeats at \
             left, right, failing: {:?}",
            [left, right, failing].map(|counter| counter.repeats())
        );
    }
}
