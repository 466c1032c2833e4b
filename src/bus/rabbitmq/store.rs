//! Storing: a message is safe when RabbitMQ has confirmed it and found a queue for it.
//!
//! Owns the window and the targets' routes; how confirms are matched stands in
//! [`crate::transport::amqp_link::lanes`]. Refuses to change a message but for its delivery
//! mode, and for headers that no frame could hold.
//! Read [`super::prepare`] next.

use std::sync::Arc;

use super::{ANSWER_TIMEOUT, Inner, bus_error, refusal};
use crate::bus::{BusError, Target};
use crate::domain::delivery::Message;
use crate::logic::frame;
use crate::transport::amqp_link::LinkError;
use crate::transport::amqp_link::lanes::{LaneSettings, Publication};

/// A window of 500. The confirms' clocks stand still under an alarm: else every message would be
/// stored again every ten seconds.
pub(super) const LANES: LaneSettings =
    LaneSettings { lanes: 4, batch: 125, confirm_timeout: ANSWER_TIMEOUT, patient: true };

/// Stays when RabbitMQ restarts.
const PERSISTENT: u8 = 2;

pub(super) async fn run(
    inner: Arc<Inner>,
    target: Target,
    message: Message,
) -> Result<(), BusError> {
    let ours = !matches!(target, Target::Platform { .. } | Target::Source);
    let (exchange, routing_key) = inner.names.route(target, &inner.source.queue);
    let failed = |error: LinkError| {
        let place = if exchange.is_empty() { "the source queue" } else { exchange.as_str() };
        refusal(&format!("store a message in {place}"), &error, "write", place)
    };
    let lanes = inner.publishing.get().await.map_err(|error| bus_error("connect", &error))?;
    let message = if ours { fitted(message, lanes.link().frame_max()) } else { message };
    let properties = message.properties.with_delivery_mode(PERSISTENT);
    let publication = Publication::new(&exchange, &routing_key, properties, message.body);
    lanes.publish(publication.map_err(failed)?).await.map_err(failed)
}

/// A parcel that can be sent: one with more headers than fit into a frame would end the connection
/// at every try.
fn fitted(parcel: Message, frame_max: u32) -> Message {
    let (parcel, dropped) = frame::fit(parcel, frame_max);
    if !dropped.is_empty() {
        let headers = dropped.len();
        tracing::debug!(headers, "headers left off: with them, a message could not be stored");
    }
    parcel
}
