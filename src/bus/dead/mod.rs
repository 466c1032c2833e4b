//! Dead letters on any bus: looked at, replayed, purged.
//!
//! Owns how that is done without losing one: a look gives everything back as it was; a letter that
//! goes, or goes round, is stored first (confirmed) and acknowledged then. So whatever interrupts it,
//! and whenever, a letter can be there twice but never not at all. Refuses to know which letters are
//! meant: that is [`crate::logic::dead`]. Read [`order`] next: how letters are moved.

mod order;

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::time::{Instant, timeout};

pub use order::{Act, End, News, Order, Tally, carry_out};

use super::{Bus, BusError, Delivery, Queue, Subscription};
use crate::domain::delivery::Message;
use crate::domain::names::Name;

/// Letters that a look takes where nobody says how many.
pub const LOOK: u16 = 100;
/// How long nothing has to come until it is asked whether anything is left.
const SILENCE: Duration = Duration::from_millis(500);
/// After so many silences with nothing ready, others have taken what had been there. Not after the
/// first: what is no longer ready may be on its way to here.
const EMPTY: u32 = 10;
/// After so many silences, although letters are ready, the consumer counts as lost.
const LOST: u32 = 60;

/// How long what was held may take until it is ready again.
const GIVEN_BACK: Duration = Duration::from_secs(5);
/// How often that is asked.
const POLL: Duration = Duration::from_millis(20);

/// Why dead letters could not be looked at or moved.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DeadError {
    /// There is no such queue: the endpoint never was, or its queues were not declared.
    #[error("there is no queue of {0}'s dead letters")]
    NoQueue(Name),
    /// What is replayed would have no queue to wait in.
    #[error("there is no queue in which {0}'s events could wait")]
    NoParkedQueue(Name),
    /// The bus.
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// What a look has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looked {
    /// Letters that were ready when it began.
    pub ready: u32,
    /// Letters that it was shown.
    pub seen: u32,
}

/// Shows at most `limit` letters from the head of the queue to `visit`, which may end it, and gives
/// them back as they were. RabbitMQ may put them into another order among themselves. Ends when they
/// are ready again; where somebody else takes letters meanwhile, some seconds later.
///
/// # Errors
/// When there is no queue, or the bus fails.
pub async fn look(
    bus: &dyn Bus,
    endpoint: &Name,
    limit: u16,
    mut visit: impl FnMut(Message) -> ControlFlow<()>,
) -> Result<Looked, DeadError> {
    let queue = Queue::Dead(endpoint.clone());
    let ready = bus.depth(queue.clone()).await?;
    let ready = ready.ok_or_else(|| DeadError::NoQueue(endpoint.clone()))?;
    let most = ready.min(u32::from(limit));
    let mut looked = Looked { ready, seen: 0 };
    if most == 0 {
        return Ok(looked);
    }
    let mut feed = Feed::open(bus, queue.clone(), u16::try_from(most).unwrap_or(limit)).await?;
    while looked.seen < most {
        let Some(delivery) = feed.next().await? else { break };
        looked.seen += 1;
        if visit(delivery.message).is_break() {
            break;
        }
    }
    drop(feed);
    given_back(bus, queue, ready).await?;
    Ok(looked)
}

/// How many messages are ready now that a consumer was dropped: what it held comes back in a moment,
/// so that there are as many as `expected` again, or more; unless somebody else holds some.
///
/// # Errors
/// When the bus fails.
pub async fn given_back(
    bus: &dyn Bus,
    queue: Queue,
    expected: u32,
) -> Result<Option<u32>, BusError> {
    let patience = Instant::now() + GIVEN_BACK;
    loop {
        let ready = bus.depth(queue.clone()).await?;
        if ready.is_none_or(|ready| ready >= expected) || Instant::now() >= patience {
            return Ok(ready);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// A consumer that knows when nothing is left.
struct Feed<'a> {
    bus: &'a dyn Bus,
    queue: Queue,
    subscription: Subscription,
    silences: u32,
}

impl<'a> Feed<'a> {
    async fn open(bus: &'a dyn Bus, queue: Queue, prefetch: u16) -> Result<Self, BusError> {
        let subscription = bus.consume(queue.clone(), prefetch).await?;
        Ok(Self { bus, queue, subscription, silences: 0 })
    }

    /// The next letter; `None` when nothing is left: others have taken what had been there.
    async fn next(&mut self) -> Result<Option<Delivery>, BusError> {
        loop {
            let next = timeout(SILENCE, self.subscription.deliveries.recv()).await;
            match next {
                Ok(Some(delivery)) => {
                    self.silences = 0;
                    return Ok(Some(delivery));
                }
                Ok(None) => return Err(BusError::Lost("the consumer ended".into())),
                Err(_) => {}
            }
            self.silences += 1;
            let ready = self.bus.depth(self.queue.clone()).await?;
            if ready.unwrap_or(0) == 0 && self.silences >= EMPTY {
                return Ok(None);
            }
            if self.silences >= LOST {
                return Err(BusError::Lost("letters are ready, but none comes".into()));
            }
        }
    }
}
