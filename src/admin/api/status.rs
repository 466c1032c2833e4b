//! The status: what the board, the configuration and the process say, in one view.
//!
//! Owns how they are put together. Asks nobody who might not answer: it is there while the bus is
//! down. Read [`super::stream`] next: the same once a second.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix_web::web;
use jiff::Timestamp;

use super::Shared;
use super::view::{Counters, Endpoint, Instance, LastError, Source, Status, milliseconds};
use crate::actors::board::Shown;
use crate::config::Config;
use crate::config::endpoint;
use crate::logic::moment;
use crate::logic::remedy::remedy;
use crate::world;

/// Digits of the configuration's digest that are shown.
const DIGITS: usize = 12;

/// One instance, its source and its endpoints. Answers at once, also while the bus is down.
#[utoipa::path(get, path = "/api/status", tag = "instance",
    responses((status = 200, description = "How it is.", body = Status)))]
pub(super) async fn status(shared: web::Data<Shared>) -> web::Json<Status> {
    web::Json(of(&shared, world::now()))
}

/// The status at this moment.
pub(super) fn of(shared: &Shared, now: Timestamp) -> Status {
    let config = shared.config.load();
    let identity = &shared.identity;
    let uptime = now.duration_since(identity.started_at).as_secs();
    Status {
        instance: Instance {
            id: identity.id.clone(),
            version: env!("CARGO_PKG_VERSION"),
            environment: config.environment.clone(),
            started_at: moment::format(identity.started_at),
            uptime_seconds: u64::try_from(uptime).unwrap_or(0),
            configuration: short(&config.digest),
            host: identity.host.clone(),
        },
        source: source(shared, &config),
        endpoints: endpoints(shared),
    }
}

/// The part of a digest that people compare.
pub(super) fn short(digest: &str) -> String {
    digest.chars().take(DIGITS).collect()
}

fn source(shared: &Shared, config: &Config) -> Source {
    let shown = &shared.controls.board().source;
    Source {
        consuming: shown.consuming.load(Ordering::Relaxed),
        queue: config.source.queue.clone(),
        received: shown.received.get(),
        acknowledged: shown.acknowledged.get(),
        stale: shown.stale.get(),
        rejected: shown.rejected.get(),
        unwanted: shown.unwanted.get(),
        in_flight: shown.in_flight(),
        rate: shown.rate(),
        rates: shown.rates(),
        depth: shown.depth.get(),
        oldest_unsettled_seconds: shown.oldest_unsettled().map(|age| age.as_secs_f64()),
    }
}

/// Every endpoint that is both at work and configured: during a reload one can be either alone.
pub(super) fn endpoints(shared: &Shared) -> Vec<Endpoint> {
    let config = shared.config.load();
    let at_work = shared.controls.board().endpoints();
    let both =
        at_work.iter().filter_map(|(name, shown)| Some((config.endpoints.get(name)?, shown)));
    both.map(|(configured, shown)| endpoint(configured, shown)).collect()
}

/// One endpoint.
pub(super) fn endpoint(configured: &endpoint::Endpoint, shown: &Arc<Shown>) -> Endpoint {
    let (status, counters) = (shown.status(), &shown.counters);
    let percentiles = shown.percentiles();
    Endpoint {
        name: configured.name.to_string(),
        transport: configured.transport.kind(),
        target: configured.transport.target(),
        enabled: configured.enabled,
        paused: shown.paused.load(Ordering::Relaxed),
        state: status.health.as_str(),
        since: status.since.map(moment::format),
        last_error: status.last_error.map(|error| LastError {
            remedy: remedy(&error.reason),
            text: error.text,
            at: Some(moment::format(error.at)),
        }),
        next_probe: status.next_probe.map(moment::format),
        counters: Counters {
            routed: counters.routed.get(),
            resumed: counters.resumed.get(),
            delivered: counters.delivered.get(),
            parked: counters.parked.get(),
            dead: counters.dead.get(),
            suppressed: counters.suppressed.get(),
            stale: counters.stale.get(),
            in_flight: counters.in_flight(),
        },
        parked: shown.parked.get(),
        dead: shown.dead.get(),
        rate: shown.rate(),
        rates: shown.rates(),
        p50_ms: percentiles.map(|of| milliseconds(of.p50)),
        p99_ms: percentiles.map(|of| milliseconds(of.p99)),
    }
}
