//! What awc's errors mean.
//!
//! Owns the way from an error on the wire to a [`Failure`]. Refuses to judge answers: that is
//! [`crate::logic::classify::http`]. Read [`super::redirect`] next.

use std::io;

use actix_web::error::ParseError;
use awc::error::{ConnectError, PayloadError, SendRequestError};

use crate::domain::delivery::Failure;
use crate::logic::classify;
use crate::transport::tls;

/// The failure for an exchange that ended before the head of an answer. `what` names the step:
/// `POST https://host/path`; `host` is the name that was looked up.
pub(super) fn send(error: SendRequestError, what: &str, host: &str) -> Failure {
    match error {
        SendRequestError::Connect(cause) => connect(cause, what, host),
        SendRequestError::Send(cause) | SendRequestError::Response(ParseError::Io(cause)) => {
            wire(&cause, what)
        }
        SendRequestError::Response(cause) => bad_answer(what, &cause.to_string()),
        SendRequestError::Timeout => Failure::transient("timeout", format!("{what}: timed out")),
        // An address or a request that awc will not have: no event passes.
        SendRequestError::Url(cause) => {
            Failure::misconfigured("bad_url", format!("{what}: {cause}"))
        }
        // The rest speaks of HTTP/2, tunnels and streamed bodies, none of which are used.
        other => bad_answer(what, &other.to_string()),
    }
}

fn connect(error: ConnectError, what: &str, host: &str) -> Failure {
    match error {
        ConnectError::Resolver(cause) => match cause.downcast_ref::<io::Error>() {
            Some(cause) => classify::lookup(cause, host),
            None => classify::dns(host),
        },
        ConnectError::NoRecords | ConnectError::Unresolved => classify::dns(host),
        ConnectError::Timeout => {
            Failure::transient("timeout", format!("{what}: connecting timed out"))
        }
        ConnectError::Disconnected => classify::io(io::ErrorKind::UnexpectedEof, what),
        ConnectError::Io(cause) => wire(&cause, what),
        other => bad_answer(what, &other.to_string()),
    }
}

/// The failure for a body that ended before it was complete.
pub(super) fn body(error: &PayloadError, what: &str) -> Failure {
    match error {
        PayloadError::Incomplete(Some(cause)) | PayloadError::Io(cause) => wire(cause, what),
        PayloadError::Incomplete(None) => classify::io(io::ErrorKind::UnexpectedEof, what),
        other => bad_answer(what, &other.to_string()),
    }
}

fn wire(error: &io::Error, what: &str) -> Failure {
    if let Some(cause) = tls::inside(error) {
        return tls::failure(cause, what);
    }
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            bad_answer(what, &error.to_string())
        }
        kind => classify::io(kind, what),
    }
}

/// The peer said something that is not HTTP/1.1.
fn bad_answer(what: &str, cause: &str) -> Failure {
    Failure::transient("bad_answer", format!("{what}: the answer is no HTTP: {cause}"))
}
