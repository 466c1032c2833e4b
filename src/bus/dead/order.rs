//! Orders: dead letters that are replayed or purged.
//!
//! Owns the round. A queue cannot be searched, so an order that does not mean every letter sends the
//! others round: stored at the queue's end, acknowledged at its head. It ends after one round, which
//! is as many letters as were ready when it began; what dies meanwhile, also of what was replayed, is
//! not seen. Another order at work on the same queue takes letters out of this one's round: what it
//! leaves can be found by carrying out the order again. Refuses to know which letters are meant: that
//! is [`crate::logic::dead`]. Read [`crate::bus::topology`] for the queues.

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{DeadError, Feed};
use crate::bus::{Bus, BusError, Delivery, Queue, Target};
use crate::domain::delivery::Message;
use crate::domain::names::Name;
use crate::logic::dead::{Filter, Letter, kept, revived};
use crate::logic::ledger::{Ack, Ledger};
use crate::world;

/// Letters in memory at once while an order is carried out.
const WINDOW: u16 = 256;
/// No letter waits longer for its turn, however low the pace: RabbitMQ ends consumers that hold a
/// message for half an hour.
const LONGEST_HELD: Duration = Duration::from_secs(60);
/// A confirm that takes longer is told about.
const SLOW: Duration = Duration::from_secs(5);
/// The pause before storing again while RabbitMQ takes no publishes.
const PAUSE: Duration = Duration::from_secs(1);
/// What is under way when an order is stopped may take so long.
const GRACE: Duration = Duration::from_secs(10);

/// What becomes of the letters that are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// They go to their endpoint once more.
    Replay,
    /// They are deleted, for good.
    Purge,
}

/// Something to be done with an endpoint's dead letters.
#[derive(Clone, Debug)]
pub struct Order {
    /// Whose letters.
    pub endpoint: Name,
    /// Which ones.
    pub filter: Filter,
    /// What becomes of them.
    pub act: Act,
    /// The least time between two of them; at most a minute.
    pub pace: Option<Duration>,
}

/// How far an order has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Letters of the round: those that were ready when it began.
    pub round: u32,
    /// Letters that were meant, as far as it has seen them.
    pub meant: u32,
    /// Letters that were meant, and are replayed or purged.
    pub taken: u32,
    /// Letters that were not meant, and are in the queue still.
    pub skipped: u32,
}

/// How an order ended.
#[derive(Clone, Debug)]
pub enum End {
    /// After a whole round.
    Done,
    /// It was told to stop; nothing is half done.
    Stopped,
    /// The bus failed. Letters that were under way may be there twice.
    Failed(BusError),
}

/// What is to be told while an order is carried out.
#[derive(Clone, Copy, Debug)]
pub enum News {
    /// It has come so far.
    Progress(Tally),
    /// RabbitMQ confirms nothing for some seconds. It is waited for.
    Waiting,
}

/// Carries out an order. It ends after one round, or soon after `stop`.
///
/// # Errors
/// When it cannot begin; then nothing was moved.
pub async fn carry_out(
    bus: &dyn Bus,
    order: &Order,
    stop: &CancellationToken,
    tell: impl FnMut(News),
) -> Result<(Tally, End), DeadError> {
    let name = &order.endpoint;
    let round = bus.depth(Queue::Dead(name.clone())).await?;
    let round = round.ok_or_else(|| DeadError::NoQueue(name.clone()))?;
    if order.act == Act::Replay && bus.depth(Queue::Parked(name.clone())).await?.is_none() {
        return Err(DeadError::NoParkedQueue(name.clone()));
    }
    let tally = Tally { round, ..Tally::default() };
    if round == 0 {
        return Ok((tally, End::Done));
    }
    let feed = Feed::open(bus, Queue::Dead(name.clone()), prefetch(order.pace)).await?;
    let now = Instant::now();
    let work = Work {
        bus,
        order,
        stop,
        feed,
        under_way: FuturesUnordered::new(),
        ledger: Ledger::new(),
        tally,
        seen: 0,
        began: now,
        moved: now,
        told: false,
        next: now,
    };
    Ok(work.run(tell).await)
}

fn prefetch(pace: Option<Duration>) -> u16 {
    let held = pace.filter(|pace| !pace.is_zero()).map_or(u128::from(WINDOW), |pace| {
        LONGEST_HELD.as_nanos().checked_div(pace.as_nanos()).unwrap_or(1)
    });
    u16::try_from(held).unwrap_or(WINDOW).clamp(1, WINDOW)
}

/// A letter whose new place was written, or could not be: its tag, and whether it was meant.
type Moved = (u64, bool, Result<(), BusError>);

struct Work<'a> {
    bus: &'a dyn Bus,
    order: &'a Order,
    stop: &'a CancellationToken,
    feed: Feed<'a>,
    under_way: FuturesUnordered<BoxFuture<'a, Moved>>,
    ledger: Ledger,
    tally: Tally,
    seen: u32,
    began: Instant,
    /// When something was last done.
    moved: Instant,
    /// That nothing is being done has been told.
    told: bool,
    /// When the next letter may be taken.
    next: Instant,
}

impl Work<'_> {
    async fn run(mut self, mut tell: impl FnMut(News)) -> (Tally, End) {
        let mut end = None;
        let mut deadline = None;
        while end.is_none() && self.seen < self.tally.round || !self.under_way.is_empty() {
            let taking = end.is_none() && self.has_room();
            let (due, slow) = (self.next, self.moved + SLOW);
            let late = deadline.unwrap_or(slow);
            let done = tokio::select! {
                Some(done) = self.under_way.next() => self.settle(done).await.map(|()| None),
                found = take(&mut self.feed, due), if taking => match found {
                    Ok(Some(delivery)) => self.handle(delivery).await.map(|()| None),
                    Ok(None) => Ok(Some(End::Done)),
                    Err(error) => Err(error),
                },
                () = self.stop.cancelled(), if end.is_none() => Ok(Some(End::Stopped)),
                () = sleep_until(slow), if !self.told && !self.under_way.is_empty() => {
                    self.told = true;
                    tell(News::Waiting);
                    Ok(None)
                }
                // What is not confirmed now stays where it is, and may be in its new place too.
                () = sleep_until(late), if deadline.is_some() => break,
            };
            tell(News::Progress(self.tally));
            let ended = match done {
                Ok(ended) => ended,
                // Told to stop, nobody waits for the end of an alarm.
                Err(BusError::Blocked(_)) if self.stop.is_cancelled() => Some(End::Stopped),
                Err(error) => Some(End::Failed(error)),
            };
            if let Some(ended) = ended {
                deadline.get_or_insert_with(|| Instant::now() + GRACE);
                end = Some(ended).filter(|_| end.is_none()).or(end);
            }
        }
        let last = self.finish().await;
        let end = match (end.unwrap_or(End::Done), last) {
            (End::Done | End::Stopped, Err(error)) => End::Failed(error),
            (end, _) => end,
        };
        (self.tally, end)
    }

    /// There is more of the round, and room for it.
    fn has_room(&self) -> bool {
        self.seen < self.tally.round && self.under_way.len() < usize::from(WINDOW)
    }

    /// Sends a letter on its way, and those that have come with it.
    async fn handle(&mut self, first: Delivery) -> Result<(), BusError> {
        let mut next = Some(first);
        while let Some(delivery) = next {
            self.begin(delivery);
            let more = self.has_room() && self.order.pace.is_none();
            next = more.then(|| self.feed.subscription.deliveries.try_recv().ok()).flatten();
        }
        let due = self.ledger.acks(self.began.elapsed());
        self.acknowledge(due).await
    }

    /// Sends a letter on its way, or notes that it is to be deleted.
    fn begin(&mut self, delivery: Delivery) {
        self.seen += 1;
        let (tag, letter) = (delivery.tag, delivery.message);
        self.ledger.received(tag, 1, self.began.elapsed());
        let meant = self.order.filter.matches(&Letter::of(&letter));
        self.tally.meant += u32::from(meant);
        if let (true, Some(pace)) = (meant, self.order.pace) {
            self.next = self.next.max(Instant::now()) + pace;
        }
        let name = self.order.endpoint.clone();
        let (target, parcel) = match (meant, self.order.act) {
            (true, Act::Purge) => return self.moved(tag, true),
            (true, Act::Replay) => (Target::Park(name), revived(&letter, world::now())),
            (false, Act::Purge | Act::Replay) => (Target::Dead(name), kept(&letter)),
        };
        if self.under_way.is_empty() {
            self.moved = Instant::now();
        }
        let (bus, stop) = (self.bus, self.stop);
        let moving = async move { (tag, meant, store(bus, target, parcel, stop).await) };
        self.under_way.push(moving.boxed());
    }

    /// Takes letters from their old place that are safe in the new one: all that are by now.
    async fn settle(&mut self, first: Moved) -> Result<(), BusError> {
        let (mut next, mut failed) = (Some(first), Ok(()));
        while let Some((tag, meant, stored)) = next {
            match stored {
                Ok(()) => self.moved(tag, meant),
                Err(error) => failed = Err(error),
            }
            next = self.under_way.next().now_or_never().flatten();
        }
        let due = self.ledger.acks(self.began.elapsed());
        self.acknowledge(due).await?;
        failed
    }

    /// A letter is safe in its new place, or is meant to be gone.
    fn moved(&mut self, tag: u64, meant: bool) {
        self.ledger.settled(tag);
        let count = if meant { &mut self.tally.taken } else { &mut self.tally.skipped };
        *count += 1;
        (self.moved, self.told) = (Instant::now(), false);
    }

    // Not `&self`: an order may be carried out on any thread, and what is under way is not shared.
    async fn acknowledge(&mut self, due: Vec<Ack>) -> Result<(), BusError> {
        for Ack { tag, multiple } in due {
            self.feed.subscription.control.ack(tag, multiple).await?;
        }
        Ok(())
    }

    /// Sends the last acknowledgements, and waits until RabbitMQ has taken all of them for good:
    /// else their letters would be there twice.
    async fn finish(&mut self) -> Result<(), BusError> {
        let due = self.ledger.last_acks();
        self.acknowledge(due).await?;
        let control = &self.feed.subscription.control;
        control.cancel().await?;
        control.flush().await
    }
}

async fn take(feed: &mut Feed<'_>, due: Instant) -> Result<Option<Delivery>, BusError> {
    sleep_until(due).await;
    feed.next().await
}

/// Stores a letter; while RabbitMQ takes nothing, waits until it does or the order is stopped.
async fn store(
    bus: &dyn Bus,
    target: Target,
    letter: Message,
    stop: &CancellationToken,
) -> Result<(), BusError> {
    loop {
        match bus.store(target.clone(), letter.clone()).await {
            Err(BusError::Blocked(_)) if !stop.is_cancelled() => {
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    () = stop.cancelled() => {}
                }
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::memory::MemoryBus;
    use crate::bus::{Subscription, TopologyReport};

    #[test]
    fn few_letters_are_held_where_the_pace_is_low() {
        for (pace, held) in [
            (None, WINDOW),
            (Some(Duration::ZERO), WINDOW),
            (Some(Duration::from_millis(20)), WINDOW),
            (Some(Duration::from_secs(1)), 60),
            (Some(Duration::from_secs(60)), 1),
            (Some(Duration::from_secs(3_600)), 1),
        ] {
            assert_eq!(prefetch(pace), held, "{pace:?}");
        }
    }

    fn erp() -> Name {
        "erp".parse().unwrap()
    }

    fn order(act: Act, pace: Option<Duration>) -> Order {
        Order { endpoint: erp(), filter: Filter::default(), act, pace }
    }

    async fn bus_with(letters: usize) -> MemoryBus {
        let bus = MemoryBus::default();
        for n in 0..letters {
            let letter = Message { body: n.to_string().into(), ..Message::default() };
            bus.store(Target::Dead(erp()), letter).await.unwrap();
        }
        bus
    }

    /// A bus whose confirms take 10 ms each.
    struct Distant(MemoryBus);

    impl Bus for Distant {
        fn consume(
            &self,
            queue: Queue,
            prefetch: u16,
        ) -> BoxFuture<'static, Result<Subscription, BusError>> {
            self.0.consume(queue, prefetch)
        }

        fn store(&self, to: Target, message: Message) -> BoxFuture<'static, Result<(), BusError>> {
            let storing = self.0.store(to, message);
            async {
                tokio::time::sleep(Duration::from_millis(10)).await;
                storing.await
            }
            .boxed()
        }

        fn prepare(
            &self,
            endpoints: Vec<Name>,
            rungs: Vec<Duration>,
        ) -> BoxFuture<'static, Result<TopologyReport, BusError>> {
            self.0.prepare(endpoints, rungs)
        }

        fn depth(&self, queue: Queue) -> BoxFuture<'static, Result<Option<u32>, BusError>> {
            self.0.depth(queue)
        }

        fn connected(&self) -> bool {
            self.0.connected()
        }

        fn close(&self) -> BoxFuture<'static, ()> {
            self.0.close()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn letters_do_not_wait_for_one_anothers_confirms() {
        let bus = Distant(bus_with(5_000).await);
        let (start, stop) = (Instant::now(), CancellationToken::new());
        let done = carry_out(&bus, &order(Act::Replay, None), &stop, |_| {}).await;
        assert_eq!(done.unwrap().0.taken, 5_000);
        let took = start.elapsed();
        assert!(took < Duration::from_secs(1), "one by one it were 50 s: {took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pace_is_kept() {
        let bus = bus_with(50).await;
        let (start, stop) = (Instant::now(), CancellationToken::new());
        let order = order(Act::Replay, Some(Duration::from_millis(100)));
        let (tally, end) = carry_out(&bus, &order, &stop, |_| {}).await.unwrap();
        assert!(matches!(end, End::Done), "{end:?}");
        assert_eq!(tally.taken, 50);
        let took = start.elapsed().as_millis();
        assert!((4_900..5_500).contains(&took), "{took} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_bus_takes_nothing_it_waits_and_says_so_once() {
        let bus = bus_with(10).await;
        bus.block(true);
        let unblocked = bus.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(60)).await;
            unblocked.block(false);
        });
        let (mut waited, stop) = (0, CancellationToken::new());
        let tell = |news| waited += u32::from(matches!(news, News::Waiting));
        let done = carry_out(&bus, &order(Act::Replay, None), &stop, tell).await;
        let (tally, end) = done.unwrap();
        assert!(matches!(end, End::Done), "{end:?}");
        assert_eq!((tally.taken, waited), (10, 1));
        assert_eq!(bus.peek(&Queue::Parked(erp())).len(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn told_to_stop_while_the_bus_takes_nothing_it_ends_and_everything_is_there() {
        let bus = bus_with(10).await;
        bus.block(true);
        let stop = CancellationToken::new();
        let stopper = stop.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(3)).await;
            stopper.cancel();
        });
        let start = Instant::now();
        let done = carry_out(&bus, &order(Act::Replay, None), &stop, |_| {}).await;
        let (tally, end) = done.unwrap();
        assert!(matches!(end, End::Stopped), "{end:?}");
        assert_eq!(tally.taken, 0);
        assert!(start.elapsed() <= Duration::from_secs(3) + GRACE);
        assert_eq!(bus.peek(&Queue::Dead(erp())).len(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_fails_ends_it_and_the_letter_stays() {
        let bus = bus_with(10).await;
        bus.fail_stores(1);
        let stop = CancellationToken::new();
        let done = carry_out(&bus, &order(Act::Replay, None), &stop, |_| {}).await;
        let (tally, end) = done.unwrap();
        assert!(matches!(end, End::Failed(BusError::Refused(_))), "{end:?}");
        let parked = bus.peek(&Queue::Parked(erp())).len();
        assert_eq!(parked, usize::try_from(tally.taken).unwrap());
        assert_eq!(parked + bus.peek(&Queue::Dead(erp())).len(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn what_dies_again_at_once_is_not_replayed_again() {
        let bus = bus_with(20).await;
        let mut parked = bus.consume(Queue::Parked(erp()), 10).await.unwrap();
        let again = bus.clone();
        tokio::spawn(async move {
            while let Some(delivery) = parked.deliveries.recv().await {
                again.store(Target::Dead(erp()), delivery.message).await.unwrap();
                parked.control.ack(delivery.tag, false).await.unwrap();
            }
        });
        let stop = CancellationToken::new();
        let done = carry_out(&bus, &order(Act::Replay, None), &stop, |_| {}).await;
        assert_eq!(done.unwrap().0.taken, 20);
    }
}
