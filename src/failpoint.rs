//! Floor 2: places where a test can make lockgate panic.
//!
//! Owns their names. Built only with the feature `failpoints`; without it a place is an empty
//! function, and nothing of it is in the product. The environment variable `FAILPOINTS` says which
//! places panic, and how often: `attempt::erp::e-1=3*panic;endpoint::scada=panic`. Refuses anything
//! but tests. Read [`crate::actors::endpoint`] for where they stand.

/// Whether this build has them.
#[must_use]
pub fn built_in() -> bool {
    cfg!(feature = "failpoints")
}

/// A kind of place. Each is there for a whole endpoint, `attempt::erp`, and for one event of it,
/// `attempt::erp::e-1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `start`: the endpoint actor starts. Knows no event.
    Start,
    /// `endpoint`: the endpoint actor takes a route.
    Endpoint,
    /// `publisher`: the publisher is built. Knows no event.
    Publisher,
    /// `render`: what is sent is made of the event.
    Render,
    /// `attempt`: an attempt is under way, and nothing has been sent.
    Attempt,
}

impl Place {
    /// The place as `FAILPOINTS` writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Endpoint => "endpoint",
            Self::Publisher => "publisher",
            Self::Render => "render",
            Self::Attempt => "attempt",
        }
    }
}

/// Panics where `FAILPOINTS` asks for it; `event` is the event's id.
#[cfg(feature = "failpoints")]
pub fn reach(place: Place, endpoint: &str, event: Option<&str>) {
    let whole = format!("{}::{endpoint}", place.as_str());
    fail::fail_point!(&whole);
    if let Some(event) = event {
        fail::fail_point!(&format!("{whole}::{event}"));
    }
}

/// Nothing: the feature is off.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub fn reach(_: Place, _: &str, _: Option<&str>) {}
