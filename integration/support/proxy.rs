//! A TCP proxy that does to connections whatever a network can do to them.
//!
//! It stands before any server, in a thread of its own, and what it does can be changed at any
//! moment, for the connections that there are and for those to come. It refuses to understand what
//! it carries.
//!
//! ```ignore
//! let proxy = Proxy::start(node.port);
//! // … connect to proxy.port() …
//! proxy.set(Fault::Freeze(Way::Both));
//! proxy.set(Fault::Pass);
//! proxy.cut(End::Reset);
//! ```

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Bytes that one direction of a connection may hold back; then it reads no more.
const HELD: usize = 1 << 20;
/// How long an orderly end may take until both sides have closed.
const GOODBYE: Duration = Duration::from_secs(5);

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
    /// Both.
    Both,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// FIN, on both sides: an orderly end that neither of them asked for.
    Fin,
    /// RST, on both sides.
    Reset,
}

/// What the proxy does with every connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Carries everything.
    Pass,
    /// Ends every connection, also each new one as soon as it is there.
    Cut(End),
    /// Carries nothing this way, and says nothing about it: half-open, or dead silent. New
    /// connections are accepted.
    Freeze(Way),
    /// Everything comes so much later, each way.
    Delay(Duration),
    /// After so many more bytes this way, a connection is reset; counted for each connection from
    /// now on, or from its beginning.
    ResetAfter(Way, u64),
    /// One byte at a time, so much apart, each way.
    Trickle(Duration),
    /// New connections are refused; those that there are go on.
    Refuse,
}

impl Fault {
    fn freezes(self, way: Way) -> bool {
        matches!(self, Self::Freeze(frozen) if frozen == way || frozen == Way::Both)
    }
}

/// What every connection follows.
#[derive(Clone, Copy)]
struct Orders {
    fault: Fault,
    /// Counts the cuts: a connection that is older than the last one ends.
    cuts: u64,
    how: End,
}

struct Shared {
    orders: watch::Sender<Orders>,
    accepted: AtomicUsize,
    open: AtomicUsize,
    to_server: AtomicU64,
    to_client: AtomicU64,
}

/// A proxy before one server. Ends with this value, and every connection with it.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    /// Says that the listener has followed a change.
    followed: std::sync::Mutex<mpsc::Receiver<()>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts one before the server on this port of 127.0.0.1. It passes everything.
    pub fn start(server: u16) -> Self {
        let (orders, _) = watch::channel(Orders { fault: Fault::Pass, cuts: 0, how: End::Reset });
        let shared = Arc::new(Shared {
            orders,
            accepted: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            to_server: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
        });
        let (tell, followed) = mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (say, port) = mpsc::channel();
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async move {
                let socket = bound(0);
                let port = socket.local_addr().unwrap().port();
                let listener = socket.listen(1_024).unwrap();
                say.send(port).unwrap();
                let server = SocketAddr::from(([127, 0, 0, 1], server));
                tokio::select! {
                    _ = stopped => {}
                    () = listen(listener, port, server, theirs, tell) => {}
                }
            });
        });
        let port = port.recv().expect("the proxy did not start");
        let followed = std::sync::Mutex::new(followed);
        Self { port, shared, followed, stop: Some(stop), thread: Some(thread) }
    }

    /// Where clients connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Does this from now on, with every connection. New connections find it so when this returns.
    pub fn set(&self, fault: Fault) {
        self.order(|orders| orders.fault = fault);
    }

    /// Ends the connections that there are. New ones find what was set.
    pub fn cut(&self, how: End) {
        self.order(|orders| {
            orders.cuts += 1;
            orders.how = how;
        });
    }

    fn order(&self, change: impl FnOnce(&mut Orders)) {
        let followed = self.followed.lock().unwrap();
        self.shared.orders.send_modify(change);
        followed.recv_timeout(GOODBYE).expect("the proxy follows");
    }

    /// How many connections were accepted.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many connections are open now.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// How many bytes were carried: to the server, to the client.
    pub fn carried(&self) -> (u64, u64) {
        let load = |count: &AtomicU64| count.load(Ordering::SeqCst);
        (load(&self.shared.to_server), load(&self.shared.to_client))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A socket on this port, 0 for any, that does not listen: whoever connects is refused, and nobody
/// else can have the port.
fn bound(port: u16) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    socket.bind(address).unwrap_or_else(|e| panic!("cannot have port {port}: {e}"));
    socket
}

/// Takes connections, except while they are to be refused.
async fn listen(
    listener: TcpListener,
    port: u16,
    server: SocketAddr,
    shared: Arc<Shared>,
    tell: mpsc::Sender<()>,
) {
    let mut orders = shared.orders.subscribe();
    let mut listener = Some(listener);
    let mut refusing = None;
    loop {
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            changed = orders.changed() => {
                if changed.is_err() {
                    return;
                }
                let refuse = orders.borrow_and_update().fault == Fault::Refuse;
                if refuse && listener.take().is_some() {
                    refusing = Some(bound(port));
                } else if let (false, Some(socket)) = (refuse, refusing.take()) {
                    listener = Some(socket.listen(1_024).unwrap());
                }
                let _ = tell.send(());
            }
            accepted = accepted => {
                let Ok((client, _)) = accepted else { continue };
                shared.accepted.fetch_add(1, Ordering::SeqCst);
                shared.open.fetch_add(1, Ordering::SeqCst);
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    connection(client, server, &shared).await;
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        }
    }
}

/// One connection, from its acceptance to its end.
async fn connection(mut client: TcpStream, server: SocketAddr, shared: &Shared) {
    let orders = shared.orders.subscribe();
    let born = orders.borrow().cuts;
    let Ok(mut server) = TcpStream::connect(server).await else {
        // As near to a refusal as it can come now.
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let end = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let up = carry(Way::ToServer, from_client, to_server, orders.clone(), &shared.to_server);
        let down = carry(Way::ToClient, from_server, to_client, orders.clone(), &shared.to_client);
        tokio::select! {
            biased;
            how = ordered_end(orders, born) => how,
            done = async { tokio::try_join!(up, down) } => match done {
                // Both have said that they are through.
                Ok(_) => return,
                Err(_) => End::Reset,
            },
        }
    };
    match end {
        End::Reset => {
            let _ = (client.set_zero_linger(), server.set_zero_linger());
        }
        End::Fin => {
            let _ = (client.shutdown().await, server.shutdown().await);
            // To close with something unread would be a reset.
            let rest = async { tokio::join!(drain(&mut client), drain(&mut server)) };
            let _ = tokio::time::timeout(GOODBYE, rest).await;
        }
    }
}

async fn drain(stream: &mut TcpStream) {
    let mut rest = [0; 4_096];
    while stream.read(&mut rest).await.is_ok_and(|count| count > 0) {}
}

/// Waits until the connection is to be cut.
async fn ordered_end(mut orders: watch::Receiver<Orders>, born: u64) -> End {
    loop {
        let now = *orders.borrow_and_update();
        if let Fault::Cut(how) = now.fault {
            return how;
        }
        if now.cuts != born {
            return now.how;
        }
        if orders.changed().await.is_err() {
            return End::Reset;
        }
    }
}

/// Carries one way until its end, or until the connection is to be reset.
async fn carry(
    way: Way,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut orders: watch::Receiver<Orders>,
    carried: &AtomicU64,
) -> io::Result<()> {
    let mut fault = orders.borrow_and_update().fault;
    let mut held = VecDeque::<(Instant, Bytes)>::new();
    let (mut holds, mut ended, mut since) = (0, false, 0_u64);
    let mut block = BytesMut::new();
    loop {
        let frozen = fault.freezes(way);
        let most = at_once(fault, way, since)?;
        if ended && held.is_empty() && !frozen {
            return to.shutdown().await;
        }
        let write = async {
            let Some((due, bytes)) = held.front() else { return std::future::pending().await };
            sleep_until(*due).await;
            let count = bytes.len().min(most);
            to.write(&bytes[..count]).await
        };
        tokio::select! {
            biased;
            changed = orders.changed() => {
                changed.map_err(io::Error::other)?;
                let now = orders.borrow_and_update().fault;
                if now != fault {
                    (fault, since) = (now, 0);
                    for (due, _) in &mut held {
                        *due = due_now(fault);
                    }
                }
            }
            written = write, if !frozen => {
                let count = written?;
                holds -= count;
                since += count as u64;
                carried.fetch_add(count as u64, Ordering::SeqCst);
                if let Some((due, bytes)) = held.front_mut() {
                    bytes.advance(count);
                    if let Fault::Trickle(_) = fault {
                        *due = due_now(fault);
                    }
                    if bytes.is_empty() {
                        held.pop_front();
                    }
                }
            }
            read = from.read_buf(&mut block), if !frozen && !ended && holds < HELD => {
                ended = read? == 0;
                if !ended {
                    let bytes = block.split().freeze();
                    holds += bytes.len();
                    held.push_back((due_now(fault), bytes));
                }
            }
        }
    }
}

/// When something that is here now may go on.
fn due_now(fault: Fault) -> Instant {
    let wait = match fault {
        Fault::Delay(wait) | Fault::Trickle(wait) => wait,
        _ => Duration::ZERO,
    };
    Instant::now() + wait
}

/// How many bytes may go on together, after `since`; an error where no more may.
fn at_once(fault: Fault, way: Way, since: u64) -> io::Result<usize> {
    match fault {
        Fault::Trickle(_) => Ok(1),
        Fault::ResetAfter(of, bytes) if of == way || of == Way::Both => match bytes - since {
            0 => Err(io::ErrorKind::ConnectionReset.into()),
            left => Ok(usize::try_from(left).unwrap_or(usize::MAX)),
        },
        _ => Ok(usize::MAX),
    }
}
