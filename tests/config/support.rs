//! What the configuration tests stand on: sound beginnings, the binary, and the canary hunt.

use std::path::Path;
use std::process::{Command, Stdio};

use lockgate::config::{Config, Environment, Problem, Problems, load_text};

/// The least that a configuration needs.
pub const BASE: &str =
    "[source]\nurl = \"amqp://bus.example/%2f\"\nqueue = \"platform.events\"\n#\n";
/// One REST endpoint; more keys of its `rest` table may follow.
pub const ENDPOINT: &str =
    "[endpoints.erp]\nevents = [\"a/b\"]\n[endpoints.erp.rest]\nurl = \"http://erp.example/\"\n";

/// Loads a text.
pub fn load_with(text: &str, name: &str, environment: &Environment) -> Result<Config, Problems> {
    load_text("test.toml", text, name, environment)
}

/// A configuration that must be whole, in `development`.
pub fn loaded(text: &str) -> Config {
    load_with(text, "development", &Environment::default())
        .unwrap_or_else(|problems| panic!("{text}\n{problems}"))
}

/// What is wrong with a text; there must be something.
pub fn complaints(text: &str) -> Vec<Problem> {
    match load_with(text, "development", &Environment::default()) {
        Ok(_) => panic!("nothing is wrong with\n{text}"),
        Err(problems) => problems.errors,
    }
}

/// What a run of the binary printed, and its exit code.
#[derive(Debug)]
pub struct Told {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Runs the binary on the configuration in `folder`.
pub fn lockgate(
    folder: &Path,
    name: &str,
    arguments: &[&str],
    variables: &[(&str, &str)],
    input: &str,
) -> Told {
    use std::io::Write as _;
    let mut child = Command::new(env!("CARGO_BIN_EXE_lockgate"))
        .arg("--config")
        .arg(folder)
        .args(["--env", name])
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The command may end without having read its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Told {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
