//! Every reason word that the source can give to a failure has a remedy.

#![allow(clippy::unwrap_used, reason = "this crate is tests from end to end")]

use std::collections::BTreeSet;
use std::path::Path;

use lockgate::logic::remedy::remedy;

/// What stands before the word of a reason.
const MAKERS: [&str; 6] =
    ["transient(", "permanent(", "misconfigured(", "Job::Park(", "Told::new(", "REASON: &str = "];

fn sources(folder: &Path, all: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = std::fs::read_to_string(path).unwrap();
            all.push(text.split("#[cfg(test)]").next().unwrap().to_owned());
        }
    }
}

/// The word in quotes within the arguments that begin here, where they begin with one.
fn word(arguments: &str) -> Option<&str> {
    let first = arguments.split([',', ')', ';']).next()?;
    let second = arguments.split([',', ')', ';']).nth(1)?;
    [first, second].into_iter().find_map(|argument| {
        let word = argument.trim().strip_prefix('"')?.strip_suffix('"')?;
        word.chars().all(|c| c.is_ascii_lowercase() || c == '_').then_some(word)
    })
}

#[test]
fn every_reason_in_the_source_has_a_remedy() {
    let mut all = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
    let mut found = BTreeSet::new();
    for text in &all {
        for maker in MAKERS {
            found.extend(text.split(maker).skip(1).filter_map(word).map(str::to_owned));
        }
    }
    for sure in ["timeout", "unroutable", "redirect_loop", "sent_back", "not_prepared"] {
        assert!(found.contains(sure), "this test does not read the source as it should: {found:?}");
    }
    let without: Vec<_> = found.iter().filter(|word| remedy(word).is_none()).collect();
    assert!(without.is_empty(), "no remedy for {without:?}");
    assert!(found.len() > 40, "{found:?}");
}
