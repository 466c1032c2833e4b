//! A partner that takes events over HTTP, answers as it is told and remembers what came.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use tokio::sync::watch;
use tokio::time::Instant;

/// How a partner answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With this status, at once.
    Status(u16),
    /// With this status after a while.
    After(Duration, u16),
    /// With 503 and `Retry-After` in seconds.
    RetryAfter(u32),
    /// Not until it is told otherwise; then as it is told then.
    Never,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// When it came.
    pub at: Instant,
    /// Its event.
    pub id: String,
    /// Its body.
    pub body: String,
}

/// A running partner.
pub struct Partner {
    answer: watch::Sender<Answer>,
    requests: Arc<Mutex<Vec<Request>>>,
    url: String,
    server: ServerHandle,
}

#[derive(Clone)]
struct State {
    answer: watch::Receiver<Answer>,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Partner {
    /// Starts one that answers so.
    pub fn start(answer: Answer) -> Self {
        let (answer, told) = watch::channel(answer);
        let requests = Arc::default();
        let state = State { answer: told, requests: Arc::clone(&requests) };
        let make = move || {
            App::new().app_data(web::Data::new(state.clone())).default_service(web::post().to(take))
        };
        let server = HttpServer::new(make).workers(1).disable_signals().shutdown_timeout(0);
        let server = server.bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        actix_rt::spawn(server);
        Self { answer, requests, url, server: handle }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on it answers so, also what is waiting for an answer.
    pub fn answers(&self, answer: Answer) {
        self.answer.send_replace(answer);
    }

    /// What came until now, in order.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.requests).clone()
    }

    /// The ids of what came until now, in order.
    pub fn ids(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.id).collect()
    }

    /// How many requests came until now.
    pub fn count(&self) -> usize {
        lock(&self.requests).len()
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        // Sent by the call; nobody waits for its end.
        drop(self.server.stop(false));
    }
}

fn lock(requests: &Mutex<Vec<Request>>) -> MutexGuard<'_, Vec<Request>> {
    requests.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn take(request: HttpRequest, state: web::Data<State>, body: web::Bytes) -> HttpResponse {
    let at = Instant::now();
    let id = request.headers().get("X-Request-Id").unwrap().to_str().unwrap().to_owned();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let mut told = state.answer.clone();
    // Before it is seen: who has seen it may have another answer for the next one.
    let mut answer = *told.borrow_and_update();
    lock(&state.requests).push(Request { at, id, body });
    if answer == Answer::Never {
        match told.wait_for(|answer| *answer != Answer::Never).await {
            Ok(told) => answer = *told,
            Err(_) => return HttpResponse::ServiceUnavailable().finish(),
        }
    }
    let status = |code| StatusCode::from_u16(code).unwrap();
    match answer {
        Answer::Status(code) => HttpResponse::build(status(code)).finish(),
        Answer::After(pause, code) => {
            tokio::time::sleep(pause).await;
            HttpResponse::build(status(code)).finish()
        }
        Answer::RetryAfter(seconds) => HttpResponse::ServiceUnavailable()
            .insert_header(("Retry-After", seconds.to_string()))
            .finish(),
        Answer::Never => unreachable!("it was waited for another"),
    }
}
