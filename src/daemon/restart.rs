//! Restart in place: this process executes the program at the same path, with the same arguments. The process id stays,
//! HAProxy stays a child, and the sockets, the lock and the outputs of HAProxy are inherited.
//!
//! | step | where |
//! | --- | --- |
//! | The new program runs once as a child, and changes nothing. A failure refuses the restart. | [`trial`] |
//! | The actors end as for `haproxy.on_stop: leave`, with everything written. | `daemon.rs` |
//! | The descriptors lose close-on-exec, a note says what they are, and the program is executed. | [`inheritance`], [`program`] |
//! | The new program has to get ready in time. Otherwise it executes the previous one, whose file it still has open. | here |

pub mod inheritance;
pub mod program;
pub mod trial;

use std::ffi::OsString;
use std::future::pending;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use proxymgr_actors::journal::{Event, JournalEntry};
use proxymgr_actors::limits::{RESTART_DEPLOYMENT_WAIT, RESTART_LOOK_INTERVAL, RESTART_TRIAL_TIMEOUT};
use proxymgr_actors::snapshot::{ActorState, ProxyPhase};
use proxymgr_actors::wiring::Actors;
use rustix::process::{WaitId, WaitIdOptions, waitid};
use slog::{Logger, error, info};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, sleep};

use super::BUILD;
use super::ending::Left;
use crate::failure::Failure;
use crate::status::readiness::Readiness;
use crate::status::restarts::{Outcome, Restart, Restarts};
use inheritance::{Inheritance, Previous};
use program::Program;

/// Signals that wait while no program handles them: each would end the process.
const HANDLED: [Signal; 5] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2];

/// A program that this process executes next.
pub struct Succession {
    inheritance: Inheritance,
    next: Next,
}

enum Next {
    /// The program at its path, which may be a new one.
    New(Program),
    /// The program from before.
    Previous(Previous),
}

impl Succession {
    /// The program at its path takes over.
    ///
    /// # Errors
    /// The file of the running program cannot be kept, so that there would be no way back.
    pub fn of_new(program: Program, restart: Restart, left: Left) -> Result<Self, Failure> {
        let Left { kept, was_ready } = left;
        let no_way_back = |error| Failure::CannotStart(format!("/proc/self/exe cannot be opened: {error}"));
        let file = Rc::new(program::running_file().map_err(no_way_back)?);
        let previous = Some(Previous { file, arguments: program.arguments.clone() });
        let inheritance = Inheritance { restart, was_ready, kept, previous };
        Ok(Self { inheritance, next: Next::New(program) })
    }

    /// The program from before takes over again.
    pub fn of_previous(previous: Previous, restart: Restart, left: Left) -> Self {
        let Left { kept, was_ready } = left;
        let inheritance = Inheritance { restart, was_ready, kept, previous: None };
        Self { inheritance, next: Next::Previous(previous) }
    }

    /// Ends a program that failed before it was ready: the program from before takes over. Returns only where there is none.
    pub fn after_failure(inheritance: Inheritance, failure: Failure) -> Failure {
        let Inheritance { restart, was_ready, kept, previous } = inheritance;
        let Some(previous) = previous else { return failure };
        let left = Left { kept, was_ready };
        let restart = restart.failed(format!("proxymgr {BUILD}: {failure}"));
        Self::of_previous(previous, restart, left).execute(false)
    }

    /// Executes it, and makes it stop if that was requested meanwhile. Returns only on failure; HAProxy keeps serving then,
    /// too.
    pub fn execute(self, stop_requested: bool) -> Failure {
        let Self { mut inheritance, next } = self;
        SignalThread::block_elsewhere();
        if stop_requested {
            // To the process, not to this thread, which accepts none.
            let _ = kill(Pid::this(), Signal::SIGTERM);
        }
        let (error, previous) = match next {
            Next::New(Program { path, arguments }) => {
                (execute(&inheritance, &path, &arguments), inheritance.previous.take())
            }
            Next::Previous(previous) => ("the new program is not ready".to_owned(), Some(previous)),
        };
        if inheritance.restart.failure().is_none() {
            inheritance.restart = inheritance.restart.failed(error.clone());
        }
        let error = match previous {
            Some(previous) => execute(&inheritance, &program::path_of(&previous.file), &previous.arguments),
            None => error,
        };
        Failure::CannotStart(format!("{error}; HAProxy keeps serving, and the next proxymgr adopts it"))
    }
}

fn execute(inheritance: &Inheritance, path: &Path, arguments: &[OsString]) -> String {
    let note = match inheritance.leave() {
        Ok(note) => note,
        Err(error) => return format!("nothing can be passed on to {}: {error}", path.display()),
    };
    let variable = (inheritance::VARIABLE, note.as_raw_fd().to_string());
    let error = program::execute(path, arguments, variable);
    format!("{} cannot be executed: {error}", path.display())
}

/// Restarts in place of a running daemon.
pub struct Restarter {
    /// The program to execute; none if that is not possible.
    program: Option<Program>,
    /// Orders and results, as the status shows them.
    pub restarts: Arc<Restarts>,
    ordered: UnboundedReceiver<u64>,
    /// The restart that led to this program, until it is ready.
    pending: Option<Pending>,
    log: Logger,
}

/// A restart whose new program is not ready yet.
struct Pending {
    restart: Restart,
    was_ready: bool,
    previous: Previous,
    deadline: Instant,
}

/// What concerns the daemon next.
pub enum Step {
    /// A restart is ordered, at this time.
    Ordered(u64),
    /// The restart that led to this program has ended well.
    Ready,
    /// It failed: the program to fall back to.
    NotReady(Restart, Previous),
}

impl Restarter {
    /// Restarts with this program, after the restart that led to it, if any. A new program may take `ready_within`.
    pub fn new(
        program: Option<Program>,
        inherited: Option<&Inheritance>,
        ready_within: Duration,
        actors: &Actors,
        log: Logger,
    ) -> Self {
        let (restarts, ordered) = match program {
            Some(_) => Restarts::possible(RESTART_TRIAL_TIMEOUT + RESTART_DEPLOYMENT_WAIT + ready_within),
            None => (Arc::default(), unbounded_channel().1),
        };
        let mut restarter = Self { program, restarts, ordered, pending: None, log };
        let Some(Inheritance { restart, was_ready, previous, .. }) = inherited.cloned() else { return restarter };
        match previous {
            Some(previous) => {
                restarter.restarts.set(restart.clone());
                let deadline = Instant::now() + ready_within;
                restarter.pending = Some(Pending { restart, was_ready, previous, deadline });
            }
            None => restarter.failed(restart, actors),
        }
        restarter
    }

    /// Resolves when the daemon has to do something. It may be dropped and called again at any time.
    pub async fn next(&mut self, actors: &Actors) -> Step {
        let Self { ordered, pending: of_this_program, .. } = self;
        let order = async {
            match ordered.recv().await {
                Some(at_unix_ms) => at_unix_ms,
                None => pending().await,
            }
        };
        let ready = async {
            match of_this_program {
                Some(pending) => until_ready(actors, pending.was_ready, pending.deadline).await,
                None => pending().await,
            }
        };
        tokio::select! {
            at_unix_ms = order => Step::Ordered(at_unix_ms),
            ready = ready => self.ended(ready, actors),
        }
    }

    /// Tries the program. Returns it with the restart that begins, or `None` where the restart failed.
    pub async fn tried(&self, at_unix_ms: u64, actors: &Actors) -> Option<(Restart, Program)> {
        let program = self.program.clone()?;
        let restart = Restart { at_unix_ms, from: BUILD.to_owned(), to: None, outcome: Outcome::UnderWay };
        self.restarts.set(restart.clone());
        info!(self.log, "trying the new program"; "path" => %program.path.display());
        match trial::of(&program).await {
            Ok(to) => {
                let restart = Restart { to: Some(to), ..restart };
                self.restarts.set(restart.clone());
                Some((restart, program))
            }
            Err(why) => {
                self.failed(restart.failed(why), actors);
                None
            }
        }
    }

    fn ended(&mut self, ready: Result<(), String>, actors: &Actors) -> Step {
        let Some(Pending { restart, previous, .. }) = self.pending.take() else { return Step::Ready };
        match ready {
            Ok(()) => {
                let from = restart.from.clone();
                info!(self.log, "restarted in place"; "from" => &from, "to" => BUILD);
                actors.record(JournalEntry::new(Event::Restarted { from, to: BUILD.to_owned() }));
                self.restarts.set(Restart { to: Some(BUILD.to_owned()), outcome: Outcome::Done, ..restart });
                Step::Ready
            }
            Err(why) => {
                error!(self.log, "the new program is not ready, the previous one takes over"; "reason" => &why);
                Step::NotReady(restart.failed(format!("proxymgr {BUILD}: {why}")), previous)
            }
        }
    }

    fn failed(&self, restart: Restart, actors: &Actors) {
        let why = restart.failure().unwrap_or_default().to_owned();
        error!(self.log, "the restart failed, this program goes on"; "version" => BUILD, "reason" => &why);
        actors.record(JournalEntry::new(Event::RestartFailed { why }));
        self.restarts.set(restart);
    }
}

/// Gives this process its name again: the kernel names it after the descriptor that a previous program is executed by.
pub fn restore_name() {
    // Only monitoring of processes by name would notice a failure.
    let _ = nix::sys::prctl::set_name(c"proxymgr");
}

/// The only thread that accepts the handled signals. Without it they wait, also for the next program.
pub struct SignalThread {
    ends: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl SignalThread {
    /// Blocks the handled signals in this thread, and so in all that it starts from here on.
    pub fn block_elsewhere() {
        let handled: SigSet = HANDLED.into_iter().collect();
        // An error is only possible for an invalid set.
        let _ = handled.thread_block();
    }

    /// Starts it. Must be called after handlers are installed.
    pub fn start() -> Self {
        let (ends, ended) = mpsc::channel();
        let thread = thread::spawn(move || {
            let handled: SigSet = HANDLED.into_iter().collect();
            let _ = handled.thread_unblock();
            let _ = ended.recv();
        });
        Self { ends, thread }
    }

    /// Ends it.
    pub fn end(self) {
        drop(self.ends);
        let _ = self.thread.join();
    }
}

/// Reaps children that ended while no program waited for them. Must be called before another child is started.
pub fn reap_children(log: &Logger) {
    while let Ok(Some(ended)) = waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
        info!(log, "a child ended during the restart";
            "exit_code" => ended.exit_status(), "signal" => ended.terminating_signal());
    }
}

/// Resolves when no reload is under way, or after [`RESTART_DEPLOYMENT_WAIT`]. Returns whether the daemon is ready, and
/// the process that serves.
pub async fn settled(actors: &Actors) -> (bool, Option<u32>) {
    let deadline = Instant::now() + RESTART_DEPLOYMENT_WAIT;
    loop {
        let states = actors.states().await.map(Arc::new);
        let is_launching = states
            .iter()
            .flat_map(|states| states.iter())
            .any(|state| matches!(state, ActorState::HaproxyState(haproxy) if haproxy.phase == ProxyPhase::Launching));
        if !is_launching || Instant::now() >= deadline {
            return (Readiness::of(&states).ready, states.iter().flat_map(|states| states.iter()).find_map(serving));
        }
        sleep(RESTART_LOOK_INTERVAL).await;
    }
}

fn serving(state: &ActorState) -> Option<u32> {
    match state {
        ActorState::HaproxyState(haproxy) => haproxy.process.as_ref().map(|process| process.pid),
        _ => None,
    }
}

/// Resolves when the daemon is as ready as before its restart: a new version may be what repairs it.
///
/// # Errors
/// Why it is not, when its time is over.
async fn until_ready(actors: &Actors, was_ready: bool, deadline: Instant) -> Result<(), String> {
    loop {
        let states = actors.states().await.map(Arc::new);
        let readiness = Readiness::of(&states);
        if readiness.ready || (!was_ready && states.is_ok()) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(format!("it was not ready in time: {}", readiness.reasons.join("; ")));
        }
        sleep(RESTART_LOOK_INTERVAL).await;
    }
}
