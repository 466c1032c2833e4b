//! The breaker: when an endpoint is left alone, and how it is tried again.
//!
//! Owns the states *closed*, *open* and *half-open* of one endpoint in one instance, and the ramp
//! at its beginning and after a recovery. Refuses to start attempts or timers: the endpoint actor does. Time is the
//! duration since any fixed moment. Read [`super::lane`] next.

use std::collections::VecDeque;
use std::time::Duration;

use super::schema::DurationText;
use crate::domain::delivery::Class;

/// How long it must stay closed until the next opening starts from the shortest time again.
const CALM: Duration = Duration::from_secs(30);
/// Attempts remembered for the ratio at most; older ones say nothing new.
const REMEMBERED: usize = 4_096;

/// An endpoint's `breaker` settings.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerSettings {
    /// Transient failures in a row that open it; default the larger of 5 and `max_in_flight`.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub failures: Option<u32>,
    /// The share of failed attempts within `window` that opens it, above 0 and at most 1.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
    pub failure_ratio: f64,
    /// Attempts within `window` below which the share says nothing.
    #[schemars(range(min = 1, max = 100_000))]
    pub min_attempts: u32,
    /// How far back the share looks: 1 s to 1 h.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "DurationText")]
    pub window: Duration,
    /// How long it stays open at first, 100 ms to 1 d; doubles.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "DurationText")]
    pub open: Duration,
    /// The longest it stays open, 100 ms to 1 d.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "DurationText")]
    pub open_max: Duration,
    /// As `open`, after a misconfigured outcome.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "DurationText")]
    pub misconfigured_open: Duration,
    /// As `open_max`, after a misconfigured outcome.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "DurationText")]
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

/// Where the breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Attempts go freely.
    Closed,
    /// No attempts until then.
    Open {
        /// When it turns half-open.
        until: Duration,
        /// It was opened by an outcome that no event will pass.
        misconfigured: bool,
    },
    /// One attempt at a time.
    HalfOpen,
}

/// How an attempt ended, as far as the breaker cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The peer acknowledged.
    Delivered,
    /// It did not.
    Failed {
        /// The failure's class.
        class: Class,
        /// The peer's wish, from now on.
        retry_after: Option<Duration>,
    },
}

/// The breaker of one endpoint.
#[derive(Clone, Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    failures: u32,
    max_in_flight: u16,
    state: State,
    epoch: u64,
    streak: u32,
    recent: VecDeque<(Duration, bool)>,
    recent_failed: u32,
    openings: u32,
    misconfigurations: u32,
    closed_since: Duration,
    ramp: u16,
}

impl Breaker {
    /// A closed breaker of an endpoint that has not shown yet that it takes anything: its window
    /// begins with one attempt, so that one that refuses everybody is asked once, not by a crowd.
    #[must_use]
    pub fn new(settings: BreakerSettings, max_in_flight: u16, now: Duration) -> Self {
        let failures = settings.failures.unwrap_or_else(|| u32::from(max_in_flight).max(5));
        Self {
            settings,
            failures,
            max_in_flight,
            state: State::Closed,
            epoch: 0,
            streak: 0,
            recent: VecDeque::new(),
            recent_failed: 0,
            openings: 0,
            misconfigurations: 0,
            closed_since: now,
            ramp: 1,
        }
    }

    /// Where it stands. An open breaker whose time is over turns half-open.
    pub fn state(&mut self, now: Duration) -> State {
        if let State::Open { until, .. } = self.state
            && now >= until
        {
            self.state = State::HalfOpen;
            self.epoch += 1;
        }
        self.state
    }

    /// Names the present stretch of one state: an attempt takes it along, and its verdict counts
    /// only for the stretch in which it began.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How many attempts may be under way at once now.
    pub fn window(&mut self, now: Duration) -> u16 {
        match self.state(now) {
            State::Closed => self.ramp,
            State::Open { .. } => 0,
            State::HalfOpen => 1,
        }
    }

    /// Transient failures in a row, for people.
    #[must_use]
    pub fn streak(&self) -> u32 {
        self.streak
    }

    /// Takes the verdict of an attempt that began in `epoch`.
    pub fn judge(&mut self, epoch: u64, verdict: Verdict, now: Duration) {
        self.state(now);
        if let Verdict::Failed { retry_after: Some(wait), class } = verdict
            && !wait.is_zero()
        {
            if class == Class::Misconfigured && epoch == self.epoch {
                // The peer's wish may lengthen what is due anyway, never shorten it.
                self.misconfigured(now);
            }
            self.wait_for(now + wait);
            return;
        }
        if epoch != self.epoch {
            return;
        }
        match verdict {
            Verdict::Delivered => self.delivered(now),
            Verdict::Failed { class: Class::Transient, .. } => self.failed(now),
            Verdict::Failed { class: Class::Misconfigured, .. } => self.misconfigured(now),
            // The peer answered, and only this event is at fault.
            Verdict::Failed { class: Class::Permanent, .. } => {
                self.remember(now, false);
                self.grow();
            }
        }
    }

    fn delivered(&mut self, now: Duration) {
        self.streak = 0;
        self.remember(now, false);
        match self.state {
            State::HalfOpen => {
                self.state = State::Closed;
                self.epoch += 1;
                self.closed_since = now;
                self.ramp = 1;
            }
            State::Closed => {
                self.grow();
                if now.saturating_sub(self.closed_since) >= CALM {
                    self.openings = 0;
                    self.misconfigurations = 0;
                }
            }
            State::Open { .. } => {}
        }
    }

    /// The peer has answered: one attempt more may be under way at once.
    fn grow(&mut self) {
        self.ramp = self.ramp.saturating_add(1).min(self.max_in_flight);
    }

    fn failed(&mut self, now: Duration) {
        self.streak = self.streak.saturating_add(1);
        self.remember(now, true);
        let attempts = u32::try_from(self.recent.len()).unwrap_or(u32::MAX);
        let share = f64::from(self.recent_failed) / f64::from(attempts.max(1));
        let many = attempts >= self.settings.min_attempts && share >= self.settings.failure_ratio;
        let half_open = self.state == State::HalfOpen;
        if half_open || self.streak >= self.failures || many {
            self.calm(now);
            let wait = doubled(self.settings.open, self.openings, self.settings.open_max);
            self.openings = self.openings.saturating_add(1);
            self.open(now + wait, false);
        }
    }

    fn misconfigured(&mut self, now: Duration) {
        self.remember(now, true);
        self.calm(now);
        let (first, longest) =
            (self.settings.misconfigured_open, self.settings.misconfigured_open_max);
        let wait = doubled(first, self.misconfigurations, longest);
        self.misconfigurations = self.misconfigurations.saturating_add(1);
        self.open(now + wait, true);
    }

    fn wait_for(&mut self, until: Duration) {
        match self.state {
            State::Open { until: already, misconfigured } => {
                self.state = State::Open { until: already.max(until), misconfigured };
            }
            State::Closed | State::HalfOpen => self.open(until, false),
        }
    }

    fn open(&mut self, until: Duration, misconfigured: bool) {
        self.state = State::Open { until, misconfigured };
        self.epoch += 1;
        self.streak = 0;
        self.recent.clear();
        self.recent_failed = 0;
    }

    /// After a long calm the next opening starts from the shortest time again.
    fn calm(&mut self, now: Duration) {
        let closed = self.state == State::Closed;
        if closed && now.saturating_sub(self.closed_since) >= CALM {
            self.openings = 0;
            self.misconfigurations = 0;
        }
    }

    fn remember(&mut self, now: Duration, failed: bool) {
        self.recent.push_back((now, failed));
        self.recent_failed += u32::from(failed);
        let horizon = now.saturating_sub(self.settings.window);
        while let Some(&(at, failed)) = self.recent.front() {
            if at >= horizon && self.recent.len() <= REMEMBERED {
                break;
            }
            self.recent.pop_front();
            self.recent_failed -= u32::from(failed);
        }
    }
}

fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    let factor = 1u32.checked_shl(times).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSIENT: Verdict = Verdict::Failed { class: Class::Transient, retry_after: None };
    const MISCONFIGURED: Verdict =
        Verdict::Failed { class: Class::Misconfigured, retry_after: None };
    const PERMANENT: Verdict = Verdict::Failed { class: Class::Permanent, retry_after: None };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn breaker() -> Breaker {
        Breaker::new(BreakerSettings::default(), 8, at(0))
    }

    fn fail(breaker: &mut Breaker, times: u32, now: Duration) {
        for _ in 0..times {
            let epoch = breaker.epoch();
            breaker.judge(epoch, TRANSIENT, now);
        }
    }

    #[test]
    fn a_peers_wish_lengthens_what_a_misconfiguration_means_and_never_shortens_it() {
        for (asked, until) in [(1, 30), (300, 300)] {
            let mut breaker = breaker();
            let retry_after = Some(at(asked));
            let verdict = Verdict::Failed { class: Class::Misconfigured, retry_after };
            breaker.judge(breaker.epoch(), verdict, at(0));
            let open = State::Open { until: at(until), misconfigured: true };
            assert_eq!(breaker.state(at(0)), open, "asked for {asked} s");
        }
    }

    #[test]
    fn as_many_failures_in_a_row_as_fit_in_flight_open_it() {
        let mut breaker = breaker();
        fail(&mut breaker, 7, at(1));
        assert_eq!(breaker.state(at(1)), State::Closed);
        fail(&mut breaker, 1, at(1));
        assert_eq!(breaker.state(at(1)), State::Open { until: at(6), misconfigured: false });
        assert_eq!(breaker.window(at(5)), 0);
        assert_eq!(breaker.window(at(6)), 1);
    }

    #[test]
    fn a_flaky_peer_is_retried_and_not_cut_off() {
        let mut breaker = breaker();
        for i in 0..1_000 {
            let verdict = if i % 8 == 0 { Verdict::Delivered } else { TRANSIENT };
            breaker.judge(0, verdict, Duration::from_millis(i));
        }
        assert_eq!(breaker.state(at(1)), State::Closed);
    }

    #[test]
    fn nine_in_ten_failures_among_twenty_open_it() {
        let mut breaker = Breaker::new(BreakerSettings::default(), 100, at(0));
        breaker.judge(0, Verdict::Delivered, at(0));
        breaker.judge(0, Verdict::Delivered, at(0));
        fail(&mut breaker, 17, at(1));
        assert_eq!(breaker.state(at(1)), State::Closed);
        fail(&mut breaker, 1, at(1));
        assert!(matches!(breaker.state(at(1)), State::Open { .. }));
    }

    #[test]
    fn open_times_double_up_to_the_longest_and_a_calm_resets_them() {
        let mut breaker = breaker();
        let mut now = at(0);
        fail(&mut breaker, 8, now);
        for expected in [5, 10, 20, 40, 80, 160, 300, 300] {
            let until = now + at(expected);
            assert_eq!(breaker.state(now), State::Open { until, misconfigured: false });
            now = until;
            fail_half_open(&mut breaker, now);
        }
        now += at(300);
        let _ = breaker.state(now);
        breaker.judge(breaker.epoch(), Verdict::Delivered, now);
        now += at(31);
        fail(&mut breaker, 8, now);
        assert_eq!(breaker.state(now), State::Open { until: now + at(5), misconfigured: false });
    }

    fn fail_half_open(breaker: &mut Breaker, now: Duration) {
        assert_eq!(breaker.state(now), State::HalfOpen);
        breaker.judge(breaker.epoch(), TRANSIENT, now);
    }

    #[test]
    fn a_misconfigured_outcome_opens_it_at_once() {
        let mut breaker = breaker();
        breaker.judge(0, MISCONFIGURED, at(0));
        assert_eq!(breaker.state(at(0)), State::Open { until: at(30), misconfigured: true });
        assert_eq!(breaker.state(at(30)), State::HalfOpen);
        breaker.judge(breaker.epoch(), MISCONFIGURED, at(30));
        assert_eq!(breaker.state(at(30)), State::Open { until: at(90), misconfigured: true });
    }

    #[test]
    fn a_wish_to_wait_holds_whatever_else_happens() {
        let mut breaker = breaker();
        let busy = Verdict::Failed { class: Class::Transient, retry_after: Some(at(100)) };
        breaker.judge(0, busy, at(0));
        breaker.judge(0, Verdict::Delivered, at(1));
        breaker.judge(0, MISCONFIGURED, at(1));
        assert_eq!(breaker.state(at(99)), State::Open { until: at(100), misconfigured: false });
        assert_eq!(breaker.state(at(100)), State::HalfOpen);
    }

    #[test]
    fn verdicts_of_an_earlier_stretch_do_not_count() {
        let mut breaker = breaker();
        breaker.judge(0, MISCONFIGURED, at(0));
        let _ = breaker.state(at(30));
        breaker.judge(0, Verdict::Delivered, at(30));
        assert_eq!(breaker.state(at(30)), State::HalfOpen);
    }

    #[test]
    fn after_a_recovery_the_window_grows_by_one_a_success() {
        let mut breaker = breaker();
        breaker.judge(0, MISCONFIGURED, at(0));
        let _ = breaker.state(at(30));
        for expected in [1, 2, 3, 4, 5, 6, 7, 8, 8] {
            breaker.judge(breaker.epoch(), Verdict::Delivered, at(31));
            assert_eq!(breaker.window(at(31)), expected);
        }
    }

    #[test]
    fn a_new_endpoint_is_asked_by_one_attempt_first() {
        let mut breaker = breaker();
        assert_eq!(breaker.window(at(0)), 1);
        for expected in [2, 3] {
            breaker.judge(0, Verdict::Delivered, at(0));
            assert_eq!(breaker.window(at(0)), expected);
        }
        breaker.judge(0, PERMANENT, at(0));
        assert_eq!(breaker.window(at(0)), 4, "an answer is an answer");
        fail(&mut breaker, 1, at(0));
        assert_eq!(breaker.window(at(0)), 4);
    }

    #[test]
    fn a_permanent_failure_says_nothing_against_the_endpoint() {
        let mut breaker = breaker();
        for _ in 0..100 {
            breaker.judge(0, PERMANENT, at(0));
        }
        assert_eq!(breaker.state(at(0)), State::Closed);
    }
}

#[cfg(test)]
mod machine {
    //! The breaker against a model of what is promised, under any interleaving of verdicts.

    use proptest::prelude::*;
    use proptest::test_runner::TestRunner;

    use super::*;

    const MAX: u16 = 8;
    const LENGTH: usize = 200;
    /// The longest wish to wait among the steps, in seconds.
    const WISH: u64 = 100;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// A verdict of an attempt that began so many stretches ago, perhaps with a wish in seconds.
        Judge { class: Option<Class>, behind: u64, wish: Option<u64> },
        /// Milliseconds pass.
        Wait(u64),
        /// Time passes until an open breaker turns half-open.
        UntilItOpens,
    }

    fn step() -> impl Strategy<Value = Step> {
        let class = prop_oneof![
            4 => Just(None),
            8 => Just(Some(Class::Transient)),
            1 => Just(Some(Class::Misconfigured)),
            1 => Just(Some(Class::Permanent)),
        ];
        let behind = prop_oneof![8 => Just(0), 2 => 0..3_u64];
        let wish = prop_oneof![20 => Just(None), 1 => (0..=WISH).prop_map(Some)];
        let judge = (class, behind, wish).prop_map(|(class, behind, wish)| Step::Judge {
            class,
            behind,
            wish,
        });
        prop_oneof![
            12 => judge,
            3 => (0..20_000_u64).prop_map(Step::Wait),
            2 => Just(Step::UntilItOpens),
        ]
    }

    /// What is known from outside.
    #[derive(Default)]
    struct Model {
        now: Duration,
        /// Nobody asks before.
        wished: Duration,
        /// Transient failures in a row, in this stretch.
        streak: u32,
        /// When attempts of this stretch ended, and whether they failed.
        ended: Vec<(Duration, bool)>,
    }

    impl Model {
        fn has_cause(&self) -> bool {
            let recent =
                self.ended.iter().filter(|(at, _)| *at + Duration::from_secs(30) >= self.now);
            let (all, failed) = recent.fold((0_u32, 0_u32), |(all, failed), (_, bad)| {
                (all + 1, failed + u32::from(*bad))
            });
            self.streak >= u32::from(MAX)
                || (all >= 20 && f64::from(failed) >= 0.9 * f64::from(all))
        }

        fn judge(
            &mut self,
            breaker: &mut Breaker,
            class: Option<Class>,
            behind: u64,
            wish: Option<u64>,
        ) {
            let (before, window) = (breaker.state(self.now), breaker.window(self.now));
            let epoch = breaker.epoch();
            // No attempt begins while it is open: whatever ends then began before.
            let behind = if matches!(before, State::Open { .. }) { behind.max(1) } else { behind };
            let verdict = class.map_or(Verdict::Delivered, |class| Verdict::Failed {
                class,
                retry_after: wish.map(Duration::from_secs),
            });
            breaker.judge(epoch.saturating_sub(behind), verdict, self.now);
            let after = breaker.state(self.now);
            let wish = class.and(wish).filter(|wish| *wish > 0).map(Duration::from_secs);
            if let Some(wish) = wish {
                self.wished = self.wished.max(self.now + wish);
                assert!(matches!(after, State::Open { .. }), "a wish to wait is heard");
            } else if behind.min(epoch) > 0 {
                assert_eq!((after, breaker.window(self.now)), (before, window), "an old verdict");
                assert_eq!(breaker.epoch(), epoch);
            } else {
                self.own_verdict(before, after, class);
            }
            if breaker.epoch() == epoch {
                match (before, after) {
                    (State::Open { until: was, .. }, State::Open { until, .. }) => {
                        assert!(until >= was, "an open breaker never opens its way back sooner");
                    }
                    _ => assert_eq!(before, after, "another state is another stretch"),
                }
            } else {
                assert!(breaker.epoch() > epoch);
                (self.streak, self.ended) = (0, Vec::new());
            }
        }

        /// A verdict without a wish, of an attempt of this very stretch.
        fn own_verdict(&mut self, before: State, after: State, class: Option<Class>) {
            let failed = matches!(class, Some(Class::Transient | Class::Misconfigured));
            self.ended.push((self.now, failed));
            match class {
                None => self.streak = 0,
                Some(Class::Transient) => self.streak += 1,
                Some(Class::Misconfigured | Class::Permanent) => {}
            }
            let opens = matches!(after, State::Open { .. });
            match (before, class) {
                (_, Some(Class::Misconfigured)) => {
                    assert!(matches!(after, State::Open { misconfigured: true, .. }));
                }
                (State::HalfOpen, None) => assert_eq!(after, State::Closed),
                (State::HalfOpen, Some(Class::Transient)) => assert!(opens),
                (State::Closed, Some(Class::Transient)) => {
                    assert_eq!(opens, self.has_cause(), "{} in a row", self.streak);
                }
                (State::Closed, None)
                | (State::Closed | State::HalfOpen, Some(Class::Permanent)) => {
                    assert_eq!(after, before);
                }
                (State::Open { .. }, None | Some(Class::Transient | Class::Permanent)) => {
                    unreachable!("no attempt of an open stretch");
                }
            }
        }

        fn look(&self, breaker: &mut Breaker) {
            let window = breaker.window(self.now);
            match breaker.state(self.now) {
                State::Closed => assert!((1..=MAX).contains(&window)),
                State::HalfOpen => assert_eq!(window, 1),
                State::Open { until, .. } => {
                    assert_eq!(window, 0);
                    assert!(until > self.now && until <= self.now + Duration::from_secs(1_800));
                }
            }
            assert!(window == 0 || self.now >= self.wished, "asked before the peer wished");
        }
    }

    #[test]
    fn it_opens_for_a_cause_and_always_finds_its_way_back() {
        let sequences = prop::collection::vec(step(), LENGTH);
        let outcome =
            TestRunner::new(super::super::tests::sequences(LENGTH)).run(&sequences, |sequence| {
                let mut model = Model::default();
                let mut breaker = Breaker::new(BreakerSettings::default(), MAX, model.now);
                for step in sequence {
                    match step {
                        Step::Judge { class, behind, wish } => {
                            model.judge(&mut breaker, class, behind, wish);
                        }
                        Step::Wait(millis) => model.now += Duration::from_millis(millis),
                        Step::UntilItOpens => {
                            if let State::Open { until, .. } = breaker.state(model.now) {
                                model.now = until;
                                assert_eq!(breaker.state(until), State::HalfOpen);
                            }
                        }
                    }
                    if breaker.state(model.now) == State::HalfOpen {
                        (model.streak, model.ended) = (0, Vec::new());
                    }
                    model.look(&mut breaker);
                }
                Ok(())
            });
        outcome.expect("the law holds");
    }
}
