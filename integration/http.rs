//! REST and webhook endpoints against real sockets: what is sent, and what every kind of partner
//! and every kind of misbehaviour comes to.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use lockgate::domain::delivery::{Address, Class, Failure, Outcome, Outgoing};
use lockgate::transport::{Instance, Publisher, rest, webhook};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::support::certs;
use super::support::http::{Answer, HttpServer, RawPeer, Request, Step, write};
use super::support::{eventually, free_port, on_system};

const ID: &str = "7f0c2d5e-6a55-4a5e-9d2c-0d9f4c1b2a01";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn instance() -> Instance {
    Instance { id: "test".into() }
}

fn rest(settings: Value) -> Rc<dyn Publisher> {
    let settings: rest::Settings = serde_json::from_value(settings).unwrap();
    rest::publisher(&settings, "erp", &instance()).unwrap()
}

fn webhook(settings: Value) -> Rc<dyn Publisher> {
    let settings: webhook::Settings = serde_json::from_value(settings).unwrap();
    webhook::publisher(&settings, "hook", &instance()).unwrap()
}

fn outgoing_with(body: impl Into<Bytes>) -> Rc<Outgoing> {
    Rc::new(Outgoing {
        event_id: ID.into(),
        event_name: "operation.completed".into(),
        address: Address::Url,
        body: body.into(),
        trace: None,
    })
}

fn outgoing() -> Rc<Outgoing> {
    outgoing_with("{\"n\":1.0,\"big\":12345678901234567890,\"s\":\"é\\/\"}")
}

async fn publish(publisher: &Rc<dyn Publisher>) -> Outcome {
    Rc::clone(publisher).publish(outgoing()).await
}

fn delivered(status: u16) -> Outcome {
    Outcome::Delivered { status: Some(status) }
}

fn failure(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Failed(failure) => failure,
        delivered @ Outcome::Delivered { .. } => panic!("not a failure: {delivered:?}"),
    }
}

/// Publishes to `url` and checks what kind of failure it comes to.
async fn check_fails(settings: Value, class: Class, reason: &str) -> Failure {
    let shown = settings.to_string();
    let failure = failure(publish(&rest(settings)).await);
    assert_eq!((failure.class, failure.reason.as_str()), (class, reason), "{shown} {failure:?}");
    failure
}

#[test]
fn rest_delivers_the_bytes_unchanged_with_exactly_these_headers() {
    on_system(async {
        let server = HttpServer::start();
        let publisher = rest(json!({ "url": server.url("/tempo?plant=1") }));
        assert_eq!(publish(&publisher).await, delivered(200));
        let requests = server.received();
        assert_eq!(requests.len(), 1);
        let Request { method, path, mut headers, body } = requests[0].clone();
        assert_eq!((method.as_str(), path.as_str()), ("POST", "/tempo?plant=1"));
        assert_eq!(body, outgoing().body);
        // awc dates its requests, as a client may.
        let dates = headers.extract_if(.., |(name, _)| name == "date").count();
        assert_eq!(dates, 1);
        headers.sort();
        let expected = [
            ("content-length", body.len().to_string()),
            ("content-type", "application/json".into()),
            ("host", format!("localhost:{}", server.port())),
            ("user-agent", format!("lockgate/{}", env!("CARGO_PKG_VERSION"))),
            ("x-correlation-id", ID.into()),
            ("x-request-id", ID.into()),
        ];
        let expected: Vec<_> = expected.into_iter().map(|(n, v)| (n.to_owned(), v)).collect();
        assert_eq!(headers, expected);
    });
}

#[test]
fn credentials_and_fixed_headers_arrive() {
    on_system(async {
        let server = HttpServer::start();
        let basic = json!({ "basic": { "username": "jürgen", "password": "pä:ss" } });
        let key = json!({ "api_key": { "header": "X-API-Key", "value": "k-123" } });
        let headers = json!({ "X-Plant": "chicago" });
        let url = server.url("/");
        publish(&rest(json!({ "url": url, "auth": basic, "headers": headers }))).await;
        publish(&rest(json!({ "url": url, "auth": key }))).await;
        let user = url.replace("http://", "http://j%C3%BCrgen:p%C3%A4:ss@");
        publish(&rest(json!({ "url": user }))).await;
        let requests = server.received();
        let authorization = Some("Basic asO8cmdlbjpww6Q6c3M=");
        assert_eq!(requests[0].header("Authorization"), authorization);
        assert_eq!(requests[0].header("X-Plant"), Some("chicago"));
        assert_eq!(requests[1].header("X-API-Key"), Some("k-123"));
        assert_eq!(requests[1].header("Authorization"), None);
        assert_eq!(requests[2].header("Authorization"), authorization);
        let host = format!("localhost:{}", server.port());
        assert_eq!(requests[2].header("Host"), Some(host.as_str()));
    });
}

#[test]
fn an_event_id_that_no_header_can_carry_fails_for_good() {
    on_system(async {
        let server = HttpServer::start();
        let publisher = rest(json!({ "url": server.url("/") }));
        let mut outgoing = (*outgoing()).clone();
        outgoing.event_id = "a\r\nX-Evil: 1".into();
        let failure = failure(publisher.publish(Rc::new(outgoing)).await);
        assert_eq!(failure.class, Class::Permanent);
        assert_eq!(failure.reason, "illegal_header_value");
        assert!(server.received().is_empty());
    });
}

fn redirecting_settings(url: &str) -> Value {
    json!({
        "url": url,
        "auth": { "api_key": { "header": "X-API-Key", "value": "k-123" } },
        "headers": { "X-Plant": "chicago" },
    })
}

#[test]
fn redirects_are_followed_as_each_row_of_the_contract_says() {
    on_system(async {
        let data: Value =
            serde_json::from_str(include_str!("../tests/conformance/rest.json")).unwrap();
        let rows = data["redirects"].as_array().unwrap();
        assert_eq!(rows.len(), 10);
        for row in rows {
            let (first, other) = (HttpServer::start(), HttpServer::start());
            let status = u16::try_from(row["status"].as_u64().unwrap()).unwrap();
            let same = row["same_origin"].as_bool().unwrap();
            let location = if same { "/target".to_owned() } else { other.url("/target") };
            first.answer(move |request| match request.path.as_str() {
                "/start" => Answer::redirect(status, location.clone()).body("elsewhere"),
                _ => Answer::status(201),
            });
            other.answer(|_| Answer::status(201));
            let publisher = rest(redirecting_settings(&first.url("/start")));
            assert_eq!(publish(&publisher).await, delivered(201), "{row}");
            check_target(
                row,
                &if same { first.received()[1..].to_vec() } else { other.received() },
            );
        }
    });
}

fn check_target(row: &Value, requests: &[Request]) {
    assert_eq!(requests.len(), 1, "{row}");
    let request = &requests[0];
    assert_eq!(request.path, "/target", "{row}");
    assert_eq!(request.method, row["method_at_target"].as_str().unwrap(), "{row}");
    let with_body = row["body_at_target"].as_bool().unwrap();
    let body = if with_body { outgoing().body.clone() } else { Bytes::new() };
    assert_eq!(request.body, body, "{row}");
    let json = with_body.then_some("application/json");
    assert_eq!(request.header("Content-Type"), json, "{row}");
    assert_eq!(request.header("Content-Length").is_some(), with_body, "{row}");
    assert_eq!(request.header("X-Request-Id"), Some(ID), "{row}");
    assert_eq!(request.header("X-Correlation-Id"), Some(ID), "{row}");
    let credentials = row["credentials_at_target"].as_bool().unwrap();
    assert_eq!(request.header("X-API-Key"), credentials.then_some("k-123"), "{row}");
    assert_eq!(request.header("X-Plant"), credentials.then_some("chicago"), "{row}");
}

#[test]
fn credentials_do_not_come_back_with_a_redirect_that_does() {
    on_system(async {
        let (first, other) = (HttpServer::start(), HttpServer::start());
        let (away, back) = (other.url("/away"), first.url("/back"));
        first.answer(move |request| match request.path.as_str() {
            "/start" => Answer::redirect(307, away.clone()),
            _ => Answer::ok(),
        });
        other.answer(move |_| Answer::redirect(307, back.clone()));
        let publisher = rest(redirecting_settings(&first.url("/start")));
        assert_eq!(publish(&publisher).await, delivered(200));
        let requests = first.received();
        assert_eq!(requests[0].header("X-API-Key"), Some("k-123"));
        assert_eq!(requests[1].path, "/back");
        assert_eq!(requests[1].header("X-API-Key"), None);
        assert_eq!(requests[1].header("X-Plant"), None);
        assert_eq!(requests[1].body, outgoing().body);
    });
}

#[test]
fn ten_redirects_are_followed_and_eleven_are_not() {
    on_system(async {
        let server = HttpServer::start();
        server.answer(|request| match request.path[1..].parse::<u32>().unwrap() {
            0 => Answer::ok(),
            left => Answer::redirect(302, format!("/{}", left - 1)),
        });
        let ten = rest(json!({ "url": server.url("/10") }));
        assert_eq!(publish(&ten).await, delivered(200));
        let settings = json!({ "url": server.url("/11") });
        check_fails(settings, Class::Misconfigured, "redirect_loop").await;
        server.answer(|_| Answer::redirect(307, "/x"));
        let before = server.received().len();
        let settings = json!({ "url": server.url("/x") });
        check_fails(settings, Class::Misconfigured, "redirect_loop").await;
        assert_eq!(server.received().len() - before, 11);
    });
}

#[test]
fn a_redirect_from_https_to_http_is_refused() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let certs = certs::make(folder.path());
        let (secure, plain) = (HttpServer::start_tls(&certs), HttpServer::start());
        let location = plain.url("/?token=hidden");
        secure.answer(move |_| Answer::redirect(307, location.clone()));
        let settings = json!({ "url": secure.url("/"), "tls": { "ca_file": certs.ca } });
        let failure = check_fails(settings, Class::Misconfigured, "redirect_refused").await;
        assert!(!failure.detail.contains("hidden"), "{}", failure.detail);
        assert!(plain.received().is_empty());
        let location = secure.url("/end");
        secure.answer(|_| Answer::status(204));
        plain.answer(move |_| Answer::redirect(308, location.clone()));
        let up = rest(json!({ "url": plain.url("/"), "tls": { "ca_file": certs.ca } }));
        assert_eq!(publish(&up).await, delivered(204));
    });
}

#[test]
fn a_3xx_without_a_place_to_go_is_the_last_answer() {
    on_system(async {
        let server = HttpServer::start();
        for (answer, status) in [
            (Answer::status(302), 302),
            (Answer::redirect(301, "http://["), 301),
            (Answer::redirect(300, "/x"), 300),
        ] {
            server.answer(move |_| answer.clone());
            let url = server.url("/");
            assert_eq!(publish(&rest(json!({ "url": url }))).await, delivered(status));
            let settings = json!({ "url": url, "non_2xx": "retry" });
            check_fails(settings, Class::Misconfigured, &format!("http_{status}")).await;
        }
    });
}

#[test]
fn a_certificate_is_verified_unless_the_endpoint_says_otherwise() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let certs = certs::make(folder.path());
        let server = HttpServer::start_tls(&certs);
        let url = server.url("/");
        // Another authority is trusted, as a system without certificates could have none at all.
        let stranger = rcgen::generate_simple_self_signed(["stranger".to_owned()]).unwrap();
        let ca_file = folder.path().join("stranger.pem");
        std::fs::write(&ca_file, stranger.cert.pem()).unwrap();
        let settings = json!({ "url": url, "tls": { "ca_file": ca_file } });
        let failure = check_fails(settings, Class::Misconfigured, "tls_failed").await;
        assert!(failure.detail.contains("unknown issuer"), "{}", failure.detail);
        let trusted = rest(json!({ "url": url, "tls": { "ca_file": certs.ca } }));
        assert_eq!(publish(&trusted).await, delivered(200));
        let careless = rest(json!({ "url": url, "tls": { "verify": false } }));
        assert_eq!(publish(&careless).await, delivered(200));
        assert_eq!(server.received().len(), 2);
    });
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let certs = certs::make_for(folder.path(), &["erp.example"]);
        let server = HttpServer::start_tls(&certs);
        let settings = json!({ "url": server.url("/"), "tls": { "ca_file": certs.ca } });
        let failure = check_fails(settings, Class::Misconfigured, "tls_failed").await;
        assert!(failure.detail.contains("another name than localhost"), "{}", failure.detail);
    });
}

#[test]
fn https_to_a_port_that_speaks_plain_http_is_misconfigured() {
    on_system(async {
        let peer = RawPeer::start(|_| vec![write("HTTP/1.1 400 Bad Request\r\n\r\n"), Step::Hang]);
        let url = peer.url("/").replace("http:", "https:");
        let settings = json!({ "url": url, "tls": { "verify": false } });
        let failure = check_fails(settings, Class::Misconfigured, "tls_failed").await;
        assert!(failure.detail.contains("does not speak TLS"), "{}", failure.detail);
    });
}

/// How long a peer that never ends may keep an attempt with a timeout of 1 s.
async fn check_times_out(steps: Vec<Step>) {
    let peer = RawPeer::start(move |_| steps.clone());
    let before = Instant::now();
    let settings = json!({ "url": peer.url("/"), "timeout": "1s" });
    check_fails(settings, Class::Transient, "timeout").await;
    let took = before.elapsed();
    assert!((900..2_500).contains(&took.as_millis()), "{took:?}");
}

#[test]
fn one_timeout_covers_everything_however_slowly_the_peer_goes_on() {
    on_system(async {
        let slow = |text: &str| Step::Trickle(text.into(), Duration::from_millis(400));
        let body = "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n";
        // 16 s: longer than the bound.
        let forty = "0123456789".repeat(4);
        let open = "HTTP/1.1 200 OK\r\n\r\n";
        let hints = "HTTP/1.1 103 Early Hints\r\n\r\n";
        tokio::join!(
            check_times_out(vec![Step::Read, write(body), slow(&forty)]),
            check_times_out(vec![Step::Read, write(open), slow(&forty)]),
            check_times_out(vec![Step::Read, slow("HTTP/1.1 200 OK\r\nServer: slow one\r\nX: y")]),
            check_times_out(vec![Step::Read, write(hints), Step::Hang]),
            check_times_out(vec![Step::Read, Step::Hang]),
            check_times_out(vec![Step::Hang]),
        );
    });
}

#[test]
fn a_tls_handshake_that_hangs_times_out() {
    on_system(async {
        let peer = RawPeer::start(|_| vec![Step::Hang]);
        let url = peer.url("/").replace("http:", "https:");
        let settings = json!({ "url": url, "timeout": "300ms", "tls": { "verify": false } });
        check_fails(settings, Class::Transient, "timeout").await;
    });
}

#[test]
fn a_slow_answer_within_the_timeout_counts() {
    on_system(async {
        let peer = RawPeer::start(|_| vec![Step::Read, Step::Hang, write(OK)]);
        let publisher = rest(json!({ "url": peer.url("/"), "timeout": "10s" }));
        let sent = || async { (peer.requests().len() == 1).then(|| peer.release()) };
        let release = eventually("the request arrives", Duration::from_secs(5), sent);
        let (outcome, ()) = tokio::join!(publish(&publisher), release);
        assert_eq!(outcome, delivered(200));
    });
}

#[test]
fn a_redirect_does_not_start_the_timeout_anew() {
    on_system(async {
        let server = HttpServer::start();
        server.answer(|_| Answer::redirect(307, "/").after(Duration::from_millis(300)));
        let before = Instant::now();
        let settings = json!({ "url": server.url("/"), "timeout": "1s" });
        // A timeout that began anew would let it run into the limit of redirects.
        check_fails(settings, Class::Transient, "timeout").await;
        assert!(before.elapsed() < Duration::from_millis(2_500), "{:?}", before.elapsed());
    });
}

#[test]
fn a_peer_that_cannot_be_reached_or_breaks_off_is_a_transient_failure() {
    on_system(async {
        let refused = json!({ "url": format!("http://127.0.0.1:{}/", free_port()) });
        check_fails(refused, Class::Transient, "connection_refused").await;
        let cut = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234";
        let cut_chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n";
        let hints = "HTTP/1.1 103 Early Hints\r\n\r\n";
        for steps in [
            vec![],
            vec![Step::Reset],
            vec![Step::Read],
            vec![Step::Read, Step::Reset],
            vec![Step::Read, write("HTTP/1.1 200")],
            vec![Step::Read, write(hints)],
            vec![Step::Read, write(cut)],
            vec![Step::Read, write(cut), Step::Reset],
            vec![Step::Read, write(cut_chunks)],
        ] {
            let peer = RawPeer::start(move |_| steps.clone());
            let settings = json!({ "url": peer.url("/") });
            check_fails(settings, Class::Transient, "connection_lost").await;
            assert_eq!(peer.connections(), 1);
        }
    });
}

#[test]
fn garbage_for_an_answer_is_a_transient_failure() {
    on_system(async {
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(200_000));
        let hints = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(10_000);
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: x\r\n".repeat(5_000));
        let length = "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n";
        let chunk = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
        let garbage = "SSH-2.0-OpenSSH_9.6\r\n";
        for text in [garbage, &endless, &hints, &many, length, "\0\0\0\0\0\0\0\0"] {
            let steps = vec![Step::Read, write(text), Step::Hang];
            let peer = RawPeer::start(move |_| steps.clone());
            let settings = json!({ "url": peer.url("/"), "timeout": "5s" });
            check_fails(settings, Class::Transient, "bad_answer").await;
        }
        let steps = vec![Step::Read, write(chunk), Step::Hang];
        let peer = RawPeer::start(move |_| steps.clone());
        check_fails(json!({ "url": peer.url("/") }), Class::Transient, "bad_answer").await;
    });
}

#[test]
fn a_name_that_does_not_resolve_is_misconfigured() {
    on_system(async {
        let settings = json!({ "url": "http://no-such-host.invalid/", "timeout": "30s" });
        let failure = check_fails(settings, Class::Misconfigured, "dns_unknown").await;
        assert!(failure.detail.contains("no-such-host.invalid"), "{}", failure.detail);
    });
}

#[test]
fn an_answer_of_100_megabytes_is_cut_off_and_counts() {
    on_system(async {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n";
        let steps = vec![Step::Read, write(head), Step::Flood(104_857_600)];
        let peer = RawPeer::start(move |_| steps.clone());
        let publisher = rest(json!({ "url": peer.url("/") }));
        assert_eq!(publish(&publisher).await, delivered(200));
        // The peer got rid of what the kernel buffers, and no more: nobody read the rest.
        let over = || async { (peer.ended() == 1).then_some(()) };
        eventually("the peer notices", Duration::from_secs(10), over).await;
        assert!(peer.written() < 32 << 20, "{}", peer.written());
        assert_eq!(publish(&publisher).await, delivered(200));
        assert_eq!(peer.connections(), 2, "a connection that was read half was used again");
    });
}

#[test]
fn interim_answers_are_passed_over_and_never_shift_the_answers() {
    on_system(async {
        let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
        let answer = |status: u16| format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        let (first, second) = (answer(201), answer(202));
        let peer = RawPeer::start(move |_| {
            vec![
                Step::Read,
                write(interim),
                Step::Trickle(first.clone().into(), Duration::from_millis(1)),
                Step::Read,
                write(&(interim.to_owned() + &second)),
                Step::Hang,
            ]
        });
        let publisher = rest(json!({ "url": peer.url("/"), "non_2xx": "retry" }));
        assert_eq!(publish(&publisher).await, delivered(201));
        assert_eq!(publish(&publisher).await, delivered(202));
        assert_eq!(peer.connections(), 1);
    });
}

#[test]
fn a_body_that_ends_with_the_connection_is_a_complete_answer() {
    on_system(async {
        for head in ["HTTP/1.1 200 OK\r\n\r\nhello", "HTTP/1.0 200 OK\n\nhello"] {
            let peer = RawPeer::start(move |_| vec![Step::Read, write(head)]);
            let publisher = rest(json!({ "url": peer.url("/") }));
            assert_eq!(publish(&publisher).await, delivered(200));
            assert_eq!(publish(&publisher).await, delivered(200));
            assert_eq!(peer.connections(), 2);
        }
    });
}

#[test]
fn a_refusal_that_comes_before_the_request_was_written_is_heard() {
    on_system(async {
        let refusal = "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let peer = RawPeer::start(move |_| vec![write(refusal)]);
        let publisher = rest(json!({ "url": peer.url("/"), "non_2xx": "retry" }));
        let body = vec![b' '; 64 << 20];
        let failure = failure(publisher.publish(outgoing_with(body)).await);
        assert_eq!(failure.class, Class::Permanent, "{failure:?}");
        assert_eq!(failure.reason, "http_413");
    });
}

#[test]
fn a_switch_of_protocols_is_no_answer_in_either_mode() {
    on_system(async {
        let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n";
        let peer = RawPeer::start(move |_| vec![Step::Read, write(switch), Step::Hang]);
        for mode in ["accept", "retry"] {
            let settings = json!({ "url": peer.url("/"), "non_2xx": mode });
            check_fails(settings, Class::Transient, "http_101").await;
        }
    });
}

#[test]
fn connections_are_used_again_and_32_requests_go_at_once() {
    on_system(async {
        let server = HttpServer::start();
        let publisher = rest(json!({ "url": server.url("/") }));
        for _ in 0..5 {
            assert_eq!(publish(&publisher).await, delivered(200));
        }
        assert_eq!(server.connections(), 1);
        server.answer(|_| Answer::ok().after(Duration::from_secs(3)));
        let outcomes = join_all((0..32).map(|_| publish(&publisher))).await;
        assert!(outcomes.iter().all(|outcome| *outcome == delivered(200)));
        assert_eq!(server.busiest(), 32);
        assert_eq!(server.connections(), 32);
    });
}

#[test]
fn a_status_means_what_its_mode_says() {
    on_system(async {
        let server = HttpServer::start();
        let wait = Some(Duration::from_secs(7));
        for (status, class, wait) in [
            (401, Class::Misconfigured, None),
            (429, Class::Transient, wait),
            (500, Class::Transient, wait),
            (422, Class::Permanent, None),
        ] {
            server.answer(move |_| Answer::status(status).header("Retry-After", "7").body("no"));
            let url = server.url("/");
            assert_eq!(publish(&rest(json!({ "url": url }))).await, delivered(status));
            let settings = json!({ "url": url, "non_2xx": "retry" });
            let failure = check_fails(settings, class, &format!("http_{status}")).await;
            assert_eq!(failure.retry_after, wait);
            assert!(failure.detail.contains(&server.url("/")), "{}", failure.detail);
        }
    });
}

#[test]
fn a_failure_shows_neither_the_user_nor_the_query_of_a_url() {
    on_system(async {
        let server = HttpServer::start();
        server.answer(|_| Answer::status(500));
        let url = server.url("/x?hidden1").replace("http://", "http://hidden2:hidden3@");
        let settings = json!({ "url": url, "non_2xx": "retry" });
        let failure = check_fails(settings, Class::Transient, "http_500").await;
        assert!(!format!("{failure:?}").contains("hidden"), "{failure:?}");
        assert_eq!(server.received()[0].path, "/x?hidden1");
    });
}

const NEW: &str = "whsec_gfkVhvDoiQeRlxp4TPV/5PQblRXMusnWsxWij4BNu1I=";
const OLD: &str = "whsec_y6BrVzb69n5UsHtWHq6UOV53TFF6fZEKVDaeEmPM+9Q=";

async fn signed(settings: Value) -> Request {
    let server = HttpServer::start();
    let mut settings = settings;
    settings["url"] = json!(server.url("/"));
    assert_eq!(publish(&webhook(settings)).await, delivered(200));
    server.received().remove(0)
}

/// Verifies as a receiver does that knows this one secret.
fn verifies(request: &Request, secret: &str) -> bool {
    let headers = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers = headers.map(|name| request.header(name).unwrap().to_owned());
    let [id, timestamp, signatures] = headers;
    let receiver = standardwebhooks::Webhook::new(secret).unwrap();
    let expected = receiver.sign(&id, timestamp.parse().unwrap(), &request.body).unwrap();
    signatures.split(' ').any(|one| one == expected)
}

#[test]
fn a_webhook_is_signed_in_the_family_that_is_configured() {
    on_system(async {
        let hex = "sha256=";
        let request = signed(json!({ "secret": "s3cr3t" })).await;
        let signature = request.header("X-Eryxon-Signature").unwrap();
        assert_eq!((signature.len(), &signature[..7]), (7 + 64, hex));
        assert_eq!(request.header("X-Eryxon-Event"), Some("operation.completed"));
        assert_eq!(request.header("X-Request-Id"), Some(ID));
        assert_eq!(request.header("webhook-signature"), None);

        let request = signed(json!({ "secret": NEW, "signature": "standard" })).await;
        assert!(verifies(&request, NEW));
        assert_eq!(request.header("webhook-id"), Some(ID));
        assert_eq!(request.header("X-Eryxon-Signature"), None);

        let request = signed(json!({ "secrets": [NEW, OLD], "signature": "both" })).await;
        assert!(verifies(&request, NEW) && verifies(&request, OLD));
        let hex_by_new = lockgate::logic::signing::hmac_hex(NEW, &request.body);
        let expected = format!("{hex}{hex_by_new}");
        assert_eq!(request.header("X-Eryxon-Signature"), Some(expected.as_str()));
    });
}

#[test]
fn the_headers_of_a_webhook_can_be_renamed() {
    on_system(async {
        let request = signed(json!({
            "secret": "s3cr3t",
            "signature_header": "X-Signature",
            "event_header": "X-Event",
        }))
        .await;
        assert!(request.header("X-Signature").unwrap().starts_with("sha256="));
        assert_eq!(request.header("X-Event"), Some("operation.completed"));
        assert_eq!(request.header("X-Eryxon-Signature"), None);
        assert_eq!(request.header("X-Eryxon-Event"), None);
    });
}

#[test]
fn a_webhook_does_not_follow_redirects() {
    on_system(async {
        let server = HttpServer::start();
        server.answer(|_| Answer::redirect(302, "/elsewhere"));
        let failure =
            failure(publish(&webhook(json!({ "url": server.url("/"), "secret": "s" }))).await);
        assert_eq!(failure.class, Class::Misconfigured);
        assert_eq!(failure.reason, "http_302");
        assert_eq!(server.received().len(), 1);
    });
}

#[test]
fn a_connection_that_dies_in_use_is_not_tried_again_within_the_attempt() {
    on_system(async {
        let peer = RawPeer::start(|number| match number {
            0 => vec![Step::Read, write(OK), Step::Read, Step::Reset],
            _ => vec![Step::Read, write(OK), Step::Hang],
        });
        let publisher = rest(json!({ "url": peer.url("/") }));
        assert_eq!(publish(&publisher).await, delivered(200));
        let lost = failure(publish(&publisher).await);
        assert_eq!((lost.class, lost.reason.as_str()), (Class::Transient, "connection_lost"));
        assert_eq!(peer.requests().len(), 2);
        assert_eq!(publish(&publisher).await, delivered(200));
    });
}
