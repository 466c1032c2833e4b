//! Floor 0: the nouns of lockgate, as plain data.
//!
//! Owns what an event, a message, a route and an outcome *are*. Refuses every decision: those
//! stand in [`crate::logic`]. Read [`event`] first, then [`delivery`], then [`names`].

pub mod delivery;
pub mod event;
pub mod names;
