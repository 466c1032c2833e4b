//! A private RabbitMQ cluster: three nodes, which a test may kill and start again, and a load
//! balancer before them. About 400 MB and 15 s; see [`super::rabbitmq`] for one node.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::balancer::Balancer;
use super::free_port;
use super::process::Process;
use super::rabbitmq::{BIN, GUEST, Place, environment, fresh_folder, unique_prefix, wait_until};

/// How many nodes there are.
pub const NODES: usize = 3;
/// How long a node may take to start, and the cluster to be whole.
const START: Duration = Duration::from_secs(180);

/// Three nodes in one cluster, and a balancer.
pub struct Cluster {
    members: [Member; NODES],
    balancer: Balancer,
    _epmd: Process,
    given: AtomicUsize,
}

struct Member {
    name: String,
    folder: PathBuf,
    port: u16,
    environment: Vec<(String, String)>,
    server: Mutex<Option<Process>>,
}

impl Cluster {
    /// Starts the nodes and waits until all see each other.
    pub fn start() -> Self {
        let epmd_port = free_port();
        let folder = fresh_folder(epmd_port);
        // The nodes trust each other by it.
        let cookie = folder.join(".erlang.cookie");
        std::fs::write(&cookie, unique_prefix()).unwrap();
        std::fs::set_permissions(&cookie, Permissions::from_mode(0o400)).unwrap();
        let epmd_arguments = ["-port", &epmd_port.to_string(), "-address", "127.0.0.1"];
        let epmd = Process::start("epmd", &epmd_arguments, &[], &folder.join("epmd.log"));
        let mut members: [Member; NODES] = std::array::from_fn(|index| {
            let (port, folder) = (free_port(), folder.join(index.to_string()));
            std::fs::create_dir_all(&folder).unwrap();
            let environment = environment(&folder, port, epmd_port);
            let name = environment.iter().find(|(name, _)| name == "RABBITMQ_NODENAME");
            let name = name.unwrap().1.clone();
            Member { name, folder, port, environment, server: Mutex::new(None) }
        });
        let first = members[0].name.clone();
        for member in &mut members {
            let home = member.environment.iter_mut().find(|(name, _)| name == "HOME");
            home.unwrap().1 = folder.display().to_string();
            member.configure(&first);
        }
        let balancer = Balancer::start(members.iter().map(|member| member.port).collect());
        let given = AtomicUsize::new(0);
        let cluster = Self { members, balancer, _epmd: epmd, given };
        // The first alone: the others find it, and nobody has to agree with anybody on who begins.
        cluster.restart(0);
        for index in 1..NODES {
            cluster.begin(index);
        }
        cluster.until_whole();
        cluster
    }

    fn begin(&self, index: usize) {
        let member = &self.members[index];
        let mut server = member.server.lock().unwrap();
        if server.is_none() {
            let (program, log) = (format!("{BIN}/rabbitmq-server"), member.log());
            *server = Some(Process::start(&program, &[], &member.environment, &log));
        }
    }

    /// Starts a node where it is not running, on the same data and port, and waits for it.
    pub fn restart(&self, index: usize) {
        self.begin(index);
        let member = &self.members[index];
        wait_until("RabbitMQ to start", START, || member.answers(), &member.log());
    }

    /// Starts every node that is not running, at once, and waits until all see each other and
    /// every queue has all its replicas.
    pub fn mend(&self) {
        (0..NODES).for_each(|index| self.begin(index));
        self.until_whole();
    }

    fn until_whole(&self) {
        let whole = || {
            self.members.iter().all(Member::answers)
                && self.eval("length(rabbit_nodes:all_running()).").trim() == NODES.to_string()
                && (0..NODES).all(|index| {
                    let critical =
                        "length(rabbit_quorum_queue:list_with_minimum_quorum_for_cli()).";
                    self.members[index].try_eval(critical).is_some_and(|few| few.trim() == "0")
                })
        };
        wait_until("the cluster to be whole", START, whole, &self.members[0].log());
    }

    /// `kill -9`.
    pub fn kill(&self, index: usize) {
        let member = &self.members[index];
        drop(member.server.lock().unwrap().take());
        let gone = || !member.answers();
        wait_until("RabbitMQ to be dead", Duration::from_secs(10), gone, &member.log());
    }

    /// Lets every node save its table of quorum queues. RabbitMQ 3.10 does it every three minutes
    /// only, and a node that is killed before forgets its part of younger queues: a cluster can
    /// bear that of one node at a time, not of two.
    pub fn save_tables(&self) {
        for member in &self.members {
            member.try_eval("[dets:sync(Table) || Table <- dets:all()], ok.").unwrap();
        }
    }

    /// The node that leads a queue.
    pub fn leader(&self, place: &Place, queue: &str) -> usize {
        let leader = self.eval(&format!(
            "{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"{}\">>, queue, <<\"{queue}\">>)), \
             {{_, Node}} = amqqueue:get_pid(Q), Node.",
            place.vhost
        ));
        let name = leader.trim().trim_matches('\'');
        let found = self.members.iter().position(|member| member.name == name);
        found.unwrap_or_else(|| panic!("{queue} is led by {leader}"))
    }

    /// A virtual host that no test has had before, through the load balancer.
    pub fn place(&self) -> Place {
        let vhost = format!("v{}", self.given.fetch_add(1, Ordering::Relaxed));
        self.eval(&format!(
            "rabbit_vhost:add(<<\"{vhost}\">>, <<\"t\">>), rabbit_auth_backend_internal:set_permissions(\
             <<\"guest\">>, <<\"{vhost}\">>, <<\".*\">>, <<\".*\">>, <<\".*\">>, <<\"t\">>)."
        ));
        let url = format!("amqp://{GUEST}@127.0.0.1:{}/{vhost}", self.balancer.port());
        Place { url, vhost, prefix: unique_prefix() }
    }

    /// Evaluates Erlang on some node that is there.
    pub fn eval(&self, erlang: &str) -> String {
        let running = self.members.iter().filter(|member| member.answers());
        let mut answers = running.filter_map(|member| member.try_eval(erlang));
        answers.next().unwrap_or_else(|| panic!("no node evaluates {erlang}"))
    }
}

impl Member {
    fn configure(&self, first: &str) {
        let mut config = format!(
            "listeners.tcp.1 = 127.0.0.1:{}\nloopback_users = none\n\
             disk_free_limit.absolute = 50MB\nvm_memory_high_watermark.absolute = 1GB\n\
             collect_statistics_interval = 60000\nlog.console = false\n",
            self.port
        );
        if self.name != first {
            config.push_str("cluster_formation.peer_discovery_backend = classic_config\n");
            for (number, name) in [(1, first), (2, self.name.as_str())] {
                let line = format!("cluster_formation.classic_config.nodes.{number} = {name}\n");
                config.push_str(&line);
            }
        }
        std::fs::write(self.folder.join("rabbitmq.conf"), config).unwrap();
        std::fs::write(self.folder.join("plugins"), "[].").unwrap();
        std::fs::write(self.folder.join("env.conf"), "").unwrap();
    }

    fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    fn answers(&self) -> bool {
        std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok()
    }

    fn try_eval(&self, erlang: &str) -> Option<String> {
        let done = Command::new(format!("{BIN}/rabbitmqctl"))
            .args(["--quiet", "eval", erlang])
            .envs(self.environment.iter().map(|(k, v)| (k.as_str(), v.as_str())))
            .output()
            .unwrap();
        done.status.success().then(|| String::from_utf8_lossy(&done.stdout).into_owned())
    }
}
