//! HAProxy's processes: started, told what to do, and seen to their end.
//!
//! HAProxy runs in the foreground (`-db`) as one process that the supervisor watches itself; a master process would
//! only stand between. Signals go through pidfds, so that they never reach a stranger that got the same number.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proxymgr_actors::port::{
    PortFuture, ProcessExit, ProcessSignal, ProcessUsage, ProxyProcesses, RunningProcess, RuntimeApi,
};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid};
use slog::{Logger, info, warn};
use tokio::io::unix::AsyncFd;
use tokio::process::Child;
use tokio::sync::oneshot;
use tokio::task::{spawn, spawn_blocking};

use super::haproxy_binary::HaproxyBinary;
use super::haproxy_socket::HaproxySocket;
use super::{process_lookup, process_output, process_usage};

/// The processes of one HAProxy.
pub struct HaproxyProcesses {
    shared: Rc<Shared>,
}

struct Shared {
    binary: HaproxyBinary,
    config_path: PathBuf,
    /// Where a HAProxy of an earlier daemon would answer.
    socket: Option<HaproxySocket>,
    running: Running,
    log: Logger,
}

/// The processes that were started or found and have not ended, each with a pidfd.
#[derive(Clone, Default)]
struct Running(Arc<Mutex<BTreeMap<u32, OwnedFd>>>);

impl Running {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, OwnedFd>> {
        // No operation on the map can leave it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        // Made absolute so that the process can be told by its arguments later, from wherever.
        let config_path = std::path::absolute(&config_path).unwrap_or_else(|_| config_path.as_ref().to_owned());
        let socket = socket_path.map(|path| HaproxySocket::new(path, log.clone()));
        Self { shared: Rc::new(Shared { binary, config_path, socket, running: Running::default(), log }) }
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
        Box::pin(async move {
            let look = spawn_blocking(move || {
                let usage = |pid: u32| Some((pid, process_usage::of(pid)?));
                pids.into_iter().filter_map(usage).collect()
            });
            // It is cut short only when the daemon ends.
            look.await.unwrap_or_default()
        })
    }

    fn signal(&self, pid: u32, signal: ProcessSignal) -> Result<(), String> {
        let number = match signal {
            ProcessSignal::SoftStop => Signal::USR1,
            ProcessSignal::Kill => Signal::KILL,
        };
        let sent = match self.shared.running.lock().get(&pid) {
            Some(pidfd) => pidfd_send_signal(pidfd, number),
            None => self.shared.signal_stranger(pid, number),
        };
        match sent {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(format!(
                "cannot send {signal:?} to HAProxy process {pid}: {error}; \
                 proxymgr must run as root or as the user of that process"
            )),
        }
    }
}

impl Shared {
    async fn start(&self, descriptors: Vec<RawFd>, replaces: &[u32]) -> Result<RunningProcess, String> {
        let mut command = self.binary.command(descriptors);
        command.arg("-f").arg(&self.config_path).arg("-db");
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
        match open_pidfd(pid) {
            Ok(pidfd) => drop(self.running.lock().insert(pid, pidfd)),
            // Its number cannot be taken by another process until it is reaped, so signals still find it.
            Err(error) => warn!(self.log, "no pidfd for a process"; "pid" => pid, "error" => %error),
        }
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
        let (running, log) = (self.running.clone(), self.log.clone());
        spawn(async move {
            let exit = match child.wait().await {
                Ok(status) => exit_of(status),
                Err(error) => {
                    warn!(log, "cannot wait for a HAProxy process"; "pid" => pid, "error" => %error);
                    ProcessExit::Unknown
                }
            };
            running.lock().remove(&pid);
            info!(log, "HAProxy process ended"; "pid" => pid, "with" => %exit);
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
        let known: Vec<u32> = self.running.lock().keys().copied().collect();
        let config = self.config_path.clone();
        let looked_up = spawn_blocking(move || {
            let answering = answering.filter(|pid| !known.contains(pid) && process_lookup::runs(*pid, &config));
            let pid = answering.or_else(|| Some(process_lookup::youngest_running(&config, &known)?.pid))?;
            // Looked at again with the pidfd open: from here on the number can mean no other process.
            let pidfd = open_pidfd(pid).ok()?;
            process_lookup::runs(pid, &config).then_some((pid, pidfd))
        });
        let (pid, pidfd) = looked_up.await.ok()??;
        match self.adopted(pid, pidfd) {
            Ok(process) => Some(process),
            Err(error) => {
                warn!(self.log, "a HAProxy of an earlier daemon runs and cannot be watched";
                    "pid" => pid, "error" => %error);
                None
            }
        }
    }

    fn adopted(&self, pid: u32, pidfd: OwnedFd) -> io::Result<RunningProcess> {
        // SAFETY: the AsyncFd owns this copy of the pidfd, and an OwnedFd neither closes nor changes its descriptor
        // before it is dropped.
        let ended = unsafe { AsyncFd::register(pidfd.try_clone()?) }?;
        self.running.lock().insert(pid, pidfd);
        let (tell, told) = oneshot::channel();
        let (running, log) = (self.running.clone(), self.log.clone());
        spawn(async move {
            // A pidfd becomes readable when its process ends.
            let exit = match ended.readable().await {
                Ok(_) => exit_of_pidfd(ended.get_ref()),
                Err(_) => ProcessExit::Unknown,
            };
            running.lock().remove(&pid);
            info!(log, "HAProxy process ended"; "pid" => pid, "with" => %exit);
            // Nobody may be listening any more.
            let _ = tell.send(exit);
        });
        Ok(RunningProcess { pid, exit: Box::pin(async move { told.await.unwrap_or(ProcessExit::Unknown) }) })
    }

    /// A process that this daemon neither started nor found: only where it still is our HAProxy.
    fn signal_stranger(&self, pid: u32, signal: Signal) -> rustix::io::Result<()> {
        let pidfd = open_pidfd(pid)?;
        if process_lookup::runs(pid, &self.config_path) { pidfd_send_signal(&pidfd, signal) } else { Err(Errno::SRCH) }
    }
}

fn open_pidfd(pid: u32) -> rustix::io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    pidfd_open(pid, PidfdFlags::empty())
}

fn exit_of(status: ExitStatus) -> ProcessExit {
    match (status.code(), status.signal()) {
        (Some(code), _) => ProcessExit::Code(code),
        (None, Some(signal)) => ProcessExit::Signal(signal),
        (None, None) => ProcessExit::Unknown,
    }
}

/// Reaps the process where it is our child after all: a daemon that replaced itself by `exec` keeps its children.
fn exit_of_pidfd(pidfd: &OwnedFd) -> ProcessExit {
    match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
        Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => ProcessExit::Code(code),
            (None, Some(signal)) => ProcessExit::Signal(signal),
            (None, None) => ProcessExit::Unknown,
        },
        _ => ProcessExit::Unknown,
    }
}
