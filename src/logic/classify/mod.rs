//! Classification: what an answer of the world means for the event.
//!
//! One file a protocol. Owns the tables of the contract; refuses to know an endpoint's history,
//! which is [`super::breaker`]. Read [`http`] first.

pub mod amqp;
pub mod http;
pub mod mqtt;

use std::io::ErrorKind;

use crate::domain::delivery::Failure;

/// The failure for an I/O error on the way to a peer. `what` names the step: `connect to host:port`.
#[must_use]
pub fn io(kind: ErrorKind, what: &str) -> Failure {
    match kind {
        ErrorKind::ConnectionRefused => {
            Failure::transient("connection_refused", format!("{what}: connection refused"))
        }
        ErrorKind::TimedOut => Failure::transient("timeout", format!("{what}: timed out")),
        other => Failure::transient("connection_lost", format!("{what}: {other}")),
    }
}

/// The failure for an attempt that took longer than its timeout.
#[must_use]
pub fn timeout(what: &str, after: std::time::Duration) -> Failure {
    Failure::transient("timeout", format!("{what}: no answer within {after:?}"))
}

/// The failure for a host name that does not resolve.
#[must_use]
pub fn dns(host: &str) -> Failure {
    Failure::misconfigured("dns_unknown", format!("the name {host} does not resolve"))
}

/// The failure for a certificate or handshake that did not verify.
#[must_use]
pub fn tls(cause: &str) -> Failure {
    Failure::misconfigured("tls_failed", format!("TLS verification failed: {cause}"))
}
