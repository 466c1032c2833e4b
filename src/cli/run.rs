//! `lockgate run`: the bridge, until it is told to stop.
//!
//! Owns the process around [`crate::app::Bridge`]: log, metrics, admin listener, signals. Refuses
//! to know what a bridge does. Read [`reload`] and [`crate::app`] next.

mod reload;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

use super::{Context, Fault};
use crate::actors::board::Board;
use crate::admin::orders::Orders;
use crate::admin::{self, AdminState, Identity, Readiness};
use crate::app::{self, Bridge};
use crate::bus::Bus;
use crate::bus::rabbitmq::RabbitMq;
use crate::config::{Config, Location};
use crate::telemetry;
use crate::transport::Instance;
use crate::world;

/// What `run` is told.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Runs the bridge until SIGTERM or SIGINT.
///
/// # Errors
/// When the configuration cannot be used, the admin address cannot be bound, or the log cannot be
/// set up. A bus that is down is no error: it is waited for.
pub fn run(context: &mut Context<'_>, _: &Arguments) -> Result<(), Fault> {
    let config = context.config()?;
    start_log(context, &config)?;
    let instance = Instance { id: world::unique() };
    actix_rt::System::new().block_on(async move {
        let bus = connect(&config, &instance)?;
        bridge(&config, &context.location, bus, &instance).await
    })
}

/// Sets up the log as the configuration and `RUST_LOG` say.
///
/// # Errors
/// When `RUST_LOG` cannot be read.
pub fn start_log(context: &Context<'_>, config: &Config) -> Result<(), Fault> {
    let directives = context.environment.get("RUST_LOG");
    telemetry::init(config.telemetry.log_format, directives)
        .map_err(|error| Fault::usage(error.to_string(), "for example RUST_LOG=lockgate=debug"))
}

/// The bus on RabbitMQ that the configuration names. Connects when it is first used.
///
/// # Errors
/// When the URL or a certificate file cannot be used.
pub fn connect(config: &Config, instance: &Instance) -> Result<Arc<RabbitMq>, Fault> {
    RabbitMq::new(&app::rabbit_settings(config, instance))
        .map_err(|error| Fault::usage(error.to_string(), "see [source] in the configuration"))
}

async fn bridge(
    config: &Config,
    location: &Location,
    bus: Arc<dyn Bus>,
    instance: &Instance,
) -> Result<(), Fault> {
    let metrics = admin::metrics::install()
        .map_err(|error| Fault::failed(format!("cannot set up metrics: {error}")))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let hangup = signal(SignalKind::hangup())?;
    let started_at = world::now();
    // The listener is bound first: a port that is taken is told before anything is consumed.
    let cannot_listen = |error| Fault::Failed {
        message: format!("cannot listen on admin.listen {}: {error}", config.admin.listen),
        hint: Some("where another process has the port, choose another in [admin] listen".into()),
    };
    let listening = admin::bind(&config.admin).map_err(cannot_listen)?;
    let address = listening.address();
    let bridge = Bridge::start(config, Arc::clone(&bus), instance);
    let orders = Orders::new(Handle::current());
    let in_force = Arc::new(ArcSwap::from_pointee(config.clone()));
    let (desk, requests) = reload::desk();
    let state = AdminState {
        readiness: readiness(bridge.board()),
        metrics,
        controls: bridge.controls(),
        bus,
        config: Arc::clone(&in_force),
        identity: Identity { id: instance.id.clone(), host: host(), started_at },
        reload: Arc::new(move || desk.ask()),
        orders: orders.clone(),
    };
    let server = listening.serve(state).map_err(cannot_listen)?;
    let server_handle = server.handle();
    actix_rt::spawn(server);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        environment = config.environment,
        instance = instance.id,
        endpoints = config.endpoints.len(),
        admin = %address,
        "lockgate runs"
    );
    let applied = |config: &Config| in_force.store(Arc::new(config.clone()));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        // What a reload has begun when a signal comes, the stop ends.
        () = reload::serve(&bridge, location, hangup, requests, applied) => {}
    }
    let stop = async {
        // They need the bus, which the bridge closes.
        orders.stop().await;
        bridge.stop().await;
    };
    let stopped = tokio::select! {
        () = stop => true,
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
    };
    server_handle.stop(false).await;
    if stopped {
        return Ok(());
    }
    tracing::warn!("a second signal: ending at once; what is unacknowledged stays on the bus");
    Err(Fault::failed("ended by a second signal before everything was settled"))
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
