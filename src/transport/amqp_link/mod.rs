//! A connection to a RabbitMQ, for the bus and for amqp endpoints alike.
//!
//! Owns what lapin leaves to its users: a bound on every step, a connection that can be ended even
//! when the peer is silent or blocks us, errors without credentials. Refuses to connect anew: that
//! is [`keeper`]. Read [`uri`], [`dial`] and [`lanes`] (how to publish without losing a message)
//! next; [`examine`] goes through it all without publishing.

mod dial;
pub(crate) mod examine;
mod failure;
pub mod keeper;
pub mod lanes;
pub mod uri;

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::logic::classify::amqp::scrub;
use dial::{Guard, Socket};

/// How long a goodbye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Where a link leads, and how.
#[derive(Clone)]
pub struct LinkSettings {
    /// Host, port, user, password, virtual host, heartbeat.
    pub uri: AMQPUri,
    /// For `amqps`; `None` for `amqp`.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The connection's name, as RabbitMQ shows it to its operators.
    pub name: String,
    /// Bounds the name's resolution, TCP, TLS and login together.
    pub timeout: Duration,
}

impl std::fmt::Debug for LinkSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkSettings")
            .field("host", &self.uri.authority.host)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What can go wrong with a link, or with one message on it. Holds no credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The host has no address.
    #[error("the name {0} does not resolve")]
    Dns(String),
    /// No name server said where the host is; that passes.
    #[error("no name server says where {0} is")]
    DnsUnavailable(String),
    /// The handshake or the certificate.
    #[error("TLS verification failed: {0}")]
    Tls(String),
    /// The network.
    #[error("{0}")]
    Io(ErrorKind),
    /// RabbitMQ closed the channel or the connection with this code.
    #[error("{text}")]
    Reply {
        /// An AMQP reply code.
        code: u16,
        /// RabbitMQ's explanation, without the user's name.
        text: String,
    },
    /// RabbitMQ found no queue for the message and gave it back.
    #[error("no queue takes exchange '{exchange}' with routing key '{routing_key}'")]
    Returned {
        /// Where it was published.
        exchange: String,
        /// With this key.
        routing_key: String,
    },
    /// RabbitMQ did not take the message: a full queue, a lost majority.
    #[error("the broker did not take the message")]
    Nack,
    /// RabbitMQ takes no publishes for now; nothing was sent.
    #[error("the broker takes no publishes: {0}")]
    Blocked(String),
    /// The message cannot be sent over AMQP at all.
    #[error("{0}")]
    Illegal(String),
    /// The connection or channel ended first.
    #[error("{0}")]
    Lost(String),
}

impl From<lapin::Error> for LinkError {
    fn from(error: lapin::Error) -> Self {
        use lapin::ErrorKind as Kind;
        match error.kind() {
            Kind::IOError(cause) | Kind::RuntimeShutdownError(cause) => dial::io_error(cause),
            Kind::ProtocolError(reply) => {
                Self::Reply { code: reply.get_id(), text: scrub(reply.get_message().as_str()) }
            }
            Kind::MissingHeartbeatError => Self::Lost("no heartbeat from the broker".into()),
            Kind::InvalidChannel(_)
            | Kind::InvalidChannelState(..)
            | Kind::InvalidConnectionState(_) => Self::Lost("the connection is closed".into()),
            Kind::ChannelsLimitReached => Self::Lost("too many channels".into()),
            Kind::InvalidProtocolVersion(_) => Self::Lost("the peer speaks no AMQP 0-9-1".into()),
            // Their texts may hold bytes of a frame.
            _ => Self::Lost("the peer's frames make no sense".into()),
        }
    }
}

/// How a link is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Up.
    Open,
    /// Up, but RabbitMQ takes no publishes, for this reason.
    Blocked(String),
    /// Over.
    Gone,
}

/// One open connection. It never comes back: open another. Dropping it cuts it.
pub struct Link {
    connection: Connection,
    socket: Socket,
    state: watch::Receiver<LinkState>,
    watcher: AbortHandle,
}

impl Link {
    /// Connects and logs in, within `settings.timeout`.
    ///
    /// The connection does its work on the current tokio runtime, whoever uses it: call this on
    /// one that lives as long.
    ///
    /// # Errors
    /// When it cannot: see [`LinkError`].
    pub async fn open(settings: &LinkSettings) -> Result<Self, LinkError> {
        let socket = Socket::default();
        // Whatever ends this attempt ends the socket with it: lapin would wait for ever.
        let guard = Guard::new(socket.clone());
        let properties =
            ConnectionProperties::default().with_connection_name(settings.name.clone().into());
        let dialling = dial::connect(settings, socket.clone(), properties);
        let connection = tokio::time::timeout(settings.timeout, dialling)
            .await
            .map_err(|_| LinkError::Timeout(settings.timeout))??;
        guard.disarm();
        let (sender, state) = watch::channel(LinkState::Open);
        let watcher = tokio::spawn(watch_events(connection.events_listener(), sender));
        Ok(Self { connection, socket, state, watcher: watcher.abort_handle() })
    }

    /// A new channel, within `timeout`.
    ///
    /// # Errors
    /// When the link is over or does not answer.
    pub async fn channel(&self, timeout: Duration) -> Result<Channel, LinkError> {
        bounded(timeout, self.connection.create_channel()).await
    }

    /// How the link is, and every change of that.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.state.clone()
    }

    /// Whether it is up.
    #[must_use]
    pub fn alive(&self) -> bool {
        self.connection.status().connected()
    }

    /// The largest frame that may be sent, in bytes; 0 is no bound.
    #[must_use]
    pub fn frame_max(&self) -> u32 {
        self.connection.configuration().frame_max()
    }

    /// Says goodbye for at most 2 s, then cuts.
    pub async fn close(&self) {
        let goodbye = self.connection.close(200, "OK".into());
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, goodbye).await;
        self.socket.cut();
    }

    /// Ends the connection at once; everything under way on it fails.
    pub fn cut(&self) {
        self.socket.cut();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.watcher.abort();
        self.socket.cut();
    }
}

/// Awaits lapin, which has no bounds of its own.
///
/// # Errors
/// Lapin's, or [`LinkError::Timeout`].
pub async fn bounded<T>(
    timeout: Duration,
    work: impl Future<Output = lapin::Result<T>>,
) -> Result<T, LinkError> {
    match tokio::time::timeout(timeout, work).await {
        Ok(done) => done.map_err(LinkError::from),
        Err(_) => Err(LinkError::Timeout(timeout)),
    }
}

async fn watch_events(
    events: impl futures_util::Stream<Item = lapin::Event>,
    state: watch::Sender<LinkState>,
) {
    futures_util::pin_mut!(events);
    while let Some(event) = events.next().await {
        match event {
            lapin::Event::ConnectionBlocked(reason) => {
                state.send_replace(LinkState::Blocked(scrub(&reason)));
            }
            lapin::Event::ConnectionUnblocked => {
                state.send_replace(LinkState::Open);
            }
            // A channel's error is an event too: the connection may live on.
            _ => {}
        }
    }
    state.send_replace(LinkState::Gone);
}
