//! Floor 6: the demonstration's other side. Partners inside the process, so that everything can be
//! seen at work without a server.
//!
//! Owns the embedded [`broker`], the HTTP [`receivers`], the [`table`] on the terminal and the
//! configuration that points at them. Refuses to make or bridge events: the `demo` command does
//! that with [`crate::samples`] and the memory bus. Read [`broker`] next.

pub mod broker;
pub mod receivers;
pub mod table;

use std::fmt::Write as _;
use std::io;

/// The webhook's secret. Known to everybody: it guards nothing but this process's own receiver.
pub const SECRET: &str = "demo-secret";

/// The demonstration's partners. They go away with the process.
pub struct Peers {
    broker: broker::Broker,
    receivers: receivers::Receivers,
}

impl Peers {
    /// Starts them all, on ports of 127.0.0.1 that the system chooses. Must be called on an actix
    /// system.
    ///
    /// # Errors
    /// When a port cannot be had or a thread not be started.
    pub async fn start() -> io::Result<Self> {
        let receivers = receivers::Receivers::start(SECRET)?;
        Ok(Self { broker: broker::Broker::start().await?, receivers })
    }

    /// `mqtt://127.0.0.1:PORT`
    #[must_use]
    pub fn mqtt_url(&self) -> String {
        format!("mqtt://{}", self.broker.address())
    }

    /// `http://127.0.0.1:PORT`, without a path.
    #[must_use]
    pub fn http_url(&self) -> String {
        format!("http://{}", self.receivers.address())
    }

    /// What the MQTT broker has taken.
    #[must_use]
    pub fn broker(&self) -> &broker::Broker {
        &self.broker
    }

    /// What the HTTP receivers have taken.
    #[must_use]
    pub fn receivers(&self) -> &receivers::Receivers {
        &self.receivers
    }

    /// The demonstration's whole configuration, as the text of its TOML file.
    #[must_use]
    pub fn configuration(&self) -> String {
        configuration(&self.mqtt_url(), &self.http_url())
    }

    /// Stops the HTTP receivers. The broker cannot be stopped; it ends with the process.
    pub async fn stop(self) {
        self.receivers.stop().await;
    }
}

/// The demonstration's configuration for partners at these URLs.
#[must_use]
pub fn configuration(mqtt_url: &str, http_url: &str) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        r#"[organization]
id = "demo"
name = "Acme Bio"
url = "https://acme.example"

[source]
url = "amqp://127.0.0.1/%2f"      # never dialled: the demonstration's bus is in memory
queue = "demo"

[admin]
listen = "127.0.0.1:0"

[event_configurations.everything]
events = ["*/*"]
endpoints = ["erp", "scada"]

[event_configurations.material]
events = ["Material Inventory/*", "Batch/*"]
endpoints = ["flaky"]
metadata_in_payload = true

[endpoints.erp.rest]
url = "{http_url}/erp"
headers = {{ "X-Plant" = "chicago" }}

[endpoints.scada.mqtt]
url = "{mqtt_url}"
session = "persistent"

[endpoints.line]
events = ["operation.*", "job.*", "part.*"]
[endpoints.line.mqtt]
url = "{mqtt_url}"
session = "per-event"
topic_pattern = "{{enterprise}}/{{site}}/{{area}}/{{cell}}/{{event}}"
topic_defaults = {{ enterprise = "acme", site = "chicago", area = "fabrication" }}
topic_fields = {{ cell = "/cell_name" }}

[endpoints.hook]
events = ["operation.completed", "issue.created", "Exception/*"]
[endpoints.hook.webhook]
url = "{http_url}/hook"
secret = "{SECRET}"

[endpoints.flaky]
retry = {{ schedule = ["1s", "2s", "5s"] }}
breaker = {{ open = "1s", open_max = "4s" }}
[endpoints.flaky.rest]
url = "{http_url}/flaky"
non_2xx = "retry"
timeout = "5s"
"#
    );
    text
}
