//! The configuration and the offline commands: hermetic, through the library and the binary.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "this crate is tests from end to end"
)]

mod canary;
mod commands;
mod explain;
mod layers;
mod manual;
mod mistakes;
mod rotation;
mod schema;
mod support;
