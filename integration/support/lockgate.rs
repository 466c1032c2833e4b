//! The product itself, as a process of its own with a configuration of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::process::Process;
use super::{eventually, free_port};

/// How long a bridge may take until it consumes.
const READY: Duration = Duration::from_secs(60);

/// How long the API may take over an answer.
const ANSWER: Duration = Duration::from_secs(60);
/// How long the counters may take until they agree, once nothing moves.
const RECONCILED: Duration = Duration::from_secs(20);

/// A configuration folder with one environment, `test`.
pub struct Configuration {
    /// The folder.
    pub folder: PathBuf,
}

impl Configuration {
    /// Writes `toml` as the environment `test` into `folder`.
    pub fn write(folder: &Path, toml: &str) -> Self {
        std::fs::write(folder.join("test.toml"), toml).unwrap();
        Self { folder: folder.to_owned() }
    }
}

/// The product: an optimised one where `LOCKGATE_TEST_BINARY` names it, as `integration/test` does,
/// else the one that was built with the tests.
fn program() -> String {
    let own = || env!("CARGO_BIN_EXE_lockgate").to_owned();
    std::env::var("LOCKGATE_TEST_BINARY").unwrap_or_else(|_| own())
}

/// A running `lockgate run`.
pub struct Lockgate {
    process: Process,
    admin: u16,
    log: PathBuf,
    token: Option<String>,
}

impl Lockgate {
    /// Starts it; does not wait.
    pub fn start(configuration: &Configuration) -> Self {
        Self::start_with(configuration, &[])
    }

    /// Starts it with additional environment variables; does not wait.
    pub fn start_with(configuration: &Configuration, more: &[(&str, String)]) -> Self {
        let admin = free_port();
        let log = configuration.folder.join(format!("lockgate-{admin}.log"));
        let folder = configuration.folder.to_str().unwrap();
        let arguments = ["--config", folder, "--env", "test", "run"];
        // What is given counts before the level of the log, the free port before what is given.
        let mut environment: Vec<(String, String)> =
            vec![("RUST_LOG".into(), "lockgate=debug".into())];
        environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        environment.push(("LOCKGATE__ADMIN__LISTEN".into(), format!("127.0.0.1:{admin}")));
        let process = Process::start(&program(), &arguments, &environment, &log);
        Self {
            process,
            admin,
            log,
            token: more
                .iter()
                .find(|(name, _)| *name == "LOCKGATE_ADMIN_TOKEN")
                .map(|(_, token)| token.clone()),
        }
    }

    /// Starts it and waits until it consumes.
    pub async fn start_ready(configuration: &Configuration) -> Self {
        let lockgate = Self::start(configuration);
        lockgate.ready().await;
        lockgate
    }

    /// Starts it with the log that an operator has by default, and waits until it consumes.
    pub async fn start_quiet(configuration: &Configuration) -> Self {
        let lockgate = Self::start_with(configuration, &[("RUST_LOG", "info".into())]);
        lockgate.ready().await;
        lockgate
    }

    /// Waits until it consumes.
    pub async fn ready(&self) {
        eventually("lockgate consumes", READY, || async {
            assert!(self.process.alive(), "lockgate ended:\n{}", self.log());
            (self.get("/readyz").await?.0 == 200).then_some(())
        })
        .await;
    }

    /// Status and body of an admin path; `None` while nothing answers.
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        let url = format!("http://127.0.0.1:{}{path}", self.admin);
        let client = awc::Client::builder().timeout(Duration::from_secs(2)).finish();
        let mut request = client.get(url);
        if let Some(token) = &self.token {
            request = request.insert_header(("Authorization", format!("Bearer {token}")));
        }
        let mut answer = request.send().await.ok()?;
        let body = answer.body().await.ok()?;
        Some((answer.status().as_u16(), String::from_utf8_lossy(&body).into_owned()))
    }

    /// All metrics, as they are served.
    pub async fn metrics(&self) -> String {
        let metrics = eventually("metrics", ANSWER, || async {
            assert!(self.process.alive(), "lockgate ended:\n{}", self.log());
            self.get("/metrics").await
        });
        metrics.await.1
    }

    /// The value of a metric with exactly these labels, as they are written; 0 when it is not there.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.metrics().await;
        let line = text
            .lines()
            .find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
    }

    /// Waits until its counters reconcile: everything that came is accounted for, at the source
    /// and at every endpoint.
    pub async fn reconciles(&self) {
        let last = std::cell::RefCell::new(String::new());
        let reconciled = super::within(RECONCILED, || async {
            let (_, text) = self.get("/metrics").await?;
            let difference = difference(&text);
            last.replace(difference.clone().unwrap_or_default());
            difference.is_none().then_some(())
        });
        assert!(reconciled.await.is_some(), "the counters do not reconcile: {}", last.borrow());
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What every instance has logged that was started from this folder.
    pub fn logs(folder: &Path) -> String {
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        files.sort_by_key(|path| path.metadata().unwrap().modified().unwrap());
        let read = |path: &PathBuf| std::fs::read_to_string(path).unwrap_or_default();
        files.iter().map(read).collect::<Vec<_>>().join("-- the next instance --\n")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// `kill -9`.
    pub fn kill(self) {
        self.process.signal("KILL");
    }

    /// SIGTERM, and waits for its end.
    pub async fn terminate(&self) {
        self.process.signal("TERM");
        eventually("lockgate ends", Duration::from_secs(40), || async {
            (!self.process.alive()).then_some(())
        })
        .await;
    }
}

impl Lockgate {
    /// Sends a signal: `STOP` freezes it, `CONT` lets it go on.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// The most memory that it ever had in use, in KiB.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.pid));
        let peak = |status: String| {
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim();
            line.split(' ').next()?.parse().ok()
        };
        status.ok().and_then(peak).expect("no VmHWM: the process is gone")
    }

    /// The processor time that it has used, in seconds. Clock ticks are hundredths on Linux.
    pub fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.pid));
        let stat = stat.expect("the process is gone");
        let fields = stat.rsplit(')').next().unwrap().split_whitespace();
        // User and system time, the 14th and 15th of all.
        let ticks = fields.skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap());
        ticks.sum::<f64>() / 100.0
    }
}

impl Lockgate {
    /// The URL of an admin path, which begins with `/`.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.admin)
    }

    /// Status and body of an answer of the API: to a question, or to a change with this body.
    pub async fn ask(&self, path: &str, change: Option<Value>) -> (u16, Value) {
        let client = awc::Client::builder().timeout(ANSWER).finish();
        let url = self.url(path);
        let mut answer = match change {
            None => client.get(url).send().await.unwrap(),
            Some(body) => client.post(url).send_json(&body).await.unwrap(),
        };
        let body = answer.body().limit(16 << 20).await.unwrap();
        (answer.status().as_u16(), serde_json::from_slice(&body).unwrap())
    }
}

/// Where the counters of a `/metrics` text disagree, in words.
fn difference(text: &str) -> Option<String> {
    let sum = |name: &str, label: &str| -> f64 {
        let samples = text.lines().filter_map(|line| line.strip_prefix(name));
        let samples = samples.filter(|rest| rest.starts_with([' ', '{']) && rest.contains(label));
        samples.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    };
    let received = sum("lockgate_events_received_total", "");
    let ended: f64 = ["events_acknowledged_total", "events_stale_total", "events_in_flight"]
        .iter()
        .map(|name| sum(&format!("lockgate_{name}"), ""))
        .sum();
    if (received - ended).abs() > 0.5 {
        return Some(format!("source: {received} received, {ended} accounted for"));
    }
    let endpoints =
        text.lines().filter_map(|line| line.strip_prefix("lockgate_in_flight{endpoint="));
    for endpoint in endpoints.filter_map(|rest| rest.split('}').next()) {
        let label = format!("endpoint={endpoint}");
        let came = sum("lockgate_routed_total", &label) + sum("lockgate_resumed_total", &label);
        let went: f64 = ["routes_total", "routes_stale_total", "in_flight"]
            .iter()
            .map(|name| sum(&format!("lockgate_{name}"), &label))
            .sum();
        if (came - went).abs() > 0.5 {
            return Some(format!("endpoint {endpoint}: {came} came, {went} accounted for"));
        }
    }
    None
}
