//! The ways in which an endpoint is broken, each by a real partner that misbehaves.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::super::support::counter::Counter;
use super::super::support::free_port;
use super::super::support::http::{Answer, HttpServer, RawPeer, Step};
use super::super::support::lockgate::Lockgate;
use super::super::support::{certs, mosquitto::Mosquitto};

/// What a partner that is too busy asks for.
const RETRY_AFTER: Duration = Duration::from_secs(3);
/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(3_600);
/// How often an MQTT broker that refuses a login is asked again, at most.
const LOGINS: Duration = Duration::from_secs(30);

/// How an endpoint is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Nobody listens.
    Refuses,
    /// It takes the request and never answers.
    Hangs,
    /// 500.
    Fails,
    /// 401.
    Unauthorised,
    /// 429 with `Retry-After`.
    TooManyRequests,
    /// Its certificate has expired.
    TlsExpired,
    /// The MQTT broker knows another password.
    MqttUnauthorised,
    /// The MQTT broker accepts the connection and says nothing.
    MqttSilent,
    /// Every attempt takes lockgate's own code down.
    Panics,
    /// It answers a byte a second.
    Trickles,
}

enum Partner {
    Nobody,
    Counts(Counter),
    Busy(HttpServer, Arc<Mutex<Vec<Instant>>>),
    Tls(HttpServer),
    Raw(RawPeer),
    Broker(Box<Mosquitto>),
}

/// The broken partners of a run.
pub struct Partners {
    all: Vec<(Way, Partner, String)>,
    began: Instant,
    _folder: tempfile::TempDir,
}

impl Partners {
    /// Starts one for each way.
    pub async fn start(ways: &[Way]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut all = Vec::new();
        for way in ways {
            let (partner, transport) = start(*way, folder.path().into()).await;
            all.push((*way, partner, transport));
        }
        Self { all, began: Instant::now(), _folder: folder }
    }

    /// Their endpoints.
    pub fn toml(&self) -> String {
        let mut toml = String::new();
        for (number, (_, _, transport)) in self.all.iter().enumerate() {
            let name = name(number);
            writeln!(toml, "[endpoints.{name}]\nevents = [\"*/*\"]\n[endpoints.{name}.{transport}")
                .unwrap();
        }
        toml
    }

    /// What makes those panic that shall.
    pub fn failpoints(&self) -> String {
        let panics = self.all.iter().enumerate().filter(|(_, (way, _, _))| *way == Way::Panics);
        let points: Vec<String> =
            panics.map(|(number, _)| format!("attempt::{}=panic", name(number))).collect();
        points.join(";")
    }

    /// Each was broken as it should be, and lockgate was polite to it.
    pub async fn behave(&mut self, lockgate: &Lockgate) {
        for (number, (way, partner, _)) in self.all.iter().enumerate() {
            let label = format!("endpoint=\"{}\"", name(number));
            let delivered = format!("lockgate_routes_total{{{label},settlement=\"delivered\"}}");
            let delivered = lockgate.metric(&delivered).await;
            assert!(delivered < 0.5, "{way:?}: {delivered} delivered");
            match partner {
                Partner::Nobody => {}
                Partner::Raw(peer) => assert!(peer.connections() > 0, "{way:?}: never asked"),
                Partner::Tls(server) => assert!(server.received().is_empty(), "{way:?}: asked"),
                Partner::Counts(counter) => {
                    assert!(*way == Way::Panics || counter.asked() > 0, "{way:?}: never asked");
                }
                Partner::Busy(server, asked) => {
                    assert_eq!(server.received().len(), asked.lock().unwrap().len());
                    waits_as_asked(&asked.lock().unwrap());
                }
                Partner::Broker(broker) => {
                    let refused = broker.log().matches("not authorised").count();
                    let due = self.began.elapsed().div_duration_f64(LOGINS).ceil();
                    #[expect(clippy::cast_precision_loss, reason = "a handful of logins")]
                    let asked = refused as f64;
                    assert!((1.0..=due).contains(&asked), "{refused} logins were refused");
                }
            }
        }
    }
}

/// Nobody asks before `Retry-After` is over. All requests that a window lets through at once count
/// as one.
fn waits_as_asked(asked: &[Instant]) {
    assert!(asked.len() >= 2, "asked only {} times", asked.len());
    let pauses = asked.windows(2).map(|two| two[1].duration_since(two[0]));
    let shortest = pauses.min().unwrap();
    println!("429: asked {} times, at least {shortest:?} apart", asked.len());
    assert!(shortest >= RETRY_AFTER, "asked again after {shortest:?}");
}

fn name(number: usize) -> String {
    format!("broken-{number}")
}

/// A partner, and its transport's table without the endpoint's name.
async fn start(way: Way, folder: PathBuf) -> (Partner, String) {
    let rest = |url: &str| format!("rest]\nurl = \"{url}\"\nnon_2xx = \"retry\"\n");
    let counts = |status: u16, delay: Duration| {
        let counter = Counter::start();
        counter.answer(move |_, _| (status, delay));
        let transport = rest(&counter.url());
        (Partner::Counts(counter), transport)
    };
    match way {
        Way::Refuses => (Partner::Nobody, rest(&format!("http://127.0.0.1:{}/", free_port()))),
        Way::Hangs => counts(200, FOR_EVER),
        Way::Fails => counts(500, Duration::ZERO),
        Way::Unauthorised => counts(401, Duration::ZERO),
        Way::Panics => counts(200, Duration::ZERO),
        Way::TooManyRequests => {
            let (server, asked) = (HttpServer::start(), Arc::new(Mutex::new(Vec::new())));
            let noted = Arc::clone(&asked);
            server.answer(move |_| {
                noted.lock().unwrap().push(Instant::now());
                Answer::status(429).header("Retry-After", RETRY_AFTER.as_secs().to_string())
            });
            let transport = rest(&server.url("/"));
            (Partner::Busy(server, asked), transport)
        }
        Way::TlsExpired => {
            let certs = certs::make_expired(&folder);
            let server = HttpServer::start_tls(&certs);
            let ca = certs.ca.display();
            let transport = rest(&server.url("/")) + &format!("tls = {{ ca_file = \"{ca}\" }}\n");
            (Partner::Tls(server), transport)
        }
        Way::MqttUnauthorised => {
            let broker = Mosquitto::start().await;
            let transport = format!(
                "mqtt]\nurl = \"{}\"\nusername = \"lockgate\"\npassword = \"wrong\"\n",
                broker.url("mqtt")
            );
            (Partner::Broker(Box::new(broker)), transport)
        }
        Way::MqttSilent => {
            let peer = RawPeer::start(|_| vec![Step::Hang]);
            let transport = format!("mqtt]\nurl = \"mqtt://127.0.0.1:{}\"\n", peer.port());
            (Partner::Raw(peer), transport)
        }
        Way::Trickles => {
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n".to_vec();
            let steps = vec![Step::Read, Step::Trickle(head, Duration::from_secs(1))];
            let peer = RawPeer::start(move |_| steps.clone());
            let transport = rest(&peer.url("/"));
            (Partner::Raw(peer), transport)
        }
    }
}
