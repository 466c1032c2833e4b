//! Webhook endpoints: one signed POST an event.
//!
//! Owns the `webhook` table and the headers of its requests: signatures of the platform's own kind,
//! of Standard Webhooks, or both. Refuses to speak HTTP, which is [`super::http`], and to follow
//! redirects. Read [`super::mqtt`] next.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::examine::Examination;
use super::http::rules::{self, complain};
use super::http::{Header, Non2xx, Reach, Terms, examine, poster};
use super::tls::TlsSettings;
use super::{BuildError, Complaint, Instance, Publisher};
use crate::domain::delivery::Outgoing;
use crate::logic::schema::DurationText;
use crate::logic::secret::{Secret, SecretUrl, has_user};
use crate::logic::signing::{StandardSecret, hmac_hex, standard_signature};
use crate::world;

/// The headers of Standard Webhooks.
const STANDARD: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];

/// The endpoint's `webhook` table.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("not" = serde_json::json!({ "required": ["secret", "secrets"] })))]
pub struct Settings {
    /// Where events go by POST: `http` or `https`. A user part means basic authentication.
    #[schemars(schema_with = "rules::url_schema")]
    pub url: SecretUrl,
    /// What requests are signed with. This or `secrets`.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// The new secret first, then older ones: the platform's own signature is by the first,
    /// the standard one by all.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub secrets: Option<Vec<Secret>>,
    /// How requests are signed. Default `eryxon`.
    #[serde(default)]
    pub signature: Signature,
    /// The header of the platform's own signature. Default `X-Eryxon-Signature`.
    #[serde(default = "default_signature_header")]
    pub signature_header: String,
    /// The header of the event's name. Default `X-Eryxon-Event`.
    #[serde(default = "default_event_header")]
    pub event_header: String,
    /// More headers, the same for every event.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// For the whole exchange: 1 ms to 5 minutes. Default 10 s.
    #[serde(default = "default_timeout", with = "humantime_serde")]
    #[schemars(with = "DurationText")]
    pub timeout: Duration,
    /// What an answer other than 2xx means. Default `retry`.
    #[serde(default = "default_non_2xx")]
    pub non_2xx: Non2xx,
    /// For `https`.
    #[serde(default)]
    pub tls: TlsSettings,
}

/// How requests are signed.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    serde::Deserialize,
    serde::Serialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Signature {
    /// `sha256=` and the hex HMAC of the body, and the event's name.
    #[default]
    Eryxon,
    /// By the Standard Webhooks specification.
    Standard,
    /// Both families of headers.
    Both,
}

fn default_signature_header() -> String {
    "X-Eryxon-Signature".into()
}

fn default_event_header() -> String {
    "X-Eryxon-Event".into()
}

fn default_timeout() -> Duration {
    Duration::from_secs(10)
}

fn default_non_2xx() -> Non2xx {
    Non2xx::Retry
}

impl Signature {
    fn eryxon(self) -> bool {
        matches!(self, Self::Eryxon | Self::Both)
    }

    fn standard(self) -> bool {
        matches!(self, Self::Standard | Self::Both)
    }
}

impl Settings {
    /// The URL without user part and query.
    #[must_use]
    pub fn target(&self) -> String {
        self.url.to_string()
    }

    /// Examines the way to the endpoint; gives something when a request could follow.
    pub(in crate::transport) async fn examine(&self, exam: &mut Examination) -> Option<()> {
        examine::examine(exam, self.url.expose(), &self.tls, self.timeout).await
    }

    fn terms<'a>(&'a self, endpoint: &'a str) -> Terms<'a> {
        Terms {
            endpoint: Some(endpoint),
            url: self.url.expose(),
            timeout: self.timeout,
            non_2xx: self.non_2xx,
            follows_redirects: false,
            tls: &self.tls,
        }
    }

    /// Everything wrong between the keys of this table.
    #[must_use]
    pub fn validate(&self) -> Vec<Complaint> {
        let mut complaints = rules::url(&self.url);
        complaints.extend(self.validate_secrets());
        let mut taken = Vec::new();
        if self.signature.standard() {
            taken.extend(STANDARD);
        }
        if has_user(self.url.expose()) {
            taken.push("Authorization");
        }
        if self.signature.eryxon() {
            let (signature, event) = (&self.signature_header, &self.event_header);
            complaints.extend(rules::header_name("signature_header", signature, &taken));
            taken.push(signature);
            complaints.extend(rules::header_name("event_header", event, &taken));
            taken.push(event);
        }
        complaints.extend(rules::headers(&self.headers, &taken));
        complaints.extend(rules::timeout(self.timeout));
        complaints.extend(rules::tls(&self.tls));
        complaints
    }

    fn validate_secrets(&self) -> Vec<Complaint> {
        let given = match (&self.secret, &self.secrets) {
            (Some(_), None) => self.keyed_secrets(),
            (None, Some(list)) if !list.is_empty() => self.keyed_secrets(),
            (Some(_), Some(_)) => {
                let hint = "keep one of the two: secrets = [new, old] while you rotate";
                return vec![complain("secret", "secret and secrets are both given", hint)];
            }
            (None, _) => {
                let hint = "give the secret that the receiver verifies signatures with";
                return vec![complain("secret", "there is no secret to sign with", hint)];
            }
        };
        let mut complaints = Vec::new();
        for (key, secret) in given {
            if secret.expose().is_empty() {
                let hint = "an empty secret signs nothing";
                complaints.push(complain(&key, "the secret is empty", hint));
            } else if self.signature.standard() {
                let cause = StandardSecret::parse(secret.expose()).err();
                complaints.extend(cause.map(|cause| {
                    complain(&key, cause.to_string(), "or set signature = \"eryxon\"")
                }));
            }
        }
        complaints
    }

    /// The secrets with their keys, the one to sign with first.
    fn keyed_secrets(&self) -> Vec<(String, &Secret)> {
        let one = self.secret.iter().map(|secret| ("secret".to_owned(), secret));
        let list = self.secrets.iter().flatten().enumerate();
        one.chain(list.map(|(place, secret)| (format!("secrets.{place}"), secret))).collect()
    }

    /// The keys of this table that hold credentials.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        let mut keys = Vec::new();
        if has_user(self.url.expose()) {
            keys.push("url".to_owned());
        }
        keys.extend(self.keyed_secrets().into_iter().map(|(key, _)| key));
        keys.extend(rules::secret_headers(&self.headers));
        keys
    }

    /// The headers of a request for this event at this time, apart from `Host` and
    /// `Content-Length`. What `lockgate explain` shows and what is sent are both this.
    #[must_use]
    pub fn headers(&self, outgoing: &Outgoing, now: jiff::Timestamp) -> Vec<Header> {
        let mut headers = rules::common(outgoing, &self.headers);
        headers.extend(rules::url_authorization(self.url.expose()));
        let bound = |name: &str, value: String| Header::open(name, value, Reach::FirstOrigin);
        let secrets: Vec<&Secret> = self.keyed_secrets().into_iter().map(|(_, s)| s).collect();
        if self.signature.eryxon() {
            let signed = secrets.first().map(|secret| hmac_hex(secret.expose(), &outgoing.body));
            headers
                .extend(signed.map(|hex| bound(&self.signature_header, format!("sha256={hex}"))));
            headers.push(bound(&self.event_header, outgoing.event_name.clone()));
        }
        if self.signature.standard() {
            // Validation has refused the ones that do not parse.
            let keys: Vec<StandardSecret> =
                secrets.iter().filter_map(|s| StandardSecret::parse(s.expose()).ok()).collect();
            let (id, seconds) = (&outgoing.event_id, now.as_second());
            let signature = standard_signature(&keys, id, seconds, &outgoing.body);
            let values = [id.clone(), seconds.to_string(), signature];
            headers.extend(STANDARD.into_iter().zip(values).map(|(name, v)| bound(name, v)));
        }
        rules::add_trace(outgoing, &mut headers);
        headers
    }
}

/// The publisher of an endpoint.
///
/// # Errors
/// When the settings do not hold together, or what they name cannot be loaded.
pub fn publisher(
    settings: &Settings,
    endpoint: &str,
    _instance: &Instance,
) -> Result<Rc<dyn Publisher>, BuildError> {
    let own = settings.clone();
    poster::publisher(settings.validate(), &settings.terms(endpoint), move |outgoing| {
        own.headers(outgoing, world::now())
    })
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
    fn a_url_and_a_secret_are_enough_and_the_rest_has_the_defaults_of_the_contract() {
        let settings = settings("url = 'https://h/x'\nsecret = 's'");
        assert_eq!(settings.timeout, Duration::from_secs(10));
        assert_eq!(settings.non_2xx, Non2xx::Retry);
        assert_eq!(settings.signature, Signature::Eryxon);
        assert_eq!(settings.signature_header, "X-Eryxon-Signature");
        assert_eq!(settings.event_header, "X-Eryxon-Event");
        assert_eq!(settings.validate(), []);
        assert_eq!(settings.secrets(), ["secret"]);
    }

    #[test]
    fn every_complaint_names_its_key() {
        let check = |toml: &str, expected: &[&str]| {
            let settings = settings(&format!("url = 'http://h/'\n{toml}"));
            let keys: Vec<_> = settings.validate().into_iter().map(|(key, _, _)| key).collect();
            assert_eq!(keys, expected, "{toml}");
        };
        check("", &["secret"]);
        check("secrets = []", &["secret"]);
        check("secret = 'a'\nsecrets = ['b']", &["secret"]);
        check("secret = ''", &["secret"]);
        check("secrets = ['a', '']", &["secrets.1"]);
        check("secrets = ['a', 'b']", &[]);
        check("signature = 'both'\nsecrets = ['whsec_YQ==', 'plain']", &["secrets.1"]);
        check("signature = 'standard'\nsecret = 'whsec_YQ=='", &[]);
        check("secret = 'a'\nsignature_header = 'a b'", &["signature_header"]);
        check("secret = 'a'\nevent_header = 'x-eryxon-signature'", &["event_header"]);
        check("secret = 'a'\nevent_header = 'Content-Type'", &["event_header"]);
        check("secret = 'a'\nheaders = { x-eryxon-event = 'a' }", &["headers.x-eryxon-event"]);
        check("secret = 'a'\nheaders = { Webhook-Id = 'a' }", &[]);
        check(
            "secret = 'whsec_YQ=='\nsignature = 'both'\nheaders = { Webhook-Id = 'a' }",
            &["headers.Webhook-Id"],
        );
        check("secret = 'a'\ntimeout = '6m'", &["timeout"]);
    }

    #[test]
    fn nothing_of_a_secret_is_in_debug_or_in_complaints() {
        let settings = settings(
            "url = 'http://u:hidden1@h/?hidden2'\nsecrets = ['hidden3', 'hidden4']\n\
             signature = 'both'",
        );
        let shown = format!("{settings:?} {:?} {}", settings.validate(), settings.target());
        assert!(!shown.contains("hidden"), "{shown}");
    }
}
