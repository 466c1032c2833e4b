//! The compose file's configuration, run against private servers in place of its services; and the
//! `send` command, which puts the samples on the bus as a new user would.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::support::http::HttpServer;
use super::support::lockgate::{Configuration, Lockgate};
use super::support::mosquitto::Mosquitto;
use super::support::rabbitmq::{Client, node};
use super::support::{eventually, on_system};

#[test]
fn the_compose_configuration_delivers_every_sample_that_send_publishes() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/compose.toml");
        let configuration =
            Configuration::write(folder.path(), &std::fs::read_to_string(shipped).unwrap());
        let (place, broker, echo) =
            (node().place(), Mosquitto::start_anonymous().await, HttpServer::start());
        let subscriber = broker.subscribe("#").await;
        // Only where the services are differs.
        let services = [
            ("LOCKGATE__SOURCE__URL", place.url.clone()),
            ("LOCKGATE__ENDPOINTS__BROKER__MQTT__URL", broker.url("mqtt")),
            ("LOCKGATE__ENDPOINTS__ECHO__REST__URL", echo.url("/")),
            ("LOCKGATE_ADMIN_TOKEN", "compose".to_owned()),
            ("LOCKGATE__ADMIN__LISTEN", "127.0.0.1:0".to_owned()),
        ];
        let lockgate = Lockgate::start_with(&configuration, &services);
        lockgate.ready().await;
        let sent = Command::new(env!("CARGO_BIN_EXE_lockgate"))
            .args(["--config", folder.path().to_str().unwrap(), "--env", "test"])
            .args(["send", "--count", "43", "--rate", "200"])
            .envs(services.iter().map(|(name, value)| (*name, value.as_str())))
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&sent.stderr).into_owned();
        assert!(sent.status.success(), "{told}");
        assert!(String::from_utf8_lossy(&sent.stdout).contains("43 events sent"), "{told}");
        eventually("every sample at the echo server", Duration::from_secs(30), || async {
            (echo.received().len() >= 43).then_some(())
        })
        .await;
        let received = echo.received();
        let ids: BTreeSet<_> = received.iter().map(|r| r.header("x-request-id")).collect();
        assert_eq!((ids.len(), received.len()), (43, 43), "every sample once");
        for request in &received {
            let body = String::from_utf8_lossy(&request.body);
            assert!(body.contains("\"Subscriber\":\"echo\""), "{body}");
        }
        assert_eq!(subscriber.wait_for(43).await.len(), 43);
        lockgate.terminate().await;
        let platform = Client::connect(&place.url).await;
        assert_eq!(platform.depth("platform.events").await, 0);
    });
}
