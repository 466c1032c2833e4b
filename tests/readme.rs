//! What the README says can be done, can be done.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test code")]

use std::process::Command;

use lockgate::config::{Environment, load_text};

const README: &str = include_str!("../README.md");

fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    README.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn every_configuration_in_it_loads() {
    let variables = ["BUS_USER", "BUS_PASSWORD", "ERP_KEY", "OTLP_AUTHORIZATION"];
    let environment: Environment = variables.map(|name| (name, "value")).into_iter().collect();
    let blocks = blocks("toml");
    assert!(!blocks.is_empty());
    let whole = blocks[0];
    for block in blocks {
        // Parts of one go with the whole one that stands first.
        let part = !block.contains("[source]");
        if part && block.contains("[telemetry.otlp]") && !lockgate::spans::built_in() {
            continue;
        }
        let block = if part { format!("{whole}\n{block}") } else { block.to_owned() };
        let block = block.as_str();
        let config = load_text("README.md", block, "production", &environment);
        let config = config.unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(config.warnings, [], "{block}");
    }
}

#[test]
fn it_opens_with_the_two_commands() {
    let first = blocks("sh")[0];
    let commands: Vec<&str> =
        first.lines().map(|line| line.split('#').next().unwrap().trim()).collect();
    assert_eq!(commands, ["cargo run --release -- demo", "integration/test"]);
}

#[test]
fn every_command_in_its_table_is_there_and_no_other() {
    let help = Command::new(env!("CARGO_BIN_EXE_lockgate")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, commands) = help.split_once("Commands:").unwrap();
    let (commands, _) = commands.split_once("Options:").unwrap();
    let there = commands.lines().filter_map(|line| line.split_whitespace().next());
    let there: Vec<&str> = there.filter(|name| *name != "help").collect();
    assert!(there.len() >= 6, "{help}");
    let (_, table) = README.split_once("| command | what it does |").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    for name in &there {
        assert!(table.contains(&format!("`{name}")), "{name} is not in the README");
    }
    for row in table.lines().filter(|row| row.starts_with("| `")) {
        let name = row.trim_start_matches("| `").split(['`', ' ']).next().unwrap();
        assert!(there.contains(&name), "{name} is in the README only");
    }
}
