//! HAProxy processes on this machine, started by any program: watched to their end, counted and signalled.
//!
//! Signals go through pidfds, so that they never reach another process with the same id.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proxymgr_actors::port::{PortFuture, ProcessExit, ProcessSignal, ProcessUsage, RunningProcess};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid};
use slog::{Logger, debug, warn};
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::task::{spawn, spawn_blocking};

use super::{process_lookup, process_usage};

/// The processes that run one configuration file.
#[derive(Clone)]
pub(super) struct WatchedProcesses {
    config_path: PathBuf,
    /// The processes that were started or found and have not ended, each with a pidfd.
    running: Arc<Mutex<BTreeMap<u32, OwnedFd>>>,
    log: Logger,
}

impl WatchedProcesses {
    /// Returns an empty set for the processes that run the configuration at `config_path`.
    pub(super) fn of(config_path: &Path, log: Logger) -> Self {
        // Absolute, so that a process can be identified by its arguments from any working directory.
        let config_path = std::path::absolute(config_path).unwrap_or_else(|_| config_path.to_owned());
        Self { config_path, running: Arc::default(), log }
    }

    /// The configuration file, as an absolute path.
    pub(super) fn config_path(&self) -> &Path {
        &self.config_path
    }

    /// Whether the process is watched already.
    pub(super) fn knows(&self, pid: u32) -> bool {
        self.lock().contains_key(&pid)
    }

    /// Adds a child that was just started. The task that reaps it calls `end`.
    pub(super) fn begin(&self, pid: u32) {
        match open_pidfd(pid) {
            Ok(pidfd) => drop(self.lock().insert(pid, pidfd)),
            // Its id cannot be reused before it is reaped, so signals still reach it.
            Err(error) => warn!(self.log, "no pidfd for a process"; "pid" => pid, "error" => %error),
        }
    }

    /// Removes a process that has ended.
    pub(super) fn end(&self, pid: u32, exit: &ProcessExit) {
        self.lock().remove(&pid);
        debug!(self.log, "HAProxy process ended"; "pid" => pid, "with" => %exit);
    }

    /// Finds a HAProxy on the file that is not watched yet: the one that answers on its socket if it runs the file,
    /// else the youngest.
    pub(super) async fn find(&self, answering: Option<u32>) -> Option<RunningProcess> {
        let known: Vec<u32> = self.lock().keys().copied().collect();
        let config = self.config_path.clone();
        self.watch(move || {
            let answering = answering.filter(|pid| !known.contains(pid) && process_lookup::runs(*pid, &config));
            answering.or_else(|| Some(process_lookup::youngest_running(&config, &known)?.pid))
        })
        .await
    }

    /// Watches this process if it is a HAProxy on the file and visible from here.
    pub(super) async fn watch_this(&self, pid: u32) -> Option<RunningProcess> {
        self.watch(move || Some(pid)).await
    }

    async fn watch(&self, which: impl FnOnce() -> Option<u32> + Send + 'static) -> Option<RunningProcess> {
        let config = self.config_path.clone();
        let looked_up = spawn_blocking(move || {
            let pid = which()?;
            // Checked with the pidfd open: from here on the id cannot belong to another process.
            let pidfd = open_pidfd(pid).ok()?;
            process_lookup::runs(pid, &config).then_some((pid, pidfd))
        });
        let (pid, pidfd) = looked_up.await.ok()??;
        match self.adopted(pid, pidfd) {
            Ok(process) => Some(process),
            Err(error) => {
                warn!(self.log, "an external HAProxy process cannot be watched"; "pid" => pid, "error" => %error);
                None
            }
        }
    }

    #[expect(unsafe_code, reason = "tokio cannot know that the value keeps its descriptor")]
    fn adopted(&self, pid: u32, pidfd: OwnedFd) -> io::Result<RunningProcess> {
        // SAFETY: the AsyncFd owns this copy of the pidfd, and an OwnedFd neither closes nor changes its descriptor
        // before it is dropped.
        let ended = unsafe { AsyncFd::register(pidfd.try_clone()?) }?;
        self.lock().insert(pid, pidfd);
        let (report, reported) = oneshot::channel();
        let watched = self.clone();
        spawn(async move {
            // A pidfd becomes readable when its process ends.
            let exit = match ended.readable().await {
                Ok(_) => exit_of_pidfd(ended.get_ref()),
                Err(_) => ProcessExit::Unknown,
            };
            watched.end(pid, &exit);
            // The receiver may be gone.
            let _ = report.send(exit);
        });
        Ok(RunningProcess {
            pid,
            exit: Box::pin(async move { reported.await.unwrap_or(ProcessExit::Unknown) }),
            runtime: None,
            is_continued: false,
        })
    }

    /// Returns the current usage of these processes.
    pub(super) fn usage(&self, pids: Vec<u32>) -> PortFuture<BTreeMap<u32, ProcessUsage>> {
        Box::pin(async move {
            let look = spawn_blocking(move || {
                let usage = |pid: u32| Some((pid, process_usage::of(pid)?));
                pids.into_iter().filter_map(usage).collect()
            });
            // The task is cancelled only when the daemon ends.
            look.await.unwrap_or_default()
        })
    }

    /// Sends a signal to a process. A process that is already gone is no error.
    pub(super) fn signal(&self, pid: u32, signal: ProcessSignal) -> Result<(), String> {
        let number = match signal {
            ProcessSignal::SoftStop => Signal::USR1,
            ProcessSignal::Kill => Signal::KILL,
        };
        let sent = match self.lock().get(&pid) {
            Some(pidfd) => pidfd_send_signal(pidfd, number),
            None => self.signal_stranger(pid, number),
        };
        match sent {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(format!(
                "cannot send {signal:?} to HAProxy process {pid}: {error}; \
                 proxymgr must run as root or as the user of that process"
            )),
        }
    }

    /// Signals a process that is not watched, only if it still is our HAProxy.
    fn signal_stranger(&self, pid: u32, signal: Signal) -> rustix::io::Result<()> {
        let pidfd = open_pidfd(pid)?;
        if process_lookup::runs(pid, &self.config_path) { pidfd_send_signal(&pidfd, signal) } else { Err(Errno::SRCH) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, OwnedFd>> {
        // A panic cannot leave the map half changed.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open_pidfd(pid: u32) -> rustix::io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    pidfd_open(pid, PidfdFlags::empty())
}

/// Reaps the process if it is our child: a daemon that replaced itself by `exec` keeps its children.
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
