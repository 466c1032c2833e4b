//! How often changes are told: an endpoint that flaps must not flood the log.
//!
//! Owns the rule: at most [`MOST`] lines within [`WITHIN`]. What usually happens, from *healthy* over
//! *degraded* to *open*, is told at once. A change beyond that is held, the latest one alone, and told
//! as soon as there is room, with the number of those that were left out: so the last line is always
//! true in the end. Refuses to know what a change is. Time is the duration since any fixed moment.

use std::collections::VecDeque;
use std::time::Duration;

/// Lines within [`WITHIN`] at most.
pub const MOST: usize = 3;
/// See [`MOST`].
pub const WITHIN: Duration = Duration::from_secs(30);

/// What has been told of one subject, and what is held.
#[derive(Clone, Debug)]
pub struct Telling<T> {
    /// When the last lines were told: [`MOST`] at most.
    told: VecDeque<Duration>,
    held: Option<T>,
    left_out: u32,
}

/// A change to be told now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told<T> {
    /// The latest change.
    pub change: T,
    /// How many changes before it were never told.
    pub left_out: u32,
}

impl<T> Default for Telling<T> {
    fn default() -> Self {
        Self { told: VecDeque::new(), held: None, left_out: 0 }
    }
}

impl<T> Telling<T> {
    /// Something has changed; returns what is to be told now. `None`: it is held.
    pub fn change(&mut self, change: T, now: Duration) -> Option<Told<T>> {
        if self.held.replace(change).is_some() {
            self.left_out = self.left_out.saturating_add(1);
        }
        self.due(now)
    }

    /// What was held and can be told now. Ask from time to time.
    pub fn due(&mut self, now: Duration) -> Option<Told<T>> {
        self.held.as_ref()?;
        self.told.retain(|at| now.saturating_sub(*at) < WITHIN);
        if self.told.len() >= MOST {
            return None;
        }
        let change = self.held.take()?;
        self.told.push_back(now);
        Some(Told { change, left_out: std::mem::take(&mut self.left_out) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A step at this second: a change of this name, or only a look at the clock.
    type Step = (u64, Option<&'static str>);

    #[track_caller]
    fn check(what: &str, steps: &[Step], expected: &[(u64, &str, u32)]) {
        let mut telling = Telling::default();
        let mut told = Vec::new();
        for (second, change) in steps {
            let now = Duration::from_secs(*second);
            let line = match change {
                Some(change) => telling.change(*change, now),
                None => telling.due(now),
            };
            told.extend(line.map(|line| (*second, line.change, line.left_out)));
        }
        assert_eq!(told, expected, "{what}");
    }

    #[test]
    fn an_endpoint_that_flaps_has_a_few_lines_and_the_last_one_is_true() {
        check("nothing", &[(0, None), (99, None)], &[]);
        check(
            "the usual way down and up is told at once",
            &[(0, Some("degraded")), (1, Some("open")), (29, Some("healthy")), (40, None)],
            &[(0, "degraded", 0), (1, "open", 0), (29, "healthy", 0)],
        );
        check(
            "one more is held until the first is old",
            &[
                (0, Some("a")),
                (1, Some("b")),
                (2, Some("c")),
                (3, Some("d")),
                (29, None),
                (30, None),
            ],
            &[(0, "a", 0), (1, "b", 0), (2, "c", 0), (30, "d", 0)],
        );
        check(
            "of several the latest is told, and how many were not",
            &[
                (0, Some("a")),
                (0, Some("b")),
                (0, Some("c")),
                (1, Some("d")),
                (2, Some("e")),
                (3, Some("f")),
                (30, None),
                (31, None),
                (32, Some("g")),
            ],
            &[(0, "a", 0), (0, "b", 0), (0, "c", 0), (30, "f", 2), (32, "g", 0)],
        );
        check(
            "a change tells what is due by itself",
            &[(0, Some("a")), (0, Some("b")), (0, Some("c")), (1, Some("d")), (30, Some("e"))],
            &[(0, "a", 0), (0, "b", 0), (0, "c", 0), (30, "e", 1)],
        );
        check(
            "what was told long ago counts no more",
            &[(0, Some("a")), (0, Some("b")), (0, Some("c")), (60, Some("d")), (60, Some("e"))],
            &[(0, "a", 0), (0, "b", 0), (0, "c", 0), (60, "d", 0), (60, "e", 0)],
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn never_too_many_lines_and_every_change_is_told_or_counted(
            steps in proptest::collection::vec((0_u64..9_000, any::<bool>()), 0..200),
        ) {
            let (mut telling, mut now, mut changes) = (Telling::default(), Duration::ZERO, 0_u32);
            let mut lines: Vec<(Duration, Told<u32>)> = Vec::new();
            for (pause, changed) in steps {
                now += Duration::from_millis(pause);
                let line = if changed {
                    changes += 1;
                    telling.change(changes, now)
                } else {
                    telling.due(now)
                };
                lines.extend(line.map(|line| (now, line)));
            }
            lines.extend(telling.due(now + WITHIN).map(|line| (now + WITHIN, line)));
            for few in lines.windows(MOST + 1) {
                prop_assert!(few[0].0 + WITHIN <= few[MOST].0);
            }
            let accounted: u32 = lines.iter().map(|(_, line)| 1 + line.left_out).sum();
            prop_assert_eq!(accounted, changes);
            prop_assert_eq!(lines.last().map_or(0, |(_, line)| line.change), changes);
        }
    }
}
