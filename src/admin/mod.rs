//! Floor 5: the admin listener. What an operator, a program and a scraper may ask over HTTP.
//!
//! Owns the listener and what it answers from. Who may ask is decided at the [`door`]; what is
//! answered stands in [`api`], and each answer that says no is a [`problem::Problem`]. Refuses to know
//! how events flow: it reads the board, and asks [`crate::actors::controls`] and the bus for the rest.
//! Read [`api`] next, then [`orders`].

pub mod api;
mod door;
pub mod metrics;
pub mod orders;
pub mod page;
pub mod problem;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::http::header;
use actix_web::middleware::{DefaultHeaders, from_fn};
use actix_web::{App, HttpServer, web};
use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use metrics_exporter_prometheus::PrometheusHandle;

use self::door::Door;
use self::orders::Orders;
use crate::actors::controls::Controls;
use crate::bus::Bus;
use crate::config::{self, Config};
use crate::domain::names::Name;

/// Connections at once; more wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 256;
/// How long a caller may take over its request's head.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How often recorded durations are folded into their histograms, scraped or not.
const UPKEEP: Duration = Duration::from_secs(5);

/// Whether events are consumed now. A partner that is down changes nothing here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// They are.
    Consuming,
    /// They are not, for this reason; it holds no secret.
    NotConsuming(String),
}

/// Which process answers.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Unique for each running process.
    pub id: String,
    /// The machine's name, if known.
    pub host: Option<String>,
    /// When it started.
    pub started_at: Timestamp,
}

/// What a reload has changed: endpoints by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Endpoints that were not there before.
    pub added: Vec<Name>,
    /// Endpoints that are no longer there.
    pub removed: Vec<Name>,
    /// Endpoints whose settings are others now.
    pub changed: Vec<Name>,
    /// How many endpoints go on as they were.
    pub unchanged: usize,
    /// The new configuration's digest.
    pub digest: String,
}

/// Reads the configuration anew and goes on with it; all problems where it cannot be used. It is
/// asked for once at a time, and never dropped half done.
pub type Reload =
    Arc<dyn Fn() -> BoxFuture<'static, Result<Reloaded, config::Problems>> + Send + Sync>;

/// What the listener answers from.
#[derive(Clone)]
pub struct AdminState {
    /// Asked at each `/readyz`; must not block.
    pub readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
    /// Renders `/metrics`.
    pub metrics: PrometheusHandle,
    /// What may be done to the bridge, and the board.
    pub controls: Controls,
    /// Where the dead letters are.
    pub bus: Arc<dyn Bus>,
    /// The configuration that is in force; a reload stores the next one.
    pub config: Arc<ArcSwap<Config>>,
    /// Which process this is.
    pub identity: Identity,
    /// Reads the configuration anew.
    pub reload: Reload,
    /// What is done on behalf of callers and outlives their connections.
    pub orders: Orders,
}

/// A listener that is bound and answers nobody yet: who connects waits.
pub struct Listening {
    listener: TcpListener,
    address: SocketAddr,
}

/// Binds the listener.
///
/// # Errors
/// When the address cannot be bound, or is not loopback and there is no token.
pub fn bind(admin: &config::Admin) -> io::Result<Listening> {
    if !admin.listen.ip().is_loopback() && admin.token.is_none() {
        let message = format!("admin.listen {} is not loopback: set admin.token", admin.listen);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let listener = TcpListener::bind(admin.listen)?;
    let address = listener.local_addr()?;
    Ok(Listening { listener, address })
}

impl Listening {
    /// Where it listens; tells the port where the configuration left it to the system.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers. The server runs when it is awaited or spawned, and handles no signals of its own.
    /// Must be called on an actix system.
    ///
    /// # Errors
    /// When the listener cannot be used.
    pub fn serve(self, state: AdminState) -> io::Result<Server> {
        let handle = state.metrics.clone();
        let door = web::Data::new(Door::new(Arc::clone(&state.config)));
        let api = api::Shared::new(state);
        let server = HttpServer::new(move || {
            App::new()
                .app_data(door.clone())
                .configure(|app| api::routes(app, &api))
                .configure(page::routes)
                .wrap(from_fn(door::at_the_door))
                .wrap(security_headers())
        })
        .workers(1)
        .max_connections(MAX_CONNECTIONS)
        .client_request_timeout(REQUEST_TIMEOUT)
        .shutdown_timeout(1)
        .disable_signals()
        .listen(self.listener)?;
        actix_rt::spawn(async move {
            loop {
                tokio::time::sleep(UPKEEP).await;
                handle.run_upkeep();
            }
        });
        Ok(server.run())
    }
}

/// On every answer that does not say otherwise itself.
fn security_headers() -> DefaultHeaders {
    DefaultHeaders::new()
        .add((header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"))
        .add((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .add((header::X_FRAME_OPTIONS, "DENY"))
        .add((header::REFERRER_POLICY, "no-referrer"))
        .add((header::CACHE_CONTROL, "no-store"))
}
