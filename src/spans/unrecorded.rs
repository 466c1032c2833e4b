//! Spans in a lockgate without the feature `otlp`: there are none, and every call does nothing.
//!
//! Owns the same names as `recorded` and `export`. Read [`super`] for what they mean.

#![allow(clippy::unused_self, clippy::unused_async, reason = "the shapes of those that do work")]

use std::time::SystemTime;

use crate::domain::delivery::{Message, TraceContext};
use crate::logic::span::Ended;
use crate::transport::BuildError;
use crate::transport::collector::Settings;

/// The export of spans: there is none.
pub struct Exporting;

/// Nothing can be started.
///
/// # Errors
/// Always. The configuration refuses the table before anybody asks.
pub fn start(_: &Settings, _: &str, _: &str) -> Result<Exporting, BuildError> {
    Err(BuildError("this lockgate is built without the feature otlp".into()))
}

impl Exporting {
    /// There is nothing to wait for.
    pub async fn finish(self) {}
}

/// When a message arrives: nobody asks.
#[must_use]
pub fn arrival() -> Option<SystemTime> {
    None
}

/// No span of a message.
#[derive(Clone, Debug, Default)]
pub struct Process(());

impl Process {
    /// Begins nothing.
    #[must_use]
    pub fn begin(_: Option<SystemTime>, _: &Message) -> Self {
        Self(())
    }

    /// None begins.
    #[must_use]
    pub fn root(&self) -> Option<&TraceContext> {
        None
    }

    /// Says nothing.
    pub fn is(&self, _event_id: &str) {}

    /// Says nothing.
    pub fn failed(&self, _reason: &'static str, _words: &str) {}
}

/// No span of an attempt.
#[derive(Debug)]
pub struct Attempt;

impl Attempt {
    /// Begins nothing: the trace goes on as it came.
    #[must_use]
    pub fn begin(
        _endpoint: &str,
        _transport: &'static str,
        _event_id: &str,
        came: Option<TraceContext>,
    ) -> (Self, Option<TraceContext>) {
        (Self, came)
    }

    /// Ends nothing.
    pub fn end(self, _: &Ended<'_>) {}
}
