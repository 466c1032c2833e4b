//! The ledger of one subscription: which messages may be acknowledged, and how.
//!
//! Owns what every unacknowledged message still owes. Refuses to acknowledge: it says which
//! [`Ack`]s are due. A ledger lives as long as its subscription; settlements for an older
//! subscription must not reach it, since tags begin anew with each. Read [`super::secret`] next.

use std::collections::VecDeque;
use std::time::Duration;

/// How long the lowest unsettled message holds back those behind it.
pub const HOLD_BACK: Duration = Duration::from_millis(50);

/// One acknowledgement to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// A tag that was not acknowledged before.
    pub tag: u64,
    /// It and everything unacknowledged before it.
    pub multiple: bool,
}

/// What the messages of one subscription owe.
///
/// Times are those of any clock that does not go back. Every call costs constant time on average;
/// memory is bounded by the tags between the lowest unsettled and the newest one.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Tags that were taken off `entries`: the first entry is tag `passed + 1`.
    passed: u64,
    /// One entry a tag, contiguous. The first is never acknowledged.
    entries: VecDeque<Entry>,
    /// Tags settled out of turn, some of them passed since.
    ready: Vec<u64>,
    /// Entries that are settled and not acknowledged.
    waiting: usize,
    /// Entries that are acknowledged.
    acknowledged: usize,
    /// When the first entry came to be the first.
    lowest_since: Duration,
}

#[derive(Debug)]
struct Entry {
    /// Routes that are not settled yet.
    owed: u32,
    acknowledged: bool,
    received: Duration,
}

impl Ledger {
    /// The ledger of a new subscription: its first tag will be 1.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A message has come that owes so many routes; 0 is settled at once.
    ///
    /// `false`, and nothing is entered, when the tag is not the next one: the subscription is then
    /// not what it should be and had better be given up.
    pub fn received(&mut self, tag: u64, routes: u32, now: Duration) -> bool {
        if Some(tag) != self.next_tag() {
            return false;
        }
        if self.entries.is_empty() {
            self.lowest_since = now;
        }
        self.entries.push_back(Entry { owed: routes, acknowledged: false, received: now });
        if routes == 0 {
            self.now_settled(tag);
        }
        true
    }

    /// One route of this message is settled. `false` for a message that is not known, is no
    /// longer known, or owes nothing: nothing changes then.
    pub fn settled(&mut self, tag: u64) -> bool {
        let Some(entry) = self.entry(tag).filter(|entry| entry.owed > 0) else { return false };
        entry.owed -= 1;
        if entry.owed == 0 {
            self.now_settled(tag);
        }
        true
    }

    /// The acknowledgements that are due: one for the settled run at the head, and single ones
    /// behind a message that has been the lowest unsettled for [`HOLD_BACK`]. Each is said once.
    pub fn acks(&mut self, now: Duration) -> Vec<Ack> {
        let mut acks: Vec<Ack> = self.take_run(now).into_iter().collect();
        if self.waiting > 0 && now >= self.lowest_since.saturating_add(HOLD_BACK) {
            self.take_singles(&mut acks);
        } else if self.ready.len() > 2 * self.waiting + 32 {
            let passed = self.passed;
            self.ready.retain(|tag| *tag > passed);
        }
        acks
    }

    /// From when on [`Ledger::acks`] has something to say, if nothing else happens.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        match self.entries.front() {
            Some(lowest) if lowest.owed == 0 => Some(self.lowest_since),
            _ if self.waiting > 0 => Some(self.lowest_since.saturating_add(HOLD_BACK)),
            _ => None,
        }
    }

    /// How many messages are not acknowledged.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.entries.len() - self.acknowledged
    }

    /// How long ago the oldest message that is not acknowledged came.
    #[must_use]
    pub fn oldest(&self, now: Duration) -> Option<Duration> {
        self.entries.front().map(|entry| now.saturating_sub(entry.received))
    }

    fn next_tag(&self) -> Option<u64> {
        self.passed.checked_add(u64::try_from(self.entries.len()).ok()?)?.checked_add(1)
    }

    fn entry(&mut self, tag: u64) -> Option<&mut Entry> {
        let position = tag.checked_sub(self.passed)?.checked_sub(1)?;
        self.entries.get_mut(usize::try_from(position).ok()?)
    }

    fn now_settled(&mut self, tag: u64) {
        self.waiting += 1;
        self.ready.push(tag);
    }

    /// Takes the settled run off the head. Its acknowledgement names the highest tag of the run
    /// that has none yet; those above it were acknowledged singly.
    fn take_run(&mut self, now: Duration) -> Option<Ack> {
        let (mut highest, mut count) = (None, 0_usize);
        while self.entries.front().is_some_and(|entry| entry.owed == 0)
            && let Some(entry) = self.entries.pop_front()
        {
            self.passed += 1;
            self.lowest_since = now;
            if entry.acknowledged {
                self.acknowledged -= 1;
            } else {
                highest = Some(self.passed);
                count += 1;
            }
        }
        self.waiting -= count;
        highest.map(|tag| Ack { tag, multiple: count > 1 })
    }

    fn take_singles(&mut self, acks: &mut Vec<Ack>) {
        for tag in std::mem::take(&mut self.ready) {
            if let Some(entry) = self.entry(tag) {
                entry.acknowledged = true;
                self.acknowledged += 1;
                acks.push(Ack { tag, multiple: false });
            }
        }
        self.waiting = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};

    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn single(tag: u64) -> Ack {
        Ack { tag, multiple: false }
    }

    fn run(tag: u64) -> Ack {
        Ack { tag, multiple: true }
    }

    /// A ledger with these messages, received at 0, of one route each.
    fn ledger(tags: u64) -> Ledger {
        let mut ledger = Ledger::new();
        assert!((1..=tags).all(|tag| ledger.received(tag, 1, ms(0))));
        ledger
    }

    fn settle(ledger: &mut Ledger, tags: impl IntoIterator<Item = u64>) {
        for tag in tags {
            assert!(ledger.settled(tag), "tag {tag}");
        }
    }

    #[test]
    fn a_settled_run_is_acknowledged_at_once_by_its_highest_tag() {
        let mut ledger = ledger(5);
        settle(&mut ledger, [3, 1, 2, 5]);
        assert_eq!(ledger.acks(ms(1)), [run(3)]);
        assert_eq!(ledger.outstanding(), 2);
        settle(&mut ledger, [4]);
        assert_eq!(ledger.acks(ms(2)), [run(5)]);
        assert_eq!((ledger.outstanding(), ledger.oldest(ms(3))), (0, None));
    }

    #[test]
    fn a_run_of_one_is_acknowledged_singly() {
        let mut ledger = ledger(2);
        settle(&mut ledger, [1]);
        assert_eq!(ledger.acks(ms(1)), [single(1)]);
        assert_eq!(ledger.acks(ms(1)), []);
    }

    #[test]
    fn behind_a_slow_message_the_others_are_acknowledged_singly_after_a_while() {
        let mut ledger = ledger(4);
        settle(&mut ledger, [3, 2]);
        assert_eq!(ledger.acks(ms(49)), []);
        assert_eq!(ledger.next_deadline(), Some(ms(50)));
        assert_eq!(ledger.acks(ms(50)), [single(3), single(2)]);
        assert_eq!(ledger.next_deadline(), None);
        settle(&mut ledger, [4]);
        assert_eq!(ledger.acks(ms(51)), [single(4)]);
        assert_eq!((ledger.outstanding(), ledger.oldest(ms(60))), (1, Some(ms(60))));
    }

    #[test]
    fn a_run_names_the_highest_tag_that_was_not_acknowledged_singly() {
        let mut ledger = ledger(6);
        settle(&mut ledger, [2, 4, 5]);
        assert_eq!(ledger.acks(ms(50)), [single(2), single(4), single(5)]);
        settle(&mut ledger, [3, 1]);
        assert_eq!(ledger.acks(ms(51)), [run(3)], "1 and 3; 2, 4 and 5 are done");
        assert_eq!(ledger.outstanding(), 1);
        settle(&mut ledger, [6]);
        assert_eq!(ledger.acks(ms(51)), [single(6)]);
    }

    #[test]
    fn the_next_lowest_gets_its_own_time() {
        let mut ledger = ledger(4);
        settle(&mut ledger, [3, 1]);
        assert_eq!(ledger.acks(ms(40)), [single(1)]);
        assert_eq!(ledger.next_deadline(), Some(ms(90)));
        assert_eq!(ledger.acks(ms(89)), []);
        assert_eq!(ledger.acks(ms(90)), [single(3)]);
    }

    #[test]
    fn a_message_without_routes_is_settled_at_once_and_one_with_many_only_by_the_last() {
        let mut ledger = Ledger::new();
        assert!(ledger.received(1, 0, ms(7)) && ledger.received(2, 2, ms(8)));
        assert_eq!(ledger.next_deadline(), Some(ms(7)));
        assert_eq!(ledger.acks(ms(8)), [single(1)]);
        settle(&mut ledger, [2]);
        assert_eq!(ledger.acks(ms(500)), []);
        settle(&mut ledger, [2]);
        assert_eq!(ledger.acks(ms(500)), [single(2)]);
    }

    #[test]
    fn unknown_late_and_repeated_settlements_and_wrong_tags_change_nothing() {
        let mut ledger = ledger(2);
        settle(&mut ledger, [1]);
        assert!(!ledger.settled(1) && !ledger.settled(0) && !ledger.settled(3));
        assert!(!ledger.settled(u64::MAX));
        assert_eq!(ledger.acks(ms(1)), [single(1)]);
        assert!(!ledger.settled(1));
        for wrong in [0, 1, 2, 4, u64::MAX] {
            assert!(!ledger.received(wrong, 1, ms(1)), "{wrong}");
        }
        assert_eq!(ledger.outstanding(), 1);
    }

    #[test]
    fn memory_stays_bounded_when_messages_settle_out_of_turn_in_time() {
        let mut ledger = Ledger::new();
        for odd in (1..10_000).step_by(2) {
            assert!(ledger.received(odd, 1, ms(0)) && ledger.received(odd + 1, 1, ms(0)));
            settle(&mut ledger, [odd + 1, odd]);
            assert_eq!(ledger.acks(ms(0)), [run(odd + 1)]);
            assert!(ledger.ready.len() <= 40 && ledger.entries.is_empty(), "at {odd}");
        }
    }

    /// What may happen to a ledger.
    #[derive(Clone, Debug)]
    enum Step {
        /// The next message comes, with so many routes.
        Receive(u32),
        /// A route of one of the messages not settled yet, picked by this number, is settled.
        Settle(usize),
        /// Any tag is said to be settled: late, repeated, never seen.
        Stray(u64),
        /// So many milliseconds go by.
        Wait(u64),
        /// What is due is acknowledged.
        Acknowledge,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => prop_oneof![Just(0), Just(1), 1..4_u32].prop_map(Step::Receive),
            6 => any::<usize>().prop_map(Step::Settle),
            1 => (0..120_u64).prop_map(Step::Stray),
            2 => (0..40_u64).prop_map(Step::Wait),
            4 => Just(Step::Acknowledge),
        ]
    }

    const PREFETCH: usize = 40;

    /// The broker and the routes, as simply as can be.
    #[derive(Default)]
    struct Model {
        now: Duration,
        last_tag: u64,
        /// Unacknowledged tags, and what each still owes.
        owed: BTreeMap<u64, u32>,
        /// The lowest tag that owed something at the last look, and since when.
        lowest: Option<(u64, Duration)>,
    }

    impl Model {
        fn lowest_owing(&self) -> Option<u64> {
            self.owed.iter().find(|(_, owed)| **owed > 0).map(|(tag, _)| *tag)
        }

        /// The broker's side: closes the channel for a tag that it does not know any more.
        fn acknowledge(&mut self, ack: Ack) {
            assert!(self.owed.contains_key(&ack.tag), "the channel is closed by {ack:?}");
            let from = if ack.multiple { 0 } else { ack.tag };
            let taken: Vec<u64> = self.owed.range(from..=ack.tag).map(|(tag, _)| *tag).collect();
            assert_eq!(ack.multiple, taken.len() > 1, "{ack:?} takes {taken:?}");
            for tag in taken {
                assert_eq!(self.owed.remove(&tag), Some(0), "{ack:?} takes {tag}, which owes");
            }
        }

        fn settle(&mut self, ledger: &mut Ledger, tag: u64) {
            let owed = self.owed.get_mut(&tag).filter(|owed| **owed > 0);
            assert_eq!(ledger.settled(tag), owed.is_some(), "tag {tag}");
            if let Some(owed) = owed {
                *owed -= 1;
            }
        }

        fn step(&mut self, ledger: &mut Ledger, step: &Step) {
            match *step {
                Step::Receive(routes) if self.owed.len() < PREFETCH => {
                    self.last_tag += 1;
                    self.owed.insert(self.last_tag, routes);
                    assert!(ledger.received(self.last_tag, routes, self.now));
                }
                Step::Receive(_) => {}
                Step::Settle(which) => {
                    let owing = self.owed.iter().filter(|(_, owed)| **owed > 0);
                    let owing: Vec<u64> = owing.map(|(tag, _)| *tag).collect();
                    if let Some(tag) = owing.get(which % owing.len().max(1)) {
                        self.settle(ledger, *tag);
                    }
                }
                Step::Stray(back) => self.settle(ledger, (self.last_tag + 2).saturating_sub(back)),
                Step::Wait(millis) => self.now += ms(millis),
                Step::Acknowledge => self.look(ledger),
            }
            assert_eq!(ledger.outstanding(), self.owed.len());
        }

        /// Takes what is due, and checks that nothing is held back for too long or without need.
        fn look(&mut self, ledger: &mut Ledger) {
            let deadline = ledger.next_deadline();
            let acks = ledger.acks(self.now);
            let due = deadline.is_some_and(|deadline| deadline <= self.now);
            assert_eq!(due, !acks.is_empty(), "the deadline {deadline:?} and {acks:?}");
            for ack in acks {
                self.acknowledge(ack);
            }
            assert_eq!(ledger.acks(self.now), [], "everything was said");
            let lowest = self.lowest_owing();
            if self.lowest.map(|(tag, _)| tag) != lowest {
                self.lowest = lowest.map(|tag| (tag, self.now));
            }
            let held = |tag: &u64| lowest.is_some_and(|lowest| *tag > lowest);
            let settled = self.owed.iter().filter(|(_, owed)| **owed == 0);
            let settled: Vec<u64> = settled.map(|(tag, _)| *tag).collect();
            assert!(settled.iter().all(held), "{settled:?} below {lowest:?}");
            if let Some((_, since)) = self.lowest
                && self.now >= since + HOLD_BACK
            {
                assert_eq!(settled, [] as [u64; 0], "held back for too long");
            }
            assert!(ledger.ready.len() <= 2 * PREFETCH + 32);
        }
    }

    #[test]
    fn every_message_is_acknowledged_once_and_only_when_nothing_is_owed() {
        const LENGTH: usize = 200;
        let steps = std::env::var("LOCKGATE_PROPERTY_STEPS");
        let steps: usize = steps.map_or(20_000, |steps| steps.parse().expect("a number of steps"));
        let cases = u32::try_from(steps.div_ceil(LENGTH)).expect("fewer steps");
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        let sequences = prop::collection::vec(step(), LENGTH);
        let outcome = TestRunner::new(config).run(&sequences, |sequence| {
            let (mut model, mut ledger) = (Model::default(), Ledger::new());
            for step in &sequence {
                model.step(&mut ledger, step);
            }
            // Whatever is left is settled: everything can be acknowledged.
            while let Some(tag) = model.lowest_owing() {
                model.settle(&mut ledger, tag);
            }
            model.look(&mut ledger);
            prop_assert_eq!(model.owed.len(), 0);
            Ok(())
        });
        outcome.expect("the law holds");
    }
}
