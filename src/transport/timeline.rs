//! The timeline of one attempt: what it spends its time on.
//!
//! Owns a task-local that the transports mark the beginning of each step in, so that no timeline goes
//! through their signatures. Marks outside an attempt (a bus connection, a test of a transport) do
//! nothing. Steps follow each other: one ends where the next begins. Refuses to judge. Read
//! [`super::http`] next, which marks most of them.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::time::Instant;

use crate::logic::attempt_log::{MAX_PHASES, Phase, Step};

/// How many phases most attempts have at most.
const USUAL_PHASES: usize = 6;

tokio::task_local! {
    static TIMELINE: Timeline;
}

/// The steps of one attempt so far. Clones are the same timeline.
#[derive(Clone, Debug)]
pub struct Timeline(Rc<RefCell<Track>>);

#[derive(Debug)]
struct Track {
    ended: Vec<Phase>,
    open: Option<(Step, Instant)>,
}

impl Default for Timeline {
    fn default() -> Self {
        let ended = Vec::with_capacity(USUAL_PHASES);
        Self(Rc::new(RefCell::new(Track { ended, open: None })))
    }
}

impl Timeline {
    /// Does the work of one attempt with this as its timeline.
    pub fn scope<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        TIMELINE.scope(self.clone(), work)
    }

    /// That of the attempt in which this is called: for work that goes on in another task.
    #[must_use]
    pub fn current() -> Option<Self> {
        TIMELINE.try_with(Clone::clone).ok()
    }

    /// A step begins, and the one before it ends.
    pub fn begin(&self, step: Step) {
        let now = Instant::now();
        let mut track = self.0.borrow_mut();
        track.end(now);
        track.open = Some((step, now));
    }

    /// The step that has begun ends; what follows belongs to none.
    pub fn end(&self) {
        self.0.borrow_mut().end(Instant::now());
    }

    /// The steps, in order; at most 16. The one that has not ended ends now.
    #[must_use]
    pub fn take(&self) -> Vec<Phase> {
        let mut track = self.0.borrow_mut();
        track.end(Instant::now());
        std::mem::take(&mut track.ended)
    }
}

impl Track {
    fn end(&mut self, now: Instant) {
        if let Some((step, began)) = self.open.take()
            && self.ended.len() < MAX_PHASES
        {
            self.ended.push(Phase { step, took: now.saturating_duration_since(began) });
        }
    }
}

/// A step of the present attempt begins, and the one before it ends.
pub(super) fn begin(step: Step) {
    let _ = TIMELINE.try_with(|timeline| timeline.begin(step));
}

/// The step of the present attempt that has begun ends; what follows belongs to none.
pub(super) fn end() {
    let _ = TIMELINE.try_with(Timeline::end);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[tokio::test(start_paused = true)]
    async fn steps_follow_each_other_and_the_last_one_ends_when_the_attempt_is_given_up() {
        let timeline = Timeline::default();
        let work = async {
            begin(Step::Connect);
            sleep(ms(20)).await;
            begin(Step::Publish);
            sleep(ms(5)).await;
            end();
            sleep(ms(100)).await;
            begin(Step::FirstByte);
            sleep(ms(60_000)).await;
        };
        let done = tokio::time::timeout(ms(1_125), timeline.scope(work)).await;
        assert!(done.is_err(), "it hangs");
        let phase = |step, millis| Phase { step, took: ms(millis) };
        let expected =
            [phase(Step::Connect, 20), phase(Step::Publish, 5), phase(Step::FirstByte, 1_000)];
        assert_eq!(timeline.take(), expected);
        assert_eq!(timeline.take(), []);
    }

    #[tokio::test]
    async fn outside_an_attempt_marks_do_nothing_and_attempts_do_not_mix() {
        begin(Step::Connect);
        end();
        assert!(Timeline::current().is_none());
        let (one, other) = (Timeline::default(), Timeline::default());
        let first = one.scope(async {
            begin(Step::Resolve);
            tokio::task::yield_now().await;
            Timeline::current().unwrap().begin(Step::Connect);
        });
        let second = other.scope(async {
            begin(Step::Confirm);
            tokio::task::yield_now().await;
        });
        tokio::join!(first, second);
        let steps = |timeline: &Timeline| -> Vec<Step> {
            timeline.take().iter().map(|phase| phase.step).collect()
        };
        assert_eq!(steps(&one), [Step::Resolve, Step::Connect]);
        assert_eq!(steps(&other), [Step::Confirm]);
    }

    #[test]
    fn phases_are_bounded() {
        let timeline = Timeline::default();
        (0..100).for_each(|_| timeline.begin(Step::Publish));
        assert_eq!(timeline.take().len(), MAX_PHASES);
    }
}
