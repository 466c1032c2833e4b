//! The whole bridge on the memory bus, with real HTTP partners inside the process.
//!
//! Each test ends with [`stage::Stage::done`]: every counter reconciles. Read [`stage`] first.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "this crate is tests from end to end"
)]

mod controls;
mod failures;
mod flow;
mod losses;
mod partner;
mod prefetch;
mod reload;
mod shown;
mod stage;
mod stops;
mod unreliable;
