//! Rotation of sealed values: nothing but the values changes, and what loaded goes on loading.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use lockgate::config::{Environment, rotate};
use lockgate::logic::secret::{Key, Keyring};
use proptest::prelude::*;

use crate::support::{BASE, Told, load_with, lockgate};

const HEADER: &str = "endpoints.e.rest.headers.X.Y";

fn key(byte: u8) -> Key {
    Key::from_bytes([byte; 32])
}

fn sealed(byte: u8, path: &str) -> String {
    let scheme = if path.contains(".amqp.") { "amqps" } else { "https" };
    let plain = format!("{scheme}://u:canary-7f3b@partner.example/x");
    Keyring::new([key(byte)]).seal(path, &plain, [byte; 12]).unwrap()
}

/// A folder with the files of some keys beside a folder of configurations.
struct Stage(tempfile::TempDir);

impl Stage {
    fn new() -> Self {
        let stage = Self(tempfile::tempdir().unwrap());
        fs::create_dir(stage.configurations()).unwrap();
        for byte in 1..=3 {
            fs::write(stage.key_file(byte), key(byte).to_text().expose()).unwrap();
        }
        stage
    }

    fn key_file(&self, byte: u8) -> PathBuf {
        self.0.path().join(format!("{byte}.key"))
    }

    fn configurations(&self) -> PathBuf {
        self.0.path().join("config")
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.configurations().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// The value of `LOCKGATE__SECRETS__KEY_FILES` for these keys, the first of which seals.
    fn keys(&self, bytes: &[u8]) -> String {
        format!("{:?}", bytes.iter().map(|byte| self.key_file(*byte)).collect::<Vec<_>>())
    }

    fn environment(&self, bytes: &[u8]) -> Environment {
        [("LOCKGATE__SECRETS__KEY_FILES", self.keys(bytes))].into_iter().collect()
    }

    fn run(&self, keys: &[u8], arguments: &[&str]) -> Told {
        self.run_with(keys, arguments, &[])
    }

    fn run_with(&self, keys: &[u8], arguments: &[&str], more: &[(&str, &str)]) -> Told {
        let files = self.keys(keys);
        let mut variables = vec![("LOCKGATE__SECRETS__KEY_FILES", files.as_str())];
        variables.extend(more);
        lockgate(&self.configurations(), "production", arguments, &variables, "")
    }

    /// Everything in the folder of configurations.
    fn texts(&self) -> Vec<(String, String)> {
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        let paths = fs::read_dir(self.configurations()).unwrap().map(|entry| entry.unwrap().path());
        let mut all: Vec<_> =
            paths.map(|path| (name(&path), fs::read_to_string(&path).unwrap())).collect();
        all.sort();
        all
    }
}

/// A place for a sealed value, in every notation that TOML has for it: the text up to it, its key
/// path, the text after it.
fn place(n: usize, which: usize) -> (String, String, &'static str) {
    let at = |rest: &str| format!("endpoints.e{n}.{rest}");
    match which % 6 {
        0 => (format!("[endpoints.e{n}.rest]\nurl =  "), at("rest.url"), " # whole"),
        1 => {
            let before = format!(
                "[endpoints . \"e{n}\"]\nrest.url = 'https://h/'\nrest.auth.basic={{ username='u', password="
            );
            (before, at("rest.auth.basic.password"), " }  ")
        }
        2 => {
            let before = format!(
                "[endpoints.e{n}]\nwebhook = {{ url = 'https://h/', secrets = [ 'plain', # older\n\n\t"
            );
            (before, at("webhook.secrets.1"), ",\n  ] } # both")
        }
        3 => (format!("[endpoints.e{n}]\namqp . url="), at("amqp.url"), ""),
        4 => {
            let before = format!(
                "[endpoints.e{n}.rest]\nurl = 'https://h/'\n[endpoints.e{n}.rest.headers]\n\"X.Y\"\t="
            );
            (before, at("rest.headers.X.Y"), "\t")
        }
        _ => {
            let before = format!(
                "[endpoints.e{n}.mqtt]\nurl = 'mqtt://h/'\nusername = \"# é\"\npassword = "
            );
            (before, at("mqtt.password"), "# é")
        }
    }
}

/// A configuration with sealed values in these places and quotes, and the values themselves.
fn written(chosen: &[(usize, usize)], crlf: bool, byte: u8) -> (String, Vec<(String, String)>) {
    let (mut text, mut values) = (BASE.to_owned(), Vec::new());
    for (n, (which, quotes)) in chosen.iter().enumerate() {
        let quotes = ["\"", "'", "\"\"\"", "'''"][quotes % 4];
        let (before, path, after) = place(n, *which);
        let value = sealed(byte, &path);
        text.extend([before.as_str(), quotes, &value, quotes, after, "\n\n"]);
        values.push((path, value));
    }
    (if crlf { text.replace('\n', "\r\n") } else { text }, values)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn nothing_but_the_values_changes_and_all_of_them_open_with_the_new_key_alone(
        chosen in prop::collection::vec((0_usize..6, 0_usize..4), 1..8),
        crlf in any::<bool>(),
    ) {
        let stage = Stage::new();
        let (text, values) = written(&chosen, crlf, 1);
        prop_assert!(load_with(&text, "production", &stage.environment(&[1])).is_ok(), "{}", text);
        let rotated = rotate("a.toml", &text, &stage.environment(&[2, 1])).unwrap();
        let paths = |all: &[(String, String)]| all.iter().map(|value| value.0.clone()).collect::<Vec<_>>();
        let changed: Vec<String> = rotated.changes.iter().map(|change| change.path.clone()).collect();
        prop_assert_eq!(changed, paths(&values));
        // The loader itself says that every value opens where it stands.
        let loads = |keys: &[u8]| load_with(&rotated.text, "production", &stage.environment(keys)).is_ok();
        prop_assert!(loads(&[2]) && loads(&[2, 1]) && !loads(&[1]), "{}", rotated.text);
        // The old values in the places of the new ones make the old text again, to the byte.
        let mut restored = rotated.text.clone();
        for (_, old) in &values {
            let from = restored.find(&format!("sealed:v1:{}", key(2).id())).unwrap();
            restored.replace_range(from..from + old.len(), old);
        }
        prop_assert_eq!(&restored, &text);
        let again = rotate("a.toml", &rotated.text, &stage.environment(&[2, 1])).unwrap();
        prop_assert!(again.text == rotated.text && again.changes.is_empty());
        prop_assert_eq!(again.current, values.len());
    }
}

#[test]
fn a_value_that_is_not_written_as_it_is_is_found_too() {
    let stage = Stage::new();
    let path = "endpoints.e.mqtt.password";
    let value = sealed(1, path);
    let escaped = value.replacen("sealed", "\\u0073ealed", 1);
    let (start, end) = value.split_at(20);
    #[rustfmt::skip]
    let table = [
        (format!("\"{escaped}\""), "an escape"),
        (format!("\"\"\"{start}\\\n   {end}\"\"\""), "a line that goes on"),
        (format!("'''\n{value}'''"), "a first line that does not count"),
        (format!("\"{value}\"#"), "a comment close behind"),
    ];
    for (literal, name) in table {
        let text = format!("\u{feff}{BASE}[endpoints.e]\nmqtt.password = {literal}\n# end");
        let rotated = rotate("a.toml", &text, &stage.environment(&[2, 1])).expect(name);
        assert_eq!(rotated.changes.len(), 1, "{name}");
        let (before, _) = text.split_once(&literal).unwrap();
        assert!(rotated.text.starts_with(before) && rotated.text.ends_with("\n# end"), "{name}");
        let again = rotate("a.toml", &rotated.text, &stage.environment(&[2])).expect(name);
        assert_eq!((again.changes.len(), again.current), (0, 1), "{name}: {}", rotated.text);
    }
}

#[test]
fn a_list_of_tables_counts_as_in_the_configuration() {
    let stage = Stage::new();
    let path = "endpoints.e.webhook.secrets.1";
    let text = format!(
        "[[anything]]\nx = 1\n[[anything]]\nx = {:?}\n[endpoints.e.webhook]\nsecrets = ['a', {:?}]\n",
        sealed(1, "anything.1.x"),
        sealed(1, path)
    );
    let rotated = rotate("a.toml", &text, &stage.environment(&[2, 1])).unwrap();
    let paths: Vec<&str> = rotated.changes.iter().map(|change| change.path.as_str()).collect();
    assert_eq!(paths, ["anything.1.x", path]);
    assert_eq!(
        (rotated.changes[0].from.as_str(), rotated.changes[0].to.as_str()),
        (key(1).id(), key(2).id())
    );
}

/// Two environments with a sealed value each, and files that must stay as they are.
fn two_environments(stage: &Stage) -> (PathBuf, PathBuf) {
    let text = |keys: &[u8]| {
        format!(
            "{BASE}# one\n[endpoints.e.rest] # two\nurl = 'https://h/'\nheaders = {{ 'X.Y' = {:?} }}\n[secrets]\nkey_files = {}\n",
            sealed(1, HEADER),
            stage.keys(keys)
        )
    };
    let production = stage.write("production.toml", &text(&[2, 1]));
    let staging = stage.write("staging.toml", &text(&[3, 1]));
    stage.write("development.toml", BASE);
    stage.write("notes.txt", &sealed(1, HEADER));
    stage.write(".hidden.toml", "not TOML [");
    (production, staging)
}

#[test]
fn every_environment_of_the_folder_is_rotated_with_its_own_first_key() {
    let stage = Stage::new();
    let (production, staging) = two_environments(&stage);
    fs::set_permissions(&production, fs::Permissions::from_mode(0o640)).unwrap();
    let before = stage.texts();
    let told = lockgate(
        &stage.configurations(),
        "production",
        &["secret", "rotate", "--dry-run"],
        &[],
        "",
    );
    assert_eq!((told.code, told.err.as_str()), (0, ""), "{told:?}");
    let line = |file: &Path, to: u8| {
        format!("{}: {HEADER}: {} -> {}\n", file.display(), key(1).id(), key(to).id())
    };
    let lines = line(&production, 2) + &line(&staging, 3);
    assert_eq!(
        told.out,
        format!("{lines}2 values in 2 files would be sealed anew; 0 had the first key already\n")
    );
    assert_eq!(stage.texts(), before, "a dry run writes nothing");
    let told = lockgate(&stage.configurations(), "production", &["secret", "rotate"], &[], "");
    assert_eq!(told.code, 0, "{told:?}");
    assert_eq!(
        told.out,
        format!("{lines}2 values in 2 files sealed anew; 0 had the first key already\n")
    );
    let after = stage.texts();
    for ((name, before), (same, after)) in before.iter().zip(&after) {
        assert_eq!(name, same);
        let sealed = name == "production.toml" || name == "staging.toml";
        assert_eq!(before != after, sealed, "{name}");
        assert_eq!(before.len(), after.len(), "{name}");
    }
    assert_eq!(fs::metadata(&production).unwrap().permissions().mode() & 0o777, 0o640);
    let told = lockgate(&stage.configurations(), "production", &["secret", "rotate"], &[], "");
    let nothing = "nothing to do: 2 values sealed with the first key already\n";
    assert_eq!((told.code, told.out.as_str(), told.err.as_str()), (0, nothing, ""), "{told:?}");
    assert_eq!(stage.texts(), after, "a second rotation writes nothing");
}

#[test]
fn a_configuration_loads_with_both_keys_then_with_the_new_one_alone_never_with_the_old_one() {
    let stage = Stage::new();
    let text = format!(
        "{BASE}[endpoints.e]\nevents = ['a/b']\n[endpoints.e.rest]\nurl = {:?}\n",
        sealed(1, "endpoints.e.rest.url")
    );
    stage.write("production.toml", &text);
    let check = |keys: &[u8], wanted: i32| {
        let told = stage.run(keys, &["check"]);
        assert_eq!(told.code, wanted, "{keys:?}: {told:?}");
        assert!(!told.out.contains("canary") && !told.err.contains("canary"), "{told:?}");
        told
    };
    check(&[1], 0);
    check(&[2, 1], 0);
    check(&[2], 2);
    assert_eq!(stage.run(&[2, 1], &["secret", "rotate"]).code, 0);
    check(&[2, 1], 0);
    check(&[2], 0);
    let told = check(&[1], 2);
    let named = format!(
        "error: endpoints.e.rest.url: sealed with the key {}, which is not at hand",
        key(2).id()
    );
    assert!(told.err.contains(&named), "{told:?}");
}

#[test]
fn a_value_that_no_key_opens_stops_everything_and_is_named() {
    let stage = Stage::new();
    two_environments(&stage);
    let elsewhere = sealed(1, "endpoints.other.mqtt.password");
    #[rustfmt::skip]
    let table = [
        (sealed(3, HEADER), format!("sealed with the key {}, which is not at hand", key(3).id())),
        (elsewhere, format!("this sealed value does not open here with its key {}", key(1).id())),
        ("sealed:v1:cut off".to_owned(), "not a sealed value, though it begins like one".to_owned()),
    ];
    for (value, message) in table {
        let text = format!(
            "endpoints.e.rest.headers.\"X.Y\" = {value:?}\nsecrets.key_files = {}\n",
            stage.keys(&[2, 1])
        );
        let path = stage.write("wrong.toml", &text);
        let before = stage.texts();
        for arguments in [&["secret", "rotate"][..], &["secret", "rotate", "--dry-run"]] {
            let told = lockgate(&stage.configurations(), "production", arguments, &[], "");
            assert_eq!((told.code, told.out.as_str()), (2, ""), "{told:?}");
            let error = format!("error: {HEADER}: {message}");
            assert!(told.err.contains(&error), "{error}\n{}", told.err);
            assert!(told.err.contains(&format!("in {}", path.display())), "{told:?}");
            assert_eq!(stage.texts(), before);
        }
    }
}

#[test]
fn a_file_that_is_not_toml_or_a_key_that_is_not_there_stops_everything() {
    let stage = Stage::new();
    let (production, _) = two_environments(&stage);
    let before = stage.write("broken.toml", "a = [\n");
    let told = lockgate(&stage.configurations(), "production", &["secret", "rotate"], &[], "");
    assert_eq!(told.code, 2, "{told:?}");
    assert!(told.err.contains(&format!("in {}, line ", before.display())), "{told:?}");
    fs::remove_file(before).unwrap();
    let sound = stage.texts();
    fs::remove_file(stage.key_file(2)).unwrap();
    let told = lockgate(&stage.configurations(), "production", &["secret", "rotate"], &[], "");
    assert_eq!(told.code, 2, "{told:?}");
    assert!(told.err.contains("error: secrets.key_files.0: cannot read the key file"), "{told:?}");
    assert!(told.err.contains(&production.display().to_string()), "{told:?}");
    assert_eq!(stage.texts(), sound);
}

#[test]
fn one_environment_alone_can_be_rotated() {
    let stage = Stage::new();
    let (production, staging) = two_environments(&stage);
    let [old, other] = [&production, &staging].map(|path| fs::read_to_string(path).unwrap());
    fs::remove_file(stage.key_file(3)).unwrap();
    let told = lockgate(
        &stage.configurations(),
        "production",
        &["secret", "rotate", "--only-env"],
        &[],
        "",
    );
    assert_eq!(told.code, 0, "{told:?}");
    assert_ne!(fs::read_to_string(&production).unwrap(), old);
    assert_eq!(fs::read_to_string(&staging).unwrap(), other);
}

#[test]
fn what_stands_in_variables_is_reported_with_its_key() {
    let stage = Stage::new();
    let text = format!("{BASE}[endpoints.my-bus.amqp]\nurl = 'amqps://h/v'\nusername = 'u'\n");
    stage.write("production.toml", &text);
    let (bus, token) = ("endpoints.my-bus.amqp.password", "admin.token");
    let (old, new) = (sealed(1, bus), sealed(2, token));
    let list = format!("[{:?}]", sealed(1, "endpoints.w.webhook.secrets.0"));
    let variables = [
        ("LOCKGATE__ENDPOINTS__MY_BUS__AMQP__PASSWORD", old.as_str()),
        ("LOCKGATE__ADMIN__TOKEN", new.as_str()),
        ("LOCKGATE__ENDPOINTS__W__WEBHOOK__SECRETS", list.as_str()),
    ];
    let told = stage.run_with(&[2, 1], &["secret", "rotate"], &variables);
    assert_eq!((told.code, told.out.as_str()), (0, "nothing to do: no sealed value\n"), "{told:?}");
    for (path, variable) in
        [(bus, variables[0].0), ("endpoints.w.webhook.secrets.0", variables[2].0)]
    {
        let warning = format!(
            "warning: {path}: sealed with the key {}\n  in environment variable {variable}\n",
            key(1).id()
        );
        assert!(told.err.contains(&warning), "{warning}\n{}", told.err);
    }
    assert_eq!(told.err.matches("warning: ").count(), 2, "{told:?}");
    assert!(!told.err.contains(&old), "{told:?}");
}

#[test]
fn a_file_that_has_two_names_is_rotated_once_and_stays_a_link() {
    let stage = Stage::new();
    let (production, _) = two_environments(&stage);
    let link = stage.configurations().join("live.toml");
    std::os::unix::fs::symlink("production.toml", &link).unwrap();
    let told = lockgate(&stage.configurations(), "production", &["secret", "rotate"], &[], "");
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.out.contains("2 values in 2 files sealed anew"), "{told:?}");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read_to_string(production).unwrap().contains(key(2).id()));
}
