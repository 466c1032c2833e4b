//! Classification: what an answer of the world means for the event.
//!
//! One file a protocol. Owns the tables of the contract; refuses to know an endpoint's history,
//! which is [`super::breaker`]. Read [`http`] first.

pub mod amqp;
pub mod http;
pub mod mqtt;

use std::io;
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

/// The failure for a host name about which no resolver said anything: that passes.
#[must_use]
pub fn dns_unavailable(host: &str) -> Failure {
    let detail = format!("the name {host} could not be looked up: no answer from a name server");
    Failure::transient("dns_unavailable", detail)
}

/// The failure for a lookup of `host` that came to `error`.
#[must_use]
pub fn lookup(error: &io::Error, host: &str) -> Failure {
    if is_unknown_name(error) { dns(host) } else { dns_unavailable(host) }
}

/// What a lookup says when it could not ask, or got no answer; glibc's words and musl's. The
/// standard library keeps the number from us, and has no kind for it.
const UNANSWERED: [&str; 6] = [
    "Temporary failure in name resolution",
    "Non-recoverable failure in name resolution",
    "Memory allocation failure",
    "System error",
    "Try again",
    "Out of memory",
];

/// Whether a failed lookup means that the name is unknown. What the operating system itself could
/// not do has a number, and is no fault of the name.
#[must_use]
pub fn is_unknown_name(error: &io::Error) -> bool {
    let words = error.to_string();
    error.raw_os_error().is_none()
        && !UNANSWERED.iter().any(|unanswered| words.contains(unanswered))
}

/// The failure for a certificate or handshake that did not verify.
#[must_use]
pub fn tls(cause: &str) -> Failure {
    Failure::misconfigured("tls_failed", format!("TLS verification failed: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::Class;

    #[test]
    fn no_peer_can_invent_reasons() {
        let reasons = |failures: &mut dyn Iterator<Item = Failure>| {
            let reasons = failures.map(|failure| failure.reason);
            reasons.collect::<std::collections::BTreeSet<_>>().len()
        };
        let text = "invented by the peer";
        let texts = [text, "limit", "message size", "not found"];
        let codes = (0..=u16::MAX).flat_map(|code| texts.map(|text| (code, text)));
        assert_eq!(reasons(&mut codes.map(|(code, text)| amqp::reply(code, text))), 16);
        let connacks = &mut (0..=u8::MAX).map(|code| mqtt::connack(code, text));
        assert_eq!(reasons(connacks), 6);
        // A status has three digits, as both HTTP libraries see to: 900 words at most.
        let statuses = &mut (0..=u16::MAX)
            .filter_map(|status| awc::http::StatusCode::from_u16(status).ok())
            .filter_map(|status| http::failure(status.as_u16(), text, None));
        assert_eq!(reasons(statuses), 800);
    }

    #[test]
    fn only_a_name_that_is_unknown_is_misconfigured() {
        #[track_caller]
        fn check(error: &io::Error, class: Class, reason: &str) {
            let failure = lookup(error, "broker.example");
            assert_eq!((failure.class, failure.reason.as_str()), (class, reason), "{error}");
            assert!(failure.detail.contains("broker.example"), "{}", failure.detail);
        }
        let said = |words: &str| {
            io::Error::other(format!("failed to lookup address information: {words}"))
        };
        for unknown in [
            "Name or service not known",
            "No address associated with hostname",
            "nodename nor servname provided, or not known",
            "Name does not resolve",
        ] {
            check(&said(unknown), Class::Misconfigured, "dns_unknown");
        }
        for unanswered in UNANSWERED {
            check(&said(unanswered), Class::Transient, "dns_unavailable");
        }
        // Too many open files.
        check(&io::Error::from_raw_os_error(24), Class::Transient, "dns_unavailable");
    }
}
