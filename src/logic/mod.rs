//! Floor 1: decisions. Every rule of lockgate is a pure function or a state machine here.
//!
//! Refuses clocks, chance, I/O, async, actors and logging: time, randomness and identity come in
//! as arguments. Reading order: [`intake`] (what is an event; over [`attribute`], [`json`] and
//! [`moment`]; [`message_file`] for messages that people write, [`message_json`] for what they
//! read), [`routing`] (who gets it), [`body`], [`ecmascript`] (both over [`json_scan`] and
//! [`json_parts`]), [`filter`], [`topic`], [`signing`], [`trace_context`] (what is sent),
//! [`classify`] (what came of it; [`remedy`]: what to do about it; [`diagnosis`]: what a doctor
//! found), [`settle`], [`retry`],
//! [`breaker`], [`lane`] (what happens next), [`prefetch`] (how much is taken at once), [`parcel`]
//! (how it is parked), [`frame`] (so that it can be), [`dead`] (what becomes of a dead letter),
//! [`dead_view`] (how it is shown), [`ledger`] (when the bus message is acknowledged),
//! [`attempt_log`], [`pace`], [`span`] and [`telling`] (what operators see of it), [`secret`],
//! [`sealing`].

pub mod attempt_log;
pub mod attribute;
pub mod body;
pub mod breaker;
pub mod classify;
pub mod dead;
pub mod dead_view;
pub mod diagnosis;
pub mod ecmascript;
pub mod filter;
pub mod frame;
pub mod intake;
pub mod json;
pub mod json_parts;
pub mod json_scan;
pub mod lane;
pub mod ledger;
pub mod message_file;
pub mod message_json;
pub mod moment;
pub mod pace;
pub mod parcel;
pub mod prefetch;
pub mod remedy;
pub mod retry;
pub mod routing;
pub mod schema;
pub mod sealing;
pub mod secret;
pub mod settle;
pub mod signing;
pub mod span;
pub mod telling;
pub mod test_event;
pub mod topic;
pub mod trace_context;

#[cfg(test)]
mod tests {
    /// How many sequences of `length` steps a state machine is put through: 20,000 steps in all, or
    /// as many as `LOCKGATE_PROPERTY_STEPS` says.
    pub(super) fn sequences(length: usize) -> proptest::test_runner::Config {
        let steps = std::env::var("LOCKGATE_PROPERTY_STEPS");
        let steps: usize = steps.map_or(20_000, |steps| steps.parse().expect("a number of steps"));
        let cases = u32::try_from(steps.div_ceil(length)).expect("fewer steps");
        proptest::test_runner::Config { cases, failure_persistence: None, ..Default::default() }
    }
}
