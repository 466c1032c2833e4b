//! Consuming: one channel a subscription.
//!
//! Owns the way of a delivery from lapin to a bounded channel, and the acknowledgements' way back.
//! Refuses to requeue: what is not acknowledged goes back when the channel closes. Read
//! [`super::store`] next.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};
use tokio::sync::mpsc;

use super::{ANSWER_TIMEOUT, Consuming, Inner, refusal, short};
use crate::bus::{BusError, Control, Delivery, Queue, Subscription};
use crate::domain::delivery::Message;
use crate::transport::amqp_link::{LinkError, bounded};

/// A quorum queue takes so many acknowledgements at once before RabbitMQ's channel keeps further
/// ones to itself (`quorum_commands_soft_limit`), less a reserve.
const TAKEN_AT_ONCE: u32 = 24;

/// Starts a consumer on a channel of its own.
pub(super) async fn start(
    inner: &Inner,
    queue: &Queue,
    prefetch: u16,
) -> Result<Subscription, BusError> {
    let name = inner.names.queue(queue, &inner.source.queue);
    let consuming = inner.consuming().await?;
    let generation = inner.next_generation();
    let prefetch = prefetch.max(1);
    let tag = ShortString::from(format!("lockgate-{generation}"));
    let (channel, consumer) = subscribe(&consuming, &name, &tag, prefetch)
        .await
        .map_err(|error| refusal(&format!("consume queue '{name}'"), &error, "read", &name))?;
    let (sender, deliveries) = mpsc::channel(usize::from(prefetch));
    let end = Arc::<End>::default();
    tokio::spawn(pump(generation, consumer, channel.clone(), sender, Arc::clone(&end)));
    let (queue, sent) = (name, AtomicU32::new(0));
    let control = Arc::new(ChannelControl { channel, queue, tag, end, sent, _kept: consuming });
    Ok(Subscription { generation, deliveries, control })
}

async fn subscribe(
    consuming: &Consuming,
    queue: &str,
    tag: &ShortString,
    prefetch: u16,
) -> Result<(Channel, Consumer), LinkError> {
    let queue = short(queue)?;
    let channel = consuming.link.channel(ANSWER_TIMEOUT).await?;
    let subscribing = async {
        let qos = channel.basic_qos(prefetch, BasicQosOptions::default());
        bounded(ANSWER_TIMEOUT, qos).await?;
        let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
        let consumer = channel.basic_consume(queue, tag.clone(), options, none);
        bounded(ANSWER_TIMEOUT, consumer).await
    };
    let subscribed = subscribing.await;
    if subscribed.is_err() {
        // RabbitMQ may only be slow, as a queue without its majority is: the consumer that it makes
        // in the end would take a whole prefetch and hold it, for nobody.
        tokio::spawn(close(channel.clone()));
    }
    Ok((channel, subscribed?))
}

/// Ends when a quorum queue has all of the `sent` acknowledgements of a channel. The last thing to do
/// on a channel before it is closed.
///
/// RabbitMQ's channel keeps acknowledgements to itself while a quorum queue has not applied earlier
/// ones, and forgets them when it closes. A new consumer is a command that the queue applies after
/// what it was sent, and answers; the answer brings the channel to send what it has kept. Two
/// questions on the channel then wait for that. The price is one message that may be delivered to
/// that consumer and go back, so it is paid only where something may have been kept.
pub(super) async fn flush(channel: &Channel, queue: &str, sent: u32) -> Result<(), LinkError> {
    if sent <= TAKEN_AT_ONCE {
        return Ok(());
    }
    let name = short(queue)?;
    bounded(ANSWER_TIMEOUT, channel.basic_qos(1, BasicQosOptions::default())).await?;
    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    let last = channel.basic_consume(name.clone(), "lockgate-flush".into(), options, none);
    let _kept = bounded(ANSWER_TIMEOUT, last).await?;
    for _ in 0..2 {
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        let asked = channel.queue_declare(name.clone(), passive, FieldTable::default());
        bounded(ANSWER_TIMEOUT, asked).await?;
    }
    Ok(())
}

/// Gives a channel up: its consumer ends, and what is unacknowledged goes back.
async fn close(channel: Channel) {
    let _ = bounded(ANSWER_TIMEOUT, channel.close(200, "OK".into())).await;
}

/// How a subscription ended.
#[derive(Default)]
struct End {
    /// We have asked for it.
    cancelled: AtomicBool,
    /// Why, where we have not.
    lost: OnceLock<String>,
}

/// Hands deliveries over until the consumer ends, or until nobody takes them any more. The
/// prefetch bounds what lapin holds: the queue of deliveries is never too short for it.
async fn pump(
    generation: u64,
    mut consumer: Consumer,
    channel: Channel,
    sender: mpsc::Sender<Delivery>,
    end: Arc<End>,
) {
    loop {
        let next = tokio::select! {
            next = consumer.next() => next,
            () = sender.closed() => {
                // Dropped, not cancelled: what is unacknowledged goes back now.
                return close(channel).await;
            }
        };
        // An error or the end means the same: this subscription is over.
        let delivery = match next {
            Some(Ok(delivery)) => delivery,
            Some(Err(error)) => {
                let _ = end.lost.set(LinkError::from(error).to_string());
                return;
            }
            None => {
                if !end.cancelled.load(Ordering::Relaxed) {
                    let why = "RabbitMQ cancelled the consumer: its queue was deleted or has moved";
                    let _ = end.lost.set(why.into());
                }
                return;
            }
        };
        let tag = delivery.delivery_tag;
        let message = message(delivery);
        if sender.send(Delivery { generation, tag, message }).await.is_err() {
            return close(channel).await;
        }
    }
}

/// The message as it came, nothing added and nothing lost.
pub(super) fn message(delivery: lapin::message::Delivery) -> Message {
    Message {
        exchange: delivery.exchange.into(),
        routing_key: delivery.routing_key.into(),
        properties: delivery.properties,
        body: delivery.data.into(),
        redelivered: delivery.redelivered,
    }
}

struct ChannelControl {
    channel: Channel,
    queue: String,
    tag: ShortString,
    end: Arc<End>,
    /// Acknowledgements that were sent.
    sent: AtomicU32,
    /// The connection lives as long as a subscription on it does.
    _kept: Arc<Consuming>,
}

impl Control for ChannelControl {
    fn ack(&self, tag: u64, multiple: bool) -> BoxFuture<'static, Result<(), BusError>> {
        let channel = self.channel.clone();
        let sent = self.sent.load(Ordering::Relaxed);
        self.sent.store(sent.saturating_add(1), Ordering::Relaxed);
        async move {
            let done = channel.basic_ack(tag, BasicAckOptions { multiple });
            bounded(ANSWER_TIMEOUT, done).await.map_err(|error| lost("acknowledge", &error))
        }
        .boxed()
    }

    fn flush(&self) -> BoxFuture<'static, Result<(), BusError>> {
        let (channel, queue) = (self.channel.clone(), self.queue.clone());
        let sent = self.sent.load(Ordering::Relaxed);
        let flushing = async move { flush(&channel, &queue, sent).await };
        flushing.map(|done| done.map_err(|error| lost("flush acknowledgements", &error))).boxed()
    }

    fn cancel(&self) -> BoxFuture<'static, Result<(), BusError>> {
        let channel = self.channel.clone();
        let tag = self.tag.clone();
        let again = self.end.cancelled.swap(true, Ordering::Relaxed);
        async move {
            if again {
                return Ok(());
            }
            let done = channel.basic_cancel(tag, BasicCancelOptions::default());
            bounded(ANSWER_TIMEOUT, done).await.map_err(|error| lost("cancel the consumer", &error))
        }
        .boxed()
    }

    fn loss(&self) -> Option<String> {
        let gone = || {
            let connected = self.channel.status().connected();
            (!connected).then(|| "the connection was lost".into())
        };
        self.end.lost.get().cloned().or_else(gone)
    }
}

/// Whatever RabbitMQ says against an acknowledgement, the subscription is over.
fn lost(what: &str, error: &LinkError) -> BusError {
    BusError::Lost(format!("{what}: {error}"))
}
