//! The prefetch: how many messages may be unacknowledged, so that they fit into memory.
//!
//! Owns the rule that an automatic prefetch is bounded by bytes too: RabbitMQ counts messages only,
//! and its client buffers whatever comes. Refuses to change a subscription: ingress does, since a
//! changed prefetch needs a new consumer. Read [`super::parcel`] next.
//!
//! It begins low, as if every event were as large as is allowed, because RabbitMQ hands out a whole
//! prefetch before it hears of a change; a few events later their size is known. From then on it
//! follows their mean size: down at once, up only when there is ample room, and seldom.

use std::time::Duration;

use crate::domain::delivery::Message;
use crate::logic::frame;

/// What all unacknowledged messages together may take, in bytes.
pub const BUDGET: u64 = 64 << 20;
/// Events over which the mean size is taken.
const SPAN: u64 = 64;
/// Events over which it is taken to find out how low to go: those that made it too much.
const RECENT: u64 = 8;
/// Events that must have been seen before the mean says anything.
const ENOUGH: u64 = 16;
/// How long after a change the prefetch may be raised again.
const CALM: Duration = Duration::from_secs(10);

/// The prefetch of a source, and what is known of its events' size.
#[derive(Clone, Debug)]
pub struct Prefetch {
    now: u16,
    most: u16,
    automatic: bool,
    mean: Mean,
    recent: Mean,
    changed: Option<Duration>,
}

/// A running mean.
#[derive(Clone, Copy, Debug)]
struct Mean {
    span: u64,
    count: u64,
    /// Of the last `count` sizes, or what is left of those before them.
    sum: u64,
}

impl Mean {
    const fn over(span: u64) -> Self {
        Self { span, count: 0, sum: 0 }
    }

    fn take(&mut self, size: u64) {
        if self.count < self.span {
            self.count += 1;
        } else {
            self.sum -= self.sum / self.span;
        }
        self.sum = self.sum.saturating_add(size);
    }

    fn get(&self) -> u64 {
        self.sum / self.count.max(1)
    }
}

/// A prefetch that became another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it was.
    pub from: u16,
    /// What it is.
    pub to: u16,
    /// The events' mean size, in bytes.
    pub mean: u64,
}

/// What a message takes in memory, in bytes.
#[must_use]
pub fn weight(message: &Message) -> u64 {
    let headers = message.properties.headers().as_ref().map_or(0, frame::table_size);
    (message.body.len() + headers) as u64
}

impl Prefetch {
    /// The operator's word: never changed, whatever the events' size.
    #[must_use]
    pub fn fixed(prefetch: u16) -> Self {
        let now = prefetch.max(1);
        Self {
            now,
            most: now,
            automatic: false,
            mean: Mean::over(SPAN),
            recent: Mean::over(RECENT),
            changed: None,
        }
    }

    /// At most `most`, for events of at most `largest` bytes.
    #[must_use]
    pub fn automatic(most: u16, largest: u64) -> Self {
        let now = fits(BUDGET, largest, most);
        Self { automatic: true, most: most.max(1), now, ..Self::fixed(now) }
    }

    /// The prefetch to consume with now.
    #[must_use]
    pub fn now(&self) -> u16 {
        self.now
    }

    /// The most that it will ever be.
    #[must_use]
    pub fn most(&self) -> u16 {
        self.most
    }

    /// An event of this size has come.
    pub fn seen(&mut self, bytes: u64) {
        self.mean.take(bytes);
        self.recent.take(bytes);
    }

    /// The new prefetch, where another one is wanted at `now`: from then on it counts. Times are
    /// those of any clock that does not go back.
    pub fn change(&mut self, now: Duration) -> Option<Change> {
        if !self.automatic || self.mean.count < ENOUGH {
            return None;
        }
        let (from, mean) = (self.now, self.mean.get());
        let too_much = u64::from(from).saturating_mul(mean) > BUDGET && from > 1;
        let sized = if too_much { mean.max(self.recent.get()) } else { mean };
        let target = fits(BUDGET / 4 * 3, sized, self.most);
        if !(too_much || self.may_rise(target, mean, now)) {
            return None;
        }
        self.now = target;
        self.changed = Some(now);
        Some(Change { from, to: target, mean })
    }

    /// Twice as much, or all there is: less is not worth a new consumer, and would not last.
    fn may_rise(&self, target: u16, mean: u64, now: Duration) -> bool {
        let calm = self.changed.is_none_or(|at| now >= at.saturating_add(CALM));
        let all = target == self.most && u64::from(target).saturating_mul(mean) <= BUDGET / 2;
        calm && target > self.now && (all || target / 2 >= self.now)
    }
}

/// How many events of this size fit into so many bytes: at least one, at most `most`.
fn fits(bytes: u64, size: u64, most: u16) -> u16 {
    let many = bytes / size.max(1);
    u16::try_from(many).unwrap_or(u16::MAX).clamp(1, most.max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;
    const SECOND: Duration = Duration::from_secs(1);

    fn after(prefetch: &mut Prefetch, sizes: &[u64], now: Duration) -> Vec<(u16, u16)> {
        let mut changes = Vec::new();
        for size in sizes {
            prefetch.seen(*size);
            changes.extend(prefetch.change(now).map(|change| (change.from, change.to)));
        }
        changes
    }

    #[test]
    fn small_events_get_all_of_it_as_soon_as_they_are_known() {
        let mut prefetch = Prefetch::automatic(2_000, MIB);
        assert_eq!((prefetch.now(), prefetch.most()), (64, 2_000));
        assert_eq!(after(&mut prefetch, &[1_000; 15], SECOND), []);
        assert_eq!(after(&mut prefetch, &[1_000; 500], SECOND), [(64, 2_000)]);
    }

    #[test]
    fn large_events_never_get_more_than_fits() {
        let mut prefetch = Prefetch::automatic(2_000, MIB);
        assert_eq!(after(&mut prefetch, &[MIB; 500], SECOND), []);
        let mut prefetch = Prefetch::automatic(2_000, 128 * MIB);
        assert_eq!(prefetch.now(), 1);
        assert_eq!(after(&mut prefetch, &[400_000; 500], SECOND), [(1, 125)]);
    }

    #[test]
    fn events_that_become_large_lower_it_at_once_and_small_ones_raise_it_after_a_while() {
        let mut prefetch = Prefetch::automatic(2_000, MIB);
        assert_eq!(after(&mut prefetch, &[1_000; 100], SECOND), [(64, 2_000)]);
        let lowered = after(&mut prefetch, &[MIB; 300], SECOND);
        assert_eq!(lowered.first().map(|change| change.0), Some(2_000));
        assert!(lowered.len() <= 3 && (40..=64).contains(&prefetch.now()), "{lowered:?}");
        assert_eq!(after(&mut prefetch, &[1_000; 900], 10 * SECOND), [], "not so soon");
        assert_eq!(
            after(&mut prefetch, &[1_000; 900], 11 * SECOND).last().map(|c| c.1),
            Some(2_000)
        );
    }

    #[test]
    fn the_operators_word_is_kept() {
        let mut prefetch = Prefetch::fixed(5_000);
        assert_eq!(after(&mut prefetch, &[128 * MIB; 100], SECOND), []);
        assert_eq!((prefetch.now(), Prefetch::fixed(0).now()), (5_000, 1));
    }

    proptest! {
        #[test]
        fn what_is_unacknowledged_fits_and_the_prefetch_does_not_flap(
            most in 1..=u16::MAX,
            sizes in prop::collection::vec(prop_oneof![0..2_000_u64, 0..8 * MIB], 1..600),
            millis in 1..50_u64,
        ) {
            let mut prefetch = Prefetch::automatic(most, MIB);
            let (mut now, mut rises) = (Duration::ZERO, Vec::new());
            for size in sizes {
                now += Duration::from_millis(millis);
                prefetch.seen(size);
                if let Some(change) = prefetch.change(now) {
                    prop_assert_ne!(change.from, change.to);
                    if change.to > change.from { rises.push(now) }
                }
                prop_assert!((1..=most).contains(&prefetch.now()));
                let held = u64::from(prefetch.now()) * prefetch.mean.get();
                prop_assert!(prefetch.mean.count < ENOUGH || prefetch.now() == 1 || held <= BUDGET);
            }
            for pair in rises.windows(2) {
                prop_assert!(pair[1] >= pair[0] + CALM);
            }
        }

        #[test]
        fn events_of_one_size_change_it_once_at_most(most in 1..=u16::MAX, size in 0..16 * MIB) {
            let mut prefetch = Prefetch::automatic(most, MIB);
            let mut changes = 0;
            for second in 0..1_000 {
                prefetch.seen(size);
                changes += u32::from(prefetch.change(Duration::from_secs(second)).is_some());
            }
            prop_assert!(changes <= 1);
        }
    }
}
