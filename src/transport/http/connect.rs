//! Opens connections for awc: name, TCP, TLS.
//!
//! Owns the way to a peer. awc's own connector is not used: it panics without system certificates,
//! and an [`AnswerStream`] has to stand above TLS. HTTP/1.1 alone is offered: one exchange a
//! connection is all that deliveries need, and its failures are plain to tell. Refuses to judge
//! errors: that is [`super::errors`]. Read that next.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_rt::net::TcpStream;
use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::http::Uri;
use futures_util::future::LocalBoxFuture;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::stream::{AnswerStream, Wire};
use crate::logic::attempt_log::Step;
use crate::transport::timeline;

/// Opens connections, with TLS or without.
#[derive(Clone)]
pub(super) struct Opener {
    tls: Option<TlsConnector>,
    /// For all addresses of a name together.
    limit: Duration,
}

impl Opener {
    pub(super) fn new(tls: Option<TlsConnector>, limit: Duration) -> Self {
        Self { tls, limit }
    }

    async fn open(self, uri: Uri) -> Result<Connection<Uri, AnswerStream>, ConnectError> {
        let host = uri.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        // The caller always writes the port out.
        let port = uri.port_u16().unwrap_or_default();
        timeline::begin(Step::Resolve);
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port))
            .await
            .map_err(|cause| ConnectError::Resolver(Box::new(cause)))?
            .collect();
        timeline::begin(Step::Connect);
        let tcp = self.reach(&addresses).await?;
        // Without it, small requests may wait for an acknowledgement.
        tcp.set_nodelay(true).map_err(ConnectError::Io)?;
        let wire = match self.tls {
            None => Wire::Plain(tcp),
            Some(tls) => {
                let name = ServerName::try_from(host.to_owned()).map_err(|cause| {
                    ConnectError::Io(io::Error::new(io::ErrorKind::InvalidInput, cause))
                })?;
                timeline::begin(Step::Tls);
                let tls = tls.connect(name, tcp).await.map_err(ConnectError::Io)?;
                Wire::Tls(Box::new(tls))
            }
        };
        timeline::end();
        Ok(Connection::new(uri, AnswerStream::new(wire)))
    }

    /// The first address that answers. Each has an equal share of the time, so that a dead one
    /// does not use it up for the others.
    async fn reach(&self, addresses: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
        let share = self.limit / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
        let mut last = ConnectError::NoRecords;
        for address in addresses {
            match tokio::time::timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(cause)) => last = ConnectError::Io(cause),
                Err(_) => last = ConnectError::Io(io::ErrorKind::TimedOut.into()),
            }
        }
        Err(last)
    }
}

impl Service<ConnectInfo<Uri>> for Opener {
    type Response = Connection<Uri, AnswerStream>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&self, info: ConnectInfo<Uri>) -> Self::Future {
        Box::pin(self.clone().open(info.request().clone()))
    }
}
