//! `haproxy.run: supervise`: HAProxy's processes are children of this daemon, started with the sockets it holds.
//!
//! HAProxy runs in the foreground (`-db`) as one process that the supervisor watches itself, so a master process is not
//! needed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::rc::Rc;

use actix::Recipient;
use proxymgr_actors::message::ServerHealthReported;
use proxymgr_actors::model::ServerId;
use proxymgr_actors::port::{
    PortFuture, ProcessExit, ProcessSignal, ProcessUsage, ProxyProcesses, RunningProcess, RuntimeApi, RuntimeError,
};
use slog::{Logger, info, warn};
use tokio::net::unix::pipe::Receiver;
use tokio::process::Child;
use tokio::sync::oneshot;
use tokio::task::{spawn, spawn_blocking, spawn_local};

use super::haproxy_binary::{HaproxyBinary, Inherited};
use super::haproxy_socket::HaproxySocket;
use super::health_line::HealthChange;
use super::process_output::{self, OnHealthChange};
use super::stats_socket::{Prepared, StatsSocket};
use super::watched_processes::WatchedProcesses;

/// The processes of one HAProxy.
#[derive(Clone)]
pub struct HaproxyProcesses {
    shared: Rc<Shared>,
}

/// What survives a restart in place of what the daemon has of its processes.
#[derive(Debug, Clone, Default)]
pub struct KeptProcesses {
    /// The process that runs the live file with the held sockets.
    pub serving: Option<u32>,
    /// The ends of pipes from which the output of each process is read.
    pub outputs: BTreeMap<u32, Rc<OwnedFd>>,
    /// Whether the process that was started last passes on listening sockets that it opened itself.
    pub exposes_listeners: bool,
}

struct Shared {
    binary: HaproxyBinary,
    /// Its Runtime API socket; `None` if it has none.
    stats: Option<StatsSocket>,
    /// Whether the listener that an earlier daemon may have left beside the socket's path has been handled.
    recovered: Cell<bool>,
    watched: WatchedProcesses,
    /// Whether the process that was started last passes on listening sockets that it opened itself.
    exposes_listeners: Cell<bool>,
    /// The outputs of running processes, kept open for a restart in place.
    outputs: RefCell<BTreeMap<u32, Rc<OwnedFd>>>,
    /// The process that served before a restart in place.
    continued: Option<u32>,
    /// The recipient of changes of servers' health.
    health_to: RefCell<Option<Recipient<ServerHealthReported>>>,
    log: Logger,
}

impl HaproxyProcesses {
    /// Returns the processes of `binary` on the configuration at `config_path`. With `socket_path`, an orphaned HAProxy
    /// is first looked up there.
    pub fn new(
        binary: HaproxyBinary,
        config_path: impl AsRef<Path>,
        socket_path: Option<PathBuf>,
        log: Logger,
    ) -> Self {
        Self::continuing(KeptProcesses::default(), binary, config_path, socket_path, log)
    }

    /// Like [`HaproxyProcesses::new`], after a restart in place.
    pub fn continuing(
        kept: KeptProcesses,
        binary: HaproxyBinary,
        config_path: impl AsRef<Path>,
        socket_path: Option<PathBuf>,
        log: Logger,
    ) -> Self {
        let watched = WatchedProcesses::of(config_path.as_ref(), log.clone());
        let stats = socket_path.map(StatsSocket::at);
        let shared = Shared {
            binary,
            stats,
            recovered: Cell::new(false),
            watched,
            exposes_listeners: Cell::new(kept.exposes_listeners),
            outputs: RefCell::new(kept.outputs),
            continued: kept.serving,
            health_to: RefCell::default(),
            log,
        };
        Self { shared: Rc::new(shared) }
    }

    /// Returns what survives a restart in place. The process that serves is known elsewhere.
    pub fn kept(&self) -> KeptProcesses {
        KeptProcesses {
            serving: None,
            outputs: self.shared.outputs.borrow().clone(),
            exposes_listeners: self.shared.exposes_listeners.get(),
        }
    }
}

impl ProxyProcesses for HaproxyProcesses {
    fn start(&self, descriptors: Vec<RawFd>, replaces: Vec<u32>) -> PortFuture<Result<RunningProcess, String>> {
        let shared = Rc::clone(&self.shared);
        Box::pin(async move { shared.start(descriptors, &replaces).await })
    }

    fn find_orphan(&self) -> PortFuture<Option<RunningProcess>> {
        let shared = Rc::clone(&self.shared);
        Box::pin(async move {
            let process = shared.find_orphan().await?;
            Some(shared.continues(process))
        })
    }

    fn publish_runtime(&self, pid: u32) -> PortFuture<Result<(), String>> {
        let stats = self.shared.stats.clone();
        Box::pin(async move {
            let Some(stats) = stats else { return Ok(()) };
            let published = spawn_blocking(move || stats.publish(pid)).await;
            published.unwrap_or_else(|error| Err(format!("the socket was not moved: {error}")))
        })
    }

    fn report_health(&self, to: Recipient<ServerHealthReported>) {
        self.shared.health_to.replace(Some(to));
    }

    fn usage(&self, pids: Vec<u32>) -> PortFuture<BTreeMap<u32, ProcessUsage>> {
        self.shared.watched.usage(pids)
    }

    fn signal(&self, pid: u32, signal: ProcessSignal) -> Result<(), String> {
        self.shared.watched.signal(pid, signal)
    }
}

/// The Runtime API socket of a process that is being started.
struct OpenedRuntime {
    listener: OwnedFd,
    /// A client of it.
    runtime: Rc<dyn RuntimeApi>,
    /// Whether the next process can request listening sockets of the process there.
    exposes_listeners: bool,
}

impl Shared {
    async fn start(self: &Rc<Self>, descriptors: Vec<RawFd>, replaces: &[u32]) -> Result<RunningProcess, String> {
        let mut arguments = vec![OsString::from("-f"), self.watched.config_path().into(), "-db".into()];
        let opened = self.stats_listener().await?;
        let exposes = opened.as_ref().is_some_and(|opened| opened.exposes_listeners);
        if !replaces.is_empty() {
            if let Some(stats) = self.stats.as_ref().filter(|_| exposes && self.exposes_listeners.get()) {
                arguments.extend(["-x".into(), stats.path().into()]);
            }
            arguments.push("-sf".into());
            arguments.extend(replaces.iter().map(|pid| pid.to_string().into()));
        }
        let (listener, runtime) = opened.map(|opened| (opened.listener, opened.runtime)).unzip();
        let no_pipe = |error: io::Error| format!("cannot open a pipe: {error}");
        let (output, writer) = process_output::pipe().map_err(no_pipe)?;
        let kept = output.as_fd().try_clone_to_owned().map_err(no_pipe)?;
        let inherited = Inherited { listeners: descriptors, stats: listener };
        let (binary, stats) = (self.binary.clone(), self.stats.clone().filter(|_| runtime.is_some()));
        // Forking copies the page tables and waits for exec, so it does not run on the actors' thread.
        let spawned = spawn_blocking(move || spawn_child(&binary, stats.as_ref(), inherited, writer, &arguments)).await;
        let child = spawned.unwrap_or_else(|error| {
            Err(format!("starting {} was interrupted: {error}", self.binary.path().display()))
        })?;
        let pid = child.id().ok_or("the process that was started has no id")?;
        self.watched.begin(pid);
        self.exposes_listeners.set(exposes);
        self.outputs.borrow_mut().insert(pid, Rc::new(kept));
        spawn(process_output::forward(output, pid, self.on_health_change(pid), self.log.clone()));
        info!(self.log, "HAProxy started"; "pid" => pid, "replaces" => format!("{replaces:?}"));
        Ok(RunningProcess { pid, exit: self.reaped(pid, child), runtime, is_continued: false })
    }

    fn on_health_change(&self, pid: u32) -> OnHealthChange {
        let to = self.health_to.borrow().clone();
        Box::new(move |HealthChange { server: ServerId { service, server }, up, check }| {
            if let Some(to) = &to {
                to.do_send(ServerHealthReported { pid, service, server, up, check });
            }
        })
    }

    /// Opens the Runtime API socket that a new process inherits; `None` if the process opens its own.
    async fn stats_listener(&self) -> Result<Option<OpenedRuntime>, String> {
        let Some(stats) = self.stats.clone() else { return Ok(None) };
        let next_path = stats.next_path();
        let config = self.watched.config_path().to_owned();
        let prepared = spawn_blocking(move || stats.prepare(&config)).await;
        let prepared = prepared.unwrap_or_else(|error| Err(format!("opening a socket was interrupted: {error}")))?;
        let Some(Prepared { listener, client, exposes_listeners }) = prepared else { return Ok(None) };
        let socket = HaproxySocket::opened(client, next_path, self.log.clone());
        let socket = socket.map_err(|error| format!("cannot use the connection to a new process: {error}"))?;
        Ok(Some(OpenedRuntime { listener, runtime: Rc::new(socket), exposes_listeners }))
    }

    /// Waits in a separate task, so that the child is reaped even if the caller is gone.
    fn reaped(self: &Rc<Self>, pid: u32, mut child: Child) -> PortFuture<ProcessExit> {
        let (report, reported) = oneshot::channel();
        let (stats, watched, log) = (self.stats.clone(), self.watched.clone(), self.log.clone());
        let shared = Rc::clone(self);
        spawn_local(async move {
            let exit = match child.wait().await {
                Ok(status) => exit_of(status),
                Err(error) => {
                    warn!(log, "cannot wait for a HAProxy process"; "pid" => pid, "error" => %error);
                    ProcessExit::Unknown
                }
            };
            if let Some(stats) = stats {
                stats.discard(Some(pid));
            }
            watched.end(pid, &exit);
            shared.outputs.borrow_mut().remove(&pid);
            // The receiver may be gone.
            let _ = report.send(exit);
        });
        Box::pin(async move { reported.await.unwrap_or(ProcessExit::Unknown) })
    }

    /// Reads on from a process of before a restart in place.
    fn continues(self: &Rc<Self>, process: RunningProcess) -> RunningProcess {
        let RunningProcess { pid, exit, .. } = process;
        let kept = self.outputs.borrow().get(&pid).cloned();
        let output = kept.map(|kept| Receiver::from_owned_fd(kept.try_clone()?)).transpose();
        match output {
            Ok(Some(output)) => {
                spawn(process_output::forward(output, pid, self.on_health_change(pid), self.log.clone()));
            }
            Ok(None) => {}
            Err(error) => warn!(self.log, "the output of a HAProxy process is lost"; "pid" => pid, "error" => %error),
        }
        let shared = Rc::clone(self);
        let ended = async move {
            let exit = exit.await;
            shared.outputs.borrow_mut().remove(&pid);
            exit
        };
        RunningProcess { pid, exit: Box::pin(ended), runtime: None, is_continued: self.continued == Some(pid) }
    }

    async fn find_orphan(&self) -> Option<RunningProcess> {
        let answering = match &self.stats {
            Some(stats) => {
                if !self.recovered.replace(true) {
                    self.recover_next(stats).await;
                }
                self.serving_at(stats.path()).await.ok().flatten()
            }
            None => None,
        };
        self.watched.find(answering).await
    }

    /// Handles the listener that a daemon killed during a launch left beside the path: it is renamed to the path if a
    /// process serves there, and removed if no process listens there any more.
    async fn recover_next(&self, stats: &StatsSocket) {
        let next = stats.next_path();
        if !next.exists() {
            return;
        }
        match self.serving_at(&next).await {
            Ok(Some(pid)) => match stats.rename() {
                Ok(()) => {
                    info!(self.log, "the Runtime API socket of an unfinished launch is in use again"; "pid" => pid)
                }
                Err(error) => warn!(self.log, "a HAProxy process cannot be reached at its socket's path";
                    "pid" => pid, "error" => error),
            },
            Err(RuntimeError::Unreachable { .. }) => stats.discard(None),
            // The process drains or is still starting; the next launch replaces the listener.
            Ok(None) | Err(_) => {}
        }
    }

    /// Returns the process that answers there; `None` if it drains.
    async fn serving_at(&self, path: &Path) -> Result<Option<u32>, RuntimeError> {
        let process = HaproxySocket::new(path, self.log.clone()).process().await?;
        Ok((!process.stopping).then_some(process.pid))
    }
}

/// Starts the child. The daemon's copies of descriptors that only the child needs are closed with the command.
fn spawn_child(
    binary: &HaproxyBinary,
    stats: Option<&StatsSocket>,
    inherited: Inherited,
    output: OwnedFd,
    arguments: &[OsString],
) -> Result<Child, String> {
    let spawned = output
        .try_clone()
        .and_then(|copy| binary.command(inherited).args(arguments).stdout(copy).stderr(output).spawn());
    if let Some(stats) = stats {
        match spawned.as_ref().ok().and_then(Child::id) {
            Some(pid) => stats.belongs_to(pid),
            None => stats.discard(None),
        }
    }
    spawned.map_err(|error| binary.not_run(&error))
}

fn exit_of(status: ExitStatus) -> ProcessExit {
    match (status.code(), status.signal()) {
        (Some(code), _) => ProcessExit::Code(code),
        (None, Some(signal)) => ProcessExit::Signal(signal),
        (None, None) => ProcessExit::Unknown,
    }
}
