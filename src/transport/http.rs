//! HTTP: the exchange that [`super::rest`] and [`super::webhook`] share.
//!
//! Owns one awc client per publisher, one timeout over the whole exchange, redirects, and what
//! came of it. Refuses to know what is sent: its callers bring headers and body. Read [`stream`]
//! and [`connect`] (what awc is given to stand on), [`errors`], [`redirect`],
//! [`rules`], [`poster`], [`examine`].
//!
//! An answer is complete when its head and its body arrived, or its head and the first
//! [`MAX_ANSWER`] bytes of the body: nothing in the rest could matter, so the connection is closed
//! over it. A body that breaks off before that is no answer.

mod connect;
mod errors;
pub(super) mod examine;
pub(super) mod poster;
pub mod redirect;
pub mod rules;
mod stream;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use awc::body::None as NoBody;
use awc::error::PayloadError;
use awc::http::header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use awc::http::{Method, Version};
use awc::{Client, ClientResponse, Connector};
use bytes::Bytes;
use futures_util::StreamExt as _;
use rustls::ClientConfig;
use url::Url;

use self::connect::Opener;
use self::redirect::{Hop, MAX_REDIRECTS, Next};
use super::tls::certificate::Peer;
use super::tls::{self, TlsSettings};
use super::{BuildError, timeline};
use crate::domain::delivery::{Failure, Outcome};
use crate::logic::secret::redact;
use crate::logic::{classify, retry};
use crate::world;

/// The one protocol that is offered.
const ALPN: &[u8] = b"http/1.1";
/// Bytes of an answer's body that are read at most.
pub const MAX_ANSWER: usize = 64 * 1024;
/// Connections at once, for awc: the largest `max_in_flight` there can be, which is the true bound.
const MAX_CONNECTIONS: usize = u16::MAX as usize;
/// How long an idle connection is used again: less than the 5 s after which Node.js closes one,
/// as a request into a closing connection fails.
const IDLE: Duration = Duration::from_secs(4);

/// What an answer other than 2xx means.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Non2xx {
    /// Any complete answer counts as delivered.
    Accept,
    /// Only 2xx counts.
    Retry,
}

/// How far a header goes when redirects are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// With every request.
    Everywhere,
    /// With every request that has the body.
    WithBody,
    /// To the origin of the configured URL, until it is left: credentials, fixed headers, signatures.
    FirstOrigin,
}

/// One header of a request. `Debug` does not show a secret value.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name, as written. Names are compared without case.
    pub name: String,
    /// Its value. Only where it is sent; [`Header::shown`] is for people.
    pub value: String,
    /// The value must not be shown.
    pub secret: bool,
    /// How far it goes.
    pub reach: Reach,
}

impl Header {
    /// A header that may be shown.
    #[must_use]
    pub fn open(name: &str, value: impl Into<String>, reach: Reach) -> Self {
        Self { name: name.into(), value: value.into(), secret: false, reach }
    }

    /// A header bound to the first origin that must not be shown.
    #[must_use]
    pub fn secret(name: &str, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        Self { name, value, secret: true, reach: Reach::FirstOrigin }
    }

    /// The value for people: masked where it is secret.
    #[must_use]
    pub fn shown(&self) -> &str {
        if self.secret { "[secret]" } else { &self.value }
    }

    /// As awc takes it.
    ///
    /// # Errors
    /// A permanent failure when the value is not legal: it holds a control character.
    fn wire(&self) -> Result<(HeaderName, HeaderValue), Failure> {
        let name = HeaderName::from_bytes(self.name.as_bytes());
        let value = HeaderValue::from_bytes(self.value.as_bytes());
        match (name, value) {
            (Ok(name), Ok(value)) => Ok((name, value)),
            _ => Err(Failure::permanent(
                "illegal_header_value",
                format!("the value of header {} holds a control character", self.name),
            )),
        }
    }

    fn goes_with(&self, hop: &Hop) -> bool {
        match self.reach {
            Reach::Everywhere => true,
            Reach::WithBody => hop.posts,
            Reach::FirstOrigin => hop.at_first_origin,
        }
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.shown())
    }
}

/// What both kinds of endpoints say about the exchange.
pub(super) struct Terms<'a> {
    /// The endpoint's name; the collector of traces is none.
    pub endpoint: Option<&'a str>,
    pub url: &'a Url,
    pub timeout: Duration,
    pub non_2xx: Non2xx,
    pub follows_redirects: bool,
    pub tls: &'a TlsSettings,
}

/// Sends requests to one endpoint. Lives on one thread, as awc's client does.
pub(super) struct Exchange {
    url: Url,
    /// `POST` and the URL without its secrets, for failures.
    what: String,
    timeout: Duration,
    non_2xx: Non2xx,
    follows_redirects: bool,
    plain: Client,
    /// The reason why there is none is told when it is needed: after a redirect, if ever.
    secure: Result<Client, String>,
}

/// The head of the last answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    location: Option<Vec<u8>>,
    retry_after: Option<Duration>,
}

impl Exchange {
    /// Prepares the clients.
    ///
    /// # Errors
    /// When the URL is none that can be called, or certificates cannot be loaded that it needs.
    pub fn new(terms: &Terms<'_>) -> Result<Self, BuildError> {
        let what = format!("POST {}", redact(terms.url));
        if redirect::uri(terms.url).is_none() {
            return Err(BuildError(format!("{what}: not an address that HTTP can call")));
        }
        let secure = match secure_client(terms) {
            Err(cause) if terms.url.scheme() == "https" => return Err(cause),
            other => other.map_err(|cause| cause.0),
        };
        Ok(Self {
            url: terms.url.clone(),
            what,
            timeout: terms.timeout,
            non_2xx: terms.non_2xx,
            follows_redirects: terms.follows_redirects,
            plain: client(None, terms.timeout),
            secure,
        })
    }

    /// One attempt: at most the timeout, redirects and all.
    pub async fn deliver(&self, headers: &[Header], body: &Bytes) -> Outcome {
        match tokio::time::timeout(self.timeout, self.exchange(headers, body)).await {
            Ok(Ok(answer)) => self.judge(&answer),
            Ok(Err(failure)) => failure.into(),
            Err(_) => classify::timeout(&self.what, self.timeout).into(),
        }
    }

    fn judge(&self, answer: &Answer) -> Outcome {
        let status = answer.status;
        let accepted = match self.non_2xx {
            // 101 is all that can come of them here, and it is no answer to a POST.
            Non2xx::Accept => status >= 200,
            Non2xx::Retry => (200..300).contains(&status),
        };
        if accepted {
            return Outcome::Delivered { status: Some(status) };
        }
        classify::http::failure(status, &self.what, answer.retry_after)
            .map_or(Outcome::Delivered { status: Some(status) }, Outcome::Failed)
    }

    async fn exchange(&self, headers: &[Header], body: &Bytes) -> Result<Answer, Failure> {
        let mut hop = Hop::first(&self.url);
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.request(&hop, headers, body).await?;
            if !self.follows_redirects {
                return Ok(answer);
            }
            match hop.next(answer.status, answer.location.as_deref()) {
                Next::Final => return Ok(answer),
                Next::Follow(next) => hop = next,
                Next::Refused(failure) => return Err(failure),
            }
        }
        Err(redirect::too_many(&self.url, &hop.url))
    }

    async fn request(
        &self,
        hop: &Hop,
        headers: &[Header],
        body: &Bytes,
    ) -> Result<Answer, Failure> {
        let method = if hop.posts { Method::POST } else { Method::GET };
        let what = format!("{method} {}", redact(&hop.url));
        let client = match (hop.url.scheme(), &self.secure) {
            ("https", Ok(client)) => client,
            ("https", Err(cause)) => return Err(classify::tls(&format!("{what}: {cause}"))),
            _ => &self.plain,
        };
        let uri = redirect::uri(&hop.url)
            .ok_or_else(|| Failure::misconfigured("bad_url", format!("{what}: not callable")))?;
        let mut request = client
            .request(method, uri)
            .no_decompress()
            .camel_case()
            .insert_header((HOST, redirect::host(&hop.url)));
        if !hop.at_first_origin {
            // The pool keeps idle connections for each place; others may send us to any number.
            request = request.force_close();
        }
        for header in headers.iter().filter(|header| header.goes_with(hop)) {
            request = request.insert_header(header.wire()?);
        }
        let sent = if hop.posts {
            request.send_body(body.clone())
        } else {
            request.send_body(NoBody::new())
        };
        let host = hop.url.host_str().unwrap_or_default();
        let mut response = sent.await.map_err(|cause| errors::send(cause, &what, host))?;
        let answer = Answer::of(&response);
        read_body(&mut response, &what).await?;
        timeline::end();
        Ok(answer)
    }
}

impl Answer {
    fn of<S>(response: &ClientResponse<S>) -> Self {
        let header = |name| response.headers().get(name).map(HeaderValue::as_bytes);
        let wish = header(RETRY_AFTER).and_then(|bytes| std::str::from_utf8(bytes).ok());
        Self {
            status: response.status().as_u16(),
            location: header(LOCATION).map(<[u8]>::to_vec),
            retry_after: wish.and_then(|text| retry::parse_retry_after(text, world::now())),
        }
    }
}

/// Reads the body to its end, at most [`MAX_ANSWER`] bytes, and forgets it. A connection with an
/// unread rest is closed when `response` is dropped.
async fn read_body(response: &mut ClientResponse, what: &str) -> Result<(), Failure> {
    if matches!(response.status().as_u16(), 100..=199 | 204 | 304) {
        return Ok(());
    }
    let until_closed =
        response.version() == Version::HTTP_10 && !response.headers().contains_key(CONTENT_LENGTH);
    let mut length = 0;
    while let Some(part) = response.next().await {
        match part {
            Ok(bytes) => length += bytes.len(),
            Err(PayloadError::Incomplete(Some(cause)))
                if until_closed && cause.kind() == std::io::ErrorKind::UnexpectedEof =>
            {
                return Ok(());
            }
            Err(cause) => return Err(errors::body(&cause, what)),
        }
        if length > MAX_ANSWER {
            return Ok(());
        }
    }
    Ok(())
}

fn secure_client(terms: &Terms<'_>) -> Result<Client, BuildError> {
    let host = terms.url.host_str().unwrap_or_default();
    let shared = match terms.endpoint {
        Some(endpoint) => tls::client_config_noting(terms.tls, Peer::endpoint(endpoint, host))?,
        None => tls::client_config(terms.tls)?,
    };
    let mut config = (*shared).clone();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(client(Some(Arc::new(config)), terms.timeout))
}

fn client(tls: Option<Arc<ClientConfig>>, timeout: Duration) -> Client {
    let connector = Connector::new()
        .connector(Opener::new(tls, timeout))
        .limit(MAX_CONNECTIONS)
        .conn_keep_alive(IDLE)
        // Ours ends first: one timeout covers the whole exchange.
        .timeout(timeout.saturating_mul(2));
    Client::builder().disable_timeout().disable_redirects().connector(connector).finish()
}
