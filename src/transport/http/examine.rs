//! Examining an HTTP endpoint: the way to it. Nothing more can be asked without an event.
//!
//! Owns what rest and webhook endpoints have in common. Sends no request: a partner may take any,
//! HEAD and OPTIONS too, for what it is not meant to be. Read [`crate::transport::examine`] next.

use std::time::Duration;

use url::Url;

use super::ALPN;
use crate::logic::secret::redact;
use crate::transport::examine::{Examination, Way, walk};
use crate::transport::tls::TlsSettings;

/// Why there is no login.
const NO_LOGIN: &str =
    "HTTP has no login of its own: whether the credentials are right shows with --send only";

/// Examines the way; gives something when a request could follow.
pub(in crate::transport) async fn examine(
    exam: &mut Examination,
    url: &Url,
    tls: &TlsSettings,
    limit: Duration,
) -> Option<()> {
    let host = url.host_str().unwrap_or_default();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let way = Way {
        host: bare,
        port: url.port_or_known_default().unwrap_or_default(),
        tls: (url.scheme() == "https").then_some(tls),
        alpn: Some(ALPN),
        limit,
        target: &redact(url),
    };
    let stream = walk(exam, &way).await;
    exam.skip("login", NO_LOGIN);
    stream.map(drop)
}
