//! The amqp transport: an exchange on a partner's RabbitMQ.
//!
//! Owns the endpoint's `amqp` table and its publisher. Refuses to declare anything there: the
//! exchanges are the partner's. Read [`super::amqp_link`] for how a publish is confirmed.

use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use lapin::types::ShortString;
use lapin::uri::{AMQPScheme, AMQPUri};
use serde::Deserialize as _;
use url::Url;

use super::amqp_link::keeper::Keeper;
use super::amqp_link::lanes::{LaneSettings, Lanes, Publication};
use super::amqp_link::{Link, LinkError, LinkSettings, examine, uri};
use super::examine::{Examination, not_prepared};
use super::tls::certificate::Peer;
use super::tls::{self, TlsSettings};
use super::{BuildError, Complaint, Instance, Publisher, Session, timeline};
use crate::domain::delivery::{
    Address, Failure, HeaderValue, Headers, Outcome, Outgoing, Properties,
};
use crate::domain::event::Event;
use crate::domain::names::Name;
use crate::logic::attempt_log::Step;
use crate::logic::schema::DurationText;
use crate::logic::secret::{Secret, SecretUrl, has_user};
use crate::logic::trace_context::{TRACEPARENT, TRACESTATE};

/// The longest name, routing key and short property that AMQP has, in bytes.
const SHORT: usize = 255;
/// The longest timeout: no delivery stays unacknowledged for more.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(300);
/// Counts where the URL names none.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// The longest wait between two attempts to open a persistent connection.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How a persistent connection publishes: a window of 256.
const LANES: usize = 2;
const BATCH: usize = 128;

/// The endpoint's `amqp` table.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the partner listens: `amqps://host/vhost`. `amqps` where no scheme is written; the
    /// virtual host `/` where there is no path.
    #[serde(deserialize_with = "lenient_url")]
    #[schemars(with = "SecretUrl")]
    pub url: SecretUrl,
    /// Who logs in, instead of a user in the URL; `guest` where there is neither.
    #[serde(default)]
    #[schemars(with = "Option<Secret>")]
    pub username: Option<String>,
    /// With this password.
    #[serde(default)]
    pub password: Option<Secret>,
    /// `"per-event"` (default) or `"persistent"`.
    #[serde(default)]
    pub session: Session,
    /// Bounds a whole attempt, from connecting to the confirm. Default 10 s, at most 5 min.
    #[serde(default = "default_timeout", with = "humantime_serde")]
    #[schemars(with = "DurationText")]
    pub timeout: Duration,
    /// For `amqps`.
    #[serde(default)]
    pub tls: TlsSettings,
}

fn default_timeout() -> Duration {
    Duration::from_secs(10)
}

fn lenient_url<'de, D: serde::Deserializer<'de>>(from: D) -> Result<SecretUrl, D::Error> {
    let text = String::deserialize(from)?;
    // The parser's error does not hold the text.
    Url::parse(&uri::with_scheme(&text)).map(SecretUrl::new).map_err(serde::de::Error::custom)
}

impl Settings {
    /// The URL without user part and query.
    #[must_use]
    pub fn target(&self) -> String {
        self.url.to_string()
    }

    /// Examines the server; gives something when a publish could follow.
    pub(super) async fn examine(
        &self,
        exam: &mut Examination,
        endpoint: &Name,
        instance: &Instance,
    ) -> Option<()> {
        let link = match self.link(endpoint.as_str(), instance) {
            Ok(link) => link,
            Err(error) => {
                let refused = async |()| Err(not_prepared(&error));
                return exam.step("prepare", Some(()), (self.timeout, "prepare"), refused).await;
            }
        };
        let found = examine::examine(exam, &link, &self.tls, &self.target()).await?;
        found.close().await;
        Some(())
    }

    /// The exchange and routing key of an event: its type and its trigger, raw.
    ///
    /// # Errors
    /// A permanent failure when one is longer than 255 bytes.
    pub fn address(&self, event: &Event) -> Result<Address, Failure> {
        let exchange = short("the event's type", "exchange_too_long", &event.event_type)?;
        let key = short("the event's trigger", "routing_key_too_long", &event.event_trigger)?;
        Ok(Address::Exchange { exchange: exchange.to_owned(), routing_key: key.to_owned() })
    }

    /// What is wrong with these settings: the key within the table, what, and what to do.
    #[must_use]
    pub fn validate(&self) -> Vec<Complaint> {
        let mut found = Vec::new();
        let mut wrong = |key: &str, message: &str, hint: &str| {
            found.push((key.to_owned(), message.to_owned(), Some(hint.to_owned())));
        };
        if let Err(problem) = self.uri() {
            wrong("url", problem.message, problem.hint);
        }
        let url = self.url.expose();
        let has_user = has_user(url);
        if has_user && (self.username.is_some() || self.password.is_some()) {
            wrong("username", "the URL names a user too", "keep one of the two");
        }
        if self.password.is_some() && self.username.is_none() && !has_user {
            wrong("password", "there is no user to it", "add `username`");
        }
        if self.timeout.is_zero() || self.timeout > LONGEST_TIMEOUT {
            wrong("timeout", "must be more than 0 and at most 5m", "the default is \"10s\"");
        }
        if url.scheme() == "amqp" && self.tls != TlsSettings::default() {
            wrong("tls", "has no meaning without TLS", "write the URL with amqps://");
        }
        found
    }

    /// The keys of this table that hold credentials.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        let password = self.password.as_ref().map(|_| "password".to_owned());
        let url = has_user(self.url.expose()).then(|| "url".to_owned());
        password.into_iter().chain(url).collect()
    }

    fn uri(&self) -> Result<AMQPUri, uri::UriProblem> {
        let password = self.password.as_ref().map(Secret::expose);
        uri::parse(self.url.expose(), self.username.as_deref(), password, HEARTBEAT)
    }

    fn link(&self, endpoint: &str, instance: &Instance) -> Result<LinkSettings, BuildError> {
        let uri = self.uri().map_err(|problem| BuildError(problem.to_string()))?;
        let tls = match uri.scheme {
            AMQPScheme::AMQP => None,
            AMQPScheme::AMQPS => {
                let peer = Peer::endpoint(endpoint, &uri.authority.host);
                Some(tls::client_config_noting(&self.tls, peer)?)
            }
        };
        let name = format!("lockgate {} {endpoint}", instance.id);
        Ok(LinkSettings { uri, tls, name, timeout: self.timeout })
    }
}

fn short<'a>(what: &str, reason: &str, text: &'a str) -> Result<&'a str, Failure> {
    if text.len() > SHORT {
        let detail = format!("{what} has {} bytes; AMQP takes {SHORT}", text.len());
        return Err(Failure::permanent(reason, detail));
    }
    Ok(text)
}

/// The publisher of an endpoint. Must be called on a tokio runtime, which then does its work.
///
/// # Errors
/// When what the settings name cannot be loaded.
pub fn publisher(
    settings: &Settings,
    endpoint: &str,
    instance: &Instance,
) -> Result<Rc<dyn Publisher>, BuildError> {
    let link = settings.link(endpoint, instance)?;
    let timeout = settings.timeout;
    let host = link.uri.authority.host.clone();
    let kept = match settings.session {
        Session::PerEvent => None,
        Session::Persistent => {
            let runtime = tokio::runtime::Handle::try_current()
                .map_err(|_| BuildError("there is no tokio runtime".into()))?;
            let link = link.clone();
            let lanes = lanes(LANES, BATCH, timeout);
            Some(Keeper::new(runtime, LONGEST_WAIT, move || {
                let link = link.clone();
                async move { Ok(Lanes::open(Link::open(&link).await?, lanes)) }.boxed()
            }))
        }
    };
    Ok(Rc::new(Amqp { link, kept, timeout, host }))
}

/// An impatient window: a partner's alarm must not hold an attempt beyond its timeout.
fn lanes(lanes: usize, batch: usize, confirm_timeout: Duration) -> LaneSettings {
    LaneSettings { lanes, batch, confirm_timeout, patient: false }
}

struct Amqp {
    link: LinkSettings,
    kept: Option<Keeper<Lanes>>,
    timeout: Duration,
    host: String,
}

impl Amqp {
    async fn attempt(&self, publication: Publication) -> Result<(), LinkError> {
        let Some(keeper) = &self.kept else { return self.once(publication).await };
        let attempt = async {
            timeline::begin(Step::Queue);
            let lanes = keeper.get().await?;
            timeline::begin(Step::Confirm);
            lanes.publish(publication).await
        };
        if let Ok(done) = tokio::time::timeout(self.timeout, attempt).await {
            return done;
        }
        // It may be blocked or silent: nothing more is sent on it, not even later.
        if let Some(lanes) = keeper.current() {
            lanes.link().cut();
        }
        Err(LinkError::Timeout(self.timeout))
    }

    /// Connects, publishes one message, says goodbye.
    async fn once(&self, publication: Publication) -> Result<(), LinkError> {
        let attempt = async {
            timeline::begin(Step::Connect);
            let link = Link::open(&self.link).await?;
            timeline::begin(Step::Confirm);
            let lanes = Lanes::open(link, lanes(1, 1, self.timeout));
            let done = lanes.publish(publication).await;
            Ok::<_, LinkError>((lanes, done))
        };
        let (lanes, done) = tokio::time::timeout(self.timeout, attempt)
            .await
            .map_err(|_| LinkError::Timeout(self.timeout))??;
        timeline::end();
        // Bounded; what came of the attempt is known already.
        lanes.link().close().await;
        done
    }
}

/// The message for an attempt.
fn publication(outgoing: &Outgoing) -> Result<Publication, LinkError> {
    let Address::Exchange { exchange, routing_key } = &outgoing.address else {
        return Err(LinkError::Illegal("the address is no exchange".into()));
    };
    Publication::new(exchange, routing_key, properties(outgoing)?, outgoing.body.clone())
}

/// Its properties: persistent, JSON, with the event's id and name, and its trace as headers.
fn properties(outgoing: &Outgoing) -> Result<Properties, LinkError> {
    let text = |what: &str, value: &str| {
        ShortString::try_new(value.to_owned())
            .map_err(|_| LinkError::Illegal(format!("{what} is longer than {SHORT} bytes")))
    };
    let properties = Properties::default()
        .with_delivery_mode(2)
        .with_content_type("application/json".into())
        .with_message_id(text("the event's id", &outgoing.event_id)?)
        .with_type(text("the event's name", &outgoing.event_name)?);
    let Some(trace) = &outgoing.trace else { return Ok(properties) };
    let parent = [(TRACEPARENT, &trace.parent)];
    let state = trace.state.iter().map(|state| (TRACESTATE, state));
    let mut headers = Headers::default();
    for (name, value) in parent.into_iter().chain(state) {
        headers.insert(name.into(), HeaderValue::LongString(value.as_str().into()));
    }
    Ok(properties.with_headers(headers))
}

impl Publisher for Amqp {
    fn publish(self: Rc<Self>, outgoing: Rc<Outgoing>) -> LocalBoxFuture<'static, Outcome> {
        async move {
            let attempt = async { self.attempt(publication(&outgoing)?).await };
            attempt
                .await
                .map_err(|error| error.failure(&format!("publish to {}", self.host)))
                .into()
        }
        .boxed_local()
    }

    fn close(self: Rc<Self>) -> LocalBoxFuture<'static, ()> {
        async move {
            if let Some(lanes) = self.kept.as_ref().and_then(Keeper::close) {
                lanes.link().close().await;
            }
        }
        .boxed_local()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::TraceContext;

    fn settings(rest: serde_json::Value) -> Settings {
        serde_json::from_value(rest).unwrap()
    }

    fn event(event_type: &str, event_trigger: &str) -> Event {
        Event {
            id: "e-1".into(),
            event_type: event_type.into(),
            event_trigger: event_trigger.into(),
            created_at: "2026-06-18T00:00:00.000Z".into(),
            created_by: String::new(),
            organization: crate::domain::event::Organization::default(),
            source_environment: String::new(),
            context: crate::domain::event::Context::new(),
            shape: crate::domain::event::Shape::Plain,
            body: "{}".into(),
            payload: "{}".into(),
        }
    }

    #[test]
    fn a_table_with_a_url_alone_has_the_defaults() {
        let found = settings(serde_json::json!({ "url": "user:secret@mq.example.com/plant" }));
        assert_eq!(found.session, Session::PerEvent);
        assert_eq!(found.timeout.as_secs(), 10);
        assert_eq!(found.target(), "amqps://mq.example.com/plant");
        assert_eq!(found.secrets(), ["url"]);
        assert_eq!(found.validate(), []);
        assert!(!format!("{found:?}").contains("secret"));
    }

    #[test]
    fn the_keys_with_credentials_are_told() {
        let check = |table: serde_json::Value, keys: &[&str]| {
            assert_eq!(settings(table.clone()).secrets(), keys, "{table}");
        };
        check(serde_json::json!({ "url": "h" }), &[]);
        check(serde_json::json!({ "url": "u:p@h" }), &["url"]);
        check(serde_json::json!({ "url": "u@h" }), &["url"]);
        check(serde_json::json!({ "url": "h", "username": "u", "password": "p" }), &["password"]);
    }

    #[test]
    fn every_problem_is_named_with_its_key() {
        for (table, keys) in [
            (serde_json::json!({ "url": "http://h" }), &["url"][..]),
            (serde_json::json!({ "url": "amqps://h/" }), &["url"]),
            (serde_json::json!({ "url": "a@h", "username": "b" }), &["username"]),
            (serde_json::json!({ "url": "h", "password": "b" }), &["password"]),
            (serde_json::json!({ "url": "h", "timeout": "6m" }), &["timeout"]),
            (serde_json::json!({ "url": "h", "timeout": "0s" }), &["timeout"]),
            (serde_json::json!({ "url": "amqp://h", "tls": { "verify": false } }), &["tls"]),
            (serde_json::json!({ "url": "h", "tls": { "verify": false } }), &[]),
            (serde_json::json!({ "url": "h", "username": "a", "password": "b" }), &[]),
        ] {
            let found: Vec<String> =
                settings(table.clone()).validate().into_iter().map(|(key, ..)| key).collect();
            assert_eq!(found, keys, "{table}");
        }
    }

    #[test]
    fn an_event_goes_to_its_type_with_its_trigger_as_they_are() {
        let settings = settings(serde_json::json!({ "url": "h" }));
        let found = settings.address(&event("Procedure Run", "step_execution")).unwrap();
        let wanted = Address::Exchange {
            exchange: "Procedure Run".into(),
            routing_key: "step_execution".into(),
        };
        assert_eq!(found, wanted);
        let long = "ü".repeat(128);
        for (found, reason) in [
            (settings.address(&event("a", &long)), "routing_key_too_long"),
            (settings.address(&event(&long, "a")), "exchange_too_long"),
        ] {
            let failure = found.unwrap_err();
            assert_eq!(failure.class, crate::domain::delivery::Class::Permanent);
            assert_eq!(failure.reason, reason);
        }
    }

    #[test]
    fn a_message_has_headers_only_where_there_is_a_trace() {
        let headers = |trace: Option<TraceContext>| {
            let address = Address::Exchange { exchange: "e".into(), routing_key: "k".into() };
            let (event_id, event_name) = ("1".to_owned(), "a.b".to_owned());
            let outgoing = Outgoing { event_id, event_name, address, body: "{}".into(), trace };
            properties(&outgoing).unwrap().headers().clone()
        };
        assert_eq!(headers(None), None);
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned();
        for (state, count) in [(None, 1), (Some("a=1".to_owned()), 2)] {
            let trace = TraceContext { parent: parent.clone(), state: state.clone() };
            let found = headers(Some(trace)).unwrap();
            let text = |text: &str| HeaderValue::LongString(text.into());
            assert_eq!(found.inner().len(), count);
            assert_eq!(found.inner().get(TRACEPARENT), Some(&text(&parent)));
            assert_eq!(found.inner().get(TRACESTATE), state.as_deref().map(text).as_ref());
        }
    }

    #[test]
    fn an_id_that_amqp_cannot_carry_is_refused_before_anything_is_sent() {
        let mut outgoing = Outgoing {
            event_id: "i".repeat(256),
            event_name: "a.b".into(),
            address: Address::Exchange { exchange: "e".into(), routing_key: "k".into() },
            body: "{}".into(),
            trace: None,
        };
        assert!(matches!(publication(&outgoing), Err(LinkError::Illegal(_))));
        outgoing.event_id.truncate(255);
        assert!(publication(&outgoing).is_ok());
    }
}
