//! The collector of traces: where spans go by OTLP over HTTP.
//!
//! Owns the `telemetry.otlp` table and one POST, which [`super::http`] makes as it does for partners:
//! with its TLS, its timeout and its words for what went wrong. Refuses to know a span, and to try
//! again: [`crate::spans`] does. Read that next.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::http::rules::{self, complain};
use super::http::{Exchange, Header, Non2xx, Reach, Terms};
use super::tls::TlsSettings;
use super::{BuildError, Complaint};
use crate::domain::delivery::{Failure, Outcome};
use crate::logic::classify;
use crate::logic::schema::DurationText;
use crate::logic::secret::{Secret, SecretUrl, has_user};

/// The `telemetry.otlp` table: traces are exported. Takes a lockgate with the feature `otlp`.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The collector's whole address for traces by OTLP over HTTP, as `http://collector:4318/v1/traces`:
    /// `http` or `https`. A user part means basic authentication.
    #[schemars(schema_with = "rules::url_schema")]
    pub endpoint: SecretUrl,
    /// More headers of each request.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// The share of traces that are exported among those that begin here: 0 to 1. An event that
    /// comes with a trace follows that trace's `sampled` flag. Default 1.
    #[serde(default = "default_sample")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sample: f64,
    /// For one request: 1 ms to 5 minutes. Default 10 s.
    #[serde(default = "default_timeout", with = "humantime_serde")]
    #[schemars(with = "DurationText")]
    pub timeout: Duration,
    /// For `https`.
    #[serde(default)]
    pub tls: TlsSettings,
}

fn default_sample() -> f64 {
    1.0
}

fn default_timeout() -> Duration {
    Duration::from_secs(10)
}

impl Settings {
    /// Everything wrong between the keys of this table.
    #[must_use]
    pub fn validate(&self) -> Vec<Complaint> {
        let of_url = rules::url(&self.endpoint).into_iter();
        let mut complaints: Vec<Complaint> =
            of_url.map(|(_, message, hint)| ("endpoint".to_owned(), message, hint)).collect();
        let user = has_user(self.endpoint.expose());
        let taken: &[&str] = if user { &["authorization"] } else { &[] };
        complaints.extend(rules::headers(&self.headers, taken));
        if !(0.0..=1.0).contains(&self.sample) {
            let hint = "1 exports every trace that begins here, 0.01 one in a hundred, 0 none";
            complaints.push(complain("sample", "must be from 0 to 1", hint));
        }
        complaints.extend(rules::timeout(self.timeout));
        complaints.extend(rules::tls(&self.tls));
        complaints
    }

    /// The keys of this table that hold credentials.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        let user = has_user(self.endpoint.expose()).then(|| "endpoint".to_owned());
        user.into_iter().chain(rules::secret_headers(&self.headers)).collect()
    }
}

/// Sends to one collector. Lives on one thread, as awc's client does.
pub struct Collector {
    exchange: Exchange,
    what: String,
    headers: Vec<Header>,
}

impl Collector {
    /// One for these settings.
    ///
    /// # Errors
    /// When the URL is none that can be called, or certificates cannot be loaded that it needs.
    pub fn new(settings: &Settings) -> Result<Self, BuildError> {
        let exchange = Exchange::new(&Terms {
            endpoint: None,
            url: settings.endpoint.expose(),
            timeout: settings.timeout,
            // Each answer is one: what follows from it is no matter of HTTP.
            non_2xx: Non2xx::Accept,
            // The headers are meant for the one who is named.
            follows_redirects: false,
            tls: &settings.tls,
        })?;
        let version = concat!("lockgate/", env!("CARGO_PKG_VERSION"));
        let mut headers = vec![
            Header::open("Content-Type", "application/x-protobuf", Reach::WithBody),
            Header::open("User-Agent", version, Reach::Everywhere),
        ];
        let fixed = settings.headers.iter();
        headers.extend(fixed.map(|(name, value)| Header::secret(name, value.expose())));
        headers.extend(rules::url_authorization(settings.endpoint.expose()));
        Ok(Self { exchange, what: format!("POST {}", settings.endpoint), headers })
    }

    /// Sends a body; the status of the answer.
    ///
    /// # Errors
    /// When there is none, within the timeout.
    pub async fn post(&self, body: &Bytes) -> Result<u16, Failure> {
        match self.exchange.deliver(&self.headers, body).await {
            Outcome::Delivered { status } => Ok(status.unwrap_or_default()),
            Outcome::Failed(failure) => Err(failure),
        }
    }

    /// What an answer with this status means, in words; `None`: it was taken.
    #[must_use]
    pub fn refusal(&self, status: u16) -> Option<String> {
        classify::http::failure(status, &self.what, None).map(|failure| failure.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(toml: &str) -> Settings {
        use figment::Figment;
        use figment::providers::{Format as _, Toml};
        Figment::from(Toml::string(toml)).extract().unwrap()
    }

    #[test]
    fn what_does_not_hold_is_named() {
        let check = |toml: &str, expected: &[&str]| {
            let found = settings(toml).validate();
            let keys: Vec<&str> = found.iter().map(|(key, ..)| key.as_str()).collect();
            assert_eq!(keys, expected, "{toml}");
        };
        check("endpoint = 'http://c:4318/v1/traces'", &[]);
        check("endpoint = 'https://c/'\nsample = 0\ntimeout = '5m'", &[]);
        check("endpoint = 'https://c/'\nsample = 0.25\nheaders = { authorization = 'x' }", &[]);
        check("endpoint = 'grpc://c:4317'", &["endpoint"]);
        check("endpoint = 'http://c/'\nsample = 1.5", &["sample"]);
        check("endpoint = 'http://c/'\nsample = -1", &["sample"]);
        check("endpoint = 'http://c/'\nsample = nan", &["sample"]);
        check("endpoint = 'http://c/'\ntimeout = '0s'", &["timeout"]);
        check("endpoint = 'http://c/'\ntimeout = '6m'", &["timeout"]);
        check(
            "endpoint = 'http://c/'\nheaders = { Content-Type = 'x' }",
            &["headers.Content-Type"],
        );
        let both = "endpoint = 'http://u:p@c/'\nheaders = { Authorization = 'x' }";
        check(both, &["headers.Authorization"]);
        let nowhere = "endpoint = 'https://c/'\ntls = { ca_file = '/nowhere/ca.pem' }";
        check(nowhere, &["tls.ca_file"]);
    }

    #[test]
    fn its_credentials_are_known_and_not_shown() {
        let toml = "endpoint = 'http://u:canary@c/?k=canary'\n\
                    headers = { X-Api-Key = 'canary', X-Tenant = 'plain' }";
        let settings = settings(toml);
        assert_eq!(settings.secrets(), ["endpoint", "headers.X-Api-Key"]);
        assert!(!format!("{settings:?}").contains("canary"));
        let refused = Collector::new(&settings).unwrap().refusal(401).unwrap();
        assert!(refused.starts_with("POST http://c/: answered 401"), "{refused}");
        assert!(!refused.contains("canary"));
    }
}
