//! `docker-compose.yml` and the files that it names fit together.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "this crate is tests from end to end"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use figment::providers::{Format as _, Toml};
use figment::value::Value;
use yaml_rust2::{Yaml, YamlLoader};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn compose() -> Yaml {
    let text = std::fs::read_to_string(root().join("docker-compose.yml")).unwrap();
    YamlLoader::load_from_str(&text).unwrap().remove(0)
}

fn texts(list: &Yaml) -> Vec<&str> {
    list.as_vec().map(|list| list.iter().filter_map(Yaml::as_str).collect()).unwrap_or_default()
}

fn services(compose: &Yaml) -> BTreeSet<String> {
    let services = compose["services"].as_hash().unwrap();
    services.keys().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// Every `url` and every `{ env = "…" }` under the source, the endpoints and the admin listener.
fn named(value: &Value, key: &str, found: &mut BTreeSet<String>) {
    for (name, inner) in value.as_dict().into_iter().flatten() {
        match inner.as_str() {
            Some(text) if name == key => drop(found.insert(text.to_owned())),
            _ => named(inner, key, found),
        }
    }
}

#[test]
fn the_services_are_the_bus_two_partners_and_lockgate_itself() {
    let compose = compose();
    let names = services(&compose);
    assert_eq!(
        names.iter().map(String::as_str).collect::<Vec<_>>(),
        ["echo", "lockgate", "mosquitto", "rabbitmq"]
    );
    for name in &names {
        let service = &compose["services"][name.as_str()];
        let image = service["image"].as_str();
        assert!(service["build"].as_str() == Some(".") || image.is_some(), "{name}");
        if let Some((_, tag)) = image.and_then(|image| image.split_once(':')) {
            assert_ne!(tag, "latest", "{name} is not pinned");
        } else {
            assert!(image.is_none(), "{name} is not pinned");
        }
    }
}

#[test]
fn lockgate_waits_until_its_servers_are_healthy() {
    let compose = compose();
    let awaited = compose["services"]["lockgate"]["depends_on"].as_hash().unwrap();
    assert_eq!(awaited.len(), services(&compose).len() - 1);
    for (name, how) in awaited {
        let service = &compose["services"][name.as_str().unwrap()];
        assert!(!service.is_badvalue(), "{name:?} is no service");
        match how["condition"].as_str().unwrap() {
            "service_healthy" => {
                assert_eq!(texts(&service["healthcheck"]["test"])[0], "CMD", "{name:?}");
            }
            other => assert_eq!(other, "service_started", "{name:?}"),
        }
    }
}

#[test]
fn every_folder_that_is_mounted_is_there_and_every_volume_is_declared() {
    let compose = compose();
    let mut mounts = 0;
    for name in services(&compose) {
        for mount in texts(&compose["services"][name.as_str()]["volumes"]) {
            mounts += 1;
            let source = mount.split(':').next().unwrap();
            if source.starts_with('.') {
                assert!(root().join(source).exists(), "{name}: {source}");
            } else {
                let declared = compose["volumes"].as_hash().unwrap();
                assert!(declared.contains_key(&Yaml::String(source.into())), "{name}: {source}");
            }
        }
    }
    assert!(mounts >= 2, "{mounts}");
}

#[test]
fn every_port_is_open_to_this_machine_alone() {
    let compose = compose();
    let names = services(&compose);
    let ports: Vec<&str> =
        names.iter().flat_map(|name| texts(&compose["services"][name.as_str()]["ports"])).collect();
    assert!(ports.len() >= 3, "{ports:?}");
    assert!(ports.iter().all(|port| port.starts_with("127.0.0.1:")), "{ports:?}");
}

#[test]
fn the_configuration_of_this_environment_names_only_what_the_file_has() {
    let compose = compose();
    let variables = &compose["services"]["lockgate"]["environment"];
    let environment = variables["LOCKGATE_ENV"].as_str().unwrap();
    let file = root().join("config").join(format!("{environment}.toml"));
    assert!(file.exists(), "{}", file.display());
    let configuration = figment::Figment::from(Toml::file(&file));
    let (mut urls, mut env) = (BTreeSet::new(), BTreeSet::new());
    for section in ["source", "endpoints", "admin"] {
        let section = configuration.find_value(section).unwrap();
        named(&section, "url", &mut urls);
        named(&section, "env", &mut env);
    }
    let peers: BTreeSet<(String, Option<u16>)> = urls
        .iter()
        .map(|text| url::Url::parse(text).unwrap())
        .map(|url| (url.host_str().unwrap().to_owned(), url.port()))
        .collect();
    let expected = [("echo", 8080), ("mosquitto", 1883), ("rabbitmq", 5672)];
    let expected = expected.map(|(host, port)| (host.to_owned(), Some(port)));
    assert_eq!(peers, BTreeSet::from(expected), "{}", file.display());
    for variable in env {
        assert!(!variables[variable.as_str()].is_badvalue(), "{variable} is not set");
    }
}

#[test]
fn the_image_is_built_without_the_demo_and_runs_as_nobody() {
    let text = std::fs::read_to_string(root().join("Dockerfile")).unwrap();
    for wanted in [
        "--no-default-features",
        "--features otlp",
        "--locked",
        "USER 65532",
        "ENTRYPOINT [\"lockgate\"]",
    ] {
        assert!(text.contains(wanted), "no {wanted}");
    }
    let ignored = std::fs::read_to_string(root().join(".dockerignore")).unwrap();
    for needed in ["src", "config", "integration", "tests", "Cargo.toml", "Cargo.lock"] {
        assert!(root().join(needed).exists(), "{needed}");
        assert!(!ignored.lines().any(|line| Path::new(line) == Path::new(needed)), "{needed}");
    }
}
