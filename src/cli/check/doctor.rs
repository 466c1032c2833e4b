//! `lockgate check --connect`: goes to the bus and to every endpoint as a delivery would.
//!
//! Owns who is examined, side by side, and what is sent. Refuses to know a protocol: that is
//! [`crate::transport::examine`] and [`crate::bus::rabbitmq::examine`]. Read [`super::report`] next.

use std::str::FromStr as _;

use futures_util::StreamExt as _;
use futures_util::future::{OptionFuture, join};
use futures_util::stream;

use super::report::{self, Examined, Report};
use super::{Arguments, Kind};
use crate::app;
use crate::bus::rabbitmq::examine::examine as examine_bus;
use crate::cli::{Context, Fault};
use crate::config::Config;
use crate::config::endpoint::Endpoint;
use crate::domain::event::Event;
use crate::domain::names::Name;
use crate::logic::diagnosis::Step;
use crate::logic::test_event::test_event;
use crate::transport::Instance;
use crate::transport::examine::{Addressee, Sending, examine};
use crate::world;

/// How many endpoints are examined at once.
const AT_ONCE: usize = 32;
/// Why nothing is sent.
const NOT_ASKED: &str = "made with --send only";
const DISABLED: &str = "the endpoint is disabled; --endpoint NAME sends to it all the same";

/// Examines everything, prints what was found.
///
/// # Errors
/// When something failed, or `--endpoint` names none.
pub(super) fn doctor(
    context: &mut Context<'_>,
    config: &Config,
    arguments: &Arguments,
) -> Result<(), Fault> {
    let one = arguments.endpoint.as_deref().map(|name| find(config, name)).transpose()?;
    let instance = Instance { id: world::unique() };
    let report = actix_rt::System::new().block_on(async {
        let visit = Visit { config, instance: &instance, arguments, named: one.is_some() };
        let chosen: Vec<&Endpoint> =
            one.map_or_else(|| config.endpoints.values().collect(), |endpoint| vec![endpoint]);
        let bus = OptionFuture::from(one.is_none().then(|| visit.bus()));
        let endpoints = chosen.into_iter().map(|endpoint| visit.endpoint(endpoint));
        let endpoints = stream::iter(endpoints).buffered(AT_ONCE).collect::<Vec<_>>();
        let (bus, endpoints) = join(bus, endpoints).await;
        Report { config, bus, endpoints }
    });
    if arguments.json {
        let text = serde_json::to_string_pretty(&report.json())
            .map_err(|cause| Fault::failed(format!("cannot write the report: {cause}")))?;
        writeln!(context.out, "{text}")?;
    } else {
        report::show(&report, context.out)?;
    }
    let failed = report.failed();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Fault::failed(format!("not well: {}", failed.join(", "))))
    }
}

fn find<'a>(config: &'a Config, name: &str) -> Result<&'a Endpoint, Fault> {
    let found = Name::from_str(name).ok().and_then(|name| config.endpoints.get(&name));
    found.ok_or_else(|| {
        let known: Vec<&str> = config.endpoints.keys().map(Name::as_str).collect();
        let hint = format!("configured are: {}", known.join(", "));
        Fault::usage(format!("no endpoint is called {name:?}"), hint)
    })
}

/// One round.
struct Visit<'a> {
    config: &'a Config,
    instance: &'a Instance,
    arguments: &'a Arguments,
    /// One endpoint was named.
    named: bool,
}

impl<'a> Visit<'a> {
    async fn bus(&self) -> Vec<Step> {
        let settings = app::rabbit_settings(self.config, self.instance);
        let endpoints: Vec<Name> = self.config.endpoints.keys().cloned().collect();
        examine_bus(&settings, &endpoints, &app::rungs(self.config)).await
    }

    async fn endpoint(&self, endpoint: &'a Endpoint) -> Examined<'a> {
        let event = self.event();
        let sending = match (self.arguments.send, endpoint.enabled || self.named) {
            (true, true) => Sending::Event(&event),
            (true, false) => Sending::Nothing(DISABLED),
            (false, _) => Sending::Nothing(NOT_ASKED),
        };
        let to = Addressee { name: &endpoint.name, form: endpoint.body, instance: self.instance };
        Examined { endpoint, steps: examine(&endpoint.transport, to, sending).await }
    }

    fn event(&self) -> Event {
        let Kind(event_type, event_trigger) = &self.arguments.kind;
        let intake = &self.config.intake;
        let (organization, environment) = (&intake.organization, &intake.environment);
        let kind = (event_type.as_str(), event_trigger.as_str());
        let (id, now) = (world::unique(), world::now());
        test_event(kind, id, now, organization.clone(), environment.clone())
    }
}
