//! What is shown of an event: its attributes, what each configuration makes of it, and exactly what
//! each endpoint would be sent.
//!
//! Owns the two forms, for people and as JSON. Shows no credential.

use std::io::{self, Write};

use serde::Serialize;

use crate::cli::check::patterns;
use crate::config::Config;
use crate::config::endpoint::Endpoint;
use crate::domain::delivery::{Address, Failure, Message, Outgoing, TraceContext};
use crate::domain::event::{Context, Event, Shape};
use crate::logic::routing::{EventConfiguration, Route, Why};
use crate::logic::trace_context::{self, TRACEPARENT, TRACESTATE};
use crate::transport::http::Header;
use crate::transport::{self, Transport};
use crate::world;

/// Everything there is to know about one event.
#[derive(Debug, Serialize)]
pub struct Explanation {
    event: Attributes,
    configurations: Vec<Considered>,
    endpoints: Vec<Sent>,
}

#[derive(Debug, Serialize)]
struct Attributes {
    id: String,
    event_type: String,
    event_trigger: String,
    name: String,
    shape: &'static str,
    created_at: String,
    created_by: String,
    organization_id: String,
    organization_name: String,
    organization_url: String,
    source_environment: String,
    context: Context,
}

/// What one configuration means for one of its endpoints.
#[derive(Debug, Serialize)]
struct Considered {
    configuration: String,
    own: bool,
    events: String,
    endpoint: String,
    matched: bool,
    why: String,
}

/// What one endpoint would be sent.
#[derive(Debug, Serialize)]
struct Sent {
    endpoint: String,
    enabled: bool,
    configuration: String,
    transport: &'static str,
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exchange: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    routing_key: Option<String>,
    headers: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Failed>,
}

#[derive(Debug, Serialize)]
struct Failed {
    class: &'static str,
    reason: String,
    detail: String,
}

impl Explanation {
    /// Asks the configuration about an event that came in this message.
    #[must_use]
    pub fn new(event: &Event, message: &Message, config: &Config) -> Self {
        let trace = trace_context::of(message);
        let verdicts = config.routing.explain(event);
        let configurations = verdicts.into_iter().map(|verdict| Considered {
            configuration: verdict.configuration.name.to_string(),
            own: verdict.configuration.own,
            events: patterns(verdict.configuration),
            endpoint: verdict.endpoint.to_string(),
            matched: verdict.why == Why::Matched,
            why: why(&verdict.why, verdict.configuration),
        });
        let routes = config.routing.routes(event);
        let endpoints = routes.iter().filter_map(|route| {
            let endpoint = config.endpoints.get(route.endpoint)?;
            Some(Sent::new(event, trace.clone(), route, endpoint))
        });
        Self {
            event: Attributes::new(event),
            configurations: configurations.collect(),
            endpoints: endpoints.collect(),
        }
    }

    /// Prints it for people.
    ///
    /// # Errors
    /// When nobody reads it.
    pub fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        self.event.print(out)?;
        for considered in &self.configurations {
            let own = if considered.own { "endpoint's own" } else { "configuration" };
            let Considered { configuration, endpoint, why, .. } = considered;
            writeln!(out, "{own} {configuration} -> {endpoint}: {why}")?;
        }
        for sent in &self.endpoints {
            sent.print(out)?;
        }
        if self.endpoints.is_empty() {
            writeln!(out, "no configuration wants it: it is acknowledged and counted")?;
        }
        Ok(())
    }
}

fn why(why: &Why, configuration: &EventConfiguration) -> String {
    match why {
        Why::Matched => "matched".into(),
        Why::ShadowedBy(name) => format!("matches, but {name} comes first"),
        Why::Disabled => "matches, but is not enabled".into(),
        Why::NoMatch => format!("not matched by {}", patterns(configuration)),
    }
}

impl Attributes {
    fn new(event: &Event) -> Self {
        Self {
            id: event.id.clone(),
            event_type: event.event_type.clone(),
            event_trigger: event.event_trigger.clone(),
            name: event.name(),
            shape: match event.shape {
                Shape::Named => "named",
                Shape::Plain => "plain",
            },
            created_at: event.created_at.clone(),
            created_by: event.created_by.clone(),
            organization_id: event.organization.id.clone(),
            organization_name: event.organization.name.clone(),
            organization_url: event.organization.url.clone(),
            source_environment: event.source_environment.clone(),
            context: event.context.clone(),
        }
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "event {}", self.name)?;
        let fields = [
            ("id", &self.id),
            ("event_type", &self.event_type),
            ("event_trigger", &self.event_trigger),
            ("created_at", &self.created_at),
            ("created_by", &self.created_by),
            ("organization_id", &self.organization_id),
            ("organization_name", &self.organization_name),
            ("organization_url", &self.organization_url),
            ("source_environment", &self.source_environment),
        ];
        writeln!(out, "  shape: {}", self.shape)?;
        let context = self.context.iter().map(|(name, value)| (name.as_str(), value));
        for (name, value) in fields.into_iter().chain(context) {
            writeln!(out, "  {name}: {value}")?;
        }
        Ok(())
    }
}

impl Sent {
    fn new(
        event: &Event,
        trace: Option<TraceContext>,
        route: &Route<'_>,
        endpoint: &Endpoint,
    ) -> Self {
        let rendering = &route.configuration.rendering;
        let rendered =
            transport::render(&endpoint.transport, &endpoint.name, endpoint.body, rendering, event);
        let mut sent = Self {
            endpoint: endpoint.name.to_string(),
            enabled: endpoint.enabled,
            configuration: route.configuration.name.to_string(),
            transport: endpoint.transport.kind(),
            url: endpoint.transport.target(),
            topic: None,
            exchange: None,
            routing_key: None,
            headers: Vec::new(),
            body: None,
            failure: None,
        };
        match rendered {
            Ok(outgoing) => sent.fill(&endpoint.transport, Outgoing { trace, ..outgoing }),
            Err(Failure { class, reason, detail, retry_after: _ }) => {
                sent.failure = Some(Failed { class: class.as_str(), reason, detail });
            }
        }
        sent
    }

    fn fill(&mut self, transport: &Transport, outgoing: Outgoing) {
        self.headers = headers(transport, &outgoing);
        self.body = Some(String::from_utf8_lossy(&outgoing.body).into_owned());
        match outgoing.address {
            Address::Url => {}
            Address::Topic(topic) => self.topic = Some(topic),
            Address::Exchange { exchange, routing_key } => {
                (self.exchange, self.routing_key) = (Some(exchange), Some(routing_key));
            }
        }
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let parked = if self.enabled { "" } else { ", disabled: it is parked" };
        writeln!(out, "endpoint {} by {}{parked}", self.endpoint, self.configuration)?;
        writeln!(out, "  {} {}", self.transport, self.url)?;
        let places = [
            ("topic", &self.topic),
            ("exchange", &self.exchange),
            ("routing key", &self.routing_key),
        ];
        for (what, place) in places {
            if let Some(place) = place {
                writeln!(out, "  {what}: {place}")?;
            }
        }
        for (name, value) in &self.headers {
            writeln!(out, "  {name}: {value}")?;
        }
        if let Some(failure) = &self.failure {
            writeln!(out, "  fails ({}, {}): {}", failure.class, failure.reason, failure.detail)?;
        }
        if let Some(body) = &self.body {
            writeln!(out, "  body, {} bytes:\n{body}", body.len())?;
        }
        Ok(())
    }
}

/// What goes with the body, by the protocol's own names; credentials masked.
fn headers(transport: &Transport, outgoing: &Outgoing) -> Vec<(String, String)> {
    match transport {
        Transport::Mqtt(settings) => {
            vec![("QoS".into(), "2".into()), ("retain".into(), settings.retain.to_string())]
        }
        Transport::Amqp(_) => {
            let trace = outgoing.trace.as_ref();
            let state = trace.and_then(|trace| trace.state.as_ref());
            let trace = trace.map(|trace| (TRACEPARENT.into(), trace.parent.clone()));
            let always = [
                ("content_type".into(), "application/json".into()),
                ("delivery_mode".into(), "2".into()),
                ("message_id".into(), outgoing.event_id.clone()),
                ("type".into(), outgoing.event_name.clone()),
            ];
            let state = state.map(|state| (TRACESTATE.into(), state.clone()));
            always.into_iter().chain(trace).chain(state).collect()
        }
        Transport::Rest(settings) => shown(&settings.headers(outgoing)),
        Transport::Webhook(settings) => shown(&settings.headers(outgoing, world::now())),
    }
}

fn shown(headers: &[Header]) -> Vec<(String, String)> {
    headers.iter().map(|header| (header.name.clone(), header.shown().to_owned())).collect()
}
