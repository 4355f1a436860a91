//! The world around the actors: everything outside of them, in memory and in virtual time.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::future::Future;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use actix::spawn;
use proxymgr_actors::clock::Clock;
use proxymgr_actors::decide::guard::GuardMemory;
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::journal::JournalEntry;
use proxymgr_actors::message::ReadJournal;
use proxymgr_actors::model::{ProxyVersion, ServerId};
use proxymgr_actors::port::{
    ConfigText, DefinitionList, DefinitionSource, HostSources, ProcessSignal, ProcessUsage, SavedService, SavedState,
    ServiceOutput,
};
use proxymgr_actors::snapshot::ActorState;
use proxymgr_actors::wiring::{Actors, Orders, Outside};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::{Instant, sleep};

use super::besides::Besides;
use super::chronicle::Chronicle;
use super::courier::{Couriers, Mail};
use super::durations::Durations;
use super::haproxy_model::{HaproxyModel, NameTable};
use super::invariant::{Invariant, Violation};
use super::oracle::Oracle;
use super::plan::{Refused, StartFailure};
use super::planted_bug::PlantedBug;
use super::processes::Process;
use super::random::Random;
use super::sources::Links;
use super::trace::{Trace, VIOLATION};
use super::truth::{SERVICE_LIMITS, Service, number_of};

/// When the world begins unless it is told otherwise, in milliseconds since 1970.
const STARTED_AT_UNIX_MS: u64 = 1_700_000_000_000;

/// The largest share of the services that may be missing of the most within the window of the guard.
pub(super) const SERVICES_REMOVAL_MAX: f64 = SERVICE_LIMITS.max_removal_percent as f64 / 100.0;

/// Something that goes on whether or not a manager lives.
type Natural = Pin<Box<dyn Future<Output = ()>>>;

/// The world. Clones are the same world.
#[derive(Clone)]
pub struct World(Rc<Shared>);

struct Shared {
    seed: u64,
    started_at_unix_ms: Cell<u64>,
    trace: Trace,
    things: RefCell<Things>,
    manager: RefCell<Option<Manager>>,
    nature: UnboundedSender<Natural>,
}

struct Manager {
    actors: Actors,
    life: JoinHandle<()>,
}

/// What is in the world.
pub(super) struct Things {
    pub(super) services: BTreeMap<String, Service>,
    pub(super) session_lost: bool,
    pub(super) definitions_gone: bool,
    pub(super) annotations_lost: bool,
    /// Which of the settings the manager has, and the next will have.
    pub(super) settings: u8,
    /// The servers that somebody changed behind the manager's back: what is asked of them may come too late.
    pub(super) tampered: BTreeSet<ServerId>,
    /// Those that an operator drains.
    pub(super) drained: BTreeSet<(String, u8)>,
    /// Those that an operator drained before.
    pub(super) undrained: BTreeSet<(String, u8)>,
    pub(super) links: Links,
    pub(super) oracle: Oracle,
    pub(super) version: ProxyVersion,
    /// What host names resolve to.
    pub(super) names: NameTable,
    pub(super) processes: BTreeMap<u32, Process>,
    /// When each process that is no more has ended.
    pub(super) ended: BTreeMap<u32, Instant>,
    pub(super) last_pid: u32,
    pub(super) starts: usize,
    pub(super) commands: usize,
    pub(super) live_file: ConfigText,
    pub(super) candidate: ConfigText,
    /// What a process is that starts with the candidate; none once one has.
    pub(super) checked: Option<HaproxyModel>,
    pub(super) refuses: Vec<Refused>,
    pub(super) start_fails: Option<StartFailure>,
    pub(super) socket_failures: u32,
    pub(super) disk_full: bool,
    /// The descriptors of listening sockets that the manager holds; two may be of one socket.
    pub(super) sockets: BTreeMap<RawFd, SocketAddr>,
    pub(super) last_descriptor: RawFd,
    pub(super) taken_ports: BTreeSet<u16>,
    /// The addresses that could not be bound when they were last asked for.
    pub(super) unbound: BTreeSet<SocketAddr>,
    /// Counts the managers.
    pub(super) generation: u64,
    pub(super) saved: Vec<SavedService>,
    pub(super) definitions_guard: GuardMemory<DefinitionList>,
    pub(super) planted: Option<PlantedBug>,
    /// What happened, as intervals; none where nobody wants to know.
    pub(super) chronicle: Option<Chronicle>,
    /// Whether servers leave and begin slowly, and old processes have narrow limits.
    pub(super) takes_time: bool,
    /// When each process that was told to finish heard it first.
    pub(super) drains: BTreeMap<u32, Instant>,
    /// How late a message between actors may be, in milliseconds.
    pub(super) mail_delay_max_ms: u64,
    /// The mail of the manager that lives.
    pub(super) mail: Vec<Rc<Mail>>,
    pub(super) violation: Option<Violation>,
    /// A further HAProxy and an output; none in most worlds.
    pub(super) besides: Option<Besides>,
    /// The commands that were sent, where a test wants to know.
    pub(super) sent: Option<Vec<String>>,
    /// When each process was started.
    pub(super) started_at: Vec<Instant>,
    /// The signals that were sent to processes.
    pub(super) signals: Vec<(u32, ProcessSignal)>,
    /// The sessions of servers by their names; drawn where none are given.
    pub(super) sessions: Option<BTreeMap<String, u64>>,
    /// What every process uses; not known where none is given.
    pub(super) usage: Option<ProcessUsage>,
    /// HAProxy refuses a file with a line that contains one of these.
    pub(super) refused_lines: Vec<String>,
    /// HAProxy refuses commands that begin so.
    pub(super) refused_prefix: Option<String>,
    /// How every start fails, until it is healed.
    pub(super) starts_fail: Option<StartFailure>,
    /// Outputs that the next manager has.
    pub(super) outputs: Vec<Rc<dyn ServiceOutput>>,
    /// What does not take as long as usual.
    pub(super) durations: Durations,
    randoms: BTreeMap<&'static str, Random>,
}

/// Runs a story in a new world and in virtual time: hours of it pass in milliseconds, and always in the same way.
pub fn in_virtual_time<T>(seed: u64, story: impl AsyncFnOnce(World) -> T) -> T {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without I/O needs nothing of the system")
    };
    actix::System::with_tokio_rt(runtime).block_on(async {
        let world = World::new(seed);
        let told = story(world.clone()).await;
        world.end_manager().await;
        told
    })
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let (nature, mut begun) = mpsc::unbounded_channel::<Natural>();
        spawn(async move {
            while let Some(natural) = begun.recv().await {
                spawn(natural);
            }
        });
        let things = Things {
            services: BTreeMap::new(),
            session_lost: false,
            definitions_gone: false,
            annotations_lost: false,
            settings: 0,
            tampered: BTreeSet::new(),
            drained: BTreeSet::new(),
            undrained: BTreeSet::new(),
            links: Links::default(),
            oracle: Oracle::default(),
            version: ProxyVersion { major: 3, minor: 0 },
            names: NameTable::new(),
            processes: BTreeMap::new(),
            ended: BTreeMap::new(),
            last_pid: 1_000,
            starts: 0,
            commands: 0,
            live_file: ConfigText::default(),
            candidate: ConfigText::default(),
            checked: None,
            refuses: Vec::new(),
            start_fails: None,
            socket_failures: 0,
            disk_full: false,
            sockets: BTreeMap::new(),
            last_descriptor: 2,
            taken_ports: BTreeSet::new(),
            unbound: BTreeSet::new(),
            generation: 0,
            saved: Vec::new(),
            definitions_guard: GuardMemory::default(),
            planted: None,
            chronicle: None,
            takes_time: false,
            drains: BTreeMap::new(),
            mail_delay_max_ms: 0,
            mail: Vec::new(),
            violation: None,
            besides: None,
            sent: None,
            started_at: Vec::new(),
            signals: Vec::new(),
            sessions: None,
            usage: None,
            refused_lines: Vec::new(),
            refused_prefix: None,
            starts_fail: None,
            outputs: Vec::new(),
            durations: Durations::new(),
            randoms: BTreeMap::new(),
        };
        let (manager, started_at_unix_ms) = (RefCell::default(), Cell::new(STARTED_AT_UNIX_MS));
        let things = RefCell::new(things);
        Self(Rc::new(Shared { seed, started_at_unix_ms, trace: Trace::new(), things, manager, nature }))
    }

    /// Looks at the things, or changes them. Must not be called within itself.
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Things) -> T) -> T {
        look(&mut self.0.things.borrow_mut())
    }

    /// What happened so far.
    pub fn trace(&self) -> &Trace {
        &self.0.trace
    }

    /// Where latencies come from.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// Keeps a chronicle from now on. Each change of hosts from here on is one that HAProxy must follow.
    pub fn keep_chronicle(&self) {
        let now_ms = self.0.trace.now_ms();
        self.with(|things| {
            let mut chronicle = Chronicle::default();
            for (name, service) in &things.services {
                chronicle.begins_with(name, service.registered(), now_ms);
            }
            things.chronicle = Some(chronicle);
        });
    }

    /// The chronicle as far as it goes; empty where none is kept.
    pub fn chronicle(&self) -> Chronicle {
        let mut chronicle = self.with(|things| things.chronicle.clone()).unwrap_or_default();
        chronicle.ended_ms = self.0.trace.now_ms();
        chronicle
    }

    /// Adds to the chronicle, where one is kept, what is so now.
    pub(super) fn chronicled(&self, note: impl FnOnce(&mut Chronicle, u64)) {
        let now_ms = self.0.trace.now_ms();
        self.with(|things| things.chronicle.as_mut().map(|chronicle| note(chronicle, now_ms)));
    }

    /// Adds to the chronicle which hosts take traffic now that another process serves, or none.
    pub(super) fn chronicle_all(&self) {
        let now_ms = self.0.trace.now_ms();
        self.with(|things| {
            let Some(mut chronicle) = things.chronicle.take() else { return };
            let serving = things.serving().and_then(|pid| things.processes.get(&pid));
            let ready = serving.map(|process| process.ready_servers()).unwrap_or_default();
            chronicle.all_enabled(&ready, now_ms);
            things.chronicle = Some(chronicle);
        });
    }

    /// Notes something that passes between two in the world.
    pub(super) fn note(&self, from: impl Display, to: impl Display, what: impl Display) {
        self.0.trace.note(from, to, what);
    }

    /// A number from `low` to `high` from the stream of this purpose.
    pub(super) fn draw(&self, purpose: &'static str, low: u64, high: u64) -> u64 {
        let seed = self.0.seed;
        self.with(|things| {
            let dice = if things.planted == Some(PlantedBug::Dice) { super::run::dice() } else { 0 };
            let random = things.randoms.entry(purpose).or_insert_with(|| Random::of_purpose(seed, purpose));
            random.between(low, high) + dice
        })
    }

    /// A pause of so many milliseconds, drawn from the stream of this purpose.
    pub(super) async fn latency(&self, purpose: &'static str, low_ms: u64, high_ms: u64) {
        sleep(Duration::from_millis(self.draw(purpose, low_ms, high_ms))).await;
    }

    /// Goes on whether or not the manager lives.
    pub(super) fn naturally(&self, natural: impl Future<Output = ()> + 'static) {
        // The other end lives as long as the world's runtime.
        let _ = self.0.nature.send(Box::pin(natural));
    }

    /// An invariant does not hold. The first violation is the one that counts.
    pub(super) fn violate(&self, invariant: Invariant, what: impl Into<String>) {
        let violation = Violation { invariant, what: what.into() };
        self.note("the world", "", format!("{VIOLATION}: {violation}"));
        self.with(|things| things.violation.get_or_insert(violation).invariant);
    }

    /// The first invariant that did not hold; none while all do.
    pub fn violation(&self) -> Option<Violation> {
        self.with(|things| things.violation.clone())
    }

    /// Which version of HAProxy is installed. The next process that starts has it.
    pub fn install(&self, version: ProxyVersion) {
        self.with(|things| things.version = version);
    }

    /// Plants a bug.
    pub fn plant(&self, bug: PlantedBug) {
        self.with(|things| things.planted = Some(bug));
    }

    /// Whether this bug is planted.
    pub(super) fn has(&self, bug: PlantedBug) -> bool {
        self.with(|things| things.planted == Some(bug))
    }

    /// Has it begin then, in milliseconds since 1970, before the first manager looks at the clock.
    pub(super) fn begin_at(&self, unix_ms: u64) {
        self.0.started_at_unix_ms.set(unix_ms);
    }

    /// What the time of day is, in milliseconds since 1970.
    fn unix_ms(&self) -> u64 {
        self.0.started_at_unix_ms.get() + self.trace().now_ms()
    }

    /// Starts a manager: the production actors, with what an earlier one saved.
    pub fn start_manager(&self) {
        let restored = self.with(|things| {
            things.generation += 1;
            things.oracle.restarted(&things.saved_state(), self.unix_ms());
            things.saved_state()
        });
        let policy = self.policy();
        let options = OptionPolicy::default();
        let services_removal_max = SERVICES_REMOVAL_MAX;
        let orders = Orders { policy, binary: None, options, services_removal_max, restored };
        self.start_manager_with(orders, Rc::new(self.clone()), Rc::new(self.clone()));
    }

    /// Starts a manager with orders of its own, which hears from these sources.
    pub(super) fn start_manager_with(
        &self,
        orders: Orders,
        definitions: Rc<dyn DefinitionSource>,
        host_sources: Rc<dyn HostSources>,
    ) {
        self.note("the world", "", "a manager starts");
        let (targets, mut outputs) = self.targets_and_outputs();
        outputs.extend(self.with(|things| things.outputs.clone()));
        let outside = Outside {
            definitions,
            host_sources,
            runtime: Rc::new(self.clone()),
            config_file: Rc::new(self.clone()),
            names: Rc::new(self.clone()),
            processes: Rc::new(self.clone()),
            sockets: Rc::new(self.clone()),
            state_store: Rc::new(self.clone()),
            targets,
            outputs,
        };
        // All that the actors spawn lives in this set, and ends with it: as at a kill, without a word.
        let tasks = LocalSet::new();
        let entered = tasks.enter();
        let clock = Clock::starting_at(self.unix_ms());
        let actors = Actors::start_by(&Couriers::of(self), outside, orders, clock, &self.0.trace.logger());
        drop(entered);
        *self.0.manager.borrow_mut() = Some(Manager { actors, life: spawn(tasks) });
    }

    /// Kills the manager. What it had open is closed by the system; HAProxy goes on.
    pub async fn kill_manager(&self) {
        self.note("the world", "manager", "SIGKILL");
        self.end_manager().await;
    }

    /// Has the manager stop HAProxy and itself, as at SIGTERM.
    pub async fn stop_manager(&self) {
        self.note("the world", "manager", "SIGTERM");
        if let Some(actors) = self.actors() {
            actors.stop().await;
        }
        let left: Vec<u32> = self.with(|things| things.processes.keys().copied().collect());
        if !left.is_empty() {
            self.violate(Invariant::NoProcessIsForgotten, format!("the manager has stopped, and {left:?} run"));
        }
        self.end_manager().await;
    }

    async fn end_manager(&self) {
        let Some(manager) = self.0.manager.borrow_mut().take() else { return };
        self.with(Things::leave_unsaved_drains);
        // What is dropped from now on is the system's doing.
        self.with(|things| {
            things.generation += 1;
            things.sockets.clear();
            things.unbound.clear();
            things.mail.clear();
        });
        manager.life.abort();
        // It was cancelled a line above.
        let _ = manager.life.await;
        self.with(|things| things.links = Links::default());
    }

    pub(super) fn actors(&self) -> Option<Actors> {
        self.0.manager.borrow().as_ref().map(|manager| manager.actors.clone())
    }

    /// What every actor says of itself.
    ///
    /// # Errors
    /// An actor does not answer, or no manager was started.
    pub async fn states(&self) -> Result<Vec<ActorState>, String> {
        let actors = self.actors().ok_or("no manager was started")?;
        let mut states = actors.states().await?;
        if self.has(PlantedBug::JournalGrows) || self.has(PlantedBug::RevisionFalls) {
            states.iter_mut().for_each(|state| self.distort(state));
        }
        Ok(states)
    }

    fn distort(&self, state: &mut ActorState) {
        match state {
            ActorState::Journal(journal) if self.has(PlantedBug::JournalGrows) && journal.newest > 20 => {
                journal.entries += 10_000;
            }
            ActorState::Watcher(watcher) if self.has(PlantedBug::RevisionFalls) && watcher.revision.0 > 2 => {
                watcher.revision.0 = 1;
            }
            _ => {}
        }
    }

    /// What happened and why, as the manager's journal tells it.
    pub async fn journal(&self, query: ReadJournal) -> Vec<JournalEntry> {
        match self.actors() {
            Some(actors) => actors.journal(query).await,
            None => Vec::new(),
        }
    }

    /// Has the manager read every source again.
    pub fn refresh(&self) {
        self.actors().iter().for_each(Actors::refresh);
    }

    /// Lets everything that is under way arrive.
    pub async fn settle(&self) {
        sleep(Duration::from_millis(300)).await;
    }

    /// Lets time pass.
    pub async fn wait(&self, seconds: u64) {
        sleep(Duration::from_secs(seconds)).await;
    }

    /// The hosts of this service that take traffic in the HAProxy that serves.
    pub fn ready(&self, service: &str) -> Vec<u8> {
        self.with(|things| things.ready(service).unwrap_or_default().into_keys().collect())
    }

    /// How often HAProxy was started or reloaded.
    pub fn starts(&self) -> usize {
        self.with(|things| things.starts)
    }

    /// How many commands HAProxy was given at run time.
    pub fn commands(&self) -> usize {
        self.with(|things| things.commands)
    }

    /// haproxy.cfg as it is.
    pub fn file(&self) -> String {
        self.with(|things| things.live_file.joined())
    }
}

impl Things {
    /// What a manager that starts finds.
    pub(super) fn saved_state(&self) -> SavedState {
        SavedState { services: self.saved.clone(), definitions_guard: self.definitions_guard.clone() }
    }

    /// The ready servers of the process that serves, with their weights; none where it does not have the section.
    pub(super) fn ready(&self, service: &str) -> Option<BTreeMap<u8, u16>> {
        let process = self.processes.get(&self.serving()?)?;
        process.ready_servers().remove(service)
    }

    /// The process that answers on the socket.
    pub(super) fn serving(&self) -> Option<u32> {
        let serves = |process: &&Process| process.answers && !process.draining;
        self.processes.values().filter(serves).map(|process| process.pid).next_back()
    }
}

impl Process {
    /// The servers that take traffic, by section, with their weights.
    pub(super) fn ready_servers(&self) -> BTreeMap<String, BTreeMap<u8, u16>> {
        super::processes::ready_in(&self.model)
    }
}

/// The numbers of the hosts behind these servers.
pub(super) fn numbers<'a>(
    servers: impl Iterator<Item = &'a proxymgr_actors::model::ObservedServer>,
) -> BTreeMap<u8, u16> {
    let ready = servers.filter(|server| !server.in_maintenance() && !server.in_drain());
    ready.filter_map(|server| Some((number_of(&server.address)?, server.weight))).collect()
}
