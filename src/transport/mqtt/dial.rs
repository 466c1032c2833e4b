//! How a connection to the broker comes about: from the settings to a CONNACK.
//!
//! Owns URLs, client identifiers, and the only place where the library's options are set. Refuses
//! to publish. Read [`super::per_event`] next.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, NetworkOptions, Packet};
use rumqttc::{TlsConfiguration, Transport};
use url::{Host, Url};

use super::{Settings, failure};
use crate::domain::delivery::{Address, Failure, Outgoing};
use crate::logic::classify;
use crate::logic::secret::Secret;
use crate::transport::tls::certificate::Peer;
use crate::transport::{BuildError, Instance, tls};

/// How often an idle connection shows that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How much of the process's identity goes into client identifiers.
const INSTANCE_CHARS: usize = 8;
/// Counts the connections of this process: an identifier is never used twice, even when a
/// publisher is replaced while its connections still end.
static CONNECTIONS: AtomicU64 = AtomicU64::new(1);

/// What the URL's scheme asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// `mqtt`, `tcp`
    Tcp,
    /// `mqtts`, `tls`
    Tls,
    /// `ws`
    WebSocket,
    /// `wss`
    WebSocketTls,
}

impl Scheme {
    pub(super) fn of(url: &Url) -> Option<Self> {
        match url.scheme() {
            "mqtt" | "tcp" => Some(Self::Tcp),
            "mqtts" | "tls" => Some(Self::Tls),
            "ws" => Some(Self::WebSocket),
            "wss" => Some(Self::WebSocketTls),
            _ => None,
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Tcp => 1883,
            Self::Tls => 8883,
            Self::WebSocket => 80,
            Self::WebSocketTls => 443,
        }
    }
}

/// Where the library connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// What is spoken below MQTT.
    pub(super) scheme: Scheme,
    /// The host's bare name or address; for errors, and for TCP and TLS.
    pub(super) host: String,
    pub(super) port: u16,
    /// What the library takes as its address: the host, or the whole URL for a WebSocket.
    pub(super) address: String,
}

impl Place {
    fn of(url: &Url) -> Option<Self> {
        let scheme = Scheme::of(url)?;
        // An IPv6 address without its brackets: as names are looked up and certificates checked.
        let host = match url.host()? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let address = match scheme {
            Scheme::Tcp | Scheme::Tls => host.clone(),
            Scheme::WebSocket | Scheme::WebSocketTls => {
                let mut bare = url.clone();
                bare.set_username("").ok()?;
                bare.set_password(None).ok()?;
                bare.set_fragment(None);
                bare.into()
            }
        };
        let port = url.port().unwrap_or(scheme.default_port());
        (!host.is_empty()).then_some(Self { scheme, host, port, address })
    }
}

/// How client identifiers are made.
#[derive(Clone, Debug)]
struct ClientId {
    prefix: String,
    /// `None` where the prefix is taken exactly.
    instance: Option<String>,
}

impl ClientId {
    fn of(settings: &Settings, endpoint: &str, instance: &Instance) -> Self {
        let prefix = settings.client_id.clone().unwrap_or_else(|| format!("lockgate-{endpoint}"));
        let short = instance.id.chars().take(INSTANCE_CHARS).collect();
        Self { prefix, instance: (!settings.client_id_exact).then_some(short) }
    }

    fn next(&self) -> String {
        let mut id = self.prefix.clone();
        if let Some(instance) = &self.instance {
            let count = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
            // Writing to a string cannot fail.
            let _ = write!(id, "-{instance}-{count}");
        }
        id
    }
}

/// Everything that is needed to connect to one endpoint's broker and to publish there.
pub(super) struct Dialer {
    /// The endpoint's URL without credentials, for people.
    pub(super) target: String,
    pub(super) connect_timeout: Duration,
    pub(super) publish_timeout: Duration,
    pub(super) retain: bool,
    max_packet_size: u64,
    pub(super) place: Place,
    transport: Transport,
    credentials: Option<(String, Secret)>,
    client_id: ClientId,
}

impl Dialer {
    /// Prepares connections; makes none.
    ///
    /// # Errors
    /// When the URL is none of MQTT, or the CA file cannot be read.
    pub(super) fn new(
        settings: &Settings,
        endpoint: &str,
        instance: &Instance,
    ) -> Result<Self, BuildError> {
        let target = settings.target();
        let place = Place::of(settings.url.expose())
            .ok_or_else(|| BuildError(format!("{target} is no URL of an MQTT broker")))?;
        let peer = Peer::endpoint(endpoint, &place.host);
        let rustls =
            || tls::client_config_noting(&settings.tls, peer).map(TlsConfiguration::Rustls);
        let transport = match place.scheme {
            Scheme::Tcp => Transport::Tcp,
            Scheme::Tls => Transport::Tls(rustls()?),
            Scheme::WebSocket => Transport::Ws,
            Scheme::WebSocketTls => Transport::Wss(rustls()?),
        };
        Ok(Self {
            target,
            connect_timeout: settings.connect_timeout,
            publish_timeout: settings.publish_timeout,
            retain: settings.retain,
            max_packet_size: settings.max_packet_size.as_u64(),
            place,
            transport,
            credentials: credentials(settings)?,
            client_id: ClientId::of(settings, endpoint, instance),
        })
    }

    /// A client and its event loop, not connected yet. Packet identifiers run from 1 to
    /// `identifiers`; `requests` wait at most before the event loop takes them.
    pub(super) fn client(&self, identifiers: u16, requests: usize) -> (AsyncClient, EventLoop) {
        let (client, mut events) = AsyncClient::new(self.options(identifiers), requests);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        // In whole seconds, and for every flush as well: our own timeouts are the ones that count.
        let longest = self.connect_timeout.max(self.publish_timeout);
        network.set_connection_timeout(longest.as_secs().saturating_add(1));
        events.set_network_options(network);
        (client, events)
    }

    fn options(&self, identifiers: u16) -> MqttOptions {
        let Place { address, port, .. } = &self.place;
        let mut options = MqttOptions::new(self.client_id.next(), address, *port);
        let largest = usize::try_from(self.max_packet_size).unwrap_or(usize::MAX);
        options
            .set_transport(self.transport.clone())
            .set_keep_alive(KEEP_ALIVE)
            .set_clean_session(true)
            .set_inflight(identifiers.max(1))
            .set_max_packet_size(largest, largest);
        if let Some((username, password)) = &self.credentials {
            options.set_credentials(username, password.expose());
        }
        options
    }

    /// Goes through name, TCP, TLS, WebSocket and CONNECT until the broker says CONNACK. The
    /// caller sets the time.
    ///
    /// # Errors
    /// The failure of the step that failed.
    pub(super) async fn connect(&self, events: &mut EventLoop) -> Result<(), Failure> {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => Ok(()),
            // The library answers its first poll with a CONNACK or an error.
            Ok(_) => Err(classify::mqtt::protocol(&self.target, "no CONNACK")),
            Err(error) => Err(failure::connecting(&error, &self.target, &self.place.host)),
        }
    }

    /// The failure of a connection that took longer than `connect_timeout`.
    pub(super) fn connect_timed_out(&self) -> Failure {
        classify::timeout(&format!("connect to {}", self.target), self.connect_timeout)
    }

    /// The failure of a publish that took longer than `publish_timeout`.
    pub(super) fn publish_timed_out(&self) -> Failure {
        classify::timeout(&format!("publish to {}", self.target), self.publish_timeout)
    }

    /// The topic and body of what is to be sent, if it is not too large.
    ///
    /// # Errors
    /// A permanent failure: no connection is worth an attempt.
    pub(super) fn admit(&self, outgoing: &Outgoing) -> Result<(String, Bytes), Failure> {
        let Address::Topic(topic) = &outgoing.address else {
            return Err(Failure::permanent("unrenderable", "an MQTT endpoint needs a topic"));
        };
        let size = packet_size(topic.len(), outgoing.body.len());
        if size > self.max_packet_size {
            return Err(classify::mqtt::too_large(size, self.max_packet_size));
        }
        Ok((topic.clone(), outgoing.body.clone()))
    }
}

/// The user and password for CONNECT, from the keys or from the URL.
fn credentials(settings: &Settings) -> Result<Option<(String, Secret)>, BuildError> {
    if let Some(username) = &settings.username {
        let password = settings.password.clone();
        let password = password.unwrap_or_else(|| Secret::from(String::new()));
        return Ok(Some((username.clone(), password)));
    }
    let url = settings.url.expose();
    if url.username().is_empty() {
        return Ok(None);
    }
    let decode = |part: &str| {
        let text = percent_decode_str(part).decode_utf8().map(std::borrow::Cow::into_owned);
        text.map_err(|_| BuildError(format!("the user part of {} is not UTF-8", settings.url)))
    };
    let password = Secret::from(decode(url.password().unwrap_or_default())?);
    Ok(Some((decode(url.username())?, password)))
}

/// The bytes of a `QoS` 2 PUBLISH packet, its headers included.
fn packet_size(topic: usize, body: usize) -> u64 {
    // Two lengths of 16 bits: the topic's own, and the packet identifier.
    let remaining = (topic as u64).saturating_add(body as u64).saturating_add(4);
    let length = match remaining {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    };
    remaining.saturating_add(1 + length)
}

#[cfg(test)]
mod tests {
    use rumqttc::{Publish, QoS};

    use super::super::tests::settings;
    use super::*;

    fn dialer(table: &str) -> Dialer {
        let instance = Instance { id: "0123456789abcdef".into() };
        Dialer::new(&settings(table), "scada", &instance).unwrap()
    }

    #[test]
    fn every_scheme_has_its_default_port_and_keeps_its_path_for_websockets() {
        let check = |url: &str, address: &str, port| {
            let place = dialer(&format!("url = '{url}'")).place;
            assert_eq!((place.address.as_str(), place.port), (address, port), "{url}");
        };
        check("mqtt://broker", "broker", 1883);
        check("tcp://broker", "broker", 1883);
        check("mqtts://broker", "broker", 8883);
        check("tls://broker", "broker", 8883);
        check("ws://broker", "ws://broker/", 80);
        check("wss://broker/mqtt", "wss://broker/mqtt", 443);
        check("mqtt://broker:99/", "broker", 99);
        check("ws://broker:99/a/b?c=d#e", "ws://broker:99/a/b?c=d", 99);
        check("ws://u:p@broker/mqtt", "ws://broker/mqtt", 80);
        check("mqtts://[::1]:8884", "::1", 8884);
        check("mqtt://127.0.0.1", "127.0.0.1", 1883);
        check("ws://[::1]/mqtt", "ws://[::1]/mqtt", 80);
    }

    #[test]
    fn credentials_come_from_the_keys_or_decoded_from_the_url() {
        let check = |table: &str, expected: Option<(&str, &str)>| {
            let login = dialer(table).options(1).credentials();
            let login = login.as_ref().map(|l| (l.username.as_str(), l.password.as_str()));
            assert_eq!(login, expected, "{table}");
        };
        check("url = 'mqtt://b'", None);
        check("url = 'mqtt://b'\nusername = 'u'\npassword = 'p'", Some(("u", "p")));
        check("url = 'mqtt://b'\nusername = 'u'", Some(("u", "")));
        check("url = 'mqtt://u%40x:p%3aq@b'", Some(("u@x", "p:q")));
    }

    #[test]
    fn client_ids_differ_for_each_connection_unless_taken_exactly() {
        let ids = |table: &str| {
            let dialer = dialer(table);
            [dialer.options(1).client_id(), dialer.options(1).client_id()]
        };
        let [first, second] = ids("url = 'mqtt://b'");
        assert!(first.starts_with("lockgate-scada-01234567-"), "{first}");
        assert_ne!(first, second);
        let [first, second] = ids("url = 'mqtt://b'\nclient_id = 'line'");
        assert!(first.starts_with("line-01234567-"), "{first}");
        assert_ne!(first, second);
        let exact = ids("url = 'mqtt://b'\nclient_id = 'line'\nclient_id_exact = true");
        assert_eq!(exact, ["line", "line"]);
    }

    #[test]
    fn a_packet_is_as_large_as_the_library_says() {
        for body in [0, 1, 110, 117, 118, 16_369, 16_370, 16_371, 2_097_140, 2_097_141, 3_000_000] {
            let mut publish = Publish::new("a/topic", QoS::ExactlyOnce, vec![0; body]);
            publish.pkid = 1;
            assert_eq!(packet_size(7, body), publish.size() as u64, "{body}");
        }
    }

    #[test]
    fn what_is_larger_than_the_limit_is_refused_for_good() {
        let dialer = dialer("url = 'mqtt://b'\nmax_packet_size = 1024");
        let check = |size: usize, admitted| {
            let outgoing = Outgoing {
                event_id: "1".into(),
                event_name: "a.b".into(),
                address: Address::Topic("t".into()),
                body: vec![0; size].into(),
                trace: None,
            };
            let reason = dialer.admit(&outgoing).map_err(|f| f.reason).err();
            assert_eq!(reason.is_none(), admitted, "{size}: {reason:?}");
        };
        // One byte for the type, two for the length, two and one for the topic, two for the id.
        check(1_024 - 8, true);
        check(1_024 - 7, false);
    }

    #[test]
    fn a_url_of_another_protocol_builds_nothing() {
        let settings = settings("url = 'https://user:hunter2@broker'");
        let refused = Dialer::new(&settings, "scada", &Instance { id: "1".into() });
        let text = refused.err().unwrap().to_string();
        assert!(text.contains("https://broker") && !text.contains("hunter2"), "{text}");
    }
}
