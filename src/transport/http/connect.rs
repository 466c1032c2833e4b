//! Opens connections for awc: name, TCP, TLS.
//!
//! Owns what awc is given to stand on, over [`crate::transport::way`]. awc's own connector is not used: it panics without system certificates,
//! and an [`AnswerStream`] has to stand above TLS. HTTP/1.1 alone is offered: one exchange a
//! connection is all that deliveries need, and its failures are plain to tell. Refuses to judge
//! errors: that is [`super::errors`]. Read that next.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::http::Uri;
use futures_util::future::LocalBoxFuture;
use rustls::ClientConfig;

use super::stream::{AnswerStream, Wire};
use crate::logic::attempt_log::Step;
use crate::transport::{timeline, way};

/// Opens connections, with TLS or without.
#[derive(Clone)]
pub(super) struct Opener {
    tls: Option<Arc<ClientConfig>>,
    /// For all addresses of a name together.
    limit: Duration,
}

impl Opener {
    pub(super) fn new(tls: Option<Arc<ClientConfig>>, limit: Duration) -> Self {
        Self { tls, limit }
    }

    async fn open(self, uri: Uri) -> Result<Connection<Uri, AnswerStream>, ConnectError> {
        let host = uri.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        // The caller always writes the port out.
        let port = uri.port_u16().unwrap_or_default();
        timeline::begin(Step::Resolve);
        let addresses = way::lookup(host, port)
            .await
            .map_err(|cause| ConnectError::Resolver(Box::new(cause)))?;
        if addresses.is_empty() {
            return Err(ConnectError::NoRecords);
        }
        timeline::begin(Step::Connect);
        let tcp = way::reach(&addresses, self.limit).await.map_err(ConnectError::Io)?;
        let wire = match self.tls {
            None => Wire::Plain(tcp),
            Some(tls) => {
                timeline::begin(Step::Tls);
                let tls = way::secure(tls, host, tcp).await.map_err(ConnectError::Io)?;
                Wire::Tls(Box::new(tls))
            }
        };
        timeline::end();
        Ok(Connection::new(uri, AnswerStream::new(wire)))
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
