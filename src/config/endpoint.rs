//! `[endpoints.*]`

use std::time::Duration;

use crate::domain::names::Name;
use crate::logic::body::BodyForm;
use crate::logic::breaker::BreakerSettings;
use crate::logic::retry::RetrySettings;
use crate::transport::Transport;

/// One endpoint.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its name.
    pub name: Name,
    /// `false`: what comes for it is parked.
    pub enabled: bool,
    /// Where given, the body's form; else the transport's default.
    pub body: Option<BodyForm>,
    /// Attempts under way at once; the transport's default is already in.
    pub max_in_flight: u16,
    /// How long it may hold others back before it goes over to its parked lane.
    pub patience: Duration,
    /// Attempts it is sent at most.
    pub rate_limit: Option<RateLimit>,
    /// When a failed attempt is repeated.
    pub retry: RetrySettings,
    /// When it is left alone.
    pub breaker: BreakerSettings,
    /// How it is reached.
    pub transport: Transport,
}

/// `"50/s"`, `"100/m"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// How many attempts. Not 0.
    pub count: u32,
    /// In which time.
    pub per: Duration,
}
