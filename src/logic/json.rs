//! JSON seen as slices: where in a document a value stands, and what text it is.
//!
//! Owns the look into a body: its members, its depth, pointers, strings. Refuses to build a tree,
//! to write JSON, and to judge what is found: that is [`super::intake`]. One pass finds the
//! members of an object; nothing is copied but strings with escapes.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of one JSON object, as slices of the document.
///
/// Of two members with one key the last counts.
#[derive(Debug, Default)]
pub struct Object<'a> {
    /// Keys as text, and values as written.
    members: Vec<(Cow<'a, str>, &'a str)>,
}

impl<'a> Object<'a> {
    /// The object that is this whole text, white space apart. Checks every byte of it.
    ///
    /// Nesting is followed without recursion.
    ///
    /// # Errors
    /// When it is no JSON. A text that is JSON but no object is an error too, and that one may
    /// quote the text: look at its first character before.
    pub fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The object that a value is; `None` for every other value.
    #[must_use]
    pub fn of(value: &'a str) -> Option<Self> {
        value.starts_with('{').then(|| Self::parse(value).ok()).flatten()
    }

    /// The value of a member, as written.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.members.iter().rev().find(|(name, _)| name == key).map(|(_, value)| *value)
    }

    /// The value that a JSON pointer names, as written. The empty pointer names nothing here.
    #[must_use]
    pub fn find(&self, pointer: &str) -> Option<&'a str> {
        let mut parts = pointer.strip_prefix('/')?.split('/').map(unescape);
        let first = self.get(&parts.next()?)?;
        parts.try_fold(first, |value, part| match value.bytes().next()? {
            b'{' => Object::of(value)?.get(&part),
            b'[' => item(value, &part),
            _ => None,
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Object<'de>, M::Error> {
                let mut members = Vec::with_capacity(8);
                while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    members.push((string(key.get()).unwrap_or_default(), value.get()));
                }
                Ok(Object { members })
            }
        }
        from.deserialize_map(Members)
    }
}

/// One reference token of a JSON pointer: `~1` is `/`, `~0` is `~`.
fn unescape(part: &str) -> Cow<'_, str> {
    if part.contains('~') { part.replace("~1", "/").replace("~0", "~").into() } else { part.into() }
}

/// An item of an array; an index has no leading zero.
fn item<'a>(array: &'a str, index: &str) -> Option<&'a str> {
    let plain = index == "0" || !index.starts_with(['0', '+']);
    let index: usize = plain.then(|| index.parse().ok()).flatten()?;
    let items: Vec<&'a RawValue> = serde_json::from_str(array).ok()?;
    items.get(index).map(|value| value.get())
}

/// The text of a JSON string as written, with its quotes; `None` for every other value.
///
/// JSON allows an escape of half a surrogate pair, which no UTF-8 can hold: it becomes U+FFFD.
#[must_use]
pub fn string(value: &str) -> Option<Cow<'_, str>> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { unquote(value).map(Cow::Owned) } else { Some(inner.into()) }
}

/// The text of a string with escapes.
fn unquote(value: &str) -> Option<String> {
    struct Lossy;
    impl Visitor<'_> for Lossy {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        // Half a pair comes as the three bytes that UTF-8 would have for it if it were allowed:
        // ED, which is never valid before the other two.
        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<String, E> {
            let mut text = String::with_capacity(bytes.len());
            for chunk in bytes.utf8_chunks() {
                text.push_str(chunk.valid());
                if chunk.invalid().first() == Some(&0xED) {
                    text.push(char::REPLACEMENT_CHARACTER);
                }
            }
            Ok(text)
        }
    }
    serde_json::Deserializer::from_str(value).deserialize_bytes(Lossy).ok()
}

/// What a value says as an attribute: a string's text, a number as written. Empty strings and
/// every other value say nothing.
#[must_use]
pub fn text(value: &str) -> Option<Cow<'_, str>> {
    match value.bytes().next()? {
        b'"' => string(value).filter(|text| !text.is_empty()),
        b'-' | b'0'..=b'9' => Some(value.into()),
        _ => None,
    }
}

/// Whether objects and arrays are nested deeper than this, the outer one counted.
///
/// For what is no JSON the answer means nothing. Neither recursion nor memory.
#[must_use]
pub fn deeper_than(limit: usize, text: &[u8]) -> bool {
    let opens = |byte: &&u8| matches!(byte, b'{' | b'[');
    // Nearly always so, and this count is quick.
    if text.iter().filter(opens).count() <= limit {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > limit {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(document: &str, pointer: &str, wanted: Option<&str>) {
        let object = Object::parse(document).expect("an object");
        assert_eq!(object.find(pointer).and_then(text).as_deref(), wanted, "{document} {pointer}");
    }

    #[test]
    fn pointers_find_what_rfc_6901_says() {
        let document = r#"{"a":{"b":[10,{"c":"x"}]},"m~n":1,"p/q":2,"":{"":3},"e\u0041":4}"#;
        check(document, "/a/b/0", Some("10"));
        check(document, "/a/b/1/c", Some("x"));
        for missing in ["/a/b/2", "/a/b/01", "/a/b/+1", "/a/b/-", "/a/b/0/c", "/z", "a", ""] {
            check(document, missing, None);
        }
        check(document, "/m~0n", Some("1"));
        check(document, "/p~1q", Some("2"));
        check(document, "//", Some("3"));
        check(document, "/eA", Some("4"));
    }

    #[test]
    fn of_two_members_with_one_key_the_last_counts() {
        check(r#"{"a":1,"\u0061":"second"}"#, "/a", Some("second"));
        check(r#"{"a":1,"a":null}"#, "/a", None);
    }

    #[test]
    fn numbers_are_as_written_and_other_values_say_nothing() {
        for number in ["12345678901234567890", "1.0", "-0", "1E+400", "0.10"] {
            check(&format!(r#"{{"a": {number} }}"#), "/a", Some(number));
        }
        for nothing in ["null", "true", "false", "{}", "[1]", "\"\""] {
            check(&format!(r#"{{"a":{nothing}}}"#), "/a", None);
        }
    }

    #[test]
    fn half_a_surrogate_pair_is_one_replacement_character() {
        check(r#"{"a":"x\ud83dy"}"#, "/a", Some("x\u{FFFD}y"));
        check(r#"{"a":"\ude00\ud83d"}"#, "/a", Some("\u{FFFD}\u{FFFD}"));
        check(r#"{"a":"\ud83d\ud83d\ude00"}"#, "/a", Some("\u{FFFD}😀"));
        check(r#"{"\ud83d":1,"a":2}"#, "/a", Some("2"));
        check(r#"{"a":"\u00e4\n\"é"}"#, "/a", Some("ä\n\"é"));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for bad in [
            "",
            "{",
            "{\"a\":}",
            "{a:1}",
            "{1:1}",
            "{\"a\":1,}",
            "{\"a\":01}",
            "{\"a\":1} x",
            "{\"a\":\"\t\"}",
            "{\"a\\x\":1}",
            "{\"a\":\"\\u12\"}",
            "{\"a\":NaN}",
            "\u{FEFF}{}",
        ] {
            assert!(Object::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn depth_counts_the_outer_one_and_no_brackets_in_strings() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(!deeper_than(128, nested(128).as_bytes()));
        assert!(deeper_than(128, nested(129).as_bytes()));
        let flat = format!("[{}]", r#""[[\"[[","#.repeat(500));
        assert!(!deeper_than(128, flat.as_bytes()));
        let wide = format!("[{}]", "[],".repeat(500));
        assert!(!deeper_than(128, wide.as_bytes()));
    }

    #[test]
    fn an_object_of_any_depth_is_parsed_without_recursion() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(500_000), "]".repeat(500_000));
        assert!(Object::parse(&deep).is_ok());
    }
}
