//! Floor 2: what is measured, by name.
use crate::domain::delivery::Settlement;
/// A route was settled.
pub fn settled(_endpoint: &str, _how: Settlement) {}
/// x
pub fn rejected() {}
/// x
pub fn unwanted() {}
/// x
pub fn received() {}
/// x
pub fn acknowledged(_count: u64) {}
/// x
pub fn routed(_endpoint: &str) {}
/// x
pub fn resumed(_endpoint: &str) {}
/// x
pub fn bus_connected(_up: bool) {}
/// x
pub fn attempt(_endpoint: &str, _outcome: &str, _reason: &str, _took: std::time::Duration) {}
/// x
pub fn state(_endpoint: &str, _state: crate::logic::breaker::State) {}
