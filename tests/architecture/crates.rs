//! The rules that the dependencies keep: one TLS stack, one registry, licences that fit ours.
//!
//! Owns the check that runs everywhere, without network and without any tool but cargo; `deny.toml`
//! says the same to `cargo deny`, and a test holds the two equal. Read `deny.toml` next.

use std::process::Command;

use serde_json::Value;

/// Crates that would bring a second TLS stack or a C library's.
const BANNED: [&str; 5] = ["aws-lc-rs", "aws-lc-sys", "native-tls", "openssl", "openssl-sys"];

/// Licences under which lockgate may be given away.
const LICENCES: [&str; 11] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

fn read(name: &str) -> String {
    std::fs::read_to_string(super::root().join(name)).unwrap()
}

/// The values of one key in a lock file.
fn locked<'a>(lock: &'a str, key: &str) -> Vec<&'a str> {
    let start = format!("{key} = \"");
    lock.lines().filter_map(|l| l.strip_prefix(&start)?.strip_suffix('"')).collect()
}

fn banned_in(lock: &str) -> Vec<&str> {
    locked(lock, "name").into_iter().filter(|name| BANNED.contains(name)).collect()
}

/// Where the dependencies come from, but for the first registry that is named.
fn foreign_in(lock: &str) -> Vec<&str> {
    let sources = locked(lock, "source");
    let home = sources.iter().copied().find(|source| source.starts_with("registry+"));
    sources.into_iter().filter(|source| Some(*source) != home).collect()
}

/// Whether a licence expression can be met with [`LICENCES`] alone. Knows `OR`, `AND`, `/`,
/// `WITH` and parentheses, which is all that the tree has.
fn may_be_used(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let spaced = spaced.replace(" WITH ", "_WITH_");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    any_of(&words, &mut at) && at == words.len()
}

fn any_of(words: &[&str], at: &mut usize) -> bool {
    let mut fits = all_of(words, at);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        fits |= all_of(words, at);
    }
    fits
}

fn all_of(words: &[&str], at: &mut usize) -> bool {
    let mut fits = one(words, at);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        fits &= one(words, at);
    }
    fits
}

fn one(words: &[&str], at: &mut usize) -> bool {
    let word = words.get(*at).copied();
    *at += 1;
    if word == Some("(") {
        let fits = any_of(words, at);
        *at += 1;
        return fits;
    }
    word.is_some_and(|word| LICENCES.contains(&word.replace("_WITH_", " WITH ").as_str()))
}

/// The packages of this platform, from cargo itself.
fn packages() -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let version = Command::new("rustc").arg("-vV").output().unwrap().stdout;
    let version = String::from_utf8(version).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let output = Command::new(cargo)
        .args(["metadata", "--locked", "--offline", "--format-version", "1"])
        .args(["--filter-platform", host])
        .current_dir(super::root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut tree: Value = serde_json::from_slice(&output.stdout).unwrap();
    match tree["packages"].take() {
        Value::Array(packages) => packages,
        other => panic!("cargo metadata gave no packages but {other}"),
    }
}

#[test]
fn no_second_tls_stack_is_among_the_dependencies() {
    let lock = read("Cargo.lock");
    assert!(locked(&lock, "name").contains(&"rustls"), "the lock file was not understood");
    assert_eq!(banned_in(&lock), Vec::<&str>::new());
}

#[test]
fn every_dependency_comes_from_the_one_registry() {
    assert_eq!(foreign_in(&read("Cargo.lock")), Vec::<&str>::new());
}

#[test]
fn every_dependency_may_be_used_by_its_licence() {
    let packages = packages();
    assert!(packages.len() > 100, "only {} packages", packages.len());
    let text = |package: &Value, key: &str| package[key].as_str().unwrap_or("none").to_owned();
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| !may_be_used(&text(package, "license")))
        .map(|package| format!("{}: {}", text(package, "name"), text(package, "license")))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn cargo_deny_is_told_the_same() {
    use figment::providers::{Format as _, Toml};
    let deny = figment::Figment::from(Toml::string(&read("deny.toml")));
    let mut banned: Vec<String> = deny
        .find_value("bans.deny")
        .unwrap()
        .into_array()
        .unwrap()
        .into_iter()
        .map(|row| row.into_dict().unwrap()["crate"].as_str().unwrap().to_owned())
        .collect();
    banned.sort();
    assert_eq!(banned, BANNED);
    let mut allowed: Vec<String> = deny.extract_inner("licenses.allow").unwrap();
    allowed.sort();
    assert_eq!(allowed, LICENCES);
}

#[test]
fn a_planted_crate_source_or_licence_is_found() {
    let lock = "name = \"a\"\nsource = \"registry+https://one.example\"\n\
                name = \"openssl-sys\"\nsource = \"git+https://two.example\"\n\
                name = \"b\"\nsource = \"registry+https://three.example\"\n";
    assert_eq!(banned_in(lock), ["openssl-sys"]);
    assert_eq!(foreign_in(lock), ["git+https://two.example", "registry+https://three.example"]);
    for good in [
        "MIT",
        "MIT/Apache-2.0",
        "GPL-3.0 OR MIT",
        "(MIT OR GPL-3.0) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(may_be_used(good), "{good}");
    }
    for bad in ["", "none", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND AGPL-3.0"] {
        assert!(!may_be_used(bad), "{bad}");
    }
}
