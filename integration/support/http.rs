//! HTTP partners for tests, each in a thread of its own on a free port.
//!
//! [`HttpServer`] is a well-behaved one: it records what it gets and answers as told. [`RawPeer`]
//! plays a script on the bare socket, for all the ways in which a partner can misbehave.
//!
//! ```ignore
//! let server = HttpServer::start();
//! server.answer(|request| if request.path == "/a" { Answer::redirect(307, "/b") } else { Answer::ok() });
//! // … publish to server.url("/a") …
//! assert_eq!(server.received()[1].path, "/b");
//! ```

mod raw;

use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, web};
use bytes::Bytes;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub use self::raw::{RawPeer, Step, write};
use super::certs::Certs;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    /// `POST`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case, values as text, in no particular order.
    pub headers: Vec<(String, String)>,
    /// The exact bytes.
    pub body: Bytes,
}

impl Request {
    /// The value of a header; fails when it came twice.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let first = found.next();
        assert!(found.next().is_none(), "{name} came twice");
        first.map(|(_, value)| value.as_str())
    }
}

/// What the server says.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    delay: Duration,
    body: Bytes,
}

impl Answer {
    /// 200 without a body.
    pub fn ok() -> Self {
        Self::status(200)
    }

    /// A status without a body.
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), delay: Duration::ZERO, body: Bytes::new() }
    }

    /// A status with a `Location`.
    pub fn redirect(status: u16, location: impl Into<String>) -> Self {
        Self::status(status).header("Location", location)
    }

    /// One more header.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// A body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Not before so much time has passed.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

type Script = Arc<dyn Fn(&Request) -> Answer + Send + Sync>;

struct Shared {
    received: Mutex<Vec<Request>>,
    script: Mutex<Script>,
    connections: AtomicUsize,
    busy: AtomicUsize,
    busiest: AtomicUsize,
}

/// A server that records what it gets and answers as told; at first with 200. Its port closes
/// when it is dropped.
pub struct HttpServer {
    port: u16,
    scheme: &'static str,
    shared: Arc<Shared>,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Starts one on a free port.
    pub fn start() -> Self {
        Self::start_on(0)
    }

    /// Starts one on this port: for partners that come back.
    pub fn start_on(port: u16) -> Self {
        Self::run(port, None)
    }

    /// Starts one with TLS. Its certificate is for `localhost`, which [`Self::url`] uses.
    pub fn start_tls(certs: &Certs) -> Self {
        Self::run(0, Some(server_config(&certs.cert, &certs.key)))
    }

    fn run(port: u16, tls: Option<rustls::ServerConfig>) -> Self {
        let listener = bind(port);
        let port = listener.local_addr().unwrap().port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let script: Script = Arc::new(|_| Answer::ok());
        let shared = Arc::new(Shared {
            received: Mutex::default(),
            script: Mutex::new(script),
            connections: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            busiest: AtomicUsize::new(0),
        });
        let (tell, told) = std::sync::mpsc::channel();
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            actix_rt::System::new().block_on(async move {
                let connected = Arc::clone(&theirs);
                let server = actix_web::HttpServer::new(move || {
                    App::new()
                        .app_data(web::PayloadConfig::new(256 << 20))
                        .app_data(web::Data::from(Arc::clone(&theirs)))
                        .default_service(web::to(respond))
                })
                .on_connect(move |_, _| {
                    connected.connections.fetch_add(1, Ordering::SeqCst);
                })
                .workers(1)
                .disable_signals();
                let server = match tls {
                    Some(tls) => server.listen_rustls_0_23(listener, tls),
                    None => server.listen(listener),
                };
                let server = server.unwrap().run();
                tell.send(server.handle()).unwrap();
                server.await.unwrap();
            });
        });
        let handle = told.recv().expect("the HTTP server did not start");
        Self { port, scheme, shared, handle, thread: Some(thread) }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a path, which begins with `/`.
    pub fn url(&self, path: &str) -> String {
        format!("{}://localhost:{}{path}", self.scheme, self.port)
    }

    /// Answers so from now on. The script sees the request, which is recorded already.
    pub fn answer(&self, script: impl Fn(&Request) -> Answer + Send + Sync + 'static) {
        *self.shared.script.lock().unwrap() = Arc::new(script);
    }

    /// All requests so far, in order of arrival.
    pub fn received(&self) -> Vec<Request> {
        self.shared.received.lock().unwrap().clone()
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many requests were under way at once, at most.
    pub fn busiest(&self) -> usize {
        self.shared.busiest.load(Ordering::SeqCst)
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn respond(request: HttpRequest, body: Bytes, shared: web::Data<Shared>) -> HttpResponse {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let headers = request.headers().iter();
    let request = Request {
        method: request.method().to_string(),
        path: request.uri().to_string(),
        headers: headers.map(|(n, v)| (n.to_string(), text(v.as_bytes()))).collect(),
        body,
    };
    // Before it is seen: who has seen it may have another script for the next one.
    let script = Arc::clone(&shared.script.lock().unwrap());
    shared.received.lock().unwrap().push(request.clone());
    let busy = shared.busy.fetch_add(1, Ordering::SeqCst) + 1;
    shared.busiest.fetch_max(busy, Ordering::SeqCst);
    let answer = script(&request);
    tokio::time::sleep(answer.delay).await;
    shared.busy.fetch_sub(1, Ordering::SeqCst);
    let mut response = HttpResponse::build(StatusCode::from_u16(answer.status).unwrap());
    for header in answer.headers {
        response.append_header(header);
    }
    response.body(answer.body)
}

fn bind(port: u16) -> TcpListener {
    let listener = TcpListener::bind(("127.0.0.1", port))
        .unwrap_or_else(|e| panic!("cannot listen on port {port}: {e}"));
    listener.set_nonblocking(true).unwrap();
    listener
}

fn server_config(cert: &Path, key: &Path) -> rustls::ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = vec![CertificateDer::from_pem_file(cert).unwrap()];
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap()
}
