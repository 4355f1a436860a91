//! HAProxy run by another program at proxymgr's order: after the order, the socket shows which process serves.
//!
//! The variants differ only in the order, which is a `Runner` each.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use proxymgr_actors::limits::{PROXY_READY_POLL, PROXY_READY_TIMEOUT};
use proxymgr_actors::model::ProcessInfo;
use proxymgr_actors::port::{
    PortFuture, ProcessExit, ProcessSignal, ProcessUsage, ProxyProcesses, RunningProcess, RuntimeApi, RuntimeError,
};
use slog::{Logger, info};
use tokio::time::{sleep, timeout};

use super::haproxy_socket::HaproxySocket;
use super::watched_processes::WatchedProcesses;

/// The interval at which a process that is not visible from here (in a container, say) is queried on its socket.
const UNSEEN_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The number of failed queries in a row after which the process counts as gone.
const UNSEEN_LOOKS_MAX: u32 = 3;

/// A program that starts and reloads HAProxy on order.
pub(super) trait Runner {
    /// Makes HAProxy serve the live file. `serving` is the process that answers now; `None` if none does.
    fn bring_up(&self, serving: Option<u32>) -> PortFuture<Result<(), String>>;
}

/// The processes of one HAProxy that a `Runner` runs.
pub struct OrderedProcesses {
    shared: Rc<Shared>,
}

struct Shared {
    runner: Box<dyn Runner>,
    socket_path: PathBuf,
    socket: HaproxySocket,
    watched: WatchedProcesses,
    /// The process that served before a restart in place, with the live file.
    continued: Cell<Option<u32>>,
    log: Logger,
}

impl OrderedProcesses {
    pub(super) fn of(runner: impl Runner + 'static, config_path: &Path, socket_path: &Path, log: Logger) -> Self {
        let shared = Shared {
            runner: Box::new(runner),
            socket_path: socket_path.to_owned(),
            socket: HaproxySocket::new(socket_path, log.clone()),
            watched: WatchedProcesses::of(config_path, log.clone()),
            continued: Cell::new(None),
            log,
        };
        Self { shared: Rc::new(shared) }
    }

    /// The same after a restart in place, before which this process served with the live file.
    pub fn continuing(self, serving: Option<u32>) -> Self {
        self.shared.continued.set(serving);
        self
    }
}

impl ProxyProcesses for OrderedProcesses {
    /// Resolves when the new process answers: only then its process id is known.
    fn start(&self, _: Vec<RawFd>, _: Vec<u32>) -> PortFuture<Result<RunningProcess, String>> {
        let shared = Rc::clone(&self.shared);
        Box::pin(async move {
            let before = shared.serving().await;
            shared.runner.bring_up(before.as_ref().map(|process| process.pid)).await?;
            let process = shared.successor(before.as_ref()).await?;
            info!(shared.log, "HAProxy was started or reloaded as ordered"; "pid" => process.pid);
            Ok(shared.watch(process.pid).await)
        })
    }

    /// Returns the process that answers, and no other: only the runner knows of further processes.
    fn find_orphan(&self) -> PortFuture<Option<RunningProcess>> {
        let shared = Rc::clone(&self.shared);
        Box::pin(async move {
            let pid = shared.serving().await?.pid;
            let process = if shared.watched.knows(pid) { None } else { shared.watched.watch_this(pid).await }?;
            Some(RunningProcess { is_continued: shared.continued.get() == Some(pid), ..process })
        })
    }

    fn usage(&self, pids: Vec<u32>) -> PortFuture<BTreeMap<u32, ProcessUsage>> {
        self.shared.watched.usage(pids)
    }

    fn signal(&self, pid: u32, signal: ProcessSignal) -> Result<(), String> {
        self.shared.watched.signal(pid, signal)
    }
}

impl Shared {
    /// The process that answers now.
    async fn serving(&self) -> Option<ProcessInfo> {
        let process = self.socket.process().await.ok().filter(|process| !process.stopping);
        self.socket.disconnect();
        process
    }

    /// Waits for the process that replaces the one before.
    async fn successor(&self, before: Option<&ProcessInfo>) -> Result<ProcessInfo, String> {
        // In a container the new process may have the same id.
        let is_new = |process: &ProcessInfo| {
            before.is_none_or(|before| before.pid != process.pid || process.uptime_s < before.uptime_s)
        };
        let answers = async {
            loop {
                match self.serving().await.filter(is_new) {
                    Some(process) => return process,
                    None => sleep(PROXY_READY_POLL).await,
                }
            }
        };
        let silent = |_| {
            format!(
                "the order was carried out, but no new HAProxy answers on {} within {} s; see its own log, unless it \
                 runs another file than {}",
                self.socket_path.display(),
                PROXY_READY_TIMEOUT.as_secs(),
                self.watched.config_path().display()
            )
        };
        timeout(PROXY_READY_TIMEOUT, answers).await.map_err(silent)
    }

    async fn watch(&self, pid: u32) -> RunningProcess {
        match self.watched.watch_this(pid).await {
            Some(process) => process,
            None => RunningProcess {
                pid,
                exit: Box::pin(unseen(self.socket_path.clone(), pid, self.log.clone())),
                runtime: None,
                is_continued: false,
            },
        }
    }
}

/// Resolves when this process no longer answers on the socket.
async fn unseen(socket_path: PathBuf, pid: u32, log: Logger) -> ProcessExit {
    let socket = HaproxySocket::new(socket_path, log);
    let mut missed = 0;
    while missed < UNSEEN_LOOKS_MAX {
        sleep(UNSEEN_LOOK_INTERVAL).await;
        missed = match socket.process().await {
            Ok(process) if process.pid == pid => 0,
            Ok(_) | Err(RuntimeError::Unreachable { .. }) => missed + 1,
            Err(_) => missed,
        };
        socket.disconnect();
    }
    ProcessExit::Unknown
}
