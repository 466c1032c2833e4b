//! A private Mosquitto: a generated configuration in a folder of its own, free ports, and a
//! subscriber that sees everything.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rumqttc::{Client, Event, Incoming, MqttOptions, Outgoing, QoS};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::certs::{self, Certs};
use super::process::Process;
use super::{eventually, free_port};

/// The one user of every private Mosquitto.
pub const USER: &str = "lockgate";
/// The user's password.
pub const PASSWORD: &str = "correct horse";
/// How long a broker may take to come up, and a subscriber to be subscribed.
const READY: Duration = Duration::from_secs(20);
const OBSERVER: &str = "observer-";

/// A running broker with four listeners. Ends with this value.
pub struct Mosquitto {
    folder: TempDir,
    ports: [u16; 4],
    /// The authority that vouches for `localhost` and `127.0.0.1` on the TLS listeners.
    pub certs: Certs,
    /// Started so often: each run has a log of its own.
    runs: usize,
    process: Option<Process>,
}

impl Mosquitto {
    /// A broker that lets in [`USER`] with [`PASSWORD`] and nobody else.
    pub async fn start() -> Self {
        Self::start_with("allow_anonymous false").await
    }

    /// A broker that lets in everybody.
    pub async fn start_anonymous() -> Self {
        Self::start_with("allow_anonymous true").await
    }

    /// A broker with these lines in its configuration, before the listeners.
    pub async fn start_with(lines: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let certs = certs::make(folder.path());
        let passwords = folder.path().join("passwords");
        std::fs::write(&passwords, "").unwrap();
        let made = Command::new(program("mosquitto_passwd"))
            .arg("-b")
            .arg(&passwords)
            .args([USER, PASSWORD])
            .status();
        assert!(made.is_ok_and(|status| status.success()), "mosquitto_passwd failed");
        let mut broker = Self { folder, ports: [0; 4], certs, runs: 0, process: None };
        // Another process may take a port between the choice and the start: then choose again.
        for _ in 0..5 {
            broker.ports = std::array::from_fn(|_| free_port());
            broker.configure(lines);
            if broker.run().await {
                return broker;
            }
        }
        panic!("mosquitto does not start: {}", broker.log());
    }

    fn configure(&self, lines: &str) {
        let [plain, tls, ws, wss] = self.ports;
        let file = |path: &PathBuf| path.display().to_string();
        let passwords = self.folder.path().join("passwords");
        let pair =
            format!("certfile {}\nkeyfile {}\n", file(&self.certs.cert), file(&self.certs.key));
        // The inbound quota stays what it is in stock: 20 publishes in flight.
        let text = format!(
            "user root\npersistence false\nlog_dest stderr\nlog_type all\n\
             connection_messages true\nmax_queued_messages 0\npassword_file {}\n{lines}\n\
             listener {plain}\nlistener {tls}\n{pair}\
             listener {ws}\nprotocol websockets\nlistener {wss}\nprotocol websockets\n{pair}",
            file(&passwords)
        );
        std::fs::write(self.folder.path().join("mosquitto.conf"), text).unwrap();
    }

    /// Starts the process; `false` when it ends before its ports answer.
    async fn run(&mut self) -> bool {
        self.runs += 1;
        let configuration = self.folder.path().join("mosquitto.conf");
        let arguments = ["-c", configuration.to_str().unwrap()];
        let log = self.log_file(self.runs);
        let process = Process::start(program("mosquitto"), &arguments, &[], &log);
        let ports = self.ports;
        let up = eventually("mosquitto answers on its ports", READY, async || {
            for port in ports {
                if TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                    return (!process.alive()).then_some(false);
                }
            }
            Some(process.alive())
        })
        .await;
        self.process = Some(process);
        up
    }

    /// Kills the broker. Its ports refuse until [`Self::restart`].
    pub fn stop(&mut self) {
        drop(self.process.take());
    }

    /// Starts it again on the same ports, without any memory.
    pub async fn restart(&mut self) {
        self.stop();
        assert!(self.run().await, "mosquitto does not start again: {}", self.log());
    }

    /// Stops the broker where it stands: its ports accept connections and nothing answers.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on after [`Self::freeze`].
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let process = self.process.as_ref().expect("the broker is stopped");
        let done = Command::new("kill").args(["-s", name, &process.pid.to_string()]).status();
        assert!(done.is_ok_and(|status| status.success()), "kill -s {name} {}", process.pid);
    }

    /// The broker's URL by this scheme, without credentials: `mqtts://localhost:12345`.
    pub fn url(&self, scheme: &str) -> String {
        let [plain, tls, ws, wss] = self.ports;
        match scheme {
            "mqtt" | "tcp" => format!("{scheme}://localhost:{plain}"),
            "mqtts" | "tls" => format!("{scheme}://localhost:{tls}"),
            "ws" => format!("ws://localhost:{ws}/mqtt"),
            "wss" => format!("wss://localhost:{wss}/mqtt"),
            other => panic!("{other} is no scheme of MQTT"),
        }
    }

    /// Its plain port, for proxies.
    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    /// Everything that the broker has logged, in all its runs.
    pub fn log(&self) -> String {
        let read = |run| std::fs::read_to_string(self.log_file(run)).unwrap_or_default();
        (1..=self.runs).map(read).collect()
    }

    fn log_file(&self, run: usize) -> PathBuf {
        self.folder.path().join(format!("mosquitto-{run}.log"))
    }

    /// The client identifiers of all connections so far, in order; the observers' are left out.
    pub fn connections(&self) -> Vec<String> {
        let id = |line: &str| {
            let (_, rest) = line.split_once("New client connected from ")?;
            let (_, rest) = rest.split_once(" as ")?;
            rest.split(" (").next().map(ToOwned::to_owned)
        };
        self.log().lines().filter_map(id).filter(|id| !id.starts_with(OBSERVER)).collect()
    }

    /// How many clients, other than observers, have left with DISCONNECT.
    pub fn goodbyes(&self) -> usize {
        let log = self.log();
        let said =
            |line: &&str| line.contains("Received DISCONNECT from ") && !line.contains(OBSERVER);
        log.lines().filter(said).count()
    }

    /// A subscriber to these topics, by `QoS` 2; subscribed when this returns.
    pub async fn subscribe(&self, filter: &str) -> Subscriber {
        let subscriber = Subscriber::start(self.ports[0], filter);
        subscriber.subscribed(1).await;
        subscriber
    }
}

/// A program of the package, or a panic that names it.
fn program(name: &'static str) -> &'static str {
    let found = std::env::var_os("PATH")
        .into_iter()
        .any(|paths| std::env::split_paths(&paths).any(|folder| folder.join(name).is_file()));
    match name {
        _ if found => name,
        "mosquitto" if std::path::Path::new("/usr/sbin/mosquitto").is_file() => {
            "/usr/sbin/mosquitto"
        }
        _ => panic!(
            "{name} is not installed: apt-get install mosquitto (it brings mosquitto_passwd)"
        ),
    }
}

/// A message as a subscriber saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its topic.
    pub topic: String,
    /// Its bytes.
    pub payload: Vec<u8>,
    /// 0, 1 or 2.
    pub qos: u8,
    /// Set only on what the broker had retained before the subscription.
    pub retain: bool,
}

/// Collects everything that is published, from a thread of its own; comes back after an outage.
pub struct Subscriber {
    client: Client,
    messages: Arc<Mutex<Vec<Received>>>,
    subscriptions: Arc<AtomicUsize>,
}

impl Subscriber {
    fn start(port: u16, filter: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(1);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = format!("{OBSERVER}{}-{count}", std::process::id());
        let mut options = MqttOptions::new(id, "127.0.0.1", port);
        options.set_credentials(USER, PASSWORD).set_max_packet_size(64 << 20, 64 << 20);
        let (client, mut connection) = Client::new(options, 16);
        let messages = Arc::<Mutex<Vec<Received>>>::default();
        let subscriptions = Arc::<AtomicUsize>::default();
        let (filter, asking) = (filter.to_owned(), client.clone());
        let (seen, ready) = (Arc::clone(&messages), Arc::clone(&subscriptions));
        std::thread::spawn(move || {
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Incoming::ConnAck(_))) => {
                        let _ = asking.try_subscribe(&filter, QoS::ExactlyOnce);
                    }
                    Ok(Event::Incoming(Incoming::SubAck(_))) => {
                        ready.fetch_add(1, Ordering::SeqCst);
                    }
                    Ok(Event::Incoming(Incoming::Publish(publish))) => {
                        let message = Received {
                            topic: publish.topic,
                            payload: publish.payload.to_vec(),
                            qos: publish.qos as u8,
                            retain: publish.retain,
                        };
                        seen.lock().unwrap_or_else(PoisonError::into_inner).push(message);
                    }
                    Ok(Event::Outgoing(Outgoing::Disconnect)) => return,
                    Ok(_) => {}
                    Err(_) => std::thread::sleep(Duration::from_millis(50)),
                }
            }
        });
        Self { client, messages, subscriptions }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Received>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything so far, in the order of arrival.
    pub fn messages(&self) -> Vec<Received> {
        self.lock().clone()
    }

    /// How many there were so far.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Waits until it has subscribed this often: once, and once more after each outage.
    pub async fn subscribed(&self, times: usize) {
        eventually("the subscriber is subscribed", READY, async || {
            (self.subscriptions.load(Ordering::SeqCst) >= times).then_some(())
        })
        .await;
    }

    /// Waits for at least `count` messages and returns all.
    pub async fn wait_for(&self, count: usize) -> Vec<Received> {
        let what = format!("{count} messages at the subscriber");
        eventually(&what, Duration::from_secs(30), async || {
            let messages = self.messages();
            (messages.len() >= count).then_some(messages)
        })
        .await
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        // The thread ends with the goodbye; one that finds no broker ends with the process.
        let _ = self.client.try_disconnect();
    }
}
