//! A partner on the bare socket, that plays a script.
//!
//! For end-of-stream, resets, garbage, and everything else that no proper server would do.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::super::listening::Listening;

/// One act of a [`RawPeer`] on a connection.
#[derive(Clone, Debug)]
pub enum Step {
    /// Reads one request, head and body, and records it; ends the script if none comes.
    Read,
    /// Writes these bytes.
    Write(Vec<u8>),
    /// Writes these bytes one by one, so much time apart.
    Trickle(Vec<u8>, Duration),
    /// Writes so many bytes, as fast as they are taken.
    Flood(u64),
    /// Waits until [`RawPeer::release`].
    Hang,
    /// Closes with a reset instead of an orderly end.
    Reset,
}

/// A step that writes text.
pub fn write(text: &str) -> Step {
    Step::Write(text.into())
}

struct RawShared {
    requests: Mutex<Vec<Bytes>>,
    connections: AtomicUsize,
    ended: AtomicUsize,
    written: AtomicU64,
    released: CancellationToken,
}

/// A peer on the bare socket that plays a list of steps on each connection, then closes it.
pub struct RawPeer {
    listening: Listening,
    shared: Arc<RawShared>,
}

impl RawPeer {
    /// Starts one. `script` gives the steps for each connection, counted from 0.
    pub fn start(script: impl Fn(usize) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let shared = Arc::new(RawShared {
            requests: Mutex::default(),
            connections: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            written: AtomicU64::new(0),
            released: CancellationToken::new(),
        });
        let theirs = Arc::clone(&shared);
        let listening = Listening::start(move |stream| {
            let number = theirs.connections.fetch_add(1, Ordering::SeqCst);
            let (steps, shared) = (script(number), Arc::clone(&theirs));
            async move {
                play(stream, steps, &shared).await;
                shared.ended.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { listening, shared }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.listening.port
    }

    /// The URL of a path, which begins with `/`.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.listening.port)
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many connections are over: played to the end, or broken off by the other side.
    pub fn ended(&self) -> usize {
        self.shared.ended.load(Ordering::SeqCst)
    }

    /// The requests so far: heads and bodies as they came.
    pub fn requests(&self) -> Vec<Bytes> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// How many bytes were written, on all connections.
    pub fn written(&self) -> u64 {
        self.shared.written.load(Ordering::SeqCst)
    }

    /// Ends every [`Step::Hang`], now and later.
    pub fn release(&self) {
        self.shared.released.cancel();
    }
}

async fn play(mut stream: TcpStream, steps: Vec<Step>, shared: &RawShared) {
    let mut rest = BytesMut::new();
    for step in steps {
        let done = match step {
            Step::Read => read_request(&mut stream, &mut rest, shared).await,
            Step::Write(bytes) => write_counted(&mut stream, &bytes, shared).await,
            Step::Trickle(bytes, apart) => {
                let mut done = Ok(());
                for byte in bytes {
                    tokio::time::sleep(apart).await;
                    done = write_counted(&mut stream, &[byte], shared).await;
                    if done.is_err() {
                        break;
                    }
                }
                done
            }
            Step::Flood(length) => flood(&mut stream, length, shared).await,
            Step::Hang => {
                shared.released.cancelled().await;
                Ok(())
            }
            Step::Reset => {
                stream.set_zero_linger().unwrap();
                return;
            }
        };
        if done.is_err() {
            return;
        }
    }
}

async fn write_counted(
    stream: &mut TcpStream,
    bytes: &[u8],
    shared: &RawShared,
) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    shared.written.fetch_add(bytes.len() as u64, Ordering::SeqCst);
    Ok(())
}

async fn flood(stream: &mut TcpStream, length: u64, shared: &RawShared) -> std::io::Result<()> {
    let block = vec![b'x'; 16 * 1024];
    let mut left = length;
    while left > 0 {
        let part = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        write_counted(stream, &block[..part], shared).await?;
        left -= part as u64;
    }
    Ok(())
}

async fn read_request(
    stream: &mut TcpStream,
    rest: &mut BytesMut,
    shared: &RawShared,
) -> std::io::Result<()> {
    loop {
        if let Some(length) = request_length(rest) {
            let request = rest.split_to(length).freeze();
            shared.requests.lock().unwrap().push(request);
            return Ok(());
        }
        if stream.read_buf(rest).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The length of the request that `bytes` begin with, when it is complete.
fn request_length(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|part| part == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let whole = end + length.map_or(0, |text| text.trim().parse::<usize>().unwrap());
    (bytes.len() >= whole).then_some(whole)
}
