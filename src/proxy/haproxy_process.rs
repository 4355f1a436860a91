//! `haproxy.run: supervise`: HAProxy's processes are children of this daemon, started with the sockets it holds.
//!
//! HAProxy runs in the foreground (`-db`) as one process that the supervisor watches itself; a master process would
//! only stand between.

use std::collections::BTreeMap;
use std::os::fd::RawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::rc::Rc;

use proxymgr_actors::port::{
    PortFuture, ProcessExit, ProcessSignal, ProcessUsage, ProxyProcesses, RunningProcess, RuntimeApi,
};
use slog::{Logger, info, warn};
use tokio::process::Child;
use tokio::sync::oneshot;
use tokio::task::{spawn, spawn_blocking};

use super::haproxy_binary::HaproxyBinary;
use super::haproxy_socket::HaproxySocket;
use super::process_output;
use super::watched_processes::WatchedProcesses;

/// The processes of one HAProxy.
pub struct HaproxyProcesses {
    shared: Rc<Shared>,
}

struct Shared {
    binary: HaproxyBinary,
    /// Where a HAProxy of an earlier daemon would answer.
    socket: Option<HaproxySocket>,
    watched: WatchedProcesses,
    log: Logger,
}

impl HaproxyProcesses {
    /// The processes of `binary` on the configuration at `config_path`. With `socket_path`, a HAProxy that outlived
    /// its daemon is first looked for there.
    pub fn new(
        binary: HaproxyBinary,
        config_path: impl AsRef<Path>,
        socket_path: Option<PathBuf>,
        log: Logger,
    ) -> Self {
        let watched = WatchedProcesses::of(config_path.as_ref(), log.clone());
        let socket = socket_path.map(|path| HaproxySocket::new(path, log.clone()));
        Self { shared: Rc::new(Shared { binary, socket, watched, log }) }
    }
}

impl ProxyProcesses for HaproxyProcesses {
    fn start(&self, descriptors: Vec<RawFd>, replaces: Vec<u32>) -> PortFuture<Result<RunningProcess, String>> {
        let shared = Rc::clone(&self.shared);
        Box::pin(async move { shared.start(descriptors, &replaces).await })
    }

    fn find_orphan(&self) -> PortFuture<Option<RunningProcess>> {
        let shared = Rc::clone(&self.shared);
        Box::pin(async move { shared.find_orphan().await })
    }

    fn usage(&self, pids: Vec<u32>) -> PortFuture<BTreeMap<u32, ProcessUsage>> {
        self.shared.watched.usage(pids)
    }

    fn signal(&self, pid: u32, signal: ProcessSignal) -> Result<(), String> {
        self.shared.watched.signal(pid, signal)
    }
}

impl Shared {
    async fn start(&self, descriptors: Vec<RawFd>, replaces: &[u32]) -> Result<RunningProcess, String> {
        let mut command = self.binary.command(descriptors);
        command.arg("-f").arg(self.watched.config_path()).arg("-db");
        if !replaces.is_empty() {
            command.arg("-sf").args(replaces.iter().map(u32::to_string));
        }
        // Forking copies the page tables and then waits for exec: not on the actors' thread.
        let spawned = spawn_blocking(move || command.spawn()).await;
        let mut child = match spawned {
            Ok(Ok(child)) => child,
            Ok(Err(error)) => return Err(self.binary.not_run(&error)),
            Err(error) => return Err(format!("starting {} was cut short: {error}", self.binary.path().display())),
        };
        let pid = child.id().ok_or("the process that was started has no id")?;
        self.watched.begin(pid);
        if let Some(stdout) = child.stdout.take() {
            spawn(process_output::forward(stdout, pid, self.log.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            spawn(process_output::forward(stderr, pid, self.log.clone()));
        }
        info!(self.log, "HAProxy started"; "pid" => pid, "replaces" => format!("{replaces:?}"));
        Ok(RunningProcess { pid, exit: self.reaped(pid, child) })
    }

    /// Waits in a task of its own: the child is reaped even when nobody is interested any more.
    fn reaped(&self, pid: u32, mut child: Child) -> PortFuture<ProcessExit> {
        let (tell, told) = oneshot::channel();
        let (watched, log) = (self.watched.clone(), self.log.clone());
        spawn(async move {
            let exit = match child.wait().await {
                Ok(status) => exit_of(status),
                Err(error) => {
                    warn!(log, "cannot wait for a HAProxy process"; "pid" => pid, "error" => %error);
                    ProcessExit::Unknown
                }
            };
            watched.end(pid, &exit);
            // Nobody may be listening any more.
            let _ = tell.send(exit);
        });
        Box::pin(async move { told.await.unwrap_or(ProcessExit::Unknown) })
    }

    async fn find_orphan(&self) -> Option<RunningProcess> {
        let answering = match &self.socket {
            Some(socket) => socket.process().await.ok().filter(|process| !process.stopping).map(|process| process.pid),
            None => None,
        };
        if let Some(socket) = &self.socket {
            socket.disconnect();
        }
        self.watched.find(answering).await
    }
}

fn exit_of(status: ExitStatus) -> ProcessExit {
    match (status.code(), status.signal()) {
        (Some(code), _) => ProcessExit::Code(code),
        (None, Some(signal)) => ProcessExit::Signal(signal),
        (None, None) => ProcessExit::Unknown,
    }
}
