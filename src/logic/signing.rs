//! Signatures of webhooks: the platform's own hex one, and that of Standard Webhooks 1.0.
//!
//! Owns what is signed with which key. Refuses to name headers and to read the clock: that is
//! [`crate::transport::webhook`]. Read [`super::classify`] next.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::hmac;
use zeroize::Zeroizing;

/// The beginning of every Standard Webhooks secret.
const PREFIX: &str = "whsec_";

/// The lower-case hex HMAC-SHA256 of a body, with the secret's UTF-8 text as the key.
#[must_use]
pub fn hmac_hex(secret: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hex::encode(hmac::sign(&key, body))
}

/// A key of Standard Webhooks. Shows nothing of itself.
#[derive(Clone)]
pub struct StandardSecret {
    key: hmac::Key,
}

/// Why a text is no Standard Webhooks secret. Says nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    /// It begins otherwise.
    #[error("a standard webhook secret begins with whsec_")]
    NoPrefix,
    /// What follows is not base64.
    #[error("what follows whsec_ is not padded standard base64")]
    NotBase64,
    /// Nothing follows.
    #[error("nothing follows whsec_")]
    Empty,
}

impl StandardSecret {
    /// Reads `whsec_` and the key in padded standard base64. The specification recommends keys of
    /// 24 to 64 bytes; every length but 0 is taken.
    ///
    /// # Errors
    /// When the text has another form.
    pub fn parse(text: &str) -> Result<Self, BadSecret> {
        let encoded = text.strip_prefix(PREFIX).ok_or(BadSecret::NoPrefix)?;
        let key = Zeroizing::new(BASE64.decode(encoded).map_err(|_| BadSecret::NotBase64)?);
        if key.is_empty() {
            return Err(BadSecret::Empty);
        }
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, &key) })
    }
}

impl fmt::Debug for StandardSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StandardSecret")
    }
}

/// The value of `webhook-signature`: one `v1,<base64>` for each secret, separated by spaces.
/// `timestamp_seconds` is what `webhook-timestamp` says: seconds since 1970.
#[must_use]
pub fn standard_signature(
    secrets: &[StandardSecret],
    id: &str,
    timestamp_seconds: i64,
    body: &[u8],
) -> String {
    let head = format!("{id}.{timestamp_seconds}.");
    let sign = |secret: &StandardSecret| {
        let mut context = hmac::Context::with_key(&secret.key);
        context.update(head.as_bytes());
        context.update(body);
        format!("v1,{}", BASE64.encode(context.sign()))
    };
    secrets.iter().map(sign).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use standardwebhooks::Webhook;

    use super::*;

    #[test]
    fn the_hex_signature_is_that_of_rfc_4231() {
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hmac_hex("Jefe", b"what do ya want for nothing?"), expected);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the other side compares with the clock")]
    #[expect(clippy::default_trait_access, reason = "the other side's map of headers is not named")]
    fn another_implementation_accepts_every_one_of_the_signatures() {
        let texts = ["whsec_AQ==", "whsec_gfkVhvDoiQeRlxp4TPV/5PQblRXMusnWsxWij4BNu1I="];
        let secrets = texts.map(|text| StandardSecret::parse(text).unwrap());
        let now = jiff::Timestamp::now().as_second();
        for body in ["", "{\"a\":\"é😀\"}"] {
            let signature = standard_signature(&secrets, "evt.1", now, body.as_bytes());
            for text in texts {
                let other = Webhook::new(text).unwrap();
                let mut headers = Default::default();
                assert!(other.verify(body.as_bytes(), &headers).is_err(), "no headers");
                headers.insert("webhook-id", "evt.1".parse().unwrap());
                headers.insert("webhook-timestamp", now.to_string().parse().unwrap());
                headers.insert("webhook-signature", signature.parse().unwrap());
                assert!(other.verify(body.as_bytes(), &headers).is_ok(), "{signature}");
                assert!(other.verify(b"another body", &headers).is_err());
            }
        }
    }

    #[test]
    fn a_secret_that_is_none_is_refused_without_being_shown() {
        for (text, expected) in [
            ("", BadSecret::NoPrefix),
            ("gfkVhvDoiQeRlxp4TPV/5A==", BadSecret::NoPrefix),
            ("WHSEC_AQ==", BadSecret::NoPrefix),
            ("whsec_", BadSecret::Empty),
            ("whsec_AQ", BadSecret::NotBase64),
            ("whsec_A-_=", BadSecret::NotBase64),
            ("whsec_AQ==\n", BadSecret::NotBase64),
            ("whsec_not standard", BadSecret::NotBase64),
        ] {
            assert_eq!(StandardSecret::parse(text).err(), Some(expected), "{text:?}");
        }
        let shown = format!("{:?}", StandardSecret::parse("whsec_AQ==").unwrap());
        assert_eq!(shown, "StandardSecret");
    }
}
