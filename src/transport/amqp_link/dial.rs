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

use lapin::tcp::RustlsConnector;
use lapin::uri::AMQPUri;
use lapin::{AsyncTcpStream, Connection, ConnectionProperties};

use super::{LinkError, LinkSettings};
use crate::logic::classify;

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
                let addresses = resolve(host.clone(), uri.authority.port).await?;
                let stream = AsyncTcpStream::connect(&runtime, addresses).await?;
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
            return LinkError::Tls(cause.to_string());
        }
    }
    LinkError::Io(error.kind())
}
