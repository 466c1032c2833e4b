//! A key is replaced while a bridge runs: the bridge comes over, its partner notices nothing.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lockgate::domain::delivery::Properties;

use super::support::http::HttpServer;
use super::support::lockgate::{Configuration, Lockgate};
use super::support::rabbitmq::{Client, node};
use super::support::{eventually, on_system};

const SOON: Duration = Duration::from_secs(60);
const PATH: &str = "endpoints.partner.rest.auth.api_key.value";

/// Runs a command on the configuration; it must go well. What it printed.
fn lockgate(folder: &Path, arguments: &[&str], input: &str) -> String {
    use std::io::Write as _;
    let mut child = Command::new(env!("CARGO_BIN_EXE_lockgate"))
        .arg("--config")
        .arg(folder)
        .args(["--env", "test"])
        .args(arguments)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Writes which keys the configuration names, the first to seal.
fn name_keys(folder: &Path, names: &[&str]) {
    let file = folder.join("test.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let (rest, _) = text.split_once("key_files = ").unwrap();
    let keys: Vec<_> = names.iter().map(|name| folder.join(name)).collect();
    std::fs::write(file, format!("{rest}key_files = {keys:?}\n")).unwrap();
}

/// Sends one event and waits until the partner has it, with its credential.
async fn deliver(client: &Client, partner: &HttpServer, id: &str) {
    let body = format!(r#"{{"event":"operation.completed","data":{{}},"id":"{id}"}}"#);
    client.publish("", "events", Properties::default(), body.as_bytes()).await;
    let request = eventually("the event arrives", SOON, || async {
        partner.received().into_iter().find(|request| request.header("X-Request-Id") == Some(id))
    })
    .await;
    assert_eq!(request.header("X-API-Key"), Some("canary-7f3b"));
}

/// Lets the bridge read its configuration anew, and waits until it says so.
async fn reload(bridge: &Lockgate, wanted: &str) {
    let told = || bridge.log().matches(wanted).count();
    let before = told();
    bridge.signal("HUP");
    eventually(wanted, SOON, || async { (told() > before).then_some(()) }).await;
}

#[test]
fn a_running_bridge_comes_over_to_a_new_key_and_its_partner_notices_nothing() {
    const DONE: &str = "reloaded added";
    const REFUSED: &str = "not reloaded: the configuration before stays in force";
    on_system(async {
        let (folder, place, partner) =
            (tempfile::tempdir().unwrap(), node().place(), HttpServer::start());
        let path = folder.path();
        let client = Client::connect(&place.url).await;
        client.declare("events", true).await;
        for name in ["old.key", "new.key"] {
            lockgate(path, &["secret", "keygen", "--out", path.join(name).to_str().unwrap()], "");
        }
        let old = path.join("old.key");
        let seal = |at, value| {
            let key = old.to_str().unwrap();
            lockgate(path, &["secret", "seal", "--path", at, "--key-file", key], value)
        };
        let configuration = Configuration::write(
            path,
            &format!(
                "[source]\nurl = {:?}\nqueue = \"events\"\n[endpoints.partner]\nevents = [\"*/*\"]\n\
                 [endpoints.partner.rest]\nurl = {:?}\n\
                 auth = {{ api_key = {{ header = \"X-API-Key\", value = {:?} }} }}\n\
                 [secrets]\nkey_files = []\n",
                seal("source.url", &place.url),
                partner.url("/"),
                seal(PATH, "canary-7f3b"),
            ),
        );
        name_keys(path, &["old.key"]);
        let bridge = Lockgate::start_ready(&configuration).await;
        deliver(&client, &partner, "with-the-old-key").await;
        name_keys(path, &["new.key", "old.key"]);
        reload(&bridge, DONE).await;
        let told = lockgate(path, &["secret", "rotate"], "");
        assert!(
            told.ends_with("2 values in 1 file sealed anew; 0 had the first key already"),
            "{told}"
        );
        reload(&bridge, DONE).await;
        deliver(&client, &partner, "with-both-keys").await;
        name_keys(path, &["new.key"]);
        reload(&bridge, DONE).await;
        deliver(&client, &partner, "with-the-new-key").await;
        name_keys(path, &["old.key"]);
        reload(&bridge, REFUSED).await;
        assert!(bridge.log().contains("which is not at hand"), "{}", bridge.log());
        deliver(&client, &partner, "after-a-refusal").await;
        bridge.terminate().await;
        name_keys(path, &["new.key"]);
        let again = Lockgate::start_ready(&configuration).await;
        deliver(&client, &partner, "by-a-new-process").await;
        again.terminate().await;
        assert_eq!(partner.received().len(), 5, "each event once");
        assert!(!Lockgate::logs(path).contains("canary-7f3b"), "a log has a credential");
    });
}
