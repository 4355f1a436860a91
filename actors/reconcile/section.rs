//! One section of the process that serves: its applied and its observed state.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use itertools::EitherOrBoth::{Both, Left, Right};
use itertools::Itertools;

use crate::decide::common_ends::between_common_ends;
use crate::decide::deployment::{BoundSection, SectionSpec};
use crate::decide::haproxy_config::{self, SectionStyle};
use crate::decide::predicted::{as_started, predict};
use crate::decide::proxy_plan::{
    AppliedServer, AppliedService, DisabledBy, Refusal, Step, applied_server_with_id, disabled_by_file,
};
use crate::decide::scope::Scope;
use crate::decide::server_ids::ServerIds;
use crate::decide::unresolved::SectionNames;
use crate::model::{
    AdminState, Descriptors, Host, HostList, ObservedServer, ObservedServers, PlanClass, RuntimeCommand, ServerName,
    ServerState, ServiceDefinition, Word,
};
use crate::port::Answer;

/// A section of the process that serves.
#[derive(Debug)]
pub struct Section {
    /// The applied definition: the one it was started with, or a later one that needed no reload.
    pub definition: Arc<ServiceDefinition>,
    /// The descriptors it listens on.
    pub descriptors: Descriptors,
    /// The state applied to the process: by its file, and at run time since.
    pub loaded: AppliedService,
    /// The section in haproxy.cfg.
    pub file: SectionFile,
    /// The state that the process reports.
    pub observed: Arc<ObservedServers>,
    /// The state of each server for reports, computed at the first request.
    pub states: OnceCell<Arc<BTreeMap<ServerName, ServerState>>>,
    /// Servers that were changed since the last observation, whose known state is a prediction.
    unverified: BTreeSet<ServerName>,
    /// Those of them with a new address, which HAProxy may set after its answer: they get no traffic before it is
    /// observed.
    moved: BTreeSet<ServerName>,
    /// Since when it gets no requests; `None` for a published one. A backend that was added at run time is published once
    /// it has its servers.
    pub unpublished_since: Option<Instant>,
    /// Whether HAProxy accepted it in a file. A backend that was added at run time was only put together from what it
    /// accepted.
    pub is_of_file: bool,
    /// Why the state in the process is unknown; `None` where it is known.
    pub unknown: Option<Unknown>,
    /// Failed changes.
    pub attempts: Attempts,
    /// The state found in a process that this daemon did not start, or carried over from the previous process.
    pub found: Found,
    /// Servers removed from discovery that wait in maintenance for their deletion, and since when.
    parked: BTreeMap<ServerName, Instant>,
    /// When HAProxy last answered a command for it, or an observation showed that it had executed an unanswered one.
    pub answered_at: Instant,
}

/// Why the state of a section in the process is unknown until it is observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// The process was just started with its text.
    Started,
    /// A batch went unanswered, or the process was started with an earlier text.
    Unanswered,
}

/// A section in haproxy.cfg.
#[derive(Debug)]
pub struct SectionFile {
    /// Its text.
    pub text: Arc<str>,
    /// The hosts in that text, which are the last good ones.
    pub hosts: Arc<HostList>,
    /// Their ids in that text.
    pub ids: ServerIds,
    /// Whether a host has a name instead of an address.
    has_names: bool,
    /// Whether runtime changes were applied that the text lacks.
    is_behind: bool,
}

/// Runtime changes that HAProxy refused, or accepted without effect.
#[derive(Debug, Default)]
pub struct Attempts {
    /// Changes that HAProxy refused: only a reload can apply them.
    pub refused: BTreeMap<ServerName, Refusal>,
    /// Changes that not even a reload applied: not retried until the hosts change.
    pub hopeless: BTreeMap<ServerName, Refusal>,
    /// The last accepted commands for each server, and how often in a row: the same commands again and again have no
    /// effect.
    pub repeated: BTreeMap<ServerName, (Vec<RuntimeCommand>, u32)>,
    /// Why the certificates of the current definition cannot be set at run time.
    pub certificates: Option<String>,
}

/// The state of a process before this daemon changed it.
#[derive(Debug, Default)]
pub struct Found {
    /// Servers that were set to drain on the socket of the previous process, without an override: drained again.
    pub drained_before: BTreeSet<ServerName>,
    /// The reasons why found servers are disabled that discovery does not know, or not yet.
    pub disabled_by: BTreeMap<ServerName, DisabledBy>,
    /// Servers that an external process had, which are never deleted.
    pub servers: BTreeSet<ServerName>,
    /// Servers that commands for the previous process may have added to this one.
    added: BTreeMap<ServerName, AppliedServer>,
}

impl Attempts {
    /// Returns whether a change was refused or had no effect.
    pub fn any(&self) -> bool {
        !self.refused.is_empty() || !self.hopeless.is_empty() || self.certificates.is_some()
    }

    /// Allows retries for every server.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Allows retries for this server.
    pub fn forget_server(&mut self, server: &ServerName) {
        self.refused.remove(server);
        self.hopeless.remove(server);
        self.repeated.remove(server);
    }

    /// Counts how often in a row HAProxy accepted this step.
    fn accepted(&mut self, step: &Step) {
        let (commands, times) = self.repeated.entry(step.server.clone()).or_default();
        if *commands != step.commands {
            *commands = step.commands.clone();
            *times = 0;
        }
        *times += 1;
    }
}

fn have_names(hosts: &HostList) -> bool {
    hosts.values().any(|host| host.endpoint.host_name().is_some())
}

impl Section {
    /// Returns its hosts, to find those with names that HAProxy could not resolve; `None` where none has a name.
    pub fn names<'a>(&'a self, inherited: &'a [Word]) -> Option<SectionNames<'a>> {
        let SectionFile { hosts, has_names, .. } = &self.file;
        has_names.then(|| SectionNames { definition: &self.definition, inherited, hosts, observed: &self.observed })
    }

    /// Returns the spec of its text in haproxy.cfg.
    pub fn spec(&self) -> SectionSpec {
        let SectionFile { hosts, ids, .. } = &self.file;
        SectionSpec { definition: self.definition.clone(), hosts: hosts.clone(), ids: ids.clone() }
    }

    /// Creates a section of a process that was just started. The known state of its servers is taken from `before`, the
    /// section in the previous process.
    pub fn started(mut bound: BoundSection, style: SectionStyle, before: Option<&mut Self>, now: Instant) -> Self {
        let text = bound.render(style);
        let BoundSection { spec: SectionSpec { definition, hosts, ids }, descriptors, .. } = bound;
        let has_same_hosts = |before: &Self| Arc::ptr_eq(&before.file.hosts, &hosts);
        let is_same = |before: &Self| {
            !before.file.is_behind
                && has_same_hosts(before)
                && (Arc::ptr_eq(&before.file.text, &text)
                    || before.file.ids == ids
                        && (Arc::ptr_eq(&before.definition, &definition) || before.definition == definition)
                        && *before.loaded.header == *haproxy_config::section_header(&definition, style))
        };
        let has_names = match &before {
            Some(before) if has_same_hosts(before) => before.file.has_names,
            _ => have_names(&hosts),
        };
        // Commands for the previous process reach this one once it has the socket.
        let mut added = BTreeMap::new();
        let mut loaded = match before {
            Some(before) if is_same(before) => before.loaded.take(),
            before => {
                let servers = before.map(|before| std::mem::take(&mut before.loaded.servers)).unwrap_or_default();
                added.extend(servers.into_iter().filter(|(name, _)| !hosts.contains_key(name)));
                loaded_by_file(&definition, &hosts, &ids, style)
            }
        };
        if loaded.servers.len() != hosts.len() {
            loaded.servers.retain(|name, _| hosts.contains_key(name));
        }
        // Both are sorted by name.
        for (server, host) in loaded.servers.values_mut().zip(hosts.values()) {
            server.disabled_by = disabled_by_file(host);
        }
        Self {
            definition,
            descriptors: descriptors.unwrap_or_default(),
            loaded,
            file: SectionFile { has_names, text, hosts, ids, is_behind: false },
            observed: Arc::default(),
            states: OnceCell::new(),
            unverified: BTreeSet::new(),
            moved: BTreeSet::new(),
            unpublished_since: None,
            is_of_file: true,
            unknown: Some(Unknown::Started),
            attempts: Attempts::default(),
            found: Found { added, ..Found::default() },
            parked: BTreeMap::new(),
            answered_at: now,
        }
    }

    /// Creates the section of a backend that was just added at run time: unpublished and without servers.
    pub fn added(bound: BoundSection, style: SectionStyle, now: Instant) -> Self {
        let started = Self::started(bound, style, None, now);
        Self { unpublished_since: Some(now), is_of_file: false, unknown: None, ..started }
    }

    /// Returns whether it gets requests.
    pub fn is_published(&self) -> bool {
        self.unpublished_since.is_none()
    }

    /// Returns the state that its servers have after a start with the file, and after what was sent since.
    pub fn by_file(&self) -> ObservedServers {
        let servers = self.loaded.servers.iter();
        servers.map(|(name, server)| (name.clone(), as_started(server))).collect()
    }

    /// Applies a definition that needs no reload. Returns whether the text of the section changed: only its certificates
    /// can.
    pub fn redefine(&mut self, definition: &Arc<ServiceDefinition>, style: SectionStyle) -> bool {
        let has_others = self.definition.certificates() != definition.certificates();
        self.definition = definition.clone();
        if has_others {
            let SectionFile { hosts, ids, .. } = &self.file;
            self.file.text = haproxy_config::section(definition, &self.descriptors, hosts, ids, style);
        }
        has_others
    }

    /// Writes the section again with these hosts. Returns whether its text changed.
    pub fn rewrite(&mut self, hosts: &Arc<HostList>, ids: &ServerIds, style: SectionStyle) -> bool {
        self.file.is_behind = false;
        if Arc::ptr_eq(&self.file.hosts, hosts) {
            return false;
        }
        let text =
            haproxy_config::section_after((&self.file.text, &self.file.hosts), &self.definition, hosts, ids, style);
        self.file.has_names = have_names(hosts);
        self.file.hosts = hosts.clone();
        self.file.ids = ids.clone();
        let changed = text != self.file.text;
        self.file.text = text;
        changed
    }

    /// Records the reported state. Returns the servers that differ from the known state, except in health; `None` where
    /// the report is identical.
    pub fn observe(&mut self, servers: Arc<ObservedServers>, now: Instant) -> Option<BTreeSet<ServerName>> {
        let added = std::mem::take(&mut self.found.added).into_iter();
        self.loaded.servers.extend(added.filter(|(name, _)| servers.contains_key(name)));
        let changed = (!Arc::ptr_eq(&self.observed, &servers)).then(|| {
            let changed = self.differences(&servers);
            self.found.drained_before.retain(|name| !servers.get(name).is_some_and(ObservedServer::in_drain));
            self.set_observed(servers);
            changed
        });
        if self.unknown.take() == Some(Unknown::Unanswered) {
            self.answered_at = now;
            self.forget_vain_orders();
        }
        changed
    }

    /// Records the first report of a process that another program started.
    pub fn observe_first(&mut self, servers: Arc<ObservedServers>) {
        self.found.drained_before.retain(|name| !servers.get(name).is_some_and(ObservedServer::in_drain));
        self.set_observed(servers);
        self.unknown = None;
    }

    /// Returns whether the known state of all its servers was observed.
    pub fn is_verified(&self) -> bool {
        self.unverified.is_empty()
    }

    /// Takes out the servers that were changed since the last observation, because they are observed now.
    pub fn take_unverified(&mut self) -> BTreeSet<ServerName> {
        self.moved.clear();
        std::mem::take(&mut self.unverified)
    }

    /// Returns whether a step may be executed now.
    pub fn may_take(&self, step: &Step) -> bool {
        step.class == PlanClass::RuntimeDisable || !self.moved.contains(&step.server)
    }

    fn set_observed(&mut self, servers: Arc<ObservedServers>) {
        self.observed = servers;
        self.states = OnceCell::new();
    }

    /// Records the answers to one step. Returns the refusal, if any.
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

    /// Records that HAProxy did not answer a step. It may have executed it, so a drain found later is attributed to the
    /// daemon, not to an operator.
    pub fn unanswered(&mut self, step: &Step) {
        self.unknown = Some(Unknown::Unanswered);
        self.file.is_behind = true;
        if step.disabled_by.is_some() {
            self.note_disabled_by(&step.server, step.disabled_by);
        }
    }

    /// Records a step that may have reached this process, which was started since.
    pub fn may_have_added(&mut self, step: &Step) {
        let adds = step.commands.iter().any(|command| matches!(command, RuntimeCommand::AddServer { .. }));
        self.found.added.extend(step.applies.clone().filter(|_| adds).map(|applied| (step.server.clone(), applied)));
    }

    fn accepted(&mut self, step: &Step, command: &RuntimeCommand) {
        predict(Arc::make_mut(&mut self.observed), command);
        self.states = OnceCell::new();
        self.unverified.insert(step.server.clone());
        match (command, &step.applies) {
            (RuntimeCommand::DeleteServer(_), _) => {
                self.loaded.servers.remove(&step.server);
            }
            (RuntimeCommand::AddServer { .. }, Some(applied)) => {
                self.file.is_behind = true;
                self.loaded.servers.insert(step.server.clone(), applied.clone());
            }
            (RuntimeCommand::SetAddress(..), Some(applied)) => {
                self.file.is_behind = true;
                self.moved.insert(step.server.clone());
                let loaded = self.loaded.servers.get(&step.server);
                let (id, weight) = loaded.map_or((None, None), |loaded| (loaded.id, loaded.weight));
                let moved = AppliedServer { disabled_by: step.disabled_by, id, weight, ..applied.clone() };
                self.loaded.servers.insert(step.server.clone(), moved);
            }
            (RuntimeCommand::SetWeight(_, weight), _) => {
                if let Some(loaded) = self.loaded.servers.get_mut(&step.server) {
                    loaded.weight = Some(*weight);
                }
            }
            (RuntimeCommand::SetReady(_), _) => self.note_disabled_by(&step.server, None),
            (RuntimeCommand::DisableAgent(_), _) if step.disabled_by.is_none() => {}
            (RuntimeCommand::SetDrain(_) | RuntimeCommand::SetMaintenance(_) | RuntimeCommand::DisableAgent(_), _) => {
                self.note_disabled_by(&step.server, step.disabled_by);
            }
            _ => {}
        }
    }

    /// Clears the reasons of servers that the observation shows as not disabled: those commands never reached HAProxy.
    fn forget_vain_orders(&mut self) {
        for (name, loaded) in &mut self.loaded.servers {
            let is_disabled = |server: &ObservedServer| server.in_maintenance() || server.in_drain();
            loaded.disabled_by.take_if(|_| !self.observed.get(name).is_some_and(is_disabled));
        }
    }

    /// Returns the reason why each server is disabled; `None` where it is not.
    pub fn disabled_by(&self) -> BTreeMap<ServerName, Option<DisabledBy>> {
        let desired = self.loaded.servers.iter().map(|(server, loaded)| (server, loaded.disabled_by));
        let found = self.found.disabled_by.iter().map(|(server, reason)| (server, Some(*reason)));
        desired.chain(found).map(|(server, reason)| (server.clone(), reason)).collect()
    }

    /// Records why a server is disabled.
    pub fn note_disabled_by(&mut self, server: &ServerName, reason: Option<DisabledBy>) {
        match (self.loaded.servers.get_mut(server), reason) {
            (Some(loaded), reason) => loaded.disabled_by = reason,
            (None, Some(reason)) => drop(self.found.disabled_by.insert(server.clone(), reason)),
            (None, None) => drop(self.found.disabled_by.remove(server)),
        }
    }

    /// Returns the servers that were set to drain on HAProxy's own socket. Drains by an agent are excluded: the agent
    /// repeats them.
    pub fn drained_on_socket<'a>(&'a self, desired: &'a HostList) -> impl Iterator<Item = &'a ServerName> {
        let is_ours =
            |name: &ServerName| self.loaded.servers.get(name).is_none_or(|loaded| loaded.disabled_by.is_some());
        let drained = self.observed.iter().filter(|(_, server)| server.drained_by_order());
        let ready = |name: &ServerName| desired.get(name).is_some_and(|host| host.state == AdminState::Ready);
        drained.map(|(name, _)| name).filter(move |name| ready(name) && !is_ours(name))
    }

    /// Forgets drains of slots that now have another host, because they were meant for the previous one.
    pub fn forget_drains_of_moved_slots(&mut self, desired: &HostList) {
        let at = |hosts: &HostList, slot: &ServerName| hosts.get(slot).map(|host| host.endpoint.clone());
        self.found.drained_before.retain(|slot| at(desired, slot) == at(&self.file.hosts, slot));
    }

    /// Handles a restart with the last file: drains set on the socket of the previous process are set again.
    pub fn restarted(&mut self) {
        let again = self.drained_on_socket(&self.file.hosts).chain(&self.found.drained_before).cloned().collect();
        self.found.drained_before = again;
        self.unknown = Some(Unknown::Unanswered);
        self.unpublished_since = None;
    }

    /// Records since when servers in `scope` that left discovery have been in maintenance.
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

    /// Returns the parked servers that have waited at least `after` and are still in maintenance.
    pub fn ripe_for_deletion(&self, after: Duration, now: Instant) -> impl Iterator<Item = &ServerName> {
        let waits = |name: &ServerName| self.observed.get(name).is_some_and(ObservedServer::forced_maintenance);
        let is_ripe = move |name: &ServerName, since: &Instant| {
            now.saturating_duration_since(*since) >= after && waits(name) && !self.found.servers.contains(name)
        };
        self.parked.iter().filter(move |(name, since)| is_ripe(name, since)).map(|(name, _)| name)
    }

    /// Returns the servers that differ from the known state, except in health.
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

/// Returns the state that the file of a process applies for a service.
fn loaded_by_file(
    definition: &ServiceDefinition,
    hosts: &HostList,
    ids: &ServerIds,
    style: SectionStyle,
) -> AppliedService {
    let applied =
        |(name, host): (&ServerName, &Arc<Host>)| (name.clone(), applied_server_with_id(definition, name, host, ids));
    AppliedService {
        header: haproxy_config::section_header(definition, style),
        servers: hosts.iter().map(applied).collect(),
        in_base: definition.in_base.clone(),
    }
}
