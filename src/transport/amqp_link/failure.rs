//! What goes wrong with a link, read as the failure of an attempt.
//!
//! Owns the way from a [`LinkError`] to the tables. Refuses the tables themselves, which are in
//! [`crate::logic::classify`]. Read that next.

use super::LinkError;
use crate::domain::delivery::Failure;
use crate::logic::classify;

impl LinkError {
    /// The failure that it is. `what` names the step: `publish to host`.
    #[must_use]
    pub fn failure(self, what: &str) -> Failure {
        match self {
            Self::Timeout(after) => classify::timeout(what, after),
            Self::Dns(host) => classify::dns(&host),
            Self::DnsUnavailable(host) => classify::dns_unavailable(&host),
            Self::Tls(cause) => classify::tls(&cause),
            Self::Io(kind) => classify::io(kind, what),
            Self::Reply { code, text } => classify::amqp::reply(code, &text),
            Self::Returned { .. } => Failure::misconfigured("unroutable", self.to_string()),
            Self::Nack => classify::amqp::nack(),
            Self::Blocked(reason) => classify::amqp::blocked(&reason),
            Self::Illegal(text) => Failure::permanent("illegal_property", text),
            Self::Lost(text) => Failure::transient("connection_lost", format!("{what}: {text}")),
        }
    }
}
