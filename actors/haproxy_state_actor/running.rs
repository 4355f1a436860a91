//! The running state: what the HAProxy process that serves was given, and what it says it has.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;

use itertools::EitherOrBoth::{Both, Left, Right};
use itertools::Itertools;
use tokio::time::{Duration, Instant};

use crate::decide::capabilities::Capabilities;
use crate::decide::common_ends::between_common_ends;
use crate::decide::haproxy_config::{self, SectionStyle};
use crate::decide::proxy_plan::{Holder, LoadedServer, LoadedService, Refusal, Step, given};
use crate::decide::routing::{Routing, map_text};
use crate::decide::scope::Scope;
use crate::message::WantedSocket;
use crate::model::{
    AdminState, HostList, Observation, ObservedRoutes, ObservedServer, ObservedServers, ProcessInfo, RuntimeCommand,
    ServerName, ServiceDefinition, ServiceName,
};
use crate::port::{Answer, ConfigText};

/// The process that serves, and its sections.
#[derive(Debug)]
pub struct Running {
    /// The process.
    pub process: ProcessInfo,
    /// Whether it still lives.
    pub alive: bool,
    /// What it can do.
    pub capabilities: Capabilities,
    /// The head of its file: `global` and `defaults`.
    pub frame: Arc<str>,
    /// What the head means for every section.
    pub style: SectionStyle,
    /// Its sections.
    pub sections: BTreeMap<ServiceName, Section>,
    /// Where somebody else runs it: its other sections, which no service of ours claims.
    pub unclaimed: BTreeMap<ServiceName, Arc<ObservedServers>>,
    /// Its frontends, which services share.
    pub frontends: BTreeMap<SocketAddr, Arc<str>>,
    /// Who is to be asked for what.
    pub routing: Routing,
    /// The map that it says it has; none where that is not known.
    pub map: Option<ObservedRoutes>,
    /// How often in a row it refused a change of its map.
    pub map_refusals: u32,
    /// Whether its servers are not as they were when it was last asked for all that it knows of them.
    pub health_changed: bool,
}

impl Running {
    /// The text of its file.
    pub fn text(&self) -> ConfigText {
        let sections = self.sections.values().map(|section| section.text.clone());
        let frontends = self.frontends.values().cloned();
        let map = (!self.frontends.is_empty()).then(|| map_text(&self.routing.routes));
        ConfigText { pieces: std::iter::once(self.frame.clone()).chain(sections).chain(frontends).collect(), map }
    }

    /// Takes in what HAProxy says it has. Returns the servers that are not as they were last seen, by section.
    pub fn observed(
        &mut self,
        asked: Option<&[ServiceName]>,
        mut observation: Observation,
    ) -> BTreeMap<ServiceName, BTreeSet<ServerName>> {
        let asked: Vec<ServiceName> = match asked {
            Some(asked) => asked.to_vec(),
            None => self.sections.keys().cloned().collect(),
        };
        let mut different = BTreeMap::new();
        for name in asked {
            let Some(section) = self.sections.get_mut(&name) else { continue };
            let servers = observation.services.remove(&name).unwrap_or_default();
            // The very same is what was last seen.
            if !Arc::ptr_eq(&section.observed, &servers) {
                let changed = section.differences(&servers);
                if !changed.is_empty() {
                    different.insert(name, changed);
                }
                section.drained_before.retain(|name| !servers.get(name).is_some_and(ObservedServer::in_drain));
                section.observed = servers;
                section.states = None;
                self.health_changed = true;
            }
            if std::mem::take(&mut section.stale) {
                section.answered_at = Instant::now();
                section.forget_vain_holders();
            }
        }
        different
    }

    /// Where the process listens, and for whom.
    pub fn listens_on(&self) -> BTreeMap<ServiceName, WantedSocket> {
        let listening =
            |(name, section): (&ServiceName, &Section)| Some((name.clone(), WantedSocket::of(&section.definition)?));
        self.sections.iter().filter_map(listening).collect()
    }
}

/// One section of the process that serves.
#[derive(Debug)]
pub struct Section {
    /// The definition in force: the one it was started with, or a later one that needed no reload.
    pub definition: Arc<ServiceDefinition>,
    /// The descriptor it listens on.
    pub descriptor: Option<RawFd>,
    /// What it was given.
    pub loaded: LoadedService,
    /// What it says it has.
    pub observed: Arc<ObservedServers>,
    /// The state of each, in a word, for whoever asks; none where it is to be told anew.
    pub states: Option<Arc<BTreeMap<ServerName, String>>>,
    /// Whether a batch went unanswered since, so that what it has is not known.
    pub stale: bool,
    /// Runtime changes that HAProxy turned down: only a reload can make them.
    pub refused: BTreeMap<ServerName, Refusal>,
    /// Changes that not even a reload brought: left alone until the hosts change.
    pub hopeless: BTreeMap<ServerName, Refusal>,
    /// What was last asked and accepted for each server, and how often in a row: the same again and again means that
    /// it has no effect.
    pub tried: BTreeMap<ServerName, (Vec<RuntimeCommand>, u32)>,
    /// Servers that were in drain on the socket of the process before, by nobody's order to us, and are to be so again.
    pub drained_before: BTreeSet<ServerName>,
    /// For whom servers are kept from traffic that were there before we were, and that discovery does not know, or not yet.
    pub unwanted_held_by: BTreeMap<ServerName, Holder>,
    /// Servers that were there before we were: not ours to delete.
    pub found: BTreeSet<ServerName>,
    /// Servers out of discovery that wait in maintenance to be deleted, and since when.
    pub parked: BTreeMap<ServerName, Instant>,
    /// When HAProxy last answered a command for it, or was found to have obeyed one without an answer.
    pub answered_at: Instant,
    /// Its text in the file.
    pub text: Arc<str>,
    /// The hosts in that text, which are the last good ones.
    pub hosts: Arc<HostList>,
}

impl Section {
    /// A section as it was written into the file of a process that has just started.
    pub fn new(
        definition: Arc<ServiceDefinition>,
        descriptor: Option<RawFd>,
        hosts: Arc<HostList>,
        style: SectionStyle,
    ) -> Self {
        let servers = hosts.iter().map(|(name, host)| (name.clone(), given(&definition, host))).collect();
        Self {
            loaded: LoadedService { head: haproxy_config::section_head(&definition, style), servers },
            text: haproxy_config::section(&definition, descriptor, &hosts, style),
            definition,
            descriptor,
            observed: Arc::default(),
            states: None,
            stale: true,
            refused: BTreeMap::new(),
            hopeless: BTreeMap::new(),
            tried: BTreeMap::new(),
            drained_before: BTreeSet::new(),
            unwanted_held_by: BTreeMap::new(),
            found: BTreeSet::new(),
            parked: BTreeMap::new(),
            answered_at: Instant::now(),
            hosts,
        }
    }

    /// Writes the section anew with these hosts. Returns whether its text changed.
    pub fn rewrite(&mut self, hosts: &Arc<HostList>) -> bool {
        if Arc::ptr_eq(&self.hosts, hosts) {
            return false;
        }
        let text = haproxy_config::section_after((&self.text, &self.hosts), &self.definition, hosts);
        self.hosts = hosts.clone();
        let changed = text != self.text;
        self.text = text;
        changed
    }

    /// Whether a change of some server was turned down or had no effect.
    pub fn is_in_trouble(&self) -> bool {
        !self.refused.is_empty() || !self.hopeless.is_empty()
    }

    /// A new list gives every server a new chance.
    pub fn forgive(&mut self) {
        self.refused.clear();
        self.hopeless.clear();
        self.tried.clear();
    }

    /// An order gives its server a new chance.
    pub fn forgive_server(&mut self, server: &ServerName) {
        self.refused.remove(server);
        self.hopeless.remove(server);
        self.tried.remove(server);
    }

    /// Records what HAProxy answered to one step. Returns its refusal, if it refused.
    pub fn answered(&mut self, step: &Step, answers: &[Answer]) -> Option<Refusal> {
        for (command, answer) in step.commands.iter().zip(answers) {
            if !answer.accepted {
                return Some(Refusal { commands: vec![command.clone()], words: format!("{command}: {}", answer.text) });
            }
            self.accepted(step, command);
        }
        let (commands, times) = self.tried.entry(step.server.clone()).or_default();
        if *commands != step.commands {
            *commands = step.commands.clone();
            *times = 0;
        }
        *times += 1;
        None
    }

    /// Records that HAProxy did not answer a step, which it may have carried out all the same: a drain that is found
    /// then is our doing, and no operator's.
    pub fn unanswered(&mut self, step: &Step) {
        self.stale = true;
        if step.holder.is_some() {
            self.note_holder(&step.server, step.holder);
        }
    }

    fn accepted(&mut self, step: &Step, command: &RuntimeCommand) {
        match (command, &step.gives) {
            (RuntimeCommand::DeleteServer(_), _) => {
                self.loaded.servers.remove(&step.server);
            }
            (RuntimeCommand::AddServer { .. }, Some(given)) => {
                self.loaded.servers.insert(step.server.clone(), given.clone());
            }
            (RuntimeCommand::SetAddress(..), Some(given)) => {
                let moved = LoadedServer { held_by: step.holder, ..given.clone() };
                self.loaded.servers.insert(step.server.clone(), moved);
            }
            (RuntimeCommand::SetReady(_), _) => self.note_holder(&step.server, None),
            (RuntimeCommand::SetDrain(_) | RuntimeCommand::SetMaintenance(_), _) => {
                self.note_holder(&step.server, step.holder);
            }
            _ => {}
        }
    }

    /// Forgets for whom servers were to be kept from traffic by commands that turn out not to have reached HAProxy.
    fn forget_vain_holders(&mut self) {
        for (name, loaded) in &mut self.loaded.servers {
            let is_kept = |server: &ObservedServer| server.in_maintenance() || server.in_drain();
            loaded.held_by.take_if(|_| !self.observed.get(name).is_some_and(is_kept));
        }
    }

    /// For whom each server is kept from traffic; none where it is not.
    pub fn holders(&self) -> BTreeMap<ServerName, Option<Holder>> {
        let wanted = self.loaded.servers.iter().map(|(server, loaded)| (server, loaded.held_by));
        let unwanted = self.unwanted_held_by.iter().map(|(server, holder)| (server, Some(*holder)));
        wanted.chain(unwanted).map(|(server, holder)| (server.clone(), holder)).collect()
    }

    /// Notes for whom a server is kept from traffic.
    pub fn note_holder(&mut self, server: &ServerName, holder: Option<Holder>) {
        match (self.loaded.servers.get_mut(server), holder) {
            (Some(loaded), holder) => loaded.held_by = holder,
            (None, Some(holder)) => drop(self.unwanted_held_by.insert(server.clone(), holder)),
            (None, None) => drop(self.unwanted_held_by.remove(server)),
        }
    }

    /// Servers that somebody put into drain on HAProxy's own socket.
    pub fn drained_on_socket<'a>(&'a self, wanted: &'a HostList) -> impl Iterator<Item = &'a ServerName> {
        let is_ours = |name: &ServerName| self.loaded.servers.get(name).is_none_or(|loaded| loaded.held_by.is_some());
        let drained = self.observed.iter().filter(|(_, server)| server.in_drain() && !server.in_maintenance());
        let ready = |name: &ServerName| wanted.get(name).is_some_and(|host| host.state == AdminState::Ready);
        drained.map(|(name, _)| name).filter(move |name| ready(name) && !is_ours(name))
    }

    /// Forgets what was drained on the socket before of slots that stand for other hosts by now: it was meant with those
    /// before.
    pub fn forget_drains_of_others(&mut self, wanted: &HostList) {
        let at = |hosts: &HostList, slot: &ServerName| hosts.get(slot).map(|host| host.endpoint.clone());
        self.drained_before.retain(|slot| at(wanted, slot) == at(&self.hosts, slot));
    }

    /// A new process has it as the file has it: what somebody drained on the socket of the one before is drained again.
    pub fn begins_anew(&mut self) {
        let again = self.drained_on_socket(&self.hosts).chain(&self.drained_before).cloned().collect();
        self.drained_before = again;
        self.stale = true;
    }

    /// Notes since when which of the servers in `scope` that are out of discovery have been waiting in maintenance.
    pub fn park(&mut self, wanted: &HostList, scope: &Scope) {
        let observed = &self.observed;
        let waits = |name: &ServerName| {
            !wanted.contains_key(name) && observed.get(name).is_some_and(ObservedServer::forced_maintenance)
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
            self.parked.entry(name.clone()).or_insert_with(Instant::now);
        }
    }

    /// The parked servers whose time has come, as far as they are still there and waiting.
    pub fn ripe_for_deletion(&self, after: Duration) -> impl Iterator<Item = &ServerName> {
        let waits = |name: &ServerName| self.observed.get(name).is_some_and(ObservedServer::forced_maintenance);
        let is_ripe = move |name: &ServerName, since: &Instant| {
            since.elapsed() >= after && waits(name) && !self.found.contains(name)
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
