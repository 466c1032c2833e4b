//! The way to a peer: its name's addresses, TCP, TLS.
//!
//! Owns these three steps for the HTTP transports and for whoever examines a peer. Refuses to judge
//! an error: that is [`crate::logic::classify`], and [`super::tls`] for handshakes. Read
//! [`super::examine`] next.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The addresses of a host: a name, or an address without brackets.
///
/// # Errors
/// The resolver's.
pub(super) async fn lookup(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((host, port)).await?.collect())
}

/// The first address that answers. Each has an equal share of the time, so that a dead one does not
/// use it up for the others.
///
/// # Errors
/// That of the last address; `AddrNotAvailable` where there is none.
pub(super) async fn reach(addresses: &[SocketAddr], limit: Duration) -> io::Result<TcpStream> {
    let share = limit / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let mut last = io::ErrorKind::AddrNotAvailable.into();
    for address in addresses {
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Without it, small requests may wait for an acknowledgement.
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(cause)) => last = cause,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

/// The TLS handshake with this host.
///
/// # Errors
/// The handshake's, with rustls' own error inside; `InvalidInput` for a host that no certificate
/// can name.
pub(super) async fn secure(
    config: Arc<ClientConfig>,
    host: &str,
    tcp: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|cause| io::Error::new(io::ErrorKind::InvalidInput, cause))?;
    TlsConnector::from(config).connect(name, tcp).await
}
