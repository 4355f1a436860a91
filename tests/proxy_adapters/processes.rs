//! `HaproxyProcesses` and `KernelListeningSockets`: starts, hand-overs, ends, and processes of an earlier daemon.

use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use proxymgr::proxy::haproxy_process::HaproxyProcesses;
use proxymgr::proxy::haproxy_socket::HaproxySocket;
use proxymgr::proxy::listening_sockets::KernelListeningSockets;
use proxymgr_actors::model::ProcessInfo;
use proxymgr_actors::port::{
    HeldSocket, ListeningSockets, ProcessExit, ProcessSignal, ProxyProcesses, RunningProcess, RuntimeApi,
};

use crate::support::backend::Backend;
use crate::support::dir::TestDir;
use crate::support::eventually::eventually;
use crate::support::haproxy::{HaproxyVersion, installed, versions};
use crate::support::load::Load;
use crate::support::process::Process;
use crate::{DEFAULTS, address_of, any_port, binary, descriptor, quiet};

const READY: Duration = Duration::from_secs(10);

/// One service on a held socket, with its configuration and adapters.
struct Site {
    dir: TestDir,
    held: Box<dyn HeldSocket>,
    processes: HaproxyProcesses,
    runtime: HaproxySocket,
}

impl Site {
    fn new(version: &HaproxyVersion, backend: SocketAddr) -> Self {
        let dir = TestDir::new();
        let held = KernelListeningSockets::new().open(&any_port(), &[]).unwrap();
        let socket = dir.join("haproxy.sock");
        let idle_close = if version.branch >= (2, 4) { "    option idle-close-on-response\n" } else { "" };
        let config = format!(
            "global\n    stats socket {} mode 600 level admin\n{DEFAULTS}{idle_close}\
             listen web\n    bind fd@{}\n    server a {backend}\n",
            socket.display(),
            descriptor(held.as_ref())
        );
        dir.write("haproxy.cfg", config);
        let processes = Self::processes(version, &dir);
        Self { runtime: HaproxySocket::new(socket, quiet()), dir, held, processes }
    }

    /// Returns the adapter of a daemon in this directory.
    fn processes(version: &HaproxyVersion, dir: &TestDir) -> HaproxyProcesses {
        HaproxyProcesses::new(binary(version), dir.join("haproxy.cfg"), Some(dir.join("haproxy.sock")), quiet())
    }

    async fn start(&self, replaces: Vec<u32>) -> RunningProcess {
        let process = self.processes.start(vec![descriptor(self.held.as_ref())], replaces).await.unwrap();
        self.answers(process.pid).await;
        process
    }

    async fn answers(&self, pid: u32) -> ProcessInfo {
        eventually(READY, "the new process answers", async || match self.runtime.process().await {
            Ok(process) if process.pid == pid => Ok(process),
            other => Err(format!("{other:?}")),
        })
        .await
    }
}

async fn ended(process: RunningProcess) -> ProcessExit {
    tokio::time::timeout(READY, process.exit).await.expect("the process ends")
}

/// Returns those of these children that have ended and were not reaped.
fn zombies(pids: &[u32]) -> Vec<u32> {
    let state = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/stat"));
    pids.iter().copied().filter(|pid| state(*pid).is_ok_and(|stat| stat.contains(") Z "))).collect()
}

fn nobody() -> SocketAddr {
    "127.0.0.1:1".parse().unwrap()
}

fn open_descriptors() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    entries.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok()).collect()
}

#[actix::test]
async fn process_starts_answers_and_is_reaped() {
    for version in versions() {
        let site = Site::new(&version, nobody());
        for (signal, end) in
            [(ProcessSignal::SoftStop, ProcessExit::Code(0)), (ProcessSignal::Kill, ProcessExit::Signal(9))]
        {
            let process = site.start(Vec::new()).await;
            let pid = process.pid;
            site.runtime.disconnect();
            site.processes.signal(pid, signal).unwrap();
            assert_eq!(ended(process).await, end, "{version}");
            assert!(zombies(&[pid]).is_empty());
            site.processes.signal(pid, ProcessSignal::SoftStop).expect("a process that has ended is no error");
        }
    }
}

#[actix::test]
async fn invalid_configuration_or_missing_program_fails_the_start() {
    let site = Site::new(&installed(), nobody());
    site.dir.write("haproxy.cfg", "bogus\n");
    let process = site.processes.start(Vec::new(), Vec::new()).await.unwrap();
    assert_eq!(ended(process).await, ProcessExit::Code(1));
    let missing = HaproxyVersion { path: "/nonexistent/haproxy".into(), ..installed() };
    let error = Site::processes(&missing, &site.dir).start(Vec::new(), Vec::new()).await.err().unwrap();
    assert!(error.contains("/nonexistent/haproxy") && error.contains("install HAProxy"), "{error}");
}

#[actix::test]
async fn child_is_reaped_without_a_waiter() {
    let site = Site::new(&installed(), nobody());
    let process = site.start(Vec::new()).await;
    let pid = process.pid;
    drop(process);
    site.processes.signal(pid, ProcessSignal::Kill).unwrap();
    eventually(READY, "the process is gone", async || {
        if PathBuf::from(format!("/proc/{pid}")).exists() { Err("there, or a zombie") } else { Ok(()) }
    })
    .await;
}

#[actix::test]
async fn handovers_under_load_lose_no_request() {
    for version in versions() {
        let dir = TestDir::new();
        let backend = Backend::start(&dir, "a");
        let site = Site::new(&version, backend.address());
        let mut old = site.start(Vec::new()).await;
        let pause = Duration::from_millis(1);
        let fresh = Load::new(address_of(&*site.held)).clients(3).pause(pause).start();
        let kept = Load::new(address_of(&*site.held)).clients(2).keep_alive(true).pause(pause).start();
        for _ in 0..3 {
            site.runtime.disconnect();
            let new = site.start(vec![old.pid]).await;
            site.runtime.disconnect();
            assert_eq!(ended(old).await, ProcessExit::Code(0), "{version}");
            old = new;
        }
        fresh.stop().await.assert_nothing_failed();
        let kept = kept.stop().await;
        assert_eq!(kept.failed(), 0, "{version}: {kept}");
        site.processes.signal(old.pid, ProcessSignal::Kill).unwrap();
        ended(old).await;
    }
}

#[actix::test]
async fn fifty_starts_leak_neither_descriptors_nor_zombies() {
    let site = Site::new(&installed(), nobody());
    let mut pids = Vec::new();
    let mut after_first = 0;
    for round in 0..50 {
        let process = site.start(Vec::new()).await;
        pids.push(process.pid);
        site.runtime.disconnect();
        site.processes.signal(process.pid, ProcessSignal::Kill).unwrap();
        ended(process).await;
        // Tasks that end a moment later close the pipes of the output.
        if round == 0 {
            after_first = open_descriptors().len();
        }
    }
    eventually(READY, "no descriptor is left", async || {
        let open = open_descriptors();
        if open.len() <= after_first { Ok(()) } else { Err(format!("{open:#?}")) }
    })
    .await;
    assert!(zombies(&pids).is_empty());
}

#[actix::test]
async fn child_inherits_only_its_sockets() {
    let site = Site::new(&installed(), nobody());
    let other = KernelListeningSockets::new().open(&any_port(), &[]).unwrap();
    let process = site.start(Vec::new()).await;
    let links = |descriptor: RawFd| std::fs::read_link(format!("/proc/self/fd/{descriptor}")).unwrap();
    let theirs: Vec<PathBuf> = std::fs::read_dir(format!("/proc/{}/fd", process.pid))
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .collect();
    assert!(theirs.contains(&links(descriptor(site.held.as_ref()))));
    assert!(!theirs.contains(&links(descriptor(other.as_ref()))));
    site.processes.signal(process.pid, ProcessSignal::Kill).unwrap();
    ended(process).await;
}

#[actix::test]
async fn sockets_of_a_running_haproxy_are_adopted() {
    for version in versions() {
        let mut site = Site::new(&version, nobody());
        let process = site.start(Vec::new()).await;
        let address = address_of(&*site.held);
        // The previous daemon has ended, which closed its copy of the socket.
        site.held = KernelListeningSockets::new().open(&any_port(), &[]).unwrap();
        let adopted = KernelListeningSockets::new().adopt(process.pid).unwrap();
        let addresses: Vec<SocketAddr> = adopted.iter().map(|held| address_of(&**held)).collect();
        assert_eq!(addresses, [address], "{version}");

        site.processes.signal(process.pid, ProcessSignal::Kill).unwrap();
        ended(process).await;
        std::net::TcpStream::connect(address).expect("the port is open as long as the copy is held");
        drop(adopted);
        assert!(std::net::TcpStream::connect(address).is_err(), "{version}");
    }
}

#[actix::test]
async fn orphaned_haproxy_is_found_watched_and_stopped() {
    for version in versions() {
        let site = Site::new(&version, nobody());
        let config = format!(
            "global\n    stats socket {} mode 600 level admin\n{DEFAULTS}listen web\n    bind 127.0.0.1:{}\n",
            site.dir.join("haproxy.sock").display(),
            site.dir.port()
        );
        let config = site.dir.write("haproxy.cfg", config);
        assert!(site.processes.find_orphan().await.is_none(), "{version}: nothing runs yet");
        // Its parent is a shell, in the role of init.
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("{} -db -f {} & wait", version.path.display(), config.display()));
        let mut shell = Process::start(&site.dir, "shell", shell);
        let running = eventually(READY, "it answers", async || site.runtime.process().await).await;

        let orphan = site.processes.find_orphan().await.expect("the HAProxy that answers is found");
        assert_eq!(orphan.pid, running.pid, "{version}");
        assert!(site.processes.find_orphan().await.is_none(), "{version}: it is adopted");

        // A HAProxy without a socket, or without an answer on it, is found by its arguments.
        let by_arguments = HaproxyProcesses::new(binary(&version), config, None, quiet());
        let found = by_arguments.find_orphan().await.expect("the HAProxy that runs the file is found");
        assert_eq!(found.pid, running.pid, "{version}");

        site.runtime.disconnect();
        site.processes.signal(orphan.pid, ProcessSignal::SoftStop).unwrap();
        assert_eq!(ended(orphan).await, ProcessExit::Unknown, "{version}: only a parent knows how a process ended");
        ended(found).await;
        shell.wait_exit(READY).await;
        assert!(site.processes.find_orphan().await.is_none(), "{version}");
    }
}

#[actix::test]
async fn our_own_child_is_no_orphan() {
    let site = Site::new(&installed(), nobody());
    let child = site.start(Vec::new()).await;
    assert!(site.processes.find_orphan().await.is_none());
    site.processes.signal(child.pid, ProcessSignal::Kill).unwrap();
    ended(child).await;
}

#[actix::test]
async fn haproxy_with_another_file_is_ignored() {
    let site = Site::new(&installed(), nobody());
    let child = site.start(Vec::new()).await;
    let elsewhere = TestDir::new();
    elsewhere.write("haproxy.cfg", "global\n");
    let others = HaproxyProcesses::new(
        binary(&installed()),
        elsewhere.join("haproxy.cfg"),
        Some(site.dir.join("haproxy.sock")),
        quiet(),
    );
    assert!(others.find_orphan().await.is_none());
    others.signal(child.pid, ProcessSignal::Kill).expect("the process of another file counts as ended");
    site.answers(child.pid).await;
    site.processes.signal(child.pid, ProcessSignal::Kill).unwrap();
    assert_eq!(ended(child).await, ProcessExit::Signal(9));
}
