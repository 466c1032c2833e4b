//! A private RabbitMQ for one test run, and a client to look at it with.
//!
//! [`node`] is one server for the whole run, with a virtual host for each test; [`rough_node`]
//! is one of two others, lent to one test at a time, which may kill it, restart it and raise its alarms.
//! `LOCKGATE_TEST_AMQP_URL` names a server to use instead for the tests that need nothing but one:
//! see [`place`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions,
    ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use lockgate::domain::delivery::{Message, Properties};

use super::certs::{self, Certs};
use super::free_port;
use super::process::Process;

pub(super) const BIN: &str = "/usr/lib/rabbitmq/bin";
/// Virtual hosts made when the run's node starts: one a test.
const VHOSTS: usize = 128;
/// The same of a node that may be harmed: fewer tests borrow one.
const ROUGH_VHOSTS: usize = 40;
pub(super) const GUEST: &str = "guest:guest";
/// How long a node may take to start.
const START: Duration = Duration::from_secs(180);
/// How long a client may take to connect.
const CONNECT: Duration = Duration::from_secs(10);
/// The largest message in stock, in bytes.
const MAX_MESSAGE: usize = 128 << 20;

/// A RabbitMQ node with data, ports and a port mapper of its own.
pub struct Node {
    folder: PathBuf,
    /// For `amqp://`.
    pub port: u16,
    /// For `amqps://`.
    pub tls_port: u16,
    /// What its certificate is signed by.
    pub certs: Certs,
    environment: Vec<(String, String)>,
    _epmd: Process,
    server: Mutex<Option<Process>>,
    vhosts: usize,
    given: AtomicUsize,
}

/// The run's node. Nobody may harm it.
pub fn node() -> &'static Node {
    static NODE: LazyLock<Node> = LazyLock::new(|| Node::start(VHOSTS));
    &NODE
}

/// A node that its borrower may harm; it is mended before it is lent again. Two tests run at a time,
/// and two are in stock.
pub fn rough_node() -> MutexGuard<'static, Node> {
    static NODES: [LazyLock<Mutex<Node>>; 2] =
        [const { LazyLock::new(|| Mutex::new(Node::start(ROUGH_VHOSTS))) }; 2];
    let node = loop {
        let free = NODES.iter().find_map(|node| match node.try_lock() {
            Ok(node) => Some(node),
            Err(TryLockError::Poisoned(left)) => Some(left.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        });
        match free {
            Some(node) => break node,
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    node.restart();
    node.freeze(false);
    node.alarm(false);
    node.refuse_larger_than(MAX_MESSAGE);
    node
}

/// A place of its own for one test.
#[derive(Clone, Debug)]
pub struct Place {
    /// With user, password and virtual host.
    pub url: String,
    /// The virtual host.
    pub vhost: String,
    /// Unique, for names on a server that others use too.
    pub prefix: String,
}

/// A place on the server that `LOCKGATE_TEST_AMQP_URL` names, else on the run's node.
pub fn place() -> Place {
    match std::env::var("LOCKGATE_TEST_AMQP_URL") {
        Ok(url) => {
            let uri: lapin::uri::AMQPUri = url.parse().expect("LOCKGATE_TEST_AMQP_URL");
            Place { vhost: uri.vhost, url, prefix: unique_prefix() }
        }
        Err(_) => node().place(),
    }
}

pub(super) fn unique_prefix() -> String {
    format!("t{}", lockgate::world::unique())
}

impl Node {
    /// Starts a node on free ports and makes so many virtual hosts.
    pub fn start(vhosts: usize) -> Self {
        assert!(
            Path::new(BIN).join("rabbitmq-server").exists(),
            "these tests need RabbitMQ: apt-get install rabbitmq-server"
        );
        let (port, tls_port, epmd_port) = (free_port(), free_port(), free_port());
        let folder = fresh_folder(port);
        let certs = certs::make(&folder);
        let config = format!(
            "listeners.tcp.1 = 127.0.0.1:{port}\nlisteners.ssl.1 = 127.0.0.1:{tls_port}\n\
             ssl_options.cacertfile = {}\nssl_options.certfile = {}\nssl_options.keyfile = {}\n\
             loopback_users = none\ndisk_free_limit.absolute = 50MB\n\
             vm_memory_high_watermark.absolute = 1GB\ncollect_statistics_interval = 60000\n\
             log.console = false\n",
            certs.ca.display(),
            certs.cert.display(),
            certs.key.display()
        );
        std::fs::write(folder.join("rabbitmq.conf"), config).unwrap();
        std::fs::write(folder.join("plugins"), "[].").unwrap();
        std::fs::write(folder.join("env.conf"), "").unwrap();
        let environment = environment(&folder, port, epmd_port);
        let epmd_arguments = ["-port", &epmd_port.to_string(), "-address", "127.0.0.1"];
        let epmd = Process::start("epmd", &epmd_arguments, &[], &folder.join("epmd.log"));
        let node = Self {
            folder,
            port,
            tls_port,
            certs,
            environment,
            _epmd: epmd,
            server: Mutex::new(None),
            vhosts,
            given: AtomicUsize::new(0),
        };
        node.restart();
        node.make_vhosts();
        node
    }

    /// Starts the server where it is not running, on the same data and ports.
    pub fn restart(&self) {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if server.as_ref().is_some_and(Process::alive) {
            return;
        }
        let log = self.folder.join("server.log");
        let program = format!("{BIN}/rabbitmq-server");
        *server = Some(Process::start(&program, &[], &self.environment, &log));
        let up = || std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok();
        wait_until("RabbitMQ to start", START, up, &log);
    }

    /// Saves the table of quorum queues: RabbitMQ saves it every three minutes only, and after a
    /// [`Node::kill`] forgets queues that are younger, messages and all.
    pub fn save_tables(&self) {
        self.eval("[dets:sync(Table) || Table <- dets:all()], ok.");
    }

    /// Kills the server as a power cut would. [`Node::save_tables`] first.
    pub fn kill(&self) {
        drop(self.server.lock().unwrap_or_else(PoisonError::into_inner).take());
        let gone = || std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err();
        let log = self.folder.join("server.log");
        wait_until("RabbitMQ to be dead", Duration::from_secs(10), gone, &log);
    }

    /// A virtual host that no test has had before.
    pub fn place(&self) -> Place {
        let number = self.given.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(number <= self.vhosts, "more tests than virtual hosts: raise their number");
        let vhost = format!("v{number:02}");
        Place { url: self.url(GUEST, &vhost), vhost, prefix: unique_prefix() }
    }

    /// The plain URL for a user and a virtual host.
    pub fn url(&self, user: &str, vhost: &str) -> String {
        format!("amqp://{user}@127.0.0.1:{}/{vhost}", self.port)
    }

    /// The TLS URL for the default user and a virtual host.
    pub fn tls_url(&self, vhost: &str) -> String {
        format!("amqps://{GUEST}@localhost:{}/{vhost}", self.tls_port)
    }

    /// Raises the memory alarm, or ends it.
    pub fn alarm(&self, on: bool) {
        let mark = if on { "0.000001" } else { "0.6" };
        self.eval(&format!("vm_memory_monitor:set_vm_memory_high_watermark({mark})."));
    }

    /// Refuses larger messages on channels opened from now on, until it is restarted.
    pub fn refuse_larger_than(&self, bytes: usize) {
        self.eval(&format!("application:set_env(rabbit, max_message_size, {bytes})."));
    }

    /// Makes a user with these permissions on a virtual host: configure, write, read.
    pub fn user(&self, name: &str, password: &str, vhost: &str, permissions: [&str; 3]) {
        let [configure, write, read] = permissions.map(|p| p.replace('\\', "\\\\"));
        self.eval(&format!(
            "rabbit_auth_backend_internal:add_user(<<\"{name}\">>, <<\"{password}\">>, <<\"t\">>), \
             rabbit_auth_backend_internal:set_permissions(<<\"{name}\">>, <<\"{vhost}\">>, \
             <<\"{configure}\">>, <<\"{write}\">>, <<\"{read}\">>, <<\"t\">>)."
        ));
    }

    /// Gives a user another password. Open connections stay.
    pub fn set_password(&self, user: &str, password: &str) {
        self.eval(&format!(
            "rabbit_auth_backend_internal:change_password(<<\"{user}\">>, <<\"{password}\">>, <<\"t\">>)."
        ));
    }

    /// The connections of a user in a virtual host, by Erlang's names for them.
    pub fn connections(&self, vhost: &str, user: &str) -> BTreeSet<String> {
        let found = self.eval(&format!(
            "[io:format(\"~w~n\", [P]) || [{{pid, P}}, {{vhost, <<\"{vhost}\">>}}, {{user, <<\"{user}\">>}}] <- \
             rabbit_networking:connection_info_all([pid, vhost, user])], ok."
        ));
        found.lines().filter(|line| line.starts_with('<')).map(str::to_owned).collect()
    }

    /// Closes every connection of a user in a virtual host, and says how many there were.
    pub fn close_user(&self, vhost: &str, user: &str) -> usize {
        let closed = self.eval(&format!(
            "L = [P || [{{pid, P}}, {{vhost, <<\"{vhost}\">>}}, {{user, <<\"{user}\">>}}] <- \
             rabbit_networking:connection_info_all([pid, vhost, user])], \
             [rabbit_networking:close_connection(P, \"cut by a test\") || P <- L], length(L)."
        ));
        closed.trim().parse().unwrap()
    }

    /// Closes every connection of a virtual host, and says how many there were.
    pub fn close_connections(&self, vhost: &str) -> usize {
        let closed = self.eval(&format!(
            "L = [P || [{{pid, P}}, {{vhost, <<\"{vhost}\">>}}] <- \
             rabbit_networking:connection_info_all([pid, vhost])], \
             [rabbit_networking:close_connection(P, \"cut by a test\") || P <- L], length(L)."
        ));
        closed.trim().parse().unwrap()
    }

    /// How many connections of a virtual host are blocked.
    pub fn blocked_connections(&self, vhost: &str) -> usize {
        let blocked = self.eval(&format!(
            "length([x || [{{vhost, <<\"{vhost}\">>}}, {{state, blocked}}] <- \
             rabbit_networking:connection_info_all([vhost, state])])."
        ));
        blocked.trim().parse().unwrap()
    }

    /// Freezes the server as it stands, connections and all, or lets it go on.
    pub fn freeze(&self, frozen: bool) {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        server.as_ref().unwrap().signal(if frozen { "STOP" } else { "CONT" });
    }

    /// Changes what a user may on a virtual host: configure, write, read.
    pub fn permit(&self, user: &str, vhost: &str, [configure, write, read]: [&str; 3]) {
        self.eval(&format!(
            "rabbit_auth_backend_internal:set_permissions(<<\"{user}\">>, <<\"{vhost}\">>, \
             <<\"{configure}\">>, <<\"{write}\">>, <<\"{read}\">>, <<\"t\">>)."
        ));
    }

    /// How many connections it has accepted since its data were made.
    pub fn accepted(&self) -> usize {
        let logs = std::fs::read_dir(self.folder.join("log")).unwrap().flatten();
        let read = |log: std::fs::DirEntry| std::fs::read_to_string(log.path()).unwrap_or_default();
        logs.map(read).map(|log| log.matches("accepting AMQP connection").count()).sum()
    }

    /// Imports a definitions file.
    pub fn import(&self, definitions: &str) {
        let path = self.folder.join(format!("import-{}.json", lockgate::world::unique()));
        std::fs::write(&path, definitions).unwrap();
        self.control(&["import_definitions", &path.display().to_string()]);
    }

    /// Evaluates Erlang on the node.
    pub fn eval(&self, erlang: &str) -> String {
        self.control(&["eval", erlang])
    }

    fn control(&self, arguments: &[&str]) -> String {
        let done = Command::new(format!("{BIN}/rabbitmqctl"))
            .arg("--quiet")
            .args(arguments)
            .envs(self.environment.iter().map(|(k, v)| (k.as_str(), v.as_str())))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        let errors = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "rabbitmqctl {arguments:?}: {text}{errors}");
        text
    }

    fn make_vhosts(&self) {
        self.eval(&format!(
            "[begin V = list_to_binary(io_lib:format(\"v~2..0b\", [I])), \
             rabbit_vhost:add(V, <<\"t\">>), rabbit_auth_backend_internal:set_permissions(\
             <<\"guest\">>, V, <<\".*\">>, <<\".*\">>, <<\".*\">>, <<\"t\">>) end \
             || I <- lists:seq(1, {})], ok.",
            self.vhosts
        ));
    }
}

pub(super) fn environment(folder: &Path, port: u16, epmd_port: u16) -> Vec<(String, String)> {
    let path = |name: &str| folder.join(name).display().to_string();
    let mut all = BTreeMap::from([
        ("HOME", path("")),
        ("RABBITMQ_NODENAME", format!("lg-{}-{port}@localhost", std::process::id())),
        ("RABBITMQ_NODE_PORT", port.to_string()),
        ("RABBITMQ_DIST_PORT", free_port().to_string()),
        ("RABBITMQ_MNESIA_BASE", path("data")),
        ("RABBITMQ_LOG_BASE", path("log")),
        ("RABBITMQ_PID_FILE", path("pid")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", path("plugins")),
        ("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf")),
        ("RABBITMQ_CONF_ENV_FILE", path("env.conf")),
        ("ERL_EPMD_PORT", epmd_port.to_string()),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
    ]);
    // Idle schedulers must not spin: the machine may be small.
    let light = "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none";
    all.insert("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", light.to_owned());
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A folder for this process; what processes that have ended left behind is removed.
pub(super) fn fresh_folder(port: u16) -> PathBuf {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rabbitmq");
    std::fs::create_dir_all(&base).unwrap();
    for entry in std::fs::read_dir(&base).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let alive = name.split('-').next().is_some_and(|p| Path::new("/proc").join(p).exists());
        if !alive {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    let folder = base.join(format!("{}-{port}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

pub(super) fn wait_until(what: &str, within: Duration, condition: impl Fn() -> bool, log: &Path) {
    #[allow(clippy::disallowed_methods, reason = "a test's deadline is in real time")]
    let start = std::time::Instant::now();
    while !condition() {
        let text = || std::fs::read_to_string(log).unwrap_or_default();
        assert!(start.elapsed() < within, "{what}: not within {within:?}: {}", text());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A plain client, to do what the platform, a partner or an operator would.
pub struct Client {
    /// Kept open as long as the client lives.
    _connection: Connection,
    channel: Channel,
}

impl Client {
    /// Connects; a server that is just starting, or just dying, is given some seconds.
    pub async fn connect(url: &str) -> Self {
        super::eventually("RabbitMQ to answer", START, || Self::reach(url)).await
    }

    async fn reach(url: &str) -> Option<Self> {
        let reaching = async {
            let connection =
                Connection::connect(url, ConnectionProperties::default()).await.ok()?;
            let channel = connection.create_channel().await.ok()?;
            channel.confirm_select(ConfirmSelectOptions::default()).await.ok()?;
            Some(Self { _connection: connection, channel })
        };
        // A node that is half dead accepts, and says no more.
        tokio::time::timeout(CONNECT, reaching).await.ok().flatten()
    }

    /// Declares a durable queue; `quorum` or classic.
    pub async fn declare(&self, queue: &str, quorum: bool) {
        let mut arguments = FieldTable::default();
        if quorum {
            arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        }
        self.declare_with(queue, arguments).await;
    }

    /// Declares a durable queue with these arguments.
    pub async fn declare_with(&self, queue: &str, arguments: FieldTable) {
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        self.channel.queue_declare(queue.into(), options, arguments).await.unwrap();
    }

    /// Declares a durable exchange and binds a queue to it.
    pub async fn bind(&self, exchange: &str, kind: ExchangeKind, queue: &str, key: &str) {
        let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let none = FieldTable::default();
        self.channel.exchange_declare(exchange.into(), kind, options, none.clone()).await.unwrap();
        let options = QueueBindOptions::default();
        let bound =
            self.channel.queue_bind(queue.into(), exchange.into(), key.into(), options, none);
        bound.await.unwrap();
    }

    /// Publishes one message and waits for its confirm.
    pub async fn publish(&self, exchange: &str, key: &str, properties: Properties, body: &[u8]) {
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let sent = self.channel.basic_publish(
            exchange.into(),
            key.into(),
            options,
            body,
            properties.with_delivery_mode(2),
        );
        let confirm = sent.await.unwrap().await.unwrap();
        assert!(
            confirm.is_ack() && confirm.take_message().is_none(),
            "not taken: {exchange} {key}"
        );
    }

    /// How many messages are ready in a queue.
    pub async fn depth(&self, queue: &str) -> u32 {
        self.look(queue).await.message_count()
    }

    /// How many consumers a queue has.
    pub async fn consumers(&self, queue: &str) -> u32 {
        self.look(queue).await.consumer_count()
    }

    async fn look(&self, queue: &str) -> lapin::Queue {
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let found = self.channel.queue_declare(queue.into(), options, FieldTable::default());
        found.await.unwrap()
    }

    /// Takes everything out of a queue.
    pub async fn drain(&self, queue: &str) -> Vec<Message> {
        let mut taken = Vec::new();
        loop {
            let got = self.channel.basic_get(queue.into(), BasicGetOptions::default());
            let Some(got) = got.await.unwrap() else { return taken };
            got.delivery.acker.ack(BasicAckOptions::default()).await.unwrap();
            taken.push(Message {
                exchange: got.delivery.exchange.to_string(),
                routing_key: got.delivery.routing_key.to_string(),
                properties: got.delivery.properties.clone(),
                body: got.delivery.data.clone().into(),
                redelivered: got.delivery.redelivered,
            });
        }
    }

    /// Takes out of a queue until there were so many.
    pub async fn take(&self, queue: &str, count: usize) -> Vec<Message> {
        let taken = std::cell::RefCell::new(Vec::new());
        super::eventually(
            &format!("{count} messages in {queue}"),
            Duration::from_secs(30),
            || async {
                let more = self.drain(queue).await;
                taken.borrow_mut().extend(more);
                (taken.borrow().len() >= count).then_some(())
            },
        )
        .await;
        taken.into_inner()
    }

    /// Deletes a queue.
    pub async fn delete(&self, queue: &str) {
        self.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
    }

    /// Begins to publish one message; what it gives ends with whether RabbitMQ has taken it.
    pub async fn begin_publish(
        &self,
        exchange: &str,
        key: &str,
        body: &[u8],
    ) -> impl Future<Output = bool> + use<> {
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let properties = Properties::default().with_delivery_mode(2);
        let (exchange, key) = (exchange.into(), key.into());
        let sent = self.channel.basic_publish(exchange, key, options, body, properties).await;
        let confirm = sent.unwrap();
        async move {
            let confirm = confirm.await.unwrap();
            confirm.is_ack() && confirm.take_message().is_none()
        }
    }

    /// Publishes many messages, each with its body, 500 at a time, and waits for every confirm.
    pub async fn publish_all(
        &self,
        exchange: &str,
        key: &str,
        bodies: impl IntoIterator<Item = Vec<u8>>,
    ) {
        let mut bodies = bodies.into_iter().peekable();
        while bodies.peek().is_some() {
            let mut confirms = Vec::new();
            for body in bodies.by_ref().take(500) {
                confirms.push(self.begin_publish(exchange, key, &body).await);
            }
            for confirm in confirms {
                assert!(confirm.await, "not taken: {exchange} {key}");
            }
        }
    }

    /// Publishes one message; `false` when it was not taken within 3 s, or nobody knows.
    pub async fn try_publish(&self, exchange: &str, key: &str, body: &[u8]) -> bool {
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let properties = Properties::default().with_delivery_mode(2);
        let taken = async {
            let (exchange, key) = (exchange.into(), key.into());
            let sent = self.channel.basic_publish(exchange, key, options, body, properties).await;
            sent.ok()?.await.ok()
        };
        let confirm = tokio::time::timeout(Duration::from_secs(3), taken).await;
        confirm.ok().flatten().is_some_and(|c| c.is_ack() && c.take_message().is_none())
    }
}
