//! Parts of a JSON text: where the members of an object and the values at pointers stand.
//!
//! Owns spans. Refuses to change the text: that is [`super::body`]. Read [`super::ecmascript`] next.

use std::ops::Range;

use super::json_scan::{NotJson, Scanner, Text};

/// One member of an object, as spans of the scanned text.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// The key.
    pub key: Text<'a>,
    /// From the brace or comma before it to the comma or brace after it, both left out: white
    /// space is inside.
    pub segment: Range<usize>,
    /// The value alone.
    pub value: Range<usize>,
}

/// An object, as spans of the scanned text.
#[derive(Clone, Debug)]
pub struct Object<'a> {
    /// Between the braces, both left out.
    pub inside: Range<usize>,
    /// The members, in the order of the text; repeated keys stay repeated.
    pub members: Vec<Member<'a>>,
}

impl Object<'_> {
    /// The value that parsers see for this key: the last one.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<Range<usize>> {
        self.members.iter().rev().find(|member| member.key.is(key)).map(|m| m.value.clone())
    }
}

/// Where the members of the object stand that this text is.
///
/// # Errors
/// When the text is not one JSON object.
pub fn object(json: &str) -> Result<Object<'_>, NotJson> {
    let mut scanner = Scanner::new(json);
    scanner.peek();
    let first = scanner.at() + 1;
    let mut members = Vec::new();
    let mut start = first;
    let mut more = scanner.open(b'{', b'}', 0)?;
    while more {
        let key = scanner.string()?;
        scanner.expect(b':')?;
        let value = scanner.value(1)?;
        scanner.peek();
        members.push(Member { key, segment: start..scanner.at(), value });
        more = scanner.more(b'}')?;
        start = scanner.at();
    }
    let inside = first..scanner.at() - 1;
    scanner.end()?;
    Ok(Object { inside, members })
}

/// Whether this is a JSON pointer (RFC 6901).
#[must_use]
pub fn is_pointer(pointer: &str) -> bool {
    let mut rest = pointer.split('~').skip(1);
    (pointer.is_empty() || pointer.starts_with('/')) && rest.all(|s| s.starts_with(['0', '1']))
}

/// The value at a JSON pointer (RFC 6901), as it is written. Of repeated keys the last one counts.
#[must_use]
pub fn pointer<'a>(json: &'a str, pointer: &str) -> Option<&'a str> {
    if !is_pointer(pointer) {
        return None;
    }
    let mut found = json.get(Scanner::new(json).value(0).ok()?)?;
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        let span = match found.as_bytes().first()? {
            b'{' => object(found).ok()?.value(&token)?,
            b'[' => {
                let canonical = token == "0" || !token.starts_with(['0', '+']);
                let index = token.parse().ok().filter(|_| canonical)?;
                element(found, index)?
            }
            _ => return None,
        };
        found = found.get(span)?;
    }
    Some(found)
}

/// The element of an array at this index.
fn element(json: &str, index: usize) -> Option<Range<usize>> {
    let mut scanner = Scanner::new(json);
    let mut more = scanner.open(b'[', b']', 0).ok()?;
    for _ in 0..index {
        if !more {
            return None;
        }
        scanner.value(1).ok()?;
        more = scanner.more(b']').ok()?;
    }
    scanner.value(1).ok().filter(|_| more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_known_by_its_unescaped_key() {
        let json = r#"{ "a" : 1 , "\u0061":[2] ,"b\ud83d":{"a":3}}"#;
        let object = object(json).unwrap();
        assert_eq!(object.value("a").map(|span| &json[span]), Some("[2]"));
        let segments: Vec<_> = object.members.iter().map(|m| &json[m.segment.clone()]).collect();
        assert_eq!(segments, [r#" "a" : 1 "#, r#" "\u0061":[2] "#, r#""b\ud83d":{"a":3}"#]);
    }

    #[test]
    fn pointers_are_those_of_rfc_6901() {
        let json = r#" {"foo":["bar",{"x":-1.50}],"":0,"a/b":1,"m~n":8,"a":1,"\u0061":2} "#;
        for (at, expected) in [
            ("", Some(json.trim())),
            ("/foo/0", Some("\"bar\"")),
            ("/foo/1/x", Some("-1.50")),
            ("/", Some("0")),
            ("/a~1b", Some("1")),
            ("/m~0n", Some("8")),
            ("/a", Some("2")),
            ("/foo/01", None),
            ("/foo/-", None),
            ("/foo/+1", None),
            ("/foo/2", None),
            ("foo", None),
            ("/foo/0/x", None),
            ("/nothing", None),
            ("/m~2n", None),
            ("/m~", None),
        ] {
            assert_eq!(pointer(json, at), expected, "{at}");
        }
    }
}
