//! Depths: how much waits for each endpoint and how much is dead, as gauges.
//!
//! Owns the question. Nothing is read from the queues for it: each is asked by name how many messages
//! are ready. Refuses to decide by the answer: the endpoint asks its own queue. Read [`super::ingress`]
//! for when it is asked.

use std::sync::Arc;
use std::time::Duration;

use crate::bus::{Bus, BusError, Queue};
use crate::domain::names::Name;
use crate::meter;

/// How often depths are asked for.
pub(super) const EVERY: Duration = Duration::from_secs(30);

/// Asks for every endpoint's two queues, one after the other. A queue that is not there shows nothing.
///
/// # Errors
/// When the bus does not answer: the rest is asked the next time.
pub(super) async fn show(bus: Arc<dyn Bus>, endpoints: Vec<Name>) -> Result<(), BusError> {
    for name in endpoints {
        if let Some(parked) = bus.depth(Queue::Parked(name.clone())).await? {
            meter::parked_depth(name.as_str(), parked);
        }
        if let Some(dead) = bus.depth(Queue::Dead(name.clone())).await? {
            meter::dead_depth(name.as_str(), dead);
        }
    }
    Ok(())
}
