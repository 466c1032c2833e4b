//! The bus on a real RabbitMQ: what every bus promises, and what only this one can go through.

#[path = "../tests/bus_contract/mod.rs"]
mod bus_contract;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bus_contract::{Fixture, RUNG, endpoint, ends, message, next, seen, shows};
use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, join_all};
use lockgate::bus::rabbitmq::{Mode, RabbitMq, RabbitSettings};
use lockgate::bus::topology::{
    Names, SourceBinding, SourceQueue, definitions, objects, permissions,
};
use lockgate::bus::{Bus, BusError, Queue, Target};
use lockgate::logic::secret::SecretUrl;
use lockgate::transport::tls::TlsSettings;

use crate::support::rabbitmq::{Client, Node, Place, node, place, rough_node};
use crate::support::{eventually, free_port, on_system};

fn settings(url: &str, prefix: &str) -> RabbitSettings {
    RabbitSettings {
        url: SecretUrl::new(url.parse().unwrap()),
        queue: format!("{prefix}.events"),
        bindings: vec![SourceBinding {
            exchange: format!("{prefix}.platform"),
            kind: "topic".into(),
            routing_key: "#".into(),
        }],
        prefix: prefix.to_owned(),
        mode: Mode::Declare,
        tls: TlsSettings::default(),
        heartbeat: Duration::from_secs(10),
        instance: "test".into(),
    }
}

fn bus(place: &Place) -> Arc<RabbitMq> {
    RabbitMq::new(&settings(&place.url, &place.prefix)).unwrap()
}

struct Rabbit {
    bus: Arc<RabbitMq>,
    place: Place,
}

impl Rabbit {
    fn new(place: Place) -> Self {
        Self { bus: bus(&place), place }
    }
}

impl Fixture for Rabbit {
    fn bus(&self) -> Arc<dyn Bus> {
        self.bus.clone()
    }

    fn cut(&self) -> LocalBoxFuture<'_, ()> {
        let vhost = self.place.vhost.clone();
        async move {
            let cut = tokio::task::spawn_blocking(move || node().close_connections(&vhost));
            assert!(cut.await.unwrap() > 0);
        }
        .boxed_local()
    }
}

macro_rules! keeps {
    ($($promise:ident($($argument:expr)?) at $place:expr;)*) => {$(
        #[test]
        fn $promise() {
            on_system(async {
                let fixture = Rabbit::new($place);
                bus_contract::$promise(&fixture $(, $argument)?).await;
                fixture.bus.close().await;
            });
        }
    )*};
}

keeps! {
    what_is_stored_comes_out_as_it_went_in() at place();
    the_prefetch_is_the_brake() at place();
    runs_are_acknowledged_at_once() at place();
    what_was_unacknowledged_comes_again_after_a_loss() at node().place();
    a_rung_gives_back_after_its_delay() at place();
    a_cancelled_subscription_can_still_be_acknowledged() at place();
    a_dropped_subscription_gives_back() at place();
    many_stores_at_once_all_arrive(5_000) at place();
    the_depth_counts_what_is_ready() at place();
    looking_at_dead_letters_changes_nothing() at place();
    a_replay_moves_exactly_what_is_meant() at place();
    a_purge_removes_exactly_what_is_meant() at place();
    a_rung_shows_what_waits_in_it() at place();
}

fn refused<T>(done: Result<T, BusError>) -> String {
    match done {
        Err(BusError::Refused(text)) => text,
        Err(other) => panic!("not refused: {other:?}"),
        Ok(_) => panic!("not refused"),
    }
}

fn lost<T>(done: Result<T, BusError>) -> String {
    match done {
        Err(BusError::Lost(text)) => text,
        Err(other) => panic!("not lost: {other:?}"),
        Ok(_) => panic!("not lost"),
    }
}

#[test]
fn what_is_missing_is_declared_once_and_then_found() {
    on_system(async {
        let bus = bus(&place());
        let first = bus.prepare(vec![endpoint()], vec![RUNG]).await.unwrap();
        assert_eq!(first.missing, Vec::<String>::new());
        assert_eq!(first.declared.len(), 2 * 2 + 2 + 2 + 2 + 2);
        let again = bus.prepare(vec![endpoint()], vec![RUNG]).await.unwrap();
        assert_eq!(again.declared, Vec::<String>::new());
        let other = bus.prepare(vec!["scada".parse().unwrap()], vec![RUNG]).await.unwrap();
        assert_eq!(other.declared.len(), 2);
        bus.close().await;
    });
}

#[test]
fn what_exists_with_other_arguments_is_taken_as_it_is() {
    on_system(async {
        let place = place();
        let client = Client::connect(&place.url).await;
        client.declare(&format!("{}.ep.erp.parked", place.prefix), false).await;
        client.declare(&format!("{}.events", place.prefix), false).await;
        let bus = bus(&place);
        let report = bus.prepare(vec![endpoint()], vec![RUNG]).await.unwrap();
        assert!(!report.declared.iter().any(|object| object.contains("ep.erp.parked")));
        bus.store(Target::Park(endpoint()), message("x")).await.unwrap();
        shows(&*bus, Queue::Parked(endpoint()), 1).await;
        bus.close().await;
    });
}

#[test]
fn verify_names_what_is_missing_and_makes_nothing() {
    on_system(async {
        let place = place();
        let settings = RabbitSettings {
            mode: Mode::Verify,
            bindings: Vec::new(),
            ..settings(&place.url, &place.prefix)
        };
        let bus = RabbitMq::new(&settings).unwrap();
        for _ in 0..2 {
            let report = bus.prepare(vec![endpoint()], vec![RUNG]).await.unwrap();
            assert_eq!(report.declared, Vec::<String>::new());
            assert_eq!(report.missing.len(), 2 * 2 + 2 + 2 + 2 + 1);
            let source = format!("queue '{}.events'", place.prefix);
            assert!(report.missing.contains(&source), "{:?}", report.missing);
        }
        let off = RabbitMq::new(&RabbitSettings { mode: Mode::Off, ..settings }).unwrap();
        let report = off.prepare(vec![endpoint()], vec![RUNG]).await.unwrap();
        assert_eq!(report, lockgate::bus::TopologyReport::default());
        bus.close().await;
    });
}

#[test]
fn imported_definitions_are_all_that_verify_and_restricted_users_need() {
    on_system(async {
        let place = node().place();
        let restricted = place.prefix.clone();
        let names = Names::new(place.prefix.clone());
        let wanted = settings(&place.url, &place.prefix);
        let source = SourceQueue { queue: wanted.queue.clone(), bindings: wanted.bindings.clone() };
        let all = objects(&names, &source, &[endpoint()], &[RUNG]);
        let file = definitions(&all, &place.vhost).to_string();
        let allowed = permissions(&names, &source, false);
        let vhost = place.vhost.clone();
        tokio::task::spawn_blocking(move || {
            node().import(&file);
            let rights = [&*allowed.configure, &*allowed.write, &*allowed.read];
            node().user(&restricted, "pw", &vhost, rights);
        })
        .await
        .unwrap();
        let url = node().url(&format!("{}:pw", place.prefix), &place.vhost);
        for mode in [Mode::Verify, Mode::Declare] {
            let settings = RabbitSettings { mode, ..settings(&url, &place.prefix) };
            let bus = RabbitMq::new(&settings).unwrap();
            let report = bus.prepare(vec![endpoint()], vec![RUNG]).await.unwrap();
            assert_eq!(report, lockgate::bus::TopologyReport::default(), "{mode:?}");
            goes_round(&*bus).await;
            bus.close().await;
        }
    });
}

/// A parcel goes through every exchange, and out again.
async fn goes_round(bus: &dyn Bus) {
    let mut parked = bus.consume(Queue::Parked(endpoint()), 10).await.unwrap();
    for target in [
        Target::Park(endpoint()),
        Target::Wait(endpoint(), RUNG),
        Target::Dead(endpoint()),
        Target::Rejected,
    ] {
        bus.store(target, message("x")).await.unwrap();
    }
    for _ in 0..2 {
        let delivery = next(&mut parked).await;
        parked.control.ack(delivery.tag, false).await.unwrap();
    }
}

#[test]
fn the_permissions_to_declare_are_enough_to_declare() {
    on_system(async {
        let place = node().place();
        let wanted = settings(&place.url, &place.prefix);
        let source = SourceQueue { queue: wanted.queue.clone(), bindings: wanted.bindings.clone() };
        let allowed = permissions(&Names::new(place.prefix.clone()), &source, true);
        let (user, vhost) = (place.prefix.clone(), place.vhost.clone());
        tokio::task::spawn_blocking(move || {
            let rights = [&*allowed.configure, &*allowed.write, &*allowed.read];
            node().user(&user, "pw", &vhost, rights);
            node().user(&format!("{user}-none"), "pw", &vhost, ["^$", "^$", "^$"]);
        })
        .await
        .unwrap();
        let url = node().url(&format!("{}:pw", place.prefix), &place.vhost);
        let bus = RabbitMq::new(&settings(&url, &place.prefix)).unwrap();
        bus.prepare(vec![endpoint()], vec![RUNG]).await.unwrap();
        goes_round(&*bus).await;
        bus.close().await;

        let url = node().url(&format!("{}-none:pw", place.prefix), &place.vhost);
        let bus = RabbitMq::new(&settings(&url, &place.prefix)).unwrap();
        let text = refused(bus.prepare(vec!["new".parse().unwrap()], vec![RUNG]).await);
        assert!(text.contains("ep.new.dead") && text.contains("configure"), "{text}");
        assert!(!text.contains("-none"), "names the user: {text}");
        let text = refused(bus.store(Target::Park(endpoint()), message("x")).await);
        assert!(text.contains(&format!("{}.park", place.prefix)), "{text}");
        let text = refused(bus.consume(Queue::Source, 10).await);
        assert!(text.contains(&wanted.queue), "{text}");
        bus.close().await;
    });
}

#[test]
fn what_cannot_be_right_is_refused_with_its_cause() {
    on_system(async {
        let place = node().place();
        let attempt = async |url: String| {
            let bus = RabbitMq::new(&settings(&url, &place.prefix)).unwrap();
            let done = refused(bus.consume(Queue::Source, 10).await);
            let store = refused(bus.store(Target::Rejected, message("x")).await);
            assert!(!bus.connected());
            bus.close().await;
            assert!(!format!("{done}{store}").contains("hush"), "{done}{store}");
            done
        };
        let text = attempt(node().url("guest:hush", &place.vhost)).await;
        assert!(text.contains("Login was refused"), "{text}");
        let text = attempt(node().url("guest:guest", "no-such-vhost")).await;
        assert!(text.contains("no-such-vhost"), "{text}");

        let bus = bus(&place);
        let text = refused(bus.consume(Queue::Source, 10).await);
        assert!(text.contains(&format!("no queue '{}.events'", place.prefix)), "{text}");
        assert_eq!(bus.depth(Queue::Source).await.unwrap(), None);
        let text = refused(bus.store(Target::Park(endpoint()), message("x")).await);
        assert!(text.contains("no exchange"), "{text}");
        bus.close().await;
    });
}

#[test]
fn a_store_without_a_queue_at_its_end_is_refused_however_many_go_at_once() {
    on_system(async {
        let place = place();
        let bus = bus(&place);
        bus.prepare(vec![endpoint()], vec![RUNG]).await.unwrap();
        let stores = (0..3_000).map(|number| {
            let routing_key = if number % 7 == 0 { "nowhere" } else { "erp" };
            let target = Target::Platform {
                exchange: if number % 2 == 0 { "amq.direct".into() } else { place.prefix.clone() },
                routing_key: routing_key.into(),
            };
            let done = bus.store(target, message("x"));
            async move { (number, done.await) }
        });
        let client = Client::connect(&place.url).await;
        client.declare(&place.prefix, true).await;
        client.bind("amq.direct", lapin::ExchangeKind::Direct, &place.prefix, "erp").await;
        client.bind(&place.prefix, lapin::ExchangeKind::Direct, &place.prefix, "erp").await;
        for (number, done) in join_all(stores).await {
            assert_eq!(done.is_ok(), number % 7 != 0, "{number}: {done:?}");
        }
        client.delete(&place.prefix).await;
        bus.close().await;
    });
}

#[test]
fn parcels_of_an_endpoint_without_queues_are_kept_and_rescued_later() {
    on_system(async {
        let bus = bus(&place());
        bus.prepare(vec![endpoint()], vec![RUNG]).await.unwrap();
        let late: lockgate::domain::names::Name = "late".parse().unwrap();
        let gone = "gone".parse().unwrap();
        bus.store(Target::Park(late.clone()), message("parked")).await.unwrap();
        bus.store(Target::Wait(late.clone(), RUNG), message("waited")).await.unwrap();
        bus.store(Target::Dead(late.clone()), message("dead")).await.unwrap();
        bus.store(Target::Park(gone), message("stays")).await.unwrap();
        shows(&*bus, Queue::Orphan, 4).await;
        assert_eq!(bus.rescue_orphans(vec![endpoint()]).await.unwrap(), 0);
        shows(&*bus, Queue::Orphan, 4).await;
        bus.prepare(vec![late.clone()], vec![RUNG]).await.unwrap();
        assert_eq!(bus.rescue_orphans(vec![endpoint(), late.clone()]).await.unwrap(), 3);
        shows(&*bus, Queue::Orphan, 1).await;
        shows(&*bus, Queue::Dead(late.clone()), 1).await;
        let mut parked = bus.consume(Queue::Parked(late.clone()), 10).await.unwrap();
        for _ in 0..2 {
            let delivery = next(&mut parked).await;
            assert_eq!(delivery.message.header("x-death"), None);
            assert_eq!(delivery.message.header("X-Plant"), message("").header("X-Plant"));
            parked.control.ack(delivery.tag, false).await.unwrap();
        }
        assert_eq!(bus.rescue_orphans(vec![late]).await.unwrap(), 0);
        bus.close().await;
    });
}

#[test]
fn many_orphans_are_rescued_once() {
    const ORPHANS: usize = 400;
    on_system(async {
        let bus = bus(&place());
        bus.prepare(vec![endpoint()], Vec::new()).await.unwrap();
        let late: lockgate::domain::names::Name = "late".parse().unwrap();
        let all =
            (0..ORPHANS).map(|n| bus.store(Target::Park(late.clone()), message(&n.to_string())));
        assert!(join_all(all).await.iter().all(Result::is_ok));
        bus.prepare(vec![late.clone()], Vec::new()).await.unwrap();
        assert_eq!(bus.rescue_orphans(vec![late.clone()]).await.unwrap(), ORPHANS);
        shows(&*bus, Queue::Orphan, 0).await;
        assert_eq!(bus.rescue_orphans(vec![late.clone()]).await.unwrap(), 0);
        shows(&*bus, Queue::Parked(late), u32::try_from(ORPHANS).unwrap()).await;
        bus.close().await;
    });
}

#[test]
fn a_parcel_that_is_delivered_too_often_ends_with_the_dead() {
    on_system(async {
        let place = place();
        let client = Client::connect(&place.url).await;
        let bus = bus(&place);
        bus.prepare(vec![endpoint()], vec![RUNG]).await.unwrap();
        bus.store(Target::Park(endpoint()), message("x")).await.unwrap();
        eventually("the delivery limit", Duration::from_secs(60), async || {
            let mut parked = bus.consume(Queue::Parked(endpoint()), 1).await.unwrap();
            let given = tokio::time::timeout(Duration::from_millis(500), parked.deliveries.recv());
            let _ = given.await;
            (bus.depth(Queue::Dead(endpoint())).await.unwrap() == Some(1)).then_some(())
        })
        .await;
        let dead = client.take(&format!("{}.ep.erp.dead", place.prefix), 1).await;
        assert_eq!(dead[0].body, message("x").body);
        bus.close().await;
    });
}

#[test]
fn tls_is_verified_against_the_given_authority() {
    on_system(async {
        let place = node().place();
        let tls = |verify, ca_file| TlsSettings { verify, ca_file };
        let with = |tls| {
            let url = node().tls_url(&place.vhost);
            RabbitMq::new(&RabbitSettings { tls, ..settings(&url, &place.prefix) }).unwrap()
        };
        for tls in [tls(true, Some(node().certs.ca.clone())), tls(false, None)] {
            let bus = with(tls);
            bus.prepare(vec![endpoint()], vec![RUNG]).await.unwrap();
            bus.store(Target::Park(endpoint()), message("x")).await.unwrap();
            assert!(bus.connected());
            bus.close().await;
        }
        let bus = with(tls(true, None));
        let text = refused(bus.consume(Queue::Source, 1).await);
        assert!(text.contains("TLS"), "{text}");
        bus.close().await;
    });
}

#[test]
fn the_bus_outlives_the_arbiter_that_used_it_first() {
    on_system(async {
        let bus = bus(&place());
        bus.prepare(vec![endpoint()], vec![RUNG]).await.unwrap();
        let arbiter = actix_rt::Arbiter::new();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let theirs = bus.clone();
        arbiter.spawn(async move {
            theirs.store(Target::Source, message("0")).await.unwrap();
            let mut source = theirs.consume(Queue::Source, 10).await.unwrap();
            assert_eq!(seen(&mut source, 1).await.len(), 1);
            let _ = sender.send(source);
        });
        let mut source = receiver.await.unwrap();
        arbiter.stop();
        let joined = tokio::task::spawn_blocking(move || arbiter.join());
        joined.await.unwrap().unwrap();
        bus.store(Target::Source, message("1")).await.unwrap();
        assert_eq!(seen(&mut source, 1).await, [(2, "1".into(), false)]);
        source.control.ack(2, true).await.unwrap();
        assert!(bus.connected());
        bus.close().await;
    });
}

#[test]
fn a_server_that_is_not_there_is_said_to_be_lost_at_once_and_is_not_hammered() {
    on_system(async {
        let url = format!("amqp://127.0.0.1:{}/v", free_port());
        let bus = RabbitMq::new(&settings(&url, "lockgate")).unwrap();
        let start = tokio::time::Instant::now();
        let text = lost(bus.consume(Queue::Source, 1).await);
        assert!(text.contains("refused"), "{text}");
        assert!(start.elapsed() < Duration::from_secs(2));
        for _ in 0..3 {
            lost(bus.store(Target::Rejected, message("x")).await);
            lost(bus.consume(Queue::Source, 1).await);
        }
        assert!(start.elapsed() > Duration::from_millis(500), "no wait between attempts");
        bus.close().await;
        lost(bus.consume(Queue::Source, 1).await);
    });
}

#[test]
fn a_silent_server_is_given_up_in_time() {
    on_system(async {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("amqp://127.0.0.1:{}/v", silent.local_addr().unwrap().port());
        let bus = RabbitMq::new(&settings(&url, "lockgate")).unwrap();
        let start = tokio::time::Instant::now();
        let text = lost(bus.consume(Queue::Source, 1).await);
        assert!(text.contains("no answer within 10s"), "{text}");
        assert!(start.elapsed() < Duration::from_secs(12));
        // Nothing is left of the attempt: its socket is closed.
        let (mut socket, _) = silent.accept().await.unwrap();
        let mut all = Vec::new();
        let read = tokio::io::AsyncReadExt::read_to_end(&mut socket, &mut all);
        tokio::time::timeout(Duration::from_secs(5), read).await.unwrap().unwrap();
        bus.close().await;
    });
}

#[test]
fn what_a_flushed_subscription_held_is_ready_again_when_it_is_dropped() {
    on_system(async {
        let bus = bus(&place());
        bus.prepare(vec![endpoint()], Vec::new()).await.unwrap();
        let stores = (0..200).map(|n| bus.store(Target::Source, message(&n.to_string())));
        assert!(join_all(stores).await.iter().all(Result::is_ok));
        let mut subscription = bus.consume(Queue::Source, 100).await.unwrap();
        for _ in 0..100 {
            let delivery = next(&mut subscription).await;
            if delivery.tag <= 60 {
                subscription.control.ack(delivery.tag, false).await.unwrap();
            }
        }
        // As when the prefetch changes: the connection lives on.
        subscription.control.cancel().await.unwrap();
        subscription.control.flush().await.unwrap();
        drop(subscription);
        shows(&*bus, Queue::Source, 140).await;
        bus.close().await;
    });
}

#[test]
fn what_was_acknowledged_before_an_orderly_close_does_not_come_again() {
    on_system(async {
        let place = node().place();
        for _ in 0..3 {
            let first = bus(&place);
            first.prepare(vec![endpoint()], Vec::new()).await.unwrap();
            let all: Vec<String> = (0..600).map(|n| n.to_string()).collect();
            let stores = all.iter().map(|text| first.store(Target::Source, message(text)));
            assert!(join_all(stores).await.iter().all(Result::is_ok));
            let mut subscription = first.consume(Queue::Source, 600).await.unwrap();
            let mut kept = BTreeSet::new();
            for _ in &all {
                let delivery = next(&mut subscription).await;
                if delivery.tag % 2 == 0 {
                    subscription.control.ack(delivery.tag, false).await.unwrap();
                } else {
                    kept.insert(String::from_utf8(delivery.message.body.to_vec()).unwrap());
                }
            }
            subscription.control.flush().await.unwrap();
            first.close().await;
            let client = Client::connect(&place.url).await;
            let left = client.take(&format!("{}.events", place.prefix), kept.len()).await;
            let left: BTreeSet<String> =
                left.iter().map(|m| String::from_utf8(m.body.to_vec()).unwrap()).collect();
            let again: Vec<_> = left.difference(&kept).collect();
            assert!(again.is_empty(), "acknowledged, and came again: {}", again.len());
        }
    });
}

#[test]
fn an_alarm_stops_stores_and_nothing_else() {
    let node = rough_node();
    on_system(async move {
        let place = node.place();
        let bus = bus(&place);
        bus.prepare(vec![endpoint()], vec![RUNG]).await.unwrap();
        for number in 0..10 {
            bus.store(Target::Source, message(&number.to_string())).await.unwrap();
        }
        let mut source = bus.consume(Queue::Source, 5).await.unwrap();
        assert_eq!(seen(&mut source, 5).await.len(), 5);
        node.alarm(true);
        // The first publish under an alarm is what makes RabbitMQ block the connection.
        let under_way = tokio::spawn(bus.store(Target::Park(endpoint()), message("under way")));
        let start = tokio::time::Instant::now();
        eventually("a blocked connection", Duration::from_secs(30), async || {
            (node.blocked_connections(&place.vhost) == 1).then_some(())
        })
        .await;
        let blocked = match bus.store(Target::Rejected, message("kept out")).await {
            Err(BusError::Blocked(reason)) => reason,
            other => panic!("not blocked: {other:?}"),
        };
        assert!(blocked.contains("memory"), "{blocked}");
        source.control.ack(5, true).await.unwrap();
        assert_eq!(seen(&mut source, 5).await.len(), 5);
        source.control.ack(10, true).await.unwrap();
        assert_eq!(bus.depth(Queue::Source).await.unwrap(), Some(0));
        // Longer than a confirm may take: its clock stands still.
        let wait = Duration::from_secs(15).saturating_sub(start.elapsed());
        tokio::time::sleep(wait).await;
        node.alarm(false);
        under_way.await.unwrap().unwrap();
        bus.store(Target::Park(endpoint()), message("after")).await.unwrap();
        shows(&*bus, Queue::Parked(endpoint()), 2).await;
        bus.close().await;
    });
}

#[test]
fn nothing_is_lost_when_the_server_is_killed() {
    let node = rough_node();
    on_system(async move { survives_a_kill(&node).await });
}

async fn survives_a_kill(node: &Node) {
    let place = node.place();
    let bus = bus(&place);
    bus.prepare(vec![endpoint()], vec![RUNG]).await.unwrap();
    for number in 0..200 {
        bus.store(Target::Source, message(&number.to_string())).await.unwrap();
    }
    let mut source = bus.consume(Queue::Source, 100).await.unwrap();
    assert_eq!(seen(&mut source, 100).await.len(), 100);
    source.control.ack(50, true).await.unwrap();
    let busy = (0..5_000).map(|n| bus.store(Target::Park(endpoint()), message(&n.to_string())));
    let busy = tokio::spawn(join_all(busy.collect::<Vec<_>>()));
    eventually("stores under way", Duration::from_secs(20), async || {
        (bus.depth(Queue::Parked(endpoint())).await.unwrap() > Some(0)).then_some(())
    })
    .await;
    node.save_tables();
    node.kill();
    ends(&mut source).await;
    assert!(!bus.connected());
    let stored = busy.await.unwrap().iter().filter(|done| done.is_ok()).count();
    lost(bus.store(Target::Rejected, message("x")).await);
    node.restart();
    let deadline = Duration::from_secs(60);
    let mut again = eventually("a new subscription", deadline, async || {
        bus.consume(Queue::Source, 1_000).await.ok()
    })
    .await;
    assert!(bus.connected());
    let mut left: BTreeSet<usize> = (50..200).collect();
    while !left.is_empty() {
        let delivery = next(&mut again).await;
        left.remove(&std::str::from_utf8(&delivery.message.body).unwrap().parse().unwrap());
    }
    eventually("a store", deadline, async || {
        bus.store(Target::Park(endpoint()), message("x")).await.ok()
    })
    .await;
    let parked = bus.depth(Queue::Parked(endpoint())).await.unwrap().unwrap();
    assert!(usize::try_from(parked).unwrap() > stored, "{parked} parked, {stored} confirmed");
    bus.close().await;
}
