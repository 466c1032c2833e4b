//! `lockgate run`: the bridge, until it is told to stop.
//!
//! Owns the process around [`crate::app::Bridge`]: log, signals, the order of start and stop. Refuses
//! to know what a bridge does. Read [`super::front`], [`reload`] and [`crate::app`] next.

mod reload;

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use super::front::{self, Front};
use super::{Context, Fault};
use crate::app::{self, Bridge};
use crate::bus::Bus;
use crate::bus::rabbitmq::RabbitMq;
use crate::config::{Config, Location};
use crate::spans::{self, Exporting};
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
    let exporting = export_spans(&config, &instance)?;
    actix_rt::System::new().block_on(async move {
        let bus = connect(&config, &instance)?;
        bridge(&config, &context.location, bus, &instance, exporting).await
    })
}

/// Begins to export traces, where the configuration names a collector. It need not be there.
fn export_spans(config: &Config, instance: &Instance) -> Result<Option<Exporting>, Fault> {
    let Some(settings) = &config.telemetry.otlp else { return Ok(None) };
    spans::start(settings, &instance.id, &config.source.queue)
        .map(Some)
        .map_err(|error| Fault::usage(error.to_string(), "see [telemetry.otlp]"))
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
    exporting: Option<Exporting>,
) -> Result<(), Fault> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let hangup = signal(SignalKind::hangup())?;
    // The listener is bound first: a port that is taken is told before anything is consumed.
    let listening = front::bind(config)?;
    let bridge = Bridge::start(config, Arc::clone(&bus), instance);
    let (desk, requests) = reload::desk();
    let reload = Arc::new(move || desk.ask());
    let front = Front::open(listening, config, (&bridge, bus), instance, reload)?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        environment = config.environment,
        instance = instance.id,
        endpoints = config.endpoints.len(),
        admin = %front.address,
        "lockgate runs"
    );
    let applied = |config: &Config| front.takes_over(config);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        // What a reload has begun when a signal comes, the stop ends.
        () = reload::serve(&bridge, location, hangup, requests, applied) => {}
    }
    let stop = async {
        front.stop_orders().await;
        bridge.stop().await;
    };
    let stopped = tokio::select! {
        () = stop => true,
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
    };
    front.close().await;
    if let Some(exporting) = exporting {
        exporting.finish().await;
    }
    if stopped {
        return Ok(());
    }
    tracing::warn!("a second signal: ending at once; what is unacknowledged stays on the bus");
    Err(Fault::failed("ended by a second signal before everything was settled"))
}
