//! A lean HTTP partner for very many events: it counts requests by `X-Request-Id` and keeps
//! nothing else of them. For what a request holds, take [`super::http::HttpServer`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::listening::Listening;

/// How often one event came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// Requests.
    pub asked: u32,
    /// Requests that were answered with a 2xx.
    pub taken: u32,
}

type Script = Arc<dyn Fn(&str, u32) -> (u16, Duration) + Send + Sync>;

struct Shared {
    times: Mutex<HashMap<String, Times>>,
    /// Events taken at least once: to count them each time would cost more than to serve them.
    taken: AtomicUsize,
    script: Mutex<Script>,
}

/// A counting server in a thread of its own. Its port closes when it is dropped.
pub struct Counter {
    listening: Listening,
    shared: Arc<Shared>,
}

impl Counter {
    /// Starts one on a free port. It answers 200 at once.
    pub fn start() -> Self {
        let script: Script = Arc::new(|_, _| (200, Duration::ZERO));
        let (times, taken) = (Mutex::default(), AtomicUsize::new(0));
        let shared = Arc::new(Shared { times, taken, script: Mutex::new(script) });
        let theirs = Arc::clone(&shared);
        let listening = Listening::start(move |stream| serve(stream, Arc::clone(&theirs)));
        Self { listening, shared }
    }

    /// The URL to publish to.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.listening.port)
    }

    /// Answers so from now on: status and delay, by the event's id and how often it had come before.
    pub fn answer(&self, script: impl Fn(&str, u32) -> (u16, Duration) + Send + Sync + 'static) {
        *self.shared.script.lock().unwrap() = Arc::new(script);
    }

    /// Refuses this share of all requests with 503, by chance, and answers after `delay`.
    pub fn refuse(&self, share: f64, seed: u64, delay: Duration) {
        let chance = Mutex::new(StdRng::seed_from_u64(seed));
        self.answer(move |_, _| {
            let refused = chance.lock().unwrap().random_bool(share);
            (if refused { 503 } else { 200 }, delay)
        });
    }

    /// How many events were taken at least once.
    pub fn taken(&self) -> usize {
        self.shared.taken.load(Ordering::SeqCst)
    }

    /// How many requests were answered with a 2xx beyond the first of their event.
    pub fn repeats(&self) -> usize {
        let times = self.shared.times.lock().unwrap();
        times.values().map(|times| times.taken.saturating_sub(1) as usize).sum()
    }

    /// How many requests came.
    pub fn asked(&self) -> usize {
        self.shared.times.lock().unwrap().values().map(|times| times.asked as usize).sum()
    }

    /// Those of `ids` that were never taken.
    pub fn lacks(&self, ids: impl Iterator<Item = String>) -> Vec<String> {
        let times = self.shared.times.lock().unwrap();
        ids.filter(|id| times.get(id).is_none_or(|times| times.taken == 0)).collect()
    }
}

/// One connection, until its other side ends it.
async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let mut buffer = BytesMut::with_capacity(4096);
    loop {
        while let Some((length, id)) = request(&buffer) {
            buffer.advance(length);
            let (status, delay) = shared.take(&id);
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let answer = format!("HTTP/1.1 {status} Counted\r\ncontent-length: 0\r\n\r\n");
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
        if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
            return;
        }
    }
}

impl Shared {
    fn take(&self, id: &str) -> (u16, Duration) {
        let script = Arc::clone(&self.script.lock().unwrap());
        let mut times = self.times.lock().unwrap();
        let mine = times.entry(id.to_owned()).or_default();
        let answer = script(id, mine.asked);
        mine.asked += 1;
        if (200..300).contains(&answer.0) {
            mine.taken += 1;
            self.taken.fetch_add(usize::from(mine.taken == 1), Ordering::SeqCst);
        }
        answer
    }
}

/// The length and the event's id of the request that `bytes` begin with, when it is complete.
fn request(bytes: &[u8]) -> Option<(usize, String)> {
    let end = bytes.windows(4).position(|part| part == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let value = |name: &str| {
        let of = |line: &str| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        };
        head.lines().find_map(of)
    };
    let body: usize = value("content-length").map_or(0, |length| length.parse().unwrap());
    let id = value("x-request-id").expect("a request without X-Request-Id");
    (bytes.len() >= end + body).then_some((end + body, id))
}
