//! Floor 2: what is traced. One span for each message of the source, one for each attempt.
//!
//! Owns the place where actors say that something begins and has ended. Without the feature `otlp`
//! every call does nothing; with it, and without `[telemetry.otlp]`, each is one look at an empty
//! place. Refuses to decide what a span says: that is [`crate::logic::span`]. No event ever waits for
//! a span: one that finds no room is dropped and counted.
//!
//! With the feature: `recorded` makes spans, `export` sends them away, `sender` is the wire.

#[cfg(feature = "otlp")]
mod export;
#[cfg(feature = "otlp")]
mod recorded;
#[cfg(feature = "otlp")]
mod sender;
#[cfg(not(feature = "otlp"))]
mod unrecorded;

#[cfg(not(feature = "otlp"))]
pub use self::unrecorded::{Attempt, Exporting, Process, arrival, start};
#[cfg(feature = "otlp")]
pub use self::{
    export::{Exporting, start},
    recorded::{Attempt, Process, arrival},
};

/// Whether this lockgate can export traces at all.
#[must_use]
pub fn built_in() -> bool {
    cfg!(feature = "otlp")
}
