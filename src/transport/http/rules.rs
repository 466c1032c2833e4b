//! What must hold of the keys that REST and webhook endpoints have in common.
//!
//! Owns these rules and the header that a URL's user part becomes. Refuses to stop at the first
//! complaint. Read [`crate::transport::rest`] next.

use std::collections::BTreeMap;
use std::time::Duration;

use awc::http::header::{HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use percent_encoding::percent_decode_str;
use url::Url;

use super::{Header, Reach, redirect};
use crate::domain::delivery::Outgoing;
use crate::logic::schema;
use crate::logic::secret::{Secret, SecretUrl, has_user};
use crate::logic::trace_context::{TRACEPARENT, TRACESTATE};
use crate::transport::Complaint;
use crate::transport::tls::{self, TlsSettings};

/// Attempts may last so long: RabbitMQ gives up a consumer after 30 minutes.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(300);
/// And not less.
pub const MIN_TIMEOUT: Duration = Duration::from_millis(1);

/// Headers that the exchange itself writes, or that would change what is sent.
const RESERVED: [&str; 12] = [
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "expect",
    "upgrade",
    "te",
    "trailer",
    "x-request-id",
    "x-correlation-id",
];

/// Parts of header names that speak of credentials.
const TELLING: [&str; 9] =
    ["auth", "key", "token", "secret", "password", "credential", "cookie", "signature", "session"];

/// What is said, with a hint.
pub(in crate::transport) fn complain(
    key: &str,
    message: impl Into<String>,
    hint: &str,
) -> Complaint {
    (key.into(), message.into(), Some(hint.into()))
}

/// The URL: http or https, and callable.
pub(in crate::transport) fn url(url: &SecretUrl) -> Vec<Complaint> {
    let exposed = url.expose();
    if !matches!(exposed.scheme(), "http" | "https") {
        let message = format!("the scheme {} is not supported", exposed.scheme());
        return vec![complain("url", message, "write http:// or https://")];
    }
    if redirect::uri(exposed).is_none() {
        let message = format!("{url} is not an address that HTTP can call");
        return vec![complain("url", message, "percent-encode its unusual characters")];
    }
    Vec::new()
}

/// What a `url` of these endpoints looks like.
pub(in crate::transport) fn url_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schema::url(&["http", "https"])
}

/// The timeout: from 1 ms to 5 minutes.
pub(in crate::transport) fn timeout(timeout: Duration) -> Option<Complaint> {
    (!(MIN_TIMEOUT..=MAX_TIMEOUT).contains(&timeout))
        .then(|| complain("timeout", "out of bounds", "choose a timeout between 1ms and 5m"))
}

/// The CA file: readable, with certificates.
pub(in crate::transport) fn tls(settings: &TlsSettings) -> Option<Complaint> {
    let cause = tls::read_ca(settings.ca_file.as_deref()?).err()?;
    Some(complain("tls.ca_file", cause.0, "name a PEM file with the authority's certificates"))
}

/// The name of a header under `key`: legal, and none that is sent anyway. `taken` are more names
/// that it must not have.
pub(in crate::transport) fn header_name(
    key: &str,
    name: &str,
    taken: &[&str],
) -> Option<Complaint> {
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        let hint = "use letters, digits and hyphens";
        return Some(complain(key, format!("{name:?} is not a header's name"), hint));
    }
    let clashes = |other: &&str| name.eq_ignore_ascii_case(other);
    if RESERVED.iter().chain(taken).any(clashes) {
        let message = format!("the header {name} is already set by other means");
        return Some(complain(key, message, "choose another name"));
    }
    None
}

/// The value of a header under `key`. The value is not shown.
pub(in crate::transport) fn header_value(key: &str, value: &Secret) -> Option<Complaint> {
    let illegal = HeaderValue::from_bytes(value.expose().as_bytes()).is_err();
    illegal.then(|| {
        complain(key, "the value holds a control character", "a line break at its end, perhaps")
    })
}

/// The fixed headers: legal, none twice, none of the `taken` ones.
pub(in crate::transport) fn headers(
    headers: &BTreeMap<String, Secret>,
    taken: &[&str],
) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for (name, value) in headers {
        let key = format!("headers.{name}");
        complaints.extend(header_name(&key, name, taken));
        complaints.extend(header_value(&key, value));
        if seen.iter().any(|other| other.eq_ignore_ascii_case(name)) {
            complaints.push(complain(&key, "the header is given twice", "names ignore case"));
        }
        seen.push(name);
    }
    complaints
}

/// The keys of fixed headers whose names speak of credentials.
pub(in crate::transport) fn secret_headers(headers: &BTreeMap<String, Secret>) -> Vec<String> {
    let telling = |name: &&String| {
        let name = name.to_ascii_lowercase();
        TELLING.iter().any(|part| name.contains(part))
    };
    headers.keys().filter(telling).map(|name| format!("headers.{name}")).collect()
}

/// `Authorization` for a user part of the URL; its parts are percent-decoded.
pub(in crate::transport) fn url_authorization(url: &Url) -> Option<Header> {
    let decode = |part| percent_decode_str(part).collect::<Vec<u8>>();
    let password = url.password().unwrap_or_default();
    has_user(url).then(|| authorization(&decode(url.username()), &decode(password)))
}

/// `Authorization` for a user and a password.
pub(in crate::transport) fn authorization(user: &[u8], password: &[u8]) -> Header {
    let pair = [user, b":", password].concat();
    Header::secret("Authorization", format!("Basic {}", BASE64.encode(pair)))
}

/// The headers that every request has.
pub(in crate::transport) fn common(
    outgoing: &Outgoing,
    fixed: &BTreeMap<String, Secret>,
) -> Vec<Header> {
    let id = outgoing.event_id.as_str();
    let mut headers = vec![
        Header::open("Content-Type", "application/json", Reach::WithBody),
        Header::open("X-Request-Id", id, Reach::Everywhere),
        Header::open("X-Correlation-Id", id, Reach::Everywhere),
    ];
    if !fixed.keys().any(|name| name.eq_ignore_ascii_case("user-agent")) {
        let version = concat!("lockgate/", env!("CARGO_PKG_VERSION"));
        headers.push(Header::open("User-Agent", version, Reach::Everywhere));
    }
    headers.extend(fixed.iter().map(|(name, value)| Header::secret(name, value.expose())));
    headers
}

/// Adds the event's trace. A header that is configured under one of its names wins; without our
/// `traceparent` there is no `tracestate`, which would belong to another trace.
pub(in crate::transport) fn add_trace(outgoing: &Outgoing, headers: &mut Vec<Header>) {
    let Some(trace) = &outgoing.trace else { return };
    let is_there = |headers: &[Header], name: &str| {
        headers.iter().any(|header| header.name.eq_ignore_ascii_case(name))
    };
    if is_there(headers, TRACEPARENT) {
        return;
    }
    // Another origin is none of the trace's business.
    headers.push(Header::open(TRACEPARENT, &trace.parent, Reach::FirstOrigin));
    if let Some(state) = trace.state.as_ref().filter(|_| !is_there(headers, TRACESTATE)) {
        headers.push(Header::open(TRACESTATE, state, Reach::FirstOrigin));
    }
}
