//! Floor 2: the bus. Where events come from, and where they wait when an endpoint cannot take them.
//!
//! Owns the trait that the actors speak to, and its two kinds: [`rabbitmq`] and, for the demo and
//! hermetic tests, [`memory`]. Refuses to decide what is published or acknowledged. Read
//! [`topology`] next: the names of everything that lockgate owns on RabbitMQ; then [`dead`]: what
//! operators do with dead letters, over any bus.

pub mod dead;
pub mod memory;
pub mod rabbitmq;
pub mod topology;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use self::rabbitmq::{RabbitSettings, SettingsError};
use crate::domain::delivery::Message;
use crate::domain::names::Name;

/// A queue that lockgate consumes or looks into.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Queue {
    /// The platform's queue.
    Source,
    /// What waits for an endpoint: its parked lane.
    Parked(Name),
    /// An endpoint's dead letters.
    Dead(Name),
    /// What waits out this delay, for whatever endpoints. Never consumed: only its depth is asked.
    Wait(Duration),
    /// Messages that are no event.
    Rejected,
    /// Parked or dead messages whose endpoint had no queue.
    Orphan,
}

/// Where a message is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The endpoint's parked queue, at once.
    Park(Name),
    /// The endpoint's parked queue, after this delay. The delay is one of the configured rungs.
    Wait(Name, Duration),
    /// The endpoint's dead-letter queue.
    Dead(Name),
    /// The queue of messages that are no event.
    Rejected,
    /// An exchange of the platform, with a routing key: for `lockgate send` and the demo.
    Platform {
        /// The exchange's name.
        exchange: String,
        /// The routing key.
        routing_key: String,
    },
    /// The source queue itself, past any exchange: for `lockgate send` without bindings.
    Source,
}

/// One message from a queue, with what is needed to acknowledge it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The subscription that delivered it; tags of another one mean nothing to this one.
    pub generation: u64,
    /// Counts from 1 within the generation, without gaps.
    pub tag: u64,
    /// The message.
    pub message: Message,
}

/// A running consumer. It is lost when `deliveries` ends: consume anew, after a backoff.
///
/// `deliveries` holds at most the prefetch. Dropping the subscription cancels the consumer and
/// gives back what is unacknowledged (which counts as a delivery there).
pub struct Subscription {
    /// Unique among all subscriptions of this bus.
    pub generation: u64,
    /// The messages, in order.
    pub deliveries: mpsc::Receiver<Delivery>,
    /// Acknowledges them.
    pub control: Arc<dyn Control>,
}

/// Acknowledges and ends one subscription.
pub trait Control: Send + Sync {
    /// Acknowledges `tag` or, with `multiple`, it and everything unacknowledged before it.
    ///
    /// # Errors
    /// When the subscription is lost: the messages will come again.
    fn ack(&self, tag: u64, multiple: bool) -> BoxFuture<'static, Result<(), BusError>>;

    /// Ends when the bus has taken for good every acknowledgement that was sent before. Without
    /// it an orderly end may lose some, and their messages come again. Nothing may be acknowledged
    /// after it: it is the last step before the subscription is dropped or the bus closed.
    ///
    /// # Errors
    /// When the subscription is lost: some of the messages may come again.
    fn flush(&self) -> BoxFuture<'static, Result<(), BusError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Stops new deliveries; those already here can still be acknowledged. `deliveries` ends after
    /// the last one. Idempotent.
    ///
    /// # Errors
    /// When the subscription is lost.
    fn cancel(&self) -> BoxFuture<'static, Result<(), BusError>>;

    /// Why the subscription is lost, in words; `None` while it is not, as far as is known. Also a
    /// cancelled one can be lost: then what is unacknowledged comes again.
    fn loss(&self) -> Option<String> {
        None
    }
}

/// What the bus could not do.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BusError {
    /// No connection, or it was lost before an answer. What was asked may or may not have happened.
    #[error("the bus is out of reach: {0}")]
    Lost(String),
    /// RabbitMQ refused: a missing queue, a missing permission, a queue that takes no more.
    #[error("the bus refused: {0}")]
    Refused(String),
    /// RabbitMQ takes no publishes now (an alarm). Nothing was stored.
    #[error("the bus is blocked: {0}")]
    Blocked(String),
}

/// What is there, and what is missing, of the objects that lockgate needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopologyReport {
    /// Objects that are not there, in words.
    pub missing: Vec<String>,
    /// Those of them that belong to one endpoint, by endpoint.
    pub incomplete: BTreeMap<Name, Vec<String>>,
    /// Objects that were declared by this call.
    pub declared: Vec<String>,
}

/// A message bus with durable queues, seen by the actors.
pub trait Bus: Send + Sync + 'static {
    /// Starts a consumer. A new one is needed after every loss.
    fn consume(
        &self,
        queue: Queue,
        prefetch: u16,
    ) -> BoxFuture<'static, Result<Subscription, BusError>>;

    /// Stores a message: it is safe on disk (confirmed and not returned) when this ends well.
    /// Many may be under way at once; they are pipelined.
    fn store(&self, target: Target, message: Message) -> BoxFuture<'static, Result<(), BusError>>;

    /// Declares or checks everything for these endpoints and rungs, as the `topology` setting says.
    fn prepare(
        &self,
        endpoints: Vec<Name>,
        rungs: Vec<Duration>,
    ) -> BoxFuture<'static, Result<TopologyReport, BusError>>;

    /// How many messages are ready in a queue; `None` when it does not exist.
    fn depth(&self, queue: Queue) -> BoxFuture<'static, Result<Option<u32>, BusError>>;

    /// Moves messages that were stored while their endpoint had no queue to where they belong;
    /// returns how many. A bus that refuses to store without a queue has none.
    fn rescue_orphans(&self, endpoints: Vec<Name>) -> BoxFuture<'static, Result<usize, BusError>> {
        drop(endpoints);
        Box::pin(std::future::ready(Ok(0)))
    }

    /// Whether a consuming connection is up now.
    fn connected(&self) -> bool;

    /// Opens every connection from the next one on by the URL, credentials, TLS and heartbeat of
    /// these settings; those that are open stay. A bus without connections has nothing to renew.
    ///
    /// # Errors
    /// When the URL or a certificate file cannot be understood: then nothing is renewed.
    fn renew(&self, settings: &RabbitSettings) -> Result<(), SettingsError> {
        let _ = settings;
        Ok(())
    }

    /// Closes every connection. Unacknowledged messages go back.
    fn close(&self) -> BoxFuture<'static, ()>;
}
