//! Rescuing orphans: parcels that were stored while their endpoint had no queue.
//!
//! Moves them to where they belong: each is stored there first, and acknowledged here only after
//! its confirm. What belongs to no configured endpoint stays in the queue. Read
//! [`crate::bus::topology`] for how they come to be there.

use std::sync::Arc;

use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicGetOptions};

use super::{ANSWER_TIMEOUT, Inner, bus_error, consumer, short, store};
use crate::bus::{BusError, Queue, Target};
use crate::domain::delivery::Message;
use crate::domain::names::Name;
use crate::logic::{dead, parcel};
use crate::transport::amqp_link::bounded;

/// Orphans looked at in one go. While they are looked at they are out of the queue.
const MOST: u32 = 10_000;

pub(super) async fn run(inner: &Arc<Inner>, endpoints: &[Name]) -> Result<usize, BusError> {
    let there = inner.depth(&Queue::Orphan).await?.unwrap_or(0).min(MOST);
    if there == 0 {
        return Ok(0);
    }
    let failed = |error| bus_error("rescue orphans", &error);
    let consuming = inner.consuming().await?;
    let channel = consuming.link.channel(ANSWER_TIMEOUT).await.map_err(failed)?;
    let mut moved = 0;
    let moving = move_home(inner, &channel, endpoints, there, &mut moved).await;
    let name = inner.names.orphan();
    // Also after a failure: what is acknowledged is at home, and must not come again.
    let flushed = consumer::flush(&channel, &name, moved).await;
    // What was not acknowledged goes back with the channel.
    let closed = bounded(ANSWER_TIMEOUT, channel.close(200, "OK".into())).await;
    moving?;
    flushed.and(closed).map_err(failed)?;
    Ok(usize::try_from(moved).unwrap_or(usize::MAX))
}

/// Moves orphans, and counts those that are acknowledged.
async fn move_home(
    inner: &Arc<Inner>,
    channel: &Channel,
    endpoints: &[Name],
    there: u32,
    moved: &mut u32,
) -> Result<(), BusError> {
    let failed = |error| bus_error("rescue orphans", &error);
    for _ in 0..there {
        let queue = short(&inner.names.orphan()).map_err(failed)?;
        let got = channel.basic_get(queue, BasicGetOptions::default());
        let Some(got) = bounded(ANSWER_TIMEOUT, got).await.map_err(failed)? else { break };
        let tag = got.delivery.delivery_tag;
        let orphan = consumer::message(got.delivery);
        let Some((target, parcel)) = home(inner, &orphan, endpoints) else { continue };
        store::run(inner.clone(), target, parcel).await?;
        let done = channel.basic_ack(tag, BasicAckOptions::default());
        bounded(ANSWER_TIMEOUT, done).await.map_err(failed)?;
        *moved += 1;
    }
    Ok(())
}

/// Where an orphan belongs. It still has the exchange that found no queue for it: that of dead
/// letters, also when RabbitMQ itself had moved it there, or that of what is parked. RabbitMQ's marks
/// of where it has been are taken off: they would send it astray.
fn home(inner: &Inner, orphan: &Message, endpoints: &[Name]) -> Option<(Target, Message)> {
    let endpoint = endpoints.iter().find(|name| name.as_str() == orphan.routing_key)?.clone();
    let died = orphan.exchange == inner.names.dead();
    Some(if died {
        (Target::Dead(endpoint), dead::kept(orphan))
    } else {
        (Target::Park(endpoint), parcel::again(orphan))
    })
}
