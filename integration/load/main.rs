//! Tests that need the machine for themselves: they measure, or they run under load for long.
//!
//! They run one at a time ([`alone`]), after the other integration tests. What they compare, they
//! have measured in the same run. Read [`support`] first.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "this crate is tests from end to end, and prints what it measures"
)]

mod cluster;
mod instances;
mod isolation;
mod kills;
mod memory;
mod mqtt_link;
mod reloads;
mod stops;
#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the other integration tests use the rest")]
mod support;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held by a test while it runs: no other one of this crate runs beside it.
pub fn alone() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}
