//! Retry: when a transient failure is tried again, and when no more.
//!
//! Owns the choice of a rung, the end of patience and `Retry-After`. Refuses clocks and chance:
//! they come in as arguments. Read [`super::breaker`] next.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::schema::DurationText;

/// The longest wait that a peer's `Retry-After` is granted.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3_600);

/// An endpoint's `retry` settings.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySettings {
    /// The delays, one for each attempt; the last repeats. 1 to 32 of them, ascending, 100 ms to 1 d each.
    #[serde(with = "humantime_serde_list")]
    #[schemars(with = "Vec<DurationText>", length(min = 1, max = 32))]
    pub schedule: Vec<Duration>,
    /// Counted from the first attempt: 1 s to 365 d.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "DurationText")]
    pub max_age: Duration,
    /// Attempts at most. Default: no limit.
    #[schemars(range(min = 1))]
    pub max_attempts: Option<u32>,
}

mod humantime_serde_list {
    use serde::Deserialize as _;

    /// For the default that the schema shows.
    pub fn serialize<S: serde::Serializer>(
        list: &[std::time::Duration],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(list.iter().map(|delay| humantime_serde::Serde::from(*delay)))
    }

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

/// The delay before the next attempt: always one of the schedule's.
///
/// `attempts` were made so far, at least one; the attempt's own rung or the one below is taken, as
/// `chance` (0 to 1, evenly spread) has it, so that what failed together does not come back
/// together. With `retry_after` it is the first rung that is not shorter, else the longest.
/// `schedule` is ascending; for an empty one the wait is what the peer asked for, or none.
#[must_use]
pub fn rung(
    schedule: &[Duration],
    attempts: u32,
    retry_after: Option<Duration>,
    chance: f64,
) -> Duration {
    let Some(longest) = schedule.iter().max().copied() else {
        return retry_after.unwrap_or_default();
    };
    if let Some(asked) = retry_after {
        return schedule.iter().copied().find(|rung| *rung >= asked).unwrap_or(longest);
    }
    let attempt = usize::try_from(attempts).unwrap_or(usize::MAX);
    let own = attempt.saturating_sub(1).min(schedule.len() - 1);
    let chosen = if chance < 0.5 { own.saturating_sub(1) } else { own };
    schedule.get(chosen).copied().unwrap_or(longest)
}

/// Whether a transient failure is the last: `attempts` were made, the first of them at
/// `first_attempt_at`, and one has failed `now`.
#[must_use]
pub fn exhausted(
    settings: &RetrySettings,
    attempts: u32,
    first_attempt_at: Timestamp,
    now: Timestamp,
) -> bool {
    let age = now.duration_since(first_attempt_at);
    let max_age = SignedDuration::try_from(settings.max_age).unwrap_or(SignedDuration::MAX);
    age >= max_age || settings.max_attempts.is_some_and(|limit| attempts >= limit)
}

/// All the delays that these endpoints' schedules name, each once, ascending.
#[must_use]
pub fn distinct_rungs<'a>(all: impl IntoIterator<Item = &'a RetrySettings>) -> Vec<Duration> {
    let rungs: BTreeSet<Duration> =
        all.into_iter().flat_map(|one| &one.schedule).copied().collect();
    rungs.into_iter().collect()
}

/// The wait that a `Retry-After` header asks for: seconds, or a date in any of HTTP's three
/// forms. At most 24 h; a date in the past is no wait. `None` for what is neither.
#[must_use]
pub fn parse_retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim_matches([' ', '\t']);
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than u64 holds are more than 24 h all the same.
        let seconds = value.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
    }
    let date = Timestamp::try_from(httpdate::parse_http_date(value).ok()?).ok()?;
    let wait = Duration::try_from(date.duration_since(now)).unwrap_or_default();
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn an_attempt_waits_its_own_rung_or_the_one_below() {
        let schedule = RetrySettings::default().schedule;
        let check = |attempts, low: u64, high: u64| {
            assert_eq!(rung(&schedule, attempts, None, 0.0), SECOND * u32::try_from(low).unwrap());
            assert_eq!(rung(&schedule, attempts, None, 0.49).as_secs(), low);
            assert_eq!(rung(&schedule, attempts, None, 0.5).as_secs(), high);
            assert_eq!(rung(&schedule, attempts, None, 0.999).as_secs(), high);
        };
        check(1, 5, 5);
        check(2, 5, 30);
        check(3, 30, 120);
        check(6, 3_600, 21_600);
        check(7, 3_600, 21_600);
        check(u32::MAX, 3_600, 21_600);
    }

    #[test]
    fn retry_after_takes_the_first_rung_that_is_not_shorter() {
        let schedule = RetrySettings::default().schedule;
        let check = |asked: u64, wanted: u64| {
            let asked = Some(Duration::from_secs(asked));
            assert_eq!(rung(&schedule, 1, asked, 0.0).as_secs(), wanted);
        };
        check(0, 5);
        check(5, 5);
        check(6, 30);
        check(600, 600);
        check(21_601, 21_600);
    }

    proptest! {
        #[test]
        fn a_wait_is_always_one_of_the_schedules(
            secs in prop::collection::btree_set(1..100_000_u64, 1..8),
            attempts in 0..20_u32,
            asked in prop::option::of(0..100_000_u64),
            chance in 0.0..1.0_f64,
        ) {
            let schedule: Vec<Duration> = secs.into_iter().map(Duration::from_secs).collect();
            let wait = rung(&schedule, attempts, asked.map(Duration::from_secs), chance);
            prop_assert!(schedule.contains(&wait));
        }
    }

    #[test]
    fn patience_ends_with_age_or_attempts() {
        let first = at("2026-06-18T00:00:00Z");
        let limits = |max_attempts| RetrySettings { max_attempts, ..RetrySettings::default() };
        let check = |max_attempts, attempts, now: &str, wanted| {
            assert_eq!(exhausted(&limits(max_attempts), attempts, first, at(now)), wanted, "{now}");
        };
        check(None, 1_000_000, "2026-06-20T23:59:59.999Z", false);
        check(None, 1, "2026-06-21T00:00:00Z", true);
        check(Some(3), 2, "2026-06-18T00:00:00Z", false);
        check(Some(3), 3, "2026-06-18T00:00:00Z", true);
        check(None, 1, "2026-06-17T00:00:00Z", false);
        let endless = RetrySettings { max_age: Duration::MAX, ..RetrySettings::default() };
        assert!(!exhausted(&endless, 1, first, at("9999-01-01T00:00:00Z")));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_in_any_of_three_forms() {
        let now = at("1994-11-06T08:49:07Z");
        let check = |value: &str, wanted: Option<u64>| {
            let wait = parse_retry_after(value, now);
            assert_eq!(wait, wanted.map(Duration::from_secs), "{value:?}");
        };
        check("120", Some(120));
        check(" 0 ", Some(0));
        check("86401", Some(86_400));
        check("99999999999999999999999", Some(86_400));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(30));
        check("Sunday, 06-Nov-94 08:49:37 GMT", Some(30));
        check("Sun Nov  6 08:49:37 1994", Some(30));
        check("Sun, 06 Nov 1994 08:49:00 GMT", Some(0));
        check("Tue, 08 Nov 1994 08:49:37 GMT", Some(86_400));
        for neither in ["", "-1", "1.5", "+5", "soon", "Sun, 06 Nov 1994", "１"] {
            check(neither, None);
        }
    }

    #[test]
    fn every_delay_is_named_once() {
        let other =
            RetrySettings { schedule: vec![SECOND, SECOND * 30], ..RetrySettings::default() };
        let rungs = distinct_rungs([&RetrySettings::default(), &other]);
        let secs: Vec<u64> = rungs.iter().map(Duration::as_secs).collect();
        assert_eq!(secs, [1, 5, 30, 120, 600, 3_600, 21_600]);
    }
}
