//! The door over real sockets: who is let in, who is not, and what they are told.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lockgate::meter;

use super::schema::documented;
use super::stage::{Listener, TOKEN, admin, ask, is};

#[actix_rt::test]
async fn it_is_alive_and_ready_while_events_are_consumed() {
    let listener = Listener::start(&admin("127.0.0.1:0", None, &[]));
    let address = listener.address;
    is(&ask(address, "GET /healthz", &["Host: localhost"]).await, 200, "ok");
    is(&ask(address, "GET /readyz", &["Host: localhost"]).await, 200, "consuming");

    listener.consumes(false);
    is(&ask(address, "GET /healthz", &["Host: localhost"]).await, 200, "ok");
    let unready = ask(address, "GET /readyz", &["Host: localhost"]).await;
    is(&unready, 503, "not consuming: no connection to the bus");

    listener.consumes(true);
    is(&ask(address, "GET /readyz", &["Host: localhost"]).await, 200, "consuming");
}

#[actix_rt::test]
async fn a_reload_brings_another_token_and_other_names() {
    let listener = Listener::start(&admin("127.0.0.1:0", Some(TOKEN), &["old.example"]));
    let address = listener.address;
    let asked = async |host: &str, token: &str| {
        let header = format!("Authorization: Bearer {token}");
        ask(address, "GET /readyz", &[&format!("Host: {host}"), &header]).await.0
    };
    assert_eq!((asked("old.example", TOKEN).await, asked("new.example", TOKEN).await), (200, 421));
    listener.takes_over(admin("127.0.0.1:0", Some("another-token"), &["new.example"]));
    assert_eq!(asked("old.example", "another-token").await, 421);
    assert_eq!(asked("new.example", TOKEN).await, 401);
    assert_eq!(asked("new.example", "another-token").await, 200);
}

#[actix_rt::test]
async fn what_was_counted_can_be_scraped() {
    let listener = Listener::start(&admin("127.0.0.1:0", None, &[]));
    meter::attempt("scraped", "delivered", "", std::time::Duration::from_millis(30));
    let answer = ask(listener.address, "GET /metrics", &["Host: localhost"]).await;
    is(&answer, 200, "content-type: text/plain; version=0.0.4");
    is(&answer, 200, "lockgate_build_info{version=");
    let attempts =
        "lockgate_attempts_total{endpoint=\"scraped\",outcome=\"delivered\",error_type=\"\"} 1";
    is(&answer, 200, attempts);
}

#[actix_rt::test]
async fn only_its_own_names_are_answered() {
    let listener =
        Listener::start(&admin("127.0.0.2:0", None, &["Gate.example", "other.example:9000"]));
    let address = listener.address;
    for host in [
        "localhost",
        "LOCALHOST:1",
        "127.0.0.1",
        "127.0.0.2:80",
        "[::1]:8080",
        "gate.example",
        "other.example:1",
    ] {
        is(&ask(address, "GET /readyz", &[&format!("Host: {host}")]).await, 200, "consuming");
    }
    for host in ["evil.example", "localhost.evil.example", "127.0.0.3"] {
        let answer = ask(address, "GET /readyz", &[&format!("Host: {host}")]).await;
        is(&answer, 421, "admin.hosts");
        is(&ask(address, "GET /healthz", &[&format!("Host: {host}")]).await, 200, "ok");
    }
    // Neither a missing name, nor an empty or a second one, nor one in the first line gets past.
    for names in [&[][..], &["Host:"], &["Host: localhost", "Host: evil.example"]] {
        let (status, answer) = ask(address, "GET /metrics", names).await;
        assert!(status == 400 || status == 421, "{names:?}: {answer}");
    }
    let absolute = ask(address, "GET http://evil.example/metrics", &["Host: localhost"]).await;
    is(&absolute, 421, "admin.hosts");
}

#[actix_rt::test]
async fn with_a_token_everything_but_being_alive_needs_it() {
    let listener = Listener::start(&admin("127.0.0.1:0", Some(TOKEN), &[]));
    let address = listener.address;
    is(&ask(address, "GET /healthz", &["Host: localhost"]).await, 200, "ok");
    for path in ["/readyz", "/metrics", "/anything"] {
        let refused = ask(address, &format!("GET {path}"), &["Host: localhost"]).await;
        is(&refused, 401, "www-authenticate: bearer");
        assert!(!refused.1.contains(TOKEN), "{}", refused.1);
    }
    for wrong in [
        "Bearer",
        "Bearer ",
        "Bearer a-token-for-test",
        "Bearer a-token-for-testsX",
        "Basic a-token-for-tests",
        "a-token-for-tests",
    ] {
        let header = format!("Authorization: {wrong}");
        let refused = ask(address, "GET /readyz", &["Host: localhost", &header]).await;
        is(&refused, 401, "the admin token is missing");
    }
    for scheme in ["Bearer", "bearer"] {
        let header = format!("Authorization: {scheme} {TOKEN}");
        let answer = ask(address, "GET /readyz", &["Host: localhost", &header]).await;
        is(&answer, 200, "consuming");
    }
    // A browser asks its user, and sends the token as a password.
    let refused = ask(address, "GET /readyz", &["Host: localhost"]).await;
    is(&refused, 401, "www-authenticate: basic realm=\"lockgate\", charset=\"utf-8\"");
    for (pair, status) in [
        (format!("operator:{TOKEN}"), 200),
        (format!(":{TOKEN}"), 200),
        (format!("operator:{TOKEN}X"), 401),
        (format!("{TOKEN}:operator"), 401),
        (format!("operator:x:{TOKEN}"), 401),
        ("operator:".to_owned(), 401),
        (TOKEN.to_owned(), 401),
    ] {
        let header = format!("Authorization: Basic {}", STANDARD.encode(&pair));
        let answer = ask(address, "GET /readyz", &["Host: localhost", &header]).await;
        assert_eq!(answer.0, status, "{pair}: {}", answer.1);
    }
    // The token does not excuse a foreign name.
    let header = format!("Authorization: Bearer {TOKEN}");
    is(&ask(address, "GET /readyz", &["Host: evil.example", &header]).await, 421, "admin.hosts");
}

#[test]
fn beyond_loopback_it_does_not_listen_without_a_token() {
    let refused = lockgate::admin::bind(&admin("0.0.0.0:0", None, &[])).err().unwrap();
    assert!(refused.to_string().contains("admin.token"), "{refused}");
    assert!(lockgate::admin::bind(&admin("0.0.0.0:0", Some(TOKEN), &[])).is_ok());
}

/// An address of this machine that is not loopback's, if it has one. Nothing is sent.
fn other_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

#[actix_rt::test]
async fn beyond_loopback_nothing_but_being_alive_is_answered_without_the_token() {
    let other = other_address();
    let name = other.map_or_else(|| "gate.example".to_owned(), |ip| ip.to_string());
    let listener = Listener::start(&admin("0.0.0.0:0", Some(TOKEN), &[&name]));
    let port = listener.address.port();
    let mut asked: Vec<(String, String)> = documented();
    assert!(asked.len() > 10, "{asked:?}");
    asked.push(("GET".into(), "/".into()));
    asked.push(("GET".into(), "/nothing".into()));
    asked.push(("DELETE".into(), "/api/endpoints/erp".into()));
    for ip in [Some("127.0.0.1".parse().unwrap()), other].into_iter().flatten() {
        let address = SocketAddr::new(ip, port);
        let host = format!("Host: {address}");
        for (method, path) in &asked {
            let line = format!("{method} {}", path.replace(['{', '}'], ""));
            let headers = [&host, "Content-Type: application/json", "Content-Length: 0"];
            let answer = ask(address, &line, &headers).await;
            let wanted = if path == "/healthz" { 200 } else { 401 };
            assert_eq!(answer.0, wanted, "{line} at {address}: {}", answer.1);
        }
        let token = format!("Authorization: Bearer {TOKEN}");
        let answer = ask(address, "GET /api/status", &[&host, &token]).await;
        is(&answer, 200, "\"instance\"");
        assert!(!answer.1.contains(TOKEN), "{}", answer.1);
    }
}

#[actix_rt::test]
async fn every_answer_carries_the_security_headers() {
    let listener = Listener::start(&admin("127.0.0.1:0", Some(TOKEN), &[]));
    for (path, host) in
        [("/healthz", "localhost"), ("/api/status", "localhost"), ("/api/status", "evil.example")]
    {
        let host = format!("Host: {host}");
        let (_, answer) = ask(listener.address, &format!("GET {path}"), &[&host]).await;
        for header in [
            "content-security-policy: default-src 'none'; frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
        ] {
            assert!(answer.contains(header), "{path}: no {header} in {answer}");
        }
    }
}

#[actix_rt::test]
async fn unknown_paths_and_other_methods_change_nothing() {
    let listener = Listener::start(&admin("127.0.0.1:0", None, &[]));
    let address = listener.address;
    is(&ask(address, "GET /nothing", &["Host: localhost"]).await, 404, "");
    let posted = ask(address, "POST /metrics", &["Host: localhost", "Content-Length: 0"]).await;
    assert!(posted.0 == 404 || posted.0 == 405, "{}", posted.1);
    let head = ask(address, "HEAD /readyz", &["Host: localhost"]).await;
    assert_eq!(head.0, 200, "{}", head.1);
    assert!(head.1.ends_with("\r\n\r\n"), "{}", head.1);
}

#[test]
fn a_taken_port_ends_the_run_with_a_plain_error_before_anything_is_consumed() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    // Nobody listens on port 9: were the bus asked first, the run would wait for it.
    let toml = "[source]\nurl = \"amqp://127.0.0.1:9/%2f\"\nqueue = \"q\"\n";
    std::fs::write(folder.path().join("development.toml"), toml).unwrap();
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_lockgate"))
        .arg("--config")
        .arg(folder.path())
        .arg("run")
        .env_remove("LOCKGATE_ENV")
        .env("LOCKGATE__ADMIN__LISTEN", &address)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(1), "{told}");
    assert!(
        told.contains("error: cannot listen on admin.listen") && told.contains("hint: "),
        "{told}"
    );
    assert!(told.contains(&address) && !told.contains("panicked"), "{told}");
}
