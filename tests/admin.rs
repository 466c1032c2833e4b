//! The admin listener over real sockets: what it answers, and to whom.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "this crate is tests from end to end"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lockgate::admin::{AdminState, Readiness, metrics, serve};
use lockgate::config::{Admin, Problems};
use lockgate::logic::secret::Secret;
use lockgate::meter;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const TOKEN: &str = "a-token-for-tests";

/// A listener that is consuming until told otherwise.
struct Listener {
    address: SocketAddr,
    consuming: Arc<AtomicBool>,
}

fn admin(listen: &str, token: Option<&str>, hosts: &[&str]) -> Admin {
    Admin {
        listen: listen.parse().unwrap(),
        token: token.map(|text| Secret::from(text.to_owned())),
        hosts: hosts.iter().map(ToString::to_string).collect(),
        attempt_log: 200,
    }
}

fn start(admin: &Admin) -> Listener {
    let consuming = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&consuming);
    let readiness = move || {
        if asked.load(Ordering::Relaxed) {
            Readiness::Consuming
        } else {
            Readiness::NotConsuming("no connection to the bus".into())
        }
    };
    let state = state(Arc::new(readiness));
    let (server, address) = serve(admin, state).unwrap();
    actix_rt::spawn(server);
    Listener { address, consuming }
}

fn state(readiness: Arc<dyn Fn() -> Readiness + Send + Sync>) -> AdminState {
    let nothing = || Box::pin(std::future::ready(Err(Problems::default()))) as _;
    AdminState { readiness, metrics: metrics::install().unwrap(), reload: Arc::new(nothing) }
}

/// One request on a connection of its own: the status and the whole answer, head in lower case.
async fn ask(address: SocketAddr, line: &str, headers: &[&str]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut request = format!("{line} HTTP/1.1\r\nConnection: close\r\n");
    for header in headers {
        request.push_str(header);
        request.push_str("\r\n");
    }
    stream.write_all(format!("{request}\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (status, format!("{}\r\n\r\n{body}", head.to_ascii_lowercase()))
}

#[track_caller]
fn is(answer: &(u16, String), status: u16, part: &str) {
    assert_eq!(answer.0, status, "{}", answer.1);
    assert!(answer.1.contains(part), "no {part:?} in {}", answer.1);
}

#[actix_rt::test]
async fn it_is_alive_and_ready_while_events_are_consumed() {
    let listener = start(&admin("127.0.0.1:0", None, &[]));
    let address = listener.address;
    is(&ask(address, "GET /healthz", &["Host: localhost"]).await, 200, "ok");
    is(&ask(address, "GET /readyz", &["Host: localhost"]).await, 200, "consuming");

    listener.consuming.store(false, Ordering::Relaxed);
    is(&ask(address, "GET /healthz", &["Host: localhost"]).await, 200, "ok");
    let unready = ask(address, "GET /readyz", &["Host: localhost"]).await;
    is(&unready, 503, "not consuming: no connection to the bus");

    listener.consuming.store(true, Ordering::Relaxed);
    is(&ask(address, "GET /readyz", &["Host: localhost"]).await, 200, "consuming");
}

#[actix_rt::test]
async fn what_was_counted_can_be_scraped() {
    let listener = start(&admin("127.0.0.1:0", None, &[]));
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
    let listener = start(&admin("127.0.0.2:0", None, &["Gate.example", "other.example:9000"]));
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
    let listener = start(&admin("127.0.0.1:0", Some(TOKEN), &[]));
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
    // The token does not excuse a foreign name.
    let header = format!("Authorization: Bearer {TOKEN}");
    is(&ask(address, "GET /readyz", &["Host: evil.example", &header]).await, 421, "admin.hosts");
}

#[actix_rt::test]
async fn beyond_loopback_it_does_not_start_without_a_token() {
    let state = state(Arc::new(|| Readiness::Consuming));
    let refused = serve(&admin("0.0.0.0:0", None, &[]), state.clone()).err().unwrap();
    assert!(refused.to_string().contains("admin.token"), "{refused}");
    assert!(serve(&admin("0.0.0.0:0", Some(TOKEN), &[]), state).is_ok());
}

#[actix_rt::test]
async fn every_answer_carries_the_security_headers() {
    let listener = start(&admin("127.0.0.1:0", Some(TOKEN), &[]));
    for (path, host) in
        [("/healthz", "localhost"), ("/metrics", "localhost"), ("/metrics", "evil.example")]
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
    let listener = start(&admin("127.0.0.1:0", None, &[]));
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
