//! Starts HAProxy, hands over from the previous process, detects the end of every process, and delays the restarts of a
//! HAProxy that keeps crashing.

mod draining;
mod governor;
mod ports;
mod readiness;
mod report;
mod restart_backoff;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Recipient, ResponseActFuture, WrapFuture};
use send_wrapper::SendWrapper;
use slog::{Logger, error, info, warn};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use self::governor::Governor;
pub use self::ports::SupervisorPorts;
use self::readiness::{NewProcess, until_it_answers};
use self::restart_backoff::RestartBackoff;
use crate::clock::Clock;
use crate::decide::deployment::{DeployFailure, Deployed};
use crate::deployment::{DeploymentPeers, Processes, SocketPeers, deploy};
use crate::journal::{Event, JournalEntry};
use crate::limits::STOP_GRACE;
use crate::message::{
    CloseSockets, Deploy, FindOrphans, LaunchError, LaunchProxy, OrphanAdopted, Orphans, PolicyChanged, ProxyAnswers,
    ProxyExited, ProxyStarted, Record, ServerHealthReported, StopProxy,
};
use crate::model::{OnStop, ProcessInfo, ProxyManagement, ProxyPolicy};
use crate::port::{ConfigFile, ProcessExit, ProcessSignal, ProcessUsage, RunningProcess};

/// The recipients of the supervisor's messages.
#[derive(Clone)]
pub struct SupervisorPeers {
    /// A process exists and does not answer yet.
    pub started: Recipient<ProxyStarted>,
    /// An orphaned process was adopted.
    pub adopted: Recipient<OrphanAdopted>,
    /// A new process answers.
    pub answers: Recipient<ProxyAnswers>,
    /// The process that served has crashed.
    pub exited: Recipient<ProxyExited>,
    /// A server's health changed, as the process that serves logs it.
    pub health: Recipient<ServerHealthReported>,
    /// Records events.
    pub journal: Recipient<Record>,
}

/// Supervises every HAProxy process of this daemon.
pub struct ProcessSupervisorActor {
    ports: SupervisorPorts,
    sockets: SocketPeers,
    /// Whether this daemon has begun a deployment before.
    deployed_before: bool,
    management: ProxyManagement,
    stop_timeout: Duration,
    governor: Governor,
    current: Option<u32>,
    processes: BTreeMap<u32, Process>,
    backoff: RestartBackoff,
    handover: Option<Handover>,
    /// Whether this daemon has searched for an orphaned HAProxy.
    searched_for_orphans: bool,
    progress: Progress,
    peers: SupervisorPeers,
    clock: Clock,
    log: Logger,
}

/// A handover that is under way.
#[derive(Default)]
struct Handover {
    /// The process that served, if it ended during the handover: a normal exit, unless the new one never serves.
    ended: Option<(u32, ProcessExit)>,
}

/// Operations under way, for waiters.
#[derive(Default)]
struct Progress {
    /// Whether a process is being started whose pid is not known yet.
    starting: watch::Sender<bool>,
    /// Whether a search for orphaned processes is under way.
    searching: watch::Sender<bool>,
    /// What happens to HAProxy, once this daemon is stopping.
    stopping: watch::Sender<Option<OnStop>>,
    /// How many processes are left, including one that is being started.
    left: watch::Sender<usize>,
}

struct Process {
    started: Instant,
    draining_since: Option<Instant>,
    /// Whether it is being ended, because it exceeds the limits.
    ending: bool,
    /// Its last measured resource usage.
    usage: Option<ProcessUsage>,
    exit: watch::Sender<Option<ProcessExit>>,
}

impl ProcessSupervisorActor {
    /// Creates a supervisor without processes.
    pub fn new(
        ports: SupervisorPorts,
        sockets: SocketPeers,
        policy: &ProxyPolicy,
        peers: SupervisorPeers,
        clock: Clock,
        log: Logger,
    ) -> Self {
        Self {
            ports,
            sockets,
            deployed_before: false,
            management: policy.base_config.management,
            stop_timeout: policy.stop_timeout,
            governor: Governor::new(policy.old_processes),
            current: None,
            processes: BTreeMap::new(),
            backoff: RestartBackoff::new(Instant::now()),
            handover: None,
            searched_for_orphans: false,
            progress: Progress::default(),
            peers,
            clock,
            log,
        }
    }

    /// Supervises a process. The returned receiver is notified of its end.
    fn adopt(&mut self, process: RunningProcess, ctx: &mut Context<Self>) -> watch::Receiver<Option<ProcessExit>> {
        let RunningProcess { pid, exit, .. } = process;
        let (sender, receiver) = watch::channel(None);
        let known = Process { started: Instant::now(), draining_since: None, ending: false, usage: None, exit: sender };
        self.processes.insert(pid, known);
        self.count_left();
        ctx.spawn(exit.into_actor(self).map(move |exit, supervisor, _| supervisor.ended(pid, exit)));
        receiver
    }

    fn count_left(&self) {
        self.progress.left.send_replace(self.processes.len() + usize::from(*self.progress.starting.borrow()));
    }

    fn ended(&mut self, pid: u32, exit: ProcessExit) {
        let Some(process) = self.processes.remove(&pid) else { return };
        self.count_left();
        process.exit.send_replace(Some(exit.clone()));
        if self.current != Some(pid) {
            info!(self.log, "an old HAProxy process has finished draining"; "pid" => pid, "exit" => %exit);
            let event = Event::OldProxyEnded { pid, how: exit.to_string() };
            self.peers.journal.do_send(Record(JournalEntry::new(event)));
            return;
        }
        self.current = None;
        if self.progress.stopping.borrow().is_some() {
            info!(self.log, "HAProxy has stopped"; "pid" => pid, "exit" => %exit);
            return;
        }
        if let Some(handover) = &mut self.handover {
            info!(self.log, "the previous HAProxy process has exited"; "pid" => pid, "exit" => %exit);
            let event = Event::OldProxyEnded { pid, how: exit.to_string() };
            self.peers.journal.do_send(Record(JournalEntry::new(event)));
            handover.ended = Some((pid, exit));
            return;
        }
        self.crashed(pid, exit, process.started.elapsed());
    }

    fn crashed(&mut self, pid: u32, exit: ProcessExit, ran_for: Duration) {
        self.backoff.crashed(ran_for, Instant::now());
        error!(self.log, "HAProxy exited unexpectedly, starting it again";
            "pid" => pid, "exit" => %exit, "after_ms" => millis(self.backoff.delay()));
        self.peers.journal.do_send(Record(JournalEntry::new(Event::ProxyExited { pid, how: exit.to_string() })));
        self.peers.exited.do_send(ProxyExited { pid, exit });
    }

    fn taken_over(&mut self, info: &ProcessInfo, ctx: &mut Context<Self>) {
        self.current = Some(info.pid);
        self.others_drain(ctx);
    }

    /// Records that all processes but the current one drain.
    fn others_drain(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        for (pid, process) in &mut self.processes {
            if Some(*pid) != self.current {
                process.draining_since.get_or_insert(now);
            }
        }
        self.govern(ctx);
        self.watch_old(ctx);
    }

    fn launch(&mut self, order: LaunchProxy) -> ResponseActFuture<Self, Result<ProcessInfo, LaunchError>> {
        let LaunchProxy { with_candidate, descriptors, state_file, stats_file, servers } = order;
        let read_once = stats_file.as_ref().map(|(path, _)| path.clone());
        let ports = self.ports.clone();
        let not_before = self.backoff.not_before();
        let mut stopping = self.progress.stopping.subscribe();
        let pause = async move {
            tokio::select! {
                () = sleep_until(not_before) => {}
                // An error means that the supervisor has ended; then nothing is started, either.
                _ = stopping.wait_for(Option::is_some) => {}
            }
        };
        let start = move |(), supervisor: &mut Self, _: &mut Context<Self>| {
            let stopping = supervisor.progress.stopping.subscribe();
            let replaces: Vec<u32> = supervisor.processes.keys().copied().collect();
            supervisor.progress.starting.send_replace(true);
            supervisor.handover = Some(Handover::default());
            supervisor.count_left();
            let log = supervisor.log.clone();
            async move {
                if stopping.borrow().is_some() {
                    return Err(LaunchError::Stopping);
                }
                if let Some((path, text)) = state_file {
                    write_state_file(&*ports.config_file, path, text, &log).await;
                }
                if let Some((path, text)) = stats_file
                    && let Err(error) = ports.config_file.write_stats_file(path, text).await
                {
                    warn!(log, "the counters cannot be kept for the next HAProxy process"; "error" => error);
                }
                if with_candidate {
                    ports.config_file.promote().await.map_err(LaunchError::File)?;
                }
                if stopping.borrow().is_some() {
                    return Err(LaunchError::Stopping);
                }
                ports.processes.start(descriptors, replaces).await.map_err(LaunchError::Start)
            }
            .into_actor(supervisor)
        };
        let wait =
            move |started: Result<RunningProcess, LaunchError>, supervisor: &mut Self, ctx: &mut Context<Self>| {
                let (ports, answers) = (supervisor.ports.clone(), supervisor.peers.answers.clone());
                supervisor.progress.starting.send_replace(false);
                let ours = supervisor.management == ProxyManagement::Supervised;
                let started = started.map(|process| {
                    let (pid, runtime) = (process.pid, process.runtime.clone());
                    let to_actor = runtime.clone().map(SendWrapper::new);
                    supervisor.peers.started.do_send(ProxyStarted { pid, runtime: to_actor, servers });
                    NewProcess { pid, runtime, exit: supervisor.adopt(process, ctx) }
                });
                supervisor.count_left();
                let mut stopping = supervisor.progress.stopping.subscribe();
                async move {
                    let process = started?;
                    let stop = *stopping.borrow();
                    if let Some(on_stop) = stop {
                        if ours && on_stop == OnStop::Stop {
                            // The stop came during the start of the process and did not reach it. A process that is already
                            // gone is no error.
                            let _ = ports.processes.signal(process.pid, ProcessSignal::SoftStop);
                        }
                        return Err(LaunchError::Stopping);
                    }
                    tokio::select! {
                        biased;
                        // A stop at this point lets it drain: it must not be killed because it does not answer.
                        _ = stopping.wait_for(Option::is_some) => Err(LaunchError::Stopping),
                        outcome = until_it_answers(&ports, &answers, process, ours) => outcome,
                    }
                }
                .into_actor(supervisor)
            };
        Box::pin(pause.into_actor(self).then(start).then(wait).map(|outcome, supervisor, ctx| {
            supervisor.launched(&outcome, ctx);
            if let Some(path) = read_once {
                supervisor.empty_stats_file(path, ctx);
            }
            outcome
        }))
    }

    /// Empties the file with counters, after a process has read it: one that is started with the same file after a crash
    /// would begin with outdated ones.
    fn empty_stats_file(&self, path: PathBuf, ctx: &mut Context<Self>) {
        let emptied = self.ports.config_file.write_stats_file(path, String::new());
        // A failure has no other consequence.
        ctx.spawn(emptied.into_actor(self).map(|_, _, _| ()));
    }

    fn launched(&mut self, outcome: &Result<ProcessInfo, LaunchError>, ctx: &mut Context<Self>) {
        let ended_in_handover = self.handover.take().and_then(|handover| handover.ended);
        match outcome {
            Ok(info) => {
                if self.current.is_some() || ended_in_handover.is_some() {
                    self.backoff.replaced();
                }
                info!(self.log, "HAProxy serves"; "pid" => info.pid, "version" => &info.version_text);
                self.taken_over(info, ctx);
            }
            Err(LaunchError::Stopping) => {}
            Err(error) => {
                warn!(self.log, "HAProxy could not be started"; "error" => %error);
                if let Some((pid, exit)) = ended_in_handover {
                    self.crashed(pid, exit, Duration::ZERO);
                } else if self.current.is_none() {
                    self.backoff.failed(Instant::now());
                }
            }
        }
    }

    /// Searches for every orphaned HAProxy and adopts it.
    fn find_orphans(&mut self) -> ResponseActFuture<Self, Orphans> {
        self.searched_for_orphans = true;
        self.progress.searching.send_replace(true);
        let processes = self.ports.processes.clone();
        let find_all = async move {
            let mut found = Vec::new();
            while let Some(orphan) = processes.find_orphan().await {
                found.push(orphan);
            }
            found
        };
        Box::pin(find_all.into_actor(self).map(|orphans, supervisor, ctx| {
            let first_is_continued = orphans.first().is_some_and(|orphan| orphan.is_continued);
            for orphan in orphans {
                info!(supervisor.log, "adopted a running HAProxy"; "pid" => orphan.pid);
                // The first one serves; the others drain, or were being started when the daemon crashed.
                supervisor.current.get_or_insert(orphan.pid);
                supervisor.adopt(orphan, ctx);
            }
            supervisor.progress.searching.send_replace(false);
            if first_is_continued {
                supervisor.others_drain(ctx);
            }
            let others = supervisor.processes.keys().copied().filter(|pid| Some(*pid) != supervisor.current);
            Orphans { pids: supervisor.current.into_iter().chain(others).collect(), first_is_continued }
        }))
    }

    /// Resolves when all processes found by a search for orphans are supervised.
    fn search_ended(&self) -> impl Future<Output = ()> + use<> {
        let mut searching = self.progress.searching.subscribe();
        async move { drop(searching.wait_for(|searching| !*searching).await) }
    }

    fn signal(&self, pid: u32, signal: ProcessSignal) {
        if let Err(error) = self.ports.processes.signal(pid, signal) {
            warn!(self.log, "cannot signal HAProxy"; "pid" => pid, "signal" => ?signal, "error" => error);
        }
    }

    fn signal_all(&self, signal: ProcessSignal) {
        self.processes.keys().for_each(|pid| self.signal(*pid, signal));
    }

    /// Resolves when no process is being started, or after this time: an interrupted start may be worse than none.
    fn none_is_starting(&self, within: Duration) -> impl Future<Output = ()> + use<> {
        let mut starting = self.progress.starting.subscribe();
        async move { drop(timeout(within, starting.wait_for(|starting| !*starting)).await) }
    }

    /// Resolves when no process is left, or after this time.
    fn all_ended(&self, within: Duration) -> impl Future<Output = bool> + use<> {
        let mut left = self.progress.left.subscribe();
        async move { timeout(within, left.wait_for(|left| *left == 0)).await.is_ok() }
    }
}

/// Writes the state file. A failure is only logged, because a process without it only has to check its servers first.
async fn write_state_file(config_file: &dyn ConfigFile, path: PathBuf, text: String, log: &Logger) {
    if let Err(error) = config_file.write_state_file(path, text).await {
        warn!(log, "the health of servers cannot be kept for the next HAProxy process"; "error" => error);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Actor for ProcessSupervisorActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.ports.processes.report_health(ctx.address().recipient());
    }
}

impl Handler<ServerHealthReported> for ProcessSupervisorActor {
    type Result = ();

    fn handle(&mut self, report: ServerHealthReported, _: &mut Self::Context) {
        // A draining process still checks its servers; its results are ignored.
        if self.processes.get(&report.pid).is_none_or(|process| process.draining_since.is_some()) {
            return;
        }
        let event = Event::HealthChanged { up: report.up, check: report.check.clone() };
        let entry = JournalEntry::new(event).service(&report.service).server(&report.server);
        self.peers.journal.do_send(Record(entry));
        self.peers.health.do_send(report);
    }
}

impl Handler<Deploy> for ProcessSupervisorActor {
    type Result = ResponseActFuture<Self, Result<Deployed, DeployFailure>>;

    fn handle(&mut self, Deploy(order): Deploy, ctx: &mut Self::Context) -> Self::Result {
        let may_be_orphaned = !std::mem::replace(&mut self.deployed_before, true);
        let processes = Processes { may_be_orphaned, serve: self.current.is_some() };
        let own = ctx.address();
        let peers = DeploymentPeers {
            sockets: self.sockets.clone(),
            orphans: own.clone().recipient(),
            adopted: self.peers.adopted.clone(),
            launch: own.recipient(),
            config_file: self.ports.config_file.clone(),
            runtime: self.ports.runtime.clone(),
            log: self.log.clone(),
        };
        Box::pin(deploy(order, processes, peers).into_actor(self))
    }
}

impl Handler<LaunchProxy> for ProcessSupervisorActor {
    type Result = ResponseActFuture<Self, Result<ProcessInfo, LaunchError>>;

    fn handle(&mut self, order: LaunchProxy, _: &mut Self::Context) -> Self::Result {
        self.launch(order)
    }
}

impl Handler<FindOrphans> for ProcessSupervisorActor {
    type Result = ResponseActFuture<Self, Orphans>;

    fn handle(&mut self, _: FindOrphans, _: &mut Self::Context) -> Self::Result {
        // Two searches at the same time (one from a stop) would each find only some of the processes.
        Box::pin(self.search_ended().into_actor(self).then(|(), supervisor, _| supervisor.find_orphans()))
    }
}

impl Handler<StopProxy> for ProcessSupervisorActor {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, StopProxy { on_stop }: StopProxy, _: &mut Self::Context) -> Self::Result {
        self.progress.stopping.send_replace(Some(on_stop));
        self.ports.runtime.disconnect();
        if self.management != ProxyManagement::Supervised || on_stop == OnStop::Leave {
            info!(self.log, "HAProxy is left running"; "processes" => self.processes.len());
            return Box::pin(self.none_is_starting(self.stop_timeout).into_actor(self));
        }
        // A stop also includes an orphaned HAProxy that this daemon has not adopted yet.
        let search: ResponseActFuture<Self, ()> = if self.searched_for_orphans {
            Box::pin(self.search_ended().into_actor(self))
        } else {
            Box::pin(self.find_orphans().map(|_, _, _| ()))
        };
        let softly = search.then(|(), supervisor, _| {
            info!(supervisor.log, "stopping HAProxy softly";
                "processes" => supervisor.processes.len(), "timeout_ms" => millis(supervisor.stop_timeout));
            supervisor.signal_all(ProcessSignal::SoftStop);
            // Otherwise clients would still be accepted by the kernel, and wait for an answer that never comes.
            supervisor.sockets.close.do_send(CloseSockets);
            supervisor.all_ended(supervisor.stop_timeout).into_actor(supervisor)
        });
        Box::pin(
            softly
                .then(|all_ended, supervisor, _| {
                    if !all_ended {
                        warn!(supervisor.log, "HAProxy still has connections after the timeout, killing it";
                            "processes" => supervisor.processes.len());
                        supervisor.signal_all(ProcessSignal::Kill);
                    }
                    supervisor.all_ended(STOP_GRACE).into_actor(supervisor)
                })
                .map(|_, _, _| ()),
        )
    }
}

impl Handler<PolicyChanged> for ProcessSupervisorActor {
    type Result = ();

    fn handle(&mut self, PolicyChanged { policy, .. }: PolicyChanged, ctx: &mut Self::Context) {
        self.stop_timeout = policy.stop_timeout;
        self.governor.limits = policy.old_processes;
        self.govern(ctx);
    }
}
