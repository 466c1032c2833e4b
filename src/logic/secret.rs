//! Secrets: credentials that do not print, URLs without their credentials, sealed values.
//!
//! Owns what may be shown of a credential: nothing. Refuses to fetch secrets from files and
//! variables: the configuration does. Read [`super::sealing`] for sealed values.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

pub use super::sealing::{BadKey, Key, Keyring, OpenError, SealError, is_sealed, key_id};

/// Shorter credentials are not looked for in texts: they would be found everywhere.
const MIN_REDACTED: usize = 4;
const HIDDEN: &str = "[secret]";

/// A credential. Its `Debug` shows nothing; its memory is cleared when it is dropped.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// The credential itself. Only where its bytes are used.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(Self::from)
    }
}

/// A URL that may hold credentials. `Debug` and `Display` show it without user part, query and fragment.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(Url);

impl SecretUrl {
    /// Takes a URL.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self(url)
    }

    /// The URL itself. Only where it is used.
    #[must_use]
    pub fn expose(&self) -> &Url {
        &self.0
    }
}

/// Whether the URL has a user part: a user name or a password.
#[must_use]
pub fn has_user(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// A URL without its user part, query and fragment.
#[must_use]
pub fn redact(url: &Url) -> String {
    let mut shown = url.clone();
    // Both fail only for URLs that cannot have a user part at all.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_query(None);
    shown.set_fragment(None);
    shown.to_string()
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact(&self.0))
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> serde::Deserialize<'de> for SecretUrl {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        // The parser's error does not hold the text.
        Url::parse(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// Whether two texts are equal, in a time that does not tell where they differ.
#[must_use]
pub fn constant_time_eq(left: &[u8], right: &[u8]) -> bool {
    // The one comparison of ring that is both public and free of side channels is that of tags;
    // which key makes the tags does not matter.
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"lockgate");
    let tag = ring::hmac::sign(&key, left);
    ring::hmac::verify(&key, right, tag.as_ref()).is_ok()
}

/// A text, such as a library's error, without these credentials, in plain and percent-encoded
/// form, and without the user parts, queries and fragments of the URLs in it.
///
/// Credentials of fewer than four characters are not looked for.
#[must_use]
pub fn redact_text(text: &str, secrets: &[Secret]) -> String {
    let mut hidden: Vec<String> = secrets.iter().flat_map(spellings).collect();
    // The longest first: one credential may be a part of another.
    hidden.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    let mut shown = text.to_owned();
    for secret in &hidden {
        shown = shown.replace(secret.as_str(), HIDDEN);
    }
    hidden.iter_mut().for_each(zeroize::Zeroize::zeroize);
    redact_urls(&shown)
}

/// How a credential may look in a text.
fn spellings(secret: &Secret) -> Vec<String> {
    let plain = secret.expose();
    if plain.chars().count() < MIN_REDACTED {
        return Vec::new();
    }
    let encoded = percent_encoding::utf8_percent_encode(plain, percent_encoding::NON_ALPHANUMERIC);
    let form = url::form_urlencoded::byte_serialize(plain.as_bytes()).collect();
    vec![plain.to_owned(), encoded.to_string(), form]
}

/// The text with every URL in it cut down to scheme, host and path.
fn redact_urls(text: &str) -> String {
    let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '<' | '>' | '`');
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        let (url, next) = after.split_at(after.find(ends).unwrap_or(after.len()));
        let (place, _) = url.split_at(url.find(['?', '#']).unwrap_or(url.len()));
        let (authority, path) = place.split_at(place.find('/').unwrap_or(place.len()));
        shown.push_str(authority.rsplit('@').next().unwrap_or_default());
        shown.push_str(path);
        rest = next;
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::from(text.to_owned())
    }

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", secret("hunter2")), "[secret]");
        let url = Url::parse("https://u:hunter2@host:8443/p?token=x#f").expect("a URL");
        let url = SecretUrl::new(url);
        assert_eq!(format!("{url} {url:?}"), "https://host:8443/p https://host:8443/p");
    }

    #[test]
    fn a_user_part_is_a_name_or_a_password() {
        let check = |url: &str, wanted: bool| {
            assert_eq!(has_user(&Url::parse(url).expect(url)), wanted, "{url}");
        };
        check("https://host/?u=p", false);
        check("https://u@host/", true);
        check("https://:p@host/", true);
        check("amqps://u:p@host/v", true);
    }

    #[test]
    fn equal_texts_are_equal() {
        let check = |left: &str, right: &str, wanted: bool| {
            assert_eq!(constant_time_eq(left.as_bytes(), right.as_bytes()), wanted);
        };
        check("", "", true);
        check("token", "token", true);
        check("token", "tokem", false);
        check("token", "token ", false);
    }

    #[test]
    fn credentials_and_private_parts_of_urls_go_from_a_text() {
        let secrets = ["hunter2", "hunter22", "p@ss/w d", "abc"].map(secret);
        let check = |text: &str, wanted: &str| assert_eq!(redact_text(text, &secrets), wanted);
        check("wrong password hunter2!", "wrong password [secret]!");
        check("hunter22 hunter2", "[secret] [secret]");
        check("p%40ss%2Fw%20d p%40ss%2Fw+d p@ss/w d", "[secret] [secret] [secret]");
        check("abc is too short", "abc is too short");
        check("at amqp://u:x@host:5672/%2f: refused", "at amqp://host:5672/%2f: refused");
        check(
            "(https://h/p?q=1) <ws://h?x#y> \"wss://a@b@h\"",
            "(https://h/p <ws://h> \"wss://h\"",
        );
        check("http://u:it's@h/a http://h/@b", "http://h/a http://h/@b");
        check("no url", "no url");
        check("://", "://");
    }

    proptest! {
        #[test]
        fn no_text_shows_a_credential(before in ".{0,9}", hidden in "[A-Z]{4,9}", after in ".{0,9}") {
            let text = redact_text(&format!("{before}{hidden}{after}"), &[secret(&hidden)]);
            prop_assert!(!text.contains(&hidden), "{}", text);
        }
    }
}
