//! The breaker.

use std::time::Duration;

/// An endpoint's `breaker` settings.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerSettings {
    /// Transient failures in a row that open it; default the larger of 5 and `max_in_flight`.
    pub failures: Option<u32>,
    /// The share of failed attempts within `window` that opens it, 0 to 1.
    pub failure_ratio: f64,
    /// Attempts within `window` below which the share says nothing.
    pub min_attempts: u32,
    /// How far back the share looks.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// How long it stays open at first; doubles.
    #[serde(with = "humantime_serde")]
    pub open: Duration,
    /// The longest it stays open.
    #[serde(with = "humantime_serde")]
    pub open_max: Duration,
    /// As `open`, after a misconfigured outcome.
    #[serde(with = "humantime_serde")]
    pub misconfigured_open: Duration,
    /// As `open_max`, after a misconfigured outcome.
    #[serde(with = "humantime_serde")]
    pub misconfigured_open_max: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            failures: None,
            failure_ratio: 0.9,
            min_attempts: 20,
            window: Duration::from_secs(30),
            open: Duration::from_secs(5),
            open_max: Duration::from_secs(300),
            misconfigured_open: Duration::from_secs(30),
            misconfigured_open_max: Duration::from_secs(1_800),
        }
    }
}
