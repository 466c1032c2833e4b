//! Defaults, files, variables and secrets: what has the last word, and where secrets come from.

use lockgate::config::{Environment, Location, load};
use lockgate::domain::names::Name;
use lockgate::logic::secret::Secret;

use crate::support::{BASE, ENDPOINT, complaints, load_with, loaded};

#[test]
fn secrets_come_from_variables_and_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "from-file\r\n").unwrap();
    let text = format!(
        "{BASE}[admin]\ntoken = {{ file = {file:?} }}\n[endpoints.a.rest]\nurl = {{ env = \"A_URL\" }}\n\
         headers = {{ env = \"kept\", X-Key = {{ env = \"A_KEY\" }} }}\n"
    );
    let environment: Environment =
        [("A_URL", "https://u:p@h/x"), ("A_KEY", "12345")].into_iter().collect();
    let config = load_with(&text, "production", &environment).unwrap();
    assert_eq!(config.admin.token.as_ref().map(Secret::expose), Some("from-file"));
    let endpoint = config.endpoints.values().next().unwrap();
    assert_eq!(endpoint.transport.target(), "https://h/x");
    assert!(!config.warnings.iter().any(|w| w.message.contains("plain")), "{:#?}", config.warnings);
}

#[test]
fn secrets_in_variables_and_files_are_read_anew_whenever_the_configuration_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let text = format!(
        "{BASE}[admin]\ntoken = {{ file = {file:?} }}\n[endpoints.a.rest]\nurl = {{ env = \"A_URL\" }}\n"
    );
    std::fs::write(folder.path().join("production.toml"), text).unwrap();
    let location =
        Location { folder: folder.path().to_owned(), environment: "production".to_owned() };
    let check = |token: &str, url: &str| {
        std::fs::write(&file, token).unwrap();
        let environment = [("A_URL", url)].into_iter().collect();
        let config = load(&location, &environment).unwrap();
        assert_eq!(config.admin.token.as_ref().map(Secret::expose), Some(token));
        let endpoint = config.endpoints.values().next().unwrap();
        assert_eq!(endpoint.transport.target(), url);
    };
    check("first", "https://first.example/");
    check("second", "https://second.example/");
    std::fs::remove_file(&file).unwrap();
    let environment = [("A_URL", "https://h/")].into_iter().collect();
    let problems = load(&location, &environment).unwrap_err();
    assert_eq!(problems.errors[0].path, "admin.token", "{problems}");
}

#[test]
fn a_secret_that_cannot_be_found_is_told_with_its_name_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let (large, empty) = (file("large", &vec![b'x'; 70_000]), file("empty", b"\n"));
    let binary = file("binary", b"\xff\xfe");
    for (token, message) in [
        ("{ env = \"NOT_THERE\" }".to_owned(), "the environment variable NOT_THERE is not set"),
        ("{ env = \"EMPTY\" }".to_owned(), "the environment variable EMPTY is empty"),
        ("{ file = \"/nowhere/x\" }".to_owned(), "/nowhere/x"),
        (format!("{{ file = {large:?} }}"), "larger than 64 KiB"),
        (format!("{{ file = {empty:?} }}"), "is empty"),
        (format!("{{ file = {binary:?} }}"), "not UTF-8"),
        ("{ vault = \"x\" }".to_owned(), "found a table"),
        ("5".to_owned(), "{ env = \"NAME\" }"),
    ] {
        let text = format!("{BASE}[admin]\ntoken = {token}\n");
        let environment: Environment = [("EMPTY", "")].into_iter().collect();
        let problems = load_with(&text, "production", &environment).unwrap_err();
        let plain = problems.warnings.iter().find(|w| w.path == "admin.token");
        assert_eq!(plain, None, "{token}");
        let found = problems.errors;
        let hit = found[0].path == "admin.token" && found[0].to_string().contains(message);
        assert!(hit && found.len() == 1, "{token}: {found:#?}");
    }
    let found = complaints(&format!(
        "{BASE}[endpoints.a.rest]\nurl = {{ env = \"NOT_THERE\" }}\ntimout = 1\n"
    ));
    let paths: Vec<&str> = found.iter().map(|p| p.path.as_str()).collect();
    assert_eq!(paths, ["endpoints.a.rest.url", "endpoints.a.rest.timout"], "{found:#?}");
}

#[test]
fn variables_have_the_last_word_in_the_type_that_their_key_has() {
    let text = format!(
        "{BASE}username = \"u\"\npassword = \"p\"\n[endpoints.partner-bus.mqtt]\nurl = \"mqtt://h\"\nusername = \"u\"\npassword = \"p\"\n\
         [endpoints.erp.rest]\nurl = \"http://h/\"\nheaders = {{ X-Plant = \"a\" }}\n"
    );
    let environment: Environment = [
        ("LOCKGATE__SOURCE__QUEUE", "12345"),
        ("LOCKGATE__SOURCE__PREFETCH", "100"),
        ("LOCKGATE__SOURCE__PASSWORD", "[\"9\"]"),
        ("LOCKGATE__SOURCE__BINDINGS", "[{ exchange = \"e\", type = \"topic\" }]"),
        ("LOCKGATE__SOURCE__HEARTBEAT", "20s"),
        ("LOCKGATE__ORGANIZATION__NAME", "{ not toml"),
        ("LOCKGATE__ENDPOINTS__PARTNER_BUS__ENABLED", "false"),
        ("LOCKGATE__ENDPOINTS__PARTNER_BUS__EVENTS", "[\"a/b\"]"),
        ("LOCKGATE__ENDPOINTS__PARTNER_BUS__MQTT__PASSWORD__ENV", "OTHER"),
        ("LOCKGATE__ENDPOINTS__ERP__REST__HEADERS__X_PLANT", "true"),
        ("LOCKGATE__ENDPOINTS__NEW_ONE__REST__URL", "http://new/"),
        ("OTHER", "secret"),
        ("LOCKGATE_ENV", "ignored"),
    ]
    .into_iter()
    .collect();
    let config = load_with(&text, "production", &environment).unwrap();
    assert_eq!(config.source.queue, "12345");
    assert_eq!(config.source.prefetch, Some(100));
    assert_eq!(config.source.url.expose().as_str(), "amqp://u:%5B%229%22%5D@bus.example/%2f");
    assert_eq!(config.source.bindings[0].exchange, "e");
    assert_eq!(config.source.heartbeat.as_secs(), 20);
    assert_eq!(config.organization.name, "{ not toml");
    let names: Vec<&str> = config.endpoints.keys().map(Name::as_str).collect();
    assert_eq!(names, ["erp", "new-one", "partner-bus"]);
    let partner = &config.endpoints[&"partner-bus".parse().unwrap()];
    assert!(!partner.enabled);
    let own = &config.routing.configurations()[0];
    assert!(own.own && own.name.as_str() == "partner-bus", "{own:?}");
    assert!(!config.warnings.iter().any(|w| w.message.contains("plain")), "{:#?}", config.warnings);
}

#[test]
fn a_wrong_variable_is_named_in_the_complaint() {
    for (name, value, path, message) in [
        ("LOCKGATE__SOURCE__HEARTBEAT", "soon", "source.heartbeat", "a duration"),
        ("LOCKGATE__SOURCE__PREFETCH", "0", "source.prefetch", "1 to 65535"),
        ("LOCKGATE__SOURCE__QEUE", "x", "source.qeue", "did you mean `queue`?"),
        ("LOCKGATE__SOURCE", "canary", "source", "expected a table, found a text"),
        ("LOCKGATE__SOURCE____X", "x", "", "no key path"),
    ] {
        let environment: Environment = [(name, value)].into_iter().collect();
        let found = load_with(BASE, "development", &environment).unwrap_err().errors;
        assert_eq!(found.len(), 1, "{name}: {found:#?}");
        assert_eq!(found[0].file, format!("environment variable {name}"));
        assert!(found[0].path == path && found[0].to_string().contains(message), "{found:#?}");
    }
}

#[test]
fn plain_credentials_are_a_warning_outside_development_or_an_error() {
    let text = format!(
        "{BASE}username = \"u\"\npassword = \"canary\"\n[admin]\ntoken = \"canary\"\n{ENDPOINT}\
         auth = {{ basic = {{ username = \"u\", password = \"canary\" }} }}\n"
    );
    let told = |warnings: &[lockgate::config::Problem]| {
        let plain = warnings.iter().filter(|w| w.message.contains("plain credential"));
        let mut paths: Vec<String> = plain.map(|w| w.path.clone()).collect();
        paths.sort();
        paths
    };
    let expected = ["admin.token", "endpoints.erp.rest.auth.basic.password", "source.password"];
    let none = Environment::default();
    assert_eq!(told(&load_with(&text, "development", &none).unwrap().warnings), [""; 0]);
    assert_eq!(told(&load_with(&text, "production", &none).unwrap().warnings), expected);
    let strict = format!("{text}[secrets]\nrequire_sealed = true\n");
    assert_eq!(told(&load_with(&strict, "production", &none).unwrap_err().errors), expected);
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let config = loaded(&format!("{BASE}{ENDPOINT}"));
    assert_eq!(config.source.prefetch, None);
    assert_eq!(config.source.max_event_bytes, 1024 * 1024);
    assert_eq!(config.source.prefix, "lockgate");
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:8080");
    assert!((1..=4).contains(&config.runtime.threads));
    assert_eq!(config.intake.environment, "development");
    let endpoint = config.endpoints.values().next().unwrap();
    assert!(endpoint.enabled);
    assert_eq!(endpoint.max_in_flight, 32);
    assert_eq!(endpoint.patience.as_millis(), 500);
    assert_eq!(endpoint.retry.schedule.len(), 6);
    assert_eq!(config.digest.len(), 64);
}

#[test]
fn the_digest_knows_what_is_configured_but_no_credential() {
    let digest = |text: &str| loaded(&format!("{BASE}{text}")).digest;
    let one = digest("username = \"u\"\npassword = \"one\"\n");
    assert_eq!(one, digest("username = \"u\"\npassword = \"two\"\n"));
    assert_ne!(one, digest("username = \"u\"\npassword = \"one\"\nprefetch = 7\n"));
    assert_ne!(
        digest("[endpoints.a.rest]\nurl = \"http://a/\"\n"),
        digest("[endpoints.a.rest]\nurl = \"http://b/\"\n")
    );
}

#[test]
fn the_configurations_that_come_with_lockgate_load() {
    let environment: Environment = [
        ("BUS_USER", "u"),
        ("BUS_PASSWORD", "p"),
        ("ERP_PASSWORD", "p"),
        ("PRINTER_KEY", "k"),
        ("SCADA_PASSWORD", "p"),
        ("HOOK_SECRET", "s"),
        ("PARTNER_PASSWORD", "p"),
        ("PARTNER_BUS_URL", "amqps://u:p@mq.partner.example/vhost"),
        ("LOCKGATE_ADMIN_TOKEN", "t"),
    ]
    .into_iter()
    .collect();
    for (name, warned) in [("development", 0), ("production", 0), ("compose", 1), ("example", 0)] {
        let location = lockgate::config::Location {
            folder: concat!(env!("CARGO_MANIFEST_DIR"), "/config").into(),
            environment: name.into(),
        };
        let config = lockgate::config::load(&location, &environment);
        let config = config.unwrap_or_else(|problems| panic!("{name}: {problems}"));
        assert_eq!(config.warnings.len(), warned, "{name}: {:#?}", config.warnings);
    }
}

#[test]
fn an_embedded_text_loads_without_the_process_environment() {
    let text = format!("{BASE}{ENDPOINT}");
    let config = lockgate::config::Config::from_toml_str("embedded", &text, "demo").unwrap();
    assert_eq!(config.environment, "demo");
    let missing = format!("{BASE}[admin]\ntoken = {{ env = \"PATH\" }}\n");
    let problems = lockgate::config::Config::from_toml_str("embedded", &missing, "demo");
    let found = problems.unwrap_err().errors;
    assert_eq!((found[0].file.as_str(), found[0].path.as_str()), ("embedded", "admin.token"));
}

#[test]
fn a_variable_sets_one_key_only_whatever_it_holds() {
    let environment: Environment =
        [("LOCKGATE__SOURCE__QUEUE", "1\nprefetch = 7")].into_iter().collect();
    let config = load_with(BASE, "development", &environment).unwrap();
    assert_eq!((config.source.queue.as_str(), config.source.prefetch), ("1\nprefetch = 7", None));
}

#[test]
fn secrets_within_a_table_that_a_variable_holds_are_found() {
    let text = format!("{BASE}{ENDPOINT}");
    let table = "{ basic = { username = \"u\", password = { env = \"P\" } } }";
    let environment: Environment =
        [("LOCKGATE__ENDPOINTS__ERP__REST__AUTH", table), ("P", "secret")].into_iter().collect();
    let config = load_with(&text, "production", &environment).unwrap();
    let lockgate::transport::Transport::Rest(rest) =
        &config.endpoints[&"erp".parse().unwrap()].transport
    else {
        panic!("{config:?}")
    };
    let basic = rest.auth.as_ref().and_then(|auth| auth.basic.as_ref());
    assert_eq!(basic.map(|basic| basic.password.expose()), Some("secret"));
}
