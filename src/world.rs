//! Floor 2: the world's time, chance and identity, in one place.
//!
//! Owns the only calls to the wall clock and to randomness. Everything in [`crate::logic`] gets
//! these as arguments. Durations are measured with tokio's clock, which tests can pause.

#![allow(clippy::disallowed_methods, reason = "this is the one place where they are asked")]

/// The wall clock's time.
#[must_use]
pub fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// A random number, evenly spread over `0.0..1.0`.
#[must_use]
pub fn random() -> f64 {
    rand::random()
}

/// Random bytes for keys and nonces, from the system's generator.
///
/// # Errors
/// When the system has none to give.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], ring::error::Unspecified> {
    let mut bytes = [0; N];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes)?;
    Ok(bytes)
}

/// A text that nobody else has.
#[must_use]
pub fn unique() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
