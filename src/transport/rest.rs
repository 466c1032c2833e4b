//! REST endpoints: one POST an event, with credentials.
//!
//! Owns the `rest` table and the headers of its requests. Refuses to sign, which is
//! [`super::webhook`], and to speak HTTP, which is [`super::http`]. Read [`super::webhook`] next.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::examine::Examination;
use super::http::rules::{self, complain};
use super::http::{Header, Non2xx, Terms, examine, poster};
use super::tls::TlsSettings;
use super::{BuildError, Complaint, Instance, Publisher};
use crate::domain::delivery::Outgoing;
use crate::logic::schema::DurationText;
use crate::logic::secret::{Secret, SecretUrl, has_user};

/// The endpoint's `rest` table.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where events go by POST: `http` or `https`. A user part means basic authentication, and
    /// excludes `auth`.
    #[schemars(schema_with = "rules::url_schema")]
    pub url: SecretUrl,
    /// Credentials. Default: none.
    #[serde(default)]
    pub auth: Option<Auth>,
    /// More headers, the same for every event. Bound to the URL's origin, as credentials are.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// For the whole exchange, redirects included: 1 ms to 5 minutes. Default 60 s.
    #[serde(default = "default_timeout", with = "humantime_serde")]
    #[schemars(with = "DurationText")]
    pub timeout: Duration,
    /// What an answer other than 2xx means. Default `accept`.
    #[serde(default = "default_non_2xx")]
    pub non_2xx: Non2xx,
    /// For `https`.
    #[serde(default)]
    pub tls: TlsSettings,
}

fn default_timeout() -> Duration {
    Duration::from_secs(60)
}

fn default_non_2xx() -> Non2xx {
    Non2xx::Accept
}

/// The `auth` table: exactly one of its keys.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("maxProperties" = 1))]
pub struct Auth {
    /// `Authorization: Basic`.
    pub basic: Option<Basic>,
    /// A header of a configured name.
    pub api_key: Option<ApiKey>,
}

/// User and password, in UTF-8. The user has no colon.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    /// The user.
    #[schemars(with = "Secret")]
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// A key in a header.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// The header's name.
    pub header: String,
    /// The key.
    pub value: Secret,
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
            follows_redirects: true,
            tls: &self.tls,
        }
    }

    /// Everything wrong between the keys of this table.
    #[must_use]
    pub fn validate(&self) -> Vec<Complaint> {
        let mut complaints = rules::url(&self.url);
        complaints.extend(self.auth.as_ref().map(Auth::validate).unwrap_or_default());
        if self.auth.is_some() && has_user(self.url.expose()) {
            let hint = "remove the user part or the auth table";
            complaints.push(complain("auth", "the URL has a user part too", hint));
        }
        let taken: Vec<&str> = self.credential_header().into_iter().collect();
        complaints.extend(rules::headers(&self.headers, &taken));
        complaints.extend(rules::timeout(self.timeout));
        complaints.extend(rules::tls(&self.tls));
        complaints
    }

    /// The keys of this table that hold credentials.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        let mut keys = Vec::new();
        if has_user(self.url.expose()) {
            keys.push("url".to_owned());
        }
        if let Some(auth) = &self.auth {
            keys.extend(auth.basic.as_ref().map(|_| "auth.basic.password".to_owned()));
            keys.extend(auth.api_key.as_ref().map(|_| "auth.api_key.value".to_owned()));
        }
        keys.extend(rules::secret_headers(&self.headers));
        keys
    }

    /// The headers of the request for this event, apart from `Host` and `Content-Length`. What
    /// `lockgate explain` shows and what is sent are both this.
    #[must_use]
    pub fn headers(&self, outgoing: &Outgoing) -> Vec<Header> {
        let mut headers = rules::common(outgoing, &self.headers);
        headers.extend(rules::url_authorization(self.url.expose()));
        if let Some(auth) = &self.auth {
            headers.extend(auth.basic.as_ref().map(|basic| {
                let password = basic.password.expose().as_bytes();
                rules::authorization(basic.username.as_bytes(), password)
            }));
            headers.extend(
                auth.api_key.as_ref().map(|key| Header::secret(&key.header, key.value.expose())),
            );
        }
        rules::add_trace(outgoing, &mut headers);
        headers
    }

    /// The name of the header that carries the credentials.
    fn credential_header(&self) -> Option<&str> {
        let basic = Some("Authorization");
        match &self.auth {
            Some(Auth { api_key: Some(key), .. }) => Some(&key.header),
            Some(Auth { basic: Some(_), .. }) => basic,
            _ => basic.filter(|_| has_user(self.url.expose())),
        }
    }
}

impl Auth {
    fn validate(&self) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        if self.basic.is_some() == self.api_key.is_some() {
            let hint = "give exactly one of basic and api_key, or leave auth out";
            complaints.push(complain("auth", "not exactly one way to authenticate", hint));
        }
        if self.basic.as_ref().is_some_and(|basic| basic.username.contains(':')) {
            let hint = "basic authentication cannot carry it";
            complaints.push(complain("auth.basic.username", "the user name has a colon", hint));
        }
        if let Some(key) = &self.api_key {
            complaints.extend(rules::header_name("auth.api_key.header", &key.header, &[]));
            complaints.extend(rules::header_value("auth.api_key.value", &key.value));
        }
        complaints
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
        own.headers(outgoing)
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

    fn complaints(toml: &str) -> Vec<String> {
        settings(toml).validate().into_iter().map(|(key, _, _)| key).collect()
    }

    #[test]
    fn a_url_is_enough_and_the_rest_has_the_defaults_of_the_contract() {
        let settings = settings("url = 'https://h/x'");
        assert_eq!(settings.timeout, Duration::from_secs(60));
        assert_eq!(settings.non_2xx, Non2xx::Accept);
        assert_eq!(settings.tls, TlsSettings { verify: true, ca_file: None });
        assert!(settings.auth.is_none() && settings.headers.is_empty());
        assert_eq!(settings.validate(), []);
    }

    #[test]
    fn every_complaint_names_its_key() {
        let check = |toml: &str, keys: &[&str]| assert_eq!(complaints(toml), keys, "{toml}");
        let basic = "basic = { username = 'u', password = 'p' }";
        let key = |header: &str| format!("api_key = {{ header = '{header}', value = 'v' }}");
        check("url = 'ftp://h/'", &["url"]);
        check("url = 'http://h/'\ntimeout = '0s'", &["timeout"]);
        check("url = 'http://h/'\ntimeout = '301s'", &["timeout"]);
        check("url = 'http://h/'\ntimeout = '5m'", &[]);
        check("url = 'http://h/'\ntls.ca_file = '/nowhere'", &["tls.ca_file"]);
        check("url = 'http://h/'\nauth = {}", &["auth"]);
        check(&format!("url = 'http://h/'\nauth = {{ {basic}, {} }}", key("X-Key")), &["auth"]);
        check(&format!("url = 'http://u:p@h/'\nauth = {{ {basic} }}"), &["auth"]);
        check(
            "url = 'http://u:p@h/'\nheaders = { authorization = 'x' }",
            &["headers.authorization"],
        );
        check("url = 'http://h/'\nheaders = { Authorization = 'Bearer x' }", &[]);
        for header in ["Host", "content-length", "X-Request-Id", "a b", ""] {
            let toml = format!("url = 'http://h/'\nauth = {{ {} }}", key(header));
            check(&toml, &["auth.api_key.header"]);
            let name = format!("headers.{header}");
            check(&format!("url = 'http://h/'\nheaders = {{ '{header}' = 'v' }}"), &[&name]);
        }
        let both = format!(
            "url = 'http://h/'\nauth = {{ {} }}\nheaders = {{ x-key = '1' }}",
            key("X-Key")
        );
        check(&both, &["headers.x-key"]);
        check("url = 'http://h/'\nheaders = { A = '1', a = '2' }", &["headers.a"]);
        check("url = 'http://h/'\nheaders = { A = \"x\\ny\" }", &["headers.A"]);
        check(
            "url = 'ftp://h/'\ntimeout = '6m'\nheaders = { Host = 'x' }",
            &["url", "headers.Host", "timeout"],
        );
    }

    #[test]
    fn the_keys_with_credentials_are_told() {
        let toml = "url = 'http://u:p@h/'\nheaders = { X-Plant = 'c', X-Auth-Token = 't' }\n\
                    [auth.basic]\nusername = 'u'\npassword = 'p'\n\
                    [auth.api_key]\nheader = 'k'\nvalue = 'v'";
        let keys = ["url", "auth.basic.password", "auth.api_key.value", "headers.X-Auth-Token"];
        assert_eq!(settings(toml).secrets(), keys);
    }

    #[test]
    fn nothing_of_a_credential_is_in_debug_or_in_complaints() {
        let toml = "url = 'http://u:hidden1@h/?hidden2'\nheaders = { A = \"hidden3\\n\" }\n\
                    auth = { basic = { username = 'u', password = 'hidden4' } }";
        let settings = settings(toml);
        let shown = format!("{settings:?} {:?} {}", settings.validate(), settings.target());
        assert!(!shown.contains("hidden"), "{shown}");
    }
}
