//! JSON as ECMAScript writes it: receivers verify a webhook's signature over their own
//! `JSON.stringify(JSON.parse(body))`, so the body must be that already.
//!
//! Owns the order of members, the form of numbers and the escapes. Refuses the grammar: that is
//! [`super::json_scan`]. A general JSON library cannot do this: it orders no array indices, writes
//! other exponents and refuses lone surrogates. Read [`super::filter`] next.

use std::borrow::Cow;
use std::ops::Range;

pub use super::json_scan::NotJson;
use super::json_scan::{Scanner, Text, utf8};

/// The first place of members whose key is no array index: after the largest index.
const NAMED_FROM: u64 = 1 << 32;

/// `JSON.stringify(JSON.parse(json))`. Takes time in proportion to the text (n log n in the number
/// of an object's members, times the nesting of objects that need another order).
///
/// # Errors
/// When the text is not JSON, or nested deeper than [`super::json_scan::MAX_DEPTH`].
pub fn stringify(json: &[u8]) -> Result<Vec<u8>, NotJson> {
    let text = utf8(json)?;
    let mut writer = Writer { from: Scanner::new(text), to: Vec::with_capacity(json.len()) };
    writer.value(0)?;
    writer.from.end()?;
    Ok(writer.to)
}

/// Writes a string as `JSON.stringify` does, with its quotes. `content` is UTF-8, in which a lone
/// surrogate is the three bytes that UTF-8 would give it; other bytes become U+FFFD.
pub fn write_string(content: &[u8], to: &mut Vec<u8>) {
    to.push(b'"');
    let mut rest = content;
    while !rest.is_empty() {
        let (valid, tail) = match std::str::from_utf8(rest) {
            Ok(_) => (rest, [].as_slice()),
            Err(cause) => rest.split_at(cause.valid_up_to()),
        };
        write_plain(valid, to);
        rest = match tail {
            [] => tail,
            [0xED, high @ 0xA0..=0xBF, low @ 0x80..=0xBF, tail @ ..] => {
                let unit = 0xD000 | (u16::from(high & 0x3F) << 6) | u16::from(low & 0x3F);
                to.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
                tail
            }
            [_, tail @ ..] => {
                to.extend_from_slice("\u{fffd}".as_bytes());
                tail
            }
        };
    }
    to.push(b'"');
}

fn write_plain(valid: &[u8], to: &mut Vec<u8>) {
    for run in valid.split_inclusive(|b| matches!(b, 0..0x20 | b'"' | b'\\')) {
        let Some((last, before)) = run.split_last() else { continue };
        let short: &[u8] = match last {
            0x08 => b"\\b",
            0x0c => b"\\f",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            0..0x20 => {
                to.extend_from_slice(before);
                to.extend_from_slice(format!("\\u{last:04x}").as_bytes());
                continue;
            }
            _ => {
                to.extend_from_slice(run);
                continue;
            }
        };
        to.extend_from_slice(before);
        to.extend_from_slice(short);
    }
}

/// One member as it has been written.
struct Member<'a> {
    key: Cow<'a, [u8]>,
    /// Its place among the members: array indices first, the others as they came.
    place: u64,
    /// Key, colon and value in the written bytes.
    span: Range<usize>,
}

/// Copies values from the scanner, each in its ECMAScript form.
struct Writer<'a> {
    from: Scanner<'a>,
    to: Vec<u8>,
}

impl Writer<'_> {
    fn value(&mut self, depth: usize) -> Result<(), NotJson> {
        match self.from.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => {
                let text = self.from.string()?;
                self.string(text);
                Ok(())
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => {
                let word = self.from.literal()?;
                self.to.extend_from_slice(word.as_bytes());
                Ok(())
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), NotJson> {
        let mut more = self.from.open(b'[', b']', depth)?;
        self.to.push(b'[');
        while more {
            self.value(depth + 1)?;
            more = self.from.more(b']')?;
            if more {
                self.to.push(b',');
            }
        }
        self.to.push(b']');
        Ok(())
    }

    fn object(&mut self, depth: usize) -> Result<(), NotJson> {
        let mut more = self.from.open(b'{', b'}', depth)?;
        self.to.push(b'{');
        let start = self.to.len();
        let mut members = Vec::new();
        let mut place = NAMED_FROM;
        while more {
            let from = self.to.len();
            let key = self.from.string()?;
            self.string(key);
            self.from.expect(b':')?;
            self.to.push(b':');
            self.value(depth + 1)?;
            members.push(Member { key: key.content(), place, span: from..self.to.len() });
            place += 1;
            more = self.from.more(b'}')?;
            if more {
                self.to.push(b',');
            }
        }
        if let Some(members) = rearranged(members) {
            let written = self.to.split_off(start);
            for (nth, member) in members.iter().enumerate() {
                if nth > 0 {
                    self.to.push(b',');
                }
                let moved = member.span.start - start..member.span.end - start;
                self.to.extend_from_slice(written.get(moved).unwrap_or_default());
            }
        }
        self.to.push(b'}');
        Ok(())
    }

    fn string(&mut self, text: Text<'_>) {
        if text.escaped {
            write_string(&text.content(), &mut self.to);
        } else {
            // The grammar lets nothing stand unescaped that has to be escaped.
            self.to.push(b'"');
            self.to.extend_from_slice(text.raw.as_bytes());
            self.to.push(b'"');
        }
    }

    fn number(&mut self) -> Result<(), NotJson> {
        let refused = self.from.refuse();
        let number: f64 = self.from.number()?.parse().map_err(|_| refused)?;
        if number.is_finite() {
            let mut buffer = ryu_js::Buffer::new();
            self.to.extend_from_slice(buffer.format_finite(number).as_bytes());
        } else {
            self.to.extend_from_slice(b"null");
        }
        Ok(())
    }
}

/// The members in ECMAScript's order, of repeated keys the last one in the first one's place;
/// `None` if they are so already.
fn rearranged(mut members: Vec<Member<'_>>) -> Option<Vec<Member<'_>>> {
    let before = members.len();
    members.sort_by(|a, b| a.key.cmp(&b.key));
    members.dedup_by(|later, kept| {
        let same = later.key == kept.key;
        if same {
            kept.span = later.span.clone();
        }
        same
    });
    for member in &mut members {
        if let Some(index) = array_index(&member.key) {
            member.place = index;
        }
    }
    members.sort_unstable_by_key(|member| member.place);
    let in_order = members.is_sorted_by_key(|member| member.span.start);
    (members.len() < before || !in_order).then_some(members)
}

/// The array index that a key is: canonical, at most 2^32 - 2.
fn array_index(key: &[u8]) -> Option<u64> {
    let canonical = matches!(key, [b'0'] | [b'1'..=b'9', ..]) && key.len() <= 10;
    let digits = std::str::from_utf8(key).ok().filter(|_| canonical)?;
    digits.parse().ok().filter(|index| *index < u64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::super::json_scan::MAX_DEPTH;
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: &str) {
        let written = stringify(json.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(written.as_deref(), Ok(expected), "{json}");
    }

    #[test]
    fn numbers_are_written_as_ecmascript_does() {
        for (json, expected) in [
            ("-0", "0"),
            ("-0.0e5", "0"),
            ("1e400", "null"),
            ("-1e400", "null"),
            ("1e-400", "0"),
            ("-1e-400", "0"),
            ("1e99999999999999999999", "null"),
            ("0e99999999999999999999", "0"),
            ("1e-99999999999999999999", "0"),
            ("123456789012345680000", "123456789012345680000"),
            ("999999999999999900000", "999999999999999900000"),
            ("1e21", "1e+21"),
            ("0.000001", "0.000001"),
            ("0.0000001", "1e-7"),
            ("1.5E+300", "1.5e+300"),
            ("9007199254740993", "9007199254740992"),
            ("5e-324", "5e-324"),
            ("2e-324", "0"),
            ("0.1e1", "1"),
            ("-12.50", "-12.5"),
            ("1.7976931348623159e308", "null"),
        ] {
            check(json, expected);
        }
        check(&format!("0.{}1", "0".repeat(2000)), "0");
        check(&format!("1{}", "0".repeat(2000)), "null");
        check(&format!("1{}e-2000", "0".repeat(2000)), "1");
    }

    #[test]
    fn members_stand_in_ecmascript_order() {
        for (json, expected) in [
            (r#"{"b":1,"10":2,"9":3,"a":4}"#, r#"{"9":3,"10":2,"b":1,"a":4}"#),
            (r#"{"a":1,"b":2,"\u0061":3}"#, r#"{"a":3,"b":2}"#),
            (r#"{"1":1,"\u0031":[2]}"#, r#"{"1":[2]}"#),
            (r#"{"x":1,"x":2,"x":{"2":1,"1":1},"0":0}"#, r#"{"0":0,"x":{"1":1,"2":1}}"#),
            (r#"{"00":1,"+1":2,"1e1":3,"-0":4,"0":5}"#, r#"{"0":5,"00":1,"+1":2,"1e1":3,"-0":4}"#),
            (
                r#"{"99999999999999999999":1,"4294967294":2}"#,
                r#"{"4294967294":2,"99999999999999999999":1}"#,
            ),
            (r#"{"\ud83d":1,"\ud83d\ude00":2,"😀":3,"\uD83D":4}"#, r#"{"\ud83d":4,"😀":3}"#),
            (r#"{"__proto__":1,"a":2,"__proto__":3}"#, r#"{"__proto__":3,"a":2}"#),
            (r#"[{"b":{"2":0,"1":0},"1":0}]"#, r#"[{"1":0,"b":{"1":0,"2":0}}]"#),
        ] {
            check(json, expected);
        }
    }

    #[test]
    fn strings_have_the_escapes_of_well_formed_stringify() {
        for (json, expected) in [
            (r#""\u0008\u000c\u000A\u000d\u0009\u0022\u005c\u002f""#, r#""\b\f\n\r\t\"\\/""#),
            (r#""\u0000\u001F\u007f\u2028\u00E9""#, "\"\\u0000\\u001f\u{7f}\u{2028}é\""),
            (r#""\uDE00\uD83D""#, r#""\ude00\ud83d""#),
            (r#""\ud83d\ud83d\ude00\ude00""#, r#""\ud83d😀\ude00""#),
            (r#""\ud83dx\uFFFF\udbff\udfff""#, "\"\\ud83dx\u{ffff}\u{10ffff}\""),
            ("\"\u{7f}\u{2029}\"", "\"\u{7f}\u{2029}\""),
        ] {
            check(json, expected);
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_written_as_replacement_characters() {
        let mut written = Vec::new();
        write_string(b"a\xff\xed\xa0\xbd\xed\xa0\x80\n\xc3", &mut written);
        assert_eq!(String::from_utf8(written).unwrap(), "\"a\u{fffd}\\ud83d\\ud800\\n\u{fffd}\"");
    }

    #[test]
    fn an_object_with_many_repeated_keys_is_written_in_time() {
        let mut json = String::from("{");
        for n in 0..100_000 {
            write!(json, "\"{}\":{n},\"same\":{n},", n % 1000).unwrap();
        }
        json.push_str("\"z\":0}");
        let written = stringify(json.as_bytes()).unwrap();
        let members = super::super::json_parts::object(utf8(&written).unwrap()).unwrap().members;
        assert_eq!(members.len(), 1002);
        assert!(written.ends_with(b"\"999\":99999,\"same\":99999,\"z\":0}"));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        check(&nested(MAX_DEPTH), &nested(MAX_DEPTH));
        assert_eq!(stringify("[".repeat(100_000).as_bytes()), Err(NotJson { at: MAX_DEPTH }));
    }

    /// JSON text with every kind of token, escapes and white space.
    fn json() -> impl Strategy<Value = String> {
        let text = prop_oneof![
            "[a-c0-3]{0,2}".prop_map(|s| format!("\"{s}\"")),
            "[^\"\\\\\u{0}-\u{1f}]{0,4}".prop_map(|s| format!("\"{s}\"")),
            "(\\\\u[dD][89ab-fAB-F][0-9a-f]{2}|\\\\u00[0-9a-f]{2}|\\\\[bfnrt/\"\\\\]|x){0,4}"
                .prop_map(|s| format!("\"{s}\"")),
        ];
        let number = "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?";
        let word = prop_oneof![Just("true"), Just("false"), Just("null")].prop_map(String::from);
        let leaf = prop_oneof![text.clone(), number, word];
        leaf.prop_recursive(4, 48, 6, move |inner| {
            let member = (text.clone(), inner.clone()).prop_map(|(k, v)| format!("{k} :{v}"));
            prop_oneof![
                prop::collection::vec(inner, 0..6).prop_map(|v| format!("[{}]", v.join(" ,\n"))),
                prop::collection::vec(member, 0..6).prop_map(|v| format!("{{{} }}", v.join(","))),
            ]
        })
    }

    proptest! {
        #[test]
        fn stringify_is_idempotent(json in json()) {
            let once = stringify(json.as_bytes()).unwrap();
            prop_assert_eq!(stringify(&once).unwrap(), once);
        }

        #[test]
        fn without_numbers_the_meaning_stays(
            value in prop::collection::btree_map(".{0,6}", prop::collection::vec(".{0,6}", 0..4), 0..8),
        ) {
            let json = serde_json::to_vec_pretty(&value).unwrap();
            let read = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
            prop_assert_eq!(read(&stringify(&json).unwrap()), read(&json));
        }

        #[test]
        fn numbers_keep_their_value(number: f64) {
            prop_assume!(number.is_finite());
            let written = stringify(format!("{number:e}").as_bytes()).unwrap();
            let read: f64 = String::from_utf8(written).unwrap().parse().unwrap();
            prop_assert!(read.to_bits() == number.to_bits() || number == 0.0);
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_agree_with_another_parser(
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..64),
                "[\\[\\]{}:,\"\\\\u0-9a-f eE.+-]{0,24}".prop_map(String::into_bytes),
                (json(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(json, at, byte)| {
                    let mut bytes = json.into_bytes();
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                    bytes
                }),
            ],
        ) {
            // A raw value is only skipped over: lone surrogates pass there as they do here.
            let other = serde_json::from_slice::<&serde_json::value::RawValue>(&bytes).is_ok();
            prop_assert_eq!(stringify(&bytes).is_ok(), other);
            prop_assert_eq!(super::super::json_scan::validate(&bytes).is_ok(), other);
        }
    }
}
