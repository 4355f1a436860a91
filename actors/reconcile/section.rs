//! One section of the process that serves: what was applied to it, and what the process reports of it.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::RawFd;
use std::sync::Arc;

use itertools::EitherOrBoth::{Both, Left, Right};
use itertools::Itertools;
use tokio::time::{Duration, Instant};

use crate::decide::common_ends::between_common_ends;
use crate::decide::deployment::{BoundSection, SectionSpec};
use crate::decide::haproxy_config::{self, SectionStyle};
use crate::decide::predicted::predict;
use crate::decide::proxy_plan::{Holder, LoadedServer, LoadedService, Refusal, Step, disabled_by_file, given_with_id};
use crate::decide::scope::Scope;
use crate::decide::server_ids::ServerIds;
use crate::decide::unresolved::SectionNames;
use crate::model::{
    AdminState, Host, HostList, ObservedServer, ObservedServers, PlanClass, RuntimeCommand, ServerName, ServerState,
    ServiceDefinition, Word,
};
use crate::port::Answer;

/// A section of the process that serves.
#[derive(Debug)]
pub struct Section {
    /// The definition that applies: the one it was started with, or a later one that needed no reload.
    pub definition: Arc<ServiceDefinition>,
    /// The descriptor it listens on.
    pub descriptor: Option<RawFd>,
    /// What the process was given: by its file, and at run time since.
    pub loaded: LoadedService,
    /// The section in haproxy.cfg.
    pub file: SectionFile,
    /// What the process reports.
    pub observed: Arc<ObservedServers>,
    /// The state of each server, for whoever asks: put together when it is first asked for.
    pub states: OnceCell<Arc<BTreeMap<ServerName, ServerState>>>,
    /// Servers that were changed since they were last observed: what is known of them is predicted.
    unverified: BTreeSet<ServerName>,
    /// Those of them that were given another address, which HAProxy may set after its answer: they get no traffic before
    /// it is observed.
    moved: BTreeSet<ServerName>,
    /// Whether a batch went unanswered since, so that what the process has is not known.
    pub stale: bool,
    /// What was tried and did not work.
    pub attempts: Attempts,
    /// What was found in a process that was not started by this daemon, or carried over from the one before.
    pub found: Found,
    /// Servers out of discovery that wait in maintenance to be deleted, and since when.
    parked: BTreeMap<ServerName, Instant>,
    /// When HAProxy last answered a command for it, or was found to have executed one without an answer.
    pub answered_at: Instant,
}

/// A section as it stands in haproxy.cfg.
#[derive(Debug)]
pub struct SectionFile {
    /// Its text.
    pub text: Arc<str>,
    /// The hosts in that text, which are the last good ones.
    pub hosts: Arc<HostList>,
    /// Their ids in that text.
    pub ids: ServerIds,
    /// Whether the process was given anything at run time that the text does not have.
    is_behind: bool,
}

/// Runtime changes that HAProxy refused, or accepted without effect.
#[derive(Debug, Default)]
pub struct Attempts {
    /// Changes that HAProxy refused: only a reload can bring them.
    pub refused: BTreeMap<ServerName, Refusal>,
    /// Changes that not even a reload brought: left alone until the hosts change.
    pub hopeless: BTreeMap<ServerName, Refusal>,
    /// What was last accepted for each server, and how often in a row: the same again and again has no effect.
    pub repeated: BTreeMap<ServerName, (Vec<RuntimeCommand>, u32)>,
}

/// What was in a process before this daemon changed it.
#[derive(Debug, Default)]
pub struct Found {
    /// Servers that were in drain on the socket of the process before, by nobody's order to us: drained again.
    pub drained_before: BTreeSet<ServerName>,
    /// Why servers are kept from traffic that the process had before and that discovery does not know, or not yet.
    pub disabled_by: BTreeMap<ServerName, Holder>,
    /// Servers that an external process had: not ours to delete.
    pub servers: BTreeSet<ServerName>,
}

impl Attempts {
    /// Whether a change of some server was refused or had no effect.
    pub fn any(&self) -> bool {
        !self.refused.is_empty() || !self.hopeless.is_empty()
    }

    /// Every server is tried again.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// This server is tried again.
    pub fn forget_server(&mut self, server: &ServerName) {
        self.refused.remove(server);
        self.hopeless.remove(server);
        self.repeated.remove(server);
    }

    /// HAProxy accepted this step. Counts how often it did so in a row.
    fn accepted(&mut self, step: &Step) {
        let (commands, times) = self.repeated.entry(step.server.clone()).or_default();
        if *commands != step.commands {
            *commands = step.commands.clone();
            *times = 0;
        }
        *times += 1;
    }
}

impl Section {
    /// Its hosts, to find those whose names HAProxy could not resolve.
    pub fn names<'a>(&'a self, inherited: &'a [Word]) -> SectionNames<'a> {
        SectionNames { definition: &self.definition, inherited, hosts: &self.file.hosts, observed: &self.observed }
    }

    /// What its text in haproxy.cfg is made of.
    pub fn spec(&self) -> SectionSpec {
        let SectionFile { hosts, ids, .. } = &self.file;
        SectionSpec { definition: self.definition.clone(), hosts: hosts.clone(), ids: ids.clone() }
    }

    /// A section as a process was just started with it. Where the process before had the same, `before`, what is known of
    /// its servers is taken over.
    pub fn started(mut bound: BoundSection, style: SectionStyle, before: Option<Self>, now: Instant) -> Self {
        let text = bound.render(style);
        let BoundSection { spec: SectionSpec { definition, hosts, ids }, descriptor, .. } = bound;
        let is_same = |before: &Self| {
            !before.file.is_behind
                && Arc::ptr_eq(&before.file.hosts, &hosts)
                && before.file.ids == ids
                && (Arc::ptr_eq(&before.definition, &definition) || before.definition == definition)
                && *before.loaded.head == *haproxy_config::section_head(&definition, style)
        };
        let mut loaded = match before.filter(is_same) {
            Some(before) => before.loaded,
            None => loaded_by_file(&definition, &hosts, &ids, style),
        };
        if loaded.servers.len() != hosts.len() {
            loaded.servers.retain(|name, _| hosts.contains_key(name));
        }
        // Both are in the order of names.
        for (server, host) in loaded.servers.values_mut().zip(hosts.values()) {
            server.held_by = disabled_by_file(host);
        }
        Self {
            definition,
            descriptor,
            loaded,
            file: SectionFile { text, hosts, ids, is_behind: false },
            observed: Arc::default(),
            states: OnceCell::new(),
            unverified: BTreeSet::new(),
            moved: BTreeSet::new(),
            stale: true,
            attempts: Attempts::default(),
            found: Found::default(),
            parked: BTreeMap::new(),
            answered_at: now,
        }
    }

    /// Writes the section again with these hosts. Returns whether its text changed.
    pub fn rewrite(&mut self, hosts: &Arc<HostList>, ids: &ServerIds) -> bool {
        self.file.is_behind = false;
        if Arc::ptr_eq(&self.file.hosts, hosts) {
            return false;
        }
        let text = haproxy_config::section_after((&self.file.text, &self.file.hosts), &self.definition, hosts, ids);
        self.file.hosts = hosts.clone();
        self.file.ids = ids.clone();
        let changed = text != self.file.text;
        self.file.text = text;
        changed
    }

    /// Takes in what the process reports. Returns the servers that are not as they were last seen, health apart; none
    /// where it is the very same report.
    pub fn observe(&mut self, servers: Arc<ObservedServers>, now: Instant) -> Option<BTreeSet<ServerName>> {
        let changed = (!Arc::ptr_eq(&self.observed, &servers)).then(|| {
            let changed = self.differences(&servers);
            self.found.drained_before.retain(|name| !servers.get(name).is_some_and(ObservedServer::in_drain));
            self.set_observed(servers);
            changed
        });
        if std::mem::take(&mut self.stale) {
            self.answered_at = now;
            self.forget_vain_orders();
        }
        changed
    }

    /// Takes in the first report of a process that was just started.
    pub fn observe_first(&mut self, servers: Arc<ObservedServers>) {
        self.found.drained_before.retain(|name| !servers.get(name).is_some_and(ObservedServer::in_drain));
        self.set_observed(servers);
        self.stale = false;
    }

    /// Whether everything that is known of its servers was observed.
    pub fn is_verified(&self) -> bool {
        self.unverified.is_empty()
    }

    /// The servers that were changed since they were last observed, because they are observed now.
    pub fn take_unverified(&mut self) -> BTreeSet<ServerName> {
        self.moved.clear();
        std::mem::take(&mut self.unverified)
    }

    /// Whether a step may be taken by now.
    pub fn may_take(&self, step: &Step) -> bool {
        step.class == PlanClass::RuntimeDisable || !self.moved.contains(&step.server)
    }

    fn set_observed(&mut self, servers: Arc<ObservedServers>) {
        self.observed = servers;
        self.states = OnceCell::new();
    }

    /// Records what HAProxy answered to one step. Returns its refusal, if it refused.
    pub fn answered(&mut self, step: &Step, answers: &[Answer], now: Instant) -> Option<Refusal> {
        self.answered_at = now;
        for (command, answer) in step.commands.iter().zip(answers) {
            if !answer.accepted {
                return Some(Refusal { commands: vec![command.clone()], words: format!("{command}: {}", answer.text) });
            }
            self.accepted(step, command);
        }
        self.attempts.accepted(step);
        None
    }

    /// Records that HAProxy did not answer a step, which it may have executed all the same: a drain that is found then is
    /// ours, and no operator's.
    pub fn unanswered(&mut self, step: &Step) {
        self.stale = true;
        self.file.is_behind = true;
        if step.holder.is_some() {
            self.note_disabled_by(&step.server, step.holder);
        }
    }

    fn accepted(&mut self, step: &Step, command: &RuntimeCommand) {
        predict(Arc::make_mut(&mut self.observed), command);
        self.states = OnceCell::new();
        self.unverified.insert(step.server.clone());
        match (command, &step.gives) {
            (RuntimeCommand::DeleteServer(_), _) => {
                self.loaded.servers.remove(&step.server);
            }
            (RuntimeCommand::AddServer { .. }, Some(given)) => {
                self.file.is_behind = true;
                self.loaded.servers.insert(step.server.clone(), given.clone());
            }
            (RuntimeCommand::SetAddress(..), Some(given)) => {
                self.file.is_behind = true;
                self.moved.insert(step.server.clone());
                let loaded = self.loaded.servers.get(&step.server);
                let (id, weight) = loaded.map_or((None, None), |loaded| (loaded.id, loaded.weight));
                let moved = LoadedServer { held_by: step.holder, id, weight, ..given.clone() };
                self.loaded.servers.insert(step.server.clone(), moved);
            }
            (RuntimeCommand::SetWeight(_, weight), _) => {
                if let Some(loaded) = self.loaded.servers.get_mut(&step.server) {
                    loaded.weight = Some(*weight);
                }
            }
            (RuntimeCommand::SetReady(_), _) => self.note_disabled_by(&step.server, None),
            (RuntimeCommand::DisableAgent(_), _) if step.holder.is_none() => {}
            (RuntimeCommand::SetDrain(_) | RuntimeCommand::SetMaintenance(_) | RuntimeCommand::DisableAgent(_), _) => {
                self.note_disabled_by(&step.server, step.holder);
            }
            _ => {}
        }
    }

    /// Orders that turn out not to have reached HAProxy did not disable anything.
    fn forget_vain_orders(&mut self) {
        for (name, loaded) in &mut self.loaded.servers {
            let is_disabled = |server: &ObservedServer| server.in_maintenance() || server.in_drain();
            loaded.held_by.take_if(|_| !self.observed.get(name).is_some_and(is_disabled));
        }
    }

    /// Why each server is kept from traffic; none where it is not.
    pub fn disabled_by(&self) -> BTreeMap<ServerName, Option<Holder>> {
        let desired = self.loaded.servers.iter().map(|(server, loaded)| (server, loaded.held_by));
        let found = self.found.disabled_by.iter().map(|(server, reason)| (server, Some(*reason)));
        desired.chain(found).map(|(server, reason)| (server.clone(), reason)).collect()
    }

    /// Notes why a server is kept from traffic.
    pub fn note_disabled_by(&mut self, server: &ServerName, reason: Option<Holder>) {
        match (self.loaded.servers.get_mut(server), reason) {
            (Some(loaded), reason) => loaded.held_by = reason,
            (None, Some(reason)) => drop(self.found.disabled_by.insert(server.clone(), reason)),
            (None, None) => drop(self.found.disabled_by.remove(server)),
        }
    }

    /// Servers that somebody put into drain on HAProxy's own socket. A drain by an agent is the agent's to repeat.
    pub fn drained_on_socket<'a>(&'a self, desired: &'a HostList) -> impl Iterator<Item = &'a ServerName> {
        let is_ours = |name: &ServerName| self.loaded.servers.get(name).is_none_or(|loaded| loaded.held_by.is_some());
        let drained = self.observed.iter().filter(|(_, server)| server.drained_by_order());
        let ready = |name: &ServerName| desired.get(name).is_some_and(|host| host.state == AdminState::Ready);
        drained.map(|(name, _)| name).filter(move |name| ready(name) && !is_ours(name))
    }

    /// A drain of a slot that stands for another host by now was meant for the host before.
    pub fn forget_drains_of_moved_slots(&mut self, desired: &HostList) {
        let at = |hosts: &HostList, slot: &ServerName| hosts.get(slot).map(|host| host.endpoint.clone());
        self.found.drained_before.retain(|slot| at(desired, slot) == at(&self.file.hosts, slot));
    }

    /// A new process was started on the file of the last one. What somebody drained on the socket of that one is drained
    /// again.
    pub fn restarted(&mut self) {
        let again = self.drained_on_socket(&self.file.hosts).chain(&self.found.drained_before).cloned().collect();
        self.found.drained_before = again;
        self.stale = true;
    }

    /// Notes since when which of the servers in `scope` that are out of discovery have been waiting in maintenance.
    pub fn park(&mut self, desired: &HostList, scope: &Scope, now: Instant) {
        let observed = &self.observed;
        let waits = |name: &ServerName| {
            !desired.contains_key(name) && observed.get(name).is_some_and(ObservedServer::forced_maintenance)
        };
        match scope {
            Scope::Whole => self.parked.retain(|name, _| waits(name)),
            Scope::Servers(names) => {
                for name in names.iter().filter(|name| !waits(name)) {
                    self.parked.remove(name);
                }
            }
        }
        for (name, _) in scope.of(observed).filter(|(name, _)| waits(name)) {
            self.parked.entry(name.clone()).or_insert(now);
        }
    }

    /// The parked servers that have waited at least `after`, as far as they are still there and waiting.
    pub fn ripe_for_deletion(&self, after: Duration, now: Instant) -> impl Iterator<Item = &ServerName> {
        let waits = |name: &ServerName| self.observed.get(name).is_some_and(ObservedServer::forced_maintenance);
        let is_ripe = move |name: &ServerName, since: &Instant| {
            now.saturating_duration_since(*since) >= after && waits(name) && !self.found.servers.contains(name)
        };
        self.parked.iter().filter(move |(name, since)| is_ripe(name, since)).map(|(name, _)| name)
    }

    /// The servers that are not what was last seen, health apart.
    fn differences(&self, servers: &ObservedServers) -> BTreeSet<ServerName> {
        let same = |known: &ObservedServer, now: &ObservedServer| {
            known.address == now.address
                && known.fqdn == now.fqdn
                && known.port == now.port
                && known.weight == now.weight
                && known.admin_state == now.admin_state
                && known.agent == now.agent
        };
        let (known, now) = (self.observed.as_slice(), servers.as_slice());
        let (of_known, of_now) =
            between_common_ends(known, now, |(name, known), (other, now)| name == other && same(known, now));
        let pairs = known[of_known].iter().merge_join_by(&now[of_now], |(known, _), (now, _)| known.cmp(now));
        let different = pairs.filter_map(|pair| match pair {
            Both((_, known), (_, now)) if same(known, now) => None,
            Left((name, _)) | Right((name, _)) | Both(_, (name, _)) => Some(name.clone()),
        });
        different.collect()
    }
}

/// What a process is given of a service by its file.
fn loaded_by_file(
    definition: &ServiceDefinition,
    hosts: &HostList,
    ids: &ServerIds,
    style: SectionStyle,
) -> LoadedService {
    let given = |(name, host): (&ServerName, &Arc<Host>)| (name.clone(), given_with_id(definition, name, host, ids));
    LoadedService { head: haproxy_config::section_head(definition, style), servers: hosts.iter().map(given).collect() }
}
