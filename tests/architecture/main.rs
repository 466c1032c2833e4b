//! The house keeps its own rules: floors, purity, sizes, names, dependencies.
//!
//! Owns the walk over the repository. The rules themselves are pure functions over a path and a
//! text: [`rules`] for the sources, [`crates`] for the dependencies. Read [`rules`] next.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "this crate is tests from end to end"
)]

mod code;
mod crates;
mod rules;

use std::path::{Path, PathBuf};
use std::process::Command;

/// Everything that may stand at the top of the repository.
const TOP_LEVEL: [&str; 23] = [
    ".ci",
    ".dockerignore",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "Dockerfile",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "benches",
    "clippy.toml",
    "config",
    "deny.toml",
    "docker-compose.yml",
    "fuzz",
    "integration",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "src",
    "tests",
    "target",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file under `folder`, as paths from the repository's root, sorted.
fn files_under(folder: &str) -> Vec<String> {
    fn walk(folder: &Path, found: &mut Vec<String>) {
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else if let Ok(inner) = path.strip_prefix(root()) {
                found.push(inner.to_string_lossy().into_owned());
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    found.sort();
    found
}

fn rust_files() -> Vec<(String, String)> {
    ["src", "tests", "integration", "benches"]
        .iter()
        .flat_map(|folder| files_under(folder))
        .filter(|path| Path::new(path).extension().is_some_and(|e| e == "rs"))
        .map(|path| {
            let text = std::fs::read_to_string(root().join(&path)).unwrap();
            (path, text)
        })
        .collect()
}

#[test]
fn every_source_file_keeps_the_rules_of_the_house() {
    let files = rust_files();
    assert!(files.len() > 40, "the walk found only {} files", files.len());
    let broken: Vec<String> =
        files.iter().flat_map(|(path, text)| rules::violations(path, text)).collect();
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn every_name_at_the_top_of_the_repository_is_known() {
    let listed = Command::new("git").args(["ls-files", "-co", "--exclude-standard"]).output();
    let names: Vec<String> = match listed {
        Ok(output) if output.status.success() && !output.stdout.is_empty() => {
            let text = String::from_utf8(output.stdout).unwrap();
            text.lines().filter_map(|l| l.split('/').next()).map(str::to_owned).collect()
        }
        // An unpacked archive without git: what is hidden belongs to tools.
        _ => std::fs::read_dir(root())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| !name.starts_with('.'))
            .collect(),
    };
    assert!(names.iter().any(|name| name == "Cargo.toml"), "{names:?}");
    let unknown: Vec<_> = names.iter().filter(|name| !TOP_LEVEL.contains(&name.as_str())).collect();
    assert!(unknown.is_empty(), "what are these doing at the top: {unknown:?}");
}
