//! The platform changes lockgate's password: the new one is taken over by a reload.

use super::{BACK, DEADLINE, bodies, numbered, rest, rights, source, until_all, until_more};
use crate::support::http::HttpServer;
use crate::support::lockgate::{Configuration, Lockgate};
use crate::support::rabbitmq::{Client, node};
use crate::support::{eventually, on_system};

const KEY: &str = "batch_run_status";

#[test]
fn a_new_password_is_taken_over_by_a_reload() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let place = node().place();
        let user = rights(&place);
        node().user(&user, "first-hush", &place.vhost, [".*", ".*", ".*"]);
        let password = folder.path().join("password");
        std::fs::write(&password, "first-hush").unwrap();
        let server = HttpServer::start();
        let url = place.url.replace("guest:guest@", "");
        let toml = source(&url)
            + &format!(
                "username = \"{user}\"\npassword = {{ file = \"{}\" }}\n",
                password.display()
            )
            + &rest("erp", "*", &server.url("/"));
        let lockgate = Lockgate::start_quiet(&Configuration::write(folder.path(), &toml)).await;
        let platform = Client::connect(&place.url).await;
        let first = numbered("first", 200);
        platform.publish_all("Batch", KEY, bodies(&first)).await;
        until_all(&server, &first).await;

        // A reload alone cuts no connection, and an open one outlives its password.
        node().set_password(&user, "second-hush");
        std::fs::write(&password, "second-hush").unwrap();
        let (status, answer) = lockgate.ask("/api/reload", Some(serde_json::json!({}))).await;
        assert_eq!(status, 200, "{answer}");
        assert!(!lockgate.log().contains("ACCESS_REFUSED"), "{}", lockgate.log());
        let mut all = first;
        let second = numbered("second", 200);
        platform.publish_all("Batch", KEY, bodies(&second)).await;
        all.extend(second);
        until_all(&server, &all).await;

        // What is open is cut: the next connections log in by the second password.
        let cut = |vhost: &str| node().close_user(vhost, &user);
        assert!(cut(&place.vhost) >= 1);
        let third = numbered("third", 200);
        platform.publish_all("Batch", KEY, bodies(&third)).await;
        all.extend(third);
        until_all(&server, &all).await;
        assert!(!lockgate.log().contains("ACCESS_REFUSED"), "{}", lockgate.log());

        // The platform is first this time: refused until lockgate is told the third one.
        node().set_password(&user, "third-hush");
        assert!(cut(&place.vhost) >= 1);
        eventually("it is told", BACK, || async {
            lockgate.log().contains("ACCESS_REFUSED").then_some(())
        })
        .await;
        let last = numbered("last", 200);
        platform.publish_all("Batch", KEY, bodies(&last)).await;
        all.extend(last);
        std::fs::write(&password, "third-hush").unwrap();
        lockgate.signal("HUP");
        let back = until_more(&server).await;
        println!("flows {back:?} after the reload");
        until_all(&server, &all).await;
        eventually("the source is empty", DEADLINE, || async {
            (platform.depth("events").await == 0).then_some(())
        })
        .await;
        lockgate.reconciles().await;
        lockgate.terminate().await;
        let log = lockgate.log();
        assert!(!log.contains("hush"), "{log}");
    });
}
