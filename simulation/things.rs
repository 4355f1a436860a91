//! The content of the world.

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

/// The content of the world.
pub(super) struct Things {
    pub(super) services: BTreeMap<String, Service>,
    pub(super) session_lost: bool,
    pub(super) definitions_gone: bool,
    pub(super) annotations_lost: bool,
    /// Number of the settings of the current and the next manager.
    pub(super) settings: u8,
    /// Servers that other programs changed: commands for them may come too late.
    pub(super) tampered: BTreeSet<ServerId>,
    /// Servers that an operator drains.
    pub(super) drained: BTreeSet<(String, u8)>,
    /// Servers that an operator drained earlier.
    pub(super) undrained: BTreeSet<(String, u8)>,
    pub(super) links: Links,
    pub(super) oracle: Oracle,
    pub(super) version: ProxyVersion,
    /// Addresses of host names.
    pub(super) names: NameTable,
    pub(super) processes: BTreeMap<u32, Process>,
    /// When each ended process ended.
    pub(super) ended: BTreeMap<u32, Instant>,
    pub(super) last_pid: u32,
    pub(super) commands: usize,
    pub(super) live_file: ConfigText,
    pub(super) candidate: ConfigText,
    /// The process model of the checked candidate; taken by the process that starts with it.
    pub(super) checked: Option<HaproxyModel>,
    pub(super) refuses: Vec<Refused>,
    pub(super) start_fails: Option<StartFailure>,
    pub(super) socket_failures: u32,
    pub(super) disk_full: bool,
    /// The descriptors of listening sockets that the manager holds; two may belong to one socket.
    pub(super) sockets: BTreeMap<RawFd, SocketAddr>,
    pub(super) last_descriptor: RawFd,
    pub(super) taken_ports: BTreeSet<u16>,
    /// The addresses whose last bind failed.
    pub(super) unbound: BTreeSet<SocketAddr>,
    /// Number of the current manager.
    pub(super) generation: u64,
    pub(super) saved: Vec<SavedService>,
    pub(super) definitions_guard: GuardMemory<DefinitionList>,
    /// Times and names of the manager's look-ups.
    pub(super) lookups: Vec<(Instant, String)>,
    pub(super) planted: Option<PlantedBug>,
    /// The run as intervals, if it is recorded.
    pub(super) chronicle: Option<Chronicle>,
    /// Whether servers drain and ramp up slowly, and old processes have narrow limits.
    pub(super) takes_time: bool,
    /// When each draining process was first asked to drain.
    pub(super) drains: BTreeMap<u32, Instant>,
    /// Maximum delay of a message between actors, in milliseconds.
    pub(super) mail_delay_max_ms: u64,
    /// Messages on their way to the actors of the current manager.
    pub(super) mail: Vec<Rc<Mail>>,
    pub(super) violation: Option<Violation>,
    /// An external HAProxy and an output, in some worlds.
    pub(super) besides: Option<Besides>,
    /// The commands that were sent, if a test records them.
    pub(super) sent: Option<Vec<String>>,
    /// When each process was started.
    pub(super) started_at: Vec<Instant>,
    /// The signals that were sent to processes.
    pub(super) signals: Vec<(u32, ProcessSignal)>,
    /// Sessions of servers by name; drawn if not set.
    pub(super) sessions: Option<BTreeMap<String, u64>>,
    /// Resource usage of every process; unknown if not set.
    pub(super) usage: Option<ProcessUsage>,
    /// HAProxy refuses a file with a line that contains one of these.
    pub(super) refused_lines: Vec<String>,
    /// HAProxy refuses commands with this prefix.
    pub(super) refused_prefix: Option<String>,
    /// How every start fails, until the world is healed.
    pub(super) starts_fail: Option<StartFailure>,
    /// Outputs of the next manager.
    pub(super) outputs: Vec<Rc<dyn ServiceOutput>>,
    /// Whether clients send requests, and whether each valid definition is expected to be served: not in days of
    /// thousands of changes, which measure times.
    pub(super) has_clients: bool,
    /// Since when nothing but definitions was refused or failed.
    pub(super) calm: Calm,
    /// Number of running checks of candidates.
    pub(super) checks: usize,
    /// Whether checks hang.
    pub(super) check_hangs: bool,
    /// Whether every write takes half a minute.
    pub(super) disk_hangs: bool,
    /// Whether HAProxy's messages name a line of a section other than the refused one.
    pub(super) blames_another: bool,
    /// Durations that differ from the usual ones.
    pub(super) durations: Durations,
    pub(super) agents: Agents,
    /// Whether every service distributes its requests by a consistent hash.
    pub(super) hashes: bool,
    /// Whether the operator has a haproxy.cfg.
    pub(super) has_base: bool,
    pub(super) randoms: BTreeMap<&'static str, Random>,
}

impl Things {
    /// Creates a world without services, HAProxy and saved state.
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
            has_base: false,
            randoms: BTreeMap::new(),
        }
    }

    /// Returns the saved state that the next manager reads.
    pub(super) fn saved_state(&self) -> SavedState {
        SavedState { services: self.saved.clone(), definitions_guard: self.definitions_guard.clone() }
    }

    /// Returns the ready servers of the serving process, with their weights; `None` if it lacks the section.
    pub(super) fn ready(&self, service: &str) -> Option<BTreeMap<u8, u16>> {
        let process = self.processes.get(&self.serving()?)?;
        process.ready_servers().remove(service)
    }

    /// Returns whether clients check this invariant. With a planted bug, they check only the invariant that it
    /// violates, because a bug has many effects.
    pub(super) fn looks_for(&self, invariant: Invariant) -> bool {
        self.has_clients && self.planted.is_none_or(|bug| bug.breaks() == invariant)
    }

    /// Returns the process that answers on the socket.
    pub(super) fn serving(&self) -> Option<u32> {
        let serves = |process: &&Process| process.answers && !process.draining;
        self.processes.values().filter(serves).map(|process| process.pid).next_back()
    }
}

impl Process {
    /// Returns the servers that take traffic, by section, with their weights.
    pub(super) fn ready_servers(&self) -> BTreeMap<String, BTreeMap<u8, u16>> {
        super::processes::ready_in(&self.model)
    }
}

/// Returns the numbers of the hosts behind these servers, with their weights.
pub(super) fn numbers<'a>(servers: impl Iterator<Item = &'a ObservedServer>) -> BTreeMap<u8, u16> {
    let ready = servers.filter(|server| !server.in_maintenance() && !server.in_drain());
    ready.filter_map(|server| Some((number_of(server.address?)?, server.weight))).collect()
}
