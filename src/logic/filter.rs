//! Payload filters: jq programs that change the payload of printing events.
//!
//! Owns how a program is compiled and run, and how values go in and come out. Refuses programs
//! access to anything but their input: no files, no environment, no clock, no time zone of the
//! host, no other inputs, no printing and no ending of the process. Which events may have a filter
//! is for the configuration to say. Read [`super::topic`] next.
//!
//! - Numbers that pass through keep their text: `1.0`, `12345678901234567890`, `1e400`. What is
//!   calculated is an integer of any size, or a double in its shortest form (`2.0`, `1e21`).
//! - Members keep the order that the program gives them; `del` may move the last member into the
//!   gap. Of repeated keys the last value counts, in the first one's place.
//! - Lone surrogates pass through. A program sees them as bytes that are no text.
//! - A program runs to its end: it is the operator's own, and nothing stops one that never ends.

use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use jaq_core::data::JustLut;
use jaq_core::load::{self, Arena, File, Loader, lex};
use jaq_core::{Compiler, Ctx, Vars, compile, native};
use jaq_json::{Map, Num, Val};

use super::ecmascript::write_string;
use super::json_scan::{self, NotJson, Scanner, utf8};
use crate::domain::delivery::Failure;

/// The largest object that may come out of a filter, in bytes.
pub const MAX_OUTPUT: usize = 4 * 1024 * 1024;

/// The deepest nesting that may come out of a filter, the outer object counted: that of an event.
pub const MAX_OUTPUT_DEPTH: usize = 128;

/// Integers with more characters than these are kept as text: exact as they stand, doubles in
/// calculations. (Reading a long one would take time in proportion to its square.)
const EXACT_DIGITS: usize = 64;

const REASON: &str = "payload_filter";

/// What jq offers and a filter may not use: whatever reaches beyond the input.
const WITHHELD: [&str; 13] = [
    "debug",
    "debug_empty",
    "env",
    "halt",
    "halt_error",
    "input",
    "inputs",
    "localtime",
    "now",
    "stderr",
    "stderr_empty",
    "strflocaltime",
    "$ENV",
];

/// A compiled jq program. Cheap to clone, shared between threads.
#[derive(Clone)]
pub struct Filter {
    source: Arc<str>,
    program: Arc<jaq_core::Filter<JustLut<Val>>>,
}

/// A program that does not compile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the jq program does not compile: {0}")]
pub struct BadFilter(pub String);

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Filter").field(&self.source).finish()
    }
}

impl Filter {
    /// Compiles a jq program.
    ///
    /// # Errors
    /// When it is no jq program, or uses what a filter may not.
    pub fn compile(source: &str) -> Result<Self, BadFilter> {
        let offered = |name: &str| !WITHHELD.contains(&name);
        let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        let funs = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
        let funs = funs.filter(|(name, ..)| offered(name) && *name != "fromjson");
        let arena = Arena::default();
        let modules = Loader::new(defs.filter(|def| offered(def.name)))
            .load(&arena, File { code: source, path: () })
            .map_err(|errors| not_loaded(source, &errors))?;
        load::import(&modules, |_| Err("data cannot be imported".into()))
            .map_err(|errors| not_loaded(source, &errors))?;
        let program = Compiler::default().with_funs(funs.chain([own_fromjson()])).compile(modules);
        let program = program.map_err(|errors| BadFilter(undefined(&errors)))?;
        Ok(Self { source: source.into(), program: Arc::new(program) })
    }

    /// The program's text.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Runs the program over a payload. Exactly one object must come out, not larger than
    /// [`MAX_OUTPUT`] and not deeper than [`MAX_OUTPUT_DEPTH`]; it is written without white space.
    ///
    /// # Errors
    /// A permanent failure with reason `payload_filter`, which shows nothing of the payload.
    pub fn apply(&self, payload: &Bytes) -> Result<Bytes, Failure> {
        let run = || -> Result<Bytes, Cow<'static, str>> {
            let input = read(payload).map_err(|cause| format!("was given what is {cause}"))?;
            let mut object = Vec::new();
            write(&self.one_object(input)?, 0, &mut object)?;
            Ok(object.into())
        };
        // The interpreter panics on some calculations: a text repeated too often, say.
        catch_unwind(AssertUnwindSafe(run))
            .unwrap_or(Err("could not be carried out".into()))
            .map_err(|what| Failure::permanent(REASON, format!("the payload filter {what}")))
    }

    fn one_object(&self, input: Val) -> Result<Val, &'static str> {
        let context = Ctx::<JustLut<Val>>::new(&self.program.lut, Vars::new([]));
        // Not jaq's own `unwrap_valr`: it ends the process where a program says so.
        let mut outputs = self.program.id.run((context, input));
        let output = outputs.next().ok_or("gave nothing: it must give exactly one object")?;
        let output = output.map_err(|_| "ended with an error")?;
        if !matches!(output, Val::Obj(_)) {
            return Err("gave something that is no object");
        }
        match outputs.next() {
            None => Ok(output),
            Some(Ok(_)) => Err("gave more than one value: it must give exactly one object"),
            Some(Err(_)) => Err("ended with an error after its first value"),
        }
    }
}

/// `fromjson` over our own reader: jaq's takes any nesting, and so a text of many brackets in a
/// payload would end the process.
fn own_fromjson() -> native::Fun<JustLut<Val>> {
    native::run(("fromjson", native::v(0), |(_, input)| {
        let value = match &input {
            Val::TStr(text) => read(text).map_err(|cause| jaq_json::Error::str(cause.to_string())),
            _ => Err(jaq_json::Error::typ(input.clone(), "string")),
        };
        native::bome(value)
    }))
}

fn not_loaded(source: &str, errors: &load::Errors<&str, ()>) -> BadFilter {
    let at = |found: &str| load::span(source, found).start;
    let said = errors.iter().flat_map(|(_, error)| match error {
        load::Error::Io(errors) => {
            errors.iter().map(|(path, cause)| format!("{path}: {cause}")).collect::<Vec<_>>()
        }
        load::Error::Lex(errors) => errors
            .iter()
            .map(|(expected, found)| match expected {
                lex::Expect::Delim(open) => {
                    format!("a {open} is not closed at byte {}", at(found))
                }
                other => format!("expected {} at byte {}", other.as_str(), at(found)),
            })
            .collect(),
        load::Error::Parse(errors) => errors
            .iter()
            .map(|(expected, found)| {
                format!("expected {} at byte {}", expected.as_str(), at(found))
            })
            .collect(),
    });
    BadFilter(said.collect::<Vec<_>>().join("; "))
}

fn undefined(errors: &compile::Errors<&str, ()>) -> String {
    let errors = errors.iter().flat_map(|(_, errors)| errors);
    let said = errors.map(|(name, undefined)| match undefined {
        _ if WITHHELD.contains(name) => format!("{name} reaches beyond the payload"),
        compile::Undefined::Filter(arity) => format!("there is no filter {name}/{arity}"),
        other => format!("there is no {} {name}", other.as_str()),
    });
    said.collect::<Vec<_>>().join("; ")
}

/// The value of a JSON text. Strings are as [`super::json_scan::Text::content`] gives them.
fn read(json: &[u8]) -> Result<Val, NotJson> {
    let mut scanner = Scanner::new(utf8(json)?);
    let value = read_value(&mut scanner, 0)?;
    scanner.end()?;
    Ok(value)
}

fn read_value(from: &mut Scanner<'_>, depth: usize) -> Result<Val, NotJson> {
    Ok(match from.peek() {
        Some(b'{') => {
            let mut members = Map::default();
            let mut more = from.open(b'{', b'}', depth)?;
            while more {
                let key = read_string(from)?;
                from.expect(b':')?;
                members.insert(key, read_value(from, depth + 1)?);
                more = from.more(b'}')?;
            }
            Val::obj(members)
        }
        Some(b'[') => {
            let mut elements = Vec::new();
            let mut more = from.open(b'[', b']', depth)?;
            while more {
                elements.push(read_value(from, depth + 1)?);
                more = from.more(b']')?;
            }
            elements.into_iter().collect()
        }
        Some(b'"') => read_string(from)?,
        Some(b'-' | b'0'..=b'9') => Val::Num(read_number(from.number()?)),
        _ => match from.literal()? {
            "true" => Val::Bool(true),
            "false" => Val::Bool(false),
            _ => Val::Null,
        },
    })
}

fn read_string(from: &mut Scanner<'_>) -> Result<Val, NotJson> {
    Ok(Val::utf8_str(from.string()?.content().into_owned()))
}

/// Integers of up to [`EXACT_DIGITS`] are exact in calculations; the others are kept as text.
fn read_number(text: &str) -> Num {
    let exact = text.len() <= EXACT_DIGITS && text != "-0";
    let integer = || Num::from_str_radix(text, 10);
    exact.then(integer).flatten().unwrap_or_else(|| Num::Dec(text.to_owned().into()))
}

/// Writes a value as JSON; says what is wrong with one that JSON cannot hold.
fn write(value: &Val, depth: usize, to: &mut Vec<u8>) -> Result<(), &'static str> {
    if to.len() > MAX_OUTPUT {
        return Err("gave more than 4 MiB");
    }
    if depth > MAX_OUTPUT_DEPTH {
        return Err("gave an object nested deeper than 128");
    }
    match value {
        Val::Null => to.extend_from_slice(b"null"),
        Val::Bool(truth) => to.extend_from_slice(if *truth { b"true" } else { b"false" }),
        Val::Num(number) => write_number(number, to)?,
        Val::TStr(content) => write_string(content, to),
        Val::BStr(_) => return Err("gave bytes that are no text"),
        Val::Arr(elements) => {
            to.push(b'[');
            for (nth, element) in elements.iter().enumerate() {
                if nth > 0 {
                    to.push(b',');
                }
                write(element, depth + 1, to)?;
            }
            to.push(b']');
        }
        Val::Obj(members) => {
            to.push(b'{');
            for (nth, (key, member)) in members.iter().enumerate() {
                if nth > 0 {
                    to.push(b',');
                }
                let Val::TStr(key) = key else { return Err("gave a key that is no text") };
                write_string(key, to);
                to.push(b':');
                write(member, depth + 1, to)?;
            }
            to.push(b'}');
        }
    }
    Ok(())
}

fn write_number(number: &Num, to: &mut Vec<u8>) -> Result<(), &'static str> {
    let text = number.to_string();
    json_scan::validate(text.as_bytes()).map_err(|_| "gave a number that JSON cannot hold")?;
    to.extend_from_slice(text.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::delivery::Class;

    fn run(program: &str, payload: &str) -> Result<String, Failure> {
        let filter = Filter::compile(program).unwrap_or_else(|bad| panic!("{program}: {bad}"));
        let output = filter.apply(&Bytes::copy_from_slice(payload.as_bytes()))?;
        Ok(String::from_utf8(output.to_vec()).unwrap())
    }

    #[track_caller]
    fn check(program: &str, payload: &str, expected: &str) {
        assert_eq!(run(program, payload), Ok(expected.into()), "{program}");
    }

    #[test]
    fn a_program_gives_one_object_and_keeps_what_it_does_not_touch() {
        check(
            "{label: .sublot, qty: .quantity}",
            r#"{"quantity":2,"sublot":"S","x":0}"#,
            r#"{"label":"S","qty":2}"#,
        );
        let digits = r#"{"b":1.0,"a":12345678901234567890,"n":-0,"e":1E+400,"m":0.1000,"z":-0.0}"#;
        check(".", digits, digits);
        check(
            ".",
            &format!("{{\"n\":{}}}", "9".repeat(100_000)),
            &format!("{{\"n\":{}}}", "9".repeat(100_000)),
        );
        check(
            ". + {a: (.a + 1), h: (.q / 4), i: (.q / 2)}",
            r#"{"a":12345678901234567890,"q":2}"#,
            r#"{"a":12345678901234567891,"q":2,"h":0.5,"i":1.0}"#,
        );
        check(".", r#"{ "b" : 1 , "a" : [ ] , "b" : { } }"#, r#"{"b":{},"a":[]}"#);
        check("del(.a)", r#"{"a":1,"b":2,"c":3}"#, r#"{"c":3,"b":2}"#);
        check("with_entries(.value |= tostring)", r#"{"b":1,"a":true}"#, r#"{"b":"1","a":"true"}"#);
        check(
            ".t |= todate | .n |= tonumber",
            r#"{"t":0,"n":"1.50"}"#,
            r#"{"t":"1970-01-01T00:00:00Z","n":1.50}"#,
        );
        check("{a: .a | fromjson}", r#"{"a":"{\"x\":[1.0]}"}"#, r#"{"a":{"x":[1.0]}}"#);
    }

    #[test]
    fn lone_surrogates_pass_through() {
        let payload = r#"{"a\ud83d":"\ude00","b":"\ud83d\ude00"}"#;
        check(".", payload, r#"{"a\ud83d":"\ude00","b":"😀"}"#);
        check(
            ".c = .b + \"\\u0001\u{7f}\"",
            payload,
            "{\"a\\ud83d\":\"\\ude00\",\"b\":\"😀\",\"c\":\"😀\\u0001\u{7f}\"}",
        );
    }

    #[track_caller]
    fn check_failure(program: &str, expected: &str) {
        let failure = run(program, r#"{"a":"tell nobody","n":99999999999999999}"#).unwrap_err();
        assert_eq!((failure.class, failure.reason.as_str()), (Class::Permanent, "payload_filter"));
        assert_eq!(failure.detail, format!("the payload filter {expected}"), "{program}");
    }

    #[test]
    fn anything_but_one_object_is_a_permanent_failure_that_shows_no_payload() {
        check_failure("empty", "gave nothing: it must give exactly one object");
        check_failure("., .", "gave more than one value: it must give exactly one object");
        check_failure("repeat(.)", "gave more than one value: it must give exactly one object");
        check_failure("., error", "ended with an error after its first value");
        for program in [".a", "[.]", "null", ".n", "true"] {
            check_failure(program, "gave something that is no object");
        }
        for program in ["error", "error(.a)", ".a + 1", ".a.b", ".a | fromjson", ".a | tonumber"] {
            check_failure(program, "ended with an error");
        }
        check_failure("{a: nan}", "gave a number that JSON cannot hold");
        check_failure("{a: infinite}", "gave a number that JSON cannot hold");
        check_failure("{(.n): 1}", "gave a key that is no text");
        check_failure("{a: .a | tobytes}", "gave bytes that are no text");
        check_failure("{a: (\"x\" * 5000000), b: 1}", "gave more than 4 MiB");
        check_failure(
            "reduce range(200) as $n (.; {a: .})",
            "gave an object nested deeper than 128",
        );
        check_failure("{a: (\"xx\" * 9223372036854775807)}", "could not be carried out");
    }

    #[test]
    fn a_payload_of_many_brackets_does_not_end_the_process() {
        let brackets = "[".repeat(500_000);
        let payload = format!("{{\"a\":\"{brackets}\"}}");
        let failure = run("{a: .a | fromjson}", &payload).unwrap_err();
        assert_eq!(failure.detail, "the payload filter ended with an error");
        let failure = run(".", &brackets).unwrap_err();
        assert_eq!(failure.detail, "the payload filter was given what is not JSON at byte 256");
    }

    #[test]
    fn the_deepest_event_passes_on_a_small_stack() {
        let payload = format!("{}1{}", "{\"a\":".repeat(128), "}".repeat(128));
        let same = payload.clone();
        let run = move || run("walk(.) | [..] as $all | .", &payload);
        let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap();
        assert_eq!(thread.join().unwrap(), Ok(same));
    }

    #[test]
    fn a_program_that_is_none_says_where() {
        for (program, expected) in [
            ("{a: ", "a { is not closed at byte 4"),
            ("\"a", "a \" is not closed at byte 2"),
            (".a | ", "expected term at byte 5"),
            ("", "expected term at byte 0"),
            (". as [$x;] | .", "expected comma or right bracket at byte 8"),
            (". § .", "expected token at byte 2"),
            ("nothing(1)", "there is no filter nothing/1"),
            ("$x", "there is no variable $x"),
            ("import \"a\" as a; .", "a: module loading not supported"),
            ("import \"a\" as $a; .", "a: data cannot be imported"),
            ("include \"a\"; .", "a: module loading not supported"),
        ] {
            let said = Filter::compile(program).map_err(|bad| bad.0).map(|_| ());
            assert_eq!(said, Err(expected.to_owned()), "{program}");
        }
    }

    #[test]
    fn a_program_reaches_nothing_but_its_input() {
        for name in [
            "$ENV",
            "debug",
            "debug(1)",
            "env",
            "halt",
            "halt(1)",
            "halt_error",
            "halt_error(1)",
            "input",
            "inputs",
            "localtime",
            "now",
            "stderr",
            "strflocaltime(\"\")",
        ] {
            let said = Filter::compile(&format!(". | {name}")).unwrap_err().0;
            assert!(said.ends_with(" reaches beyond the payload"), "{name}: {said}");
        }
        for name in
            ["input_filename", "input_line_number", "$__prog_args", "get_search_list", "getenv"]
        {
            let said = Filter::compile(name).unwrap_err().0;
            assert!(said.starts_with("there is no "), "{name}: {said}");
        }
    }

    #[test]
    fn a_filter_is_shared_between_threads_and_shows_its_source() {
        let filter = Filter::compile("{n: .n}").unwrap();
        let there = filter.clone();
        let output = std::thread::spawn(move || there.apply(&Bytes::from_static(b"{\"n\":1}")));
        assert_eq!(output.join().unwrap(), Ok(Bytes::from_static(b"{\"n\":1}")));
        assert_eq!(format!("{filter:?}"), "Filter(\"{n: .n}\")");
        assert_eq!(filter.source(), "{n: .n}");
    }

    proptest! {
        #[test]
        fn no_payload_makes_a_filter_panic(
            payload in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..32),
                "[\\[\\]{}:,\"\\\\u0-9a-f eE.+-]{0,16}".prop_map(String::into_bytes),
                "\\{\"a\":\"(\\\\u[dD][89ab-f][0-9a-f]{2}|x){0,4}\"\\}".prop_map(String::into_bytes),
            ],
        ) {
            let filter = Filter::compile("if type == \"object\" then . else {v: .} end").unwrap();
            let sound = json_scan::validate(&payload).is_ok();
            let output = filter.apply(&Bytes::from(payload));
            prop_assert_eq!(output.is_ok(), sound);
            if let Ok(output) = output {
                prop_assert!(json_scan::validate(&output).is_ok());
            }
        }
    }
}
