//! The memory bus's queues and subscriptions, as one value behind one lock.
//!
//! Owns what is ready, delayed and unacknowledged. Refuses to wait or to wake anybody: that is
//! [`super`].

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::bus::{BusError, Delivery, Queue};
use crate::domain::delivery::Message;
use crate::domain::names::Name;

#[derive(Default)]
pub(super) struct State {
    pub(super) capacity: usize,
    pub(super) queues: HashMap<Queue, VecDeque<Message>>,
    pub(super) delayed: Vec<Delayed>,
    pub(super) subscriptions: HashMap<u64, Held>,
    pub(super) generations: u64,
    pub(super) blocked: bool,
    pub(super) down: bool,
    pub(super) failing_stores: u32,
}

/// What waits out a rung.
pub(super) struct Delayed {
    pub(super) due: Instant,
    pub(super) rung: Duration,
    pub(super) endpoint: Name,
    pub(super) message: Message,
}

/// What one subscription has been given and has not acknowledged.
pub(super) struct Held {
    pub(super) queue: Queue,
    pub(super) prefetch: usize,
    pub(super) unacknowledged: VecDeque<(u64, Message)>,
    pub(super) next_tag: u64,
    pub(super) cancelled: bool,
}

impl State {
    pub(super) fn push(&mut self, queue: Queue, message: Message) -> Result<(), BusError> {
        let ready = self.queues.entry(queue).or_default();
        if ready.len() >= self.capacity {
            return Err(BusError::Refused("the queue is full".into()));
        }
        ready.push_back(Message { redelivered: false, ..message });
        Ok(())
    }

    /// Moves what has waited out its rung into its endpoint's queue.
    pub(super) fn promote(&mut self, now: Instant) {
        let mut due: Vec<Delayed> = self.delayed.extract_if(.., |held| held.due <= now).collect();
        due.sort_by_key(|held| held.due);
        for Delayed { endpoint, message, .. } in due {
            self.queues.entry(Queue::Parked(endpoint)).or_default().push_back(message);
        }
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.delayed.iter().map(|held| held.due).min()
    }

    /// What a subscription may be given now; `None` when it has ended.
    pub(super) fn take(&mut self, generation: u64) -> Option<Vec<Delivery>> {
        let held = self.subscriptions.get_mut(&generation)?;
        if held.cancelled {
            return None;
        }
        let mut taken = Vec::new();
        let ready = self.queues.entry(held.queue.clone()).or_default();
        while held.unacknowledged.len() < held.prefetch
            && let Some(message) = ready.pop_front()
        {
            let tag = held.next_tag;
            held.next_tag += 1;
            held.unacknowledged.push_back((tag, message.clone()));
            taken.push(Delivery { generation, tag, message });
        }
        Some(taken)
    }

    pub(super) fn give_back(&mut self, generation: u64) {
        let Some(held) = self.subscriptions.remove(&generation) else { return };
        let ready = self.queues.entry(held.queue).or_default();
        for (_, message) in held.unacknowledged.into_iter().rev() {
            ready.push_front(Message { redelivered: true, ..message });
        }
    }

    pub(super) fn acknowledge(
        &mut self,
        generation: u64,
        tag: u64,
        multiple: bool,
    ) -> Result<(), BusError> {
        let lost = || BusError::Lost("the subscription has ended".into());
        let held = self.subscriptions.get_mut(&generation).ok_or_else(lost)?;
        let before = held.unacknowledged.len();
        held.unacknowledged.retain(|(own, _)| if multiple { *own > tag } else { *own != tag });
        if held.unacknowledged.len() == before {
            // As RabbitMQ does: an unknown tag closes the channel.
            self.give_back(generation);
            return Err(BusError::Lost(format!("unknown delivery tag {tag}")));
        }
        Ok(())
    }
}
