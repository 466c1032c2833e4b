//! The admin listener before a running bridge: that of `run`, and that of the demonstration.
//!
//! Owns what the listener is given, and the order in which it ends. Refuses to answer: that is
//! [`crate::admin`]. Read [`super::run`] next.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix_web::dev::ServerHandle;
use arc_swap::ArcSwap;
use tokio::runtime::Handle;

use super::Fault;
use crate::actors::board::Board;
use crate::admin::orders::Orders;
use crate::admin::{self, AdminState, Identity, Listening, Readiness, Reload};
use crate::app::Bridge;
use crate::bus::Bus;
use crate::config::Config;
use crate::transport::Instance;
use crate::world;

/// An open listener.
pub(super) struct Front {
    /// Where it listens.
    pub(super) address: SocketAddr,
    in_force: Arc<ArcSwap<Config>>,
    orders: Orders,
    server: ServerHandle,
}

/// Binds the listener of a configuration, before anything is consumed: nobody is answered yet.
///
/// # Errors
/// When the address cannot be bound.
pub(super) fn bind(config: &Config) -> Result<Listening, Fault> {
    admin::bind(&config.admin).map_err(|error| cannot_listen(config, &error))
}

fn cannot_listen(config: &Config, error: &std::io::Error) -> Fault {
    Fault::Failed {
        message: format!("cannot listen on admin.listen {}: {error}", config.admin.listen),
        hint: Some("where another process has the port, choose another in [admin] listen".into()),
    }
}

impl Front {
    /// Answers for this bridge. Must be called on an actix system.
    ///
    /// # Errors
    /// When the metrics cannot be set up, or the listener cannot be used.
    pub(super) fn open(
        listening: Listening,
        config: &Config,
        (bridge, bus): (&Bridge, Arc<dyn Bus>),
        instance: &Instance,
        reload: Reload,
    ) -> Result<Self, Fault> {
        let metrics = admin::metrics::install()
            .map_err(|error| Fault::failed(format!("cannot set up metrics: {error}")))?;
        let address = listening.address();
        let orders = Orders::new(Handle::current());
        let in_force = Arc::new(ArcSwap::from_pointee(config.clone()));
        let state = AdminState {
            readiness: readiness(bridge.board()),
            metrics,
            controls: bridge.controls(),
            bus,
            config: Arc::clone(&in_force),
            identity: Identity { id: instance.id.clone(), host: host(), started_at: world::now() },
            reload,
            orders: orders.clone(),
        };
        let server = listening.serve(state).map_err(|error| cannot_listen(config, &error))?;
        let handle = server.handle();
        actix_rt::spawn(server);
        Ok(Self { address, in_force, orders, server: handle })
    }

    /// From now on this configuration is in force.
    pub(super) fn takes_over(&self, config: &Config) {
        self.in_force.store(Arc::new(config.clone()));
    }

    /// Ends what is done on behalf of callers: it needs the bus, which the bridge closes.
    pub(super) async fn stop_orders(&self) {
        self.orders.stop().await;
    }

    /// Answers nobody any more.
    pub(super) async fn close(self) {
        self.server.stop(false).await;
    }
}

/// Whether the bridge consumes, as the board shows it.
fn readiness(board: Arc<Board>) -> Arc<dyn Fn() -> Readiness + Send + Sync> {
    Arc::new(move || {
        if board.source.consuming.load(Ordering::Relaxed) {
            Readiness::Consuming
        } else {
            Readiness::NotConsuming("no consumer on the source queue; the log says why".into())
        }
    })
}

/// The machine's name, where the system says it in this way.
fn host() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}
