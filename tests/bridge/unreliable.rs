//! A bus whose consumers break in ways that a cut does not show.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use lockgate::bus::memory::MemoryBus;
use lockgate::bus::{Bus, BusError, Control, Queue, Subscription, Target, TopologyReport};
use lockgate::domain::delivery::Message;
use lockgate::domain::names::Name;

use super::partner::{Answer, Partner};
use super::stage::{Stage, endpoint, eventually, name};

/// Fails the next acknowledgements or cancellations, while deliveries go on.
#[derive(Default)]
struct Faults {
    acks: AtomicU32,
    cancels: AtomicU32,
}

impl Faults {
    fn take(count: &AtomicU32) -> bool {
        count.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok()
    }
}

struct Unreliable {
    inner: MemoryBus,
    faults: Arc<Faults>,
}

struct UnreliableControl {
    inner: Arc<dyn Control>,
    faults: Arc<Faults>,
}

fn silence<T>() -> Result<T, BusError> {
    Err(BusError::Lost("no answer".into()))
}

impl Control for UnreliableControl {
    fn ack(&self, tag: u64, multiple: bool) -> BoxFuture<'static, Result<(), BusError>> {
        if Faults::take(&self.faults.acks) {
            return futures_util::future::ready(silence()).boxed();
        }
        self.inner.ack(tag, multiple)
    }

    fn cancel(&self) -> BoxFuture<'static, Result<(), BusError>> {
        if Faults::take(&self.faults.cancels) {
            return futures_util::future::ready(silence()).boxed();
        }
        self.inner.cancel()
    }
}

impl Bus for Unreliable {
    fn consume(
        &self,
        queue: Queue,
        prefetch: u16,
    ) -> BoxFuture<'static, Result<Subscription, BusError>> {
        let (opening, faults) = (self.inner.consume(queue, prefetch), Arc::clone(&self.faults));
        async move {
            let Subscription { generation, deliveries, control } = opening.await?;
            let control = Arc::new(UnreliableControl { inner: control, faults });
            Ok(Subscription { generation, deliveries, control })
        }
        .boxed()
    }

    fn store(&self, target: Target, message: Message) -> BoxFuture<'static, Result<(), BusError>> {
        self.inner.store(target, message)
    }

    fn prepare(
        &self,
        endpoints: Vec<Name>,
        rungs: Vec<Duration>,
    ) -> BoxFuture<'static, Result<TopologyReport, BusError>> {
        self.inner.prepare(endpoints, rungs)
    }

    fn depth(&self, queue: Queue) -> BoxFuture<'static, Result<Option<u32>, BusError>> {
        self.inner.depth(queue)
    }

    fn connected(&self) -> bool {
        self.inner.connected()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.inner.close()
    }
}

fn start(text: &str) -> (Stage, Arc<Faults>) {
    let (inner, faults) = (MemoryBus::default(), Arc::<Faults>::default());
    let bus = Unreliable { inner: inner.clone(), faults: Arc::clone(&faults) };
    (Stage::on(Arc::new(bus), inner, text), faults)
}

#[actix_rt::test]
async fn a_failed_acknowledgement_ends_the_subscription_and_nothing_gets_stuck() {
    let partner = Partner::start(Answer::Status(200));
    let (stage, faults) = start(&endpoint("a", &partner, ""));
    stage.publish(0..10);
    eventually("it flows", || stage.acknowledged() == 10).await;
    faults.acks.store(1, SeqCst);
    // More than a prefetch: a consumer that acknowledges nothing would stop delivering.
    stage.publish(10..200);
    stage.is_idle().await;
    let ids: HashSet<String> = partner.ids().into_iter().collect();
    assert_eq!((partner.count(), ids.len()), (200, 200), "repeats were recognised");
    assert!(stage.board.source.stale.get() + stage.counters("a").suppressed.get() > 0);
    stage.done().await;
}

#[actix_rt::test]
async fn a_failed_acknowledgement_in_the_parked_lane_leaves_nothing_stuck() {
    let partner = Partner::start(Answer::Status(503));
    let settings = "max_in_flight = 4\nretry = { schedule = [\"100ms\"] }\n\
                    breaker = { failures = 4, open = \"100ms\" }";
    let (stage, faults) = start(&endpoint("a", &partner, settings));
    stage.publish(0..40);
    eventually("all are parked", || stage.acknowledged() == 40).await;
    faults.acks.store(1, SeqCst);
    partner.answers(Answer::Status(200));
    eventually("it has failed", || faults.acks.load(SeqCst) == 0).await;
    let parked = Queue::Parked(name("a"));
    eventually("nothing is left", || stage.ready(&parked).is_empty()).await;
    stage.is_idle().await;
    let ids: HashSet<String> = partner.ids().into_iter().collect();
    assert_eq!(ids.len(), 40);
    stage.done().await;
}

#[actix_rt::test]
async fn a_consumer_that_cannot_be_cancelled_is_given_up() {
    let partner = Partner::start(Answer::Status(503));
    let settings = "max_in_flight = 4\nretry = { schedule = [\"100ms\"] }\n\
                    breaker = { failures = 4, open = \"300ms\" }";
    let (stage, faults) = start(&endpoint("a", &partner, settings));
    faults.cancels.store(2, SeqCst);
    stage.publish(0..40);
    eventually("both have failed", || faults.cancels.load(SeqCst) == 0).await;
    partner.answers(Answer::Status(200));
    let parked = Queue::Parked(name("a"));
    stage.is_idle().await;
    eventually("nothing is left", || stage.ready(&parked).is_empty()).await;
    stage.is_idle().await;
    let ids: HashSet<String> = partner.ids().into_iter().collect();
    assert_eq!((ids.len(), stage.counters("a").dead.get()), (40, 0));
    stage.done().await;
}
