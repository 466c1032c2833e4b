//! A bridge on a memory bus with its admin listener, and how a test speaks to it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use arc_swap::ArcSwap;
use awc::http::Method;
use futures_util::FutureExt as _;
use lockgate::actors::board::Board;
use lockgate::admin::orders::Orders;
use lockgate::admin::{AdminState, Identity, Readiness, Reload, Reloaded, bind, metrics};
use lockgate::app::Bridge;
use lockgate::bus::memory::MemoryBus;
use lockgate::bus::{Bus, Queue, Target};
use lockgate::config::{Admin, Config, Problems};
use lockgate::domain::delivery::{Message, Properties};
use lockgate::domain::names::Name;
use lockgate::logic::parcel::{self, Record};
use lockgate::logic::secret::Secret;
use lockgate::transport::Instance;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::partner::Partner;
use super::schema;

/// The admin token of those listeners that have one.
pub const TOKEN: &str = "a-token-for-tests";
/// How long anything may take.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// What a listener is told.
pub fn admin(listen: &str, token: Option<&str>, hosts: &[&str]) -> Admin {
    Admin {
        listen: listen.parse().unwrap(),
        token: token.map(|text| Secret::from(text.to_owned())),
        hosts: hosts.iter().map(ToString::to_string).collect(),
        attempt_log: 200,
    }
}

/// A REST endpoint that takes Batch events.
pub fn endpoint(name: &str, partner: &Partner, settings: &str) -> String {
    let mut text = format!("[endpoints.{name}]\nevents = [\"Batch/*\"]\n{settings}\n");
    let url = partner.url();
    write!(text, "[endpoints.{name}.rest]\nurl = \"{url}\"\nnon_2xx = \"retry\"\n").unwrap();
    text
}

/// The endpoint's name.
pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// The Batch event number `n`.
pub fn event(n: usize) -> Message {
    Message {
        exchange: "Batch".into(),
        routing_key: "batch_run_status".into(),
        properties: Properties::default().with_message_id(format!("e-{n}").as_str().into()),
        body: format!("{{\"n\": {n}.0}}").into(),
        ..Message::default()
    }
}

/// The dead letter of this event.
pub fn letter(id: &str, event_type: &str, reason: &str, second: i64) -> Message {
    let at = |second| jiff::Timestamp::from_second(second).unwrap();
    let record = Record {
        event_id: id.to_owned(),
        event_type: event_type.to_owned(),
        event_trigger: "batch_run_status".into(),
        configuration: "erp".into(),
        attempts: 7,
        panics: 0,
        received_at: at(1_750_000_000),
        first_attempt_at: Some(at(1_750_000_001)),
        last_attempt_at: Some(at(1_750_000_002)),
        reason: reason.to_owned(),
        last_error: "400 Bad Request".into(),
    };
    let came = Message { routing_key: "batch_run_status".into(), ..event(1) };
    parcel::pack(&Message { exchange: event_type.into(), ..came }, &record, at(second))
}

/// Waits until it is so.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("{what}: not in time"));
}

/// What the next reload comes to.
type NextReload = Arc<Mutex<Result<Reloaded, Problems>>>;

/// A bridge at work and its listener.
pub struct Listener {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its bus.
    pub bus: MemoryBus,
    /// What it shows.
    pub board: Arc<Board>,
    /// What it has ordered.
    pub orders: Orders,
    /// The configuration in force.
    pub config: Arc<ArcSwap<Config>>,
    /// What the next reload comes to.
    pub next_reload: NextReload,
    /// Reloads wait while it is locked.
    pub reload_waits: Arc<tokio::sync::Mutex<()>>,
    consuming: Arc<AtomicBool>,
    server: ServerHandle,
    _bridge: Bridge,
}

impl Listener {
    /// One without endpoints.
    pub fn start(admin: &Admin) -> Self {
        Self::with(admin, "")
    }

    /// One on loopback, without a token, with these endpoints.
    pub fn open(endpoints: &str) -> Self {
        Self::with(&admin("127.0.0.1:0", None, &[]), endpoints)
    }

    /// One with these endpoints.
    pub fn with(admin: &Admin, endpoints: &str) -> Self {
        let memory = MemoryBus::default();
        Self::on(admin, Arc::new(memory.clone()), memory, endpoints)
    }

    /// One that speaks to `bus`, which stands before `memory`.
    pub fn on(admin: &Admin, bus: Arc<dyn Bus>, memory: MemoryBus, endpoints: &str) -> Self {
        let text = format!(
            "[runtime]\nthreads = 1\nshutdown_grace = \"300ms\"\n\
             [organization]\nname = \"Acme\"\n\
             [source]\nurl = \"amqp://me:canary@127.0.0.1/%2f\"\nqueue = \"q\"\nprefetch = 50\n{endpoints}"
        );
        let mut config = Config::from_toml_str("test.toml", &text, "development").unwrap();
        config.admin = admin.clone();
        let instance = Instance { id: "test".into() };
        let bridge = Bridge::start(&config, Arc::clone(&bus), &instance);
        let consuming = Arc::new(AtomicBool::new(true));
        let asked = Arc::clone(&consuming);
        let readiness = move || {
            if asked.load(Ordering::Relaxed) {
                Readiness::Consuming
            } else {
                Readiness::NotConsuming("no connection to the bus".into())
            }
        };
        let config = Arc::new(ArcSwap::from_pointee(config));
        let next_reload: NextReload = Arc::new(Mutex::new(Ok(Reloaded::default())));
        let reload_waits: Arc<tokio::sync::Mutex<()>> = Arc::default();
        let orders = Orders::new(tokio::runtime::Handle::current());
        let state = AdminState {
            readiness: Arc::new(readiness),
            metrics: metrics::install().unwrap(),
            controls: bridge.controls(),
            bus,
            config: Arc::clone(&config),
            identity: Identity {
                id: "test".into(),
                host: Some("here".into()),
                started_at: lockgate::world::now(),
            },
            reload: reload(&next_reload, &reload_waits),
            orders: orders.clone(),
        };
        let listening = bind(admin).unwrap();
        let address = listening.address();
        let server = listening.serve(state).unwrap();
        let handle = server.handle();
        actix_rt::spawn(server);
        Self {
            address,
            bus: memory,
            board: bridge.board(),
            orders,
            config,
            next_reload,
            reload_waits,
            consuming,
            server: handle,
            _bridge: bridge,
        }
    }

    /// From now on it says that events are consumed, or that they are not.
    pub fn consumes(&self, consumes: bool) {
        self.consuming.store(consumes, Ordering::Relaxed);
    }

    /// As after a reload that has brought this.
    pub fn takes_over(&self, admin: Admin) {
        let mut config = Config::clone(&self.config.load());
        config.admin = admin;
        self.config.store(Arc::new(config));
    }

    /// Ends the listener as the product does.
    pub async fn stop(&self) {
        self.server.stop(false).await;
    }

    /// The bridge consumes.
    pub async fn ready(self) -> Self {
        eventually("it consumes", || self.board.source.consuming.load(Ordering::Relaxed)).await;
        self
    }

    /// Puts letters among the dead of an endpoint.
    pub async fn bury(&self, endpoint: &str, letters: impl IntoIterator<Item = Message>) {
        for letter in letters {
            self.bus.store(Target::Dead(name(endpoint)), letter).await.unwrap();
        }
    }

    /// How many dead letters are ready.
    pub fn dead(&self, endpoint: &str) -> usize {
        self.bus.peek(&Queue::Dead(name(endpoint))).len()
    }

    /// Status and body of a path, held to the document.
    pub fn get(&self, path: &str) -> impl Future<Output = (u16, Value)> + use<> {
        self.send(Method::GET, path, String::new())
    }

    /// The same of a change with this body.
    pub fn post(&self, path: &str, body: &Value) -> impl Future<Output = (u16, Value)> + use<> {
        self.send(Method::POST, path, body.to_string())
    }

    /// The same of any request.
    pub fn send(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> impl Future<Output = (u16, Value)> + use<> {
        let (url, path) = (format!("http://{}{path}", self.address), path.to_owned());
        async move {
            let client = awc::Client::builder().timeout(DEADLINE).finish();
            let request = client.request(method.clone(), url);
            let request = request.insert_header(("Content-Type", "application/json"));
            let mut answer = request.send_body(body).await.unwrap();
            let status = answer.status().as_u16();
            let kind = answer.headers().get("Content-Type").unwrap().to_str().unwrap().to_owned();
            let text = answer.body().limit(16 << 20).await.unwrap();
            let value: Value = serde_json::from_slice(&text)
                .unwrap_or_else(|_| panic!("{path}: {}", String::from_utf8_lossy(&text)));
            schema::holds(method.as_str(), &path, status, &value);
            if status >= 400 {
                assert_eq!(kind, "application/problem+json", "{path}: {value}");
                assert_eq!(value["status"], status, "{path}: {value}");
            } else {
                assert_eq!(kind, "application/json", "{path}: {value}");
            }
            (status, value)
        }
    }
}

fn reload(next: &NextReload, waits: &Arc<tokio::sync::Mutex<()>>) -> Reload {
    let (next, waits) = (Arc::clone(next), Arc::clone(waits));
    Arc::new(move || {
        let (next, waits) = (Arc::clone(&next), Arc::clone(&waits));
        async move {
            let _turn = waits.lock().await;
            next.lock().unwrap().clone()
        }
        .boxed()
    })
}

/// One request on a connection of its own: the status and the whole answer, head in lower case.
pub async fn ask(address: SocketAddr, line: &str, headers: &[&str]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut request = format!("{line} HTTP/1.1\r\nConnection: close\r\n");
    for header in headers {
        request.push_str(header);
        request.push_str("\r\n");
    }
    stream.write_all(format!("{request}\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (status, format!("{}\r\n\r\n{body}", head.to_ascii_lowercase()))
}

/// The answer has this status and says this.
#[track_caller]
pub fn is(answer: &(u16, String), status: u16, part: &str) {
    assert_eq!(answer.0, status, "{}", answer.1);
    assert!(answer.1.contains(part), "no {part:?} in {}", answer.1);
}
