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

/// Asks for every endpoint's two queues and for the source queue, one after the other. A queue that
/// is not there has no depth, and its gauge stays as it was. An endpoint that has gone meanwhile shows
/// nothing any more.
///
/// # Errors
/// When the bus does not answer: all are asked the next time. An endpoint's queue that does not
/// answer leaves every depth unknown until then, the source queue its own.
pub(super) async fn show(bus: Arc<dyn Bus>, board: Arc<Board>) -> Result<(), BusError> {
    for (name, shown) in board.endpoints().iter() {
        let parked = bus.depth(Queue::Parked(name.clone())).await;
        let parked = parked.inspect_err(|_| forget(&board))?;
        shown.parked.set(parked);
        if let (Some(depth), Some(_)) = (parked, board.endpoint(name)) {
            meter::parked_depth(name.as_str(), depth);
        }
        let dead = bus.depth(Queue::Dead(name.clone())).await;
        let dead = dead.inspect_err(|_| forget(&board))?;
        shown.dead.set(dead);
        if let (Some(depth), Some(_)) = (dead, board.endpoint(name)) {
            meter::dead_depth(name.as_str(), depth);
        }
    }
    // At last: one that does not answer keeps no endpoint's depth unknown.
    let ready = bus.depth(Queue::Source).await;
    let ready = ready.inspect_err(|_| board.source.depth.set(None))?;
    board.source.depth.set(ready);
    if let Some(depth) = ready {
        meter::source_depth(depth);
    }
    Ok(())
}

/// No depth is known: the bus is out of reach.
pub(super) fn forget(board: &Board) {
    board.source.depth.set(None);
    for shown in board.endpoints().values() {
        shown.parked.set(None);
        shown.dead.set(None);
    }
}
