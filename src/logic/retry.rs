//! Retry: when a transient failure is tried again, and when no more.

use std::time::Duration;

/// An endpoint's `retry` settings.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySettings {
    /// The delays, one for each attempt; the last repeats. Not empty, ascending.
    #[serde(with = "humantime_serde_list")]
    pub schedule: Vec<Duration>,
    /// Counted from the first attempt.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
    /// `None`: no limit.
    pub max_attempts: Option<u32>,
}

mod humantime_serde_list {
    use serde::Deserialize as _;
    pub fn deserialize<'de, D: serde::Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<std::time::Duration>, D::Error> {
        let list = Vec::<humantime_serde::Serde<std::time::Duration>>::deserialize(from)?;
        Ok(list.into_iter().map(humantime_serde::Serde::into_inner).collect())
    }
}

impl Default for RetrySettings {
    fn default() -> Self {
        let schedule = [5, 30, 120, 600, 3_600, 21_600].map(Duration::from_secs).to_vec();
        Self { schedule, max_age: Duration::from_secs(72 * 3_600), max_attempts: None }
    }
}
/// x
#[must_use]
pub fn rung(
    schedule: &[Duration],
    attempts: u32,
    _after: Option<Duration>,
    _chance: f64,
) -> Duration {
    schedule.get(attempts as usize - 1).copied().unwrap_or_default()
}
/// x
#[must_use]
pub fn exhausted(
    s: &RetrySettings,
    _attempts: u32,
    first: jiff::Timestamp,
    now: jiff::Timestamp,
) -> bool {
    now.duration_since(first).unsigned_abs() > s.max_age
}
