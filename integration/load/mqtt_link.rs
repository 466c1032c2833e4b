//! The MQTT link cut at each point of a `QoS` 2 publish, again and again, with the bridge killed in
//! between or not: a real broker's subscriber gets every event.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use lockgate::domain::delivery::Properties;
use tokio::time::Instant;

use super::alone;
use super::support::lockgate::{Configuration, Lockgate};
use super::support::mosquitto::{Mosquitto, PASSWORD, Subscriber, USER};
use super::support::mqtt_cut::{CutProxy, Plan, Point};
use super::support::rabbitmq::{Client, Place, node};
use super::support::{eventually, on_system, within};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(300);
/// Events for each endpoint.
const EVENTS: usize = 2_000;

/// One endpoint behind a proxy of its own.
struct Cut {
    name: String,
    point: Point,
    session: &'static str,
    proxy: CutProxy,
}

impl Cut {
    fn start(broker: u16, point: Point, session: &'static str) -> Self {
        let (every, lasts) = match (session, point) {
            // One connection in five; one event each.
            ("per-event", _) => (5, usize::MAX),
            // Every second connection; those that come about last for a while.
            (_, Point::BeforeConnack) => (2, 100),
            _ => (101, usize::MAX),
        };
        let proxy = CutProxy::start(broker, Plan { point, every, lasts });
        Self { name: format!("{session}-{}", point.name()), point, session, proxy }
    }

    #[allow(clippy::print_stdout, reason = "the figures that the test is about")]
    fn show(&self, came: Option<&BTreeMap<String, usize>>) {
        let came = came.cloned().unwrap_or_default();
        let repeats = came.values().sum::<usize>() - came.len();
        let (name, cuts) = (&self.name, self.proxy.cuts());
        let lost = EVENTS - came.len();
        println!("{name:<26} {EVENTS} events, {cuts} cuts, {repeats} repeats, {lost} lost");
    }

    /// That it was cut, and where it says.
    fn check(&self, repeats: usize, kills: usize) {
        let Self { name, point, session, proxy } = self;
        assert!(proxy.cuts() >= 10, "{name} was cut {} times", proxy.cuts());
        match point {
            // A broker that has PUBREL has given the message out, and before that it has not.
            Point::BeforePubcomp => assert!(repeats > 0, "{name}"),
            Point::BeforeConnack | Point::AfterPublish | Point::AfterPubrec
                if *session == "per-event" && kills == 0 =>
            {
                assert_eq!(repeats, 0, "{name}");
            }
            _ => {}
        }
    }

    fn toml(&self) -> String {
        let Self { name, session, proxy, .. } = self;
        format!(
            "[endpoints.{name}]\nevents = [\"*/*\"]\nretry = {{ schedule = [\"200ms\"] }}\n\
             breaker = {{ open = \"200ms\", open_max = \"500ms\" }}\n[endpoints.{name}.mqtt]\n\
             url = \"mqtt://127.0.0.1:{}\"\nusername = \"{USER}\"\npassword = \"{PASSWORD}\"\n\
             session = \"{session}\"\ntopic_pattern = \"{name}\"\ntopic_pattern_for = \"all\"\n",
            proxy.port()
        )
    }
}

/// How often each event came, for each endpoint.
fn times(subscriber: &Subscriber) -> BTreeMap<String, BTreeMap<String, usize>> {
    let mut times = BTreeMap::<String, BTreeMap<String, usize>>::new();
    for message in subscriber.messages() {
        let body: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        let id = body["event_id"].as_str().unwrap().to_owned();
        *times.entry(message.topic).or_default().entry(id).or_default() += 1;
    }
    times
}

async fn publish(place: &Place) {
    let platform = Client::connect(&place.url).await;
    for n in 0..EVENTS {
        let body = format!(r#"{{"event_id":"e-{n}","batch":"B-7"}}"#);
        let properties = Properties::default();
        platform.publish("Batch", "batch_run_status", properties, body.as_bytes()).await;
    }
}

/// Kills the bridge so often, each time when links have just been cut in the flow of events.
async fn kill_at_cuts(
    mut lockgate: Lockgate,
    configuration: &Configuration,
    cuts: &[Cut],
    kills: usize,
) -> Lockgate {
    let made = || cuts.iter().map(|cut| cut.proxy.cuts()).sum::<usize>();
    for _ in 0..kills {
        lockgate.ready().await;
        let before = made();
        eventually("links are cut", DEADLINE, async || (made() >= before + 25).then_some(())).await;
        lockgate.kill();
        lockgate = Lockgate::start(configuration);
    }
    lockgate
}

async fn every_event_survives(kills: usize) {
    let start = Instant::now();
    let folder = tempfile::tempdir().unwrap();
    let place = node().place();
    let broker = Mosquitto::start().await;
    let subscriber = broker.subscribe("#").await;
    let sessions = ["persistent", "per-event"].into_iter();
    let all = sessions.flat_map(|session| Point::ALL.map(|point| (session, point)));
    let cuts: Vec<Cut> =
        all.map(|(session, point)| Cut::start(broker.port(), point, session)).collect();
    let mut toml = format!(
        "[source]\nurl = \"{}\"\nqueue = \"events\"\n\
         bindings = [{{ exchange = \"Batch\", type = \"topic\", routing_key = \"#\" }}]\n",
        place.url
    );
    for cut in &cuts {
        write!(toml, "{}", cut.toml()).unwrap();
    }
    let configuration = Configuration::write(folder.path(), &toml);
    let lockgate = Lockgate::start_ready(&configuration).await;
    let killing = kill_at_cuts(lockgate, &configuration, &cuts, kills);
    let ((), lockgate) = tokio::join!(publish(&place), killing);
    let complete = || {
        // To count them takes time, of which the others need some.
        let enough = subscriber.count() >= cuts.len() * EVENTS;
        enough && {
            let times = times(&subscriber);
            cuts.iter().all(|cut| times.get(&cut.name).is_some_and(|ids| ids.len() == EVENTS))
        }
    };
    let done = within(DEADLINE, async || {
        tokio::time::sleep(Duration::from_secs(1)).await;
        complete().then_some(())
    });
    let done = done.await.is_some();
    let times = times(&subscriber);
    for cut in &cuts {
        cut.show(times.get(&cut.name));
    }
    assert!(done, "events are missing:\n{}", Lockgate::logs(folder.path()));
    lockgate.ready().await;
    lockgate.reconciles().await;
    lockgate.terminate().await;
    #[allow(clippy::print_stdout, reason = "the figures that the test is about")]
    {
        println!("{kills} kills, {:?}", start.elapsed());
    }
    let platform = Client::connect(&place.url).await;
    assert_eq!(platform.depth("events").await, 0);
    for cut in &cuts {
        assert_eq!(platform.depth(&format!("lockgate.ep.{}.dead", cut.name)).await, 0);
        cut.check(times[&cut.name].values().sum::<usize>() - EVENTS, kills);
    }
}

#[test]
fn a_link_cut_at_any_point_loses_nothing() {
    let _alone = alone();
    on_system(every_event_survives(0));
}

#[test]
fn a_link_cut_at_any_point_loses_nothing_when_the_bridge_is_killed_meanwhile() {
    let _alone = alone();
    on_system(every_event_survives(3));
}
