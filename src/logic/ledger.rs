//! The ledger of one subscription: which messages may be acknowledged, and how.
//!
//! Owns what every unacknowledged message still owes. Refuses to acknowledge: it says which
//! [`Ack`]s are due. A ledger lives as long as its subscription; settlements for an older
//! subscription must not reach it, since tags begin anew with each. Read [`super::secret`] next.

use std::collections::BTreeMap;
use std::time::Duration;

/// How long the lowest unsettled message holds back those behind it.
pub const HOLD_BACK: Duration = Duration::from_millis(50);

/// The most tags that may be left out at once: no prefetch is larger.
const MAX_GAP: u64 = u16::MAX as u64;

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
/// Times are those of any clock that does not go back. Memory is bounded by the messages that are
/// not acknowledged, so by the prefetch, however long one of them stays unsettled.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The messages that are not acknowledged, by tag.
    entries: BTreeMap<u64, Entry>,
    /// The highest tag that was ever entered.
    last: u64,
    /// Tags settled since singles were last taken; some may be acknowledged already.
    ready: Vec<u64>,
    /// How many entries are settled.
    waiting: usize,
    /// When the first entry came to be the first.
    lowest_since: Duration,
}

#[derive(Debug)]
struct Entry {
    /// Routes that are not settled yet. `None`: the tag was left out, and owes until it comes.
    owed: Option<u32>,
    received: Duration,
}

impl Entry {
    fn is_settled(&self) -> bool {
        self.owed == Some(0)
    }
}

impl Ledger {
    /// The ledger of a new subscription, whose first tag is 1.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A message has come that owes so many routes; 0 is settled at once.
    ///
    /// Tags come in order. One that is left out is taken for a message that stays unsettled, so
    /// that nothing acknowledges it by the way; it may still come. `false`, and nothing is
    /// entered, for a tag that was entered before or is more than 65,535 ahead.
    pub fn received(&mut self, tag: u64, routes: u32, now: Duration) -> bool {
        if tag > self.last.saturating_add(MAX_GAP + 1) {
            return false;
        }
        if self.entries.is_empty() && tag > self.last {
            self.lowest_since = now;
        }
        for left_out in self.last + 1..tag {
            self.entries.insert(left_out, Entry { owed: None, received: now });
        }
        if tag > self.last {
            self.last = tag;
            self.entries.insert(tag, Entry { owed: Some(routes), received: now });
        } else {
            let Some(late) = self.entries.get_mut(&tag).filter(|entry| entry.owed.is_none()) else {
                return false;
            };
            late.owed = Some(routes);
        }
        if routes == 0 {
            self.now_settled(tag);
        }
        true
    }

    /// One route of this message is settled. `false` for a message that is not known, is no
    /// longer known, or owes nothing: nothing changes then.
    pub fn settled(&mut self, tag: u64) -> bool {
        let entry = self.entries.get_mut(&tag);
        let Some(owed @ 1..) = entry.and_then(|entry| entry.owed.as_mut()) else { return false };
        *owed -= 1;
        if *owed == 0 {
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
            self.ready.retain(|tag| self.entries.contains_key(tag));
        }
        acks
    }

    /// The acknowledgements for everything that is settled, whoever is unsettled before it: for
    /// the end of a subscription, where nothing is gained by holding back.
    pub fn last_acks(&mut self) -> Vec<Ack> {
        let mut acks: Vec<Ack> = self.take_run(self.lowest_since).into_iter().collect();
        self.take_singles(&mut acks);
        acks
    }

    /// From when on [`Ledger::acks`] has something to say, if nothing else happens.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let (_, lowest) = self.entries.first_key_value()?;
        let hold_back = if lowest.is_settled() { Duration::ZERO } else { HOLD_BACK };
        (self.waiting > 0).then(|| self.lowest_since.saturating_add(hold_back))
    }

    /// How many messages are not acknowledged.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.entries.len()
    }

    /// How long ago the oldest message that is not acknowledged came.
    #[must_use]
    pub fn oldest(&self, now: Duration) -> Option<Duration> {
        self.entries.first_key_value().map(|(_, entry)| now.saturating_sub(entry.received))
    }

    fn now_settled(&mut self, tag: u64) {
        self.waiting += 1;
        self.ready.push(tag);
    }

    /// Takes the settled run off the head. Its acknowledgement names the highest tag that is
    /// still in it: those that were acknowledged singly have left before.
    fn take_run(&mut self, now: Duration) -> Option<Ack> {
        let (mut highest, mut count) = (None, 0_usize);
        while let Some(lowest) = self.entries.first_entry().filter(|e| e.get().is_settled()) {
            highest = Some(*lowest.key());
            lowest.remove();
            count += 1;
        }
        if count > 0 {
            self.waiting -= count;
            self.lowest_since = now;
        }
        highest.map(|tag| Ack { tag, multiple: count > 1 })
    }

    fn take_singles(&mut self, acks: &mut Vec<Ack>) {
        for tag in std::mem::take(&mut self.ready) {
            if self.entries.remove(&tag).is_some() {
                acks.push(Ack { tag, multiple: false });
            }
        }
        self.waiting = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::TestRunner;

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
    fn at_the_end_nothing_settled_is_held_back() {
        let mut ledger = ledger(5);
        settle(&mut ledger, [1, 3, 5]);
        assert_eq!(ledger.last_acks(), [single(1), single(3), single(5)]);
        assert_eq!(ledger.outstanding(), 2);
        assert_eq!(ledger.last_acks(), []);
        settle(&mut ledger, [2]);
        assert_eq!(ledger.last_acks(), [single(2)]);
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
        for wrong in [0, 1, 2, 65_539, u64::MAX] {
            assert!(!ledger.received(wrong, 1, ms(1)), "{wrong}");
        }
        assert_eq!(ledger.outstanding(), 1);
    }

    #[test]
    fn a_tag_that_is_left_out_is_never_acknowledged_by_the_way() {
        let mut ledger = ledger(1);
        assert!(ledger.received(4, 1, ms(0)));
        settle(&mut ledger, [4, 1]);
        assert!(!ledger.settled(2), "it has not come");
        assert_eq!(ledger.acks(ms(10)), [single(1)]);
        assert_eq!(ledger.acks(ms(60)), [single(4)]);
        assert!(ledger.received(3, 1, ms(70)) && ledger.received(2, 0, ms(70)));
        settle(&mut ledger, [3]);
        assert_eq!((ledger.acks(ms(70)), ledger.outstanding()), (vec![run(3)], 0));
    }

    #[test]
    fn memory_stays_bounded_behind_a_message_that_never_settles() {
        let mut ledger = ledger(1);
        for tag in 2..10_000 {
            assert!(ledger.received(tag, 1, ms(tag)));
            settle(&mut ledger, [tag]);
            let _ = ledger.acks(ms(tag));
            assert!(ledger.ready.len() + ledger.entries.len() <= 120, "at {tag}");
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
        let sequences = prop::collection::vec(step(), LENGTH);
        let outcome =
            TestRunner::new(super::super::tests::sequences(LENGTH)).run(&sequences, |sequence| {
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
