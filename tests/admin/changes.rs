//! What every change has in common: how it is asked, how it is refused, and the line it leaves; and
//! the reload.

use std::io;
use std::sync::{Arc, LazyLock, Mutex};

use awc::http::Method;
use lockgate::admin::Reloaded;
use lockgate::config::{Problem, Problems};
use serde_json::{Value, json};

use super::partner::{Answer, Partner};
use super::schema::documented;
use super::stage::{Listener, ask, endpoint, eventually, is, letter, name};

/// The log of all tests of this process.
static LOG: LazyLock<Arc<Mutex<Vec<u8>>>> = LazyLock::new(|| {
    let log: Arc<Mutex<Vec<u8>>> = Arc::default();
    let written = Arc::clone(&log);
    let writer = move || Lines(Arc::clone(&written));
    tracing_subscriber::fmt().json().with_writer(writer).init();
    log
});

struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The audit lines about this endpoint, without their times.
fn audit(endpoint: Option<&str>) -> Vec<Value> {
    let text = String::from_utf8(LOG.lock().unwrap().clone()).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .filter(|line| line["target"] == "lockgate::audit")
        .map(|line| line["fields"].clone())
        .filter(|fields| fields.get("endpoint").and_then(Value::as_str) == endpoint)
        .collect()
}

#[actix_rt::test]
async fn every_change_leaves_one_line_that_says_who_what_and_with_which_result() {
    LazyLock::force(&LOG);
    let partner = Partner::start(Answer::Status(200));
    let listener = Listener::open(&endpoint("audited", &partner, "")).ready().await;
    listener
        .bury("audited", ["secret-body"].map(|id| letter(id, "Batch", "x", 1_750_000_100)))
        .await;
    let path = |verb: &str| format!("/api/endpoints/audited/{verb}");
    listener.post(&path("pause"), &json!({})).await;
    listener.post(&path("pause"), &json!({})).await;
    listener.post(&path("resume"), &json!({})).await;
    let (_, tested) = listener.post(&path("test"), &json!({})).await;
    let all = json!({"endpoint": "audited", "all": true});
    listener.post("/api/dead-letters/replay", &all).await;
    listener.post("/api/dead-letters/purge", &all).await;
    listener.bus.cut(true);
    listener.post("/api/dead-letters/purge", &all).await;
    // Reading leaves none.
    listener.get("/api/endpoints/audited").await;

    let lines = audit(Some("audited"));
    let said: Vec<[&str; 3]> = lines
        .iter()
        .map(|line| ["action", "result", "about"].map(|key| line[key].as_str().unwrap()))
        .collect();
    let test = format!("{} delivered", tested["event_id"].as_str().unwrap());
    assert_eq!(
        said,
        [
            ["pause", "ok", "changed"],
            ["pause", "ok", "unchanged"],
            ["resume", "ok", "changed"],
            ["test", "ok", test.as_str()],
            ["replay", "ok", "1 of 1 moved, 0 left"],
            ["purge", "ok", "0 of 0 moved, 0 left"],
            ["purge", "refused", "503 Service Unavailable"],
        ]
    );
    for line in &lines {
        let from: std::net::SocketAddr = line["from"].as_str().unwrap().parse().unwrap();
        assert!(from.ip().is_loopback(), "{line}");
    }
}

#[actix_rt::test]
async fn a_reload_says_what_has_changed_or_everything_that_is_wrong() {
    LazyLock::force(&LOG);
    let listener = Listener::open("");
    *listener.next_reload.lock().unwrap() = Ok(Reloaded {
        added: vec![name("a"), name("b")],
        removed: vec![name("c")],
        changed: Vec::new(),
        unchanged: 7,
        digest: "0123456789abcdef".into(),
    });
    let (code, done) = listener.post("/api/reload", &json!({})).await;
    let wanted = json!({"added": ["a", "b"], "removed": ["c"], "changed": [], "unchanged": 7,
        "configuration": "0123456789ab"});
    assert_eq!((code, done), (200, wanted));

    let problem = |path: &str, hint: Option<&str>| Problem {
        path: path.into(),
        file: "config/test.toml".into(),
        message: "is wrong".into(),
        hint: hint.map(Into::into),
    };
    let errors = vec![problem("endpoints.erp.rest.url", Some("mend it")), problem("", None)];
    *listener.next_reload.lock().unwrap() = Err(Problems { errors, warnings: Vec::new() });
    let (code, refused) = listener.post("/api/reload", &json!({})).await;
    assert_eq!((code, &refused["title"]), (422, &json!("Unprocessable Entity")));
    let told = json!([
        {"path": "endpoints.erp.rest.url", "file": "config/test.toml", "message": "is wrong", "hint": "mend it"},
        {"path": "", "file": "config/test.toml", "message": "is wrong", "hint": null},
    ]);
    assert_eq!(refused["problems"], told);
    let lines = audit(None);
    let about: Vec<&str> = lines.iter().map(|line| line["about"].as_str().unwrap()).collect();
    assert!(about.contains(&"2 added, 1 removed, 0 changed"), "{about:?}");
    assert!(about.contains(&"422 Unprocessable Entity"), "{about:?}");
}

#[actix_rt::test]
async fn one_reload_at_a_time_and_it_ends_when_its_caller_is_gone() {
    let listener = Listener::open("");
    let waits = listener.reload_waits.clone().lock_owned().await;
    let first = actix_rt::spawn(listener.post("/api/reload", &json!({})));
    let counted = Arc::clone(&listener.reload_waits);
    // The lock's holder, the listener's own handle and the one here; the rest is the reload.
    eventually("the first is under way", || Arc::strong_count(&counted) > 4).await;
    let (code, busy) = listener.post("/api/reload", &json!({})).await;
    assert_eq!((code, &busy["detail"]), (409, &json!("a reload is under way")));
    first.abort();
    drop(waits);
    eventually("it has ended", || Arc::strong_count(&counted) <= 4).await;
    assert_eq!(listener.post("/api/reload", &json!({})).await.0, 200);
}

#[actix_rt::test]
async fn bodies_are_bounded_json_objects() {
    let listener = Listener::open("");
    let reload = "/api/reload";
    let send = |body: String| listener.send(Method::POST, reload, body);
    for (body, status) in [
        (String::new(), 200),
        (" \n".into(), 200),
        ("{}".into(), 200),
        ("{".into(), 400),
        ("{} {}".into(), 400),
        ("\u{feff}{}".into(), 400),
        ("[]".into(), 422),
        ("null".into(), 422),
        ("{\"a\":1}".into(), 422),
        ("[".repeat(65_536), 422),
        ("{\"a\":".repeat(10_000), 400),
        (" ".repeat(65_537), 413),
        ("x".repeat(1 << 20), 413),
    ] {
        let shown: String = body.chars().take(10).collect();
        let (code, answer) = send(body).await;
        assert_eq!(code, status, "{shown:?}: {answer}");
    }
}

#[actix_rt::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let listener = Listener::open("");
    let headers = ["Host: localhost", "Content-Type: application/json", "Content-Length: 9"];
    let began = tokio::time::Instant::now();
    is(&ask(listener.address, "POST /api/reload", &headers).await, 408, "does not come");
    let took = began.elapsed().as_secs();
    assert!((9..30).contains(&took), "after {took} s");
}

#[actix_rt::test]
async fn a_change_says_that_it_is_json() {
    let listener = Listener::open("");
    let (address, line) = (listener.address, "POST /api/reload");
    let host = "Host: localhost";
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
        let kind = format!("Content-Type: {kind}");
        let answer = ask(address, line, &[host, &kind, "Content-Length: 0"]).await;
        is(&answer, 415, "Content-Type: application/json");
    }
    is(&ask(address, line, &[host, "Content-Length: 0"]).await, 415, "application/problem+json");
    for kind in ["application/json", "Application/JSON; charset=utf-8"] {
        let kind = format!("Content-Type: {kind}");
        is(&ask(address, line, &[host, &kind, "Content-Length: 0"]).await, 200, "\"unchanged\"");
    }
}

#[actix_rt::test]
async fn no_page_of_somebody_else_changes_or_reads_anything() {
    let partner = Partner::start(Answer::Status(200));
    let listener = Listener::open(&endpoint("erp", &partner, ""));
    let address = listener.address;
    let json = "Content-Type: application/json";
    let host = format!("Host: {address}");
    let pause = "POST /api/endpoints/erp/pause";
    let asked = |origin: String| {
        let headers = [host.clone(), json.to_owned(), "Content-Length: 0".into(), origin];
        async move {
            let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
            (ask(address, pause, &headers).await, ask(address, "GET /api/status", &headers).await)
        }
    };
    for origin in [
        "http://evil.example".to_owned(),
        "null".into(),
        String::new(),
        "http://localhost".into(),
        format!("http://{address}.evil.example"),
        format!("http://127.0.0.1:{}", address.port().wrapping_add(1)),
        format!("{address}"),
    ] {
        let (changed, read) = asked(format!("Origin: {origin}")).await;
        is(&changed, 403, "another origin");
        is(&read, 403, "another origin");
    }
    let shown = listener.board.endpoint(&name("erp")).unwrap();
    assert!(!shown.paused.load(std::sync::atomic::Ordering::Relaxed));
    // Two of them are no better than one.
    let two = format!("Origin: http://{address}\r\nOrigin: http://evil.example");
    is(&asked(two).await.0, 403, "another origin");
    let (changed, read) = asked(format!("Origin: http://{address}")).await;
    is(&changed, 200, "\"changed\":true");
    is(&read, 200, "\"paused\":true");
}

#[actix_rt::test]
async fn other_methods_are_told_which_one_and_unknown_paths_are_problems() {
    let listener = Listener::open("");
    let address = listener.address;
    let documented = documented();
    assert!(documented.len() > 10, "{documented:?}");
    for (method, path) in documented {
        let path = path.replace("{name}", "erp").replace("{event_id}", "e-1");
        // Reading `replay` or `purge` reads an event of that name.
        let named = path.ends_with("/replay") || path.ends_with("/purge");
        for other in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"] {
            let same = other == method || other == "HEAD" && method == "GET";
            if same || named && matches!(other, "GET" | "HEAD") {
                continue;
            }
            let headers =
                ["Host: localhost", "Content-Type: application/json", "Content-Length: 0"];
            let answer = ask(address, &format!("{other} {path}"), &headers).await;
            let allow = if method == "GET" { "allow: get, head" } else { "allow: post" };
            is(&answer, 405, allow);
            is(&answer, 405, "content-type: application/problem+json");
        }
    }
    for path in ["/nothing", "/api", "/api/", "/api/status/", "/api/endpoints//pause", "/healthz/"]
    {
        is(
            &ask(address, &format!("GET {path}"), &["Host: localhost"]).await,
            404,
            "nothing is here",
        );
    }
    let document = listener.get("/api/openapi.json").await;
    assert_eq!((document.0, &document.1["openapi"]), (200, &json!("3.1.0")));
}
