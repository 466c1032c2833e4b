//! Consuming: one channel a subscription.
//!
//! Owns the way of a delivery from lapin to a bounded channel, and the acknowledgements' way back.
//! Refuses to requeue: what is not acknowledged goes back when the channel closes. Read
//! [`super::store`] next.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};
use tokio::sync::mpsc;

use super::{ANSWER_TIMEOUT, Consuming, Inner, refusal, short};
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
        .map_err(|error| refusal(&format!("consume queue '{name}'"), &error, "read", &name))?;
    let (sender, deliveries) = mpsc::channel(usize::from(prefetch));
    let end = Arc::<End>::default();
    tokio::spawn(pump(generation, consumer, channel.clone(), sender, Arc::clone(&end)));
    let control = Arc::new(ChannelControl { channel, tag, end, _kept: consuming });
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
    let qos = channel.basic_qos(prefetch, BasicQosOptions::default());
    bounded(ANSWER_TIMEOUT, qos).await?;
    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    let consumer = channel.basic_consume(queue, tag.clone(), options, none);
    let consumer = bounded(ANSWER_TIMEOUT, consumer).await?;
    Ok((channel, consumer))
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
                let _ = bounded(ANSWER_TIMEOUT, channel.close(200, "OK".into())).await;
                return;
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
            let _ = bounded(ANSWER_TIMEOUT, channel.close(200, "OK".into())).await;
            return;
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
    end: Arc<End>,
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
