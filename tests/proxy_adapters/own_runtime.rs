//! The Runtime API socket that HAProxy inherits, and the connection that is opened before a process starts.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use proxymgr::proxy::haproxy_process::HaproxyProcesses;
use proxymgr::proxy::haproxy_socket::HaproxySocket;
use proxymgr_actors::decide::haproxy_config::STATS_DESCRIPTOR;
use proxymgr_actors::model::{ObservedServer, RuntimeCommand};
use proxymgr_actors::port::{ProcessExit, ProcessSignal, ProxyProcesses, RunningProcess, RuntimeApi};

use crate::support::dir::TestDir;
use crate::support::eventually::eventually;
use crate::support::haproxy::{HaproxyVersion, installed, versions};
use crate::{DEFAULTS, binary, quiet, server, service};

const READY: Duration = Duration::from_secs(20);

/// A HAProxy of one server that inherits its socket.
struct Site {
    dir: TestDir,
    processes: HaproxyProcesses,
    at_path: HaproxySocket,
}

impl Site {
    fn new(version: &HaproxyVersion) -> Self {
        let dir = TestDir::new();
        let socket_line = format!("stats socket fd@{STATS_DESCRIPTOR} level admin");
        dir.write("haproxy.cfg", config(&socket_line, dir.port()));
        let processes = Self::processes(version, &dir);
        Self { at_path: HaproxySocket::new(dir.join("haproxy.sock"), quiet()), dir, processes }
    }

    /// Returns the adapter of a daemon in this directory.
    fn processes(version: &HaproxyVersion, dir: &TestDir) -> HaproxyProcesses {
        HaproxyProcesses::new(binary(version), dir.join("haproxy.cfg"), Some(dir.join("haproxy.sock")), quiet())
    }

    fn next_path(&self) -> PathBuf {
        self.dir.join("haproxy.sock.next")
    }

    async fn launch(&self, replaces: Vec<u32>) -> (RunningProcess, Rc<dyn RuntimeApi>) {
        let process = self.processes.start(Vec::new(), replaces).await.unwrap();
        let runtime = process.runtime.clone().expect("the process inherits its socket");
        (process, runtime)
    }

    async fn pid_at_path(&self) -> u32 {
        self.at_path.process().await.expect("a process answers at the path").pid
    }

    async fn end(&self, process: RunningProcess) {
        self.processes.signal(process.pid, ProcessSignal::Kill).unwrap();
        assert_eq!(tokio::time::timeout(READY, process.exit).await.unwrap(), ProcessExit::Signal(9));
    }
}

fn config(socket_line: &str, port: u16) -> String {
    format!("global\n    {socket_line}\n{DEFAULTS}listen web\n    bind 127.0.0.1:{port}\n    server a 127.0.0.1:1\n")
}

async fn is_in_maintenance(runtime: &dyn RuntimeApi) -> bool {
    let seen = runtime.observe(Some(vec![service("web")])).await.expect("the process answers");
    let server_a = server("web", "a").server;
    seen.services[&service("web")].get(&server_a).is_some_and(ObservedServer::in_maintenance)
}

#[actix::test]
async fn early_commands_reach_only_the_new_process() {
    for version in versions() {
        let site = Site::new(&version);
        let (old, old_runtime) = site.launch(Vec::new()).await;
        old_runtime.process().await.unwrap();
        site.processes.publish_runtime(old.pid).await.unwrap();

        // The process has not read its configuration yet.
        let (new, new_runtime) = site.launch(vec![old.pid]).await;
        let answers = new_runtime.run(vec![RuntimeCommand::SetMaintenance(server("web", "a"))]).await.unwrap();
        assert!(answers[0].accepted, "{version}: {answers:?}");
        assert!(is_in_maintenance(&*new_runtime).await, "{version}");
        assert!(!is_in_maintenance(&*old_runtime).await, "{version}: the old process received no command");
        old_runtime.disconnect();
        assert_eq!(tokio::time::timeout(READY, old.exit).await.unwrap(), ProcessExit::Code(0), "{version}");
        site.end(new).await;
    }
}

#[actix::test]
async fn socket_path_leads_to_the_old_process_until_published() {
    for version in versions() {
        let site = Site::new(&version);
        let (old, runtime) = site.launch(Vec::new()).await;
        runtime.process().await.unwrap();
        assert!(site.at_path.process().await.is_err(), "{version}");
        site.processes.publish_runtime(old.pid).await.unwrap();
        assert_eq!(site.pid_at_path().await, old.pid, "{version}");

        // It replaces no process, so both continue.
        let (new, runtime) = site.launch(Vec::new()).await;
        assert_eq!(runtime.process().await.unwrap().pid, new.pid, "{version}");
        assert_eq!(site.pid_at_path().await, old.pid, "{version}");
        site.processes.publish_runtime(new.pid).await.unwrap();
        site.at_path.disconnect();
        assert_eq!(site.pid_at_path().await, new.pid, "{version}");
        assert!(!site.next_path().exists(), "{version}");
        let mode = std::fs::metadata(site.dir.join("haproxy.sock")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{version}");
        site.end(old).await;
        site.end(new).await;
    }
}

#[actix::test]
async fn failed_launch_leaves_the_socket_path_alone() {
    for version in versions() {
        let site = Site::new(&version);
        let (old, runtime) = site.launch(Vec::new()).await;
        runtime.process().await.unwrap();
        site.processes.publish_runtime(old.pid).await.unwrap();
        let good = std::fs::read_to_string(site.dir.join("haproxy.cfg")).unwrap();
        site.dir.write("haproxy.cfg", format!("{good}bogus\n"));
        let (failed, runtime) = site.launch(vec![old.pid]).await;
        assert!(runtime.process().await.is_err(), "{version}");
        assert_eq!(tokio::time::timeout(READY, failed.exit).await.unwrap(), ProcessExit::Code(1), "{version}");
        assert!(!site.next_path().exists(), "{version}");
        assert_eq!(site.pid_at_path().await, old.pid, "{version}");

        site.dir.write("haproxy.cfg", good);
        let missing = HaproxyVersion { path: "/nonexistent/haproxy".into(), ..version.clone() };
        let never_started = Site::processes(&missing, &site.dir).start(Vec::new(), vec![old.pid]).await;
        assert!(never_started.is_err() && !site.next_path().exists(), "{version}");
        site.end(old).await;
    }
}

#[actix::test]
async fn unfinished_launch_of_a_killed_daemon_is_adopted() {
    for version in versions() {
        let site = Site::new(&version);
        let (process, runtime) = site.launch(Vec::new()).await;
        runtime.process().await.unwrap();
        // The daemon is killed here, before it renames the socket.
        runtime.disconnect();
        let next_daemon = Site::processes(&version, &site.dir);
        let orphan = next_daemon.find_orphan().await.expect("the process is found");
        assert_eq!(orphan.pid, process.pid, "{version}");
        assert!(!site.next_path().exists(), "{version}");
        assert_eq!(site.pid_at_path().await, process.pid, "{version}");
        site.at_path.disconnect();
        next_daemon.signal(orphan.pid, ProcessSignal::Kill).unwrap();
        // Both daemons of this test are its parent: only one of them reaps it and learns how it ended.
        tokio::time::timeout(READY, orphan.exit).await.unwrap();
    }
}

#[actix::test]
async fn abandoned_socket_file_is_removed() {
    let site = Site::new(&installed());
    drop(std::os::unix::net::UnixListener::bind(site.next_path()).unwrap());
    assert!(site.processes.find_orphan().await.is_none());
    assert!(!site.next_path().exists());
}

#[actix::test]
async fn operators_socket_line_is_kept() {
    for version in versions() {
        let site = Site::new(&version);
        let line = format!("stats socket {} mode 660 level admin", site.dir.join("haproxy.sock").display());
        site.dir.write("haproxy.cfg", config(&line, site.dir.port()));
        let process = site.processes.start(Vec::new(), Vec::new()).await.unwrap();
        assert!(process.runtime.is_none(), "{version}");
        eventually(READY, "it answers at its own socket", async || site.at_path.process().await).await;
        site.processes.publish_runtime(process.pid).await.unwrap();
        assert_eq!(site.pid_at_path().await, process.pid, "{version}");
        site.at_path.disconnect();
        site.end(process).await;
    }
}
