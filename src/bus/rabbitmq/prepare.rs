//! Preparing: everything that lockgate needs on RabbitMQ is there, or is said to be missing.
//!
//! Looks first and declares only what is missing: an object that exists is taken as it is, with
//! whatever arguments an operator gave it. A failed look closes its channel, so channels are used
//! until one is lost. Bindings cannot be looked at; binding again changes nothing. Read
//! [`super::rescue`] next.

use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, ExchangeKind};

use super::{ANSWER_TIMEOUT, Inner, Mode, bus_error, short};
use crate::bus::topology::{Object, objects};
use crate::bus::{BusError, TopologyReport};
use crate::domain::delivery::Headers;
use crate::domain::names::Name;
use crate::transport::amqp_link::{Link, LinkError, bounded};

pub(super) async fn run(
    inner: &Inner,
    endpoints: &[Name],
    rungs: &[Duration],
) -> Result<TopologyReport, BusError> {
    let mut report = TopologyReport::default();
    if inner.mode == Mode::Off {
        return Ok(report);
    }
    let consuming = inner.consuming().await?;
    let declare = inner.mode == Mode::Declare;
    let mut surveyor = Surveyor::new(&consuming.link);
    for object in objects(&inner.names, &inner.source, endpoints, rungs) {
        let done = surveyor.visit(&object, declare, !report.declared.is_empty()).await;
        match done.map_err(|error| refusal(&object, &error))? {
            Found::There => {}
            Found::Missing => {
                if let Some(endpoint) = owner(inner, &object, endpoints) {
                    let missing = report.incomplete.entry(endpoint.clone()).or_default();
                    missing.push(object.describe());
                }
                report.missing.push(object.describe());
            }
            Found::Declared => report.declared.push(object.describe()),
        }
    }
    if inner.source.bindings.is_empty() {
        let name = inner.source.queue.clone();
        let object = Object::Queue { name, arguments: Headers::default() };
        let found = surveyor.visit(&object, false, false).await;
        if matches!(found.map_err(|error| refusal(&object, &error))?, Found::Missing) {
            report.missing.push(object.describe());
        }
    }
    Ok(report)
}

/// The endpoint that a queue belongs to.
fn owner<'a>(inner: &Inner, object: &Object, endpoints: &'a [Name]) -> Option<&'a Name> {
    let Object::Queue { name: queue, .. } = object else { return None };
    let names = &inner.names;
    endpoints.iter().find(|e| names.parked_queue(e) == *queue || names.dead_queue(e) == *queue)
}

/// An error, with what the user would have to be allowed.
fn refusal(object: &Object, error: &LinkError) -> BusError {
    let plain = bus_error(&format!("prepare {}", object.describe()), error);
    let (LinkError::Reply { code: 403, .. }, BusError::Refused(text)) = (error, &plain) else {
        return plain;
    };
    let needed = match object {
        Object::Exchange { name, .. } => {
            format!(
                "configure on '{name}', and where it has an alternate exchange also read on it and write on that one"
            )
        }
        Object::Queue { name, .. } => {
            format!(
                "configure on '{name}', and where it dead-letters also read on it and write on that exchange"
            )
        }
        Object::Binding { exchange, queue, .. } => {
            format!("write on '{queue}', read on '{exchange}'")
        }
    };
    BusError::Refused(format!("{text} (needed: {needed})"))
}

/// What became of an object.
pub(super) enum Found {
    There,
    Missing,
    Declared,
}

/// Looks at objects, on channels that it opens anew when one is lost.
pub(super) struct Surveyor<'a> {
    link: &'a Link,
    channel: Option<Channel>,
}

impl<'a> Surveyor<'a> {
    pub(super) fn new(link: &'a Link) -> Self {
        Self { link, channel: None }
    }

    /// Looks whether it is there; never declares it.
    pub(super) async fn look(&mut self, object: &Object) -> Result<Found, LinkError> {
        self.visit(object, false, false).await
    }

    async fn visit(
        &mut self,
        object: &Object,
        declare: bool,
        something_new: bool,
    ) -> Result<Found, LinkError> {
        if matches!(object, Object::Binding { .. }) {
            return self.bind(object, declare, something_new).await;
        }
        match self.perform(object, true).await {
            Ok(()) => Ok(Found::There),
            Err(LinkError::Reply { code: 404, .. }) if !declare => Ok(Found::Missing),
            Err(LinkError::Reply { code: 404, .. }) => {
                self.perform(object, false).await.map(|()| Found::Declared)
            }
            Err(error) => Err(error),
        }
    }

    async fn bind(
        &mut self,
        object: &Object,
        declare: bool,
        something_new: bool,
    ) -> Result<Found, LinkError> {
        if !declare {
            return Ok(Found::There);
        }
        match self.perform(object, false).await {
            // Where an operator has made everything, the right to bind may well be missing too.
            Err(LinkError::Reply { code: 403, .. }) if !something_new => Ok(Found::There),
            done => done.map(|()| Found::There),
        }
    }

    async fn perform(&mut self, object: &Object, passive: bool) -> Result<(), LinkError> {
        let channel = match self.channel.take().filter(|channel| channel.status().connected()) {
            Some(channel) => channel,
            None => self.link.channel(ANSWER_TIMEOUT).await?,
        };
        let done = perform(&channel, object, passive).await;
        if done.is_ok() {
            self.channel = Some(channel);
        }
        done
    }
}

async fn perform(channel: &Channel, object: &Object, passive: bool) -> Result<(), LinkError> {
    match object {
        Object::Exchange { name, kind, arguments } => {
            let options = ExchangeDeclareOptions { passive, durable: true, ..Default::default() };
            let kind = ExchangeKind::Custom(kind.clone());
            let work = channel.exchange_declare(short(name)?, kind, options, arguments.clone());
            bounded(ANSWER_TIMEOUT, work).await
        }
        Object::Queue { name, arguments } => {
            let options = QueueDeclareOptions { passive, durable: true, ..Default::default() };
            let work = channel.queue_declare(short(name)?, options, arguments.clone());
            bounded(ANSWER_TIMEOUT, work).await.map(|_| ())
        }
        Object::Binding { exchange, queue, routing_key } => {
            let options = QueueBindOptions::default();
            let (queue, exchange, key) = (short(queue)?, short(exchange)?, short(routing_key)?);
            let work = channel.queue_bind(queue, exchange, key, options, FieldTable::default());
            bounded(ANSWER_TIMEOUT, work).await
        }
    }
}
