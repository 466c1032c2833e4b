//! Sealed values: credentials that may stand in a configuration file.
//!
//! Owns keys and the form `sealed:v1:<key id>:<base64url of nonce and ciphertext>`, AES-256-GCM
//! with the value's key path as associated data: a sealed value opens only in its own place.
//! Refuses to make randomness: key bytes and nonces come in as arguments.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use zeroize::{Zeroize as _, Zeroizing};

use super::secret::Secret;

const SEALED: &str = "sealed:";
const VALUE: &str = "sealed:v1:";
const KEY: &str = "lockgate-key:v1:";

/// Whether this text means to be a sealed value. It may still be malformed.
#[must_use]
pub fn is_sealed(text: &str) -> bool {
    text.starts_with(SEALED)
}

/// The id of the key that a sealed value names; `None` where it is malformed.
#[must_use]
pub fn key_id(sealed: &str) -> Option<&str> {
    parts(sealed).map(|(id, _)| id)
}

/// The key id and the encoded rest of a sealed value.
fn parts(sealed: &str) -> Option<(&str, &str)> {
    let (id, data) = sealed.strip_prefix(VALUE)?.split_once(':')?;
    let well_formed = id.len() == 8 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    well_formed.then_some((id, data))
}

/// A key that seals and opens values. `Debug` shows its id; its memory is cleared when dropped.
#[derive(Clone)]
pub struct Key {
    id: String,
    bytes: Zeroizing<[u8; 32]>,
}

/// A text that is no [`Key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no key: one line, {KEY} and 43 characters, as `lockgate secret keygen` makes it")]
pub struct BadKey;

impl Key {
    /// The key of these bytes, which must come from a generator fit for keys.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let bytes = Zeroizing::new(bytes);
        let id: String = hex::encode(digest(&SHA256, bytes.as_ref())).chars().take(8).collect();
        Self { id, bytes }
    }

    /// What sealed values call it: the first eight hex digits of its SHA-256.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The one line of a key file.
    #[must_use]
    pub fn to_text(&self) -> Secret {
        let encoded = Zeroizing::new(URL_SAFE_NO_PAD.encode(self.bytes.as_ref()));
        Secret::from(format!("{KEY}{}", encoded.as_str()))
    }

    fn cipher(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&AES_256_GCM, self.bytes.as_ref()).ok().map(LessSafeKey::new)
    }

    /// The plain bytes, if it is this key's and this path's.
    fn open(&self, path: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut bytes = Zeroizing::new(rest.to_vec());
        let length =
            self.cipher()?.open_in_place(nonce, Aad::from(path.as_bytes()), &mut bytes).ok()?.len();
        bytes.truncate(length);
        Some(bytes)
    }
}

impl FromStr for Key {
    type Err = BadKey;

    /// Reads a key file's text; white space around it does not matter.
    fn from_str(text: &str) -> Result<Self, BadKey> {
        let encoded = text.trim().strip_prefix(KEY).ok_or(BadKey)?;
        let decoded = Zeroizing::new(URL_SAFE_NO_PAD.decode(encoded).map_err(|_| BadKey)?);
        let mut bytes: [u8; 32] = decoded.as_slice().try_into().map_err(|_| BadKey)?;
        let key = Self::from_bytes(bytes);
        bytes.zeroize();
        Ok(key)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

/// Keys: the first seals, any opens. May be empty, and then does neither.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    keys: Vec<Key>,
}

/// A value that could not be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The key ring is empty.
    #[error("there is no key to seal with")]
    NoKey,
    /// More than 64 GiB.
    #[error("the value is too long to be sealed")]
    TooLong,
}

/// A value that could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It does not begin with `sealed:`.
    #[error("the value is not sealed")]
    NotSealed,
    /// It begins so, but the rest is not as it should be.
    #[error("the sealed value is malformed")]
    Malformed,
    /// None of the keys has the id that it names.
    #[error("the value is sealed with key {id}, which is not here")]
    UnknownKey {
        /// The key's id.
        id: String,
    },
    /// The key refuses it.
    #[error("the sealed value does not open at {path}")]
    WrongKeyOrPath {
        /// Where it stands.
        path: String,
    },
}

impl OpenError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotSealed => "seal it with `lockgate secret seal --path <its key path>`",
            Self::Malformed => {
                "a sealed value is sealed:v1:<key id>:<data>; was it cut off or wrapped when it was copied?"
            }
            Self::UnknownKey { .. } => {
                "name the key's file in secrets.key_files, or set LOCKGATE_KEY or LOCKGATE_KEY_FILE"
            }
            Self::WrongKeyOrPath { .. } => {
                "it was changed, or sealed for another key path: seal it anew with `lockgate secret seal --path` and the path that it stands at"
            }
        }
    }
}

impl Keyring {
    /// A ring of these keys. A key that is there already is left out.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = Key>) -> Self {
        let mut ring = Self::default();
        for key in keys {
            ring.add(key);
        }
        ring
    }

    /// Adds a key at the end. `false` when it is there already.
    pub fn add(&mut self, key: Key) -> bool {
        let new = !self.keys.iter().any(|known| known.bytes == key.bytes);
        if new {
            self.keys.push(key);
        }
        new
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key that seals.
    #[must_use]
    pub fn sealing_key(&self) -> Option<&Key> {
        self.keys.first()
    }

    /// Seals a value for its key path: `endpoints.erp.rest.auth.basic.password`.
    ///
    /// `nonce` must never have been used with this key before: 12 random bytes.
    ///
    /// # Errors
    /// When there is no key, or the value is absurdly long.
    pub fn seal(
        &self,
        path: &str,
        plain: &str,
        nonce: [u8; NONCE_LEN],
    ) -> Result<String, SealError> {
        let key = self.keys.first().ok_or(SealError::NoKey)?;
        let cipher = key.cipher().ok_or(SealError::NoKey)?;
        // Room for the tag, so that the plain text is encrypted where it is and not moved.
        let mut bytes = Zeroizing::new(Vec::with_capacity(plain.len() + AES_256_GCM.tag_len()));
        bytes.extend_from_slice(plain.as_bytes());
        let unique = Nonce::assume_unique_for_key(nonce);
        cipher
            .seal_in_place_append_tag(unique, Aad::from(path.as_bytes()), &mut *bytes)
            .map_err(|_| SealError::TooLong)?;
        let sealed = URL_SAFE_NO_PAD.encode([&nonce[..], &bytes].concat());
        Ok(format!("{VALUE}{}:{sealed}", key.id))
    }

    /// Opens a value that stands at this key path.
    ///
    /// # Errors
    /// When it is not sealed, no key here has sealed it, or it was sealed for another place.
    pub fn open(&self, path: &str, sealed: &str) -> Result<Secret, OpenError> {
        if !is_sealed(sealed) {
            return Err(OpenError::NotSealed);
        }
        let (id, data) = parts(sealed).ok_or(OpenError::Malformed)?;
        let data = URL_SAFE_NO_PAD.decode(data).map_err(|_| OpenError::Malformed)?;
        if data.len() < NONCE_LEN + AES_256_GCM.tag_len() {
            return Err(OpenError::Malformed);
        }
        let mut keys = self.keys.iter().filter(|key| key.id == id).peekable();
        if keys.peek().is_none() {
            return Err(OpenError::UnknownKey { id: id.into() });
        }
        let plain = keys.find_map(|key| key.open(path, &data));
        let plain = plain.ok_or_else(|| OpenError::WrongKeyOrPath { path: path.into() })?;
        let text = std::str::from_utf8(&plain).map_err(|_| OpenError::Malformed)?;
        Ok(Secret::from(text.to_owned()))
    }

    /// Whether it is the key that seals which sealed this value, for this path.
    #[must_use]
    pub fn is_current(&self, path: &str, sealed: &str) -> bool {
        Self::new(self.keys.first().cloned()).open(path, sealed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PATH: &str = "endpoints.erp.rest.auth.basic.password";

    fn key(byte: u8) -> Key {
        Key::from_bytes([byte; 32])
    }

    fn ring(bytes: &[u8]) -> Keyring {
        Keyring::new(bytes.iter().map(|byte| key(*byte)))
    }

    fn sealed(byte: u8) -> String {
        ring(&[byte]).seal(PATH, "hunter2", [3; 12]).expect("there is a key")
    }

    fn opened(ring: &Keyring, path: &str, sealed: &str) -> Result<String, OpenError> {
        ring.open(path, sealed).map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn a_sealed_value_names_its_key_and_holds_nothing_readable() {
        let value = sealed(7);
        assert!(value.starts_with(&format!("sealed:v1:{}:", key(7).id())), "{value}");
        assert!(is_sealed(&value) && !value.contains("hunter2"));
        assert_eq!(opened(&ring(&[7]), PATH, &value).as_deref(), Ok("hunter2"));
    }

    #[test]
    fn the_first_key_seals_and_any_opens() {
        let both = ring(&[2, 7]);
        assert_eq!(opened(&both, PATH, &sealed(7)).as_deref(), Ok("hunter2"));
        let value = both.seal(PATH, "new", [0; 12]).expect("there is a key");
        assert_eq!(opened(&ring(&[2]), PATH, &value).as_deref(), Ok("new"));
        assert_eq!(ring(&[]).seal(PATH, "x", [0; 12]), Err(SealError::NoKey));
    }

    #[test]
    fn a_value_is_current_when_the_first_key_sealed_it_for_its_path() {
        let check = |keys: &[u8], path: &str, wanted: bool| {
            assert_eq!(ring(keys).is_current(path, &sealed(7)), wanted, "{keys:?} {path}");
        };
        check(&[7], PATH, true);
        check(&[7, 2], PATH, true);
        check(&[2, 7], PATH, false);
        check(&[], PATH, false);
        check(&[7], "endpoints.other.mqtt.password", false);
        assert_eq!(key_id(&sealed(7)), Some(key(7).id()));
        assert_eq!(key_id("sealed:v1:nonsense:AAAA"), None);
    }

    #[test]
    fn a_key_is_on_the_ring_once() {
        let mut ring = ring(&[1, 1]);
        assert_eq!(ring.keys.len(), 1);
        assert!(!ring.add(key(1)) && ring.add(key(2)));
        assert_eq!(ring.sealing_key().map(Key::id), Some(key(1).id()));
    }

    #[test]
    fn a_value_opens_only_with_its_key_at_its_path_and_unchanged() {
        let value = sealed(7);
        let check = |ring: &Keyring, path: &str, value: &str, wanted: OpenError| {
            assert_eq!(opened(ring, path, value), Err(wanted), "{path} {value}");
        };
        let seven = ring(&[7]);
        check(&ring(&[8]), PATH, &value, OpenError::UnknownKey { id: key(7).id().into() });
        let elsewhere = "endpoints.other.rest.auth.basic.password";
        let refused = |path: &str| OpenError::WrongKeyOrPath { path: path.into() };
        check(&seven, elsewhere, &value, refused(elsewhere));
        let other = value.replace(key(7).id(), key(8).id());
        check(&ring(&[8]), PATH, &other, refused(PATH));
        check(&seven, PATH, "hunter2", OpenError::NotSealed);
        for malformed in [
            "sealed:",
            "sealed:v2:00000000:AAAA",
            "sealed:v1:00000000",
            "sealed:v1:zzzzzzzz:AAAA",
            "sealed:v1:00000000:A=",
            "sealed:v1:00000000:AAAA",
        ] {
            check(&seven, PATH, malformed, OpenError::Malformed);
        }
    }

    #[test]
    fn a_key_is_read_back_from_its_own_text_and_shows_only_its_id() {
        let text = key(9).to_text();
        let again: Key = format!("\n {} \n", text.expose()).parse().expect("its own text");
        assert_eq!(again.to_text().expose(), text.expose());
        assert_eq!(format!("{again:?}"), format!("Key({})", key(9).id()));
        for bad in ["", "lockgate-key:v1:", "lockgate-key:v1:AAAA", "AAAA", "lockgate-key:v2:A"] {
            assert_eq!(bad.parse::<Key>().map(|key| key.id), Err(BadKey), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens_to_the_same_and_every_change_is_noticed(
            plain in ".*", path in "[a-z.]{1,20}", nonce in any::<[u8; 12]>(), at in any::<prop::sample::Index>(),
        ) {
            let ring = ring(&[5]);
            let value = ring.seal(&path, &plain, nonce).expect("there is a key");
            prop_assert_eq!(opened(&ring, &path, &value), Ok(plain));
            let mut bytes = value.into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
            let changed = String::from_utf8(bytes).expect("still ASCII");
            prop_assert!(opened(&ring, &path, &changed).is_err());
        }
    }
}
