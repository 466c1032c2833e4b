//! A scanner for JSON text: tokens and spans, the bytes left where they are.
//!
//! Owns the grammar, as strict as `JSON.parse`, and what a string token says. Refuses to build
//! values and to rewrite anything: that is [`super::ecmascript`] (a writer), [`super::filter`] and
//! [`super::body`] (which splices). Read [`super::json_parts`] next.

use std::borrow::Cow;
use std::ops::Range;

/// The deepest nesting of arrays and objects that is read; events have 128 levels at most.
pub const MAX_DEPTH: usize = 256;

/// A text that is not JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not JSON at byte {at}")]
pub struct NotJson {
    /// Where the first byte stands that fits no JSON text, or that is nested deeper than
    /// [`MAX_DEPTH`].
    pub at: usize,
}

/// The text of these bytes.
///
/// # Errors
/// When they are not UTF-8.
pub fn utf8(json: &[u8]) -> Result<&str, NotJson> {
    std::str::from_utf8(json).map_err(|cause| NotJson { at: cause.valid_up_to() })
}

/// Whether the bytes are one JSON text: the strict grammar, UTF-8, nothing after it.
///
/// # Errors
/// When they are not, with the place.
pub fn validate(json: &[u8]) -> Result<(), NotJson> {
    let mut scanner = Scanner::new(utf8(json)?);
    scanner.value(0)?;
    scanner.end()
}

/// A string token, without its quotes and with its escapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    /// The text between the quotes, as it is written.
    pub raw: &'a str,
    /// Whether there is an escape in it.
    pub escaped: bool,
}

impl<'a> Text<'a> {
    /// The string's content: UTF-8, but lone surrogates are the three bytes that UTF-8 would give
    /// them if it could. Two strings are equal for ECMAScript if and only if these bytes are.
    #[must_use]
    pub fn content(self) -> Cow<'a, [u8]> {
        if self.escaped {
            Cow::Owned(unescape(self.raw.as_bytes()))
        } else {
            Cow::Borrowed(self.raw.as_bytes())
        }
    }

    /// The content as text, each lone surrogate replaced by U+FFFD.
    #[must_use]
    pub fn to_text(self) -> String {
        let content = self.content();
        let mut text = String::with_capacity(content.len());
        for chunk in content.utf8_chunks() {
            text.push_str(chunk.valid());
            // What is not UTF-8 is a surrogate, of three bytes, of which the first is this one.
            if chunk.invalid().first() == Some(&0xED) {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        text
    }

    /// Whether the content is this text.
    #[must_use]
    pub fn is(self, text: &str) -> bool {
        *self.content() == *text.as_bytes()
    }
}

/// Reads tokens from the front of a text.
#[derive(Clone, Debug)]
pub struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// A scanner at the text's beginning.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// How many bytes have been taken.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    /// Takes white space, and says which byte comes next.
    pub fn peek(&mut self) -> Option<u8> {
        let rest = self.rest();
        let white = rest.iter().position(|b| !matches!(b, b' ' | b'\t' | b'\n' | b'\r'));
        self.at += white.unwrap_or(rest.len());
        self.rest().first().copied()
    }

    /// Takes the next byte after white space if it is this one.
    pub fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    /// Takes this byte.
    ///
    /// # Errors
    /// When something else comes.
    pub fn expect(&mut self, byte: u8) -> Result<(), NotJson> {
        if self.take(byte) { Ok(()) } else { Err(self.refuse()) }
    }

    /// Takes white space up to the end of the text.
    ///
    /// # Errors
    /// When something else comes.
    pub fn end(&mut self) -> Result<(), NotJson> {
        if self.peek().is_none() { Ok(()) } else { Err(self.refuse()) }
    }

    /// Takes a string.
    ///
    /// # Errors
    /// When there is none.
    pub fn string(&mut self) -> Result<Text<'a>, NotJson> {
        self.expect(b'"')?;
        let start = self.at;
        let mut escaped = false;
        loop {
            let stop = |b: &u8| matches!(b, b'"' | b'\\' | 0..0x20);
            self.at += self.rest().iter().position(stop).unwrap_or(self.rest().len());
            match self.rest() {
                [b'"', ..] => break,
                [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => self.at += 2,
                [b'\\', b'u', a, b, c, d, ..]
                    if [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()) =>
                {
                    self.at += 6;
                }
                _ => return Err(self.refuse()),
            }
            escaped = true;
        }
        let raw = self.text.get(start..self.at).unwrap_or_default();
        self.at += 1;
        Ok(Text { raw, escaped })
    }

    /// Takes a number, as it is written.
    ///
    /// # Errors
    /// When there is none.
    pub fn number(&mut self) -> Result<&'a str, NotJson> {
        self.peek();
        let start = self.at;
        self.at += usize::from(self.rest().first() == Some(&b'-'));
        match self.rest() {
            [b'0', ..] => self.at += 1,
            _ => self.digits()?,
        }
        if self.rest().first() == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let [b'e' | b'E', sign, ..] = self.rest() {
            self.at += 1 + usize::from(matches!(sign, b'+' | b'-'));
            self.digits()?;
        }
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }

    /// Takes `true`, `false` or `null`.
    ///
    /// # Errors
    /// When there is none of them.
    pub fn literal(&mut self) -> Result<&'static str, NotJson> {
        self.peek();
        for word in ["true", "false", "null"] {
            if self.rest().starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(word);
            }
        }
        Err(self.refuse())
    }

    /// Takes one value, whatever it is, inside `depth` arrays and objects.
    ///
    /// # Errors
    /// When there is none, or it is nested too deeply.
    pub fn value(&mut self, depth: usize) -> Result<Range<usize>, NotJson> {
        let next = self.peek();
        let start = self.at;
        match next {
            Some(b'{') => {
                let mut more = self.open(b'{', b'}', depth)?;
                while more {
                    self.string()?;
                    self.expect(b':')?;
                    self.value(depth + 1)?;
                    more = self.more(b'}')?;
                }
            }
            Some(b'[') => {
                let mut more = self.open(b'[', b']', depth)?;
                while more {
                    self.value(depth + 1)?;
                    more = self.more(b']')?;
                }
            }
            Some(b'"') => drop(self.string()?),
            Some(b'-' | b'0'..=b'9') => drop(self.number()?),
            _ => drop(self.literal()?),
        }
        Ok(start..self.at)
    }

    /// The complaint about the byte that comes next.
    #[must_use]
    pub fn refuse(&self) -> NotJson {
        NotJson { at: self.at }
    }

    /// Takes an opening bracket; says whether what it opens has anything in it, else closes it.
    ///
    /// # Errors
    /// When another byte comes, or `depth` is at its bound.
    pub fn open(&mut self, open: u8, close: u8, depth: usize) -> Result<bool, NotJson> {
        if depth >= MAX_DEPTH {
            return Err(self.refuse());
        }
        self.expect(open)?;
        Ok(!self.take(close))
    }

    /// After a member or an element: whether another one follows.
    ///
    /// # Errors
    /// When neither a comma nor the closing bracket comes.
    pub fn more(&mut self, close: u8) -> Result<bool, NotJson> {
        if self.take(b',') {
            return Ok(true);
        }
        self.expect(close).map(|()| false)
    }

    fn digits(&mut self) -> Result<(), NotJson> {
        let rest = self.rest();
        let count = rest.iter().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len());
        self.at += count;
        if count == 0 { Err(self.refuse()) } else { Ok(()) }
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }
}

/// The content of a string token that the scanner has accepted.
fn unescape(raw: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(plain) = rest.iter().position(|b| *b == b'\\') {
        let (before, escape) = rest.split_at(plain);
        content.extend_from_slice(before);
        rest = match escape {
            [_, b'u', tail @ ..] => unescape_unit(tail, &mut content),
            [_, letter, tail @ ..] => {
                content.push(match letter {
                    b'b' => 0x08,
                    b'f' => 0x0c,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    same => *same,
                });
                tail
            }
            _ => &[],
        };
    }
    content.extend_from_slice(rest);
    content
}

/// Takes the digits after `\u`, and the second half of a surrogate pair if there is one.
fn unescape_unit<'r>(digits: &'r [u8], content: &mut Vec<u8>) -> &'r [u8] {
    let (unit, rest) = hex4(digits);
    if let (0xD800..=0xDBFF, [b'\\', b'u', second @ ..]) = (unit, rest)
        && let (low @ 0xDC00..=0xDFFF, rest) = hex4(second)
    {
        push_code(0x1_0000 + ((unit - 0xD800) << 10) + (low - 0xDC00), content);
        return rest;
    }
    push_code(unit, content);
    rest
}

fn hex4(digits: &[u8]) -> (u32, &[u8]) {
    let (four, rest) = digits.split_at_checked(4).unwrap_or((digits, &[]));
    let value = |unit, digit: &u8| unit * 16 + char::from(*digit).to_digit(16).unwrap_or_default();
    (four.iter().fold(0, value), rest)
}

/// UTF-8 of a code point; a surrogate gets the three bytes that the same rule gives.
fn push_code(code: u32, content: &mut Vec<u8>) {
    if let Some(character) = char::from_u32(code) {
        content.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    } else {
        let six = |shift: u32| 0x80 | u8::try_from((code >> shift) & 0x3F).unwrap_or_default();
        content.extend_from_slice(&[0xED, six(6), six(0)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refused(json: &[u8], at: usize) {
        assert_eq!(validate(json), Err(NotJson { at }), "{}", json.escape_ascii());
    }

    fn deep(levels: usize) -> String {
        "[".repeat(levels) + &"]".repeat(levels)
    }

    #[test]
    fn what_json_parse_takes_is_taken() {
        for json in [
            "0 -0 -0.0e-0 1E+9 12.50 0e1 null true false",
            r#""" "\ud83d" "\u00e9\/\b\f\n\r\t\"\\" "é😀" "#,
            r#"{} [] {"a":{"a":[{}]}} [1,[]] "#,
        ] {
            for json in json.split_whitespace() {
                assert_eq!(validate(json.as_bytes()), Ok(()), "{json:?}");
            }
        }
        for json in ["\"\u{7f}\u{2028}\"", " \t\r\n{ } ", "[ 1 , { \"a\" : 2 } ]", &deep(MAX_DEPTH)]
        {
            assert_eq!(validate(json.as_bytes()), Ok(()), "{json:?}");
        }
    }

    #[test]
    fn what_json_parse_refuses_is_refused_at_its_place() {
        let bad: [(&str, usize); 29] = [
            ("", 0),
            (" ", 1),
            ("01", 1),
            ("-", 1),
            ("1.", 2),
            (".5", 0),
            ("1e", 1),
            ("1e+", 3),
            ("+1", 0),
            ("1 2", 2),
            ("nul", 0),
            ("nullx", 4),
            ("NaN", 0),
            ("[1,]", 3),
            ("[1 2]", 3),
            ("{,}", 1),
            ("{\"a\":1,}", 7),
            ("{\"a\"}", 4),
            ("{a:1}", 1),
            ("{'a':1}", 1),
            ("\"\n\"", 1),
            ("\"\0\"", 1),
            ("\"\\x\"", 1),
            ("\"\\u12g4\"", 1),
            ("\"\\u123", 1),
            ("\"a", 2),
            ("\"\\", 1),
            ("[", 1),
            ("\u{feff}{}", 0),
        ];
        for (json, at) in bad {
            check_refused(json.as_bytes(), at);
        }
        check_refused(b"\x0b1", 0);
        check_refused(b"\"\xff\"", 1);
        check_refused(deep(MAX_DEPTH + 1).as_bytes(), MAX_DEPTH);
    }

    #[test]
    fn the_content_of_a_string_is_its_utf_16_code_units() {
        let content = |json: &str| Scanner::new(json).string().unwrap().content().into_owned();
        assert_eq!(content(r#""\ud83d\ude00\u0061\/""#), "😀a/".as_bytes());
        assert_eq!(content(r#""\ud83d\u0061\uDE00""#), b"\xed\xa0\xbda\xed\xb8\x80");
        let text = Scanner::new(r#""b\ud83d\u00e9\udfff""#).string().unwrap();
        assert_eq!(text.to_text(), "b\u{fffd}é\u{fffd}");
        assert!(Scanner::new(r#""d\u0061ta""#).string().unwrap().is("data"));
    }
}
