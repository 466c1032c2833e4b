//! The amqp transport.

use std::rc::Rc;

use super::{BuildError, Instance, Publisher};
#[allow(unused_imports)]
use crate::domain::delivery::{Address, Failure};
#[allow(unused_imports)]
use crate::domain::event::Event;
use crate::logic::secret::SecretUrl;

/// The endpoint's `amqp` table.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the partner listens.
    pub url: SecretUrl,
}

impl Settings {
    /// The URL without user part and query.
    #[must_use]
    pub fn target(&self) -> String {
        self.url.to_string()
    }

    /// The exchange and routing key of an event.
    ///
    /// # Errors
    /// A permanent failure when one is longer than 255 bytes.
    pub fn address(&self, event: &Event) -> Result<Address, Failure> {
        Ok(Address::Exchange {
            exchange: event.event_type.clone(),
            routing_key: event.event_trigger.clone(),
        })
    }
}

/// The publisher of an endpoint.
///
/// # Errors
/// When what the settings name cannot be loaded.
pub fn publisher(
    settings: &Settings,
    endpoint: &str,
    instance: &Instance,
) -> Result<Rc<dyn Publisher>, BuildError> {
    let _ = (settings, endpoint, instance);
    Err(BuildError("not written".into()))
}
