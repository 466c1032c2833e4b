//! `lockgate check`: what the configuration says, and everything that is wrong with it.
//!
//! Owns a readable view of a whole configuration. Connects to nothing, unless it is told to: then
//! [`doctor`] goes to every peer, and [`report`] tells what it found. Read these next.

mod doctor;
mod report;

use std::io::{self, Write};

use super::{Context, Fault};
use crate::config::endpoint::Endpoint;
use crate::config::{Config, TopologyMode};
use crate::logic::routing::{EventConfiguration, Pattern};
use crate::logic::test_event;

/// What `check` is told.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Goes to the bus and to every endpoint: name, TCP, TLS, login, each timed, with a remedy.
    /// Sends no event.
    #[arg(long)]
    connect: bool,
    /// Sends one test event to every endpoint as well.
    #[arg(long, requires = "connect")]
    send: bool,
    /// The test event's type and trigger.
    #[arg(long = "as", value_name = "TYPE/TRIGGER", requires = "send", default_value_t = Kind::own())]
    kind: Kind,
    /// Goes to this endpoint alone, also where it is disabled.
    #[arg(long, value_name = "NAME", requires = "connect")]
    endpoint: Option<String>,
    /// Prints one JSON object.
    #[arg(long, requires = "connect")]
    json: bool,
}

/// A test event's type and trigger, raw; neither is empty.
#[derive(Clone, Debug)]
struct Kind(String, String);

impl Kind {
    fn own() -> Self {
        Self(test_event::TYPE.into(), test_event::TRIGGER.into())
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.0, self.1)
    }
}

impl std::str::FromStr for Kind {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((kind, trigger)) if !kind.is_empty() && !trigger.is_empty() => {
                Ok(Self(kind.to_owned(), trigger.to_owned()))
            }
            _ => Err("expected TYPE/TRIGGER, for example Batch/batch_run_status"),
        }
    }
}

/// Loads the configuration and shows it, or what its peers say. Warnings and errors go to standard
/// error.
///
/// # Errors
/// When the configuration cannot be used, or a peer could not be reached as a delivery has to.
pub fn check(context: &mut Context<'_>, arguments: &Arguments) -> Result<(), Fault> {
    let config = context.config()?;
    if arguments.connect {
        return doctor::doctor(context, &config, arguments);
    }
    show(&config, context.out)?;
    Ok(())
}

fn show(config: &Config, out: &mut dyn Write) -> io::Result<()> {
    let source = &config.source;
    let topology = match source.topology {
        TopologyMode::Declare => "declare",
        TopologyMode::Verify => "verify",
        TopologyMode::Off => "off",
    };
    let short = config.digest.get(..12).unwrap_or_default();
    writeln!(out, "environment {}, configuration {short}", config.environment)?;
    writeln!(
        out,
        "source {} queue {:?}, {}, prefix {}, topology {topology}",
        source.url,
        source.queue,
        count(source.bindings.len(), "binding"),
        source.prefix
    )?;
    for endpoint in config.endpoints.values() {
        show_endpoint(endpoint, config, out)?;
    }
    let token = if config.admin.token.is_some() { "with a token" } else { "without a token" };
    writeln!(out, "admin http://{} {token}", config.admin.listen)?;
    writeln!(
        out,
        "{}, {}, {}",
        count(config.endpoints.len(), "endpoint"),
        count(config.routing.configurations().len(), "event configuration"),
        count(config.warnings.len(), "warning")
    )
}

fn show_endpoint(endpoint: &Endpoint, config: &Config, out: &mut dyn Write) -> io::Result<()> {
    let off = if endpoint.enabled { "" } else { ", disabled" };
    writeln!(
        out,
        "endpoint {}: {} {}, {} in flight{off}",
        endpoint.name,
        endpoint.transport.kind(),
        endpoint.transport.target(),
        endpoint.max_in_flight
    )?;
    let all = config.routing.configurations().iter();
    for configuration in all.filter(|c| c.endpoints.contains(&endpoint.name)) {
        writeln!(out, "  {}", line(configuration))?;
    }
    Ok(())
}

fn line(configuration: &EventConfiguration) -> String {
    let rendering = &configuration.rendering;
    let name = if configuration.own { "its own" } else { configuration.name.as_str() };
    format!(
        "{name}: {}{}{}{}",
        patterns(configuration),
        if rendering.metadata_in_payload { ", with Metadata" } else { "" },
        if rendering.payload.is_some() { ", with a payload filter" } else { "" },
        if configuration.enabled { "" } else { ", disabled" }
    )
}

/// The patterns of a configuration, as they are written in one.
pub(super) fn patterns(configuration: &EventConfiguration) -> String {
    let patterns: Vec<String> = configuration.patterns.iter().map(Pattern::to_string).collect();
    patterns.join(", ")
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
