//! Dialling: from settings to a logged-in connection, with a hand on its socket.
//!
//! lapin gives every connection a thread of its own, which waits for its peer without a bound,
//! before the login and after. So the socket's second handle stays here: to shut it down is the
//! one way to end such a thread.

use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use lapin::tcp::RustlsConnector;
use lapin::uri::AMQPUri;
use lapin::{AsyncTcpStream, Connection, ConnectionProperties};

use super::{LinkError, LinkSettings};
use crate::domain::delivery::Class;
use crate::logic::classify;
use crate::transport::tls;
use crate::world;

/// How long an address may be silent before the next one of its name is tried as well.
const SILENCE: Duration = Duration::from_millis(300);

/// A second handle on a connection's socket, to end it from outside.
#[derive(Clone, Default)]
pub(super) struct Socket(Arc<Mutex<Handle>>);

#[derive(Default)]
enum Handle {
    #[default]
    NotYet,
    Open(TcpStream),
    Cut,
}

impl Socket {
    fn set(&self, stream: TcpStream) -> io::Result<()> {
        let mut handle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*handle, Handle::Cut) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        *handle = Handle::Open(stream);
        Ok(())
    }

    /// Ends the connection, or keeps it from coming to be. Idempotent.
    pub(super) fn cut(&self) {
        let mut handle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Handle::Open(stream) = &*handle {
            // It fails where the peer has ended the connection already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        *handle = Handle::Cut;
    }
}

/// Cuts a socket when dropped, unless disarmed.
pub(super) struct Guard(Option<Socket>);

impl Guard {
    pub(super) fn new(socket: Socket) -> Self {
        Self(Some(socket))
    }

    pub(super) fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(socket) = &self.0 {
            socket.cut();
        }
    }
}

/// Connects and logs in. Without a bound of its own: cut the socket to end it.
pub(super) async fn connect(
    settings: &LinkSettings,
    socket: Socket,
    properties: ConnectionProperties,
) -> Result<Connection, LinkError> {
    let tls = settings.tls.clone().map(RustlsConnector::from);
    let timeout = settings.timeout;
    let runtime = lapin::runtime::default_runtime()?;
    // Written in place: its types follow from the runtime's.
    let connection = Connection::connector(
        settings.uri.clone(),
        runtime,
        async move |uri: AMQPUri, runtime| {
            let host = uri.authority.host.clone();
            let step = async {
                let mut addresses = resolve(host.clone(), uri.authority.port).await?;
                begin_anywhere(&mut addresses, world::random());
                let connect = |address| AsyncTcpStream::connect(&runtime, address);
                let stream = first(addresses, connect).await?;
                if let AsyncTcpStream::Plain(plain) = &stream {
                    socket.set(TcpStream::from(plain.get_ref().as_fd().try_clone_to_owned()?))?;
                }
                match &tls {
                    Some(connector) => stream.into_rustls(connector, &host).await,
                    None => Ok(stream),
                }
            };
            let done = tokio::time::timeout(timeout, step).await;
            Ok(done.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?)
        },
        properties,
    );
    Ok(connection.await?)
}

async fn resolve(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let name = host.clone();
    let look_up = move || (name.as_str(), port).to_socket_addrs().map(Iterator::collect);
    match tokio::task::spawn_blocking(look_up).await.map_err(io::Error::other)? {
        Ok(list) if Vec::is_empty(&list) => Err(io::Error::other(NoAddress::Unknown(host))),
        Ok(list) => Ok(list),
        Err(error) if classify::is_unknown_name(&error) => {
            Err(io::Error::other(NoAddress::Unknown(host)))
        }
        Err(_) => Err(io::Error::other(NoAddress::Unanswered(host))),
    }
}

/// Begins with any of the addresses, by chance from 0 to 1: behind the name of a cluster, a node
/// that accepts connections and then says nothing must not be the first one each time.
fn begin_anywhere(addresses: &mut [SocketAddr], chance: f64) {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a few addresses, and a chance that is not negative"
    )]
    let first = (addresses.len() as f64 * chance) as usize;
    addresses.rotate_left(first.min(addresses.len()));
}

/// The first connection that comes to be. A silent address is not waited for: the next one is
/// tried beside it, so that a node that is switched off keeps nobody from the others.
async fn first<T, C: Future<Output = io::Result<T>>>(
    addresses: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> C,
) -> io::Result<T> {
    let mut addresses = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        let next = addresses.next();
        let exhausted = next.is_none();
        attempts.extend(next.map(&connect));
        if attempts.is_empty() {
            return Err(last);
        }
        tokio::select! {
            Some(done) = attempts.next() => match done {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            },
            () = tokio::time::sleep(SILENCE), if !exhausted => {}
        }
    }
}

/// A host without an address, on its way through lapin's errors.
#[derive(Debug)]
enum NoAddress {
    Unknown(String),
    Unanswered(String),
}

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(host) => write!(f, "the name {host} does not resolve"),
            Self::Unanswered(host) => write!(f, "no name server says where {host} is"),
        }
    }
}

impl std::error::Error for NoAddress {}

/// What an error of the network is, looked at closely.
pub(super) fn io_error(error: &io::Error) -> LinkError {
    if let Some(inner) = error.get_ref() {
        match inner.downcast_ref() {
            Some(NoAddress::Unknown(host)) => return LinkError::Dns(host.clone()),
            Some(NoAddress::Unanswered(host)) => return LinkError::DnsUnavailable(host.clone()),
            None => {}
        }
        if let Some(cause) = inner.downcast_ref::<rustls::Error>() {
            let words = tls::describe(cause);
            // As for every transport: what merely broke off may pass.
            return match tls::failure(cause, "").class {
                Class::Misconfigured => LinkError::Tls(words),
                Class::Transient | Class::Permanent => {
                    LinkError::Lost(format!("TLS broke off: {words}"))
                }
            };
        }
    }
    LinkError::Io(error.kind())
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::Instant;

    use super::*;

    fn addresses(count: u8) -> Vec<SocketAddr> {
        (1..=count).map(|last| SocketAddr::from(([192, 0, 2, last], 5672))).collect()
    }

    fn last_byte(address: SocketAddr) -> u8 {
        match address.ip() {
            std::net::IpAddr::V4(ip) => ip.octets()[3],
            std::net::IpAddr::V6(_) => 0,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_keeps_nobody_from_the_others() {
        let began = Instant::now();
        let connect = |address| async move {
            match last_byte(address) {
                1 | 2 => pending().await,
                3 => Err(io::ErrorKind::ConnectionRefused.into()),
                last => Ok(last),
            }
        };
        assert_eq!(first(addresses(5), connect).await.unwrap(), 4);
        assert_eq!(began.elapsed(), 2 * SILENCE, "who refuses is not waited for");
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_of_an_earlier_address_counts() {
        let connect = |address| async move {
            let late = SILENCE * if last_byte(address) == 1 { 3 } else { 60 };
            tokio::time::sleep(late).await;
            Ok(last_byte(address))
        };
        assert_eq!(first(addresses(3), connect).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn when_all_refuse_the_last_refusal_is_told() {
        let refuse = |address| {
            let text = last_byte(address).to_string();
            ready(Err::<(), _>(io::Error::other(text)))
        };
        assert_eq!(first(addresses(3), refuse).await.unwrap_err().to_string(), "3");
        let none = first(Vec::new(), refuse).await.unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[test]
    fn every_address_has_its_turn_to_be_the_first() {
        for (chance, expected) in [(0.0, 1), (0.3, 1), (0.4, 2), (0.7, 3), (0.999, 3), (1.0, 1)] {
            let mut all = addresses(3);
            begin_anywhere(&mut all, chance);
            assert_eq!((last_byte(all[0]), all.len()), (expected, 3), "{chance}");
        }
        begin_anywhere(&mut [], 0.5);
    }
}
