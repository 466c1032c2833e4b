//! The command line, told to shells and to readers: nothing of it is missing.

use std::collections::BTreeSet;
use std::fs;

use crate::support::{Told, lockgate};

/// Every command by its words, as the help of the one above it lists them.
fn commands(above: &[&str], found: &mut Vec<Vec<String>>) {
    let arguments: Vec<&str> = above.iter().copied().chain(["--help"]).collect();
    let help = run(&arguments).out;
    let Some((_, listed)) = help.split_once("Commands:\n") else { return };
    for line in listed.lines().take_while(|line| !line.is_empty()) {
        // A description's further lines stand deeper.
        let Some(name) = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')) else {
            continue;
        };
        let name = name.split_whitespace().next().unwrap();
        if name != "help" {
            let words: Vec<&str> = above.iter().copied().chain([name]).collect();
            found.push(words.iter().map(|word| (*word).to_owned()).collect());
            commands(&words, found);
        }
    }
}

fn all_commands() -> Vec<Vec<String>> {
    let mut found = Vec::new();
    commands(&[], &mut found);
    let there = |words: &[&str]| found.iter().any(|command| command == words);
    assert!(
        there(&["secret", "rotate"]) && there(&["config", "schema"]) && there(&["man"]),
        "{found:?}"
    );
    found
}

fn run(arguments: &[&str]) -> Told {
    let folder = tempfile::tempdir().unwrap();
    let told = lockgate(folder.path(), "nowhere", arguments, &[], "");
    assert_eq!(told.code, 0, "{arguments:?}: {told:?}");
    told
}

#[test]
fn completions_know_every_command_and_option_in_every_shell() {
    let commands = all_commands();
    for (shell, mark) in [
        ("bash", "complete -F _lockgate"),
        ("zsh", "#compdef lockgate"),
        ("fish", "complete -c lockgate"),
        ("elvish", "edit:completion:arg-completer[lockgate]"),
        ("powershell", "Register-ArgumentCompleter -Native -CommandName 'lockgate'"),
    ] {
        let told = run(&["completions", shell]);
        assert!(told.out.contains(mark) && told.err.is_empty(), "{shell}: {told:?}");
        let words: BTreeSet<&str> =
            told.out.split(|c: char| !c.is_alphanumeric() && c != '-').collect();
        for name in commands.iter().flatten().map(String::as_str).chain(["config", "env"]) {
            assert!(
                words.contains(name) || words.contains(&*format!("--{name}")),
                "{shell}: {name}"
            );
        }
        for option in ["dry-run", "only-env", "key-file", "older-than"] {
            assert!(told.out.contains(option), "{shell}: {option}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let told = lockgate(folder.path(), "nowhere", &["completions", "tcsh"], &[], "");
    assert!(told.code == 2 && told.err.contains("[possible values: bash"), "{told:?}");
}

/// The arguments of the roff requests of this name, in order.
fn requests<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
    page.lines()
        .filter_map(|line| line.strip_prefix('.')?.strip_prefix(name)?.strip_prefix(' '))
        .collect()
}

#[test]
fn the_first_page_is_printed_and_names_every_command() {
    let page = run(&["man"]).out;
    assert!(requests(&page, "TH")[0].starts_with("lockgate 1"), "{page}");
    let sections = requests(&page, "SH");
    for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "SUBCOMMANDS"] {
        assert!(sections.contains(&section), "{section}: {sections:?}");
    }
    for command in all_commands().iter().filter(|words| words.len() == 1) {
        assert!(page.contains(&format!("lockgate\\-{}(1)", command[0])), "{command:?}: {page}");
    }
    assert!(page.contains("LOCKGATE_ENV"), "{page}");
}

#[test]
fn there_is_a_page_for_every_command_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("share/man1");
    let told = run(&["man", "--out", pages.to_str().unwrap()]);
    let there: BTreeSet<String> = fs::read_dir(&pages)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut wanted: BTreeSet<String> =
        all_commands().iter().map(|words| format!("lockgate-{}.1", words.join("-"))).collect();
    wanted.insert("lockgate.1".into());
    assert_eq!(there, wanted);
    assert_eq!(told.err, format!("wrote {} pages to {}\n", wanted.len(), pages.display()));
    for name in &there {
        let page = fs::read_to_string(pages.join(name)).unwrap();
        let title = requests(&page, "TH");
        assert_eq!(title.len(), 1, "{name}");
        assert!(title[0].starts_with(&format!("{} 1 ", name.trim_end_matches(".1"))), "{title:?}");
        let sections = requests(&page, "SH");
        assert!(sections.starts_with(&["NAME", "SYNOPSIS", "DESCRIPTION"]), "{name}: {sections:?}");
        // The name, and what it is for.
        let (_, about) = page.split_once(".SH NAME\n").unwrap();
        assert!(about.lines().next().unwrap().contains(" \\- "), "{name}: {page}");
    }
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let told =
        lockgate(folder.path(), "nowhere", &["man", "--out", file.to_str().unwrap()], &[], "");
    assert!(told.code == 1 && told.err.contains("cannot write the pages to"), "{told:?}");
}
