//! HAProxy's standard error: traffic never waits until it is read.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use proxymgr::proxy::haproxy_process::HaproxyProcesses;
use proxymgr_actors::port::{ProcessSignal, ProxyProcesses};
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

use crate::support::backend::Backend;
use crate::support::dir::TestDir;
use crate::support::haproxy::{HaproxyVersion, versions};
use crate::{DEFAULTS, binary, quiet};

const PATIENCE: Duration = Duration::from_secs(20);

/// Number of servers whose messages fill any pipe when they go down: about 200 bytes each.
const SERVERS: usize = 3_000;

/// A daemon, whose tasks end when it is dropped.
struct Daemon {
    tasks: LocalSet,
    runtime: Runtime,
}

impl Daemon {
    fn new() -> Self {
        Self { tasks: LocalSet::new(), runtime: Builder::new_current_thread().enable_all().build().unwrap() }
    }
}

/// A HAProxy that a daemon started.
struct Site {
    dir: TestDir,
    port: u16,
    daemon: Daemon,
    processes: HaproxyProcesses,
    pid: u32,
    _backend: Backend,
}

impl Site {
    /// Starts it. With `checked`, all servers soon fail their checks, except the one that takes the traffic.
    fn start(version: &HaproxyVersion, checked: bool) -> Self {
        let dir = TestDir::new();
        let (backend, port) = (Backend::start(&dir, "a"), dir.port());
        let check = if checked { " check inter 500ms fall 2" } else { "" };
        let servers: String = (0..SERVERS).map(|number| format!("    server s{number} 127.0.0.1:1{check}\n")).collect();
        let config = format!(
            "global\n    stats socket {} mode 600 level admin\n{DEFAULTS}\
             listen web\n    bind 127.0.0.1:{port}\n    server a {}\nlisten down\n    bind 127.0.0.1:{}\n{servers}",
            dir.join("haproxy.sock").display(),
            backend.address(),
            dir.port(),
        );
        let config = dir.write("haproxy.cfg", config);
        // Its tasks, which read HAProxy's output, run only inside `block_on`.
        let daemon = Daemon::new();
        let processes = HaproxyProcesses::new(binary(version), config, None, quiet());
        let pid = daemon.tasks.block_on(&daemon.runtime, processes.start(Vec::new(), Vec::new())).unwrap().pid;
        let site = Self { dir, port, daemon, processes, pid, _backend: backend };
        site.wait_for("the first answer", || site.is_served());
        site
    }

    fn wait_for(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn is_served(&self) -> bool {
        let answer = || -> std::io::Result<String> {
            let mut connection = TcpStream::connect(("127.0.0.1", self.port))?;
            connection.set_read_timeout(Some(Duration::from_secs(3)))?;
            connection.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            connection.read_to_string(&mut answer)?;
            Ok(answer)
        };
        answer().is_ok_and(|answer| answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _entered = self.daemon.runtime.enter();
        // The process may have ended already.
        let _ = self.processes.signal(self.pid, ProcessSignal::Kill);
    }
}

fn ask(socket: &Path, commands: &str) -> String {
    let mut connection = UnixStream::connect(socket).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    connection.write_all(commands.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn traffic_continues_while_output_is_unread() {
    for version in versions() {
        let site = Site::start(&version, true);
        let socket = site.dir.join("haproxy.sock");
        site.wait_for("all servers are down", || {
            assert!(site.is_served(), "{version}: traffic stopped while the servers went down");
            let states = ask(&socket, "show servers state down\n");
            // The sixth column is the state; 0 is down.
            let is_down = |line: &&str| line.split(' ').nth(5) == Some("0");
            states.lines().filter(is_down).count() == SERVERS
        });
        assert!(site.is_served(), "{version}");
    }
}

#[test]
fn traffic_continues_after_daemon_is_killed() {
    for version in versions() {
        let mut site = Site::start(&version, false);
        // This closes the reading end of the pipe.
        site.daemon = Daemon::new();
        let socket = site.dir.join("haproxy.sock");
        let disable: Vec<String> = (0..SERVERS).map(|number| format!("disable server down/s{number};")).collect();
        for commands in disable.chunks(100) {
            ask(&socket, &format!("{}\n", commands.concat()));
        }
        assert!(site.is_served(), "{version}");
        assert!(Path::new(&format!("/proc/{}", site.pid)).exists(), "{version}");
    }
}
