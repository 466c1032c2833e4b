//! The rest transport.

use std::rc::Rc;

use super::{BuildError, Instance, Publisher};
#[allow(unused_imports)]
use crate::domain::delivery::{Address, Failure};
#[allow(unused_imports)]
use crate::domain::event::Event;
use crate::logic::secret::SecretUrl;

/// The endpoint's `rest` table.
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
