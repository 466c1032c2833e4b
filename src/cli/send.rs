//! `lockgate send`: publishes sample events, or one's own, on the bus.
//!
//! Owns where a message goes: to the exchange of the first binding of the source, else straight
//! into the source queue. What the platform would have said by its exchange and routing key goes
//! along as headers, so that type and trigger stay what they were. Read [`super::run`] next.

use std::io::{self, Write as _};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{self, Stream};
use indicatif::{ProgressBar, ProgressStyle};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};

use super::run::connect;
use super::{Context, Fault, input};
use crate::bus::{Bus, BusError, Target};
use crate::config::Config;
use crate::domain::delivery::Message;
use crate::logic::message_file;
use crate::transport::Instance;
use crate::{samples, world};

/// Publishes under way at once.
const PIPELINE: usize = 200;
/// A confirm that takes longer is told about.
const SLOW: Duration = Duration::from_secs(5);

/// What `send` is told.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A file of one's own events, one JSON object a line (NDJSON), or a single object: each with
    /// exchange, `routing_key`, headers, properties and body. `-` is standard input. Without it,
    /// sample events are sent.
    #[arg(long, value_name = "FILE")]
    file: Option<String>,
    /// How many events; a file is repeated. Default: the file once, or every sample once.
    #[arg(long, value_name = "N")]
    count: Option<usize>,
    /// Events per second at most. Default: as fast as the bus confirms.
    #[arg(long, value_name = "EVENTS")]
    rate: Option<f64>,
}

/// Publishes and waits until the bus has confirmed every event.
///
/// # Errors
/// When the file cannot be used, or the bus does not take an event.
pub fn send(context: &mut Context<'_>, arguments: &Arguments) -> Result<(), Fault> {
    let config = context.config()?;
    let own = arguments.file.as_deref().map(read).transpose()?;
    let count = arguments.count.unwrap_or_else(|| own.as_ref().map_or(samples::count(), Vec::len));
    if arguments.rate.is_some_and(|rate| !(rate > 0.0 && rate.is_finite())) {
        return Err(Fault::usage("--rate is not above 0", "for example --rate 100"));
    }
    let instance = Instance { id: world::unique() };
    let sent = actix_rt::System::new().block_on(async {
        let bus = connect(&config, &instance)?;
        let done = publish(&*bus, &config, own.as_deref(), count, arguments.rate).await;
        bus.close().await;
        done
    })?;
    let events = if sent == 1 { "event" } else { "events" };
    writeln!(context.out, "{sent} {events} sent and confirmed")?;
    Ok(())
}

/// The messages of a file: any number of objects.
fn read(name: &str) -> Result<Vec<Message>, Fault> {
    let messages = message_file::parse_all(&input::read("--file", name)?).map_err(|error| {
        let keys = message_file::KEYS.join(", ");
        let hint = format!("each is an object of {keys}; a bare event goes in as {{\"body\": …}}");
        Fault::usage(format!("{name}, {error}"), hint)
    })?;
    if messages.is_empty() {
        return Err(Fault::usage(format!("{name} holds no event"), "one JSON object a line"));
    }
    Ok(messages)
}

async fn publish(
    bus: &dyn Bus,
    config: &Config,
    own: Option<&[Message]>,
    count: usize,
    rate: Option<f64>,
) -> Result<usize, Fault> {
    let bar = ProgressBar::new(count as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {per_sec} {eta}") {
        bar.set_style(style);
    }
    let mut clock = rate.map(|rate| tokio::time::interval(Duration::from_secs_f64(1.0 / rate)));
    let mut under_way = stream::FuturesUnordered::new();
    let mut sent = 0;
    for n in 0..count {
        if let Some(clock) = &mut clock {
            clock.tick().await;
        }
        let message = match own {
            Some(messages) => messages.get(n % messages.len()).cloned().unwrap_or_default(),
            None => samples::sample(n, &world::unique(), world::now())
                .map_err(|error| Fault::failed(error.to_string()))?,
        };
        let (target, message) = address(config, message);
        under_way.push(bus.store(target, message));
        while under_way.len() >= PIPELINE || (clock.is_some() && n + 1 < count) {
            let Some(done) = next(&mut under_way, &bar).await? else { break };
            told(done, sent, config)?;
            sent += 1;
            bar.inc(1);
        }
    }
    while let Some(done) = next(&mut under_way, &bar).await? {
        told(done, sent, config)?;
        sent += 1;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(sent)
}

/// The next confirm. One that takes long is told about, and waited for.
async fn next<T>(
    under_way: &mut (impl Stream<Item = T> + Unpin),
    bar: &ProgressBar,
) -> io::Result<Option<T>> {
    if let Ok(done) = tokio::time::timeout(SLOW, under_way.next()).await {
        return Ok(done);
    }
    let message = "warning: RabbitMQ confirms nothing; it may have a memory or disk alarm. Waiting";
    bar.suspend(|| writeln!(io::stderr(), "{message}"))?;
    Ok(under_way.next().await)
}

fn told(done: Result<(), BusError>, sent: usize, config: &Config) -> Result<(), Fault> {
    done.map_err(|error| Fault::Failed {
        hint: Some(remedy(&error, config)),
        message: format!("the bus did not take an event, after {sent} that it took: {error}"),
    })
}

/// What the one who sends can do about it.
fn remedy(error: &BusError, config: &Config) -> String {
    let queue = &config.source.queue;
    match (error, config.source.bindings.first()) {
        (BusError::Lost(_), _) => "is RabbitMQ up, and source.url right?".into(),
        (BusError::Blocked(_), _) => "RabbitMQ has a memory or disk alarm: free some".into(),
        (BusError::Refused(why), _) if why.starts_with("connect:") => {
            "check user, password, virtual host and certificates of [source]".into()
        }
        (BusError::Refused(_), None) => format!(
            "without source.bindings the queue {queue:?} is the platform's: it must be there"
        ),
        (BusError::Refused(_), Some(binding)) => format!(
            "exchange {:?} must be there, with a binding that takes the routing key, and writable \
             for this user; `lockgate run` declares it with topology = \"declare\"",
            binding.exchange
        ),
    }
}

/// Where a message goes, and the message with its own exchange and routing key as headers.
fn address(config: &Config, message: Message) -> (Target, Message) {
    let target = match config.source.bindings.first() {
        Some(binding) if message.exchange == binding.exchange => {
            let routing_key = message.routing_key.clone();
            return (Target::Platform { exchange: binding.exchange.clone(), routing_key }, message);
        }
        Some(binding) => Target::Platform {
            exchange: binding.exchange.clone(),
            routing_key: if binding.kind == "topic" || binding.kind == "direct" {
                routing_key(&binding.routing_key, &message.routing_key)
            } else {
                message.routing_key.clone()
            },
        },
        None => Target::Source,
    };
    let mut headers = message.properties.headers().clone().unwrap_or_default().inner().clone();
    for (name, value) in
        [("event_type", &message.exchange), ("event_trigger", &message.routing_key)]
    {
        if !value.is_empty() {
            let value = AMQPValue::LongString(LongString::from(value.as_str()));
            headers.entry(ShortString::from(name)).or_insert(value);
        }
    }
    let properties = message.properties.clone().with_headers(FieldTable::from(headers));
    (target, Message { properties, ..message })
}

/// A binding without wildcards takes only its own key.
fn routing_key(bound: &str, own: &str) -> String {
    if bound.contains(['*', '#']) { own.to_owned() } else { bound.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_without_wildcards_takes_its_own_key() {
        assert_eq!(routing_key("#", "batch_run_status"), "batch_run_status");
        assert_eq!(routing_key("events", "batch_run_status"), "events");
    }
}
