//! The rules that every source file keeps, as one pure function over its path and its text.
//!
//! Owns the floors, what the pure floors may not touch, sizes and names. Refuses to read files:
//! that is the root of this test. Read [`super::crates`] next.

use super::code::code_only;

/// The longest a source file may be before its tests, in lines.
const MAX_LINES: usize = 350;

/// The module at the top of the crate, and its floor. A file uses its own floor and lower ones.
const FLOORS: [(&str, u8); 16] = [
    ("domain", 0),
    ("logic", 1),
    ("transport", 2),
    ("bus", 2),
    ("world", 2),
    ("meter", 2),
    ("failpoint", 2),
    ("spans", 2),
    ("config", 3),
    ("actors", 4),
    ("admin", 5),
    ("app", 6),
    ("cli", 6),
    ("telemetry", 6),
    ("samples", 6),
    ("demo", 6),
];

/// What no decision may touch: clocks, chance, I/O, async, actors, logging. `std::io` names errors too.
const IMPURE: [&str; 23] = [
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
    "Uuid::new",
    "rand",
    "tokio",
    "actix",
    "actix_rt",
    "actix_web",
    "awc",
    "async",
    "await",
    "futures_util",
    "tracing",
    "log",
    "metrics",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "println",
];

/// Names that say nothing.
const EMPTY_NAMES: [&str; 8] =
    ["utils", "util", "helpers", "helper", "common", "manager", "managers", "misc"];

/// Everything in this file that breaks a rule, in words.
pub fn violations(path: &str, text: &str) -> Vec<String> {
    let code = code_only(text);
    let mut found = Vec::new();
    if !text.starts_with("//!") {
        found.push(format!("{path}: does not open with //!"));
    }
    found.extend(empty_names(path, &code));
    if let Some(inner) = path.strip_prefix("src/") {
        found.extend(too_long(path, text));
        found.extend(reaching_up(path, inner, &code));
        if inner.starts_with("logic/") || inner.starts_with("domain/") {
            found.extend(impure(path, &code));
        }
    }
    found
}

fn floor_of(inner: &str) -> Result<Option<u8>, String> {
    let module = inner.split('/').next().unwrap_or(inner).trim_end_matches(".rs");
    if matches!(module, "main" | "lib") {
        return Ok(None);
    }
    match FLOORS.iter().find(|(name, _)| *name == module) {
        Some((_, floor)) => Ok(Some(*floor)),
        None => Err(module.to_owned()),
    }
}

/// The line of the first `#[cfg(test)]` that opens a module; else one after the last.
fn tests_begin(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    (0..lines.len())
        .find(|&i| {
            lines[i].trim() == "#[cfg(test)]"
                && lines[i + 1..]
                    .iter()
                    .find(|next| !next.trim_start().starts_with("#["))
                    .is_some_and(|next| next.trim_start().starts_with("mod "))
        })
        .unwrap_or(lines.len())
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.ends_with("_tests.rs") || path.contains("/tests/")
}

fn too_long(path: &str, text: &str) -> Option<String> {
    let lines = tests_begin(text);
    (lines > MAX_LINES && !is_test_file(path))
        .then(|| format!("{path}: {lines} lines before its tests, {MAX_LINES} are allowed"))
}

fn reaching_up(path: &str, inner: &str, code: &str) -> Vec<String> {
    let floor = match floor_of(inner) {
        Ok(Some(floor)) => floor,
        Ok(None) => return Vec::new(),
        Err(module) => return vec![format!("{path}: the module {module} is on no floor")],
    };
    let at_the_root =
        !inner.contains('/') || inner.ends_with("/mod.rs") && inner.matches('/').count() == 1;
    let mut used = modules_after(code, "crate::");
    if at_the_root {
        let before_tests: String =
            code.lines().take(tests_begin(code)).flat_map(|line| [line, "\n"]).collect();
        used.extend(modules_after(&before_tests, "super::"));
    }
    used.iter()
        .filter_map(|(line, module)| {
            let (_, other) = FLOORS.iter().find(|(name, _)| name == module)?;
            (*other > floor)
                .then(|| format!("{path}:{line}: floor {floor} uses {module} on floor {other}"))
        })
        .collect()
}

/// The names that follow a prefix, `crate::a` and `crate::{a, b::{c}}` alike, with their lines.
fn modules_after(code: &str, prefix: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + prefix.len()..];
        if let Some(group) = rest.trim_start().strip_prefix('{') {
            found.extend(top_names(group).into_iter().map(|name| (line, name)));
        } else {
            found.push((line, leading_word(rest)));
        }
    }
    found
}

fn leading_word(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn top_names(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut start) = (0_i32, Vec::new(), 0);
    for (i, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(leading_word(&group[start..i]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(leading_word(&group[start..i]));
                start = i + 1;
            }
            _ => {}
        }
    }
    names
}

fn impure(path: &str, code: &str) -> Vec<String> {
    if is_test_file(path) {
        return Vec::new();
    }
    let whole_word = |line: &str, word: &str| {
        line.match_indices(word).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let after = line[at + word.len()..].chars().next();
            let in_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            // A crate or a keyword, not a field, a method or an identifier of that name.
            let named = word.contains("::")
                || matches!(word, "async" | "await" | "println")
                || line[at + word.len()..].starts_with("::")
                || line[..at].trim_end().ends_with("use");
            !in_word(before) && !in_word(after) && named
        })
    };
    let mut found = Vec::new();
    for (number, line) in code.lines().take(tests_begin(code)).enumerate() {
        for word in IMPURE.iter().filter(|word| whole_word(line, word)) {
            found.push(format!("{path}:{}: decisions do not touch {word}", number + 1));
        }
    }
    found
}

fn empty_names(path: &str, code: &str) -> Vec<String> {
    let parts = path.split('/').map(|part| part.trim_end_matches(".rs"));
    let mut found: Vec<String> = parts
        .filter(|part| EMPTY_NAMES.contains(part))
        .map(|part| format!("{path}: the name {part} says nothing"))
        .collect();
    for (line, name) in modules_after(code, "mod ") {
        if EMPTY_NAMES.contains(&name.as_str()) {
            found.push(format!("{path}:{line}: the name {name} says nothing"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::violations;

    #[track_caller]
    fn check(path: &str, text: &str, expected: &[&str]) {
        let found = violations(path, text);
        assert_eq!(found.len(), expected.len(), "{path}\n{text}\n{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found:?} does not say {expected:?}");
        }
    }

    #[test]
    fn a_use_of_a_higher_floor_is_found_however_it_is_written() {
        check("src/logic/a.rs", "//! x\nuse crate::bus::Bus;", &["a.rs:2: floor 1 uses bus"]);
        check(
            "src/bus/a.rs",
            "//! x\nuse crate::{\n domain::names::{Name, NAMED},\n config::Config, actors\n};",
            &["floor 2 uses config", "floor 2 uses actors"],
        );
        check(
            "src/world.rs",
            "//! x\nfn f() -> super::app::App { crate::cli::x() }",
            &["cli", "app"],
        );
        check("src/config/mod.rs", "//! x\nuse super::actors;", &["floor 3 uses actors"]);
        check("src/attic.rs", "//! x\n", &["attic is on no floor"]);
    }

    #[test]
    fn its_own_floor_lower_ones_comments_and_texts_are_allowed() {
        check("src/actors/a.rs", "//! [`crate::app`]\nuse crate::{bus, config};", &[]);
        check(
            "src/transport/a.rs",
            "//! x\nuse crate::bus; // crate::app\nconst A: &str = \"crate::app\";",
            &[],
        );
        check("src/config/a.rs", "//! x\nuse super::endpoint;", &[]);
        check("src/main.rs", "//! x\nuse lockgate::app; use crate::app;", &[]);
    }

    #[test]
    fn a_decision_with_a_clock_chance_io_async_or_logging_is_found() {
        for line in [
            "let a = Instant::now();",
            "let a = jiff::Timestamp::now();",
            "use tokio::time;",
            "use rand;",
            "let a: u8 = rand::random();",
            "async fn a() {}",
            "a.await;",
            "tracing::info!(a);",
            "actix::spawn(a);",
            "std::fs::read(a);",
            "use std::env;",
            "println!();",
        ] {
            for folder in ["logic", "domain"] {
                let path = format!("src/{folder}/a.rs");
                let found = violations(&path, &format!("//! x\n{line}\n"));
                assert_eq!(found.len(), 1, "{line}: {found:?}");
                assert!(found[0].contains("a.rs:2: decisions do not touch"), "{found:?}");
            }
            check("src/actors/a.rs", &format!("//! x\n{line}\n"), &[]);
        }
    }

    #[test]
    fn a_decision_may_have_names_and_tests_that_only_look_impure() {
        check(
            "src/logic/a.rs",
            "//! x\nfn f(log: u8, operand: u8, now: Timestamp) { self.log.push(operand) }\n\
             #[cfg(test)]\nmod tests {\n std::fs::read(a);\n}",
            &[],
        );
    }

    #[test]
    fn a_file_that_is_too_long_has_no_opening_or_has_an_empty_name_is_found() {
        let long = |before: usize, after: usize| {
            format!(
                "//! x\n{}#[cfg(test)]\nmod tests {{}}\n{}",
                "\n".repeat(before - 1),
                "\n".repeat(after)
            )
        };
        check("src/app.rs", &long(350, 900), &[]);
        check("src/app.rs", &long(351, 0), &["351 lines"]);
        check("integration/a.rs", &long(900, 0), &[]);
        check("src/app.rs", "use std::fs;", &["does not open with //!"]);
        check("src/cli/utils.rs", "//! x\n", &["the name utils"]);
        check("tests/common/mod.rs", "//! x\n", &["the name common"]);
        check("src/app.rs", "//! x\nmod helpers {}", &["app.rs:2: the name helpers"]);
    }
}
