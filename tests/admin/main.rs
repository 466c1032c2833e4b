//! The admin listener over real sockets, before a bridge at work on a memory bus.
//!
//! Every answer that [`stage`] reads is held to the schema that the API's own document has for it.
//! Read [`stage`] first.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "this crate is tests from end to end"
)]

mod changes;
mod dead_letters;
mod door;
mod endpoints;
#[allow(dead_code, reason = "the tests of the bridge use the rest")]
#[path = "../bridge/partner.rs"]
mod partner;
mod schema;
mod stage;
mod status;
