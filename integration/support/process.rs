//! A child process that never outlives the test run, however the run ends.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};

/// A server process under a small shell that kills it as soon as our end of a pipe closes:
/// when this value is dropped, and also when the test process itself is killed.
pub struct Process {
    shell: Child,
    lifeline: Option<ChildStdin>,
    /// The server's own process id.
    pub pid: u32,
}

impl Process {
    /// Starts `program` with `arguments` and additional environment variables; what it prints goes
    /// to the file `log`.
    pub fn start(
        program: &str,
        arguments: &[&str],
        environment: &[(String, String)],
        log: &std::path::Path,
    ) -> Self {
        let script = r#"log=$1; shift
            setsid "$@" </dev/null >"$log" 2>&1 & pid=$!
            echo $pid
            exec >/dev/null
            read -r _
            kill -s KILL -- -$pid 2>/dev/null || kill -s KILL $pid 2>/dev/null"#;
        let mut shell = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(log)
            .arg(program)
            .args(arguments)
            // A group of its own: what ends the run's group (Ctrl-C, a timeout) must not end the
            // shell before it has ended the server.
            .process_group(0)
            // Where a server leaves what it drops when it crashes.
            .current_dir(log.parent().unwrap())
            .envs(environment.iter().map(|(k, v)| (k.as_str(), v.as_str())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start a shell for {program}: {e}"));
        let lifeline = shell.stdin.take();
        let mut pid = String::new();
        shell.stdout.take().unwrap().read_to_string(&mut pid).unwrap();
        let pid = pid.trim().parse().unwrap();
        Self { shell, lifeline, pid }
    }

    /// Sends a signal (`KILL`, `TERM`, `STOP`, `CONT`) to the server and its children.
    pub fn signal(&self, name: &str) {
        let done = Command::new("sh")
            .args(["-c", &format!("kill -s {name} -- -{}", self.pid)])
            .status()
            .unwrap();
        assert!(done.success(), "kill -{name} {}", self.pid);
    }

    /// Whether the server is still there. One that has ended but was not yet waited for is not.
    pub fn alive(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid));
        let state = stat
            .ok()
            .and_then(|stat| stat.rsplit(')').next()?.split_whitespace().next().map(str::to_owned));
        state.is_some_and(|state| state != "Z" && state != "X")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        let _ = self.shell.wait();
    }
}
