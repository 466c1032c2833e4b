//! Pace: how many events went by lately, and how long attempts took.
//!
//! Owns the counts of the last 15 minutes, the rate of the last ten seconds and the percentiles of
//! the last attempts. Refuses clocks: time is the duration since any fixed moment. Adding one event
//! is a few steps, however much went by before. Read [`super::attempt_log`] next.

use std::collections::VecDeque;
use std::time::Duration;

/// How many numbers the past is shown by.
pub const BUCKETS: usize = 180;
/// The time that one of them stands for.
pub const BUCKET: Duration = Duration::from_secs(5);
/// How many seconds the rate looks back, the present one included.
const SECONDS: usize = 10;
/// How many attempts the percentiles look back.
const ATTEMPTS: usize = 512;

/// Counts in slots of equal width, the last `N` of them.
#[derive(Clone, Debug)]
struct Slots<const N: usize> {
    width: Duration,
    counts: [u32; N],
    /// The newest slot that something was counted in.
    latest: u64,
}

impl<const N: usize> Slots<N> {
    fn new(width: Duration) -> Self {
        Self { width, counts: [0; N], latest: 0 }
    }

    fn number(&self, now: Duration) -> u64 {
        let width = self.width.as_millis().max(1);
        u64::try_from(now.as_millis() / width).unwrap_or(u64::MAX)
    }

    fn add(&mut self, now: Duration) {
        // A clock that lags counts for the newest slot.
        let number = self.number(now).max(self.latest);
        let passed = (number - self.latest).min(N as u64);
        for back in 0..passed {
            if let Some(count) = self.at_mut(number - back) {
                *count = 0;
            }
        }
        self.latest = number;
        if let Some(count) = self.at_mut(number) {
            *count = count.saturating_add(1);
        }
    }

    fn at_mut(&mut self, number: u64) -> Option<&mut u32> {
        self.counts.get_mut(Self::place(number))
    }

    fn place(number: u64) -> usize {
        // Less than N, so it fits.
        usize::try_from(number % N as u64).unwrap_or_default()
    }

    /// The counts of the last `N` slots, the oldest first; the last one is the present one.
    fn counts(&self, now: Duration) -> [u32; N] {
        let present = self.number(now).max(self.latest);
        std::array::from_fn(|index| {
            let back = (N - 1 - index) as u64;
            let number = present.checked_sub(back);
            let kept = number.filter(|n| *n <= self.latest && n + N as u64 > self.latest);
            kept.and_then(|n| self.counts.get(Self::place(n))).copied().unwrap_or_default()
        })
    }

    /// How much of the present slot has passed.
    fn begun(&self, now: Duration) -> Duration {
        let before = self.width.saturating_mul(u32::try_from(self.number(now)).unwrap_or(u32::MAX));
        now.saturating_sub(before)
    }
}

/// How many events went by lately. Takes less than a kilobyte.
#[derive(Clone, Debug)]
pub struct Pace {
    past: Slots<BUCKETS>,
    seconds: Slots<SECONDS>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { past: Slots::new(BUCKET), seconds: Slots::new(Duration::from_secs(1)) }
    }
}

impl Pace {
    /// One event went by.
    pub fn add(&mut self, now: Duration) {
        self.past.add(now);
        self.seconds.add(now);
    }

    /// How many went by in each 5 s of the last 15 minutes, the oldest first. The last number is
    /// that of the 5 s that have just begun.
    #[must_use]
    pub fn counts(&self, now: Duration) -> [u32; BUCKETS] {
        self.past.counts(now)
    }

    /// The same as events per second. What has just begun is measured by the time that it has
    /// lasted, and at least by one second.
    #[must_use]
    pub fn rates(&self, now: Duration) -> Vec<f64> {
        let mut rates: Vec<f64> =
            self.counts(now).iter().map(|count| f64::from(*count) / BUCKET.as_secs_f64()).collect();
        if let Some(last) = rates.last_mut() {
            *last *= BUCKET.as_secs_f64() / self.past.begun(now).as_secs_f64().max(1.0);
        }
        rates
    }

    /// Events per second over the last ten seconds (nine, and what there is of the present one).
    #[must_use]
    pub fn rate(&self, now: Duration) -> f64 {
        let events: u64 = self.seconds.counts(now).iter().map(|count| u64::from(*count)).sum();
        let whole = Duration::from_secs(SECONDS as u64 - 1);
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 events in ten seconds")]
        let events = events as f64;
        events / (whole + self.seconds.begun(now)).as_secs_f64()
    }
}

/// How long attempts took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentiles {
    /// Half of them took at most so long.
    pub p50: Duration,
    /// 99 of 100 took at most so long.
    pub p99: Duration,
}

/// The durations of the last 512 attempts.
#[derive(Clone, Debug, Default)]
pub struct Durations(VecDeque<Duration>);

impl Durations {
    /// An attempt took so long.
    pub fn add(&mut self, took: Duration) {
        if self.0.len() >= ATTEMPTS {
            self.0.pop_front();
        }
        self.0.push_back(took);
    }

    /// The percentiles; `None` before the first attempt.
    #[must_use]
    pub fn percentiles(&self) -> Option<Percentiles> {
        let mut sorted: Vec<Duration> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100);
            sorted.get(rank.saturating_sub(1)).copied()
        };
        Some(Percentiles { p50: at(50)?, p99: at(99)? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn pace(moments: &[u64]) -> Pace {
        let mut pace = Pace::default();
        for at in moments {
            pace.add(ms(*at));
        }
        pace
    }

    #[test]
    fn events_stand_in_the_five_seconds_in_which_they_came() {
        let pace = pace(&[0, 4_999, 5_000, 12_000]);
        let counts = pace.counts(ms(14_000));
        assert_eq!(counts[BUCKETS - 3..], [2, 1, 1]);
        assert!(counts[..BUCKETS - 3].iter().all(|count| *count == 0));
        assert_eq!(pace.counts(ms(15_000))[BUCKETS - 4..], [2, 1, 1, 0]);
    }

    #[test]
    fn after_fifteen_minutes_nothing_is_left() {
        let pace = pace(&[1_000]);
        assert_eq!(pace.counts(ms(899_999))[0], 1);
        assert_eq!(pace.counts(ms(900_000)), [0; BUCKETS]);
    }

    #[test]
    fn the_rate_is_that_of_the_last_ten_seconds() {
        let steady: Vec<u64> = (0..2_000).map(|event| event * 10).collect();
        let pace = pace(&steady);
        for (now, expected) in [(19_999, 100.0), (25_000, 400.0 / 9.0), (31_000, 0.0)] {
            let rate = pace.rate(ms(now));
            assert!((rate - expected).abs() < 0.1, "{rate} at {now}, not {expected}");
        }
    }

    #[test]
    fn a_steady_stream_has_the_same_rate_in_every_five_seconds_even_those_just_begun() {
        let steady: Vec<u64> = (0..1_250).map(|event| event * 10).collect();
        let rates = pace(&steady).rates(ms(12_500));
        for rate in &rates[BUCKETS - 3..] {
            assert!((rate - 100.0).abs() < 0.1, "{rate}");
        }
        assert_eq!(rates.len(), BUCKETS);
    }

    #[test]
    fn percentiles_are_those_of_the_last_512() {
        let mut durations = Durations::default();
        assert_eq!(durations.percentiles(), None);
        durations.add(ms(7));
        assert_eq!(durations.percentiles(), Some(Percentiles { p50: ms(7), p99: ms(7) }));
        (1..=100).for_each(|took| durations.add(ms(took)));
        (1..=512).for_each(|took| durations.add(ms(took)));
        assert_eq!(durations.percentiles(), Some(Percentiles { p50: ms(256), p99: ms(507) }));
    }

    proptest! {
        #[test]
        fn the_counts_are_those_of_events_within_fifteen_minutes(
            mut moments in prop::collection::vec(0..3_000_000_u64, 0..300),
            later in 0..2_000_000_u64,
        ) {
            moments.sort_unstable();
            let now = moments.last().copied().unwrap_or_default() + later;
            let present = now / 5_000;
            let within = |at: &&u64| **at / 5_000 + BUCKETS as u64 > present;
            let expected = moments.iter().filter(within).count();
            let counts = pace(&moments).counts(ms(now));
            prop_assert_eq!(counts.iter().sum::<u32>() as usize, expected);
        }

        #[test]
        fn the_rate_counts_every_event_of_the_last_nine_seconds_and_none_older_than_ten(
            mut moments in prop::collection::vec(0..40_000_u64, 0..300),
            later in 0..15_000_u64,
        ) {
            moments.sort_unstable();
            let now = moments.last().copied().unwrap_or_default() + later;
            let since = |age: u64| {
                let events = moments.iter().filter(|at| *at + age > now).count();
                f64::from(u32::try_from(events).unwrap())
            };
            let rate = pace(&moments).rate(ms(now));
            prop_assert!(rate >= since(9_000) / 10.0 - 1e-9, "{rate}");
            prop_assert!(rate <= since(10_000) / 9.0 + 1e-9, "{rate}");
        }

        #[test]
        fn a_clock_that_goes_back_loses_no_event(moments in prop::collection::vec(0..80_000_u64, 0..100)) {
            let counts = pace(&moments).counts(ms(80_000));
            prop_assert_eq!(counts.iter().sum::<u32>() as usize, moments.len());
        }

        #[test]
        fn a_percentile_is_one_of_the_values_and_bounds_its_share(
            values in prop::collection::vec(0..10_000_u64, 1..600),
        ) {
            let mut durations = Durations::default();
            for took in &values {
                durations.add(ms(*took));
            }
            let last = &values[values.len().saturating_sub(ATTEMPTS)..];
            let Percentiles { p50, p99 } = durations.percentiles().unwrap();
            for (percentile, percent) in [(p50, 50), (p99, 99)] {
                prop_assert!(last.iter().any(|took| ms(*took) == percentile));
                let at_most = last.iter().filter(|took| ms(**took) <= percentile).count();
                let less = last.iter().filter(|took| ms(**took) < percentile).count();
                prop_assert!(at_most * 100 >= last.len() * percent);
                prop_assert!(less * 100 < last.len() * percent);
            }
            prop_assert!(p50 <= p99);
        }
    }
}
