//! `lockgate demo`: everything at work in this process alone.
//!
//! Owns the stream of sample events and the end of the show. The bus is in memory, the partners are
//! [`crate::demo::Peers`]; the bridge between them is the real one. Read [`crate::demo`] next.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, MissedTickBehavior};

use super::front::{self, Front};
use super::run::start_log;
use super::{Context, Fault};
use crate::actors::board::Board;
use crate::admin::Reloaded;
use crate::app::Bridge;
use crate::bus::Bus;
use crate::bus::memory::MemoryBus;
use crate::config::{Config, Problem, Problems};
use crate::demo::Peers;
use crate::demo::table::{Row, Screen};
use crate::transport::Instance;
use crate::{samples, world};

/// How often the table is drawn.
const REDRAW: Duration = Duration::from_secs(1);

/// What `demo` is told.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Ends by itself after this time, for example `30s`.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Events per second.
    #[arg(long, value_name = "EVENTS", default_value = "20")]
    rate: NonZeroU32,
}

/// Bridges sample events to partners inside the process until Ctrl-C or the end of `--duration`,
/// then prints a table that reconciles.
///
/// # Errors
/// When a port or a thread cannot be had, or the counters do not reconcile.
pub fn demo(context: &mut Context<'_>, arguments: &Arguments) -> Result<(), Fault> {
    let logs = context.environment.get("RUST_LOG").is_some();
    actix_rt::System::new().block_on(async move {
        let peers = Peers::start().await?;
        let text = peers.configuration();
        let config = Config::from_toml_str("the demonstration", &text, "development")?;
        // The table tells the story; the log speaks only when asked to.
        if logs {
            start_log(context, &config)?;
        }
        writeln!(context.out, "MQTT broker     {}", peers.mqtt_url())?;
        writeln!(context.out, "HTTP receivers  {}", peers.http_url())?;
        let rows = show(context, &config, arguments).await?;
        peers.stop().await;
        if rows.iter().all(Row::reconciles) {
            return Ok(());
        }
        Err(Fault::failed("the counters do not reconcile: events are unaccounted for"))
    })
}

async fn show(
    context: &mut Context<'_>,
    config: &Config,
    arguments: &Arguments,
) -> Result<Vec<Row>, Fault> {
    let bus = MemoryBus::default();
    let instance = Instance { id: world::unique() };
    let listening = front::bind(config)?;
    let bridge = Bridge::start(config, Arc::new(bus.clone()), &instance);
    let board = bridge.board();
    let on_stage = (&bridge, Arc::new(bus.clone()) as Arc<dyn Bus>);
    let front = Front::open(listening, config, on_stage, &instance, Arc::new(no_reload))?;
    writeln!(context.out, "status page     http://{}/", front.address)?;
    let how = "events in a loop; `flaky` fails for some seconds now and then. Ctrl-C ends.";
    writeln!(context.out, "{} sample {how}\n", samples::count())?;
    context.out.flush()?;
    let mut screen = Screen::new();
    let began = Instant::now();
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    let mut draw = tokio::time::interval(REDRAW);
    let mut next = tokio::time::interval(Duration::from_secs(1) / arguments.rate.get());
    next.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut sent = 0;
    loop {
        let end = arguments.duration.map_or_else(far, |duration| began + duration);
        tokio::select! {
            _ = &mut interrupt => break,
            () = tokio::time::sleep_until(end) => break,
            _ = draw.tick() => screen.show(&rows(config, &board))?,
            _ = next.tick() => {
                let made = samples::sample(sent, &world::unique(), world::now());
                let message = made.map_err(|error| Fault::failed(error.to_string()))?;
                bus.publish(message).map_err(|error| Fault::failed(error.to_string()))?;
                sent += 1;
            }
        }
    }
    settle(&board, &bus).await;
    front.stop_orders().await;
    bridge.stop().await;
    front.close().await;
    let last = rows(config, &board);
    screen.finish(&last)?;
    Ok(last)
}

/// There is no file that could have changed.
fn no_reload() -> BoxFuture<'static, Result<Reloaded, Problems>> {
    let (path, file) = (String::new(), "the demonstration".to_owned());
    let message = "its configuration is built in".to_owned();
    let problem = Problem { path, file, message, hint: None };
    Box::pin(std::future::ready(Err(Problems::one(problem))))
}

/// Gives the last events a moment to arrive; what is parked by then ends with the process.
async fn settle(board: &Board, bus: &MemoryBus) {
    let limit = Instant::now() + Duration::from_secs(5);
    while Instant::now() < limit {
        let waiting = !bus.peek(&crate::bus::Queue::Source).is_empty();
        if !waiting && board.source.in_flight() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(86_400 * 365)
}

fn rows(config: &Config, board: &Board) -> Vec<Row> {
    let row = |(name, shown): (&_, &Arc<crate::actors::board::Shown>)| {
        let counters = &shown.counters;
        let status = shown.status();
        let endpoint = config.endpoints.get(name);
        Row {
            endpoint: name.to_string(),
            transport: endpoint.map_or("", |endpoint| endpoint.transport.kind()).to_owned(),
            state: status.health.as_str().to_owned(),
            routed: counters.routed.get(),
            resumed: counters.resumed.get(),
            delivered: counters.delivered.get(),
            parked: counters.parked.get(),
            dead: counters.dead.get(),
            suppressed: counters.suppressed.get(),
            stale: counters.stale.get(),
            in_flight: counters.in_flight(),
            last_error: status.last_error.map(|error| error.text).unwrap_or_default(),
        }
    };
    board.endpoints().iter().map(row).collect()
}
