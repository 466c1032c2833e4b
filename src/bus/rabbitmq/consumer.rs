//! Consuming: one channel a subscription.
//!
//! Owns the way of a delivery from lapin to a bounded channel, and the acknowledgements' way back.
//! Refuses to requeue: what is not acknowledged goes back when the channel closes. Read
//! [`super::store`] next.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};
use tokio::sync::mpsc;

use super::{ANSWER_TIMEOUT, Consuming, Inner, bus_error, short};
use crate::bus::{BusError, Control, Delivery, Queue, Subscription};
use crate::domain::delivery::Message;
use crate::transport::amqp_link::{LinkError, bounded};

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
        .map_err(|error| bus_error(&format!("consume queue '{name}'"), &error))?;
    let (sender, deliveries) = mpsc::channel(usize::from(prefetch));
    tokio::spawn(pump(generation, consumer, channel.clone(), sender));
    let cancelled = AtomicBool::new(false);
    let control = Arc::new(ChannelControl { channel, tag, cancelled, _kept: consuming });
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

/// Gives a channel up: its consumer ends, and what is unacknowledged goes back.
async fn close(channel: Channel) {
    let _ = bounded(ANSWER_TIMEOUT, channel.close(200, "OK".into())).await;
}

/// Hands deliveries over until the consumer ends, or until nobody takes them any more. The
/// prefetch bounds what lapin holds: the queue of deliveries is never too short for it.
async fn pump(
    generation: u64,
    mut consumer: Consumer,
    channel: Channel,
    sender: mpsc::Sender<Delivery>,
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
        let Some(Ok(delivery)) = next else { return };
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
    tag: ShortString,
    cancelled: AtomicBool,
    /// The connection lives as long as a subscription on it does.
    _kept: Arc<Consuming>,
}

impl Control for ChannelControl {
    fn ack(&self, tag: u64, multiple: bool) -> BoxFuture<'static, Result<(), BusError>> {
        let channel = self.channel.clone();
        async move {
            let done = channel.basic_ack(tag, BasicAckOptions { multiple });
            bounded(ANSWER_TIMEOUT, done).await.map_err(|error| lost("acknowledge", &error))
        }
        .boxed()
    }

    fn cancel(&self) -> BoxFuture<'static, Result<(), BusError>> {
        let channel = self.channel.clone();
        let tag = self.tag.clone();
        let again = self.cancelled.swap(true, Ordering::Relaxed);
        async move {
            if again {
                return Ok(());
            }
            let done = channel.basic_cancel(tag, BasicCancelOptions::default());
            bounded(ANSWER_TIMEOUT, done).await.map_err(|error| lost("cancel the consumer", &error))
        }
        .boxed()
    }
}

/// Whatever RabbitMQ says against an acknowledgement, the subscription is over.
fn lost(what: &str, error: &LinkError) -> BusError {
    BusError::Lost(format!("{what}: {error}"))
}
