//! The trace that an event belongs to: W3C Trace Context in the headers of a bus message.
//!
//! Owns what is valid, which alone is passed on: a `traceparent` that is none makes a partner's
//! tracing begin anew or go wrong, and a `tracestate` says nothing without one. Where spans are
//! recorded, what is passed on comes from a span of ours; else the parent is the platform's own.
//! Refuses to make spans: [`crate::spans`] does. Read [`super::parcel`] for how the headers outlive
//! a wait in a queue.

use std::collections::BTreeSet;

use crate::domain::delivery::{HeaderValue, Headers, Message, TraceContext};

/// The headers' names, on the bus and at partners alike.
pub const TRACEPARENT: &str = "traceparent";
/// See [`TRACEPARENT`].
pub const TRACESTATE: &str = "tracestate";

/// Members of a `tracestate` at most: one with more is invalid.
const MAX_MEMBERS: usize = 32;
/// The longest `tracestate` that is passed on. The standard asks for no more, and a partner might
/// refuse an event over longer headers.
const MAX_STATE: usize = 512;
/// Members that are longer go first where there are too many characters.
const LONG_MEMBER: usize = 128;

/// The trace of a bus message; `None` when it names none, or none that is valid.
#[must_use]
pub fn of(message: &Message) -> Option<TraceContext> {
    let parent = parent(text(message.header(TRACEPARENT)?)?)?;
    let state = message.header(TRACESTATE).and_then(text).and_then(state);
    Some(TraceContext { parent, state })
}

/// The ids and flags of a trace: trace, span, flags.
pub type Ids = ([u8; 16], [u8; 8], u8);

/// What the parent of a trace says in numbers.
#[must_use]
pub fn ids(trace: &TraceContext) -> Option<Ids> {
    let mut parts = trace.parent.split('-').skip(1);
    let (mut id, mut span, mut flags) = ([0; 16], [0; 8], [0; 1]);
    hex::decode_to_slice(parts.next()?, &mut id).ok()?;
    hex::decode_to_slice(parts.next()?, &mut span).ok()?;
    hex::decode_to_slice(parts.next()?, &mut flags).ok()?;
    Some((id, span, u8::from_be_bytes(flags)))
}

/// What follows belongs to this span, which is recorded, of this trace. What other tracing systems
/// have added stays as it came.
#[must_use]
pub fn below(trace: [u8; 16], span: [u8; 8], state: Option<String>) -> TraceContext {
    let parent = format!("00-{}-{}-01", hex::encode(trace), hex::encode(span));
    TraceContext { parent, state }
}

/// Writes a trace into a message that came with none that is valid: it goes wherever the message
/// goes, into queues and out of them.
pub fn write(message: &mut Message, trace: &TraceContext) {
    let mut headers = Headers::default();
    let came = message.properties.headers().iter().flat_map(Headers::inner);
    // One that came without a parent would belong to another trace.
    for (name, value) in came.filter(|(name, _)| name.as_str() != TRACESTATE) {
        headers.insert(name.clone(), value.clone());
    }
    headers.insert(TRACEPARENT.into(), HeaderValue::LongString(trace.parent.as_str().into()));
    if let Some(state) = &trace.state {
        headers.insert(TRACESTATE.into(), HeaderValue::LongString(state.as_str().into()));
    }
    message.properties = std::mem::take(&mut message.properties).with_headers(headers);
}

fn text(value: &HeaderValue) -> Option<&str> {
    match value {
        HeaderValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
        HeaderValue::ShortString(text) => Some(text.as_str()),
        _ => None,
    }
}

/// A `traceparent` as version 00: unchanged where it is one; of a later version what 00 knows of it.
fn parent(text: &str) -> Option<String> {
    let mut parts = text.splitn(5, '-');
    let mut hex = |length: usize| {
        let part = parts.next()?;
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (part.len() == length && part.bytes().all(hex)).then_some(part)
    };
    let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
    let is_zero = |id: &str| id.bytes().all(|byte| byte == b'0');
    if version == "ff" || is_zero(trace) || is_zero(span) {
        return None;
    }
    if version == "00" {
        return parts.next().is_none().then(|| text.to_owned());
    }
    // The last bit, *sampled*, is all that has a meaning in every version.
    let sampled = u8::from_str_radix(flags, 16).ok()? & 1;
    Some(format!("00-{trace}-{span}-0{sampled}"))
}

/// A `tracestate`, shortened by whole members; `None` where it is invalid or nothing is left.
fn state(text: &str) -> Option<String> {
    let members = text.split(',').map(|member| member.trim_matches([' ', '\t']));
    let mut members: Vec<&str> = members.filter(|member| !member.is_empty()).collect();
    if members.len() > MAX_MEMBERS {
        return None;
    }
    let mut keys = BTreeSet::new();
    for member in &members {
        let (key, value) = member.split_once('=')?;
        if !is_key(key) || !is_value(value) || !keys.insert(key) {
            return None;
        }
    }
    let length = |members: &[&str]| members.iter().map(|member| member.len() + 1).sum::<usize>();
    if length(&members) > MAX_STATE + 1 {
        members.retain(|member| member.len() <= LONG_MEMBER);
    }
    while length(&members) > MAX_STATE + 1 {
        members.pop();
    }
    (!members.is_empty()).then(|| members.join(","))
}

fn is_key(key: &str) -> bool {
    let part = |part: &str, longest: usize, first: fn(&u8) -> bool| {
        let rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-*/".contains(&b);
        part.len() <= longest
            && part.as_bytes().first().is_some_and(first)
            && part.bytes().all(rest)
    };
    let any = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    match key.split_once('@') {
        None => part(key, 256, any),
        Some((tenant, system)) => {
            part(tenant, 241, any) && part(system, 14, u8::is_ascii_lowercase)
        }
    }
}

fn is_value(value: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'=' && byte != b',';
    (1..=256).contains(&value.len()) && value.bytes().all(allowed) && !value.ends_with(' ')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::delivery::{Headers, Properties};

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn message(parent: HeaderValue, state: Option<&str>) -> Message {
        let mut headers = Headers::default();
        headers.insert(TRACEPARENT.into(), parent);
        if let Some(state) = state {
            headers.insert(TRACESTATE.into(), HeaderValue::LongString(state.into()));
        }
        Message { properties: Properties::default().with_headers(headers), ..Message::default() }
    }

    fn found(parent: &str, state: Option<&str>) -> Option<TraceContext> {
        of(&message(HeaderValue::LongString(parent.into()), state))
    }

    #[test]
    fn a_traceparent_is_passed_on_when_the_standard_allows_it() {
        let span = "b7ad6b7169203331";
        let as_it_is = |flags: &str| Some(format!("00-{TRACE}-{span}-{flags}"));
        for (text, expected) in [
            (GOOD.to_owned(), as_it_is("01")),
            (format!("00-{TRACE}-{span}-00"), as_it_is("00")),
            (format!("00-{TRACE}-{span}-ff"), as_it_is("ff")),
            // Later versions: what version 00 knows of them.
            (format!("01-{TRACE}-{span}-01"), as_it_is("01")),
            (format!("cc-{TRACE}-{span}-03-what-the-future-will-be"), as_it_is("01")),
            (format!("fe-{TRACE}-{span}-fe-"), as_it_is("00")),
            (format!("cc-{TRACE}-{span}-01.what"), None),
            // No versions.
            (format!("ff-{TRACE}-{span}-01"), None),
            (format!("0-{TRACE}-{span}-01"), None),
            (format!("0g-{TRACE}-{span}-01"), None),
            // Version 00 ends with its flags.
            (format!("00-{TRACE}-{span}-01-"), None),
            (format!("00-{TRACE}-{span}-01-00"), None),
            (format!("00-{TRACE}-{span}-1"), None),
            (format!("00-{TRACE}-{span}-011"), None),
            (format!("00-{TRACE}-{span}-0x"), None),
            (format!("00-{TRACE}-{span}"), None),
            // Ids of zeros, of other lengths, in capitals.
            (format!("00-{}-{span}-01", "0".repeat(32)), None),
            (format!("00-{TRACE}-{}-01", "0".repeat(16)), None),
            (format!("00-{}-{span}-01", "0af7651916cd43dd8448eb211c80319"), None),
            (format!("00-{TRACE}0-{span}-01"), None),
            (format!("00-{TRACE}-{span}0-01"), None),
            (GOOD.to_uppercase(), None),
            (format!("00-{TRACE}-ü7ad6b716920333-01"), None),
            (format!(" {GOOD}"), None),
            (format!("{GOOD} "), None),
            (format!("{GOOD}\r\nX-Injected: 1"), None),
            (format!("{GOOD},{GOOD}"), None),
            (String::new(), None),
        ] {
            assert_eq!(found(&text, None).map(|trace| trace.parent), expected, "{text:?}");
        }
        assert_eq!(found(GOOD, None).unwrap().id(), TRACE);
    }

    #[test]
    fn a_tracestate_is_passed_on_when_it_is_valid_and_goes_alone_when_it_is_not() {
        let long = "v".repeat(256);
        let key = "k".repeat(256);
        let tenant = format!("{}@{}=1", "t".repeat(241), "s".repeat(14));
        let too_many = (0..33).map(|n| format!("k{n}=1")).collect::<Vec<_>>().join(",");
        for (text, expected) in [
            (
                "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
                Some("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
            ),
            (" a=1 ,\tb=2,, ,c=3", Some("a=1,b=2,c=3")),
            ("1a=1", Some("1a=1")),
            ("a_-*/0=a b!~", Some("a_-*/0=a b!~")),
            ("tenant@system=1", Some("tenant@system=1")),
            (tenant.as_str(), Some(tenant.as_str())),
            ("", None),
            (" , ,", None),
            ("a", None),
            ("a=", None),
            ("=1", None),
            ("A=1", None),
            ("_a=1", None),
            ("a@=1", None),
            ("@a=1", None),
            ("a@1=1", None),
            ("a@b@c=1", None),
            ("a=1=2", None),
            ("a=ü", None),
            ("a=1\r\nX: 2", None),
            ("a=1,a=2", None),
            (too_many.as_str(), None),
        ] {
            let trace = found(GOOD, Some(text)).unwrap();
            assert_eq!(trace.state.as_deref(), expected, "{text:?}");
        }
        let state = |text: String| found(GOOD, Some(&text)).unwrap().state;
        assert_eq!(state(format!("a={long}")), Some(format!("a={long}")));
        assert_eq!(state(format!("a={long}v")), None);
        assert_eq!(state(format!("{key}=1")), Some(format!("{key}=1")));
        assert_eq!(state(format!("{key}k=1")), None);
        assert_eq!(found("bad", Some("a=1")), None, "without a parent it says nothing");
    }

    #[test]
    fn a_tracestate_that_is_too_long_loses_its_long_members_first_and_then_its_last() {
        let member =
            |name: &str, length: usize| format!("{name}={}", "v".repeat(length - name.len() - 1));
        let state = |members: &[String]| found(GOOD, Some(&members.join(","))).unwrap().state;
        let short = [member("a", 128), member("b", 128), member("c", 128), member("d", 125)];
        assert_eq!(short.join(",").len(), MAX_STATE);
        assert_eq!(state(&short), Some(short.join(",")));
        let [a, b, c, d] = short.clone();
        let long = member("long", 129);
        assert_eq!(state(&[a.clone(), long, b.clone(), c.clone(), d]), Some(short.join(",")));
        let four = [a.clone(), b.clone(), c.clone(), member("d", 126)];
        assert_eq!(state(&four), Some([a, b, c].join(",")));
        assert_eq!(state(&[member("x", 250), member("y", 250), member("z", 250)]), None);
    }

    #[test]
    fn only_texts_are_read() {
        for value in [HeaderValue::Void, HeaderValue::LongLongInt(7), HeaderValue::Boolean(true)] {
            assert_eq!(of(&message(value, None)), None);
        }
        let bytes: &[u8] = &[0xff, 0xfe];
        assert_eq!(of(&message(HeaderValue::LongString(bytes.into()), None)), None);
        assert!(of(&message(HeaderValue::ShortString(GOOD.into()), None)).is_some());
        assert_eq!(of(&Message::default()), None);
    }

    #[test]
    fn what_follows_a_span_keeps_the_trace_and_what_others_have_added() {
        let came = found(GOOD, Some("a=1")).unwrap();
        let (trace, parent, flags) = ids(&came).unwrap();
        assert_eq!(
            (hex::encode(trace), hex::encode(parent), flags),
            (TRACE.to_owned(), "b7ad6b7169203331".to_owned(), 1)
        );
        let passed = below(trace, [0xab; 8], came.state);
        assert_eq!(passed.parent, format!("00-{TRACE}-abababababababab-01"));
        assert_eq!((passed.id(), passed.state.as_deref()), (TRACE, Some("a=1")));
        let unsampled = found(&format!("00-{TRACE}-b7ad6b7169203331-00"), None).unwrap();
        assert_eq!(ids(&unsampled).map(|(.., flags)| flags), Some(0));
    }

    #[test]
    fn a_trace_that_is_written_is_found_and_leaves_the_other_headers_alone() {
        let trace = below([7; 16], [9; 8], None);
        let mut bare = Message::default();
        write(&mut bare, &trace);
        assert_eq!(of(&bare), Some(trace.clone()));
        let mut came = message(HeaderValue::LongString("no parent".into()), Some("a=1"));
        let mut headers = came.properties.headers().clone().unwrap();
        headers.insert("mine".into(), HeaderValue::LongLongInt(7));
        came.properties = came.properties.with_headers(headers).with_priority(3);
        write(&mut came, &trace);
        assert_eq!(of(&came), Some(trace));
        assert_eq!(came.header("mine"), Some(&HeaderValue::LongLongInt(7)));
        assert_eq!(came.header(TRACESTATE), None);
        assert_eq!(*came.properties.priority(), Some(3));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn whatever_is_found_is_valid_itself_and_can_stand_in_a_header(
            version in "[0-9a-f]{2}", tail in "(-.{0,9})?", state in "([a-z@=, 0-9]{0,40}|.{0,700})",
        ) {
            let parent = format!("{version}-{TRACE}-b7ad6b7169203331-03{tail}");
            if let Some(trace) = found(&parent, Some(&state)) {
                prop_assert_eq!(trace.parent.len(), 55);
                let state = trace.state.clone();
                let printable = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
                prop_assert!(state.iter().all(|s| printable(s) && (1..=MAX_STATE).contains(&s.len())));
                prop_assert_eq!(found(&trace.parent, state.as_deref()), Some(trace));
            }
        }
    }
}
