//! The platform changes lockgate's password: the new one is taken over by a reload.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{BACK, DEADLINE, bodies, numbered, rest, rights, source, until_all, until_more};
use crate::support::http::HttpServer;
use crate::support::lockgate::{Configuration, Lockgate};
use crate::support::rabbitmq::{Client, Place, node};
use crate::support::{eventually, on_system};

const KEY: &str = "batch_run_status";

/// A bridge that logs in as a user of its own, whose password is in a file.
struct Stage {
    place: Place,
    user: String,
    password: PathBuf,
    server: HttpServer,
    lockgate: Lockgate,
    platform: Client,
    published: BTreeSet<String>,
    _folder: tempfile::TempDir,
}

impl Stage {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = node().place();
        let (user, password) = (rights(&place), folder.path().join("password"));
        node().user(&user, "first-hush", &place.vhost, [".*", ".*", ".*"]);
        std::fs::write(&password, "first-hush").unwrap();
        let server = HttpServer::start();
        let file = password.display();
        let toml = source(&place.url.replace("guest:guest@", ""))
            + &format!("username = \"{user}\"\npassword = {{ file = \"{file}\" }}\n")
            + &rest("erp", "*", &server.url("/"));
        let lockgate = Lockgate::start_quiet(&Configuration::write(folder.path(), &toml)).await;
        let platform = Client::connect(&place.url).await;
        let published = BTreeSet::new();
        Self { place, user, password, server, lockgate, platform, published, _folder: folder }
    }

    async fn publish(&mut self, what: &str) {
        let some = numbered(what, 200);
        self.platform.publish_all("Batch", KEY, bodies(&some)).await;
        self.published.extend(some);
    }

    async fn all_arrive(&self) {
        until_all(&self.server, &self.published).await;
    }

    fn is_never_refused(&self) {
        let log = self.lockgate.log();
        assert!(!log.contains("ACCESS_REFUSED"), "{log}");
    }

    fn cut(&self) {
        assert!(node().close_user(&self.place.vhost, &self.user) >= 1);
    }
}

#[test]
fn a_new_password_is_taken_over_by_a_reload() {
    on_system(async {
        let mut stage = Stage::start().await;
        stage.publish("first").await;
        stage.all_arrive().await;

        // A reload alone cuts no connection, and an open one outlives its password.
        let (vhost, user) = (stage.place.vhost.clone(), stage.user.clone());
        let connections = || node().connections(&vhost, &user);
        let open = connections();
        assert!(!open.is_empty());
        node().set_password(&stage.user, "second-hush");
        std::fs::write(&stage.password, "second-hush").unwrap();
        let (status, answer) = stage.lockgate.ask("/api/reload", Some(serde_json::json!({}))).await;
        assert_eq!(status, 200, "{answer}");
        stage.publish("second").await;
        stage.all_arrive().await;
        // The one that publishes may have been opened meanwhile.
        assert!(connections().is_superset(&open));

        // What is open is cut: the next connections log in by the second password.
        stage.cut();
        stage.publish("third").await;
        stage.all_arrive().await;
        stage.is_never_refused();

        // The platform is first this time: refused until lockgate is told the third one.
        node().set_password(&stage.user, "third-hush");
        stage.cut();
        eventually("it is told", BACK, || async {
            stage.lockgate.log().contains("ACCESS_REFUSED").then_some(())
        })
        .await;
        stage.publish("last").await;
        std::fs::write(&stage.password, "third-hush").unwrap();
        stage.lockgate.signal("HUP");
        let back = until_more(&stage.server).await;
        println!("flows {back:?} after the reload");
        stage.all_arrive().await;
        eventually("the source is empty", DEADLINE, || async {
            (stage.platform.depth("events").await == 0).then_some(())
        })
        .await;
        stage.lockgate.reconciles().await;
        stage.lockgate.terminate().await;
        let log = stage.lockgate.log();
        assert!(!log.contains("hush"), "{log}");
    });
}
