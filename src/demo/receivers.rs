//! HTTP partners inside the process: one that always takes, one that verifies signatures, one that
//! is down for some seconds now and then.
//!
//! Owns the server, what each path answers, and what it has seen. Refuses to share code with the
//! webhook transport: the signature is verified here anew, as a partner would. Read
//! [`super::table`] next.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use ring::hmac;
use tokio::time::Instant;

/// The largest body that is taken.
const MAX_BODY: usize = 4 * 1024 * 1024;
/// How many event ids are kept for each path, to tell repeats; further ones only count.
const MAX_IDS: usize = 100_000;
/// What `/erp` takes over an event.
const THINKING: Duration = Duration::from_millis(3);
/// `/flaky` goes down anew each time this has passed,
const FLAKY_PERIOD: Duration = Duration::from_secs(20);
/// after this long within the period,
const FLAKY_DOWN_FROM: Duration = Duration::from_secs(8);
/// until then.
const FLAKY_DOWN_UNTIL: Duration = Duration::from_secs(13);

/// What one path has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Requests answered with 2xx.
    pub taken: u64,
    /// Requests answered otherwise.
    pub refused: u64,
    /// Taken requests whose `X-Request-Id` had been taken before.
    pub repeats: u64,
    /// The ids of what was taken; the first hundred thousand.
    pub ids: HashSet<String>,
}

type Book = Arc<Mutex<BTreeMap<&'static str, Seen>>>;

/// The running receivers.
pub struct Receivers {
    address: SocketAddr,
    book: Book,
    server: ServerHandle,
}

#[derive(Clone)]
struct State {
    book: Book,
    key: hmac::Key,
    started: Instant,
}

impl Receivers {
    /// Starts them; `/hook` verifies signatures with `secret`. Must be called on an actix system.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn start(secret: &str) -> io::Result<Self> {
        let book = Book::default();
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let state = State { book: Arc::clone(&book), key, started: Instant::now() };
        let server = HttpServer::new(move || {
            App::new()
                .app_data(web::Data::new(state.clone()))
                .app_data(web::PayloadConfig::new(MAX_BODY))
                .route("/erp", web::post().to(erp))
                .route("/hook", web::post().to(hook))
                .route("/flaky", web::post().to(flaky))
        })
        .workers(1)
        .disable_signals()
        .shutdown_timeout(1)
        .bind("127.0.0.1:0")?;
        let address = server.addrs().first().copied().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let server = server.run();
        let handle = server.handle();
        actix_rt::spawn(server);
        Ok(Self { address, book, server: handle })
    }

    /// Where they listen.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What each path has seen until now.
    #[must_use]
    pub fn seen(&self) -> BTreeMap<&'static str, Seen> {
        lock(&self.book).clone()
    }

    /// Stops them, after the requests under way.
    pub async fn stop(self) {
        self.server.stop(true).await;
    }
}

fn lock(book: &Book) -> MutexGuard<'_, BTreeMap<&'static str, Seen>> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether `/flaky` is down this long after the start: from 8 s to 13 s of every 20 s.
#[must_use]
pub fn is_down(since_start: Duration) -> bool {
    let period = FLAKY_PERIOD.as_millis().max(1);
    let at = since_start.as_millis() % period;
    (FLAKY_DOWN_FROM.as_millis()..FLAKY_DOWN_UNTIL.as_millis()).contains(&at)
}

async fn erp(request: HttpRequest, state: web::Data<State>, _body: web::Bytes) -> HttpResponse {
    tokio::time::sleep(THINKING).await;
    answer("/erp", &request, &state, StatusCode::OK)
}

async fn flaky(request: HttpRequest, state: web::Data<State>, _body: web::Bytes) -> HttpResponse {
    let down = is_down(state.started.elapsed());
    let status = if down { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    answer("/flaky", &request, &state, status)
}

async fn hook(request: HttpRequest, state: web::Data<State>, body: web::Bytes) -> HttpResponse {
    let signature = request.headers().get("X-Eryxon-Signature").and_then(|v| v.to_str().ok());
    let genuine = signature
        .and_then(|text| text.strip_prefix("sha256="))
        .and_then(|text| hex::decode(text).ok())
        .is_some_and(|tag| hmac::verify(&state.key, &body, &tag).is_ok());
    let status = if genuine { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
    answer("/hook", &request, &state, status)
}

/// Books the request under its path and answers it.
fn answer(
    path: &'static str,
    request: &HttpRequest,
    state: &State,
    status: StatusCode,
) -> HttpResponse {
    let mut book = lock(&state.book);
    let seen = book.entry(path).or_default();
    if status.is_success() {
        seen.taken += 1;
        let id = request.headers().get("X-Request-Id").and_then(|v| v.to_str().ok());
        if let Some(id) = id {
            if seen.ids.contains(id) {
                seen.repeats += 1;
            } else if seen.ids.len() < MAX_IDS {
                seen.ids.insert(id.to_owned());
            }
        }
    } else {
        seen.refused += 1;
    }
    HttpResponse::build(status).finish()
}
