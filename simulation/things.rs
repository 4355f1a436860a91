//! What is in the world.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::rc::Rc;

use proxymgr_actors::decide::guard::GuardMemory;
use proxymgr_actors::model::{ObservedServer, ProxyVersion, ServerId};
use proxymgr_actors::port::{
    ConfigText, DefinitionList, ProcessSignal, ProcessUsage, SavedService, SavedState, ServiceOutput,
};
use tokio::time::Instant;

use super::agents::Agents;
use super::besides::Besides;
use super::checks::Calm;
use super::chronicle::Chronicle;
use super::courier::Mail;
use super::durations::Durations;
use super::haproxy_model::{HaproxyModel, NameTable};
use super::invariant::{Invariant, Violation};
use super::oracle::Oracle;
use super::plan::{Refused, StartFailure};
use super::planted_bug::PlantedBug;
use super::processes::Process;
use super::random::Random;
use super::sources::Links;
use super::truth::{Service, number_of};

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
    /// When which host name was looked up by the manager.
    pub(super) lookups: Vec<(Instant, String)>,
    pub(super) planted: Option<PlantedBug>,
    /// What happened, as intervals; none where nobody wants to know.
    pub(super) chronicle: Option<Chronicle>,
    /// Whether servers leave and begin slowly, and old processes have narrow limits.
    pub(super) takes_time: bool,
    /// When each draining process was first asked to drain.
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
    /// Whether clients send requests, and each definition that HAProxy accepts is waited for: not in days of thousands of
    /// changes, which are about time.
    pub(super) has_clients: bool,
    /// Since when nothing is wrong beside refused definitions.
    pub(super) calm: Calm,
    /// The checks of candidates that are under way.
    pub(super) checks: usize,
    /// Whether a check never ends by itself.
    pub(super) check_hangs: bool,
    /// Whether every write takes half a minute.
    pub(super) disk_hangs: bool,
    /// Whether HAProxy's messages name a line of another section than the one that it refuses.
    pub(super) blames_another: bool,
    /// What does not take as long as usual.
    pub(super) durations: Durations,
    pub(super) agents: Agents,
    /// Whether every service distributes its requests by a consistent hash.
    pub(super) hashes: bool,
    pub(super) randoms: BTreeMap<&'static str, Random>,
}

impl Things {
    /// No service, no HAProxy, nothing saved.
    pub(super) fn new() -> Self {
        Self {
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
            lookups: Vec::new(),
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
            has_clients: false,
            calm: Calm::from_now(),
            checks: 0,
            check_hangs: false,
            disk_hangs: false,
            blames_another: false,
            durations: Durations::new(),
            agents: Agents::default(),
            hashes: false,
            randoms: BTreeMap::new(),
        }
    }

    /// What a manager that starts finds.
    pub(super) fn saved_state(&self) -> SavedState {
        SavedState { services: self.saved.clone(), definitions_guard: self.definitions_guard.clone() }
    }

    /// The ready servers of the process that serves, with their weights; none where it does not have the section.
    pub(super) fn ready(&self, service: &str) -> Option<BTreeMap<u8, u16>> {
        let process = self.processes.get(&self.serving()?)?;
        process.ready_servers().remove(service)
    }

    /// Whether clients look for a violation of this invariant. With a bug planted, only the invariant that it breaks does: a
    /// bug has many consequences.
    pub(super) fn looks_for(&self, invariant: Invariant) -> bool {
        self.has_clients && self.planted.is_none_or(|bug| bug.breaks() == invariant)
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
pub(super) fn numbers<'a>(servers: impl Iterator<Item = &'a ObservedServer>) -> BTreeMap<u8, u16> {
    let ready = servers.filter(|server| !server.in_maintenance() && !server.in_drain());
    ready.filter_map(|server| Some((number_of(&server.address)?, server.weight))).collect()
}
