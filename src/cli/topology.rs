//! `lockgate topology`: what an operator has to provide on RabbitMQ.
//!
//! Owns the view: the definitions file on standard output, ready to be imported, and the
//! permissions on standard error. Read [`crate::bus::topology`] for what is in it.

use std::collections::BTreeSet;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::{Context, Fault};
use crate::bus::topology::{self, Names, Permissions, SourceBinding, SourceQueue};
use crate::config::{Config, TopologyMode};
use crate::domain::names::Name;

/// Prints the definitions of this configuration, and the permissions that lockgate needs.
///
/// # Errors
/// When the configuration cannot be used.
pub fn topology(context: &mut Context<'_>) -> Result<(), Fault> {
    let config = context.config()?;
    let names = Names::new(&config.source.prefix);
    let source = source_queue(&config);
    let endpoints: Vec<Name> = config.endpoints.keys().cloned().collect();
    let objects = topology::objects(&names, &source, &endpoints, &rungs(&config));
    let vhost = vhost(&config);
    let definitions = topology::definitions(&objects, &vhost);
    let text = serde_json::to_string_pretty(&definitions)
        .map_err(|cause| Fault::failed(format!("cannot write the definitions: {cause}")))?;
    writeln!(context.out, "{text}")?;
    let declares = config.source.topology == TopologyMode::Declare;
    let needed = topology::permissions(&names, &source, declares);
    writeln!(context.err, "permissions on the virtual host {vhost}:")?;
    writeln!(context.err, "  configure {}", needed.configure)?;
    writeln!(context.err, "  write     {}", needed.write)?;
    writeln!(context.err, "  read      {}", needed.read)?;
    let Permissions { configure, write, read } = needed;
    writeln!(
        context.err,
        "  rabbitmqctl set_permissions -p '{vhost}' USER '{configure}' '{write}' '{read}'"
    )?;
    Ok(())
}

/// Every delay of every endpoint, once.
fn rungs(config: &Config) -> Vec<Duration> {
    let all = config.endpoints.values().flat_map(|endpoint| endpoint.retry.schedule.clone());
    all.collect::<BTreeSet<_>>().into_iter().collect()
}

fn source_queue(config: &Config) -> SourceQueue {
    let bindings = config.source.bindings.iter().map(|binding| SourceBinding {
        exchange: binding.exchange.clone(),
        kind: binding.kind.clone(),
        routing_key: binding.routing_key.clone(),
    });
    SourceQueue { queue: config.source.queue.clone(), bindings: bindings.collect() }
}

/// The virtual host that the source's URL names.
fn vhost(config: &Config) -> String {
    let named = config.source.url.expose().path().get(1..).unwrap_or("/");
    percent_decode_str(named).decode_utf8_lossy().into_owned()
}
