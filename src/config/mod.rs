//! Floor 3: what the operator wrote, as types that cannot be wrong.
//!
//! Owns the layers, the keys, their defaults and every complaint about them. Refuses to act on
//! them. Read [`load`] for the course of things: [`layers`] are merged, secrets put in, tables
//! read (`sections`, [`endpoint`], [`event`]), and the rules between them applied ([`check`]).

pub mod change;
pub mod check;
pub mod endpoint;
pub mod event;
mod extract;
pub mod layers;
mod load;
pub mod report;
mod resolve;
mod rotation;
mod schema;
mod sections;
mod source;

pub use layers::Environment;
pub use load::{keyring, load, load_text};
pub use report::{Problem, Problems};
pub use resolve::{key_file, takes_credential};
pub use rotation::{Change, Held, Rotated, held_by_variables, rotate};
pub use schema::schema;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::event::Organization;
use crate::domain::names::Name;
use crate::logic::intake::IntakeSettings;
use crate::logic::routing::RoutingTable;
use crate::logic::secret::{Secret, SecretUrl};
use crate::transport::collector;
use crate::transport::tls::TlsSettings;

/// A whole, valid configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that says so, for complaints.
    pub file: String,
    /// The `--env` name.
    pub environment: String,
    /// `[organization]`
    pub organization: Organization,
    /// `[source]`
    pub source: Source,
    /// How messages become events: from `[source]`, `[organization]` and the environment.
    pub intake: IntakeSettings,
    /// All event configurations, with the endpoints' own.
    pub routing: RoutingTable,
    /// `[endpoints.*]`
    pub endpoints: BTreeMap<Name, endpoint::Endpoint>,
    /// `[admin]`
    pub admin: Admin,
    /// `[telemetry]`
    pub telemetry: Telemetry,
    /// `[runtime]`
    pub runtime: Runtime,
    /// What is no error but should be known, in words.
    pub warnings: Vec<check::Problem>,
    /// Lower-case hex SHA-256 over everything that is configured, credentials left out: for people
    /// who compare instances. Configurations that differ in credentials alone have the same.
    pub digest: String,
    /// The parts that a running bridge cannot take over, by key path.
    pub at_start: BTreeMap<String, change::Fingerprint>,
}

impl Config {
    /// A configuration from a text instead of a file, without environment variables: for what is
    /// embedded. `name` stands for the file in complaints.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn from_toml_str(name: &str, text: &str, environment: &str) -> Result<Self, Problems> {
        load_text(name, text, environment, &Environment::default())
    }
}

/// `[source]`: the platform's bus.
#[derive(Clone, Debug)]
pub struct Source {
    /// `amqp://` or `amqps://`; `username` and `password` are already merged in.
    pub url: SecretUrl,
    /// The queue that is consumed.
    pub queue: String,
    /// Where given, the queue is declared and bound so.
    pub bindings: Vec<Binding>,
    /// Unacknowledged messages at most; `None` is `auto`.
    pub prefetch: Option<u16>,
    /// Larger events are rejected.
    pub max_event_bytes: u64,
    /// What may be declared.
    pub topology: TopologyMode,
    /// The first part of every name that lockgate owns on RabbitMQ.
    pub prefix: String,
    /// For `amqps`.
    pub tls: TlsSettings,
    /// Default 10 s.
    pub heartbeat: Duration,
}

/// One binding of the source queue.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// The exchange, declared if it is not there. 1 to 255 bytes.
    #[schemars(length(min = 1, max = 255))]
    pub exchange: String,
    /// The kind of the exchange: `topic`, `direct`, `fanout` or `headers`.
    #[schemars(extend("enum" = ["topic", "direct", "fanout", "headers"]))]
    #[serde(rename = "type")]
    pub kind: String,
    /// The routing key, at most 255 bytes.
    #[schemars(length(max = 255))]
    #[serde(default)]
    pub routing_key: String,
}

/// What lockgate may do about missing queues and exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TopologyMode {
    /// Look first, declare what is missing, never redeclare.
    Declare,
    /// Look, and say what is missing.
    Verify,
    /// Trust.
    Off,
}

/// `[admin]`
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where the admin surface listens.
    pub listen: SocketAddr,
    /// Required where `listen` is not loopback.
    pub token: Option<Secret>,
    /// Host names that are accepted besides loopback's.
    pub hosts: Vec<String>,
    /// How many attempts each endpoint's delivery log keeps; 0 keeps none.
    pub attempt_log: usize,
}

/// `[telemetry]`
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// The form of the log.
    pub log_format: LogFormat,
    /// `[telemetry.otlp]`: where traces are exported to.
    pub otlp: Option<collector::Settings>,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[runtime]`
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Threads for endpoints; default: cores, at most 4.
    pub threads: usize,
    /// How long attempts in flight may go on after a stop.
    pub shutdown_grace: Duration,
}

/// Where the configuration is.
#[derive(Clone, Debug)]
pub struct Location {
    /// The folder with `<environment>.toml`.
    pub folder: PathBuf,
    /// The environment.
    pub environment: String,
}
