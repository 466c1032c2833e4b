//! Depths: how much waits at the source and for each endpoint, and how much is dead.
//!
//! Owns the question, and shows the answers on the board and as gauges. Nothing is read from the
//! queues for it: each is asked by name how many messages are ready. Refuses to decide by the answer:
//! the endpoint asks its own queue. Read [`super::ingress`] for when it is asked.

use std::sync::Arc;
use std::time::Duration;

use super::board::Board;
use crate::bus::{Bus, BusError, Queue};
use crate::meter;

/// How often depths are asked for.
pub(super) const EVERY: Duration = Duration::from_secs(5);

/// Asks for the source queue and every endpoint's two, one after the other. A queue that is not
/// there has no depth, and its gauge stays as it was.
///
/// # Errors
/// When the bus does not answer: no depth is known then, and all are asked for the next time.
pub(super) async fn show(bus: Arc<dyn Bus>, board: Arc<Board>) -> Result<(), BusError> {
    let done = ask(&*bus, &board).await;
    if done.is_err() {
        board.source.depth.set(None);
        for shown in board.endpoints().values() {
            shown.parked.set(None);
            shown.dead.set(None);
        }
    }
    done
}

async fn ask(bus: &dyn Bus, board: &Board) -> Result<(), BusError> {
    let depth = bus.depth(Queue::Source).await?;
    board.source.depth.set(depth);
    if let Some(depth) = depth {
        meter::source_depth(depth);
    }
    for (name, shown) in board.endpoints().iter() {
        let parked = bus.depth(Queue::Parked(name.clone())).await?;
        shown.parked.set(parked);
        if let Some(depth) = parked {
            meter::parked_depth(name.as_str(), depth);
        }
        let dead = bus.depth(Queue::Dead(name.clone())).await?;
        shown.dead.set(dead);
        if let Some(depth) = dead {
            meter::dead_depth(name.as_str(), depth);
        }
    }
    Ok(())
}
