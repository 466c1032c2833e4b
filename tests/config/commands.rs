//! The offline commands, through the binary.

use crate::support::{BASE, ENDPOINT, lockgate};

#[test]
fn a_missing_file_or_environment_is_told_with_a_remedy_and_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    for (name, message) in [
        ("production", "there is no configuration for the environment production"),
        ("../x", "no file name"),
    ] {
        let told = lockgate(folder.path(), name, &["check"], &[], "");
        assert_eq!(told.code, 2, "{told:?}");
        assert!(told.err.contains(message) && told.err.contains("hint: "), "{told:?}");
    }
}

#[test]
fn check_shows_what_is_there_and_exits_with_0() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "{BASE}[event_configurations.all]\nevents = [\"*/*\"]\nendpoints = [\"erp\"]\nmetadata_in_payload = true\n{ENDPOINT}"
    );
    std::fs::write(folder.path().join("production.toml"), text).unwrap();
    let told = lockgate(folder.path(), "production", &["check"], &[], "");
    assert_eq!(told.code, 0, "{told:?}");
    for line in [
        "source amqp://bus.example/%2f queue \"platform.events\", 0 bindings",
        "endpoint erp: rest http://erp.example/, 32 in flight",
        "  all: */*, with Metadata",
        "  its own: a/b\n",
        "1 endpoint, 2 event configurations, 1 warning",
    ] {
        assert!(told.out.contains(line), "{line}: {told:?}");
    }
}

#[test]
fn check_tells_every_error_and_exits_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("{BASE}bindngs = []\n[endpoints.erp.rest]\nurl = 5\n");
    std::fs::write(folder.path().join("production.toml"), text).unwrap();
    let variables = [("LOCKGATE__ADMIN__LISTEN", "nowhere")];
    let told = lockgate(folder.path(), "production", &["check"], &variables, "");
    assert_eq!(told.code, 2, "{told:?}");
    let file = folder.path().join("production.toml").display().to_string();
    let first = format!(
        "error: source.bindngs: unknown key\n  in {file}\n  hint: did you mean `bindings`?\n"
    );
    assert!(told.err.contains(&first), "{}", told.err);
    assert!(told.err.contains("error: endpoints.erp.rest.url: expected a text"), "{}", told.err);
    assert!(told.err.contains("in environment variable LOCKGATE__ADMIN__LISTEN"), "{}", told.err);
    assert_eq!(told.err.matches("error: ").count(), 3, "{}", told.err);
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["chekc"][..], &[], &["explain"]] {
        let told = lockgate(folder.path(), "production", arguments, &[], "");
        assert_eq!(told.code, 2, "{arguments:?}: {told:?}");
    }
    assert_eq!(lockgate(folder.path(), "production", &["--help"], &[], "").code, 0);
}

#[test]
fn topology_prints_definitions_and_permissions() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("production.toml"), format!("{BASE}{ENDPOINT}")).unwrap();
    let told = lockgate(folder.path(), "production", &["topology"], &[], "");
    assert_eq!(told.code, 0, "{told:?}");
    let definitions: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    let queues = definitions["queues"].as_array().unwrap();
    assert!(
        queues.iter().any(|q| q["name"] == "lockgate.ep.erp.parked" && q["vhost"] == "/"),
        "{queues:?}"
    );
    assert!(queues.iter().any(|q| q["name"] == "lockgate.wait.6h"), "{queues:?}");
    assert!(told.err.contains("rabbitmqctl set_permissions -p '/' USER '^"), "{}", told.err);
}

#[test]
fn a_sealed_value_opens_at_its_own_path_alone() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    let told = lockgate(
        folder.path(),
        "p",
        &["secret", "keygen", "--out", key.to_str().unwrap()],
        &[],
        "",
    );
    assert_eq!(told.code, 0, "{told:?}");
    let path = "endpoints.erp.rest.auth.basic.password";
    let seal = ["secret", "seal", "--path", path, "--key-file", key.to_str().unwrap()];
    let told = lockgate(folder.path(), "p", &seal, &[], "canary\n");
    assert_eq!((told.code, told.err.as_str()), (0, ""), "{told:?}");
    let sealed = told.out.trim();
    assert!(sealed.starts_with("sealed:v1:"), "{told:?}");
    let write = |key_line: &str, password: &str, username: &str| {
        let text = format!(
            "{BASE}{ENDPOINT}auth = {{ basic = {{ username = {username:?}, password = {password:?} }} }}\n{key_line}"
        );
        std::fs::write(folder.path().join("p.toml"), text).unwrap();
        lockgate(folder.path(), "p", &["check"], &[], "")
    };
    let keys = format!("[secrets]\nrequire_sealed = true\nkey_files = [{key:?}]\n");
    let told = write(&keys, sealed, "u");
    assert_eq!((told.code, told.err.as_str()), (0, ""), "{told:?}");
    let told = write(&keys, sealed, sealed);
    assert_eq!(told.code, 2, "{told:?}");
    let elsewhere = "error: endpoints.erp.rest.auth.basic.username: this sealed value does not open here with its key";
    assert!(told.err.contains(elsewhere) && !told.err.contains("canary"), "{told:?}");
    let told = write("", sealed, "u");
    assert_eq!(told.code, 2, "{told:?}");
    assert!(told.err.contains(&format!("error: {path}: sealed with the key ")), "{told:?}");
    let told = write(&keys, "sealed:nonsense", "u");
    assert!(told.code == 2 && told.err.contains("not a sealed value"), "{told:?}");
}

#[test]
fn with_a_missing_or_wrong_key_the_bridge_refuses_to_start_and_names_key_and_path() {
    let folder = tempfile::tempdir().unwrap();
    let [right, wrong] =
        [(), ()].map(|()| lockgate(folder.path(), "p", &["secret", "keygen"], &[], "").out);
    let path = "endpoints.erp.rest.auth.basic.password";
    let seal = ["secret", "seal", "--path", path];
    let sealed =
        lockgate(folder.path(), "p", &seal, &[("LOCKGATE_KEY", right.trim())], "canary").out;
    let id = sealed.split(':').nth(2).unwrap();
    let text = format!(
        "{BASE}{ENDPOINT}auth = {{ basic = {{ username = \"u\", password = {:?} }} }}\n",
        sealed.trim()
    );
    std::fs::write(folder.path().join("p.toml"), text).unwrap();
    for variables in [&[][..], &[("LOCKGATE_KEY", wrong.trim())]] {
        let told = lockgate(folder.path(), "p", &["run"], variables, "");
        assert_eq!(told.code, 2, "{told:?}");
        let error = format!("error: {path}: sealed with the key {id}, which is not at hand");
        assert!(told.err.contains(&error), "{told:?}");
    }
}

#[test]
fn a_key_in_a_variable_seals_and_opens_too() {
    let folder = tempfile::tempdir().unwrap();
    let key = lockgate(folder.path(), "p", &["secret", "keygen"], &[], "").out;
    let variables = [("LOCKGATE_KEY", key.trim())];
    let told = lockgate(
        folder.path(),
        "p",
        &["secret", "seal", "--path", "source.password"],
        &variables,
        "x",
    );
    assert_eq!(told.code, 0, "{told:?}");
    let text =
        format!("{BASE}username = \"u\"\npassword = {:?}\n", told.out.trim()).replace("#\n", "");
    std::fs::write(folder.path().join("p.toml"), text).unwrap();
    assert_eq!(lockgate(folder.path(), "p", &["check"], &variables, "").code, 0);
    let none =
        lockgate(folder.path(), "p", &["secret", "seal", "--path", "source.password"], &[], "x");
    assert!(none.code == 2 && none.err.contains("there is no key to seal with"), "{none:?}");
}

#[test]
fn a_key_file_is_private_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    let keygen = ["secret", "keygen", "--out", key.to_str().unwrap()];
    assert_eq!(lockgate(folder.path(), "p", &keygen, &[], "").code, 0);
    let first = std::fs::read_to_string(&key).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&key.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let again = lockgate(folder.path(), "p", &keygen, &[], "");
    assert!(again.code == 2 && again.err.contains("exists already"), "{again:?}");
    assert_eq!(std::fs::read_to_string(&key).unwrap(), first);
}

#[test]
fn sealing_for_a_place_without_credentials_is_mentioned() {
    let folder = tempfile::tempdir().unwrap();
    let key = lockgate(folder.path(), "p", &["secret", "keygen"], &[], "").out;
    let variables = [("LOCKGATE_KEY", key.trim())];
    let told = lockgate(
        folder.path(),
        "p",
        &["secret", "seal", "--path", "source.queue"],
        &variables,
        "x",
    );
    assert!(
        told.code == 0 && told.err.contains("no credential stands at source.queue"),
        "{told:?}"
    );
    let empty = lockgate(
        folder.path(),
        "p",
        &["secret", "seal", "--path", "admin.token"],
        &variables,
        "\n",
    );
    assert!(empty.code == 2 && empty.err.contains("the value is empty"), "{empty:?}");
}
