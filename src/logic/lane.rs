//! Lanes: when an endpoint leaves the express lane for its parked one, and when it comes back.
//!
//! Owns the rule *express while you keep up, your own queue when you don't*. Refuses to move
//! anything: the endpoint actor does. Read [`super::prefetch`] next.

use std::time::Duration;

/// How an endpoint's events reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// From the bus through memory; the bus message waits for it.
    Express,
    /// Through the endpoint's own queue; what comes is parked at once.
    Parked,
}

/// What is to be seen of an endpoint that has routes waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// No further attempt may begin now.
    pub window_full: bool,
    /// Since an attempt last ended or, if later, since the window became full.
    pub since_progress: Duration,
    /// How long its first waiting route has waited.
    pub longest_wait: Duration,
    /// The source delivers nothing more until something is acknowledged.
    pub prefetch_used_up: bool,
    /// Some other endpoint could begin an attempt now.
    pub other_has_room: bool,
    /// How long it may hold others back.
    pub patience: Duration,
}

/// Whether an endpoint whose breaker is closed keeps up; if not, it goes over to its parked lane.
///
/// Slowness alone never parks: only an endpoint that holds others back does.
#[must_use]
pub fn keeps_up(sight: &Sight) -> bool {
    let stuck = sight.window_full && sight.since_progress >= sight.patience;
    let brake = sight.prefetch_used_up && sight.longest_wait >= sight.patience;
    !(sight.other_has_room && (stuck || brake))
}

/// Whether an endpoint on its parked lane may go back to express: its queue has nothing ready,
/// nothing that was taken from it waits, and another attempt could begin (`has_room`). `ready` is
/// `None` while the depth is unknown.
///
/// That this instance holds none of the queue would be too much to ask: under a steady load some
/// attempts are always under way, and an endpoint that keeps up would never come back.
#[must_use]
pub fn may_return(breaker_closed: bool, enabled: bool, ready: Option<u32>, has_room: bool) -> bool {
    breaker_closed && enabled && ready == Some(0) && has_room
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn calm() -> Sight {
        Sight {
            window_full: false,
            since_progress: Duration::ZERO,
            longest_wait: Duration::ZERO,
            prefetch_used_up: false,
            other_has_room: true,
            patience: 500 * MS,
        }
    }

    fn check(what: &str, sight: Sight, expected: bool) {
        assert_eq!(keeps_up(&sight), expected, "{what}");
    }

    #[test]
    fn only_an_endpoint_that_holds_others_back_is_parked() {
        let hanging = Sight { window_full: true, since_progress: 500 * MS, ..calm() };
        let braking = Sight { prefetch_used_up: true, longest_wait: 500 * MS, ..calm() };
        check("idle", calm(), true);
        check("hanging", hanging, false);
        check("hanging, not for long", Sight { since_progress: 499 * MS, ..hanging }, true);
        check("hanging, alone", Sight { other_has_room: false, ..hanging }, true);
        check("slow, with the prefetch used up", braking, false);
        check("slow, alone", Sight { other_has_room: false, ..braking }, true);
        check("slow, with prefetch left", Sight { prefetch_used_up: false, ..braking }, true);
        check("slow but moving", Sight { window_full: true, since_progress: MS, ..calm() }, true);
    }

    #[test]
    fn it_is_express_again_when_its_queue_is_empty_and_it_has_room() {
        assert!(may_return(true, true, Some(0), true));
        assert!(!may_return(true, true, Some(1), true));
        assert!(!may_return(true, true, None, true));
        assert!(!may_return(true, true, Some(0), false));
        assert!(!may_return(false, true, Some(0), true));
        assert!(!may_return(true, false, Some(0), true));
    }
}
