//! Several instances on one RabbitMQ under load: one dies, one stops, one joins, one freezes.

use std::time::Duration;

use super::alone;
use super::support::counter::Counter;
use super::support::lockgate::{Configuration, Lockgate};
use super::support::rabbitmq::{Client, node};
use super::support::{eventually, on_system};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(300);
/// Events of each act.
const EVENTS: usize = 2_000;
/// How long an instance is frozen: longer than a heartbeat of RabbitMQ.
const FREEZE: Duration = Duration::from_secs(15);
/// Unacknowledged messages that one instance holds at most.
const PREFETCH: usize = 200;
/// Where an event goes round until its endpoint takes it, and longer than one round takes.
const CIRCLE: [&str; 3] =
    ["lockgate.ep.flaky.parked", "lockgate.wait.200ms", "lockgate.wait.500ms"];
const ROUND: Duration = Duration::from_secs(2);
/// Attempts under way at one endpoint at most.
const WINDOW: usize = 16;

fn endpoint(name: &str, server: &Counter) -> String {
    format!(
        "[endpoints.{name}]\nevents = [\"*/*\"]\nmax_in_flight = {WINDOW}\n\
         retry = {{ schedule = [\"200ms\", \"500ms\"] }}\n\
         [endpoints.{name}.rest]\nurl = \"{}\"\nnon_2xx = \"retry\"\ntimeout = \"30s\"\n",
        server.url()
    )
}

fn body(id: &str) -> Vec<u8> {
    format!(r#"{{"event_id":"{id}","batch":"B-7"}}"#).into_bytes()
}

/// The partners, and what they had seen at the end of the last act.
struct Partners {
    all: [Counter; 3],
    published: usize,
    repeats: [usize; 3],
}

impl Partners {
    /// Publishes an act's events, and lets `accident` happen in the middle of them.
    async fn act(
        &mut self,
        what: &str,
        platform: &Client,
        accident: impl AsyncFnOnce(),
    ) -> [usize; 3] {
        let (begin, middle) = (self.published, self.published + EVENTS / 2);
        self.published += EVENTS;
        let ids = |from: usize, to: usize| (from..to).map(|n| body(&format!("e-{n}")));
        platform.publish_all("Batch", "batch_run_status", ids(begin, middle)).await;
        eventually(&format!("{what}: events flow"), DEADLINE, || async {
            (self.all[0].taken() > begin + EVENTS / 10).then_some(())
        })
        .await;
        accident().await;
        platform.publish_all("Batch", "batch_run_status", ids(middle, self.published)).await;
        eventually(&format!("{what}: every event at every endpoint"), DEADLINE, || async {
            self.all.iter().all(|counter| counter.taken() == self.published).then_some(())
        })
        .await;
        eventually(&format!("{what}: the source is empty"), DEADLINE, || async {
            (platform.depth("events").await == 0).then_some(())
        })
        .await;
        self.repeats_have_come(what, platform).await;
        let now = [0, 1, 2].map(|index| self.all[index].repeats());
        let more = [0, 1, 2].map(|index| now[index] - self.repeats[index]);
        self.repeats = now;
        println!("{what}: {EVENTS} events, 0 lost; repeats at left, right, flaky: {more:?}");
        more
    }

    /// Waits until no repeat circulates any more: for longer than a circle takes, nothing waits.
    async fn repeats_have_come(&self, what: &str, platform: &Client) {
        let quiet = std::cell::Cell::new(None);
        eventually(&format!("{what}: nothing circulates"), DEADLINE, || async {
            for queue in CIRCLE {
                if platform.depth(queue).await > 0 {
                    quiet.set(None);
                    return None;
                }
            }
            let since = quiet.get().unwrap_or_else(tokio::time::Instant::now);
            quiet.set(Some(since));
            (since.elapsed() > ROUND).then_some(())
        })
        .await;
    }

    /// Everything is accounted for, and nothing waits anywhere.
    async fn at_rest(&self, platform: &Client, instances: &[Lockgate]) {
        for instance in instances {
            instance.ready().await;
            instance.reconciles().await;
            instance.terminate().await;
        }
        let ids = || (0..self.published).map(|n| format!("e-{n}"));
        for counter in &self.all {
            assert!(counter.lacks(ids()).is_empty());
        }
        for queue in ["left", "right", "flaky"].map(|name| format!("lockgate.ep.{name}.dead")) {
            assert_eq!(platform.depth(&queue).await, 0, "{queue}");
        }
        assert_eq!(platform.depth("lockgate.ep.flaky.parked").await, 0);
    }
}

#[test]
fn instances_die_stop_join_and_freeze_under_load() {
    let _alone = alone();
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let place = node().place();
        let all = [Counter::start(), Counter::start(), Counter::start()];
        for counter in &all[..2] {
            counter.answer(|_, _| (200, Duration::from_millis(20)));
        }
        all[2].refuse(0.5, 1, Duration::from_millis(20));
        let toml = format!(
            "[source]\nurl = \"{}\"\nqueue = \"events\"\nprefetch = {PREFETCH}\n\
             bindings = [{{ exchange = \"Batch\", type = \"topic\", routing_key = \"#\" }}]\n{}{}{}",
            place.url,
            endpoint("left", &all[0]),
            endpoint("right", &all[1]),
            endpoint("flaky", &all[2]),
        );
        let configuration = Configuration::write(folder.path(), &toml);
        let mut instances = Vec::new();
        for _ in 0..3 {
            instances.push(Lockgate::start_ready(&configuration).await);
        }
        let platform = Client::connect(&place.url).await;
        let mut partners = Partners { all, published: 0, repeats: [0; 3] };

        let quiet = partners.act("three instances", &platform, async || ()).await;
        assert_eq!(quiet, [0; 3]);

        let dying = instances.remove(0);
        let repeats = partners.act("one killed", &platform, async move || dying.kill()).await;
        assert!(repeats.iter().all(|repeats| *repeats <= PREFETCH), "{repeats:?}");

        let ending = instances.remove(0);
        let stop = async move || ending.terminate().await;
        assert_eq!(partners.act("one stopped", &platform, stop).await, [0; 3]);

        let join = async || instances.push(Lockgate::start_ready(&configuration).await);
        assert_eq!(partners.act("one added", &platform, join).await, [0; 3]);

        let frozen = &instances[0];
        let freeze = async || {
            frozen.signal("STOP");
            tokio::time::sleep(FREEZE).await;
            frozen.signal("CONT");
        };
        let repeats = partners.act("one frozen", &platform, freeze).await;
        assert!(repeats.iter().all(|repeats| *repeats <= PREFETCH), "{repeats:?}");

        partners.at_rest(&platform, &instances).await;
    });
}
