//! What RabbitMQ's answers to a publish mean.
//!
//! Owns the table of AMQP reply codes. Refuses to know how an answer arrived, as a returned
//! message, a closed channel or a closed connection: the code says it all. Read [`super::mqtt`]
//! next.

use crate::domain::delivery::Failure;

/// The failure for a reply code that RabbitMQ closed a channel or a connection with, or returned a
/// message with. `text` is RabbitMQ's explanation.
#[must_use]
pub fn reply(code: u16, text: &str) -> Failure {
    let detail = scrub(text);
    let (misconfigured, permanent, transient) =
        (Failure::misconfigured, Failure::permanent, Failure::transient);
    match code {
        311 => permanent("too_large", detail),
        406 if text.contains("message size") => permanent("too_large", detail),
        406 => permanent("precondition_failed", detail),
        312 => misconfigured("unroutable", detail),
        403 => misconfigured("access_refused", detail),
        404 => misconfigured("exchange_missing", detail),
        // A limit on connections or channels is no lasting refusal.
        530 if text.contains("limit") => transient("peer_limit", detail),
        402 => misconfigured("vhost_missing", detail),
        530 if text.contains("not found") => misconfigured("vhost_missing", detail),
        530 => misconfigured("not_allowed", detail),
        540 => misconfigured("not_implemented", detail),
        313 => transient("no_consumers", detail),
        320 => transient("connection_forced", detail),
        405 => transient("resource_locked", detail),
        501..=505 => transient("protocol_error", detail),
        506 => transient("resource_error", detail),
        541 => transient("internal_error", detail),
        // The number is the peer's word, and a reason is a label of metrics: it must not grow by it.
        other => transient("amqp_unknown", format!("AMQP reply code {other}: {detail}")),
    }
}

/// The failure for a message that the broker did not take: a full queue, a lost majority.
#[must_use]
pub fn nack() -> Failure {
    Failure::transient("nack", "the broker did not take the message")
}

/// The failure for a broker that takes no publishes for now: a memory or disk alarm.
#[must_use]
pub fn blocked(reason: &str) -> Failure {
    Failure::transient("blocked", format!("the broker takes no publishes: {}", scrub(reason)))
}

/// RabbitMQ's words without the name of the user, which is a part of the URL that no error shows.
#[must_use]
pub fn scrub(text: &str) -> String {
    let mut left = text;
    let mut kept = String::with_capacity(text.len());
    while let Some((before, after)) = left.split_once("user '") {
        kept.push_str(before);
        // A name may hold a quote itself: it ends where a quote is not followed by a letter.
        let end = after.char_indices().find(|(at, c)| {
            let next = after.get(at + 1..).and_then(|rest| rest.chars().next());
            *c == '\'' && !next.is_some_and(char::is_alphanumeric)
        });
        kept.push_str("the user");
        left = end.and_then(|(at, _)| after.get(at + 1..)).unwrap_or_default();
    }
    kept.push_str(left);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::Class;

    #[test]
    fn every_reply_code_has_the_class_of_the_contract() {
        use Class::{Misconfigured, Permanent, Transient};
        for (code, text, class, reason) in [
            (311, "CONTENT_TOO_LARGE", Permanent, "too_large"),
            (312, "NO_ROUTE", Misconfigured, "unroutable"),
            (313, "NO_CONSUMERS", Transient, "no_consumers"),
            (320, "CONNECTION_FORCED - broker forced closure", Transient, "connection_forced"),
            (402, "INVALID_PATH", Misconfigured, "vhost_missing"),
            (403, "ACCESS_REFUSED - Login was refused", Misconfigured, "access_refused"),
            (404, "NOT_FOUND - no exchange 'x' in vhost '/'", Misconfigured, "exchange_missing"),
            (405, "RESOURCE_LOCKED", Transient, "resource_locked"),
            (406, "PRECONDITION_FAILED - message size 9 is larger", Permanent, "too_large"),
            (406, "PRECONDITION_FAILED - other", Permanent, "precondition_failed"),
            (501, "FRAME_ERROR", Transient, "protocol_error"),
            (504, "CHANNEL_ERROR", Transient, "protocol_error"),
            (506, "RESOURCE_ERROR", Transient, "resource_error"),
            (530, "NOT_ALLOWED - vhost nope not found", Misconfigured, "vhost_missing"),
            (530, "NOT_ALLOWED - access to vhost 'a' refused", Misconfigured, "not_allowed"),
            (530, "NOT_ALLOWED - connection limit (2) is reached", Transient, "peer_limit"),
            (540, "NOT_IMPLEMENTED", Misconfigured, "not_implemented"),
            (541, "INTERNAL_ERROR", Transient, "internal_error"),
            (999, "?", Transient, "amqp_unknown"),
        ] {
            let failure = reply(code, text);
            assert_eq!((failure.class, failure.reason.as_str()), (class, reason), "{code} {text}");
        }
        assert_eq!(nack().class, Transient);
        assert_eq!(blocked("low on memory").class, Transient);
    }

    #[test]
    fn the_name_of_the_user_is_not_repeated() {
        for (text, wanted) in [
            (
                "ACCESS_REFUSED - access to queue 'q' in vhost '/' refused for user 'alice'",
                "ACCESS_REFUSED - access to queue 'q' in vhost '/' refused for the user",
            ),
            ("refused for user 'o'neil': limit (2)", "refused for the user: limit (2)"),
            ("user 'a' and user 'b' here", "the user and the user here"),
            ("user 'never ended", "the user"),
            ("nothing to hide", "nothing to hide"),
        ] {
            assert_eq!(scrub(text), wanted);
        }
    }
}
