//! The in-memory bus: for the demo and for hermetic tests. Not durable.
//!
//! Keeps the promises of [`super::Bus`] as RabbitMQ does: prefetch, acknowledgements in runs,
//! redelivery with its flag after a loss, delayed rungs (by tokio's clock, which tests can pause),
//! bounded queues that refuse. Adds what a test wants to do to a bus: cut it, block it, let it
//! fail. Refuses to keep anything when the process ends. Read [`super::rabbitmq`] next.

mod state;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use self::state::{Delayed, Held, State};
use super::{Bus, BusError, Control, Delivery, Queue, Subscription, Target, TopologyReport};
use crate::domain::delivery::Message;
use crate::domain::names::Name;

/// The most messages that one queue holds; then it refuses publishes.
pub const DEFAULT_CAPACITY: usize = 1_000_000;

/// A bus inside the process. Cheap to clone: clones are the same bus.
#[derive(Clone)]
pub struct MemoryBus {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
}

impl Default for MemoryBus {
    fn default() -> Self {
        Self::new(DEFAULT_CAPACITY)
    }
}

impl MemoryBus {
    /// An empty bus whose queues hold `capacity` messages each.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let state = State { capacity, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), changed: watch::Sender::new(0) }
    }

    /// Puts a platform's message into the source queue, at once.
    ///
    /// # Errors
    /// When the queue is full.
    pub fn publish(&self, message: Message) -> Result<(), BusError> {
        let done = self.lock().push(Queue::Source, message);
        self.touch();
        done
    }

    /// Cuts every subscription; what was unacknowledged comes again. `down` keeps the bus out of
    /// reach until [`Self::restore`].
    pub fn cut(&self, down: bool) {
        let mut state = self.lock();
        state.down = down;
        let lost: Vec<u64> = state.subscriptions.keys().copied().collect();
        for generation in lost {
            state.give_back(generation);
        }
        drop(state);
        self.touch();
    }

    /// Ends an outage begun by [`Self::cut`].
    pub fn restore(&self) {
        self.lock().down = false;
        self.touch();
    }

    /// Refuses publishes as under a memory alarm, or takes them again.
    pub fn block(&self, blocked: bool) {
        self.lock().blocked = blocked;
    }

    /// Lets the next `count` stores fail.
    pub fn fail_stores(&self, count: u32) {
        self.lock().failing_stores = count;
    }

    /// The ready messages of a queue, left where they are.
    #[must_use]
    pub fn peek(&self, queue: &Queue) -> Vec<Message> {
        let mut state = self.lock();
        state.promote(Instant::now());
        if let Queue::Wait(rung) = queue {
            let held = state.delayed.iter().filter(|held| held.rung == *rung);
            return held.map(|held| held.message.clone()).collect();
        }
        state.queues.get(queue).map(|ready| ready.iter().cloned().collect()).unwrap_or_default()
    }

    /// Messages that are in no queue yet because their rung has not passed.
    #[must_use]
    pub fn delayed(&self) -> usize {
        self.lock().delayed.len()
    }

    /// Messages delivered and not acknowledged, over all subscriptions.
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        self.lock().subscriptions.values().map(|held| held.unacknowledged.len()).sum()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while it was held cannot leave a half-made change: each is one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    fn subscribe(&self, queue: Queue, prefetch: u16) -> Result<Subscription, BusError> {
        let mut state = self.lock();
        if state.down {
            return Err(down());
        }
        state.generations += 1;
        let generation = state.generations;
        let held = Held {
            queue,
            prefetch: usize::from(prefetch.max(1)),
            unacknowledged: VecDeque::new(),
            next_tag: 1,
            cancelled: false,
        };
        state.subscriptions.insert(generation, held);
        drop(state);
        let (sender, deliveries) = mpsc::channel(usize::from(prefetch.max(1)));
        tokio::spawn(pump(self.clone(), generation, sender));
        let control = Arc::new(MemoryControl { bus: self.clone(), generation });
        Ok(Subscription { generation, deliveries, control })
    }

    fn put(&self, target: Target, message: Message) -> Result<(), BusError> {
        let mut state = self.lock();
        if state.down {
            return Err(down());
        }
        if state.blocked {
            return Err(BusError::Blocked("a memory alarm".into()));
        }
        if state.failing_stores > 0 {
            state.failing_stores -= 1;
            return Err(BusError::Refused("told to fail".into()));
        }
        let done = match target {
            Target::Park(name) => state.push(Queue::Parked(name), message),
            Target::Dead(name) => state.push(Queue::Dead(name), message),
            Target::Rejected => state.push(Queue::Rejected, message),
            Target::Source => {
                let named = Message { exchange: String::new(), ..message };
                state.push(Queue::Source, named)
            }
            Target::Platform { exchange, routing_key } => {
                state.push(Queue::Source, Message { exchange, routing_key, ..message })
            }
            Target::Wait(endpoint, rung) => {
                if state.delayed.len() >= state.capacity {
                    Err(BusError::Refused("the queue is full".into()))
                } else {
                    let due = Instant::now() + rung;
                    state.delayed.push(Delayed { due, rung, endpoint, message });
                    Ok(())
                }
            }
        };
        drop(state);
        self.touch();
        done
    }
}

fn down() -> BusError {
    BusError::Lost("the memory bus is cut".into())
}

/// Hands messages over until the subscription ends.
async fn pump(bus: MemoryBus, generation: u64, sender: mpsc::Sender<Delivery>) {
    let mut changed = bus.changed.subscribe();
    loop {
        changed.mark_unchanged();
        let (taken, due) = {
            let mut state = bus.lock();
            state.promote(Instant::now());
            let Some(taken) = state.take(generation) else { return };
            (taken, state.next_due())
        };
        for delivery in taken {
            if sender.send(delivery).await.is_err() {
                return;
            }
        }
        let far = Instant::now() + Duration::from_secs(3_600);
        tokio::select! {
            still = changed.changed() => if still.is_err() { return },
            () = tokio::time::sleep_until(due.unwrap_or(far)) => {}
            () = sender.closed() => return,
        }
    }
}

struct MemoryControl {
    bus: MemoryBus,
    generation: u64,
}

impl Control for MemoryControl {
    fn ack(&self, tag: u64, multiple: bool) -> BoxFuture<'static, Result<(), BusError>> {
        let done = self.bus.lock().acknowledge(self.generation, tag, multiple);
        self.bus.touch();
        futures_util::future::ready(done).boxed()
    }

    fn cancel(&self) -> BoxFuture<'static, Result<(), BusError>> {
        if let Some(held) = self.bus.lock().subscriptions.get_mut(&self.generation) {
            held.cancelled = true;
        }
        self.bus.touch();
        futures_util::future::ready(Ok(())).boxed()
    }

    fn loss(&self) -> Option<String> {
        let there = self.bus.lock().subscriptions.contains_key(&self.generation);
        (!there).then(|| "the memory bus was cut".into())
    }
}

impl Drop for MemoryControl {
    fn drop(&mut self) {
        self.bus.lock().give_back(self.generation);
        self.bus.touch();
    }
}

impl Bus for MemoryBus {
    fn consume(
        &self,
        queue: Queue,
        prefetch: u16,
    ) -> BoxFuture<'static, Result<Subscription, BusError>> {
        let bus = self.clone();
        async move { bus.subscribe(queue, prefetch) }.boxed()
    }

    fn store(&self, target: Target, message: Message) -> BoxFuture<'static, Result<(), BusError>> {
        let bus = self.clone();
        async move { bus.put(target, message) }.boxed()
    }

    fn prepare(
        &self,
        _endpoints: Vec<Name>,
        _rungs: Vec<Duration>,
    ) -> BoxFuture<'static, Result<TopologyReport, BusError>> {
        let done = if self.lock().down { Err(down()) } else { Ok(TopologyReport::default()) };
        futures_util::future::ready(done).boxed()
    }

    fn depth(&self, queue: Queue) -> BoxFuture<'static, Result<Option<u32>, BusError>> {
        let ready = self.peek(&queue).len();
        let done = if self.lock().down {
            Err(down())
        } else {
            Ok(Some(u32::try_from(ready).unwrap_or(u32::MAX)))
        };
        futures_util::future::ready(done).boxed()
    }

    fn connected(&self) -> bool {
        !self.lock().down
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.cut(true);
        futures_util::future::ready(()).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message {
        Message { body: text.to_owned().into(), ..Message::default() }
    }

    async fn texts(subscription: &mut Subscription, count: usize) -> Vec<(u64, String, bool)> {
        let mut seen = Vec::new();
        for _ in 0..count {
            let next = tokio::time::timeout(Duration::from_secs(5), subscription.deliveries.recv());
            let delivery = next.await.unwrap().unwrap();
            let text = String::from_utf8(delivery.message.body.to_vec()).unwrap();
            seen.push((delivery.tag, text, delivery.message.redelivered));
        }
        seen
    }

    #[tokio::test(start_paused = true)]
    async fn the_prefetch_is_the_brake_and_acknowledgements_release_it() {
        let bus = MemoryBus::default();
        for i in 0..5 {
            bus.publish(message(&i.to_string())).unwrap();
        }
        let mut source = bus.consume(Queue::Source, 2).await.unwrap();
        let seen = texts(&mut source, 2).await;
        assert_eq!(seen, [(1, "0".into(), false), (2, "1".into(), false)]);
        assert_eq!(bus.depth(Queue::Source).await.unwrap(), Some(3));
        source.control.ack(2, true).await.unwrap();
        assert_eq!(texts(&mut source, 2).await.len(), 2);
        assert!(source.control.ack(2, true).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_acknowledged_comes_again_with_its_flag() {
        let bus = MemoryBus::default();
        for i in 0..3 {
            bus.publish(message(&i.to_string())).unwrap();
        }
        let mut source = bus.consume(Queue::Source, 10).await.unwrap();
        assert_eq!(texts(&mut source, 3).await.len(), 3);
        source.control.ack(2, false).await.unwrap();
        bus.cut(false);
        assert!(source.deliveries.recv().await.is_none());
        let mut again = bus.consume(Queue::Source, 10).await.unwrap();
        let seen = texts(&mut again, 2).await;
        assert_eq!(seen, [(1, "0".into(), true), (2, "2".into(), true)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rung_delays_by_its_time() {
        let bus = MemoryBus::default();
        let name: Name = "erp".parse().unwrap();
        let mut parked = bus.consume(Queue::Parked(name.clone()), 10).await.unwrap();
        let start = Instant::now();
        let wait = Target::Wait(name, Duration::from_secs(30));
        bus.store(wait, message("late")).await.unwrap();
        let _ = parked.deliveries.recv().await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_refuses() {
        let bus = MemoryBus::new(1);
        bus.store(Target::Rejected, message("a")).await.unwrap();
        let refused = bus.store(Target::Rejected, message("b")).await;
        assert!(matches!(refused, Err(BusError::Refused(_))));
    }
}
