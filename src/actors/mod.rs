//! Floor 4: the actors, thin shells around [`crate::logic`].
//!
//! One event's way through them: [`ingress`] takes it from the bus, [`router`] finds who gets it,
//! an [`endpoint`] makes the attempts, [`parking`] keeps what cannot go now, and the route's
//! settlement travels back to ingress, which acknowledges. [`watchdog`] rebuilds an endpoint actor
//! that died. Read [`route`] first: nothing is lost because of the guard in it.
//!
//! Bounds: the source's prefetch bounds the messages in memory, and so the routes (a message has at
//! most one route an endpoint), the mailboxes and the channels that carry them; a parked lane adds
//! at most its own prefetch.

pub mod acks;
pub mod activity;
pub mod board;
pub mod controls;
pub mod counters;
mod depths;
pub mod endpoint;
pub mod ingress;
pub mod parking;
pub mod route;
pub mod router;
pub mod watchdog;

use futures_util::{Stream, StreamExt as _};
use tokio::sync::mpsc;

use crate::bus::Delivery;

/// An unbounded receiver as the stream that an actor takes.
fn stream_of<T>(mut receiver: mpsc::UnboundedReceiver<T>) -> impl Stream<Item = T> {
    futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx))
}

/// What comes from a subscription: its messages and, at last, `None`.
struct Arrival {
    generation: u64,
    delivery: Option<Delivery>,
}

fn arrivals(
    generation: u64,
    mut deliveries: mpsc::Receiver<Delivery>,
) -> impl Stream<Item = Arrival> {
    let messages = futures_util::stream::poll_fn(move |cx| deliveries.poll_recv(cx));
    let arrival = move |delivery| Arrival { generation, delivery };
    messages.map(Some).chain(futures_util::stream::iter([None])).map(arrival)
}
