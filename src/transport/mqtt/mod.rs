//! The mqtt transport: `QoS` 2 publishes to the partner's broker, by MQTT 3.1.1.
//!
//! Owns the endpoint's `mqtt` table and builds its publisher. Refuses to know topics' grammar
//! ([`crate::logic::topic`]) and what an answer means ([`crate::logic::classify::mqtt`]). Read
//! [`check`] for the rules of the table, then [`dial`] (how a connection comes about),
//! [`per_event`], and [`persistent`] over [`link`]; [`failure`] reads the library's errors;
//! [`examine`] goes through all this without publishing.

mod check;
mod dial;
mod examine;
mod failure;
mod flight;
mod link;
mod per_event;
mod persistent;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytesize::ByteSize;

use self::dial::Dialer;
use super::tls::TlsSettings;
use super::{BuildError, Instance, Publisher, Session};
use crate::domain::delivery::Failure;
use crate::domain::event::{Context, Event};
use crate::logic::schema::{DurationText, SizeText};
use crate::logic::secret::{Secret, SecretUrl};
use crate::logic::topic::{self, TopicPattern};

/// Simultaneous connections of one endpoint with a session per event, at most: with more, stock
/// brokers overflow their listen backlog and connections stall.
pub const MAX_CONNECTIONS: u16 = 64;

/// Publishes in flight on one persistent connection, at most.
pub const MAX_PIPELINED: u16 = 1_000;

/// The endpoint's `mqtt` table.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The broker: `mqtt`, `mqtts`, `tcp`, `tls`, `ws` or `wss`. A user part means `username` and
    /// `password`, and excludes them.
    #[schemars(schema_with = "check::url_schema")]
    pub url: SecretUrl,
    /// The user for CONNECT.
    #[serde(default)]
    #[schemars(with = "Option<Secret>")]
    pub username: Option<String>,
    /// The password for CONNECT; needs a username.
    #[serde(default)]
    pub password: Option<Secret>,
    /// How long a connection lasts.
    #[serde(default)]
    pub session: Session,
    /// What client identifiers begin with; default `lockgate-<endpoint>`.
    #[serde(default)]
    pub client_id: Option<String>,
    /// Takes `client_id` as it stands, which limits the endpoint to one connection.
    #[serde(default)]
    pub client_id_exact: bool,
    /// Publishes with the retain flag.
    #[serde(default)]
    pub retain: bool,
    /// For name, TCP, TLS, WebSocket and CONNACK together. 1 ms to 5 min, default 10 s.
    #[serde(default = "ten_seconds", with = "humantime_serde")]
    #[schemars(with = "DurationText")]
    pub connect_timeout: Duration,
    /// From the publish to its PUBCOMP. 1 ms to 5 min, default 10 s.
    #[serde(default = "ten_seconds", with = "humantime_serde")]
    #[schemars(with = "DurationText")]
    pub publish_timeout: Duration,
    /// A larger PUBLISH packet is refused. 1 KiB to 256 MiB, default 1 MiB.
    #[serde(default = "one_mebibyte")]
    #[schemars(with = "SizeText")]
    pub max_packet_size: ByteSize,
    /// The topic of events that have no standard topic.
    #[serde(default)]
    #[schemars(with = "Option<String>", extend("examples" = ["{enterprise}/{site}/{area}/{cell}/{event}"]))]
    pub topic_pattern: Option<TopicPattern>,
    /// Which events the pattern serves.
    #[serde(default)]
    pub topic_pattern_for: PatternScope,
    /// Values for the pattern's ISA-95 variables where the event has none.
    #[serde(default)]
    #[schemars(extend("propertyNames" = check::context_fields()))]
    pub topic_defaults: BTreeMap<String, String>,
    /// Where in the payload these values stand, as JSON pointers; before the defaults.
    #[serde(default)]
    #[schemars(extend("propertyNames" = check::context_fields()))]
    pub topic_fields: BTreeMap<String, String>,
    /// For `mqtts`, `tls` and `wss`.
    #[serde(default)]
    pub tls: TlsSettings,
}

/// Which events a topic pattern serves.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    serde::Deserialize,
    serde::Serialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum PatternScope {
    /// Those without a standard topic.
    #[default]
    Named,
    /// The known ones too.
    All,
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

fn one_mebibyte() -> ByteSize {
    ByteSize::mib(1)
}

impl Settings {
    /// The URL without user part and query.
    #[must_use]
    pub fn target(&self) -> String {
        self.url.to_string()
    }

    /// The topic of an event.
    ///
    /// # Errors
    /// A permanent failure when it is illegal.
    pub fn topic(&self, event: &Event) -> Result<String, Failure> {
        let for_all = self.topic_pattern_for == PatternScope::All;
        let context = self.context(event);
        topic::event_topic(self.topic_pattern.as_ref(), for_all, event, &context)
    }

    /// The event's own context, filled up from its payload, then from the defaults.
    fn context(&self, event: &Event) -> Context {
        let mut context = event.context.clone();
        if self.topic_pattern.is_none() {
            return context;
        }
        let found = topic::pointer_fields(&event.payload, &self.topic_fields);
        let defaults = self.topic_defaults.clone();
        for (field, value) in found.into_iter().chain(defaults) {
            if !value.is_empty() {
                context.entry(field).or_insert(value);
            }
        }
        context
    }

    /// Attempts at once where the endpoint does not say: 32 per event, 20 persistent, and never
    /// more than [`Self::max_in_flight_limit`].
    #[must_use]
    pub fn default_in_flight(&self) -> u16 {
        let usual = match self.session {
            Session::PerEvent => 32,
            Session::Persistent => 20,
        };
        self.max_in_flight_limit().map_or(usual, |limit| usual.min(limit))
    }

    /// The largest `max_in_flight` that the endpoint may have. With a session per event that is
    /// the number of connections: one, where every connection has the same client identifier.
    #[must_use]
    pub fn max_in_flight_limit(&self) -> Option<u16> {
        match (self.session, self.client_id_exact) {
            (Session::PerEvent, true) => Some(1),
            (Session::PerEvent, false) => Some(MAX_CONNECTIONS),
            (Session::Persistent, _) => Some(MAX_PIPELINED),
        }
    }
}

/// The publisher of an endpoint. Connects to nothing yet.
///
/// # Errors
/// When what the settings name cannot be loaded.
pub fn publisher(
    settings: &Settings,
    endpoint: &str,
    instance: &Instance,
) -> Result<Rc<dyn Publisher>, BuildError> {
    let dialer = Dialer::new(settings, endpoint, instance)?;
    Ok(match settings.session {
        Session::PerEvent => {
            let places = settings.max_in_flight_limit().unwrap_or(MAX_CONNECTIONS);
            Rc::new(per_event::PerEvent::new(dialer, places))
        }
        Session::Persistent => Rc::new(persistent::Persistent::new(dialer)),
    })
}

#[cfg(test)]
mod tests {
    use figment::Figment;
    use figment::providers::{Format as _, Toml};

    use super::*;
    use crate::domain::event::{Organization, Shape};

    pub(super) fn settings(table: &str) -> Settings {
        Figment::from(Toml::string(table)).extract().unwrap()
    }

    fn event(context: &[(&str, &str)], payload: &'static str) -> Event {
        Event {
            id: "1".into(),
            event_type: "operation".into(),
            event_trigger: "completed".into(),
            created_at: "2026-06-18T00:00:00.000Z".into(),
            created_by: String::new(),
            organization: Organization::default(),
            source_environment: String::new(),
            context: context.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            shape: Shape::Plain,
            body: payload.into(),
            payload: payload.into(),
        }
    }

    #[test]
    fn a_url_is_all_that_an_endpoint_needs() {
        let settings = settings("url = 'mqtt://broker.example.com'");
        assert_eq!(settings.session, Session::PerEvent);
        assert_eq!(settings.connect_timeout, Duration::from_secs(10));
        assert_eq!(settings.publish_timeout, Duration::from_secs(10));
        assert_eq!(settings.max_packet_size.as_u64(), 1 << 20);
        assert_eq!(settings.topic_pattern_for, PatternScope::Named);
        assert!(!settings.retain && !settings.client_id_exact && settings.tls.verify);
        assert_eq!(settings.target(), "mqtt://broker.example.com");
    }

    #[test]
    fn sizes_are_texts_with_units_or_plain_numbers() {
        let check = |size: &str, bytes: u64| {
            let settings = settings(&format!("url = 'mqtt://b'\nmax_packet_size = {size}"));
            assert_eq!(settings.max_packet_size.as_u64(), bytes, "{size}");
        };
        check("'1MiB'", 1 << 20);
        check("'64 KiB'", 64 << 10);
        check("4096", 4_096);
        check("'4096'", 4_096);
    }

    #[test]
    fn what_the_table_does_not_know_is_refused() {
        for line in ["qos = 1", "session = 'forever'", "tls = { verfy = true }", "retain = 'yes'"] {
            let table = format!("url = 'mqtt://b'\n{line}");
            let refused = Figment::from(Toml::string(&table)).extract::<Settings>();
            assert!(refused.is_err(), "{line}");
        }
    }

    #[test]
    fn the_session_sets_how_many_may_be_in_flight() {
        let check = |lines: &str, usual, limit| {
            let settings = settings(&format!("url = 'mqtt://b'\n{lines}"));
            assert_eq!(settings.default_in_flight(), usual, "{lines}");
            assert_eq!(settings.max_in_flight_limit(), Some(limit), "{lines}");
        };
        check("", 32, 64);
        check("session = 'persistent'", 20, 1_000);
        check("client_id = 'x'\nclient_id_exact = true", 1, 1);
        check("session = 'persistent'\nclient_id = 'x'\nclient_id_exact = true", 20, 1_000);
    }

    #[test]
    fn the_event_goes_before_its_payload_and_the_payload_before_the_defaults() {
        let settings = settings(
            "url = 'mqtt://b'
            topic_pattern = '{enterprise}/{site}/{area}/{cell}/{event}'
            topic_defaults = { enterprise = 'd1', site = 'd2', area = 'd3', cell = '' }
            topic_fields = { enterprise = '/a', site = '/b' }",
        );
        let context = settings.context(&event(&[("enterprise", "e1")], r#"{"a":"p1","b":"p2"}"#));
        let expected = [("enterprise", "e1"), ("site", "p2"), ("area", "d3")];
        assert_eq!(context, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    }

    #[test]
    fn nothing_prints_a_credential() {
        let settings =
            settings("url = 'mqtt://user:hunter2@b/?token=hunter3'\npassword = 'hunter4'");
        let shown = format!("{settings:?} {}", settings.target());
        assert!(!shown.contains("hunter"), "{shown}");
    }
}
