//! Routing: which endpoints get an event, by which event configuration.

use super::body::Rendering;
use crate::domain::event::Event;
use crate::domain::names::Name;

/// `type/trigger` or a dotted name, in normal form; `*` stands for one whole part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// `None` is `*`.
    pub event_type: Option<String>,
    /// `None` is `*`.
    pub event_trigger: Option<String>,
}

/// These events go to these endpoints, rendered so.
#[derive(Clone, Debug)]
pub struct EventConfiguration {
    /// Its name; for an endpoint's own `events`, the endpoint's.
    pub name: Name,
    /// Only enabled ones publish.
    pub enabled: bool,
    /// Which events.
    pub patterns: Vec<Pattern>,
    /// To whom.
    pub endpoints: Vec<Name>,
    /// How.
    pub rendering: Rendering,
    /// It is an endpoint's own `events`: comes after all others.
    pub own: bool,
}

/// One route: an endpoint and the configuration that sends the event there.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// The endpoint.
    pub endpoint: &'a Name,
    /// The first configuration that matches for it.
    pub configuration: &'a EventConfiguration,
}

/// All event configurations, in the order in which they are tried.
#[derive(Clone, Debug, Default)]
pub struct RoutingTable {
    configurations: Vec<EventConfiguration>,
}

impl RoutingTable {
    /// A table of these configurations; puts them in order.
    #[must_use]
    pub fn new(configurations: Vec<EventConfiguration>) -> Self {
        Self { configurations }
    }

    /// The configurations, in the order in which they are tried.
    #[must_use]
    pub fn configurations(&self) -> &[EventConfiguration] {
        &self.configurations
    }

    /// The event's routes, at most one for each endpoint, ordered by endpoint.
    #[must_use]
    pub fn routes(&self, event: &Event) -> Vec<Route<'_>> {
        let _ = event;
        Vec::new()
    }

    /// The configuration by which a parked event goes: the one named when it was parked, if that
    /// is still enabled and names the endpoint, else today's first match; `None`: nobody wants it.
    #[must_use]
    pub fn resume(
        &self,
        event: &Event,
        endpoint: &Name,
        parked_by: Option<&str>,
    ) -> Option<&EventConfiguration> {
        let _ = (event, endpoint, parked_by);
        None
    }
}
